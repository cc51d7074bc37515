//! Elementwise loops over CPU tensors of any layout: broadcast, in parallel, vectorised.
//!
//! Each output element depends on its own inputs alone, so that neither the number of threads nor the
//! batch changes it.

use std::mem::MaybeUninit;

use candle_core::{DType, Layout, Result, Storage, Tensor, WithDType};
use rayon::prelude::*;

use super::in_place::{self, Stored};
use super::{EvalContext, copies};

/// Elements per task: large enough to pay for a task, small enough to stay in a core's cache.
pub const CHUNK: usize = 1 << 15;

/// Whether the kernels of this crate evaluate (else candle's operations do, as on a GPU).
pub fn here(cx: &EvalContext<'_>) -> bool {
    #[cfg(test)]
    if PORTABLE.get() {
        return false;
    }
    cx.device.is_cpu()
}

#[cfg(test)]
thread_local! {
    /// Makes [`here`] false on this thread, so that tests reach the evaluation that a GPU uses.
    pub static PORTABLE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Half precision as f32, all else as it is. The kernels compute in f32 and round once at the end.
pub fn widen(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.to_dtype(DType::F32),
        _ => Ok(x.clone()),
    }
}

/// Runs `$body` with `$T` as the Rust type of a dtype (of [`widen`]ed tensors).
macro_rules! with_number {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            candle_core::DType::I64 => {
                type $T = i64;
                $body
            }
            candle_core::DType::U8 => {
                type $T = u8;
                $body
            }
            other => candle_core::bail!("no CPU kernel for the dtype {other:?}"),
        }
    };
}
pub(crate) use with_number;

/// Calls `f` with the tensor's storage as a slice.
///
/// # Errors
/// The tensor is not on the CPU, or of another dtype.
pub fn with_data<T: WithDType, R>(x: &Tensor, f: impl FnOnce(&[T], &Layout) -> Result<R>) -> Result<R> {
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => f(cpu.as_slice::<T>()?, layout),
        _ => candle_core::bail!("a CPU kernel got a tensor of another device"),
    }
}

/// Calls `f` with the elements of a tensor in row-major order.
///
/// # Errors
/// As [`with_data`].
pub fn with_contiguous<T: WithDType, R>(x: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let x = copies::contiguous(x)?;
    with_data::<T, R>(&x, |data, layout| match layout.contiguous_offsets() {
        Some((start, end)) => f(&data[start..end]),
        None => candle_core::bail!("a contiguous copy is not contiguous"),
    })
}

/// A CPU tensor of these elements, without a copy.
///
/// # Errors
/// The shape has another number of elements.
pub fn tensor<T: WithDType>(data: Vec<T>, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(data, shape, &candle_core::Device::Cpu)
}

/// A vector of `n` elements that `fill` writes, without zeroing them first.
///
/// # Safety
/// `fill` writes every element of what it is given.
pub unsafe fn fresh<U>(n: usize, fill: impl FnOnce(&mut [MaybeUninit<U>])) -> Vec<U> {
    let mut out = Vec::with_capacity(n);
    fill(&mut out.spare_capacity_mut()[..n]);
    // SAFETY: the capacity is at least n, and the caller says that all n are written.
    unsafe { out.set_len(n) };
    out
}

/// As [`fresh`], where `fill` can fail.
///
/// # Safety
/// `fill` writes every element of what it is given, unless it fails.
unsafe fn fresh_or<U>(n: usize, fill: impl FnOnce(&mut [MaybeUninit<U>]) -> Result<()>) -> Result<Vec<U>> {
    let mut out = Vec::with_capacity(n);
    fill(&mut out.spare_capacity_mut()[..n])?;
    // SAFETY: the capacity is at least n, and the caller says that all n are written.
    unsafe { out.set_len(n) };
    Ok(out)
}

/// Zeros in place of what was never written: for loops that fill a piece which then lies in the cache.
pub fn zeroed<U: WithDType>(piece: &mut [MaybeUninit<U>]) -> &mut [U] {
    piece.fill(MaybeUninit::new(U::zero()));
    // SAFETY: all elements were written just now.
    unsafe { &mut *(std::ptr::from_mut(piece) as *mut [U]) }
}

/// Runs a loop compiled for the vector instructions that the machine has. No fused multiply-adds are
/// formed, so results are the same with and without.
#[inline(always)]
pub fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn avx2<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the feature that the function needs was detected.
            return unsafe { avx2(f) };
        }
    }
    f()
}

/// Splits `out` into chunks, in parallel if there are several; `f` gets the index of the first element.
pub fn chunks<U: Send>(out: &mut [U], f: impl Fn(usize, &mut [U]) + Sync + Send) {
    if out.len() > CHUNK {
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(i, part)| f(i * CHUNK, part));
    } else if !out.is_empty() {
        f(0, out);
    }
}

/// How `N` operands of broadcast layouts are walked together with a contiguous output.
pub(super) struct Walk<const N: usize> {
    /// Dimensions but the last, outermost first.
    pub(super) outer: Vec<usize>,
    /// Strides of each along `outer`.
    pub(super) outer_strides: Vec<[usize; N]>,
    /// The last dimension and the strides along it.
    pub(super) inner: usize,
    pub(super) inner_strides: [usize; N],
    /// First element of each.
    pub(super) start: [usize; N],
}

impl<const N: usize> Walk<N> {
    /// For operands that broadcast to a shape.
    pub(super) fn new(shape: &[usize], layouts: [&Layout; N]) -> Walk<N> {
        // Axes that all operands walk alike become one.
        let mut axes: Vec<(usize, [usize; N])> = Vec::with_capacity(shape.len());
        for (i, &dim) in shape.iter().enumerate() {
            if dim == 1 {
                continue;
            }
            let strides = layouts.map(|l| stride_at(l, shape.len(), i));
            match axes.last_mut() {
                Some((size, last)) if (0..N).all(|k| last[k] == strides[k] * dim) => {
                    *size *= dim;
                    *last = strides;
                }
                _ => axes.push((dim, strides)),
            }
        }
        let (inner, inner_strides) = axes.pop().unwrap_or((1, [0; N]));
        Walk {
            outer: axes.iter().map(|a| a.0).collect(),
            outer_strides: axes.iter().map(|a| a.1).collect(),
            inner,
            inner_strides,
            start: layouts.map(Layout::start_offset),
        }
    }

    /// Calls `f(output range, offsets)` for each run along the last dimension within `first..first + len`.
    #[inline(always)]
    pub(super) fn runs(
        &self,
        first: usize,
        len: usize,
        mut f: impl FnMut(std::ops::Range<usize>, [usize; N]),
    ) {
        let mut row = first / self.inner;
        let mut column = first % self.inner;
        let mut index = vec![0; self.outer.len()];
        let mut at = self.start;
        for (axis, size) in self.outer.iter().enumerate().rev() {
            index[axis] = row % size;
            row /= size;
            advance(&mut at, &self.outer_strides[axis], index[axis]);
        }
        let mut done = 0;
        while done < len {
            let run = (self.inner - column).min(len - done);
            let mut offsets = at;
            advance(&mut offsets, &self.inner_strides, column);
            f(done..done + run, offsets);
            done += run;
            column = 0;
            for axis in (0..self.outer.len()).rev() {
                index[axis] += 1;
                advance(&mut at, &self.outer_strides[axis], 1);
                if index[axis] < self.outer[axis] {
                    break;
                }
                for (a, stride) in at.iter_mut().zip(&self.outer_strides[axis]) {
                    *a -= self.outer[axis] * stride;
                }
                index[axis] = 0;
            }
        }
    }
}

/// Moves each offset by `count` strides.
#[inline(always)]
fn advance<const N: usize>(at: &mut [usize; N], strides: &[usize; N], count: usize) {
    for (a, stride) in at.iter_mut().zip(strides) {
        *a += count * stride;
    }
}

/// The stride along axis `i` of the broadcast shape; 0 where the operand is repeated.
fn stride_at(layout: &Layout, rank: usize, i: usize) -> usize {
    let lead = rank - layout.dims().len();
    match i.checked_sub(lead) {
        Some(j) if layout.dims()[j] != 1 => layout.stride()[j],
        _ => 0,
    }
}

/// The shape that operands broadcast to.
fn common_shape(tensors: &[&Tensor]) -> Result<Vec<usize>> {
    let rank = tensors.iter().map(|t| t.rank()).max().unwrap_or(0);
    let mut shape = vec![1; rank];
    for t in tensors {
        for (have, dim) in shape[rank - t.rank()..].iter_mut().zip(t.dims()) {
            if *have == 1 {
                *have = *dim;
            } else if *dim != 1 && *dim != *have {
                candle_core::bail!("{:?} does not broadcast with {shape:?}", t.dims());
            }
        }
    }
    Ok(shape)
}

/// Whether `f` holds of any element of the storage.
///
/// # Errors
/// As [`with_data`].
pub fn any<A: WithDType>(a: &Tensor, f: impl Fn(A) -> bool + Copy + Sync + Send) -> Result<bool> {
    with_data::<A, _>(a, |x, _| {
        let part = |x: &[A]| {
            vectorised(
                #[inline(always)]
                || x.iter().fold(false, |any, v| any | f(*v)),
            )
        };
        Ok(x.par_chunks(CHUNK).any(part))
    })
}

/// A loop over one operand: elements at a step, to where they go.
type Loop1<'a, A, U> = &'a (dyn Fn((&[A], usize), &mut [MaybeUninit<U>]) + Sync);

/// A loop over two.
type Loop2<'a, A, B, U> = &'a (dyn Fn((&[A], usize), (&[B], usize), &mut [MaybeUninit<U>]) + Sync);

/// The loop of a function: the only part that is compiled anew for each function. It writes every element.
#[inline(always)]
fn loop1<A: Copy + Sync, U: Copy>(
    f: impl Fn(A) -> U + Copy + Sync,
) -> impl Fn((&[A], usize), &mut [MaybeUninit<U>]) + Sync {
    move |(x, step), to| {
        vectorised(
            #[inline(always)]
            || match step {
                1 => {
                    let x = &x[..to.len()];
                    for (o, x) in to.iter_mut().zip(x) {
                        o.write(f(*x));
                    }
                }
                _ => {
                    for (i, o) in to.iter_mut().enumerate() {
                        o.write(f(x[i * step]));
                    }
                }
            },
        );
    }
}

/// As [`loop1`].
#[inline(always)]
fn loop2<A: Copy + Sync, B: Copy + Sync, U: Copy>(
    f: impl Fn(A, B) -> U + Copy + Sync,
) -> impl Fn((&[A], usize), (&[B], usize), &mut [MaybeUninit<U>]) + Sync {
    move |(x, r), (y, s), to| {
        vectorised(
            #[inline(always)]
            || match (r, s) {
                (1, 1) => {
                    let (x, y) = (&x[..to.len()], &y[..to.len()]);
                    for ((o, x), y) in to.iter_mut().zip(x).zip(y) {
                        o.write(f(*x, *y));
                    }
                }
                (1, 0) => {
                    let (x, y) = (&x[..to.len()], y[0]);
                    for (o, x) in to.iter_mut().zip(x) {
                        o.write(f(*x, y));
                    }
                }
                (0, 1) => {
                    let (x, y) = (x[0], &y[..to.len()]);
                    for (o, y) in to.iter_mut().zip(y) {
                        o.write(f(x, *y));
                    }
                }
                _ => {
                    for (i, o) in to.iter_mut().enumerate() {
                        o.write(f(x[i * r], y[i * s]));
                    }
                }
            },
        );
    }
}

fn drive1<A: WithDType, U: WithDType>(a: &Tensor, each: Loop1<'_, A, U>) -> Result<Tensor> {
    let shape = a.dims();
    let fill = |out: &mut [MaybeUninit<U>]| {
        with_data::<A, _>(a, |x, layout| {
            let walk = Walk::new(shape, [layout]);
            let [step] = walk.inner_strides;
            chunks(out, |first, part| {
                let len = part.len();
                walk.runs(first, len, |range, [i]| each((&x[i..], step), &mut part[range]));
            });
            Ok(())
        })
    };
    // SAFETY: the chunks cover the output and the runs each chunk; a loop writes all that it is given.
    tensor(unsafe { fresh_or(a.elem_count(), fill) }?, shape)
}

fn drive2<A: WithDType, B: WithDType, U: WithDType>(
    a: &Tensor,
    b: &Tensor,
    each: Loop2<'_, A, B, U>,
) -> Result<Tensor> {
    let shape = common_shape(&[a, b])?;
    let fill = |out: &mut [MaybeUninit<U>]| {
        with_data::<A, _>(a, |x, la| {
            with_data::<B, _>(b, |y, lb| {
                let walk = Walk::new(&shape, [la, lb]);
                let [r, s] = walk.inner_strides;
                chunks(out, |first, part| {
                    let len = part.len();
                    walk.runs(first, len, |range, [i, j]| {
                        each((&x[i..], r), (&y[j..], s), &mut part[range]);
                    });
                });
                Ok(())
            })
        })
    };
    // SAFETY: as in `drive1`.
    tensor(unsafe { fresh_or(shape.iter().product(), fill) }?, &shape)
}

/// `f` of each element.
///
/// # Errors
/// As [`with_data`].
pub fn map1<A: WithDType, U: WithDType>(
    a: &Tensor,
    f: impl Fn(A) -> U + Copy + Sync + Send,
) -> Result<Tensor> {
    drive1(a, &loop1(f))
}

/// `f` of each element, written over the operand if `over`.
///
/// # Errors
/// As [`with_data`].
pub fn map1_over<A: Stored>(
    a: &Tensor,
    over: bool,
    f: impl Fn(A) -> A + Copy + Sync + Send,
) -> Result<Tensor> {
    let each = loop1(f);
    if over { in_place::over1(a, &each) } else { drive1(a, &each) }
}

/// `f` of each pair of elements, broadcast.
///
/// # Errors
/// As [`with_data`], or shapes that do not broadcast.
pub fn map2<A: WithDType, B: WithDType, U: WithDType>(
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(A, B) -> U + Copy + Sync + Send,
) -> Result<Tensor> {
    drive2(a, b, &loop2(f))
}

/// `f` of each pair of elements, broadcast, written over the operand of that number if there is one.
///
/// # Errors
/// As [`map2`].
pub fn map2_over<A: Stored>(
    a: &Tensor,
    b: &Tensor,
    over: Option<usize>,
    f: impl Fn(A, A) -> A + Copy + Sync + Send,
) -> Result<Tensor> {
    let each = loop2(f);
    match over {
        None => drive2(a, b, &each),
        Some(0) => in_place::over2(a, b, &each),
        Some(_) => in_place::over2(b, a, &|x, y, to| each(y, x, to)),
    }
}

/// `f` of each three elements, broadcast.
///
/// # Errors
/// As [`map2`].
pub fn map3<A: WithDType, B: WithDType, C: WithDType, U: WithDType>(
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    f: impl Fn(A, B, C) -> U + Copy + Sync + Send,
) -> Result<Tensor> {
    let shape = common_shape(&[a, b, c])?;
    let fill = |out: &mut [MaybeUninit<U>]| {
        with_data::<A, _>(a, |x, la| {
            with_data::<B, _>(b, |y, lb| {
                with_data::<C, _>(c, |z, lc| {
                    let walk = Walk::new(&shape, [la, lb, lc]);
                    chunks(out, |first, part| {
                        vectorised(
                            #[inline(always)]
                            || {
                                let len = part.len();
                                walk.runs(
                                    first,
                                    len,
                                    #[inline(always)]
                                    |range, [i, j, k]| {
                                        let len = range.len();
                                        let to = &mut part[range];
                                        match walk.inner_strides {
                                            [1, 1, 0] => {
                                                let z = z[k];
                                                for ((o, x), y) in
                                                    to.iter_mut().zip(&x[i..i + len]).zip(&y[j..j + len])
                                                {
                                                    o.write(f(*x, *y, z));
                                                }
                                            }
                                            [1, 1, 1] => {
                                                let z = &z[k..k + len];
                                                for (((o, x), y), z) in to
                                                    .iter_mut()
                                                    .zip(&x[i..i + len])
                                                    .zip(&y[j..j + len])
                                                    .zip(z)
                                                {
                                                    o.write(f(*x, *y, *z));
                                                }
                                            }
                                            [r, s, t] => {
                                                for (n, o) in to.iter_mut().enumerate() {
                                                    o.write(f(x[i + n * r], y[j + n * s], z[k + n * t]));
                                                }
                                            }
                                        }
                                    },
                                );
                            },
                        );
                    });
                    Ok(())
                })
            })
        })
    };
    // SAFETY: as in `map1`.
    tensor(unsafe { fresh_or(shape.iter().product(), fill) }?, &shape)
}
