//! Why an operation cannot be applied.

use crate::diagnostic::{Code, codes};

/// An operation applied to what it cannot take. Elaboration adds spans and the inferred types of the inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct OpError {
    /// The diagnostic's code.
    pub code: Code,
    /// One sentence: what is wrong, with shapes.
    pub message: String,
    /// The likely fix.
    pub help: Option<String>,
}

impl OpError {
    /// An error with a code of [`codes`].
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        OpError { code, message: message.into(), help: None }
    }

    /// [`codes::SHAPE_MISMATCH`].
    pub fn shape(message: impl Into<String>) -> Self {
        OpError::new(codes::SHAPE_MISMATCH, message)
    }

    /// [`codes::DTYPE_MISMATCH`].
    pub fn dtype(message: impl Into<String>) -> Self {
        OpError::new(codes::DTYPE_MISMATCH, message)
    }

    /// [`codes::BAD_VALUE`]: an attribute outside what is allowed.
    pub fn value(message: impl Into<String>) -> Self {
        OpError::new(codes::BAD_VALUE, message)
    }

    /// A fault of ours: something a clean check should have excluded.
    pub fn internal(message: impl Into<String>) -> Self {
        OpError::new(codes::INTERNAL, message)
    }

    /// Sets the help line.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}
