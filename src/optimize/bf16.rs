//! Products of lower precision where they are asked for: convolutions and products with weights take operands rounded to
//! bf16, half the bytes and, on machines with instructions for it, twice the multiplications a second. Sums, and all that
//! lies between (norms, activations, attention's softmax), stay in f32. For inference: graphs with updates and graphs that
//! take the gradient of a weight are left alone, and so are convolutions by minimal filtering, which takes a quarter of the
//! multiplications, in single precision. The weights are rounded by a node of their own, which leaves the loops
//! that it is in.

use super::hoist;
use super::rewrite::rewrite;
use super::winograd::for_inference;
use crate::graph::Graph;
use crate::ops::{Bf16Form, Bf16Weights, ConvBf16, ConvFused, Emit, MatMulBf16, Op};
use crate::shape::DType;

/// Applies it.
pub fn bf16(graph: &Graph) -> Graph {
    if !for_inference(graph) {
        return graph.clone();
    }
    let mut any = false;
    let new = rewrite(graph, &mut |site| {
        let conv = match &*site.node.op {
            Op::Conv(c) => Some(ConvFused { spec: c.spec.clone(), bias: false, residual: false }),
            Op::ConvFused(c) => Some(c.clone()),
            Op::MatMul(m) if !m.transpose_a => None,
            _ => return Ok(None),
        };
        let (x, weight) = (site.inputs[0], site.inputs[1]);
        // A weight that is computed would be rounded as often.
        let given = matches!(site.input(1), Op::Parameter(_) | Op::LoopInput(_));
        let (x_ty, ty) = (site.to.ty(x).clone(), site.to.ty(weight).clone());
        let Some(shape) = ty.constant_shape() else { return Ok(None) };
        if !given || x_ty.dtype != DType::F32 || ty.dtype != DType::F32 {
            return Ok(None);
        }
        let form = match (&conv, &*site.node.op, shape.len()) {
            (Some(conv), _, 4) if conv.spec.groups == 1 && x_ty.shape[1].as_const().is_some() => {
                Bf16Form::Filters
            }
            (None, Op::MatMul(m), 2) if x_ty.shape.last().is_some_and(|d| d.as_const().is_some()) => {
                if m.transpose_b { Bf16Form::Transposed } else { Bf16Form::Columns }
            }
            _ => return Ok(None),
        };
        let rounded = site.to.emit(Bf16Weights { form }.into(), &[weight])?;
        let mut inputs = vec![x, rounded];
        inputs.extend_from_slice(&site.inputs[2..]);
        let new = match conv {
            Some(ConvFused { spec, bias, residual }) => {
                site.to.emit(ConvBf16 { spec, outputs: shape[0], bias, residual }.into(), &inputs)?
            }
            None => {
                let outputs = if form == Bf16Form::Transposed { shape[0] } else { shape[1] };
                site.to.emit(MatMulBf16 { outputs }.into(), &inputs)?
            }
        };
        any = true;
        Ok(Some(new))
    });
    if any { hoist::out_of_all(new) } else { new }
}
