//! The part of some images that a block of output pixels looks at, copied with its zero padding, a few
//! channels of a pixel beside each other: what a pixel has of them is a vector.

use super::gemm::room;
use super::strip::{Images, Windows};
use super::tile::Real;

/// The layout: `[image, row, column, channel]`, of `wide` channels.
pub(super) struct Blocked<'a> {
    windows: &'a Windows,
    images: (usize, usize),
    first_row: usize,
    rows: usize,
    columns: usize,
    wide: usize,
}

impl<'a> Blocked<'a> {
    /// What output pixels `q0 .. q1` look at, counted through all images. Pixels of several images include
    /// all of each.
    pub(super) fn new(windows: &'a Windows, (q0, q1): (usize, usize), wide: usize) -> Self {
        let (pixels, width) = (windows.pixels(), windows.lattice[1]);
        let images = (q0 / pixels, q1.div_ceil(pixels));
        let (first_row, last_row) = if images.1 - images.0 == 1 {
            ((q0 % pixels) / width, ((q1 - 1) % pixels) / width)
        } else {
            (0, windows.lattice[0] - 1)
        };
        let ((top, bottom), (left, right)) = (windows.reach(0), windows.reach(1));
        let rows = (last_row - first_row) * windows.step[0] + (bottom - top) as usize + 1;
        let columns = (width - 1) * windows.step[1] + (right - left) as usize + 1;
        Blocked { windows, images, first_row, rows, columns, wide }
    }

    /// Where a tap of the first pixel lies.
    pub(super) fn tap(&self, tap: usize) -> u32 {
        let [y, x] = self.windows.taps[tap];
        let (y, x) = (y - self.windows.reach(0).0, x - self.windows.reach(1).0);
        ((y as usize * self.columns + x as usize) * self.wide) as u32
    }

    /// Where pixels `q0 .. q1` lie, to which the tap's place is added.
    pub(super) fn pixels(&self, (q0, q1): (usize, usize), out: &mut Vec<u32>) {
        let (pixels, width) = (self.windows.pixels(), self.windows.lattice[1]);
        let [down, along] = self.windows.step;
        out.clear();
        out.extend((q0..q1).map(|q| {
            let (image, pixel) = (q / pixels - self.images.0, q % pixels);
            let (y, x) = (pixel / width - self.first_row, pixel % width);
            (((image * self.rows + y * down) * self.columns + x * along) * self.wide) as u32
        }));
    }

    /// Copies channels `first .. first + count` (at most `wide`) of the images; the rest is zero.
    pub(super) fn fill<'b, T: Real>(
        &self,
        x: Images<'_, T>,
        (first, count): (usize, usize),
        buffer: &'b mut Vec<T>,
    ) -> &'b [T] {
        let row_len = self.columns * self.wide;
        let out = room(buffer, (self.images.1 - self.images.0) * self.rows * row_len);
        let (top, left) = (self.windows.reach(0).0, self.windows.reach(1).0);
        let start = (self.first_row * self.windows.step[0]) as isize + top;
        let [height, width] = x.size;
        // Columns of the copy that lie within the image, and the first of them there.
        let before = ((-left).max(0) as usize).min(self.columns);
        let from = (left + before as isize) as usize;
        let inside = width.saturating_sub(from).min(self.columns - before);
        for (r, row) in out.chunks_exact_mut(row_len).enumerate() {
            let image = self.images.0 + r / self.rows;
            let y = start + (r % self.rows) as isize;
            let Some(y) = usize::try_from(y).ok().filter(|y| *y < height && inside > 0) else {
                row.fill(T::ZERO);
                continue;
            };
            let (pad, rest) = row.split_at_mut(before * self.wide);
            let (row, after) = rest.split_at_mut(inside * self.wide);
            pad.fill(T::ZERO);
            after.fill(T::ZERO);
            let source = |c: usize| {
                &x.data[((image * x.channels + first + c) * height + y) * width + from..][..inside]
            };
            let mut c = 0;
            while c + 4 <= count {
                let (s0, s1, s2, s3) = (source(c), source(c + 1), source(c + 2), source(c + 3));
                for (i, out) in row.chunks_exact_mut(self.wide).enumerate() {
                    out[c..c + 4].copy_from_slice(&[s0[i], s1[i], s2[i], s3[i]]);
                }
                c += 4;
            }
            while c < self.wide {
                if c < count {
                    let source = source(c);
                    row[c..].iter_mut().step_by(self.wide).zip(source).for_each(|(out, x)| *out = *x);
                } else {
                    row[c..].iter_mut().step_by(self.wide).for_each(|out| *out = T::ZERO);
                }
                c += 1;
            }
        }
        out
    }
}
