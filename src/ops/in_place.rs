//! Elementwise loops that write over an operand which nobody reads afterwards.

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, WithDType};
use rayon::prelude::*;

use super::cpu::{CHUNK, Walk};
use crate::shape::{DType, Type};

/// A number that can be written over.
pub trait Stored: WithDType {
    /// The elements of a storage of this dtype.
    fn of(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

macro_rules! stored {
    ($t:ty, $variant:ident) => {
        impl Stored for $t {
            fn of(storage: &mut CpuStorage) -> Option<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(data) => Some(data),
                    _ => None,
                }
            }
        }
    };
}

stored!(f32, F32);
stored!(f64, F64);
stored!(i64, I64);

/// Whether an elementwise operation may write its output over an input: half precision is computed in
/// another type, and a broadcast input is too small.
pub fn fits(input: &Type, output: &Type) -> bool {
    matches!(output.dtype, DType::F32 | DType::F64 | DType::I64)
        && input.dtype == output.dtype
        && input.shape == output.shape
}

/// Elements that are copied out before what comes of them is written: they stay in the first-level cache.
const PIECE: usize = 1024;

/// The elements that a layout says, which must lie in order.
fn elements<'a, A: Stored>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [A]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a tensor that is written over does not lie in order");
    };
    match A::of(storage).and_then(|data| data.get_mut(start..end)) {
        Some(data) => Ok(data),
        None => candle_core::bail!("a tensor that is written over is of another dtype"),
    }
}

/// Runs `f(first element, copy, target)` for each piece of a slice.
fn pieces<A: Stored>(data: &mut [A], f: impl Fn(usize, &[A], &mut [MaybeUninit<A>]) + Sync) {
    let part = |(i, data): (usize, &mut [A])| {
        let mut copy = [A::zero(); PIECE];
        for (j, data) in data.chunks_mut(PIECE).enumerate() {
            let copy = &mut copy[..data.len()];
            copy.copy_from_slice(data);
            // SAFETY: the same memory as elements that may be anything; a loop writes them all.
            let target = unsafe { &mut *(std::ptr::from_mut(data) as *mut [MaybeUninit<A>]) };
            f(i * CHUNK + j * PIECE, copy, target);
        }
    };
    if data.len() > CHUNK {
        data.par_chunks_mut(CHUNK).enumerate().for_each(part);
    } else {
        part((0, data));
    }
}

type Loop1<'a, A> = &'a (dyn Fn((&[A], usize), &mut [MaybeUninit<A>]) + Sync);
type Loop2<'a, A> = &'a (dyn Fn((&[A], usize), (&[A], usize), &mut [MaybeUninit<A>]) + Sync);

struct Over1<'a, A>(Loop1<'a, A>);

impl<A: Stored> InplaceOp1 for Over1<'_, A> {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        pieces(elements::<A>(storage, layout)?, |_, x, to| (self.0)((x, 1), to));
        Ok(())
    }
}

struct Over2<'a, A>(Loop2<'a, A>);

impl<A: Stored> InplaceOp2 for Over2<'_, A> {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        let other = s2.as_slice::<A>()?;
        let walk = Walk::new(l1.dims(), [l2]);
        let [step] = walk.inner_strides;
        pieces(elements::<A>(s1, l1)?, |first, x, to| {
            walk.runs(first, x.len(), |range, [j]| {
                (self.0)((&x[range.clone()], 1), (&other[j..], step), &mut to[range]);
            });
        });
        Ok(())
    }
}

/// Writes over `x` what a loop makes of it.
///
/// # Errors
/// `x` does not lie in order, or is of another dtype.
pub fn over1<A: Stored>(x: &Tensor, each: Loop1<'_, A>) -> Result<Tensor> {
    x.inplace_op1(&Over1(each))?;
    Ok(x.clone())
}

/// Writes over `x` what a loop makes of it and `y`, which broadcasts to it.
///
/// # Errors
/// As [`over1`], or the two share their storage.
pub fn over2<A: Stored>(x: &Tensor, y: &Tensor, each: Loop2<'_, A>) -> Result<Tensor> {
    x.inplace_op2(y, &Over2(each))?;
    Ok(x.clone())
}
