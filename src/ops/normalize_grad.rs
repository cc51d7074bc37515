//! The gradients of a normalisation, all in one pass.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::composed;
use super::normalize::{Normalize, composed_gradients};
use super::primitive::elements;
use super::{EvalContext, GradContext, NodeId, OpError, Primitive, cpu, kernels};
use crate::shape::Type;

/// The gradients of a [`Normalize`]. Inputs: those of the normalisation, then the gradient of its output. The
/// output is flat: the gradient of x, then that of the weight if there is one, then that of the bias. The
/// latter two are sums over the batch, in an order that depends on the sizes alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NormalizeGrad(pub Normalize);

impl Primitive for NormalizeGrad {
    fn name(&self) -> &'static str {
        "normalize_grad"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x, weights @ .., grad] = inputs else {
            return Err(OpError::internal("`normalize_grad` takes x, weights and a gradient"));
        };
        let channels = self.0.check(self.name(), x, weights)?;
        if grad.shape != x.shape || grad.dtype != x.dtype {
            return Err(OpError::internal(format!("the gradient {grad} is not one of {x}")));
        }
        let weights = (0..self.0.weights()).fold(x.elements(), |n, _| n + channels.clone());
        Ok(Type::new(x.dtype, vec![weights]))
    }

    /// By the gradients of composed operations.
    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        composed::gradients(cx.to, cx.inputs, cx.grad, &|to, xs| composed_gradients(&self.0, to, xs))
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::normalize_grad(&self.0, inputs, cpu::here(cx))
    }

    fn label(&self) -> String {
        format!("{}, gradient", self.0.describe())
    }

    fn flops(&self, inputs: &[&Type], _output: &Type) -> f64 {
        let each = if self.0.silu { 40.0 } else { 16.0 };
        inputs.first().map_or(0.0, |x| each * elements(x))
    }

    fn scratch_bytes(&self, inputs: &[&Type], _output: &Type) -> f64 {
        inputs.first().map_or(0.0, |x| kernels::normalize_grad_scratch_bytes(&self.0, x))
    }
}
