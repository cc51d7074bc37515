//! The copier that rewriting passes share: a new graph from the old one, node by node, in which a rule may
//! put something else for a node.

use std::sync::Arc;

use crate::graph::{Builder, Graph, Named, Node, NodeId, Region, RegionId};
use crate::ops::{Column, Const, Emit, Expand, Loop, Op, OpError};
use crate::shape::DType;

/// One node on its way into the new graph.
pub(super) struct Site<'a, 'g> {
    /// Adds nodes to the new region, with the span and path of the node.
    pub to: &'a mut Builder<'g>,
    /// The node of the old graph.
    pub node: &'a Node,
    /// Its inputs in the new region.
    pub inputs: &'a [NodeId],
    /// The columns of the loop whose body this is; a rule may add some.
    pub columns: &'a mut Vec<Vec<f64>>,
}

impl Site<'_, '_> {
    /// The node of the new region.
    pub fn at(&self, id: NodeId) -> &Node {
        &self.to.graph.regions[self.to.region].dag[id]
    }

    /// The operation of the `i`-th input.
    pub fn input(&self, i: usize) -> &Op {
        &self.at(self.inputs[i]).op
    }

    /// The number that a tensor holds everywhere, if it is made from a constant.
    pub fn uniform(&self, mut id: NodeId) -> Option<f64> {
        let mut exact = true;
        loop {
            let node = self.at(id);
            match &*node.op {
                // A conversion keeps small whole numbers only.
                Op::Const(c) => return Some(c.value).filter(|v| exact || small_whole(*v)),
                Op::Table(t) => {
                    let first = *t.values.first()?;
                    let same = t.values.iter().all(|v| *v == first) && (exact || small_whole(first));
                    return same.then_some(first);
                }
                Op::Expand(_) | Op::Reshape(_) | Op::Permute(_) | Op::Slice(_) | Op::StopGrad(_) => {}
                Op::Cast(_) => exact = false,
                _ => return None,
            }
            id = *node.inputs.first()?;
        }
    }

    /// A tensor of the node's type that holds one number.
    pub fn filled(&mut self, value: f64) -> Result<NodeId, OpError> {
        let number = self.to.emit(Const { value, dtype: self.node.ty.dtype }.into(), &[])?;
        self.fit(number)
    }

    /// A tensor of the node's shape: itself, or broadcast.
    pub fn fit(&mut self, id: NodeId) -> Result<NodeId, OpError> {
        let shape = &self.node.ty.shape;
        if self.at(id).ty.shape == *shape {
            return Ok(id);
        }
        self.to.emit(Expand { shape: shape.clone() }.into(), &[id])
    }

    /// The column of these values, in whatever dtype.
    pub fn column(&mut self, values: Vec<f64>, dtype: DType) -> Result<NodeId, OpError> {
        let same = |c: &Vec<f64>| c.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits());
        let index = match self.columns.iter().position(same) {
            Some(index) => index,
            None => {
                self.columns.push(values);
                self.columns.len() - 1
            }
        };
        self.to.emit(Column { index: index as u32, dtype }.into(), &[])
    }
}

/// Whether every dtype holds this number.
fn small_whole(v: f64) -> bool {
    v.fract() == 0.0 && (0.0..=127.0).contains(&v)
}

/// What a rule says of a node: what stands for it, or `None` to keep it. An error keeps it too: a rewrite
/// that does not fit is no rewrite.
pub(super) type Rule<'r> = dyn FnMut(&mut Site<'_, '_>) -> Result<Option<NodeId>, OpError> + 'r;

/// Builds the new graph.
pub(super) fn rewrite(graph: &Graph, rule: &mut Rule<'_>) -> Graph {
    let mut new = Graph { output_names: graph.output_names.clone(), ..Graph::new(graph.name.clone()) };
    let map = region(graph, 0, &mut new, 0, &mut Vec::new(), rule);
    new.updates = rename(&graph.updates, &map);
    new
}

/// Copies one region and gives the new place of each node.
fn region(
    graph: &Graph,
    from: RegionId,
    new: &mut Graph,
    to: RegionId,
    columns: &mut Vec<Vec<f64>>,
    rule: &mut Rule<'_>,
) -> Vec<NodeId> {
    let old = &graph.regions[from];
    let mut map: Vec<NodeId> = Vec::with_capacity(old.dag.node_count());
    for id in old.ids() {
        let node = old.node(id);
        let inputs: Vec<NodeId> = node.inputs.iter().map(|i| map[i.index()]).collect();
        let mut builder = Builder::new(new, to, node.span, Arc::clone(&node.path));
        let put = rule(&mut Site { to: &mut builder, node, inputs: &inputs, columns });
        let at = match put {
            Ok(Some(at)) => at,
            _ => copy(graph, node, &inputs, new, to, rule),
        };
        map.push(at);
    }
    new.regions[to].outputs = old.outputs.iter().map(|o| map[o.index()]).collect();
    new.regions[to].watches = rename(&old.watches, &map);
    map
}

/// Copies a node as it is, the body of a loop with the rule applied.
fn copy(
    graph: &Graph,
    node: &Node,
    inputs: &[NodeId],
    new: &mut Graph,
    to: RegionId,
    rule: &mut Rule<'_>,
) -> NodeId {
    let mut op = Arc::clone(&node.op);
    if let Op::Loop(l) = &*node.op {
        let body = new.regions.len();
        new.regions.push(Region::default());
        let mut columns = l.columns.clone();
        region(graph, l.region as usize, new, body, &mut columns, rule);
        op = Arc::new(Loop { region: body as u32, columns, ..l.clone() }.into());
    }
    Builder::new(new, to, node.span, Arc::clone(&node.path)).share(op, inputs, Arc::clone(&node.ty))
}

/// The same names at the new places.
pub(super) fn rename(named: &[Named], map: &[NodeId]) -> Vec<Named> {
    named.iter().map(|n| Named { name: n.name.clone(), node: map[n.node.index()] }).collect()
}
