//! Taper: a small declarative language for generative models, and the system that checks, trains,
//! samples and draws what is written in it.
#![deny(missing_docs)]

pub mod cli;
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
pub mod shape;
pub mod source;
pub mod syntax;
pub mod train;
pub mod weights;
