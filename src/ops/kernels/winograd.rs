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
use super::strip::Images;
use super::tile::{Operand, ROWS};

/// Side of a tile of the output, and of the input that it looks at.
const OUT: usize = 4;
const IN: usize = OUT + 2;

/// Numbers of a transformed tile.
pub(super) const POINTS: usize = IN * IN;

const PANEL: usize = f32::PANEL;

/// Pairs of channels whose transformed weights stay in a second-level cache.
const FEW_PAIRS: usize = 8192;

/// Whether a convolution is computed this way: decided by sizes of one image and of the weight alone. Small
/// images have too few tiles to pay for reading four times as many weights, unless those are few.
pub(super) fn applies(w: &Window2, channels: usize, outputs: usize, size: [usize; 2]) -> bool {
    let covered: usize = size.iter().map(|s| s.next_multiple_of(OUT)).product();
    w.kernel == [3, 3]
        && w.stride == [1, 1]
        && w.dilation == [1, 1]
        && w.groups == 1
        && channels >= 32
        && outputs >= 32
        && (size[0] * size[1] >= 256 || size[0] * size[1] >= 49 && channels * outputs <= FEW_PAIRS)
        && 3 * covered <= 4 * size[0] * size[1]
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
/// [`pack_left`](super::gemm::pack_left) writes it. Those of a transposed convolution are given as
/// `[channel, output, 3, 3]`, and their windows are turned around.
pub(super) fn transform_weights(
    weight: &[f32],
    channels: usize,
    outputs: usize,
    transposed: bool,
) -> Vec<f32> {
    let (row, column) = if transposed { (9, outputs * 9) } else { (channels * 9, 9) };
    // Zeros between the points as well.
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
                let filters = &weight[i * row + (k0 + c) * column..];
                for r in (0..height).step_by(WIDTH) {
                    let mut taps = [[0.0; WIDTH]; 9];
                    for lane in 0..WIDTH.min(height - r) {
                        let filter = &filters[(r + lane) * row..][..9];
                        for (t, value) in filter.iter().enumerate() {
                            taps[if transposed { 8 - t } else { t }][lane] = *value;
                        }
                    }
                    transform_filters(&taps, WIDTH.min(height - r), c * height + r, &mut parts);
                }
            }
        }
    });
    out
}

/// Transforms the filters of `height` rows (at most [`WIDTH`]), given tap by tap, to `at` in each part.
#[inline]
fn transform_filters(taps: &[[f32; WIDTH]; 9], height: usize, at: usize, parts: &mut [&mut [f32]; POINTS]) {
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
    padded: Vec<f32>,
    tiles: Vec<f32>,
    products: Vec<f32>,
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
        let lattice = self.lattice();
        let per_image = lattice[0] * lattice[1];
        let images = x.data.len() / (x.channels * x.size[0] * x.size[1]).max(1);
        let all = images * per_image;
        let blocks: Vec<(usize, usize)> = self.blocks(images, per_image, x.channels, all);
        let pieces = rayon::current_num_threads().div_ceil(blocks.len().max(1));
        let rows = row_pieces(self.outputs, self.outputs.div_ceil(pieces).next_multiple_of(ROWS));
        let tasks: Vec<((usize, usize), (usize, usize))> =
            blocks.iter().flat_map(|b| rows.iter().map(|r| (*b, *r))).collect();
        tasks.par_iter().for_each_init(Work::default, |work, &(block, rows)| {
            self.transform_tiles(x, block, work);
            self.multiply(x.channels, block.1, rows, work);
            self.transform_products(block, rows, work, y);
        });
    }

    /// Tiles (start, number) of each task: of one image, or all of several.
    fn blocks(&self, images: usize, tiles: usize, channels: usize, all: usize) -> Vec<(usize, usize)> {
        let most = self.task_tiles(channels, all);
        match tiles >= most {
            true => {
                (0..images).flat_map(|i| pieces(tiles, most).map(move |(t, n)| (i * tiles + t, n))).collect()
            }
            false => pieces(images, most / tiles).map(|(i, n)| (i * tiles, n * tiles)).collect(),
        }
    }

    /// `Bᵀ d B` of tiles: for each point and block of channels, panels of B for the products.
    fn transform_tiles(&self, x: Images<'_, f32>, (first, count): (usize, usize), work: &mut Work) {
        let Work { padded, tiles, .. } = work;
        let columns = count.next_multiple_of(PANEL);
        let point = apart(x.channels * columns);
        let out = room(tiles, POINTS * point);
        let view = View::new(self, (first, first + count));
        for (k0, k) in pieces(x.channels, BLOCK) {
            for c in 0..k {
                let data = view.fill(x, k0 + c, padded);
                for (lane, width) in pieces(count, WIDTH) {
                    let at: [usize; WIDTH] =
                        std::array::from_fn(|t| view.tile(first + lane + t.min(width - 1)));
                    let panel = k0 * columns + lane / PANEL * k * PANEL + c * PANEL + lane % PANEL;
                    transform_tile(data, view.row, &at, point, &mut out[panel..]);
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
        (first, count): (usize, usize),
        (row, height): (usize, usize),
        work: &Work,
        y: Target<f32>,
    ) {
        let [down, along] = self.lattice();
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
            let mut out = [[0.0; WIDTH * OUT]; OUT];
            for o in 0..height {
                let product = &work.products[o * columns + lane..];
                transform_product(product, apart(height * columns), &mut out);
                for row_of in &rows {
                    let [i, j] = row_of.pixel;
                    let len = (row_of.len * OUT).min(w - j);
                    for (r, values) in out.iter().enumerate().take(OUT.min(h - i)) {
                        let channel = row + o;
                        let at = ((row_of.image * self.outputs + channel) * h + i + r) * w + j;
                        // SAFETY: this task's tiles and channels of y, which outlives it.
                        let target = unsafe {
                            y.from(at).copy(&values[row_of.lane * OUT..][..len]);
                            y.from(at).slice(len)
                        };
                        self.added.add(channel, at, target);
                    }
                }
            }
        }
    }
}

/// The part of one channel of some images that tiles look at, with its padding.
struct View {
    /// Elements of a row.
    row: usize,
    rows: usize,
    images: (usize, usize),
    first_row: usize,
    lattice: [usize; 2],
    padding: [usize; 2],
}

impl View {
    fn new(of: &Winograd<'_>, (t0, t1): (usize, usize)) -> Self {
        let lattice = of.lattice();
        let tiles = lattice[0] * lattice[1];
        let images = (t0 / tiles, t1.div_ceil(tiles));
        let (first_row, last_row) = match images.1 - images.0 {
            1 => (t0 % tiles / lattice[1], (t1 - 1) % tiles / lattice[1]),
            _ => (0, lattice[0] - 1),
        };
        // Four tiles at a time are read in vectors: six elements more than the last of them needs.
        let row = lattice[1] * OUT + WIDTH;
        let rows = (last_row - first_row) * OUT + IN;
        View { row, rows, images, first_row, lattice, padding: of.padding.map(|p| p.0) }
    }

    /// Where a tile begins.
    fn tile(&self, t: usize) -> usize {
        let tiles = self.lattice[0] * self.lattice[1];
        let (image, t) = (t / tiles - self.images.0, t % tiles);
        let (i, j) = (t / self.lattice[1] - self.first_row, t % self.lattice[1]);
        (image * self.rows + i * OUT) * self.row + j * OUT
    }

    fn fill<'b>(&self, x: Images<'_, f32>, channel: usize, buffer: &'b mut Vec<f32>) -> &'b [f32] {
        let out = room(buffer, (self.images.1 - self.images.0) * self.rows * self.row);
        let [height, width] = x.size;
        let left = self.padding[1].min(self.row);
        let inside = width.min(self.row - left);
        for (r, row) in out.chunks_exact_mut(self.row).enumerate() {
            let image = self.images.0 + r / self.rows;
            let y = (self.first_row * OUT + r % self.rows).wrapping_sub(self.padding[0]);
            if y >= height {
                row.fill(0.0);
                continue;
            }
            let source = &x.data[((image * x.channels + channel) * height + y) * width..][..inside];
            row[..left].fill(0.0);
            row[left..left + inside].copy_from_slice(source);
            row[left + inside..].fill(0.0);
        }
        out
    }
}

/// Transforms [`WIDTH`] tiles, which begin at these places of rows of `step` elements, to points that lie
/// `point` apart.
fn transform_tile(data: &[f32], step: usize, at: &[usize; WIDTH], point: usize, out: &mut [f32]) {
    const HALF: usize = WIDTH / 2;
    let beside = |half: &[usize]| (0..HALF).all(|t| half[t] == half[0] + t * OUT);
    if !(beside(&at[..HALF]) && beside(&at[HALF..])) {
        return transform_scattered(data, step, at, point, out);
    }
    with_lanes!(L => {
        // Down the columns of each four tiles; 18 of 24 columns are theirs.
        let mut down = [[[0.0; 3 * WIDTH]; 2]; IN];
        for half in 0..2 {
            for v in 0..3 {
                let from = &data[at[half * HALF] + v * WIDTH..];
                let mut column = [L::splat(0.0); IN];
                for i in 0..IN {
                    column[i] = L::load(&from[i * step..]);
                }
                let column = input(column);
                for i in 0..IN {
                    column[i].store(&mut down[i][half][v * WIDTH..]);
                }
            }
        }
        for i in 0..IN {
            let [a, b] = &down[i];
            let [d0, d1, d2, d3] = L::apart([&a[..], &b[..]]);
            let [d4, d5, ..] = L::apart([&a[OUT..], &b[OUT..]]);
            let row = input([d0, d1, d2, d3, d4, d5]);
            for j in 0..IN {
                row[j].store(&mut out[(i * IN + j) * point..]);
            }
        }
    });
}

/// The same of tiles that do not lie in rows of four.
fn transform_scattered(data: &[f32], step: usize, at: &[usize; WIDTH], point: usize, out: &mut [f32]) {
    let mut copy = [[0.0; WIDTH]; POINTS];
    for (p, copy) in copy.iter_mut().enumerate() {
        let offset = p / IN * step + p % IN;
        copy.iter_mut().zip(at).for_each(|(c, a)| *c = data[offset + a]);
    }
    with_lanes!(L => {
        let mut down = [[L::splat(0.0); IN]; IN];
        for j in 0..IN {
            let mut column = [L::splat(0.0); IN];
            for i in 0..IN {
                column[i] = L::load(&copy[i * IN + j]);
            }
            let column = input(column);
            for i in 0..IN {
                down[i][j] = column[i];
            }
        }
        for i in 0..IN {
            let row = input(down[i]);
            for j in 0..IN {
                row[j].store(&mut out[(i * IN + j) * point..]);
            }
        }
    });
}

/// Transforms [`WIDTH`] products, whose points lie `step` apart, to rows of pixels.
fn transform_product(product: &[f32], step: usize, out: &mut [[f32; WIDTH * OUT]; OUT]) {
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
            L::woven(output(down[i]), &mut out[i]);
        }
    });
}
