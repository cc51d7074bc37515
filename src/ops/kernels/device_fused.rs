//! Normalisation and attention composed of candle's operations, for devices other than the CPU.

use candle_core::{D, DType, Result, Tensor};

use super::device::matmul;
use crate::ops::normalize::{Normalize, Over};

/// Scores that are held at one time.
const SCORES: usize = 1 << 26;

fn single(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.to_dtype(DType::F32),
        _ => Ok(x.clone()),
    }
}

/// x as sets that are normalised together, its deviation from their means over the standard deviation, and
/// one over the latter.
fn standardised(op: &Normalize, x: &Tensor) -> Result<(Tensor, Tensor)> {
    let sets = match op.over {
        Over::Groups(g) => {
            let (n, rest) = (x.dim(0)?, x.elem_count() / (x.dim(0)? * g).max(1));
            x.contiguous()?.reshape((n * g, rest))?
        }
        Over::Last => x.contiguous()?,
    };
    let centred = match op.centred {
        true => sets.broadcast_sub(&sets.mean_keepdim(D::Minus1)?)?,
        false => sets,
    };
    let scale = (centred.sqr()?.mean_keepdim(D::Minus1)? + op.eps)?.sqrt()?.recip()?;
    Ok((centred.broadcast_mul(&scale)?, scale))
}

/// A weight shaped to broadcast against x.
fn beside(op: &Normalize, weight: &Tensor, rank: usize) -> Result<Tensor> {
    match op.over {
        Over::Groups(_) => {
            let mut shape = vec![weight.elem_count()];
            shape.resize(rank - 1, 1);
            weight.reshape(shape)
        }
        Over::Last => Ok(weight.clone()),
    }
}

/// What the weight and the bias make of it.
fn scaled(op: &Normalize, standard: &Tensor, weights: &[Tensor]) -> Result<Tensor> {
    let mut y = standard.clone();
    if let Some(w) = weights.first() {
        y = y.broadcast_mul(&beside(op, w, y.rank())?)?;
    }
    if let Some(b) = weights.get(1) {
        y = y.broadcast_add(&beside(op, b, y.rank())?)?;
    }
    Ok(y)
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

pub(super) fn normalize(op: &Normalize, inputs: &[Tensor]) -> Result<Tensor> {
    let dtype = inputs[0].dtype();
    let inputs = inputs.iter().map(single).collect::<Result<Vec<_>>>()?;
    let (standard, _) = standardised(op, &inputs[0])?;
    let y = scaled(op, &standard.reshape(inputs[0].shape())?, &inputs[1..])?;
    let y = if op.silu { (&y * sigmoid(&y)?)? } else { y };
    y.to_dtype(dtype)
}

pub(super) fn normalize_grad(op: &Normalize, inputs: &[Tensor]) -> Result<Tensor> {
    let dtype = inputs[0].dtype();
    let inputs = inputs.iter().map(single).collect::<Result<Vec<_>>>()?;
    let (Some(x), Some(grad)) = (inputs.first(), inputs.last()) else {
        candle_core::bail!("a normalisation's gradient of nothing")
    };
    let weights = &inputs[1..inputs.len() - 1];
    let (standard, scale) = standardised(op, x)?;
    let flat = standard.reshape(x.shape())?;
    let mut g = grad.contiguous()?;
    if op.silu {
        let y = scaled(op, &flat, weights)?;
        let s = sigmoid(&y)?;
        g = (g * (&s * ((y * (1.0 - &s)?)? + 1.0)?)?)?;
    }
    let channel = match op.over {
        Over::Groups(_) => 1,
        Over::Last => x.rank() - 1,
    };
    let others: Vec<usize> = (0..x.rank()).filter(|a| *a != channel).collect();
    let over_others = |x: &Tensor| if others.is_empty() { Ok(x.clone()) } else { x.sum(others.clone()) };
    let mut sums = Vec::new();
    if op.affine {
        sums.push(over_others(&(&g * &flat)?)?);
    }
    if op.bias {
        sums.push(over_others(&g)?);
    }
    if let Some(w) = weights.first() {
        g = g.broadcast_mul(&beside(op, w, g.rank())?)?;
    }
    let g = g.reshape(standard.shape())?;
    let along = (&g * &standard)?.mean_keepdim(D::Minus1)?;
    let mut d = (&g - standard.broadcast_mul(&along)?)?;
    if op.centred {
        d = d.broadcast_sub(&g.mean_keepdim(D::Minus1)?)?;
    }
    let mut all = vec![d.broadcast_mul(&scale)?.flatten_all()?];
    all.extend(sums);
    Tensor::cat(&all, 0)?.to_dtype(dtype)
}

/// Queries at a time, so that not all scores are there at once.
fn chunks(q: &Tensor, k: &Tensor) -> Result<Vec<(usize, usize)>> {
    let (l, m) = (q.dim(D::Minus2)?, k.dim(D::Minus2)?);
    let lead = q.elem_count() / (l * q.dim(D::Minus1)?).max(1);
    let rows = (SCORES / (lead * m).max(1)).clamp(1, l.max(1));
    Ok((0..l).step_by(rows).map(|first| (first, rows.min(l - first))).collect())
}

/// The weights of some queries.
fn weights(scale: f64, q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let scores = (matmul(q, k, false, true)? * scale)?;
    let d = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    d.broadcast_div(&d.sum_keepdim(D::Minus1)?)
}

pub(super) fn attention(scale: f64, inputs: &[Tensor]) -> Result<Tensor> {
    let [q, k, v] = inputs else { candle_core::bail!("attention takes q, k and v") };
    let mut out = Vec::new();
    for (first, count) in chunks(q, k)? {
        let p = weights(scale, &q.narrow(D::Minus2, first, count)?, k)?;
        out.push(matmul(&p, v, false, false)?);
    }
    Tensor::cat(&out, D::Minus2)
}

pub(super) fn attention_grad(scale: f64, inputs: &[Tensor]) -> Result<Tensor> {
    let [q, k, v, y, grad] = inputs else {
        candle_core::bail!("the gradient of attention takes q, k, v, y and a gradient")
    };
    let mut queries = Vec::new();
    let (mut dk, mut dv) = (k.zeros_like()?.contiguous()?, v.zeros_like()?.contiguous()?);
    for (first, count) in chunks(q, k)? {
        let part = |x: &Tensor| x.narrow(D::Minus2, first, count)?.contiguous();
        let (q, y, g) = (part(q)?, part(y)?, part(grad)?);
        let p = weights(scale, &q, k)?;
        dv = (dv + matmul(&p, &g, true, false)?)?;
        let inner = (&y * &g)?.sum_keepdim(D::Minus1)?;
        let slopes = (&p * matmul(&g, v, false, true)?.broadcast_sub(&inner)?)?;
        dk = (dk + (matmul(&slopes, &q, true, false)? * scale)?)?;
        queries.push((matmul(&slopes, k, false, false)? * scale)?);
    }
    let dq = Tensor::cat(&queries, D::Minus2)?;
    Tensor::cat(&[dq.flatten_all()?, dk.flatten_all()?, dv.flatten_all()?], 0)
}
