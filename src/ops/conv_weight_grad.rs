//! The gradient of a convolution with respect to its weight.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::conv_spec::{ConvSpec, check_same};
use super::{Conv, ConvTranspose, EvalContext, GradContext, NodeId, OpError, Primitive, kernels};
use crate::diagnostic::codes;
use crate::shape::{Dim, Type};

/// The adjoint of [`Conv`] in its weight: `w[o, c, t] = Σ_{n, p} x[n, c, p · stride + t · dilation - pad] ·
/// y[n, o, p]`, images in order.
///
/// Inputs: x `[n, c, (h,) w]` and y `[n, o, (h',) w']`. Output: `[o, c / groups, (kh,) kw]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvWeightGrad {
    /// Attributes of the convolution whose adjoint this is.
    pub spec: ConvSpec,
}

impl Primitive for ConvWeightGrad {
    fn name(&self) -> &'static str {
        if self.spec.spatial() == 1 { "conv1d_weight_grad" } else { "conv2d_weight_grad" }
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let (x, y) = (inputs[0], inputs[1]);
        let op = self.name();
        self.spec.check_operand(op, "x", x)?;
        self.spec.check_operand(op, "y", y)?;
        check_same(op, ("x", x), ("y", y))?;
        let windows = (0..self.spec.spatial()).map(|axis| self.spec.windows(axis, &x.shape[2 + axis]));
        if x.shape[0] != y.shape[0] || windows.ne(y.shape[2..].iter().cloned()) {
            return Err(OpError::shape(format!("`{op}`: {y} is not what convolving {x} gives")));
        }
        let groups = Dim::from(self.spec.groups);
        let (Some(per_group), Some(_)) = (x.shape[1].exact_div(&groups), y.shape[1].exact_div(&groups))
        else {
            let m = format!("`{op}`: the channels of {x} and {y} do not divide into {groups} groups");
            return Err(OpError::new(codes::NOT_DIVISIBLE, m));
        };
        let mut shape = vec![y.shape[1].clone(), per_group];
        shape.extend(self.spec.kernel.iter().map(|k| Dim::from(*k)));
        Ok(Type::new(x.dtype, shape))
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let (x, y) = (cx.inputs[0], cx.inputs[1]);
        let size = cx.to.ty(x).shape[2..].to_vec();
        let to_x = ConvTranspose { spec: self.spec.clone(), size };
        let dx = cx.to.emit(to_x.into(), &[y, cx.grad])?;
        let dy = cx.to.emit(Conv { spec: self.spec.clone() }.into(), &[x, cx.grad])?;
        Ok(vec![Some(dx), Some(dy)])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::conv_weight_grad(&self.spec, &inputs[0], &inputs[1])
    }

    fn label(&self) -> String {
        format!("{}{}", self.name(), self.spec.suffix())
    }

    fn flops(&self, inputs: &[&Type], output: &Type) -> f64 {
        2.0 * super::primitive::elements(inputs[1]) * super::conv::window_elements(output)
    }

    fn scratch_bytes(&self, inputs: &[&Type], output: &Type) -> f64 {
        kernels::conv_weight_grad_scratch_bytes(self.spec.groups, inputs[1], output)
    }
}
