//! Whether two graphs are the same graph.

use super::{Graph, Node, Region};

/// Whether both compute the same thing in the same way: equal names, regions, nodes, inputs, types, spans,
/// paths, outputs, watches and updates. Constants that are not a number count as equal to each other.
pub fn same(a: &Graph, b: &Graph) -> bool {
    a.name == b.name
        && a.output_names == b.output_names
        && a.updates == b.updates
        && a.regions.len() == b.regions.len()
        && a.regions.iter().zip(&b.regions).all(|(a, b)| same_region(a, b))
}

fn same_region(a: &Region, b: &Region) -> bool {
    a.outputs == b.outputs
        && a.watches == b.watches
        && a.dag.node_count() == b.dag.node_count()
        && a.dag.node_weights().zip(b.dag.node_weights()).all(|(a, b)| same_node(a, b))
}

fn same_node(a: &Node, b: &Node) -> bool {
    // NaN differs from itself; its text does not.
    a == b
        || (a.inputs == b.inputs
            && a.ty == b.ty
            && a.span == b.span
            && a.path == b.path
            && super::ron::op_text(&a.op) == super::ron::op_text(&b.op))
}
