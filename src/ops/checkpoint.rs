//! `checkpoint`: marks the end of a part of a graph whose values the backward pass computes again instead of
//! holding them (Chen et al. 2016, "Training deep nets with sublinear memory cost").

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::primitive::all_lead;
use super::{EvalContext, GradContext, Lead, NodeId, OpError, Primitive};
use crate::shape::Type;

/// The first input. The others are where the part begins: what it reads from before. `differentiate` takes
/// note of it; afterwards it is the identity, and `optimize` removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checkpoint {}

impl Primitive for Checkpoint {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        match inputs.first() {
            Some(x) => Ok((*x).clone()),
            None => Err(OpError::internal("`checkpoint` of nothing")),
        }
    }

    /// That of the identity: what the part begins with gets its gradient through the part.
    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        all_lead(inputs, output)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let mut grads = vec![None; cx.inputs.len()];
        grads[0] = cx.to.ty(cx.inputs[0]).dtype.is_float().then_some(cx.grad);
        Ok(grads)
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
