//! Normalisation over groups of channels or over rows, and its gradients.
//!
//! Sums are taken in f64, in an order that depends on the size of a set alone; a weight's gradient, which is
//! a sum over samples, is taken sample by sample or block by block, in order.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::cpu::{Element, Kernel, written};
use crate::ops::cpu::{vectorised, zeroed};
use crate::ops::normalize::{Normalize, Over};

/// Elements of a partial sum; longer sets are summed in such parts, one after the other.
const SEGMENT: usize = 1 << 15;

/// Elements that are worked on between two memory passes, so that they stay in the first-level cache.
const BLOCK: usize = 1024;

/// At most so many partial sums of a weight's gradient over rows.
const PARTS: usize = 64;

/// A normalisation of a tensor of known size.
pub(super) struct Norm {
    op: Normalize,
    /// Sets that are normalised together.
    sets: usize,
    /// Channels of a set, and elements of each.
    channels: usize,
    inner: usize,
    /// Sets that a sample has: set `i` begins with channel `i % cycle * channels`.
    cycle: usize,
    /// What comes out: the gradients, or the value.
    gradients: bool,
}

impl Norm {
    /// For x of that shape.
    pub(super) fn new(op: &Normalize, dims: &[usize], gradients: bool) -> Norm {
        let (sets, channels, inner, cycle) = match op.over {
            Over::Groups(g) => (dims[0] * g, dims[1] / g.max(1), dims[2..].iter().product(), g),
            Over::Last => {
                let (c, lead) = dims.split_last().unwrap_or((&0, &[]));
                (lead.iter().product(), *c, 1, 1)
            }
        };
        Norm { op: *op, sets, channels, inner, cycle, gradients }
    }

    fn rows(&self) -> bool {
        self.op.over == Over::Last
    }

    /// Elements of a set.
    fn len(&self) -> usize {
        self.channels * self.inner
    }

    /// Mean (0 if it is not taken out) and one over the standard deviation.
    #[inline(always)]
    fn statistics<T: Element>(&self, x: &[T]) -> (f64, f64) {
        // Shifting by any element of the set keeps the difference of squares from cancelling.
        let shift = if self.op.centred { x[0].wide() } else { 0.0 };
        let (mut sum, mut square) = (0.0, 0.0);
        for part in x.chunks(SEGMENT) {
            let (s, q) = moments(part, shift);
            sum += s;
            square += q;
        }
        let n = x.len() as f64;
        let (mean, variance) = match self.op.centred {
            true => {
                let mean = sum / n;
                (shift + mean, (square / n - mean * mean).max(0.0))
            }
            false => (0.0, square / n),
        };
        (mean, 1.0 / (variance + self.op.eps).sqrt())
    }

    /// The channels' weights and biases of a set.
    fn weights<'a, T: Element>(&self, set: usize, inputs: &[&'a [T]]) -> (Option<&'a [T]>, Option<&'a [T]>) {
        let first = set % self.cycle * self.channels;
        let part = |i: usize| &inputs[i][first..first + self.channels];
        (self.op.affine.then(|| part(1)), self.op.bias.then(|| part(2)))
    }

    fn values<T: Element>(&self, inputs: &[&[T]], out: &mut [MaybeUninit<T>]) {
        let len = self.len();
        let each = |(set, out): (usize, &mut [MaybeUninit<T>])| {
            let x = &inputs[0][set * len..][..len];
            let (weight, bias) = self.weights(set, inputs);
            vectorised(
                #[inline(always)]
                || {
                    let (mean, scale) = self.statistics(x);
                    if self.rows() {
                        self.row(x, zeroed(out), (T::narrow(mean), T::narrow(scale)), weight, bias);
                        return;
                    }
                    let channels = x.chunks_exact(self.inner).zip(out.chunks_exact_mut(self.inner));
                    for (c, (x, out)) in channels.enumerate() {
                        let a = T::narrow(weight.map_or(scale, |w| scale * w[c].wide()));
                        let b = bias.map_or(T::zero(), |b| b[c]);
                        self.affine(x, zeroed(out), T::narrow(mean), a, b);
                    }
                },
            );
        };
        out.par_chunks_mut(len).enumerate().with_min_len(SEGMENT.div_ceil(len)).for_each(each);
    }

    /// `(x - mean) a + b`, with silu if wanted.
    #[inline(always)]
    fn affine<T: Element>(&self, x: &[T], out: &mut [T], mean: T, a: T, b: T) {
        if self.op.silu {
            x.iter().zip(out).for_each(|(x, o)| *o = ((*x - mean) * a + b).silu_());
        } else {
            x.iter().zip(out).for_each(|(x, o)| *o = (*x - mean) * a + b);
        }
    }

    /// A row, whose elements have weights of their own.
    #[inline(always)]
    fn row<T: Element>(
        &self,
        x: &[T],
        out: &mut [T],
        (mean, a): (T, T),
        weight: Option<&[T]>,
        bias: Option<&[T]>,
    ) {
        match (weight, bias) {
            (Some(w), Some(b)) => {
                for (((o, x), w), b) in out.iter_mut().zip(x).zip(w).zip(b) {
                    *o = (*x - mean) * a * *w + *b;
                }
            }
            (Some(w), None) => {
                for ((o, x), w) in out.iter_mut().zip(x).zip(w) {
                    *o = (*x - mean) * a * *w;
                }
            }
            _ => x.iter().zip(&mut *out).for_each(|(x, o)| *o = (*x - mean) * a),
        }
        if self.op.silu {
            out.iter_mut().for_each(|o| *o = o.silu_());
        }
    }

    fn gradients<T: Element>(&self, inputs: &[&[T]], out: &mut [MaybeUninit<T>]) {
        let (inputs, grad) = inputs.split_at(1 + self.op.weights());
        let (dx, dw) = out.split_at_mut(self.sets * self.len());
        let sums = match self.rows() {
            true => self.row_gradients(inputs, grad[0], dx),
            false => self.group_gradients(inputs, grad[0], dx),
        };
        let channels = self.channels * self.cycle;
        for (i, out) in zeroed(dw).chunks_mut(channels).enumerate() {
            let mut total = vec![0.0; channels];
            for part in sums.chunks_exact(2 * channels) {
                total.iter_mut().zip(&part[i * channels..]).for_each(|(t, s)| *t += *s);
            }
            out.iter_mut().zip(total).for_each(|(o, t)| *o = T::narrow(t));
        }
    }

    /// Gives, for each sample, what it adds to the weight's gradient, then to the bias's.
    fn group_gradients<T: Element>(
        &self,
        inputs: &[&[T]],
        grad: &[T],
        dx: &mut [MaybeUninit<T>],
    ) -> Vec<f64> {
        let (len, inner) = (self.len(), self.inner);
        let mut sums = vec![[0.0; 2]; self.sets * self.channels];
        let each = |(set, (dx, sums)): (usize, (&mut [MaybeUninit<T>], &mut [[f64; 2]]))| {
            let dx = zeroed(dx);
            let (x, g) = (&inputs[0][set * len..][..len], &grad[set * len..][..len]);
            let (weight, bias) = self.weights(set, inputs);
            vectorised(
                #[inline(always)]
                || {
                    let (mean, scale) = self.statistics(x);
                    let of = |c: usize| weight.map_or(1.0, |w| w[c].wide());
                    let centre = T::narrow(mean);
                    // Σ g and Σ g (x - mean) of each channel; with silu, g behind it goes to dx.
                    for c in 0..self.channels {
                        let at = c * inner..(c + 1) * inner;
                        let (x, g, dx) = (&x[at.clone()], &g[at.clone()], &mut dx[at]);
                        let a = T::narrow(scale * of(c));
                        let b = bias.map_or(T::zero(), |b| b[c]);
                        let mut total = [0.0; 2];
                        for ((x, g), dx) in x.chunks(BLOCK).zip(g.chunks(BLOCK)).zip(dx.chunks_mut(BLOCK)) {
                            let mut g = g;
                            if self.op.silu {
                                for ((d, x), g) in dx.iter_mut().zip(x).zip(g) {
                                    *d = *g * ((*x - centre) * a + b).silu_slope_();
                                }
                                g = dx;
                            }
                            let part = products(g, x, mean);
                            total = [total[0] + part[0], total[1] + part[1]];
                        }
                        sums[c] = [total[1] * scale, total[0]];
                    }
                    let n = len as f64;
                    let both = |i: usize| (0..self.channels).map(|c| sums[c][i] * of(c)).sum::<f64>() / n;
                    let (along, flat) = (both(0), if self.op.centred { both(1) } else { 0.0 });
                    let (q, r) = (T::narrow(scale * flat), T::narrow(scale * scale * along));
                    for c in 0..self.channels {
                        let at = c * inner..(c + 1) * inner;
                        let (x, g, dx) = (&x[at.clone()], &g[at.clone()], &mut dx[at]);
                        let p = T::narrow(scale * of(c));
                        if self.op.silu {
                            dx.iter_mut().zip(x).for_each(|(d, x)| *d = *d * p - q - (*x - centre) * r);
                        } else {
                            for ((d, x), g) in dx.iter_mut().zip(x).zip(g) {
                                *d = *g * p - q - (*x - centre) * r;
                            }
                        }
                    }
                },
            );
        };
        dx.par_chunks_mut(len)
            .zip(sums.par_chunks_mut(self.channels))
            .enumerate()
            .with_min_len((SEGMENT / 4).div_ceil(len))
            .for_each(each);
        // From pairs of a channel to all weights, then all biases, of a sample.
        let channels = self.channels * self.cycle;
        let mut out = vec![0.0; 2 * sums.len()];
        for (out, sums) in out.chunks_exact_mut(2 * channels).zip(sums.chunks_exact(channels)) {
            let (w, b) = out.split_at_mut(channels);
            for ((w, b), sum) in w.iter_mut().zip(b).zip(sums) {
                (*w, *b) = (sum[0], sum[1]);
            }
        }
        out
    }

    /// Gives, for each block of rows, what it adds to the weight's gradient, then to the bias's.
    fn row_gradients<T: Element>(&self, inputs: &[&[T]], grad: &[T], dx: &mut [MaybeUninit<T>]) -> Vec<f64> {
        let len = self.len();
        let rows = row_block(self.sets);
        let mut sums = vec![0.0; self.sets.div_ceil(rows) * 2 * len];
        let weight = self.weights(0, inputs).0;
        let each = |(block, (dx, sums)): (usize, (&mut [MaybeUninit<T>], &mut [f64]))| {
            let mut scratch = RowScratch::new(len);
            let lines = dx.chunks_exact_mut(len).enumerate();
            for (i, dx) in lines {
                let at = (block * rows + i) * len;
                let (x, g) = (&inputs[0][at..][..len], &grad[at..][..len]);
                vectorised(
                    #[inline(always)]
                    || self.row_gradient(inputs, x, g, zeroed(dx), &mut scratch),
                );
                if weight.is_some() && (i + 1) % FEW == 0 {
                    scratch.flush(sums);
                }
            }
            scratch.flush(sums);
        };
        dx.par_chunks_mut(rows * len).zip(sums.par_chunks_mut(2 * len)).enumerate().for_each(each);
        sums
    }

    #[inline(always)]
    fn row_gradient<T: Element>(
        &self,
        inputs: &[&[T]],
        x: &[T],
        g: &[T],
        dx: &mut [T],
        scratch: &mut RowScratch<T>,
    ) {
        let (weight, bias) = self.weights(0, inputs);
        let (mean, scale) = self.statistics(x);
        let (centre, a) = (T::narrow(mean), T::narrow(scale));
        let RowScratch { behind, before, weights, biases } = scratch;
        // The gradient behind scale and shift, then in front of them.
        let mut g = g;
        if self.op.silu {
            let plain = Norm { op: Normalize { silu: false, ..self.op }, ..*self };
            plain.row(x, dx, (centre, a), weight, bias);
            for ((b, v), g) in behind.iter_mut().zip(&*dx).zip(g) {
                *b = *g * v.silu_slope_();
            }
            g = behind;
        }
        let mut h = g;
        if let Some(w) = weight {
            before.iter_mut().zip(g).zip(w).for_each(|((o, g), w)| *o = *g * *w);
            h = before;
        }
        let [flat, along] = products(h, x, mean);
        let n = x.len() as f64;
        let flat = if self.op.centred { flat * scale / n } else { 0.0 };
        let (q, r) = (T::narrow(flat), T::narrow(along * scale * scale * scale / n));
        for ((d, x), h) in dx.iter_mut().zip(x).zip(h) {
            *d = *h * a - q - (*x - centre) * r;
        }
        if weight.is_some() {
            for ((w, x), g) in weights.iter_mut().zip(x).zip(g) {
                *w += *g * ((*x - centre) * a);
            }
            biases.iter_mut().zip(g).for_each(|(b, g)| *b += *g);
        }
    }
}

/// Rows whose share of a weight's gradient is summed before it is added in f64.
const FEW: usize = 16;

/// What the gradients of rows use again and again.
struct RowScratch<T> {
    behind: Vec<T>,
    before: Vec<T>,
    weights: Vec<T>,
    biases: Vec<T>,
}

impl<T: Element> RowScratch<T> {
    fn new(len: usize) -> Self {
        let zeros = || vec![T::zero(); len];
        RowScratch { behind: zeros(), before: zeros(), weights: zeros(), biases: zeros() }
    }

    /// Adds the shares of a few rows to the sums.
    fn flush(&mut self, sums: &mut [f64]) {
        let both = self.weights.iter_mut().chain(&mut self.biases);
        for (sum, part) in sums.iter_mut().zip(both) {
            *sum += part.wide();
            *part = T::zero();
        }
    }
}

/// Rows of a block whose share of a weight's gradient is summed by itself.
fn row_block(rows: usize) -> usize {
    rows.div_ceil(PARTS).max(16)
}

impl Kernel for Norm {
    fn run<T: Element>(&self, inputs: &[&[T]], out: &mut [T]) {
        self.run_fresh(inputs, written(out));
    }

    fn run_fresh<T: Element>(&self, inputs: &[&[T]], out: &mut [MaybeUninit<T>]) {
        if self.sets * self.len() == 0 {
            zeroed(out);
        } else if self.gradients {
            self.gradients(inputs, out);
        } else {
            self.values(inputs, out);
        }
    }
}

/// Bytes of partial sums of a weight's gradient.
pub(super) fn scratch_bytes(op: &Normalize, dims: &[usize]) -> f64 {
    let norm = Norm::new(op, dims, true);
    let parts =
        if norm.rows() { norm.sets.div_ceil(row_block(norm.sets)) } else { norm.sets / norm.cycle.max(1) };
    // Twice for groups: as pairs, then in order.
    let copies = if norm.rows() { 1.0 } else { 2.0 };
    copies * 16.0 * (parts * norm.channels * norm.cycle) as f64
}

/// `Σ (x - shift)` and `Σ (x - shift)²` in interleaved lanes.
#[inline(always)]
fn moments<T: Element>(x: &[T], shift: f64) -> (f64, f64) {
    const LANES: usize = 32;
    let (mut sum, mut square) = ([0.0; LANES], [0.0; LANES]);
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for i in 0..LANES {
            let v = block[i].wide() - shift;
            sum[i] += v;
            square[i] += v * v;
        }
    }
    for (i, x) in rest.iter().enumerate() {
        let v = x.wide() - shift;
        sum[i] += v;
        square[i] += v * v;
    }
    (halved(sum), halved(square))
}

/// `Σ g` and `Σ g (x - mean)` in interleaved lanes.
#[inline(always)]
fn products<T: Element>(g: &[T], x: &[T], mean: f64) -> [f64; 2] {
    const LANES: usize = 32;
    let (mut sum, mut product) = ([0.0; LANES], [0.0; LANES]);
    let ((gs, g_rest), (xs, x_rest)) = (g.as_chunks::<LANES>(), x.as_chunks::<LANES>());
    for (g, x) in gs.iter().zip(xs) {
        for i in 0..LANES {
            let v = g[i].wide();
            sum[i] += v;
            product[i] += v * (x[i].wide() - mean);
        }
    }
    for (i, (g, x)) in g_rest.iter().zip(x_rest).enumerate() {
        let v = g.wide();
        sum[i] += v;
        product[i] += v * (x.wide() - mean);
    }
    [halved(sum), halved(product)]
}

/// The sum of lanes, half of them to the other half until one is left.
#[inline(always)]
fn halved<const N: usize>(mut lanes: [f64; N]) -> f64 {
    let mut n = N;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            lanes[i] += lanes[i + n];
        }
    }
    lanes[0]
}
