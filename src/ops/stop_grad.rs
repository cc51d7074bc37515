//! `stop_grad(x)`: x, and no gradient through it.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Signature, required};
use super::primitive::all_lead;
use super::util::arity;
use super::{EvalContext, GradContext, Lead, NodeId, OpError, Primitive};
use crate::shape::Type;

/// The identity, whose gradient is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StopGrad {}

impl Primitive for StopGrad {
    fn name(&self) -> &'static str {
        "stop_grad"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x] = arity("stop_grad", inputs)?;
        Ok(x)
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        all_lead(inputs, output)
    }

    fn grad(&self, _cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Ok(vec![None])
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

/// How the language calls it.
pub const SIGNATURES: &[Signature] = &[Signature {
    name: "stop_grad",
    params: &[required("x", ArgKind::Tensor)],
    rest: None,
    named: false,
    doc: "x itself; gradients do not flow through it.",
    build: |to, args| {
        let x = args.tensor(0)?;
        to.emit(StopGrad {}.into(), &[x]).map(Arg::Tensor)
    },
    fold: Some(|args| Ok(args.params[0].clone())),
}];
