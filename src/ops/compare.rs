//! Comparisons of two tensors and `and`, `or` of truth values, broadcast: they give truth values.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::cpu::{self, map2, widen, with_number};
use super::primitive::broadcast_lead;
use super::util::{arity, broadcast_shapes, require_same_dtype, with_dtype};
use super::{EvalContext, GradContext, Lead, NodeId, OpError, Primitive};
use crate::shape::{DType, Type};

/// Which comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CompareKind {
    /// `==`.
    Eq,
    /// `!=`.
    Ne,
    /// `<`.
    Lt,
    /// `<=`.
    Le,
    /// `>`.
    Gt,
    /// `>=`.
    Ge,
}

/// A comparison. Anything compares false with what is not a number, save `!=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Compare {
    /// Which.
    pub kind: CompareKind,
}

impl Primitive for Compare {
    fn name(&self) -> &'static str {
        match self.kind {
            CompareKind::Eq => "eq",
            CompareKind::Ne => "ne",
            CompareKind::Lt => "lt",
            CompareKind::Le => "le",
            CompareKind::Gt => "gt",
            CompareKind::Ge => "ge",
        }
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [a, b] = arity(self.name(), inputs)?;
        require_same_dtype(self.name(), &a, &b)?;
        if a.dtype == DType::Bool && !matches!(self.kind, CompareKind::Eq | CompareKind::Ne) {
            let m =
                format!("`{}` of the truth values {} and {}", self.label(), with_dtype(&a), with_dtype(&b));
            return Err(OpError::dtype(m).help("convert first: `int(x)`"));
        }
        Ok(Type::new(DType::Bool, broadcast_shapes(self.name(), &a.shape, &b.shape)?))
    }

    /// None: a step has the gradient 0 wherever it has one.
    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        broadcast_lead(inputs, output)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Ok(vec![None; cx.inputs.len()])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (a, b) = (&inputs[0], &inputs[1]);
        if cpu::here(cx) {
            let (a, b) = (&widen(a)?, &widen(b)?);
            return with_number!(a.dtype(), T => match self.kind {
                CompareKind::Eq => map2::<T, T, u8>(a, b, |x, y| u8::from(x == y)),
                CompareKind::Ne => map2::<T, T, u8>(a, b, |x, y| u8::from(x != y)),
                CompareKind::Lt => map2::<T, T, u8>(a, b, |x, y| u8::from(x < y)),
                CompareKind::Le => map2::<T, T, u8>(a, b, |x, y| u8::from(x <= y)),
                CompareKind::Gt => map2::<T, T, u8>(a, b, |x, y| u8::from(x > y)),
                CompareKind::Ge => map2::<T, T, u8>(a, b, |x, y| u8::from(x >= y)),
            });
        }
        match self.kind {
            CompareKind::Eq => a.broadcast_eq(b),
            CompareKind::Ne => a.broadcast_ne(b),
            CompareKind::Lt => a.broadcast_lt(b),
            CompareKind::Le => a.broadcast_le(b),
            CompareKind::Gt => a.broadcast_gt(b),
            CompareKind::Ge => a.broadcast_ge(b),
        }
    }

    fn label(&self) -> String {
        let sign = match self.kind {
            CompareKind::Eq => "==",
            CompareKind::Ne => "!=",
            CompareKind::Lt => "<",
            CompareKind::Le => "<=",
            CompareKind::Gt => ">",
            CompareKind::Ge => ">=",
        };
        sign.into()
    }
}

/// `and`, `or` of truth values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Logical {
    /// Both.
    And,
    /// Either or both.
    Or,
}

impl Primitive for Logical {
    fn name(&self) -> &'static str {
        match self {
            Logical::And => "and",
            Logical::Or => "or",
        }
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [a, b] = arity(self.name(), inputs)?;
        if a.dtype != DType::Bool || b.dtype != DType::Bool {
            let m = format!("`{}` of {} and {}", self.name(), with_dtype(&a), with_dtype(&b));
            return Err(OpError::dtype(m).help("both must be truth values; compare first: `x > 0`"));
        }
        Ok(Type::new(DType::Bool, broadcast_shapes(self.name(), &a.shape, &b.shape)?))
    }

    /// None: truth values have no gradient.
    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        broadcast_lead(inputs, output)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Ok(vec![None; cx.inputs.len()])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (a, b) = (&inputs[0], &inputs[1]);
        match (self, cpu::here(cx)) {
            (Logical::And, true) => map2::<u8, u8, u8>(a, b, |x, y| x & y),
            (Logical::Or, true) => map2::<u8, u8, u8>(a, b, |x, y| x | y),
            (Logical::And, false) => a.broadcast_minimum(b),
            (Logical::Or, false) => a.broadcast_maximum(b),
        }
    }
}
