//! Elementwise functions of one tensor.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Signature, required};
use super::{Emit, EvalContext, GradContext, NodeId, OpError, Primitive};
use crate::shape::Type;

/// An elementwise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unary {
    /// `-x`.
    Neg,
    /// `exp(x)`.
    Exp,
}

impl Primitive for Unary {
    fn name(&self) -> &'static str {
        match self {
            Unary::Neg => "neg",
            Unary::Exp => "exp",
        }
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        Ok(inputs[0].plain())
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let g = match self {
            Unary::Neg => cx.to.unary(Unary::Neg, cx.grad)?,
            Unary::Exp => cx.to.binary(super::Binary::Mul, cx.grad, cx.output)?,
        };
        Ok(vec![Some(g)])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        match self {
            Unary::Neg => inputs[0].neg(),
            Unary::Exp => inputs[0].exp(),
        }
    }
}

fn build(to: &mut dyn Emit, args: &Args, op: Unary) -> Result<Arg, OpError> {
    to.unary(op, args.tensor(0)?).map(Arg::Tensor)
}

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[Signature {
    name: "exp",
    params: &[required("x", ArgKind::Tensor)],
    rest: None,
    named: false,
    doc: "e to the power x, elementwise.",
    build: |to, args| build(to, args, Unary::Exp),
    fold: Some(|args| Ok(Arg::Float(args.float(0)?.exp()))),
}];
