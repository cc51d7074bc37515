//! Training: one step is one run of the step graph; this module feeds it, keeps what it updates, and writes
//! the run folder, so that a run killed at any moment continues to the same weights.
//!
//! A run folder:
//! ```text
//! run.ron               file, overrides, seed, versions
//! metrics.jsonl         one line per logged step
//! curves.png            the same as curves
//! samples/              step-000100-sample.png
//! checkpoints/step-100/ model, ema and optimizer .safetensors: there whole or not at all
//! model.safetensors     the newest checkpoint's files again (hard links), for whoever takes the weights
//! ```

pub mod batches;
pub mod checkpoint;
pub mod metrics;
pub mod record;
pub mod report;
pub mod samples;
pub mod trainer;

#[cfg(test)]
mod tests;

pub use batches::{Batches, DataBatches, DataOptions, TrainBatch};
pub use metrics::Record;
pub use record::{Origin, RunRecord};
pub use report::{Finished, Quiet, Reporter, Started};
pub use trainer::{TrainOptions, Trainer};
