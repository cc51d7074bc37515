//! Windows of two spatial axes, and their mean.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, ParamSignature, Signature, optional, required};
use super::conv_spec::{by, check_fits, check_floats, natural, positive, times};
use super::primitive::all_lead;
use super::primitive::elements;
use super::{Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, kernels};
use crate::diagnostic::codes;
use crate::shape::{Dim, Type};

/// Windows over height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSpec {
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Rows and columns added on both sides: zeros of an average, never the largest of a maximum.
    pub padding: [usize; 2],
}

impl PoolSpec {
    /// Reads kernel, stride and pad from parameters 1 to 3.
    pub(super) fn from_args(args: &Args) -> Result<Self, OpError> {
        let pair = |v: Vec<usize>| [v[0], v[1]];
        let kernel = pair(positive(args, 1, 2, "kernel")?);
        let stride = if args.is_none(2) { kernel } else { pair(positive(args, 2, 2, "stride")?) };
        let padding = pair(natural(args, 3, 2, "pad")?);
        if padding.iter().zip(kernel).any(|(p, k)| 2 * p > k) {
            let m = format!("`pad` {} is more than half of the {} window", times(&padding), by(&kernel));
            return Err(OpError::value(m));
        }
        Ok(PoolSpec { kernel, stride, padding })
    }

    /// The shape of the windows of `[n, c, h, w]`.
    pub(super) fn output(&self, op: &str, x: &Type) -> Result<Vec<Dim>, OpError> {
        check_floats(op, "x", x)?;
        if x.rank() != 4 {
            let m = format!("`{op}` takes x as [batch, channels, height, width], and this is {x}");
            return Err(OpError::new(codes::WRONG_RANK, m));
        }
        let mut shape = x.shape[..2].to_vec();
        shape.extend((0..2).map(|axis| self.windows(axis, &x.shape[2 + axis])));
        check_fits(op, &self.kernel, x, &shape[2..])?;
        Ok(shape)
    }

    fn windows(&self, axis: usize, size: &Dim) -> Dim {
        (size.clone() + Dim::from(2 * self.padding[axis]) - Dim::from(self.kernel[axis]))
            .floor_div(i64::try_from(self.stride[axis]).unwrap_or(i64::MAX))
            + Dim::from(1)
    }

    /// Elements of a window.
    pub(super) fn area(&self) -> f64 {
        self.kernel.iter().product::<usize>() as f64
    }

    /// For labels: ` 2×2`, ` 3×3, stride 2, pad 1`.
    pub(super) fn suffix(&self) -> String {
        let mut out = format!(" {}", by(&self.kernel));
        if self.stride != self.kernel {
            out += &format!(", stride {}", times(&self.stride));
        }
        if self.padding != [0, 0] {
            out += &format!(", pad {}", times(&self.padding));
        }
        out
    }
}

/// The mean of each window of x `[n, c, h, w]`. Zeros of the padding count, as in PyTorch's
/// `count_include_pad`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvgPool {
    /// The windows.
    pub spec: PoolSpec,
}

impl Primitive for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        Ok(Type::new(inputs[0].dtype, self.spec.output(self.name(), inputs[0])?))
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        all_lead(inputs, output)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let size = cx.to.ty(cx.inputs[0]).shape[2..].to_vec();
        let g = cx.to.emit(AvgPoolGrad { spec: self.spec, size }.into(), &[cx.grad])?;
        Ok(vec![Some(g)])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::avg_pool(&self.spec, &inputs[0])
    }

    fn label(&self) -> String {
        format!("{}{}", self.name(), self.spec.suffix())
    }

    fn flops(&self, _inputs: &[&Type], output: &Type) -> f64 {
        elements(output) * self.spec.area()
    }
}

/// The adjoint of [`AvgPool`]: each value of `[n, c, h', w']` is spread evenly over its window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvgPoolGrad {
    /// The windows.
    pub spec: PoolSpec,
    /// Height and width of the output.
    pub size: Vec<Dim>,
}

impl Primitive for AvgPoolGrad {
    fn name(&self) -> &'static str {
        "avg_pool2d_grad"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let y = inputs[0];
        check_floats(self.name(), "y", y)?;
        if y.rank() != 4 || self.size.len() != 2 {
            return Err(OpError::new(codes::WRONG_RANK, format!("`{}` of {y}", self.name())));
        }
        let mut shape = y.shape[..2].to_vec();
        shape.extend(self.size.iter().cloned());
        let x = Type::new(y.dtype, shape);
        match self.spec.output(self.name(), &x)? == y.shape {
            true => Ok(x),
            false => Err(OpError::shape(format!("`{}`: {y} is not what pooling {x} gives", self.name()))),
        }
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let g = cx.to.emit(AvgPool { spec: self.spec }.into(), &[cx.grad])?;
        Ok(vec![Some(g)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::avg_pool_grad(&self.spec, &inputs[0], &kernels::size_of(cx.output)?)
    }

    fn label(&self) -> String {
        format!("{}{}", self.name(), self.spec.suffix())
    }

    fn flops(&self, inputs: &[&Type], _output: &Type) -> f64 {
        elements(inputs[0]) * self.spec.area()
    }

    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        self.size.iter_mut().for_each(|d| *d = f(d));
    }
}

fn build(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let spec = PoolSpec::from_args(args)?;
    to.emit(AvgPool { spec }.into(), &[args.tensor(0)?]).map(Arg::Tensor)
}

/// Parameters of a pooling in the language.
pub(super) const PARAMS: &[ParamSignature] = &[
    required("x", ArgKind::Tensor),
    required("kernel", ArgKind::Ints),
    optional("stride", ArgKind::Ints, Default::None),
    optional("pad", ArgKind::Ints, Default::Int(0)),
];

/// How the language calls it.
pub const SIGNATURES: &[Signature] = &[Signature {
    name: "avg_pool2d",
    params: PARAMS,
    rest: None,
    named: false,
    doc: "Mean of each window of x [n, c, h, w]; the stride is the kernel if not given; padded zeros count.",
    build,
    fold: None,
}];
