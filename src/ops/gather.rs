//! `gather`: an element per index, along one axis.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Signature, required, resolve_axes};
use super::expand::{expand, full};
use super::layout::{arity, axis_dim, check_index};
use super::primitive::all_lead;
use super::{Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, ScatterAdd, copies};
use crate::diagnostic::codes;
use crate::shape::{Dim, Type, broadcast};

/// `out[.., i, ..] = x[.., index[.., i, ..], ..]`. The index has the shape of `x`, save along the axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gather {
    /// The axis.
    pub axis: usize,
}

/// Checks that an index fits a tensor along an axis: equal shapes elsewhere.
pub(super) fn check_fit(op: &str, x: &Type, index: &Type, axis: usize) -> Result<(), OpError> {
    axis_dim(op, x, axis)?;
    check_index(op, index)?;
    let agrees = |(i, (a, b)): (usize, (&Dim, &Dim))| i == axis || a == b;
    if x.rank() == index.rank() && x.shape.iter().zip(&index.shape).enumerate().all(agrees) {
        return Ok(());
    }
    let m = format!("`{op}` along axis {axis} of {x} by the index {index}");
    Err(OpError::shape(m)
        .help("all other axes of the index must be those of the tensor; `take` picks whole slices"))
}

impl Primitive for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x, index] = arity(self.name(), inputs)?;
        check_fit(self.name(), x, index, self.axis)?;
        Ok(Type { shape: index.shape.clone(), ..x.clone() })
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        if self.axis == 0 { None } else { all_lead(inputs, output) }
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let ty = cx.to.ty(cx.inputs[0]).clone();
        let zeros = full(cx.to, 0.0, ty.shape, ty.dtype)?;
        let g = cx.to.emit(ScatterAdd { axis: self.axis }.into(), &[zeros, cx.inputs[1], cx.grad])?;
        Ok(vec![Some(g), None])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        copies::contiguous(&inputs[0])?.gather(&copies::contiguous(&inputs[1])?, self.axis)
    }

    fn label(&self) -> String {
        format!("gather, axis {}", self.axis)
    }

    fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }
}

/// Emits a gather whose tensor and index broadcast against each other along the other axes.
///
/// # Errors
/// Shapes that do not broadcast, or an index that is no integer tensor.
pub fn gather(to: &mut dyn Emit, x: NodeId, index: NodeId, axis: i64) -> Result<NodeId, OpError> {
    let (xt, it) = (to.ty(x).clone(), to.ty(index).clone());
    let axis = resolve_axes(&[axis], xt.rank())?[0];
    check_index("gather", &it)?;
    if xt.rank() != it.rank() {
        let m = format!("`gather` of {xt} by the index {it}: their ranks differ");
        return Err(
            OpError::new(codes::WRONG_RANK, m).help("`take` picks whole slices by an index of any rank")
        );
    }
    let without = |shape: &[Dim]| {
        let mut shape = shape.to_vec();
        shape[axis] = Dim::from(1);
        shape
    };
    let common = broadcast(&without(&xt.shape), &without(&it.shape)).map_err(|_| {
        OpError::new(codes::BROADCAST, format!("`gather` along axis {axis} of {xt} by the index {it}"))
            .help("all other axes must be equal, or 1")
    })?;
    let with = |size: &Dim| {
        let mut shape = common.clone();
        shape[axis] = size.clone();
        shape
    };
    let x = expand(to, x, with(&xt.shape[axis]))?;
    let index = expand(to, index, with(&it.shape[axis]))?;
    to.emit(Gather { axis }.into(), &[x, index])
}

fn build(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    gather(to, args.tensor(0)?, args.tensor(1)?, args.int(2)?).map(Arg::Tensor)
}

/// How the language calls it.
pub const SIGNATURES: &[Signature] = &[Signature {
    name: "gather",
    params: &[
        required("x", ArgKind::Tensor),
        required("index", ArgKind::Tensor),
        required("axis", ArgKind::Int),
    ],
    rest: None,
    named: false,
    doc: "An element of x per index, along one axis: out[i, j] = x[i, index[i, j]] for axis 1. Other axes \
          broadcast.",
    build,
    fold: None,
}];
