//! How the language calls the reductions.

use super::{ReduceKind, reduce};
use crate::diagnostic::codes;
use crate::ops::args::{
    Arg, ArgKind, Args, Default, ParamSignature, Signature, optional, required, resolve_axes,
};
use crate::ops::binary::fold_extreme;
use crate::ops::fold::{items, number, whole};
use crate::ops::{Binary, Emit, NodeId, OpError, Unary};

/// The axes that parameter `i` names; all of them for `none`.
///
/// # Errors
/// An axis out of range or named twice.
pub fn axes_of(args: &Args, i: usize, rank: usize) -> Result<Vec<usize>, OpError> {
    if args.is_none(i) {
        return Ok((0..rank).collect());
    }
    let mut axes = resolve_axes(&args.ints(i)?, rank)?;
    axes.sort_unstable();
    Ok(axes)
}

/// Refuses an axis that a list of numbers has not.
///
/// # Errors
/// Parameter `i` names another axis than the first.
pub fn static_axis(args: &Args, i: usize) -> Result<(), OpError> {
    axes_of(args, i, 1).map(|_| ())
}

const PARAMS: &[ParamSignature] = &[
    required("x", ArgKind::Tensor),
    optional("axis", ArgKind::Ints, Default::None),
    optional("keep", ArgKind::Bool, Default::Bool(false)),
];

const EXTREME: &[ParamSignature] = &[
    required("x", ArgKind::Tensor),
    optional("y", ArgKind::Tensor, Default::None),
    optional("axis", ArgKind::Ints, Default::None),
    optional("keep", ArgKind::Bool, Default::Bool(false)),
];

fn build(to: &mut dyn Emit, args: &Args, kind: ReduceKind) -> Result<Arg, OpError> {
    let x = args.tensor(0)?;
    let axes = axes_of(args, 1, to.ty(x).rank())?;
    reduce(to, kind, x, &axes, args.bool(2)?).map(Arg::Tensor)
}

/// With two operands elementwise, else a reduction.
fn build_extreme(to: &mut dyn Emit, args: &Args, op: Binary, kind: ReduceKind) -> Result<Arg, OpError> {
    let x = args.tensor(0)?;
    if args.is_none(1) {
        let axes = axes_of(args, 2, to.ty(x).rank())?;
        return reduce(to, kind, x, &axes, args.bool(3)?).map(Arg::Tensor);
    }
    only_elementwise(args, op)?;
    to.binary(op, x, args.tensor(1)?).map(Arg::Tensor)
}

fn only_elementwise(args: &Args, op: Binary) -> Result<(), OpError> {
    let name = if op == Binary::Max { "max" } else { "min" };
    if args.is_none(2) {
        return Ok(());
    }
    Err(OpError::value(format!("`{name}` of two operands is elementwise and takes no axis"))
        .help(format!("`{name}(x, axis = …)` reduces one operand; `{name}(a, b)` compares two")))
}

fn fold_extremes(args: &Args, op: Binary) -> Result<Arg, OpError> {
    if !args.is_none(1) {
        only_elementwise(args, op)?;
        return fold_extreme(op, &args.params[0], &args.params[1]);
    }
    static_axis(args, 2)?;
    let (first, rest) = items(&args.params[0])?
        .split_first()
        .ok_or_else(|| OpError::new(codes::STATIC_ARITHMETIC, "the extreme of an empty list"))?;
    number(first)?;
    rest.iter().try_fold(first.clone(), |a, b| fold_extreme(op, &a, b))
}

fn numbers(args: &Args) -> Result<Vec<f64>, OpError> {
    static_axis(args, 1)?;
    items(&args.params[0])?.iter().map(number).collect()
}

fn overflow() -> OpError {
    OpError::new(codes::STATIC_ARITHMETIC, "the result does not fit in 64 bits")
}

fn fold_sum(args: &Args) -> Result<Arg, OpError> {
    let values = numbers(args)?;
    match whole(items(&args.params[0])?) {
        Some(v) => {
            Ok(Arg::Int(v.iter().try_fold(0i64, |a, b| a.checked_add(*b)).ok_or_else(overflow)?.into()))
        }
        None => Ok(Arg::Float(values.iter().sum())),
    }
}

fn fold_prod(args: &Args) -> Result<Arg, OpError> {
    let values = numbers(args)?;
    match whole(items(&args.params[0])?) {
        Some(v) => {
            Ok(Arg::Int(v.iter().try_fold(1i64, |a, b| a.checked_mul(*b)).ok_or_else(overflow)?.into()))
        }
        None => Ok(Arg::Float(values.iter().product())),
    }
}

fn mean(values: &[f64]) -> Result<f64, OpError> {
    if values.is_empty() {
        return Err(OpError::new(codes::STATIC_ARITHMETIC, "the mean of an empty list"));
    }
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}

fn variance(values: &[f64]) -> Result<f64, OpError> {
    let m = mean(values)?;
    mean(&values.iter().map(|v| (v - m) * (v - m)).collect::<Vec<_>>())
}

/// The mean squared deviation from the mean.
fn build_variance(to: &mut dyn Emit, args: &Args) -> Result<NodeId, OpError> {
    let x = args.tensor(0)?;
    let axes = axes_of(args, 1, to.ty(x).rank())?;
    let m = reduce(to, ReduceKind::Mean, x, &axes, true)?;
    let d = to.binary(Binary::Sub, x, m)?;
    let s = to.unary(Unary::Square, d)?;
    reduce(to, ReduceKind::Mean, s, &axes, args.bool(2)?)
}

fn build_truth(to: &mut dyn Emit, args: &Args, kind: ReduceKind) -> Result<Arg, OpError> {
    let ty = to.ty(args.tensor(0)?);
    if ty.dtype != crate::shape::DType::Bool {
        return Err(
            OpError::dtype(format!("expected truth values, found {ty}")).help("compare first: `x > 0`")
        );
    }
    build(to, args, kind)
}

fn fold_truth(args: &Args, all: bool) -> Result<Arg, OpError> {
    static_axis(args, 1)?;
    let mut truths = items(&args.params[0])?.iter().map(|v| match v {
        Arg::Bool(b) => Ok(*b),
        _ => Err(OpError::new(codes::WRONG_KIND, "expected a list of truth values")),
    });
    let held = truths.try_fold(all, |a, b| b.map(|b| if all { a && b } else { a || b }))?;
    Ok(Arg::Bool(held))
}

macro_rules! signatures {
    ($($name:literal, $params:expr, $doc:literal, $build:expr, $fold:expr;)*) => {
        /// How the language calls them. `min` and `max` with two operands are elementwise.
        pub const SIGNATURES: &[Signature] = &[$(Signature {
            name: $name,
            params: $params,
            rest: None,
            named: false,
            doc: $doc,
            build: $build,
            fold: Some($fold),
        },)*];
    };
}

signatures! {
    "all", PARAMS, "Whether all truth values hold, over axes (all of them if none is given).",
        |to, a| build_truth(to, a, ReduceKind::Min), |a| fold_truth(a, true);
    "any", PARAMS, "Whether any truth value holds, over axes (all of them if none is given).",
        |to, a| build_truth(to, a, ReduceKind::Max), |a| fold_truth(a, false);
    "max", EXTREME, "`max(x, axis = none, keep = false)`: the largest over axes; `max(a, b)`: the larger of two, elementwise.",
        |to, a| build_extreme(to, a, Binary::Max, ReduceKind::Max), |a| fold_extremes(a, Binary::Max);
    "mean", PARAMS, "The mean over axes (all of them if none is given).",
        |to, a| build(to, a, ReduceKind::Mean), |a| Ok(Arg::Float(mean(&numbers(a)?)?));
    "min", EXTREME, "`min(x, axis = none, keep = false)`: the smallest over axes; `min(a, b)`: the smaller of two, elementwise.",
        |to, a| build_extreme(to, a, Binary::Min, ReduceKind::Min), |a| fold_extremes(a, Binary::Min);
    "prod", PARAMS, "The product over axes (all of them if none is given).",
        |to, a| build(to, a, ReduceKind::Prod), fold_prod;
    "std", PARAMS, "The standard deviation over axes: the root of `var`.",
        |to, a| { let v = build_variance(to, a)?; to.unary(Unary::Sqrt, v).map(Arg::Tensor) },
        |a| Ok(Arg::Float(variance(&numbers(a)?)?.sqrt()));
    "sum", PARAMS, "The sum over axes (all of them if none is given).",
        |to, a| build(to, a, ReduceKind::Sum), fold_sum;
    "var", PARAMS, "The mean squared deviation from the mean, over axes (the population's variance).",
        |to, a| build_variance(to, a).map(Arg::Tensor), |a| Ok(Arg::Float(variance(&numbers(a)?)?));
}
