//! PyTorch's CPU generator, so that the noise of published workflows can be had again: the Mersenne Twister
//! of Matsumoto and Nishimura 1998 (mt19937), and the distributions of `aten/src/ATen/native/cpu/
//! DistributionTemplates.h` as `torch.randn`, `torch.rand` and `torch.randint` use them.

use std::f32::consts::TAU;
use std::f64::consts::PI;

const N: usize = 624;
const M: usize = 397;

/// `torch.Generator("cpu").manual_seed(seed)`.
#[derive(Clone)]
pub struct TorchRng {
    state: [u32; N],
    next: usize,
    /// The second number of a pair of normal ones, kept for the next call of fewer than 16.
    spare: Option<f64>,
}

impl TorchRng {
    /// A generator with that seed; as PyTorch, it uses the low 32 bits.
    pub fn new(seed: u64) -> TorchRng {
        let mut state = [0u32; N];
        state[0] = seed as u32;
        for i in 1..N {
            let last = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32);
        }
        TorchRng { state, next: N, spare: None }
    }

    /// The next word.
    pub fn word(&mut self) -> u32 {
        if self.next == N {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let matrix = if y & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ matrix;
        }
        self.next = 0;
    }

    fn word64(&mut self) -> u64 {
        let high = u64::from(self.word());
        high << 32 | u64::from(self.word())
    }

    /// A number of [0, 1) with 24 bits.
    fn unit_f32(&mut self) -> f32 {
        (self.word() & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0)
    }

    /// A number of [0, 1) with 53 bits.
    fn unit_f64(&mut self) -> f64 {
        (self.word64() & ((1 << 53) - 1)) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// `torch.rand(n)`.
    pub fn rand_f32(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit_f32()).collect()
    }

    /// `torch.randn(n)`: from 16 numbers on, blocks of 16 by the method of Box and Muller in f32, the last 16
    /// drawn anew if they are no whole block; below, one at a time in f64. The bits are those of a machine with
    /// AVX2 or better.
    pub fn randn_f32(&mut self, n: usize) -> Vec<f32> {
        if n < 16 {
            return (0..n).map(|_| self.normal() as f32).collect();
        }
        let mut out = self.rand_f32(n);
        for block in out.chunks_exact_mut(16) {
            normal_block(block);
        }
        if n % 16 != 0 {
            let tail = &mut out[n - 16..];
            for v in tail.iter_mut() {
                *v = self.unit_f32();
            }
            normal_block(tail);
        }
        out
    }

    /// `torch.randint(low, high, (n,))`.
    pub fn randint(&mut self, low: i64, high: i64, n: usize) -> Vec<i64> {
        let range = high.wrapping_sub(low) as u64;
        let draw = |rng: &mut Self| match range {
            0 => 0,
            _ if range >= 1 << 32 => rng.word64() % range,
            _ => u64::from(rng.word()) % range,
        };
        (0..n).map(|_| low.wrapping_add(draw(self) as i64)).collect()
    }

    /// One normal number (`normal_distribution<double>`), or the spare one of the last pair.
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (u1, u2) = (self.unit_f64(), self.unit_f64());
        let radius = (-2.0 * (-u2).ln_1p()).sqrt();
        let (sin, cos) = (2.0 * PI * u1).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }
}

/// Eight pairs: numbers `j` and `j + 8` of the block.
fn normal_block(block: &mut [f32]) {
    let (first, second) = block.split_at_mut(8);
    for (a, b) in first.iter_mut().zip(second) {
        let radius = (-2.0 * ln(1.0 - *a)).sqrt();
        let (sin, cos) = sin_cos(TAU * *b);
        *a = radius * cos;
        *b = radius * sin;
    }
}

// PyTorch takes logarithm, sine and cosine from the AVX form of Moshier's Cephes library (Pommier's
// `sse_mathfun`), compiled with fused multiply-adds. What is fused here was found by comparing bits; with the
// polynomials below, all of them agree.

/// Cephes `logf` of a number of [2^-24, 1].
fn ln(x: f32) -> f32 {
    const POLYNOMIAL: [f32; 9] = [
        7.037_683_6e-2,
        -1.151_461e-1,
        1.167_699_84e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_4e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    let bits = x.to_bits();
    let mut exponent = ((bits >> 23) as i32 - 126) as f32;
    let mut m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    if m < std::f32::consts::FRAC_1_SQRT_2 {
        exponent -= 1.0;
        m = (m - 1.0) + m;
    } else {
        m -= 1.0;
    }
    let square = m * m;
    let y = POLYNOMIAL.into_iter().reduce(|y, p| y.mul_add(m, p)).unwrap_or(0.0) * m;
    // ln 2 in two parts, the greater of them short.
    let y = y.mul_add(square, exponent * -2.121_944_4e-4) - square * 0.5;
    m + y + exponent * 0.693_359_4
}

/// Cephes `sinf` and `cosf` of an angle of [0, 2 pi].
fn sin_cos(x: f32) -> (f32, f32) {
    let octant = ((x * FRAC_4_PI) as i32 + 1) & !1;
    // pi/4 in three parts, each short enough for an exact product.
    let parts = [-0.785_156_25f32, -2.418_756_5e-4, -3.774_895e-8];
    let x = parts.into_iter().fold(x, |x, part| (octant as f32).mul_add(part, x));
    let square = x * x;
    let even = 2.443_315_7e-5f32.mul_add(square, -1.388_731_6e-3).mul_add(square, 4.166_664_6e-2);
    let even = (even * square).mul_add(square, -(square * 0.5)) + 1.0;
    let odd = (-1.951_529_6e-4f32).mul_add(square, 8.332_161e-3).mul_add(square, -1.666_665_5e-1);
    let odd = (odd * square).mul_add(x, x);
    let (sin, cos) = if octant & 2 == 0 { (odd, even) } else { (even, odd) };
    let sign = |negative: bool, v: f32| if negative { -v } else { v };
    (sign(octant & 4 != 0, sin), sign(!(octant - 2) & 4 != 0, cos))
}

const FRAC_4_PI: f32 = 1.273_239_5;
