//! The graph: regions of nodes over petgraph, built once and never mutated by passes.
//!
//! Invariant: a node's inputs come before it in its region; its types are what its operation infers from
//! its inputs' types; region 0 is the root; a region other than the root belongs to exactly one
//! [`Loop`](crate::ops::Loop) node.

pub mod builder;
pub mod copy;
pub mod dot;
pub mod program;
pub mod ron;
pub mod same;
pub mod svg;
pub mod text;
pub mod validate;

use std::sync::Arc;

use petgraph::graph::DiGraph;

pub use crate::ops::NodeId;
pub use builder::Builder;

use crate::ops::Op;
use crate::shape::Type;
use crate::source::Span;

/// Index of a region in its graph.
pub type RegionId = usize;

/// A node: an operation with its place in the model and in the source.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it computes; shared by the copies that passes make.
    pub op: Arc<Op>,
    /// Its inputs, in order; the region's edges say the same.
    pub inputs: Vec<NodeId>,
    /// The type of its output (of the first, for a loop).
    pub ty: Arc<Type>,
    /// Where in the source it comes from.
    pub span: Span,
    /// The field path of the block it belongs to (`encoder.body.0`), empty at the top.
    pub path: Arc<str>,
}

/// A value that training or a watcher takes out of a region by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The name: of the watch, or the path of the weight or state that gets this value.
    pub name: String,
    /// The value.
    pub node: NodeId,
}

/// A graph body, or the body of a loop.
#[derive(Clone, Debug, Default)]
pub struct Region {
    /// Nodes, and an edge per use of an output, weighted by the number of the input.
    pub dag: DiGraph<Node, u32>,
    /// The values of the region, in order.
    pub outputs: Vec<NodeId>,
    /// `watch` statements.
    pub watches: Vec<Named>,
}

impl Region {
    /// The node of that id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.dag[id]
    }

    /// All nodes in order of creation, which is a topological order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.dag.node_count()).map(NodeId::new)
    }

    /// Everything that keeps a node alive: outputs and watches.
    pub fn roots(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.outputs.iter().copied().chain(self.watches.iter().map(|w| w.node))
    }
}

/// A whole graph: an entry point, or a training step.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// `vae.sample`, `vae.train`.
    pub name: String,
    /// Regions; the first is the root.
    pub regions: Vec<Region>,
    /// The names of the root's outputs, where the signature gives them (else empty).
    pub output_names: Vec<String>,
    /// New values of weights and states, by path: nodes of the root.
    pub updates: Vec<Named>,
}

impl Graph {
    /// A graph with an empty root.
    pub fn new(name: impl Into<String>) -> Self {
        Graph { name: name.into(), regions: vec![Region::default()], ..Graph::default() }
    }

    /// The root region.
    pub fn root(&self) -> &Region {
        &self.regions[0]
    }

    /// Everything that keeps a node of that region alive.
    pub fn roots(&self, region: RegionId) -> Vec<NodeId> {
        let mut roots: Vec<NodeId> = self.regions[region].roots().collect();
        if region == 0 {
            roots.extend(self.updates.iter().map(|u| u.node));
        }
        roots
    }

    /// Replaces open dimensions everywhere (types and attributes).
    pub fn map_dims(&mut self, f: &mut dyn FnMut(&crate::shape::Dim) -> crate::shape::Dim) {
        use crate::ops::Primitive;
        for region in &mut self.regions {
            for node in region.dag.node_weights_mut() {
                Arc::make_mut(&mut node.op).map_dims(f);
                for d in &mut Arc::make_mut(&mut node.ty).shape {
                    *d = f(d);
                }
            }
        }
    }

    /// The inputs of the root, in order of creation: name and type.
    pub fn inputs(&self) -> impl Iterator<Item = &crate::ops::Input> {
        self.root().dag.node_weights().filter_map(|n| match &*n.op {
            Op::Input(i) => Some(i),
            _ => None,
        })
    }

    /// The weights and states that the graph reads, in order of creation.
    pub fn parameters(&self) -> impl Iterator<Item = &crate::ops::Parameter> {
        self.root().dag.node_weights().filter_map(|n| match &*n.op {
            Op::Parameter(p) => Some(p),
            _ => None,
        })
    }
}
