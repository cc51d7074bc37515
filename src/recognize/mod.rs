//! Compositions that have an operation of their own. Models are written as equations; what is recognised in
//! a region, however the equation was written and whichever passes it has been through, is one operation:
//! `optimize` puts it in the place of the composition, and `differentiate` uses its gradient rule.

mod attention;
mod conv_epilogue;
mod normalize;
mod parts;

#[cfg(test)]
mod tests;

pub use attention::attention;
pub use conv_epilogue::conv_epilogue;
pub use normalize::normalize;

use crate::graph::{NodeId, Region};
use crate::ops::{Emit, GradContext, Op, OpError, Primitive, Reshape};
use crate::shape::Dim;

/// A composition in a region: the operation, what it is applied to, and the nodes that it stands for.
#[derive(Clone, Debug)]
pub struct Match {
    /// The operation.
    pub op: Op,
    /// What it is applied to, in order.
    pub operands: Vec<Operand>,
    /// The nodes that it stands for, the one whose value it gives aside.
    pub inside: Vec<NodeId>,
}

/// A node under another shape or order of axes.
#[derive(Clone, Debug)]
pub struct Operand {
    /// The node.
    pub node: NodeId,
    /// What is applied to it, in order: reshapes and permutations.
    pub views: Vec<Op>,
}

impl Match {
    /// Whether nobody but the composition reads what is inside it: `users` gives the readers of a node.
    pub fn is_closed(&self, root: NodeId, users: &dyn Fn(NodeId) -> Vec<NodeId>) -> bool {
        let within = |user: &NodeId| *user == root || self.inside.contains(user);
        self.inside.iter().all(|id| users(*id).iter().all(within))
    }
}

impl Operand {
    /// The node as it is.
    pub fn plain(node: NodeId) -> Operand {
        Operand { node, views: Vec::new() }
    }

    /// The node under a shape, or whatever node it is a reshape of.
    pub fn shaped(region: &Region, mut node: NodeId, shape: &[Dim]) -> Operand {
        loop {
            let at = region.node(node);
            match *at.op {
                _ if at.ty.shape == shape => return Operand::plain(node),
                Op::Reshape(_) => node = at.inputs[0],
                _ => return Operand { node, views: vec![Reshape { shape: shape.to_vec() }.into()] },
            }
        }
    }

    /// Emits the views over `node`, which stands for the operand's own; gives every value on the way, the
    /// operand last.
    ///
    /// # Errors
    /// None in practice: the views fit.
    pub fn emit(&self, to: &mut dyn Emit, node: NodeId) -> Result<Vec<NodeId>, OpError> {
        let mut values = vec![node];
        for view in &self.views {
            values.push(to.emit(view.clone(), &values[values.len() - 1..])?);
        }
        Ok(values)
    }

    /// Emits the gradient of the operand's node from that of the operand. `values` is what [`Self::emit`]
    /// gave.
    ///
    /// # Errors
    /// None in practice.
    pub fn gradient(
        &self,
        to: &mut dyn Emit,
        values: &[NodeId],
        mut grad: NodeId,
    ) -> Result<Option<NodeId>, OpError> {
        for (k, view) in self.views.iter().enumerate().rev() {
            let mut cx = GradContext { to: &mut *to, inputs: &values[k..=k], output: values[k + 1], grad };
            match view.grad(&mut cx)?.into_iter().next().flatten() {
                Some(g) => grad = g,
                None => return Ok(None),
            }
        }
        Ok(Some(grad))
    }
}

/// A pattern: what it recognises in the node that gives its value.
pub type Pattern = fn(&Region, NodeId) -> Option<Match>;

/// Every pattern whose operation has a gradient rule of its own.
pub const ALL: &[Pattern] = &[normalize, attention];
