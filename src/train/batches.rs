//! What a training step reads: tensors by the names of the step graph's inputs.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::data::{Loader, LoaderOptions, open_named, read_field};
use crate::diagnostic::{Diagnostic, codes};
use crate::graph::program::{DataInput, TrainEntry};
use crate::run::from_array;
use crate::source::Span;

/// The inputs of one step.
#[derive(Clone, Debug, Default)]
pub struct TrainBatch {
    /// Its epoch, counted from 0.
    pub epoch: u64,
    /// Tensors by input, on the CPU.
    pub inputs: HashMap<String, Tensor>,
}

/// Gives the batch of each step, in order of steps from the one it was opened at.
pub trait Batches {
    /// The batch of the next step.
    ///
    /// # Errors
    /// What is wrong with the data.
    fn next(&mut self) -> Result<TrainBatch, Diagnostic>;
}

/// Batches of data sets, decoded and augmented on threads of their own.
pub struct DataBatches {
    sources: Vec<Source>,
    /// How often a pass over the data ends: the first data set counts epochs.
    steps_per_epoch: Option<u64>,
    /// Read ahead by [`DataBatches::read_first`].
    first: Option<TrainBatch>,
}

struct Source {
    loader: Loader,
    /// Field and input.
    fields: Vec<(String, String)>,
    /// Where the file reads it.
    span: Span,
}

/// How data is read.
#[derive(Clone, Debug)]
pub struct DataOptions<'a> {
    /// `--data`.
    pub data: Option<&'a Path>,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Batches done already.
    pub start: u64,
    /// Threads that make batches; 0 makes each when it is asked for.
    pub workers: usize,
}

impl DataBatches {
    /// Opens every data set that the step reads.
    ///
    /// # Errors
    /// What is wrong with the data (E08…), its span added.
    pub fn open(entry: &TrainEntry, options: &DataOptions<'_>) -> Result<DataBatches, Diagnostic> {
        // Fields that are read alike share a loader.
        let mut sets: BTreeMap<(&str, &str, String), Vec<&DataInput>> = BTreeMap::new();
        for input in &entry.data {
            sets.entry((&input.dataset, &input.split, input.augment.to_string())).or_default().push(input);
        }
        let mut sources = Vec::new();
        for ((dataset, split, _), inputs) in sets {
            let augment = inputs.first().map(|i| i.augment.clone()).unwrap_or_default();
            let at = |d: Diagnostic| match inputs.first() {
                Some(first) if d.labels.is_empty() => d.label(first.span, "read here"),
                _ => d,
            };
            let data = open_named(dataset, split, options.data, &augment.read_options()).map_err(at)?;
            let fields: Vec<(String, String)> =
                inputs.iter().map(|i| (i.field.clone(), i.input.clone())).collect();
            let mut names: Vec<String> = fields.iter().map(|(f, _)| f.clone()).collect();
            names.sort();
            names.dedup();
            let loader = Loader::new(
                Arc::new(data),
                LoaderOptions {
                    fields: names,
                    batch: entry.batch,
                    seed: options.seed,
                    augment,
                    start: options.start,
                    workers: options.workers,
                    ..LoaderOptions::default()
                },
            )
            .map_err(at)?;
            let span = inputs.first().map(|i| i.span).unwrap_or_default();
            sources.push(Source { loader, fields, span });
        }
        let steps_per_epoch = sources.first().map(|s| s.loader.steps_per_epoch());
        Ok(DataBatches { sources, steps_per_epoch, first: None })
    }

    /// Reads the first batch, which is kept for the training: what is wrong with it is found before a run folder
    /// is made.
    ///
    /// # Errors
    /// What is wrong with the data (E08…), its span added.
    pub fn read_first(&mut self) -> Result<(), Diagnostic> {
        self.first = Some(self.next()?);
        Ok(())
    }

    /// Steps in one pass over the data; `None` for a training that reads none.
    pub fn steps_per_epoch(&self) -> Option<u64> {
        self.steps_per_epoch
    }
}

impl Batches for DataBatches {
    fn next(&mut self) -> Result<TrainBatch, Diagnostic> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let mut out = TrainBatch::default();
        for (n, source) in self.sources.iter_mut().enumerate() {
            let batch = source
                .loader
                .next()
                .ok_or_else(|| Diagnostic::error(codes::INTERNAL, "the data ended before the training"))?
                .map_err(|d| if d.labels.is_empty() { d.label(source.span, "read here") } else { d })?;
            if n == 0 {
                out.epoch = batch.epoch;
            }
            for (field, input) in &source.fields {
                if let Some(array) = batch.fields.get(field) {
                    out.inputs.insert(input.clone(), from_array(array, &Device::Cpu)?);
                }
            }
        }
        Ok(out)
    }
}

/// The fields of data sets that a graph reads whole, by its inputs, on the CPU.
///
/// # Errors
/// What is wrong with the data (E08…).
pub fn whole(
    fields: &[DataInput],
    data: Option<&Path>,
    seed: u64,
) -> Result<HashMap<String, Tensor>, Diagnostic> {
    let mut out = HashMap::new();
    for field in fields {
        let at = |d: Diagnostic| if d.labels.is_empty() { d.label(field.span, "read here") } else { d };
        let name = (field.dataset.as_str(), field.split.as_str(), field.field.as_str());
        let array = read_field(name, data, &field.augment, None, seed).map_err(at)?;
        out.insert(field.input.clone(), from_array(&array, &Device::Cpu)?);
    }
    Ok(out)
}
