//! Arguments that several commands share, and the file they name, compiled.

use std::path::{Path, PathBuf};

use clap::Args;

use super::files::FileSources;
use super::{report, values};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::elaborate::Request;
use crate::graph::program::StaticValue;
use crate::{CheckOptions, Checked, optimize};

/// The file and what overrides it.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct FileOptions {
    /// Set a configuration parameter of the pipeline: name=value (repeatable)
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = values::parse_set)]
    pub set: Vec<(String, StaticValue)>,
    /// A folder whose files override the embedded standard library
    #[arg(long, value_name = "DIR")]
    pub stdlib: Option<PathBuf>,
    /// A further folder that imports may reach (repeatable)
    #[arg(long = "root", value_name = "DIR")]
    pub roots: Vec<PathBuf>,
    /// The folder of the data sets; without it, the images that ship with Taper
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Leave out a pass of the optimizer (repeatable)
    #[arg(long = "no-opt", value_name = "PASS")]
    pub no_opt: Vec<String>,
    /// Add a pass of the optimizer that is off: winograd_in_training (repeatable)
    #[arg(long = "opt", value_name = "PASS")]
    pub opt: Vec<String>,
    /// What products with weights are computed in when a model runs; sums and all else stay in f32
    #[arg(long, value_name = "DTYPE", value_enum, default_value_t = Dtype::F32)]
    pub dtype: Dtype,
}

/// What `--dtype` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Dtype {
    /// Single precision
    #[default]
    F32,
    /// Operands rounded to bf16, fast where the machine has instructions for it; 3×3 convolutions of large images stay in
    /// single precision, where minimal filtering is faster yet (`--no-opt winograd`: these too, and half the bytes of weights)
    Bf16,
}

impl FileOptions {
    /// The passes that run.
    ///
    /// # Errors
    /// `--no-opt` or `--opt` names none.
    pub(super) fn passes(&self) -> Result<optimize::Options, Diagnostic> {
        let known = |asked: fn(&optimize::Pass) -> bool, names: &[String]| {
            let passes: Vec<&str> = optimize::PASSES.iter().filter(|p| asked(p)).map(|p| p.name).collect();
            let Some(unknown) = names.iter().find(|n| !passes.contains(&n.as_str())) else { return Ok(()) };
            let what = if optimize::PASSES.iter().any(|p| p.name == unknown) {
                format!("`{unknown}` is on already")
            } else {
                format!("there is no pass `{unknown}`")
            };
            let near = did_you_mean(unknown, passes.iter().copied());
            Err(Diagnostic::error(codes::BAD_FLAG, what).help(
                near.map_or(format!("passes: {}", passes.join(", ")), |n| format!("did you mean `{n}`?")),
            ))
        };
        known(|_| true, &self.no_opt)?;
        known(|p| p.stage == optimize::Stage::Asked, &self.opt)?;
        Ok(optimize::Options {
            disabled: self.no_opt.iter().cloned().collect(),
            enabled: self.opt.iter().cloned().collect(),
            bf16: self.dtype == Dtype::Bf16,
        })
    }

    /// A check of what can be run without data where none is given.
    pub(super) fn for_a_run(&self) -> CheckOptions {
        let request = Request { without_data: self.data.is_none(), ..Request::default() };
        CheckOptions { request, ..CheckOptions::default() }
    }

    /// Compiles a file.
    pub(super) fn check(&self, file: &Path, options: CheckOptions) -> Checked {
        let sources = FileSources::new(file, &self.roots, self.stdlib.as_deref());
        let options = CheckOptions { set: self.set.clone(), data: self.data.clone(), ..options };
        crate::check(&sources, &file.to_string_lossy(), &options)
    }

    /// Compiles a file and prints what there is to say; `None` when it has errors.
    pub(super) fn check_and_print(&self, file: &Path, options: CheckOptions) -> Option<Checked> {
        let checked = self.check(file, options);
        let failed = report::print(&checked.diagnostics, &checked.sources);
        (!failed).then_some(checked)
    }
}
