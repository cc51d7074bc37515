//! Which nodes make up one item: blocks by field path, calls of the same block apart.

use std::collections::{HashMap, HashSet};

use super::fold::{Fold, Folds};
use crate::graph::{Graph, NodeId, Region, RegionId};
use crate::ops::Op;

/// The value that a node's use means: a loop's output by its number, else output 0.
pub(super) type Value = (NodeId, u32);

/// Resolves projections of loops.
pub(super) fn value(region: &Region, id: NodeId) -> Value {
    let node = region.node(id);
    match (&*node.op, node.inputs.first()) {
        (Op::Project(p), Some(from)) => (*from, p.index),
        _ => (id, 0),
    }
}

/// The parts of a field path; numbers belong to the name before them: `down.0`, `conv`.
pub(super) fn segments(path: &str) -> Vec<&str> {
    let mut out: Vec<&str> = Vec::new();
    let mut start = 0;
    for (i, part) in path.split('.').scan(0, |at, part| {
        let i = *at;
        *at += part.len() + 1;
        Some((i, part))
    }) {
        if part.is_empty() {
            continue;
        }
        if !out.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
            out.pop();
        } else {
            start = i;
        }
        out.push(&path[start..i + part.len()]);
    }
    out
}

/// Nodes that are drawn as one.
#[derive(Debug, PartialEq)]
pub(super) struct Unit {
    pub(super) nodes: Vec<NodeId>,
    /// The number of path parts that all of them share, if it is a block.
    pub(super) block: Option<usize>,
}

/// Splits nodes, in topological order, that share `depth` path parts: a node of the block itself is a unit,
/// and so is each run of nodes of an inner block. Units never need each other in a circle, because a run
/// is an interval of a topological order.
pub(super) fn units(graph: &Graph, folds: &Folds, r: RegionId, nodes: &[NodeId], depth: usize) -> Vec<Unit> {
    let region = &graph.regions[r];
    let paths: Vec<Vec<&str>> = nodes.iter().map(|n| segments(&region.node(*n).path)).collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < nodes.len() {
        let Some(key) = paths[at].get(depth) else {
            out.push(Unit { nodes: vec![nodes[at]], block: None });
            at += 1;
            continue;
        };
        let end = (at..nodes.len()).find(|i| paths[*i].get(depth) != Some(key)).unwrap_or(nodes.len());
        // As deep as all agree: `a` that holds nothing but `a.b` is drawn as `a.b`.
        let shared = (depth..).take_while(|d| {
            paths[at].get(*d).is_some_and(|s| paths[at..end].iter().all(|p| p.get(*d) == Some(s)))
        });
        let shared = depth + shared.count();
        for call in calls(folds, r, region, &nodes[at..end]) {
            out.push(Unit { nodes: call, block: Some(shared) });
        }
        at = end;
    }
    out
}

/// Tells apart calls of one block: parts of a run that are not connected and use the same weights.
fn calls(folds: &Folds, r: RegionId, region: &Region, run: &[NodeId]) -> Vec<Vec<NodeId>> {
    let index: HashMap<NodeId, usize> = run.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    let mut parent: Vec<usize> = (0..run.len()).collect();
    fn root(parent: &mut [usize], mut i: usize) -> usize {
        while parent[i] != i {
            parent[i] = parent[parent[i]];
            i = parent[i];
        }
        i
    }
    for (i, id) in run.iter().enumerate() {
        for input in &region.node(*id).inputs {
            if let Some(j) = index.get(&value(region, *input).0) {
                let (a, b) = (root(&mut parent, i), root(&mut parent, *j));
                parent[a.max(b)] = a.min(b);
            }
        }
    }
    let mut parts: Vec<(Vec<NodeId>, HashSet<&str>)> = Vec::new();
    let mut part_of: HashMap<usize, usize> = HashMap::new();
    for (i, id) in run.iter().enumerate() {
        let at = *part_of.entry(root(&mut parent, i)).or_insert_with(|| {
            parts.push((Vec::new(), HashSet::new()));
            parts.len() - 1
        });
        parts[at].0.push(*id);
        for input in &region.node(*id).inputs {
            if let Some(Fold::Weight { path, .. }) = folds.get(r, *input) {
                parts[at].1.insert(path);
            }
        }
    }
    let mut out: Vec<(Vec<NodeId>, HashSet<&str>)> = Vec::new();
    for (nodes, weights) in parts {
        match out.last_mut() {
            Some((last, used)) if weights.is_disjoint(used) => {
                last.extend(nodes);
                used.extend(weights);
            }
            _ => out.push((nodes, weights)),
        }
    }
    for (nodes, _) in &mut out {
        nodes.sort();
    }
    out.into_iter().map(|(nodes, _)| nodes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_with_their_name() {
        assert_eq!(segments("down.0.resnets.12.conv1"), ["down.0", "resnets.12", "conv1"]);
        assert_eq!(segments("0.weight"), ["0", "weight"]);
        assert_eq!(segments("a.0.1.b"), ["a.0.1", "b"]);
        assert!(segments("").is_empty());
        assert_eq!(segments("..a."), ["a"]);
    }
}
