//! A pipeline ready to run: its weights, a device, and entry points that take arrays and files.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::{self, Array, ArrayData};
use crate::diagnostic::{Diagnostic, codes};
use crate::graph::Graph;
use crate::graph::program::{COUNT, Entry, EntryKind, EntryOutput, EntryParam, Program};
use crate::media::{Filter, Fit, ReadOptions, read_image};
use crate::run::{
    Device, Executor, Profile, Rng, RunError, RunOptions, Tensor, Watcher, first_samples, from_array, open,
    set_threads, to_array,
};
use crate::shape::{Dim, Type};
use crate::weights::{self, ParamStore, initialise_into};

mod result;

pub use result::check_output;

/// Settings of a session.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// `auto`, `cpu`, `cuda`, `cuda:1`.
    pub device: String,
    /// Threads; all cores if `None`.
    pub threads: Option<usize>,
    /// Key of all randomness.
    pub seed: u64,
    /// Only this sample of the batch: row K of the inputs that have one, with the noise that is sample K's.
    /// A graph without a batch runs whole, and row K of its outputs is given.
    pub only: Option<u32>,
    /// Where noise comes from.
    pub rng: Rng,
    /// The folder of the data sets.
    pub data: Option<PathBuf>,
    /// The optimizer's passes.
    pub passes: crate::optimize::Options,
    /// Whether [`RunResult::watched`] is filled: a long loop watches more than memory holds.
    pub keep_watched: bool,
    /// Where the time of each operation is noted.
    pub profile: Option<Arc<Profile>>,
}

impl Default for RunSettings {
    fn default() -> Self {
        RunSettings {
            device: "auto".into(),
            threads: None,
            seed: 0,
            only: None,
            rng: Rng::Philox,
            data: None,
            passes: crate::optimize::Options::default(),
            keep_watched: false,
            profile: None,
        }
    }
}

/// Inputs of a run.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Files by parameter.
    pub files: Vec<(String, Vec<PathBuf>)>,
    /// Arrays by parameter.
    pub arrays: Vec<(String, Array)>,
}

/// What a run gave.
#[derive(Debug)]
pub struct RunResult {
    /// The outputs, described and computed.
    pub outputs: Vec<(EntryOutput, Array)>,
    /// Values of `watch` in loops: name, step, value; with [`RunSettings::keep_watched`].
    pub watched: Vec<(String, usize, Array)>,
    /// What a trace asked for, by field path (`PATH@STEP` inside loops).
    pub traced: Vec<(String, Array)>,
    /// What is worth saying.
    pub warnings: Vec<Diagnostic>,
    /// Most bytes of tensors held at once, measured.
    pub peak_bytes: u64,
    /// The same, predicted by the plan.
    pub predicted_peak_bytes: u64,
}

/// A pipeline with weights and a device.
pub struct Session {
    program: Program,
    settings: RunSettings,
    device: Device,
    weights: ParamStore,
    /// Whether the weights were trained (else they are first values).
    trained: bool,
    warnings: Vec<Diagnostic>,
}

impl Session {
    /// Opens the device. Weights are first values until [`Session::load_weights`].
    ///
    /// # Errors
    /// A device that is not there (E0903), a thread pool that cannot be made.
    pub fn open(program: Program, settings: &RunSettings) -> Result<Session, Diagnostic> {
        if let Some(threads) = settings.threads {
            set_threads(threads)?;
        }
        let device = open(settings.device.parse()?)?;
        Ok(Session {
            program,
            settings: settings.clone(),
            device,
            weights: ParamStore::new(),
            trained: false,
            warnings: Vec::new(),
        })
    }

    /// The pipeline.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Loads weights from a file or folder; if `argument` is `None`, from `NAME.safetensors` and the files of each
    /// `from` beside the pipeline's `file`, as far as they are there.
    ///
    /// # Errors
    /// Everything that is wrong with them (E07…).
    pub fn load_weights(&mut self, argument: Option<&Path>, file: &Path) -> Result<(), Vec<Diagnostic>> {
        let weights = &self.program.weights;
        let (store, remarks) = match argument {
            Some(path) => weights::load(weights, path, true, &self.device)?,
            None => weights::load_beside(weights, file, true, &self.device)?,
        };
        self.trained = argument.is_some() || weights::shipped(file).is_file();
        self.weights = store;
        self.warnings = remarks;
        Ok(())
    }

    /// Makes first values for the weights that `entry` reads and that were not loaded.
    fn complete(&mut self, graph: &crate::graph::Graph) -> Result<(), RunError> {
        if graph.parameters().all(|p| self.weights.get(&p.path).is_some()) {
            return Ok(());
        }
        if !self.trained {
            let d = Diagnostic::warning(
                codes::UNTRAINED,
                "the weights are first values: nothing was trained or loaded",
            );
            self.warnings
                .push(d.help("train first (`taper train FILE --out DIR`), then give `--weights DIR`"));
        }
        initialise_into(&mut self.weights, &self.program.init, self.settings.seed, &self.device)
    }

    /// Runs an entry point.
    ///
    /// # Errors
    /// `Err(None)` when the watcher cancelled; else what is wrong with the inputs or the run. With
    /// [`RunSettings::only`]: no sample of that number, or noise of which no part is one sample's (E0901).
    pub fn run(
        &mut self,
        entry: &Entry,
        given: Given,
        watcher: &mut dyn Watcher,
    ) -> Result<RunResult, Option<Diagnostic>> {
        let mut graph = crate::optimize::optimize(&entry.graph, &self.settings.passes);
        let mut inputs: HashMap<String, Tensor> = HashMap::new();
        let batch = batch_names(entry, &mut graph);
        for p in &entry.params {
            if let (EntryKind::Tensor(ty), Some(array)) | (EntryKind::Image(ty), Some(array)) =
                (&p.kind, self.input(p, &given).map_err(Some)?)
            {
                let array = self.slice_only(array, ty, &batch).map_err(Some)?;
                inputs.insert(p.name.clone(), from_array(&array, &self.device).map_err(Some)?);
            }
        }
        for d in &entry.data {
            let name = (d.dataset.as_str(), d.split.as_str(), d.field.as_str());
            let data = self.settings.data.as_deref();
            // A data set of which the graph makes something else is read whole for any sample.
            let only = self.settings.only.filter(|_| counted(&d.ty, &batch)).map(|k| k as usize);
            let array = data::read_field(name, data, &d.augment, only, self.settings.seed)
                .map_err(|e| Some(if e.labels.is_empty() { e.label(d.span, "read here") } else { e }))?;
            inputs.insert(d.input.clone(), from_array(&array, &self.device).map_err(Some)?);
        }
        self.complete(&graph).map_err(failed)?;
        let shapes: BTreeMap<String, Vec<usize>> =
            inputs.iter().map(|(n, t)| (n.clone(), t.dims().to_vec())).collect();
        let mut begins = HashMap::new();
        if let Some(k) = self.settings.only {
            if self.settings.rng == Rng::Torch {
                let m = "`--only` cannot go with `--rng torch`: PyTorch draws the noise of a batch in one go";
                return Err(Some(Diagnostic::error(codes::BAD_FLAG, m).help("leave out one of the two")));
            }
            begins = first_samples(&graph, &batch, k, &shapes).map_err(Some)?;
            graph.map_dims(&mut |d| d.substitute(&|n| (n == COUNT).then(|| Dim::from(1))));
        }
        let executor = Executor::new(&graph, &shapes, &self.device).map_err(failed)?;
        let predicted = crate::plan::Plan::new(executor.graph()).summary.live_bytes;
        let options = RunOptions {
            seed: self.settings.seed,
            first_samples: begins,
            device: self.device.clone(),
            rng: self.settings.rng,
            profile: self.settings.profile.clone(),
            ..RunOptions::default()
        };
        let mut record = Recorder {
            inner: watcher,
            trace: &entry.traced,
            keep_watched: self.settings.keep_watched,
            watched: Vec::new(),
            traced: Vec::new(),
            warnings: std::mem::take(&mut self.warnings),
        };
        let weights = &self.weights;
        let out = executor
            .run(&inputs, &|path| weights.get(path).cloned(), &options, &mut record)
            .map_err(failed)?;
        let mut arrays = out.outputs.iter().map(to_array).collect::<Result<Vec<_>, _>>().map_err(Some)?;
        if let (Some(k), true) = (self.settings.only, batch.is_empty()) {
            for array in arrays.iter_mut().filter(|a| !a.shape.is_empty()) {
                *array = sample(array, k).map_err(Some)?;
            }
        }
        Ok(RunResult {
            outputs: entry.outputs.iter().cloned().zip(arrays).collect(),
            watched: record.watched,
            traced: record.traced,
            warnings: record.warnings,
            peak_bytes: out.memory.peak,
            predicted_peak_bytes: predicted,
        })
    }

    /// The array of a tensor parameter: as given, or read from its files.
    fn input(&self, p: &EntryParam, given: &Given) -> Result<Option<Array>, Diagnostic> {
        if let Some((_, array)) = given.arrays.iter().find(|(n, _)| *n == p.name) {
            return Ok(Some(array.clone()));
        }
        let Some((_, files)) = given.files.iter().find(|(n, _)| *n == p.name) else { return Ok(None) };
        match &p.kind {
            EntryKind::Image(ty) => images(files, ty).map(Some),
            EntryKind::Tensor(_) => match files.as_slice() {
                [file] => tensor_file(file, &p.name).map(Some),
                _ => Err(Diagnostic::error(codes::BAD_FLAG, format!("`--{}` takes one file", p.name))),
            },
            _ => Ok(None),
        }
    }

    /// Under `--only K`, sample K of an input that has an open batch.
    fn slice_only(&self, array: Array, ty: &Type, batch: &[String]) -> Result<Array, Diagnostic> {
        match self.settings.only.filter(|_| counted(ty, batch)) {
            Some(k) => sample(&array, k),
            None => Ok(array),
        }
    }
}

/// Sample `k` of an array, as a batch of one.
fn sample(array: &Array, k: u32) -> Result<Array, Diagnostic> {
    if k as usize >= array.rows() {
        let m = format!("`--only {k}`: there are {} samples", array.rows());
        return Err(Diagnostic::error(codes::BAD_FLAG, m).help("samples are counted from 0"));
    }
    array.take(&[k as usize])
}

/// Whether the first axis counts samples.
fn counted(ty: &Type, batch: &[String]) -> bool {
    ty.shape.first().is_some_and(|first| batch.iter().any(|b| *first == Dim::name(b.as_str())))
}

/// The open dimensions that count samples: the first axes of the inputs, those of data sets where an output has as many
/// rows, and `count` where it is open.
fn batch_names(entry: &Entry, graph: &mut Graph) -> Vec<String> {
    let params = entry.params.iter().filter_map(|p| match &p.kind {
        EntryKind::Tensor(ty) | EntryKind::Image(ty) => Some(ty),
        _ => None,
    });
    let rows =
        |d: &Dim| entry.outputs.iter().filter_map(|o| o.ty.shape.first()).any(|o| o.names() == d.names());
    let data = entry.data.iter().map(|d| &d.ty).filter(|ty| ty.shape.first().is_some_and(rows));
    let mut names: Vec<String> = Vec::new();
    for first in params.chain(data).filter_map(|ty| ty.shape.first()) {
        names.extend(
            first.names().into_iter().filter(|n| *first == Dim::name(n.clone())).map(|n| n.to_string()),
        );
    }
    let mut counted = false;
    graph.map_dims(&mut |d| {
        counted |= d.names().iter().any(|n| **n == *COUNT);
        d.clone()
    });
    names.extend(counted.then(|| COUNT.to_string()));
    names.sort();
    names.dedup();
    names
}

fn failed(e: RunError) -> Option<Diagnostic> {
    match e {
        RunError::Cancelled => None,
        RunError::Failed(d) => Some(*d),
    }
}

/// Keeps what loops show, and passes it on.
struct Recorder<'a> {
    inner: &'a mut dyn Watcher,
    trace: &'a [String],
    keep_watched: bool,
    watched: Vec<(String, usize, Array)>,
    traced: Vec<(String, Array)>,
    warnings: Vec<Diagnostic>,
}

impl Watcher for Recorder<'_> {
    fn watch(&mut self, name: &str, step: usize, of: usize, value: &Tensor) {
        if self.trace.iter().any(|t| t == name) {
            if let Ok(array) = to_array(value) {
                let name = if of > 1 { format!("{name}@{step}") } else { name.to_string() };
                self.traced.push((name, array));
            }
            return;
        }
        self.inner.watch(name, step, of, value);
        if self.keep_watched
            && of > 1
            && let Ok(array) = to_array(value)
        {
            self.watched.push((name.to_string(), step, array));
        }
    }

    fn progress(&mut self, step: usize, of: usize) {
        self.inner.progress(step, of);
    }

    fn not_finite(&mut self, output: &str, count: usize, of: usize) {
        let d = Diagnostic::warning(
            codes::NOT_FINITE,
            format!("{count} of {of} values of `{output}` are not finite"),
        );
        self.warnings.push(d.help("look for a division by zero, a log of zero, or weights that diverged"));
    }

    fn cancelled(&self) -> bool {
        self.inner.cancelled()
    }
}

/// The most images that an input takes from files.
const MAX_IMAGES: usize = 1 << 20;

/// Images from files, folders or IDX files as `[n, c, h, w]` in [0, 1].
fn images(files: &[PathBuf], ty: &Type) -> Result<Array, Diagnostic> {
    let [_, c, h, w] = ty.shape.as_slice() else {
        return Err(Diagnostic::error(codes::INTERNAL, format!("an image input of type {ty}")));
    };
    let size = |d: &Dim| d.as_const().and_then(|v| usize::try_from(v).ok());
    let (channels, size) = (size(c), size(h).zip(size(w)));
    let options = ReadOptions { channels, size, fit: Fit::Crop, filter: Filter::Lanczos };
    let mut pixels: Vec<f32> = Vec::new();
    let mut shape: Option<[usize; 3]> = None;
    let mut count = 0;
    let mut add = |data: &mut dyn Iterator<Item = f32>, one: [usize; 3], path: &Path| {
        if *shape.get_or_insert(one) != one {
            let first = shape.unwrap_or(one);
            let m = format!(
                "`{}` is {one:?}, and the images before are {first:?} (channels, height, width)",
                path.display()
            );
            return Err(
                Diagnostic::error(codes::DATA_SHAPE, m).help("images of one input must have one size")
            );
        }
        pixels.extend(data);
        Ok(())
    };
    for path in files {
        let image = path.is_file() && !is_array(path);
        if image {
            let image = read_image(path, &options)?;
            add(&mut image.data.iter().map(unit), image.shape(), path)?;
            count += 1;
            continue;
        }
        // A folder of images, an IDX file, an array: read as a data set is.
        let read = ReadOptions { channels, size, ..ReadOptions::default() };
        let set = data::open_with(path, "train", &read)?;
        if set.len() > MAX_IMAGES {
            let m = format!(
                "`{}` holds {} images, and an input takes at most {MAX_IMAGES}",
                path.display(),
                set.len()
            );
            return Err(Diagnostic::error(codes::DATA_SHAPE, m));
        }
        let all: Vec<usize> = (0..set.len()).collect();
        // What `taper run -o` wrote has one field, of whatever name.
        let field = match set.fields().as_slice() {
            [one] => one.name.clone(),
            _ => "image".to_string(),
        };
        let array = set.get(&all, &field)?;
        let Ok([n, c, h, w]) = <[usize; 4]>::try_from(array.shape.as_slice()) else {
            let m = format!(
                "`{field}` of `{}` is {}, and images are [n, c, h, w]",
                path.display(),
                data::display_shape(&array.shape)
            );
            return Err(Diagnostic::error(codes::DATA_SHAPE, m));
        };
        match &array.data {
            ArrayData::U8(bytes) => add(&mut bytes.iter().map(unit), [c, h, w], path)?,
            ArrayData::F32(values) => {
                if let Some(v) = values.iter().find(|v| !(0.0..=1.0).contains(*v)) {
                    let m = format!("`{}` holds {v}, and images lie in [0, 1]", path.display());
                    return Err(Diagnostic::error(codes::DATA_SHAPE, m)
                        .help("scale the values: `x / 255` of bytes, `(x + 1) / 2` of images in [-1, 1]"));
                }
                add(&mut values.iter().copied(), [c, h, w], path)?;
            }
            _ => {
                let m = format!("`{}` holds neither bytes nor f32", path.display());
                return Err(Diagnostic::error(codes::DATA_SHAPE, m).help("save the images as u8 or f32"));
            }
        }
        count += n;
    }
    let Some([c, h, w]) = shape else {
        return Err(Diagnostic::error(codes::DATA_EMPTY, "no image is given"));
    };
    let fits = |want: Option<usize>, have: usize| want.is_none_or(|v| v == have);
    if !fits(channels, c) || size.is_some_and(|s| s != (h, w)) {
        let m = format!("the images are [{c}, {h}, {w}], and the graph takes {ty}");
        return Err(Diagnostic::error(codes::DATA_SHAPE, m).help("resize them, or give images of that size"));
    }
    Array::new(vec![count, c, h, w], ArrayData::F32(pixels))
}

/// A byte as a number in [0, 1].
fn unit(byte: &u8) -> f32 {
    f32::from(*byte) / 255.0
}

fn is_array(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    [".npy", ".npz", ".safetensors", ".gz", "ubyte", ".idx"].iter().any(|e| name.ends_with(e))
}

/// A tensor from `.npy`, or the one (or the one of the parameter's name) of a `.safetensors`.
fn tensor_file(path: &Path, name: &str) -> Result<Array, Diagnostic> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => data::read_npy(path),
        Some("safetensors") => {
            let bytes = std::fs::read(path).map_err(|e| {
                Diagnostic::error(
                    codes::DATA_UNREADABLE,
                    format!("cannot read `{}`: {}", path.display(), crate::fs::plain(&e)),
                )
            })?;
            let mut all = data::parse_safetensors(&bytes)?;
            let at = all.iter().position(|(n, _)| n == name).or((all.len() == 1).then_some(0));
            match at {
                Some(i) => Ok(all.swap_remove(i).1),
                None => {
                    let known = all.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ");
                    Err(Diagnostic::error(
                        codes::DATA_FIELD,
                        format!("`{}` holds no `{name}`", path.display()),
                    )
                    .help(format!("it holds: {known}")))
                }
            }
        }
        _ => Err(Diagnostic::error(codes::BAD_FLAG, format!("cannot tell what `{}` is", path.display()))
            .help("tensors are read from .npy and .safetensors")),
    }
}
