//! `every N { … }`: graphs that run between training steps, and what they write.

use std::collections::{HashMap, hash_map};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::batches::whole;
use crate::data::write_npy;
use crate::diagnostic::{Diagnostic, codes};
use crate::fs::cannot_write;
use crate::graph::program::{Entry, EntryOutput, TrainEntry};
use crate::media::{GridShape, grid_f32};
use crate::run::{Executor, RunError, RunOptions, Watcher, to_array, to_f32_vec};

/// Runs the entries of a training's `every`s, each prepared once.
#[derive(Default)]
pub struct Samples {
    prepared: HashMap<(usize, usize), Prepared>,
}

struct Prepared {
    executor: Executor,
    /// The data sets that the graph reads whole.
    inputs: HashMap<String, Tensor>,
}

impl Prepared {
    fn new(entry: &Entry, data: Option<&Path>, seed: u64, device: &Device) -> Result<Prepared, RunError> {
        let inputs = whole(&entry.data, data, seed)?;
        let shapes = inputs.iter().map(|(n, t)| (n.clone(), t.dims().to_vec())).collect();
        Ok(Prepared { executor: Executor::new(&entry.graph, &shapes, device)?, inputs })
    }
}

impl Samples {
    /// Runs what is due after `step` steps; `data` is where data sets lie. Gives the files written.
    ///
    /// # Errors
    /// [`RunError::Cancelled`] where the watcher asks for it, else what is wrong.
    pub fn run(
        &mut self,
        entry: &TrainEntry,
        step: u64,
        folder: &Path,
        data: Option<&Path>,
        params: &dyn Fn(&str) -> Option<Tensor>,
        options: &RunOptions,
        watcher: &mut dyn Watcher,
    ) -> Result<Vec<PathBuf>, RunError> {
        let mut written = Vec::new();
        for (i, every) in entry.every.iter().enumerate() {
            if every.steps == 0 || !step.is_multiple_of(every.steps) {
                continue;
            }
            for (j, (stem, sampled)) in every.entries.iter().enumerate() {
                let prepared = match self.prepared.entry((i, j)) {
                    hash_map::Entry::Occupied(e) => e.into_mut(),
                    hash_map::Entry::Vacant(e) => {
                        e.insert(Prepared::new(sampled, data, options.seed, &options.device)?)
                    }
                };
                let out = prepared.executor.run(&prepared.inputs, params, options, watcher)?;
                let samples = folder.join("samples");
                std::fs::create_dir_all(&samples).map_err(|e| cannot_write(&samples, &e))?;
                // Two calls of one graph keep their files apart by the number of the later one.
                let same = every.entries[..j].iter().filter(|(s, _)| s == stem).count();
                let stem = if same == 0 { stem.clone() } else { format!("{stem}-{}", same + 1) };
                written.extend(write(sampled, &out.outputs, &samples, &format!("step-{step:06}-{stem}"))?);
            }
        }
        Ok(written)
    }
}

/// Images as a PNG grid, other outputs as `.npy`.
fn write(entry: &Entry, outputs: &[Tensor], folder: &Path, stem: &str) -> Result<Vec<PathBuf>, Diagnostic> {
    let mut written = Vec::new();
    for (i, tensor) in outputs.iter().enumerate() {
        let output = entry.outputs.get(i);
        let name = match output {
            Some(o) if outputs.len() > 1 => format!("{stem}-{}", o.name),
            _ => stem.to_string(),
        };
        let path = match (output, tensor.dims()) {
            (Some(EntryOutput { image: true, .. }), &[n, c, h, w]) => {
                let pixels = to_f32_vec(tensor).map_err(|e| {
                    Diagnostic::error(
                        codes::INTERNAL,
                        format!("an image cannot be read from the device: {e}"),
                    )
                })?;
                let path = folder.join(format!("{name}.png"));
                grid_f32(&pixels, GridShape { n, c, h, w }, None)?.write_png(&path)?;
                path
            }
            _ => {
                let path = folder.join(format!("{name}.npy"));
                write_npy(&path, &to_array(tensor)?)?;
                path
            }
        };
        written.push(path);
    }
    Ok(written)
}
