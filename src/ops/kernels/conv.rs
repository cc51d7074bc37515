//! Convolutions and transposed convolutions as matrix products: the weight times the windows' elements. Where
//! the pixels of a vector are neighbours, the product reads them from the padded image itself; elsewhere they
//! are packed for it, a few columns at a time, and never stored as a whole.

use std::borrow::Cow;

use rayon::prelude::*;

use super::Window2;
use super::depthwise::{Planes, WIDE};
use super::gemm::{
    BLOCK, Left, Matrix, Right, Target, multiply_block, pack_left, panels, pieces, room, tiles,
};
use super::pair::Pair;
use super::strip::{CHUNK, Images, Run, Strip, Windows, copy_runs};
use super::tile::{Isa, Operand, ROWS, Real};

/// Output pixels of a task.
const PIXELS: usize = 512;

/// Bytes of sums that a task keeps beside the output: a part of a second-level cache.
const SUMS: usize = 1 << 18;

/// Output pixels, of all images, up to which the weights are read where they are.
const FEW: usize = 256;

/// What is added to a convolution's output.
#[derive(Clone, Copy)]
pub(super) struct Added<'a, T> {
    /// A number for each channel.
    pub bias: Option<&'a [T]>,
    /// A tensor like the output.
    pub residual: Option<&'a [T]>,
}

/// The weights of each group: `rows` × depth.
enum Weights<'a, T: Operand> {
    /// In place: `[group, row, depth]`.
    Plain(&'a [T]),
    /// `[group, block of the depth]`, each as [`pack_left`] writes it.
    Packed(Cow<'a, [T]>),
}

/// A convolution onto every `step`-th pixel of the output, from `first` on.
struct Pass<'a, T: Operand> {
    windows: Windows,
    weights: Weights<'a, T>,
    groups: usize,
    /// Output channels of a group.
    rows: usize,
    /// Input channels of a group, as many as are in an element.
    channels: usize,
    first: [usize; 2],
    step: [usize; 2],
    added: Added<'a, T::Sum>,
}

/// Memory of a task.
struct Work<T: Operand> {
    strip: Vec<T>,
    /// Rows of the strip, before they are joined.
    apart: Vec<T::Sum>,
    panels: Vec<T>,
    product: Vec<T::Sum>,
    runs: Vec<Run>,
    /// Where rows and vectors of B begin.
    at: [Vec<u32>; 2],
}

impl<T: Operand> Work<T> {
    fn new() -> Self {
        Work {
            strip: Vec::new(),
            apart: Vec::new(),
            panels: Vec::new(),
            product: Vec::new(),
            runs: Vec::new(),
            at: [Vec::new(), Vec::new()],
        }
    }
}

/// One task: a group, some of its output channels, some output pixels (counted through all images).
#[derive(Clone, Copy)]
struct Task {
    group: usize,
    rows: (usize, usize),
    pixels: (usize, usize),
}

/// Cuts rows between tiles into pieces of about `size`: (first row, rows).
pub(super) fn row_pieces(m: usize, size: usize) -> Vec<(usize, usize)> {
    let all: Vec<(usize, usize)> = tiles(m).collect();
    all.chunks((size / Isa::detect().rows()).max(1)).map(|c| (c[0].0, c.iter().map(|t| t.1).sum())).collect()
}

impl<T: Operand> Pass<'_, T> {
    fn depth(&self) -> usize {
        self.channels * self.windows.taps.len()
    }

    fn tasks(&self, images: usize) -> Vec<Task> {
        let pixels = self.windows.pixels();
        let threads = rayon::current_num_threads();
        let mut blocks: Vec<(usize, usize)> = if pixels >= PIXELS / 2 {
            // Blocks of one image, so that results can be written in place; of vectors or else of whole rows.
            let width = self.windows.lattice[1];
            let unit = if width.is_multiple_of(T::PANEL) { T::PANEL } else { width };
            let most = match self.windows.step {
                // Sums that are taken up again, block by block of the depth, have to stay in the cache.
                _ if self.windows.taps.len() == 1 && self.depth() > BLOCK => PIXELS / 4,
                // Few outputs are soon computed: what the windows of two tasks share is copied twice.
                [1, 1] if self.rows <= ROWS => 2 * PIXELS,
                // Strided windows look at more of the image, which has to stay in the cache.
                [down, along] => (PIXELS / (down * along)).max(PIXELS / 4),
            };
            let size = pixels.div_ceil(pixels.div_ceil(most)).next_multiple_of(unit);
            (0..images).flat_map(|i| pieces(pixels, size).map(move |(q, n)| (i * pixels + q, n))).collect()
        } else {
            pieces(images, PIXELS / pixels.max(1)).map(|(i, n)| (i * pixels, n * pixels)).collect()
        };
        if blocks.len() * self.groups < 4 * threads && images > 1 && pixels < PIXELS / 2 {
            let each = images.div_ceil(4 * threads).max(1);
            blocks = pieces(images, each).map(|(i, n)| (i * pixels, n * pixels)).collect();
        }
        let wanted = (2 * threads).div_ceil((blocks.len() * self.groups).max(1));
        let rows = row_pieces(self.rows, self.rows.div_ceil(wanted).next_multiple_of(ROWS).max(5 * ROWS));
        let mut out = Vec::new();
        for (q, n) in blocks {
            for group in 0..self.groups {
                out.extend(rows.iter().map(|rows| Task { group, rows: *rows, pixels: (q, q + n) }));
            }
        }
        out
    }

    /// Computes the pass. `y` is `[n, groups · rows, height, width]`.
    fn dense(&self, x: Images<'_, T::Sum>, y: Target<T::Sum>, size: [usize; 2]) {
        let image_len = x.channels * x.size[0] * x.size[1];
        if image_len == 0 {
            // SAFETY: the output is alive, and there are no tasks.
            return unsafe { y.clear(y.len()) };
        }
        if self.windows.pixels() == 0 {
            return;
        }
        let tasks = self.tasks(x.data.len() / image_len);
        if tasks.len() == 1 {
            return self.task(x, y, size, tasks[0], &mut Work::new());
        }
        tasks.par_iter().for_each_init(Work::new, |work, task| self.task(x, y, size, *task, work));
    }

    /// Whether the pass covers the whole output.
    fn whole(&self, size: [usize; 2]) -> bool {
        self.first == [0, 0] && self.step == [1, 1] && self.windows.lattice == size
    }

    /// Some rows of a group's weights at a block of the depth.
    fn left(&self, group: usize, (row, height): (usize, usize), (k0, k): (usize, usize)) -> Left<'_, T> {
        let start = group * self.rows * self.depth();
        match &self.weights {
            Weights::Plain(data) => {
                let data = &data[start + row * self.depth() + k0..];
                Left::Rows(Matrix { data, row: self.depth(), column: 1 })
            }
            Weights::Packed(data) => Left::Packed(&data[start + k0 * self.rows + row * k..][..height * k]),
        }
    }

    fn task(
        &self,
        x: Images<'_, T::Sum>,
        y: Target<T::Sum>,
        size: [usize; 2],
        task: Task,
        work: &mut Work<T>,
    ) {
        let (pixels, area) = (self.windows.pixels(), size[0] * size[1]);
        let (q0, q1) = task.pixels;
        let (row, height) = task.rows;
        let taps = self.windows.taps.len();
        let lanes = Isa::detect().lanes::<T>();
        let width = self.windows.lattice[1];
        // Vectors of pixels that lie in one row of an image are neighbours in the strip as well. A row may
        // waste a part of its last vector, if little is wasted and the rows are whole.
        let filled = width.next_multiple_of(lanes);
        let ragged =
            filled != width && taps > 1 && 20 * filled <= 23 * width && q0 % width == 0 && q1 % width == 0;
        let in_strip = taps > 1 && (filled == width || ragged);
        let n = if ragged { (q1 - q0) / width * filled } else { q1 - q0 };
        let first_channel = task.group * self.rows + row;
        let channels = self.rows * self.groups;
        let depth = self.depth();
        let in_order = self.whole(size) && (q1 - 1) / pixels == q0 / pixels && !ragged;
        // Rows of the output lie pages apart, where they push each other out of the cache: sums that are taken up again
        // are kept together, if there is room.
        let direct = in_order && (depth <= BLOCK || height * n * size_of::<T::Sum>() > SUMS);
        let product = room(&mut work.product, if direct { 0 } else { height * n });
        let c = if direct {
            y.from((q0 / pixels * channels + first_channel) * area + q0 % pixels).rows(area)
        } else {
            Target::new(product, n)
        };
        if depth == 0 {
            // SAFETY: as below.
            (0..height).for_each(|r| unsafe { c.from(r * c.row).clear(n) });
        }
        let plain = self.plain(x.size) && in_order;
        let first = task.group * self.channels;
        for (k0, k) in pieces(depth, BLOCK) {
            let a = self.left(task.group, task.rows, (k0, k));
            let add = k0 > 0;
            // SAFETY: C is either this task's own buffer, or pixels and channels of the output, which is
            // alive as long as `run` and of which every task has its own part.
            let multiply = |b: Right<'_, T>, c, n| unsafe { multiply_block((height, k, n), a, b, c, add) };
            // The columns that are packed at a time.
            let at_once = if matches!(a, Left::Packed(_)) { T::PANEL.max(2 * lanes) } else { n };
            if plain {
                let plane = x.size[0] * x.size[1];
                let start = (q0 / pixels * x.channels + first * T::DEPTH) * plane + q0 % pixels;
                let b = Matrix { data: &x.data[start..], row: plane, column: 1 };
                // Several panels at a time: rows of the image are pages apart.
                for (left, width) in pieces(n, at_once.max(8 * T::PANEL)) {
                    let packed = room(&mut work.panels, panels::<T>(width) * k * T::PANEL);
                    T::pack(b, x.channels - first * T::DEPTH, (k0, k), (left, width), packed);
                    multiply(Right::panels(packed), c.from(left), width);
                }
                continue;
            }
            let group = (first + k0 / taps, first + (k0 + k).div_ceil(taps));
            let strip = Strip::new(&self.windows, task.pixels, group);
            let data = strip.fill(x, &mut work.apart, &mut work.strip);
            let at = |i: usize| strip.offset((k0 + i) / taps - k0 / taps, (k0 + i) % taps);
            if in_strip {
                let [rows, vectors] = &mut work.at;
                rows.clear();
                rows.extend((0..k).map(|i| at(i) as u32));
                strip.vectors((q0, q1), lanes, vectors);
                multiply(Right::at(data, rows, vectors), c, n);
                continue;
            }
            for (first, width) in pieces(n, at_once) {
                let packed = room(&mut work.panels, panels::<T>(width) * k * T::PANEL + CHUNK);
                for (p, (left, width)) in pieces(width, T::PANEL).enumerate() {
                    let left = q0 + first + left;
                    strip.runs((left, left + width), &mut work.runs);
                    for i in 0..k {
                        copy_runs(data, at(i), &work.runs, &mut packed[(p * k + i) * T::PANEL..]);
                    }
                }
                multiply(Right::panels(packed), c.from(first), width);
            }
        }
        if direct {
            let start = (q0 / pixels * channels + first_channel) * area + q0 % pixels;
            for r in 0..height {
                // SAFETY: as above: this task's pixels and channels.
                let out = unsafe { c.from(r * c.row).slice(n) };
                self.added.add(first_channel + r, start + r * area, out);
            }
            return;
        }
        for (r, values) in work.product.chunks_exact(n).take(height).enumerate() {
            let mut q = q0;
            while q < q1 {
                let (image, pixel) = (q / pixels, q % pixels);
                let (i, j) = (pixel / width, pixel % width);
                let whole = self.whole(size);
                // All of an image, or what is left of a row.
                let len = if whole && !ragged { pixels - pixel } else { width - j }.min(q1 - q);
                let at = (image * channels + first_channel + r) * area
                    + (self.first[0] + i * self.step[0]) * size[1]
                    + self.first[1]
                    + j * self.step[1];
                let from = if ragged { (q - q0) / width * filled } else { q - q0 };
                let values = &values[from..][..len];
                if whole {
                    // SAFETY: as above: this task's pixels and channels.
                    let out = unsafe {
                        y.from(at).copy(values);
                        y.from(at).slice(len)
                    };
                    self.added.add(first_channel + r, at, out);
                } else {
                    for offset in 0..len {
                        // SAFETY: as above: this task's pixels and channels.
                        unsafe { y.from(at + offset * self.step[1]).copy(&values[offset..=offset]) };
                    }
                }
                q += len;
            }
        }
    }

    /// Whether windows are single pixels in place: the images are the packed matrix.
    fn plain(&self, size: [usize; 2]) -> bool {
        self.windows.taps == [[0, 0]] && self.windows.step == [1, 1] && self.windows.lattice == size
    }
}

impl<T: Real> Pass<'_, T> {
    /// Computes the pass. `y` is `[n, groups · rows, height, width]`.
    fn run(&self, x: Images<'_, T>, y: Target<T>, size: [usize; 2]) {
        let single = self.groups > 1 && (self.rows, self.channels) == (1, 1);
        let planes = single && (1..=BLOCK).contains(&self.depth()) && self.windows.lattice[1] >= WIDE;
        if planes && x.size[0] * x.size[1] > 0 && self.windows.pixels() > 0 {
            self.planes(x, y, size);
        } else {
            self.dense(x, y, size);
        }
    }

    /// The pass of groups of one channel.
    fn planes(&self, x: Images<'_, T>, y: Target<T>, size: [usize; 2]) {
        let weights = match &self.weights {
            Weights::Plain(weights) => weights,
            Weights::Packed(weights) => &weights[..],
        };
        let planes = Planes { windows: &self.windows, weights, first: self.first, step: self.step };
        let area = size[0] * size[1];
        planes.run(x, y, size, |channel, at| {
            if self.added.bias.is_some() || self.added.residual.is_some() {
                // SAFETY: a plane that was written just now, by the task that says so.
                self.added.add(channel, at, unsafe { y.from(at).slice(area) });
            }
        });
    }
}

impl<T: Real> Added<'_, T> {
    /// Nothing.
    pub(super) const NONE: Self = Added { bias: None, residual: None };

    /// Adds what belongs to a channel's elements, the first of which is element `at` of the output.
    pub(super) fn add(&self, channel: usize, at: usize, out: &mut [T]) {
        let residual = self.residual.map(|r| &r[at..at + out.len()]);
        match (self.bias.map(|b| b[channel]), residual) {
            (Some(b), Some(r)) => out.iter_mut().zip(r).for_each(|(o, r)| *o = *o + b + *r),
            (Some(b), None) => out.iter_mut().for_each(|o| *o += b),
            (None, Some(r)) => out.iter_mut().zip(r).for_each(|(o, r)| *o += *r),
            (None, None) => {}
        }
    }
}

/// Packs the weights of all groups: row `r`, column `c` of group `g` is `data[g · group + r · row + columns[c]]`.
pub(super) fn pack<T: Operand>(
    data: &[T],
    (groups, group): (usize, usize),
    (rows, row): (usize, usize),
    columns: &[usize],
) -> Vec<T> {
    let depth = columns.len();
    let mut out = vec![T::ZERO; groups * rows * depth];
    let mut tasks = Vec::new();
    for g in 0..groups {
        for (k0, k) in pieces(depth, BLOCK) {
            let start = g * rows * depth + k0 * rows;
            tasks
                .extend(row_pieces(rows, 8 * ROWS).into_iter().map(|(r, n)| (g, k0, k, r, n, start + r * k)));
        }
    }
    let target = Target::new(&mut out, 1);
    tasks.par_iter().for_each(|&(g, k0, k, r, n, start)| {
        // SAFETY: each task has its own part of `out`, which outlives them.
        let out = unsafe { target.from(start).slice(n * k) };
        pack_left(&data[g * group + r * row..], row, (n, k), |c| columns[k0 + c], out);
    });
    out
}

/// The offsets of a kernel's elements from `p · stride`.
pub(super) fn forward_windows(w: &Window2, lattice: [usize; 2]) -> Windows {
    let offset = |axis: usize, k: usize| (k * w.dilation[axis]) as isize - w.padding[axis].0 as isize;
    let taps =
        (0..w.kernel[0]).flat_map(|i| (0..w.kernel[1]).map(move |j| [offset(0, i), offset(1, j)])).collect();
    Windows { taps, step: w.stride, lattice }
}

/// `y[n, o, p] = Σ x[n, c, p · stride + t · dilation - pad] · weight[o, c, t]`, and what is added to it. The
/// output has `outputs` channels, and every element is written.
pub(super) fn conv<T: Real>(
    w: &Window2,
    x: Images<'_, T>,
    weight: &[T],
    outputs: usize,
    added: Added<'_, T>,
    y: Target<T>,
    size: [usize; 2],
) {
    let (rows, channels) = (outputs / w.groups, x.channels / w.groups);
    let depth = channels * w.kernel[0] * w.kernel[1];
    let columns = x.data.len() / (x.channels * x.size[0] * x.size[1]).max(1) * size[0] * size[1];
    let weights = if columns <= FEW {
        Weights::Plain(weight)
    } else {
        let offsets: Vec<usize> = (0..depth).collect();
        Weights::Packed(pack(weight, (w.groups, rows * depth), (rows, depth), &offsets).into())
    };
    let pass = Pass {
        windows: forward_windows(w, size),
        weights,
        groups: w.groups,
        rows,
        channels,
        first: [0, 0],
        step: [1, 1],
        added,
    };
    pass.run(x, y, size);
}

/// Weights `[outputs, channels, taps]` as [`conv_pairs`] takes them.
pub(super) fn pack_pairs(weight: &[f32], outputs: usize, channels: usize, taps: usize) -> Vec<Pair> {
    let depth = channels.div_ceil(2) * taps;
    let mut plain = vec![Pair::ZERO; outputs * depth];
    let rows = plain
        .chunks_exact_mut(taps)
        .zip((0..outputs).flat_map(|o| (0..channels).step_by(2).map(move |c| (o, c))));
    for (out, (o, c)) in rows {
        let row = |c: usize| &weight[(o * channels + c) * taps..][..taps];
        for (tap, out) in out.iter_mut().enumerate() {
            let second = if c + 1 < channels { row(c + 1)[tap] } else { 0.0 };
            *out = Pair::new(row(c)[tap], second);
        }
    }
    let columns: Vec<usize> = (0..depth).collect();
    pack(&plain, (1, outputs * depth), (outputs, depth), &columns)
}

/// [`conv`] of one group with images and weights rounded to bf16. The weights are what [`pack_pairs`] made of them.
pub(super) fn conv_pairs(
    w: &Window2,
    x: Images<'_, f32>,
    weights: &[Pair],
    outputs: usize,
    added: Added<'_, f32>,
    y: Target<f32>,
    size: [usize; 2],
) {
    let pass = Pass {
        windows: forward_windows(w, size),
        weights: Weights::Packed(weights.into()),
        groups: 1,
        rows: outputs,
        channels: x.channels.div_ceil(2),
        first: [0, 0],
        step: [1, 1],
        added,
    };
    pass.dense(x, y, size);
}

/// The adjoint of [`conv`] in x; every element is written. Output pixels that are congruent modulo the stride
/// see the same elements of the kernel: they are one dense convolution, with weights of its own, and none
/// multiplies by zero.
pub(super) fn conv_transpose<T: Real>(
    w: &Window2,
    y: Images<'_, T>,
    weight: &[T],
    per_group: usize,
    x: Target<T>,
    size: [usize; 2],
) {
    let channels = y.channels / w.groups;
    let kernel = w.kernel[0] * w.kernel[1];
    for first in
        (0..w.stride[0].min(size[0])).flat_map(|i| (0..w.stride[1].min(size[1])).map(move |j| [i, j]))
    {
        // Kernel elements k with (first + pad - k · dilation) divisible by the stride, and the quotients.
        let along = |axis: usize| -> Vec<(usize, isize)> {
            let at = (first[axis] + w.padding[axis].0) as isize;
            let stride = w.stride[axis] as isize;
            (0..w.kernel[axis])
                .map(|k| (k, at - (k * w.dilation[axis]) as isize))
                .filter(|(_, d)| d.rem_euclid(stride) == 0)
                .map(|(k, d)| (k, d.div_euclid(stride)))
                .collect()
        };
        let columns = along(1);
        let taps: Vec<(usize, [isize; 2])> = along(0)
            .into_iter()
            .flat_map(|(i, y)| columns.iter().map(move |&(j, x)| (i * w.kernel[1] + j, [y, x])))
            .collect();
        let offsets: Vec<usize> = (0..channels)
            .flat_map(|c| taps.iter().map(move |(tap, _)| c * per_group * kernel + tap))
            .collect();
        let weights = pack(weight, (w.groups, channels * per_group * kernel), (per_group, kernel), &offsets);
        let lattice = [0, 1].map(|axis| (size[axis] - first[axis]).div_ceil(w.stride[axis]));
        let pass = Pass {
            windows: Windows { taps: taps.iter().map(|t| t.1).collect(), step: [1, 1], lattice },
            weights: Weights::Packed(weights.into()),
            groups: w.groups,
            rows: per_group,
            channels,
            first,
            step: w.stride,
            added: Added::NONE,
        };
        pass.run(y, x, size);
    }
}
