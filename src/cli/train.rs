//! `taper train FILE [NAME] --out DIR`, `taper train --resume DIR`.

mod start;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;

use super::arguments::{Dtype, FileOptions};
use super::progress::{on_interrupt, style};
use super::values::{parse_count, parse_seed};
use super::{Outcome, report};
use crate::CheckOptions;
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::graph::program::StaticValue;
use crate::optimize;
use crate::run;
use crate::source::{FileId, SourceMap};
use crate::train::batches::DataOptions;
use crate::train::{DataBatches, Origin, Record, Reporter, Started, TrainOptions, Trainer};
use start::Start;

/// Arguments of `train`.
#[derive(Args)]
pub(super) struct TrainArgs {
    /// The file; a resumed run knows its own
    #[arg(required_unless_present = "resume")]
    file: Option<PathBuf>,
    /// Which of its training procedures; the first if none is named
    name: Option<String>,
    /// The run folder: weights, log, curves, samples
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    out: Option<PathBuf>,
    /// Go on with the run of this folder: file, seed, settings and data are those it began with
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    resume: Option<PathBuf>,
    /// Optimizer steps, instead of the file's
    #[arg(long, value_parser = parse_count::<u64>, allow_hyphen_values = true)]
    steps: Option<u64>,
    /// Samples of a batch, instead of the file's
    #[arg(long, value_parser = parse_count::<u64>, allow_hyphen_values = true)]
    batch: Option<u64>,
    /// Weights to begin with: a file or folder
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    /// Key of all randomness: the same seed gives the same bytes [default: 0]
    #[arg(long, value_parser = parse_seed, allow_hyphen_values = true)]
    seed: Option<u64>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Threads; all cores if left out
    #[arg(long, value_parser = parse_count::<usize>, allow_hyphen_values = true)]
    threads: Option<usize>,
    /// Steps between lines of the log
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    log_every: u64,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    save_every: u64,
    /// Show which operations of the steps took the time, on standard error
    #[arg(long)]
    profile: bool,
    /// Print nothing but what is wrong
    #[arg(long, short)]
    quiet: bool,
    /// Print a JSON object per logged step
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: FileOptions,
}

pub(super) fn main(args: &TrainArgs) -> Outcome {
    let start = match Start::new(args) {
        Ok(start) => start,
        Err(d) => return report::fail(d, Outcome::Wrong),
    };
    let mut train = Vec::new();
    for (name, value) in [("steps", start.steps), ("batch", start.batch)] {
        if let Some(v) = value {
            train.push((name.to_string(), StaticValue::Int(i64::try_from(v).unwrap_or(i64::MAX))));
        }
    }
    if start.options.dtype != Dtype::F32 {
        let d = Diagnostic::error(codes::BAD_FLAG, "training computes in f32: `--dtype` is for runs")
            .help("leave out `--dtype`, and give it to `taper run`");
        return report::fail(d, Outcome::Wrong);
    }
    let passes = match start.options.passes() {
        Ok(passes) => passes,
        Err(d) => return report::fail(d, Outcome::Wrong),
    };
    let options = CheckOptions { train, ..CheckOptions::default() };
    let Some(checked) = start.options.check_and_print(&start.file, options) else { return Outcome::Wrong };
    let Some(mut program) = checked.program else {
        let d = Diagnostic::error(
            codes::BAD_FLAG,
            format!("`{}` has no pipeline to train", start.file.display()),
        );
        return report::fail(d.help("`taper new NAME` starts one"), Outcome::Wrong);
    };
    let found = match &start.name {
        None => (!program.trains.is_empty()).then_some(0),
        Some(name) => program.trains.iter().position(|t| t.name == *name),
    };
    let Some(at) = found else {
        let known: Vec<&str> = program.trains.iter().map(|t| t.name.as_str()).collect();
        let name = start.name.as_deref().unwrap_or_default();
        let what = if name.is_empty() { "training".to_string() } else { format!("`train {name}`") };
        let d = Diagnostic::error(codes::BAD_FLAG, format!("`{}` has no {what}", program.name));
        let help = match did_you_mean(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => {
                "add to the pipeline: train (steps = 1000) { … minimize … }".to_string()
            }
            None => format!("it has: {}", known.join(", ")),
        };
        return report::fail(d.help(help), Outcome::Wrong);
    };
    let mut entry = program.trains.remove(at);
    entry.graph = optimize::optimize(&entry.graph, &passes);
    for every in &mut entry.every {
        for (_, e) in &mut every.entries {
            e.graph = optimize::optimize(&e.graph, &passes);
        }
    }
    let sources = checked.sources;
    let wrong = |d: Diagnostic| {
        report::print(std::slice::from_ref(&d), &sources);
        Outcome::Wrong
    };
    if let Some(threads) = args.threads
        && let Err(d) = run::set_threads(threads)
    {
        return wrong(d);
    }
    let device = match args.device.parse().and_then(run::open) {
        Ok(d) => d,
        Err(d) => return wrong(d),
    };
    let mut options = TrainOptions::new(&start.folder);
    options.resume = start.resume;
    options.seed = start.seed;
    options.device = device.clone();
    options.log_every = args.log_every;
    options.save_every = args.save_every;
    options.stop = on_interrupt();
    let profile = args.profile.then(Arc::<run::Profile>::default);
    options.profile.clone_from(&profile);
    options.origin = origin(&start, &sources);
    // A run that has a checkpoint goes on from there; the weights it began with may be gone.
    let begun = start.resume && crate::weights::locate::newest_checkpoint(&start.folder).is_some();
    if !begun {
        // Without `--weights` a run begins anew, with what `from` names where that lies beside the file.
        let loaded = match &start.weights {
            Some(path) => crate::weights::load(&program.weights, path, true, &device),
            None => crate::weights::load_beside(&program.weights, &start.file, false, &device),
        };
        match loaded {
            Ok((store, remarks)) => {
                report::print(&remarks, &sources);
                options.weights = store;
            }
            Err(all) => {
                report::print(&all, &sources);
                return Outcome::Wrong;
            }
        }
    }
    let data = |batches_done| DataOptions {
        data: start.options.data.as_deref(),
        seed: start.seed,
        start: batches_done,
        workers: 1,
    };
    // A new run makes its folder only when its data can be read.
    let mut batches = None;
    if !start.resume {
        match DataBatches::open(&entry, &data(0)).and_then(|mut b| b.read_first().map(|()| b)) {
            Ok(b) => batches = Some(b),
            Err(d) => return wrong(d),
        }
    }
    let mut trainer = match Trainer::new(&program, &entry, options) {
        Ok(t) => t,
        Err(all) => {
            report::print(&all, &sources);
            return Outcome::Wrong;
        }
    };
    let opened = match batches {
        Some(b) => Ok(b),
        None => DataBatches::open(&entry, &data(trainer.batches_done())),
    };
    let mut batches = match opened {
        Ok(b) => b,
        Err(d) => return wrong(d),
    };
    let mut shown = Lines::new(args.quiet, args.json);
    let result = trainer.run(&mut batches, &mut shown);
    shown.finish();
    if let Some(profile) = profile {
        report::profile(&profile);
    }
    match result {
        Ok(done) if done.stopped => {
            report::note(&format!(
                "stopped after step {}; go on with: taper train --resume {}",
                done.step,
                start.folder.display()
            ));
            Outcome::Failed
        }
        Ok(_) => Outcome::Done,
        Err(d) => {
            report::print(std::slice::from_ref(&d), &sources);
            if d.code.0.starts_with("E08") { Outcome::Wrong } else { Outcome::Failed }
        }
    }
}

fn origin(start: &Start, sources: &SourceMap) -> Origin {
    let shown = |p: &Option<PathBuf>| p.as_ref().map(|p| p.display().to_string());
    let text = |id: u32| sources.get(FileId(id)).map(|f| (f.name.clone(), f.text.clone()));
    let mut imports = Vec::new();
    let mut id = 1;
    while let Some((name, text)) = text(id) {
        // The embedded library goes with the version of taper; another one is part of the run.
        if !name.starts_with("std.") || start.options.stdlib.is_some() {
            imports.push((name, text));
        }
        id += 1;
    }
    Origin {
        file: start.file.display().to_string(),
        text: text(0).map(|(_, t)| t).unwrap_or_default(),
        imports,
        overrides: start.options.set.iter().map(|(n, v)| (n.clone(), v.to_string())).collect(),
        data: shown(&start.options.data),
        stdlib: shown(&start.options.stdlib),
        roots: start.options.roots.iter().map(|p| p.display().to_string()).collect(),
        weights: shown(&start.weights),
        no_opt: start.options.no_opt.clone(),
        opt: start.options.opt.clone(),
    }
}

/// What is printed while training: a bar on a terminal, a line every few seconds elsewhere.
struct Lines {
    quiet: bool,
    json: bool,
    bar: Option<ProgressBar>,
    begun: Instant,
    first: u64,
    line: Option<Instant>,
}

impl Lines {
    fn new(quiet: bool, json: bool) -> Lines {
        Lines { quiet, json, bar: None, begun: Instant::now(), first: 0, line: None }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }

    fn values(record: &Record) -> String {
        record.values.iter().map(|(n, v)| format!("{n} {v:.4}")).collect::<Vec<_>>().join("  ")
    }
}

impl Reporter for Lines {
    fn started(&mut self, start: &Started) {
        self.first = start.done;
        self.begun = Instant::now();
        if self.quiet || self.json {
            return;
        }
        let n = report::count(start.parameters as f64);
        let from = if start.done > 0 { format!(", from step {}", start.done) } else { String::new() };
        let batches = if start.accumulate > 1 {
            format!("{} × {}", start.accumulate, start.batch)
        } else {
            start.batch.to_string()
        };
        report::note(&format!(
            "{}: {n}parameters, {} steps of {batches} samples{from}",
            start.name, start.steps
        ));
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(start.steps).with_style(style());
            bar.set_position(start.done);
            bar.reset_eta();
            self.bar = Some(bar);
        }
    }

    fn step(&mut self, done: u64, _of: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    fn logged(&mut self, record: &Record) {
        if self.json {
            let values: serde_json::Map<_, _> =
                record.values.iter().map(|(n, v)| (n.clone(), serde_json::json!(v))).collect();
            report::say(&serde_json::json!({ "step": record.step, "values": values }).to_string());
            return;
        }
        if self.quiet {
            return;
        }
        let text = Self::values(record);
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        } else if self.line.is_none_or(|at| at.elapsed() > Duration::from_secs(5)) {
            self.line = Some(Instant::now());
            let rate = (record.step.saturating_sub(self.first)) as f64
                / self.begun.elapsed().as_secs_f64().max(1e-9);
            report::note(&format!("step {}  {rate:.1}/s  {text}", record.step));
        }
    }

    fn wrote(&mut self, path: &Path) {
        if !self.quiet && !self.json && path.extension().is_some_and(|e| e == "png") {
            match &self.bar {
                Some(bar) => bar.println(format!("{} written", path.display())),
                None => report::note(&format!("{} written", path.display())),
            }
        }
    }

    fn warn(&mut self, diagnostic: &Diagnostic) {
        report::print(std::slice::from_ref(diagnostic), &SourceMap::default());
    }
}
