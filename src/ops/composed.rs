//! Gradients of what is composed of other operations, by their rules: the second derivatives of fused
//! operations, which have kernels for the first only.

use std::collections::{HashMap, HashSet};

use super::{Binary, Emit, GradContext, NodeId, Op, OpError, Primitive, Reshape};
use crate::shape::Type;

/// Emits something in terms of inputs.
pub(super) type Build<'a> = &'a dyn Fn(&mut dyn Emit, &[NodeId]) -> Result<NodeId, OpError>;

/// Hands on what is emitted and remembers it.
struct Recorder<'a> {
    to: &'a mut dyn Emit,
    seen: HashSet<NodeId>,
    nodes: Vec<(Op, Vec<NodeId>, NodeId)>,
}

impl Emit for Recorder<'_> {
    fn emit(&mut self, op: Op, inputs: &[NodeId]) -> Result<NodeId, OpError> {
        let id = self.to.emit(op.clone(), inputs)?;
        if self.seen.insert(id) {
            self.nodes.push((op, inputs.to_vec(), id));
        }
        Ok(id)
    }

    fn ty(&self, node: NodeId) -> &Type {
        self.to.ty(node)
    }
}

/// Emits what `build` builds of `inputs`, and the gradient of `Σ grad · (what it builds)` with respect to
/// each input. Where a node stands for two inputs, each gets its own.
///
/// # Errors
/// `build` fails, or one of the operations that it emits has no gradient.
pub(super) fn gradients(
    to: &mut dyn Emit,
    inputs: &[NodeId],
    grad: NodeId,
    build: Build<'_>,
) -> Result<Vec<Option<NodeId>>, OpError> {
    let mut distinct: Vec<NodeId> = Vec::with_capacity(inputs.len());
    for x in inputs {
        let again = Reshape { shape: to.ty(*x).shape.clone() };
        distinct.push(if distinct.contains(x) { to.emit(again.into(), &[*x])? } else { *x });
    }
    let inputs = &distinct[..];
    let mut recorder = Recorder { to, seen: inputs.iter().copied().collect(), nodes: Vec::new() };
    let output = build(&mut recorder, inputs)?;
    let Recorder { to, nodes, .. } = recorder;
    let mut total = HashMap::from([(output, grad)]);
    // What no input leads to needs no gradient.
    let mut active: HashSet<NodeId> = inputs.iter().copied().collect();
    for (_, of, id) in &nodes {
        if of.iter().any(|i| active.contains(i)) {
            active.insert(*id);
        }
    }
    for (op, of, id) in nodes.iter().rev().filter(|(_, _, id)| active.contains(id)) {
        let Some(grad) = total.get(id).copied() else { continue };
        let grads = op.grad(&mut GradContext { to: &mut *to, inputs: of, output: *id, grad })?;
        for (input, g) in of.iter().zip(grads) {
            let Some(g) = g.filter(|_| active.contains(input)) else { continue };
            let sum = match total.get(input) {
                Some(have) => to.binary(Binary::Add, *have, g)?,
                None => g,
            };
            total.insert(*input, sum);
        }
    }
    Ok(inputs.iter().map(|x| total.remove(x)).collect())
}

/// Emits zeros in place of a gradient that is none, so that several can be put into one tensor.
///
/// # Errors
/// None in practice.
pub(super) fn or_zeros(to: &mut dyn Emit, grad: Option<NodeId>, like: NodeId) -> Result<NodeId, OpError> {
    match grad {
        Some(g) => Ok(g),
        None => {
            let ty = to.ty(like).clone();
            super::expand::full(to, 0.0, ty.shape, ty.dtype)
        }
    }
}

/// Emits tensors one after the other as a single axis.
///
/// # Errors
/// None in practice.
pub(super) fn flat(to: &mut dyn Emit, parts: &[NodeId]) -> Result<NodeId, OpError> {
    let parts = parts
        .iter()
        .map(|x| {
            let all = to.ty(*x).elements();
            super::reshape::reshape(to, *x, vec![all])
        })
        .collect::<Result<Vec<_>, _>>()?;
    super::cat::cat(to, &parts, 0)
}

/// Undoes [`flat`]: emits the parts of a flat tensor, shaped like `like` in order.
///
/// # Errors
/// None in practice.
pub(super) fn parts(
    to: &mut dyn Emit,
    flat: NodeId,
    like: &[NodeId],
) -> Result<Vec<Option<NodeId>>, OpError> {
    let mut start = crate::shape::Dim::from(0);
    let mut out = Vec::with_capacity(like.len());
    for x in like {
        let ty = to.ty(*x).clone();
        let end = start.clone() + ty.elements();
        let part = super::slice::slice(to, flat, 0, start, end.clone())?;
        out.push(Some(super::reshape::reshape(to, part, ty.shape)?));
        start = end;
    }
    Ok(out)
}
