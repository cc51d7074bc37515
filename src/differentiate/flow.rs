//! Along which edges gradients flow. The gradient rules themselves are the only source: a rule is asked on a
//! scratch graph for which of its inputs it gives a gradient, so that `reach` and `gradients` never disagree.

use std::collections::HashMap;
use std::sync::Arc;

use crate::graph::{Builder, Graph, NodeId, RegionId};
use crate::ops::{GradContext, Input, Loop, Op, Primitive};
use crate::shape::Type;
use crate::source::Span;

/// Answers about one graph, remembered per node.
pub(super) struct Flow<'g> {
    graph: &'g Graph,
    slots: HashMap<(RegionId, NodeId), Arc<[bool]>>,
    empty: Arc<str>,
}

/// What a loop passes on, given which of its inputs depend on what one differentiates by.
pub(super) struct LoopForward {
    /// Which carries depend on it at the start of some step.
    pub carries: Vec<bool>,
    /// Which outputs of the node do.
    pub outputs: Vec<bool>,
}

/// What reaches a loop's outputs, given which of them reach the loss.
pub(super) struct LoopBackward {
    /// Which carries do, at the end of some step.
    pub carries: Vec<bool>,
    /// Which inputs of the node do.
    pub inputs: Vec<bool>,
}

impl<'g> Flow<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        Flow { graph, slots: HashMap::new(), empty: Arc::from("") }
    }

    /// Nodes of a region from which a differentiable path leads to one of `ends`.
    pub(super) fn backward(&mut self, region: RegionId, ends: &[NodeId]) -> Vec<bool> {
        let graph = self.graph;
        let dag = &graph.regions[region].dag;
        let mut reached = vec![false; dag.node_count()];
        let mut outputs: HashMap<NodeId, Vec<bool>> = HashMap::new();
        for end in ends.iter().filter(|e| dag[**e].ty.dtype.is_float()) {
            reached[end.index()] = true;
        }
        for id in graph.regions[region].ids().rev() {
            if !reached[id.index()] {
                continue;
            }
            let node = &dag[id];
            match &*node.op {
                Op::Project(p) => {
                    let of = node.inputs[0];
                    let flags = outputs.entry(of).or_default();
                    flags.resize(flags.len().max(p.index as usize + 1), false);
                    flags[p.index as usize] = true;
                    reached[of.index()] = true;
                }
                Op::Loop(l) => {
                    let mut flags = outputs.remove(&id).unwrap_or_default();
                    flags.resize(l.outputs.len(), false);
                    let back = self.loop_backward(l, &flags);
                    for (input, flag) in node.inputs.iter().zip(back.inputs) {
                        reached[input.index()] |= flag;
                    }
                }
                _ => {
                    let slots = self.slots(region, id);
                    for (input, flag) in node.inputs.iter().zip(slots.iter()) {
                        reached[input.index()] |= *flag;
                    }
                }
            }
        }
        reached
    }

    /// Nodes among those of `within` to which a differentiable path leads from one of `starts`.
    pub(super) fn forward(&mut self, region: RegionId, starts: &[NodeId], within: &[bool]) -> Vec<bool> {
        let graph = self.graph;
        let dag = &graph.regions[region].dag;
        let mut reached = vec![false; dag.node_count()];
        let mut outputs: HashMap<NodeId, Vec<bool>> = HashMap::new();
        for start in starts.iter().filter(|s| dag[**s].ty.dtype.is_float()) {
            reached[start.index()] = within[start.index()];
        }
        for id in graph.regions[region].ids().filter(|id| within[id.index()]) {
            let node = &dag[id];
            let on: Vec<bool> = node.inputs.iter().map(|i| reached[i.index()]).collect();
            if !on.contains(&true) {
                continue;
            }
            reached[id.index()] |= match &*node.op {
                Op::Project(p) => outputs
                    .get(&node.inputs[0])
                    .is_some_and(|flags| flags.get(p.index as usize).copied().unwrap_or(false)),
                Op::Loop(l) => {
                    let flags = self.loop_forward(l, &on).outputs;
                    let any = flags.contains(&true);
                    outputs.insert(id, flags);
                    any
                }
                _ => self.slots(region, id).iter().zip(&on).any(|(slot, on)| *slot && *on),
            };
        }
        reached
    }

    /// Follows a loop's body until no further carry is reached.
    pub(super) fn loop_forward(&mut self, l: &Loop, on: &[bool]) -> LoopForward {
        let graph = self.graph;
        let (k, region) = (l.carries as usize, l.region as usize);
        let body = &graph.regions[region];
        let mut on = on.to_vec();
        loop {
            let starts: Vec<NodeId> = inputs(graph, region).filter(|(i, _)| on[*i]).map(|(_, n)| n).collect();
            let reached = self.forward(region, &starts, &vec![true; body.dag.node_count()]);
            let mut outputs: Vec<bool> = body.outputs.iter().map(|o| reached[o.index()]).collect();
            let grown = (0..k).filter(|i| outputs[*i] && !on[*i]).collect::<Vec<_>>();
            for i in &grown {
                on[*i] = true;
            }
            if grown.is_empty() {
                on.truncate(k);
                if l.steps == 0 {
                    outputs[..k].copy_from_slice(&on);
                }
                return LoopForward { carries: on, outputs };
            }
        }
    }

    /// Follows a loop's body backwards until no further carry is reached.
    pub(super) fn loop_backward(&mut self, l: &Loop, outputs: &[bool]) -> LoopBackward {
        let graph = self.graph;
        let (k, region) = (l.carries as usize, l.region as usize);
        let body = &graph.regions[region];
        let mut outputs = outputs.to_vec();
        loop {
            let ends: Vec<NodeId> =
                body.outputs.iter().zip(&outputs).filter(|(_, on)| **on).map(|(o, _)| *o).collect();
            let reached = self.backward(region, &ends);
            let mut into = vec![false; (l.carries + l.captures + l.scans) as usize];
            for (i, node) in inputs(graph, region) {
                into[i] |= reached[node.index()];
            }
            let grown = (0..k).filter(|i| into[*i] && !outputs[*i]).collect::<Vec<_>>();
            for i in &grown {
                outputs[*i] = true;
            }
            if grown.is_empty() {
                outputs.truncate(k);
                if l.steps == 0 {
                    into[..k].copy_from_slice(&outputs);
                }
                return LoopBackward { carries: outputs, inputs: into };
            }
        }
    }

    /// For which inputs of a node its rule gives a gradient. A rule that refuses counts as giving all, so
    /// that the refusal is met and reported where the gradient is really asked for.
    fn slots(&mut self, region: RegionId, id: NodeId) -> Arc<[bool]> {
        if let Some(slots) = self.slots.get(&(region, id)) {
            return slots.clone();
        }
        let dag = &self.graph.regions[region].dag;
        let node = &dag[id];
        let types: Vec<&Type> = node.inputs.iter().map(|i| &*dag[*i].ty).collect();
        let slots: Arc<[bool]> = if types.is_empty() || !node.ty.dtype.is_float() {
            vec![false; types.len()].into()
        } else {
            let given = ask(&node.op, &types, &node.ty, &self.empty);
            types.iter().zip(given).map(|(t, g)| g && t.dtype.is_float()).collect()
        };
        self.slots.insert((region, id), slots.clone());
        slots
    }
}

/// Runs a gradient rule on a scratch graph.
fn ask(op: &Op, types: &[&Type], output: &Type, path: &Arc<str>) -> Vec<bool> {
    let mut scratch = Graph::new("");
    let mut to = Builder::new(&mut scratch, 0, Span::default(), path.clone());
    let mut stand_in =
        |ty: &Type| to.push(Input { name: String::new(), ty: ty.clone() }.into(), &[], ty.clone());
    let inputs: Vec<NodeId> = types.iter().map(|t| stand_in(t)).collect();
    let (output, grad) = (stand_in(output), stand_in(&output.plain()));
    match op.grad(&mut GradContext { to: &mut to, inputs: &inputs, output, grad }) {
        Ok(grads) => {
            grads.iter().map(Option::is_some).chain(std::iter::repeat(false)).take(types.len()).collect()
        }
        Err(_) => vec![true; types.len()],
    }
}

/// The inputs of a body, by number.
fn inputs(graph: &Graph, region: RegionId) -> impl Iterator<Item = (usize, NodeId)> + '_ {
    let body = &graph.regions[region];
    body.ids().filter_map(|id| match &*body.dag[id].op {
        Op::LoopInput(i) => Some((i.index as usize, id)),
        _ => None,
    })
}
