//! Copying nodes between regions of one graph, bodies of loops included.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Builder, Graph, NodeId, Region, RegionId};
use crate::ops::{Loop, Op};

/// Copies what `roots` need of region `from` to the end of region `to`, in order of creation, and gives the
/// place of each copied node. Nodes of `map` are not copied: they are where it says. The body of a loop is
/// copied into a new region; its watches are not, since the original already hands them out.
pub fn copy_nodes(
    graph: &mut Graph,
    from: RegionId,
    to: RegionId,
    roots: &[NodeId],
    mut map: HashMap<NodeId, NodeId>,
) -> HashMap<NodeId, NodeId> {
    let needed = needed(&graph.regions[from], roots, &map);
    for id in graph.regions[from].ids().filter(|id| needed[id.index()]) {
        let mut node = graph.regions[from].dag[id].clone();
        let inputs: Vec<NodeId> = node.inputs.iter().map(|i| map[i]).collect();
        if let Op::Loop(l) = &*node.op {
            let region = copy_region(graph, l.region as usize) as u32;
            node.op = Arc::new(Loop { region, ..l.clone() }.into());
        }
        let copy = Builder::new(graph, to, node.span, node.path).share(node.op, &inputs, node.ty);
        map.insert(id, copy);
    }
    map
}

/// Copies a region without its watches, with what its outputs need.
pub fn copy_region(graph: &mut Graph, from: RegionId) -> RegionId {
    let to = graph.regions.len();
    graph.regions.push(Region::default());
    let outputs = graph.regions[from].outputs.clone();
    let map = copy_nodes(graph, from, to, &outputs, HashMap::new());
    graph.regions[to].outputs = outputs.iter().map(|o| map[o]).collect();
    to
}

/// Which nodes of a region `roots` need, not looking behind the nodes of `stop`, which are left out.
fn needed(region: &Region, roots: &[NodeId], stop: &HashMap<NodeId, NodeId>) -> Vec<bool> {
    let mut needed = vec![false; region.dag.node_count()];
    for root in roots.iter().filter(|r| !stop.contains_key(r)) {
        needed[root.index()] = true;
    }
    for id in region.ids().rev() {
        if needed[id.index()] {
            for input in region.dag[id].inputs.iter().filter(|i| !stop.contains_key(i)) {
                needed[input.index()] = true;
            }
        }
    }
    needed
}
