//! The operations composed of candle's own, for devices other than the CPU.
//!
//! candle's convolution has one padding, stride and dilation for both axes, so that the rest is composed:
//! padding by zeros, a dilated kernel by zeros between its taps, different strides by selection. Its
//! transposed convolution has one thread per output element; a convolution of the dilated input with the
//! flipped kernel reaches the matrix units instead.

use candle_core::{D, Result, Tensor};

use super::{Window2, axis_map, indices};
use crate::ops::avg_pool::PoolSpec;
use crate::ops::resize::ResizeMode;

pub(super) fn matmul(a: &Tensor, b: &Tensor, transpose_a: bool, transpose_b: bool) -> Result<Tensor> {
    let side = |x: &Tensor, t: bool| if t { x.t()?.contiguous() } else { x.contiguous() };
    side(a, transpose_a)?.broadcast_matmul(&side(b, transpose_b)?)
}

/// Zeros before and after the last two axes.
fn pad2(x: &Tensor, padding: [(usize, usize); 2]) -> Result<Tensor> {
    let rows = x.pad_with_zeros(D::Minus2, padding[0].0, padding[0].1)?;
    rows.pad_with_zeros(D::Minus1, padding[1].0, padding[1].1)?.contiguous()
}

/// `step - 1` zeros between the elements of an axis.
fn spread(x: &Tensor, axis: usize, step: usize) -> Result<Tensor> {
    let n = x.dim(axis)?;
    if step == 1 || n <= 1 {
        return Ok(x.clone());
    }
    let apart = x.unsqueeze(axis + 1)?.pad_with_zeros(axis + 1, 0, step - 1)?;
    apart.flatten(axis, axis + 1)?.narrow(axis, 0, (n - 1) * step + 1)?.contiguous()
}

/// Every `step`-th element of an axis from `start`, `count` of them.
fn every(x: &Tensor, axis: usize, start: usize, step: usize, count: usize) -> Result<Tensor> {
    if step == 1 {
        return x.narrow(axis, start, count);
    }
    x.contiguous()?.index_select(&indices((0..count).map(|i| start + i * step), x.device())?, axis)
}

/// The adjoint of [`every`], into an axis of `size`.
fn every_grad(y: &Tensor, axis: usize, start: usize, step: usize, size: usize) -> Result<Tensor> {
    let spread = spread(y, axis, step)?;
    let end = size - start - spread.dim(axis)?;
    spread.pad_with_zeros(axis, start, end)
}

/// A convolution without padding.
fn conv_valid(
    x: &Tensor,
    weight: &Tensor,
    stride: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
) -> Result<Tensor> {
    if dilation[0] != dilation[1] && weight.dim(2)? > 1 && weight.dim(3)? > 1 {
        let weight = spread(&spread(weight, 2, dilation[0])?, 3, dilation[1])?;
        return conv_valid(x, &weight, stride, [1, 1], groups);
    }
    let dilation = if weight.dim(2)? > 1 { dilation[0] } else { dilation[1] };
    if stride[0] == stride[1] {
        return x.conv2d(&weight.contiguous()?, 0, stride[0], dilation, groups);
    }
    let y = x.conv2d(&weight.contiguous()?, 0, 1, dilation, groups)?;
    let y = every(&y, 2, 0, stride[0], y.dim(2)?.div_ceil(stride[0]))?;
    every(&y, 3, 0, stride[1], y.dim(3)?.div_ceil(stride[1]))?.contiguous()
}

pub(super) fn conv(w: &Window2, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    conv_valid(&pad2(x, w.padding)?, weight, w.stride, w.dilation, w.groups)
}

pub(super) fn conv_fused(
    w: &Window2,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let mut y = conv(w, x, weight)?;
    if let Some(bias) = bias {
        y = y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?;
    }
    if let Some(residual) = residual {
        y = (y + residual)?;
    }
    Ok(y)
}

pub(super) fn conv_transpose(w: &Window2, y: &Tensor, weight: &Tensor, size: [usize; 2]) -> Result<Tensor> {
    // [o, c / g, kh, kw] becomes [c, o / g, kh, kw], flipped.
    let groups = weight.chunk(w.groups, 0)?;
    let turned: Vec<Tensor> =
        groups.iter().map(|g| g.transpose(0, 1)?.contiguous()?.flip(&[2, 3])).collect::<Result<_>>()?;
    let turned = Tensor::cat(&turned, 0)?;
    let mut x = y.clone();
    for axis in 0..2 {
        let reach = w.dilation[axis] * (w.kernel[axis] - 1);
        x = spread(&x, 2 + axis, w.stride[axis])?;
        // Output position p sums windows from p + before - reach to p + before of the spread input.
        let before = reach as i64 - w.padding[axis].0 as i64;
        let after = size[axis] as i64 + w.padding[axis].0 as i64 - x.dim(2 + axis)? as i64;
        let (skip, pad) = ((-before).max(0) as usize, before.max(0) as usize);
        x = x.pad_with_zeros(2 + axis, pad, after.max(0) as usize)?;
        let keep = size[axis] + reach;
        x = x.narrow(2 + axis, skip, keep)?;
    }
    conv_valid(&x.contiguous()?, &turned, [1, 1], w.dilation, w.groups)
}

pub(super) fn conv_weight_grad(w: &Window2, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let (xs, ys) = (pad2(x, w.padding)?.chunk(w.groups, 1)?, y.chunk(w.groups, 1)?);
    let mut out = Vec::with_capacity(w.groups);
    for (x, y) in xs.iter().zip(&ys) {
        // The batch is what is summed over: it takes the place of the channels. Stride and dilation exchange.
        let (x, y) = (x.transpose(0, 1)?.contiguous()?, y.transpose(0, 1)?.contiguous()?);
        let full = conv_valid(&x, &y, w.dilation, w.stride, 1)?;
        let full = full.narrow(2, 0, w.kernel[0])?.narrow(3, 0, w.kernel[1])?;
        out.push(full.transpose(0, 1)?.contiguous()?);
    }
    Tensor::cat(&out, 0)
}

/// The windows of an axis after padding.
fn windows(spec: &PoolSpec, padded: &Tensor, axis: usize) -> Result<usize> {
    Ok((padded.dim(2 + axis)? - spec.kernel[axis]) / spec.stride[axis] + 1)
}

/// Element (i, j) of every window.
fn tap(spec: &PoolSpec, padded: &Tensor, i: usize, j: usize) -> Result<Tensor> {
    let rows = every(padded, 2, i, spec.stride[0], windows(spec, padded, 0)?)?;
    every(&rows, 3, j, spec.stride[1], windows(spec, padded, 1)?)
}

/// The adjoint of [`tap`].
fn tap_grad(spec: &PoolSpec, y: &Tensor, i: usize, j: usize, padded: [usize; 2]) -> Result<Tensor> {
    let rows = every_grad(y, 2, i, spec.stride[0], padded[0])?;
    every_grad(&rows, 3, j, spec.stride[1], padded[1])
}

fn taps(spec: &PoolSpec) -> impl Iterator<Item = (usize, usize)> + use<> {
    let [kh, kw] = spec.kernel;
    (0..kh).flat_map(move |i| (0..kw).map(move |j| (i, j)))
}

fn sides(spec: &PoolSpec) -> [(usize, usize); 2] {
    spec.padding.map(|p| (p, p))
}

fn unpad(spec: &PoolSpec, x: &Tensor, size: [usize; 2]) -> Result<Tensor> {
    x.narrow(2, spec.padding[0], size[0])?.narrow(3, spec.padding[1], size[1])?.contiguous()
}

pub(super) fn avg_pool(spec: &PoolSpec, x: &Tensor) -> Result<Tensor> {
    let padded = pad2(x, sides(spec))?;
    let mut sum: Option<Tensor> = None;
    for (i, j) in taps(spec) {
        let value = tap(spec, &padded, i, j)?;
        sum = Some(match sum {
            Some(s) => (s + value)?,
            None => value.contiguous()?,
        });
    }
    match sum {
        Some(s) => s.affine(1.0 / spec.area(), 0.0),
        None => candle_core::bail!("a pool of empty windows"),
    }
}

pub(super) fn avg_pool_grad(spec: &PoolSpec, y: &Tensor, size: &[usize; 2]) -> Result<Tensor> {
    let padded = [size[0] + 2 * spec.padding[0], size[1] + 2 * spec.padding[1]];
    let (n, c, _, _) = y.dims4()?;
    let mut x = Tensor::zeros((n, c, padded[0], padded[1]), y.dtype(), y.device())?;
    let share = y.affine(1.0 / spec.area(), 0.0)?;
    for (i, j) in taps(spec) {
        x = (x + tap_grad(spec, &share, i, j, padded)?)?;
    }
    unpad(spec, &x, *size)
}

/// For each window of x, the number of the tap where it is largest.
fn largest(spec: &PoolSpec, x: &Tensor) -> Result<Tensor> {
    // Padding by zeros must not win: a mask of what is real goes with it.
    let padded = pad2(x, sides(spec))?;
    let real = pad2(&x.ones_like()?, sides(spec))?;
    let lowest = padded.affine(0.0, f64::NEG_INFINITY)?;
    let padded = real.ne(0.0)?.where_cond(&padded, &lowest)?;
    let mut best: Option<(Tensor, Tensor)> = None;
    for (number, (i, j)) in taps(spec).enumerate() {
        let value = tap(spec, &padded, i, j)?.contiguous()?;
        let here = Tensor::full(number as u32, value.shape(), value.device())?;
        best = Some(match best {
            None => (value, here),
            Some((top, at)) => {
                // A NaN wins, as it does in PyTorch.
                let wins = (value.gt(&top)? + value.ne(&value)?)?.ne(0u8)?;
                (wins.where_cond(&value, &top)?, wins.where_cond(&here, &at)?)
            }
        });
    }
    match best {
        Some((_, at)) => Ok(at),
        None => candle_core::bail!("a pool of empty windows"),
    }
}

pub(super) fn max_pool_pick(spec: &PoolSpec, x: &Tensor, v: &Tensor) -> Result<Tensor> {
    let at = largest(spec, x)?;
    let padded = pad2(v, sides(spec))?;
    let mut out = Tensor::zeros(at.shape(), v.dtype(), v.device())?;
    for (number, (i, j)) in taps(spec).enumerate() {
        let value = tap(spec, &padded, i, j)?.contiguous()?;
        out = at.eq(number as u32)?.where_cond(&value, &out)?;
    }
    Ok(out)
}

pub(super) fn max_pool_grad(spec: &PoolSpec, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let at = largest(spec, x)?;
    let (n, c, h, w) = x.dims4()?;
    let padded = [h + 2 * spec.padding[0], w + 2 * spec.padding[1]];
    let mut out = Tensor::zeros((n, c, padded[0], padded[1]), y.dtype(), y.device())?;
    let (y, zero) = (y.contiguous()?, y.zeros_like()?.contiguous()?);
    for (number, (i, j)) in taps(spec).enumerate() {
        let part = at.eq(number as u32)?.where_cond(&y, &zero)?;
        out = (out + tap_grad(spec, &part, i, j, padded)?)?;
    }
    unpad(spec, &out, [h, w])
}

/// Weights of an axis, shaped to broadcast along it.
fn axis_weights(
    weights: impl Iterator<Item = f64>,
    axis: usize,
    rank: usize,
    like: &Tensor,
) -> Result<Tensor> {
    let weights: Vec<f64> = weights.collect();
    let mut shape = vec![1; rank];
    shape[axis] = weights.len();
    Tensor::from_vec(weights, shape, &candle_core::Device::Cpu)?
        .to_dtype(like.dtype())?
        .to_device(like.device())
}

pub(super) fn resize(mode: ResizeMode, x: &Tensor, size: &[usize; 2]) -> Result<Tensor> {
    let rank = x.rank();
    let mut x = x.contiguous()?;
    for (axis, to) in [rank - 2, rank - 1].into_iter().zip(size) {
        let map = axis_map(mode, x.dim(axis)?, *to);
        let low = x.index_select(&indices(map.iter().map(|b| b.low), x.device())?, axis)?;
        x = match mode {
            ResizeMode::Nearest => low,
            ResizeMode::Bilinear => {
                let high = x.index_select(&indices(map.iter().map(|b| b.high), x.device())?, axis)?;
                let weight = axis_weights(map.iter().map(|b| b.weight), axis, rank, &x)?;
                (&low + (high - &low)?.broadcast_mul(&weight)?)?
            }
        };
    }
    Ok(x)
}

pub(super) fn resize_grad(mode: ResizeMode, y: &Tensor, size: &[usize; 2]) -> Result<Tensor> {
    let rank = y.rank();
    let mut y = y.contiguous()?;
    for (axis, from) in [rank - 2, rank - 1].into_iter().zip(size) {
        let map = axis_map(mode, *from, y.dim(axis)?);
        let mut shape = y.dims().to_vec();
        shape[axis] = *from;
        let zero = Tensor::zeros(shape, y.dtype(), y.device())?;
        let low = indices(map.iter().map(|b| b.low), y.device())?;
        y = match mode {
            ResizeMode::Nearest => zero.index_add(&low, &y, axis)?,
            ResizeMode::Bilinear => {
                let high = indices(map.iter().map(|b| b.high), y.device())?;
                let to_high =
                    y.broadcast_mul(&axis_weights(map.iter().map(|b| b.weight), axis, rank, &y)?)?;
                let to_low = (&y - &to_high)?;
                zero.index_add(&low, &to_low, axis)?.index_add(&high, &to_high, axis)?
            }
        };
    }
    Ok(y)
}
