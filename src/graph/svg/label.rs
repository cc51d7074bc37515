//! What is written on the boxes.

use super::fold::{Fold, Folds};
use super::group::segments;
use super::scene::{Item, Kind};
use super::text;
use crate::graph::{Graph, Node, NodeId, RegionId};
use crate::ops::{Op, Primitive};
use crate::shape::{Dim, Type, display_shape};

/// More weights than this are counted, not listed.
const LISTED_WEIGHTS: usize = 3;

/// Longest text on a box, in characters.
const LONGEST: usize = 48;

/// The type of a value as an edge shows it.
pub(super) fn edge(ty: &Type) -> String {
    match ty.rank() {
        0 => String::new(),
        _ => text::shorten(&ty.to_string(), LONGEST),
    }
}

/// Writes boxes for one graph.
pub(super) struct Labels<'a> {
    pub(super) graph: &'a Graph,
    pub(super) folds: &'a Folds,
}

impl<'a> Labels<'a> {
    /// The item of one operation, without its inputs and outputs. `depth`: the path parts of what holds it.
    pub(super) fn op(&self, r: RegionId, id: NodeId, depth: usize) -> Item {
        let node = self.graph.regions[r].node(id);
        let mut item = match self.folds.get(r, id) {
            // A folded value that needs a box: it is an output, or a loop starts from it.
            Some(Fold::Weight { path, ty }) => {
                let mut item = Item::new(Kind::Weights, text::shorten(path, LONGEST));
                item.lines.push(display_shape(&ty.shape));
                item
            }
            Some(other) => Item::new(Kind::Op, other.text()),
            None => self.plain(r, node, depth),
        };
        if let Some(update) = self.updated(r, id).next() {
            item.lines.push(format!("↻ {}", text::shorten(update, LONGEST)));
        }
        item.hover = format!("{} → {}", node.op.label(), node.ty);
        if !node.path.is_empty() {
            item.hover.push_str(&format!("\n{}", node.path));
        }
        item
    }

    fn plain(&self, r: RegionId, node: &Node, depth: usize) -> Item {
        let folded: Vec<Option<&Fold>> = node.inputs.iter().map(|i| self.folds.get(r, *i)).collect();
        let sign = match node.op.name() {
            "add" => Some("+"),
            "sub" => Some("−"),
            "mul" => Some("×"),
            "div" => Some("÷"),
            "pow" => Some("^"),
            _ => None,
        };
        let title = match (sign, folded.as_slice()) {
            (Some(sign), [None, None]) => sign.to_string(),
            (Some(sign), [None, Some(b)]) => format!("{sign} {}", b.text()),
            (Some(sign @ ("+" | "×")), [Some(a), None]) => format!("{sign} {}", a.text()),
            (Some(sign), [Some(a), None]) => format!("{} {sign}", a.text()),
            (Some(sign), [Some(a), Some(b)]) => format!("{} {sign} {}", a.text(), b.text()),
            _ => {
                let numbers = folded.iter().flatten().filter(|f| !matches!(f, Fold::Weight { .. }));
                let numbers: Vec<String> = numbers.map(|f| f.text()).collect();
                format!("{} {}", node.op.label(), numbers.join(", "))
            }
        };
        let random = matches!(*node.op, Op::Random(_));
        let mut item =
            Item::new(if random { Kind::Random } else { Kind::Op }, text::shorten(title.trim(), LONGEST));
        for fold in folded.iter().flatten() {
            if let Fold::Weight { path, ty } = fold {
                item.kind = Some(Kind::Weights);
                let name = relative(path, &node.path, depth);
                item.lines.push(format!("{} {}", text::shorten(&name, LONGEST), display_shape(&ty.shape)));
            }
        }
        item.tail = item.kind == Some(Kind::Op) && !matches!(*node.op, Op::Loop(_)) && {
            let mut inputs = node.inputs.iter().filter(|i| self.folds.get(r, **i).is_none());
            let first = inputs.next().map(|i| &self.graph.regions[r].node(*i).ty);
            inputs.next().is_none()
                && first.is_some_and(|t| t.dtype == node.ty.dtype && t.shape == node.ty.shape)
        };
        item
    }

    /// The item of a closed block, without its inputs and outputs. Its nodes share `shared` path parts, of
    /// which what holds it has `depth`.
    pub(super) fn block(&self, r: RegionId, nodes: &[NodeId], depth: usize, shared: usize) -> Item {
        let region = &self.graph.regions[r];
        let path = self.path(r, nodes, shared);
        let name = segments(&path).get(depth..).unwrap_or(&[]).join(".");
        let weights = self.weights(r, nodes);
        let kind = if weights.is_empty() { Kind::Block } else { Kind::Weights };
        let leaf = nodes.iter().all(|n| segments(&region.node(*n).path).len() == shared);
        let mut item = Item::new(kind, text::shorten(&name, LONGEST));
        let size: f64 = weights.iter().map(|(_, t)| crate::ops::primitive::elements(t)).sum();
        if name.is_empty() {
            item.title = plural(self.operations(r, nodes), "operation");
            item.lines.push(self.most_used(r, nodes));
        } else if leaf && let Some(main) = self.main(r, nodes) {
            item.title = text::shorten(&main, LONGEST);
            item.lines.push(text::shorten(&name, LONGEST));
        } else {
            item.lines.push(plural(self.operations(r, nodes), "operation"));
        }
        if weights.len() <= LISTED_WEIGHTS {
            for (weight, ty) in &weights {
                let name = relative(weight, &path, shared);
                item.lines.push(format!("{} {}", text::shorten(&name, LONGEST), display_shape(&ty.shape)));
            }
        } else {
            item.lines.push(format!("{} weights", text::count(size)));
        }
        let updates: usize = nodes.iter().map(|n| self.updated(r, *n).count()).sum();
        if updates > 0 {
            item.lines.push(format!("↻ {}", plural(updates, "new weight")));
        }
        item.hover = format!("{path}\n{}", plural(self.operations(r, nodes), "operation"));
        for (weight, ty) in weights.iter().take(40) {
            item.hover.push_str(&format!("\n{weight} {}", display_shape(&ty.shape)));
        }
        item
    }

    /// The names that occur most: `12 add, 9 mul, 2 exp`.
    fn most_used(&self, r: RegionId, nodes: &[NodeId]) -> String {
        let mut counts = std::collections::BTreeMap::new();
        for id in nodes {
            *counts.entry(self.graph.regions[r].node(*id).op.name()).or_insert(0) += 1;
        }
        let mut counts: Vec<(&str, i32)> = counts.into_iter().collect();
        counts.sort_by_key(|(name, count)| (-count, *name));
        let more = if counts.len() > 3 { ", …" } else { "" };
        let names: Vec<String> =
            counts.iter().take(3).map(|(name, count)| format!("{count} {name}")).collect();
        names.join(", ") + more
    }

    /// The first `shared` parts of the nodes' path.
    pub(super) fn path(&self, r: RegionId, nodes: &[NodeId], shared: usize) -> String {
        let path = nodes.first().map_or("", |n| &*self.graph.regions[r].node(*n).path);
        segments(path).get(..shared).unwrap_or(&[]).join(".")
    }

    /// The operation that does most of a block's arithmetic, if one does.
    fn main(&self, r: RegionId, nodes: &[NodeId]) -> Option<String> {
        let region = &self.graph.regions[r];
        let known = |t: &Type| Type {
            shape: t.shape.iter().map(|d| Dim::from(d.eval_with(1).max(1))).collect(),
            ..t.clone()
        };
        let mut total = 0.0;
        let mut most = (0.0, None);
        for id in nodes {
            let node = region.node(*id);
            let inputs: Vec<Type> = node.inputs.iter().map(|i| known(&region.node(*i).ty)).collect();
            let flops = node.op.flops(&inputs.iter().collect::<Vec<_>>(), &known(&node.ty));
            total += flops;
            if flops > most.0 {
                most = (flops, Some(node.op.label()));
            }
        }
        most.1.filter(|_| most.0 > 0.6 * total)
    }

    /// The weights that nodes read, in order, each once.
    pub(super) fn weights(&self, r: RegionId, nodes: &[NodeId]) -> Vec<(&'a str, &'a Type)> {
        let mut out = Vec::new();
        let mut seen = std::collections::HashSet::new();
        self.collect_weights(r, nodes.iter().copied(), &mut out, &mut seen);
        out
    }

    fn collect_weights(
        &self,
        r: RegionId,
        nodes: impl Iterator<Item = NodeId>,
        out: &mut Vec<(&'a str, &'a Type)>,
        seen: &mut std::collections::HashSet<&'a str>,
    ) {
        for id in nodes {
            let node = self.graph.regions[r].node(id);
            if let Op::Loop(l) = &*node.op {
                let inner = l.region as usize;
                self.collect_weights(inner, self.graph.regions[inner].ids(), out, seen);
            }
            for input in &node.inputs {
                if let Some(Fold::Weight { path, ty }) = self.folds.get(r, *input)
                    && seen.insert(path)
                {
                    out.push((path, ty));
                }
            }
        }
    }

    /// How many operations nodes are, the bodies of loops included and folded values not.
    pub(super) fn operations(&self, r: RegionId, nodes: &[NodeId]) -> usize {
        let region = &self.graph.regions[r];
        nodes
            .iter()
            .map(|id| match &*region.node(*id).op {
                Op::Loop(l) => {
                    let inner = l.region as usize;
                    self.operations(inner, &self.graph.regions[inner].ids().collect::<Vec<_>>())
                }
                Op::Input(_) | Op::LoopInput(_) | Op::Project(_) => 0,
                _ => usize::from(self.folds.get(r, *id).is_none()),
            })
            .sum()
    }

    fn updated(&self, r: RegionId, id: NodeId) -> impl Iterator<Item = &'a str> {
        let updates: &'a [_] = if r == 0 { &self.graph.updates } else { &[] };
        updates.iter().filter(move |u| u.node == id).map(|u| &*u.name)
    }
}

/// `1 operation`, `12 operations`.
pub(super) fn plural(count: usize, what: &str) -> String {
    format!("{} {what}{}", text::count(count as f64), if count == 1 { "" } else { "s" })
}

/// A weight's path as a reader inside the block of the first `depth` parts of `place` needs it.
fn relative(weight: &str, place: &str, depth: usize) -> String {
    let block = segments(place).get(..depth).unwrap_or(&[]).join(".");
    match weight.strip_prefix(&block).and_then(|w| w.strip_prefix('.')) {
        Some(rest) if !block.is_empty() => rest.to_string(),
        _ => weight.to_string(),
    }
}
