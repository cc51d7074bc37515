//! Eight f32 that are added and multiplied together, for transforms of a fixed size.

/// Their number.
pub(super) const WIDTH: usize = 8;

/// Eight numbers.
pub(super) trait Lanes: Copy {
    /// One number eight times.
    fn splat(x: f32) -> Self;
    /// The first eight of a slice.
    fn load(from: &[f32]) -> Self;
    /// Into the first eight of a slice.
    fn store(self, to: &mut [f32]);
    /// `self + b`.
    fn add(self, b: Self) -> Self;
    /// `self - b`.
    fn sub(self, b: Self) -> Self;
    /// `self · b`.
    fn mul(self, b: Self) -> Self;
    /// Element `i` of every four, from two rows of sixteen: `[i][4 · r + t] = from[r][4 · t + i]`.
    fn apart(from: [&[f32]; 2]) -> [Self; 4];
    /// The opposite, with one row after the other: `to[4 · t + i] = x[i][t]`.
    fn woven(x: [Self; 4], to: &mut [f32; 4 * WIDTH]);
}

impl Lanes for [f32; WIDTH] {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        [x; WIDTH]
    }
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        std::array::from_fn(|i| from[i])
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        to[..WIDTH].copy_from_slice(&self);
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] * b[i])
    }
    #[inline(always)]
    fn apart(from: [&[f32]; 2]) -> [Self; 4] {
        std::array::from_fn(|i| std::array::from_fn(|t| from[t / 4][t % 4 * 4 + i]))
    }
    #[inline(always)]
    fn woven(x: [Self; 4], to: &mut [f32; 4 * WIDTH]) {
        for (t, to) in to.chunks_exact_mut(4).enumerate() {
            to.copy_from_slice(&[x[0][t], x[1][t], x[2][t], x[3][t]]);
        }
    }
}

/// One register of AVX. Exists only where the machine has it: [`with_lanes`] says so.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx(std::arch::x86_64::__m256);

#[cfg(target_arch = "x86_64")]
mod avx {
    use super::{Avx, Lanes, WIDTH};
    use std::arch::x86_64::*;

    impl Lanes for Avx {
        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: the type is used where AVX is there.
            Avx(unsafe { _mm256_set1_ps(x) })
        }
        #[inline(always)]
        fn load(from: &[f32]) -> Self {
            let from = &from[..WIDTH];
            // SAFETY: eight elements; the type is used where AVX is there.
            Avx(unsafe { _mm256_loadu_ps(from.as_ptr()) })
        }
        #[inline(always)]
        fn store(self, to: &mut [f32]) {
            let to = &mut to[..WIDTH];
            // SAFETY: eight elements; the type is used where AVX is there.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        fn add(self, b: Self) -> Self {
            // SAFETY: the type is used where AVX is there.
            Avx(unsafe { _mm256_add_ps(self.0, b.0) })
        }
        #[inline(always)]
        fn sub(self, b: Self) -> Self {
            // SAFETY: the type is used where AVX is there.
            Avx(unsafe { _mm256_sub_ps(self.0, b.0) })
        }
        #[inline(always)]
        fn mul(self, b: Self) -> Self {
            // SAFETY: the type is used where AVX is there.
            Avx(unsafe { _mm256_mul_ps(self.0, b.0) })
        }
        #[inline(always)]
        fn apart(from: [&[f32]; 2]) -> [Self; 4] {
            // No closures but inlined ones: others would be compiled without the instructions.
            let (a, b) = (Avx::load(from[0]), Avx::load(&from[0][WIDTH..]));
            let (c, d) = (Avx::load(from[1]), Avx::load(&from[1][WIDTH..]));
            // SAFETY: the type is used where AVX is there.
            unsafe {
                // Two elements of four from each vector, those of the second row above those of the first.
                let t = transposed([
                    _mm256_permute2f128_ps::<0x20>(a.0, c.0),
                    _mm256_permute2f128_ps::<0x31>(a.0, c.0),
                    _mm256_permute2f128_ps::<0x20>(b.0, d.0),
                    _mm256_permute2f128_ps::<0x31>(b.0, d.0),
                ]);
                [Avx(t[0]), Avx(t[1]), Avx(t[2]), Avx(t[3])]
            }
        }
        #[inline(always)]
        fn woven(x: [Self; 4], to: &mut [f32; 4 * WIDTH]) {
            // SAFETY: the type is used where AVX is there.
            unsafe {
                let t = transposed([x[0].0, x[1].0, x[2].0, x[3].0]);
                Avx(_mm256_permute2f128_ps::<0x20>(t[0], t[1])).store(to);
                Avx(_mm256_permute2f128_ps::<0x20>(t[2], t[3])).store(&mut to[WIDTH..]);
                Avx(_mm256_permute2f128_ps::<0x31>(t[0], t[1])).store(&mut to[2 * WIDTH..]);
                Avx(_mm256_permute2f128_ps::<0x31>(t[2], t[3])).store(&mut to[3 * WIDTH..]);
            }
        }
    }

    /// Transposes the lower and the upper halves, each 4 × 4.
    ///
    /// # Safety
    /// The machine has AVX.
    #[inline(always)]
    unsafe fn transposed(t: [__m256; 4]) -> [__m256; 4] {
        // SAFETY: as the caller says.
        unsafe {
            let (a, b) = (_mm256_unpacklo_ps(t[0], t[1]), _mm256_unpackhi_ps(t[0], t[1]));
            let (c, d) = (_mm256_unpacklo_ps(t[2], t[3]), _mm256_unpackhi_ps(t[2], t[3]));
            [
                _mm256_shuffle_ps::<0x44>(a, c),
                _mm256_shuffle_ps::<0xEE>(a, c),
                _mm256_shuffle_ps::<0x44>(b, d),
                _mm256_shuffle_ps::<0xEE>(b, d),
            ]
        }
    }
}

/// Runs `$body` with `$L` as the type of the machine's lanes, compiled for its instructions.
#[cfg(target_arch = "x86_64")]
macro_rules! with_lanes {
    ($L:ident => $body:block) => {
        if super::tile::Isa::detect() != super::tile::Isa::Portable {
            type $L = super::lanes::Avx;
            // SAFETY: every instruction set but the portable one has AVX2.
            unsafe {
                super::lanes::compiled_for_avx2(
                    #[inline(always)]
                    || $body,
                )
            }
        } else {
            type $L = [f32; super::lanes::WIDTH];
            $body
        }
    };
}

/// Runs `$body` with `$L` as the type of the machine's lanes.
#[cfg(not(target_arch = "x86_64"))]
macro_rules! with_lanes {
    ($L:ident => $body:block) => {{
        type $L = [f32; super::lanes::WIDTH];
        $body
    }};
}
pub(super) use with_lanes;

/// # Safety
/// The machine has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn compiled_for_avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}
