//! Gradients of recognised compositions: the rule of the operation that a composition stands for, in place
//! of the rules of its parts. Such a rule computes again what it needs from the operands, so that nothing
//! inside the composition is held for the backward pass.

use super::{Refused, Walk, refusal, refused};
use crate::graph::{Builder, NodeId};
use crate::ops::{GradContext, Primitive};
use crate::recognize::{self, Match};

impl Walk {
    /// The composition that gives the value of a node, if the walk needs nothing of what is inside it.
    pub(super) fn composition(&self, builder: &Builder<'_>, id: NodeId) -> Option<Match> {
        let region = &builder.graph.regions[builder.region];
        // Nodes that the walk has emitted are not part of it.
        let users = |of: NodeId| self.users.get(of.index()).cloned().unwrap_or_default();
        let free = |of: &NodeId| !self.grads.contains_key(of) && !self.wanted.contains(of);
        recognize::ALL
            .iter()
            .filter_map(|pattern| pattern(region, id))
            .find(|m| m.is_closed(id, &users) && m.inside.iter().all(free))
    }

    /// Emits the gradients of a composition's operands.
    pub(super) fn visit_composition(
        &mut self,
        builder: &mut Builder<'_>,
        id: NodeId,
        grad: NodeId,
        found: &Match,
    ) -> Result<(), Refused> {
        let fault = |b: &Builder<'_>, e| refused(b, e);
        let mut values = Vec::with_capacity(found.operands.len());
        for operand in &found.operands {
            let node = self.again.of(operand.node);
            values.push(operand.emit(builder, node).map_err(|e| fault(builder, e))?);
        }
        let inputs: Vec<NodeId> = values.iter().filter_map(|v| v.last().copied()).collect();
        let output = self.again.of(id);
        let grads = found.op.grad(&mut GradContext { to: builder, inputs: &inputs, output, grad });
        let grads = grads.map_err(|e| refusal(builder, &found.op, e))?;
        for ((operand, values), grad) in found.operands.iter().zip(&values).zip(grads) {
            let active = self.between.get(operand.node.index()).copied().unwrap_or(false);
            let Some(grad) = grad.filter(|_| active) else { continue };
            let grad = operand.gradient(builder, values, grad).map_err(|e| fault(builder, e))?;
            self.add_all(builder, found.op.name(), &[operand.node], vec![grad], &[true])?;
        }
        Ok(())
    }
}
