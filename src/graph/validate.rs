//! The invariant of [`Graph`], checked.

use super::Graph;
use crate::ops::{Op, Primitive};
use crate::shape::Type;

/// Checks the written invariant; a violation is a fault of the pass that built the graph.
///
/// # Errors
/// A sentence that names the node.
pub fn validate(graph: &Graph) -> Result<(), String> {
    let mut owners = vec![0usize; graph.regions.len()];
    for (r, region) in graph.regions.iter().enumerate() {
        for id in region.ids() {
            let node = region.node(id);
            if node.inputs.iter().any(|i| *i >= id) {
                return Err(format!("{}: node {r}.{} uses a later node", graph.name, id.index()));
            }
            let types: Vec<&Type> = node.inputs.iter().map(|i| &*region.node(*i).ty).collect();
            let inferred = node.op.infer(&types).map_err(|e| {
                format!("{}: node {r}.{} `{}`: {}", graph.name, id.index(), node.op.name(), e.message)
            })?;
            if inferred.plain() != node.ty.plain() {
                return Err(format!(
                    "{}: node {r}.{} `{}` is {} and should be {inferred}",
                    graph.name,
                    id.index(),
                    node.op.name(),
                    node.ty
                ));
            }
            if let Op::Loop(l) = &*node.op {
                match owners.get_mut(l.region as usize) {
                    Some(count) => *count += 1,
                    None => return Err(format!("{}: a loop without a region", graph.name)),
                }
            }
        }
        if graph.roots(r).iter().any(|n| n.index() >= region.dag.node_count()) {
            return Err(format!("{}: region {r} gives a node that is not there", graph.name));
        }
    }
    if let Some(i) = (0..owners.len()).find(|i| owners[*i] != usize::from(*i != 0)) {
        return Err(format!("{}: region {i} belongs to {} loops", graph.name, owners[i]));
    }
    // Each region has one owner, so that what the root does not reach goes round in a circle.
    let mut reached = 0;
    let mut open = vec![0];
    while let Some(r) = open.pop() {
        reached += 1;
        open.extend(graph.regions[r].dag.node_weights().filter_map(|n| match &*n.op {
            Op::Loop(l) => Some(l.region as usize),
            _ => None,
        }));
    }
    match reached == graph.regions.len() {
        true => Ok(()),
        false => Err(format!("{}: a loop is inside itself", graph.name)),
    }
}
