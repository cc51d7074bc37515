//! Convolutions of 3×3 windows by minimal filtering, where images and channels are large enough for it to pay.
//! It rounds more than the direct sum, so that graphs with updates and graphs that take the gradient of a
//! weight are left alone. The weights are transformed by a node of their own, which leaves the loops that it
//! is in, so that sampling transforms them once.

use super::hoist;
use super::rewrite::rewrite;
use crate::graph::Graph;
use crate::ops::{ConvFused, ConvWinograd, Emit, Op, WinogradWeights, winograd_pays};

/// Whether a graph neither updates weights nor takes the gradient of one of a convolution.
pub(super) fn for_inference(graph: &Graph) -> bool {
    let mut nodes = graph.regions.iter().flat_map(|r| r.dag.node_weights());
    graph.updates.is_empty() && !nodes.any(|n| matches!(*n.op, Op::ConvWeightGrad(_)))
}

/// Applies it.
pub fn winograd(graph: &Graph) -> Graph {
    if !for_inference(graph) {
        return graph.clone();
    }
    let mut any = false;
    let new = rewrite(graph, &mut |site| {
        let conv = match &*site.node.op {
            Op::Conv(c) => ConvFused { spec: c.spec.clone(), bias: false, residual: false },
            Op::ConvFused(c) => c.clone(),
            _ => return Ok(None),
        };
        let (x, weight) = (site.inputs[0], site.inputs[1]);
        // A weight that is computed would be transformed as often.
        let given = matches!(site.input(1), Op::Parameter(_) | Op::LoopInput(_));
        if !given || !winograd_pays(&conv.spec, site.to.ty(x), site.to.ty(weight), &site.node.ty) {
            return Ok(None);
        }
        let outputs = match site.to.ty(weight).constant_shape().as_deref() {
            Some([o, ..]) => *o,
            _ => return Ok(None),
        };
        let transformed = site.to.emit(WinogradWeights {}.into(), &[weight])?;
        let mut inputs = vec![x, transformed];
        inputs.extend_from_slice(&site.inputs[2..]);
        let ConvFused { spec, bias, residual } = conv;
        let conv = site.to.emit(ConvWinograd { spec, outputs, bias, residual }.into(), &inputs)?;
        any = true;
        Ok(Some(conv))
    });
    if any { hoist::out_of_all(new) } else { new }
}
