//! `take`: whole slices by an integer tensor of any rank. An embedding is `take(table, tokens)`.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, Signature, optional, required, resolve_axes};
use super::expand::full;
use super::layout::{arity, axis_dim, check_index, product};
use super::reshape::reshape;
use super::{Emit, EvalContext, GradContext, IndexAdd, Lead, NodeId, OpError, Primitive, copies};
use crate::shape::Type;

/// The slices of `x` along an axis that an index names: the axis is replaced by the axes of the index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Take {
    /// The axis.
    pub axis: usize,
}

impl Primitive for Take {
    fn name(&self) -> &'static str {
        "take"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x, index] = arity(self.name(), inputs)?;
        axis_dim(self.name(), x, self.axis)?;
        check_index(self.name(), index)?;
        let mut shape = x.shape[..self.axis].to_vec();
        shape.extend_from_slice(&index.shape);
        shape.extend_from_slice(&x.shape[self.axis + 1..]);
        Ok(Type { shape, ..x.clone() })
    }

    fn leading(&self, inputs: &[&Type], _output: &Type) -> Option<Vec<Lead>> {
        match self.axis {
            0 if inputs[1].rank() > 0 => Some(vec![Lead::Shared, Lead::Batch]),
            0 => None,
            _ => Some(vec![Lead::Batch, Lead::Shared]),
        }
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let x = cx.to.ty(cx.inputs[0]).clone();
        let index_shape = cx.to.ty(cx.inputs[1]).shape.clone();
        let flat = product(&index_shape);
        let index = reshape(cx.to, cx.inputs[1], vec![flat.clone()])?;
        let mut shape = x.shape.clone();
        shape[self.axis] = flat;
        let g = reshape(cx.to, cx.grad, shape)?;
        let zeros = full(cx.to, 0.0, x.shape, x.dtype)?;
        let g = cx.to.emit(IndexAdd { axis: self.axis }.into(), &[zeros, index, g])?;
        Ok(vec![Some(g), None])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let index = inputs[1].flatten_all()?;
        let mut shape = inputs[0].dims()[..self.axis].to_vec();
        shape.extend_from_slice(inputs[1].dims());
        shape.extend_from_slice(&inputs[0].dims()[self.axis + 1..]);
        copies::contiguous(&inputs[0])?.index_select(&index.contiguous()?, self.axis)?.reshape(shape)
    }

    fn label(&self) -> String {
        format!("take, axis {}", self.axis)
    }

    fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }
}

/// Emits the slices of `x` along an axis that an index names.
///
/// # Errors
/// The axis is out of range, or the index is no integer tensor.
pub fn take(to: &mut dyn Emit, x: NodeId, index: NodeId, axis: usize) -> Result<NodeId, OpError> {
    to.emit(Take { axis }.into(), &[x, index])
}

fn build(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let x = args.tensor(0)?;
    let axis = resolve_axes(&[args.int(2)?], to.ty(x).rank())?[0];
    take(to, x, args.tensor(1)?, axis).map(Arg::Tensor)
}

/// How the language calls it.
pub const SIGNATURES: &[Signature] = &[Signature {
    name: "take",
    params: &[
        required("x", ArgKind::Tensor),
        required("index", ArgKind::Tensor),
        optional("axis", ArgKind::Int, Default::Int(0)),
    ],
    rest: None,
    named: false,
    doc: "The slices of x along an axis that an integer tensor names, an embedding for instance: [v, d] by \
              i64[n, t] gives [n, t, d].",
    build,
    fold: None,
}];
