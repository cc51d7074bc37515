//! Convolution (cross-correlation, as in every deep-learning library) over one or two spatial axes.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, Signature, optional, required};
use super::conv_spec::{ConvSpec, channel_error, check_fits, check_same};
use super::{
    ConvTranspose, ConvWeightGrad, Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, kernels,
};
use crate::diagnostic::codes;
use crate::shape::{Dim, Type};

/// `y[n, o, p] = Σ_{c, t} x[n, c, p · stride + t · dilation - pad] · weight[o, c, t]`, zero outside of x.
///
/// Inputs: x `[n, c, (h,) w]` and weight `[o, c / groups, (kh,) kw]`. Output: `[n, o, (h',) w']`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conv {
    /// Stride, padding, dilation, groups.
    pub spec: ConvSpec,
}

impl Primitive for Conv {
    fn name(&self) -> &'static str {
        if self.spec.spatial() == 1 { "conv1d" } else { "conv2d" }
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let (x, w) = (inputs[0], inputs[1]);
        let op = self.name();
        self.spec.check_operand(op, "x", x)?;
        self.spec.check_weight(op, w)?;
        check_same(op, ("x", x), ("weight", w))?;
        let groups = Dim::from(self.spec.groups);
        let expected = w.shape[1].clone() * groups.clone();
        if expected != x.shape[1] {
            return Err(channel_error(op, &expected, x, w));
        }
        if w.shape[0].exact_div(&groups).is_none() {
            let m = format!("`{op}`: {} output channels do not divide into {groups} groups", w.shape[0]);
            return Err(OpError::new(codes::NOT_DIVISIBLE, m));
        }
        let mut shape = vec![x.shape[0].clone(), w.shape[0].clone()];
        shape.extend((0..self.spec.spatial()).map(|axis| self.spec.windows(axis, &x.shape[2 + axis])));
        check_fits(op, &self.spec.kernel, x, &shape[2..])?;
        Ok(Type::new(x.dtype, shape))
    }

    fn leading(&self, _inputs: &[&Type], _output: &Type) -> Option<Vec<Lead>> {
        Some(vec![Lead::Batch, Lead::Shared])
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let (x, w) = (cx.inputs[0], cx.inputs[1]);
        let size = cx.to.ty(x).shape[2..].to_vec();
        let to_x = ConvTranspose { spec: self.spec.clone(), size };
        let to_w = ConvWeightGrad { spec: self.spec.clone() };
        let dx = cx.to.emit(to_x.into(), &[cx.grad, w])?;
        let dw = cx.to.emit(to_w.into(), &[x, cx.grad])?;
        Ok(vec![Some(dx), Some(dw)])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::conv(&self.spec, &inputs[0], &inputs[1])
    }

    fn label(&self) -> String {
        format!("{}{}", self.name(), self.spec.suffix())
    }

    fn flops(&self, inputs: &[&Type], output: &Type) -> f64 {
        2.0 * super::primitive::elements(output) * window_elements(inputs[1])
    }

    fn scratch_bytes(&self, inputs: &[&Type], output: &Type) -> f64 {
        kernels::conv_scratch_bytes(inputs[1], output)
    }
}

/// Elements of a weight per output channel.
pub(super) fn window_elements(weight: &Type) -> f64 {
    weight.shape[1..].iter().map(|d| d.eval_with(1) as f64).product()
}

fn build(to: &mut dyn Emit, args: &Args, spatial: usize) -> Result<Arg, OpError> {
    let (x, w) = (args.tensor(0)?, args.tensor(1)?);
    let op = if spatial == 1 { "conv1d" } else { "conv2d" };
    let spec = ConvSpec::from_args(op, to.ty(w), args, [2, 3, 4, 5], spatial)?;
    to.emit(Conv { spec }.into(), &[x, w]).map(Arg::Tensor)
}

const PARAMS: &[super::ParamSignature] = &[
    required("x", ArgKind::Tensor),
    required("weight", ArgKind::Tensor),
    optional("stride", ArgKind::Ints, Default::Int(1)),
    optional("pad", ArgKind::Any, Default::Int(0)),
    optional("dilation", ArgKind::Ints, Default::Int(1)),
    optional("groups", ArgKind::Int, Default::Int(1)),
];

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "conv1d",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "Convolution of x [n, c, w] with weight [o, c / groups, kw]; pad is an integer or [[left, right]].",
        build: |to, args| build(to, args, 1),
        fold: None,
    },
    Signature {
        name: "conv2d",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "Convolution of x [n, c, h, w] with weight [o, c / groups, kh, kw]; pad is an integer, [h, w] or [[top, bottom], [left, right]].",
        build: |to, args| build(to, args, 2),
        fold: None,
    },
];
