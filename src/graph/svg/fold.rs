//! What is drawn as text in its consumer instead of as a box: numbers, tables, weights, per-step numbers.

use super::text;
use crate::graph::{Graph, NodeId, RegionId};
use crate::ops::Op;
use crate::shape::Type;

/// A value that its consumers name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fold {
    /// A number.
    Number(f64),
    /// A static array of that shape.
    Table(Vec<usize>),
    /// A weight or state.
    Weight { path: String, ty: Type },
    /// A per-step number of the loop.
    Column(u32),
}

impl Fold {
    /// How a consumer writes it.
    pub(super) fn text(&self) -> String {
        match self {
            Fold::Number(v) => text::number(*v),
            Fold::Table(shape) => format!("table {shape:?}"),
            Fold::Weight { path, .. } => path.rsplit('.').next().unwrap_or(path).to_string(),
            Fold::Column(i) => format!("c{}", text::subscript(*i)),
        }
    }
}

/// The folded nodes of every region. A captured tensor that is folded outside a loop is folded inside.
pub(super) struct Folds {
    of: Vec<Vec<Option<Fold>>>,
    /// Folded nodes that need a box all the same: an output, or the start of a carry.
    shown: Vec<Vec<bool>>,
}

impl Folds {
    pub(super) fn new(graph: &Graph) -> Folds {
        let sizes = || graph.regions.iter().map(|r| r.dag.node_count());
        let mut folds = Folds {
            of: sizes().map(|n| vec![None; n]).collect(),
            shown: sizes().map(|n| vec![false; n]).collect(),
        };
        let mut open = vec![(0, Vec::new())];
        while let Some((r, given)) = open.pop() {
            folds.region(graph, r, &given, &mut open);
        }
        folds
    }

    /// `given`: what the inputs of the loop body are folded to.
    fn region(
        &mut self,
        graph: &Graph,
        r: RegionId,
        given: &[Option<Fold>],
        open: &mut Vec<(RegionId, Vec<Option<Fold>>)>,
    ) {
        let region = &graph.regions[r];
        for id in region.ids() {
            let node = region.node(id);
            self.of[r][id.index()] = match &*node.op {
                Op::Const(c) => Some(Fold::Number(c.value)),
                Op::Table(t) => Some(Fold::Table(t.shape.clone())),
                Op::Parameter(p) => Some(Fold::Weight { path: p.path.clone(), ty: p.ty.clone() }),
                Op::Column(c) => Some(Fold::Column(c.index)),
                Op::LoopInput(i) => given.get(i.index as usize).cloned().flatten(),
                _ => None,
            };
            if let Op::Loop(l) = &*node.op {
                let captured = l.carries as usize..(l.carries + l.captures) as usize;
                let mut inner = vec![None; node.inputs.len()];
                for (slot, input) in node.inputs.iter().enumerate() {
                    if captured.contains(&slot) {
                        inner[slot] = self.of[r][input.index()].clone();
                    } else {
                        self.shown[r][input.index()] = true;
                    }
                }
                open.push((l.region as usize, inner));
            }
        }
        for id in graph.roots(r) {
            self.shown[r][id.index()] = true;
        }
    }

    /// What the node is folded to.
    pub(super) fn get(&self, r: RegionId, id: NodeId) -> Option<&Fold> {
        self.of[r][id.index()].as_ref()
    }

    /// Whether the node has no box of its own.
    pub(super) fn hidden(&self, r: RegionId, id: NodeId) -> bool {
        self.of[r][id.index()].is_some() && !self.shown[r][id.index()]
    }
}
