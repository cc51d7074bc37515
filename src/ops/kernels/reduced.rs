//! Products and convolutions of f32 with operands rounded to bf16 ([`Pair`]s) and sums in f32: on the CPU by kernels,
//! elsewhere by candle's operations in bf16.

use std::mem::MaybeUninit;

use candle_core::{DType, Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::conv::{Added, conv_pairs, pack_pairs};
use super::gemm::{
    BLOCK, Columns, Left, Matrix, PACKED_ROWS, Right, Target, multiply_block, pack_left, panels, pieces,
    room, split,
};
use super::pair::{self, Pair};
use super::tile::Operand;
use super::{Window2, device, dims4, images};
use crate::ops::conv_spec::ConvSpec;
use crate::ops::cpu::{fresh, tensor, with_contiguous};

/// Whether the machine multiplies bf16 in fewer instructions than f32.
pub fn bf16_native() -> bool {
    pair::native()
}

/// Elements of [`bf16_filters`].
pub(crate) fn bf16_filters_len(outputs: usize, channels: usize, taps: usize) -> usize {
    outputs * channels.div_ceil(2) * 2 * taps
}

/// Elements of [`bf16_columns`].
pub(crate) fn bf16_columns_len(k: usize, n: usize) -> usize {
    panels::<Pair>(n) * Pair::PANEL * k.div_ceil(2) * 2
}

/// The elements of a weight in bf16 in a row, and zeros up to a length: what other devices than the CPU take.
fn in_order(weight: &Tensor, len: usize) -> Result<Tensor> {
    let flat = weight.contiguous()?.flatten_all()?;
    let missing = len - flat.dim(0)?;
    flat.pad_with_zeros(0, 0, missing)?.to_dtype(DType::BF16)
}

/// The opposite.
fn from_order(weights: &Tensor, shape: &[usize]) -> Result<Tensor> {
    weights.narrow(0, 0, shape.iter().product())?.reshape(shape)
}

/// A weight `[o, c, kh, kw]` of f32 as [`conv_bf16`] takes it.
pub(crate) fn bf16_filters(weight: &Tensor) -> Result<Tensor> {
    let (o, c, kh, kw) = weight.dims4()?;
    let len = bf16_filters_len(o, c, kh * kw);
    if !weight.device().is_cpu() {
        return in_order(weight, len);
    }
    with_contiguous::<f32, _>(weight, |data| tensor(Pair::parts(pack_pairs(data, o, c, kh * kw)), &[len]))
}

/// The convolution of x `[n, c, h, w]` of f32, rounded to bf16, with such weights, to `outputs` channels of f32, and bias
/// and residual of f32 added to it.
pub(crate) fn conv_bf16(
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
        let weight = from_order(weights, &[outputs, xs[1], window.kernel[0], window.kernel[1]])?;
        let half = |t: Option<&Tensor>| t.map(|t| t.to_dtype(DType::BF16)).transpose();
        let (x, bias, residual) = (x.to_dtype(DType::BF16)?, half(bias)?, half(residual)?);
        return device::conv_fused(&window, &x, &weight, bias.as_ref(), residual.as_ref())?
            .to_dtype(DType::F32);
    }
    let shape = [xs[0], outputs, size[0], size[1]];
    let optional = |t: Option<&Tensor>| t.map(Tensor::contiguous).transpose();
    let (bias, residual) = (optional(bias)?, optional(residual)?);
    with_contiguous::<f32, _>(x, |x| {
        with_contiguous::<bf16, _>(weights, |weights| {
            let run = |bias: Option<&[f32]>, residual: Option<&[f32]>| {
                let fill = |out: &mut [MaybeUninit<f32>]| {
                    let added = Added { bias, residual };
                    let out = Target::fresh(out, 1);
                    conv_pairs(&window, images(x, xs), Pair::of(weights), outputs, added, out, size);
                };
                // SAFETY: every element is written.
                tensor(unsafe { fresh(shape.iter().product(), fill) }, &shape)
            };
            let with_bias = |bias: Option<&[f32]>| match &residual {
                Some(r) => with_contiguous::<f32, _>(r, |r| run(bias, Some(r))),
                None => run(bias, None),
            };
            match &bias {
                Some(b) => with_contiguous::<f32, _>(b, |b| with_bias(Some(b))),
                None => with_bias(None),
            }
        })
    })
}

/// A matrix of f32 that is multiplied from the right, `[k, n]` or transposed, as [`matmul_bf16`] takes it: blocks of the
/// depth, each panel by panel.
pub(crate) fn bf16_columns(weight: &Tensor, transposed: bool) -> Result<Tensor> {
    let (rows, columns) = weight.dims2()?;
    let (k, n) = if transposed { (columns, rows) } else { (rows, columns) };
    let len = bf16_columns_len(k, n);
    if !weight.device().is_cpu() {
        return in_order(&if transposed { weight.t()? } else { weight.clone() }, len);
    }
    with_contiguous::<f32, _>(weight, |data| {
        let depth = k.div_ceil(2);
        let width = panels::<Pair>(n) * Pair::PANEL;
        let mut out = vec![Pair::ZERO; width * depth];
        let mut plain = Vec::new();
        if transposed {
            plain.resize(n * depth, Pair::ZERO);
            plain.chunks_exact_mut(depth.max(1)).zip(data.chunks_exact(k.max(1))).for_each(|(out, row)| {
                pair::neighbours(row, out);
            });
        }
        for (k0, part) in pieces(depth, BLOCK) {
            let panels = &mut out[k0 * width..(k0 + part) * width];
            if transposed {
                Matrix { data: &plain, row: 1, column: depth }.pack(k0, part, 0, n, panels);
            } else {
                let b = Matrix { data, row: n, column: 1 };
                <Pair as Operand>::pack(b, k, (k0, part), (0, n), panels);
            }
        }
        tensor(Pair::parts(out), &[len])
    })
}

/// The product of x `[…, k]` of f32, rounded to bf16, with such a matrix of `n` columns; in f32.
pub(crate) fn matmul_bf16(x: &Tensor, weights: &Tensor, n: usize) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let Some(last) = shape.last_mut() else { candle_core::bail!("a product of a scalar") };
    let k = std::mem::replace(last, n);
    if !x.device().is_cpu() {
        let weight = from_order(weights, &[k, n])?;
        return x.to_dtype(DType::BF16)?.contiguous()?.broadcast_matmul(&weight)?.to_dtype(DType::F32);
    }
    let m = shape[..shape.len() - 1].iter().product();
    with_contiguous::<f32, _>(x, |x| {
        with_contiguous::<bf16, _>(weights, |weights| {
            let fill = |out: &mut [MaybeUninit<f32>]| {
                product((m, k, n), x, Pair::of(weights), Target::fresh(out, n));
            };
            // SAFETY: every element is written.
            tensor(unsafe { fresh(m * n, fill) }, &shape)
        })
    })
}

/// Memory of a task: rows of A as pairs, and as tiles read them.
type Rows = [Vec<Pair>; 2];

fn product((m, k, n): (usize, usize, usize), a: &[f32], weights: &[Pair], c: Target<f32>) {
    let depth = k.div_ceil(2);
    if depth == 0 {
        // SAFETY: the output is alive, and there are no tasks.
        return unsafe { c.clear(m * n) };
    }
    let width = panels::<Pair>(n) * Pair::PANEL;
    let task = |[plain, rows]: &mut Rows, (i, height): (usize, usize), (j, columns): (usize, usize)| {
        for (k0, part) in pieces(depth, BLOCK) {
            let plain = room(plain, height * part);
            for (r, out) in plain.chunks_exact_mut(part).enumerate() {
                let row = &a[(i + r) * k..(i + r + 1) * k];
                pair::neighbours(&row[2 * k0..k.min(2 * (k0 + part))], out);
            }
            let rows = room(rows, height * part);
            pack_left(plain, part, (height, part), |c| c, rows);
            let b = Right::panels(&weights[k0 * width + j * part..]);
            let c = c.from(i * n + j);
            // SAFETY: each task has its own rectangle of C, which is alive as long as they run.
            unsafe { multiply_block((height, part, columns), Left::Packed(rows), b, c, k0 > 0) };
        }
    };
    let (rows, columns) = split(m, n, 1);
    let tasks: Vec<_> = pieces(n, columns.next_multiple_of(Pair::PANEL))
        .flat_map(|j| pieces(m, rows.min(PACKED_ROWS)).map(move |i| (i, j)))
        .collect();
    if tasks.len() == 1 || 2.0 * (m * n) as f64 * k as f64 <= 1e5 {
        let mut memory = Rows::default();
        tasks.iter().for_each(|(i, j)| task(&mut memory, *i, *j));
    } else {
        tasks.par_iter().for_each_init(Rows::default, |memory, (i, j)| task(memory, *i, *j));
    }
}
