//! Logarithms and powers of single precision without branches: conditions are joined by `|` and `&`, so that
//! none of what they choose from is computed in a branch, and loops over them become vector instructions.

/// The natural logarithm. Subnormals are scaled first.
#[inline(always)]
pub fn log(x: f32) -> f32 {
    const SCALE: f32 = 33_554_432.0; // 2²⁵
    let small = x < f32::MIN_POSITIVE;
    let scaled = if small { x * SCALE } else { x };
    let y = log_of_normal(scaled, if small { 25.0 } else { 0.0 });
    // Infinity and what is not a number stay; nothing below 0 has a logarithm.
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 { f32::NAN } else { y }
}

/// `log(1 + exp(-|x|))`, given that exponential: without the exceptions of [`log1p`].
#[inline(always)]
pub fn log1p_of_exp(e: f32) -> f32 {
    let u = 1.0 + e;
    log_of_normal(u, 0.0) + (e - (u - 1.0)) / u
}

/// Cephes `logf` of a positive normal number over 2ᵏ: a polynomial of degree 9 over [√½, √2).
#[inline(always)]
fn log_of_normal(x: f32, k: f32) -> f32 {
    let bits = x.to_bits() as i32;
    // The exponent by which the mantissa lies in [√½, √2).
    let exponent = bits.wrapping_sub(0x3f35_04f3) >> 23;
    let f = f32::from_bits(bits.wrapping_sub(exponent << 23) as u32) - 1.0;
    let e = exponent as f32 - k;
    let z = f * f;
    let p = 7.037_683_6e-2_f32;
    let p = p * f + -1.151_461e-1;
    let p = p * f + 1.167_699_84e-1;
    let p = p * f + -1.242_014_1e-1;
    let p = p * f + 1.424_932_3e-1;
    let p = p * f + -1.666_805_7e-1;
    let p = p * f + 2.000_071_4e-1;
    let p = p * f + -2.499_999_4e-1;
    let p = p * f + 3.333_333e-1;
    let y = p * f * z + e * -2.121_944_4e-4 - 0.5 * z;
    f + y + e * 0.693_359_4
}

/// `log(1 + x)`: the logarithm of the rounded sum, and to first order what rounding took from it.
#[inline(always)]
pub fn log1p(x: f32) -> f32 {
    let u = 1.0 + x;
    let rest = (x - (u - 1.0)) / u;
    // Nothing was rounded away from -1 and infinity, where the quotient is not a number.
    let rest = if (u == 0.0) | (u == f32::INFINITY) { 0.0 } else { rest };
    log(u) + rest
}

/// `exp(x) - 1`: the polynomial of `exp` without its 1, scaled.
#[inline(always)]
pub fn expm1(x: f32) -> f32 {
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    const ROUND: f32 = 12_582_912.0;
    let c = if x > 89.0 { 89.0 } else { x };
    let c = if c < -20.0 { -20.0 } else { c };
    let z = c * std::f32::consts::LOG2_E + ROUND;
    let n = z - ROUND;
    let r = (c - n * LN2_HI) - n * LN2_LO;
    let p = 1.987_569_1e-4_f32;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = p * (r * r) + r;
    // Half of it at first, since 2ⁿ may overflow where the result does not.
    let half = f32::from_bits(z.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(126) << 23);
    let y = (y * half + (half - 0.5)) * 2.0;
    // What is small is its own value, -0 included.
    if x.abs() < 1e-9 { x } else { y }
}

/// `|x|` to the power y with the sign of an odd power, by logarithm and exponential in double precision; the
/// exceptions are those of C's `pow`.
#[inline(always)]
pub fn pow(x: f32, y: f32) -> f32 {
    let a = x.abs();
    let t = f64::from(y) * log2(f64::from(a));
    let t = if (a == 1.0) | (y == 0.0) { 0.0 } else { t };
    let size = exp2(t) as f32;
    let whole = y.floor() == y;
    let half = y * 0.5;
    let odd = whole & (half.floor() != half);
    let negative = x.to_bits() >> 31 == 1;
    let size = if negative & odd { -size } else { size };
    let invalid = (x < 0.0) & (a < f32::INFINITY) & !whole;
    let size = if invalid { f32::NAN } else { size };
    if (y == 0.0) | (x == 1.0) { 1.0 } else { size }
}

/// Of a positive number of single precision; 0 and infinity included.
#[inline(always)]
fn log2(a: f64) -> f64 {
    // √½ in bits: the mantissa lies in [√½, √2).
    const LOW: u64 = 0x3fe6_a09e_667f_3bcd;
    const ONE: u64 = 0x3ff0_0000_0000_0000;
    const MANTISSA: u64 = (1 << 52) - 1;
    const TWO_52: u64 = 0x4330_0000_0000_0000;
    let t = a.to_bits().wrapping_add(ONE - LOW);
    let exponent = f64::from_bits((t >> 52) | TWO_52) - (4_503_599_627_370_496.0 + 1023.0);
    let m = f64::from_bits((t & MANTISSA).wrapping_add(LOW));
    // log m = 2 artanh((m - 1) / (m + 1)).
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let p = 1.0 / 13.0;
    let p = p * z + 1.0 / 11.0;
    let p = p * z + 1.0 / 9.0;
    let p = p * z + 1.0 / 7.0;
    let p = p * z + 1.0 / 5.0;
    let p = p * z + 1.0 / 3.0;
    let p = p * z + 1.0;
    let y = exponent + 2.0 * std::f64::consts::LOG2_E * s * p;
    let y = if a < f64::INFINITY { y } else { a };
    if a == 0.0 { f64::NEG_INFINITY } else { y }
}

/// Of what single precision can tell from 0 and infinity.
#[inline(always)]
fn exp2(t: f64) -> f64 {
    // 1.5 · 2⁵²: the sum's lowest bits are the nearest integer.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let t = if t > 200.0 { 200.0 } else { t };
    let t = if t < -200.0 { -200.0 } else { t };
    let z = t + ROUND;
    let r = (t - (z - ROUND)) * std::f64::consts::LN_2;
    let p = 1.0 / 362_880.0;
    let p = p * r + 1.0 / 40_320.0;
    let p = p * r + 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    p * f64::from_bits((z.to_bits() << 52).wrapping_add(1023 << 52))
}
