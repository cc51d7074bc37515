//! `scatter_add` and `index_add`: sums into places given by an index. Sums are taken in the order of the
//! index, so that they do not depend on threads.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Signature, required, resolve_axes};
use super::gather::check_fit;
use super::layout::{arity, axis_dim, check_index};
use super::{Emit, EvalContext, Gather, GradContext, NodeId, OpError, Primitive, Take};
use crate::shape::{Dim, Type};

/// `x` with `src[.., i, ..]` added at `[.., index[.., i, ..], ..]`. Index and source have one shape, which is
/// that of `x` save along the axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScatterAdd {
    /// The axis.
    pub axis: usize,
}

/// `x` with the slices of `src` along the axis added to the slices that an index of rank 1 names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexAdd {
    /// The axis.
    pub axis: usize,
}

fn check_source(op: &str, x: &Type, src: &Type) -> Result<(), OpError> {
    if x.dtype == src.dtype {
        return Ok(());
    }
    Err(OpError::dtype(format!("`{op}` of {src} ({}) to {x} ({})", src.dtype, x.dtype))
        .help("cast one of them"))
}

impl Primitive for ScatterAdd {
    fn name(&self) -> &'static str {
        "scatter_add"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x, index, src] = arity(self.name(), inputs)?;
        check_fit(self.name(), x, index, self.axis)?;
        check_source(self.name(), x, src)?;
        if index.shape != src.shape {
            let m = format!("`scatter_add` of {src} by the index {index}");
            return Err(OpError::shape(m).help("index and source must have one shape"));
        }
        Ok(x.plain())
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let src = cx.to.emit(Gather { axis: self.axis }.into(), &[cx.grad, cx.inputs[1]])?;
        Ok(vec![Some(cx.grad), None, Some(src)])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (index, src) = (inputs[1].contiguous()?, inputs[2].contiguous()?);
        inputs[0].contiguous()?.scatter_add(&index, &src, self.axis)
    }

    fn label(&self) -> String {
        format!("scatter_add, axis {}", self.axis)
    }

    fn flops(&self, inputs: &[&Type], _output: &Type) -> f64 {
        inputs.get(2).map_or(0.0, |src| super::primitive::elements(src))
    }
}

impl Primitive for IndexAdd {
    fn name(&self) -> &'static str {
        "index_add"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x, index, src] = arity(self.name(), inputs)?;
        axis_dim(self.name(), x, self.axis)?;
        check_index(self.name(), index)?;
        check_source(self.name(), x, src)?;
        let agrees = |(i, (a, b)): (usize, (&Dim, &Dim))| i == self.axis || a == b;
        let fits = index.rank() == 1
            && x.rank() == src.rank()
            && src.shape[self.axis] == index.shape[0]
            && x.shape.iter().zip(&src.shape).enumerate().all(agrees);
        if !fits {
            let m = format!("`index_add` along axis {} of {src} to {x} by the index {index}", self.axis);
            return Err(OpError::shape(m).help(
                "the index has rank 1 and the length of the source along the axis; other axes are equal",
            ));
        }
        Ok(x.plain())
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let src = cx.to.emit(Take { axis: self.axis }.into(), &[cx.grad, cx.inputs[1]])?;
        Ok(vec![Some(cx.grad), None, Some(src)])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (index, src) = (inputs[1].contiguous()?, inputs[2].contiguous()?);
        inputs[0].contiguous()?.index_add(&index, &src, self.axis)
    }

    fn label(&self) -> String {
        format!("index_add, axis {}", self.axis)
    }

    fn flops(&self, inputs: &[&Type], _output: &Type) -> f64 {
        inputs.get(2).map_or(0.0, |src| super::primitive::elements(src))
    }
}

fn build(to: &mut dyn Emit, args: &Args, of: fn(usize) -> super::Op) -> Result<Arg, OpError> {
    let x = args.tensor(0)?;
    let axis = resolve_axes(&[args.int(3)?], to.ty(x).rank())?[0];
    to.emit(of(axis), &[x, args.tensor(1)?, args.tensor(2)?]).map(Arg::Tensor)
}

const PARAMS: &[super::ParamSignature] = &[
    required("x", ArgKind::Tensor),
    required("index", ArgKind::Tensor),
    required("src", ArgKind::Tensor),
    required("axis", ArgKind::Int),
];

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "scatter_add",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "x with src[i, j] added at [i, index[i, j]], for axis 1.",
        build: |to, args| build(to, args, |axis| ScatterAdd { axis }.into()),
        fold: None,
    },
    Signature {
        name: "index_add",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "x with the slices of src along an axis added to the slices that an index [m] names.",
        build: |to, args| build(to, args, |axis| IndexAdd { axis }.into()),
        fold: None,
    },
];
