//! Transposed convolution, which is also the gradient of a convolution with respect to its input.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, Signature, optional, required};
use super::conv::window_elements;
use super::conv_spec::{ConvSpec, channel_error, check_fits, check_same, natural};
use super::{
    Conv, ConvWeightGrad, Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, kernels,
};
use crate::shape::{Dim, Type};

/// The adjoint of [`Conv`] in x: `x[n, c, p] = Σ y[n, o, q] · weight[o, c, t]` over all `q`, `t` with
/// `q · stride + t · dilation - pad = p`.
///
/// Inputs: y `[n, o, (h',) w']` and weight `[o, c / groups, (kh,) kw]` (PyTorch's layout of a transposed
/// convolution, and of the weight of the convolution whose adjoint this is). Output: `[n, c, (h,) w]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvTranspose {
    /// Attributes of the convolution whose adjoint this is.
    pub spec: ConvSpec,
    /// Spatial size of the output. A strided convolution takes several sizes to the same one, so that its
    /// adjoint has to be told; the language says it as `output_pad`.
    pub size: Vec<Dim>,
}

impl ConvTranspose {
    /// The output's spatial size for PyTorch's `output_padding`.
    ///
    /// # Errors
    /// The rank is wrong, or the padding is not below the stride.
    pub fn with_output_pad(spec: ConvSpec, y: &Type, extra: &[usize]) -> Result<Self, OpError> {
        spec.check_operand(name(spec.spatial()), "x", y)?;
        if let Some((e, s)) = extra.iter().zip(&spec.stride).find(|(e, s)| e >= s) {
            let m = format!("`output_pad` is {e}, and must be smaller than the stride {s}");
            return Err(OpError::value(m));
        }
        let size = (0..spec.spatial())
            .map(|axis| spec.span(axis, &y.shape[2 + axis]) + Dim::from(extra[axis]))
            .collect();
        Ok(ConvTranspose { spec, size })
    }
}

fn name(spatial: usize) -> &'static str {
    if spatial == 1 { "conv_transpose1d" } else { "conv_transpose2d" }
}

impl Primitive for ConvTranspose {
    fn name(&self) -> &'static str {
        name(self.spec.spatial())
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let (y, w) = (inputs[0], inputs[1]);
        let op = self.name();
        self.spec.check_operand(op, "x", y)?;
        self.spec.check_weight(op, w)?;
        check_same(op, ("x", y), ("weight", w))?;
        if w.shape[0] != y.shape[1] {
            return Err(channel_error(op, &w.shape[0], y, w));
        }
        let groups = Dim::from(self.spec.groups);
        if w.shape[0].exact_div(&groups).is_none() {
            let m = format!("`{op}`: {} input channels do not divide into {groups} groups", w.shape[0]);
            return Err(OpError::new(crate::diagnostic::codes::NOT_DIVISIBLE, m));
        }
        check_fits(op, &self.spec.kernel, y, &self.size)?;
        for axis in 0..self.spec.spatial() {
            let (windows, found) = (self.spec.windows(axis, &self.size[axis]), &y.shape[2 + axis]);
            if windows != *found {
                let m = format!("`{op}` to a size of {} needs {windows}, and x has {found}", self.size[axis]);
                return Err(OpError::shape(m));
            }
        }
        let mut shape = vec![y.shape[0].clone(), w.shape[1].clone() * groups];
        shape.extend(self.size.iter().cloned());
        Ok(Type::new(y.dtype, shape))
    }

    fn leading(&self, _inputs: &[&Type], _output: &Type) -> Option<Vec<Lead>> {
        Some(vec![Lead::Batch, Lead::Shared])
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let (y, w) = (cx.inputs[0], cx.inputs[1]);
        let to_w = ConvWeightGrad { spec: self.spec.clone() };
        let dy = cx.to.emit(Conv { spec: self.spec.clone() }.into(), &[cx.grad, w])?;
        let dw = cx.to.emit(to_w.into(), &[cx.grad, y])?;
        Ok(vec![Some(dy), Some(dw)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let Some(shape) = cx.output.constant_shape() else {
            candle_core::bail!("an open size reached `{}`", self.name())
        };
        kernels::conv_transpose(&self.spec, &inputs[0], &inputs[1], &shape[2..])
    }

    fn label(&self) -> String {
        format!("{}{}", self.name(), self.spec.suffix())
    }

    fn flops(&self, inputs: &[&Type], _output: &Type) -> f64 {
        2.0 * super::primitive::elements(inputs[0]) * window_elements(inputs[1])
    }

    fn scratch_bytes(&self, inputs: &[&Type], output: &Type) -> f64 {
        kernels::conv_scratch_bytes(inputs[1], output)
    }

    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        self.size.iter_mut().for_each(|d| *d = f(d));
    }
}

fn build(to: &mut dyn Emit, args: &Args, spatial: usize) -> Result<Arg, OpError> {
    let (x, w) = (args.tensor(0)?, args.tensor(1)?);
    let spec = ConvSpec::from_args(name(spatial), to.ty(w), args, [2, 3, 5, 6], spatial)?;
    let extra = natural(args, 4, spatial, "output_pad")?;
    let op = ConvTranspose::with_output_pad(spec, to.ty(x), &extra)?;
    to.emit(op.into(), &[x, w]).map(Arg::Tensor)
}

const PARAMS: &[super::ParamSignature] = &[
    required("x", ArgKind::Tensor),
    required("weight", ArgKind::Tensor),
    optional("stride", ArgKind::Ints, Default::Int(1)),
    optional("pad", ArgKind::Any, Default::Int(0)),
    optional("output_pad", ArgKind::Ints, Default::Int(0)),
    optional("dilation", ArgKind::Ints, Default::Int(1)),
    optional("groups", ArgKind::Int, Default::Int(1)),
];

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "conv_transpose1d",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "Transposed convolution of x [n, c, w] with weight [c, o / groups, kw]; the width becomes (w - 1) stride - 2 pad + dilation (kw - 1) + output_pad + 1.",
        build: |to, args| build(to, args, 1),
        fold: None,
    },
    Signature {
        name: "conv_transpose2d",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "Transposed convolution of x [n, c, h, w] with weight [c, o / groups, kh, kw]; each size becomes (size - 1) stride - 2 pad + dilation (k - 1) + output_pad + 1.",
        build: |to, args| build(to, args, 2),
        fold: None,
    },
];
