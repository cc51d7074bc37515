//! The training loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::{Device, Tensor};

use super::checkpoint::{self, EMA};
use super::metrics::{Metrics, Record};
use super::record::{Origin, RunRecord};
use super::report::{Finished, Reporter, Started};
use super::samples::Samples;
use super::{Batches, TrainBatch};
use crate::diagnostic::{Diagnostic, codes};
use crate::fs::cannot_write;
use crate::graph::program::{Program, TrainEntry};
use crate::run::{Executor, Outputs, Profile, RunError, RunOptions, Silent, Watcher, own, to_f64_vec};
use crate::weights::{ParamStore, initialise_into};

/// How to train.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The run folder.
    pub out: PathBuf,
    /// Whether to go on with the run that the folder holds.
    pub resume: bool,
    /// The seed of initial values, batches and noise.
    pub seed: u64,
    /// Optimizer steps in all; the entry's own number if `None`.
    pub steps: Option<u64>,
    /// Where to compute.
    pub device: Device,
    /// Optimizer steps between lines of the log, at least 1.
    pub log_every: u64,
    /// Optimizer steps between checkpoints, at least 1.
    pub save_every: u64,
    /// Set from outside (Ctrl-C): the step that runs is finished, a checkpoint is written.
    pub stop: Arc<AtomicBool>,
    /// Weights to begin with; those not among them are initialised.
    pub weights: ParamStore,
    /// Where the time of each operation of a step is noted.
    pub profile: Option<Arc<Profile>>,
    /// Where the training comes from.
    pub origin: Origin,
}

impl TrainOptions {
    /// The defaults, for a folder.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        TrainOptions {
            out: out.into(),
            resume: false,
            seed: 0,
            steps: None,
            device: Device::Cpu,
            log_every: 10,
            save_every: 500,
            stop: Arc::default(),
            weights: ParamStore::new(),
            profile: None,
            origin: Origin::default(),
        }
    }
}

/// A training with its state.
pub struct Trainer<'p> {
    program: &'p Program,
    entry: &'p TrainEntry,
    options: TrainOptions,
    store: ParamStore,
    /// Optimizer steps done.
    step: u64,
    steps: u64,
    metrics: Metrics,
    executor: Option<Executor>,
    samples: Samples,
    /// The step of the newest checkpoint.
    saved: Option<u64>,
    peak: u64,
}

/// Cancels the graphs that run between steps.
struct StopWatcher(Arc<AtomicBool>);

impl Watcher for StopWatcher {
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<'p> Trainer<'p> {
    /// Begins a run in its folder, or takes one up where its newest checkpoint left it.
    ///
    /// # Errors
    /// [`codes::RESUME`]: the folder holds a run and is not to be resumed, or another one. Weights that
    /// cannot be read or initialised; a folder that cannot be written.
    pub fn new(
        program: &'p Program,
        entry: &'p TrainEntry,
        options: TrainOptions,
    ) -> Result<Trainer<'p>, Vec<Diagnostic>> {
        let one = |d: Diagnostic| vec![d];
        let steps = options.steps.unwrap_or(entry.steps);
        let record = RunRecord {
            taper: env!("CARGO_PKG_VERSION").into(),
            pipeline: program.name.clone(),
            train: entry.name.clone(),
            seed: options.seed,
            batch: entry.batch,
            steps,
            origin: options.origin.clone(),
        };
        let folder = &options.out;
        let mut restored = None;
        if options.resume {
            let before = RunRecord::read(folder).map_err(one)?;
            before.resumable(&record, folder).map_err(one)?;
            restored = checkpoint::read(folder, &program.weights, &entry.extra, &options.device)?;
        } else if folder.join("run.ron").exists() {
            let message = format!("`{}` holds a run already", folder.display());
            return Err(one(Diagnostic::error(codes::RESUME, message)
                .help("go on with it with `--resume`, or give another folder")));
        }
        let saved = restored.as_ref().map(|(step, _)| *step);
        let (step, store) = match restored {
            Some(restored) => restored,
            None => (0, first_values(program, entry, &options).map_err(|e| one(diagnostic(e)))?),
        };
        std::fs::create_dir_all(folder).map_err(|e| one(cannot_write(folder, &e)))?;
        record.write(folder).map_err(one)?;
        let metrics = Metrics::open(folder, step).map_err(one)?;
        Ok(Trainer {
            program,
            entry,
            options,
            store,
            step,
            steps,
            metrics,
            executor: None,
            samples: Samples::default(),
            saved,
            peak: 0,
        })
    }

    /// Optimizer steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Batches done: where the data must be opened. An optimizer step takes as many as it accumulates.
    pub fn batches_done(&self) -> u64 {
        self.step * self.accumulate()
    }

    fn accumulate(&self) -> u64 {
        self.entry.accumulate.max(1)
    }

    /// Weights, states, optimizer states and averages as they are now.
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// Trains until the last step, or until it is asked to stop; then writes a checkpoint and the curves.
    ///
    /// # Errors
    /// [`codes::NOT_FINITE`] with the step: the newest checkpoint stays as it was. Data, disk, device.
    pub fn run(
        &mut self,
        batches: &mut dyn Batches,
        reporter: &mut dyn Reporter,
    ) -> Result<Finished, Diagnostic> {
        let trainable = self.program.weights.iter().filter(|w| w.trainable && !w.frozen);
        reporter.started(&Started {
            name: self.entry.name.clone(),
            done: self.step,
            steps: self.steps,
            parameters: trainable.map(|w| crate::ops::primitive::elements(&w.ty) as u64).sum(),
            batch: self.entry.batch,
            accumulate: self.accumulate(),
        });
        let begun = Instant::now();
        let before = self.metrics.last().map_or(0.0, |r| r.seconds);
        let (mut since, mut since_step) = (Instant::now(), self.step);
        let (log_every, save_every) = (self.options.log_every.max(1), self.options.save_every.max(1));
        while self.step < self.steps && !self.stopping() {
            // All of a step's batches are there before the first is used: a checkpoint never falls between.
            let given = (0..self.accumulate()).map(|_| batches.next()).collect::<Result<Vec<_>, _>>();
            let given = match given {
                Ok(given) => given,
                Err(d) => {
                    // What was learned before the data failed is not lost.
                    self.save(reporter)?;
                    return Err(d);
                }
            };
            let epoch = given.last().map_or(0, |b| b.epoch);
            let watches = self.one_step(given)?;
            self.step += 1;
            reporter.step(self.step, self.steps);
            if self.step.is_multiple_of(log_every) || self.step == 1 || self.step == self.steps {
                let passed = since.elapsed().as_secs_f64().max(1e-9);
                let images = ((self.step - since_step) * self.accumulate()) as f64 * self.entry.batch as f64;
                let record = Record {
                    step: self.step,
                    epoch,
                    values: mean_watches(&watches)?,
                    seconds: before + begun.elapsed().as_secs_f64(),
                    images_per_second: images / passed,
                };
                reporter.logged(&record);
                self.metrics.add(record)?;
                (since, since_step) = (Instant::now(), self.step);
            }
            let paused = Instant::now();
            self.sample(reporter)?;
            if self.step.is_multiple_of(save_every) {
                self.save(reporter)?;
            }
            // Samples and checkpoints do not count as training speed.
            since += paused.elapsed();
        }
        self.save(reporter)?;
        Ok(Finished {
            step: self.step,
            stopped: self.step < self.steps,
            last: self.metrics.last().cloned(),
            peak_bytes: self.peak,
        })
    }

    fn stopping(&self) -> bool {
        self.options.stop.load(Ordering::Relaxed)
    }

    /// One optimizer step: a run of the graph for each of its batches. Gives their watches.
    fn one_step(&mut self, batches: Vec<TrainBatch>) -> Result<Vec<Watches>, Diagnostic> {
        let first = self.batches_done();
        let mut watches = Vec::with_capacity(batches.len());
        for (at, batch) in (first..).zip(batches) {
            let out = self.one_batch(batch, at)?;
            self.check_loss(&out.watches)?;
            for (path, value) in out.updates {
                let value = own(&value).map_err(|e| diagnostic(RunError::internal(&path, &e)))?;
                self.store.insert(path, value);
            }
            watches.push(out.watches);
        }
        Ok(watches)
    }

    /// Runs the graph on batch `at`, counted from 0 over the whole training.
    fn one_batch(&mut self, batch: TrainBatch, at: u64) -> Result<Outputs, Diagnostic> {
        let device = &self.options.device;
        let mut inputs = batch.inputs;
        // Exact up to 2^24 batches.
        let step = Tensor::new(at as f32, &Device::Cpu);
        inputs.insert("step".into(), step.map_err(|e| diagnostic(RunError::internal("step", &e)))?);
        let executor = match &mut self.executor {
            Some(executor) => executor,
            none => {
                let shapes: BTreeMap<String, Vec<usize>> =
                    inputs.iter().map(|(n, t)| (n.clone(), t.dims().to_vec())).collect();
                none.insert(Executor::new(&self.entry.graph, &shapes, device).map_err(diagnostic)?)
            }
        };
        let options = RunOptions {
            seed: self.options.seed,
            step: u32::try_from(at).unwrap_or(u32::MAX),
            device: device.clone(),
            check_finite: false,
            profile: self.options.profile.clone(),
            ..RunOptions::default()
        };
        let store = &self.store;
        let params = |path: &str| store.get(path).cloned();
        let out = executor.run(&inputs, &params, &options, &mut Silent).map_err(diagnostic)?;
        self.peak = self.peak.max(out.memory.peak);
        Ok(out)
    }

    /// A loss that is not finite ends the run before its updates are taken.
    fn check_loss(&self, watches: &[(String, Tensor)]) -> Result<(), Diagnostic> {
        for (name, tensor) in watches.iter().filter(|(n, _)| n == "loss" || n.starts_with("loss_")) {
            let value = scalar(name, tensor)?;
            if !value.is_finite() {
                let kept = match self.saved {
                    Some(step) => format!("the checkpoint of step {step} is kept"),
                    None => "no checkpoint was written yet".to_string(),
                };
                let message = format!("`{name}` is {value} at step {}", self.step + 1);
                return Err(Diagnostic::error(codes::NOT_FINITE, message)
                    .note(kept)
                    .help("lower the learning rate, clip the gradients (`train (clip = 1.0)`), or look for log(0) and 0/0"));
            }
        }
        Ok(())
    }

    fn sample(&mut self, reporter: &mut dyn Reporter) -> Result<(), Diagnostic> {
        let store = &self.store;
        let params = |path: &str| store.get(&format!("{EMA}{path}")).or_else(|| store.get(path)).cloned();
        let options = RunOptions {
            seed: self.options.seed,
            device: self.options.device.clone(),
            check_finite: false,
            ..RunOptions::default()
        };
        let mut watcher = StopWatcher(self.options.stop.clone());
        let out = &self.options.out;
        let data = self.options.origin.data.as_ref().map(Path::new);
        match self.samples.run(self.entry, self.step, out, data, &params, &options, &mut watcher) {
            Ok(written) => written.iter().for_each(|path| reporter.wrote(path)),
            Err(RunError::Cancelled) => {}
            Err(RunError::Failed(d)) => return Err(*d),
        }
        Ok(())
    }

    fn save(&mut self, reporter: &mut dyn Reporter) -> Result<(), Diagnostic> {
        if self.saved == Some(self.step) {
            return Ok(());
        }
        let astray = checkpoint::not_finite(&self.program.weights, &self.store)
            .map_err(|e| diagnostic(RunError::internal("weights", &e)))?;
        if let Some(weight) = astray {
            return Err(checkpoint::astray(weight, self.step));
        }
        let (weights, extra) = (&self.program.weights, &self.entry.extra);
        let path = checkpoint::write(&self.options.out, self.step, weights, extra, &self.store)?;
        self.saved = Some(self.step);
        reporter.wrote(&path);
        if !self.metrics.records().is_empty() {
            let curves = self.options.out.join("curves.png");
            self.metrics.curves(&curves, &self.entry.watches)?;
            reporter.wrote(&curves);
        }
        Ok(())
    }
}

/// Given weights, the others' first values, then those of optimizer states and averages.
fn first_values(
    program: &Program,
    entry: &TrainEntry,
    options: &TrainOptions,
) -> Result<ParamStore, RunError> {
    let mut store = ParamStore::new();
    for (path, tensor) in options.weights.iter() {
        if program.weights.iter().any(|w| w.path == path) {
            let tensor = tensor.to_device(&options.device).map_err(|e| RunError::internal(path, &e))?;
            store.insert(path, tensor);
        }
    }
    initialise_into(&mut store, &program.init, options.seed, &options.device)?;
    initialise_into(&mut store, &entry.extra_init, options.seed, &options.device)?;
    Ok(store)
}

/// What a batch showed, by name.
type Watches = Vec<(String, Tensor)>;

/// The numbers of an optimizer step: the means over its batches.
fn mean_watches(batches: &[Watches]) -> Result<Vec<(String, f64)>, Diagnostic> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let mut out = Vec::with_capacity(first.len());
    for (i, (name, _)) in first.iter().enumerate() {
        let mut sum = 0.0;
        for batch in batches {
            sum += batch.get(i).map_or(Ok(f64::NAN), |(name, tensor)| scalar(name, tensor))?;
        }
        out.push((name.clone(), sum / batches.len() as f64));
    }
    Ok(out)
}

fn scalar(name: &str, tensor: &Tensor) -> Result<f64, Diagnostic> {
    match to_f64_vec(tensor) {
        Ok(values) if !values.is_empty() => Ok(values.iter().sum::<f64>() / values.len() as f64),
        Ok(_) => Ok(f64::NAN),
        Err(e) => Err(diagnostic(RunError::internal(name, &e))),
    }
}

fn diagnostic(error: RunError) -> Diagnostic {
    match error {
        RunError::Failed(d) => *d,
        RunError::Cancelled => Diagnostic::error(codes::INTERNAL, "a training step was cancelled"),
    }
}
