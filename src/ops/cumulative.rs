//! Running sums and products along an axis, and the linear recurrence that their gradients need.

mod eval;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, ParamSignature, Signature, optional, required, resolve_axes};
use super::fold::{items, number, whole};
use super::primitive::all_lead;
use super::reduce::static_axis;
use super::util::{arity, check_axes, require_float, require_number, require_same_dtype};
use super::{Binary, Emit, EvalContext, GradContext, Lead, NodeId, OpError, Pad, PadMode, Primitive, Slice};
use crate::diagnostic::codes;
use crate::shape::{Dim, Type};

/// What is accumulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CumulativeKind {
    /// The sum up to and including each element.
    Sum,
    /// The product up to and including each element.
    Prod,
}

/// A running sum or product along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cumulative {
    /// Which.
    pub kind: CumulativeKind,
    /// Along which axis.
    pub axis: usize,
    /// Whether from the last element to the first.
    pub reverse: bool,
}

impl Primitive for Cumulative {
    fn name(&self) -> &'static str {
        match self.kind {
            CumulativeKind::Sum => "cumsum",
            CumulativeKind::Prod => "cumprod",
        }
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x] = arity(self.name(), inputs)?;
        require_number(self.name(), &x)?;
        check_axes(self.name(), &[self.axis], x.rank())?;
        Ok(x.plain())
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        if self.axis == 0 { None } else { all_lead(inputs, output) }
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let (x, y, g) = (cx.inputs[0], cx.output, cx.grad);
        let to = &mut *cx.to;
        if !to.ty(x).dtype.is_float() {
            return Ok(vec![None]);
        }
        let (axis, reverse) = (self.axis, self.reverse);
        let gx = match self.kind {
            CumulativeKind::Sum => {
                let op = Cumulative { kind: CumulativeKind::Sum, axis, reverse: !reverse };
                to.emit(op.into(), &[g])?
            }
            CumulativeKind::Prod => {
                // dL/dx_i = y_{i-1} s_i with s_i = g_i + x_{i+1} s_{i+1}: no division, so zeros are no
                // exception.
                let next = shift(to, x, axis, !reverse, 0.0)?;
                let s = to.emit(LinearScan { axis, reverse: !reverse }.into(), &[next, g])?;
                let before = shift(to, y, axis, reverse, 1.0)?;
                to.binary(Binary::Mul, s, before)?
            }
        };
        Ok(vec![Some(gx)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        eval::cumulative(self, cx, &inputs[0])
    }

    fn label(&self) -> String {
        let way = if self.reverse { " backwards" } else { "" };
        format!("{} along {}{way}", self.name(), self.axis)
    }
}

/// `s_i = a_i s_{i-1} + b_i` along an axis, starting from 0. Inputs: a, b, of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinearScan {
    /// Along which axis.
    pub axis: usize,
    /// Whether from the last element to the first: `s_i = a_i s_{i+1} + b_i`.
    pub reverse: bool,
}

impl Primitive for LinearScan {
    fn name(&self) -> &'static str {
        "linear_scan"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [a, b] = arity(self.name(), inputs)?;
        require_float(self.name(), &a)?;
        require_same_dtype(self.name(), &a, &b)?;
        if a.shape != b.shape {
            return Err(
                OpError::shape(format!("`linear_scan` of {a} and {b}")).help("both must be of one shape")
            );
        }
        check_axes(self.name(), &[self.axis], a.rank())?;
        Ok(a.plain())
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        if self.axis == 0 { None } else { all_lead(inputs, output) }
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let (a, y, g) = (cx.inputs[0], cx.output, cx.grad);
        let to = &mut *cx.to;
        let (axis, reverse) = (self.axis, self.reverse);
        // The same recurrence the other way round: dL/db_i = g_i + a_{i+1} dL/db_{i+1}.
        let next = shift(to, a, axis, !reverse, 0.0)?;
        let gb = to.emit(LinearScan { axis, reverse: !reverse }.into(), &[next, g])?;
        let before = shift(to, y, axis, reverse, 0.0)?;
        let ga = to.binary(Binary::Mul, gb, before)?;
        Ok(vec![Some(ga), Some(gb)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        eval::linear_scan(self, cx, &inputs[0], &inputs[1])
    }

    fn label(&self) -> String {
        let way = if self.reverse { " backwards" } else { "" };
        format!("linear_scan along {}{way}", self.axis)
    }

    fn flops(&self, _inputs: &[&Type], output: &Type) -> f64 {
        2.0 * super::primitive::elements(output)
    }
}

/// Each element's predecessor along the axis (its successor if `back`), `fill` where there is none.
pub(super) fn shift(
    to: &mut dyn Emit,
    x: NodeId,
    axis: usize,
    back: bool,
    fill: f64,
) -> Result<NodeId, OpError> {
    let shape = &to.ty(x).shape;
    let (rank, len) = (shape.len(), shape[axis].clone());
    let one = || Dim::from(1);
    let zero = || Dim::from(0);
    let (start, end) = if back { (one(), len) } else { (zero(), len - one()) };
    let rest = to.emit(Slice { axis, start, end, step: 1 }.into(), &[x])?;
    let mut pads = vec![(zero(), zero()); rank];
    pads[axis] = if back { (zero(), one()) } else { (one(), zero()) };
    to.emit(Pad { pads, mode: PadMode::Constant, value: fill }.into(), &[rest])
}

const PARAMS: &[ParamSignature] =
    &[required("x", ArgKind::Tensor), optional("axis", ArgKind::Int, Default::Int(-1))];

fn build(to: &mut dyn Emit, args: &Args, kind: CumulativeKind) -> Result<Arg, OpError> {
    let x = args.tensor(0)?;
    let axis = resolve_axes(&[args.int(1)?], to.ty(x).rank())?[0];
    to.emit(Cumulative { kind, axis, reverse: false }.into(), &[x]).map(Arg::Tensor)
}

fn fold(args: &Args, product: bool) -> Result<Arg, OpError> {
    static_axis(args, 1)?;
    let items = items(&args.params[0])?;
    let overflow = || OpError::new(codes::STATIC_ARITHMETIC, "the result does not fit in 64 bits");
    if let Some(values) = whole(items) {
        let mut total = i64::from(product);
        let running = values.into_iter().map(|v| {
            total = if product { total.checked_mul(v) } else { total.checked_add(v) }.ok_or_else(overflow)?;
            Ok(Arg::Int(total.into()))
        });
        return Ok(Arg::List(running.collect::<Result<_, OpError>>()?));
    }
    let mut total = if product { 1.0 } else { 0.0 };
    let running = items.iter().map(|v| {
        let v = number(v)?;
        total = if product { total * v } else { total + v };
        Ok(Arg::Float(total))
    });
    Ok(Arg::List(running.collect::<Result<_, OpError>>()?))
}

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "cumprod",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "The running product along an axis (the last if none is given), of the same shape.",
        build: |to, args| build(to, args, CumulativeKind::Prod),
        fold: Some(|args| fold(args, true)),
    },
    Signature {
        name: "cumsum",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "The running sum along an axis (the last if none is given), of the same shape.",
        build: |to, args| build(to, args, CumulativeKind::Sum),
        fold: Some(|args| fold(args, false)),
    },
    Signature {
        name: "linear_scan",
        params: &[
            required("a", ArgKind::Tensor),
            required("b", ArgKind::Tensor),
            optional("axis", ArgKind::Int, Default::Int(-1)),
        ],
        rest: None,
        named: false,
        doc: "The recurrence s[i] = a[i] * s[i - 1] + b[i] along an axis, from 0; a, b and s are of one shape.",
        build: |to, args| {
            let (a, b) = (args.tensor(0)?, args.tensor(1)?);
            let axis = resolve_axes(&[args.int(2)?], to.ty(a).rank())?[0];
            to.emit(LinearScan { axis, reverse: false }.into(), &[a, b]).map(Arg::Tensor)
        },
        fold: None,
    },
];
