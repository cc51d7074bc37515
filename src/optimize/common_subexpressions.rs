//! Common subexpressions: nodes with equal operation and equal inputs become one. Random sources are equal
//! only if they draw from the same site, which is an attribute; loops only if their bodies are equal node by
//! node (see also `merge_loops`).

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::rewrite::{Site, rewrite};
use crate::graph::{Graph, NodeId, RegionId};
use crate::ops::{Loop, Op, OpError};

/// Merges them.
pub fn common_subexpressions(graph: &Graph) -> Graph {
    let mut seen = Seen::new();
    rewrite(graph, &mut |site| merge(graph, &mut seen, site))
}

/// What the new regions have, by a hash.
pub(super) type Seen = HashMap<(RegionId, u64), Vec<(Arc<Op>, NodeId)>>;

/// The same of one node, which is copied as it is where this gives nothing.
pub(super) fn merge(
    graph: &Graph,
    seen: &mut Seen,
    site: &mut Site<'_, '_>,
) -> Result<Option<NodeId>, OpError> {
    let op = &site.node.op;
    let known = seen.entry((site.to.region, key(op, site.inputs))).or_default();
    let dag = &site.to.graph.regions[site.to.region].dag;
    // Operations are compared as in the old graph, inputs as in the new one.
    let equal = |other: &Arc<Op>| match (&**op, &**other) {
        (Op::Loop(a), Op::Loop(b)) => same_loop(graph, a, b),
        (a, b) => Arc::ptr_eq(op, other) || a == b,
    };
    let found = known.iter().find(|(other, id)| dag[*id].inputs == site.inputs && equal(other));
    if let Some((_, id)) = found {
        return Ok(Some(*id));
    }
    // The node is copied as the next one, save for a loop: that comes after its body, which is in another
    // region, so that it is the next one too.
    known.push((Arc::clone(op), NodeId::new(dag.node_count())));
    Ok(None)
}

/// A hash of the operation and its inputs. The body of a loop counts by its size only.
pub(super) fn key(op: &Op, inputs: &[NodeId]) -> u64 {
    let mut hasher = Text(DefaultHasher::new());
    std::mem::discriminant(op).hash(&mut hasher.0);
    // Attributes are written out where inputs do not tell nodes apart; a hasher takes any text.
    let _ = match op {
        Op::Loop(l) => write!(hasher, "loop {} {} {:?}", l.steps, l.reverse, l.outputs),
        op if inputs.is_empty() => write!(hasher, "{op:?}"),
        _ => Ok(()),
    };
    inputs.hash(&mut hasher.0);
    hasher.0.finish()
}

/// Hashes what is written.
struct Text(DefaultHasher);

impl Write for Text {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.0.write(s.as_bytes());
        Ok(())
    }
}

fn same_loop(graph: &Graph, a: &Loop, b: &Loop) -> bool {
    let (same_head, ra, rb) =
        (Loop { region: 0, ..a.clone() } == Loop { region: 0, ..b.clone() }, a.region, b.region);
    same_head && same_region(graph, ra as usize, rb as usize)
}

/// Whether two bodies are equal node by node. A watch is an effect: bodies with watches are never equal.
fn same_region(graph: &Graph, a: RegionId, b: RegionId) -> bool {
    let (a, b) = (&graph.regions[a], &graph.regions[b]);
    a.watches.is_empty()
        && b.watches.is_empty()
        && a.outputs == b.outputs
        && a.dag.node_count() == b.dag.node_count()
        && a.dag.node_weights().zip(b.dag.node_weights()).all(|(a, b)| {
            a.inputs == b.inputs
                && match (&*a.op, &*b.op) {
                    (Op::Loop(x), Op::Loop(y)) => same_loop(graph, x, y),
                    (x, y) => x == y,
                }
        })
}
