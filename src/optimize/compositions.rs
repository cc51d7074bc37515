//! Recognised compositions become the operation that they stand for: normalisation, attention, convolution
//! with what is added to it. A composition whose inner values somebody else reads stays as it is.

use std::sync::Arc;

use super::rewrite::rename;
use crate::graph::{Builder, Graph, NodeId, Region, RegionId};
use crate::ops::{Loop, Op};
use crate::recognize::{self, Match, Pattern};

/// `normalize`: group, layer and RMS norm, with silu.
pub fn normalize(graph: &Graph) -> Graph {
    replace(graph, recognize::normalize)
}

/// `attention`: scaled dot-product attention.
pub fn attention(graph: &Graph) -> Graph {
    replace(graph, recognize::attention)
}

/// `conv_epilogue`: bias and residual of a convolution.
pub fn conv_epilogue(graph: &Graph) -> Graph {
    replace(graph, recognize::conv_epilogue)
}

/// Puts the operation at the place of each composition; what was inside is left to `dead_code`.
fn replace(graph: &Graph, pattern: Pattern) -> Graph {
    let mut new = Graph { output_names: graph.output_names.clone(), ..Graph::new(graph.name.clone()) };
    let map = region(graph, 0, &mut new, 0, pattern);
    new.updates = rename(&graph.updates, &map);
    new
}

fn region(graph: &Graph, from: RegionId, new: &mut Graph, to: RegionId, pattern: Pattern) -> Vec<NodeId> {
    let old = &graph.regions[from];
    let mut users: Vec<Vec<NodeId>> = vec![Vec::new(); old.dag.node_count()];
    for id in old.ids() {
        old.node(id).inputs.iter().for_each(|input| users[input.index()].push(id));
    }
    let mut kept = vec![false; old.dag.node_count()];
    graph.roots(from).iter().for_each(|root| kept[root.index()] = true);
    let free = |m: &Match, id: NodeId| {
        m.is_closed(id, &|of| users[of.index()].clone()) && m.inside.iter().all(|i| !kept[i.index()])
    };
    let mut map: Vec<NodeId> = Vec::with_capacity(old.dag.node_count());
    for id in old.ids() {
        let node = old.node(id);
        let mut builder = Builder::new(new, to, node.span, Arc::clone(&node.path));
        let fused = pattern(old, id).filter(|m| free(m, id)).and_then(|m| {
            // Operands that do not fit are no match.
            let inputs: Option<Vec<NodeId>> = m
                .operands
                .iter()
                .map(|o| o.emit(&mut builder, map[o.node.index()]).ok().and_then(|v| v.last().copied()))
                .collect();
            Some((Arc::new(m.op), inputs?))
        });
        let (op, inputs) = match fused {
            Some(fused) => fused,
            None => (Arc::clone(&node.op), node.inputs.iter().map(|i| map[i.index()]).collect()),
        };
        let op = match &*op {
            Op::Loop(l) => {
                let body = new.regions.len();
                new.regions.push(Region::default());
                region(graph, l.region as usize, new, body, pattern);
                Arc::new(Loop { region: body as u32, ..l.clone() }.into())
            }
            _ => op,
        };
        let mut builder = Builder::new(new, to, node.span, Arc::clone(&node.path));
        map.push(builder.share(op, &inputs, Arc::clone(&node.ty)));
    }
    new.regions[to].outputs = old.outputs.iter().map(|o| map[o.index()]).collect();
    new.regions[to].watches = rename(&old.watches, &map);
    map
}
