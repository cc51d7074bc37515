//! Rewriting passes, each a function of a graph that gives a new one with the same outputs, watches and
//! updates. With all of them off, results agree to rounding.

mod algebraic;
mod common_subexpressions;
mod constant_folding;
mod dead_code;
mod hoist;
mod merge_loops;
mod rewrite;

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use algebraic::algebraic;
pub use common_subexpressions::common_subexpressions;
pub use constant_folding::constant_folding;
pub use dead_code::dead_code;
pub use hoist::hoist;
pub use merge_loops::merge_loops;

use crate::graph::{Graph, Region};

/// A pass.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Its name, as `--no-opt` takes it.
    pub name: &'static str,
    /// What it does, in a line.
    pub doc: &'static str,
    /// Applies it once.
    pub run: fn(&Graph) -> Graph,
}

/// Every pass, in the order in which they run.
pub const PASSES: &[Pass] = &[
    Pass { name: "merge_loops", doc: "one run for two loops over the same", run: merge_loops },
    Pass { name: "common_subexpressions", doc: "equal nodes become one", run: common_subexpressions },
    Pass { name: "constant_folding", doc: "arithmetic of constants, in f64", run: constant_folding },
    Pass { name: "algebraic", doc: "identities of zero, one, negation, reshaping", run: algebraic },
    Pass { name: "hoist", doc: "loop-invariant code leaves its loop", run: hoist },
    Pass { name: "dead_code", doc: "what nobody needs goes", run: dead_code },
];

/// What `optimize` does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Names of passes that do not run.
    pub disabled: BTreeSet<String>,
}

/// Rounds after which `optimize` stops whether or not there is more to do.
const ROUNDS: usize = 32;

/// Runs all passes that are not disabled until none changes anything.
pub fn optimize(graph: &Graph, options: &Options) -> Graph {
    let mut graph = graph.clone();
    for _ in 0..ROUNDS {
        let mut changed = false;
        for pass in PASSES.iter().filter(|p| !options.disabled.contains(p.name)) {
            let new = (pass.run)(&graph);
            debug_assert_eq!(crate::graph::validate::validate(&new), Ok(()), "after `{}`", pass.name);
            changed |= !unchanged(&graph, &new);
            graph = new;
        }
        if !changed {
            break;
        }
    }
    graph
}

/// Whether both have the same nodes in the same order.
fn unchanged(a: &Graph, b: &Graph) -> bool {
    let region = |(a, b): (&Region, &Region)| {
        a.outputs == b.outputs
            && a.watches == b.watches
            && a.dag.node_count() == b.dag.node_count()
            && a.dag
                .node_weights()
                .zip(b.dag.node_weights())
                .all(|(a, b)| a.inputs == b.inputs && a.op == b.op)
    };
    a.updates == b.updates
        && a.regions.len() == b.regions.len()
        && a.regions.iter().zip(&b.regions).all(region)
}
