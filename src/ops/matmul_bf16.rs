//! A product with a weight, operands rounded to bf16.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{EvalContext, GradContext, NodeId, OpError, Primitive, kernels};
use crate::shape::{DType, Dim, Type};

/// `y[…, j] = Σ_k x[…, k] · w[k, j]` with x and w rounded to bf16; products are exact and summed in f32.
///
/// Inputs: x `f32[…, k]`, the output of [`Bf16Weights`](super::Bf16Weights) for w. Output: `f32[…, n]`. It is emitted by a
/// pass for inference, and the language does not spell it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatMulBf16 {
    /// n.
    pub outputs: usize,
}

impl Primitive for MatMulBf16 {
    fn name(&self) -> &'static str {
        "matmul_bf16"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x, weights] = inputs else {
            return Err(OpError::internal("`matmul_bf16` takes x and rounded weights"));
        };
        let k = x.shape.last().and_then(|d| usize::try_from(d.as_const()?).ok());
        let Some(k) = k.filter(|_| x.dtype == DType::F32) else {
            return Err(OpError::internal(format!("`matmul_bf16` takes f32[…, k], not {x}")));
        };
        let expected = Type::of(DType::BF16, &[kernels::bf16_columns_len(k, self.outputs)]);
        if expected.plain() != weights.plain() {
            return Err(OpError::internal(format!("`matmul_bf16` takes weights {expected}, not {weights}")));
        }
        let mut shape = x.shape.clone();
        shape.pop();
        shape.push(Dim::from(self.outputs as i64));
        Ok(Type::new(DType::F32, shape))
    }

    /// None: a pass emits it after differentiation, for inference.
    fn grad(&self, _cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Err(OpError::internal("`matmul_bf16` is for inference, and has no gradient"))
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::matmul_bf16(&inputs[0], &inputs[1], self.outputs)
    }

    fn label(&self) -> String {
        "matmul_bf16".to_string()
    }

    fn flops(&self, inputs: &[&Type], output: &Type) -> f64 {
        let k = inputs[0].shape.last().map_or(1, |d| d.eval_with(1));
        2.0 * super::primitive::elements(output) * k as f64
    }

    fn scratch_bytes(&self, inputs: &[&Type], output: &Type) -> f64 {
        kernels::matmul_scratch_bytes(inputs, output)
    }
}
