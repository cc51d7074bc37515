//! The gradient of a convolution's weight.

use rayon::prelude::*;

use super::Window2;
use super::conv::forward_windows;
use super::gemm::{BLOCK, Matrix, Target, multiply_block, panels, pieces, room, transpose_into};
use super::strip::{CHUNK, Images, Run, Strip, Windows, copy_runs};
use super::tile::Real;

/// Rows (channels · taps) of a task.
const ROWS_OF_TASK: usize = 288;

/// Tasks that suffice for the threads of any machine of today.
const TASKS: usize = 16;

/// Elements of partial sums.
const PARTIAL: usize = 1 << 22;

/// `w[o, c, t] = Σ_{n, p} x[n, c, p · stride + t · dilation - pad] · y[n, o, p]`.
///
/// The pixels are cut into blocks that depend on their number alone, and the blocks into a number of parts
/// that depends on the shapes alone. A part sums its blocks in order; then the parts are summed in order.
pub(super) fn conv_weight_grad<T: Real>(w: &Window2, x: Images<'_, T>, y: Images<'_, T>, out: &mut [T]) {
    let windows = forward_windows(w, y.size);
    let (outputs, channels) = (y.channels / w.groups, x.channels / w.groups);
    let taps = windows.taps.len();
    let (rows, pixels) = (channels * taps, windows.pixels());
    let images = y.data.len() / (y.channels * pixels).max(1);
    if images == 0 || rows == 0 || outputs == 0 {
        return;
    }
    let blocks: Vec<(usize, usize)> = if pixels >= BLOCK {
        (0..images).flat_map(|i| pieces(pixels, BLOCK).map(move |(q, n)| (i * pixels + q, n))).collect()
    } else {
        pieces(images, BLOCK / pixels).map(|(i, n)| (i * pixels, n * pixels)).collect()
    };
    let per_task = channels_of_task(channels, taps);
    let parts = parts(w.groups, channels, taps, out.len()).min(blocks.len());
    let blocks_of_part = blocks.len().div_ceil(parts);
    let mut partial = vec![T::ZERO; blocks.len().div_ceil(blocks_of_part) * w.groups * rows * outputs];
    let tasks: Vec<(usize, usize, (usize, usize))> = (0..blocks.len().div_ceil(blocks_of_part))
        .flat_map(|part| {
            (0..w.groups)
                .flat_map(move |g| pieces(channels, per_task).map(move |channels| (part, g, channels)))
        })
        .collect();
    let target = Target::new(&mut partial, outputs);
    tasks.par_iter().for_each_init(Work::new, |work, &(part, g, (first, count))| {
        let c = target.from(((part * w.groups + g) * rows + first * taps) * outputs);
        let from = part * blocks_of_part;
        let blocks = &blocks[from..(from + blocks_of_part).min(blocks.len())];
        let job = Job { windows: &windows, x, y, group: g, outputs, channels: (g * channels + first, count) };
        // SAFETY: tasks write different rows of `partial`, which outlives them.
        unsafe { job.run(blocks, c, work) };
    });
    // [part, group, channel · tap, output] to [group, output, channel · tap].
    let part_len = w.groups * rows * outputs;
    out.par_chunks_mut(rows).enumerate().for_each(|(o, row)| {
        let (g, o) = (o / outputs, o % outputs);
        for (r, out) in row.iter_mut().enumerate() {
            let at = (g * rows + r) * outputs + o;
            *out = partial[at];
            for part in partial[part_len..].chunks_exact(part_len) {
                *out += part[at];
            }
        }
    });
}

/// Channels of a task.
fn channels_of_task(channels: usize, taps: usize) -> usize {
    (ROWS_OF_TASK / taps.max(1)).clamp(1, channels.max(1))
}

/// Parts that the blocks are summed in.
pub(super) fn parts(groups: usize, channels: usize, taps: usize, weights: usize) -> usize {
    let tasks = groups * channels.div_ceil(channels_of_task(channels, taps));
    TASKS.div_ceil(tasks.max(1)).min(PARTIAL / weights.max(1)).max(1)
}

/// Memory of a task.
struct Work<T> {
    strip: Vec<T>,
    windows: Vec<T>,
    panels: Vec<T>,
    rows: Vec<T>,
    runs: Vec<Run>,
}

impl<T> Work<T> {
    fn new() -> Self {
        Work {
            strip: Vec::new(),
            windows: Vec::new(),
            panels: Vec::new(),
            rows: Vec::new(),
            runs: Vec::new(),
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
    /// Sums blocks of pixels (start, number) into C: a row for each channel and tap, a column for each output.
    ///
    /// # Safety
    /// As for [`multiply_block`].
    unsafe fn run(&self, blocks: &[(usize, usize)], c: Target<T>, work: &mut Work<T>) {
        let (first, count) = self.channels;
        let taps = self.windows.taps.len();
        for (b, &(q, n)) in blocks.iter().enumerate() {
            self.pack_outputs(q, n, &mut work.panels);
            let strip = Strip::new(self.windows, (q, q + n), (first, first + count));
            let data = strip.fill(self.x, &mut work.strip);
            strip.runs((q, q + n), &mut work.runs);
            // Rows of an odd number of cache lines, so that eight of them do not share a cache set.
            let step = (n + CHUNK).next_multiple_of(16) | 16;
            let rows = room(&mut work.windows, count * taps * step);
            for (r, row) in rows.chunks_exact_mut(step).enumerate() {
                copy_runs(data, strip.offset(r / taps, r % taps), &work.runs, row);
            }
            let a = Matrix { data: rows, row: step, column: 1 };
            // SAFETY: as the caller says.
            unsafe {
                multiply_block((count * taps, n, self.outputs), a, &work.panels, c, b > 0, &mut work.rows)
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
