//! A convolution that adds a bias and another tensor as it writes its output.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::conv_spec::{ConvSpec, check_same};
use super::reduce::{Reduce, ReduceKind};
use super::{Conv, EvalContext, GradContext, NodeId, OpError, Primitive, kernels};
use crate::shape::{Type, display_shape};

/// `y = conv(x, weight) + bias[o] + residual`: what follows nearly every convolution of a residual network,
/// without passes over memory of its own. The sums are those of the separate operations, to the bit:
/// `(conv + bias) + residual`.
///
/// Inputs: x `[n, c, (h,) w]`, weight `[o, c / groups, (kh,) kw]`, then bias `[o]` if there is one, then the
/// residual, of the output's shape, if there is one. Output: `[n, o, (h',) w']`. It is emitted by a pass, and
/// the language does not spell it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvFused {
    /// Stride, padding, dilation, groups.
    pub spec: ConvSpec,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether there is a residual.
    pub residual: bool,
}

impl ConvFused {
    fn plain(&self) -> Conv {
        Conv { spec: self.spec.clone() }
    }
}

impl Primitive for ConvFused {
    fn name(&self) -> &'static str {
        if self.spec.spatial() == 1 { "conv1d_fused" } else { "conv2d_fused" }
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let op = self.name();
        let wanted = 2 + usize::from(self.bias) + usize::from(self.residual);
        if inputs.len() != wanted {
            return Err(OpError::internal(format!("`{op}` takes {wanted} inputs, not {}", inputs.len())));
        }
        let y = self.plain().infer(&inputs[..2])?;
        let mut rest = inputs[2..].iter();
        if self.bias
            && let Some(bias) = rest.next()
        {
            check_same(op, ("x", inputs[0]), ("bias", bias))?;
            if bias.shape != y.shape[1..2] {
                let expected = display_shape(&y.shape[1..2]);
                return Err(OpError::shape(format!("`{op}`: the bias {bias} should be {expected}")));
            }
        }
        if let Some(residual) = rest.next() {
            check_same(op, ("x", inputs[0]), ("residual", residual))?;
            if residual.shape != y.shape {
                return Err(OpError::shape(format!("`{op}`: the residual {residual} should be {y}")));
            }
        }
        Ok(y)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let mut conv =
            GradContext { to: &mut *cx.to, inputs: &cx.inputs[..2], output: cx.output, grad: cx.grad };
        let mut out = self.plain().grad(&mut conv)?;
        if self.bias {
            let axes = (0..2 + self.spec.spatial()).filter(|a| *a != 1).collect();
            let sum = Reduce { kind: ReduceKind::Sum, axes, keep: false };
            out.push(Some(cx.to.emit(sum.into(), &[cx.grad])?));
        }
        if self.residual {
            out.push(Some(cx.grad));
        }
        Ok(out)
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let mut rest = inputs[2..].iter();
        let bias = if self.bias { rest.next() } else { None };
        let residual = if self.residual { rest.next() } else { None };
        kernels::conv_fused(&self.spec, &inputs[0], &inputs[1], bias, residual)
    }

    fn label(&self) -> String {
        let what = |there: bool, text: &'static str| if there { text } else { "" };
        let conv = self.plain().label();
        format!("{conv}{}{}", what(self.bias, " + bias"), what(self.residual, " + residual"))
    }

    fn flops(&self, inputs: &[&Type], output: &Type) -> f64 {
        let added = f64::from(u8::from(self.bias) + u8::from(self.residual));
        self.plain().flops(&inputs[..2], output) + added * super::primitive::elements(output)
    }

    fn scratch_bytes(&self, inputs: &[&Type], output: &Type) -> f64 {
        self.plain().scratch_bytes(&inputs[..2], output)
    }
}
