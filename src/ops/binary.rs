//! Elementwise functions of two tensors, broadcast as NumPy does.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::Signature;
use super::{EvalContext, GradContext, NodeId, OpError, Primitive};
use crate::diagnostic::codes;
use crate::shape::{Type, broadcast, display_shape};

/// An elementwise function of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a * b`.
    Mul,
}

impl Primitive for Binary {
    fn name(&self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Mul => "mul",
        }
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let (a, b) = (inputs[0], inputs[1]);
        if a.dtype != b.dtype {
            return Err(OpError::dtype(format!("`{}` of {a} and {b}", self.name())));
        }
        let shape = broadcast(&a.shape, &b.shape).map_err(|_| {
            let m = format!("{} and {} do not broadcast", display_shape(&a.shape), display_shape(&b.shape));
            OpError::new(codes::BROADCAST, m)
        })?;
        Ok(Type::new(a.dtype, shape))
    }

    fn grad(&self, _cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Err(OpError::internal("to be written"))
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        match self {
            Binary::Add => inputs[0].broadcast_add(&inputs[1]),
            Binary::Mul => inputs[0].broadcast_mul(&inputs[1]),
        }
    }
}

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[];
