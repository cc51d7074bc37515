//! `taper train FILE [NAME] --out DIR`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;

use super::arguments::FileOptions;
use super::progress::{on_interrupt, style};
use super::{Outcome, report};
use crate::CheckOptions;
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::graph::program::StaticValue;
use crate::optimize;
use crate::run;
use crate::source::{FileId, SourceMap};
use crate::train::batches::DataOptions;
use crate::train::{DataBatches, Origin, Record, Reporter, Started, TrainOptions, Trainer};

/// Arguments of `train`.
#[derive(Args)]
pub(super) struct TrainArgs {
    /// The file
    file: PathBuf,
    /// Which of its training procedures; the first if none is named
    name: Option<String>,
    /// The run folder: weights, log, curves, samples
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    out: Option<PathBuf>,
    /// Go on with the run of this folder
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    resume: Option<PathBuf>,
    /// Optimizer steps, instead of the file's
    #[arg(long)]
    steps: Option<u64>,
    /// Samples per step, instead of the file's
    #[arg(long)]
    batch: Option<u64>,
    /// Weights to begin with: a file or folder
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    /// Key of all randomness: the same seed gives the same bytes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Threads; all cores if left out
    #[arg(long)]
    threads: Option<usize>,
    /// Steps between lines of the log
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    log_every: u64,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    save_every: u64,
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
    let mut train = Vec::new();
    for (name, value) in [("steps", args.steps), ("batch", args.batch)] {
        if let Some(v) = value {
            train.push((name.to_string(), StaticValue::Int(i64::try_from(v).unwrap_or(i64::MAX))));
        }
    }
    let passes = match args.options.passes() {
        Ok(passes) => passes,
        Err(d) => return report::fail(d, Outcome::Wrong),
    };
    let options = CheckOptions { train, ..CheckOptions::default() };
    let Some(checked) = args.options.check_and_print(&args.file, options) else { return Outcome::Wrong };
    let Some(mut program) = checked.program else {
        let d =
            Diagnostic::error(codes::BAD_FLAG, format!("`{}` has no pipeline to train", args.file.display()));
        return report::fail(d.help("`taper new NAME` starts one"), Outcome::Wrong);
    };
    let found = match &args.name {
        None => (!program.trains.is_empty()).then_some(0),
        Some(name) => program.trains.iter().position(|t| t.name == *name),
    };
    let Some(at) = found else {
        let known: Vec<&str> = program.trains.iter().map(|t| t.name.as_str()).collect();
        let name = args.name.as_deref().unwrap_or("train");
        let d = Diagnostic::error(codes::BAD_FLAG, format!("`{}` has no `train {name}`", program.name));
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
    let Some(out) = args.resume.clone().or_else(|| args.out.clone()) else { return Outcome::Wrong };
    let mut options = TrainOptions::new(out);
    options.resume = args.resume.is_some();
    options.seed = args.seed;
    options.device = device.clone();
    options.log_every = args.log_every;
    options.save_every = args.save_every;
    options.stop = on_interrupt();
    options.origin = origin(args, &sources);
    if let Some(path) = &args.weights {
        match crate::weights::load(&program.weights, path, true, &device) {
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
    let mut trainer = match Trainer::new(&program, &entry, options) {
        Ok(t) => t,
        Err(all) => {
            report::print(&all, &sources);
            return Outcome::Wrong;
        }
    };
    let data = DataOptions {
        data: args.options.data.as_deref(),
        seed: args.seed,
        start: trainer.step(),
        workers: 1,
        read: crate::media::ReadOptions::default(),
    };
    let mut batches = match DataBatches::open(&entry, &data) {
        Ok(b) => b,
        Err(d) => return wrong(d),
    };
    let mut shown = Lines::new(args.quiet, args.json);
    let result = trainer.run(&mut batches, &mut shown);
    shown.finish();
    match result {
        Ok(done) if done.stopped => {
            let folder = args.resume.as_deref().or(args.out.as_deref()).unwrap_or(Path::new("."));
            report::note(&format!(
                "stopped after step {}; go on with --resume {}",
                done.step,
                folder.display()
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

fn origin(args: &TrainArgs, sources: &SourceMap) -> Origin {
    let text = |id: u32| sources.get(FileId(id)).map(|f| (f.name.clone(), f.text.clone()));
    let mut imports = Vec::new();
    let mut id = 1;
    while let Some((name, text)) = text(id) {
        if !name.starts_with("std.") {
            imports.push((name, text));
        }
        id += 1;
    }
    Origin {
        file: args.file.display().to_string(),
        text: text(0).map(|(_, t)| t).unwrap_or_default(),
        imports,
        overrides: args.options.set.iter().map(|(n, v)| (n.clone(), v.to_string())).collect(),
        data: args.options.data.as_ref().map(|p| p.display().to_string()),
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
        report::note(&format!(
            "{}: {n}parameters, {} steps of {} samples{from}",
            start.name, start.steps, start.batch
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
