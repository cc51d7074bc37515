//! `conv(x, w) + bias[:, none, none] + residual`: what is added to a convolution's output as it is written.

use super::parts::either;
use super::{Match, Operand};
use crate::graph::{NodeId, Region};
use crate::ops::{Binary, Conv, ConvFused, Op};
use crate::shape::Dim;

/// Recognises a convolution with a bias, a residual of the output's shape, or both, added in this order.
pub fn conv_epilogue(region: &Region, root: NodeId) -> Option<Match> {
    let shape = &region.node(root).ty.shape;
    let sums = either(region, root, Binary::Add);
    // The later convolution of two takes the other's result as its residual.
    let mut residuals: Vec<(NodeId, NodeId)> =
        sums.iter().copied().filter(|(y, r)| y != r && region.node(*r).ty.shape == *shape).collect();
    residuals.sort_by_key(|(y, _)| std::cmp::Reverse(*y));
    for (y, residual) in residuals {
        if let Some((conv, bias)) = biased(region, y) {
            return Some(found(region, conv, Some((y, bias)), Some(residual)));
        }
        if convolution(region, y).is_some() {
            return Some(found(region, y, None, Some(residual)));
        }
    }
    let (conv, bias) = biased(region, root)?;
    let mut found = found(region, conv, Some((root, bias)), None);
    found.inside.retain(|id| *id != root);
    Some(found)
}

fn convolution(region: &Region, id: NodeId) -> Option<&Conv> {
    match &*region.node(id).op {
        Op::Conv(conv) => Some(conv),
        _ => None,
    }
}

/// A convolution and one number per output channel that is added to it.
fn biased(region: &Region, id: NodeId) -> Option<(NodeId, NodeId)> {
    let per_channel = |(conv, bias): &(NodeId, NodeId)| {
        let (shape, bias) = (&region.node(*conv).ty.shape, &region.node(*bias).ty.shape);
        let Some(channels) = (bias.len() + 1).checked_sub(shape.len()) else { return false };
        convolution(region, *conv).is_some()
            && bias.len() <= shape.len()
            && bias.iter().enumerate().all(|(i, d)| if i == channels { *d == shape[1] } else { d.is(1) })
    };
    either(region, id, Binary::Add).into_iter().find(per_channel)
}

fn found(region: &Region, conv: NodeId, bias: Option<(NodeId, NodeId)>, residual: Option<NodeId>) -> Match {
    let node = region.node(conv);
    let spec = convolution(region, conv).map(|c| c.spec.clone());
    let channels: &Dim = &node.ty.shape[1];
    let mut operands: Vec<Operand> = node.inputs.iter().map(|x| Operand::plain(*x)).collect();
    let mut inside = vec![conv];
    if let Some((sum, bias)) = bias {
        operands.push(Operand::shaped(region, bias, std::slice::from_ref(channels)));
        inside.push(sum);
    }
    operands.extend(residual.map(Operand::plain));
    let op = match spec {
        Some(spec) => ConvFused { spec, bias: bias.is_some(), residual: residual.is_some() }.into(),
        None => (*node.op).clone(),
    };
    Match { op, operands, inside }
}
