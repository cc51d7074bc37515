//! `reshape`, and what lowers to it: `flatten`, `squeeze`, `unsqueeze`.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, Signature, optional, required, resolve_axes};
use super::layout::{arity, check_shape, product};
use super::primitive::all_lead;
use super::util::output_shape;
use super::{Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, copies};
use crate::diagnostic::codes;
use crate::shape::{Dim, Type, display_shape};

/// The same elements in the same order under another shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reshape {
    /// The shape; no `-1` is left in it.
    pub shape: Vec<Dim>,
}

impl Primitive for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x] = arity(self.name(), inputs)?;
        check_shape(self.name(), &self.shape)?;
        let (from, to) = (x.elements(), product(&self.shape));
        if from != to {
            let m = format!(
                "{} has {from} elements, and {} would have {to}",
                display_shape(&x.shape),
                display_shape(&self.shape)
            );
            let help = what_would_fit(&x.shape, &self.shape);
            return Err(OpError { help, ..OpError::shape(m) });
        }
        Ok(Type { shape: self.shape.clone(), ..x.clone() })
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        all_lead(inputs, output)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let shape = cx.to.ty(cx.inputs[0]).shape.clone();
        Ok(vec![Some(reshape(cx.to, cx.grad, shape)?)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        copies::contiguous(&inputs[0])?.reshape(output_shape(cx)?)
    }

    fn label(&self) -> String {
        format!("reshape {}", display_shape(&self.shape))
    }

    fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }

    fn is_view(&self, _inputs: &[&Type]) -> bool {
        true
    }

    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        for d in &mut self.shape {
            *d = f(d);
        }
    }
}

/// What to change where the numbers of elements differ: the last dimension of what comes in, which the layer before
/// sets, where axes are taken apart; or a dimension asked for.
fn what_would_fit(from: &[Dim], to: &[Dim]) -> Option<String> {
    let (have, want) = (product(from), product(to));
    let positive = |d: &Dim| d.as_const().is_some_and(|d| d > 0);
    let width = from.split_last().and_then(|(last, before)| {
        let fits = want.exact_div(&product(before)).filter(positive)?;
        Some(format!("a last dimension of {fits} (it is {last}) would do: the width of the layer before"))
    });
    let shape = (0..to.len()).find_map(|i| {
        let rest = product(&to[..i]) * product(&to[i + 1..]);
        let mut shape = to.to_vec();
        shape[i] = have.exact_div(&rest).filter(positive)?;
        let m = format!("{} has as many elements", display_shape(&shape));
        Some(m + "; `-1` in place of one dimension takes what is left over")
    });
    match (width.filter(|_| to.len() > from.len() || shape.is_none()), shape) {
        (Some(width), Some(shape)) => Some(format!("{width}; or {shape}")),
        (width, shape) => width.or(shape),
    }
}

/// Emits a reshape; `x` itself where it has that shape already.
///
/// # Errors
/// The numbers of elements differ.
pub fn reshape(to: &mut dyn Emit, x: NodeId, shape: Vec<Dim>) -> Result<NodeId, OpError> {
    if to.ty(x).shape == shape {
        return Ok(x);
    }
    to.emit(Reshape { shape }.into(), &[x])
}

/// Replaces the one `-1` of a wanted shape by what is left over, by exact division of polynomials.
///
/// # Errors
/// More than one `-1`, or a division with a remainder.
pub fn solve_shape(from: &[Dim], wanted: &[Dim]) -> Result<Vec<Dim>, OpError> {
    let unknowns = wanted.iter().filter(|d| d.is(-1)).count();
    match unknowns {
        0 => Ok(wanted.to_vec()),
        1 => {
            let known = wanted.iter().filter(|d| !d.is(-1)).fold(Dim::from(1), |a, d| a * d.clone());
            let total = product(from);
            let value = total.exact_div(&known).ok_or_else(|| {
                let m = format!(
                    "{} has {total} elements, which {known} does not divide, so `-1` in {} has no value",
                    display_shape(from),
                    display_shape(wanted)
                );
                OpError::new(codes::NOT_DIVISIBLE, m)
            })?;
            Ok(wanted.iter().map(|d| if d.is(-1) { value.clone() } else { d.clone() }).collect())
        }
        _ => {
            let m = format!("{} has {unknowns} unknown dimensions; one can be solved", display_shape(wanted));
            Err(OpError::new(codes::UNSOLVED_DIM, m))
        }
    }
}

/// Emits `x` with the axes `start ..= end` merged into one.
///
/// # Errors
/// The range is empty or out of range.
pub fn flatten(to: &mut dyn Emit, x: NodeId, start: i64, end: i64) -> Result<NodeId, OpError> {
    let shape = to.ty(x).shape.clone();
    let at = resolve_axes(&[start], shape.len())?[0];
    let last = resolve_axes(&[end], shape.len())?[0];
    if at > last {
        let m = format!("`flatten` from axis {start} to axis {end} of {}", display_shape(&shape));
        return Err(OpError::new(codes::BAD_AXIS, m).help("the first axis must not come after the last"));
    }
    let mut out = shape[..at].to_vec();
    out.push(product(&shape[at..=last]));
    out.extend_from_slice(&shape[last + 1..]);
    reshape(to, x, out)
}

/// Emits `x` without the named axes, which must be 1.
///
/// # Errors
/// An axis is out of range or is not 1.
pub fn squeeze(to: &mut dyn Emit, x: NodeId, axes: &[i64]) -> Result<NodeId, OpError> {
    let shape = to.ty(x).shape.clone();
    let axes = resolve_axes(axes, shape.len())?;
    if let Some(axis) = axes.iter().find(|a| !shape[**a].is(1)) {
        let m = format!("`squeeze` of axis {axis} of {}, which is {}", display_shape(&shape), shape[*axis]);
        return Err(OpError::shape(m).help("only an axis of length 1 can go"));
    }
    let kept = shape.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| d.clone()).collect();
    reshape(to, x, kept)
}

/// Emits `x` with an axis of length 1 before that position; negative positions count from the end of the
/// result.
///
/// # Errors
/// The position is out of range.
pub fn unsqueeze(to: &mut dyn Emit, x: NodeId, axis: i64) -> Result<NodeId, OpError> {
    let mut shape = to.ty(x).shape.clone();
    let at = resolve_axes(&[axis], shape.len() + 1)?[0];
    shape.insert(at, Dim::from(1));
    reshape(to, x, shape)
}

fn build_squeeze(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let x = args.tensor(0)?;
    let axes = if args.is_none(1) {
        (0i64..).zip(&to.ty(x).shape).filter(|(_, d)| d.is(1)).map(|(i, _)| i).collect()
    } else {
        args.ints(1)?
    };
    squeeze(to, x, &axes).map(Arg::Tensor)
}

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "reshape",
        params: &[required("x", ArgKind::Tensor), required("shape", ArgKind::Ints)],
        rest: None,
        named: false,
        doc: "The same elements under another shape; one dimension may be -1, and takes what is left over.",
        build: |to, args| {
            let x = args.tensor(0)?;
            let shape = solve_shape(&to.ty(x).shape, &args.dims(1)?)?;
            reshape(to, x, shape).map(Arg::Tensor)
        },
        fold: None,
    },
    Signature {
        name: "flatten",
        params: &[
            required("x", ArgKind::Tensor),
            optional("start", ArgKind::Int, Default::Int(1)),
            optional("end", ArgKind::Int, Default::Int(-1)),
        ],
        rest: None,
        named: false,
        doc: "Merges the axes `start` to `end` into one: [n, c, h, w] gives [n, c*h*w].",
        build: |to, args| flatten(to, args.tensor(0)?, args.int(1)?, args.int(2)?).map(Arg::Tensor),
        fold: None,
    },
    Signature {
        name: "squeeze",
        params: &[required("x", ArgKind::Tensor), optional("axis", ArgKind::Ints, Default::None)],
        rest: None,
        named: false,
        doc: "Takes out axes of length 1: the named ones, or all.",
        build: build_squeeze,
        fold: None,
    },
    Signature {
        name: "unsqueeze",
        params: &[required("x", ArgKind::Tensor), required("axis", ArgKind::Int)],
        rest: None,
        named: false,
        doc: "Puts in an axis of length 1 at that position: [n, d] with axis 1 gives [n, 1, d].",
        build: |to, args| unsqueeze(to, args.tensor(0)?, args.int(1)?).map(Arg::Tensor),
        fold: None,
    },
];
