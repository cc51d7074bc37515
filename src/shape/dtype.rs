//! Element types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Element type of a tensor. `F32` stands for "the model's" where a signature names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// Truth values; one byte each.
    Bool,
    /// Bytes, as images are stored.
    U8,
    /// Integers: indices, labels, tokens.
    I64,
    /// Half precision, 10-bit mantissa.
    F16,
    /// Half precision, 8-bit exponent.
    BF16,
    /// Single precision: the default.
    F32,
    /// Double precision.
    F64,
}

impl DType {
    /// Every dtype, in order.
    pub const ALL: [DType; 7] =
        [DType::Bool, DType::U8, DType::I64, DType::F16, DType::BF16, DType::F32, DType::F64];

    /// Its name in the language.
    pub fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
        }
    }

    /// Whether values are real numbers, so that gradients exist.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 => 1,
            DType::F16 | DType::BF16 => 2,
            DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        DType::ALL.into_iter().find(|d| d.name() == s).ok_or(())
    }
}
