//! What the fused operations evaluate: kernels on the CPU, candle's operations elsewhere.

use candle_core::{Result, Tensor};

use super::cpu::apply;
use super::norm::Norm;
use super::{attention as blocks, attention_grad as blocks_grad, device_fused as device, norm};
use crate::ops::copies;
use crate::ops::normalize::Normalize;
use crate::shape::Type;

fn norm_kernel(op: &Normalize, inputs: &[Tensor], gradients: bool, shape: &[usize]) -> Result<Tensor> {
    let inputs = inputs.iter().map(copies::contiguous).collect::<Result<Vec<_>>>()?;
    let kernel = Norm::new(op, inputs[0].dims(), gradients);
    apply(&kernel, &inputs.iter().collect::<Vec<_>>(), shape)
}

/// A normalisation of x with its weights; `here` on the CPU's kernels.
pub(in crate::ops) fn normalize(op: &Normalize, inputs: &[Tensor], here: bool) -> Result<Tensor> {
    match here {
        true => norm_kernel(op, inputs, false, inputs[0].dims()),
        false => device::normalize(op, inputs),
    }
}

/// Its gradients, flat.
pub(in crate::ops) fn normalize_grad(op: &Normalize, inputs: &[Tensor], here: bool) -> Result<Tensor> {
    // All but the last input have a gradient.
    let total = inputs.iter().rev().skip(1).map(Tensor::elem_count).sum();
    match here {
        true => norm_kernel(op, inputs, true, &[total]),
        false => device::normalize_grad(op, inputs),
    }
}

/// Temporary bytes of [`normalize_grad`].
pub(in crate::ops) fn normalize_grad_scratch_bytes(op: &Normalize, x: &Type) -> f64 {
    let dims: Vec<usize> = x.shape.iter().map(|d| d.eval_with(1).max(0) as usize).collect();
    if dims.is_empty() { 0.0 } else { norm::scratch_bytes(op, &dims) }
}

/// Attention of q, k, v.
pub(in crate::ops) fn attention(scale: f64, inputs: &[Tensor], here: bool) -> Result<Tensor> {
    if here { blocks::attention(scale, inputs) } else { device::attention(scale, inputs) }
}

/// Temporary bytes of [`attention`].
pub(in crate::ops) fn attention_scratch_bytes(inputs: &[&Type]) -> f64 {
    blocks::scratch_bytes(inputs)
}

/// Its gradients, flat, given q, k, v, the output and its gradient.
pub(in crate::ops) fn attention_grad(scale: f64, inputs: &[Tensor], here: bool) -> Result<Tensor> {
    if here { blocks_grad::attention_grad(scale, inputs) } else { device::attention_grad(scale, inputs) }
}

/// Temporary bytes of [`attention_grad`].
pub(in crate::ops) fn attention_grad_scratch_bytes(inputs: &[&Type]) -> f64 {
    blocks_grad::scratch_bytes(inputs)
}
