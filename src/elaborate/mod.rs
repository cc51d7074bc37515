//! Elaboration: evaluates a file's static part and builds the graphs of its pipelines.
//!
//! Invariant of a [`Program`](crate::graph::program::Program): every graph is valid
//! ([`crate::graph::validate`]), its parameters are among the program's weights, and no value of the
//! language but tensors is left.

mod arith;
mod block;
mod builtins;
mod call;
mod checkpoint;
mod dataset;
mod entry;
mod expr;
mod fields;
mod flow;
mod index;
mod intrinsics;
mod kinds;
mod library;
mod looping;
mod ops_call;
mod pipeline;
mod report;
mod reveal;
mod signature;
mod stmt;
mod trace;
mod train;
mod unit;
mod value;
mod weights;

use std::collections::HashMap;
use std::sync::Arc;

use crate::data::Augment;
use crate::diagnostic::Diagnostic;
use crate::graph::program::StaticValue;
use crate::resolve::{ModuleId, Modules};
use crate::shape::DType;
use crate::source::{SourceMap, Span};

pub use pipeline::{Elaboration, Request, elaborate};

/// Every name of the language that needs no import but those of the prelude: operations, built-in functions
/// and constants.
pub fn known_names() -> Vec<&'static str> {
    builtins::names()
}

use unit::Unit;
use value::Value;
use weights::Registry;

/// A block or function of a file without a pipeline, and how far it was checked by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryItem {
    /// `block Encoder`, `fn lerp`.
    pub name: String,
    /// Why it can be checked whole only where it is used; `None` if it was checked whole.
    pub left: Option<String>,
}

/// A field of a data set, as elaboration sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct DataField {
    /// `image`, `label`, …
    pub name: String,
    /// As a graph gets it; `None` for text.
    pub dtype: Option<DType>,
    /// The shape of one sample.
    pub shape: Vec<usize>,
}

/// Tells the fields of a data set, by name, split and what is done to its images, or why it cannot.
pub type DataCatalog<'a> = dyn Fn(&str, &str, &Augment) -> Result<Vec<DataField>, Diagnostic> + Sync + 'a;

/// What elaboration is given beside the files.
pub struct Options<'a> {
    /// `--set name=value`: configuration of the pipeline.
    pub set: Vec<(String, StaticValue)>,
    /// Training options given on the command line (`steps`, `batch`, …), which win over the file's.
    pub train: Vec<(String, StaticValue)>,
    /// What data sets there are.
    pub data: &'a DataCatalog<'a>,
    /// What a file may cost.
    pub limits: Limits,
}

/// Bounds of elaboration: a file is data, not a program to trust.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Evaluated expressions.
    pub steps: u64,
    /// Nested calls and expressions.
    pub depth: u32,
    /// Elements of all lists made.
    pub elements: u64,
    /// Bytes of one tensor; above, the check says that the machine cannot hold it.
    pub tensor_bytes: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { steps: 4_000_000, depth: 1_000, elements: 8_000_000, tensor_bytes: 64e9 }
    }
}

/// A call under way, for messages.
struct Frame {
    /// Where the call stands.
    call: Span,
    /// The field path of the instance called, if it is one.
    path: Option<Arc<str>>,
    /// `Conv2d`, `reparameterize`.
    what: String,
}

/// The state of an elaboration.
struct Elaborator<'a> {
    map: &'a SourceMap,
    modules: &'a Modules,
    options: &'a Options<'a>,
    diagnostics: Vec<Diagnostic>,
    frames: Vec<Frame>,
    /// The graph under construction.
    unit: Option<Unit>,
    units: usize,
    /// Weights of the pipeline, and (during training) of the optimizers.
    registry: Registry,
    extra: Option<Registry>,
    /// Field path of the instance whose graph is evaluated.
    path: Arc<str>,
    constants: HashMap<(ModuleId, usize), Option<Value>>,
    steps: u64,
    depth: u32,
    elements: u64,
    aborted: bool,
    loops: usize,
    /// While fields are built, no tensor can be computed.
    in_fields: u32,
    /// Field paths whose values are taken out of the graph under construction.
    trace: Vec<String>,
}
