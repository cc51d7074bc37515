//! What several operations share: dtypes of candle, checks with helpful errors, broadcasting.

use candle_core::DType as CandleType;

use super::reduce::{Reduce, ReduceKind};
use super::{Emit, EvalContext, NodeId, OpError};
use crate::diagnostic::codes;
use crate::shape::{DType, Dim, Type, broadcast, display_shape};

/// The dtype by which candle stores ours: truth values are bytes, 0 or 1.
pub fn candle_dtype(dtype: DType) -> CandleType {
    match dtype {
        DType::Bool | DType::U8 => CandleType::U8,
        DType::I64 => CandleType::I64,
        DType::F16 => CandleType::F16,
        DType::BF16 => CandleType::BF16,
        DType::F32 => CandleType::F32,
        DType::F64 => CandleType::F64,
    }
}

/// Our dtype of a candle tensor that has one (bytes are `u8`, never `bool`).
pub fn from_candle(dtype: CandleType) -> Option<DType> {
    match dtype {
        CandleType::U8 => Some(DType::U8),
        CandleType::I64 => Some(DType::I64),
        CandleType::F16 => Some(DType::F16),
        CandleType::BF16 => Some(DType::BF16),
        CandleType::F32 => Some(DType::F32),
        CandleType::F64 => Some(DType::F64),
        _ => None,
    }
}

/// The constant shape of the output of an evaluation.
pub fn output_shape(cx: &EvalContext<'_>) -> candle_core::Result<Vec<usize>> {
    match cx.output.constant_shape() {
        Some(shape) => Ok(shape),
        None => {
            candle_core::bail!("the output shape {} is open at run time", display_shape(&cx.output.shape))
        }
    }
}

/// Inputs of an operation, as many as it takes.
pub fn arity<const N: usize>(name: &str, inputs: &[&Type]) -> Result<[Type; N], OpError> {
    match <&[&Type; N]>::try_from(inputs) {
        Ok(found) => Ok(found.map(Type::clone)),
        Err(_) => Err(OpError::internal(format!("`{name}` takes {N} inputs and got {}", inputs.len()))),
    }
}

/// Refuses what is not a float.
pub fn require_float(name: &str, x: &Type) -> Result<(), OpError> {
    if x.dtype.is_float() {
        return Ok(());
    }
    Err(OpError::dtype(format!("`{name}` needs a float tensor, found {x} ({})", x.dtype))
        .help("convert it first: `float(x)`"))
}

/// Refuses what arithmetic is not defined for: truth values and bytes.
pub fn require_number(name: &str, x: &Type) -> Result<(), OpError> {
    match x.dtype {
        DType::Bool => Err(OpError::dtype(format!("`{name}` does not take truth values, found {x}"))
            .help("convert it first: `float(x)` or `int(x)`")),
        DType::U8 => {
            Err(OpError::dtype(format!("`{name}` does not take bytes, which would overflow, found {x}"))
                .help("convert it first: `float(x)` or `int(x)`"))
        }
        _ => Ok(()),
    }
}

/// Refuses two different dtypes.
pub fn require_same_dtype(name: &str, a: &Type, b: &Type) -> Result<(), OpError> {
    if a.dtype == b.dtype {
        return Ok(());
    }
    let error = OpError::dtype(format!("`{name}` of {} and {}", with_dtype(a), with_dtype(b)));
    Err(match (a.dtype.is_float(), b.dtype.is_float()) {
        (true, true) => error.help(format!("convert one: `cast(x, \"{}\")`", a.dtype.max(b.dtype))),
        (true, false) => error.help("convert the second operand: `float(x)`"),
        (false, true) => error.help("convert the first operand: `float(x)`"),
        (false, false) => error.help("convert one: `int(x)` or `float(x)`"),
    })
}

/// A type with its dtype always written.
pub fn with_dtype(ty: &Type) -> String {
    format!("{}{}", ty.dtype, display_shape(&ty.shape))
}

/// The common shape of two, or what is wrong with them and the likely fix.
pub fn broadcast_shapes(name: &str, a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, OpError> {
    broadcast(a, b).map_err(|back| {
        let at = |s: &[Dim]| s[s.len() - 1 - back].clone();
        let message = format!(
            "`{name}` of {} and {}: axis -{} is {} in one and {} in the other",
            display_shape(a),
            display_shape(b),
            back + 1,
            at(a),
            at(b)
        );
        OpError::new(codes::BROADCAST, message).help(broadcast_help(a, b))
    })
}

/// The likely fix where two shapes do not broadcast.
fn broadcast_help(a: &[Dim], b: &[Dim]) -> String {
    if a.len() == b.len()
        && let Some(order) = permutation(a, b)
    {
        return format!("the axes look transposed: `permute(x, {order:?})` turns the second into the first");
    }
    let (short, long, which) = if a.len() < b.len() { (a, b, "first") } else { (b, a, "second") };
    if short.len() < long.len() {
        // A shorter shape that fits at another place than the end wants axes of 1 after it.
        for start in 0..long.len() - short.len() {
            if short.iter().zip(&long[start..]).all(|(s, l)| s == l || s.is(1)) {
                let mut target = short.to_vec();
                target.resize(long.len() - start, Dim::from(1));
                let shape = display_shape(&target);
                return format!(
                    "shapes align at the last axis; `reshape(x, {shape})` of the {which} lines it up"
                );
            }
        }
    }
    let count = |s: &[Dim]| s.iter().fold(Dim::from(1), |n, d| n * d.clone());
    if count(a) == count(b) {
        return format!("both have {} elements; a `reshape` is missing", count(a));
    }
    "counted from the last axis, dimensions must be equal, or one of them 1".into()
}

/// The order of axes that turns `from` into `to`, if one does.
fn permutation(to: &[Dim], from: &[Dim]) -> Option<Vec<usize>> {
    let mut free: Vec<usize> = (0..from.len()).collect();
    to.iter()
        .map(|d| {
            let at = free.iter().position(|i| from[*i] == *d)?;
            Some(free.remove(at))
        })
        .collect()
}

/// The shape after reducing `axes` to 1 (`keep`) or away.
pub fn reduced_shape(shape: &[Dim], axes: &[usize], keep: bool) -> Vec<Dim> {
    let kept = shape.iter().enumerate().filter_map(|(i, d)| match (axes.contains(&i), keep) {
        (false, _) => Some(d.clone()),
        (true, true) => Some(Dim::from(1)),
        (true, false) => None,
    });
    kept.collect()
}

/// Refuses axes that are out of range, repeated or not in increasing order.
pub fn check_axes(name: &str, axes: &[usize], rank: usize) -> Result<(), OpError> {
    if axes.iter().all(|a| *a < rank) && axes.windows(2).all(|w| w[0] < w[1]) {
        return Ok(());
    }
    Err(OpError::new(codes::BAD_AXIS, format!("`{name}` over axes {axes:?} of a tensor of rank {rank}")))
}

/// Undoes broadcasting: sums `x` over the axes along which a tensor of `shape` was repeated to get the
/// shape of `x`. The gradient of a broadcast operand.
///
/// # Errors
/// `shape` does not broadcast to the shape of `x`.
pub fn sum_to(to: &mut dyn Emit, x: NodeId, shape: &[Dim]) -> Result<NodeId, OpError> {
    let have = to.ty(x).shape.clone();
    let Some(lead) = have.len().checked_sub(shape.len()) else {
        return Err(OpError::internal(format!(
            "{} was not broadcast to {}",
            display_shape(shape),
            display_shape(&have)
        )));
    };
    let mut x = x;
    let repeated: Vec<usize> =
        (0..shape.len()).filter(|i| shape[*i].is(1) && !have[lead + i].is(1)).collect();
    if lead > 0 {
        let axes = (0..lead).collect();
        x = to.emit(Reduce { kind: ReduceKind::Sum, axes, keep: false }.into(), &[x])?;
    }
    if !repeated.is_empty() {
        x = to.emit(Reduce { kind: ReduceKind::Sum, axes: repeated, keep: true }.into(), &[x])?;
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &[&str]) -> Vec<Dim> {
        text.iter().map(|t| t.parse().expect("a dimension")).collect()
    }

    #[test]
    fn broadcast_errors_name_axis_and_fix() {
        let e =
            broadcast_shapes("add", &shape(&["n", "3", "8"]), &shape(&["n", "8", "3"])).expect_err("differs");
        assert_eq!(e.code, codes::BROADCAST);
        assert!(e.message.contains("axis -2 is 3 in one and 8 in the other"), "{}", e.message);
        assert!(e.help.as_deref().is_some_and(|h| h.contains("permute(x, [0, 2, 1])")), "{:?}", e.help);

        let e =
            broadcast_shapes("mul", &shape(&["n", "c", "h", "w"]), &shape(&["n", "c"])).expect_err("differs");
        assert!(e.help.as_deref().is_some_and(|h| h.contains("reshape(x, [n, c, 1, 1])")), "{:?}", e.help);

        let e =
            broadcast_shapes("mul", &shape(&["n", "784"]), &shape(&["n", "28", "28"])).expect_err("differs");
        assert!(e.help.as_deref().is_some_and(|h| h.contains("a `reshape` is missing")), "{:?}", e.help);
    }

    #[test]
    fn dtypes_survive_candle() {
        for dtype in DType::ALL {
            let back = from_candle(candle_dtype(dtype));
            assert_eq!(back, Some(if dtype == DType::Bool { DType::U8 } else { dtype }));
        }
    }
}
