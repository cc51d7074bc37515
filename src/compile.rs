//! From a file to a checked program: the library's front door.

use std::path::{Path, PathBuf};

use crate::data::{self, Augment};
use crate::diagnostic::{Diagnostic, Severity, codes, merge_uses};
use crate::elaborate::{DataField, Elaboration, LibraryItem, Limits, Options, Request, elaborate};
use crate::graph::program::{Entry, Program, StaticValue};
use crate::source::{SourceMap, Sources};

/// What a check is given beside the file.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// Configuration of the pipeline: `latent = 32`.
    pub set: Vec<(String, StaticValue)>,
    /// Training options that win over the file's: `steps`, `batch`, `ema`, `accumulate`, `clip`.
    pub train: Vec<(String, StaticValue)>,
    /// The folder of the data sets; `None` for what is embedded.
    pub data: Option<PathBuf>,
    /// A pipeline among several, an entry point with arguments.
    pub request: Request,
    /// What elaboration may cost.
    pub limits: Limits,
}

/// A checked file.
#[derive(Debug, Default)]
pub struct Checked {
    /// Every text that was read.
    pub sources: SourceMap,
    /// Everything there is to say, in order of place.
    pub diagnostics: Vec<Diagnostic>,
    /// The pipeline; `None` if there is none or the file has errors.
    pub program: Option<Program>,
    /// The entry point asked for.
    pub entry: Option<Entry>,
    /// Of a file without a pipeline: its blocks and functions, and how far each was checked.
    pub library: Vec<LibraryItem>,
}

impl Checked {
    /// Whether the file has errors.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// All diagnostics as text.
    pub fn render(&self) -> String {
        crate::diagnostic::render::render_all(&self.diagnostics, &self.sources, false)
    }
}

/// The fields of a data set, from the headers alone.
fn catalog(
    dir: Option<&Path>,
    name: &str,
    split: &str,
    augment: &Augment,
) -> Result<Vec<DataField>, Diagnostic> {
    let set = data::open_named(name, split, dir, &augment.read_options())?;
    let mut fields = Vec::new();
    for field in set.fields() {
        let field = augment.field(&field)?;
        fields.push(DataField { name: field.name, dtype: field.element.dtype(), shape: field.sample_shape });
    }
    if !augment.is_none() && fields.iter().all(|f| f.name != "image") {
        let m = format!(
            "`{}` has no field `image`, and what is asked for ({augment}) is done to images",
            set.name()
        );
        return Err(Diagnostic::error(codes::DATA_FIELD, m)
            .help("leave it out, or name the array of the images `image`"));
    }
    Ok(fields)
}

/// Checks a file with everything it imports.
pub fn check(sources: &dyn Sources, path: &str, options: &CheckOptions) -> Checked {
    let mut map = SourceMap::default();
    let mut diagnostics = Vec::new();
    let modules = crate::resolve::load(sources, path, &mut map, &mut diagnostics);
    let dir = options.data.as_deref();
    let data = move |name: &str, split: &str, augment: &Augment| catalog(dir, name, split, augment);
    let given = Options {
        set: options.set.clone(),
        train: options.train.clone(),
        data: &data,
        limits: options.limits,
    };
    let broken = diagnostics.iter().any(Diagnostic::is_error);
    let Elaboration { mut program, mut entry, library, diagnostics: more } =
        elaborate(&map, &modules, &given, &options.request);
    diagnostics.extend(more);
    if broken {
        (program, entry) = (None, None);
    }
    // In order of place, errors of one place once.
    diagnostics.sort_by_key(|d| {
        let at = d.labels.first().map(|l| l.span).unwrap_or_default();
        (at.file, at.start, std::cmp::Reverse(d.severity))
    });
    diagnostics.dedup();
    let diagnostics = merge_uses(diagnostics);
    if diagnostics.iter().any(|d| d.severity == Severity::Error) {
        (program, entry) = (None, None);
    }
    Checked { sources: map, diagnostics, program, entry, library }
}
