//! What is the same for all samples is computed for one of them and broadcast: the embedding of a timestep that a
//! whole batch shares, with the layers above it. A broadcast along the first axis moves behind the operations
//! that treat samples one by one ([`Primitive::leading`]), until it meets what differs, which takes the one
//! sample for all.

use super::rewrite::{Site, rewrite};
use crate::graph::{Graph, NodeId};
use crate::ops::{Emit, Expand, Lead, Op, OpError, Primitive, Reshape};
use crate::shape::{Dim, Type};

/// Moves them.
pub fn alike(graph: &Graph) -> Graph {
    rewrite(graph, &mut rule)
}

/// The same of one node.
pub(super) fn rule(site: &mut Site<'_, '_>) -> Result<Option<NodeId>, OpError> {
    let samples = match site.node.ty.shape.first() {
        Some(first) if !first.is(1) => first.clone(),
        _ => return Ok(None),
    };
    let broadcast = |id: &NodeId| matches!(*site.at(*id).op, Op::Expand(_));
    if matches!(*site.node.op, Op::Expand(_)) || !site.inputs.iter().any(broadcast) {
        return Ok(None);
    }
    if matches!(&*site.node.op, Op::Cat(cat) if cat.axis == 0) {
        return halves(site);
    }
    let types: Vec<&Type> = site.inputs.iter().map(|i| &*site.at(*i).ty).collect();
    let Some(leads) = site.node.op.leading(&types, &site.node.ty) else { return Ok(None) };
    let sample = |(id, lead): (&NodeId, &Lead)| match lead {
        Lead::Batch => one(site, *id, &samples),
        Lead::Either | Lead::Shared => Some(One::whole(*id)),
    };
    let Some(ones) = site.inputs.iter().zip(&leads).map(sample).collect::<Option<Vec<One>>>() else {
        return Ok(None);
    };
    let op: Op = match &*site.node.op {
        Op::Reshape(r) => Reshape { shape: with_first(&r.shape, Dim::from(1)) }.into(),
        op => op.clone(),
    };
    // Nothing is added before it is known to fit.
    let types: Vec<Type> = ones.iter().map(|o| o.ty(site)).collect();
    let ty = op.infer(&types.iter().collect::<Vec<_>>())?;
    if ty.dtype != site.node.ty.dtype || ty.shape != with_first(&site.node.ty.shape, Dim::from(1)) {
        return Ok(None);
    }
    let inputs: Vec<NodeId> = ones.iter().map(|o| o.emit(site)).collect::<Result<_, _>>()?;
    let at = site.to.emit(op, &inputs)?;
    spread(site, at).map(Some)
}

/// One thing for several parts of a batch laid end to end.
fn halves(site: &mut Site<'_, '_>) -> Result<Option<NodeId>, OpError> {
    let (part, same) = (site.inputs[0], site.inputs.iter().all(|i| *i == site.inputs[0]));
    let length = site.at(part).ty.shape[0].clone();
    match one(site, part, &length).filter(|_| same) {
        Some(one) => spread(site, one.source).map(Some),
        None => Ok(None),
    }
}

/// One sample's part of an input.
struct One {
    source: NodeId,
    /// What it has to be broadcast or reshaped to, if it is not that.
    shape: Option<Vec<Dim>>,
}

impl One {
    fn whole(source: NodeId) -> One {
        One { source, shape: None }
    }

    fn ty(&self, site: &Site<'_, '_>) -> Type {
        let ty = (*site.at(self.source).ty).clone();
        match &self.shape {
            Some(shape) => Type { shape: shape.clone(), ..ty },
            None => ty,
        }
    }

    fn emit(&self, site: &mut Site<'_, '_>) -> Result<NodeId, OpError> {
        match &self.shape {
            None => Ok(self.source),
            Some(shape) => site.to.emit(Expand { shape: shape.clone() }.into(), &[self.source]),
        }
    }
}

/// What is broadcast along the first axis, of that length, as a single sample.
fn one(site: &Site<'_, '_>, id: NodeId, samples: &Dim) -> Option<One> {
    let node = site.at(id);
    let Op::Expand(Expand { shape }) = &*node.op else { return None };
    let source = node.inputs[0];
    let from = &site.at(source).ty.shape;
    let repeated = from.len() < shape.len() || from[0].is(1);
    if shape.first() != Some(samples) || !repeated {
        return None;
    }
    let shape = with_first(shape, Dim::from(1));
    Some(One { source, shape: (*from != shape).then_some(shape) })
}

/// The node's type, filled with one sample.
fn spread(site: &mut Site<'_, '_>, one: NodeId) -> Result<NodeId, OpError> {
    let shape = site.node.ty.shape.clone();
    site.to.emit(Expand { shape }.into(), &[one])
}

fn with_first(shape: &[Dim], first: Dim) -> Vec<Dim> {
    let mut shape = shape.to_vec();
    shape[0] = first;
    shape
}
