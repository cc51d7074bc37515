//! How the language calls those that are no operators.

use super::{Binary, power};
use crate::ops::args::{Arg, ArgKind, Args, Signature, required};
use crate::ops::fold::{map_static2, number};
use crate::ops::math::double;
use crate::ops::{Emit, OpError};

fn build(to: &mut dyn Emit, args: &Args, op: Binary) -> Result<Arg, OpError> {
    to.binary(op, args.tensor(0)?, args.tensor(1)?).map(Arg::Tensor)
}

/// The larger or smaller of two static values, whole numbers staying whole.
///
/// # Errors
/// They are no numbers, or lists of different lengths.
pub fn fold_extreme(op: Binary, a: &Arg, b: &Arg) -> Result<Arg, OpError> {
    map_static2(a, b, &|a, b| {
        if let (Arg::Int(x), Arg::Int(y)) = (a, b)
            && let (Some(x), Some(y)) = (x.as_const(), y.as_const())
        {
            return Ok(Arg::Int(if op == Binary::Max { x.max(y) } else { x.min(y) }.into()));
        }
        let (x, y) = (number(a)?, number(b)?);
        Ok(Arg::Float(if op == Binary::Max { double::max(x, y) } else { double::min(x, y) }))
    })
}

fn fold_pow(args: &Args) -> Result<Arg, OpError> {
    map_static2(&args.params[0], &args.params[1], &|a, b| {
        if let (Arg::Int(x), Arg::Int(y)) = (a, b)
            && let (Some(x), Some(y)) = (x.as_const(), y.as_const())
            && let Some(whole) = u32::try_from(y).ok().and_then(|e| x.checked_pow(e))
        {
            return Ok(Arg::Int(whole.into()));
        }
        let (x, y) = (number(a)?, number(b)?);
        let z = x.powf(y);
        if z.is_nan() && !x.is_nan() && !y.is_nan() {
            let m = format!("{x} to the power {y} is not a number");
            return Err(OpError::new(crate::diagnostic::codes::STATIC_ARITHMETIC, m));
        }
        Ok(Arg::Float(z))
    })
}

/// How the language calls them. `min` and `max`, which also reduce, are beside the reductions.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "maximum",
        params: &[required("a", ArgKind::Tensor), required("b", ArgKind::Tensor)],
        rest: None,
        named: false,
        doc: "The larger of two, elementwise, broadcast.",
        build: |to, args| build(to, args, Binary::Max),
        fold: Some(|args| fold_extreme(Binary::Max, &args.params[0], &args.params[1])),
    },
    Signature {
        name: "minimum",
        params: &[required("a", ArgKind::Tensor), required("b", ArgKind::Tensor)],
        rest: None,
        named: false,
        doc: "The smaller of two, elementwise, broadcast.",
        build: |to, args| build(to, args, Binary::Min),
        fold: Some(|args| fold_extreme(Binary::Min, &args.params[0], &args.params[1])),
    },
    Signature {
        name: "pow",
        params: &[required("a", ArgKind::Tensor), required("b", ArgKind::Any)],
        rest: None,
        named: false,
        doc: "a to the power b, elementwise, broadcast.",
        build: |to, args| match &args.params[1] {
            Arg::Tensor(b) => to.binary(Binary::Pow, args.tensor(0)?, *b).map(Arg::Tensor),
            _ => power(to, args.tensor(0)?, args.float(1)?).map(Arg::Tensor),
        },
        fold: Some(fold_pow),
    },
];
