//! Evaluation: in an order of its own on the CPU, by candle elsewhere.
//!
//! The order of additions depends on the sizes of the reduced axes alone: a sample gives the same bits in
//! any batch and on any number of threads.

use candle_core::{DType, Result, Tensor, WithDType};
use rayon::prelude::*;

use super::{Reduce, ReduceKind};
use crate::ops::EvalContext;
use crate::ops::cpu::{self, CHUNK, tensor, vectorised, widen, with_contiguous};
use crate::ops::math::{double, single};
use crate::ops::util::output_shape;

pub(super) fn eval(op: &Reduce, cx: &EvalContext<'_>, x: &Tensor) -> Result<Tensor> {
    let shape = output_shape(cx)?;
    let wide = widen(x)?;
    if cpu::here(cx) { on_cpu(op, &wide, &shape)? } else { portable(op, &wide, &shape)? }.to_dtype(x.dtype())
}

/// The axes as alternating groups, innermost reduced group last: (outer, reduced, inner) of each group when
/// the groups within it are reduced already.
fn groups(dims: &[usize], axes: &[usize]) -> Vec<(usize, usize, usize)> {
    let mut out = Vec::new();
    let mut inner = 1;
    let mut axis = dims.len();
    while axis > 0 {
        axis -= 1;
        if !axes.contains(&axis) {
            inner *= dims[axis];
            continue;
        }
        let mut len = dims[axis];
        while axis > 0 && axes.contains(&(axis - 1)) {
            axis -= 1;
            len *= dims[axis];
        }
        out.push((dims[..axis].iter().product(), len, inner));
    }
    out
}

fn on_cpu(op: &Reduce, x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let groups = groups(x.dims(), &op.axes);
    if groups.is_empty() {
        return x.contiguous()?.reshape(shape);
    }
    let count: usize = groups.iter().map(|g| g.1).product();
    macro_rules! float {
        ($t:ty, $real:ident) => {
            match op.kind {
                ReduceKind::Sum => {
                    all::<$t, f64, $t>(x, &groups, 0.0, |v| v.into(), |a, b| a + b, |a| a as $t, shape)
                }
                ReduceKind::Mean => {
                    let n = count as f64;
                    all::<$t, f64, $t>(
                        x,
                        &groups,
                        0.0,
                        |v| v.into(),
                        |a, b| a + b,
                        move |a| (a / n) as $t,
                        shape,
                    )
                }
                ReduceKind::Prod => {
                    all::<$t, f64, $t>(x, &groups, 1.0, |v| v.into(), |a, b| a * b, |a| a as $t, shape)
                }
                ReduceKind::Max => {
                    all::<$t, $t, $t>(x, &groups, <$t>::NEG_INFINITY, |v| v, $real::max, |a| a, shape)
                }
                ReduceKind::Min => {
                    all::<$t, $t, $t>(x, &groups, <$t>::INFINITY, |v| v, $real::min, |a| a, shape)
                }
            }
        };
    }
    macro_rules! int {
        ($t:ty) => {
            match op.kind {
                ReduceKind::Sum => all::<$t, $t, $t>(x, &groups, 0, |v| v, <$t>::wrapping_add, |a| a, shape),
                ReduceKind::Prod => all::<$t, $t, $t>(x, &groups, 1, |v| v, <$t>::wrapping_mul, |a| a, shape),
                ReduceKind::Max => all::<$t, $t, $t>(x, &groups, <$t>::MIN, |v| v, <$t>::max, |a| a, shape),
                ReduceKind::Min => all::<$t, $t, $t>(x, &groups, <$t>::MAX, |v| v, <$t>::min, |a| a, shape),
                ReduceKind::Mean => candle_core::bail!("the mean of integers"),
            }
        };
    }
    match x.dtype() {
        DType::F32 => float!(f32, single),
        DType::F64 => float!(f64, double),
        DType::I64 => int!(i64),
        DType::U8 => int!(u8),
        other => candle_core::bail!("no reduction of {other:?}"),
    }
}

/// Reduces group after group, the innermost first.
fn all<T: WithDType, A: Copy + Send + Sync, U: WithDType>(
    x: &Tensor,
    groups: &[(usize, usize, usize)],
    init: A,
    lift: impl Fn(T) -> A + Copy + Sync + Send,
    merge: impl Fn(A, A) -> A + Copy + Sync + Send,
    finish: impl Fn(A) -> U,
    shape: &[usize],
) -> Result<Tensor> {
    let Some((first, rest)) = groups.split_first() else {
        candle_core::bail!("a reduction over no axis");
    };
    let mut acc = with_contiguous::<T, _>(x, |data| Ok(pass(data, *first, init, lift, merge)))?;
    for group in rest {
        acc = pass(&acc, *group, init, |a| a, merge);
    }
    tensor(acc.into_iter().map(finish).collect(), shape)
}

/// Elements of a segment: rows longer than this are reduced in parts, whose results are merged in order.
const SEGMENT: usize = 1 << 14;
/// Columns that are reduced side by side.
const TILE: usize = 512;

/// Reduces the middle axis of `[outer, len, inner]`.
fn pass<T: Copy + Sync, A: Copy + Send + Sync>(
    data: &[T],
    (outer, len, inner): (usize, usize, usize),
    init: A,
    lift: impl Fn(T) -> A + Copy + Sync + Send,
    merge: impl Fn(A, A) -> A + Copy + Sync + Send,
) -> Vec<A> {
    if outer * inner == 0 || len == 0 {
        return vec![init; outer * inner];
    }
    // Rows of a segment; `inner` is never the batch, which is the first axis.
    let rows = (SEGMENT / inner).clamp(64.min(len), len);
    let segments = len.div_ceil(rows);
    let mut parts = vec![init; outer * segments * inner];
    let work = |(i, out): (usize, &mut [A])| {
        let (o, s) = (i / segments, i % segments);
        let from = (o * len + s * rows) * inner;
        let to = (o * len + len.min((s + 1) * rows)) * inner;
        let block = &data[from..to];
        if inner == 1 {
            out[0] = vectorised(
                #[inline(always)]
                || row(block, init, lift, merge),
            );
            return;
        }
        let tile = |(t, out): (usize, &mut [A])| {
            vectorised(
                #[inline(always)]
                || {
                    for line in block.chunks_exact(inner) {
                        for (a, v) in out.iter_mut().zip(&line[t * TILE..]) {
                            *a = merge(*a, lift(*v));
                        }
                    }
                },
            );
        };
        if inner > TILE && block.len() > CHUNK {
            out.par_chunks_mut(TILE).enumerate().for_each(tile);
        } else {
            out.chunks_mut(TILE).enumerate().for_each(tile);
        }
    };
    if data.len() <= CHUNK {
        parts.chunks_mut(inner).enumerate().for_each(work);
    } else {
        let least = (CHUNK / (rows * inner)).max(1);
        parts.par_chunks_mut(inner).enumerate().with_min_len(least).for_each(work);
    }
    if segments == 1 {
        return parts;
    }
    let mut out = vec![init; outer * inner];
    for (out, parts) in out.chunks_mut(inner).zip(parts.chunks(segments * inner)) {
        for part in parts.chunks(inner) {
            for (a, v) in out.iter_mut().zip(part) {
                *a = merge(*a, *v);
            }
        }
    }
    out
}

/// One row, in interleaved lanes, of which at last half are merged with the other half until one is left.
#[inline(always)]
fn row<T: Copy, A: Copy>(x: &[T], init: A, lift: impl Fn(T) -> A, merge: impl Fn(A, A) -> A) -> A {
    const LANES: usize = 32;
    let mut lanes = [init; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for i in 0..LANES {
            lanes[i] = merge(lanes[i], lift(block[i]));
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane = merge(*lane, lift(*v));
    }
    let mut n = LANES;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            lanes[i] = merge(lanes[i], lanes[i + n]);
        }
    }
    lanes[0]
}

/// By candle's operations, which CUDA has kernels for.
fn portable(op: &Reduce, x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let x = x.contiguous()?;
    let each = |f: fn(&Tensor, usize) -> Result<Tensor>| {
        op.axes.iter().try_fold(x.clone(), |x, axis| f(&x.contiguous()?, *axis))
    };
    let out = match op.kind {
        ReduceKind::Sum => x.sum_keepdim(op.axes.clone())?,
        ReduceKind::Mean => {
            let n: usize = op.axes.iter().map(|a| x.dims()[*a]).product();
            (x.sum_keepdim(op.axes.clone())? / n as f64)?
        }
        ReduceKind::Max => each(|x, axis| with_nan(x, axis, x.max_keepdim(axis)?))?,
        ReduceKind::Min => each(|x, axis| with_nan(x, axis, x.min_keepdim(axis)?))?,
        ReduceKind::Prod => each(halving)?,
    };
    out.reshape(shape)
}

/// candle's extremes skip what is not a number.
fn with_nan(x: &Tensor, axis: usize, extreme: Tensor) -> Result<Tensor> {
    if x.dtype().is_int() {
        return Ok(extreme);
    }
    let nan = x.ne(x)?.to_dtype(x.dtype())?.sum_keepdim(axis)?;
    nan.gt(0.0)?.where_cond(&(extreme.zeros_like()? + f64::NAN)?, &extreme)
}

/// The product along an axis by halves.
fn halving(x: &Tensor, axis: usize) -> Result<Tensor> {
    let mut x = x.clone();
    if x.dims()[axis] == 0 {
        let mut shape = x.dims().to_vec();
        shape[axis] = 1;
        return Tensor::ones(shape, x.dtype(), x.device());
    }
    while x.dims()[axis] > 1 {
        let n = x.dims()[axis];
        let half = n / 2;
        let product = (x.narrow(axis, 0, half)?.contiguous()? * x.narrow(axis, half, half)?.contiguous()?)?;
        x = if n.is_multiple_of(2) {
            product
        } else {
            Tensor::cat(&[&product, &x.narrow(axis, n - 1, 1)?], axis)?
        };
    }
    Ok(x)
}
