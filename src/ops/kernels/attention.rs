//! Attention on the CPU, one panel of queries at a time.
//!
//! Scores are computed transposed, keys by queries, so that they come out as a panel: the running maximum and
//! sum are vector operations over queries, and the product with v needs no packing. Keys are taken in blocks
//! of [`KEYS`], in order, whatever the sizes are; a query's result depends on nothing but its own row and on
//! k and v.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::cpu::{Element, Kernel, apply};
use super::panel::{multiply_panel, wide};
use super::tile::Isa;
use super::transpose::transpose;
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

/// Writes rows `first .. first + count` of a matrix as a panel, transposed: `width` rows of `lanes` elements, times
/// `scale`. What the panel has beyond its rows is 0.
pub(super) fn load_panel<T: Element>(
    (data, row): (&[T], usize),
    (first, count): (usize, usize),
    width: usize,
    scale: T,
    (panel, lanes): (&mut Vec<T>, usize),
) {
    panel.clear();
    panel.resize(width * lanes, T::zero());
    if width == 0 {
        return;
    }
    transpose((&data[first * row..], row), (count, width), (panel, lanes));
    vectorised(
        #[inline(always)]
        || panel.iter_mut().for_each(|x| *x *= scale),
    );
}

/// Scores of the keys `first .. first + count` with a panel of queries.
pub(super) fn scores<T: Element>(
    (keys, row): (&[T], usize),
    (first, count): (usize, usize),
    width: usize,
    (panel, lanes): (&[T], usize),
    out: &mut [T],
) {
    multiply_panel((count, width), &keys[first * row..], (row, 1), (panel, lanes), out, lanes, false);
}

/// The running maximum and sum of each query of a panel.
pub(super) struct Running<T> {
    lanes: usize,
    pub(super) largest: Vec<T>,
    pub(super) sum: Vec<T>,
    factor: Vec<T>,
}

impl<T: Element> Running<T> {
    /// Of panels of `lanes` queries, a multiple of `T::PANEL`.
    pub(super) fn new(lanes: usize) -> Running<T> {
        let none = || vec![T::zero(); lanes];
        Running { lanes, largest: none(), sum: none(), factor: none() }
    }

    pub(super) fn start(&mut self) {
        self.largest.fill(T::narrow(f64::NEG_INFINITY));
        self.sum.fill(T::zero());
    }

    /// Takes a block of scores and turns it into exponentials. Gives by what earlier sums of each query are
    /// to be multiplied. To be called in [`widest`].
    #[inline(always)]
    pub(super) fn block(&mut self, scores: &mut [T], fused: bool) -> &[T] {
        self.factor.copy_from_slice(&self.largest);
        self.raise(scores);
        for i in 0..self.lanes {
            self.factor[i] = (self.factor[i] - self.largest[i]).exp_below_(fused);
            self.sum[i] *= self.factor[i];
        }
        self.exponentials(scores, fused);
        &self.factor
    }

    /// Takes the maximum of a block of scores.
    #[inline(always)]
    pub(super) fn raise(&mut self, scores: &[T]) {
        for first in (0..self.lanes).step_by(T::PANEL) {
            // Of a fixed size, so that they become registers.
            let mut largest = [T::zero(); LANES];
            let kept = &mut self.largest[first..][..T::PANEL];
            largest[..T::PANEL].copy_from_slice(kept);
            for line in scores.chunks_exact(self.lanes) {
                let line = &line[first..][..T::PANEL];
                for i in 0..T::PANEL {
                    largest[i] = if line[i] > largest[i] { line[i] } else { largest[i] };
                }
            }
            kept.copy_from_slice(&largest[..T::PANEL]);
        }
    }

    /// Turns a block of scores into exponentials and adds them to the sums; a block has a sum of its own
    /// first, so that those of long rows stay accurate. To be called in [`widest`].
    #[inline(always)]
    pub(super) fn exponentials(&mut self, scores: &mut [T], fused: bool) {
        for first in (0..self.lanes).step_by(T::PANEL) {
            let mut largest = [T::zero(); LANES];
            largest[..T::PANEL].copy_from_slice(&self.largest[first..][..T::PANEL]);
            let mut total = [T::zero(); LANES];
            for line in scores.chunks_exact_mut(self.lanes) {
                let line = &mut line[first..][..T::PANEL];
                for i in 0..T::PANEL {
                    line[i] = (line[i] - largest[i]).exp_below_(fused);
                }
                for i in 0..T::PANEL {
                    total[i] += line[i];
                }
            }
            self.sum[first..][..T::PANEL].iter_mut().zip(total).for_each(|(s, t)| *s += t);
        }
    }
}

/// At least the elements of a panel.
const LANES: usize = 16;

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
        let lanes = wide::<T>();
        let panels = s.l.div_ceil(lanes);
        let new = || Scratch {
            queries: Vec::new(),
            scores: vec![T::zero(); KEYS * lanes],
            sums: vec![T::zero(); s.e * lanes],
            running: Running::new(lanes),
        };
        let work = |scratch: &mut Scratch<T>, index: usize, panel: usize, out: &mut [T]| {
            let first = panel * lanes;
            let count = lanes.min(s.l - first);
            let part = |i: usize| (s.part(inputs, i, index), s.rows[i].row);
            self.panel(part(0), part(1), part(2), (first, count), scratch, out);
        };
        // Few rows of one matrix are a task of their own; the output is cut by matrices, then by panels.
        let each = |(index, out): (usize, &mut [T])| {
            let pieces = out.par_chunks_mut(lanes * s.e).enumerate();
            let least = (1 << 20) / (lanes * s.m * (s.d + s.e)).max(1) + 1;
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
        q: (&[T], usize),
        k: (&[T], usize),
        (v, v_row): (&[T], usize),
        (first, count): (usize, usize),
        scratch: &mut Scratch<T>,
        out: &mut [T],
    ) {
        let s = &self.0;
        let Scratch { queries, scores: block, sums, running } = scratch;
        let lanes = running.lanes;
        load_panel(q, (first, count), s.d, T::narrow(s.scale), (&mut *queries, lanes));
        running.start();
        sums.fill(T::zero());
        for (key, keys) in blocks(s.m) {
            let block = &mut block[..keys * lanes];
            scores(k, (key, keys), s.d, (queries, lanes), block);
            widest(
                #[inline(always)]
                |fused| {
                    let factor = running.block(block, fused);
                    if key > 0 && factor.iter().any(|f| *f != T::one()) {
                        for line in sums.chunks_exact_mut(lanes) {
                            line.iter_mut().zip(factor).for_each(|(s, f)| *s *= *f);
                        }
                    }
                },
            );
            multiply_panel((s.e, keys), &v[key * v_row..], (1, v_row), (block, lanes), sums, lanes, true);
        }
        widest(
            #[inline(always)]
            |_| {
                running.sum.iter_mut().for_each(|x| *x = T::one() / *x);
                for line in sums.chunks_exact_mut(lanes) {
                    line.iter_mut().zip(&running.sum).for_each(|(x, share)| *x *= *share);
                }
            },
        );
        transpose((sums, lanes), (s.e, count), (out, s.e));
    }
}

/// Runs a loop compiled for the widest vectors of the machine, and tells it whether fused multiply-adds are instructions
/// there. Where they are, all vectors give the same bits.
#[inline(always)]
pub(super) fn widest<R>(f: impl FnOnce(bool) -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn avx512<R>(f: impl FnOnce(bool) -> R) -> R {
            f(true)
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<R>(f: impl FnOnce(bool) -> R) -> R {
            f(true)
        }
        match Isa::detect() {
            // SAFETY: the features that the functions need were detected.
            Isa::Avx512 => return unsafe { avx512(f) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { avx2(f) },
            Isa::Portable => {}
        }
    }
    f(cfg!(target_feature = "fma"))
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
