//! Evaluation: one walk along the axis on the CPU, doubling steps elsewhere.

use candle_core::{DType, Result, Tensor, WithDType};
use rayon::prelude::*;

use super::{Cumulative, CumulativeKind, LinearScan};
use crate::ops::EvalContext;
use crate::ops::cpu::{self, CHUNK, tensor, widen, with_contiguous};

pub(super) fn cumulative(op: &Cumulative, cx: &EvalContext<'_>, x: &Tensor) -> Result<Tensor> {
    let wide = widen(x)?;
    if !cpu::here(cx) {
        return portable(op, &wide)?.to_dtype(x.dtype());
    }
    let sum = op.kind == CumulativeKind::Sum;
    let out = match wide.dtype() {
        // Accumulated in f64, as reductions are.
        DType::F32 if sum => scan::<f32, f64>(op, &wide, 0.0, |a, v| a + f64::from(v), |a| a as f32),
        DType::F32 => scan::<f32, f64>(op, &wide, 1.0, |a, v| a * f64::from(v), |a| a as f32),
        DType::F64 if sum => scan::<f64, f64>(op, &wide, 0.0, |a, v| a + v, |a| a),
        DType::F64 => scan::<f64, f64>(op, &wide, 1.0, |a, v| a * v, |a| a),
        DType::I64 if sum => scan::<i64, i64>(op, &wide, 0, i64::wrapping_add, |a| a),
        DType::I64 => scan::<i64, i64>(op, &wide, 1, i64::wrapping_mul, |a| a),
        other => candle_core::bail!("no running reduction of {other:?}"),
    };
    out?.to_dtype(x.dtype())
}

/// `[outer, len, inner]` of a shape around an axis.
fn around(dims: &[usize], axis: usize) -> (usize, usize) {
    (dims[axis], dims[axis + 1..].iter().product())
}

/// Calls `f` for each `[len, inner]` block of the output.
fn blocks<T: Send>(out: &mut [T], block: usize, f: impl Fn(usize, &mut [T]) + Sync + Send) {
    if out.is_empty() {
        return;
    }
    if out.len() <= CHUNK {
        out.chunks_mut(block).enumerate().for_each(|(i, part)| f(i, part));
    } else {
        let least = (CHUNK / block).max(1);
        out.par_chunks_mut(block).enumerate().with_min_len(least).for_each(|(i, part)| f(i, part));
    }
}

fn scan<T: WithDType, A: Copy + Send + Sync>(
    op: &Cumulative,
    x: &Tensor,
    init: A,
    step: impl Fn(A, T) -> A + Sync + Send,
    finish: impl Fn(A) -> T + Sync + Send,
) -> Result<Tensor> {
    let (len, inner) = around(x.dims(), op.axis);
    let mut out = vec![T::zero(); x.elem_count()];
    with_contiguous::<T, _>(x, |data| {
        blocks(&mut out, (len * inner).max(1), |i, part| {
            let data = &data[i * len * inner..][..part.len()];
            let mut acc = vec![init; inner];
            for r in 0..len {
                let r = if op.reverse { len - 1 - r } else { r };
                let line = r * inner..(r + 1) * inner;
                for ((a, v), o) in acc.iter_mut().zip(&data[line.clone()]).zip(&mut part[line]) {
                    *a = step(*a, *v);
                    *o = finish(*a);
                }
            }
        });
        Ok(())
    })?;
    tensor(out, x.dims())
}

pub(super) fn linear_scan(op: &LinearScan, cx: &EvalContext<'_>, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (wide_a, wide_b) = (widen(a)?, widen(b)?);
    if !cpu::here(cx) {
        return doubling(op.axis, op.reverse, &wide_a, Some(&wide_b))?.to_dtype(a.dtype());
    }
    let out = match wide_a.dtype() {
        DType::F32 => recurrence::<f32>(op, &wide_a, &wide_b, |s, a, b| a * s + b),
        DType::F64 => recurrence::<f64>(op, &wide_a, &wide_b, |s, a, b| a * s + b),
        other => candle_core::bail!("no linear scan of {other:?}"),
    };
    out?.to_dtype(a.dtype())
}

fn recurrence<T: WithDType>(
    op: &LinearScan,
    a: &Tensor,
    b: &Tensor,
    step: impl Fn(T, T, T) -> T + Sync + Send,
) -> Result<Tensor> {
    let (len, inner) = around(a.dims(), op.axis);
    let mut out = vec![T::zero(); a.elem_count()];
    with_contiguous::<T, _>(a, |x| {
        with_contiguous::<T, _>(b, |y| {
            blocks(&mut out, (len * inner).max(1), |i, part| {
                let from = i * len * inner;
                let mut state = vec![T::zero(); inner];
                for r in 0..len {
                    let r = if op.reverse { len - 1 - r } else { r };
                    let line = r * inner..(r + 1) * inner;
                    let (x, y) = (&x[from..][line.clone()], &y[from..][line.clone()]);
                    for (((s, a), b), o) in state.iter_mut().zip(x).zip(y).zip(&mut part[line]) {
                        *s = step(*s, *a, *b);
                        *o = *s;
                    }
                }
            });
            Ok(())
        })
    })?;
    tensor(out, a.dims())
}

fn portable(op: &Cumulative, x: &Tensor) -> Result<Tensor> {
    match op.kind {
        CumulativeKind::Prod => doubling(op.axis, op.reverse, x, None),
        CumulativeKind::Sum => {
            let mut x = if op.reverse { x.flip(&[op.axis])? } else { x.clone() };
            let len = x.dims()[op.axis];
            let mut step = 1;
            while step < len {
                x = (&x + moved(&x, op.axis, step, false)?)?;
                step *= 2;
            }
            if op.reverse { x.flip(&[op.axis]) } else { Ok(x) }
        }
    }
}

/// Hillis & Steele 1986: the recurrence (or the running product, where `b` is not given) in log₂ n steps.
fn doubling(axis: usize, reverse: bool, a: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let turned = |x: &Tensor| if reverse { x.flip(&[axis]) } else { Ok(x.clone()) };
    let mut a = turned(a)?;
    let mut b = b.map(turned).transpose()?;
    let len = a.dims()[axis];
    let mut step = 1;
    while step < len {
        if let Some(b) = &mut b {
            *b = ((&a * moved(b, axis, step, false)?)? + &*b)?;
        }
        a = (&a * moved(&a, axis, step, true)?)?;
        step *= 2;
    }
    turned(&b.unwrap_or(a))
}

/// Each element's predecessor by `step`, 1 or 0 where there is none.
fn moved(x: &Tensor, axis: usize, step: usize, one: bool) -> Result<Tensor> {
    let len = x.dims()[axis];
    let mut shape = x.dims().to_vec();
    shape[axis] = step;
    let fill = if one {
        Tensor::ones(shape, x.dtype(), x.device())?
    } else {
        Tensor::zeros(shape, x.dtype(), x.device())?
    };
    Tensor::cat(&[&fill, &x.narrow(axis, 0, len - step)?.contiguous()?], axis)
}
