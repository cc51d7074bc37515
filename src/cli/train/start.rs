//! What a training starts from: its flags, or the record of the run that it goes on with.

use std::path::{Path, PathBuf};

use super::super::arguments::FileOptions;
use super::super::values;
use super::TrainArgs;
use crate::diagnostic::{Diagnostic, codes};
use crate::train::RunRecord;

/// The settings of a training.
pub(super) struct Start {
    pub(super) file: PathBuf,
    pub(super) name: Option<String>,
    pub(super) folder: PathBuf,
    pub(super) resume: bool,
    pub(super) seed: u64,
    pub(super) steps: Option<u64>,
    pub(super) batch: Option<u64>,
    pub(super) weights: Option<PathBuf>,
    pub(super) options: FileOptions,
}

impl Start {
    /// From the flags; with `--resume`, what they leave open is read from the run's `run.ron`.
    ///
    /// # Errors
    /// `E0905`: no run there, or a flag that contradicts it.
    pub(super) fn new(args: &TrainArgs) -> Result<Start, Diagnostic> {
        let mut start = Start {
            file: args.file.clone().unwrap_or_default(),
            name: args.name.clone(),
            folder: args.resume.clone().or_else(|| args.out.clone()).unwrap_or_default(),
            resume: args.resume.is_some(),
            seed: args.seed.unwrap_or(0),
            steps: args.steps,
            batch: args.batch,
            weights: args.weights.clone(),
            options: args.options.clone(),
        };
        if start.resume {
            let record = RunRecord::read(&start.folder)?;
            contradictions(args, &record, &start.folder)?;
            start.take(&record)?;
        }
        Ok(start)
    }

    fn take(&mut self, record: &RunRecord) -> Result<(), Diagnostic> {
        let origin = &record.origin;
        if self.file.as_os_str().is_empty() {
            self.file = PathBuf::from(&origin.file);
            if !self.file.is_file() {
                let m = format!("`{}`, which the run was made from, is not there", origin.file);
                let help =
                    format!("say where it is now: taper train FILE --resume {}", self.folder.display());
                return Err(Diagnostic::error(codes::RESUME, m).help(help));
            }
        }
        self.name = Some(record.train.clone());
        self.seed = record.seed;
        self.steps = self.steps.or(Some(record.steps));
        self.batch = Some(record.batch as u64);
        let path = |p: &Option<String>| p.as_ref().map(PathBuf::from);
        self.weights = path(&origin.weights);
        self.options = FileOptions {
            set: origin.overrides.iter().map(|(n, v)| (n.clone(), values::parse(v))).collect(),
            stdlib: path(&origin.stdlib),
            roots: origin.roots.iter().map(PathBuf::from).collect(),
            data: path(&origin.data),
            no_opt: origin.no_opt.clone(),
            opt: origin.opt.clone(),
            ..FileOptions::default()
        };
        Ok(())
    }
}

/// Flags that say something else than the run began with.
fn contradictions(args: &TrainArgs, record: &RunRecord, folder: &Path) -> Result<(), Diagnostic> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut compare = |flag: &str, given: Option<String>, began: Option<String>| {
        if given.is_some() && given != began {
            let began = began.map_or(format!("without {}", flag.trim_end_matches(['=', ' '])), |b| {
                format!("with {flag}{b}")
            });
            found.push((format!("{flag}{}", given.unwrap_or_default()), began));
        }
    };
    let origin = &record.origin;
    let path = |p: &Option<PathBuf>| p.as_ref().map(|p| p.display().to_string());
    compare("--seed ", args.seed.map(|s| s.to_string()), Some(record.seed.to_string()));
    compare("--batch ", args.batch.map(|b| b.to_string()), Some(record.batch.to_string()));
    compare("train ", args.name.clone(), Some(record.train.clone()));
    compare("--data ", path(&args.options.data), origin.data.clone());
    compare("--weights ", path(&args.weights), origin.weights.clone());
    compare("--stdlib ", path(&args.options.stdlib), origin.stdlib.clone());
    let roots: Vec<String> = args.options.roots.iter().map(|r| r.display().to_string()).collect();
    let joined = |r: &[String]| (!r.is_empty()).then(|| r.join(" --root "));
    compare("--root ", joined(&roots), joined(&origin.roots));
    let joined = |r: &[String]| (!r.is_empty()).then(|| r.join(" --no-opt "));
    compare("--no-opt ", joined(&args.options.no_opt), joined(&origin.no_opt));
    let joined = |r: &[String]| (!r.is_empty()).then(|| r.join(" --opt "));
    compare("--opt ", joined(&args.options.opt), joined(&origin.opt));
    for (name, value) in &args.options.set {
        let began = origin.overrides.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        compare(&format!("--set {name}="), Some(value.to_string()), began);
    }
    let Some((flag, began)) = found.first() else { return Ok(()) };
    let m = format!("`{flag}` contradicts the run in `{}`, which began {began}", folder.display());
    let mut d = Diagnostic::error(codes::RESUME, m);
    for (flag, began) in &found[1..] {
        d = d.note(format!("so does `{flag}`: it began {began}"));
    }
    let help = "leave the flag out: `--resume` goes on with what run.ron says; or begin a new run with `--out`, \
                taking the weights along with `--weights`";
    Err(d.help(help))
}
