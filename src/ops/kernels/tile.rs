//! The innermost step of a matrix product: a tile of [`ROWS`] × `PANEL` elements, in registers.
//!
//! Every element of the tile is its own chain of fused multiply-adds over `k`, in order. How many rows or
//! columns a tile has, where it lies and which instructions compute it changes nothing of that chain, so
//! that all instruction sets with fused multiply-add give the same bits. (x86 without FMA, before 2013,
//! rounds twice.)

use std::ops::{Add, AddAssign, Mul};

/// Rows of a tile.
pub(super) const ROWS: usize = 8;

/// The operands of a tile.
pub(super) struct Tile<T> {
    /// Length of the sums.
    pub k: usize,
    /// Element (0, 0) of A.
    pub a: *const T,
    /// Step between rows of A, and between its columns. `(1, ROWS)` is the packed layout.
    pub a_steps: (usize, usize),
    /// A panel of B: `k` rows of `T::PANEL` elements.
    pub b: *const T,
    /// Element (0, 0) of C.
    pub c: *mut T,
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
}

/// A real number with kernels.
pub(super) trait Real:
    Copy + Send + Sync + PartialOrd + AddAssign + Add<Output = Self> + Mul<Output = Self> + 'static
{
    /// Columns of a panel: two 512-bit vectors.
    const PANEL: usize;
    /// 0.
    const ZERO: Self;

    /// The number nearest to an f64.
    fn nearest(value: f64) -> Self;

    /// `a * b + c`, fused where the machine does that.
    fn multiply_add(a: Self, b: Self, c: Self) -> Self;

    /// Computes a tile of `rows` (1, 2, 4 or 8) × `PANEL` elements.
    ///
    /// # Safety
    /// `isa` is what [`Isa::detect`] found (or a lesser one); the operands of `tile` are readable for `rows`
    /// rows and `k` columns of A and `k` rows of B, and C is writable for `rows` rows of `PANEL` elements.
    unsafe fn tile(isa: Isa, rows: usize, tile: &Tile<Self>);
}

/// Calls a kernel with constant numbers of rows.
macro_rules! by_rows {
    ($kernel:ident, $rows:expr, $tile:expr) => {
        match ($rows, $tile.a_steps == (1, ROWS)) {
            (8, true) => $kernel::<8, true>($tile),
            (8, false) => $kernel::<8, false>($tile),
            (4, true) => $kernel::<4, true>($tile),
            (4, false) => $kernel::<4, false>($tile),
            (2, true) => $kernel::<2, true>($tile),
            (2, false) => $kernel::<2, false>($tile),
            (_, true) => $kernel::<1, true>($tile),
            (_, false) => $kernel::<1, false>($tile),
        }
    };
}

/// A kernel of `R` rows over vectors of one instruction set; `V` vectors at a time.
#[cfg(target_arch = "x86_64")]
macro_rules! kernel {
    ($name:ident, $t:ty, $features:literal, $lanes:literal, $at_once:literal,
     $zero:ident, $load:ident, $store:ident, $splat:ident, $fma:ident, $add:ident) => {
        #[target_feature(enable = $features)]
        unsafe fn $name<const R: usize, const PACKED: bool>(tile: &Tile<$t>) {
            const PANEL: usize = <$t as Real>::PANEL;
            let (row, column) = if PACKED { (1, ROWS) } else { tile.a_steps };
            for left in (0..PANEL).step_by($at_once * $lanes) {
                let mut sums = [[$zero(); $at_once]; R];
                // SAFETY: the caller says that A has R rows and k columns at these steps, that B has k rows of
                // PANEL elements, and C R rows of PANEL elements; left + at_once * lanes <= PANEL.
                unsafe {
                    let (mut a, mut b) = (tile.a, tile.b.add(left));
                    for _ in 0..tile.k {
                        let mut bs = [$zero(); $at_once];
                        for v in 0..$at_once {
                            bs[v] = $load(b.add(v * $lanes));
                        }
                        for r in 0..R {
                            let x = $splat(*a.add(r * row));
                            for v in 0..$at_once {
                                sums[r][v] = $fma(x, bs[v], sums[r][v]);
                            }
                        }
                        a = a.wrapping_add(column);
                        b = b.wrapping_add(PANEL);
                    }
                    for r in 0..R {
                        for v in 0..$at_once {
                            let c = tile.c.add(r * tile.c_row + left + v * $lanes);
                            let sum = if tile.add { $add($load(c), sums[r][v]) } else { sums[r][v] };
                            $store(c, sum);
                        }
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::needless_range_loop)] // Constant bounds, so that the arrays become registers.
mod x86 {
    use super::{ROWS, Real, Tile};
    use std::arch::x86_64::*;

    kernel!(
        avx512_f32,
        f32,
        "avx512f",
        16,
        2,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps
    );
    kernel!(
        avx512_f64,
        f64,
        "avx512f",
        8,
        2,
        _mm512_setzero_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_set1_pd,
        _mm512_fmadd_pd,
        _mm512_add_pd
    );
    kernel!(
        avx2_f32,
        f32,
        "avx2,fma",
        8,
        2,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps
    );
    kernel!(
        avx2_f64,
        f64,
        "avx2,fma",
        4,
        2,
        _mm256_setzero_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_set1_pd,
        _mm256_fmadd_pd,
        _mm256_add_pd
    );

    /// # Safety
    /// AVX-512F is there; the rest as [`Real::tile`] says.
    pub(super) unsafe fn tile_avx512_f32(rows: usize, tile: &Tile<f32>) {
        // SAFETY: passed on to the caller.
        unsafe { by_rows!(avx512_f32, rows, tile) }
    }

    /// # Safety
    /// AVX-512F is there; the rest as [`Real::tile`] says.
    pub(super) unsafe fn tile_avx512_f64(rows: usize, tile: &Tile<f64>) {
        // SAFETY: passed on to the caller.
        unsafe { by_rows!(avx512_f64, rows, tile) }
    }

    /// Eight rows of two vectors do not fit sixteen registers: two tiles of four.
    macro_rules! halves {
        ($kernel:ident, $rows:expr, $tile:expr) => {
            match $rows {
                8 => {
                    by_rows!($kernel, 4, $tile);
                    let lower = Tile {
                        a: $tile.a.wrapping_add(4 * $tile.a_steps.0),
                        c: $tile.c.wrapping_add(4 * $tile.c_row),
                        ..*$tile
                    };
                    by_rows!($kernel, 4, &lower)
                }
                rows => by_rows!($kernel, rows, $tile),
            }
        };
    }

    /// # Safety
    /// AVX2 and FMA are there; the rest as [`Real::tile`] says.
    pub(super) unsafe fn tile_avx2_f32(rows: usize, tile: &Tile<f32>) {
        // SAFETY: passed on to the caller; the lower half lies within the tile.
        unsafe { halves!(avx2_f32, rows, tile) }
    }

    /// # Safety
    /// AVX2 and FMA are there; the rest as [`Real::tile`] says.
    pub(super) unsafe fn tile_avx2_f64(rows: usize, tile: &Tile<f64>) {
        // SAFETY: passed on to the caller; the lower half lies within the tile.
        unsafe { halves!(avx2_f64, rows, tile) }
    }
}

/// Any machine: one row at a time, in vectors of the compiler's choice.
///
/// # Safety
/// As [`Real::tile`] says.
unsafe fn portable<T: Real, const PANEL: usize>(rows: usize, tile: &Tile<T>) {
    for r in 0..rows {
        let mut sums = [T::ZERO; PANEL];
        // SAFETY: the caller says that A has `rows` rows and k columns, B k rows of PANEL elements, and C
        // `rows` rows of PANEL elements.
        unsafe {
            for k in 0..tile.k {
                let x = *tile.a.add(r * tile.a_steps.0 + k * tile.a_steps.1);
                let b = &*tile.b.add(k * PANEL).cast::<[T; PANEL]>();
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = T::multiply_add(x, *b, *sum);
                }
            }
            let c = &mut *tile.c.add(r * tile.c_row).cast::<[T; PANEL]>();
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

/// Whether `mul_add` is an instruction of the target rather than a call.
const FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

macro_rules! real {
    ($t:ty, $panel:literal, $avx512:ident, $avx2:ident) => {
        impl Real for $t {
            const PANEL: usize = $panel;
            const ZERO: Self = 0.0;

            fn nearest(value: f64) -> Self {
                value as $t
            }

            #[inline(always)]
            fn multiply_add(a: Self, b: Self, c: Self) -> Self {
                if FUSED { a.mul_add(b, c) } else { a * b + c }
            }

            unsafe fn tile(isa: Isa, rows: usize, tile: &Tile<Self>) {
                // SAFETY: passed on to the caller.
                unsafe {
                    match isa {
                        #[cfg(target_arch = "x86_64")]
                        Isa::Avx512 => x86::$avx512(rows, tile),
                        #[cfg(target_arch = "x86_64")]
                        Isa::Avx2 => x86::$avx2(rows, tile),
                        Isa::Portable => portable::<$t, $panel>(rows, tile),
                    }
                }
            }
        }
    };
}

real!(f32, 32, tile_avx512_f32, tile_avx2_f32);
real!(f64, 16, tile_avx512_f64, tile_avx2_f64);
