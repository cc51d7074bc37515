//! Convolutions of 3×3 windows with a stride of 1 by Winograd's minimal filtering F(4×4, 3×3): 36 products in
//! place of 144 for each tile of 4×4 output pixels and pair of channels (Winograd 1980, "Arithmetic complexity
//! of computations"; Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", section 4.3).
//!
//! `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`, the sum over channels taken within the brackets: 36 matrix products of
//! the transformed weights with the transformed tiles. Its rounding errors are some 20 times those of the
//! direct sum, so that it is used in inference only. The transforms have no fused multiply-adds and the
//! products the usual order of sums: results depend neither on the batch nor on threads or instructions.

use rayon::prelude::*;

use super::Window2;
use super::conv::{Added, row_pieces};
use super::gemm::{BLOCK, Left, Right, Target, multiply_block, pieces, room, tiles};
use super::lanes::{Lanes, WIDTH, with_lanes};
use super::strip::{Images, Strip, Windows};
use super::tile::{ROWS, Real};

/// Side of a tile of the output, and of the input that it looks at.
const OUT: usize = 4;
const IN: usize = OUT + 2;

/// Numbers of a transformed tile.
const POINTS: usize = IN * IN;

const PANEL: usize = f32::PANEL;

/// Channels whose strip is copied at a time.
const CHANNELS: usize = 32;

/// Whether a convolution is computed this way: decided by sizes of one image and of the weight alone. Small
/// images have too few tiles to pay for reading four times as many weights.
pub(super) fn applies(w: &Window2, channels: usize, outputs: usize, size: [usize; 2]) -> bool {
    let covered: usize = size.iter().map(|s| s.next_multiple_of(OUT)).product();
    w.kernel == [3, 3]
        && w.stride == [1, 1]
        && w.dilation == [1, 1]
        && w.groups == 1
        && channels >= 32
        && outputs >= 32
        && size[0] * size[1] >= 256
        && 4 * covered <= 5 * size[0] * size[1]
}

/// Steps between points: an odd number of cache lines, so that the points of a tile do not share a cache set.
fn apart(len: usize) -> usize {
    len.next_multiple_of(PANEL) | PANEL
}

/// Elements of the transformed weights.
pub(super) fn weights_len(channels: usize, outputs: usize) -> usize {
    POINTS * apart(channels * outputs)
}

/// `Bᵀ d`.
#[inline(always)]
fn input<L: Lanes>(d: [L; IN]) -> [L; IN] {
    let (two, four, five) = (L::splat(2.0), L::splat(4.0), L::splat(5.0));
    let (a, b) = (d[4].sub(four.mul(d[2])), d[3].sub(four.mul(d[1])));
    let (c, e) = (d[4].sub(d[2]), two.mul(d[3].sub(d[1])));
    [
        four.mul(d[0]).sub(five.mul(d[2])).add(d[4]),
        a.add(b),
        a.sub(b),
        c.add(e),
        c.sub(e),
        four.mul(d[1]).sub(five.mul(d[3])).add(d[5]),
    ]
}

/// `G g`.
#[inline(always)]
fn weight<L: Lanes>(g: [L; 3]) -> [L; IN] {
    let by = |x: L, v: f32| x.mul(L::splat(v));
    let (a, b) = (by(g[0].add(g[2]), -1.0 / 6.0), by(g[1], -1.0 / 6.0));
    let (c, d) = (by(g[0], 1.0 / 24.0).add(by(g[2], 1.0 / 6.0)), by(g[1], 1.0 / 12.0));
    [by(g[0], 0.25), a.add(b), a.sub(b), c.add(d), c.sub(d), g[2]]
}

/// `Aᵀ m`.
#[inline(always)]
fn output<L: Lanes>(m: [L; IN]) -> [L; OUT] {
    let (s, d) = (m[1].add(m[2]), m[1].sub(m[2]));
    let (t, e) = (m[3].add(m[4]), m[3].sub(m[4]));
    let by = |x: L, v: f32| x.mul(L::splat(v));
    [m[0].add(s).add(t), d.add(by(e, 2.0)), s.add(by(t, 4.0)), d.add(by(e, 8.0)).add(m[5])]
}

/// The weights `[output, channel, 3, 3]` transformed: `[point, block of channels]`, each as
/// [`pack_left`](super::gemm::pack_left) writes it.
pub(super) fn transform_weights(weight: &[f32], channels: usize, outputs: usize) -> Vec<f32> {
    let mut out = vec![0.0; weights_len(channels, outputs)];
    let all: Vec<(usize, usize)> = tiles(outputs).collect();
    let point = apart(channels * outputs);
    let target = Target::new(&mut out, 1);
    all.par_iter().for_each(|&(i, height)| {
        for (k0, k) in pieces(channels, BLOCK) {
            // SAFETY: tiles of rows have their own parts of each point, and `out` outlives them.
            let part = |p: usize| unsafe { target.from(p * point + k0 * outputs + i * k).slice(k * height) };
            let mut parts: [&mut [f32]; POINTS] = std::array::from_fn(part);
            for c in 0..k {
                let filters = &weight[(i * channels + k0 + c) * 9..];
                transform_filters(filters, channels * 9, height, c * height, &mut parts);
            }
        }
    });
    out
}

/// Transforms the filters of `height` rows, `row` elements apart, to `at` in each part.
#[inline]
fn transform_filters(
    filters: &[f32],
    row: usize,
    height: usize,
    at: usize,
    parts: &mut [&mut [f32]; POINTS],
) {
    let mut taps = [[0.0; WIDTH]; 9];
    for r in 0..height {
        let filter = &filters[r * row..][..9];
        taps.iter_mut().zip(filter).for_each(|(tap, value)| tap[r] = *value);
    }
    with_lanes!(L => {
        let mut down = [[L::splat(0.0); 3]; IN];
        for j in 0..3 {
            let column = weight([L::load(&taps[j]), L::load(&taps[3 + j]), L::load(&taps[6 + j])]);
            for i in 0..IN {
                down[i][j] = column[i];
            }
        }
        for i in 0..IN {
            let row = weight(down[i]);
            for j in 0..IN {
                let part = &mut parts[i * IN + j][at..];
                if part.len() >= WIDTH {
                    // What is written beyond the rows is overwritten by the next channel.
                    row[j].store(part);
                } else {
                    let mut values = [0.0; WIDTH];
                    row[j].store(&mut values);
                    part[..height].copy_from_slice(&values[..height]);
                }
            }
        }
    });
}

/// A convolution with transformed weights.
pub(super) struct Winograd<'a> {
    /// Before and after each axis.
    pub padding: [(usize, usize); 2],
    /// As [`transform_weights`] gives them.
    pub weights: &'a [f32],
    /// Output channels.
    pub outputs: usize,
    /// Height and width of the output.
    pub size: [usize; 2],
    /// What is added to the output.
    pub added: Added<'a, f32>,
}

/// Memory of a task.
#[derive(Default)]
struct Work {
    strip: Vec<f32>,
    tiles: Vec<f32>,
    products: Vec<f32>,
    at: Vec<u32>,
}

/// Tiles of one row of an image: a number of them from a lane of a panel on.
struct Row {
    lane: usize,
    len: usize,
    image: usize,
    /// First output pixel.
    pixel: [usize; 2],
}

impl Winograd<'_> {
    /// Tiles of an image along each axis.
    fn lattice(&self) -> [usize; 2] {
        self.size.map(|s| s.div_ceil(OUT))
    }

    /// Tiles of a task: few channels leave room for more.
    fn task_tiles(&self, channels: usize, all: usize) -> usize {
        let most = if channels + self.outputs <= 1024 { 4 * PANEL } else { 2 * PANEL };
        let wanted = all.div_ceil(2 * rayon::current_num_threads()).next_multiple_of(PANEL);
        most.min(wanted)
    }

    /// Computes it; every element of y is written.
    pub(super) fn run(&self, x: Images<'_, f32>, y: Target<f32>) {
        let offset = |axis: usize, k: usize| k as isize - self.padding[axis].0 as isize;
        let taps = (0..POINTS).map(|t| [offset(0, t / IN), offset(1, t % IN)]).collect();
        let windows = Windows { taps, step: [OUT, OUT], lattice: self.lattice() };
        let images = x.data.len() / (x.channels * x.size[0] * x.size[1]).max(1);
        let all = images * windows.pixels();
        let blocks: Vec<(usize, usize)> = self.blocks(images, windows.pixels(), x.channels, all);
        let pieces = rayon::current_num_threads().div_ceil(blocks.len().max(1));
        let rows = row_pieces(self.outputs, self.outputs.div_ceil(pieces).next_multiple_of(ROWS));
        let tasks: Vec<((usize, usize), (usize, usize))> =
            blocks.iter().flat_map(|b| rows.iter().map(|r| (*b, *r))).collect();
        tasks.par_iter().for_each_init(Work::default, |work, &(block, rows)| {
            self.transform_tiles(&windows, x, block, work);
            self.multiply(x.channels, block.1, rows, work);
            self.transform_products(&windows, block, rows, work, y);
        });
    }

    /// Tiles (start, number) of each task: of one image, or all of several.
    fn blocks(&self, images: usize, tiles: usize, channels: usize, all: usize) -> Vec<(usize, usize)> {
        let most = self.task_tiles(channels, all);
        match tiles >= most {
            true => (0..images)
                .flat_map(|i| pieces(tiles, most).map(move |(t, n)| (i * tiles + t, n)))
                .collect(),
            false => pieces(images, most / tiles).map(|(i, n)| (i * tiles, n * tiles)).collect(),
        }
    }

    /// `Bᵀ d B` of tiles: for each point and block of channels, panels of B for the products.
    fn transform_tiles(
        &self,
        windows: &Windows,
        x: Images<'_, f32>,
        (first, count): (usize, usize),
        work: &mut Work,
    ) {
        let Work { strip: buffer, tiles, at, .. } = work;
        let columns = count.next_multiple_of(PANEL);
        let point = apart(x.channels * columns);
        let out = room(tiles, POINTS * point);
        for (k0, k) in pieces(x.channels, BLOCK) {
            for (c0, channels) in pieces(k, CHANNELS) {
                let from = k0 + c0;
                let strip = Strip::new(windows, (first, first + count), (from, from + channels));
                // A vector of tiles may begin at the last one.
                let data = strip.fill(x, buffer);
                strip.vectors((first, first + count), 1, at);
                for c in 0..channels {
                    for (lane, width) in pieces(count, WIDTH) {
                        let mut points = [[0.0; WIDTH]; POINTS];
                        let at = &at[lane..lane + width];
                        let offsets: [usize; POINTS] = std::array::from_fn(|t| strip.offset(c, t));
                        transform_tile(data, &offsets, at, &mut points);
                        let panel = k0 * columns + lane / PANEL * k * PANEL + (c0 + c) * PANEL + lane % PANEL;
                        for (p, values) in points.iter().enumerate() {
                            out[p * point + panel..][..WIDTH].copy_from_slice(values);
                        }
                    }
                }
            }
        }
    }

    /// The product of each point.
    fn multiply(&self, channels: usize, count: usize, (row, height): (usize, usize), work: &mut Work) {
        let columns = count.next_multiple_of(PANEL);
        let product_len = apart(height * columns);
        let products = room(&mut work.products, POINTS * product_len);
        for p in 0..POINTS {
            let weights = &self.weights[p * apart(channels * self.outputs)..];
            let tiles = &work.tiles[p * apart(channels * columns)..];
            let product = &mut products[p * product_len..][..height * columns];
            for (k0, k) in pieces(channels, BLOCK) {
                let a = Left::Packed(&weights[k0 * self.outputs + row * k..][..height * k]);
                let b = Right::panels(&tiles[k0 * columns..][..k * columns]);
                let c = Target::new(product, columns);
                // SAFETY: the product is borrowed here.
                unsafe { multiply_block((height, k, columns), a, b, c, k0 > 0) };
            }
        }
    }

    /// `Aᵀ m A` of the products, and what is added, into y.
    fn transform_products(
        &self,
        windows: &Windows,
        (first, count): (usize, usize),
        (row, height): (usize, usize),
        work: &Work,
        y: Target<f32>,
    ) {
        let [down, along] = windows.lattice;
        let columns = count.next_multiple_of(PANEL);
        let [h, w] = self.size;
        let mut rows = Vec::new();
        for (lane, width) in pieces(count, WIDTH) {
            rows.clear();
            let mut done = 0;
            while done < width {
                let tile = first + lane + done;
                let (image, tile) = (tile / (down * along), tile % (down * along));
                let (i, j) = (tile / along, tile % along);
                let len = (along - j).min(width - done);
                rows.push(Row { lane: done, len, image, pixel: [i * OUT, j * OUT] });
                done += len;
            }
            for o in 0..height {
                let mut out = [[0.0; WIDTH * OUT]; OUT];
                let product = &work.products[o * columns + lane..];
                transform_product(product, apart(height * columns), &mut out);
                for row_of in &rows {
                    let [i, j] = row_of.pixel;
                    let len = (row_of.len * OUT).min(w - j);
                    for (r, values) in out.iter().enumerate().take(OUT.min(h - i)) {
                        let channel = row + o;
                        let at = ((row_of.image * self.outputs + channel) * h + i + r) * w + j;
                        // SAFETY: this task's tiles and channels of y, which outlives it.
                        let target = unsafe { y.from(at).slice(len) };
                        target.copy_from_slice(&values[row_of.lane * OUT..][..len]);
                        self.added.add(channel, at, target);
                    }
                }
            }
        }
    }
}

/// Transforms up to [`WIDTH`] tiles of a channel, whose elements lie at `offsets[element] + at[tile]`.
#[inline]
fn transform_tile(
    data: &[f32],
    offsets: &[usize; POINTS],
    at: &[u32],
    points: &mut [[f32; WIDTH]; POINTS],
) {
    let base = at[0] as usize;
    let together = at.len() == WIDTH && at.iter().enumerate().all(|(i, a)| *a as usize == base + i);
    let mut copy = [[0.0; WIDTH]; POINTS];
    if !together {
        for (copy, offset) in copy.iter_mut().zip(offsets) {
            copy.iter_mut().zip(at).for_each(|(c, a)| *c = data[offset + *a as usize]);
        }
    }
    with_lanes!(L => {
        let mut down = [[L::splat(0.0); IN]; IN];
        for j in 0..IN {
            let mut column = [L::splat(0.0); IN];
            for i in 0..IN {
                let t = i * IN + j;
                column[i] = if together { L::load(&data[offsets[t] + base..]) } else { L::load(&copy[t]) };
            }
            let column = input(column);
            for i in 0..IN {
                down[i][j] = column[i];
            }
        }
        for i in 0..IN {
            let row = input(down[i]);
            for j in 0..IN {
                row[j].store(&mut points[i * IN + j]);
            }
        }
    });
}

/// Transforms [`WIDTH`] products, whose points lie `step` apart, to rows of pixels.
#[inline]
fn transform_product(product: &[f32], step: usize, out: &mut [[f32; WIDTH * OUT]; OUT]) {
    let mut pixels = [[[0.0; WIDTH]; OUT]; OUT];
    with_lanes!(L => {
        let mut down = [[L::splat(0.0); IN]; OUT];
        for j in 0..IN {
            let mut column = [L::splat(0.0); IN];
            for i in 0..IN {
                column[i] = L::load(&product[(i * IN + j) * step..]);
            }
            let column = output(column);
            for i in 0..OUT {
                down[i][j] = column[i];
            }
        }
        for i in 0..OUT {
            let row = output(down[i]);
            for j in 0..OUT {
                row[j].store(&mut pixels[i][j]);
            }
        }
        for (out, pixels) in out.iter_mut().zip(&pixels) {
            for (t, out) in out.chunks_exact_mut(OUT).enumerate() {
                out.copy_from_slice(&[pixels[0][t], pixels[1][t], pixels[2][t], pixels[3][t]]);
            }
        }
    });
}
