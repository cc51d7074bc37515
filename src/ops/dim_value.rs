//! An open dimension as a number.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::util::candle_dtype;
use super::{Emit, EvalContext, GradContext, NodeId, OpError, Primitive};
use crate::shape::{DType, Dim, Type};

/// The value of a dimension, without dimensions of its own. No inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DimValue {
    /// Which.
    pub dim: Dim,
    /// As what dtype.
    pub dtype: DType,
}

impl Primitive for DimValue {
    fn name(&self) -> &'static str {
        "dim"
    }

    fn infer(&self, _inputs: &[&Type]) -> Result<Type, OpError> {
        Ok(Type::scalar(self.dtype))
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Ok(vec![None; cx.inputs.len()])
    }

    fn eval(&self, cx: &EvalContext<'_>, _inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        match self.dim.as_const() {
            Some(value) => Tensor::full(value, (), cx.device)?.to_dtype(candle_dtype(self.dtype)),
            None => candle_core::bail!("the dimension {} is open at run time", self.dim),
        }
    }

    fn label(&self) -> String {
        self.dim.to_string()
    }

    fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }

    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        self.dim = f(&self.dim);
    }
}

/// A dimension as a number of that dtype: a constant where it is known.
///
/// # Errors
/// None in practice.
pub fn dim_value(to: &mut dyn Emit, dim: &Dim, dtype: DType) -> Result<NodeId, OpError> {
    match dim.as_const() {
        Some(value) => to.scalar(value as f64, dtype),
        None => to.emit(DimValue { dim: dim.clone(), dtype }.into(), &[]),
    }
}
