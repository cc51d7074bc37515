//! The part of some images that a block of output pixels looks at, copied with its zero padding, so that the
//! windows' elements can be fetched in runs without a test for the border.

use super::gemm::room;
use super::tile::Operand;

/// Elements that are copied at a time; what a run copies beyond its end is overwritten by the next one.
pub(super) const CHUNK: usize = 8;

/// Images `[n, channels, height, width]`, of which one group of channels is looked at.
#[derive(Clone, Copy)]
pub(super) struct Images<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// Channels of an image.
    pub channels: usize,
    /// Height and width.
    pub size: [usize; 2],
}

/// How windows lie: output pixel `p` looks at input `p · step + tap`, for each tap.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// Offsets, in order of the kernel's elements.
    pub taps: Vec<[isize; 2]>,
    /// Input steps per output pixel.
    pub step: [usize; 2],
    /// Height and width of the output.
    pub lattice: [usize; 2],
}

impl Windows {
    /// Output pixels of an image.
    pub(super) fn pixels(&self) -> usize {
        self.lattice[0] * self.lattice[1]
    }

    /// Least and greatest offset along an axis.
    pub(super) fn reach(&self, axis: usize) -> (isize, isize) {
        let along = || self.taps.iter().map(|t| t[axis]);
        (along().min().unwrap_or(0), along().max().unwrap_or(0))
    }
}

/// Consecutive output pixels of a row of one image: a number of elements from a place in the strip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Index of the first among the pixels asked for.
    pub at: usize,
    /// Offset in the strip, to which those of channel and tap are added.
    pub offset: usize,
    /// Number of pixels.
    pub len: usize,
}

/// The layout of a strip: `[image, channel, row, residue of the column modulo the step, column / step]`, so
/// that pixels of a row are neighbours for every tap.
pub(super) struct Strip<'a> {
    windows: &'a Windows,
    images: (usize, usize),
    channels: (usize, usize),
    first_row: usize,
    rows: usize,
    columns: usize,
    /// Offset of each tap.
    taps: Vec<usize>,
}

impl<'a> Strip<'a> {
    /// What output pixels `q0 .. q1` look at, counted through all images, of channels `c0 .. c1`. Pixels of
    /// several images include all of each.
    pub(super) fn new(windows: &'a Windows, (q0, q1): (usize, usize), channels: (usize, usize)) -> Self {
        let (pixels, width) = (windows.pixels(), windows.lattice[1]);
        let images = (q0 / pixels, q1.div_ceil(pixels));
        let (first_row, last_row) = if images.1 - images.0 == 1 {
            ((q0 % pixels) / width, ((q1 - 1) % pixels) / width)
        } else {
            (0, windows.lattice[0] - 1)
        };
        let ((top, bottom), (left, right)) = (windows.reach(0), windows.reach(1));
        let rows = (last_row - first_row) * windows.step[0] + (bottom - top) as usize + 1;
        let span = (width - 1) * windows.step[1] + (right - left) as usize + 1;
        let columns = span.div_ceil(windows.step[1]);
        let taps = windows
            .taps
            .iter()
            .map(|[y, x]| {
                let x = (x - left) as usize;
                ((y - top) as usize * windows.step[1] + x % windows.step[1]) * columns + x / windows.step[1]
            })
            .collect();
        Strip { windows, images, channels, first_row, rows, columns, taps }
    }

    fn row_len(&self) -> usize {
        self.columns * self.windows.step[1]
    }

    /// Elements of a channel.
    fn channel_len(&self) -> usize {
        self.rows * self.row_len()
    }

    /// The offset of a channel (counted from the strip's first) and a tap.
    pub(super) fn offset(&self, channel: usize, tap: usize) -> usize {
        channel * self.channel_len() + self.taps[tap]
    }

    /// The offset of the first pixel of a row of the first image.
    pub(super) fn row(&self, row: usize) -> usize {
        row * self.windows.step[0] * self.row_len()
    }

    /// Copies the images' elements; channels are counted in elements of the strip. The buffer has more elements than the
    /// strip, for runs and vectors that reach beyond it.
    pub(super) fn fill<'b, T: Operand>(
        &self,
        x: Images<'_, T::Sum>,
        apart: &mut Vec<T::Sum>,
        buffer: &'b mut Vec<T>,
    ) -> &'b [T] {
        let channels = self.channels.1 - self.channels.0;
        let len = (self.images.1 - self.images.0) * channels * self.channel_len();
        let beyond = 2 * CHUNK;
        let strip = room(buffer, len + beyond);
        let ((top, _), (left, _)) = (self.windows.reach(0), self.windows.reach(1));
        let first = (self.first_row * self.windows.step[0]) as isize + top;
        let plane = x.size[0] * x.size[1];
        let mut parts = strip.chunks_exact_mut(self.channel_len());
        for image in self.images.0..self.images.1 {
            for channel in self.channels.0..self.channels.1 {
                let Some(out) = parts.next() else { break };
                for (r, row) in out.chunks_exact_mut(self.row_len()).enumerate() {
                    let Some(y) = usize::try_from(first + r as isize).ok().filter(|y| *y < x.size[0]) else {
                        row.fill(T::ZERO);
                        continue;
                    };
                    let part = |i: usize, row: &mut [T::Sum]| {
                        let channel = channel * T::DEPTH + i;
                        if channel >= x.channels {
                            return row.fill(T::Sum::ZERO);
                        }
                        let data = &x.data[(image * x.channels + channel) * plane..][..plane];
                        self.fill_row(&data[y * x.size[1]..][..x.size[1]], left, row);
                    };
                    T::join(part, apart, row);
                }
            }
        }
        &strip[..len + beyond]
    }

    fn fill_row<T: Operand>(&self, data: &[T], left: isize, row: &mut [T]) {
        let step = self.windows.step[1];
        for (residue, out) in row.chunks_exact_mut(self.columns).enumerate() {
            // Element i is column left + residue + i * step.
            let start = left + residue as isize;
            let before = (-start).max(0) as usize;
            let skip = before.div_ceil(step).min(out.len());
            let (pad, rest) = out.split_at_mut(skip);
            pad.fill(T::ZERO);
            let from = (start + (skip * step) as isize) as usize;
            let source = data.get(from..).unwrap_or_default();
            let count = source.len().div_ceil(step).min(rest.len());
            match step {
                1 => rest[..count].copy_from_slice(&source[..count]),
                2 => every::<T, 2>(source, &mut rest[..count]),
                4 => every::<T, 4>(source, &mut rest[..count]),
                _ => rest.iter_mut().zip(source.iter().step_by(step)).for_each(|(o, x)| *o = *x),
            }
            rest[count..].fill(T::ZERO);
        }
    }

    /// The places of vectors of `lanes` output pixels among `q0 .. q1`, which begin and end with a vector; the
    /// last of a row may reach beyond it.
    pub(super) fn vectors(&self, (q0, q1): (usize, usize), lanes: usize, out: &mut Vec<u32>) {
        let (pixels, width) = (self.windows.pixels(), self.windows.lattice[1]);
        let image_len = (self.channels.1 - self.channels.0) * self.channel_len();
        out.clear();
        let mut q = q0;
        while q < q1 {
            let (image, pixel) = (q / pixels - self.images.0, q % pixels);
            let (y, x) = (pixel / width - self.first_row, pixel % width);
            out.push((image * image_len + y * self.windows.step[0] * self.row_len() + x) as u32);
            q += lanes.min(width - x);
        }
    }

    /// The runs of output pixels `q0 .. q1`.
    pub(super) fn runs(&self, (q0, q1): (usize, usize), runs: &mut Vec<Run>) {
        runs.clear();
        let (pixels, width) = (self.windows.pixels(), self.windows.lattice[1]);
        let image_len = (self.channels.1 - self.channels.0) * self.channel_len();
        let mut q = q0;
        while q < q1 {
            let (image, pixel) = (q / pixels - self.images.0, q % pixels);
            let (y, x) = (pixel / width - self.first_row, pixel % width);
            let len = (width - x).min(q1 - q);
            let offset = image * image_len + y * self.windows.step[0] * self.row_len() + x;
            runs.push(Run { at: q - q0, offset, len });
            q += len;
        }
    }
}

/// Copies every `STEP`-th element, in a form that the compiler makes vectors of.
fn every<T: Operand, const STEP: usize>(source: &[T], out: &mut [T]) {
    let (whole, last) = out.split_at_mut(out.len().min(source.len() / STEP));
    for (out, x) in whole.iter_mut().zip(source.chunks_exact(STEP)) {
        *out = x[0];
    }
    for (out, x) in last.iter_mut().zip(source[whole.len() * STEP..].iter().step_by(STEP)) {
        *out = *x;
    }
}

/// Copies runs, each from `base` on in the strip, to `out`, which may be written for [`CHUNK`] elements more.
#[inline]
pub(super) fn copy_runs<T: Operand>(strip: &[T], base: usize, runs: &[Run], out: &mut [T]) {
    for run in runs {
        let source = &strip[base + run.offset..];
        let target = &mut out[run.at..];
        let mut i = 0;
        while i < run.len {
            target[i..i + CHUNK].copy_from_slice(&source[i..i + CHUNK]);
            i += CHUNK;
        }
    }
}
