//! Weights rounded to bf16, in the order in which products read them.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{EvalContext, GradContext, NodeId, OpError, Primitive, kernels};
use crate::shape::{DType, Type};

/// What the weight is multiplied as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bf16Form {
    /// Filters `[o, c, kh, kw]` of a convolution of one group.
    Filters,
    /// A matrix `[k, n]` from the right.
    Columns,
    /// A matrix `[n, k]` that is transposed and then multiplied from the right.
    Transposed,
}

/// A weight of f32 rounded to the nearest bf16, ties to even.
///
/// Output: `bf16[…]`, in the order in which the device's kernels read it; for [`ConvBf16`](super::ConvBf16) and
/// [`MatMulBf16`](super::MatMulBf16). It takes half the memory of the weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bf16Weights {
    /// What it is.
    pub form: Bf16Form,
}

impl Bf16Weights {
    /// The output for a weight, if it is one.
    fn of(&self, weight: &Type) -> Option<Type> {
        let shape = weight.constant_shape().filter(|_| weight.dtype == DType::F32)?;
        let len = match (self.form, &shape[..]) {
            (Bf16Form::Filters, [o, c, kh, kw]) => kernels::bf16_filters_len(*o, *c, kh * kw),
            (Bf16Form::Columns, [k, n]) | (Bf16Form::Transposed, [n, k]) => kernels::bf16_columns_len(*k, *n),
            _ => return None,
        };
        Some(Type::of(DType::BF16, &[len]))
    }
}

impl Primitive for Bf16Weights {
    fn name(&self) -> &'static str {
        "bf16_weights"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [weight] = inputs else {
            return Err(OpError::internal(format!("`bf16_weights` takes 1 input, not {}", inputs.len())));
        };
        self.of(weight).ok_or_else(|| {
            OpError::internal(format!(
                "`bf16_weights` takes a weight of f32 as {:?}, not {weight}",
                self.form
            ))
        })
    }

    /// None: a pass emits it after differentiation, and the order of its output is the device's.
    fn grad(&self, _cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Err(OpError::internal("rounded weights are for inference, and have no gradient"))
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        match self.form {
            Bf16Form::Filters => kernels::bf16_filters(&inputs[0]),
            Bf16Form::Columns => kernels::bf16_columns(&inputs[0], false),
            Bf16Form::Transposed => kernels::bf16_columns(&inputs[0], true),
        }
    }

    fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }

    fn scratch_bytes(&self, _inputs: &[&Type], output: &Type) -> f64 {
        2.0 * super::primitive::elements(output)
    }
}
