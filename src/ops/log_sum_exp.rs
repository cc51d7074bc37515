//! `log Σ exp(x)` over axes.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Default, Signature, optional, required};
use super::fold::{items, number};
use super::primitive::all_lead;
use super::reduce::{axes_of, reshape, static_axis};
use super::softmax::rows;
use super::util::{arity, check_axes, output_shape, reduced_shape, require_float};
use super::{Binary, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, Unary, copies};
use crate::shape::Type;

/// The logarithm of the sum of exponentials, without overflow.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogSumExp {
    /// Over which axes, in increasing order.
    pub axes: Vec<usize>,
    /// Whether the axes stay, of size 1.
    pub keep: bool,
}

impl Primitive for LogSumExp {
    fn name(&self) -> &'static str {
        "logsumexp"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x] = arity("logsumexp", inputs)?;
        require_float("logsumexp", &x)?;
        check_axes("logsumexp", &self.axes, x.rank())?;
        Ok(Type::new(x.dtype, reduced_shape(&x.shape, &self.axes, self.keep)))
    }

    /// `g exp(x - y)`.
    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        if self.axes.contains(&0) { None } else { all_lead(inputs, output) }
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let x = cx.inputs[0];
        let kept = reduced_shape(&cx.to.ty(x).shape, &self.axes, true);
        let y = reshape(cx.to, cx.output, &kept)?;
        let g = reshape(cx.to, cx.grad, &kept)?;
        let d = cx.to.binary(Binary::Sub, x, y)?;
        let p = cx.to.unary(Unary::Exp, d)?;
        Ok(vec![Some(cx.to.binary(Binary::Mul, p, g)?)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let x = &inputs[0];
        let shape = output_shape(cx)?;
        let mut order: Vec<usize> = (0..x.rank()).filter(|a| !self.axes.contains(a)).collect();
        let count: usize = order.iter().map(|a| x.dims()[*a]).product();
        let len: usize = self.axes.iter().map(|a| x.dims()[*a]).product();
        order.extend(&self.axes);
        let x = copies::contiguous(&x.permute(order)?)?.reshape((count, len))?;
        rows::rows(cx, &x, rows::Kind::LogSumExp)?.reshape(shape)
    }

    fn label(&self) -> String {
        format!("logsumexp over {:?}", self.axes)
    }

    fn flops(&self, inputs: &[&Type], _output: &Type) -> f64 {
        inputs.iter().map(|x| 20.0 * super::primitive::elements(x)).sum()
    }

    /// A copy with the axes at the end, unless they are there.
    fn scratch_bytes(&self, inputs: &[&Type], _output: &Type) -> f64 {
        let last = |x: &Type| self.axes.iter().rev().enumerate().all(|(i, a)| a + i + 1 == x.rank());
        inputs
            .iter()
            .filter(|x| !last(x))
            .map(|x| super::primitive::elements(x) * x.dtype.size() as f64)
            .sum()
    }
}

/// Of static numbers.
pub(super) fn of(x: &[f64]) -> f64 {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, super::math::double::max);
    let shift = if largest == f64::NEG_INFINITY { 0.0 } else { largest };
    shift + x.iter().map(|v| (v - shift).exp()).sum::<f64>().ln()
}

/// How the language calls it.
pub const SIGNATURES: &[Signature] = &[Signature {
    name: "logsumexp",
    params: &[
        required("x", ArgKind::Tensor),
        optional("axis", ArgKind::Ints, Default::None),
        optional("keep", ArgKind::Bool, Default::Bool(false)),
    ],
    rest: None,
    named: false,
    doc: "log(sum(exp(x))) over axes (all of them if none is given), without overflow.",
    build: |to, args| {
        let x = args.tensor(0)?;
        let axes = axes_of(args, 1, to.ty(x).rank())?;
        to.emit(LogSumExp { axes, keep: args.bool(2)? }.into(), &[x]).map(Arg::Tensor)
    },
    fold: Some(|args| {
        static_axis(args, 1)?;
        let x = items(&args.params[0])?.iter().map(number).collect::<Result<Vec<_>, _>>()?;
        Ok(Arg::Float(of(&x)))
    }),
}];
