//! `tril`, `triu` and `causal_mask`: triangles of matrices. They lower to comparisons of indices and `where`.

use super::args::{Arg, ArgKind, Default, Signature, optional, required};
use super::reshape::unsqueeze;
use super::{Arange, Binary, Compare, CompareKind, Emit, NodeId, OpError, Where};
use crate::diagnostic::codes;
use crate::shape::{DType, Dim};

/// Emits truth values `[rows, columns]`: whether `column <= row + diagonal` (lower) or `>=` (upper).
fn triangle(
    to: &mut dyn Emit,
    (rows, columns): (Dim, Dim),
    diagonal: i64,
    kind: CompareKind,
) -> Result<NodeId, OpError> {
    let rows = to.emit(Arange { len: rows, dtype: DType::I64 }.into(), &[])?;
    let columns = to.emit(Arange { len: columns, dtype: DType::I64 }.into(), &[])?;
    let mut rows = unsqueeze(to, rows, 1)?;
    if diagonal != 0 {
        rows = to.binary_scalar(Binary::Add, rows, diagonal as f64)?;
    }
    to.emit(Compare { kind }.into(), &[columns, rows])
}

/// Emits `x` with zeros above (`Le`) or below (`Ge`) a diagonal of its last two axes.
fn keep_triangle(to: &mut dyn Emit, x: NodeId, diagonal: i64, kind: CompareKind) -> Result<NodeId, OpError> {
    let ty = to.ty(x).clone();
    let [.., rows, columns] = ty.shape.as_slice() else {
        return Err(OpError::new(codes::WRONG_RANK, format!("a triangle of {ty}, which has no two axes")));
    };
    let mask = triangle(to, (rows.clone(), columns.clone()), diagonal, kind)?;
    let zero = to.scalar(0.0, ty.dtype)?;
    to.emit(Where {}.into(), &[mask, x, zero])
}

const PARAMS: &[super::ParamSignature] =
    &[required("x", ArgKind::Tensor), optional("diagonal", ArgKind::Int, Default::Int(0))];

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "tril",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "The lower triangle of the last two axes, zeros above the diagonal-th diagonal.",
        build: |to, args| keep_triangle(to, args.tensor(0)?, args.int(1)?, CompareKind::Le).map(Arg::Tensor),
        fold: None,
    },
    Signature {
        name: "triu",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "The upper triangle of the last two axes, zeros below the diagonal-th diagonal.",
        build: |to, args| keep_triangle(to, args.tensor(0)?, args.int(1)?, CompareKind::Ge).map(Arg::Tensor),
        fold: None,
    },
    Signature {
        name: "causal_mask",
        params: &[required("n", ArgKind::Int)],
        rest: None,
        named: false,
        doc: "Truth values [n, n]: whether the query (row) may see the key (column), itself and those before.",
        build: |to, args| {
            let n = args.dim(0)?;
            triangle(to, (n.clone(), n), 0, CompareKind::Le).map(Arg::Tensor)
        },
        fold: None,
    },
];
