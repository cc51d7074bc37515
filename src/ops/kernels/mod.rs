//! Evaluation of matrix products, convolutions, pooling and resizing.
//!
//! On the CPU these are kernels of our own, because "same seed, same bytes at any batch size and thread
//! count" is a promise that general matrix libraries do not give: their order of summation depends on the
//! shape of the whole product. Here every output element is a sum over `k` in one fixed order (see
//! [`gemm`]). Elsewhere the operations are composed of candle's own ([`device`]).

mod attention;
mod attention_grad;
mod blocked;
mod conv;
mod conv_weight;
mod cpu;
mod depthwise;
mod device;
mod device_fused;
mod fused;
mod gemm;
mod lanes;
mod norm;
mod pair;
mod panel;
mod planes;
mod product;
pub mod reduced;
mod strip;
mod tile;
mod transpose;
mod winograd;
mod winograd_run;

use std::mem::MaybeUninit;

use candle_core::{Device, Result, Tensor};

pub(super) use self::fused::{
    attention, attention_grad, attention_grad_scratch_bytes, attention_scratch_bytes, normalize,
    normalize_grad, normalize_grad_scratch_bytes,
};
pub(super) use self::reduced::{
    bf16_columns, bf16_columns_len, bf16_filters, bf16_filters_len, conv_bf16, matmul_bf16,
};
pub(super) use self::winograd_run::{
    conv_winograd, conv_winograd_scratch_bytes, winograd_applies, winograd_weights, winograd_weights_len,
};

use self::cpu::{Element, Kernel, apply, written};
use self::gemm::Target;
use self::planes::PoolPart;
use super::avg_pool::PoolSpec;
use super::conv_spec::ConvSpec;
use super::cpu::zeroed;
use super::resize::ResizeMode;
use crate::shape::Type;

/// Attributes of a convolution over two axes; one axis counts as a height of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window2 {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [(usize, usize); 2],
    dilation: [usize; 2],
    groups: usize,
}

impl Window2 {
    fn new(spec: &ConvSpec) -> Result<Self> {
        match (&spec.kernel[..], &spec.stride[..], &spec.padding[..], &spec.dilation[..]) {
            (&[k], &[s], &[p], &[d]) => Ok(Window2 {
                kernel: [1, k],
                stride: [1, s],
                padding: [(0, 0), p],
                dilation: [1, d],
                groups: spec.groups,
            }),
            (&[kh, kw], &[sh, sw], &[ph, pw], &[dh, dw]) => Ok(Window2 {
                kernel: [kh, kw],
                stride: [sh, sw],
                padding: [ph, pw],
                dilation: [dh, dw],
                groups: spec.groups,
            }),
            _ => candle_core::bail!("a convolution over {} axes", spec.kernel.len()),
        }
    }

    /// The windows along an axis.
    fn windows(&self, axis: usize, size: usize) -> usize {
        let reach = self.dilation[axis] * (self.kernel[axis] - 1);
        (size + self.padding[axis].0 + self.padding[axis].1).saturating_sub(reach + 1) / self.stride[axis] + 1
    }
}

/// Four axes from three: the height is 1.
fn lift(x: &Tensor) -> Result<Tensor> {
    if x.rank() == 3 { x.unsqueeze(2) } else { Ok(x.clone()) }
}

/// Undoes [`lift`].
fn lower(x: Tensor, rank: usize) -> Result<Tensor> {
    if rank == 3 { x.squeeze(2) } else { Ok(x) }
}

/// The last two dimensions of an output without open ones.
pub(super) fn size_of(output: &Type) -> Result<[usize; 2]> {
    match output.constant_shape().as_deref() {
        Some([.., h, w]) => Ok([*h, *w]),
        _ => candle_core::bail!("an open size reached the kernels: {output}"),
    }
}

/// `a · b` over the last two axes, each transposed or not, leading axes broadcast.
pub(super) fn matmul(a: &Tensor, b: &Tensor, transpose_a: bool, transpose_b: bool) -> Result<Tensor> {
    match a.device().is_cpu() {
        true => product::matmul(a, b, transpose_a, transpose_b),
        false => device::matmul(a, b, transpose_a, transpose_b),
    }
}

/// Temporary bytes of [`matmul`]: packed panels of each thread.
pub(super) fn matmul_scratch_bytes(_inputs: &[&Type], output: &Type) -> f64 {
    let columns = output.shape.last().map_or(1, |d| d.eval_with(1)).min(512) as f64;
    (columns * gemm::BLOCK as f64 * output.dtype.size() as f64 + 16_384.0)
        * rayon::current_num_threads() as f64
}

/// One of the three convolutions, which differ in what is given and what is sought.
struct Convolution {
    window: Window2,
    part: Part,
    /// `[n, channels, height, width]` of x and of y.
    x: [usize; 4],
    y: [usize; 4],
    /// Whether a bias follows the operands, and whether a residual does (forward only).
    added: [bool; 2],
}

enum Part {
    /// (x, weight) to y.
    Forward,
    /// (y, weight) to x.
    Transposed,
    /// (x, y) to the weight.
    Weight,
}

fn images<T>(data: &[T], shape: [usize; 4]) -> strip::Images<'_, T> {
    let [n, channels, height, width] = shape;
    strip::Images { data: &data[..n * channels * height * width], channels, size: [height, width] }
}

impl Kernel for Convolution {
    fn run<T: Element>(&self, inputs: &[&[T]], out: &mut [T]) {
        self.run_fresh(inputs, written(out));
    }

    fn run_fresh<T: Element>(&self, inputs: &[&[T]], out: &mut [MaybeUninit<T>]) {
        let (w, xs, ys) = (&self.window, self.x, self.y);
        match self.part {
            Part::Forward => {
                let bias = inputs.get(2).filter(|_| self.added[0]).copied();
                let residual = inputs.last().filter(|_| self.added[1]).copied();
                let added = conv::Added { bias, residual };
                let out = Target::fresh(out, 1);
                conv::conv(w, images(inputs[0], xs), inputs[1], ys[1], added, out, [ys[2], ys[3]]);
            }
            Part::Transposed => {
                let per_group = xs[1] / w.groups;
                let out = Target::fresh(out, 1);
                conv::conv_transpose(w, images(inputs[0], ys), inputs[1], per_group, out, [xs[2], xs[3]]);
            }
            Part::Weight => {
                let out = zeroed(out);
                conv_weight::conv_weight_grad(w, images(inputs[0], xs), images(inputs[1], ys), out);
            }
        }
    }
}

fn dims4(x: &Tensor) -> Result<[usize; 4]> {
    x.dims4().map(|(n, c, h, w)| [n, c, h, w])
}

/// Convolution of x `[n, c, (h,) w]` with weight `[o, c / groups, (kh,) kw]`.
pub(super) fn conv(spec: &ConvSpec, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    conv_fused(spec, x, weight, None, None)
}

/// [`conv`] and a bias `[o]` and a residual of the output's shape added to it.
pub(super) fn conv_fused(
    spec: &ConvSpec,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let window = Window2::new(spec)?;
    let (rank, x, weight) = (x.rank(), lift(x)?, lift(weight)?);
    let residual = residual.map(lift).transpose()?;
    if !x.device().is_cpu() {
        return lower(device::conv_fused(&window, &x, &weight, bias, residual.as_ref())?, rank);
    }
    let xs = dims4(&x)?;
    let [h, w] = [0, 1].map(|axis| window.windows(axis, xs[2 + axis]));
    let ys = [xs[0], weight.dim(0)?, h, w];
    let added = [bias.is_some(), residual.is_some()];
    let kernel = Convolution { window, part: Part::Forward, x: xs, y: ys, added };
    let operands = [Some(&x), Some(&weight), bias, residual.as_ref()];
    let operands: Vec<Tensor> =
        operands.into_iter().flatten().map(|t| t.contiguous()).collect::<Result<_>>()?;
    lower(apply(&kernel, &operands.iter().collect::<Vec<_>>(), &ys)?, rank)
}

/// The adjoint of [`conv`] in x, to a spatial size.
pub(super) fn conv_transpose(spec: &ConvSpec, y: &Tensor, weight: &Tensor, size: &[usize]) -> Result<Tensor> {
    let window = Window2::new(spec)?;
    let size = match size {
        [w] => [1, *w],
        [h, w] => [*h, *w],
        _ => candle_core::bail!("a transposed convolution to {size:?}"),
    };
    let (rank, y, weight) = (y.rank(), lift(y)?, lift(weight)?);
    if !y.device().is_cpu() {
        return lower(device::conv_transpose(&window, &y, &weight, size)?, rank);
    }
    let ys = dims4(&y)?;
    let xs = [ys[0], weight.dim(1)? * window.groups, size[0], size[1]];
    let kernel = Convolution { window, part: Part::Transposed, x: xs, y: ys, added: [false; 2] };
    lower(apply(&kernel, &[&y.contiguous()?, &weight.contiguous()?], &xs)?, rank)
}

/// The adjoint of [`conv`] in the weight.
pub(super) fn conv_weight_grad(spec: &ConvSpec, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let window = Window2::new(spec)?;
    let (rank, x, y) = (x.rank(), lift(x)?, lift(y)?);
    if !x.device().is_cpu() {
        return lower(device::conv_weight_grad(&window, &x, &y)?, rank);
    }
    let (xs, ys) = (dims4(&x)?, dims4(&y)?);
    let shape = [ys[1], xs[1] / window.groups, window.kernel[0], window.kernel[1]];
    let kernel = Convolution { window, part: Part::Weight, x: xs, y: ys, added: [false; 2] };
    lower(apply(&kernel, &[&x.contiguous()?, &y.contiguous()?], &shape)?, rank)
}

/// Temporary bytes of [`conv`] and [`conv_transpose`]: the packed weights, and for each thread a strip of the
/// images, packed panels and a product.
pub(super) fn conv_scratch_bytes(weight: &Type, output: &Type) -> f64 {
    let size = output.dtype.size() as f64;
    let weights = crate::ops::primitive::elements(weight);
    let rows = weight.shape.iter().take(2).map(|d| d.eval_with(1)).max().unwrap_or(1).min(1024) as f64;
    let task = 512.0 * (gemm::BLOCK as f64 + rows);
    (weights + task * rayon::current_num_threads() as f64) * size
}

/// Temporary bytes of [`conv_weight_grad`]: partial sums, and for each thread the outputs and windows of a block.
pub(super) fn conv_weight_grad_scratch_bytes(groups: usize, y: &Type, output: &Type) -> f64 {
    let size = output.dtype.size() as f64;
    let weights = crate::ops::primitive::elements(output);
    let channels = output.shape.get(1).map_or(1, |d| d.eval_with(1).max(1) as usize);
    let taps = (2..output.rank()).map(|axis| output.shape[axis].eval_with(1).max(1) as usize).product();
    let parts = conv_weight::parts(groups, channels, taps, weights as usize) as f64;
    let outputs = y.shape.get(1).map_or(1, |d| d.eval_with(1)) as f64;
    let task = gemm::BLOCK as f64 * (64.0 + outputs);
    (weights * parts + task * rayon::current_num_threads() as f64) * size
}

fn pool(spec: &PoolSpec, part: PoolPart, inputs: &[&Tensor], large: [usize; 4]) -> Result<Tensor> {
    let [n, c, h, w] = large;
    let small = [0, 1].map(|axis| {
        (large[2 + axis] + 2 * spec.padding[axis]).saturating_sub(spec.kernel[axis]) / spec.stride[axis] + 1
    });
    let to_small = matches!(part, PoolPart::Mean | PoolPart::Pick);
    let shape = if to_small { [n, c, small[0], small[1]] } else { large };
    let inputs: Vec<Tensor> = inputs.iter().map(|t| t.contiguous()).collect::<Result<_>>()?;
    let kernel = planes::Pool { spec: *spec, part, large: [h, w], small };
    apply(&kernel, &inputs.iter().collect::<Vec<_>>(), &shape)
}

/// Mean of each window.
pub(super) fn avg_pool(spec: &PoolSpec, x: &Tensor) -> Result<Tensor> {
    match x.device().is_cpu() {
        true => pool(spec, PoolPart::Mean, &[x], dims4(x)?),
        false => device::avg_pool(spec, x),
    }
}

/// The adjoint of [`avg_pool`].
pub(super) fn avg_pool_grad(spec: &PoolSpec, y: &Tensor, size: &[usize; 2]) -> Result<Tensor> {
    let [n, c, _, _] = dims4(y)?;
    match y.device().is_cpu() {
        true => pool(spec, PoolPart::MeanGrad, &[y], [n, c, size[0], size[1]]),
        false => device::avg_pool_grad(spec, y, size),
    }
}

/// For each window of x, the element of v where x is largest.
pub(super) fn max_pool_pick(spec: &PoolSpec, x: &Tensor, v: &Tensor) -> Result<Tensor> {
    match x.device().is_cpu() {
        true => pool(spec, PoolPart::Pick, &[x, v], dims4(x)?),
        false => device::max_pool_pick(spec, x, v),
    }
}

/// The adjoint of [`max_pool_pick`] in v.
pub(super) fn max_pool_grad(spec: &PoolSpec, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    match x.device().is_cpu() {
        true => pool(spec, PoolPart::MaxGrad, &[x, y], dims4(x)?),
        false => device::max_pool_grad(spec, x, y),
    }
}

fn resizing(mode: ResizeMode, adjoint: bool, x: &Tensor, size: &[usize; 2]) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let [.., h, w] = &mut shape[..] else { candle_core::bail!("resizing of {:?}", x.shape()) };
    let (from, to) = ([*h, *w], *size);
    [*h, *w] = to;
    let (before, after) = if adjoint { (to, from) } else { (from, to) };
    apply(&planes::Resizing { mode, adjoint, before, after }, &[&x.contiguous()?], &shape)
}

/// Resizes the last two axes.
pub(super) fn resize(mode: ResizeMode, x: &Tensor, size: &[usize; 2]) -> Result<Tensor> {
    match x.device().is_cpu() {
        true => resizing(mode, false, x, size),
        false => device::resize(mode, x, size),
    }
}

/// The adjoint of [`resize`].
pub(super) fn resize_grad(mode: ResizeMode, y: &Tensor, size: &[usize; 2]) -> Result<Tensor> {
    match y.device().is_cpu() {
        true => resizing(mode, true, y, size),
        false => device::resize_grad(mode, y, size),
    }
}

/// For an output index, the two input indices that it lies between along an axis, and the weight of the
/// second (in the precision that PyTorch uses). Nearest: both are the same.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Between {
    low: usize,
    high: usize,
    weight: f64,
}

/// [`Between`] for each output index of an axis.
fn axis_map(mode: ResizeMode, from: usize, to: usize) -> Vec<Between> {
    // In f32, as PyTorch computes it, so that the same pixel is chosen where the exact quotient is a whole number.
    let ratio = from as f32 / to as f32;
    (0..to)
        .map(|i| match mode {
            ResizeMode::Nearest => {
                let at = ((i as f32 * ratio).floor() as usize).min(from - 1);
                Between { low: at, high: at, weight: 0.0 }
            }
            ResizeMode::Bilinear => {
                let at = ((i as f64 + 0.5) * (from as f64 / to as f64) - 0.5).max(0.0);
                let low = (at.floor() as usize).min(from - 1);
                Between { low, high: (low + 1).min(from - 1), weight: at - low as f64 }
            }
        })
        .collect()
}

/// An index tensor.
fn indices(values: impl Iterator<Item = usize>, device: &Device) -> Result<Tensor> {
    let values: Vec<u32> = values.map(|v| v as u32).collect();
    let n = values.len();
    Tensor::from_vec(values, n, device)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_reduced;
#[cfg(test)]
mod tests_winograd;
