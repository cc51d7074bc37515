//! The order of evaluation of a region, and after which node each value is freed.

use std::collections::BTreeSet;

use super::bytes;
use crate::graph::{Graph, Node, NodeId, RegionId};
use crate::ops::{Op, Primitive};
use crate::shape::Type;

/// What the executor follows for one region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The nodes that are evaluated, in order: those that an output, a watch or an update needs, and loops
    /// whose body watches something.
    pub order: Vec<NodeId>,
    /// For each of them, the values that nobody needs after it. Outputs, watched values and updates are
    /// never freed: they belong to whoever runs the region. A view shares its storage with what it views,
    /// which is released when all of both are freed.
    pub frees: Vec<Vec<NodeId>>,
}

/// The order of creation.
pub fn schedule(graph: &Graph, region: RegionId) -> Schedule {
    let needed = needed(graph, region);
    let order = graph.regions[region].ids().filter(|id| needed[id.index()]).collect();
    with_frees(graph, region, order)
}

/// Takes, among the nodes whose inputs are there, always the one that frees most and needs least; the first
/// in order of creation among equals.
pub(super) fn greedy(graph: &Graph, region: RegionId) -> Schedule {
    let dag = &graph.regions[region].dag;
    let needed = needed(graph, region);
    let ids: Vec<NodeId> = graph.regions[region].ids().filter(|id| needed[id.index()]).collect();
    let mut state = State::new(graph, region, &ids);
    let mut waits: Vec<usize> = vec![0; dag.node_count()];
    let mut users: Vec<Vec<NodeId>> = vec![Vec::new(); dag.node_count()];
    for id in &ids {
        let inputs: BTreeSet<NodeId> = dag[*id].inputs.iter().copied().collect();
        waits[id.index()] = inputs.len();
        for input in inputs {
            users[input.index()].push(*id);
        }
    }
    let mut ready: BTreeSet<NodeId> = ids.iter().copied().filter(|id| waits[id.index()] == 0).collect();
    let mut order = Vec::with_capacity(ids.len());
    while let Some(first) = ready.first().copied() {
        let mut best = (first, state.gain(first));
        // Leaves cost nothing: what they hold is held anyway.
        let leaf = dag[first].inputs.is_empty() && !matches!(dag[first].op, Op::Random(_));
        if !leaf {
            for id in ready.iter().skip(1) {
                let gain = state.gain(*id);
                if gain > best.1 {
                    best = (*id, gain);
                }
            }
        }
        let chosen = best.0;
        ready.remove(&chosen);
        state.take(chosen);
        order.push(chosen);
        for user in &users[chosen.index()] {
            waits[user.index()] -= 1;
            if waits[user.index()] == 0 {
                ready.insert(*user);
            }
        }
    }
    with_frees(graph, region, order)
}

/// Uses that are left of each storage.
struct State<'g> {
    graph: &'g Graph,
    region: RegionId,
    /// The node whose storage each node's value lies in.
    base: Vec<NodeId>,
    /// Nodes not taken yet that read the storage; one more, for ever, if it outlives the region.
    left: Vec<usize>,
}

impl<'g> State<'g> {
    fn new(graph: &'g Graph, region: RegionId, ids: &[NodeId]) -> Self {
        let dag = &graph.regions[region].dag;
        let mut base: Vec<NodeId> = graph.regions[region].ids().collect();
        let mut left = vec![0; dag.node_count()];
        for id in ids {
            let node = &dag[*id];
            let types: Vec<&Type> = node.inputs.iter().map(|i| &dag[*i].ty).collect();
            let shares = matches!(node.op, Op::Project(_)) || node.op.is_view(&types);
            if let Some(first) = node.inputs.first().filter(|_| shares) {
                base[id.index()] = base[first.index()];
            }
            for of in storages(&base, node) {
                left[of.index()] += 1;
            }
        }
        for root in graph.roots(region) {
            left[base[root.index()].index()] += 1;
        }
        State { graph, region, base, left }
    }

    fn node(&self, id: NodeId) -> &'g Node {
        &self.graph.regions[self.region].dag[id]
    }

    /// Bytes freed less bytes taken, if this node came next.
    fn gain(&self, id: NodeId) -> f64 {
        let node = self.node(id);
        let freed: f64 = storages(&self.base, node)
            .into_iter()
            .filter(|of| self.left[of.index()] == 1)
            .map(|of| self.held(of))
            .sum();
        let own = self.base[id.index()] == id;
        freed - if own { self.held(id) } else { 0.0 }
    }

    /// Bytes of a storage that the region itself holds.
    fn held(&self, id: NodeId) -> f64 {
        let node = self.node(id);
        match &node.op {
            Op::Loop(l) => l.outputs.iter().map(bytes).sum(),
            _ if node.inputs.is_empty() && !matches!(node.op, Op::Random(_)) => 0.0,
            _ => bytes(&node.ty),
        }
    }

    fn take(&mut self, id: NodeId) {
        for of in storages(&self.base, self.node(id)) {
            self.left[of.index()] -= 1;
        }
    }
}

/// The storages that a node reads, each once.
fn storages(base: &[NodeId], node: &Node) -> BTreeSet<NodeId> {
    node.inputs.iter().map(|i| base[i.index()]).collect()
}

/// Which nodes are evaluated.
fn needed(graph: &Graph, region: RegionId) -> Vec<bool> {
    let dag = &graph.regions[region].dag;
    let mut needed = vec![false; dag.node_count()];
    for root in graph.roots(region) {
        needed[root.index()] = true;
    }
    for id in graph.regions[region].ids().rev() {
        let node = &dag[id];
        if let Op::Loop(l) = &node.op {
            needed[id.index()] |= watches(graph, l.region as usize);
        }
        if needed[id.index()] {
            for input in &node.inputs {
                needed[input.index()] = true;
            }
        }
    }
    needed
}

/// Frees each value after its last use.
fn with_frees(graph: &Graph, region: RegionId, order: Vec<NodeId>) -> Schedule {
    let dag = &graph.regions[region].dag;
    let mut kept = vec![false; dag.node_count()];
    for root in graph.roots(region) {
        kept[root.index()] = true;
    }
    // The place of the last use; a value without a use is a loop run for its watches.
    let mut last: Vec<Option<usize>> = vec![None; dag.node_count()];
    for (place, id) in order.iter().enumerate() {
        last[id.index()] = Some(place);
        for input in &dag[*id].inputs {
            last[input.index()] = Some(place);
        }
    }
    let mut frees = vec![Vec::new(); order.len()];
    for id in &order {
        if let Some(place) = last[id.index()].filter(|_| !kept[id.index()]) {
            frees[place].push(*id);
        }
    }
    Schedule { order, frees }
}

/// Whether a body, or the body of a loop in it, watches something.
fn watches(graph: &Graph, region: RegionId) -> bool {
    let region = &graph.regions[region];
    !region.watches.is_empty()
        || region
            .dag
            .node_weights()
            .any(|n| matches!(&n.op, Op::Loop(l) if watches(graph, l.region as usize)))
}
