//! Convolutions of 3×3 windows by minimal filtering, where images and channels are large enough for it to pay.
//! It rounds more than the direct sum, so that graphs with updates and graphs that take the gradient of a
//! weight are left alone, unless that is asked for. The weights are transformed by a node of their own, which
//! leaves the loops that it is in, so that sampling transforms them once. Gradients of images are convolutions
//! by turned weights, and computed the same way.

use super::hoist;
use super::rewrite::rewrite;
use crate::graph::Graph;
use crate::ops::{
    ConvFused, ConvSpec, ConvTranspose, ConvWinograd, Emit, Op, WinogradWeights, winograd_pays,
};

/// Whether a graph neither updates weights nor takes the gradient of one of a convolution.
pub(super) fn for_inference(graph: &Graph) -> bool {
    let mut nodes = graph.regions.iter().flat_map(|r| r.dag.node_weights());
    graph.updates.is_empty() && !nodes.any(|n| matches!(*n.op, Op::ConvWeightGrad(_)))
}

/// Applies it to graphs for inference.
pub fn winograd(graph: &Graph) -> Graph {
    if for_inference(graph) { filtered(graph) } else { graph.clone() }
}

/// Applies it to the other graphs.
pub fn winograd_in_training(graph: &Graph) -> Graph {
    if for_inference(graph) { graph.clone() } else { filtered(graph) }
}

/// The convolution that a transposed one of stride 1 is, by its weight turned around.
fn turned(conv: &ConvTranspose) -> Option<ConvSpec> {
    let spec = &conv.spec;
    if spec.kernel != [3, 3] || spec.stride != [1, 1] {
        return None;
    }
    let padding = spec.padding.iter().map(|(a, b)| Some((2usize.checked_sub(*a)?, 2usize.checked_sub(*b)?)));
    Some(ConvSpec { padding: padding.collect::<Option<_>>()?, ..spec.clone() })
}

fn filtered(graph: &Graph) -> Graph {
    let mut any = false;
    let new = rewrite(graph, &mut |site| {
        let plain = |spec| ConvFused { spec, bias: false, residual: false };
        let (conv, transposed) = match &*site.node.op {
            Op::Conv(c) => (plain(c.spec.clone()), false),
            Op::ConvFused(c) => (c.clone(), false),
            Op::ConvTranspose(c) => match turned(c) {
                Some(spec) => (plain(spec), true),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let (x, weight) = (site.inputs[0], site.inputs[1]);
        // A weight that is computed would be transformed as often.
        let given = matches!(site.input(1), Op::Parameter(_) | Op::LoopInput(_));
        let of = (site.to.ty(weight), transposed);
        if !given || !winograd_pays(&conv.spec, site.to.ty(x), of, &site.node.ty) {
            return Ok(None);
        }
        let outputs = match (of.0.constant_shape().as_deref(), transposed) {
            (Some([o, ..]), false) | (Some([_, o, ..]), true) => *o,
            _ => return Ok(None),
        };
        let transformed = site.to.emit(WinogradWeights { transposed }.into(), &[weight])?;
        let mut inputs = vec![x, transformed];
        inputs.extend_from_slice(&site.inputs[2..]);
        let ConvFused { spec, bias, residual } = conv;
        let conv = site.to.emit(ConvWinograd { spec, outputs, bias, residual }.into(), &inputs)?;
        any = true;
        Ok(Some(conv))
    });
    if any { hoist::out_of_all(new) } else { new }
}
