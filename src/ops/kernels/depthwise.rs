//! Convolutions whose groups are single channels: a plane at a time, vectors of pixels.

use rayon::prelude::*;

use super::gemm::Target;
use super::strip::{Images, Strip, Windows};
use super::tile::{Isa, Real};

/// Pixels that are computed together.
const TOGETHER: usize = 16;

/// Width of the output from which this pays.
pub(super) const WIDE: usize = 12;

/// `c + a · b` of [`TOGETHER`] numbers, compiled for the machine's instructions where it is called.
#[inline(always)]
fn add_product<T: Real, const FUSED: bool>(c: [T; TOGETHER], a: T, b: &[T]) -> [T; TOGETHER] {
    let b = &b[..TOGETHER];
    let mut out = c;
    for k in 0..TOGETHER {
        out[k] = if FUSED { T::fused(a, b[k], c[k]) } else { T::multiply_add(a, b[k], c[k]) };
    }
    out
}

/// Calls `$f::<T, true>` compiled for fused multiply-adds where the machine has them, else `$f::<T, false>`.
macro_rules! dispatch {
    ($f:ident($($arg:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma")]
            fn fused<R>(f: impl FnOnce() -> R) -> R {
                f()
            }
            if Isa::detect() == Isa::Portable {
                $f::<T, false>($($arg),*)
            } else {
                // SAFETY: every instruction set but the portable one has AVX2 and fused multiply-adds.
                unsafe { fused(#[inline(always)] || $f::<T, true>($($arg),*)) }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        $f::<T, false>($($arg),*)
    }};
}

/// Pixels of one plane of the output.
pub(super) struct Planes<'a, T> {
    pub windows: &'a Windows,
    /// `[channel, tap]`.
    pub weights: &'a [T],
    /// The plane's first pixel of the pass, and the steps between the others.
    pub first: [usize; 2],
    pub step: [usize; 2],
}

impl<T: Real> Planes<'_, T> {
    /// Computes all planes of x to y, whose planes have that size; `done` is told of each, with its place.
    pub(super) fn run(
        &self,
        x: Images<'_, T>,
        y: Target<T>,
        size: [usize; 2],
        done: impl Fn(usize, usize) + Sync,
    ) {
        let (from, to) = (x.size[0] * x.size[1], size[0] * size[1]);
        let taps = self.windows.taps.len();
        let strip = Strip::new(self.windows, (0, self.windows.pixels()), (0, 1));
        let offsets: Vec<usize> = (0..taps).map(|t| strip.offset(0, t)).collect();
        (0..x.data.len() / from).into_par_iter().with_min_len(4).for_each_init(Vec::new, |buffer, plane| {
            let image = Images { data: &x.data[plane * from..][..from], channels: 1, size: x.size };
            let data = strip.fill(image, &mut Vec::new(), buffer);
            let channel = plane % x.channels;
            let weights = &self.weights[channel * taps..][..taps];
            for i in 0..self.windows.lattice[0] {
                let at = plane * to + (self.first[0] + i * self.step[0]) * size[1] + self.first[1];
                let row = &data[strip.row(i)..];
                let width = self.windows.lattice[1];
                dispatch!(filter(row, &offsets, weights, width, y.from(at), self.step[1]));
            }
            done(channel, plane * to);
        });
    }
}

/// One row of pixels, `step` apart.
#[inline(always)]
fn filter<T: Real, const FUSED: bool>(
    row: &[T],
    offsets: &[usize],
    weights: &[T],
    width: usize,
    y: Target<T>,
    step: usize,
) {
    let mut x = 0;
    while x < width {
        let mut sums = [T::ZERO; TOGETHER];
        for (offset, weight) in offsets.iter().zip(weights) {
            sums = add_product::<T, FUSED>(sums, *weight, &row[offset + x..]);
        }
        let len = TOGETHER.min(width - x);
        // SAFETY: these pixels of y belong to this plane and pass; y outlives them.
        unsafe {
            if step == 1 {
                y.from(x).copy(&sums[..len]);
            } else {
                (0..len).for_each(|i| y.from((x + i) * step).copy(&sums[i..=i]));
            }
        }
        x += TOGETHER;
    }
}

/// The gradient of the weights `[channel, tap]`: images in order, each a sum of [`TOGETHER`] partial sums.
pub(super) fn weight_grad<T: Real>(windows: &Windows, x: Images<'_, T>, y: Images<'_, T>, out: &mut [T]) {
    let (from, to) = (x.size[0] * x.size[1], y.size[0] * y.size[1]);
    let taps = windows.taps.len();
    let strip = Strip::new(windows, (0, windows.pixels()), (0, 1));
    let images = x.data.len() / (from * x.channels);
    out.par_chunks_mut(taps).with_min_len(4).enumerate().for_each_init(Vec::new, |buffer, (channel, out)| {
        out.fill(T::ZERO);
        for image in 0..images {
            let plane = image * x.channels + channel;
            let image = Images { data: &x.data[plane * from..][..from], channels: 1, size: x.size };
            let data = strip.fill(image, &mut Vec::new(), buffer);
            let grad = &y.data[plane * to..][..to];
            for (t, out) in out.iter_mut().enumerate() {
                let place = |i: usize| strip.row(i) + strip.offset(0, t);
                *out += dispatch!(correlate(data, &place, grad, windows.lattice[1]));
            }
        }
    });
}

/// The sum of products of rows of x, which begin where `place` says, and the rows of y.
#[inline(always)]
fn correlate<T: Real, const FUSED: bool>(
    x: &[T],
    place: &impl Fn(usize) -> usize,
    y: &[T],
    width: usize,
) -> T {
    let multiply = |a: T, b: T, c: T| if FUSED { T::fused(a, b, c) } else { T::multiply_add(a, b, c) };
    let mut sums = [T::ZERO; TOGETHER];
    for (i, y) in y.chunks_exact(width).enumerate() {
        let x = &x[place(i)..][..width];
        let (x, y) = (x.chunks_exact(TOGETHER), y.chunks_exact(TOGETHER));
        let last = (x.remainder(), y.remainder());
        for (x, y) in x.zip(y) {
            for k in 0..TOGETHER {
                sums[k] = multiply(x[k], y[k], sums[k]);
            }
        }
        for (sum, (x, y)) in sums.iter_mut().zip(last.0.iter().zip(last.1)) {
            *sum = multiply(*x, *y, *sum);
        }
    }
    let mut total = T::ZERO;
    sums.iter().for_each(|s| total += *s);
    total
}
