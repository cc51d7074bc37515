//! What the operations that move elements share: arity, attributes, indices.

use candle_core::Tensor;

use super::{EvalContext, OpError};
use crate::diagnostic::codes;
use crate::shape::{DType, Dim, Type, display_shape, is_nonnegative};

/// The inputs as an array.
///
/// # Errors
/// Their number is wrong: a fault of ours, or a graph file edited by hand.
pub(super) fn arity<'a, const N: usize>(op: &str, inputs: &[&'a Type]) -> Result<[&'a Type; N], OpError> {
    inputs
        .try_into()
        .map_err(|_| OpError::internal(format!("`{op}` takes {N} inputs and was given {}", inputs.len())))
}

/// The dimension of an axis that is already positive.
///
/// # Errors
/// [`codes::BAD_AXIS`].
pub(super) fn axis_dim<'a>(op: &str, ty: &'a Type, axis: usize) -> Result<&'a Dim, OpError> {
    ty.shape.get(axis).ok_or_else(|| {
        OpError::new(
            codes::BAD_AXIS,
            format!("`{op}` along axis {axis} of {ty}, which has rank {}", ty.rank()),
        )
    })
}

/// Number of elements of a shape, as a polynomial.
pub(super) fn product(shape: &[Dim]) -> Dim {
    shape.iter().fold(Dim::from(1), |a, d| a * d.clone())
}

/// A shape that an attribute gives: no dimension may be known to be negative.
///
/// # Errors
/// [`codes::BAD_VALUE`].
pub(super) fn check_shape(op: &str, shape: &[Dim]) -> Result<(), OpError> {
    match shape.iter().find(|d| is_nonnegative(d) == Some(false)) {
        Some(d) => {
            let m = format!("`{op}` to {}: the dimension {d} is negative", display_shape(shape));
            Err(OpError::value(m))
        }
        None => Ok(()),
    }
}

/// Checks that a tensor of indices is one.
///
/// # Errors
/// [`codes::DTYPE_MISMATCH`].
pub(super) fn check_index(op: &str, index: &Type) -> Result<(), OpError> {
    if index.dtype == DType::I64 {
        return Ok(());
    }
    let error = OpError::dtype(format!("`{op}` takes an index of dtype i64, and this one is {index}"));
    Err(match index.dtype {
        DType::Bool => {
            error.help("choose with `where`: the number of true elements is not known before a run")
        }
        _ => error.help("convert it: `int(index)`"),
    })
}

/// A dimension among the attributes as a number.
///
/// # Errors
/// It is open or negative.
pub(super) fn constant(dim: &Dim) -> candle_core::Result<usize> {
    dim.as_const().and_then(|v| usize::try_from(v).ok()).ok_or_else(|| {
        candle_core::Error::Msg(format!("the dimension {dim} is open or negative at run time"))
    })
}

/// Integers as a tensor of that shape, on the context's device.
///
/// # Errors
/// Whatever candle reports.
pub(super) fn index_tensor(
    cx: &EvalContext<'_>,
    values: Vec<i64>,
    shape: &[usize],
) -> candle_core::Result<Tensor> {
    Tensor::from_vec(values, shape, cx.device)
}
