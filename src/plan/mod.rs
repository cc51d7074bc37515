//! What running a graph takes: in which order its nodes are evaluated, when each value is freed, and how
//! much memory and work that is. The executor follows a plan to the letter, so that what is predicted here
//! is what it holds.
//!
//! Open dimensions count as 1; [`Plan::bound`] gives them values.

mod order;
mod simulate;

#[cfg(test)]
mod tests;

use crate::graph::{Graph, NodeId, RegionId};
use crate::ops::{Op, Primitive};
use crate::shape::{Dim, Type};

pub use order::{Schedule, schedule};

/// The order of evaluation of a whole graph and what it costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// One schedule per region of the graph.
    pub regions: Vec<Schedule>,
    /// What it costs.
    pub summary: Summary,
}

/// What a run of a graph takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Numbers in the weights and states that the graph reads.
    pub parameters: u64,
    /// Their bytes.
    pub parameter_bytes: u64,
    /// Floating-point operations, a multiply-add counting as two, all steps of loops included.
    pub flops: f64,
    /// The most bytes that live at one time: weights, inputs, constants, values, and the temporary memory of
    /// the operation that runs.
    pub peak_bytes: u64,
    /// The same without temporary memory inside operations: what the executor's account measures.
    pub live_bytes: u64,
}

impl Plan {
    /// Plans a graph. Of two orders, that of creation and one that greedily prefers what frees most, the one
    /// with the lower peak is taken.
    pub fn new(graph: &Graph) -> Plan {
        let plan = |greedy: bool| {
            let regions: Vec<Schedule> = (0..graph.regions.len())
                .map(|r| if greedy { order::greedy(graph, r) } else { schedule(graph, r) })
                .collect();
            let peak = simulate::peak(graph, &regions);
            (regions, peak)
        };
        let (first, second) = (plan(false), plan(true));
        let (regions, peak) = if second.1.total < first.1.total { second } else { first };
        let (parameters, parameter_bytes) = parameters(graph);
        let summary = Summary {
            parameters,
            parameter_bytes,
            flops: flops(graph, 0, &regions),
            peak_bytes: peak.total as u64,
            live_bytes: peak.live as u64,
        };
        Plan { regions, summary }
    }

    /// Plans a graph whose open dimensions have these values; a name without one counts as 1.
    pub fn bound(graph: &Graph, value: &dyn Fn(&str) -> Option<i64>) -> Plan {
        let mut graph = graph.clone();
        graph.map_dims(&mut |d| d.substitute(&|name| value(name).map(Dim::from)));
        Plan::new(&graph)
    }
}

/// A tensor of a graph and its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Largest {
    /// The region of its node.
    pub region: RegionId,
    /// Its node.
    pub node: NodeId,
    /// Its bytes.
    pub bytes: f64,
}

/// The largest tensor that a graph ever makes or is given, for the check that it fits the machine. Open
/// dimensions count as 1.
pub fn largest_tensor(graph: &Graph) -> Option<Largest> {
    let mut largest: Option<Largest> = None;
    for (region, r) in graph.regions.iter().enumerate() {
        for node in r.ids() {
            let at = r.node(node);
            let size = match &*at.op {
                Op::Loop(l) => l.outputs.iter().map(bytes).fold(0.0, f64::max),
                _ => bytes(&at.ty),
            };
            if largest.is_none_or(|l| size > l.bytes) {
                largest = Some(Largest { region, node, bytes: size });
            }
        }
    }
    largest
}

/// Bytes of a tensor, open names counting as 1.
fn bytes(ty: &Type) -> f64 {
    ty.shape.iter().map(|d| d.eval_with(1).max(0) as f64).product::<f64>() * ty.dtype.size() as f64
}

/// Numbers and bytes of the parameters, each path counted once.
fn parameters(graph: &Graph) -> (u64, u64) {
    let mut seen = std::collections::BTreeSet::new();
    let (mut count, mut size) = (0u64, 0u64);
    for p in graph.parameters().filter(|p| seen.insert(p.path.as_str())) {
        count += (bytes(&p.ty) / p.ty.dtype.size() as f64) as u64;
        size += bytes(&p.ty) as u64;
    }
    (count, size)
}

fn flops(graph: &Graph, region: RegionId, plan: &[Schedule]) -> f64 {
    let dag = &graph.regions[region].dag;
    let of = |id: &NodeId| {
        let node = &dag[*id];
        if let Op::Loop(l) = &*node.op {
            return f64::from(l.steps) * flops(graph, l.region as usize, plan);
        }
        let types: Vec<&Type> = node.inputs.iter().map(|i| &*dag[*i].ty).collect();
        node.op.flops(&types, &node.ty)
    };
    plan[region].order.iter().map(of).sum()
}
