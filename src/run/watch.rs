//! What a run is given beside its tensors, what it tells while it runs, and what it gives back.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::{Memory, Profile};
use crate::diagnostic::{Diagnostic, codes};

/// Where noise comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rng {
    /// Counter-based Philox-4x32-10: independent of batch size, device and threads.
    #[default]
    Philox,
    /// PyTorch's CPU generator, drawn from in order of execution.
    Torch,
}

/// The settings of one run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// `--seed`.
    pub seed: u64,
    /// The training step, 0 outside training.
    pub step: u32,
    /// Where the run's samples begin among those of a larger batch, by random site (`--only K`); 0 for sites
    /// that are not among them. See [`super::first_samples`].
    pub first_samples: HashMap<u64, u32>,
    /// Where it runs.
    pub device: Device,
    /// Where noise comes from.
    pub rng: Rng,
    /// Whether outputs are searched for values that are not finite.
    pub check_finite: bool,
    /// Where the time of each operation is noted.
    pub profile: Option<Arc<Profile>>,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            seed: 0,
            step: 0,
            first_samples: HashMap::new(),
            device: Device::Cpu,
            rng: Rng::Philox,
            check_finite: true,
            profile: None,
        }
    }
}

/// Who is told what happens in a run, and may stop it.
pub trait Watcher {
    /// A `watch` statement has a value; inside a loop once per step (0 of 1 outside).
    fn watch(&mut self, _name: &str, _step: usize, _of: usize, _value: &Tensor) {}

    /// A step of an outermost loop is done: `step` of them, of `of`.
    fn progress(&mut self, _step: usize, _of: usize) {}

    /// An output holds `count` values that are not finite, of `of`.
    fn not_finite(&mut self, _output: &str, _count: usize, _of: usize) {}

    /// Whether the run shall end now.
    fn cancelled(&self) -> bool {
        false
    }
}

/// A watcher that ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Watcher for Silent {}

/// What a run gives.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// The root's outputs, in order.
    pub outputs: Vec<Tensor>,
    /// The next values of weights and states, by path.
    pub updates: Vec<(String, Tensor)>,
    /// The root's watches, in order.
    pub watches: Vec<(String, Tensor)>,
    /// Bytes held while it ran.
    pub memory: Memory,
}

/// Why a run gave nothing.
#[derive(Clone, Debug)]
pub enum RunError {
    /// The watcher asked for it.
    Cancelled,
    /// Something is wrong with the inputs, the weights, the machine, or (code E0904) with us.
    Failed(Box<Diagnostic>),
}

impl RunError {
    /// A fault of ours about the value of that name.
    pub(crate) fn internal(name: &str, error: &candle_core::Error) -> Self {
        let text = error.to_string();
        let reason = text.lines().next().unwrap_or("unknown error");
        Diagnostic::error(codes::INTERNAL, format!("`{name}` cannot be handled: {reason}")).into()
    }

    /// The diagnostic, if it is not a cancellation.
    pub fn diagnostic(&self) -> Option<&Diagnostic> {
        match self {
            RunError::Cancelled => None,
            RunError::Failed(d) => Some(d),
        }
    }
}

impl From<Diagnostic> for RunError {
    fn from(diagnostic: Diagnostic) -> Self {
        RunError::Failed(Box::new(diagnostic))
    }
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RunError::Cancelled => f.write_str("cancelled"),
            RunError::Failed(d) => write!(f, "{}: {}", d.code, d.message),
        }
    }
}

impl std::error::Error for RunError {}
