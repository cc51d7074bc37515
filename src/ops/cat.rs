//! `cat` and `stack`: several tensors as one.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Signature, required, resolve_axes};
use super::layout::axis_dim;
use super::primitive::all_lead;
use super::reshape::unsqueeze;
use super::slice::slice;
use super::{Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, copies};
use crate::shape::{Dim, Type};

/// Any number of tensors one after the other along an axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cat {
    /// The axis.
    pub axis: usize,
}

impl Primitive for Cat {
    fn name(&self) -> &'static str {
        "cat"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let Some((first, rest)) = inputs.split_first() else {
            return Err(OpError::value("`cat` of no tensors").help("give at least one"));
        };
        let mut total = axis_dim(self.name(), first, self.axis)?.clone();
        let mut out = (*first).clone();
        for (i, other) in rest.iter().enumerate() {
            if other.dtype != first.dtype {
                let m = format!("`cat` of {first} ({}) and {other} ({})", first.dtype, other.dtype);
                return Err(OpError::dtype(m).help("cast one of them"));
            }
            let agrees = |(k, (a, b)): (usize, (&Dim, &Dim))| k == self.axis || a == b;
            if other.rank() != first.rank() || !first.shape.iter().zip(&other.shape).enumerate().all(agrees) {
                let m = format!(
                    "`cat` along axis {}: tensor 0 is {first} and tensor {} is {other}",
                    self.axis,
                    i + 1
                );
                return Err(OpError::shape(m).help("all other axes must be equal"));
            }
            if other.space != first.space {
                out.space = None;
            }
            total = total + other.shape[self.axis].clone();
        }
        out.shape[self.axis] = total;
        Ok(out)
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        if self.axis == 0 { None } else { all_lead(inputs, output) }
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let mut start = Dim::from(0);
        let mut out = Vec::with_capacity(cx.inputs.len());
        for input in cx.inputs {
            let end = start.clone() + cx.to.ty(*input).shape[self.axis].clone();
            out.push(Some(slice(cx.to, cx.grad, self.axis, start, end.clone())?));
            start = end;
        }
        Ok(out)
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        copies::cat(inputs, self.axis)
    }

    fn label(&self) -> String {
        format!("cat, axis {}", self.axis)
    }

    fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }
}

/// Emits the tensors one after the other along an axis; a single one is itself.
///
/// # Errors
/// None, or tensors that do not fit each other.
pub fn cat(to: &mut dyn Emit, xs: &[NodeId], axis: usize) -> Result<NodeId, OpError> {
    match xs {
        [x] => axis_dim("cat", to.ty(*x), axis).map(|_| *x),
        _ => to.emit(Cat { axis }.into(), xs),
    }
}

/// Emits the tensors side by side along a new axis.
///
/// # Errors
/// None, or tensors of different shapes.
pub fn stack(to: &mut dyn Emit, xs: &[NodeId], axis: i64) -> Result<NodeId, OpError> {
    let Some(first) = xs.first() else {
        return Err(OpError::value("`stack` of no tensors").help("give at least one"));
    };
    let first = to.ty(*first).clone();
    let axis = resolve_axes(&[axis], first.rank() + 1)?[0];
    let mut columns = Vec::with_capacity(xs.len());
    for (i, x) in xs.iter().enumerate() {
        let ty = to.ty(*x);
        if ty.shape != first.shape {
            let m = format!("`stack`: tensor 0 is {first} and tensor {i} is {ty}");
            return Err(
                OpError::shape(m).help("all must have one shape; `cat` joins along an axis they have")
            );
        }
        columns.push(unsqueeze(to, *x, axis as i64)?);
    }
    cat(to, &columns, axis)
}

fn build_cat(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let xs = args.tensors(0)?;
    let rank = xs.first().map_or(0, |x| to.ty(*x).rank());
    if xs.is_empty() {
        return Err(OpError::value("`cat` of no tensors").help("give at least one"));
    }
    let axis = resolve_axes(&[args.int(1)?], rank)?[0];
    cat(to, &xs, axis).map(Arg::Tensor)
}

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "cat",
        params: &[required("xs", ArgKind::Tensors), required("axis", ArgKind::Int)],
        rest: None,
        named: false,
        doc: "Tensors one after the other along an axis: [n, a], [n, b] with axis 1 give [n, a + b].",
        build: build_cat,
        fold: None,
    },
    Signature {
        name: "stack",
        params: &[required("xs", ArgKind::Tensors), required("axis", ArgKind::Int)],
        rest: None,
        named: false,
        doc: "Tensors of one shape side by side along a new axis.",
        build: |to, args| stack(to, &args.tensors(0)?, args.int(1)?).map(Arg::Tensor),
        fold: None,
    },
];
