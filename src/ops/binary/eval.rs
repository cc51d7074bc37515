//! Evaluation: kernels of our own on the CPU, candle's operations elsewhere.

use candle_core::{DType, Result, Tensor};

use super::Binary;
use crate::ops::EvalContext;
use crate::ops::cpu::{self, map2_over, widen};
use crate::ops::math::{double, single};

pub(super) fn eval(op: Binary, cx: &EvalContext<'_>, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dtype() == DType::I64 && matches!(op, Binary::FloorDiv | Binary::Rem) {
        nonzero(b)?;
    }
    if cpu::here(cx) {
        return on_cpu(op, &widen(a)?, &widen(b)?, cx.overwrite)?.to_dtype(a.dtype());
    }
    match op {
        Binary::Add => a.broadcast_add(b),
        Binary::Sub => a.broadcast_sub(b),
        Binary::Mul => a.broadcast_mul(b),
        Binary::Div => a.broadcast_div(b),
        Binary::Min => extreme(a, b, a.broadcast_le(b)?),
        Binary::Max => extreme(a, b, a.broadcast_ge(b)?),
        // Integers have no kernels for these on a GPU; doubles hold them up to 2⁵³.
        Binary::Pow | Binary::FloorDiv | Binary::Rem if a.dtype() == DType::I64 => {
            let (x, y) = (a.to_dtype(DType::F64)?, b.to_dtype(DType::F64)?);
            let z = portable(op, &x, &y)?;
            let whole = if op == Binary::Pow {
                // A logarithm's error is rounded away; a fraction of a negative power is dropped.
                y.ge(0.0)?.broadcast_as(z.shape())?.contiguous()?.where_cond(&z.round()?, &z)?
            } else {
                z
            };
            whole.to_dtype(DType::I64)
        }
        _ => portable(op, a, b),
    }
}

/// Integers have no infinity to give.
fn nonzero(b: &Tensor) -> Result<()> {
    if b.elem_count() > 0 && b.eq(0i64)?.to_dtype(DType::U32)?.sum_all()?.to_scalar::<u32>()? > 0 {
        candle_core::bail!("integer division by zero");
    }
    Ok(())
}

macro_rules! number {
    ($a:expr, $b:expr, $over:ident, $int:expr, $x:ident, $y:ident => $body:expr) => {
        match $a.dtype() {
            DType::F32 => map2_over::<f32>($a, $b, $over, |$x, $y| $body),
            DType::F64 => map2_over::<f64>($a, $b, $over, |$x, $y| $body),
            DType::I64 => map2_over::<i64>($a, $b, $over, $int),
            other => candle_core::bail!("no arithmetic of {other:?}"),
        }
    };
}

macro_rules! by_name {
    ($a:expr, $b:expr, $over:ident, $int:expr, $f:ident) => {
        match $a.dtype() {
            DType::F32 => map2_over::<f32>($a, $b, $over, single::$f),
            DType::F64 => map2_over::<f64>($a, $b, $over, double::$f),
            DType::I64 => map2_over::<i64>($a, $b, $over, $int),
            other => candle_core::bail!("no arithmetic of {other:?}"),
        }
    };
}

fn on_cpu(op: Binary, a: &Tensor, b: &Tensor, over: Option<usize>) -> Result<Tensor> {
    match op {
        Binary::Add => number!(a, b, over, i64::wrapping_add, x, y => x + y),
        Binary::Sub => number!(a, b, over, i64::wrapping_sub, x, y => x - y),
        Binary::Mul => number!(a, b, over, i64::wrapping_mul, x, y => x * y),
        Binary::Div => match a.dtype() {
            DType::F64 => map2_over::<f64>(a, b, over, |x, y| x / y),
            _ => map2_over::<f32>(a, b, over, |x, y| x / y),
        },
        Binary::Pow => by_name!(a, b, over, integer_power, pow),
        Binary::Min => by_name!(a, b, over, i64::min, min),
        Binary::Max => by_name!(a, b, over, i64::max, max),
        Binary::FloorDiv => by_name!(a, b, over, floor_div, floor_div),
        Binary::Rem => by_name!(a, b, over, |x, y| x.wrapping_sub(floor_div(x, y).wrapping_mul(y)), rem),
    }
}

/// A negative power of an integer is the integer part of the quotient: 0 save for 1 and -1.
fn integer_power(base: i64, exponent: i64) -> i64 {
    match u32::try_from(exponent) {
        Ok(e) => base.wrapping_pow(e),
        Err(_) => match base {
            1 => 1,
            -1 if exponent % 2 == 0 => 1,
            -1 => -1,
            _ => 0,
        },
    }
}

fn floor_div(a: i64, b: i64) -> i64 {
    if b == 0 {
        return 0;
    }
    let q = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) { q - 1 } else { q }
}

/// `a` where it is taken, else `b`; not a number if either is not.
fn extreme(a: &Tensor, b: &Tensor, take_a: Tensor) -> Result<Tensor> {
    let shape = take_a.shape().clone();
    let (a, b) = (a.broadcast_as(&shape)?.contiguous()?, b.broadcast_as(&shape)?.contiguous()?);
    let out = take_a.where_cond(&a, &b)?;
    if a.dtype().is_int() { Ok(out) } else { a.ne(&a)?.where_cond(&a, &out) }
}

/// By candle's operations, which CUDA has kernels for. candle's own `pow` is `exp(b log a)`, which knows no
/// negative base.
fn portable(op: Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match op {
        Binary::Pow => {
            let shape = a.shape().broadcast_shape_binary_op(b.shape(), "pow")?;
            let (a, b) = (a.broadcast_as(&shape)?.contiguous()?, b.broadcast_as(&shape)?.contiguous()?);
            let size = (a.abs()?.log()? * &b)?.exp()?;
            let whole = b.floor()?.eq(&b)?;
            let half = (&b * 0.5)?;
            let even = half.floor()?.eq(&half)?;
            let signed = even.where_cond(&size, &size.neg()?)?;
            let invalid = (&a.zeros_like()? / &a.zeros_like()?)?;
            let negative = whole.where_cond(&signed, &invalid)?;
            let out = a.lt(0.0)?.where_cond(&negative, &size)?;
            b.eq(0.0)?.where_cond(&a.ones_like()?, &out)
        }
        Binary::FloorDiv => a.broadcast_div(b)?.floor(),
        Binary::Rem => a.broadcast_sub(&a.broadcast_div(b)?.floor()?.broadcast_mul(b)?),
        _ => candle_core::bail!("`{op:?}` is evaluated directly"),
    }
}
