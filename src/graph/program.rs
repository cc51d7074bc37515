//! What elaboration makes of a pipeline: graphs with their entry points, weights and training steps. All
//! later phases work on this and never see the source.

use std::fmt;

use super::Graph;
use crate::data::Augment;
use crate::shape::Type;
use crate::source::Span;

/// A weight (`param`) or a buffer that updates change (`state`).
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Its checkpoint path: `encoder.body.0.weight`.
    pub path: String,
    /// Its type; constant dimensions.
    pub ty: Type,
    /// Whether it is a `param` (else a `state`).
    pub trainable: bool,
    /// Whether its field is `frozen`.
    pub frozen: bool,
    /// Where it comes from inside a weights folder, if the field says so.
    pub from: Option<WeightSource>,
    /// The declaration.
    pub span: Span,
}

/// `from "unet/model.safetensors" as std.layouts.NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSource {
    /// The file inside the weights folder.
    pub file: String,
    /// The field path that is the root of the file's keys (`decoder`).
    pub root: String,
    /// The layout table's RON text, if one is named.
    pub layout: Option<String>,
}

/// A static value as the command line gives and shows it.
#[derive(Clone, Debug, PartialEq)]
pub enum StaticValue {
    /// `7`.
    Int(i64),
    /// `0.5`.
    Float(f64),
    /// `true`.
    Bool(bool),
    /// `text`.
    Str(String),
    /// `[1, 2]`.
    List(Vec<StaticValue>),
    /// `none`.
    None,
}

impl fmt::Display for StaticValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StaticValue::Int(v) => write!(f, "{v}"),
            StaticValue::Float(v) => write!(f, "{v:?}"),
            StaticValue::Bool(v) => write!(f, "{v}"),
            StaticValue::Str(v) => write!(f, "{v:?}"),
            StaticValue::List(v) => {
                write!(f, "[{}]", v.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
            StaticValue::None => f.write_str("none"),
        }
    }
}

/// What a parameter of an entry point takes.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryKind {
    /// A whole number: part of the graph's elaboration.
    Int,
    /// A number.
    Float,
    /// `true` or `false`.
    Bool,
    /// A string.
    Str,
    /// A tensor read from `.npy` or `.safetensors`.
    Tensor(Type),
    /// Image files: `[batch, c, h, w] in unit`.
    Image(Type),
}

/// A parameter of an entry point or of the pipeline: a command-line flag.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryParam {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub kind: EntryKind,
    /// Its default, as text.
    pub default: Option<StaticValue>,
    /// Documentation.
    pub doc: Option<String>,
}

/// What an output of an entry point is.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryOutput {
    /// Its name, if the signature gives one, else `out`.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Whether the signature says `image`: `[n, c, h, w] in unit`.
    pub image: bool,
}

/// An entry point, elaborated for given static arguments.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The graph's name.
    pub name: String,
    /// Documentation.
    pub doc: Option<String>,
    /// Parameters, in order.
    pub params: Vec<EntryParam>,
    /// The graph. Its inputs are the tensor parameters by name.
    pub graph: Graph,
    /// Outputs, in the order of the root's outputs.
    pub outputs: Vec<EntryOutput>,
    /// Data sets that the graph reads whole: inputs of the graph beside the parameters.
    pub data: Vec<DataInput>,
    /// Names of the watches that a trace asked for: what the blocks under some field paths give.
    pub traced: Vec<String>,
}

impl Entry {
    /// The parameter that counts samples, where no input has a batch: `count`. One sample by itself is run
    /// with it open.
    pub fn count_parameter(&self) -> Option<&str> {
        let open = |ty: &Type| ty.shape.first().is_some_and(|d| d.as_const().is_none());
        let batch = self.params.iter().any(|p| match &p.kind {
            EntryKind::Tensor(ty) | EntryKind::Image(ty) => open(ty),
            _ => false,
        });
        let batch = batch || self.data.iter().any(|d| open(&d.ty));
        let count = self.params.iter().find(|p| p.name == COUNT && p.kind == EntryKind::Int)?;
        (!batch).then_some(count.name.as_str())
    }

    /// Whether each output has rows that `count`, left open, counts. A picture of `count` points has not, nor has a
    /// measure of `count` images: one sample of them is not what they give for a count of one.
    pub fn gives_samples(&self) -> bool {
        let grows = |d: &crate::shape::Dim| d.names().iter().any(|n| **n == *COUNT);
        self.outputs.iter().all(|o| o.ty.shape.first().is_some_and(grows))
    }
}

/// The name of the parameter, and of the dimension it is while it is open.
pub const COUNT: &str = "count";

/// One field of a data set that a training step reads.
#[derive(Clone, Debug, PartialEq)]
pub struct DataInput {
    /// The graph input that gets it.
    pub input: String,
    /// The data set: `fashion_mnist`, or `folder` for whatever `--data` names.
    pub dataset: String,
    /// `train`, `test`, `train[:9000]`.
    pub split: String,
    /// `image`, `label`, …
    pub field: String,
    /// What is done to its images.
    pub augment: Augment,
    /// Its type, batch included.
    pub ty: Type,
    /// Where it is used.
    pub span: Span,
}

/// `every N { … }`.
#[derive(Clone, Debug)]
pub struct EveryEntry {
    /// Optimizer steps between.
    pub steps: u64,
    /// What is run: a file name stem and the entry.
    pub entries: Vec<(String, Entry)>,
}

/// A training procedure, elaborated.
#[derive(Clone, Debug)]
pub struct TrainEntry {
    /// Its name, `train` if it has none.
    pub name: String,
    /// Documentation.
    pub doc: Option<String>,
    /// Optimizer steps.
    pub steps: u64,
    /// Samples of a batch.
    pub batch: usize,
    /// Batches whose gradients are averaged for one optimizer step; the graph is run once for each.
    pub accumulate: u64,
    /// Decay of the exponential moving average of the weights, if one is kept.
    pub ema: Option<f64>,
    /// One batch. Inputs: the data's, and `step` (f32 scalar, the number of batches done before).
    /// Its updates are the next values of weights, states, optimizer states (`optimizer.…`) and averages
    /// (`ema.…`). Watches are scalars for the log; `loss` is always among them.
    pub graph: Graph,
    /// What the step reads.
    pub data: Vec<DataInput>,
    /// The optimizer's states and the averages, which the model itself has not.
    pub extra: Vec<Weight>,
    /// First values of `extra` (as `updates`). Reads the model's weights as parameters (an average starts at its weight).
    pub extra_init: Graph,
    /// Sample grids and the like.
    pub every: Vec<EveryEntry>,
    /// The loss plot's and the log's names, in order.
    pub watches: Vec<String>,
}

/// A pipeline, elaborated for given configuration.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Documentation.
    pub doc: Option<String>,
    /// Configuration parameters and their values.
    pub config: Vec<(EntryParam, StaticValue)>,
    /// Every weight and state, in order of construction.
    pub weights: Vec<Weight>,
    /// First values of all weights, as `updates` by path.
    pub init: Graph,
    /// Entry points, elaborated with their defaults.
    pub entries: Vec<Entry>,
    /// Training procedures.
    pub trains: Vec<TrainEntry>,
}
