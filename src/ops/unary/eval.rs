//! Evaluation: kernels of our own on the CPU, candle's operations elsewhere.

use candle_core::{DType, Result, Tensor};

use super::Unary;
use crate::ops::EvalContext;
use crate::ops::cpu::{self, any, map1, map1_over, widen};
use crate::ops::math::{circle, double, single};

pub(super) fn eval(op: Unary, cx: &EvalContext<'_>, x: &Tensor) -> Result<Tensor> {
    if cpu::here(cx) {
        let out = on_cpu(op, &widen(x)?, cx.overwrite.is_some())?;
        return if op == Unary::IsFinite { Ok(out) } else { out.to_dtype(x.dtype()) };
    }
    if x.dtype().is_int() { integer(op, x) } else { portable(op, x) }
}

/// One function, by the same name in both precisions.
macro_rules! by_name {
    ($x:expr, $over:ident, $f:ident) => {
        match $x.dtype() {
            DType::F64 => map1_over::<f64>($x, $over, double::$f),
            _ => map1_over::<f32>($x, $over, single::$f),
        }
    };
}

/// One closure in both precisions.
macro_rules! float {
    ($x:expr, $over:ident, $v:ident => $body:expr) => {
        match $x.dtype() {
            DType::F64 => map1_over::<f64>($x, $over, |$v| $body),
            _ => map1_over::<f32>($x, $over, |$v| $body),
        }
    };
}

/// A function of the circle: of single precision by polynomials, but for numbers so large that these know
/// too little of π.
macro_rules! by_range {
    ($x:expr, $over:ident, $f:ident) => {
        match $x.dtype() {
            DType::F64 => map1_over::<f64>($x, $over, |v| v.$f()),
            _ if !any::<f32>($x, |v| v.abs() >= circle::LIMIT)? => map1_over::<f32>($x, $over, circle::$f),
            _ => map1_over::<f32>($x, $over, |v| {
                if v.abs() >= circle::LIMIT { f64::from(v).$f() as f32 } else { circle::$f(v) }
            }),
        }
    };
}

fn on_cpu(op: Unary, x: &Tensor, over: bool) -> Result<Tensor> {
    if x.dtype() == DType::U8 {
        return match op {
            Unary::Not => map1::<u8, u8>(x, |v| u8::from(v == 0)),
            _ => candle_core::bail!("`{op:?}` of bytes"),
        };
    }
    if x.dtype() == DType::I64 {
        return match op {
            Unary::Neg => map1_over::<i64>(x, over, i64::wrapping_neg),
            Unary::Abs => map1_over::<i64>(x, over, i64::wrapping_abs),
            Unary::Sign => map1_over::<i64>(x, over, i64::signum),
            Unary::Square => map1_over::<i64>(x, over, |v| v.wrapping_mul(v)),
            Unary::Relu => map1_over::<i64>(x, over, |v| v.max(0)),
            _ => candle_core::bail!("`{op:?}` of integers"),
        };
    }
    match op {
        Unary::Neg => float!(x, over, v => -v),
        Unary::Exp => by_name!(x, over, exp),
        Unary::Expm1 => by_name!(x, over, expm1),
        Unary::Log => by_name!(x, over, log),
        Unary::Log1p => by_name!(x, over, log1p),
        Unary::Sqrt => float!(x, over, v => v.sqrt()),
        Unary::Square => float!(x, over, v => v * v),
        Unary::Reciprocal => float!(x, over, v => 1.0 / v),
        Unary::Abs => float!(x, over, v => v.abs()),
        Unary::Sign => by_name!(x, over, sign),
        Unary::Floor => float!(x, over, v => v.floor()),
        Unary::Ceil => float!(x, over, v => v.ceil()),
        Unary::Round => float!(x, over, v => v.round_ties_even()),
        Unary::Sin => by_range!(x, over, sin),
        Unary::Cos => by_range!(x, over, cos),
        Unary::Tan => by_range!(x, over, tan),
        Unary::Tanh => by_name!(x, over, tanh),
        Unary::Sigmoid => by_name!(x, over, sigmoid),
        Unary::Erf => by_name!(x, over, erf),
        Unary::Relu => by_name!(x, over, relu),
        Unary::Silu => by_name!(x, over, silu),
        Unary::Gelu => by_name!(x, over, gelu),
        Unary::GeluTanh => by_name!(x, over, gelu_tanh),
        Unary::Softplus => by_name!(x, over, softplus),
        Unary::SiluSlope => by_name!(x, over, silu_slope),
        Unary::GeluSlope => by_name!(x, over, gelu_slope),
        Unary::GeluTanhSlope => by_name!(x, over, gelu_tanh_slope),
        Unary::IsFinite => match x.dtype() {
            DType::F64 => map1::<f64, u8>(x, |v| u8::from(v.is_finite())),
            _ => map1::<f32, u8>(x, |v| u8::from(v.is_finite())),
        },
        Unary::Not => candle_core::bail!("`not` of floats"),
    }
}

/// Integers and truth values where candle has no kernel of its own for them.
fn integer(op: Unary, x: &Tensor) -> Result<Tensor> {
    let zero = x.zeros_like()?;
    match op {
        Unary::Neg => zero.sub(x),
        Unary::Abs => x.maximum(&zero.sub(x)?),
        Unary::Sign => {
            let above = x.gt(&zero)?.to_dtype(x.dtype())?;
            above.sub(&x.lt(&zero)?.to_dtype(x.dtype())?)
        }
        Unary::Square => x.mul(x),
        Unary::Relu => x.maximum(&zero),
        Unary::Not => x.eq(&zero),
        _ => candle_core::bail!("`{op:?}` of integers"),
    }
}

/// By candle's operations, which CUDA has kernels for.
fn portable(op: Unary, x: &Tensor) -> Result<Tensor> {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    let sigmoid = |x: &Tensor| (x.neg()?.exp()? + 1.0)?.recip();
    match op {
        Unary::Neg => x.neg(),
        Unary::Exp => x.exp(),
        // tanh(x/2) (exp(x) + 1) = exp(x) - 1, without cancellation near 0.
        Unary::Expm1 => (x * 0.5)?.tanh()? * (x.exp()? + 1.0)?,
        Unary::Log => x.log(),
        Unary::Log1p => log1p(x),
        Unary::Sqrt => x.sqrt(),
        Unary::Square => x.sqr(),
        Unary::Reciprocal => x.recip(),
        Unary::Abs => x.abs(),
        Unary::Sign => x.sign(),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => {
            // candle rounds ties away from 0; at ties twice the rounded half is the even neighbour.
            let tie = (x - x.floor()?)?.eq(0.5)?;
            tie.where_cond(&((x * 0.5)?.round()? * 2.0)?, &x.round()?)
        }
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.sin()? / x.cos()?,
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => sigmoid(x),
        Unary::Erf => x.erf(),
        // candle's own turns what is not a number into 0.
        Unary::Relu => x.lt(0.0)?.where_cond(&x.zeros_like()?, x),
        Unary::Silu => x * sigmoid(x)?,
        Unary::Gelu => x.gelu_erf(),
        Unary::GeluTanh => {
            let (t, _) = gelu_tanh_parts(x)?;
            (x * 0.5)? * (t + 1.0)?
        }
        Unary::Softplus => x.relu()? + log1p(&x.abs()?.neg()?.exp()?)?,
        Unary::SiluSlope => {
            let s = sigmoid(x)?;
            let tail = (x * (1.0 - &s)?)?;
            s * (tail + 1.0)?
        }
        Unary::GeluSlope => {
            let cdf = (((x * FRAC_1_SQRT_2)?.erf()? + 1.0)? * 0.5)?;
            let pdf = ((x.sqr()? * -0.5)?.exp()? * (0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2))?;
            cdf + (x * pdf)?
        }
        Unary::GeluTanhSlope => {
            let (t, du) = gelu_tanh_parts(x)?;
            let tail = ((((x * 0.5)? * (1.0 - t.sqr()?)?)?) * du)?;
            ((t + 1.0)? * 0.5)? + tail
        }
        // False for what is not a number as well.
        Unary::IsFinite => x.abs()?.lt(f64::INFINITY),
        Unary::Not => candle_core::bail!("`not` of floats"),
    }
}

/// `tanh u` and `u'` of the tanh form of gelu.
fn gelu_tanh_parts(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let (c, k) = super::GELU_TANH;
    let s = x.sqr()?;
    let t = (x * ((&s * (c * k))? + c)?)?.tanh()?;
    Ok((t, ((s * (3.0 * c * k))? + c)?))
}

/// Kahan's form: exact near 0, where `1 + x` loses the digits of x.
fn log1p(x: &Tensor) -> Result<Tensor> {
    let u = (x + 1.0)?;
    let d = (&u - 1.0)?;
    let log = u.log()?;
    let corrected = (&log * (x / &d)?)?;
    let exact = d.eq(x)?;
    let small = d.eq(0.0)?;
    small.where_cond(x, &exact.where_cond(&log, &corrected)?)
}
