//! Shapes: integer polynomials over dimension names, dtypes, spaces, and the rules that relate them.

pub mod broadcast;
pub mod dim;
pub mod dtype;
pub mod sign;
pub mod solve;
mod text;

use std::fmt;
use std::sync::Arc;

pub use broadcast::{broadcast, broadcast_all};
pub use dim::{Atom, Dim};
pub use dtype::DType;
pub use sign::is_nonnegative;

/// What a tensor means (`unit`, `signed`, `sd_latent`), as a unit of measure does.
pub type Space = Arc<str>;

/// The type of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// Element type.
    pub dtype: DType,
    /// Dimensions; those of an entry point may be open.
    pub shape: Vec<Dim>,
    /// The space, if it was declared. Arithmetic forgets it.
    pub space: Option<Space>,
}

impl Type {
    /// A type without a space.
    pub fn new(dtype: DType, shape: Vec<Dim>) -> Self {
        Type { dtype, shape, space: None }
    }

    /// A tensor without dimensions.
    pub fn scalar(dtype: DType) -> Self {
        Type::new(dtype, Vec::new())
    }

    /// A type with constant dimensions.
    pub fn of(dtype: DType, shape: &[usize]) -> Self {
        Type::new(dtype, shape.iter().map(|d| Dim::from(*d as i64)).collect())
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements, as a polynomial.
    pub fn elements(&self) -> Dim {
        self.shape.iter().fold(Dim::from(1), |a, d| a * d.clone())
    }

    /// The same type without its space.
    #[must_use]
    pub fn plain(&self) -> Type {
        Type { space: None, ..self.clone() }
    }

    /// Constant dimensions, if all are.
    pub fn constant_shape(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(|d| d.as_const().and_then(|v| usize::try_from(v).ok())).collect()
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dtype != DType::F32 {
            write!(f, "{}", self.dtype)?;
        }
        f.write_str(&display_shape(&self.shape))?;
        if let Some(space) = &self.space {
            write!(f, " in {space}")?;
        }
        Ok(())
    }
}

/// `[n, 3, 2*h]`.
pub fn display_shape(shape: &[Dim]) -> String {
    format!("[{}]", shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "))
}
