//! Convolutions and transposed convolutions as matrix products: the weight times the windows' elements,
//! which are packed for the product as it needs them and never stored as a whole.

use rayon::prelude::*;

use super::Window2;
use super::gemm::{BLOCK, Columns, Matrix, Target, multiply_block, panels, pieces, room};
use super::strip::{CHUNK, Images, Run, Strip, Windows, copy_runs};
use super::tile::{ROWS, Real};

/// Output pixels of a task.
const PIXELS: usize = 512;

/// A convolution onto every `step`-th pixel of the output, from `first` on.
struct Pass<'a, T> {
    windows: Windows,
    /// The weights of each group: `rows` × (channels · taps).
    weights: Vec<Matrix<'a, T>>,
    /// Output channels of a group.
    rows: usize,
    /// Input channels of a group.
    channels: usize,
    first: [usize; 2],
    step: [usize; 2],
}

/// Memory of a task.
struct Work<T> {
    strip: Vec<T>,
    panels: Vec<T>,
    rows: Vec<T>,
    product: Vec<T>,
    runs: Vec<Run>,
}

impl<T> Work<T> {
    fn new() -> Self {
        Work {
            strip: Vec::new(),
            panels: Vec::new(),
            rows: Vec::new(),
            product: Vec::new(),
            runs: Vec::new(),
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

impl<T: Real> Pass<'_, T> {
    fn tasks(&self, images: usize) -> Vec<Task> {
        let pixels = self.windows.pixels();
        let threads = rayon::current_num_threads();
        let mut blocks: Vec<(usize, usize)> = if pixels >= PIXELS / 2 {
            // Blocks of one image, so that results can be written in place.
            let size = pixels.div_ceil(pixels.div_ceil(PIXELS)).next_multiple_of(T::PANEL);
            (0..images).flat_map(|i| pieces(pixels, size).map(move |(q, n)| (i * pixels + q, n))).collect()
        } else {
            pieces(images, PIXELS / pixels.max(1)).map(|(i, n)| (i * pixels, n * pixels)).collect()
        };
        if blocks.len() * self.weights.len() < 4 * threads && images > 1 && pixels < PIXELS / 2 {
            let each = images.div_ceil(4 * threads).max(1);
            blocks = pieces(images, each).map(|(i, n)| (i * pixels, n * pixels)).collect();
        }
        let wanted = (2 * threads).div_ceil((blocks.len() * self.weights.len()).max(1));
        let rows = self.rows.div_ceil(wanted).next_multiple_of(ROWS).max(64);
        let mut out = Vec::new();
        for (q, n) in blocks {
            for group in 0..self.weights.len() {
                out.extend(pieces(self.rows, rows).map(|rows| Task { group, rows, pixels: (q, q + n) }));
            }
        }
        out
    }

    /// Computes the pass. `y` is `[n, groups · rows, height, width]`.
    fn run(&self, x: Images<'_, T>, y: &mut [T], size: [usize; 2]) {
        let image_len = x.channels * x.size[0] * x.size[1];
        if image_len == 0 || self.windows.pixels() == 0 {
            return;
        }
        let tasks = self.tasks(x.data.len() / image_len);
        let target = Target::new(y, size[0] * size[1]);
        if tasks.len() == 1 {
            return self.task(x, target, size, tasks[0], &mut Work::new());
        }
        tasks.par_iter().for_each_init(Work::new, |work, task| self.task(x, target, size, *task, work));
    }

    /// Whether the pass covers the whole output.
    fn whole(&self, size: [usize; 2]) -> bool {
        self.first == [0, 0] && self.step == [1, 1] && self.windows.lattice == size
    }

    fn task(&self, x: Images<'_, T>, y: Target<T>, size: [usize; 2], task: Task, work: &mut Work<T>) {
        let (pixels, area) = (self.windows.pixels(), size[0] * size[1]);
        let (q0, q1) = task.pixels;
        let (row, height) = task.rows;
        let n = q1 - q0;
        let first_channel = task.group * self.rows + row;
        let channels = self.rows * self.weights.len();
        let direct = self.whole(size) && (q1 - 1) / pixels == q0 / pixels;
        let product = room(&mut work.product, if direct { 0 } else { height * n });
        let c = if direct {
            y.from((q0 / pixels * channels + first_channel) * area + q0 % pixels)
        } else {
            Target::new(product, n)
        };
        let weights = self.weights[task.group].at_row(row);
        let taps = self.windows.taps.len();
        let depth = self.channels * taps;
        if depth == 0 {
            // SAFETY: as below.
            (0..height).for_each(|r| unsafe { c.from(r * c.row).slice(n) }.fill(T::ZERO));
        }
        for (k0, k) in pieces(depth, BLOCK) {
            let packed = room(&mut work.panels, panels::<T>(n) * k * T::PANEL + CHUNK);
            let first = task.group * self.channels;
            if self.plain(x.size) && direct {
                let plane = x.size[0] * x.size[1];
                let start = (q0 / pixels * x.channels + first) * plane + q0 % pixels;
                Matrix { data: &x.data[start..], row: plane, column: 1 }.pack(k0, k, 0, n, packed);
            } else {
                let group = (first + k0 / taps, first + (k0 + k).div_ceil(taps));
                let strip = Strip::new(&self.windows, task.pixels, group);
                let data = strip.fill(x, &mut work.strip);
                for (p, (left, width)) in pieces(n, T::PANEL).enumerate() {
                    strip.runs((q0 + left, q0 + left + width), &mut work.runs);
                    for i in 0..k {
                        let base = strip.offset((k0 + i) / taps - k0 / taps, (k0 + i) % taps);
                        copy_runs(data, base, &work.runs, &mut packed[(p * k + i) * T::PANEL..]);
                    }
                }
            }
            let a = Matrix { data: &weights.data[k0 * weights.column..], ..weights };
            // SAFETY: C is either this task's own buffer, or pixels and channels of the output, which is
            // alive as long as `run` and of which every task has its own part.
            unsafe { multiply_block((height, k, n), a, packed, c, k0 > 0, &mut work.rows) };
        }
        if direct {
            return;
        }
        let width = self.windows.lattice[1];
        for (r, values) in work.product.chunks_exact(n).take(height).enumerate() {
            let mut q = q0;
            while q < q1 {
                let (image, pixel) = (q / pixels, q % pixels);
                let (i, j) = (pixel / width, pixel % width);
                let len = (width - j).min(q1 - q);
                let at = (image * channels + first_channel + r) * area
                    + (self.first[0] + i * self.step[0]) * size[1]
                    + self.first[1]
                    + j * self.step[1];
                for (offset, value) in values[q - q0..][..len].iter().enumerate() {
                    // SAFETY: as above: this task's pixels and channels.
                    unsafe { y.from(at + offset * self.step[1]).slice(1)[0] = *value };
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

/// The offsets of a kernel's elements from `p · stride`.
pub(super) fn forward_windows(w: &Window2, lattice: [usize; 2]) -> Windows {
    let offset = |axis: usize, k: usize| (k * w.dilation[axis]) as isize - w.padding[axis].0 as isize;
    let taps =
        (0..w.kernel[0]).flat_map(|i| (0..w.kernel[1]).map(move |j| [offset(0, i), offset(1, j)])).collect();
    Windows { taps, step: w.stride, lattice }
}

/// `y[n, o, p] = Σ x[n, c, p · stride + t · dilation - pad] · weight[o, c, t]`. The output has `outputs` channels.
pub(super) fn conv<T: Real>(
    w: &Window2,
    x: Images<'_, T>,
    weight: &[T],
    outputs: usize,
    y: &mut [T],
    size: [usize; 2],
) {
    let (rows, channels) = (outputs / w.groups, x.channels / w.groups);
    let depth = channels * w.kernel[0] * w.kernel[1];
    let group = |g: usize| Matrix { data: &weight[g * rows * depth..], row: depth, column: 1 };
    let pass = Pass {
        windows: forward_windows(w, size),
        weights: (0..w.groups).map(group).collect(),
        rows,
        channels,
        first: [0, 0],
        step: [1, 1],
    };
    pass.run(x, y, size);
}

/// The adjoint of [`conv`] in x. Output pixels that are congruent modulo the stride see the same elements of
/// the kernel: they are one dense convolution, with weights of its own, and none multiplies by zero.
pub(super) fn conv_transpose<T: Real>(
    w: &Window2,
    y: Images<'_, T>,
    weight: &[T],
    per_group: usize,
    x: &mut [T],
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
        let depth = channels * taps.len();
        let mut turned = Vec::with_capacity(w.groups * per_group * depth);
        for g in 0..w.groups {
            for row in 0..per_group {
                for channel in g * channels..(g + 1) * channels {
                    let at = (channel * per_group + row) * kernel;
                    turned.extend(taps.iter().map(|(tap, _)| weight[at + tap]));
                }
            }
        }
        let group = |g: usize| Matrix { data: &turned[g * per_group * depth..], row: depth, column: 1 };
        let lattice = [0, 1].map(|axis| (size[axis] - first[axis]).div_ceil(w.stride[axis]));
        let pass = Pass {
            windows: Windows { taps: taps.iter().map(|t| t.1).collect(), step: [1, 1], lattice },
            weights: (0..w.groups).map(group).collect(),
            rows: per_group,
            channels,
            first,
            step: w.stride,
        };
        pass.run(y, x, size);
    }
}
