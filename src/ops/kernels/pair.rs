//! Pairs of bf16: what products of reduced precision multiply. An element holds two neighbours along the sum, so that
//! everything that moves elements about serves them too, and a product of depth `k` has `k / 2` elements.
//!
//! Numbers are rounded to the nearest, ties to even; products are exact in f32, and are summed in f32. AVX-512-BF16 adds
//! both products of a pair in one instruction, which takes subnormal numbers for zero; elsewhere they are two fused
//! multiply-adds.

use half::bf16;

use super::attention::widest;
use super::gemm::{Matrix, pieces};
use super::tile::{Isa, Operand, Tile};

/// Two neighbours along the sum. Aligned as one, so that a tensor of bf16 is a row of pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(super) struct Pair([bf16; 2]);

/// Whether the machine has instructions for [`Pair`]s.
pub(super) fn native() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        Isa::detect() == Isa::Avx512 && std::is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

impl Pair {
    /// Both, rounded.
    pub(super) fn new(first: f32, second: f32) -> Self {
        Pair([bf16::from_bits(rounded(first)), bf16::from_bits(rounded(second))])
    }

    /// The pairs that a tensor of an even number of elements holds.
    pub(super) fn of(data: &[bf16]) -> &[Pair] {
        // SAFETY: a pair is two elements, of their alignment, and any bits are one.
        unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), data.len() / 2) }
    }

    /// The elements of pairs.
    pub(super) fn parts(pairs: Vec<Pair>) -> Vec<bf16> {
        pairs.into_iter().flat_map(|p| p.0).collect()
    }

    fn widened(self) -> [f32; 2] {
        self.0.map(f32::from)
    }
}

/// The bits of the nearest bf16, ties to even. In a form that the compiler makes vectors of.
#[inline(always)]
fn rounded(x: f32) -> u16 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // Rounding up must not make an infinity of a NaN.
    let quiet = bits | 0x0040_0000;
    ((if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { nearest }) >> 16) as u16
}

/// The pairs of two rows.
pub(super) fn join(first: &[f32], second: &[f32], out: &mut [Pair]) {
    widest(
        #[inline(always)]
        |_| {
            for ((out, a), b) in out.iter_mut().zip(first).zip(second) {
                *out = Pair::new(*a, *b);
            }
        },
    );
}

/// The pairs that neighbours of a row make; a last one has zero beside it.
pub(super) fn neighbours(row: &[f32], out: &mut [Pair]) {
    widest(
        #[inline(always)]
        |_| {
            let (both, last) = row.as_chunks::<2>();
            for (out, [a, b]) in out.iter_mut().zip(both) {
                *out = Pair::new(*a, *b);
            }
            if let ([x], Some(out)) = (last, out.get_mut(both.len())) {
                *out = Pair::new(*x, 0.0);
            }
        },
    );
}

impl Operand for Pair {
    type Sum = f32;
    const PANEL: usize = 16;
    const ZERO: Self = Pair([bf16::ZERO; 2]);
    const DEPTH: usize = 2;

    fn join(row: impl Fn(usize, &mut [f32]), buffer: &mut Vec<f32>, out: &mut [Self]) {
        buffer.resize(2 * out.len(), 0.0);
        let (first, second) = buffer.split_at_mut(out.len());
        row(0, first);
        row(1, second);
        join(first, second, out);
    }

    fn pack(
        b: Matrix<'_, f32>,
        rows: usize,
        (k0, k): (usize, usize),
        (j0, n): (usize, usize),
        panels: &mut [Self],
    ) {
        assert!(b.column == 1, "pairs are packed from rows");
        let zero = vec![0.0; n];
        for i in 0..k {
            let line = |row: usize| match row < rows {
                true => &b.data[row * b.row + j0..][..n],
                false => &zero,
            };
            let (first, second) = (line(2 * (k0 + i)), line(2 * (k0 + i) + 1));
            widest(
                #[inline(always)]
                |_| {
                    for (p, (at, width)) in pieces(n, Self::PANEL).enumerate() {
                        let out = &mut panels[(p * k + i) * Self::PANEL..][..width];
                        for ((out, a), b) in out.iter_mut().zip(&first[at..]).zip(&second[at..]) {
                            *out = Pair::new(*a, *b);
                        }
                    }
                },
            );
        }
    }

    unsafe fn tile(isa: Isa, rows: usize, tile: &Tile<Self>) {
        // SAFETY: passed on to the caller; `native` says whether the instructions are there.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 if native() => x86::tile_bf16(rows, tile),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => x86::tile_avx512(rows, tile),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => x86::tile_avx2(rows, tile),
                Isa::Portable => portable(rows, tile),
            }
        }
    }
}

/// Any machine.
///
/// # Safety
/// As [`Operand::tile`] says.
unsafe fn portable(rows: usize, tile: &Tile<Pair>) {
    const LANES: usize = Pair::PANEL / 2;
    for (r, v) in (0..rows).flat_map(|r| (0..tile.vectors).map(move |v| (r, v))) {
        let mut sums = [0f32; LANES];
        // SAFETY: the caller says that A has `rows` rows and k columns, B k rows of each vector, and C `rows`
        // rows of `vectors` vectors.
        unsafe {
            for k in 0..tile.k {
                let [x, y] = (*tile.a.add(r * tile.a_steps.0 + k * tile.a_steps.1)).widened();
                let at = if tile.b_rows.is_null() { k * tile.b_step } else { *tile.b_rows.add(k) as usize };
                let b = &*tile.b[v].add(at).cast::<[Pair; LANES]>();
                for (sum, b) in sums.iter_mut().zip(b) {
                    let [p, q] = b.widened();
                    // Exact products, so that these are fused multiply-adds.
                    *sum = x * p + (y * q + *sum);
                }
            }
            let c = &mut *tile.c.add(r * tile.c_row + v * LANES).cast::<[f32; LANES]>();
            for (c, sum) in c.iter_mut().zip(sums) {
                *c = if tile.add { *c + sum } else { sum };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Pair;
    use crate::ops::kernels::tile::{Tile, kernel};
    use std::arch::x86_64::*;

    /// The bits of a pair.
    #[inline(always)]
    fn bits(pair: Pair) -> i32 {
        let [a, b] = pair.0.map(half::bf16::to_bits);
        (u32::from(a) | u32::from(b) << 16).cast_signed()
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn vector_512(from: *const Pair) -> __m512i {
        // SAFETY: 16 pairs are there, as the caller says.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[target_feature(enable = "avx512f")]
    fn splat_512(pair: Pair) -> __m512i {
        _mm512_set1_epi32(bits(pair))
    }

    /// Both products, one after the other.
    #[target_feature(enable = "avx512f")]
    fn two_512(a: __m512i, b: __m512i, sum: __m512) -> __m512 {
        let high =
            |x| _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(0xffff_0000_u32.cast_signed())));
        let low = |x| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(x));
        _mm512_fmadd_ps(low(a), low(b), _mm512_fmadd_ps(high(a), high(b), sum))
    }

    /// Both products in one instruction.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn pair_512(a: __m512i, b: __m512i, sum: __m512) -> __m512 {
        // SAFETY: 512 bits are 512 bits.
        let of = |x: __m512i| unsafe { std::mem::transmute::<__m512i, __m512bh>(x) };
        _mm512_dpbf16_ps(sum, of(a), of(b))
    }

    #[target_feature(enable = "avx2")]
    unsafe fn vector_256(from: *const Pair) -> __m256i {
        // SAFETY: 8 pairs are there, as the caller says.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[target_feature(enable = "avx2")]
    fn splat_256(pair: Pair) -> __m256i {
        _mm256_set1_epi32(bits(pair))
    }

    #[target_feature(enable = "avx2,fma")]
    fn two_256(a: __m256i, b: __m256i, sum: __m256) -> __m256 {
        let high =
            |x| _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(0xffff_0000_u32.cast_signed())));
        let low = |x| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x));
        _mm256_fmadd_ps(low(a), low(b), _mm256_fmadd_ps(high(a), high(b), sum))
    }

    kernel!(
        bf16,
        tile_bf16,
        Pair,
        "avx512f,avx512bf16",
        16,
        12,
        (_mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps),
        (_mm512_setzero_si512, vector_512, splat_512, pair_512)
    );
    kernel!(
        avx512,
        tile_avx512,
        Pair,
        "avx512f",
        16,
        12,
        (_mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps),
        (_mm512_setzero_si512, vector_512, splat_512, two_512)
    );
    kernel!(
        avx2,
        tile_avx2,
        Pair,
        "avx2,fma",
        8,
        6,
        (_mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps),
        (_mm256_setzero_si256, vector_256, splat_256, two_256)
    );
}
