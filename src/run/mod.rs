//! Executes a graph on candle tensors: devices, open dimensions, loops, lifetimes, watchers.
//!
//! [`Executor::new`] binds a graph to the shapes of its inputs once; [`Executor::run`] runs it any number of
//! times. [`execute()`] does both. A run is a function of (graph, inputs, weights, seed): operations are
//! evaluated one after the other, each of them deterministic at any number of threads.

pub mod array;
pub mod bind;
pub mod convert;
pub mod device;
pub mod execute;
mod failure;
pub mod memory;
pub mod profile;
pub mod replay;
pub mod watch;

#[cfg(test)]
mod tests;

/// Tensors and devices as candle has them: what the executor takes and gives.
pub use candle_core::{Device, Tensor};

pub use array::{from_array, to_array};
pub use bind::{Binding, bind};
pub use convert::{candle_dtype, from_f64, own, taper_dtype, to_f32_vec, to_f64_vec};
pub use device::{DeviceChoice, keep_freed_memory, open, set_threads};
pub use execute::{Executor, execute};
pub use memory::Memory;
pub use profile::Profile;
pub use replay::first_samples;
pub use watch::{Outputs, Rng, RunError, RunOptions, Silent, Watcher};
