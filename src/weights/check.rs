//! Weights files against a model: by their headers alone, before anything is read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::Device;

use super::locate::beside;
use super::{FileSet, Header, ParamStore, locate, read_header};
use crate::diagnostic::{Code, Diagnostic, codes, did_you_mean};
use crate::graph::program::Weight;
use crate::run::candle_dtype;
use crate::shape::DType;

/// How many weights of a kind are named one by one.
const NAMED: usize = 8;

/// Weights found in files, none read yet.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    headers: Vec<Header>,
    /// For each weight that is there: path, dtype, file, key.
    places: Vec<(String, DType, usize, String)>,
    /// What is wrong or worth saying, errors among it.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compares the headers of what `argument` names with the model's weights.
pub fn check(weights: &[Weight], argument: &Path, average: bool) -> Vec<Diagnostic> {
    open(weights, argument, average).diagnostics
}

/// Finds the weights in what `argument` names: a file, a run folder, a published folder.
pub fn open(weights: &[Weight], argument: &Path, average: bool) -> Opened {
    opened(weights, locate(weights, argument, average))
}

fn opened(weights: &[Weight], sets: Result<Vec<FileSet>, Vec<Diagnostic>>) -> Opened {
    let mut opened = Opened::default();
    match sets {
        Ok(sets) => sets.iter().for_each(|set| opened.add(weights, set)),
        Err(errors) => opened.diagnostics = errors,
    }
    opened
}

/// Checks and reads the weights. Gives them, converted to the model's dtypes, with warnings and remarks.
///
/// # Errors
/// Everything that is wrong.
pub fn load(
    weights: &[Weight],
    argument: &Path,
    average: bool,
    device: &Device,
) -> Result<(ParamStore, Vec<Diagnostic>), Vec<Diagnostic>> {
    open(weights, argument, average).finish(device)
}

/// Checks and reads what lies beside the pipeline's `file`: the file of each `from`, and with `own` its own weights.
/// Nothing there is no error: the store is empty. Nor is what the pipeline does not read of another's file.
///
/// # Errors
/// Everything that is wrong with what is there.
pub fn load_beside(
    weights: &[Weight],
    file: &Path,
    own: bool,
    device: &Device,
) -> Result<(ParamStore, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut opened = opened(weights, beside(weights, file, own));
    opened.diagnostics.retain(|d| d.code != codes::WEIGHT_EXTRA);
    opened.finish(device)
}

impl Opened {
    fn finish(self, device: &Device) -> Result<(ParamStore, Vec<Diagnostic>), Vec<Diagnostic>> {
        if self.diagnostics.iter().any(Diagnostic::is_error) {
            return Err(self.diagnostics);
        }
        let store = self.read(device).map_err(|d| vec![d])?;
        Ok((store, self.diagnostics))
    }

    /// Reads what was found.
    ///
    /// # Errors
    /// A file that has changed or become unreadable since; a device without room.
    pub fn read(&self, device: &Device) -> Result<ParamStore, Diagnostic> {
        let mut store = ParamStore::new();
        for (path, dtype, file, key) in &self.places {
            let tensor = self.headers[*file].read(key)?;
            let tensor =
                tensor.to_dtype(candle_dtype(*dtype)).and_then(|t| t.to_device(device)).map_err(|e| {
                    Diagnostic::error(codes::WEIGHTS_UNREADABLE, format!("`{path}` cannot be loaded: {e}"))
                })?;
            store.insert(path.clone(), tensor);
        }
        Ok(store)
    }

    fn add(&mut self, weights: &[Weight], set: &FileSet) {
        let first = self.headers.len();
        for file in &set.files {
            match read_header(file) {
                Ok(header) => self.headers.push(header),
                Err(d) => self.diagnostics.push(d),
            }
        }
        if self.headers.len() == first {
            return;
        }
        let files: Vec<String> = set.files.iter().map(|f| format!("`{}`", f.display())).collect();
        let files = files.join(", ");
        // Field path → file and key.
        let mut keys: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for (n, header) in self.headers.iter().enumerate().skip(first) {
            for key in header.tensors.keys() {
                let path = match &set.layout {
                    Some(layout) => layout.path(key),
                    None => Some(key.clone()),
                };
                if let Some(path) = path {
                    keys.insert(path, (n, key.clone()));
                }
            }
        }
        let mut used = BTreeSet::new();
        let mut found = Report::default();
        let mut converted: BTreeSet<(&'static str, &'static str)> = BTreeSet::new();
        for weight in set.weights.iter().filter_map(|i| weights.get(*i)) {
            let Some(name) = key_of(weight, set, &keys) else {
                found.add(missing(weight, set, &keys, &files));
                continue;
            };
            used.insert(name.clone());
            let (file, key) = keys[&name].clone();
            let Some(info) = self.headers[file].tensors.get(&key) else { continue };
            if weight.ty.constant_shape().as_deref() != Some(info.shape.as_slice()) {
                found.add(shape(weight, &info.shape, &files));
                continue;
            }
            match info.taper_dtype() {
                Some(d) if d == weight.ty.dtype => {}
                Some(d) if d.is_float() && weight.ty.dtype.is_float() => {
                    converted.insert((d.name(), weight.ty.dtype.name()));
                }
                // States that count are bytes here and truth values there, without a difference.
                Some(DType::U8) if weight.ty.dtype == DType::Bool => {}
                _ => {
                    found.add(dtype(weight, &info.dtype.to_string(), &files));
                    continue;
                }
            }
            self.places.push((weight.path.clone(), weight.ty.dtype, file, key));
        }
        let extra: Vec<&String> = keys.keys().filter(|k| !used.contains(*k)).collect();
        self.diagnostics.extend(found.finish(&files));
        for (from, to) in converted {
            let message = format!("weights in {files} are {from} and are converted to {to}");
            self.diagnostics.push(Diagnostic::info(codes::WEIGHT_DTYPE, message));
        }
        if !extra.is_empty() {
            self.diagnostics.push(extras(&extra, weights, &files));
        }
    }
}

/// The name under which a file has this weight: its whole path, or its path below the root of the set (also
/// for a single file, which may be a run's or one published part).
fn key_of(weight: &Weight, set: &FileSet, keys: &BTreeMap<String, (usize, String)>) -> Option<String> {
    let below = |root: &str| -> Option<String> {
        weight.path.strip_prefix(root)?.strip_prefix('.').filter(|_| !root.is_empty()).map(str::to_string)
    };
    let of_weight = weight.from.as_ref().and_then(|s| below(&s.root));
    [Some(weight.path.clone()), below(&set.root), of_weight]
        .into_iter()
        .flatten()
        .find(|k| keys.contains_key(k))
}

/// Keeps the first few of each code and counts the others.
#[derive(Default)]
struct Report {
    kept: Vec<Diagnostic>,
    counts: BTreeMap<Code, usize>,
}

impl Report {
    fn add(&mut self, diagnostic: Diagnostic) {
        let count = self.counts.entry(diagnostic.code).or_default();
        *count += 1;
        if *count <= NAMED {
            self.kept.push(diagnostic);
        }
    }

    fn finish(mut self, files: &str) -> Vec<Diagnostic> {
        for (code, count) in self.counts.into_iter().filter(|(_, n)| *n > NAMED) {
            let what = match code {
                codes::WEIGHT_MISSING => "are missing from",
                codes::WEIGHT_SHAPE => "have another shape in",
                _ => "have another dtype in",
            };
            let message = format!("{} more weights {what} {files}", count - NAMED);
            self.kept.push(
                Diagnostic::error(code, message)
                    .help("is this the checkpoint of this model, with the same configuration (`--set`)?"),
            );
        }
        self.kept
    }
}

fn missing(
    weight: &Weight,
    set: &FileSet,
    keys: &BTreeMap<String, (usize, String)>,
    files: &str,
) -> Diagnostic {
    let out = Diagnostic::error(codes::WEIGHT_MISSING, format!("`{}` is not in {files}", weight.path))
        .label(weight.span, format!("declared here: {}", weight.ty));
    let name = match weight.path.strip_prefix(&set.root).and_then(|r| r.strip_prefix('.')) {
        Some(below) if !set.root.is_empty() => below,
        _ => &weight.path,
    };
    match did_you_mean(name, keys.keys().map(String::as_str)) {
        Some(near) => out.help(format!("the file has `{near}`; field names are the names in the file")),
        None => out.help("`taper weights FILE` lists what a file holds"),
    }
}

fn shape(weight: &Weight, found: &[usize], files: &str) -> Diagnostic {
    let dims: Vec<_> = found.iter().map(|d| (*d).into()).collect();
    let found_text = crate::shape::display_shape(&dims);
    let expected = crate::shape::display_shape(&weight.ty.shape);
    let message = format!("`{}` is {found_text} in {files}, expected {expected}", weight.path);
    let out = Diagnostic::error(codes::WEIGHT_SHAPE, message)
        .label(weight.span, format!("declared here: {}", weight.ty));
    let turned = weight.ty.constant_shape().is_some_and(|s| s.iter().rev().eq(found.iter()) && s.len() > 1);
    if turned {
        out.help("the axes are in reverse order: the file was written for another convention")
    } else {
        out.help(
            "the configuration differs: compare the widths with those of the training (`--set name=value`)",
        )
    }
}

fn dtype(weight: &Weight, found: &str, files: &str) -> Diagnostic {
    let message =
        format!("`{}` is {} in {files}, expected {}", weight.path, found.to_lowercase(), weight.ty.dtype);
    Diagnostic::error(codes::WEIGHT_DTYPE, message)
        .label(weight.span, format!("declared here: {}", weight.ty))
        .help("real numbers are converted into each other; other dtypes must agree")
}

fn extras(extra: &[&String], weights: &[Weight], files: &str) -> Diagnostic {
    let some: Vec<String> = extra.iter().take(5).map(|k| format!("`{k}`")).collect();
    let message = match extra {
        [one] => format!("{files} has `{one}`, which the model has not"),
        _ if extra.len() <= 5 => format!("{files} has {}, which the model has not", some.join(", ")),
        _ => {
            format!("{files} has {} weights that the model has not: {}, …", extra.len(), some.join(", "))
        }
    };
    let out = Diagnostic::warning(codes::WEIGHT_EXTRA, message);
    match extra.first().and_then(|k| did_you_mean(k, weights.iter().map(|w| w.path.as_str()))) {
        Some(near) => out.help(format!("the model has `{near}`")),
        None => out.help("they are not read"),
    }
}
