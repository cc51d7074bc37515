//! How the language calls the elementwise functions.

use super::Unary;
use crate::diagnostic::codes;
use crate::ops::args::{Arg, ArgKind, Args, Signature, required};
use crate::ops::fold::{map_static, number};
use crate::ops::math::double;
use crate::ops::{Emit, OpError};

fn build(to: &mut dyn Emit, args: &Args, op: Unary) -> Result<Arg, OpError> {
    to.unary(op, args.tensor(0)?).map(Arg::Tensor)
}

/// A function of f64. An argument outside its domain is an error, not a silent NaN.
fn fold_float(args: &Args, name: &str, f: fn(f64) -> f64) -> Result<Arg, OpError> {
    map_static(&args.params[0], &|v| {
        let x = number(v)?;
        let y = f(x);
        if y.is_nan() && !x.is_nan() {
            return Err(OpError::new(codes::STATIC_ARITHMETIC, format!("{name}({x}) is not a number")));
        }
        Ok(Arg::Float(y))
    })
}

/// A function that keeps whole numbers whole.
fn fold_whole(args: &Args, f: fn(f64) -> f64, g: fn(i64) -> i64) -> Result<Arg, OpError> {
    map_static(&args.params[0], &|v| match v {
        Arg::Int(d) if d.as_const().is_some() => Ok(Arg::Int(g(d.as_const().unwrap_or_default()).into())),
        other => Ok(Arg::Float(f(number(other)?))),
    })
}

macro_rules! signatures {
    ($($name:literal, $op:ident, $doc:literal, $fold:expr;)*) => {
        /// How the language calls them.
        pub const SIGNATURES: &[Signature] = &[$(Signature {
            name: $name,
            params: &[required("x", ArgKind::Tensor)],
            rest: None,
            named: false,
            doc: $doc,
            build: |to, args| build(to, args, Unary::$op),
            fold: Some($fold),
        },)*];
    };
}

signatures! {
    "abs", Abs, "The absolute value, elementwise.",
        |a| fold_whole(a, f64::abs, i64::wrapping_abs);
    "ceil", Ceil, "The smallest integer not below x, elementwise.",
        |a| fold_whole(a, f64::ceil, |v| v);
    "cos", Cos, "The cosine of x radians, elementwise.",
        |a| fold_float(a, "cos", f64::cos);
    "erf", Erf, "The error function, elementwise.",
        |a| fold_float(a, "erf", double::erf);
    "exp", Exp, "e to the power x, elementwise.",
        |a| fold_float(a, "exp", f64::exp);
    "expm1", Expm1, "e to the power x, less 1, exact near 0, elementwise.",
        |a| fold_float(a, "expm1", f64::exp_m1);
    "floor", Floor, "The largest integer not above x, elementwise.",
        |a| fold_whole(a, f64::floor, |v| v);
    "gelu", Gelu, "x times the normal distribution's Phi(x), exact, elementwise.",
        |a| fold_float(a, "gelu", double::gelu);
    "gelu_tanh", GeluTanh, "gelu by its tanh approximation, elementwise.",
        |a| fold_float(a, "gelu_tanh", double::gelu_tanh);
    "isfinite", IsFinite, "Whether x is neither infinite nor not a number, elementwise; gives truth values.",
        |a| map_static(&a.params[0], &|v| Ok(Arg::Bool(number(v)?.is_finite())));
    "log", Log, "The natural logarithm, elementwise.",
        |a| fold_float(a, "log", f64::ln);
    "log1p", Log1p, "The natural logarithm of 1 + x, exact near 0, elementwise.",
        |a| fold_float(a, "log1p", f64::ln_1p);
    "reciprocal", Reciprocal, "1 / x, elementwise.",
        |a| fold_float(a, "reciprocal", f64::recip);
    "relu", Relu, "The larger of x and 0, elementwise.",
        |a| fold_whole(a, double::relu, |v| v.max(0));
    "round", Round, "The nearest integer, ties to even, elementwise.",
        |a| fold_whole(a, f64::round_ties_even, |v| v);
    "sigmoid", Sigmoid, "1 / (1 + exp(-x)), elementwise.",
        |a| fold_float(a, "sigmoid", double::sigmoid);
    "sign", Sign, "-1, 0 or 1, elementwise.",
        |a| fold_whole(a, double::sign, i64::signum);
    "silu", Silu, "x * sigmoid(x), elementwise.",
        |a| fold_float(a, "silu", double::silu);
    "sin", Sin, "The sine of x radians, elementwise.",
        |a| fold_float(a, "sin", f64::sin);
    "softplus", Softplus, "log(1 + exp(x)), elementwise.",
        |a| fold_float(a, "softplus", double::softplus);
    "sqrt", Sqrt, "The square root, elementwise.",
        |a| fold_float(a, "sqrt", f64::sqrt);
    "square", Square, "x * x, elementwise.",
        |a| fold_whole(a, |v| v * v, |v| v.wrapping_mul(v));
    "tan", Tan, "The tangent of x radians, elementwise.",
        |a| fold_float(a, "tan", f64::tan);
    "tanh", Tanh, "The hyperbolic tangent, elementwise.",
        |a| fold_float(a, "tanh", f64::tanh);
}
