//! The weights of a convolution of 3×3 windows as Winograd's minimal filtering multiplies with them.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{EvalContext, GradContext, NodeId, OpError, Primitive, kernels};
use crate::shape::{DType, Type};

/// `G w Gᵀ` of each 3×3 filter, with G of F(4×4, 3×3) (Lavin & Gray 2016, section 4.3).
///
/// Input: weight `f32[o, c, 3, 3]`, or of a transposed convolution `f32[c, o, 3, 3]`. Output: `f32[36, …]`, for each point of a tile the filters of all pairs of
/// channels in the order in which the device's kernels read them; for [`ConvWinograd`](super::ConvWinograd).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WinogradWeights {
    /// Whether the weight is that of a transposed convolution: its filters are turned around.
    pub transposed: bool,
}

/// Outputs and channels of a weight with constant sizes.
pub(super) fn channels(weight: &Type, transposed: bool) -> Option<(usize, usize)> {
    match weight.constant_shape().as_deref() {
        Some([c, o, 3, 3]) if weight.dtype == DType::F32 && transposed => Some((*o, *c)),
        Some([o, c, 3, 3]) if weight.dtype == DType::F32 => Some((*o, *c)),
        _ => None,
    }
}

impl Primitive for WinogradWeights {
    fn name(&self) -> &'static str {
        "winograd_weights"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [weight] = inputs else {
            return Err(OpError::internal(format!("`winograd_weights` takes 1 input, not {}", inputs.len())));
        };
        let Some((o, c)) = channels(weight, self.transposed) else {
            return Err(OpError::internal(format!("`winograd_weights` takes f32[o, c, 3, 3], not {weight}")));
        };
        Ok(Type::of(DType::F32, &[36, kernels::winograd_weights_len(c, o)]))
    }

    /// None: a pass emits it after differentiation, and the order of its output is the device's.
    fn grad(&self, _cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Err(OpError::internal("transformed weights have no gradient"))
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::winograd_weights(&inputs[0], self.transposed)
    }

    fn flops(&self, inputs: &[&Type], _output: &Type) -> f64 {
        // Nine transforms of three numbers to six.
        72.0 * super::primitive::elements(inputs[0]) / 9.0
    }
}
