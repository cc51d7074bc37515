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
    }
}

/// Runs `$body` with `$L` as the type of the machine's lanes, compiled for its instructions.
#[cfg(target_arch = "x86_64")]
macro_rules! with_lanes {
    ($L:ident => $body:block) => {
        if super::tile::Isa::detect() != super::tile::Isa::Portable {
            type $L = super::lanes::Avx;
            // SAFETY: every instruction set but the portable one has AVX2.
            unsafe { super::lanes::compiled_for_avx2(#[inline(always)] || $body) }
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
