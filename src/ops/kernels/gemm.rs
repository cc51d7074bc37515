//! Matrix products with one order of summation.
//!
//! `C = A · B`: the sum over `k` is cut into blocks of [`BLOCK`]; within a block each element is a chain of
//! fused multiply-adds from zero, and the blocks' sums are added in order. Nothing else (the other
//! dimensions, the position of the element, the number of threads) has a say in the result.
//!
//! The scheme is Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication": panels of B
//! are packed so that the innermost loop reads them in order, rows of A as well where they are used often.

use rayon::prelude::*;

use super::tile::{Isa, ROWS, Real, Tile};

/// Length of the partial sums. Constant: it is part of what a result is.
pub(super) const BLOCK: usize = 256;

/// Columns of B that are packed at once: with [`BLOCK`] rows, half of a second-level cache.
const COLUMNS: usize = 512;

/// Rows below which splitting the rows of a product among threads does not pay for packing B again.
const MIN_ROWS: usize = 64;

/// Elements of a matrix at any steps.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    /// Its elements, the first at 0.
    pub data: &'a [T],
    /// Step between rows.
    pub row: usize,
    /// Step between columns.
    pub column: usize,
}

impl<'a, T: Copy> Matrix<'a, T> {
    /// Part of it from a row on.
    pub(super) fn from_row(self, row: usize) -> Self {
        Matrix { data: &self.data[(row * self.row).min(self.data.len())..], ..self }
    }

    /// Whether every element up to (rows, columns) is there.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
    }
}

/// Where results go: rows of C, `row` elements apart, written by one task.
#[derive(Clone, Copy)]
pub(super) struct Target<T> {
    first: *mut T,
    len: usize,
    /// Step between rows.
    pub row: usize,
}

// SAFETY: a pointer to elements that can be sent. Who makes two targets of one slice says that the tasks
// which use them write different elements, and that the slice outlives them.
unsafe impl<T: Send> Send for Target<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Target<T> {}

impl<T> Target<T> {
    /// All of a slice, as rows.
    pub(super) fn new(data: &mut [T], row: usize) -> Self {
        Target { first: data.as_mut_ptr(), len: data.len(), row }
    }

    /// What begins at that element.
    pub(super) fn from(self, start: usize) -> Self {
        assert!(start <= self.len);
        Target { first: self.first.wrapping_add(start), len: self.len - start, row: self.row }
    }

    /// `len` elements from the first.
    ///
    /// # Safety
    /// The slice that this was made of is alive, and nothing else refers to these elements meanwhile.
    pub(super) unsafe fn slice<'a>(self, len: usize) -> &'a mut [T] {
        assert!(len <= self.len);
        // SAFETY: within the slice; alive and not aliased, as the caller says.
        unsafe { std::slice::from_raw_parts_mut(self.first, len) }
    }
}

/// A matrix B that is packed panel by panel, from wherever it comes.
pub(super) trait Columns<T>: Sync {
    /// Writes rows `k0 .. k0 + k` of the columns `j0 .. j0 + n` as panels of `T::PANEL` columns, one after
    /// the other. What the last panel has beyond its columns is of no account.
    fn pack(&self, k0: usize, k: usize, j0: usize, n: usize, panels: &mut [T]);
}

impl<T: Real> Columns<T> for Matrix<'_, T> {
    fn pack(&self, k0: usize, k: usize, j0: usize, n: usize, panels: &mut [T]) {
        for (p, panel) in panels.chunks_exact_mut(k * T::PANEL).enumerate() {
            let first = j0 + p * T::PANEL;
            let width = T::PANEL.min((j0 + n).saturating_sub(first));
            if self.column == 1 {
                for (i, out) in panel.chunks_exact_mut(T::PANEL).enumerate() {
                    let at = (k0 + i) * self.row + first;
                    out[..width].copy_from_slice(&self.data[at..at + width]);
                }
            } else {
                transpose_into(
                    self.data,
                    (k0 * self.row + first * self.column, self.row, self.column),
                    (k, width),
                    panel,
                );
            }
        }
    }
}

/// Writes a `k` × `width` part of a matrix (start, row step, column step) as a panel, in pieces that stay
/// in the first-level cache whichever step is the long one.
pub(super) fn transpose_into<T: Real>(
    data: &[T],
    (start, row, column): (usize, usize, usize),
    (k, width): (usize, usize),
    panel: &mut [T],
) {
    const PIECE: usize = 16;
    for (piece, out) in panel.chunks_mut(PIECE * T::PANEL).enumerate() {
        let k0 = piece * PIECE;
        let rows = PIECE.min(k - k0);
        for j in 0..width {
            let at = start + k0 * row + j * column;
            if row == 1 {
                let source = &data[at..at + rows];
                for (out, x) in out[j..].iter_mut().step_by(T::PANEL).zip(source) {
                    *out = *x;
                }
            } else {
                for (i, out) in out[j..].iter_mut().step_by(T::PANEL).take(rows).enumerate() {
                    *out = data[at + i * row];
                }
            }
        }
    }
}

/// Panels that `n` columns take.
pub(super) fn panels<T: Real>(n: usize) -> usize {
    n.div_ceil(T::PANEL)
}

/// Memory that a task uses again and again.
pub(super) struct Scratch<T> {
    /// Packed panels of B.
    pub panels: Vec<T>,
    /// Packed rows of A.
    rows: Vec<T>,
}

impl<T: Real> Scratch<T> {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Scratch { panels: Vec::new(), rows: Vec::new() }
    }
}

/// At least `len` elements of a buffer, whatever they hold.
pub(super) fn room<T: Real>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::ZERO);
    }
    &mut buffer[..len]
}

/// One block of `k`: adds `A · B` to the `m` × `n` elements of C or puts it there, where B is packed.
///
/// # Safety
/// The slice that `c` was made of is alive, and nobody else reads or writes these elements meanwhile.
pub(super) unsafe fn multiply_block<T: Real>(
    (m, k, n): (usize, usize, usize),
    a: Matrix<'_, T>,
    panels: &[T],
    c: Target<T>,
    add: bool,
    rows: &mut Vec<T>,
) {
    let count = self::panels::<T>(n);
    // Checked once here, so that the kernels need not.
    assert!(a.holds(m, k) && panels.len() >= count * k * T::PANEL);
    assert!(m == 0 || n == 0 || (m - 1) * c.row + n <= c.len);
    let isa = Isa::detect();
    // Reading rows of A where they are costs nothing but cache conflicts, if the rows lie a large power of
    // two apart; packing them pays from a few panels on.
    let in_place = a.column == 1 && (count <= 2 || (count <= 4 && a.row % 512 != 0)) || count == 1;
    let mut edge = [T::ZERO; ROWS * 32];
    let mut i = 0;
    while i < m {
        let height = match m - i {
            8.. => 8,
            4..8 => 4,
            2..4 => 2,
            _ => 1,
        };
        let (a, a_steps) = if in_place {
            (&a.data[i * a.row..], (a.row, a.column))
        } else {
            let packed = room(rows, BLOCK.max(k) * ROWS);
            pack_rows(a.from_row(i), height, k, packed);
            (&*packed, (1, ROWS))
        };
        for p in 0..count {
            let width = T::PANEL.min(n - p * T::PANEL);
            let b = &panels[p * k * T::PANEL..];
            let whole = width == T::PANEL;
            let target = c.from(i * c.row + p * T::PANEL);
            let (first, step) = if whole { (target.first, c.row) } else { (edge.as_mut_ptr(), T::PANEL) };
            let (a, b) = (a.as_ptr(), b.as_ptr());
            let tile = Tile { k, a, a_steps, b, c: first, c_row: step, add: add && whole };
            // SAFETY: the asserts above: A holds rows i .. i + height and k columns (a packed panel has k
            // columns of ROWS), B k rows of PANEL elements from here, C `height` rows of PANEL elements, or
            // else `edge` has ROWS of them (PANEL is at most 32).
            unsafe { T::tile(isa, height, &tile) };
            if !whole {
                for (r, row) in edge.chunks_exact(T::PANEL).take(height).enumerate() {
                    // SAFETY: row i + r of C has this many elements more; they are ours, as the caller says.
                    let out = unsafe { target.from(r * c.row).slice(width) };
                    for (out, x) in out.iter_mut().zip(row) {
                        if add {
                            *out += *x;
                        } else {
                            *out = *x;
                        }
                    }
                }
            }
        }
        i += height;
    }
}

/// Interleaves a few rows of A: `k` columns of [`ROWS`].
fn pack_rows<T: Real>(a: Matrix<'_, T>, rows: usize, k: usize, out: &mut [T]) {
    let out = &mut out[..k * ROWS];
    if a.row == 1 {
        for (i, out) in out.chunks_exact_mut(ROWS).enumerate() {
            out[..rows].copy_from_slice(&a.data[i * a.column..][..rows]);
        }
        return;
    }
    if a.column == 1 && rows == ROWS {
        let row = |r: usize| &a.data[r * a.row..][..k];
        let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
        let (r4, r5, r6, r7) = (row(4), row(5), row(6), row(7));
        for (i, out) in out.chunks_exact_mut(ROWS).enumerate() {
            out.copy_from_slice(&[r0[i], r1[i], r2[i], r3[i], r4[i], r5[i], r6[i], r7[i]]);
        }
        return;
    }
    for r in 0..rows {
        for i in 0..k {
            out[i * ROWS + r] = a.data[r * a.row + i * a.column];
        }
    }
}

/// `C = A · B` for the columns `j0 .. j0 + n` of B, into `m` × `n` elements of C.
///
/// # Safety
/// As for [`multiply_block`].
pub(super) unsafe fn multiply<T: Real>(
    (m, k): (usize, usize),
    a: Matrix<'_, T>,
    b: &impl Columns<T>,
    (j0, n): (usize, usize),
    c: Target<T>,
    scratch: &mut Scratch<T>,
) {
    if k == 0 {
        // SAFETY: as the caller says.
        (0..m).for_each(|i| unsafe { c.from(i * c.row).slice(n) }.fill(T::ZERO));
    }
    for (left, width) in pieces(n, COLUMNS) {
        for (k0, depth) in pieces(k, BLOCK) {
            let packed = room(&mut scratch.panels, panels::<T>(width) * depth * T::PANEL);
            b.pack(k0, depth, j0 + left, width, packed);
            let a = Matrix { data: &a.data[k0 * a.column..], ..a };
            // SAFETY: as the caller says; these columns are among the `n`.
            unsafe { multiply_block((m, depth, width), a, packed, c.from(left), k0 > 0, &mut scratch.rows) };
        }
    }
}

/// Cuts `n` into pieces of `size` and a rest: (start, length).
pub(super) fn pieces(n: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).step_by(size.max(1)).map(move |start| (start, size.min(n - start)))
}

/// One of several products of the same size.
pub(super) struct Product<'a, T> {
    /// `m` × `k`.
    pub a: Matrix<'a, T>,
    /// `k` × `n`.
    pub b: Matrix<'a, T>,
}

/// Computes products of the same size, in parallel; C is `m` × `n` for each, one after the other.
pub(super) fn products<T: Real>((m, k, n): (usize, usize, usize), all: &[Product<'_, T>], c: &mut [T]) {
    assert!(c.len() >= all.len() * m * n);
    let (rows, columns) = split(m, n, all.len());
    type Task = (usize, (usize, usize), (usize, usize));
    let tasks: Vec<Task> = (0..all.len())
        .flat_map(|p| pieces(n, columns).flat_map(move |j| pieces(m, rows).map(move |i| (p, i, j))))
        .collect();
    let target = Target::new(c, n);
    let work = |scratch: &mut Scratch<T>, &(p, (i, height), (j, width)): &Task| {
        let Product { a, b } = &all[p];
        let c = target.from(p * m * n + i * n + j);
        // SAFETY: the tasks' rectangles of C are disjoint, and C is borrowed by this function.
        unsafe { multiply((height, k), a.from_row(i), b, (j, width), c, scratch) };
    };
    if tasks.len() == 1 || 2.0 * (m * n * all.len()) as f64 * k as f64 <= 1e5 {
        let mut scratch = Scratch::new();
        tasks.iter().for_each(|t| work(&mut scratch, t));
    } else {
        tasks.par_iter().for_each_init(Scratch::new, work);
    }
}

/// Rows and columns of a task: enough tasks for the threads, few enough that packing stays cheap.
fn split(m: usize, n: usize, products: usize) -> (usize, usize) {
    let threads = rayon::current_num_threads();
    if threads == 1 || products >= 4 * threads {
        return (m.max(1), n.max(1));
    }
    let wanted = (4 * threads).div_ceil(products.max(1));
    let mut columns = n.max(1);
    if n > 256 {
        columns = n.div_ceil(wanted.min(n / 128)).next_multiple_of(32).min(COLUMNS);
    }
    let rows_wanted = wanted.div_ceil(n.max(1).div_ceil(columns));
    let rows = m.max(1).div_ceil(rows_wanted).next_multiple_of(ROWS).max(MIN_ROWS.min(m.max(1)));
    (rows, columns)
}
