//! Loops over the same inputs of which one computes all that the other does become one with the outputs of
//! both. `differentiate` repeats each loop to keep its carries; where the loop's own values are used too,
//! this makes one run of both.

use std::collections::HashMap;
use std::sync::Arc;

use super::common_subexpressions::key;
use super::dead_code::watches;
use crate::graph::{Builder, Graph, Node, NodeId, RegionId};
use crate::ops::{Loop, Op, Project};
use crate::shape::Type;

/// Merges them, one pair per region and run.
pub fn merge_loops(graph: &Graph) -> Graph {
    for region in 0..graph.regions.len() {
        let loops: Vec<(NodeId, &Loop)> = graph.regions[region]
            .ids()
            .filter_map(|id| match &*graph.regions[region].dag[id].op {
                Op::Loop(l) => Some((id, l)),
                _ => None,
            })
            .collect();
        for (n, (first, a)) in loops.iter().enumerate() {
            for (second, b) in &loops[n + 1..] {
                if let Some(merged) = merge(graph, region, (*first, a), (*second, b)) {
                    return merged;
                }
            }
        }
    }
    graph.clone()
}

/// Whether no region has two loops that take the same.
pub(super) fn idle(graph: &Graph) -> bool {
    graph.regions.iter().all(|region| {
        let loops: Vec<&Node> = region.dag.node_weights().filter(|n| matches!(&*n.op, Op::Loop(_))).collect();
        loops.iter().enumerate().all(|(i, a)| loops[i + 1..].iter().all(|b| a.inputs != b.inputs))
    })
}

fn merge(graph: &Graph, region: RegionId, a: (NodeId, &Loop), b: (NodeId, &Loop)) -> Option<Graph> {
    let dag = &graph.regions[region].dag;
    let (x, y) = (a.1, b.1);
    let same = dag[a.0].inputs == dag[b.0].inputs
        && (x.steps, x.carries, x.captures, x.scans, x.reverse)
            == (y.steps, y.carries, y.captures, y.scans, y.reverse)
        && x.columns == y.columns;
    if !same {
        return None;
    }
    // What the smaller one watches would be lost.
    let into = |small: &Loop, large: &Loop| {
        let free = !watches(graph, small.region as usize);
        let map = || embed(graph, small.region as usize, large.region as usize, large.carries as usize);
        free.then(map).flatten()
    };
    if let Some(map) = into(y, x) {
        return Some(join(graph, region, a, b, x, y, &map));
    }
    let map = into(x, y)?;
    Some(join(graph, region, a, b, y, x, &map))
}

/// The nodes of body `large` that are the nodes of body `small`, if all are there and the carries agree.
fn embed(graph: &Graph, small: RegionId, large: RegionId, carries: usize) -> Option<Vec<NodeId>> {
    let (small, large) = (&graph.regions[small], &graph.regions[large]);
    let mut known: HashMap<u64, Vec<NodeId>> = HashMap::new();
    for id in large.ids() {
        let node = large.node(id);
        known.entry(key(&node.op, &node.inputs)).or_default().push(id);
    }
    let mut map: Vec<NodeId> = Vec::with_capacity(small.dag.node_count());
    for id in small.ids() {
        let node = small.node(id);
        let inputs: Vec<NodeId> = node.inputs.iter().map(|i| map[i.index()]).collect();
        let found = known.get(&key(&node.op, &inputs))?.iter().find(|other| {
            let other = large.node(**other);
            other.inputs == inputs && same_op(graph, &node.op, &other.op)
        });
        map.push(*found?);
    }
    let agree = (0..carries).all(|i| map[small.outputs[i].index()] == large.outputs[i]);
    agree.then_some(map)
}

fn same_op(graph: &Graph, a: &Op, b: &Op) -> bool {
    match (a, b) {
        (Op::Loop(x), Op::Loop(y)) => {
            let (bx, by) = (&graph.regions[x.region as usize], &graph.regions[y.region as usize]);
            let mut head = x.clone();
            head.region = y.region;
            head == *y
                && bx.outputs.len() == by.outputs.len()
                && embed(graph, x.region as usize, y.region as usize, 0)
                    .is_some_and(|map| bx.outputs.iter().zip(&by.outputs).all(|(p, q)| map[p.index()] == *q))
        }
        (x, y) => x == y,
    }
}

/// The graph in which the loop `large` also gives what `small` stacks, in the place of the first of both.
fn join(
    graph: &Graph,
    region: RegionId,
    a: (NodeId, &Loop),
    b: (NodeId, &Loop),
    large: &Loop,
    small: &Loop,
    map: &[NodeId],
) -> Graph {
    let (k, body) = (large.carries as usize, large.region as usize);
    let mut new = graph.clone();
    // Numbers of the outputs of `small` among those of the merged loop; equal ones are not added twice.
    let mut outputs = new.regions[body].outputs.clone();
    let mut types: Vec<Type> = large.outputs.clone();
    let mut numbers: Vec<u32> = (0..k as u32).collect();
    for (i, old) in graph.regions[small.region as usize].outputs.iter().enumerate().skip(k) {
        let node = map[old.index()];
        let number = match outputs.iter().skip(k).position(|o| *o == node) {
            Some(at) => k + at,
            None => {
                outputs.push(node);
                types.push(small.outputs[i].clone());
                outputs.len() - 1
            }
        };
        numbers.push(number as u32);
    }
    new.regions[body].outputs = outputs;
    let merged = Loop { outputs: types, ..large.clone() };
    // The region is rebuilt without the second loop; the numbers of one of the two change.
    let old = std::mem::take(&mut new.regions[region]);
    let first_is_large = a.1.region == large.region;
    let mut place: Vec<NodeId> = Vec::with_capacity(old.dag.node_count());
    for id in old.ids() {
        let node = old.node(id);
        if id == b.0 {
            place.push(place[a.0.index()]);
            continue;
        }
        let mut node: Node = node.clone();
        let inputs: Vec<NodeId> = node.inputs.iter().map(|i| place[i.index()]).collect();
        if id == a.0 {
            node.ty = merged.outputs.first().cloned().map_or(node.ty, Arc::new);
            node.op = Arc::new(merged.clone().into());
        } else if let Op::Project(p) = &*node.op {
            let of_small = node.inputs[0] == if first_is_large { b.0 } else { a.0 };
            if of_small {
                node.op = Arc::new(Project { index: numbers[p.index as usize], ty: p.ty.clone() }.into());
            }
        }
        place.push(Builder::new(&mut new, region, node.span, node.path).share(node.op, &inputs, node.ty));
    }
    new.regions[region].outputs = old.outputs.iter().map(|o| place[o.index()]).collect();
    new.regions[region].watches = super::rewrite::rename(&old.watches, &place);
    if region == 0 {
        new.updates = super::rewrite::rename(&graph.updates, &place);
    }
    remove_region(new, small.region as usize)
}

/// Removes a body that no loop owns any more, with the bodies inside it.
fn remove_region(graph: Graph, region: RegionId) -> Graph {
    let mut gone = vec![false; graph.regions.len()];
    let mut open = vec![region];
    while let Some(r) = open.pop() {
        gone[r] = true;
        open.extend(graph.regions[r].dag.node_weights().filter_map(|n| match &*n.op {
            Op::Loop(l) => Some(l.region as usize),
            _ => None,
        }));
    }
    let mut number = 0u32;
    let numbers: Vec<u32> = gone
        .iter()
        .map(|g| {
            let n = number;
            number += u32::from(!g);
            n
        })
        .collect();
    let Graph { name, regions, output_names, updates } = graph;
    let mut regions: Vec<_> = regions.into_iter().zip(&gone).filter(|(_, g)| !**g).map(|(r, _)| r).collect();
    for node in regions.iter_mut().flat_map(|r| r.dag.node_weights_mut()) {
        if let Op::Loop(l) = &*node.op {
            let region = numbers[l.region as usize];
            node.op = Arc::new(Loop { region, ..l.clone() }.into());
        }
    }
    Graph { name, regions, output_names, updates }
}
