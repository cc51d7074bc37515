//! `run.ron`: what a run was made from, and whether it may be resumed with what is given now.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, codes};
use crate::fs::{plain, write_atomic};

/// Where a training comes from, as far as only its caller knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The pipeline's file, as it was named.
    pub file: String,
    /// Its text.
    pub text: String,
    /// Files that it imports: name and text.
    #[serde(default)]
    pub imports: Vec<(String, String)>,
    /// `--set` and the like: name and value.
    #[serde(default)]
    pub overrides: Vec<(String, String)>,
    /// `--data`.
    #[serde(default)]
    pub data: Option<String>,
    /// `--stdlib`.
    #[serde(default)]
    pub stdlib: Option<String>,
    /// `--root`.
    #[serde(default)]
    pub roots: Vec<String>,
    /// `--weights`: what the run began with.
    #[serde(default)]
    pub weights: Option<String>,
    /// `--no-opt`: passes that were off, which change the last bits of a run.
    #[serde(default)]
    pub no_opt: Vec<String>,
    /// `--opt`: passes that were on and usually are not.
    #[serde(default)]
    pub opt: Vec<String>,
}

/// The contents of `run.ron`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The version of taper that began the run.
    pub taper: String,
    /// The pipeline.
    pub pipeline: String,
    /// The training.
    pub train: String,
    /// The seed.
    pub seed: u64,
    /// Samples of a batch.
    pub batch: usize,
    /// Optimizer steps that were asked for last.
    pub steps: u64,
    /// File, overrides, data.
    pub origin: Origin,
}

impl RunRecord {
    /// Reads the record of a run folder.
    ///
    /// # Errors
    /// [`codes::RESUME`]: there is none, or it is damaged.
    pub fn read(folder: &Path) -> Result<RunRecord, Diagnostic> {
        let path = folder.join("run.ron");
        let text = std::fs::read_to_string(&path).map_err(|e| {
            let message = format!(
                "`{}` is not a run folder: its run.ron cannot be read ({})",
                folder.display(),
                plain(&e)
            );
            Diagnostic::error(codes::RESUME, message)
                .help("give the folder that `taper train FILE --out DIR` made")
        })?;
        ron::from_str(&text).map_err(|e| {
            Diagnostic::error(codes::RESUME, format!("`{}` is damaged: {e}", path.display()))
                .help("the weights beside it can still be used with `--weights`")
        })
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`codes::CANNOT_WRITE`].
    pub fn write(&self, folder: &Path) -> Result<(), Diagnostic> {
        let pretty = ron::ser::PrettyConfig::new();
        let text = ron::ser::to_string_pretty(self, pretty)
            .map_err(|e| Diagnostic::error(codes::INTERNAL, format!("run.ron cannot be made: {e}")))?;
        write_atomic(&folder.join("run.ron"), text.as_bytes())
    }

    /// Compares the record of a folder with what is to be resumed now. Steps and the version may differ.
    ///
    /// # Errors
    /// [`codes::RESUME`] with everything that differs.
    pub fn resumable(&self, now: &RunRecord, folder: &Path) -> Result<(), Diagnostic> {
        let mut differs = Vec::new();
        let mut compare = |what: &str, before: &str, after: &str| {
            if before != after {
                differs.push(format!("{what} was {before}, is {after}"));
            }
        };
        compare("the pipeline", &self.pipeline, &now.pipeline);
        compare("the training", &self.train, &now.train);
        compare("the seed", &self.seed.to_string(), &now.seed.to_string());
        compare("the batch", &self.batch.to_string(), &now.batch.to_string());
        compare("the data", &shown(&self.origin.data), &shown(&now.origin.data));
        let list = |o: &Origin| match o.overrides.as_slice() {
            [] => "nothing".to_string(),
            some => some.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" "),
        };
        compare("`--set`", &list(&self.origin), &list(&now.origin));
        differs.extend(changed(&now.origin.file, &self.origin.text, &now.origin.text));
        for (name, text) in &now.origin.imports {
            match self.origin.imports.iter().find(|(n, _)| n == name) {
                Some((_, before)) => differs.extend(changed(name, before, text)),
                None => differs.push(format!("`{name}` was not imported")),
            }
        }
        if differs.is_empty() {
            return Ok(());
        }
        let message = format!("`{}` is a run of something else", folder.display());
        let out = differs.into_iter().fold(Diagnostic::error(codes::RESUME, message), Diagnostic::note);
        Err(out.help("resume with what the run began with, or begin a new one with `--out`, taking the weights along with `--weights`"))
    }
}

fn shown(data: &Option<String>) -> String {
    data.as_ref().map_or("what ships with taper".to_string(), |d| format!("`{d}`"))
}

/// The first line in which two texts differ.
fn changed(name: &str, before: &str, after: &str) -> Option<String> {
    if before == after {
        return None;
    }
    let mut lines = before.lines().zip(after.lines()).enumerate();
    Some(match lines.find(|(_, (a, b))| a != b) {
        Some((i, (a, b))) => {
            format!("`{name}` has changed: line {} was `{}`, is `{}`", i + 1, a.trim(), b.trim())
        }
        None => format!("`{name}` has changed at its end"),
    })
}
