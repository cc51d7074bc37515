//! Evaluation of matrix products, convolutions, pooling and resizing.
//!
//! On the CPU these are kernels of our own, because "same seed, same bytes at any batch size and thread
//! count" is a promise that general matrix libraries do not give: their order of summation depends on the
//! shape of the whole product. Here every output element is a sum over `k` in one fixed order (see
//! [`gemm`]). Elsewhere the operations are composed of candle's own ([`device`]).

mod device;

use candle_core::{Device, Result, Tensor};

use super::avg_pool::PoolSpec;
use super::conv_spec::ConvSpec;
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
    device::matmul(a, b, transpose_a, transpose_b)
}

/// Temporary bytes of [`matmul`].
pub(super) fn matmul_scratch_bytes(_inputs: &[&Type], _output: &Type) -> f64 {
    0.0
}

/// Convolution of x `[n, c, (h,) w]` with weight `[o, c / groups, (kh,) kw]`.
pub(super) fn conv(spec: &ConvSpec, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let y = device::conv(&Window2::new(spec)?, &lift(x)?, &lift(weight)?)?;
    lower(y, x.rank())
}

/// The adjoint of [`conv`] in x, to a spatial size.
pub(super) fn conv_transpose(spec: &ConvSpec, y: &Tensor, weight: &Tensor, size: &[usize]) -> Result<Tensor> {
    let size = match size {
        [w] => [1, *w],
        [h, w] => [*h, *w],
        _ => candle_core::bail!("a transposed convolution to {size:?}"),
    };
    let x = device::conv_transpose(&Window2::new(spec)?, &lift(y)?, &lift(weight)?, size)?;
    lower(x, y.rank())
}

/// The adjoint of [`conv`] in the weight.
pub(super) fn conv_weight_grad(spec: &ConvSpec, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let w = device::conv_weight_grad(&Window2::new(spec)?, &lift(x)?, &lift(y)?)?;
    lower(w, x.rank())
}

/// Temporary bytes of [`conv`] and [`conv_transpose`].
pub(super) fn conv_scratch_bytes(_weight: &Type, _output: &Type) -> f64 {
    0.0
}

/// Temporary bytes of [`conv_weight_grad`].
pub(super) fn conv_weight_grad_scratch_bytes(_y: &Type, _output: &Type) -> f64 {
    0.0
}

/// Mean of each window.
pub(super) fn avg_pool(spec: &PoolSpec, x: &Tensor) -> Result<Tensor> {
    device::avg_pool(spec, x)
}

/// The adjoint of [`avg_pool`].
pub(super) fn avg_pool_grad(spec: &PoolSpec, y: &Tensor, size: &[usize; 2]) -> Result<Tensor> {
    device::avg_pool_grad(spec, y, size)
}

/// For each window of x, the element of v where x is largest.
pub(super) fn max_pool_pick(spec: &PoolSpec, x: &Tensor, v: &Tensor) -> Result<Tensor> {
    device::max_pool_pick(spec, x, v)
}

/// The adjoint of [`max_pool_pick`] in v.
pub(super) fn max_pool_grad(spec: &PoolSpec, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    device::max_pool_grad(spec, x, y)
}

/// Resizes the last two axes.
pub(super) fn resize(mode: ResizeMode, x: &Tensor, size: &[usize; 2]) -> Result<Tensor> {
    device::resize(mode, x, size)
}

/// The adjoint of [`resize`].
pub(super) fn resize_grad(mode: ResizeMode, y: &Tensor, size: &[usize; 2]) -> Result<Tensor> {
    device::resize_grad(mode, y, size)
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
