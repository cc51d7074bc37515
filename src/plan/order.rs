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
/// in order of creation among equals. A leaf is taken as soon as it is the first: what it holds is held anyway.
pub(super) fn greedy(graph: &Graph, region: RegionId) -> Schedule {
    let dag = &graph.regions[region].dag;
    let needed = needed(graph, region);
    let ids: Vec<NodeId> = graph.regions[region].ids().filter(|id| needed[id.index()]).collect();
    let mut waits: Vec<usize> = vec![0; dag.node_count()];
    let mut users: Vec<Vec<NodeId>> = vec![Vec::new(); dag.node_count()];
    for id in &ids {
        let inputs = distinct(dag[*id].inputs.clone());
        waits[id.index()] = inputs.len();
        for input in inputs {
            users[input.index()].push(*id);
        }
    }
    let mut ready = Ready::new(State::new(graph, region, &ids));
    for id in ids.iter().filter(|id| waits[id.index()] == 0) {
        ready.insert(*id);
    }
    let mut order = Vec::with_capacity(ids.len());
    while let Some(chosen) = ready.next() {
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

/// The nodes whose inputs are there, by what they gain, which changes for few of them at each step.
struct Ready<'g> {
    state: State<'g>,
    /// In order of creation.
    by_age: BTreeSet<NodeId>,
    /// Highest gain first, then the oldest.
    by_gain: BTreeSet<(std::cmp::Reverse<i64>, NodeId)>,
    /// Under which gain a node stands there.
    gains: Vec<i64>,
}

impl<'g> Ready<'g> {
    fn new(state: State<'g>) -> Self {
        let gains = vec![0; state.base.len()];
        Ready { state, by_age: BTreeSet::new(), by_gain: BTreeSet::new(), gains }
    }

    fn insert(&mut self, id: NodeId) {
        let gain = self.state.gain(id);
        self.gains[id.index()] = gain;
        self.by_gain.insert((std::cmp::Reverse(gain), id));
        self.by_age.insert(id);
    }

    fn next(&mut self) -> Option<NodeId> {
        let first = *self.by_age.first()?;
        let node = self.state.node(first);
        let leaf = node.inputs.is_empty() && !matches!(*node.op, Op::Random(_));
        let chosen = if leaf { first } else { self.by_gain.first()?.1 };
        self.by_age.remove(&chosen);
        self.by_gain.remove(&(std::cmp::Reverse(self.gains[chosen.index()]), chosen));
        // The last reader of a storage would free it.
        for last in self.state.take(chosen) {
            if self.by_age.contains(&last) {
                self.by_gain.remove(&(std::cmp::Reverse(self.gains[last.index()]), last));
                self.insert(last);
            }
        }
        Some(chosen)
    }
}

/// Uses that are left of each storage.
pub(super) struct State<'g> {
    graph: &'g Graph,
    region: RegionId,
    /// The node whose storage each node's value lies in.
    base: Vec<NodeId>,
    /// The storages that each node reads, each once.
    reads: Vec<Vec<NodeId>>,
    /// The nodes that read each storage.
    readers: Vec<Vec<NodeId>>,
    /// Nodes not taken yet that read the storage; one more, for ever, if it outlives the region.
    left: Vec<usize>,
    taken: Vec<bool>,
    /// Bytes of each storage that the region itself holds.
    held: Vec<i64>,
}

impl<'g> State<'g> {
    pub(super) fn new(graph: &'g Graph, region: RegionId, ids: &[NodeId]) -> Self {
        let dag = &graph.regions[region].dag;
        let count = dag.node_count();
        let mut base: Vec<NodeId> = graph.regions[region].ids().collect();
        let mut left = vec![0; count];
        let (mut reads, mut readers) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        let mut held = vec![0; count];
        for id in ids {
            let node = &dag[*id];
            let types: Vec<&Type> = node.inputs.iter().map(|i| &*dag[*i].ty).collect();
            let shares = matches!(*node.op, Op::Project(_)) || node.op.is_view(&types);
            if let Some(first) = node.inputs.first().filter(|_| shares) {
                base[id.index()] = base[first.index()];
            }
            let storages = distinct(node.inputs.iter().map(|i| base[i.index()]).collect());
            for of in &storages {
                left[of.index()] += 1;
                readers[of.index()].push(*id);
            }
            reads[id.index()] = storages;
            held[id.index()] = match &*node.op {
                Op::Loop(l) => l.outputs.iter().map(bytes).sum::<f64>() as i64,
                _ if node.inputs.is_empty() && !matches!(*node.op, Op::Random(_)) => 0,
                _ => bytes(&node.ty) as i64,
            };
        }
        for root in graph.roots(region) {
            left[base[root.index()].index()] += 1;
        }
        State { graph, region, base, reads, readers, left, taken: vec![false; count], held }
    }

    fn node(&self, id: NodeId) -> &'g Node {
        &self.graph.regions[self.region].dag[id]
    }

    /// Bytes freed less bytes taken, if this node came next.
    pub(super) fn gain(&self, id: NodeId) -> i64 {
        let last = self.reads[id.index()].iter().filter(|of| self.left[of.index()] == 1);
        let freed = last.fold(0i64, |sum, of| sum.saturating_add(self.held[of.index()]));
        let own = self.base[id.index()] == id;
        freed.saturating_sub(if own { self.held[id.index()] } else { 0 })
    }

    /// Takes a node; gives those that are now the only reader of a storage.
    pub(super) fn take(&mut self, id: NodeId) -> Vec<NodeId> {
        self.taken[id.index()] = true;
        let mut last = Vec::new();
        for of in &self.reads[id.index()] {
            self.left[of.index()] -= 1;
            if self.left[of.index()] == 1 {
                last.extend(self.readers[of.index()].iter().copied().find(|r| !self.taken[r.index()]));
            }
        }
        last
    }
}

/// Each node once.
fn distinct(mut nodes: Vec<NodeId>) -> Vec<NodeId> {
    nodes.sort_unstable();
    nodes.dedup();
    nodes
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
        if let Op::Loop(l) = &*node.op {
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
            .any(|n| matches!(&*n.op, Op::Loop(l) if watches(graph, l.region as usize)))
}
