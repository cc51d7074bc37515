//! The gradients of attention on the CPU.
//!
//! Queries are taken panel by panel, keys block by block. The scores of one panel with all keys are computed
//! anew and held, so that their exponentials are taken once. The gradients of k and v are sums over queries:
//! they are taken in parts of [`SPLIT`] queries, which are added in order.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attention::{KEYS, Running, Sizes, blocks, in_rows, load_panel, scores, widest};
use super::cpu::{Element, Kernel, apply};
use super::panel::multiply_panel;
use super::transpose::transpose;
use crate::shape::Type;

/// Queries whose share of the gradients of k and v is summed by itself.
const SPLIT: usize = 512;

struct Backward(Sizes);

/// Rows rounded up to whole panels.
fn padded<T: Element>(width: usize) -> usize {
    width.div_ceil(T::PANEL) * T::PANEL
}

impl Kernel for Backward {
    fn run<T: Element>(&self, inputs: &[&[T]], out: &mut [T]) {
        let s = &self.0;
        if s.count() * s.l * s.m * s.d * s.e == 0 {
            out.fill(T::zero());
            return;
        }
        let (dq, rest) = out.split_at_mut(s.count() * s.l * s.d);
        let (dk, dv) = rest.split_at_mut(s.count() * s.m * s.d);
        dq.par_chunks_mut(s.l * s.d)
            .zip(dk.par_chunks_mut(s.m * s.d))
            .zip(dv.par_chunks_mut(s.m * s.e))
            .enumerate()
            .for_each(|(index, ((dq, dk), dv))| self.matrix(inputs, index, dq, dk, dv));
    }
}

impl Backward {
    fn matrix<T: Element>(&self, inputs: &[&[T]], index: usize, dq: &mut [T], dk: &mut [T], dv: &mut [T]) {
        let s = &self.0;
        let parts: Vec<Sums<T>> = dq
            .par_chunks_mut(SPLIT * s.d)
            .enumerate()
            .map(|(i, dq)| Part::new(s, inputs, index).run(i * SPLIT, dq))
            .collect();
        let sum = |out: &mut [T], width: usize, of: fn(&Sums<T>) -> &[T]| {
            for (n, part) in parts.iter().enumerate() {
                for (out, line) in out.chunks_exact_mut(width).zip(of(part).chunks_exact(padded::<T>(width)))
                {
                    for (o, x) in out.iter_mut().zip(line) {
                        *o = if n == 0 { *x } else { *o + *x };
                    }
                }
            }
        };
        sum(dk, s.d, |part| &part.keys);
        sum(dv, s.e, |part| &part.values);
    }
}

/// What some queries add to the gradients of k and v, in rows of whole panels.
struct Sums<T> {
    keys: Vec<T>,
    values: Vec<T>,
}

/// The work on some queries of one matrix.
struct Part<'a, T> {
    sizes: &'a Sizes,
    /// q, k, v, y and its gradient, with the steps between their rows.
    of: [(&'a [T], usize); 5],
    running: Running<T>,
    /// Panels of queries and of gradients: transposed, then as they are.
    queries: Vec<T>,
    grads: Vec<T>,
    query_rows: Vec<T>,
    grad_rows: Vec<T>,
    /// `Σ y · g` of each query.
    inner: Vec<T>,
    /// All keys by the queries of a panel.
    weights: Vec<T>,
    /// Those of a block.
    slopes: Vec<T>,
    /// The gradient of the queries, transposed.
    sums: Vec<T>,
    out: Sums<T>,
}

impl<'a, T: Element> Part<'a, T> {
    fn new(sizes: &'a Sizes, inputs: &[&'a [T]], index: usize) -> Self {
        let s = sizes;
        let zeros = |n: usize| vec![T::zero(); n];
        let of = [0, 1, 2, 3, 4].map(|i| (s.part(inputs, i, index), s.rows[i].row));
        let out = Sums { keys: zeros(s.m * padded::<T>(s.d)), values: zeros(s.m * padded::<T>(s.e)) };
        Part {
            sizes,
            of,
            running: Running::new(T::PANEL),
            queries: Vec::new(),
            grads: Vec::new(),
            query_rows: zeros(T::PANEL * padded::<T>(s.d)),
            grad_rows: zeros(T::PANEL * padded::<T>(s.e)),
            inner: zeros(T::PANEL),
            weights: zeros(s.m * T::PANEL),
            slopes: zeros(KEYS * T::PANEL),
            sums: zeros(s.d * T::PANEL),
            out,
        }
    }

    /// The gradients of the queries from `first` on into `dq`; gives the others'.
    fn run(mut self, first: usize, dq: &mut [T]) -> Sums<T> {
        let width = self.sizes.d;
        for (panel, dq) in dq.chunks_mut(T::PANEL * width).enumerate() {
            self.panel(first + panel * T::PANEL, dq);
        }
        self.out
    }

    fn panel(&mut self, first: usize, dq: &mut [T]) {
        let s = self.sizes;
        let count = dq.len() / s.d;
        let [q, k, v, y, g] = self.of;
        load_panel(q, (first, count), s.d, T::narrow(s.scale), (&mut self.queries, T::PANEL));
        load_panel(g, (first, count), s.e, T::one(), (&mut self.grads, T::PANEL));
        as_rows(&self.queries, count, s.d, &mut self.query_rows);
        as_rows(&self.grads, count, s.e, &mut self.grad_rows);
        self.inner.fill(T::zero());
        for (j, inner) in self.inner.iter_mut().take(count).enumerate() {
            let line = |(data, row): (&'a [T], usize)| &data[(first + j) * row..][..s.e];
            let products = line(y).iter().zip(line(g)).map(|(y, g)| y.wide() * g.wide());
            *inner = T::narrow(products.sum());
        }
        self.running.start();
        let at = |(key, keys): (usize, usize)| key * T::PANEL..(key + keys) * T::PANEL;
        for block in blocks(s.m) {
            let weights = &mut self.weights[at(block)];
            scores(k, block, s.d, (&self.queries, T::PANEL), weights);
            widest(
                #[inline(always)]
                |_| self.running.raise(weights),
            );
        }
        for block in blocks(s.m) {
            widest(
                #[inline(always)]
                |fused| self.running.exponentials(&mut self.weights[at(block)], fused),
            );
        }
        self.running.sum.iter_mut().for_each(|sum| *sum = T::one() / *sum);
        self.sums.fill(T::zero());
        for (key, keys) in blocks(s.m) {
            let weights = &mut self.weights[at((key, keys))];
            let slopes = &mut self.slopes[..keys * T::PANEL];
            scores(v, (key, keys), s.e, (&self.grads, T::PANEL), slopes);
            let (share, inner) = (&self.running.sum, &self.inner);
            widest(
                #[inline(always)]
                |_| softmax_slopes(weights, slopes, share, inner),
            );
            multiply_panel(
                (s.d, keys),
                &k.0[key * k.1..],
                (1, k.1),
                (&*slopes, T::PANEL),
                &mut self.sums,
                T::PANEL,
                true,
            );
            let rows = (keys, count);
            add_product(rows, weights, &self.grad_rows, padded::<T>(s.e), key, &mut self.out.values);
            add_product(rows, slopes, &self.query_rows, padded::<T>(s.d), key, &mut self.out.keys);
        }
        let scale = T::narrow(s.scale);
        self.sums.iter_mut().for_each(|x| *x *= scale);
        transpose((&self.sums, T::PANEL), (s.d, count), (dq, s.d));
    }
}

/// Exponentials become the weights of softmax, slopes with respect to weights those with respect to scores.
#[inline(always)]
fn softmax_slopes<T: Element>(weights: &mut [T], slopes: &mut [T], share: &[T], inner: &[T]) {
    let lanes = T::PANEL;
    let (share, inner) = (&share[..lanes], &inner[..lanes]);
    for (w, d) in weights.chunks_exact_mut(lanes).zip(slopes.chunks_exact_mut(lanes)) {
        for i in 0..lanes {
            w[i] *= share[i];
        }
        for i in 0..lanes {
            d[i] = w[i] * (d[i] - inner[i]);
        }
    }
}

/// From a transposed panel to panels of columns: for each, the `count` rows.
fn as_rows<T: Element>(panel: &[T], count: usize, width: usize, out: &mut [T]) {
    let blocks = panel[..width * T::PANEL].chunks(T::PANEL * T::PANEL);
    for (block, out) in blocks.zip(out.chunks_exact_mut(T::PANEL * T::PANEL)) {
        transpose((block, T::PANEL), (block.len() / T::PANEL, count), (out, T::PANEL));
    }
}

/// Adds keys by queries times queries by width to the rows of some keys.
fn add_product<T: Element>(
    (keys, count): (usize, usize),
    a: &[T],
    b: &[T],
    width: usize,
    first: usize,
    out: &mut [T],
) {
    let out = &mut out[first * width..];
    for (panel, b) in b.chunks_exact(T::PANEL * T::PANEL).enumerate() {
        multiply_panel(
            (keys, count),
            a,
            (T::PANEL, 1),
            (b, T::PANEL),
            &mut out[panel * T::PANEL..],
            width,
            true,
        );
    }
}

/// On CPU tensors of any layout: q, k, v, y and the gradient of y.
pub(super) fn attention_grad(scale: f64, inputs: &[Tensor]) -> Result<Tensor> {
    let inputs = in_rows(inputs)?;
    let sizes = Sizes::new(scale, &inputs)?;
    let total = inputs[..3].iter().map(Tensor::elem_count).sum();
    apply(&Backward(sizes), &inputs.iter().collect::<Vec<_>>(), &[total])
}

/// Bytes of what the threads use: the parts of the gradients of k and v above all.
pub(super) fn scratch_bytes(inputs: &[&Type]) -> f64 {
    let at = |i: usize, back: usize| {
        let shape = &inputs[i].shape;
        shape.len().checked_sub(back).map_or(1, |axis| shape[axis].eval_with(1)) as f64
    };
    let (l, m, d, e) = (at(0, 2), at(1, 2), at(0, 1), at(2, 1));
    let wide = |n: f64| (n / 16.0).ceil() * 16.0;
    let parts = (l / SPLIT as f64).ceil();
    let lead: f64 = inputs[0].shape.iter().rev().skip(2).map(|n| n.eval_with(1) as f64).product();
    let task = 16.0 * (3.0 * wide(d) + 2.0 * wide(e) + m + KEYS as f64);
    let threads = rayon::current_num_threads() as f64;
    (m * (wide(d) + wide(e)) * parts * lead.min(threads) + task * threads)
        * inputs[0].dtype.size().max(4) as f64
}
