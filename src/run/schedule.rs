//! The order of evaluation of a region, and after which node each value is freed.

use crate::graph::{Graph, NodeId, RegionId};
use crate::ops::Op;

/// What the executor follows for one region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The nodes that are evaluated, in order.
    pub order: Vec<NodeId>,
    /// For each of them, the values that nobody needs after it.
    pub frees: Vec<Vec<NodeId>>,
}

/// Order of creation, without the nodes that nothing needs; a value is freed after its last use. A loop whose
/// body watches something is needed.
pub fn schedule(graph: &Graph, region: RegionId) -> Schedule {
    let dag = &graph.regions[region].dag;
    let mut needed = vec![false; dag.node_count()];
    let mut last = vec![None; dag.node_count()];
    let mut kept = vec![false; dag.node_count()];
    for root in graph.roots(region) {
        needed[root.index()] = true;
        kept[root.index()] = true;
    }
    for id in graph.regions[region].ids().rev() {
        let node = &dag[id];
        if let Op::Loop(l) = &node.op {
            needed[id.index()] |= watches(graph, l.region as usize);
        }
        if needed[id.index()] {
            for input in &node.inputs {
                needed[input.index()] = true;
                last[input.index()].get_or_insert(id);
            }
        }
    }
    let order: Vec<NodeId> = graph.regions[region].ids().filter(|id| needed[id.index()]).collect();
    let mut frees = vec![Vec::new(); order.len()];
    let mut place = vec![0usize; dag.node_count()];
    for (at, id) in order.iter().enumerate() {
        place[id.index()] = at;
    }
    for id in &order {
        if !kept[id.index()] {
            // A needed value without a use is a loop run for its watches: freed at once.
            let at = last[id.index()].unwrap_or(*id);
            frees[place[at.index()]].push(*id);
        }
    }
    Schedule { order, frees }
}

fn watches(graph: &Graph, region: RegionId) -> bool {
    graph.regions.get(region).is_some_and(|r| {
        !r.watches.is_empty()
            || r.dag
                .node_weights()
                .any(|n| matches!(&n.op, Op::Loop(l) if l.region as usize != region && watches(graph, l.region as usize)))
    })
}
