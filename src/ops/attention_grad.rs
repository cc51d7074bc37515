//! The gradients of attention, in blocks.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::primitive::elements;
use super::{
    Attention, EvalContext, GradContext, NodeId, OpError, Primitive, attention, composed, cpu, kernels,
};
use crate::shape::Type;

/// The gradients of an [`Attention`]. Inputs: q, k, v, the output y and its gradient. The output is flat: the
/// gradients of q, k and v. Scores are computed anew, block by block (Dao et al. 2022, algorithm 4).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttentionGrad {
    /// As of the attention.
    pub scale: f64,
}

impl Primitive for AttentionGrad {
    fn name(&self) -> &'static str {
        "attention_grad"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [q, k, v, y, grad] = inputs else {
            return Err(OpError::internal("`attention_grad` takes q, k, v, y and a gradient"));
        };
        let output = attention::check(self.name(), &[q, k, v])?;
        for ty in [y, grad] {
            if ty.shape != output.shape || ty.dtype != output.dtype {
                return Err(OpError::internal(format!(
                    "{ty} does not belong to an attention that gives {output}"
                )));
            }
        }
        Ok(Type::new(q.dtype, vec![q.elements() + k.elements() + v.elements()]))
    }

    /// By the gradients of composed operations. What y adds is among those of q, k and v.
    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let [q, k, v, _, grad] = *cx.inputs else {
            return Err(OpError::internal("`attention_grad` takes q, k, v, y and a gradient"));
        };
        let op = Attention { scale: self.scale };
        let build = |to: &mut dyn super::Emit, xs: &[NodeId]| op.composed_gradients(to, xs);
        let mut grads = composed::gradients(cx.to, &[q, k, v, grad], cx.grad, &build)?;
        grads.insert(3, None);
        Ok(grads)
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::attention_grad(self.scale, inputs, cpu::here(cx))
    }

    fn flops(&self, inputs: &[&Type], _output: &Type) -> f64 {
        let side = |i: usize, back: usize| inputs[i].shape[inputs[i].rank() - back].eval_with(1) as f64;
        let (m, d, e) = (side(1, 2), side(1, 1), side(2, 1));
        elements(inputs[0]) / d.max(1.0) * m * (2.0 * (4.0 * d + 2.0 * e) + 40.0)
    }

    fn scratch_bytes(&self, inputs: &[&Type], _output: &Type) -> f64 {
        kernels::attention_grad_scratch_bytes(inputs)
    }
}
