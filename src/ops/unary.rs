//! Elementwise functions of one tensor: `[..s] -> [..s]`.

mod eval;
mod language;

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::primitive::broadcast_lead;
use super::util::{arity, require_float, require_number};
use super::{
    Binary, Compare, CompareKind, Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, Where,
    in_place,
};
use crate::shape::{DType, Type};

pub use language::SIGNATURES;

/// An elementwise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unary {
    /// `-x`.
    Neg,
    /// `exp(x)`.
    Exp,
    /// `exp(x) - 1`, exact near 0.
    Expm1,
    /// The natural logarithm.
    Log,
    /// `log(1 + x)`, exact near 0.
    Log1p,
    /// `√x`.
    Sqrt,
    /// `x²`.
    Square,
    /// `1 / x`.
    Reciprocal,
    /// `|x|`; its gradient at 0 is 0.
    Abs,
    /// -1, 0 or 1.
    Sign,
    /// The largest integer not above x.
    Floor,
    /// The smallest integer not below x.
    Ceil,
    /// The nearest integer, ties to even.
    Round,
    /// The sine.
    Sin,
    /// The cosine.
    Cos,
    /// The tangent.
    Tan,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `2/√π ∫₀ˣ exp(-t²) dt`.
    Erf,
    /// `max(x, 0)`; its gradient at 0 is 0.
    Relu,
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · Φ(x)`, exact (Hendrycks & Gimpel 2016).
    Gelu,
    /// `x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`, its usual approximation.
    GeluTanh,
    /// `log(1 + exp(x))`.
    Softplus,
    /// Whether x is neither infinite nor not a number; gives truth values.
    IsFinite,
    /// Not, of truth values.
    Not,
    /// The derivative of [`Unary::Silu`].
    SiluSlope,
    /// The derivative of [`Unary::Gelu`].
    GeluSlope,
    /// The derivative of [`Unary::GeluTanh`].
    GeluTanhSlope,
}

impl Unary {
    /// Every one, for tests.
    pub const ALL: [Unary; 29] = [
        Unary::Neg,
        Unary::Exp,
        Unary::Expm1,
        Unary::Log,
        Unary::Log1p,
        Unary::Sqrt,
        Unary::Square,
        Unary::Reciprocal,
        Unary::Abs,
        Unary::Sign,
        Unary::Floor,
        Unary::Ceil,
        Unary::Round,
        Unary::Sin,
        Unary::Cos,
        Unary::Tan,
        Unary::Tanh,
        Unary::Sigmoid,
        Unary::Erf,
        Unary::Relu,
        Unary::Silu,
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Softplus,
        Unary::IsFinite,
        Unary::Not,
        Unary::SiluSlope,
        Unary::GeluSlope,
        Unary::GeluTanhSlope,
    ];
}

impl Primitive for Unary {
    fn name(&self) -> &'static str {
        match self {
            Unary::Neg => "neg",
            Unary::Exp => "exp",
            Unary::Expm1 => "expm1",
            Unary::Log => "log",
            Unary::Log1p => "log1p",
            Unary::Sqrt => "sqrt",
            Unary::Square => "square",
            Unary::Reciprocal => "reciprocal",
            Unary::Abs => "abs",
            Unary::Sign => "sign",
            Unary::Floor => "floor",
            Unary::Ceil => "ceil",
            Unary::Round => "round",
            Unary::Sin => "sin",
            Unary::Cos => "cos",
            Unary::Tan => "tan",
            Unary::Tanh => "tanh",
            Unary::Sigmoid => "sigmoid",
            Unary::Erf => "erf",
            Unary::Relu => "relu",
            Unary::Silu => "silu",
            Unary::Gelu => "gelu",
            Unary::GeluTanh => "gelu_tanh",
            Unary::Softplus => "softplus",
            Unary::IsFinite => "isfinite",
            Unary::Not => "not",
            Unary::SiluSlope => "silu_slope",
            Unary::GeluSlope => "gelu_slope",
            Unary::GeluTanhSlope => "gelu_tanh_slope",
        }
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x] = arity(self.name(), inputs)?;
        match self {
            Unary::Not if x.dtype != DType::Bool => {
                return Err(OpError::dtype(format!("`not` needs truth values, found {x}"))
                    .help("compare first: `x == 0`"));
            }
            Unary::Not => {}
            Unary::Neg | Unary::Abs | Unary::Sign | Unary::Square | Unary::Relu => {
                require_number(self.name(), &x)?;
            }
            _ => require_float(self.name(), &x)?,
        }
        let dtype = if *self == Unary::IsFinite { DType::Bool } else { x.dtype };
        Ok(Type::new(dtype, x.shape))
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        broadcast_lead(inputs, output)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let (x, y, g) = (cx.inputs[0], cx.output, cx.grad);
        if !cx.to.ty(x).dtype.is_float() {
            return Ok(vec![None]);
        }
        let to = &mut *cx.to;
        // The derivative, or for the first three the gradient itself.
        let slope = match self {
            Unary::Neg => return Ok(vec![Some(to.unary(Unary::Neg, g)?)]),
            Unary::Log => return Ok(vec![Some(to.binary(Binary::Div, g, x)?)]),
            Unary::Relu => {
                let zero = to.scalar(0.0, to.ty(x).dtype)?;
                let on = to.emit(Compare { kind: CompareKind::Gt }.into(), &[y, zero])?;
                return Ok(vec![Some(to.emit(Where {}.into(), &[on, g, zero])?)]);
            }
            Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round | Unary::IsFinite | Unary::Not => {
                return Ok(vec![None]);
            }
            Unary::Exp => y,
            Unary::Expm1 => to.binary_scalar(Binary::Add, y, 1.0)?,
            Unary::Log1p => {
                let d = to.binary_scalar(Binary::Add, x, 1.0)?;
                return Ok(vec![Some(to.binary(Binary::Div, g, d)?)]);
            }
            Unary::Sqrt => {
                let d = to.binary_scalar(Binary::Mul, y, 2.0)?;
                return Ok(vec![Some(to.binary(Binary::Div, g, d)?)]);
            }
            Unary::Square => to.binary_scalar(Binary::Mul, x, 2.0)?,
            Unary::Reciprocal => {
                let s = to.unary(Unary::Square, y)?;
                to.unary(Unary::Neg, s)?
            }
            Unary::Abs => to.unary(Unary::Sign, x)?,
            Unary::Sin => to.unary(Unary::Cos, x)?,
            Unary::Cos => {
                let s = to.unary(Unary::Sin, x)?;
                to.unary(Unary::Neg, s)?
            }
            Unary::Tan => {
                let s = to.unary(Unary::Square, y)?;
                to.binary_scalar(Binary::Add, s, 1.0)?
            }
            Unary::Tanh => {
                let s = to.unary(Unary::Square, y)?;
                one_minus(to, s)?
            }
            Unary::Sigmoid => {
                let q = one_minus(to, y)?;
                to.binary(Binary::Mul, y, q)?
            }
            Unary::Erf => {
                let e = gaussian(to, x, 1.0)?;
                to.binary_scalar(Binary::Mul, e, FRAC_2_SQRT_PI)?
            }
            Unary::Softplus => to.unary(Unary::Sigmoid, x)?,
            Unary::Silu => to.unary(Unary::SiluSlope, x)?,
            Unary::Gelu => to.unary(Unary::GeluSlope, x)?,
            Unary::GeluTanh => to.unary(Unary::GeluTanhSlope, x)?,
            Unary::SiluSlope => silu_curvature(to, x)?,
            Unary::GeluSlope => gelu_curvature(to, x)?,
            Unary::GeluTanhSlope => gelu_tanh_curvature(to, x)?,
        };
        Ok(vec![Some(to.binary(Binary::Mul, g, slope)?)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        eval::eval(*self, cx, &inputs[0])
    }

    fn overwrites(&self, _input: usize, inputs: &[&Type], output: &Type) -> bool {
        inputs.first().is_some_and(|x| in_place::fits(x, output))
    }

    fn flops(&self, _inputs: &[&Type], output: &Type) -> f64 {
        let each = match self {
            Unary::Neg | Unary::Abs | Unary::Sign | Unary::Relu | Unary::Square | Unary::Not => 1.0,
            Unary::Floor | Unary::Ceil | Unary::Round | Unary::IsFinite | Unary::Reciprocal | Unary::Sqrt => {
                1.0
            }
            // Polynomials of the usual degree for single precision.
            _ => 16.0,
        };
        each * super::primitive::elements(output)
    }
}

/// `1 - x`.
fn one_minus(to: &mut dyn Emit, x: NodeId) -> Result<NodeId, OpError> {
    let one = to.scalar(1.0, to.ty(x).dtype)?;
    to.binary(Binary::Sub, one, x)
}

/// `exp(-x² · factor)`.
fn gaussian(to: &mut dyn Emit, x: NodeId, factor: f64) -> Result<NodeId, OpError> {
    let s = to.unary(Unary::Square, x)?;
    let s = to.binary_scalar(Binary::Mul, s, -factor)?;
    to.unary(Unary::Exp, s)
}

/// Second derivative of `x σ(x)`: `σ(1-σ) (2 + x (1 - 2σ))`.
fn silu_curvature(to: &mut dyn Emit, x: NodeId) -> Result<NodeId, OpError> {
    let s = to.unary(Unary::Sigmoid, x)?;
    let q = one_minus(to, s)?;
    let p = to.binary(Binary::Mul, s, q)?;
    let d = to.binary(Binary::Sub, q, s)?;
    let xd = to.binary(Binary::Mul, x, d)?;
    let xd = to.binary_scalar(Binary::Add, xd, 2.0)?;
    to.binary(Binary::Mul, p, xd)
}

/// Second derivative of `x Φ(x)`: `φ(x) (2 - x²)`.
fn gelu_curvature(to: &mut dyn Emit, x: NodeId) -> Result<NodeId, OpError> {
    let e = gaussian(to, x, 0.5)?;
    let pdf = to.binary_scalar(Binary::Mul, e, 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2)?;
    let s = to.unary(Unary::Square, x)?;
    let two = to.scalar(2.0, to.ty(x).dtype)?;
    let d = to.binary(Binary::Sub, two, s)?;
    to.binary(Binary::Mul, pdf, d)
}

/// `√(2/π)` and the cubic factor of the tanh form of gelu.
pub(crate) const GELU_TANH: (f64, f64) = (FRAC_2_SQRT_PI * FRAC_1_SQRT_2, 0.044_715);

/// Second derivative of `x/2 (1 + tanh u(x))`: `(1 - t²) (u' + x/2 (u'' - 2 t u'²))`.
fn gelu_tanh_curvature(to: &mut dyn Emit, x: NodeId) -> Result<NodeId, OpError> {
    let (c, k) = GELU_TANH;
    let s = to.unary(Unary::Square, x)?;
    let a = to.binary_scalar(Binary::Mul, s, c * k)?;
    let a = to.binary_scalar(Binary::Add, a, c)?;
    let u = to.binary(Binary::Mul, x, a)?;
    let t = to.unary(Unary::Tanh, u)?;
    let b = to.binary_scalar(Binary::Mul, s, 3.0 * c * k)?;
    let du = to.binary_scalar(Binary::Add, b, c)?;
    let ddu = to.binary_scalar(Binary::Mul, x, 6.0 * c * k)?;
    let du2 = to.unary(Unary::Square, du)?;
    let tdu2 = to.binary(Binary::Mul, t, du2)?;
    let tdu2 = to.binary_scalar(Binary::Mul, tdu2, 2.0)?;
    let inner = to.binary(Binary::Sub, ddu, tdu2)?;
    let inner = to.binary(Binary::Mul, x, inner)?;
    let inner = to.binary_scalar(Binary::Mul, inner, 0.5)?;
    let inner = to.binary(Binary::Add, du, inner)?;
    let t2 = to.unary(Unary::Square, t)?;
    let q = one_minus(to, t2)?;
    to.binary(Binary::Mul, q, inner)
}
