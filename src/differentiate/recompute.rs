//! The backward pass of a part that ends in [`Checkpoint`](crate::ops::Checkpoint): its values are computed
//! again from what the part begins with. The copies come after the gradient of the part's output is known,
//! by [`After`], so that the forward values need not be held. Adjoints are summed at the original nodes, in
//! the order of the plain walk: gradients keep their bits.

use std::collections::{HashMap, HashSet};

use super::{Refused, Walk, refused};
use crate::graph::{Builder, NodeId, copy};
use crate::ops::{After, Emit, Op};

/// What stands for forward values in gradient rules.
#[derive(Default)]
pub(super) struct Again {
    /// The copy of each node that is computed again.
    copies: HashMap<NodeId, NodeId>,
    /// The parts that were copied, by their last results and what they begin with.
    done: HashSet<NodeId>,
}

impl Again {
    /// The node that gives the value of a forward node in the backward pass.
    pub fn of(&self, id: NodeId) -> NodeId {
        self.copies.get(&id).copied().unwrap_or(id)
    }

    /// The same of several.
    pub fn all(&self, ids: &[NodeId]) -> Vec<NodeId> {
        ids.iter().map(|id| self.of(*id)).collect()
    }
}

impl Walk {
    /// Emits the copies of a part, when the first gradient of one of its results is known. Results of one
    /// part stand side by side and begin with the same.
    pub(super) fn recompute(
        &mut self,
        builder: &mut Builder<'_>,
        id: NodeId,
        grad: NodeId,
    ) -> Result<(), Refused> {
        if self.again.done.contains(&id) {
            return Ok(());
        }
        let dag = &builder.graph.regions[builder.region].dag;
        let begins = dag[id].inputs[1..].to_vec();
        let part = |at: NodeId| matches!(*dag[at].op, Op::Checkpoint(_)) && dag[at].inputs[1..] == begins;
        let results: Vec<NodeId> =
            (0..=id.index()).rev().map(NodeId::new).take_while(|at| part(*at)).collect();
        let roots: Vec<NodeId> = results.iter().map(|r| dag[*r].inputs[0]).collect();
        // Weights, inputs and constants are there anyway.
        let ids = builder.graph.regions[builder.region].ids();
        let there = ids.filter(|n| dag[*n].inputs.is_empty() && !matches!(*dag[*n].op, Op::Random(_)));
        let mut map: HashMap<NodeId, NodeId> = there.map(|n| (n, n)).collect();
        for begin in begins {
            let value = self.again.of(begin);
            let after = builder.emit(After {}.into(), &[value, grad]).map_err(|e| refused(builder, e))?;
            map.insert(begin, after);
        }
        let region = builder.region;
        let map = copy::copy_nodes(builder.graph, region, region, &roots, map);
        self.again.copies.extend(map.into_iter().filter(|(from, to)| from != to));
        self.again.done.extend(results);
        Ok(())
    }
}
