//! `permute`, `transpose` and `move_axis`: the axes in another order.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Default, Signature, optional, required, resolve_axes};
use super::layout::arity;
use super::{Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive};
use crate::diagnostic::codes;
use crate::shape::Type;

/// The axes in another order: axis `i` of the output is axis `axes[i]` of the input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Permute {
    /// A permutation of the axes.
    pub axes: Vec<usize>,
}

impl Permute {
    /// The permutation that undoes it.
    pub fn inverse(&self) -> Permute {
        let mut axes = vec![0; self.axes.len()];
        for (i, a) in self.axes.iter().enumerate() {
            axes[*a] = i;
        }
        Permute { axes }
    }
}

impl Primitive for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x] = arity(self.name(), inputs)?;
        let mut seen = vec![false; x.rank()];
        let fresh = |a: &usize| seen.get_mut(*a).is_some_and(|s| !std::mem::replace(s, true));
        if self.axes.len() != x.rank() || !self.axes.iter().all(fresh) {
            let m = format!("`permute` to {:?} of {x}, which has rank {}", self.axes, x.rank());
            return Err(OpError::new(codes::BAD_AXIS, m).help("name every axis once"));
        }
        Ok(Type { shape: self.axes.iter().map(|a| x.shape[*a].clone()).collect(), ..x.clone() })
    }

    fn leading(&self, _inputs: &[&Type], _output: &Type) -> Option<Vec<Lead>> {
        (self.axes.first() == Some(&0)).then(|| vec![Lead::Batch])
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Ok(vec![Some(permute(cx.to, cx.grad, self.inverse().axes)?)])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        inputs[0].permute(self.axes.as_slice())
    }

    fn label(&self) -> String {
        format!("permute {:?}", self.axes)
    }

    fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }

    fn is_view(&self, _inputs: &[&Type]) -> bool {
        true
    }
}

/// Emits a permutation; `x` itself where the order stays.
///
/// # Errors
/// `axes` is no permutation of the axes of `x`.
pub fn permute(to: &mut dyn Emit, x: NodeId, axes: Vec<usize>) -> Result<NodeId, OpError> {
    if axes.len() == to.ty(x).rank() && axes.iter().enumerate().all(|(i, a)| i == *a) {
        return Ok(x);
    }
    to.emit(Permute { axes }.into(), &[x])
}

/// Emits `x` with two axes exchanged.
///
/// # Errors
/// An axis is out of range.
pub fn transpose(to: &mut dyn Emit, x: NodeId, a: i64, b: i64) -> Result<NodeId, OpError> {
    let rank = to.ty(x).rank();
    let (a, b) = (resolve_axes(&[a], rank)?[0], resolve_axes(&[b], rank)?[0]);
    let mut axes: Vec<usize> = (0..rank).collect();
    axes.swap(a, b);
    permute(to, x, axes)
}

/// Emits `x` with axis `from` moved to position `at`.
///
/// # Errors
/// An axis is out of range.
pub fn move_axis(to: &mut dyn Emit, x: NodeId, from: i64, at: i64) -> Result<NodeId, OpError> {
    let rank = to.ty(x).rank();
    let (from, at) = (resolve_axes(&[from], rank)?[0], resolve_axes(&[at], rank)?[0]);
    let mut axes: Vec<usize> = (0..rank).filter(|a| *a != from).collect();
    axes.insert(at, from);
    permute(to, x, axes)
}

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "permute",
        params: &[required("x", ArgKind::Tensor), required("axes", ArgKind::Ints)],
        rest: None,
        named: false,
        doc: "The axes in another order: axis i of the result is axis axes[i] of x.",
        build: |to, args| {
            let x = args.tensor(0)?;
            let axes = resolve_axes(&args.ints(1)?, to.ty(x).rank())?;
            permute(to, x, axes).map(Arg::Tensor)
        },
        fold: None,
    },
    Signature {
        name: "transpose",
        params: &[
            required("x", ArgKind::Tensor),
            optional("a", ArgKind::Int, Default::Int(-2)),
            optional("b", ArgKind::Int, Default::Int(-1)),
        ],
        rest: None,
        named: false,
        doc: "Exchanges two axes, the last two if none are named.",
        build: |to, args| transpose(to, args.tensor(0)?, args.int(1)?, args.int(2)?).map(Arg::Tensor),
        fold: None,
    },
    Signature {
        name: "move_axis",
        params: &[
            required("x", ArgKind::Tensor),
            required("from", ArgKind::Int),
            required("at", ArgKind::Int),
        ],
        rest: None,
        named: false,
        doc: "One axis moved to another position, the others in order.",
        build: |to, args| move_axis(to, args.tensor(0)?, args.int(1)?, args.int(2)?).map(Arg::Tensor),
        fold: None,
    },
];
