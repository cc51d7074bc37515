//! Adding nodes to a region.

use std::sync::Arc;

use super::{Graph, Node, NodeId, RegionId};
use crate::ops::{Emit, Op, OpError, Primitive};
use crate::shape::Type;
use crate::source::Span;

/// Adds nodes to one region, with a span and a field path.
pub struct Builder<'a> {
    /// The graph.
    pub graph: &'a mut Graph,
    /// The region that is added to.
    pub region: RegionId,
    /// The span of new nodes.
    pub span: Span,
    /// The field path of new nodes.
    pub path: Arc<str>,
}

impl<'a> Builder<'a> {
    /// A builder at a region.
    pub fn new(graph: &'a mut Graph, region: RegionId, span: Span, path: Arc<str>) -> Self {
        Builder { graph, region, span, path }
    }

    /// Adds a node whose type is known (structure nodes).
    pub fn push(&mut self, op: Op, inputs: &[NodeId], ty: Type) -> NodeId {
        self.share(Arc::new(op), inputs, Arc::new(ty))
    }

    /// The same with the operation and the type of another node, which both hold.
    pub fn share(&mut self, op: Arc<Op>, inputs: &[NodeId], ty: Arc<Type>) -> NodeId {
        let node = Node { op, inputs: inputs.to_vec(), ty, span: self.span, path: self.path.clone() };
        let dag = &mut self.graph.regions[self.region].dag;
        let id = dag.add_node(node);
        for (slot, input) in inputs.iter().enumerate() {
            dag.add_edge(*input, id, slot as u32);
        }
        id
    }
}

impl Emit for Builder<'_> {
    fn emit(&mut self, op: Op, inputs: &[NodeId]) -> Result<NodeId, OpError> {
        let ty = {
            let dag = &self.graph.regions[self.region].dag;
            let types: Vec<&Type> = inputs.iter().map(|i| &*dag[*i].ty).collect();
            op.infer(&types)?
        };
        Ok(self.push(op, inputs, ty))
    }

    fn ty(&self, node: NodeId) -> &Type {
        &self.graph.regions[self.region].dag[node].ty
    }
}
