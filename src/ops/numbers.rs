//! Elementwise operations on plain numbers, by the same evaluation as on tensors.

use candle_core::{Device, Tensor};

use super::{EvalContext, Op, Primitive};
use crate::shape::{DType, Type};

/// Evaluates an elementwise operation on lists of numbers of one length, floats in f64, whatever float dtype
/// they stand for. `output` is the inferred dtype. `None` if the operation refuses, or if an integer or
/// truth value is not exact in f64.
pub fn evaluate(op: &Op, operands: &[(Vec<f64>, DType)], output: DType) -> Option<Vec<f64>> {
    if !matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Compare(_) | Op::Where(_) | Op::Cast(_)) {
        return None;
    }
    let count = operands.first()?.0.len();
    let tensors: Option<Vec<Tensor>> =
        operands.iter().map(|(values, dtype)| tensor(values, *dtype)).collect();
    // Converting between floats rounds at the end only.
    if let Op::Cast(_) = op
        && output.is_float()
    {
        return Some(operands.first()?.0.clone());
    }
    let ty = Type::of(if output.is_float() { DType::F64 } else { output }, &[count]);
    let device = Device::Cpu;
    let cx = EvalContext {
        device: &device,
        output: &ty,
        seed: 0,
        loop_step: 0,
        step: 0,
        first_sample: 0,
        overwrite: None,
    };
    let result = op.eval(&cx, &tensors?).ok()?.to_dtype(candle_core::DType::F64).ok()?;
    let values = result.to_vec1::<f64>().ok()?;
    let exact = output.is_float() || values.iter().all(|v| v.fract() == 0.0 && v.abs() < EXACT);
    (values.len() == count && exact).then_some(values)
}

/// Integers below this are exact in f64.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn tensor(values: &[f64], dtype: DType) -> Option<Tensor> {
    let whole = || values.iter().all(|v| v.fract() == 0.0 && v.abs() < EXACT);
    match dtype {
        DType::Bool | DType::U8 => {
            whole().then(|| Tensor::from_iter(values.iter().map(|v| *v as u8), &Device::Cpu))?.ok()
        }
        DType::I64 => {
            whole().then(|| Tensor::from_iter(values.iter().map(|v| *v as i64), &Device::Cpu))?.ok()
        }
        _ => Tensor::from_iter(values.iter().copied(), &Device::Cpu).ok(),
    }
}
