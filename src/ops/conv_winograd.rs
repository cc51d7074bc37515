//! A convolution of 3×3 windows by Winograd's minimal filtering.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::conv_spec::ConvSpec;
use super::{ConvFused, EvalContext, GradContext, NodeId, OpError, Primitive, kernels};
use crate::shape::{DType, Type};

/// What [`ConvFused`] computes, with a quarter of its multiplications and some 20 times its rounding error
/// (1e-5 of the largest output): F(4×4, 3×3) of Lavin & Gray 2016, "Fast algorithms for convolutional neural
/// networks".
///
/// Inputs: x `f32[n, c, h, w]`, the output of [`WinogradWeights`](super::WinogradWeights), then bias `[o]` if
/// there is one, then the residual, of the output's shape, if there is one. Output: `f32[n, o, h', w']`. It is
/// emitted by a pass, and the language does not spell it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvWinograd {
    /// A kernel of 3×3, any padding; else as [`ConvSpec::unit`].
    pub spec: ConvSpec,
    /// Output channels.
    pub outputs: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether there is a residual.
    pub residual: bool,
}

/// Whether a convolution of x and weight to that output should be computed so: a question of the sizes of one
/// image and of the weight, which may be that of a transposed convolution, so that results do not depend on the
/// batch.
pub fn winograd_pays(spec: &ConvSpec, x: &Type, (weight, transposed): (&Type, bool), output: &Type) -> bool {
    let Some((o, c)) = super::winograd_weights::channels(weight, transposed) else { return false };
    let side = |axis: usize| output.shape.get(axis).and_then(|d| usize::try_from(d.as_const()?).ok());
    match (side(2), side(3)) {
        (Some(h), Some(w)) => x.dtype == DType::F32 && kernels::winograd_applies(spec, c, o, [h, w]),
        _ => false,
    }
}

impl Primitive for ConvWinograd {
    fn name(&self) -> &'static str {
        "conv2d_winograd"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x, weights, added @ ..] = inputs else {
            return Err(OpError::internal("`conv2d_winograd` takes x and transformed weights"));
        };
        // The plain convolution says what fits.
        let channels = x.shape.get(1).and_then(|d| usize::try_from(d.as_const()?).ok());
        let Some(c) = channels.filter(|_| x.dtype == DType::F32) else {
            return Err(OpError::internal(format!("`conv2d_winograd` takes f32[n, c, h, w], not {x}")));
        };
        let expected = Type::of(DType::F32, &[36, kernels::winograd_weights_len(c, self.outputs)]);
        if expected.plain() != weights.plain() {
            return Err(OpError::internal(format!(
                "`conv2d_winograd` takes weights {expected}, not {weights}"
            )));
        }
        let mut all = vec![*x];
        let weight = Type::of(DType::F32, &[self.outputs, c, 3, 3]);
        all.push(&weight);
        all.extend_from_slice(added);
        ConvFused { spec: self.spec.clone(), bias: self.bias, residual: self.residual }.infer(&all)
    }

    /// None: a pass emits it after differentiation, for inference.
    fn grad(&self, _cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Err(OpError::internal("`conv2d_winograd` is for inference, and has no gradient"))
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let mut rest = inputs[2..].iter();
        let bias = if self.bias { rest.next() } else { None };
        let residual = if self.residual { rest.next() } else { None };
        kernels::conv_winograd(&self.spec, self.outputs, &inputs[0], &inputs[1], bias, residual)
    }

    fn label(&self) -> String {
        let what = |there: bool, text: &'static str| if there { text } else { "" };
        let suffix = self.spec.suffix();
        format!("winograd{suffix}{}{}", what(self.bias, " + bias"), what(self.residual, " + residual"))
    }

    /// Those that are carried out: 36 products for 16 pixels.
    fn flops(&self, inputs: &[&Type], output: &Type) -> f64 {
        let channels = inputs[0].shape[1].eval_with(1) as f64;
        super::primitive::elements(output) * (2.0 * channels * 36.0 / 16.0 + 12.0)
    }

    fn scratch_bytes(&self, inputs: &[&Type], output: &Type) -> f64 {
        kernels::conv_winograd_scratch_bytes(inputs[0], output)
    }
}
