//! Loop-invariant code: what a body computes from captured tensors alone, the same at every step, moves out
//! of the loop and is captured in turn. Views and constants stay, since they cost nothing, and so that
//! nothing is broadcast in memory. Random sources never move: they draw anew at each step.

use std::collections::HashMap;
use std::sync::Arc;

use super::dead_code::watches;
use super::rewrite::rename;
use crate::graph::{Builder, Graph, Node, NodeId, Region, RegionId};
use crate::ops::{Loop, LoopInput, Op, Primitive};
use crate::shape::Type;

/// Moves it, out of one loop; from inner to outer loops, it moves by one each time.
pub fn hoist(graph: &Graph) -> Graph {
    let mut new = Graph { output_names: graph.output_names.clone(), ..Graph::new(graph.name.clone()) };
    let map = Hoist { graph }.region(0, &mut new, 0, &Moved::default());
    new.updates = rename(&graph.updates, &map);
    new
}

/// Moves it out of all loops.
pub(super) fn out_of_all(mut graph: Graph) -> Graph {
    // By one each time.
    for _ in 0..graph.regions.len() {
        if idle(&graph) {
            break;
        }
        graph = hoist(&graph);
    }
    graph
}

/// Whether nothing can leave any loop.
pub(super) fn idle(graph: &Graph) -> bool {
    let hoist = Hoist { graph };
    let stays = |n: &Node| match &*n.op {
        Op::Loop(l) => hoist.find(l).captured.is_empty(),
        _ => true,
    };
    graph.regions.iter().all(|r| r.dag.node_weights().all(stays))
}

struct Hoist<'g> {
    graph: &'g Graph,
}

/// What leaves a body.
#[derive(Default)]
struct Moved {
    /// Per node of the old body: whether it moves.
    nodes: Vec<bool>,
    /// Of those, the ones that the body still reads, with their numbers as inputs.
    captured: HashMap<NodeId, u32>,
    /// The number of the first scanned input, before.
    first_scan: u32,
}

impl Moved {
    fn is(&self, id: NodeId) -> bool {
        self.nodes.get(id.index()).copied().unwrap_or(false)
    }
}

impl Hoist<'_> {
    /// Copies a region without what moves out of it.
    fn region(&self, from: RegionId, new: &mut Graph, to: RegionId, moved: &Moved) -> Vec<NodeId> {
        let old = &self.graph.regions[from];
        let mut map: Vec<NodeId> = Vec::with_capacity(old.dag.node_count());
        for id in old.ids() {
            let node = old.node(id);
            let place = if !moved.is(id) {
                let inputs: Vec<NodeId> = node.inputs.iter().map(|i| map[i.index()]).collect();
                match &*node.op {
                    Op::LoopInput(i) if i.index >= moved.first_scan => {
                        let index = i.index + moved.captured.len() as u32;
                        push(new, to, node, Arc::new(LoopInput { index, ty: i.ty.clone() }.into()), &[])
                    }
                    _ => self.copy(node, &inputs, new, to),
                }
            } else if let Some(index) = moved.captured.get(&id) {
                push(new, to, node, Arc::new(LoopInput { index: *index, ty: (*node.ty).clone() }.into()), &[])
            } else {
                // Nothing that stays reads it.
                NodeId::end()
            };
            map.push(place);
        }
        new.regions[to].outputs = old.outputs.iter().map(|o| map[o.index()]).collect();
        new.regions[to].watches = rename(&old.watches, &map);
        map
    }

    fn copy(&self, node: &Node, inputs: &[NodeId], new: &mut Graph, to: RegionId) -> NodeId {
        let Op::Loop(l) = &*node.op else { return push(new, to, node, Arc::clone(&node.op), inputs) };
        let moved = self.find(l);
        let mut outside = self.outside(l, &moved, inputs, new, to);
        outside.sort_unstable();
        let split = (l.carries + l.captures) as usize;
        let mut all = inputs[..split].to_vec();
        all.extend(outside.iter().map(|(_, id)| *id));
        all.extend_from_slice(&inputs[split..]);
        let body = new.regions.len();
        new.regions.push(Region::default());
        self.region(l.region as usize, new, body, &moved);
        let captures = l.captures + moved.captured.len() as u32;
        let op = Loop {
            region: body as u32,
            captures,
            columns: l.columns.clone(),
            outputs: l.outputs.clone(),
            ..*l
        };
        push(new, to, node, Arc::new(op.into()), &all)
    }

    /// Emits what moves into the region of the loop; gives what the body captures of it, by number.
    fn outside(
        &self,
        l: &Loop,
        moved: &Moved,
        inputs: &[NodeId],
        new: &mut Graph,
        to: RegionId,
    ) -> Vec<(u32, NodeId)> {
        let body = &self.graph.regions[l.region as usize];
        // Views and constants under what moves are repeated outside.
        let mut wanted = moved.nodes.clone();
        if moved.captured.is_empty() {
            return Vec::new();
        }
        for id in body.ids().rev() {
            if wanted[id.index()] {
                for input in &body.node(id).inputs {
                    wanted[input.index()] = true;
                }
            }
        }
        let mut places: HashMap<NodeId, NodeId> = HashMap::new();
        let mut captured = Vec::with_capacity(moved.captured.len());
        for id in body.ids().filter(|id| wanted[id.index()]) {
            let node = body.node(id);
            let place = match &*node.op {
                Op::LoopInput(i) => inputs[i.index as usize],
                _ => {
                    let inputs: Vec<NodeId> = node.inputs.iter().map(|i| places[i]).collect();
                    self.copy(node, &inputs, new, to)
                }
            };
            places.insert(id, place);
            if let Some(number) = moved.captured.get(&id) {
                captured.push((*number, place));
            }
        }
        captured
    }

    /// What can leave a body.
    fn find(&self, l: &Loop) -> Moved {
        let body = &self.graph.regions[l.region as usize];
        let (k, split) = (l.carries, l.carries + l.captures);
        let mut same = vec![false; body.dag.node_count()];
        let mut moves = vec![false; body.dag.node_count()];
        for id in body.ids().filter(|_| l.steps > 1) {
            let node = body.node(id);
            same[id.index()] = match &*node.op {
                // A carry that is handed on unchanged is as good as captured.
                Op::LoopInput(i) if i.index < k => body.outputs[i.index as usize] == id,
                Op::LoopInput(i) => i.index < split,
                Op::Column(_) | Op::Random(_) => false,
                Op::Loop(inner) if self.varies(inner.region as usize) => false,
                _ => node.inputs.iter().all(|i| same[i.index()]),
            };
            let types: Vec<&Type> = node.inputs.iter().map(|i| &*body.node(*i).ty).collect();
            let work = !node.inputs.is_empty() && !node.op.is_view(&types);
            moves[id.index()] = same[id.index()] && work;
        }
        // A loop has several values, which are captured one by one.
        let is_loop = |id: NodeId| matches!(*body.node(id).op, Op::Loop(_));
        let mut captured = HashMap::new();
        let mut read = vec![false; body.dag.node_count()];
        for id in body.ids().filter(|id| !moves[id.index()]) {
            body.node(id).inputs.iter().for_each(|i| read[i.index()] = true);
        }
        body.roots().for_each(|id| read[id.index()] = true);
        for id in body.ids().filter(|id| moves[id.index()] && read[id.index()] && !is_loop(*id)) {
            captured.insert(id, split + captured.len() as u32);
        }
        if captured.is_empty() {
            moves.fill(false);
        }
        Moved { nodes: moves, captured, first_scan: split }
    }

    /// Whether a body gives other values at another time with equal inputs, or does more than give values.
    fn varies(&self, region: RegionId) -> bool {
        watches(self.graph, region)
            || self.graph.regions[region].dag.node_weights().any(|n| match &*n.op {
                Op::Random(_) => true,
                Op::Loop(l) => self.varies(l.region as usize),
                _ => false,
            })
    }
}

fn push(new: &mut Graph, to: RegionId, node: &Node, op: Arc<Op>, inputs: &[NodeId]) -> NodeId {
    Builder::new(new, to, node.span, Arc::clone(&node.path)).share(op, inputs, Arc::clone(&node.ty))
}
