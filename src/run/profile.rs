//! Where the time of runs goes: by operation and shapes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::graph::{Graph, NodeId, RegionId};
use crate::ops::Primitive;
use crate::shape::Type;

/// What runs took, operation by operation. Shared by all runs whose [`RunOptions`](super::RunOptions) name it.
#[derive(Debug, Default)]
pub struct Profile {
    rows: Mutex<BTreeMap<(String, String), Row>>,
}

/// Calls of one operation with tensors of the same types.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The operation's name.
    pub name: String,
    /// The operation with its attributes.
    pub operation: String,
    /// What it takes and gives.
    pub types: String,
    /// How often it ran.
    pub calls: u64,
    /// Wall time of all calls, in seconds.
    pub seconds: f64,
    /// Floating-point operations of all calls.
    pub flops: f64,
}

/// The calls of one run by node, and their seconds.
pub(super) type Times = HashMap<(RegionId, NodeId), (u64, f64)>;

impl Profile {
    /// Adds the calls of a run.
    pub(super) fn add(&self, graph: &Graph, times: &Times) {
        // What a run that panicked left there is whole.
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for ((region, id), (calls, seconds)) in times {
            let region = &graph.regions[*region];
            let node = region.node(*id);
            let inputs: Vec<&Type> = node.inputs.iter().map(|i| &*region.node(*i).ty).collect();
            let taken: Vec<String> = inputs.iter().map(|ty| ty.plain().to_text()).collect();
            let types = format!("{} -> {}", taken.join(", "), node.ty.plain().to_text());
            let operation = node.op.label();
            let row = rows.entry((operation.clone(), types.clone())).or_insert_with(|| Row {
                name: node.op.name().to_string(),
                operation,
                types,
                ..Row::default()
            });
            row.calls += calls;
            row.seconds += seconds;
            row.flops += *calls as f64 * node.op.flops(&inputs, &node.ty);
        }
    }

    /// All rows, the longest time first.
    pub fn rows(&self) -> Vec<Row> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        by_time(rows.values().cloned())
    }

    /// The rows of each name as one, without types, the longest time first.
    pub fn names(&self) -> Vec<Row> {
        let mut names: BTreeMap<String, Row> = BTreeMap::new();
        for row in self.rows() {
            let sum = names.entry(row.name.clone()).or_default();
            sum.calls += row.calls;
            sum.seconds += row.seconds;
            sum.flops += row.flops;
            sum.operation.clone_from(&row.name);
            sum.name = row.name;
        }
        by_time(names.into_values())
    }
}

fn by_time(rows: impl Iterator<Item = Row>) -> Vec<Row> {
    let mut rows: Vec<Row> = rows.collect();
    rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    rows
}
