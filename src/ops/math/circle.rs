//! Sine, cosine and tangent of single precision without branches: FreeBSD's `sinf`, computed in double
//! precision (Sun Microsystems 1993; Moshier's and Evans's polynomials).

/// From here on a quarter of a turn is not known well enough.
pub const LIMIT: f32 = 4e8;

/// Sine and cosine of the rest, and the quarter.
#[inline(always)]
fn parts(x: f32) -> (f64, f64, u64) {
    // 1.5 · 2⁵²: the sum's lowest bits are the nearest integer.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // π/2 in 25 bits, and the rest.
    const HIGH: f64 = 1.570_796_310_901_641_8;
    const LOW: f64 = 1.589_325_477_352_819_7e-8;
    let x = f64::from(x);
    let quarter = x * std::f64::consts::FRAC_2_PI + ROUND;
    let n = quarter - ROUND;
    let r = (x - n * HIGH) - n * LOW;
    let z = r * r;
    let w = z * z;
    let s = z * r;
    let p = -1.983_933_483_609_663_2e-4 + z * 2.718_311_493_989_822e-6;
    let sin = (r + s * (-0.166_666_666_416_265_24 + z * 8.333_329_385_889_463e-3)) + s * w * p;
    let p = -1.388_676_377_460_993e-3 + z * 2.439_044_879_627_741e-5;
    let cos = ((1.0 + z * -0.499_999_997_251_031) + w * 4.166_662_332_373_906e-2) + (w * z) * p;
    (sin, cos, quarter.to_bits())
}

/// Below [`LIMIT`].
#[inline(always)]
pub fn sin(x: f32) -> f32 {
    let (sin, cos, quarter) = parts(x);
    let y = if quarter & 1 == 0 { sin } else { cos };
    let y = if quarter & 2 == 0 { y } else { -y };
    // -0 stays -0.
    if x == 0.0 { x } else { y as f32 }
}

/// Below [`LIMIT`].
#[inline(always)]
pub fn cos(x: f32) -> f32 {
    let (sin, cos, quarter) = parts(x);
    let y = if quarter & 1 == 0 { cos } else { sin };
    // Negative in the second and third quarter.
    let y = if (quarter ^ (quarter >> 1)) & 1 == 0 { y } else { -y };
    y as f32
}

/// Below [`LIMIT`].
#[inline(always)]
pub fn tan(x: f32) -> f32 {
    let (sin, cos, quarter) = parts(x);
    let y = if quarter & 1 == 0 { sin / cos } else { -cos / sin };
    if x == 0.0 { x } else { y as f32 }
}
