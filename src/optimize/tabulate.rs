//! What a body computes from the numbers of its steps, the rows that it reads, and captured tensors alone, such as
//! the embedding of a timestep with the layers above it, is computed before the loop for all steps at once: steps
//! become the first axis, along which the operations treat each by itself ([`Primitive::leading`]), and the body
//! reads the row of its step. Views stay, since they cost nothing, and so does what is large.

use std::collections::HashMap;
use std::sync::Arc;

use super::rewrite::rename;
use crate::graph::{Builder, Graph, Node, NodeId, Region, RegionId};
use crate::ops::{Emit, Expand, Lead, Loop, LoopInput, Op, Primitive, Reshape, Table, repeated};
use crate::shape::{Dim, Type};

/// Elements of one step's row above which a value stays in the loop: rows of all steps are in memory together.
const WIDEST: i64 = 1 << 14;

/// Moves it, out of one loop.
pub fn tabulate(graph: &Graph) -> Graph {
    let mut new = Graph { output_names: graph.output_names.clone(), ..Graph::new(graph.name.clone()) };
    let map = region(graph, 0, &mut new, 0, &Rows::default());
    new.updates = rename(&graph.updates, &map);
    new
}

/// Whether nothing can leave any loop.
pub(super) fn idle(graph: &Graph) -> bool {
    let stays = |n: &Node| match &*n.op {
        Op::Loop(l) => Rows::of(graph, l).read.is_empty(),
        _ => true,
    };
    graph.regions.iter().all(|r| r.dag.node_weights().all(stays))
}

/// What a value of a body depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    /// Captured tensors and constants.
    Nothing,
    /// The step: a number of it, or a row that the loop reads.
    Step,
    /// The step: a tensor whose first axis of length 1 can be that of all steps.
    Row,
    /// Anything else.
    More,
}

/// What leaves a body.
#[derive(Default)]
struct Rows {
    /// Per node of the body.
    on: Vec<On>,
    /// Those of which the body reads a row at each step, with their numbers as inputs.
    read: HashMap<NodeId, u32>,
}

impl Rows {
    fn of(graph: &Graph, l: &Loop) -> Rows {
        let body = &graph.regions[l.region as usize];
        if l.steps < 2 || l.columns.is_empty() && l.scans == 0 {
            return Rows::default();
        }
        let (first, last) = (l.carries, l.carries + l.captures);
        let mut on: Vec<On> = Vec::with_capacity(body.dag.node_count());
        let mut moves = vec![false; body.dag.node_count()];
        for id in body.ids() {
            let node = body.node(id);
            let mut on_inputs = node.inputs.iter().map(|i| on[i.index()]);
            on.push(match &*node.op {
                Op::LoopInput(i) if (first..last).contains(&i.index) => On::Nothing,
                Op::LoopInput(i) if i.index >= last => On::Step,
                Op::LoopInput(_) | Op::Loop(_) | Op::Project(_) | Op::Random(_) => On::More,
                Op::Column(_) => On::Step,
                _ if on_inputs.clone().all(|o| o == On::Nothing) => On::Nothing,
                _ if on_inputs.any(|o| o == On::More) => On::More,
                _ => row(body, node, &on),
            });
            if on[id.index()] == On::Row {
                let types: Vec<&Type> = node.inputs.iter().map(|i| &*body.node(*i).ty).collect();
                moves[id.index()] = !node.op.is_view(&types) && narrow(&node.ty);
            }
        }
        if !moves.contains(&true) {
            return Rows::default();
        }
        let mut wanted = vec![false; body.dag.node_count()];
        for id in body.ids().filter(|id| !moves[id.index()]) {
            body.node(id).inputs.iter().for_each(|i| wanted[i.index()] = true);
        }
        body.roots().for_each(|id| wanted[id.index()] = true);
        let number = last + l.scans;
        let mut read = HashMap::new();
        for id in body.ids().filter(|id| moves[id.index()] && wanted[id.index()]) {
            read.insert(id, number + read.len() as u32);
        }
        Rows { on, read }
    }
}

/// Whether rows of it may be in memory for all steps.
pub(super) fn narrow(ty: &Type) -> bool {
    let elements = ty.shape.iter().try_fold(1i64, |n, d| d.as_const().and_then(|d| n.checked_mul(d)));
    elements.is_some_and(|n| n <= WIDEST)
}

/// What a node is whose inputs depend on the step at most.
fn row(body: &Region, node: &Node, known: &[On]) -> On {
    let on: Vec<On> = node.inputs.iter().map(|i| known[i.index()]).collect();
    let types: Vec<&Type> = node.inputs.iter().map(|i| &*body.node(*i).ty).collect();
    let first_is_1 = node.ty.shape.first().is_some_and(|d| d.is(1));
    match &*node.op {
        // The same elements under a first axis of length 1.
        Op::Reshape(_) | Op::Expand(_) if on[0] == On::Step => {
            if first_is_1 && node.ty.elements() == types[0].elements() { On::Row } else { On::More }
        }
        op if first_is_1 && !on.contains(&On::Step) => {
            let fits = |(on, lead): (&On, Lead)| match on {
                On::Row => lead != Lead::Shared,
                _ => lead != Lead::Batch,
            };
            let leads = op.leading(&types, &node.ty);
            if leads.is_some_and(|leads| on.iter().zip(leads).all(fits)) { On::Row } else { On::More }
        }
        _ => On::More,
    }
}

fn region(graph: &Graph, from: RegionId, new: &mut Graph, to: RegionId, rows: &Rows) -> Vec<NodeId> {
    let old = &graph.regions[from];
    let mut map: Vec<NodeId> = Vec::with_capacity(old.dag.node_count());
    for id in old.ids() {
        let node = old.node(id);
        let mut builder = Builder::new(new, to, node.span, Arc::clone(&node.path));
        let place = match rows.read.get(&id) {
            // The scanned row has no first axis.
            Some(index) => {
                let ty = Type { shape: node.ty.shape[1..].to_vec(), ..(*node.ty).clone() };
                let row = builder.push(LoopInput { index: *index, ty: ty.clone() }.into(), &[], ty);
                let whole = Reshape { shape: node.ty.shape.clone() };
                builder.push(whole.into(), &[row], (*node.ty).clone())
            }
            None => {
                let inputs: Vec<NodeId> = node.inputs.iter().map(|i| map[i.index()]).collect();
                copy(graph, node, &inputs, new, to)
            }
        };
        map.push(place);
    }
    new.regions[to].outputs = old.outputs.iter().map(|o| map[o.index()]).collect();
    new.regions[to].watches = rename(&old.watches, &map);
    map
}

fn copy(graph: &Graph, node: &Node, inputs: &[NodeId], new: &mut Graph, to: RegionId) -> NodeId {
    let (mut op, mut inputs) = (Arc::clone(&node.op), inputs.to_vec());
    if let Op::Loop(l) = &*node.op {
        let found = Rows::of(graph, l);
        let tables = outside(graph, l, &found, &inputs, new, (to, node));
        // Where rows cannot be made after all, the loop keeps them.
        let rows = if tables.is_some() { found } else { Rows::default() };
        let tables = tables.unwrap_or_default();
        let body = new.regions.len();
        new.regions.push(Region::default());
        region(graph, l.region as usize, new, body, &rows);
        let scans = l.scans + tables.len() as u32;
        inputs.extend(tables);
        op = Arc::new(Loop { region: body as u32, scans, ..l.clone() }.into());
    }
    Builder::new(new, to, node.span, Arc::clone(&node.path)).share(op, &inputs, Arc::clone(&node.ty))
}

/// Emits the rows of all steps before the loop, in the order of their numbers as inputs.
fn outside(
    graph: &Graph,
    l: &Loop,
    rows: &Rows,
    inputs: &[NodeId],
    new: &mut Graph,
    (to, place): (RegionId, &Node),
) -> Option<Vec<NodeId>> {
    let body = &graph.regions[l.region as usize];
    let mut wanted = vec![false; body.dag.node_count()];
    rows.read.keys().for_each(|id| wanted[id.index()] = true);
    for id in body.ids().rev().filter(|_| !rows.read.is_empty()) {
        if wanted[id.index()] {
            body.node(id).inputs.iter().for_each(|i| wanted[i.index()] = true);
        }
    }
    let steps = l.steps as usize;
    let mut made: HashMap<NodeId, NodeId> = HashMap::new();
    let mut tables = Vec::with_capacity(rows.read.len());
    for id in body.ids().filter(|id| wanted[id.index()]) {
        let node = body.node(id);
        let path = if node.path.is_empty() { &place.path } else { &node.path };
        let mut builder = Builder::new(new, to, node.span, Arc::clone(path));
        let given: Vec<NodeId> = node.inputs.iter().map(|i| made[i]).collect();
        let at = match (&*node.op, rows.on[id.index()]) {
            (Op::LoopInput(i), _) => inputs[i.index as usize],
            (Op::Column(c), _) => {
                let values = l.columns.get(c.index as usize)?.clone();
                builder.emit(Table { values, shape: vec![steps], dtype: c.dtype }.into(), &[]).ok()?
            }
            (Op::Reshape(Reshape { shape }) | Op::Expand(Expand { shape }), On::Row)
                if rows.on[node.inputs[0].index()] == On::Step =>
            {
                let mut shape = shape.clone();
                shape[0] = Dim::from(steps as i64);
                builder.emit(Reshape { shape }.into(), &given).ok()?
            }
            (op, On::Row) => builder.emit(repeated(op, steps), &given).ok()?,
            _ => builder.share(Arc::clone(&node.op), &given, Arc::clone(&node.ty)),
        };
        made.insert(id, at);
        if rows.read.contains_key(&id) {
            let ty = &new.regions[to].dag[at].ty;
            let mut shape = node.ty.shape.clone();
            shape[0] = Dim::from(steps as i64);
            if ty.dtype != node.ty.dtype || ty.shape != shape {
                return None;
            }
            tables.push(at);
        }
    }
    Some(tables)
}
