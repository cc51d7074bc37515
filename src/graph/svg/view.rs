//! From a graph to the scene that is drawn: which blocks are open, what flows between the items.

use std::collections::{HashMap, HashSet};

use super::fold::Folds;
use super::group::{Unit, Value, segments, units, value};
use super::label::{self, Labels, plural};
use super::scene::{Edge, Item, Kind, Scene};
use super::tidy;
use crate::graph::{Graph, NodeId, RegionId};
use crate::ops::{Loop, Op, Primitive};

/// What of the graph is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Openness {
    /// Levels of blocks and loops that are open.
    pub(super) depth: usize,
    /// Whether blocks that hold weights and no other block may be open.
    pub(super) leaves: bool,
    /// Most items of one scene; beyond it, neighbours share a box.
    pub(super) most: usize,
}

/// Operations of a block without weights that are drawn without the block.
const FEW: usize = 8;

/// The scene of a graph.
pub(super) fn scene(graph: &Graph, folds: &Folds, open: Openness) -> Scene {
    View::new(graph, folds, open).root()
}

struct View<'a> {
    graph: &'a Graph,
    folds: &'a Folds,
    labels: Labels<'a>,
    open: Openness,
    /// Who uses a value, by region.
    users: Vec<HashMap<Value, Vec<NodeId>>>,
    /// Values that leave the region, or are watched.
    rooted: Vec<HashSet<Value>>,
}

/// A scene under construction.
#[derive(Default)]
struct Part {
    scene: Scene,
    sources: HashMap<Value, (usize, usize)>,
}

impl Part {
    fn add(&mut self, item: Item, inputs: &[Value], outputs: &[Value]) -> usize {
        let at = self.scene.items.len();
        for (k, v) in inputs.iter().enumerate() {
            self.connect(*v, at, k);
        }
        for (k, v) in outputs.iter().enumerate() {
            self.sources.insert(*v, (at, k));
        }
        self.scene.items.push(Item { inputs: inputs.len(), ..item });
        at
    }

    fn connect(&mut self, v: Value, to: usize, input: usize) {
        if let Some((from, output)) = self.sources.get(&v) {
            self.scene.edges.push(Edge { from: *from, output: *output, to, input });
        }
    }
}

impl<'a> View<'a> {
    fn new(graph: &'a Graph, folds: &'a Folds, open: Openness) -> View<'a> {
        let mut users = Vec::with_capacity(graph.regions.len());
        let mut rooted = Vec::with_capacity(graph.regions.len());
        for region in &graph.regions {
            let mut of: HashMap<Value, Vec<NodeId>> = HashMap::new();
            for id in region.ids() {
                let node = region.node(id);
                if !matches!(*node.op, Op::Project(_)) {
                    for input in &node.inputs {
                        of.entry(value(region, *input)).or_default().push(id);
                    }
                }
            }
            users.push(of);
            rooted.push(region.roots().map(|n| value(region, n)).collect());
        }
        View { graph, folds, labels: Labels { graph, folds }, open, users, rooted }
    }

    fn root(&self) -> Scene {
        let region = self.graph.root();
        let mut part = Part::default();
        for id in region.ids() {
            if let Op::Input(input) = &*region.node(id).op {
                let mut item = Item::new(Kind::Input, &input.name);
                item.lines.push(input.ty.to_string());
                item.outputs.push(String::new());
                part.add(item, &[], &[(id, 0)]);
            }
        }
        self.fill(&mut part, 0, &self.nodes(0), 0, 0);
        for (k, id) in region.outputs.iter().enumerate() {
            let name = match self.graph.output_names.get(k) {
                Some(name) => name.clone(),
                None if region.outputs.len() == 1 => "output".into(),
                None => format!("output {k}"),
            };
            let mut item = Item::new(Kind::Output, name);
            item.lines.push(region.node(*id).ty.to_string());
            part.add(item, &[value(region, *id)], &[]);
        }
        self.watches(&mut part, 0);
        tidy::tidy(part.scene)
    }

    /// The nodes of a region that are drawn.
    fn nodes(&self, r: RegionId) -> Vec<NodeId> {
        let region = &self.graph.regions[r];
        let drawn = |id: &NodeId| match *region.node(*id).op {
            Op::Input(_) | Op::Project(_) => false,
            Op::LoopInput(_) => self.folds.get(r, *id).is_some() && !self.folds.hidden(r, *id),
            _ => !self.folds.hidden(r, *id),
        };
        region.ids().filter(drawn).collect()
    }

    fn watches(&self, part: &mut Part, r: RegionId) {
        let region = &self.graph.regions[r];
        for watch in &region.watches {
            let item = Item::new(Kind::Watch, format!("watch {}", watch.name));
            part.add(item, &[value(region, watch.node)], &[]);
        }
    }

    /// Adds the items of nodes that share `depth` path parts, `level` open levels down.
    fn fill(&self, part: &mut Part, r: RegionId, nodes: &[NodeId], depth: usize, level: usize) {
        let mut units = units(self.graph, self.folds, r, nodes, depth);
        if units.len() > self.open.most {
            // Runs of a topological order, as blocks are.
            let size = units.len().div_ceil(self.open.most / 3);
            let mut runs: Vec<Unit> = Vec::new();
            for (i, unit) in units.into_iter().enumerate() {
                match runs.last_mut().filter(|_| i % size != 0) {
                    Some(run) => run.nodes.extend(unit.nodes),
                    None => runs.push(Unit { nodes: unit.nodes, block: Some(depth) }),
                }
            }
            units = runs;
        }
        for unit in units {
            match (unit.block, unit.nodes.as_slice()) {
                (None, [id]) => self.single(part, r, *id, depth, level),
                (Some(_), [id]) if self.labels.weights(r, &[*id]).is_empty() => {
                    self.single(part, r, *id, depth, level);
                }
                // A block of a few operations without weights is no more than these operations.
                (Some(shared), nodes)
                    if nodes.len() <= FEW
                        && self.is_leaf(r, nodes, shared)
                        && self.labels.weights(r, nodes).is_empty() =>
                {
                    nodes.iter().for_each(|id| self.single(part, r, *id, depth, level));
                }
                (block, nodes) => self.block(part, r, nodes, depth, block.unwrap_or(depth), level),
            }
        }
    }

    fn single(&self, part: &mut Part, r: RegionId, id: NodeId, depth: usize, level: usize) {
        let region = &self.graph.regions[r];
        let node = region.node(id);
        if let Op::Loop(l) = &*node.op {
            return self.looped(part, r, id, l, level);
        }
        let mut inputs: Vec<Value> = Vec::new();
        if self.folds.get(r, id).is_none() {
            for input in node.inputs.iter().filter(|i| self.folds.get(r, **i).is_none()) {
                let v = value(region, *input);
                if !inputs.contains(&v) {
                    inputs.push(v);
                }
            }
        }
        let mut item = self.labels.op(r, id, depth);
        item.outputs.push(label::edge(&node.ty));
        part.add(item, &inputs, &[(id, 0)]);
    }

    fn block(
        &self,
        part: &mut Part,
        r: RegionId,
        nodes: &[NodeId],
        depth: usize,
        shared: usize,
        level: usize,
    ) {
        let region = &self.graph.regions[r];
        let inside: HashSet<NodeId> = nodes.iter().copied().collect();
        let mut inputs: Vec<Value> = Vec::new();
        let mut seen = HashSet::new();
        let mut outputs: Vec<Value> = Vec::new();
        for id in nodes {
            for (slot, input) in region.node(*id).inputs.iter().enumerate() {
                let v = value(region, *input);
                if self.flows(r, *id, slot) && !inside.contains(&v.0) && seen.insert(v) {
                    inputs.push(v);
                }
            }
            let leaves = |v: &Value| {
                self.rooted[r].contains(v)
                    || self.users[r].get(v).is_some_and(|u| u.iter().any(|n| !inside.contains(n)))
            };
            outputs.extend(self.values(r, *id).into_iter().filter(leaves));
        }
        let leaf = self.is_leaf(r, nodes, shared);
        let open = level < self.open.depth && (!leaf || self.open.leaves);
        let mut item = self.labels.block(r, nodes, depth, shared);
        item.outputs = outputs.iter().map(|v| label::edge(self.ty(r, *v))).collect();
        if open {
            let mut inner = Part::default();
            for v in &inputs {
                let port = Item { outputs: vec![String::new()], ..Item::new(Kind::PortIn, "") };
                inner.add(port, &[], &[*v]);
            }
            self.fill(&mut inner, r, nodes, shared, level + 1);
            for v in &outputs {
                inner.add(Item::new(Kind::PortOut, ""), &[*v], &[]);
            }
            let path = self.labels.path(r, nodes, shared);
            let name = segments(&path).get(depth..).unwrap_or(&[]).join(".");
            item = Item { title: name, lines: Vec::new(), kind: Some(Kind::Block), ..item };
            item.inner = Some(Box::new(tidy::tidy(inner.scene)));
        }
        part.add(item, &inputs, &outputs);
    }

    /// Whether nodes of a block hold no other block and no loop.
    fn is_leaf(&self, r: RegionId, nodes: &[NodeId], shared: usize) -> bool {
        let region = &self.graph.regions[r];
        nodes
            .iter()
            .map(|n| region.node(*n))
            .all(|n| segments(&n.path).len() == shared && !matches!(*n.op, Op::Loop(_)))
    }

    /// Whether an input of a node is drawn as an edge, not written into its box.
    fn flows(&self, r: RegionId, id: NodeId, slot: usize) -> bool {
        let node = self.graph.regions[r].node(id);
        match (&*node.op, self.folds.get(r, node.inputs[slot])) {
            (_, None) => true,
            (Op::Loop(l), Some(_)) => slot < l.carries as usize || slot >= (l.carries + l.captures) as usize,
            _ => false,
        }
    }

    /// The values that a node gives and someone uses.
    fn values(&self, r: RegionId, id: NodeId) -> Vec<Value> {
        match &*self.graph.regions[r].node(id).op {
            Op::Loop(l) => {
                let all = (0..l.outputs.len() as u32).map(|k| (id, k));
                all.filter(|v| self.rooted[r].contains(v) || self.users[r].contains_key(v)).collect()
            }
            _ => vec![(id, 0)],
        }
    }

    fn ty(&self, r: RegionId, v: Value) -> &'a crate::shape::Type {
        let node = self.graph.regions[r].node(v.0);
        match &*node.op {
            Op::Loop(l) => l.outputs.get(v.1 as usize).unwrap_or(&node.ty),
            _ => &node.ty,
        }
    }

    fn looped(&self, part: &mut Part, r: RegionId, id: NodeId, l: &Loop, level: usize) {
        let region = &self.graph.regions[r];
        let node = region.node(id);
        let slots: Vec<usize> = (0..node.inputs.len()).filter(|s| self.flows(r, id, *s)).collect();
        let inputs: Vec<Value> = slots.iter().map(|s| value(region, node.inputs[*s])).collect();
        let outputs: Vec<Value> = (0..l.outputs.len() as u32).map(|k| (id, k)).collect();
        let mut item = Item::new(Kind::Loop, "loop");
        item.badge = format!("×{}{}", l.steps, if l.reverse { " reversed" } else { "" });
        item.outputs = l.outputs.iter().map(label::edge).collect();
        item.hover = node.op.label();
        if level < self.open.depth {
            if !l.columns.is_empty() {
                let last = l.columns.len() as u32 - 1;
                let names = match last {
                    0 => "c₀".to_string(),
                    _ => format!("c₀ … c{}", super::text::subscript(last)),
                };
                item.lines.push(format!("{names}: per-step numbers"));
            }
            item.inner = Some(Box::new(self.body(l, &slots, level)));
        } else {
            item.lines.push(plural(self.labels.operations(r, &[id]), "operation"));
        }
        part.add(item, &inputs, &outputs);
    }

    /// The body of an open loop: a port for each drawn input slot, and one for each output.
    fn body(&self, l: &Loop, slots: &[usize], level: usize) -> Scene {
        let r = l.region as usize;
        let region = &self.graph.regions[r];
        let carries = l.carries as usize;
        let carry_name = |k: usize, one: &str| match carries {
            1 => one.to_string(),
            _ => format!("{one} {k}"),
        };
        let mut part = Part::default();
        let mut starts = vec![None; carries];
        for slot in slots {
            let is_input =
                |id: &NodeId| matches!(&*region.node(*id).op, Op::LoopInput(i) if i.index as usize == *slot);
            let ids: Vec<Value> = region.ids().filter(is_input).map(|id| (id, 0)).collect();
            let title = match slot {
                k if *k < carries => carry_name(*k, "carry"),
                k if *k >= carries + l.captures as usize => "slice".into(),
                _ => String::new(),
            };
            let shape = if title.is_empty() { None } else { ids.first() };
            let shape = shape.map_or(String::new(), |v| label::edge(self.ty(r, *v)));
            let at = part.add(Item { outputs: vec![shape], ..Item::new(Kind::PortIn, title) }, &[], &[]);
            part.sources.extend(ids.into_iter().map(|v| (v, (at, 0))));
            if *slot < carries {
                starts[*slot] = Some(at);
            }
        }
        self.fill(&mut part, r, &self.nodes(r), 0, level + 1);
        self.watches(&mut part, r);
        for (k, id) in region.outputs.iter().enumerate() {
            let title = if k < carries { carry_name(k, "next") } else { "stack".into() };
            let at = part.add(Item::new(Kind::PortOut, title), &[value(region, *id)], &[]);
            if let Some(Some(start)) = starts.get(k) {
                part.scene.carries.push((at, *start));
            }
        }
        tidy::tidy(part.scene)
    }
}
