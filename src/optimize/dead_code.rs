//! Dead code: nodes that no output, watch or update needs; outputs, carries, inputs and columns of loops that
//! nobody reads. Inputs of the root stay, since they are what the graph is called with.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::rewrite::rename;
use crate::graph::{Builder, Graph, NodeId, Region, RegionId};
use crate::ops::{Column, Loop, LoopInput, Op, Project};
use crate::shape::{DType, Type};

/// Removes it.
pub fn dead_code(graph: &Graph) -> Graph {
    let live = Live::of(graph);
    let mut new = Graph { output_names: graph.output_names.clone(), ..Graph::new(graph.name.clone()) };
    let map = live.rebuild(0, &mut new, 0, &Kept::default());
    new.regions[0].outputs = graph.root().outputs.iter().map(|o| map[o.index()]).collect();
    new.updates = rename(&graph.updates, &map);
    new
}

/// Whether everything is needed.
pub(super) fn idle(graph: &Graph) -> bool {
    let live = Live::of(graph);
    let all = |on: &[bool]| on.iter().all(|on| *on);
    // A region that was not reached belongs to no loop any more.
    let regions = live.nodes.iter().zip(&graph.regions).enumerate().all(|(i, (on, region))| {
        on.len() == region.dag.node_count() && (all(on) || i == 0 && inputs_aside(graph, on))
    });
    regions
        && live.loops.values().all(|p| all(&p.inputs) && all(&p.outputs))
        && graph.regions.iter().flat_map(|r| r.dag.node_weights()).all(|n| match &*n.op {
            Op::Loop(l) => live.columns(l).len() == l.columns.len(),
            _ => true,
        })
}

/// Whether all but inputs of the root are needed.
fn inputs_aside(graph: &Graph, on: &[bool]) -> bool {
    graph.root().dag.node_weights().zip(on).all(|(n, on)| *on || matches!(&*n.op, Op::Input(_)))
}

/// Which parts of a loop are needed.
#[derive(Clone, Default)]
struct Parts {
    inputs: Vec<bool>,
    outputs: Vec<bool>,
}

struct Live<'g> {
    graph: &'g Graph,
    /// Per region: which nodes are needed.
    nodes: Vec<Vec<bool>>,
    /// Per body.
    loops: HashMap<RegionId, Parts>,
}

/// New numbers of what a body refers to by number.
#[derive(Default)]
struct Kept {
    inputs: HashMap<u32, u32>,
    columns: HashMap<u32, u32>,
}

impl<'g> Live<'g> {
    fn of(graph: &'g Graph) -> Self {
        let mut live = Live { graph, nodes: vec![Vec::new(); graph.regions.len()], loops: HashMap::new() };
        live.region(0, &graph.roots(0));
        live
    }

    /// Marks what `roots` and watches need, bodies of loops included.
    fn region(&mut self, region: RegionId, roots: &[NodeId]) {
        let graph = self.graph;
        let old = &graph.regions[region];
        let mut needed = vec![false; old.dag.node_count()];
        let mut outputs: HashMap<NodeId, Vec<bool>> = HashMap::new();
        for id in roots.iter().copied().chain(old.watches.iter().map(|w| w.node)) {
            needed[id.index()] = true;
        }
        for id in old.ids().rev() {
            let node = old.node(id);
            if let Op::Loop(l) = &*node.op {
                let used = outputs.remove(&id);
                if used.is_none() && !needed[id.index()] && !watches(graph, l.region as usize) {
                    continue;
                }
                needed[id.index()] = true;
                let mut used = used.unwrap_or_default();
                used.resize(l.outputs.len(), false);
                let parts = self.body(l, used);
                for (input, on) in node.inputs.iter().zip(&parts.inputs) {
                    needed[input.index()] |= *on;
                }
                self.loops.insert(l.region as usize, parts);
            } else if needed[id.index()] {
                if let Op::Project(p) = &*node.op {
                    let used = outputs.entry(node.inputs[0]).or_default();
                    used.resize(used.len().max(p.index as usize + 1), false);
                    used[p.index as usize] = true;
                    continue;
                }
                for input in &node.inputs {
                    needed[input.index()] = true;
                }
            }
        }
        self.nodes[region] = needed;
    }

    /// Marks a body until no further carry is needed.
    fn body(&mut self, l: &Loop, mut outputs: Vec<bool>) -> Parts {
        let (k, region) = (l.carries as usize, l.region as usize);
        let body = &self.graph.regions[region];
        loop {
            let roots: Vec<NodeId> =
                body.outputs.iter().zip(&outputs).filter(|(_, on)| **on).map(|(o, _)| *o).collect();
            self.region(region, &roots);
            let mut inputs = vec![false; (l.carries + l.captures + l.scans) as usize];
            for id in body.ids().filter(|id| self.nodes[region][id.index()]) {
                if let Op::LoopInput(i) = &*body.node(id).op {
                    inputs[i.index as usize] = true;
                }
            }
            let grown: Vec<usize> = (0..k).filter(|i| inputs[*i] && !outputs[*i]).collect();
            for i in &grown {
                outputs[*i] = true;
            }
            if grown.is_empty() {
                // A carry has a first value whether its body reads it or not.
                inputs[..k].copy_from_slice(&outputs[..k]);
                return Parts { inputs, outputs };
            }
        }
    }

    /// Copies what is marked.
    fn rebuild(&self, from: RegionId, new: &mut Graph, to: RegionId, kept: &Kept) -> Vec<NodeId> {
        let old = &self.graph.regions[from];
        let mut map = vec![NodeId::end(); old.dag.node_count()];
        for id in old.ids() {
            let node = old.node(id);
            let input_of_root = from == 0 && matches!(*node.op, Op::Input(_));
            if !self.nodes[from][id.index()] && !input_of_root {
                continue;
            }
            let mut inputs: Vec<NodeId> = node.inputs.iter().map(|i| map[i.index()]).collect();
            let mut ty = node.ty.clone();
            let op: Op = match &*node.op {
                Op::Loop(l) => {
                    let parts = self.parts(l);
                    let mut on = parts.inputs.iter();
                    inputs.retain(|_| on.next().copied().unwrap_or(false));
                    let pruned = self.rebuild_loop(l, &parts, new);
                    ty =
                        Arc::new(pruned.outputs.first().cloned().unwrap_or_else(|| Type::scalar(DType::F32)));
                    pruned.into()
                }
                Op::Project(p) => {
                    let outputs = match &*old.node(node.inputs[0]).op {
                        Op::Loop(l) => self.parts(l).outputs,
                        _ => Vec::new(),
                    };
                    let index = outputs.iter().take(p.index as usize).filter(|on| **on).count() as u32;
                    Project { index, ty: p.ty.clone() }.into()
                }
                Op::LoopInput(i) => {
                    LoopInput { index: new_number(&kept.inputs, i.index), ty: i.ty.clone() }.into()
                }
                Op::Column(c) => Column { index: new_number(&kept.columns, c.index), dtype: c.dtype }.into(),
                _ => {
                    let mut builder = Builder::new(new, to, node.span, Arc::clone(&node.path));
                    map[id.index()] = builder.share(Arc::clone(&node.op), &inputs, ty);
                    continue;
                }
            };
            let mut builder = Builder::new(new, to, node.span, Arc::clone(&node.path));
            map[id.index()] = builder.share(Arc::new(op), &inputs, ty);
        }
        new.regions[to].watches = rename(&old.watches, &map);
        map
    }

    fn parts(&self, l: &Loop) -> Parts {
        self.loops.get(&(l.region as usize)).cloned().unwrap_or_default()
    }

    /// The columns that the body of a loop reads.
    fn columns(&self, l: &Loop) -> BTreeSet<u32> {
        let region = l.region as usize;
        let body = &self.graph.regions[region];
        let read = body.ids().filter(|id| self.nodes[region][id.index()]);
        read.filter_map(|id| match &*body.node(id).op {
            Op::Column(c) => Some(c.index),
            _ => None,
        })
        .collect()
    }

    fn rebuild_loop(&self, l: &Loop, parts: &Parts, new: &mut Graph) -> Loop {
        let old = l.region as usize;
        let body = &self.graph.regions[old];
        let columns = self.columns(l);
        let renumber = |on: &mut dyn Iterator<Item = u32>| on.zip(0..).collect::<HashMap<u32, u32>>();
        let kept = Kept {
            inputs: renumber(&mut (0..).zip(&parts.inputs).filter(|(_, on)| **on).map(|(i, _)| i)),
            columns: renumber(&mut columns.iter().copied()),
        };
        let region = new.regions.len();
        new.regions.push(Region::default());
        let map = self.rebuild(old, new, region, &kept);
        let chosen = || parts.outputs.iter().enumerate().filter(|(_, on)| **on).map(|(i, _)| i);
        new.regions[region].outputs = chosen().map(|i| map[body.outputs[i].index()]).collect();
        let (k, c) = (l.carries as usize, l.captures as usize);
        let count = |on: &[bool]| on.iter().filter(|on| **on).count() as u32;
        Loop {
            region: region as u32,
            carries: count(&parts.outputs[..k]),
            captures: count(&parts.inputs[k..k + c]),
            scans: count(&parts.inputs[k + c..]),
            columns: columns.iter().filter_map(|c| l.columns.get(*c as usize).cloned()).collect(),
            outputs: chosen().map(|i| l.outputs[i].clone()).collect(),
            ..*l
        }
    }
}

/// What is not renumbered was not read; its number does not matter.
fn new_number(map: &HashMap<u32, u32>, old: u32) -> u32 {
    map.get(&old).copied().unwrap_or(old)
}

/// Whether a region or a loop inside it watches something.
pub(super) fn watches(graph: &Graph, region: RegionId) -> bool {
    let region = &graph.regions[region];
    !region.watches.is_empty()
        || region
            .dag
            .node_weights()
            .any(|n| matches!(&*n.op, Op::Loop(l) if watches(graph, l.region as usize)))
}
