//! Plain arrays: what files hold, before anything becomes a tensor.

use std::fmt;

use crate::diagnostic::{Diagnostic, codes};
use crate::shape::DType;

/// What the elements of an array are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// Bytes.
    U8,
    /// Integers.
    I64,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// Strings, such as captions; they become tensors by tokenizing.
    Text,
}

impl Element {
    /// The dtype of the language, unless it is text.
    pub fn dtype(self) -> Option<DType> {
        match self {
            Element::U8 => Some(DType::U8),
            Element::I64 => Some(DType::I64),
            Element::F32 => Some(DType::F32),
            Element::F64 => Some(DType::F64),
            Element::Text => None,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.dtype().map_or("text", DType::name))
    }
}

/// The elements of an array, in C order.
#[derive(Clone, Debug, PartialEq)]
pub enum ArrayData {
    /// Bytes.
    U8(Vec<u8>),
    /// Integers.
    I64(Vec<i64>),
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Strings.
    Text(Vec<String>),
}

impl ArrayData {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            ArrayData::U8(v) => v.len(),
            ArrayData::I64(v) => v.len(),
            ArrayData::F32(v) => v.len(),
            ArrayData::F64(v) => v.len(),
            ArrayData::Text(v) => v.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What they are.
    pub fn element(&self) -> Element {
        match self {
            ArrayData::U8(_) => Element::U8,
            ArrayData::I64(_) => Element::I64,
            ArrayData::F32(_) => Element::F32,
            ArrayData::F64(_) => Element::F64,
            ArrayData::Text(_) => Element::Text,
        }
    }
}

/// A shape and the elements that fill it, in C order (the last axis varies fastest).
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// The elements, as many as the product of the shape.
    pub data: ArrayData,
}

impl Array {
    /// An array, checked.
    ///
    /// # Errors
    /// `E0806` when the number of elements is not the product of the shape.
    pub fn new(shape: Vec<usize>, data: ArrayData) -> Result<Array, Diagnostic> {
        if count(&shape) != Some(data.len()) {
            return Err(Diagnostic::error(
                codes::DATA_SHAPE,
                format!("an array of shape {} cannot hold {} elements", display_shape(&shape), data.len()),
            )
            .help("give as many elements as the product of the shape"));
        }
        Ok(Array { shape, data })
    }

    /// The size of the first axis: the number of samples.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    /// The samples at `indices`, in that order.
    ///
    /// # Errors
    /// `E0904` when an index is out of range.
    pub fn take(&self, indices: &[usize]) -> Result<Array, Diagnostic> {
        if let Some(bad) = indices.iter().find(|i| **i >= self.rows()) {
            return Err(out_of_range(*bad, self.rows()));
        }
        let width: usize = self.shape.iter().skip(1).product();
        fn gather<T: Clone>(from: &[T], indices: &[usize], width: usize) -> Vec<T> {
            let mut out = Vec::with_capacity(indices.len() * width);
            for i in indices {
                out.extend_from_slice(&from[i * width..(i + 1) * width]);
            }
            out
        }
        let data = match &self.data {
            ArrayData::U8(v) => ArrayData::U8(gather(v, indices, width)),
            ArrayData::I64(v) => ArrayData::I64(gather(v, indices, width)),
            ArrayData::F32(v) => ArrayData::F32(gather(v, indices, width)),
            ArrayData::F64(v) => ArrayData::F64(gather(v, indices, width)),
            ArrayData::Text(v) => ArrayData::Text(gather(v, indices, width)),
        };
        let shape = std::iter::once(indices.len()).chain(self.shape.iter().skip(1).copied()).collect();
        Ok(Array { shape, data })
    }
}

/// The product of a shape, unless it overflows.
pub(crate) fn count(shape: &[usize]) -> Option<usize> {
    // A zero anywhere makes the array empty, however large the other axes say they are.
    if shape.contains(&0) { Some(0) } else { shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)) }
}

/// `[3, 28, 28]`.
pub(crate) fn display_shape(shape: &[usize]) -> String {
    format!("[{}]", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
}

pub(crate) fn out_of_range(index: usize, len: usize) -> Diagnostic {
    Diagnostic::error(codes::INTERNAL, format!("sample {index} was asked for; the data has {len}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_rows_in_the_order_asked() {
        let array = Array::new(vec![3, 2], ArrayData::I64(vec![1, 2, 3, 4, 5, 6])).unwrap();
        let got = array.take(&[2, 0, 2]).unwrap();
        assert_eq!(got, Array::new(vec![3, 2], ArrayData::I64(vec![5, 6, 1, 2, 5, 6])).unwrap());
        assert_eq!(array.take(&[3]).unwrap_err().code, codes::INTERNAL);
    }

    #[test]
    fn the_shape_must_fit() {
        assert!(Array::new(vec![usize::MAX, 2], ArrayData::U8(vec![])).is_err());
        assert!(Array::new(vec![2, 2], ArrayData::U8(vec![0; 5])).is_err());
        assert_eq!(Array::new(vec![0, usize::MAX, 7], ArrayData::U8(vec![])).unwrap().rows(), 0);
    }
}
