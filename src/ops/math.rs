//! Functions of one number in f32 and f64. Those of f32 are polynomials that a compiler turns into vector
//! instructions; they agree with the exact values to a few units in the last place.

pub mod circle;
mod powers;

/// What elementwise kernels need of a float.
pub trait Real: Copy {
    /// `exp`.
    fn exp_(self) -> Self;
    /// `exp` of a number that is not above 0, as softmax takes it: what is below the least normal number is 0. `fused`:
    /// with fused multiply-adds, for code that is compiled for a machine with them.
    fn exp_below_(self, fused: bool) -> Self;
    /// `tanh`.
    fn tanh_(self) -> Self;
    /// The error function.
    fn erf_(self) -> Self;
    /// The natural logarithm.
    fn log_(self) -> Self;
    /// `log(1 + x)`.
    fn log1p_(self) -> Self;
    /// `log(1 + x)` of a number in [0, 1], or of what is not a number.
    fn log1p_of_exp_(self) -> Self;
    /// `exp(x) - 1`.
    fn expm1_(self) -> Self;
    /// To that power.
    fn pow_(self, power: Self) -> Self;
    /// `x σ(x)`.
    fn silu_(self) -> Self;
    /// The derivative of [`Real::silu_`].
    fn silu_slope_(self) -> Self;
    /// In double precision.
    fn wide(self) -> f64;
    /// Rounded from double precision.
    fn narrow(x: f64) -> Self;
}

/// What follows from the functions of a precision.
macro_rules! shared {
    ($module:ident, $t:ty) => {
        #[inline(always)]
        fn silu_(self) -> $t {
            $module::silu(self)
        }
        #[inline(always)]
        fn silu_slope_(self) -> $t {
            $module::silu_slope(self)
        }
        #[inline(always)]
        fn wide(self) -> f64 {
            self.into()
        }
        #[inline(always)]
        fn narrow(x: f64) -> $t {
            x as $t
        }
    };
}

impl Real for f64 {
    shared!(double, f64);

    #[inline(always)]
    fn exp_(self) -> f64 {
        self.exp()
    }
    #[inline(always)]
    fn exp_below_(self, _fused: bool) -> f64 {
        self.exp()
    }
    #[inline(always)]
    fn tanh_(self) -> f64 {
        self.tanh()
    }
    #[inline(always)]
    fn erf_(self) -> f64 {
        candle_core::cpu::erf::erf_f64(self)
    }
    #[inline(always)]
    fn log_(self) -> f64 {
        self.ln()
    }
    #[inline(always)]
    fn log1p_(self) -> f64 {
        self.ln_1p()
    }
    #[inline(always)]
    fn log1p_of_exp_(self) -> f64 {
        self.ln_1p()
    }
    #[inline(always)]
    fn expm1_(self) -> f64 {
        self.exp_m1()
    }
    #[inline(always)]
    fn pow_(self, power: f64) -> f64 {
        self.powf(power)
    }
}

impl Real for f32 {
    shared!(single, f32);

    #[inline(always)]
    fn log_(self) -> f32 {
        powers::log(self)
    }
    #[inline(always)]
    fn log1p_(self) -> f32 {
        powers::log1p(self)
    }
    #[inline(always)]
    fn log1p_of_exp_(self) -> f32 {
        powers::log1p_of_exp(self)
    }
    #[inline(always)]
    fn expm1_(self) -> f32 {
        powers::expm1(self)
    }
    #[inline(always)]
    fn pow_(self, power: f32) -> f32 {
        powers::pow(self, power)
    }

    /// As [`Real::exp_`], with 2ⁿ added to the exponent: n runs from -126 to 0.
    #[inline(always)]
    fn exp_below_(self, fused: bool) -> f32 {
        const LOW: f32 = -87.0;
        const LN2_HI: f32 = 0.693_359_4;
        const LN2_LO: f32 = -2.121_944_4e-4;
        const ROUND: f32 = 12_582_912.0;
        let add = |a: f32, b: f32, c: f32| if fused { a.mul_add(b, c) } else { a * b + c };
        let x = if self < LOW { LOW } else { self };
        let z = add(x, std::f32::consts::LOG2_E, ROUND);
        let n = z - ROUND;
        let r = add(n, -LN2_LO, add(n, -LN2_HI, x));
        let p = add(1.987_569_1e-4, r, 1.398_199_9e-3);
        let p = add(p, r, 8.333_452e-3);
        let p = add(p, r, 4.166_579_6e-2);
        let p = add(p, r, 1.666_666_5e-1);
        let p = add(p, r, 0.5);
        let y = add(p, r * r, r) + 1.0;
        let y = f32::from_bits(y.to_bits().wrapping_add(z.to_bits() << 23));
        let y = if self < LOW { 0.0 } else { y };
        if self.is_nan() { self } else { y }
    }

    /// Cephes `expf`: a polynomial of degree 6 after reduction to |r| ≤ ln 2 / 2.
    #[inline(always)]
    fn exp_(self) -> f32 {
        const LN2_HI: f32 = 0.693_359_4;
        const LN2_LO: f32 = -2.121_944_4e-4;
        // Outside, the result is infinite or 0; the clamp keeps the exponents below in range.
        let x = if self > 89.0 { 89.0 } else { self };
        let x = if x < -104.0 { -104.0 } else { x };
        // Adding and subtracting 1.5 · 2²³ rounds to the nearest integer.
        const ROUND: f32 = 12_582_912.0;
        let z = x * std::f32::consts::LOG2_E + ROUND;
        let n = z - ROUND;
        let r = (x - n * LN2_HI) - n * LN2_LO;
        let p = 1.987_569_1e-4_f32;
        let p = p * r + 1.398_199_9e-3;
        let p = p * r + 8.333_452e-3;
        let p = p * r + 4.166_579_6e-2;
        let p = p * r + 1.666_666_5e-1;
        let p = p * r + 0.5;
        let y = p * (r * r) + r + 1.0;
        // 2ⁿ in two factors, since n runs from -151 to 129. The lowest bits of z are n.
        let n = (z.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
        let half = n >> 1;
        let rest = n.wrapping_sub(half);
        let power = |k: i32| f32::from_bits((k.wrapping_add(127) as u32) << 23);
        y * power(half) * power(rest)
    }

    /// The rational approximation of Eigen's `ptanh`: odd degree 13 over even degree 6.
    #[inline(always)]
    fn tanh_(self) -> f32 {
        const LIMIT: f32 = 7.905_311;
        let x = if self > LIMIT { LIMIT } else { self };
        let x = if x < -LIMIT { -LIMIT } else { x };
        let s = x * x;
        let p = -2.760_768_5e-16_f32;
        let p = p * s + 2.000_188e-13;
        let p = p * s + -8.604_672e-11;
        let p = p * s + 5.122_297e-8;
        let p = p * s + 1.485_722_4e-5;
        let p = p * s + 6.372_619e-4;
        let p = p * s + 4.893_524_6e-3;
        let q = 1.198_258_4e-6_f32;
        let q = q * s + 1.185_347_1e-4;
        let q = q * s + 2.268_434_6e-3;
        let q = q * s + 4.893_525e-3;
        // Beyond, 1 is the nearest number.
        if self > 9.01 {
            1.0
        } else if self < -9.01 {
            -1.0
        } else {
            x * p / q
        }
    }

    /// The rational approximation of Eigen's `perf`: odd degree 13 over even degree 8.
    #[inline(always)]
    fn erf_(self) -> f32 {
        let x = if self > 4.0 { 4.0 } else { self };
        let x = if x < -4.0 { -4.0 } else { x };
        let s = x * x;
        let p = -2.726_142_4e-10_f32;
        let p = p * s + 2.770_681_5e-8;
        let p = p * s + -2.101_024e-6;
        let p = p * s + -5.692_506_4e-5;
        let p = p * s + -7.349_906_5e-4;
        let p = p * s + -2.954_6e-3;
        let p = p * s + -1.609_603_4e-2;
        let q = -1.456_607_2e-5_f32;
        let q = q * s + -2.133_740_5e-4;
        let q = q * s + -1.682_827e-3;
        let q = q * s + -7.373_329e-3;
        let q = q * s + -1.426_473_9e-2;
        // Beyond, 1 is the nearest number.
        if self > 3.92 {
            1.0
        } else if self < -3.92 {
            -1.0
        } else {
            x * p / q
        }
    }
}

macro_rules! functions {
    ($module:ident, $t:ty) => {
        /// Functions of one number of this precision.
        pub mod $module {
            use super::Real;
            use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

            type T = $t;

            /// `exp`.
            #[inline(always)]
            pub fn exp(x: T) -> T {
                x.exp_()
            }
            /// `tanh`.
            #[inline(always)]
            pub fn tanh(x: T) -> T {
                x.tanh_()
            }
            /// The error function.
            #[inline(always)]
            pub fn erf(x: T) -> T {
                x.erf_()
            }
            /// The natural logarithm.
            #[inline(always)]
            pub fn log(x: T) -> T {
                x.log_()
            }
            /// `log(1 + x)`.
            #[inline(always)]
            pub fn log1p(x: T) -> T {
                x.log1p_()
            }
            /// `exp(x) - 1`.
            #[inline(always)]
            pub fn expm1(x: T) -> T {
                x.expm1_()
            }
            /// `x` to the power `y`.
            #[inline(always)]
            pub fn pow(x: T, y: T) -> T {
                x.pow_(y)
            }
            /// The logistic function.
            #[inline(always)]
            pub fn sigmoid(x: T) -> T {
                1.0 / (1.0 + (-x).exp_())
            }
            /// Not a number stays what it is.
            #[inline(always)]
            pub fn relu(x: T) -> T {
                if x < 0.0 { 0.0 } else { x }
            }
            /// `x σ(x)`.
            #[inline(always)]
            pub fn silu(x: T) -> T {
                x / (1.0 + (-x).exp_())
            }
            /// `σ(x) (1 + x (1 - σ(x)))`.
            #[inline(always)]
            pub fn silu_slope(x: T) -> T {
                let s = sigmoid(x);
                s * (1.0 + x * (1.0 - s))
            }
            /// `x Φ(x)`.
            #[inline(always)]
            pub fn gelu(x: T) -> T {
                0.5 * x * (1.0 + (x * (FRAC_1_SQRT_2 as T)).erf_())
            }
            /// `Φ(x) + x φ(x)`.
            #[inline(always)]
            pub fn gelu_slope(x: T) -> T {
                let cdf = 0.5 * (1.0 + (x * (FRAC_1_SQRT_2 as T)).erf_());
                let pdf = (-0.5 * x * x).exp_() * ((0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2) as T);
                cdf + x * pdf
            }
            /// The tanh form of gelu.
            #[inline(always)]
            pub fn gelu_tanh(x: T) -> T {
                let (c, k) = crate::ops::unary::GELU_TANH;
                let u = (c as T) * x * (1.0 + (k as T) * x * x);
                0.5 * x * (1.0 + u.tanh_())
            }
            /// Its derivative.
            #[inline(always)]
            pub fn gelu_tanh_slope(x: T) -> T {
                let (c, k) = crate::ops::unary::GELU_TANH;
                let (c, k) = (c as T, k as T);
                let t = (c * x * (1.0 + k * x * x)).tanh_();
                let du = c * (1.0 + 3.0 * k * x * x);
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * du
            }
            /// `log(1 + exp(x))` without overflow.
            #[inline(always)]
            pub fn softplus(x: T) -> T {
                relu(x) + (-x.abs()).exp_().log1p_of_exp_()
            }
            /// -1, 0 or 1; not a number stays what it is.
            #[inline(always)]
            pub fn sign(x: T) -> T {
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    x
                }
            }
            /// Not a number if either is not.
            #[inline(always)]
            pub fn max(a: T, b: T) -> T {
                if a > b || a.is_nan() { a } else { b }
            }
            /// Not a number if either is not.
            #[inline(always)]
            pub fn min(a: T, b: T) -> T {
                if a < b || a.is_nan() { a } else { b }
            }
            /// `a - b ⌊a / b⌋`, of the sign of `b`, exact as Python's `%`.
            #[inline(always)]
            pub fn rem(a: T, b: T) -> T {
                let r = a % b;
                if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
            }
            /// `⌊a / b⌋`, consistent with [`rem`].
            #[inline(always)]
            pub fn floor_div(a: T, b: T) -> T {
                if b == 0.0 {
                    return a / b;
                }
                ((a - rem(a, b)) / b).round()
            }
        }
    };
}

functions!(single, f32);
functions!(double, f64);

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error over a grid, in units in the last place of the exact value.
    fn worst(lo: f64, hi: f64, floor: f64, f: fn(f32) -> f32, exact: fn(f64) -> f64) -> f64 {
        let n = 200_000;
        (0..=n)
            .map(|i| {
                let x = (lo + (hi - lo) * f64::from(i) / f64::from(n)) as f32;
                let want = exact(f64::from(x));
                let ulp = (want.abs().max(floor) as f32).next_up() - (want.abs().max(floor) as f32);
                ((f64::from(f(x)) - want) / f64::from(ulp)).abs()
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn single_precision_is_accurate() {
        assert!(worst(-86.0, 88.0, 0.0, single::exp, f64::exp) < 2.0);
        assert!(worst(-9.0, 9.0, 0.0, single::tanh, f64::tanh) < 7.0);
        assert!(worst(-5.0, 5.0, 0.0, single::erf, candle_core::cpu::erf::erf_f64) < 8.0);
        assert!(worst(-80.0, 80.0, 0.0, single::sigmoid, double::sigmoid) < 4.0);
        assert!(worst(1e-3, 100.0, 1e-6, single::log, f64::ln) < 1.5);
        assert!(worst(0.5, 2.0, 1e-9, single::log, f64::ln) < 1.5);
        assert!(worst(1e-45, 1e-37, 0.0, single::log, f64::ln) < 1.5);
        assert!(worst(1e30, 3.4e38, 0.0, single::log, f64::ln) < 1.5);
        assert!(worst(-0.999, 1.0, 0.0, single::log1p, f64::ln_1p) < 2.5);
        assert!(worst(-1e-6, 1e-6, 0.0, single::log1p, f64::ln_1p) < 1.5);
        assert!(worst(1.0, 1e9, 0.0, single::log1p, f64::ln_1p) < 1.5);
        assert!(worst(-18.0, 88.0, 0.0, single::expm1, f64::exp_m1) < 2.5);
        assert!(worst(-1e-3, 1e-3, 0.0, single::expm1, f64::exp_m1) < 1.5);
        assert!(worst(-40.0, 40.0, 0.0, single::softplus, double::softplus) < 3.0);
        for reach in [1.0, 100.0, 1e6, 3.9e8] {
            assert!(worst(-reach, reach, 1e-9, circle::sin, f64::sin) < 0.6, "sin to {reach}");
            assert!(worst(-reach, reach, 1e-9, circle::cos, f64::cos) < 0.6, "cos to {reach}");
            assert!(worst(-reach, reach, 1e-9, circle::tan, f64::tan) < 0.6, "tan to {reach}");
        }
        for y in [-3.0, -1.5, -0.1, 0.3, 0.5, 2.0, 7.3, 30.0] {
            let n = 100_000;
            let powers = (1..n).map(|i| {
                let x = i as f32 * 0.000_15;
                let want = f64::from(x).powf(f64::from(y));
                let have = f64::from(single::pow(x, y));
                let normal = want > f64::from(f32::MIN_POSITIVE) && want < f64::from(f32::MAX);
                if normal { ((have - want) / want).abs() * 16_777_216.0 } else { 0.0 }
            });
            assert!(powers.fold(0.0, f64::max) < 1.1, "the power {y}");
        }
    }

    #[test]
    fn powers_have_the_exceptions_of_c() {
        let of = [0.0, -0.0, 1.0, -1.0, 2.0, -2.5, 0.5, -0.3, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let to = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            2.0,
            3.0,
            -3.0,
            0.5,
            -0.7,
            1e30,
            -1e30,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        for x in of {
            for y in to {
                let (have, want) = (single::pow(x, y), x.powf(y));
                let same = have == want && have.is_sign_negative() == want.is_sign_negative();
                let near = (have - want).abs() <= 1e-6 * want.abs();
                assert!(same || near || (have.is_nan() && want.is_nan()), "{x}^{y}: {have} and {want}");
            }
        }
    }

    #[test]
    fn ends_of_the_range() {
        assert_eq!(single::exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(single::exp(89.5), f32::INFINITY);
        assert_eq!(single::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(single::exp(0.0), 1.0);
        assert!(single::exp(-100.0) > 0.0, "a subnormal");
        assert!(single::exp(f32::NAN).is_nan());
        assert!(single::tanh(f32::NAN).is_nan() && single::erf(f32::NAN).is_nan());
        let odd = [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            0.0,
            -0.0,
            -1.0,
            1e-45,
            f32::MAX,
            -90.0,
            88.72,
            -2.0,
        ];
        let alike = |name: &str, f: fn(f32) -> f32, exact: fn(f32) -> f32| {
            for x in odd {
                let (have, want) = (f(x), exact(x));
                let near = (have - want).abs() <= 2e-6 * want.abs();
                assert!(
                    have == want || near || (have.is_nan() && want.is_nan()),
                    "{name} {x}: {have}, {want}"
                );
            }
        };
        alike("log", single::log, f32::ln);
        alike("log1p", single::log1p, f32::ln_1p);
        alike("expm1", single::expm1, f32::exp_m1);
        alike("softplus", single::softplus, |x| if x > 20.0 { x } else { x.exp().ln_1p() });
        for f in [circle::sin, circle::cos, circle::tan] {
            assert!(f(f32::NAN).is_nan());
        }
        assert!(circle::sin(-0.0).is_sign_negative() && single::expm1(-0.0).is_sign_negative());
        assert_eq!((single::tanh(30.0), single::tanh(-30.0)), (1.0, -1.0));
        assert_eq!((single::erf(30.0), single::erf(-30.0)), (1.0, -1.0));
        assert!(single::max(f32::NAN, 1.0).is_nan() && single::max(1.0, f32::NAN).is_nan());
        assert!(single::min(f32::NAN, 1.0).is_nan() && single::min(1.0, f32::NAN).is_nan());
        assert_eq!(double::rem(-7.0, 3.0), 2.0);
        assert_eq!(double::floor_div(-7.0, 3.0), -3.0);
    }
}
