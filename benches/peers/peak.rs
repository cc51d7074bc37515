//! The machine's peak: fused multiply-adds on registers, one thread per core asked for.

use std::time::Instant;

/// Multiply-adds per lane and turn.
const CHAINS: usize = 12;

/// Billions of floating-point operations per second of all `threads` together (a multiply-add counts as two).
pub fn gflops(threads: usize) -> f64 {
    let one = || (0..3).map(|_| measure()).fold(0.0f64, f64::max);
    std::thread::scope(|s| {
        let all: Vec<_> = (0..threads).map(|_| s.spawn(one)).collect();
        all.into_iter().map(|h| h.join().unwrap_or(0.0)).sum()
    })
}

fn measure() -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was detected.
            return unsafe { avx512() };
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            // SAFETY: the features were detected.
            return unsafe { avx2() };
        }
    }
    f64::NAN
}

/// Turns of a measurement: about a tenth of a second.
const TURNS: usize = 20_000_000;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2() -> f64 {
    use std::arch::x86_64::*;
    let (a, b) = std::hint::black_box((_mm256_set1_ps(0.999_999), _mm256_set1_ps(1e-6)));
    let mut sums = [_mm256_set1_ps(1.0); CHAINS];
    let begun = Instant::now();
    for _ in 0..TURNS {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, a, b);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    std::hint::black_box(sums);
    (TURNS * CHAINS * 8 * 2) as f64 / seconds / 1e9
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512() -> f64 {
    use std::arch::x86_64::*;
    let (a, b) = std::hint::black_box((_mm512_set1_ps(0.999_999), _mm512_set1_ps(1e-6)));
    let mut sums = [_mm512_set1_ps(1.0); CHAINS];
    let begun = Instant::now();
    for _ in 0..TURNS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, a, b);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    std::hint::black_box(sums);
    (TURNS * CHAINS * 16 * 2) as f64 / seconds / 1e9
}
