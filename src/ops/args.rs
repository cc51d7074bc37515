//! How the language calls an operation: parameters by name, defaults, and static evaluation.

use super::{Emit, NodeId, OpError};
use crate::shape::Dim;

/// A value handed to an operation by elaboration.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// A tensor of the graph under construction.
    Tensor(NodeId),
    /// A static integer; open dimensions included.
    Int(Dim),
    /// A static number.
    Float(f64),
    /// A static truth value.
    Bool(bool),
    /// A static string.
    Str(String),
    /// A static list.
    List(Vec<Arg>),
    /// Nothing given, or `none`.
    None,
}

/// What a parameter takes. Elaboration checks it and reports the user's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgKind {
    /// A tensor; a static number becomes a constant of the dtype of the call's other tensors (or the model's).
    Tensor,
    /// A static integer.
    Int,
    /// A static number.
    Float,
    /// A truth value.
    Bool,
    /// A string.
    Str,
    /// A list of integers (a shape, axes, a permutation); one integer counts as a list of one.
    Ints,
    /// A list or tuple of tensors.
    Tensors,
    /// Whatever there is.
    Any,
}

/// A default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    /// Must be given.
    Required,
    /// `none`.
    None,
    /// An integer.
    Int(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A string.
    Str(&'static str),
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct ParamSignature {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: ArgKind,
    /// If it is not given.
    pub default: Default,
}

/// A required parameter.
pub const fn required(name: &'static str, kind: ArgKind) -> ParamSignature {
    ParamSignature { name, kind, default: Default::Required }
}

/// A parameter with a default.
pub const fn optional(name: &'static str, kind: ArgKind, default: Default) -> ParamSignature {
    ParamSignature { name, kind, default }
}

/// An operation as the language calls it.
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// Its parameters.
    pub params: &'static [ParamSignature],
    /// Further positional arguments, if it takes any number.
    pub rest: Option<ArgKind>,
    /// Whether further named integers are taken (`rearrange(x, "…", p = 2)`).
    pub named: bool,
    /// One line of documentation, with shapes.
    pub doc: &'static str,
    /// Emits it. Returns a tensor, or a list of tensors.
    pub build: fn(&mut dyn Emit, &Args) -> Result<Arg, OpError>,
    /// Evaluates it where every argument is static: numbers in f64, lists elementwise where that makes
    /// sense. `None` if the operation exists for tensors only.
    pub fold: Option<fn(&Args) -> Result<Arg, OpError>>,
}

/// The arguments of a call, bound to the parameters, defaults filled in, kinds checked.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// In the order of the parameters.
    pub params: Vec<Arg>,
    /// Further positional ones.
    pub rest: Vec<Arg>,
    /// Further named ones.
    pub named: Vec<(String, Arg)>,
}

impl Args {
    /// The tensor of parameter `i`.
    ///
    /// # Errors
    /// It is not a tensor: elaboration did not check the kind.
    pub fn tensor(&self, i: usize) -> Result<NodeId, OpError> {
        match self.params.get(i) {
            Some(Arg::Tensor(n)) => Ok(*n),
            other => Err(mismatch("a tensor", other)),
        }
    }

    /// The integer of parameter `i`, open dimensions included.
    ///
    /// # Errors
    /// It is not an integer.
    pub fn dim(&self, i: usize) -> Result<Dim, OpError> {
        match self.params.get(i) {
            Some(Arg::Int(d)) => Ok(d.clone()),
            other => Err(mismatch("an integer", other)),
        }
    }

    /// The known integer of parameter `i`.
    ///
    /// # Errors
    /// It is not a known integer.
    pub fn int(&self, i: usize) -> Result<i64, OpError> {
        constant(&self.dim(i)?)
    }

    /// A known integer that cannot be negative.
    ///
    /// # Errors
    /// It is not one.
    pub fn size(&self, i: usize) -> Result<usize, OpError> {
        let value = self.int(i)?;
        usize::try_from(value).map_err(|_| OpError::value(format!("{value} must not be negative")))
    }

    /// The number of parameter `i`.
    ///
    /// # Errors
    /// It is not a number.
    pub fn float(&self, i: usize) -> Result<f64, OpError> {
        match self.params.get(i) {
            Some(Arg::Float(v)) => Ok(*v),
            Some(Arg::Int(d)) => Ok(constant(d)? as f64),
            other => Err(mismatch("a number", other)),
        }
    }

    /// The truth value of parameter `i`.
    ///
    /// # Errors
    /// It is not one.
    pub fn bool(&self, i: usize) -> Result<bool, OpError> {
        match self.params.get(i) {
            Some(Arg::Bool(v)) => Ok(*v),
            other => Err(mismatch("true or false", other)),
        }
    }

    /// The string of parameter `i`.
    ///
    /// # Errors
    /// It is not one.
    pub fn str(&self, i: usize) -> Result<&str, OpError> {
        match self.params.get(i) {
            Some(Arg::Str(s)) => Ok(s),
            other => Err(mismatch("a string", other)),
        }
    }

    /// The integers of parameter `i` (one integer counts as a list of one), open dimensions included.
    ///
    /// # Errors
    /// They are not integers.
    pub fn dims(&self, i: usize) -> Result<Vec<Dim>, OpError> {
        match self.params.get(i) {
            Some(Arg::Int(d)) => Ok(vec![d.clone()]),
            Some(Arg::List(items)) => items
                .iter()
                .map(|a| match a {
                    Arg::Int(d) => Ok(d.clone()),
                    other => Err(mismatch("an integer", Some(other))),
                })
                .collect(),
            other => Err(mismatch("a list of integers", other)),
        }
    }

    /// The known integers of parameter `i`.
    ///
    /// # Errors
    /// They are not known integers.
    pub fn ints(&self, i: usize) -> Result<Vec<i64>, OpError> {
        self.dims(i)?.iter().map(constant).collect()
    }

    /// The tensors of parameter `i` (a list).
    ///
    /// # Errors
    /// It is not a list of tensors.
    pub fn tensors(&self, i: usize) -> Result<Vec<NodeId>, OpError> {
        match self.params.get(i) {
            Some(Arg::List(items)) => items
                .iter()
                .map(|a| match a {
                    Arg::Tensor(n) => Ok(*n),
                    other => Err(mismatch("a tensor", Some(other))),
                })
                .collect(),
            Some(Arg::Tensor(n)) => Ok(vec![*n]),
            other => Err(mismatch("a list of tensors", other)),
        }
    }

    /// Whether parameter `i` was left out or is `none`.
    pub fn is_none(&self, i: usize) -> bool {
        matches!(self.params.get(i), None | Some(Arg::None))
    }
}

fn constant(dim: &Dim) -> Result<i64, OpError> {
    dim.as_const().ok_or_else(|| OpError::value(format!("a known integer is needed, and `{dim}` is open")))
}

fn mismatch(expected: &str, found: Option<&Arg>) -> OpError {
    let found = match found {
        Some(Arg::Tensor(_)) => "a tensor",
        Some(Arg::Int(_)) => "an integer",
        Some(Arg::Float(_)) => "a number",
        Some(Arg::Bool(_)) => "a truth value",
        Some(Arg::Str(_)) => "a string",
        Some(Arg::List(_)) => "a list",
        Some(Arg::None) | None => "nothing",
    };
    OpError::new(crate::diagnostic::codes::WRONG_KIND, format!("expected {expected}, found {found}"))
}

/// Turns negative axes into positive ones for a tensor of that rank.
///
/// # Errors
/// An axis is out of range or named twice.
pub fn resolve_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    use crate::diagnostic::codes::BAD_AXIS;
    let mut out = Vec::with_capacity(axes.len());
    for &axis in axes {
        let positive = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        match usize::try_from(positive) {
            Ok(a) if a < rank && !out.contains(&a) => out.push(a),
            Ok(a) if a < rank => return Err(OpError::new(BAD_AXIS, format!("axis {axis} is named twice"))),
            _ => {
                let m = format!("axis {axis} is out of range for a tensor of rank {rank}");
                return Err(
                    OpError::new(BAD_AXIS, m).help(format!("axes run from -{rank} to {}", rank as i64 - 1))
                );
            }
        }
    }
    Ok(out)
}
