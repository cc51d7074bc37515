//! Softmax and log-softmax along an axis.

pub(super) mod rows;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, ParamSignature, Signature, optional, required, resolve_axes};
use super::fold::{items, number};
use super::primitive::all_lead;
use super::reduce::static_axis;
use super::util::{arity, check_axes, require_float};
use super::{
    Binary, Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, Reduce, ReduceKind, Unary,
};
use crate::shape::Type;

/// `exp(x) / Σ exp(x)` along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Softmax {
    /// Along which axis.
    pub axis: usize,
}

impl Primitive for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        infer("softmax", self.axis, inputs)
    }

    /// `y (g - Σ g y)`.
    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        if self.axis == 0 { None } else { all_lead(inputs, output) }
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let (y, g) = (cx.output, cx.grad);
        let gy = cx.to.binary(Binary::Mul, g, y)?;
        let total = Reduce { kind: ReduceKind::Sum, axes: vec![self.axis], keep: true };
        let total = cx.to.emit(total.into(), &[gy])?;
        let d = cx.to.binary(Binary::Sub, g, total)?;
        Ok(vec![Some(cx.to.binary(Binary::Mul, y, d)?)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        rows::along(cx, &inputs[0], self.axis, rows::Kind::Softmax)
    }

    fn label(&self) -> String {
        format!("softmax along {}", self.axis)
    }

    fn flops(&self, _inputs: &[&Type], output: &Type) -> f64 {
        20.0 * super::primitive::elements(output)
    }

    fn scratch_bytes(&self, _inputs: &[&Type], output: &Type) -> f64 {
        transposed_bytes(self.axis, output)
    }
}

/// `x - log Σ exp(x)` along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogSoftmax {
    /// Along which axis.
    pub axis: usize,
}

impl Primitive for LogSoftmax {
    fn name(&self) -> &'static str {
        "log_softmax"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        infer("log_softmax", self.axis, inputs)
    }

    /// `g - exp(y) Σ g`.
    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        if self.axis == 0 { None } else { all_lead(inputs, output) }
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let (y, g) = (cx.output, cx.grad);
        let p = cx.to.unary(Unary::Exp, y)?;
        let total = Reduce { kind: ReduceKind::Sum, axes: vec![self.axis], keep: true };
        let total = cx.to.emit(total.into(), &[g])?;
        let share = cx.to.binary(Binary::Mul, p, total)?;
        Ok(vec![Some(cx.to.binary(Binary::Sub, g, share)?)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        rows::along(cx, &inputs[0], self.axis, rows::Kind::LogSoftmax)
    }

    fn label(&self) -> String {
        format!("log_softmax along {}", self.axis)
    }

    fn flops(&self, _inputs: &[&Type], output: &Type) -> f64 {
        20.0 * super::primitive::elements(output)
    }

    fn scratch_bytes(&self, _inputs: &[&Type], output: &Type) -> f64 {
        transposed_bytes(self.axis, output)
    }
}

fn infer(name: &str, axis: usize, inputs: &[&Type]) -> Result<Type, OpError> {
    let [x] = arity(name, inputs)?;
    require_float(name, &x)?;
    check_axes(name, &[axis], x.rank())?;
    Ok(x.plain())
}

/// Another axis than the last is walked in a transposed copy.
fn transposed_bytes(axis: usize, x: &Type) -> f64 {
    if axis + 1 == x.rank() { 0.0 } else { super::primitive::elements(x) * x.dtype.size() as f64 }
}

const PARAMS: &[ParamSignature] =
    &[required("x", ArgKind::Tensor), optional("axis", ArgKind::Int, Default::Int(-1))];

fn axis_of(to: &dyn Emit, args: &Args) -> Result<usize, OpError> {
    Ok(resolve_axes(&[args.int(1)?], to.ty(args.tensor(0)?).rank())?[0])
}

fn fold(args: &Args, log: bool) -> Result<Arg, OpError> {
    static_axis(args, 1)?;
    let x = items(&args.params[0])?.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    let total = super::log_sum_exp::of(&x);
    let y = x.iter().map(|v| Arg::Float(if log { v - total } else { (v - total).exp() }));
    Ok(Arg::List(y.collect()))
}

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "log_softmax",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "The logarithm of softmax along an axis (the last if none is given), of the same shape.",
        build: |to, args| {
            let axis = axis_of(to, args)?;
            to.emit(LogSoftmax { axis }.into(), &[args.tensor(0)?]).map(Arg::Tensor)
        },
        fold: Some(|args| fold(args, true)),
    },
    Signature {
        name: "softmax",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "exp(x) / sum(exp(x)) along an axis (the last if none is given), of the same shape.",
        build: |to, args| {
            let axis = axis_of(to, args)?;
            to.emit(Softmax { axis }.into(), &[args.tensor(0)?]).map(Arg::Tensor)
        },
        fold: Some(|args| fold(args, false)),
    },
];
