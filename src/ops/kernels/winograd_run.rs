//! Winograd's convolution of tensors: on the CPU by the kernels of [`winograd`], elsewhere composed of
//! candle's operations.

use std::mem::MaybeUninit;

use candle_core::{Device, Result, Tensor};

use super::conv::Added;
use super::gemm::Target;
use super::winograd::{self, Winograd};
use super::{Window2, dims4, images, indices};
use crate::ops::conv_spec::ConvSpec;
use crate::ops::cpu::{fresh, tensor, with_contiguous};
use crate::shape::Type;

/// Whether a convolution of f32 with these constant channels and output size is computed this way.
pub(crate) fn winograd_applies(spec: &ConvSpec, channels: usize, outputs: usize, size: [usize; 2]) -> bool {
    spec.spatial() == 2
        && Window2::new(spec).is_ok_and(|window| winograd::applies(&window, channels, outputs, size))
}

/// Elements of a transformed point, `[outputs, channels]` in an order of the device's, and what keeps them apart.
pub(crate) fn winograd_weights_len(channels: usize, outputs: usize) -> usize {
    winograd::weights_len(channels, outputs) / winograd::POINTS
}

/// Transforms a weight `[o, c, 3, 3]` of f32 to `[36, winograd_weights_len]`; that of a transposed convolution
/// is `[c, o, 3, 3]`.
pub(crate) fn winograd_weights(weight: &Tensor, transposed: bool) -> Result<Tensor> {
    let (o, c) = match weight.dims4()? {
        (c, o, _, _) if transposed => (o, c),
        (o, c, _, _) => (o, c),
    };
    let shape = [winograd::POINTS, winograd_weights_len(c, o)];
    if !weight.device().is_cpu() {
        return composed_weights(weight, transposed, shape);
    }
    with_contiguous::<f32, _>(weight, |data| {
        tensor(winograd::transform_weights(data, c, o, transposed), &shape)
    })
}

/// The convolution of x `[n, c, h, w]` with transformed weights, to `outputs` channels.
pub(crate) fn conv_winograd(
    spec: &ConvSpec,
    outputs: usize,
    x: &Tensor,
    weights: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let window = Window2::new(spec)?;
    let xs = dims4(x)?;
    let size = [0, 1].map(|axis| window.windows(axis, xs[2 + axis]));
    if !x.device().is_cpu() {
        return composed(&window, outputs, size, x, weights, bias, residual);
    }
    let shape = [xs[0], outputs, size[0], size[1]];
    let run = |x: &[f32], weights: &[f32], bias: Option<&[f32]>, residual: Option<&[f32]>| {
        let added = Added { bias, residual };
        let conv = Winograd { padding: window.padding, weights, outputs, size, added };
        let fill = |out: &mut [MaybeUninit<f32>]| conv.run(images(x, xs), Target::fresh(out, 1));
        // SAFETY: every element is written.
        tensor(unsafe { fresh(shape.iter().product(), fill) }, &shape)
    };
    with_contiguous::<f32, _>(x, |x| {
        with_contiguous::<f32, _>(weights, |w| {
            let with_bias = |bias: Option<&[f32]>| match residual {
                Some(r) => with_contiguous::<f32, _>(r, |r| run(x, w, bias, Some(r))),
                None => run(x, w, bias, None),
            };
            match bias {
                Some(b) => with_contiguous::<f32, _>(b, |b| with_bias(Some(b))),
                None => with_bias(None),
            }
        })
    })
}

/// Temporary bytes of [`conv_winograd`]: for each thread transformed tiles and products.
pub(crate) fn conv_winograd_scratch_bytes(x: &Type, output: &Type) -> f64 {
    let channels = |ty: &Type| ty.shape.get(1).map_or(1, |d| d.eval_with(1).max(1)) as f64;
    let both = channels(x) + channels(output);
    let tiles = if both <= 1024.0 { 64.0 } else { 32.0 };
    winograd::POINTS as f64 * tiles * both * 4.0 * rayon::current_num_threads() as f64
}

/// Rows of `Bᵀ`, `G` and `Aᵀ`.
const INPUT: [[f32; 6]; 6] = [
    [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
    [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
    [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
    [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
    [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
    [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
];
const WEIGHT: [[f32; 3]; 6] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];
const OUTPUT: [[f32; 6]; 4] = [
    [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
    [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
    [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
    [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
];

/// A transform of both axes as one matrix.
fn both_axes<const R: usize, const C: usize>(m: &[[f32; C]; R], device: &Device) -> Result<Tensor> {
    let mut out = Vec::with_capacity(R * R * C * C);
    for (i, j) in (0..R).flat_map(|i| (0..R).map(move |j| (i, j))) {
        out.extend((0..C).flat_map(|k| (0..C).map(move |l| m[i][k] * m[j][l])));
    }
    Tensor::from_vec(out, (R * R, C * C), device)
}

/// [`winograd_weights`] where the kernels do not run.
pub(super) fn composed_weights(
    weight: &Tensor,
    transposed: bool,
    [points, len]: [usize; 2],
) -> Result<Tensor> {
    let (o, c, _, _) = weight.dims4()?;
    let weight = match transposed {
        true => {
            let turned = indices((0..9).rev(), weight.device())?;
            let weight = weight.reshape((o, c, 9))?.contiguous()?.index_select(&turned, 2)?;
            weight.transpose(0, 1)?.contiguous()?
        }
        false => weight.contiguous()?,
    };
    let filters = weight.reshape((o * c, 9))?.t()?.contiguous()?;
    let transformed = both_axes(&WEIGHT, weight.device())?.matmul(&filters)?;
    transformed.pad_with_zeros(1, 0, len - o * c)?.reshape((points, len))
}

/// [`conv_winograd`] where the kernels do not run.
pub(super) fn composed(
    window: &Window2,
    outputs: usize,
    size: [usize; 2],
    x: &Tensor,
    weights: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let (n, c, _, _) = x.dims4()?;
    let [rows, columns] = size.map(|s| s.div_ceil(4));
    let mut tiles = x.clone();
    for (axis, count) in [(2, rows), (3, columns)] {
        let (before, wanted) = (window.padding[axis - 2].0, 4 * count + 2);
        let after = wanted.saturating_sub(before + tiles.dim(axis)?);
        let padded = tiles.pad_with_zeros(axis, before, after)?.contiguous()?;
        let at = (0..6).flat_map(|i| (0..count).map(move |t| 4 * t + i));
        tiles = padded.index_select(&indices(at, x.device())?, axis)?;
    }
    let tiles = tiles.reshape(&[n, c, 6, rows, 6, columns][..])?.permute(vec![2, 4, 1, 0, 3, 5])?;
    let tiles = tiles.contiguous()?.reshape((36, c * n * rows * columns))?;
    let tiles = both_axes(&INPUT, x.device())?.matmul(&tiles)?.reshape((36, c, n * rows * columns))?;
    let weights = weights.narrow(1, 0, outputs * c)?.contiguous()?.reshape((36, outputs, c))?;
    let products = weights.matmul(&tiles)?.reshape((36, outputs * n * rows * columns))?;
    let y = both_axes(&OUTPUT, x.device())?.matmul(&products)?;
    let y = y.reshape(&[4, 4, outputs, n, rows, columns][..])?.permute(vec![3, 2, 4, 0, 5, 1])?;
    let y = y.contiguous()?.reshape((n, outputs, 4 * rows, 4 * columns))?;
    let mut y = y.narrow(2, 0, size[0])?.narrow(3, 0, size[1])?.contiguous()?;
    if let Some(bias) = bias {
        y = y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?;
    }
    match residual {
        Some(residual) => y + residual,
        None => Ok(y),
    }
}
