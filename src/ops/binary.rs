//! Elementwise functions of two tensors, broadcast as NumPy does: `[..a], [..b] -> [..max(a, b)]`.

mod eval;
mod language;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::primitive::broadcast_lead;
use super::util::{arity, broadcast_shapes, require_number, require_same_dtype, sum_to, with_dtype};
use super::{
    Cast, Compare, CompareKind, Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, Unary,
    Where, in_place,
};
use crate::shape::Type;

pub use language::{SIGNATURES, fold_extreme};

/// An elementwise function of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`, of floats.
    Div,
    /// `a` to the power `b`.
    Pow,
    /// The smaller; not a number if either is not.
    Min,
    /// The larger; not a number if either is not.
    Max,
    /// `⌊a / b⌋`.
    FloorDiv,
    /// `a - b ⌊a / b⌋`: of the sign of `b`.
    Rem,
}

impl Binary {
    /// Every one, for tests.
    pub const ALL: [Binary; 9] = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Pow,
        Binary::Min,
        Binary::Max,
        Binary::FloorDiv,
        Binary::Rem,
    ];
}

impl Primitive for Binary {
    fn name(&self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
            Binary::Pow => "pow",
            Binary::Min => "min",
            Binary::Max => "max",
            Binary::FloorDiv => "floor_div",
            Binary::Rem => "rem",
        }
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [a, b] = arity(self.name(), inputs)?;
        require_number(self.name(), &a)?;
        require_number(self.name(), &b)?;
        require_same_dtype(self.name(), &a, &b)?;
        if *self == Binary::Div && !a.dtype.is_float() {
            let m = format!("`/` of the integer tensors {} and {}", with_dtype(&a), with_dtype(&b));
            return Err(OpError::dtype(m).help("`//` divides integers; else convert first: `float(x)`"));
        }
        Ok(Type::new(a.dtype, broadcast_shapes(self.name(), &a.shape, &b.shape)?))
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        broadcast_lead(inputs, output)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let (a, b, g) = (cx.inputs[0], cx.inputs[1], cx.grad);
        if !cx.to.ty(a).dtype.is_float() {
            return Ok(vec![None, None]);
        }
        let to = &mut *cx.to;
        let (ga, gb) = match self {
            Binary::Add => (g, g),
            Binary::Sub => (g, to.unary(Unary::Neg, g)?),
            Binary::Mul => (to.binary(Binary::Mul, g, b)?, to.binary(Binary::Mul, g, a)?),
            Binary::Div => {
                let ga = to.binary(Binary::Div, g, b)?;
                let gb = to.binary(Binary::Mul, ga, cx.output)?;
                (ga, to.unary(Unary::Neg, gb)?)
            }
            Binary::Pow => pow_gradients(to, a, b, cx.output, g)?,
            Binary::Min | Binary::Max => {
                // 1 where the operand is taken, a half at ties (as PyTorch's `maximum`).
                let (strict, loose) = match self {
                    Binary::Max => (CompareKind::Gt, CompareKind::Ge),
                    _ => (CompareKind::Lt, CompareKind::Le),
                };
                let s = indicator(to, strict, a, b)?;
                let l = indicator(to, loose, a, b)?;
                let share = to.binary(Binary::Add, s, l)?;
                let share = to.binary_scalar(Binary::Mul, share, 0.5)?;
                let ga = to.binary(Binary::Mul, g, share)?;
                (ga, to.binary(Binary::Sub, g, ga)?)
            }
            // Steps: no gradient but that of the linear part.
            Binary::FloorDiv => return Ok(vec![None, None]),
            Binary::Rem => {
                let q = to.binary(Binary::FloorDiv, a, b)?;
                let gq = to.binary(Binary::Mul, g, q)?;
                (g, to.unary(Unary::Neg, gq)?)
            }
        };
        let (shape_a, shape_b) = (to.ty(a).shape.clone(), to.ty(b).shape.clone());
        Ok(vec![Some(sum_to(to, ga, &shape_a)?), Some(sum_to(to, gb, &shape_b)?)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        eval::eval(*self, cx, &inputs[0], &inputs[1])
    }

    fn overwrites(&self, input: usize, inputs: &[&Type], output: &Type) -> bool {
        inputs.get(input).is_some_and(|x| in_place::fits(x, output))
    }

    fn flops(&self, _inputs: &[&Type], output: &Type) -> f64 {
        let each = if *self == Binary::Pow { 32.0 } else { 1.0 };
        each * super::primitive::elements(output)
    }
}

/// 1 where the comparison holds, else 0, in the dtype of `a`.
fn indicator(to: &mut dyn Emit, kind: CompareKind, a: NodeId, b: NodeId) -> Result<NodeId, OpError> {
    let dtype = to.ty(a).dtype;
    let c = to.emit(Compare { kind }.into(), &[a, b])?;
    to.emit(Cast { dtype }.into(), &[c])
}

/// `b a^(b-1)`, 0 where b is 0; `a^b log a`, 0 where a and the power are 0.
fn pow_gradients(
    to: &mut dyn Emit,
    a: NodeId,
    b: NodeId,
    y: NodeId,
    g: NodeId,
) -> Result<(NodeId, NodeId), OpError> {
    let dtype = to.ty(a).dtype;
    let zero = to.scalar(0.0, dtype)?;
    let one = to.scalar(1.0, dtype)?;
    let less = to.binary(Binary::Sub, b, one)?;
    let p = to.binary(Binary::Pow, a, less)?;
    let p = to.binary(Binary::Mul, b, p)?;
    let flat = to.emit(Compare { kind: CompareKind::Eq }.into(), &[b, zero])?;
    let p = to.emit(Where {}.into(), &[flat, zero, p])?;
    let ga = to.binary(Binary::Mul, g, p)?;
    // Where y is 0 (a is 0, b positive) the limit of y log a is 0, and log a infinite.
    let gone = to.emit(Compare { kind: CompareKind::Eq }.into(), &[y, zero])?;
    let safe = to.emit(Where {}.into(), &[gone, one, a])?;
    let log = to.unary(Unary::Log, safe)?;
    let q = to.binary(Binary::Mul, y, log)?;
    Ok((ga, to.binary(Binary::Mul, g, q)?))
}

/// `x ^ exponent` for a number known beforehand, by cheaper operations where there are some.
///
/// # Errors
/// A dtype that has no powers.
pub fn power(to: &mut dyn Emit, x: NodeId, exponent: f64) -> Result<NodeId, OpError> {
    let float = to.ty(x).dtype.is_float();
    if exponent == 1.0 {
        Ok(x)
    } else if exponent == 2.0 {
        to.unary(Unary::Square, x)
    } else if exponent == 3.0 {
        let s = to.unary(Unary::Square, x)?;
        to.binary(Binary::Mul, s, x)
    } else if exponent == 4.0 {
        let s = to.unary(Unary::Square, x)?;
        to.unary(Unary::Square, s)
    } else if float && exponent == 0.5 {
        to.unary(Unary::Sqrt, x)
    } else if float && exponent == -1.0 {
        to.unary(Unary::Reciprocal, x)
    } else if !float && (exponent < 0.0 || exponent.fract() != 0.0) {
        Err(OpError::dtype(format!("an integer tensor to the power {exponent}"))
            .help("convert it first: `float(x)`"))
    } else {
        to.binary_scalar(Binary::Pow, x, exponent)
    }
}
