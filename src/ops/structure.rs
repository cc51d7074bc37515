//! Operations that give a graph its structure. The executor evaluates them itself; `differentiate` knows
//! the gradient of [`Loop`].

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{EvalContext, GradContext, NodeId, OpError, Primitive};
use crate::shape::{DType, Dim, Type};

/// An input of the graph, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The name of the parameter.
    pub name: String,
    /// Its type.
    pub ty: Type,
}

/// A weight, or a state that training updates, by its checkpoint path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// `encoder.body.0.weight`.
    pub path: String,
    /// Its type.
    pub ty: Type,
}

/// A number without dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Const {
    /// The value.
    pub value: f64,
    /// Its dtype.
    pub dtype: DType,
}

/// A static array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The values, the last axis fastest.
    pub values: Vec<f64>,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its dtype.
    pub dtype: DType,
}

/// A loop of a constant number of steps over one region.
///
/// Inputs of the node: the carries' first values, then captured tensors, then scanned tensors. Inputs of
/// the region ([`LoopInput`]) are numbered in the same order; a scanned tensor arrives as its slice along
/// axis 0 at the present step. Outputs of the region: the next carries, then stacked values. Outputs of the
/// node ([`Project`]): the last carries, then for each stacked value all steps along a new axis 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loop {
    /// The region that is the body, by its index in the graph.
    pub region: u32,
    /// Number of steps.
    pub steps: u32,
    /// Number of carries.
    pub carries: u32,
    /// Number of captured tensors.
    pub captures: u32,
    /// Number of scanned tensors.
    pub scans: u32,
    /// Whether steps run from the last to the first. Columns, scans and randomness keep the step's own index.
    pub reverse: bool,
    /// Static per-step numbers: one list of `steps` values per column.
    pub columns: Vec<Vec<f64>>,
    /// Types of the outputs: carries, then stacked values with their step axis.
    pub outputs: Vec<Type>,
}

/// An input of a loop body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoopInput {
    /// Its number.
    pub index: u32,
    /// Its type.
    pub ty: Type,
}

/// The number of a column at the present step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The column's number in the innermost loop.
    pub index: u32,
    /// As what dtype.
    pub dtype: DType,
}

/// One output of a loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Its number.
    pub index: u32,
    /// Its type.
    pub ty: Type,
}

/// Evaluation and gradient of what the executor and `differentiate` handle themselves.
macro_rules! structural {
    ($ty:ty, $name:literal, $self:ident => $infer:expr, $label:expr, $map:expr) => {
        impl Primitive for $ty {
            fn name(&self) -> &'static str {
                $name
            }
            fn infer(&$self, _inputs: &[&Type]) -> Result<Type, OpError> {
                Ok($infer)
            }
            fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
                Ok(vec![None; cx.inputs.len()])
            }
            fn eval(&self, _cx: &EvalContext<'_>, _inputs: &[Tensor]) -> candle_core::Result<Tensor> {
                candle_core::bail!("`{}` is evaluated by the executor", $name)
            }
            fn label(&$self) -> String {
                $label
            }
            fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
                0.0
            }
            fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
                let map: fn(&mut $ty, &mut dyn FnMut(&Dim) -> Dim) = $map;
                map(self, f);
            }
        }
    };
}

fn map_type(ty: &mut Type, f: &mut dyn FnMut(&Dim) -> Dim) {
    for d in &mut ty.shape {
        *d = f(d);
    }
}

structural!(Input, "input", self => self.ty.clone(), self.name.clone(), |s, f| map_type(&mut s.ty, f));
structural!(Parameter, "param", self => self.ty.clone(), self.path.clone(), |s, f| map_type(&mut s.ty, f));
structural!(Const, "const", self => Type::scalar(self.dtype), self.value.to_string(), |_, _| {});
structural!(Table, "table", self => Type::of(self.dtype, &self.shape), "table".to_string(), |_, _| {});
structural!(
    Loop, "loop",
    self => self.outputs.first().cloned().unwrap_or_else(|| Type::scalar(DType::F32)),
    format!("loop ×{}", self.steps),
    |s, f| s.outputs.iter_mut().for_each(|t| map_type(t, f))
);
structural!(LoopInput, "loop_input", self => self.ty.clone(), format!("#{}", self.index), |s, f| map_type(&mut s.ty, f));
structural!(Column, "column", self => Type::scalar(self.dtype), format!("step column {}", self.index), |_, _| {});
structural!(Project, "project", self => self.ty.clone(), format!("output {}", self.index), |s, f| map_type(&mut s.ty, f));
