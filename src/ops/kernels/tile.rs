//! The innermost step of a matrix product: a tile of a few rows × two vectors, in registers.
//!
//! Every element of the tile is its own chain of fused multiply-adds over `k`, in order. How many rows or
//! columns a tile has, where it lies and which instructions compute it changes nothing of that chain, so
//! that all instruction sets with fused multiply-add give the same bits. (x86 without FMA, before 2013,
//! rounds twice.)

use std::ops::{Add, AddAssign, Mul};

use super::gemm::{Columns, Matrix};

/// Rows of a tile at most, on any machine.
pub(super) const ROWS: usize = 12;

/// The operands of a tile.
pub(super) struct Tile<T: Operand> {
    /// Length of the sums.
    pub k: usize,
    /// Element (0, 0) of A.
    pub a: *const T,
    /// Step between rows of A, and between its columns. `(1, rows)` is the packed layout.
    pub a_steps: (usize, usize),
    /// The first elements of each vector of B.
    pub b: [*const T; 2],
    /// What is added to them for each row of B; if null, rows are `b_step` elements apart.
    pub b_rows: *const u32,
    /// Step between rows of B, if `b_rows` is null.
    pub b_step: usize,
    /// Vectors: 1 or 2.
    pub vectors: usize,
    /// Element (0, 0) of C.
    pub c: *mut T::Sum,
    /// Step between rows of C.
    pub c_row: usize,
    /// Whether the sums are added to C or replace it.
    pub add: bool,
}

/// Instruction sets with a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isa {
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler makes of it.
    Portable,
}

impl Isa {
    /// The best of this machine.
    pub(super) fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f") {
                return Isa::Avx512;
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                return Isa::Avx2;
            }
        }
        Isa::Portable
    }

    /// Rows of a tile at most. Two vectors of sums for each row, two vectors of B and one number of A are what the
    /// registers hold, sixteen or thirty-two, and more than the latency of a multiply-add asks for.
    pub(super) fn rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => ROWS,
            _ => ROWS / 2,
        }
    }

    /// Elements of a vector.
    pub(super) fn lanes<T: Operand>(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => T::PANEL,
            _ => T::PANEL / 2,
        }
    }
}

/// What products are made of: a number, or several of less precision that are multiplied and summed as one.
pub(super) trait Operand: Copy + Send + Sync + 'static {
    /// What the sums are, and what an operand is made of.
    type Sum: Real;
    /// Columns of a panel: one 512-bit vector or two of 256 bits.
    const PANEL: usize;
    /// 0.
    const ZERO: Self;
    /// Neighbours along the sum that one element holds.
    const DEPTH: usize;

    /// Makes a row of elements. `row(i, out)` writes row `i` (below [`Operand::DEPTH`]) of what they are made of.
    fn join(row: impl Fn(usize, &mut [Self::Sum]), buffer: &mut Vec<Self::Sum>, out: &mut [Self]);

    /// As [`Columns::pack`](super::gemm::Columns::pack), of a matrix of `rows` rows; `k0` and `k` count elements.
    fn pack(b: Matrix<'_, Self::Sum>, rows: usize, k: (usize, usize), j: (usize, usize), panels: &mut [Self]);

    /// Computes a tile of `rows` (1 to [`Isa::rows`]) × its vectors.
    ///
    /// # Safety
    /// `isa` is what [`Isa::detect`] found (or a lesser one); the operands of `tile` are readable for `rows`
    /// rows and `k` columns of A and `k` rows of each vector of B, and C is writable for `rows` rows of
    /// `vectors` vectors.
    unsafe fn tile(isa: Isa, rows: usize, tile: &Tile<Self>);
}

/// A real number with kernels.
pub(super) trait Real:
    Operand<Sum = Self> + PartialOrd + AddAssign + Add<Output = Self> + Mul<Output = Self>
{
    /// The number nearest to an f64.
    fn nearest(value: f64) -> Self;

    /// `a * b + c`, fused where the machine does that.
    fn multiply_add(a: Self, b: Self, c: Self) -> Self;

    /// `a * b + c` with one rounding: one instruction where this is compiled for a machine with it.
    fn fused(a: Self, b: Self, c: Self) -> Self;
}

/// Chooses the kernel for a number of rows and vectors and for the layouts of A and B.
macro_rules! choose {
    ($kernel:ident, $rows:expr, $tile:expr, 12) => {
        match $rows {
            12 => $crate::ops::kernels::tile::choose!($kernel, 12, $tile, rows),
            11 => $crate::ops::kernels::tile::choose!($kernel, 11, $tile, rows),
            10 => $crate::ops::kernels::tile::choose!($kernel, 10, $tile, rows),
            9 => $crate::ops::kernels::tile::choose!($kernel, 9, $tile, rows),
            8 => $crate::ops::kernels::tile::choose!($kernel, 8, $tile, rows),
            7 => $crate::ops::kernels::tile::choose!($kernel, 7, $tile, rows),
            rows => $crate::ops::kernels::tile::choose!($kernel, rows, $tile, 6),
        }
    };
    ($kernel:ident, $rows:expr, $tile:expr, 6) => {
        match $rows {
            6 => $crate::ops::kernels::tile::choose!($kernel, 6, $tile, rows),
            5 => $crate::ops::kernels::tile::choose!($kernel, 5, $tile, rows),
            4 => $crate::ops::kernels::tile::choose!($kernel, 4, $tile, rows),
            3 => $crate::ops::kernels::tile::choose!($kernel, 3, $tile, rows),
            2 => $crate::ops::kernels::tile::choose!($kernel, 2, $tile, rows),
            _ => $crate::ops::kernels::tile::choose!($kernel, 1, $tile, rows),
        }
    };
    ($kernel:ident, $rows:literal, $tile:expr, rows) => {
        match ($tile.vectors, $tile.a_steps == (1, $rows), $tile.b_rows.is_null()) {
            (2, true, true) => $kernel::<$rows, 2, true, true>($tile),
            (2, true, false) => $kernel::<$rows, 2, true, false>($tile),
            (2, false, true) => $kernel::<$rows, 2, false, true>($tile),
            (2, false, false) => $kernel::<$rows, 2, false, false>($tile),
            (_, true, true) => $kernel::<$rows, 1, true, true>($tile),
            (_, true, false) => $kernel::<$rows, 1, true, false>($tile),
            (_, false, true) => $kernel::<$rows, 1, false, true>($tile),
            (_, false, false) => $kernel::<$rows, 1, false, false>($tile),
        }
    };
}

/// A kernel of `R` rows and `V` vectors of one instruction set: sums that begin with `zero`, are loaded, stored and added,
/// and operands, loaded as vectors and one in all lanes, that `fma` multiplies and adds.
#[cfg(target_arch = "x86_64")]
macro_rules! kernel {
    ($name:ident, $all:ident, $t:ty, $features:literal, $lanes:literal, $rows:tt,
     ($zero:path, $load:path, $store:path, $add:path),
     ($none:path, $vector:path, $splat:path, $fma:path)) => {
        #[target_feature(enable = $features)]
        #[allow(clippy::needless_range_loop)] // Constant bounds, so that the arrays become registers.
        unsafe fn $name<const R: usize, const V: usize, const PACKED: bool, const PANELS: bool>(
            tile: &Tile<$t>,
        ) {
            let (row, column) = if PACKED { (1, R) } else { tile.a_steps };
            let mut sums = [[$zero(); V]; R];
            // SAFETY: the caller says that A has R rows and k columns at these steps, that each vector of B
            // has k rows, and C R rows of V vectors.
            unsafe {
                let (mut a, mut b, mut rows) = (tile.a, tile.b, tile.b_rows);
                for _ in 0..tile.k {
                    let at = if PANELS { 0 } else { *rows as usize };
                    let mut bs = [$none(); V];
                    for v in 0..V {
                        bs[v] = $vector(b[v].add(at));
                    }
                    for r in 0..R {
                        let x = $splat(*a.add(r * row));
                        for v in 0..V {
                            sums[r][v] = $fma(x, bs[v], sums[r][v]);
                        }
                    }
                    a = a.wrapping_add(column);
                    if PANELS {
                        for v in 0..V {
                            b[v] = b[v].wrapping_add(tile.b_step);
                        }
                    } else {
                        rows = rows.wrapping_add(1);
                    }
                }
                for r in 0..R {
                    for v in 0..V {
                        let c = tile.c.add(r * tile.c_row + v * $lanes);
                        let sum = if tile.add { $add($load(c), sums[r][v]) } else { sums[r][v] };
                        $store(c, sum);
                    }
                }
            }
        }

        /// # Safety
        /// The machine has these features; the rest as [`Real::tile`] says.
        pub(super) unsafe fn $all(rows: usize, tile: &Tile<$t>) {
            // SAFETY: passed on to the caller.
            unsafe { $crate::ops::kernels::tile::choose!($name, rows, tile, $rows) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Tile;
    use std::arch::x86_64::*;

    kernel!(
        avx512_f32,
        tile_avx512_f32,
        f32,
        "avx512f",
        16,
        12,
        (_mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps),
        (_mm512_setzero_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_fmadd_ps)
    );
    kernel!(
        avx512_f64,
        tile_avx512_f64,
        f64,
        "avx512f",
        8,
        12,
        (_mm512_setzero_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_add_pd),
        (_mm512_setzero_pd, _mm512_loadu_pd, _mm512_set1_pd, _mm512_fmadd_pd)
    );
    kernel!(
        avx2_f32,
        tile_avx2_f32,
        f32,
        "avx2,fma",
        8,
        6,
        (_mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps),
        (_mm256_setzero_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_fmadd_ps)
    );
    kernel!(
        avx2_f64,
        tile_avx2_f64,
        f64,
        "avx2,fma",
        4,
        6,
        (_mm256_setzero_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_add_pd),
        (_mm256_setzero_pd, _mm256_loadu_pd, _mm256_set1_pd, _mm256_fmadd_pd)
    );
}

/// Any machine: one row and one vector at a time, in vectors of the compiler's choice.
///
/// # Safety
/// As [`Real::tile`] says.
unsafe fn portable<T: Real, const LANES: usize>(rows: usize, tile: &Tile<T>) {
    for (r, v) in (0..rows).flat_map(|r| (0..tile.vectors).map(move |v| (r, v))) {
        let mut sums = [T::ZERO; LANES];
        // SAFETY: the caller says that A has `rows` rows and k columns, B k rows of each vector, and C `rows`
        // rows of `vectors` vectors.
        unsafe {
            for k in 0..tile.k {
                let x = *tile.a.add(r * tile.a_steps.0 + k * tile.a_steps.1);
                let at = if tile.b_rows.is_null() { k * tile.b_step } else { *tile.b_rows.add(k) as usize };
                let b = &*tile.b[v].add(at).cast::<[T; LANES]>();
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = T::multiply_add(x, *b, *sum);
                }
            }
            let c = &mut *tile.c.add(r * tile.c_row + v * LANES).cast::<[T; LANES]>();
            for (c, sum) in c.iter_mut().zip(sums) {
                if tile.add {
                    *c += sum;
                } else {
                    *c = sum;
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use {choose, kernel};

/// Whether `mul_add` is an instruction of the target rather than a call.
const FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

macro_rules! real {
    ($t:ty, $panel:literal, $avx512:ident, $avx2:ident) => {
        impl Operand for $t {
            type Sum = Self;
            const PANEL: usize = $panel;
            const ZERO: Self = 0.0;
            const DEPTH: usize = 1;

            #[inline(always)]
            fn join(row: impl Fn(usize, &mut [Self]), _buffer: &mut Vec<Self>, out: &mut [Self]) {
                row(0, out);
            }

            #[inline(always)]
            fn pack(
                b: Matrix<'_, Self>,
                _rows: usize,
                (k0, k): (usize, usize),
                (j0, n): (usize, usize),
                panels: &mut [Self],
            ) {
                Columns::pack(&b, k0, k, j0, n, panels);
            }

            unsafe fn tile(isa: Isa, rows: usize, tile: &Tile<Self>) {
                // SAFETY: passed on to the caller.
                unsafe {
                    match isa {
                        #[cfg(target_arch = "x86_64")]
                        Isa::Avx512 => x86::$avx512(rows, tile),
                        #[cfg(target_arch = "x86_64")]
                        Isa::Avx2 => x86::$avx2(rows, tile),
                        Isa::Portable => portable::<$t, { $panel / 2 }>(rows, tile),
                    }
                }
            }
        }

        impl Real for $t {
            fn nearest(value: f64) -> Self {
                value as $t
            }

            #[inline(always)]
            fn multiply_add(a: Self, b: Self, c: Self) -> Self {
                if FUSED { a.mul_add(b, c) } else { a * b + c }
            }

            #[inline(always)]
            fn fused(a: Self, b: Self, c: Self) -> Self {
                a.mul_add(b, c)
            }
        }
    };
}

real!(f32, 16, tile_avx512_f32, tile_avx2_f32);
real!(f64, 8, tile_avx512_f64, tile_avx2_f64);
