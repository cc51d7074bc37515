//! Reductions over axes: sum, mean, largest, smallest, product.

mod eval;
mod language;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::cumulative::{Cumulative, CumulativeKind, shift};
use super::dim_value::dim_value;
use super::primitive::all_lead;
use super::util::{arity, check_axes, reduced_shape, require_float, require_number};
use super::{
    Binary, Cast, Compare, CompareKind, Emit, EvalContext, Expand, GradContext, Lead, NodeId, OpError,
    Primitive, Reshape,
};
use crate::shape::{DType, Dim, Type};

pub use language::{SIGNATURES, axes_of, static_axis};

/// Which reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReduceKind {
    /// The sum; accumulated in f64 on the CPU.
    Sum,
    /// The sum divided by the number of elements.
    Mean,
    /// The largest; not a number if any is not. Of truth values: whether any holds.
    Max,
    /// The smallest; not a number if any is not. Of truth values: whether all hold.
    Min,
    /// The product, over one axis.
    Prod,
}

/// A reduction over axes, which become 1 (`keep`) or go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reduce {
    /// Which.
    pub kind: ReduceKind,
    /// Over which axes, in increasing order.
    pub axes: Vec<usize>,
    /// Whether the axes stay, of size 1.
    pub keep: bool,
}

impl Primitive for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "sum",
            ReduceKind::Mean => "mean",
            ReduceKind::Max => "max",
            ReduceKind::Min => "min",
            ReduceKind::Prod => "prod",
        }
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x] = arity(self.name(), inputs)?;
        check_axes(self.name(), &self.axes, x.rank())?;
        match self.kind {
            ReduceKind::Mean => require_float(self.name(), &x)?,
            ReduceKind::Sum | ReduceKind::Prod => require_number(self.name(), &x)?,
            ReduceKind::Max | ReduceKind::Min => {
                if let Some(axis) = self.axes.iter().find(|a| x.shape[**a].is(0)) {
                    return Err(OpError::shape(format!(
                        "`{}` over axis {axis} of {x}, which is empty",
                        self.name()
                    )));
                }
            }
        }
        if self.kind == ReduceKind::Prod && self.axes.len() > 1 {
            return Err(OpError::internal("a product is taken over one axis at a time"));
        }
        Ok(Type::new(x.dtype, reduced_shape(&x.shape, &self.axes, self.keep)))
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        if self.axes.contains(&0) { None } else { all_lead(inputs, output) }
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let (x, y) = (cx.inputs[0], cx.output);
        let to = &mut *cx.to;
        let ty = to.ty(x).clone();
        if !ty.dtype.is_float() {
            return Ok(vec![None]);
        }
        let kept = reduced_shape(&ty.shape, &self.axes, true);
        let g = reshape(to, cx.grad, &kept)?;
        let gx = match self.kind {
            ReduceKind::Sum => expand(to, g, &ty.shape)?,
            ReduceKind::Mean => {
                let count = self.axes.iter().fold(Dim::from(1), |n, a| n * ty.shape[*a].clone());
                let count = dim_value(to, &count, ty.dtype)?;
                let g = to.binary(Binary::Div, g, count)?;
                expand(to, g, &ty.shape)?
            }
            ReduceKind::Max | ReduceKind::Min => {
                // Shared evenly among equals, as PyTorch's `amax`.
                let y = reshape(to, y, &kept)?;
                let taken = to.emit(Compare { kind: CompareKind::Eq }.into(), &[x, y])?;
                let taken = to.emit(Cast { dtype: ty.dtype }.into(), &[taken])?;
                let count = Reduce { kind: ReduceKind::Sum, axes: self.axes.clone(), keep: true };
                let count = to.emit(count.into(), &[taken])?;
                let share = to.binary(Binary::Div, g, count)?;
                to.binary(Binary::Mul, taken, share)?
            }
            ReduceKind::Prod => match self.axes.first() {
                None => g,
                Some(&axis) => {
                    // The product of all others: those before times those after. Division would fail at 0.
                    let product = |reverse| Cumulative { kind: CumulativeKind::Prod, axis, reverse };
                    let before = to.emit(product(false).into(), &[x])?;
                    let before = shift(to, before, axis, false, 1.0)?;
                    let after = to.emit(product(true).into(), &[x])?;
                    let after = shift(to, after, axis, true, 1.0)?;
                    let others = to.binary(Binary::Mul, before, after)?;
                    to.binary(Binary::Mul, others, g)?
                }
            },
        };
        Ok(vec![Some(gx)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        eval::eval(self, cx, &inputs[0])
    }

    fn label(&self) -> String {
        format!("{} over {:?}", self.name(), self.axes)
    }

    fn flops(&self, inputs: &[&Type], _output: &Type) -> f64 {
        inputs.iter().map(|x| super::primitive::elements(x)).sum()
    }
}

/// Reshapes, or gives the tensor itself where it has that shape.
pub(super) fn reshape(to: &mut dyn Emit, x: NodeId, shape: &[Dim]) -> Result<NodeId, OpError> {
    if to.ty(x).shape == shape { Ok(x) } else { to.emit(Reshape { shape: shape.to_vec() }.into(), &[x]) }
}

/// Broadcasts, or gives the tensor itself where it has that shape.
pub(super) fn expand(to: &mut dyn Emit, x: NodeId, shape: &[Dim]) -> Result<NodeId, OpError> {
    if to.ty(x).shape == shape { Ok(x) } else { to.emit(Expand { shape: shape.to_vec() }.into(), &[x]) }
}

/// Emits a reduction over any axes; products one axis after the other, truth values as they are.
///
/// # Errors
/// A dtype without that reduction, or axes out of range.
pub fn reduce(
    to: &mut dyn Emit,
    kind: ReduceKind,
    x: NodeId,
    axes: &[usize],
    keep: bool,
) -> Result<NodeId, OpError> {
    let mut axes = axes.to_vec();
    axes.sort_unstable();
    if kind == ReduceKind::Prod && axes.len() > 1 {
        // From the last, so that earlier axes keep their numbers.
        return axes
            .iter()
            .rev()
            .try_fold(x, |x, &axis| to.emit(Reduce { kind, axes: vec![axis], keep }.into(), &[x]));
    }
    if kind == ReduceKind::Sum && to.ty(x).dtype == DType::Bool {
        let help = "count with `sum(int(x), …)` or `sum(float(x), …)`";
        return Err(
            OpError::dtype(format!("`sum` does not take truth values, found {}", to.ty(x))).help(help)
        );
    }
    to.emit(Reduce { kind, axes, keep }.into(), &[x])
}
