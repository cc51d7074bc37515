//! Numbers as the bytes of a file.

use half::{bf16, f16};

use super::array::{ArrayData, Element};

/// A number format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    BF16,
    F32,
    F64,
}

impl Stored {
    /// Bytes per number.
    pub(crate) fn size(self) -> usize {
        match self {
            Stored::Bool | Stored::U8 | Stored::I8 => 1,
            Stored::U16 | Stored::I16 | Stored::F16 | Stored::BF16 => 2,
            Stored::U32 | Stored::I32 | Stored::F32 => 4,
            Stored::U64 | Stored::I64 | Stored::F64 => 8,
        }
    }

    /// What it becomes: the narrowest of our elements that holds every value exactly.
    pub(crate) fn element(self) -> Element {
        match self {
            Stored::Bool | Stored::U8 => Element::U8,
            Stored::F16 | Stored::BF16 | Stored::F32 => Element::F32,
            Stored::F64 => Element::F64,
            _ => Element::I64,
        }
    }

    /// The numbers in `bytes`, whose length is a multiple of the size.
    ///
    /// # Errors
    /// The first unsigned number that no i64 holds, as text.
    pub(crate) fn decode(self, bytes: Vec<u8>, big_endian: bool) -> Result<ArrayData, String> {
        macro_rules! numbers {
            ($t:ty) => {
                bytes.chunks_exact(size_of::<$t>()).map(|c| {
                    let mut raw = [0u8; size_of::<$t>()];
                    raw.copy_from_slice(c);
                    if big_endian { <$t>::from_be_bytes(raw) } else { <$t>::from_le_bytes(raw) }
                })
            };
        }
        Ok(match self {
            Stored::Bool | Stored::U8 => ArrayData::U8(bytes),
            Stored::I8 => ArrayData::I64(numbers!(i8).map(i64::from).collect()),
            Stored::U16 => ArrayData::I64(numbers!(u16).map(i64::from).collect()),
            Stored::I16 => ArrayData::I64(numbers!(i16).map(i64::from).collect()),
            Stored::U32 => ArrayData::I64(numbers!(u32).map(i64::from).collect()),
            Stored::I32 => ArrayData::I64(numbers!(i32).map(i64::from).collect()),
            Stored::I64 => ArrayData::I64(numbers!(i64).collect()),
            Stored::U64 => {
                let signed = numbers!(u64).map(|v| i64::try_from(v).map_err(|_| v.to_string()));
                ArrayData::I64(signed.collect::<Result<_, _>>()?)
            }
            Stored::F16 => ArrayData::F32(numbers!(u16).map(|v| f16::from_bits(v).to_f32()).collect()),
            Stored::BF16 => ArrayData::F32(numbers!(u16).map(|v| bf16::from_bits(v).to_f32()).collect()),
            Stored::F32 => ArrayData::F32(numbers!(f32).collect()),
            Stored::F64 => ArrayData::F64(numbers!(f64).collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_byte_orders_and_all_widths() {
        assert_eq!(Stored::I16.decode(vec![0xff, 0xfe, 0, 1], true), Ok(ArrayData::I64(vec![-2, 1])));
        assert_eq!(Stored::I16.decode(vec![0xfe, 0xff, 1, 0], false), Ok(ArrayData::I64(vec![-2, 1])));
        assert_eq!(Stored::F32.decode(1.5f32.to_be_bytes().to_vec(), true), Ok(ArrayData::F32(vec![1.5])));
        assert_eq!(Stored::F16.decode(vec![0, 0x3e], false), Ok(ArrayData::F32(vec![1.5])));
        assert_eq!(Stored::BF16.decode(vec![0xc0, 0x3f], false), Ok(ArrayData::F32(vec![1.5])));
        assert_eq!(Stored::U64.decode(u64::MAX.to_le_bytes().to_vec(), false), Err(u64::MAX.to_string()));
    }
}
