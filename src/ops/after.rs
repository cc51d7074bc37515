//! `after`: a tensor, but not before another one is known. It keeps what is computed again for the backward
//! pass apart from what was computed forward: passes do not merge the two, and the plan does not move the
//! one to the other.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::util::arity;
use super::{EvalContext, GradContext, NodeId, OpError, Primitive};
use crate::shape::Type;

/// The first input, evaluated after the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct After {}

impl Primitive for After {
    fn name(&self) -> &'static str {
        "after"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x, _] = arity(self.name(), inputs)?;
        Ok(x)
    }

    /// That of the identity; the value of the second input plays no part.
    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let float = cx.to.ty(cx.inputs[0]).dtype.is_float();
        Ok(vec![float.then_some(cx.grad), None])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        Ok(inputs[0].clone())
    }

    fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }

    fn is_view(&self, _inputs: &[&Type]) -> bool {
        true
    }
}
