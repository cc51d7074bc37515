//! Softmax, log-softmax and log-sum-exp of rows: the largest element is taken out first, so that no
//! exponential overflows.

use std::mem::MaybeUninit;

use candle_core::{D, DType, Result, Tensor, WithDType};
use rayon::prelude::*;

use crate::ops::cpu::{self, CHUNK, fresh, tensor, vectorised, widen, with_contiguous, zeroed};
use crate::ops::math::{Real, double, single};
use crate::ops::{EvalContext, copies};

/// What is computed of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `exp(x - lse)`.
    Softmax,
    /// `x - lse`.
    LogSoftmax,
    /// `lse`: one number per row.
    LogSumExp,
}

/// Along an axis; another than the last is walked as a transposed copy.
pub fn along(cx: &EvalContext<'_>, x: &Tensor, axis: usize, kind: Kind) -> Result<Tensor> {
    let last = x.rank().saturating_sub(1);
    if axis == last {
        return rows(cx, x, kind);
    }
    rows(cx, &copies::contiguous(&x.transpose(axis, last)?)?, kind)?.transpose(axis, last)
}

/// Of each row along the last axis; log-sum-exp drops that axis.
pub fn rows(cx: &EvalContext<'_>, x: &Tensor, kind: Kind) -> Result<Tensor> {
    let wide = widen(x)?;
    let out = match (cpu::here(cx), wide.dtype()) {
        (false, _) => portable(&wide, kind)?,
        (true, DType::F32) => on_cpu::<f32>(&wide, kind)?,
        (true, DType::F64) => on_cpu::<f64>(&wide, kind)?,
        (true, other) => candle_core::bail!("no softmax of {other:?}"),
    };
    out.to_dtype(x.dtype())
}

/// A float whose rows can be walked.
trait Row: WithDType + Real {
    const LOWEST: Self;
    fn larger(a: Self, b: Self) -> Self;
}

impl Row for f32 {
    const LOWEST: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn larger(a: f32, b: f32) -> f32 {
        single::max(a, b)
    }
}

impl Row for f64 {
    const LOWEST: f64 = f64::NEG_INFINITY;
    #[inline(always)]
    fn larger(a: f64, b: f64) -> f64 {
        double::max(a, b)
    }
}

/// Folds a row in sixteen interleaved lanes, an order that depends on its length alone.
#[inline(always)]
fn lanes<T: Copy, A: Copy>(x: &[T], init: A, step: impl Fn(A, T) -> A, merge: impl Fn(A, A) -> A) -> A {
    let mut lanes = [init; 16];
    let blocks = x.chunks_exact(16);
    let rest = blocks.remainder();
    for block in blocks {
        for (lane, v) in lanes.iter_mut().zip(block) {
            *lane = step(*lane, *v);
        }
    }
    let total = lanes.into_iter().fold(init, merge);
    rest.iter().fold(total, |a, v| step(a, *v))
}

/// The shift of a row: its largest element, or 0 where that is infinite (∞ - ∞ is not a number).
#[inline(always)]
fn shift_of<T: Row>(x: &[T]) -> T {
    let largest = lanes(x, T::LOWEST, T::larger, T::larger);
    if largest == T::LOWEST { T::zero() } else { largest }
}

fn on_cpu<T: Row>(x: &Tensor, kind: Kind) -> Result<Tensor> {
    let Some((&len, lead)) = x.dims().split_last() else {
        candle_core::bail!("a row operation needs an axis");
    };
    let count: usize = lead.iter().product();
    let each = if kind == Kind::LogSumExp { 1 } else { len };
    let least = (CHUNK / len.max(1)).max(1);
    let fill = |data: &[T], out: &mut [MaybeUninit<T>]| {
        if out.is_empty() {
            return;
        }
        out.par_chunks_mut(each).enumerate().with_min_len(least).for_each(|(i, out)| {
            let x = &data[i * len..(i + 1) * len];
            vectorised(
                #[inline(always)]
                || row(x, zeroed(out), kind),
            );
        });
    };
    // SAFETY: the rows cover the output, and each is set to zero at first.
    let out = with_contiguous::<T, _>(x, |data| Ok(unsafe { fresh(count * each, |out| fill(data, out)) }))?;
    tensor(out, if kind == Kind::LogSumExp { lead } else { x.dims() })
}

#[inline(always)]
fn row<T: Row>(x: &[T], out: &mut [T], kind: Kind) {
    let shift = shift_of(x);
    match kind {
        Kind::Softmax => {
            for (o, v) in out.iter_mut().zip(x) {
                *o = (*v - shift).exp_();
            }
            let total = T::narrow(lanes(out, 0.0, |a: f64, v: T| a + v.wide(), |a, b| a + b));
            for o in out {
                *o /= total;
            }
        }
        Kind::LogSoftmax | Kind::LogSumExp => {
            let total = lanes(x, 0.0, |a: f64, v: T| a + (v - shift).exp_().wide(), |a, b| a + b);
            let log = total.ln();
            if kind == Kind::LogSumExp {
                out[0] = T::narrow(shift.wide() + log);
                return;
            }
            let log = T::narrow(log);
            for (o, v) in out.iter_mut().zip(x) {
                *o = (*v - shift) - log;
            }
        }
    }
}

/// By candle's operations, which CUDA has kernels for.
fn portable(x: &Tensor, kind: Kind) -> Result<Tensor> {
    let x = x.contiguous()?;
    if kind == Kind::Softmax {
        return candle_nn::ops::softmax_last_dim(&x);
    }
    let largest = x.max_keepdim(D::Minus1)?;
    let infinite = largest.eq(f64::NEG_INFINITY)?;
    let largest = infinite.where_cond(&largest.zeros_like()?, &largest)?;
    let d = x.broadcast_sub(&largest)?;
    let log = d.exp()?.sum_keepdim(D::Minus1)?.log()?;
    match kind {
        Kind::LogSumExp => (log + largest)?.squeeze(D::Minus1),
        _ => d.broadcast_sub(&log),
    }
}
