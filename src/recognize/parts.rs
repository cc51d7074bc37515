//! What the patterns share: looking at operations and constants through what does not change them.

use crate::graph::{NodeId, Region};
use crate::ops::{Binary, Op, Reduce, ReduceKind, Unary};

/// The number that a node holds everywhere, if it is a constant.
pub(super) fn number(region: &Region, id: NodeId) -> Option<f64> {
    let node = region.node(id);
    match &*node.op {
        Op::Const(c) => Some(c.value),
        Op::Expand(_) | Op::Reshape(_) => number(region, node.inputs[0]),
        _ => None,
    }
}

/// The operands of a binary operation.
pub(super) fn binary(region: &Region, id: NodeId, op: Binary) -> Option<(NodeId, NodeId)> {
    let node = region.node(id);
    (*node.op == Op::Binary(op)).then(|| (node.inputs[0], node.inputs[1]))
}

/// The operands of a binary operation whose order does not matter, both ways round.
pub(super) fn either(region: &Region, id: NodeId, op: Binary) -> Vec<(NodeId, NodeId)> {
    binary(region, id, op).map_or_else(Vec::new, |(a, b)| vec![(a, b), (b, a)])
}

/// The operand of a function.
pub(super) fn unary(region: &Region, id: NodeId, op: Unary) -> Option<NodeId> {
    let node = region.node(id);
    (*node.op == Op::Unary(op)).then(|| node.inputs[0])
}

/// What a node is the square of.
pub(super) fn square(region: &Region, id: NodeId) -> Option<NodeId> {
    let product = || binary(region, id, Binary::Mul).filter(|(a, b)| a == b).map(|(a, _)| a);
    let power =
        || binary(region, id, Binary::Pow).filter(|(_, e)| number(region, *e) == Some(2.0)).map(|(a, _)| a);
    unary(region, id, Unary::Square).or_else(product).or_else(power)
}

/// What a node is the mean of over the last axis, which stays.
pub(super) fn row_mean(region: &Region, id: NodeId) -> Option<NodeId> {
    let node = region.node(id);
    let Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, keep: true }) = &*node.op else { return None };
    let x = node.inputs[0];
    (axes.len() == 1 && axes[0] + 1 == region.node(x).ty.rank()).then_some(x)
}
