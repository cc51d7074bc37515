//! Between plain arrays, as files hold them, and tensors.

use candle_core::{DType, Device, Tensor};

use crate::data::{Array, ArrayData};
use crate::diagnostic::{Diagnostic, codes};

/// A tensor of an array's elements.
///
/// # Errors
/// [`codes::DATA_FIELD`]: it holds text, which must be tokenized first. The device is out of memory.
pub fn from_array(array: &Array, device: &Device) -> Result<Tensor, Diagnostic> {
    let shape = array.shape.as_slice();
    match &array.data {
        ArrayData::U8(v) => Tensor::from_slice(v, shape, device),
        ArrayData::I64(v) => Tensor::from_slice(v, shape, device),
        ArrayData::F32(v) => Tensor::from_slice(v, shape, device),
        ArrayData::F64(v) => Tensor::from_slice(v, shape, device),
        ArrayData::Text(_) => {
            return Err(Diagnostic::error(codes::DATA_FIELD, "a field of text is not a tensor")
                .help("turn it into tokens first"));
        }
    }
    .map_err(|e| Diagnostic::error(codes::INTERNAL, format!("an array does not become a tensor: {e}")))
}

/// An array of a tensor's elements; half precision becomes f32.
///
/// # Errors
/// [`codes::INTERNAL`]: the copy from the device fails.
pub fn to_array(tensor: &Tensor) -> Result<Array, Diagnostic> {
    let flat = tensor.to_device(&Device::Cpu).and_then(|t| t.flatten_all());
    let data = flat.and_then(|flat| {
        Ok(match flat.dtype() {
            DType::U8 => ArrayData::U8(flat.to_vec1()?),
            DType::I64 => ArrayData::I64(flat.to_vec1()?),
            DType::U32 => ArrayData::I64(flat.to_dtype(DType::I64)?.to_vec1()?),
            DType::F64 => ArrayData::F64(flat.to_vec1()?),
            _ => ArrayData::F32(flat.to_dtype(DType::F32)?.to_vec1()?),
        })
    });
    match data {
        Ok(data) => Array::new(tensor.dims().to_vec(), data),
        Err(e) => Err(Diagnostic::error(codes::INTERNAL, format!("a tensor cannot be read: {e}"))),
    }
}
