//! Attention on the CPU, one panel of queries at a time.
//!
//! Scores are computed transposed, keys by queries, so that they come out as a panel: the running maximum and
//! sum are vector operations over queries, and the product with v needs no packing. Keys are taken in blocks
//! of [`KEYS`], in order, whatever the sizes are; a query's result depends on nothing but its own row and on
//! k and v.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::cpu::{Element, Kernel, apply};
use super::panel::multiply_panel;
use crate::ops::copies;
use crate::ops::cpu::vectorised;
use crate::shape::Type;

/// Keys of a block.
pub(super) const KEYS: usize = 96;

/// A batch of matrices whose rows lie in order: strides of the leading axes and of rows.
pub(super) struct Rows {
    lead: Vec<usize>,
    pub(super) row: usize,
}

impl Rows {
    fn of(x: &Tensor) -> Rows {
        let strides = x.stride();
        let rank = strides.len();
        Rows { lead: strides[..rank - 2].to_vec(), row: strides[rank - 2] }
    }

    /// Where matrix `index` begins.
    pub(super) fn start(&self, lead: &[usize], mut index: usize) -> usize {
        let mut at = 0;
        for (size, stride) in lead.iter().zip(&self.lead).rev() {
            at += index % size * stride;
            index /= size;
        }
        at
    }
}

/// Sizes and layouts of q, k, v.
pub(super) struct Sizes {
    pub(super) lead: Vec<usize>,
    pub(super) l: usize,
    pub(super) m: usize,
    pub(super) d: usize,
    pub(super) e: usize,
    pub(super) scale: f64,
    pub(super) rows: Vec<Rows>,
}

impl Sizes {
    /// Of q, k, v and what has the shape of the output.
    pub(super) fn new(scale: f64, inputs: &[Tensor]) -> Result<Sizes> {
        let [q, k, v, ..] = inputs else { candle_core::bail!("attention takes q, k and v") };
        let [lead @ .., l, d] = q.dims() else { candle_core::bail!("attention of {:?}", q.shape()) };
        let ([.., m, _], [.., e]) = (k.dims(), v.dims()) else {
            candle_core::bail!("attention to {:?}", k.shape())
        };
        let rows = inputs.iter().map(Rows::of).collect();
        Ok(Sizes { lead: lead.to_vec(), l: *l, m: *m, d: *d, e: *e, scale, rows })
    }

    /// Matrices.
    pub(super) fn count(&self) -> usize {
        self.lead.iter().product()
    }

    /// Operand `i` from its matrix `index` on.
    pub(super) fn part<'a, T>(&self, inputs: &[&'a [T]], i: usize, index: usize) -> &'a [T] {
        inputs[i].get(self.rows[i].start(&self.lead, index)..).unwrap_or_default()
    }
}

/// Copies where rows do not lie in order, or where half precision is converted.
pub(super) fn in_rows(inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    inputs
        .iter()
        .map(|x| {
            let rank = x.rank();
            let half = !matches!(x.dtype(), DType::F32 | DType::F64);
            let fits = rank >= 2 && (x.stride()[rank - 1] == 1 || x.dims()[rank - 1] <= 1);
            if half || !fits { copies::contiguous(x) } else { Ok(x.clone()) }
        })
        .collect()
}

/// Writes rows `first .. first + count` of a matrix as a panel, transposed: `width` rows of `T::PANEL`
/// elements, times `scale`. What the panel has beyond its rows is 0.
pub(super) fn load_panel<T: Element>(
    (data, row): (&[T], usize),
    (first, count): (usize, usize),
    width: usize,
    scale: T,
    panel: &mut Vec<T>,
) {
    panel.clear();
    panel.resize(width * T::PANEL, T::zero());
    for j in 0..count {
        let line = &data[(first + j) * row..][..width];
        for (out, x) in panel[j..].iter_mut().step_by(T::PANEL).zip(line) {
            *out = *x * scale;
        }
    }
}

/// Scores of the keys `first .. first + count` with a panel of queries.
pub(super) fn scores<T: Element>(
    (keys, row): (&[T], usize),
    (first, count): (usize, usize),
    width: usize,
    panel: &[T],
    out: &mut [T],
) {
    multiply_panel((count, width), &keys[first * row..], (row, 1), panel, out, T::PANEL, false);
}

/// The running maximum and sum of each query of a panel.
pub(super) struct Running<T> {
    pub(super) largest: Vec<T>,
    pub(super) sum: Vec<T>,
    factor: Vec<T>,
}

impl<T: Element> Running<T> {
    pub(super) fn new() -> Running<T> {
        let none = || vec![T::zero(); T::PANEL];
        Running { largest: none(), sum: none(), factor: none() }
    }

    pub(super) fn start(&mut self) {
        self.largest.fill(T::narrow(f64::NEG_INFINITY));
        self.sum.fill(T::zero());
    }

    /// Takes a block of scores and turns it into exponentials. Gives by what earlier sums of each query are
    /// to be multiplied.
    #[inline(always)]
    pub(super) fn block(&mut self, scores: &mut [T]) -> &[T] {
        let lanes = T::PANEL;
        // Of a fixed size, so that they become registers.
        let mut largest = [T::zero(); LANES];
        largest[..lanes].copy_from_slice(&self.largest[..lanes]);
        for line in scores.chunks_exact(lanes) {
            for i in 0..lanes {
                largest[i] = if line[i] > largest[i] { line[i] } else { largest[i] };
            }
        }
        // A sum of its own for each block: sums of long rows stay accurate.
        let mut total = [T::zero(); LANES];
        for line in scores.chunks_exact_mut(lanes) {
            for i in 0..lanes {
                line[i] = (line[i] - largest[i]).exp_();
            }
            for i in 0..lanes {
                total[i] += line[i];
            }
        }
        for i in 0..lanes {
            self.factor[i] = (self.largest[i] - largest[i]).exp_();
            self.sum[i] = self.sum[i] * self.factor[i] + total[i];
            self.largest[i] = largest[i];
        }
        &self.factor[..lanes]
    }
}

/// At least the elements of a panel.
const LANES: usize = 32;

/// Blocks of keys: (first, count).
pub(super) fn blocks(m: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..m).step_by(KEYS).map(move |first| (first, KEYS.min(m - first)))
}

struct Forward(Sizes);

/// What a task uses again and again.
struct Scratch<T> {
    queries: Vec<T>,
    scores: Vec<T>,
    sums: Vec<T>,
    running: Running<T>,
}

impl Kernel for Forward {
    fn run<T: Element>(&self, inputs: &[&[T]], out: &mut [T]) {
        let s = &self.0;
        if out.is_empty() || s.m == 0 {
            out.fill(T::zero());
            return;
        }
        let panels = s.l.div_ceil(T::PANEL);
        let new = || Scratch {
            queries: Vec::new(),
            scores: vec![T::zero(); KEYS * T::PANEL],
            sums: vec![T::zero(); s.e * T::PANEL],
            running: Running::new(),
        };
        let work = |scratch: &mut Scratch<T>, index: usize, panel: usize, out: &mut [T]| {
            let first = panel * T::PANEL;
            let count = T::PANEL.min(s.l - first);
            let part = |i: usize| (s.part(inputs, i, index), s.rows[i].row);
            self.panel(part(0), part(1), part(2), (first, count), scratch, out);
        };
        // Few rows of one matrix are a task of their own; the output is cut by matrices, then by panels.
        let each = |(index, out): (usize, &mut [T])| {
            let pieces = out.par_chunks_mut(T::PANEL * s.e).enumerate();
            let least = (1 << 20) / (T::PANEL * s.m * (s.d + s.e)).max(1) + 1;
            pieces
                .with_min_len(least.min(panels))
                .for_each_init(new, |scratch, (panel, out)| work(scratch, index, panel, out));
        };
        out.par_chunks_mut(s.l * s.e).enumerate().for_each(each);
    }
}

impl Forward {
    fn panel<T: Element>(
        &self,
        (q, q_row): (&[T], usize),
        k: (&[T], usize),
        (v, v_row): (&[T], usize),
        (first, count): (usize, usize),
        scratch: &mut Scratch<T>,
        out: &mut [T],
    ) {
        let s = &self.0;
        let Scratch { queries, scores: block, sums, running } = scratch;
        load_panel((q, q_row), (first, count), s.d, T::narrow(s.scale), queries);
        running.start();
        sums.fill(T::zero());
        for (key, keys) in blocks(s.m) {
            let block = &mut block[..keys * T::PANEL];
            scores(k, (key, keys), s.d, queries, block);
            vectorised(
                #[inline(always)]
                || {
                    let factor = running.block(block);
                    if key > 0 && factor.iter().any(|f| *f != T::one()) {
                        for line in sums.chunks_exact_mut(T::PANEL) {
                            line.iter_mut().zip(factor).for_each(|(s, f)| *s *= *f);
                        }
                    }
                },
            );
            multiply_panel((s.e, keys), &v[key * v_row..], (1, v_row), block, sums, T::PANEL, true);
        }
        for (j, out) in out.chunks_exact_mut(s.e).enumerate() {
            let share = T::one() / running.sum[j];
            for (o, x) in out.iter_mut().zip(sums[j..].iter().step_by(T::PANEL)) {
                *o = *x * share;
            }
        }
    }
}

/// On CPU tensors of any layout.
pub(super) fn attention(scale: f64, inputs: &[Tensor]) -> Result<Tensor> {
    let inputs = in_rows(inputs)?;
    let sizes = Sizes::new(scale, &inputs)?;
    let mut shape = sizes.lead.clone();
    shape.extend([sizes.l, sizes.e]);
    apply(&Forward(sizes), &inputs.iter().collect::<Vec<_>>(), &shape)
}

/// Bytes of what the threads of the forward pass use.
pub(super) fn scratch_bytes(inputs: &[&Type]) -> f64 {
    let width = |i: usize| inputs[i].shape.last().map_or(1, |d| d.eval_with(1)) as f64;
    let each = 32.0 * (width(0) + width(2) + KEYS as f64 + 3.0);
    each * inputs[0].dtype.size().max(4) as f64 * rayon::current_num_threads() as f64
}
