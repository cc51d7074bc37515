//! Rewriting passes, each a function of a graph that gives a new one with the same outputs, watches and
//! updates. With all of them off, results agree to rounding.

mod algebraic;
mod alike;
mod batch_calls;
mod bf16;
mod common_subexpressions;
mod compositions;
mod constant_folding;
mod dead_code;
mod elementwise_chains;
mod hoist;
mod merge_loops;
mod pad_sums;
mod rewrite;
mod tabulate;
mod winograd;

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_calls;
#[cfg(test)]
mod tests_fusion;
#[cfg(test)]
mod tests_steps;
#[cfg(test)]
mod tests_winograd;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use algebraic::algebraic;
pub use alike::alike;
pub use batch_calls::batch_calls;
pub use bf16::bf16;
pub use common_subexpressions::common_subexpressions;
pub use compositions::{attention, conv_epilogue, normalize};
pub use constant_folding::constant_folding;
pub use dead_code::dead_code;
pub use elementwise_chains::elementwise_chains;
pub use hoist::hoist;
pub use merge_loops::merge_loops;
pub use pad_sums::pad_sums;
pub use tabulate::tabulate;
pub use winograd::{winograd, winograd_in_training};

use crate::graph::{Graph, NodeId, Region};
use crate::ops::OpError;
use rewrite::{Site, rewrite};

/// A pass.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Its name, as `--no-opt` takes it.
    pub name: &'static str,
    /// What it does, in a line.
    pub doc: &'static str,
    /// Applies it once.
    pub run: fn(&Graph) -> Graph,
    /// When it runs.
    pub stage: Stage,
    /// Whether it can be seen, for less than a copy of the graph, that it would leave all as it is.
    pub idle: fn(&Graph) -> bool,
}

/// When a pass runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Once, before the others: they change the calls that it compares.
    First,
    /// In rounds with the others, until none of them changes anything.
    Simplify,
    /// Once after that: it makes operations that the others do not see through.
    Fuse,
    /// Then.
    Late,
    /// After that, of what is left, where [`Options::bf16`] asks for it.
    Bf16,
    /// Last, where [`Options::enabled`] names it.
    Asked,
}

/// Every pass, in the order in which they run.
pub const PASSES: &[Pass] = &[
    Pass {
        stage: Stage::First,
        ..unless(
            batch_calls::idle,
            simplify("batch_calls", "one run for independent calls of one instance", batch_calls),
        )
    },
    unless(merge_loops::idle, simplify("merge_loops", "one run for two loops over the same", merge_loops)),
    simplify("common_subexpressions", "equal nodes become one", common_subexpressions),
    simplify("constant_folding", "arithmetic of constants, in f64", constant_folding),
    simplify("algebraic", "identities of zero, one, negation, reshaping", algebraic),
    simplify("alike", "what is the same for all samples is computed for one", alike),
    simplify("pad_sums", "gradients of parts of a tensor side by side", pad_sums),
    unless(hoist::idle, simplify("hoist", "loop-invariant code leaves its loop", hoist)),
    unless(
        tabulate::idle,
        simplify("tabulate", "what a loop computes from its numbers alone, for all steps at once", tabulate),
    ),
    unless(dead_code::idle, simplify("dead_code", "what nobody needs goes", dead_code)),
    fuse("normalize", "group, layer and RMS norm with silu as one operation", normalize),
    fuse("attention", "softmax(q k^T) v without its matrix of scores", attention),
    fuse("conv_epilogue", "bias and residual added as a convolution is written", conv_epilogue),
    fuse("elementwise_chains", "elementwise operations in one walk over memory", elementwise_chains),
    Pass {
        stage: Stage::Late,
        ..fuse("winograd", "3×3 convolutions by minimal filtering, in inference", winograd)
    },
    Pass {
        stage: Stage::Bf16,
        ..fuse(
            "bf16",
            "with `--dtype bf16`: products with weights of operands rounded to bf16, in inference",
            bf16,
        )
    },
    Pass {
        stage: Stage::Asked,
        ..fuse(
            "winograd_in_training",
            "off unless `--opt` names it: the same in training, where it rounds more",
            winograd_in_training,
        )
    },
];

const fn simplify(name: &'static str, doc: &'static str, run: fn(&Graph) -> Graph) -> Pass {
    Pass { name, doc, run, stage: Stage::Simplify, idle: |_| false }
}

const fn unless(idle: fn(&Graph) -> bool, pass: Pass) -> Pass {
    Pass { idle, ..pass }
}

const fn fuse(name: &'static str, doc: &'static str, run: fn(&Graph) -> Graph) -> Pass {
    Pass { name, doc, run, stage: Stage::Fuse, idle: |_| false }
}

/// What `optimize` does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Names of passes that do not run.
    pub disabled: BTreeSet<String>,
    /// Names of passes that run only when they are asked for.
    pub enabled: BTreeSet<String>,
    /// Whether products with weights take operands of bf16, in graphs for inference.
    pub bf16: bool,
}

/// Passes that look at one node at a time. Together they take one copy of the graph instead of four, so that
/// [`optimize`] runs those of them that are on as one, equal nodes last.
const LOCAL: [(&str, LocalRule); 4] = [
    ("constant_folding", constant_folding::rule),
    ("algebraic", algebraic::rule),
    ("alike", alike::rule),
    ("pad_sums", pad_sums::rule),
];

type LocalRule = fn(&mut Site<'_, '_>) -> Result<Option<NodeId>, OpError>;

fn is_local(pass: &Pass) -> bool {
    pass.name == "common_subexpressions" || LOCAL.iter().any(|(name, _)| *name == pass.name)
}

/// Those of them that are on, node by node.
fn locally(graph: &Graph, options: &Options) -> Graph {
    let on = |name: &str| !options.disabled.contains(name);
    let rules: Vec<LocalRule> = LOCAL.iter().filter(|(name, _)| on(name)).map(|(_, rule)| *rule).collect();
    let equal = on("common_subexpressions");
    let mut seen = common_subexpressions::Seen::new();
    let new = rewrite(graph, &mut |site| {
        for rule in &rules {
            // What a rule refuses is left to the others.
            if let Ok(Some(at)) = rule(site) {
                return Ok(Some(at));
            }
        }
        if equal { common_subexpressions::merge(graph, &mut seen, site) } else { Ok(None) }
    });
    debug_assert_eq!(crate::graph::validate::validate(&new), Ok(()), "after the passes of single nodes");
    new
}

/// Rounds after which `optimize` stops whether or not there is more to do.
const ROUNDS: usize = 32;

/// Runs the passes that are not disabled: those that simplify until none changes anything, then those that
/// fuse, each followed by the removal of what it left behind.
pub fn optimize(graph: &Graph, options: &Options) -> Graph {
    let on = |stage| PASSES.iter().filter(move |p| p.stage == stage && !options.disabled.contains(p.name));
    let mut graph = graph.clone();
    for pass in on(Stage::First).filter(|p| !(p.idle)(&graph)).collect::<Vec<_>>() {
        graph = apply(pass, &graph);
    }
    let (local, whole): (Vec<&Pass>, Vec<&Pass>) = on(Stage::Simplify).partition(|p| is_local(p));
    // `None` stands for all of the first kind.
    let mut simplify: Vec<Option<&Pass>> = whole.into_iter().map(Some).collect();
    if !local.is_empty() {
        simplify.insert(simplify.len().min(1), None);
    }
    // A pass is done once every pass since its last run, itself included, left the graph as it was.
    let mut at_rest = 0;
    for pass in simplify.iter().cycle().take(ROUNDS * simplify.len()) {
        if pass.is_some_and(|p| (p.idle)(&graph)) {
            at_rest += 1;
        } else {
            let new = match pass {
                Some(pass) => apply(pass, &graph),
                None => locally(&graph, options),
            };
            // What nobody needs stands in nobody's way, save as a part of loops that are compared.
            let dead = pass.is_some_and(|p| p.name == "dead_code") && new.regions.len() == 1;
            at_rest = if dead || unchanged(&graph, &new) { at_rest + 1 } else { 0 };
            graph = new;
        }
        if at_rest >= simplify.len() {
            break;
        }
    }
    let bf16 = on(Stage::Bf16).filter(|_| options.bf16);
    let asked = on(Stage::Asked).filter(|p| options.enabled.contains(p.name));
    for pass in on(Stage::Fuse).chain(on(Stage::Late)).chain(bf16).chain(asked) {
        let new = apply(pass, &graph);
        if unchanged(&graph, &new) {
            continue;
        }
        graph = if options.disabled.contains("dead_code") { new } else { dead_code(&new) };
    }
    graph
}

fn apply(pass: &Pass, graph: &Graph) -> Graph {
    let new = (pass.run)(graph);
    debug_assert_eq!(crate::graph::validate::validate(&new), Ok(()), "after `{}`", pass.name);
    new
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
                .all(|(a, b)| a.inputs == b.inputs && (Arc::ptr_eq(&a.op, &b.op) || a.op == b.op))
    };
    a.updates == b.updates
        && a.regions.len() == b.regions.len()
        && a.regions.iter().zip(&b.regions).all(region)
}
