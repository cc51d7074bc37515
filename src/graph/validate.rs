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
            let types: Vec<&Type> = node.inputs.iter().map(|i| &region.node(*i).ty).collect();
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
            if let Op::Loop(l) = &node.op {
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
    match owners.iter().skip(1).position(|c| *c != 1) {
        Some(i) => Err(format!("{}: region {} belongs to {} loops", graph.name, i + 1, owners[i + 1])),
        None => Ok(()),
    }
}
