//! From candle's tensors to slices and back.

use std::mem::MaybeUninit;

use candle_core::{DType, Device, Result, Storage, Tensor, WithDType};

use super::tile::Real;
use crate::ops::cpu::{fresh, zeroed};
use crate::ops::math::Real as Function;

/// A real number of candle's that has kernels.
pub(super) trait Element: Real + WithDType + Function {}

impl Element for f32 {}
impl Element for f64 {}

/// A computation over slices.
pub(super) trait Kernel {
    /// Computes the output, which is zero at first. Inputs begin at their first element; what their layout
    /// is the kernel knows.
    fn run<T: Element>(&self, inputs: &[&[T]], out: &mut [T]);

    /// The same into memory that was never written; every element is written. A kernel that works piece by
    /// piece sets each to zero while it lies in the cache.
    fn run_fresh<T: Element>(&self, inputs: &[&[T]], out: &mut [MaybeUninit<T>]) {
        self.run(inputs, zeroed(out));
    }
}

/// Written memory as what a kernel takes that writes every element.
pub(super) fn written<T: Copy>(out: &mut [T]) -> &mut [MaybeUninit<T>] {
    // SAFETY: the layout is the same, and what is written there through it are elements.
    unsafe { &mut *(std::ptr::from_mut(out) as *mut [MaybeUninit<T>]) }
}

/// Runs a kernel on CPU tensors of one dtype. Half precision is computed in f32.
pub(super) fn apply(kernel: &impl Kernel, inputs: &[&Tensor], shape: &[usize]) -> Result<Tensor> {
    let Some(first) = inputs.first() else { candle_core::bail!("a kernel without inputs") };
    match first.dtype() {
        DType::F32 => apply_as::<f32>(kernel, inputs, shape),
        DType::F64 => apply_as::<f64>(kernel, inputs, shape),
        dtype @ (DType::F16 | DType::BF16) => {
            let wide: Vec<Tensor> = inputs.iter().map(|t| widen(t)).collect::<Result<_>>()?;
            apply_as::<f32>(kernel, &wide.iter().collect::<Vec<_>>(), shape)?.to_dtype(dtype)
        }
        other => candle_core::bail!("no kernel for {other:?}"),
    }
}

/// To f32, keeping the layout that the kernel was told.
fn widen(x: &Tensor) -> Result<Tensor> {
    if x.is_contiguous() {
        return x.to_dtype(DType::F32);
    }
    candle_core::bail!("a kernel got half precision of a layout that is not contiguous")
}

fn apply_as<T: Element>(kernel: &impl Kernel, inputs: &[&Tensor], shape: &[usize]) -> Result<Tensor> {
    let guards: Vec<_> = inputs.iter().map(|t| t.storage_and_layout()).collect();
    let mut slices: Vec<&[T]> = Vec::with_capacity(inputs.len());
    for (storage, layout) in &guards {
        match &**storage {
            Storage::Cpu(storage) => {
                let data = storage.as_slice::<T>()?;
                slices.push(data.get(layout.start_offset()..).unwrap_or_default());
            }
            _ => candle_core::bail!("a tensor of another device reached a CPU kernel"),
        }
    }
    // SAFETY: `run_fresh` writes every element.
    let out = unsafe { fresh(shape.iter().product(), |out| kernel.run_fresh(&slices, out)) };
    drop(guards);
    Tensor::from_vec(out, shape, &Device::Cpu)
}
