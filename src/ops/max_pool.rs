//! The largest value of each window, and what its gradients need.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, Args, Signature};
use super::avg_pool::{PARAMS, PoolSpec};
use super::conv_spec::check_same;
use super::primitive::all_lead;
use super::primitive::elements;
use super::{Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, kernels};
use crate::shape::Type;

/// The largest value of each window of x `[n, c, h, w]`. Of equal ones the first, in rows, gets the gradient;
/// a NaN wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPool {
    /// The windows.
    pub spec: PoolSpec,
}

/// For each window of the first input x `[n, c, h, w]`, the element of the second input `[n, c, h, w]` where
/// x has its largest value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPoolPick {
    /// The windows.
    pub spec: PoolSpec,
}

/// The adjoint of [`MaxPoolPick`] in its second input: each value of y `[n, c, h', w']` is added where x
/// `[n, c, h, w]` has the largest value of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPoolGrad {
    /// The windows.
    pub spec: PoolSpec,
}

impl Primitive for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        Ok(Type::new(inputs[0].dtype, self.spec.output(self.name(), inputs[0])?))
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        all_lead(inputs, output)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let g = cx.to.emit(MaxPoolGrad { spec: self.spec }.into(), &[cx.inputs[0], cx.grad])?;
        Ok(vec![Some(g)])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::max_pool_pick(&self.spec, &inputs[0], &inputs[0])
    }

    fn label(&self) -> String {
        format!("{}{}", self.name(), self.spec.suffix())
    }

    fn flops(&self, _inputs: &[&Type], output: &Type) -> f64 {
        elements(output) * self.spec.area()
    }
}

impl Primitive for MaxPoolPick {
    fn name(&self) -> &'static str {
        "max_pool2d_pick"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let (x, v) = (inputs[0], inputs[1]);
        check_same(self.name(), ("x", x), ("v", v))?;
        if x.shape != v.shape {
            return Err(OpError::shape(format!("`{}` of {x} and {v}", self.name())));
        }
        Ok(Type::new(x.dtype, self.spec.output(self.name(), x)?))
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let g = cx.to.emit(MaxPoolGrad { spec: self.spec }.into(), &[cx.inputs[0], cx.grad])?;
        Ok(vec![None, Some(g)])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::max_pool_pick(&self.spec, &inputs[0], &inputs[1])
    }

    fn label(&self) -> String {
        format!("{}{}", self.name(), self.spec.suffix())
    }

    fn flops(&self, _inputs: &[&Type], output: &Type) -> f64 {
        elements(output) * self.spec.area()
    }
}

impl Primitive for MaxPoolGrad {
    fn name(&self) -> &'static str {
        "max_pool2d_grad"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let (x, y) = (inputs[0], inputs[1]);
        check_same(self.name(), ("x", x), ("y", y))?;
        match self.spec.output(self.name(), x)? == y.shape {
            true => Ok(x.plain()),
            false => Err(OpError::shape(format!("`{}`: {y} is not what pooling {x} gives", self.name()))),
        }
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let g = cx.to.emit(MaxPoolPick { spec: self.spec }.into(), &[cx.inputs[0], cx.grad])?;
        Ok(vec![None, Some(g)])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::max_pool_grad(&self.spec, &inputs[0], &inputs[1])
    }

    fn label(&self) -> String {
        format!("{}{}", self.name(), self.spec.suffix())
    }

    fn flops(&self, inputs: &[&Type], _output: &Type) -> f64 {
        elements(inputs[1]) * self.spec.area()
    }
}

fn build(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let spec = PoolSpec::from_args(args)?;
    to.emit(MaxPool { spec }.into(), &[args.tensor(0)?]).map(Arg::Tensor)
}

/// How the language calls it.
pub const SIGNATURES: &[Signature] = &[Signature {
    name: "max_pool2d",
    params: PARAMS,
    rest: None,
    named: false,
    doc: "Largest value of each window of x [n, c, h, w]; the stride is the kernel if not given.",
    build,
    fold: None,
}];
