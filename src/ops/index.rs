//! `x[…]` on tensors: what elaboration makes of the items between the brackets.

use super::layout::check_index;
use super::reshape::reshape;
use super::slice::{from_end, slice, undecided_range};
use super::take::take;
use super::{Emit, NodeId, OpError};
use crate::diagnostic::codes;
use crate::shape::{Dim, is_nonnegative};

/// One item of an index.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// `i`: one index; the axis goes. Negative ones count from the end.
    At(Dim),
    /// `a:b`, `a:`, `:b`, `:`. Negative bounds count from the end.
    Range(Option<Dim>, Option<Dim>),
    /// `..`: all axes between.
    Rest,
    /// `none`: a new axis of length 1.
    NewAxis,
    /// An integer tensor of any rank, whose axes take the place of the axis.
    Tensor(NodeId),
}

/// Emits `x[items]`. Axes after the last item are taken whole. At most one item may be a tensor; its axes stand
/// where the indexed axis stood.
///
/// # Errors
/// More items than axes, an index out of range, or one whose range depends on an open dimension.
pub fn index(to: &mut dyn Emit, x: NodeId, items: &[Item]) -> Result<NodeId, OpError> {
    let ty = to.ty(x).clone();
    let used = items.iter().filter(|i| !matches!(i, Item::Rest | Item::NewAxis)).count();
    let Some(free) = ty.rank().checked_sub(used) else {
        return Err(OpError::new(
            codes::BAD_INDEX,
            format!("{used} indices of {ty}, which has rank {}", ty.rank()),
        ));
    };
    if items.iter().filter(|i| matches!(i, Item::Rest)).count() > 1 {
        return Err(OpError::new(codes::BAD_INDEX, "`..` stands twice in one index"));
    }
    if items.iter().filter(|i| matches!(i, Item::Tensor(_))).count() > 1 {
        return Err(OpError::new(codes::BAD_INDEX, "two tensors in one index")
            .help("index one axis at a time, or pick elements along an axis with `gather`"));
    }
    let mut x = x;
    let mut axis = 0;
    // The shape once single indices are gone and new axes are in, and where the tensor indexes it.
    let mut shape: Vec<Dim> = Vec::new();
    let mut taken = None;
    for item in items {
        match item {
            Item::NewAxis => {
                shape.push(Dim::from(1));
                continue;
            }
            Item::Rest => {
                shape.extend_from_slice(&ty.shape[axis..axis + free]);
                axis += free;
                continue;
            }
            Item::At(at) => {
                let start = position(at, &ty.shape[axis], axis)?;
                x = slice(to, x, axis, start.clone(), start + Dim::from(1))?;
            }
            Item::Range(start, end) => {
                let dim = &ty.shape[axis];
                let bound = |b: &Option<Dim>, default: Dim| b.as_ref().map_or(default, |b| from_end(b, dim));
                x = slice(to, x, axis, bound(start, Dim::from(0)), bound(end, dim.clone()))?;
                shape.push(to.ty(x).shape[axis].clone());
            }
            Item::Tensor(index) => {
                check_index("an index", to.ty(*index))?;
                taken = Some((*index, shape.len()));
                shape.push(ty.shape[axis].clone());
            }
        }
        axis += 1;
    }
    shape.extend_from_slice(&ty.shape[axis..]);
    x = reshape(to, x, shape)?;
    match taken {
        Some((index, at)) => take(to, x, index, at),
        None => Ok(x),
    }
}

/// A single index, from the front, inside the axis.
fn position(at: &Dim, dim: &Dim, axis: usize) -> Result<Dim, OpError> {
    let index = from_end(at, dim);
    let inside = [is_nonnegative(&index), is_nonnegative(&(dim.clone() - index.clone() - Dim::from(1)))];
    if inside.contains(&Some(false)) {
        return Err(OpError::new(
            codes::BAD_INDEX,
            format!("index {at} of axis {axis}, whose length is {dim}"),
        )
        .help(format!(
            "indices run from 0 to {}; negative ones count from the end",
            dim.clone() - Dim::from(1)
        )));
    }
    if inside.contains(&None) {
        return Err(undecided_range(&format!("index {at} of axis {axis}, whose length is {dim},")));
    }
    Ok(index)
}
