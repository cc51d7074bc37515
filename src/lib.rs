//! Taper: a small declarative language for generative models, and the system that checks, trains,
//! samples and draws what is written in it.
#![deny(missing_docs)]

pub mod cli;
mod compile;
pub mod data;
pub mod diagnostic;
pub mod differentiate;
pub mod elaborate;
pub mod fs;
pub mod graph;
pub mod media;
pub mod ops;
pub mod optimize;
pub mod plan;
pub mod resolve;
pub mod run;
pub mod session;
pub mod shape;
pub mod source;
pub mod syntax;
pub mod train;
pub mod weights;

pub use compile::{CheckOptions, Checked, check};
pub use session::{Given, RunResult, RunSettings, Session};
