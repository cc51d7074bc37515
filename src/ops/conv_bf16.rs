//! A convolution with operands rounded to bf16.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::conv_spec::ConvSpec;
use super::{
    Bf16Form, Bf16Weights, ConvFused, EvalContext, GradContext, NodeId, OpError, Primitive, kernels,
};
use crate::shape::{DType, Type};

/// What [`ConvFused`] computes, of x and weight rounded to bf16; products are exact and summed in f32.
///
/// Inputs: x `f32[n, c, h, w]`, the output of [`Bf16Weights`], then bias `f32[o]` if there is one, then the residual, of
/// the output's shape, if there is one. Output: `f32[n, o, h', w']`. It is emitted by a pass for inference, and the
/// language does not spell it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvBf16 {
    /// Of one group over two axes.
    pub spec: ConvSpec,
    /// Output channels.
    pub outputs: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether there is a residual.
    pub residual: bool,
}

impl Primitive for ConvBf16 {
    fn name(&self) -> &'static str {
        "conv2d_bf16"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x, weights, added @ ..] = inputs else {
            return Err(OpError::internal("`conv2d_bf16` takes x and rounded weights"));
        };
        let channels = x.shape.get(1).and_then(|d| usize::try_from(d.as_const()?).ok());
        let (Some(c), [kh, kw]) = (channels.filter(|_| x.dtype == DType::F32), &self.spec.kernel[..]) else {
            return Err(OpError::internal(format!("`conv2d_bf16` takes f32[n, c, h, w], not {x}")));
        };
        let weight = Type::of(DType::F32, &[self.outputs, c, *kh, *kw]);
        let expected = Bf16Weights { form: Bf16Form::Filters }.infer(&[&weight])?;
        if expected.plain() != weights.plain() {
            return Err(OpError::internal(format!("`conv2d_bf16` takes weights {expected}, not {weights}")));
        }
        // The plain convolution says what fits.
        let mut all = vec![*x, &weight];
        all.extend_from_slice(added);
        ConvFused { spec: self.spec.clone(), bias: self.bias, residual: self.residual }.infer(&all)
    }

    /// None: a pass emits it after differentiation, for inference.
    fn grad(&self, _cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Err(OpError::internal("`conv2d_bf16` is for inference, and has no gradient"))
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let mut rest = inputs[2..].iter();
        let bias = if self.bias { rest.next() } else { None };
        let residual = if self.residual { rest.next() } else { None };
        kernels::conv_bf16(&self.spec, self.outputs, &inputs[0], &inputs[1], bias, residual)
    }

    fn label(&self) -> String {
        let what = |there: bool, text: &'static str| if there { text } else { "" };
        let suffix = self.spec.suffix();
        format!("conv2d_bf16{suffix}{}{}", what(self.bias, " + bias"), what(self.residual, " + residual"))
    }

    fn flops(&self, inputs: &[&Type], output: &Type) -> f64 {
        let taps: usize = self.spec.kernel.iter().product();
        let depth = inputs[0].shape[1].eval_with(1) as f64 * taps as f64;
        super::primitive::elements(output) * 2.0 * depth
    }

    fn scratch_bytes(&self, inputs: &[&Type], output: &Type) -> f64 {
        kernels::conv_scratch_bytes(inputs[0], output)
    }
}
