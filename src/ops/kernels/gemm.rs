//! Matrix products with one order of summation.
//!
//! `C = A · B`: the sum over `k` is cut into blocks of [`BLOCK`]; within a block each element is a chain of
//! fused multiply-adds from zero, and the blocks' sums are added in order. Nothing else (the other
//! dimensions, the position of the element, the number of threads) has a say in the result.
//!
//! The scheme is Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication": panels of B
//! are packed so that the innermost loop reads them in order, rows of A as well where they are used often.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::tile::{Isa, Operand, ROWS, Real, Tile};

/// Length of the partial sums: 32 channels of a 3×3 window. Constant: it is part of what a result is.
pub(super) const BLOCK: usize = 288;

/// Columns of B that are packed at once: with [`BLOCK`] rows, half of a second-level cache.
const COLUMNS: usize = 256;

/// Rows of A that are packed at once, where they are.
pub(super) const PACKED_ROWS: usize = 16 * ROWS;

/// Rows of A up to which a product with a transposed B is computed as its transpose.
const TURNED: usize = 32;

/// Rows below which splitting the rows of a product among threads does not pay for packing B again.
const MIN_ROWS: usize = 60;

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
    pub(super) fn at_row(self, row: usize) -> Self {
        Matrix { data: &self.data[(row * self.row).min(self.data.len())..], ..self }
    }

    /// Its transpose.
    fn turned(self) -> Self {
        Matrix { data: self.data, row: self.column, column: self.row }
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

    /// The same of memory that was never written. Until it is, [`Target::slice`] must not be called.
    pub(super) fn fresh(data: &mut [MaybeUninit<T>], row: usize) -> Self {
        Target { first: data.as_mut_ptr().cast(), len: data.len(), row }
    }

    /// Writes elements from the first on.
    ///
    /// # Safety
    /// The slice that this was made of is alive, and nothing else refers to these elements meanwhile.
    pub(super) unsafe fn copy(self, values: &[T])
    where
        T: Copy,
    {
        assert!(values.len() <= self.len);
        // SAFETY: within the slice; alive and not aliased, as the caller says.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.first, values.len()) }
    }

    /// Writes zero to `len` elements.
    ///
    /// # Safety
    /// As for [`Target::copy`].
    pub(super) unsafe fn clear(self, len: usize)
    where
        T: Real,
    {
        assert!(len <= self.len);
        for i in 0..len {
            // SAFETY: within the slice; alive and not aliased, as the caller says.
            unsafe { self.first.add(i).write(T::ZERO) }
        }
    }

    /// The same with that step between rows.
    pub(super) fn rows(self, row: usize) -> Self {
        Target { row, ..self }
    }

    /// Its elements.
    pub(super) fn len(self) -> usize {
        self.len
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

impl<T: Operand> Columns<T> for Matrix<'_, T> {
    fn pack(&self, k0: usize, k: usize, j0: usize, n: usize, panels: &mut [T]) {
        if self.column == 1 {
            // Row by row: rows may be pages apart.
            let whole = n / T::PANEL;
            for i in 0..k {
                let line = &self.data[(k0 + i) * self.row + j0..][..n];
                let (vectors, rest) = line.split_at(whole * T::PANEL);
                // Of a fixed length, so that each is a move of a register.
                for (p, vector) in vectors.chunks_exact(T::PANEL).enumerate() {
                    panels[(p * k + i) * T::PANEL..][..T::PANEL].copy_from_slice(vector);
                }
                if !rest.is_empty() {
                    panels[(whole * k + i) * T::PANEL..][..rest.len()].copy_from_slice(rest);
                }
            }
            return;
        }
        for (p, panel) in panels.chunks_exact_mut(k * T::PANEL).enumerate() {
            let first = j0 + p * T::PANEL;
            let width = T::PANEL.min((j0 + n).saturating_sub(first));
            transpose_into(
                self.data,
                (k0 * self.row + first * self.column, self.row, self.column),
                (k, width),
                panel,
            );
        }
    }
}

/// Writes a `k` × `width` part of a matrix (start, row step, column step) as a panel, in pieces that stay
/// in the first-level cache whichever step is the long one.
pub(super) fn transpose_into<T: Operand>(
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
pub(super) fn panels<T: Operand>(n: usize) -> usize {
    n.div_ceil(T::PANEL)
}

/// Memory that a task uses again and again.
pub(super) struct Scratch<T> {
    /// Packed panels of B.
    panels: Vec<T>,
    /// Packed rows of A.
    rows: Vec<T>,
    /// A product that is written elsewhere in another order.
    product: Vec<T>,
}

impl<T: Real> Scratch<T> {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Scratch { panels: Vec::new(), rows: Vec::new(), product: Vec::new() }
    }
}

/// At least `len` elements of a buffer, whatever they hold.
pub(super) fn room<T: Operand>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::ZERO);
    }
    &mut buffer[..len]
}

/// The matrix A of a block: `m` rows of `k` elements.
#[derive(Clone, Copy)]
pub(super) enum Left<'a, T> {
    /// Where they are, rows of neighbours.
    Rows(Matrix<'a, T>),
    /// As [`pack_left`] writes them.
    Packed(&'a [T]),
}

/// The matrix B of a block: `k` rows of `n` elements.
#[derive(Clone, Copy)]
pub(super) struct Right<'a, T> {
    data: &'a [T],
    /// Where each row lies and where each vector of columns does; without, they are panels.
    at: Option<(&'a [u32], &'a [u32])>,
}

impl<'a, T> Right<'a, T> {
    /// Packed panels.
    pub(super) fn panels(data: &'a [T]) -> Self {
        Right { data, at: None }
    }

    /// Row i of the columns of vector v begins at `rows[i] + vectors[v]`; vectors have [`Isa::lanes`] elements.
    pub(super) fn at(data: &'a [T], rows: &'a [u32], vectors: &'a [u32]) -> Self {
        Right { data, at: Some((rows, vectors)) }
    }
}

/// The heights of the tiles that `m` rows are cut into: (first row, height). No tile but the only one has
/// less than three rows, of which a core would compute two at the cost of four.
pub(super) fn tiles(m: usize) -> impl Iterator<Item = (usize, usize)> {
    let most = Isa::detect().rows();
    let mut i = 0;
    std::iter::from_fn(move || {
        let height = match m - i {
            0 => return None,
            left if left == most + 1 || left == most + 2 => left.div_ceil(2),
            left => left.min(most),
        };
        i += height;
        Some((i - height, height))
    })
}

/// Interleaves rows of A tile by tile: the tile from row `i` on is `k` columns of its height, at `i · k`.
/// Element (r, c) of A is `data[r * row + column(c)]`.
pub(super) fn pack_left<T: Operand>(
    data: &[T],
    row: usize,
    (m, k): (usize, usize),
    column: impl Fn(usize) -> usize + Copy,
    out: &mut [T],
) {
    #[inline(always)]
    fn of<T: Operand, const R: usize>(
        data: &[T],
        row: usize,
        column: impl Fn(usize) -> usize,
        out: &mut [T],
    ) {
        for (c, out) in out.chunks_exact_mut(R).enumerate() {
            let data = &data[column(c)..];
            for (r, out) in out.iter_mut().enumerate() {
                *out = data[r * row];
            }
        }
    }
    for (i, height) in tiles(m) {
        let (data, out) = (&data[i * row..], &mut out[i * k..(i + height) * k]);
        match height {
            12 => of::<T, 12>(data, row, column, out),
            11 => of::<T, 11>(data, row, column, out),
            10 => of::<T, 10>(data, row, column, out),
            9 => of::<T, 9>(data, row, column, out),
            8 => of::<T, 8>(data, row, column, out),
            7 => of::<T, 7>(data, row, column, out),
            6 => of::<T, 6>(data, row, column, out),
            5 => of::<T, 5>(data, row, column, out),
            4 => of::<T, 4>(data, row, column, out),
            3 => of::<T, 3>(data, row, column, out),
            2 => of::<T, 2>(data, row, column, out),
            _ => of::<T, 1>(data, row, column, out),
        }
    }
}

/// One block of `k`: adds `A · B` to the `m` × `n` elements of C or puts it there.
///
/// # Safety
/// The slice that `c` was made of is alive, and nobody else reads or writes these elements meanwhile.
pub(super) unsafe fn multiply_block<T: Operand>(
    (m, k, n): (usize, usize, usize),
    a: Left<'_, T>,
    b: Right<'_, T>,
    c: Target<T::Sum>,
    add: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    let isa = Isa::detect();
    let lanes = isa.lanes::<T>();
    let vectors = n.div_ceil(lanes);
    // Checked once here, so that the kernels need not.
    match a {
        Left::Rows(a) => assert!(a.holds(m, k)),
        Left::Packed(a) => assert!(a.len() >= m * k),
    }
    match b.at {
        None => assert!(b.data.len() >= panels::<T>(n) * k * T::PANEL),
        Some((rows, at)) => {
            assert!(rows.len() >= k && at.len() >= vectors);
            let largest = |x: &[u32]| x.iter().copied().max().unwrap_or(0) as usize;
            assert!(k == 0 || largest(&rows[..k]) + largest(&at[..vectors]) + lanes <= b.data.len());
        }
    }
    assert!((m - 1) * c.row + n <= c.len);
    let start = |v: usize| match b.at {
        None => v * lanes / T::PANEL * k * T::PANEL + v * lanes % T::PANEL,
        Some((_, at)) => at[v] as usize,
    };
    let b_rows = b.at.map_or(std::ptr::null(), |(rows, _)| rows.as_ptr());
    let mut edge = [T::Sum::ZERO; ROWS * 32];
    let mut tile = |(i, height): (usize, usize), v: usize| {
        let left = v * lanes;
        let width = (n - left).min(2 * lanes);
        let used = if width > lanes { 2 } else { 1 };
        let whole = width == used * lanes;
        let target = c.from(i * c.row + left);
        let (first, c_row) = if whole { (target.first, c.row) } else { (edge.as_mut_ptr(), 2 * lanes) };
        let (a, a_steps) = match a {
            Left::Rows(a) => (a.data[i * a.row..].as_ptr(), (a.row, a.column)),
            Left::Packed(a) => (a[i * k..].as_ptr(), (1, height)),
        };
        let b = [0, used - 1].map(|u| b.data[start(v + u).min(b.data.len())..].as_ptr());
        let b_step = T::PANEL;
        let tile =
            Tile { k, a, a_steps, b, b_rows, b_step, vectors: used, c: first, c_row, add: add && whole };
        // SAFETY: the asserts above: A holds rows i .. i + height and k columns, B k rows of each vector, C
        // `height` rows of `width` elements, or else `edge` has ROWS rows of two vectors (of 16 elements).
        unsafe { T::tile(isa, height, &tile) };
        if !whole {
            for (r, row) in edge.chunks_exact(2 * lanes).take(height).enumerate() {
                // SAFETY: row i + r of C has this many elements more; they are ours, as the caller says. What
                // is added to was written by the block before.
                unsafe {
                    let target = target.from(r * c.row);
                    match add {
                        true => target.slice(width).iter_mut().zip(row).for_each(|(out, x)| *out += *x),
                        false => target.copy(&row[..width]),
                    }
                }
            }
        }
    };
    match a {
        // The columns of a tile stay in the first-level cache, packed rows stream by.
        Left::Packed(_) => (0..vectors).step_by(2).for_each(|v| tiles(m).for_each(|rows| tile(rows, v))),
        // Rows that lie apart are better read once.
        Left::Rows(_) => tiles(m).for_each(|rows| (0..vectors).step_by(2).for_each(|v| tile(rows, v))),
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
        (0..m).for_each(|i| unsafe { c.from(i * c.row).clear(n) });
    }
    // Rows that are a large power of two apart get into each other's way in the caches.
    let in_place = a.column == 1 && (!a.row.is_multiple_of(512) || n <= 2 * T::PANEL);
    for (left, width) in pieces(n, COLUMNS) {
        for (k0, depth) in pieces(k, BLOCK) {
            let packed = room(&mut scratch.panels, panels::<T>(width) * depth * T::PANEL);
            b.pack(k0, depth, j0 + left, width, packed);
            let b = Right::panels(packed);
            let a = Matrix { data: &a.data[(k0 * a.column).min(a.data.len())..], ..a };
            let c = c.from(left);
            if in_place {
                // SAFETY: as the caller says; these columns are among the `n`.
                unsafe { multiply_block((m, depth, width), Left::Rows(a), b, c, k0 > 0) };
                continue;
            }
            for (i, height) in pieces(m, PACKED_ROWS) {
                let rows = room(&mut scratch.rows, height * depth);
                pack_left(a.at_row(i).data, a.row, (height, depth), |c| c * a.column, rows);
                let c = c.from(i * c.row);
                // SAFETY: as above; these rows are among the `m`.
                unsafe { multiply_block((height, depth, width), Left::Packed(rows), b, c, k0 > 0) };
            }
        }
    }
}

/// The same for few rows of A and a B whose columns are rows in memory: `Cᵀ = Bᵀ · Aᵀ`, so that B need not
/// be packed. The products are the same, and so is the order of their sums.
///
/// # Safety
/// As for [`multiply_block`].
unsafe fn multiply_turned<T: Real>(
    (m, k): (usize, usize),
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    (j0, n): (usize, usize),
    c: Target<T>,
    scratch: &mut Scratch<T>,
) {
    let Scratch { panels: panels_buffer, product, .. } = scratch;
    let product = room(product, n * m);
    if k == 0 {
        product.fill(T::ZERO);
    }
    let rows = b.turned().at_row(j0);
    for (k0, depth) in pieces(k, BLOCK) {
        let packed = room(panels_buffer, panels::<T>(m) * depth * T::PANEL);
        a.turned().pack(k0, depth, 0, m, packed);
        let rows = Matrix { data: &rows.data[k0.min(rows.data.len())..], ..rows };
        let target = Target::new(product, m);
        // SAFETY: `product` is borrowed here.
        unsafe {
            multiply_block((n, depth, m), Left::Rows(rows), Right::panels(packed), target, k0 > 0);
        }
    }
    for i in 0..m {
        for j in 0..n {
            // SAFETY: as the caller says.
            unsafe { c.from(i * c.row + j).copy(&product[j * m + i..][..1]) };
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

/// Computes products of the same size, in parallel; C is `m` × `n` for each, one after the other, and every
/// element is written.
pub(super) fn products<T: Real>(
    (m, k, n): (usize, usize, usize),
    all: &[Product<'_, T>],
    c: &mut [MaybeUninit<T>],
) {
    assert!(c.len() >= all.len() * m * n);
    let turned = m <= TURNED && m < n && all.iter().all(|p| p.b.row == 1 && p.b.column != 1);
    let (rows, columns) =
        if turned { (m.max(1), split_turned(n, all.len())) } else { split(m, n, all.len()) };
    type Task = (usize, (usize, usize), (usize, usize));
    let tasks: Vec<Task> = (0..all.len())
        .flat_map(|p| pieces(n, columns).flat_map(move |j| pieces(m, rows).map(move |i| (p, i, j))))
        .collect();
    let target = Target::fresh(c, n);
    let work = |scratch: &mut Scratch<T>, &(p, (i, height), (j, width)): &Task| {
        let Product { a, b } = &all[p];
        let c = target.from(p * m * n + i * n + j);
        // SAFETY: the tasks' rectangles of C are disjoint, and C is borrowed by this function.
        unsafe {
            match turned {
                true => multiply_turned((height, k), a.at_row(i), *b, (j, width), c, scratch),
                false => multiply((height, k), a.at_row(i), b, (j, width), c, scratch),
            }
        };
    };
    if tasks.len() == 1 || 2.0 * (m * n * all.len()) as f64 * k as f64 <= 1e5 {
        let mut scratch = Scratch::new();
        tasks.iter().for_each(|t| work(&mut scratch, t));
    } else {
        tasks.par_iter().for_each_init(Scratch::new, work);
    }
}

/// Columns of a task of a turned product.
fn split_turned(n: usize, products: usize) -> usize {
    let wanted = (4 * rayon::current_num_threads()).div_ceil(products.max(1));
    n.div_ceil(wanted).next_multiple_of(ROWS).max(8 * ROWS)
}

/// Rows and columns of a task: enough tasks for the threads, few enough that packing stays cheap.
pub(super) fn split(m: usize, n: usize, products: usize) -> (usize, usize) {
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
