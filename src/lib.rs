//! Taper: a small declarative language for generative models, and the system that checks, trains, samples
//! and draws what is written in it.
//!
//! Compile a file from a string, run a graph, read the tensor:
//!
//! ```
//! use taper::data::{Array, ArrayData};
//! use taper::source::MemorySources;
//!
//! let text = "pipeline P { graph norm(x: [n, k]) -> [n] { sqrt(sum(x ^ 2, axis = 1)) } }";
//! let checked = taper::check(&MemorySources::single("p.taper", text), "p.taper", &Default::default());
//! let program = checked.program.expect("a clean file");
//! let entry = program.entries[0].clone();
//! let mut session = taper::Session::open(program, &Default::default()).expect("a device");
//! let x = Array::new(vec![1, 2], ArrayData::F32(vec![3.0, 4.0])).expect("2 values");
//! let given = taper::Given { arrays: vec![("x".into(), x)], ..Default::default() };
//! let result = session.run(&entry, given, &mut taper::run::Silent).expect("a result");
//! assert_eq!(result.outputs[0].1.data, ArrayData::F32(vec![5.0]));
//! ```
//!
//! `ARCHITECTURE.md` says what lives where; `docs/language.md` is the reference of the language.
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
pub mod recognize;
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
