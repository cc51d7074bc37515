//! Philox-4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
//! easy as 1, 2, 3" (SC 2011), and the functions of one word that distributions are made of.
//!
//! All arithmetic is on integers or on f64 with the four operations and `sqrt`, which IEEE 754 fixes, so that
//! numbers are the same on every machine.

use std::f64::consts::{LN_2, TAU};

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Four random words for a counter under a key.
pub fn block(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let a = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
    }
    counter
}

/// The words of one random site: a key, and the parts of the counter that a run fixes.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u32; 2],
    loop_step: u32,
    step: u32,
}

impl Stream {
    /// The stream of a site under a seed, at a step of a loop and of training. Two sites never share a key
    /// under one seed.
    pub fn new(seed: u64, site: u64, loop_step: u32, step: u32) -> Stream {
        let key = mix(mix(seed) ^ site);
        Stream { key: [key as u32, (key >> 32) as u32], loop_step, step }
    }

    /// A second stream beside this one, for numbers that need more than a word.
    #[must_use]
    pub fn second(self) -> Stream {
        let key = mix(u64::from(self.key[0]) | u64::from(self.key[1]) << 32);
        Stream { key: [key as u32, (key >> 32) as u32], ..self }
    }

    /// Words `4 * index ..` of a sample.
    pub fn words(&self, index: u32, sample: u32) -> [u32; 4] {
        block([index, sample, self.loop_step, self.step], self.key)
    }
}

/// A bijection of 64-bit words: the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) after its
/// increment, so that 0 is not a fixed point.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A word as a number of (0, 1), in the middle of its 2^-32 wide cell.
pub fn open_unit(word: u32) -> f64 {
    (f64::from(word) + 0.5) * (1.0 / 4_294_967_296.0)
}

/// Two independent standard normal numbers from two words (Box and Muller 1958); the greatest is 6.7.
pub fn normal_pair(a: u32, b: u32) -> (f64, f64) {
    let radius = (-2.0 * ln(open_unit(a))).sqrt();
    let (sin, cos) = sin_cos_turns(b);
    (radius * cos, radius * sin)
}

/// A standard Gumbel number from a word: `-ln(-ln u)`.
pub fn gumbel(word: u32) -> f64 {
    -ln(-ln(open_unit(word)))
}

/// The natural logarithm of a positive normal number, to about 1e-16: `2 artanh((m - 1) / (m + 1))` of the
/// mantissa by its series, plus the exponent.
fn ln(x: f64) -> f64 {
    // The mantissa in [sqrt(1/2), sqrt(2)).
    const SQRT_HALF_BITS: u64 = 0x3FE6_A09E_667F_3BCD;
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let exponent = (shifted as i64) >> 52;
    let m = f64::from_bits(x.to_bits().wrapping_sub((exponent as u64) << 52));
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let mut series = 1.0 / 23.0;
    for k in (1..=21).rev().step_by(2) {
        series = series * s2 + 1.0 / f64::from(k);
    }
    // The exponent's part is exact in its leading bits, as in Cody and Waite's reductions.
    2.0 * s * series + exponent as f64 * LN_2
}

/// Sine and cosine of `word / 2^32` turns, by Taylor's polynomials within an eighth of a turn of a quadrant.
fn sin_cos_turns(word: u32) -> (f64, f64) {
    let quadrant = word.wrapping_add(1 << 29) >> 30;
    let rest = word.wrapping_sub(quadrant << 30) as i32;
    let x = f64::from(rest) * (TAU / 4_294_967_296.0);
    let x2 = x * x;
    // 1/3!, 1/5!, … and 1/2!, 1/4!, …, the last first.
    let (mut sin, mut cos) = (1.0, 1.0);
    for k in (1..=8).rev() {
        let k = f64::from(k) * 2.0;
        sin = 1.0 - sin * x2 / (k * (k + 1.0));
        cos = 1.0 - cos * x2 / (k * (k - 1.0));
    }
    sin *= x;
    match quadrant & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of Random123 1.14 (`kat_vectors`, philox4x32 of 10 rounds).
    #[test]
    fn known_answers() {
        let ones = u32::MAX;
        assert_eq!(block([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(block([ones; 4], [ones; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let key = [0xa409_3822, 0x299f_31d0];
        assert_eq!(block(pi, key), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn functions_are_those_of_the_standard_library() {
        let mut worst = [0f64; 2];
        for i in 0..200_000u32 {
            let word = i.wrapping_mul(2_654_435_761) ^ i;
            let u = open_unit(word);
            worst[0] = worst[0].max((ln(u) - u.ln()).abs() / u.ln().abs());
            let (sin, cos) = sin_cos_turns(word);
            let angle = f64::from(word) / 4_294_967_296.0 * TAU;
            worst[1] = worst[1].max((sin - angle.sin()).abs()).max((cos - angle.cos()).abs());
        }
        for word in [0, 1, u32::MAX - 1, u32::MAX, 1 << 31, 1 << 29, 3 << 29] {
            let u = open_unit(word);
            worst[0] = worst[0].max((ln(u) - u.ln()).abs() / u.ln().abs());
        }
        assert!(worst[0] < 1e-15 && worst[1] < 1e-15, "{worst:?}");
    }

    #[test]
    fn sites_and_steps_have_their_own_streams() {
        let words = |seed, site, loop_step, step| Stream::new(seed, site, loop_step, step).words(0, 0);
        let all =
            [words(0, 0, 0, 0), words(1, 0, 0, 0), words(0, 1, 0, 0), words(0, 0, 1, 0), words(0, 0, 0, 1)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }
}
