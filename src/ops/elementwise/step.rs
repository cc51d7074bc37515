//! One step on one block: loops over slices that the compiler turns into vector instructions. The functions
//! of a number are those of the single operations, so that the bits are too.

use crate::ops::cpu::vectorised;
use crate::ops::math::{circle, double, single};
use crate::ops::{Binary, CompareKind, Logical, Op, Unary};
use crate::shape::DType;

/// Values of one block, half precision as f32 that is rounded to it.
pub(super) enum Buffer {
    F32(Vec<f32>),
    F64(Vec<f64>),
    U8(Vec<u8>),
    I64(Vec<i64>),
}

/// The same, borrowed.
#[derive(Clone, Copy)]
pub(super) enum View<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    U8(&'a [u8]),
    I64(&'a [i64]),
}

impl Buffer {
    pub fn new(dtype: DType, len: usize) -> Buffer {
        match dtype {
            DType::F16 | DType::BF16 | DType::F32 => Buffer::F32(vec![0.0; len]),
            DType::F64 => Buffer::F64(vec![0.0; len]),
            DType::Bool | DType::U8 => Buffer::U8(vec![0; len]),
            DType::I64 => Buffer::I64(vec![0; len]),
        }
    }

    pub fn view(&self, len: usize) -> View<'_> {
        match self {
            Buffer::F32(v) => View::F32(&v[..len]),
            Buffer::F64(v) => View::F64(&v[..len]),
            Buffer::U8(v) => View::U8(&v[..len]),
            Buffer::I64(v) => View::I64(&v[..len]),
        }
    }

    /// One number throughout.
    pub fn fill(&mut self, value: f64) {
        match self {
            Buffer::F32(v) => v.fill(value as f32),
            Buffer::F64(v) => v.fill(value),
            Buffer::U8(v) => v.fill(value as u8),
            Buffer::I64(v) => v.fill(value as i64),
        }
    }

    /// Rounds to half precision, where that is the dtype.
    pub fn round(&mut self, dtype: DType, len: usize) {
        if let Buffer::F32(v) = self {
            match dtype {
                DType::BF16 => v[..len].iter_mut().for_each(|x| *x = half::bf16::from_f32(*x).to_f32()),
                DType::F16 => v[..len].iter_mut().for_each(|x| *x = half::f16::from_f32(*x).to_f32()),
                _ => {}
            }
        }
    }
}

#[inline(always)]
fn map1<A: Copy, U>(a: &[A], out: &mut [U], f: impl Fn(A) -> U) {
    for (o, x) in out.iter_mut().zip(a) {
        *o = f(*x);
    }
}

#[inline(always)]
fn map2<A: Copy, B: Copy, U>(a: &[A], b: &[B], out: &mut [U], f: impl Fn(A, B) -> U) {
    for ((o, x), y) in out.iter_mut().zip(a).zip(b) {
        *o = f(*x, *y);
    }
}

#[inline(always)]
fn select<T: Copy>(c: &[u8], a: &[T], b: &[T], out: &mut [T]) {
    for (((o, c), x), y) in out.iter_mut().zip(c).zip(a).zip(b) {
        *o = if *c != 0 { *x } else { *y };
    }
}

macro_rules! float {
    ($t:ty, $f:ident, $unary:ident, $binary:ident) => {
        /// Whether the operation is known.
        #[inline(always)]
        fn $unary(op: Unary, x: &[$t], out: &mut [$t]) -> bool {
            match op {
                Unary::Neg => map1(x, out, |v| -v),
                Unary::Exp => map1(x, out, $f::exp),
                Unary::Expm1 => map1(x, out, $f::expm1),
                Unary::Log => map1(x, out, $f::log),
                Unary::Log1p => map1(x, out, $f::log1p),
                Unary::Sqrt => map1(x, out, |v| v.sqrt()),
                Unary::Square => map1(x, out, |v| v * v),
                Unary::Reciprocal => map1(x, out, |v| 1.0 / v),
                Unary::Abs => map1(x, out, |v| v.abs()),
                Unary::Sign => map1(x, out, $f::sign),
                Unary::Floor => map1(x, out, |v| v.floor()),
                Unary::Ceil => map1(x, out, |v| v.ceil()),
                Unary::Round => map1(x, out, |v| v.round_ties_even()),
                Unary::Sin | Unary::Cos | Unary::Tan => return false,
                Unary::Tanh => map1(x, out, $f::tanh),
                Unary::Sigmoid => map1(x, out, $f::sigmoid),
                Unary::Erf => map1(x, out, $f::erf),
                Unary::Relu => map1(x, out, $f::relu),
                Unary::Silu => map1(x, out, $f::silu),
                Unary::Gelu => map1(x, out, $f::gelu),
                Unary::GeluTanh => map1(x, out, $f::gelu_tanh),
                Unary::Softplus => map1(x, out, $f::softplus),
                Unary::SiluSlope => map1(x, out, $f::silu_slope),
                Unary::GeluSlope => map1(x, out, $f::gelu_slope),
                Unary::GeluTanhSlope => map1(x, out, $f::gelu_tanh_slope),
                Unary::IsFinite | Unary::Not => return false,
            }
            true
        }

        #[inline(always)]
        fn $binary(op: Binary, a: &[$t], b: &[$t], out: &mut [$t]) {
            match op {
                Binary::Add => map2(a, b, out, |x, y| x + y),
                Binary::Sub => map2(a, b, out, |x, y| x - y),
                Binary::Mul => map2(a, b, out, |x, y| x * y),
                Binary::Div => map2(a, b, out, |x, y| x / y),
                Binary::Pow => map2(a, b, out, $f::pow),
                Binary::Min => map2(a, b, out, $f::min),
                Binary::Max => map2(a, b, out, $f::max),
                Binary::FloorDiv => map2(a, b, out, $f::floor_div),
                Binary::Rem => map2(a, b, out, $f::rem),
            }
        }
    };
}

float!(f32, single, unary_single, binary_single);
float!(f64, double, unary_double, binary_double);

/// Sine, cosine and tangent.
#[inline(always)]
fn circle_double(op: Unary, x: &[f64], out: &mut [f64]) {
    match op {
        Unary::Cos => map1(x, out, f64::cos),
        Unary::Tan => map1(x, out, f64::tan),
        _ => map1(x, out, f64::sin),
    }
}

/// By polynomials, but for numbers so large that these know too little of π.
#[inline(always)]
fn circle_single(op: Unary, x: &[f32], out: &mut [f32]) {
    match op {
        Unary::Cos => by_range(x, out, circle::cos, f64::cos),
        Unary::Tan => by_range(x, out, circle::tan, f64::tan),
        _ => by_range(x, out, circle::sin, f64::sin),
    }
}

#[inline(always)]
fn by_range(x: &[f32], out: &mut [f32], small: impl Fn(f32) -> f32, large: impl Fn(f64) -> f64) {
    let far = |v: f32| v.abs() >= circle::LIMIT;
    if x.iter().any(|v| far(*v)) {
        map1(x, out, |v| if far(v) { large(f64::from(v)) as f32 } else { small(v) });
    } else {
        map1(x, out, small);
    }
}

#[inline(always)]
fn compare<T: Copy + PartialOrd>(kind: CompareKind, a: &[T], b: &[T], out: &mut [u8]) {
    match kind {
        CompareKind::Eq => map2(a, b, out, |x, y| u8::from(x == y)),
        CompareKind::Ne => map2(a, b, out, |x, y| u8::from(x != y)),
        CompareKind::Lt => map2(a, b, out, |x, y| u8::from(x < y)),
        CompareKind::Le => map2(a, b, out, |x, y| u8::from(x <= y)),
        CompareKind::Gt => map2(a, b, out, |x, y| u8::from(x > y)),
        CompareKind::Ge => map2(a, b, out, |x, y| u8::from(x >= y)),
    }
}

/// Runs a step. Gives whether there is such a step for operands of these dtypes.
pub(super) fn run(op: &Op, args: [Option<View<'_>>; 3], out: &mut Buffer) -> bool {
    vectorised(
        #[inline(always)]
        || step(op, args, out),
    )
}

#[inline(always)]
fn step(op: &Op, args: [Option<View<'_>>; 3], out: &mut Buffer) -> bool {
    use View::{F32, F64, I64, U8};
    match (op, args, out) {
        (Op::Unary(op @ (Unary::Sin | Unary::Cos | Unary::Tan)), [Some(F32(x)), ..], Buffer::F32(o)) => {
            circle_single(*op, x, o);
        }
        (Op::Unary(op @ (Unary::Sin | Unary::Cos | Unary::Tan)), [Some(F64(x)), ..], Buffer::F64(o)) => {
            circle_double(*op, x, o);
        }
        (Op::Unary(op), [Some(F32(x)), ..], Buffer::F32(o)) => return unary_single(*op, x, o),
        (Op::Unary(op), [Some(F64(x)), ..], Buffer::F64(o)) => return unary_double(*op, x, o),
        (Op::Unary(Unary::IsFinite), [Some(F32(x)), ..], Buffer::U8(o)) => {
            map1(x, o, |v| u8::from(v.is_finite()));
        }
        (Op::Unary(Unary::IsFinite), [Some(F64(x)), ..], Buffer::U8(o)) => {
            map1(x, o, |v| u8::from(v.is_finite()));
        }
        (Op::Unary(Unary::Not), [Some(U8(x)), ..], Buffer::U8(o)) => map1(x, o, |v| u8::from(v == 0)),
        (Op::Binary(op), [Some(F32(a)), Some(F32(b)), _], Buffer::F32(o)) => binary_single(*op, a, b, o),
        (Op::Binary(op), [Some(F64(a)), Some(F64(b)), _], Buffer::F64(o)) => binary_double(*op, a, b, o),
        (Op::Compare(c), [Some(F32(a)), Some(F32(b)), _], Buffer::U8(o)) => compare(c.kind, a, b, o),
        (Op::Compare(c), [Some(F64(a)), Some(F64(b)), _], Buffer::U8(o)) => compare(c.kind, a, b, o),
        (Op::Compare(c), [Some(U8(a)), Some(U8(b)), _], Buffer::U8(o)) => compare(c.kind, a, b, o),
        (Op::Compare(c), [Some(I64(a)), Some(I64(b)), _], Buffer::U8(o)) => compare(c.kind, a, b, o),
        (Op::Logical(Logical::And), [Some(U8(a)), Some(U8(b)), _], Buffer::U8(o)) => {
            map2(a, b, o, |x, y| x & y);
        }
        (Op::Logical(Logical::Or), [Some(U8(a)), Some(U8(b)), _], Buffer::U8(o)) => {
            map2(a, b, o, |x, y| x | y);
        }
        (Op::Where(_), [Some(U8(c)), Some(F32(a)), Some(F32(b))], Buffer::F32(o)) => select(c, a, b, o),
        (Op::Where(_), [Some(U8(c)), Some(F64(a)), Some(F64(b))], Buffer::F64(o)) => select(c, a, b, o),
        (Op::Where(_), [Some(U8(c)), Some(U8(a)), Some(U8(b))], Buffer::U8(o)) => select(c, a, b, o),
        (Op::Where(_), [Some(U8(c)), Some(I64(a)), Some(I64(b))], Buffer::I64(o)) => select(c, a, b, o),
        (Op::Cast(_), [Some(F32(x)), ..], Buffer::F32(o)) => map1(x, o, |v| v),
        (Op::Cast(_), [Some(F64(x)), ..], Buffer::F32(o)) => map1(x, o, |v| v as f32),
        (Op::Cast(_), [Some(U8(x)), ..], Buffer::F32(o)) => map1(x, o, f32::from),
        (Op::Cast(_), [Some(I64(x)), ..], Buffer::F32(o)) => map1(x, o, |v| v as f32),
        (Op::Cast(_), [Some(F32(x)), ..], Buffer::F64(o)) => map1(x, o, f64::from),
        (Op::Cast(_), [Some(F64(x)), ..], Buffer::F64(o)) => map1(x, o, |v| v),
        (Op::Cast(_), [Some(U8(x)), ..], Buffer::F64(o)) => map1(x, o, f64::from),
        (Op::Cast(_), [Some(I64(x)), ..], Buffer::F64(o)) => map1(x, o, |v| v as f64),
        // The only bytes that a conversion gives are truth values.
        (Op::Cast(_), [Some(F32(x)), ..], Buffer::U8(o)) => map1(x, o, |v| u8::from(v != 0.0)),
        (Op::Cast(_), [Some(F64(x)), ..], Buffer::U8(o)) => map1(x, o, |v| u8::from(v != 0.0)),
        (Op::Cast(_), [Some(U8(x)), ..], Buffer::U8(o)) => map1(x, o, |v| u8::from(v != 0)),
        (Op::Cast(_), [Some(I64(x)), ..], Buffer::U8(o)) => map1(x, o, |v| u8::from(v != 0)),
        _ => return false,
    }
    true
}
