//! Between the language's types and candle's: dtypes, static numbers, plain vectors.

use candle_core::{DType as CandleDType, Device, Result, Tensor};

use crate::shape::DType;

pub use crate::ops::util::candle_dtype;

/// The language's dtype for a candle tensor; `None` for those that the language has not (`u32`, `f8`, …).
pub fn taper_dtype(dtype: CandleDType) -> Option<DType> {
    Some(match dtype {
        CandleDType::U8 => DType::U8,
        CandleDType::I64 => DType::I64,
        CandleDType::F16 => DType::F16,
        CandleDType::BF16 => DType::BF16,
        CandleDType::F32 => DType::F32,
        CandleDType::F64 => DType::F64,
        _ => return None,
    })
}

/// A tensor of static numbers. Integers are exact up to 2^53; bytes and integers saturate; truth values are
/// whether the number differs from zero.
///
/// # Errors
/// The number of values is not that of the shape, or the device is out of memory.
pub fn from_f64(values: &[f64], shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    match dtype {
        DType::Bool => {
            let v: Vec<u8> = values.iter().map(|x| u8::from(*x != 0.0)).collect();
            Tensor::from_vec(v, shape, device)
        }
        DType::U8 => Tensor::from_vec(values.iter().map(|x| *x as u8).collect::<Vec<_>>(), shape, device),
        DType::I64 => Tensor::from_vec(values.iter().map(|x| *x as i64).collect::<Vec<_>>(), shape, device),
        DType::F64 => Tensor::from_vec(values.to_vec(), shape, device),
        DType::F32 => Tensor::from_vec(values.iter().map(|x| *x as f32).collect::<Vec<_>>(), shape, device),
        DType::F16 => {
            let v: Vec<half::f16> = values.iter().map(|x| half::f16::from_f64(*x)).collect();
            Tensor::from_vec(v, shape, device)
        }
        DType::BF16 => {
            let v: Vec<half::bf16> = values.iter().map(|x| half::bf16::from_f64(*x)).collect();
            Tensor::from_vec(v, shape, device)
        }
    }
}

/// All elements in row-major order, as f32.
///
/// # Errors
/// The copy from the device fails.
pub fn to_f32_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_dtype(CandleDType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()
}

/// All elements in row-major order, as f64.
///
/// # Errors
/// The copy from the device fails.
pub fn to_f64_vec(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_device(&Device::Cpu)?.to_dtype(CandleDType::F64)?.flatten_all()?.to_vec1()
}

/// The same values in row-major order in a storage of their own size, so that keeping the tensor keeps
/// nothing else. Copies only where it must.
///
/// # Errors
/// The device is out of memory.
pub fn own(tensor: &Tensor) -> Result<Tensor> {
    let whole = {
        let (_, layout) = tensor.storage_and_layout();
        let size = (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64;
        layout.is_contiguous() && layout.start_offset() == 0 && super::memory::storage(tensor).1 == size
    };
    if whole { Ok(tensor.clone()) } else { tensor.force_contiguous() }
}
