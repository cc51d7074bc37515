//! The gradient of a convolution's weight.

use rayon::prelude::*;

use super::Window2;
use super::blocked::Blocked;
use super::conv::forward_windows;
use super::depthwise;
use super::gemm::{
    BLOCK, Left, Matrix, Right, Target, multiply_block, pack_left, panels, pieces, room, transpose_into,
};
use super::strip::{CHUNK, Images, Run, Strip, Windows, copy_runs};
use super::tile::{Isa, Real};

/// Channels of a task: enough to pay for packing the outputs that they are multiplied with.
fn channels_of_task(taps: usize) -> usize {
    (576 / taps.max(1)).next_multiple_of(64)
}

/// Channels below which vectors hold output channels, as they would hold few of the input.
const FEW: usize = 8;

/// Tasks that suffice for the threads of any machine of today.
const TASKS: usize = 16;

/// Elements of partial sums.
const PARTIAL: usize = 1 << 22;

/// `w[o, c, t] = Σ_{n, p} x[n, c, p · stride + t · dilation - pad] · y[n, o, p]`; every element is written.
///
/// The pixels are cut into blocks that depend on their number alone, and the blocks into a number of parts
/// that depends on the shapes alone. A part sums its blocks in order; then the parts are summed in order.
pub(super) fn conv_weight_grad<T: Real>(w: &Window2, x: Images<'_, T>, y: Images<'_, T>, out: &mut [T]) {
    let windows = forward_windows(w, y.size);
    let (outputs, channels) = (y.channels / w.groups, x.channels / w.groups);
    let (taps, pixels) = (windows.taps.len(), windows.pixels());
    let images = y.data.len() / (y.channels * pixels).max(1);
    if images == 0 || channels * taps * outputs == 0 {
        out.fill(T::ZERO);
        return;
    }
    if w.groups > 1 && (outputs, channels) == (1, 1) && windows.lattice[1] >= depthwise::WIDE {
        return depthwise::weight_grad(&windows, x, y, out);
    }
    let blocks: Vec<(usize, usize)> = if pixels >= BLOCK {
        let size = pixels.div_ceil(pixels.div_ceil(BLOCK));
        (0..images).flat_map(|i| pieces(pixels, size).map(move |(q, n)| (i * pixels + q, n))).collect()
    } else {
        pieces(images, BLOCK / pixels).map(|(i, n)| (i * pixels, n * pixels)).collect()
    };
    let per_task = channels_of_task(taps);
    let parts = parts(w.groups, channels, taps, out.len()).min(blocks.len());
    let blocks_of_part = blocks.len().div_ceil(parts);
    let parts = blocks.len().div_ceil(blocks_of_part);
    let layout = Layout::new::<T>(channels, outputs, taps);
    let part_len = w.groups * layout.group_len();
    let mut partial = vec![T::ZERO; parts * part_len];
    let tasks: Vec<(usize, usize, (usize, usize))> = (0..parts)
        .flat_map(|part| {
            (0..w.groups)
                .flat_map(move |g| pieces(channels, per_task).map(move |channels| (part, g, channels)))
        })
        .collect();
    let target = Target::new(&mut partial, outputs);
    tasks.par_iter().for_each_init(Work::new, |work, &(part, g, (first, count))| {
        let c = target.from(part * part_len + g * layout.group_len() + layout.channel(first));
        let from = part * blocks_of_part;
        let blocks = &blocks[from..(from + blocks_of_part).min(blocks.len())];
        let job = Job { windows: &windows, x, y, group: g, outputs, channels: (g * channels + first, count) };
        // SAFETY: tasks write different channels of `partial`, which outlives them.
        unsafe {
            match layout.wide {
                Some(wide) => job.run(blocks, wide, c, work),
                None => job.run_few(blocks, c, work),
            }
        };
    });
    out.par_chunks_mut(channels * taps).enumerate().for_each(|(o, row)| {
        layout.gather(&partial[o / outputs * layout.group_len()..], (parts, part_len), o % outputs, row);
    });
}

/// Parts that the blocks are summed in.
pub(super) fn parts(groups: usize, channels: usize, taps: usize, weights: usize) -> usize {
    let tasks = groups * channels.div_ceil(channels_of_task(taps));
    TASKS.div_ceil(tasks.max(1)).min(PARTIAL / weights.max(1)).max(1)
}

/// How the sums of a group lie: `[channels / wide, tap, output, wide]`, or `[channel, tap, output]`.
#[derive(Clone, Copy)]
struct Layout {
    channels: usize,
    outputs: usize,
    taps: usize,
    wide: Option<usize>,
}

impl Layout {
    fn new<T: Real>(channels: usize, outputs: usize, taps: usize) -> Self {
        let lanes = Isa::detect().lanes::<T>();
        let wide = if channels > lanes { 2 * lanes } else { lanes };
        Layout { channels, outputs, taps, wide: (channels >= FEW).then_some(wide) }
    }

    fn group_len(&self) -> usize {
        self.channels.next_multiple_of(self.wide.unwrap_or(1)) * self.taps * self.outputs
    }

    /// Where a channel begins that is a multiple of [`channels_of_task`].
    fn channel(&self, channel: usize) -> usize {
        channel * self.taps * self.outputs
    }

    /// Sums the parts of an output's weights, from `[part, …]` to `[channel, tap]`.
    fn gather<T: Real>(&self, partial: &[T], parts: (usize, usize), o: usize, row: &mut [T]) {
        let sum = |at: usize| {
            let mut sum = partial[at];
            for part in 1..parts.0 {
                sum += partial[part * parts.1 + at];
            }
            sum
        };
        let Some(wide) = self.wide else {
            row.iter_mut().enumerate().for_each(|(r, out)| *out = sum(r * self.outputs + o));
            return;
        };
        for (b, block) in row.chunks_mut(wide * self.taps).enumerate() {
            for t in 0..self.taps {
                let at = ((b * self.taps + t) * self.outputs + o) * wide;
                for (c, out) in block[t..].iter_mut().step_by(self.taps).enumerate() {
                    *out = sum(at + c);
                }
            }
        }
    }
}

/// Memory of a task.
struct Work<T> {
    strip: Vec<T>,
    windows: Vec<T>,
    packed: Vec<T>,
    runs: Vec<Run>,
    at: Vec<u32>,
    columns: Vec<usize>,
}

impl<T> Work<T> {
    fn new() -> Self {
        Work {
            strip: Vec::new(),
            windows: Vec::new(),
            packed: Vec::new(),
            runs: Vec::new(),
            at: Vec::new(),
            columns: Vec::new(),
        }
    }
}

/// Some channels of one group.
struct Job<'a, T> {
    windows: &'a Windows,
    x: Images<'a, T>,
    y: Images<'a, T>,
    group: usize,
    /// Output channels of a group.
    outputs: usize,
    /// First channel of x, and how many.
    channels: (usize, usize),
}

impl<T: Real> Job<'_, T> {
    /// Sums blocks of pixels (start, number) into C: the outputs are rows of A, the channels vectors of B.
    ///
    /// # Safety
    /// As for [`multiply_block`].
    unsafe fn run(&self, blocks: &[(usize, usize)], wide: usize, c: Target<T>, work: &mut Work<T>) {
        let (pixels, outputs) = (self.windows.pixels(), self.outputs);
        let (first, count) = self.channels;
        let lanes = Isa::detect().lanes::<T>() as u32;
        let c = c.rows(wide);
        for (b, &(q, n)) in blocks.iter().enumerate() {
            let start = (q / pixels * self.y.channels + self.group * outputs) * pixels;
            work.columns.clear();
            work.columns.extend(
                (q..q + n).map(|p| (p / pixels - q / pixels) * self.y.channels * pixels + p % pixels),
            );
            let packed = room(&mut work.packed, outputs * n);
            let columns = &work.columns;
            pack_left(&self.y.data[start..], pixels, (outputs, n), |p| columns[p], packed);
            let blocked = Blocked::new(self.windows, (q, q + n), wide);
            blocked.pixels((q, q + n), &mut work.at);
            for (done, width) in pieces(count, wide) {
                let data = blocked.fill(self.x, (first + done, width), &mut work.strip);
                for tap in 0..self.windows.taps.len() {
                    let at = blocked.tap(tap);
                    let vectors = [at, at + lanes];
                    let right = Right::at(data, &work.at, &vectors);
                    let c = c.from((done * self.windows.taps.len() + tap * wide) * outputs);
                    // SAFETY: as the caller says.
                    unsafe { multiply_block((outputs, n, wide), Left::Packed(packed), right, c, b > 0) };
                }
            }
        }
    }

    /// The same where channels are few: a row of A for each channel and tap, a column of B for each output.
    ///
    /// # Safety
    /// As for [`multiply_block`].
    unsafe fn run_few(&self, blocks: &[(usize, usize)], c: Target<T>, work: &mut Work<T>) {
        let (first, count) = self.channels;
        let taps = self.windows.taps.len();
        for (b, &(q, n)) in blocks.iter().enumerate() {
            self.pack_outputs(q, n, &mut work.packed);
            let strip = Strip::new(self.windows, (q, q + n), (first, first + count));
            let data = strip.fill(self.x, &mut Vec::new(), &mut work.strip);
            strip.runs((q, q + n), &mut work.runs);
            // Rows of an odd number of cache lines, so that they do not share a cache set.
            let step = (n + CHUNK).next_multiple_of(16) | 16;
            let rows = room(&mut work.windows, count * taps * step);
            for (r, row) in rows.chunks_exact_mut(step).enumerate() {
                copy_runs(data, strip.offset(r / taps, r % taps), &work.runs, row);
            }
            let a = Left::Rows(Matrix { data: rows, row: step, column: 1 });
            // SAFETY: as the caller says.
            unsafe {
                multiply_block((count * taps, n, self.outputs), a, Right::panels(&work.packed), c, b > 0)
            };
        }
    }

    /// Packs y as a matrix of pixels × output channels.
    fn pack_outputs(&self, q: usize, n: usize, buffer: &mut Vec<T>) {
        let pixels = self.windows.pixels();
        let packed = room(buffer, panels::<T>(self.outputs) * n * T::PANEL);
        for (panel, (o, width)) in packed.chunks_exact_mut(n * T::PANEL).zip(pieces(self.outputs, T::PANEL)) {
            let channel = self.group * self.outputs + o;
            let mut done = 0;
            while done < n {
                let (image, pixel) = ((q + done) / pixels, (q + done) % pixels);
                let len = (pixels - pixel).min(n - done);
                let start = (image * self.y.channels + channel) * pixels + pixel;
                let part = &mut panel[done * T::PANEL..(done + len) * T::PANEL];
                transpose_into(self.y.data, (start, 1, pixels), (len, width), part);
                done += len;
            }
        }
    }
}
