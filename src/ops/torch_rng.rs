//! PyTorch's CPU generator, so that the noise of published workflows can be had again: the Mersenne Twister
//! of Matsumoto and Nishimura 1998 (mt19937), and the distributions of `aten/src/ATen/native/cpu/
//! DistributionTemplates.h` as `torch.randn`, `torch.rand` and `torch.randint` use them.

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
    /// drawn anew if they are no whole block; below, one at a time in f64.
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

/// Eight pairs: number `j` and `j + 8` of the block. Every step is rounded to f32, as there.
fn normal_block(block: &mut [f32]) {
    let (first, second) = block.split_at_mut(8);
    for (a, b) in first.iter_mut().zip(second) {
        let radius = (-2.0 * (f64::from(1.0 - *a).ln() as f32)).sqrt();
        let theta = 2.0 * std::f32::consts::PI * *b;
        let (sin, cos) = f64::from(theta).sin_cos();
        *a = radius * cos as f32;
        *b = radius * sin as f32;
    }
}
