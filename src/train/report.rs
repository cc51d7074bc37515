//! Who is told how a training goes.

use std::path::Path;

use super::Record;
use crate::diagnostic::Diagnostic;

/// What a training begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The training's name.
    pub name: String,
    /// Optimizer steps that a resumed run has done already.
    pub done: u64,
    /// Optimizer steps in all.
    pub steps: u64,
    /// Numbers in the trainable weights.
    pub parameters: u64,
    /// Samples of a batch.
    pub batch: usize,
    /// Batches of a step.
    pub accumulate: u64,
}

/// Hears of progress. Every method has an empty default.
pub trait Reporter {
    /// Before the first step.
    fn started(&mut self, _start: &Started) {}

    /// After each step: how many are done, of how many.
    fn step(&mut self, _done: u64, _of: u64) {}

    /// A step was logged.
    fn logged(&mut self, _record: &Record) {}

    /// A checkpoint, samples or curves were written.
    fn wrote(&mut self, _path: &Path) {}

    /// Something that does not stop the training.
    fn warn(&mut self, _diagnostic: &Diagnostic) {}
}

/// A reporter that says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Reporter for Quiet {}

/// How a training ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Steps done in all.
    pub step: u64,
    /// Whether it was asked to stop before the last step.
    pub stopped: bool,
    /// The last logged step.
    pub last: Option<Record>,
    /// Most bytes that a step held, as measured by the executor.
    pub peak_bytes: u64,
}
