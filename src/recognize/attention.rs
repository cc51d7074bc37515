//! `matmul(softmax(scale * matmul(q, k^T)), v)`: scaled dot-product attention. The scale may stand at the
//! scores or at q or k, as a factor or a divisor.

use super::parts::{binary, either, number};
use super::{Match, Operand};
use crate::graph::{NodeId, Region};
use crate::ops::{Attention, Binary, MatMul, Op, Permute};

/// Recognises attention that gives the value of `root`.
pub fn attention(region: &Region, root: NodeId) -> Option<Match> {
    let (outer, weights, v) = product(region, root)?;
    if outer.transpose_a {
        return None;
    }
    let softmax = region.node(weights);
    let Op::Softmax(along) = &*softmax.op else { return None };
    if along.axis + 1 != softmax.ty.rank() {
        return None;
    }
    let mut inside = vec![weights];
    let mut scale = 1.0;
    let scores = scaled(region, softmax.inputs[0], &mut scale, &mut inside);
    let (inner, q, k) = product(region, scores)?;
    inside.push(scores);
    let q = scaled(region, q, &mut scale, &mut inside);
    let k = scaled(region, k, &mut scale, &mut inside);
    if !scale.is_finite() {
        return None;
    }
    // Batches must be equal: a product also takes one matrix for all.
    let lead = |id: NodeId| {
        let shape = &region.node(id).ty.shape;
        shape[..shape.len() - 2].to_vec()
    };
    if lead(q) != lead(k) || lead(q) != lead(v) {
        return None;
    }
    let operands = vec![
        operand(region, q, inner.transpose_a),
        operand(region, k, !inner.transpose_b),
        operand(region, v, outer.transpose_b),
    ];
    Some(Match { op: Attention { scale }.into(), operands, inside })
}

fn product(region: &Region, id: NodeId) -> Option<(MatMul, NodeId, NodeId)> {
    let node = region.node(id);
    match &*node.op {
        Op::MatMul(m) => Some((*m, node.inputs[0], node.inputs[1])),
        _ => None,
    }
}

/// Looks through multiplications and divisions by numbers, which it takes into the scale.
fn scaled(region: &Region, mut id: NodeId, scale: &mut f64, inside: &mut Vec<NodeId>) -> NodeId {
    loop {
        let divided =
            || binary(region, id, Binary::Div).and_then(|(x, d)| Some((x, 1.0 / number(region, d)?)));
        let factor = either(region, id, Binary::Mul)
            .into_iter()
            .find_map(|(x, f)| Some((x, number(region, f)?)))
            .or_else(divided);
        match factor {
            Some((x, f)) if region.node(x).ty.shape == region.node(id).ty.shape => {
                *scale *= f;
                inside.push(id);
                id = x;
            }
            _ => return id,
        }
    }
}

/// A matrix operand, its last two axes exchanged where the product had them so.
fn operand(region: &Region, node: NodeId, exchange: bool) -> Operand {
    if !exchange {
        return Operand::plain(node);
    }
    let rank = region.node(node).ty.rank();
    let mut axes: Vec<usize> = (0..rank).collect();
    axes.swap(rank - 2, rank - 1);
    Operand { node, views: vec![Permute { axes }.into()] }
}
