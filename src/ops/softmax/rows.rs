//! Softmax, log-softmax and log-sum-exp of rows: the largest element is taken out first, so that no
//! exponential overflows.

use std::mem::MaybeUninit;

use candle_core::{D, DType, Result, Tensor, WithDType};
use rayon::prelude::*;

use crate::ops::cpu::{self, CHUNK, fresh, tensor, vectorised, widen, with_contiguous};
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

/// Interleaved lanes of a row: an order of folding that depends on its length alone.
const LANES: usize = 32;

/// Elements whose exponentials are held at one time; a whole number of lanes.
const PIECE: usize = 512;

/// Merges half of the lanes with the other half until one is left.
#[inline(always)]
fn halved<A: Copy>(mut lanes: [A; LANES], merge: impl Fn(A, A) -> A) -> A {
    let mut n = LANES;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            lanes[i] = merge(lanes[i], lanes[i + n]);
        }
    }
    lanes[0]
}

/// The shift of a row: its largest element, or 0 where that is infinite (∞ - ∞ is not a number).
#[inline(always)]
fn shift_of<T: Row>(x: &[T]) -> T {
    let mut lanes = [T::LOWEST; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for i in 0..LANES {
            lanes[i] = T::larger(lanes[i], block[i]);
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane = T::larger(*lane, *v);
    }
    let largest = halved(lanes, T::larger);
    if largest == T::LOWEST { T::zero() } else { largest }
}

/// The exponentials of a piece, filled up with zeros to whole lanes, and their sums added to the lanes.
#[inline(always)]
fn exponentials<T: Row>(x: &[T], shift: T, scratch: &mut [T], sums: &mut [f64; LANES]) {
    let whole = x.len().next_multiple_of(LANES);
    let piece = &mut scratch[..whole];
    piece[x.len()..].fill(T::LOWEST);
    piece[..x.len()].copy_from_slice(x);
    for v in piece.iter_mut() {
        *v = (*v - shift).exp_();
    }
    let mut lanes = *sums;
    for block in piece.as_chunks::<LANES>().0 {
        for i in 0..LANES {
            lanes[i] += block[i].wide();
        }
    }
    *sums = lanes;
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
        let scratch = || vec![T::zero(); PIECE];
        let rows = out.par_chunks_mut(each).enumerate().with_min_len(least);
        rows.for_each_init(scratch, |scratch, (i, out)| {
            let x = &data[i * len..(i + 1) * len];
            vectorised(
                #[inline(always)]
                || row(x, out, kind, scratch),
            );
        });
    };
    // SAFETY: the rows cover the output, and each is written to its end.
    let out = with_contiguous::<T, _>(x, |data| Ok(unsafe { fresh(count * each, |out| fill(data, out)) }))?;
    tensor(out, if kind == Kind::LogSumExp { lead } else { x.dims() })
}

/// One row; every element of `out` is written.
#[inline(always)]
fn row<T: Row>(x: &[T], out: &mut [MaybeUninit<T>], kind: Kind, scratch: &mut [T]) {
    let shift = shift_of(x);
    let mut sums = [0.0; LANES];
    if kind == Kind::Softmax {
        for (x, out) in x.chunks(PIECE).zip(out.chunks_mut(PIECE)) {
            exponentials(x, shift, scratch, &mut sums);
            out.write_copy_of_slice(&scratch[..x.len()]);
        }
        let share = T::narrow(1.0 / halved(sums, |a, b| a + b));
        for o in out {
            // SAFETY: written in the loop above, whose pieces cover the row.
            *o = MaybeUninit::new(unsafe { o.assume_init() } * share);
        }
        return;
    }
    for x in x.chunks(PIECE) {
        exponentials(x, shift, scratch, &mut sums);
    }
    let log = halved(sums, |a, b| a + b).ln();
    if kind == Kind::LogSumExp {
        out[0].write(T::narrow(shift.wide() + log));
        return;
    }
    let log = T::narrow(log);
    for (o, v) in out.iter_mut().zip(x) {
        o.write((*v - shift) - log);
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
