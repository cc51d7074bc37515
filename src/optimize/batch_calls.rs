//! Independent calls of one instance as one call on a batch: the two halves of classifier-free guidance, the
//! real and the generated images of a critic. A call is recognised by what it left in the graph: the nodes of an
//! instance's path are so many equal runs, one per call. Inputs that differ are laid end to end along the
//! first axis, what follows from equal inputs is computed once, and each call's results are cut out again.
//!
//! For graphs of inference: with gradients, activations of both calls would have to be cut out as well.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::common_subexpressions::key;
use super::rewrite::rename;
use super::winograd::for_inference;
use crate::graph::{Builder, Graph, Node, NodeId, Region, RegionId};
use crate::ops::{Cat, Emit, Lead, Op, Primitive, Reshape, Slice, repeated};
use crate::shape::{Dim, Type};

/// Joins them, outer instances before those inside them.
pub fn batch_calls(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    if !for_inference(&graph) {
        return graph;
    }
    for region in 0..graph.regions.len() {
        let mut settled: Vec<String> = Vec::new();
        for path in instances(&graph.regions[region]) {
            // Parts of what stays apart would be laid end to end and cut again, one by one.
            let inside =
                |outer: &String| path.strip_prefix(outer.as_str()).is_some_and(|p| p.starts_with('.'));
            if !settled.iter().any(inside) && join_all(&mut graph, region, &path) {
                settled.push(path);
            }
        }
    }
    graph
}

/// Whether no weight is used twice at one place of one instance.
pub(super) fn idle(graph: &Graph) -> bool {
    !for_inference(graph) || graph.regions.iter().all(|r| instances(r).is_empty())
}

/// Joins what can be joined of the calls of one instance; whether nothing is left to do for instances inside it,
/// as where calls need each other.
fn join_all(graph: &mut Graph, region: RegionId, path: &str) -> bool {
    let mut calls = calls(&graph.regions[region], path).unwrap_or_default();
    let mut settled = !calls.is_empty();
    let mut known: Option<Vec<NodeId>> = None;
    while calls.len() > 1 {
        let old = std::mem::take(&mut graph.regions[region]);
        let group = independent(&old, &calls);
        settled &= group.len() > 1;
        let mut done = None;
        if group.len() > 1 {
            let values = known.get_or_insert_with(|| values(&old));
            let (differ, again) = distinct(group.iter().map(|c| &calls[*c]), values);
            let join = Join { old: &old, values, path: path.into(), calls: &differ, again: &again };
            done = if differ.len() > 1 { join.apply(graph, region) } else { None };
        }
        let mut number = 0..;
        calls.retain(|_| number.next().is_some_and(|n| !group.contains(&n)));
        match done {
            None => graph.regions[region] = old,
            Some(map) => {
                calls.iter_mut().flatten().for_each(|id| *id = map[id.index()]);
                known = None;
            }
        }
    }
    settled
}

/// The paths of instances that may have been called more than once, outer ones first: those at which two nodes
/// of one line read one weight.
fn instances(region: &Region) -> Vec<String> {
    let mut paths: BTreeSet<(usize, String)> = BTreeSet::new();
    for id in region.ids().filter(|id| is_source(&region.node(*id).op)) {
        let mut users: Vec<&Node> = region.dag.neighbors(id).map(|user| region.node(user)).collect();
        if users.len() < 2 {
            continue;
        }
        users.sort_by(|a, b| (&a.path, a.span).cmp(&(&b.path, b.span)));
        let twice = users.windows(2).filter(|w| w[0].path == w[1].path && w[0].span == w[1].span);
        for path in twice.map(|w| &*w[0].path).filter(|p| !p.is_empty()) {
            let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
            paths.extend(ends.map(|end| (end, path[..end].to_string())));
        }
    }
    paths.into_iter().map(|(_, path)| path).collect()
}

/// Whether a node only brings a value into a region: it belongs to no call.
fn is_source(op: &Op) -> bool {
    matches!(op, Op::Parameter(_) | Op::LoopInput(_) | Op::Column(_) | Op::Input(_))
}

/// The nodes of an instance, call by call: the most runs of which each has the operations of the first.
fn calls(region: &Region, path: &str) -> Option<Vec<Vec<NodeId>>> {
    let inside = |node: &Node| {
        let rest = node.path.strip_prefix(path);
        rest.is_some_and(|r| r.is_empty() || r.starts_with('.')) && !is_source(&node.op)
    };
    let all: Vec<NodeId> = region.ids().filter(|id| inside(region.node(*id))).collect();
    let alike = |a: NodeId, b: NodeId| {
        let (a, b) = (region.node(a), region.node(b));
        (a.span, &a.path, &a.ty, a.inputs.len(), &a.op) == (b.span, &b.path, &b.ty, b.inputs.len(), &b.op)
    };
    let length = (1..=all.len() / 2).find(|length| {
        all.len().is_multiple_of(*length) && all[*length..].iter().zip(&all).all(|(a, b)| alike(*a, *b))
    })?;
    Some(all.chunks(length).map(<[NodeId]>::to_vec).collect())
}

/// The first call, and those after it of which none needs what another of them gives, by number.
fn independent(region: &Region, calls: &[Vec<NodeId>]) -> Vec<usize> {
    let mut group = vec![0];
    for (number, call) in calls.iter().enumerate().skip(1) {
        let after = followers(region, group.iter().flat_map(|c| calls[*c].iter().copied()));
        if call.iter().all(|id| !after[id.index()]) {
            group.push(number);
        }
    }
    group
}

/// The nodes of a call that gives what an earlier one gives, with that one's number.
type Again = (Vec<NodeId>, usize);

/// Those that differ, and the others.
fn distinct<'c>(
    calls: impl Iterator<Item = &'c Vec<NodeId>>,
    values: &[NodeId],
) -> (Vec<Vec<NodeId>>, Vec<Again>) {
    let (mut differ, mut again): (Vec<Vec<NodeId>>, Vec<Again>) = (Vec::new(), Vec::new());
    let value = |id: &NodeId| values[id.index()];
    for call in calls {
        match differ.iter().position(|d| d.iter().map(value).eq(call.iter().map(value))) {
            Some(at) => again.push((call.clone(), at)),
            None => differ.push(call.clone()),
        }
    }
    (differ, again)
}

/// Which nodes need one of those, themselves included.
fn followers(region: &Region, of: impl Iterator<Item = NodeId>) -> Vec<bool> {
    let mut after = vec![false; region.dag.node_count()];
    of.for_each(|id| after[id.index()] = true);
    for id in region.ids() {
        after[id.index()] |= region.node(id).inputs.iter().any(|i| after[i.index()]);
    }
    after
}

/// For each node the first one with the same value; each source is one of its own.
fn values(region: &Region) -> Vec<NodeId> {
    let mut known: HashMap<u64, Vec<(NodeId, Vec<NodeId>)>> = HashMap::new();
    let mut values: Vec<NodeId> = Vec::with_capacity(region.dag.node_count());
    for id in region.ids() {
        let node = region.node(id);
        if is_source(&node.op) {
            values.push(id);
            continue;
        }
        let inputs: Vec<NodeId> = node.inputs.iter().map(|i| values[i.index()]).collect();
        let others = known.entry(key(&node.op, &inputs)).or_default();
        let same =
            |(other, given): &&(NodeId, Vec<NodeId>)| *given == inputs && region.node(*other).op == node.op;
        let first = others.iter().find(same).map(|(other, _)| *other);
        if first.is_none() {
            others.push((id, inputs));
        }
        values.push(first.unwrap_or(id));
    }
    values
}

/// Calls to be joined.
struct Join<'g> {
    old: &'g Region,
    values: &'g [NodeId],
    path: Arc<str>,
    /// The nodes of each, in the same order.
    calls: &'g [Vec<NodeId>],
    /// More calls that give the same as one of them.
    again: &'g [Again],
}

/// What stands for the nodes at one place of all calls.
#[derive(Clone, Copy)]
enum Place {
    /// They are equal.
    Shared(NodeId),
    /// Theirs end to end along that axis.
    Joined(NodeId, usize),
}

/// What they read at one place.
enum Input {
    /// What stands there for all calls.
    Place(Place),
    /// One of each call's, from outside.
    Apart(Vec<NodeId>),
}

impl Join<'_> {
    /// Fills the region anew with one call in their place, and says where each node is; `None` where an operation
    /// keeps them apart.
    fn apply(&self, new: &mut Graph, region: RegionId) -> Option<Vec<NodeId>> {
        new.regions[region] = Region::default();
        let first = self.calls.iter().enumerate().map(|(number, call)| (call, number));
        let all: Vec<_> = first.chain(self.again.iter().map(|(call, number)| (call, *number))).collect();
        let mut members: HashMap<NodeId, (usize, usize)> = HashMap::new();
        for (call, number) in &all {
            members.extend(call.iter().enumerate().map(|(i, id)| (*id, (*number, i))));
        }
        let after = followers(self.old, members.keys().copied());
        let mut map = vec![NodeId::end(); self.old.dag.node_count()];
        let rest = |new: &mut Graph, map: &mut [NodeId], late: bool| {
            for id in self.old.ids().filter(|id| after[id.index()] == late && !members.contains_key(id)) {
                let node = self.old.node(id);
                let inputs: Vec<NodeId> = node.inputs.iter().map(|i| map[i.index()]).collect();
                let mut builder = Builder::new(new, region, node.span, Arc::clone(&node.path));
                map[id.index()] = builder.share(Arc::clone(&node.op), &inputs, Arc::clone(&node.ty));
            }
        };
        rest(new, &mut map, false);
        let places = self.body(new, region, &members, &map)?;
        // What others read of each call is cut out of what was computed for all.
        let mut wanted: BTreeSet<NodeId> = self.old.roots().collect();
        let others = self.old.ids().filter(|id| !members.contains_key(id));
        wanted.extend(others.flat_map(|id| self.old.node(id).inputs.iter().copied()));
        for (nodes, call) in all {
            for (id, place) in nodes.iter().zip(&places) {
                map[id.index()] = match place {
                    Place::Shared(at) => *at,
                    Place::Joined(at, axis) if wanted.contains(id) => {
                        let node = self.old.node(*id);
                        let length = node.ty.shape.get(*axis)?;
                        let from = |k: usize| Dim::from(k as i64) * length.clone();
                        let cut = Slice { axis: *axis, start: from(call), end: from(call + 1), step: 1 };
                        let mut builder = Builder::new(new, region, node.span, Arc::clone(&self.path));
                        builder.emit(cut.into(), &[*at]).ok()?
                    }
                    Place::Joined(at, _) => *at,
                };
            }
        }
        rest(new, &mut map, true);
        new.regions[region].outputs = self.old.outputs.iter().map(|o| map[o.index()]).collect();
        new.regions[region].watches = rename(&self.old.watches, &map);
        Some(map)
    }

    /// The one call on all inputs.
    fn body(
        &self,
        new: &mut Graph,
        region: RegionId,
        members: &HashMap<NodeId, (usize, usize)>,
        map: &[NodeId],
    ) -> Option<Vec<Place>> {
        let mut places: Vec<Place> = Vec::with_capacity(self.calls[0].len());
        // What was laid end to end, by the nodes of each call.
        let mut joined: HashMap<Vec<NodeId>, NodeId> = HashMap::new();
        for i in 0..self.calls[0].len() {
            let node = self.old.node(self.calls[0][i]);
            let inputs: Option<Vec<Input>> =
                (0..node.inputs.len()).map(|slot| self.input(i, slot, members, map, &places)).collect();
            let mut builder = Builder::new(new, region, node.span, Arc::clone(&node.path));
            places.push(self.node(&mut builder, node, inputs?, &mut joined)?);
        }
        Some(places)
    }

    /// What the nodes at place `i` read as their input `slot`.
    fn input(
        &self,
        i: usize,
        slot: usize,
        members: &HashMap<NodeId, (usize, usize)>,
        map: &[NodeId],
        places: &[Place],
    ) -> Option<Input> {
        let theirs: Vec<NodeId> = self.calls.iter().map(|call| self.old.node(call[i]).inputs[slot]).collect();
        let within: Vec<Option<&(usize, usize)>> = theirs.iter().map(|id| members.get(id)).collect();
        if let Some((_, at)) = within[0] {
            // Each its own, at the same place.
            let own = within.iter().enumerate().all(|(call, w)| *w == Some(&(call, *at)));
            return own.then(|| Input::Place(places[*at]));
        }
        if within.iter().any(Option::is_some) {
            return None;
        }
        let value = |id: &NodeId| self.values[id.index()];
        let here: Vec<NodeId> = theirs.iter().map(|id| map[id.index()]).collect();
        // Something of this call, made outside the instance.
        if here.contains(&NodeId::end()) {
            return None;
        }
        Some(match theirs.iter().all(|id| value(id) == value(&theirs[0])) {
            true => Input::Place(Place::Shared(here[0])),
            false => Input::Apart(here),
        })
    }

    /// One node for those of all calls.
    fn node(
        &self,
        builder: &mut Builder<'_>,
        node: &Node,
        given: Vec<Input>,
        joined: &mut HashMap<Vec<NodeId>, NodeId>,
    ) -> Option<Place> {
        let shared = |i: &Input| match i {
            Input::Place(Place::Shared(at)) => Some(*at),
            _ => None,
        };
        if let Some(inputs) = given.iter().map(shared).collect::<Option<Vec<NodeId>>>() {
            return Some(Place::Shared(builder.share(Arc::clone(&node.op), &inputs, Arc::clone(&node.ty))));
        }
        let times = self.calls.len();
        let types: Vec<&Type> = node.inputs.iter().map(|i| &*self.old.node(*i).ty).collect();
        if let [Input::Place(Place::Joined(at, axis))] = given[..]
            && let Some((op, to)) = moved(&node.op, types[0], axis, times)
        {
            let at = builder.emit(op, &[at]).ok()?;
            return self.fits(builder, node, at, to);
        }
        let leads = node.op.leading(&types, &node.ty)?;
        let mut inputs = Vec::with_capacity(given.len());
        for (input, lead) in given.into_iter().zip(leads) {
            let parts = match (input, lead) {
                (Input::Place(Place::Shared(at)), Lead::Shared | Lead::Either) => {
                    inputs.push(at);
                    continue;
                }
                (_, Lead::Shared) => return None,
                (Input::Place(Place::Joined(at, 0)), _) => {
                    inputs.push(at);
                    continue;
                }
                (Input::Place(Place::Joined(..)), _) => return None,
                (Input::Place(Place::Shared(at)), Lead::Batch) => vec![at; times],
                (Input::Apart(parts), _) => parts,
            };
            let at = match joined.get(&parts) {
                Some(at) => *at,
                None => {
                    let path = std::mem::replace(&mut builder.path, Arc::clone(&self.path));
                    let at = builder.emit(Cat { axis: 0 }.into(), &parts);
                    builder.path = path;
                    *joined.entry(parts).or_insert(at.ok()?)
                }
            };
            inputs.push(at);
        }
        let at = builder.emit(repeated(&node.op, times), &inputs).ok()?;
        self.fits(builder, node, at, 0)
    }

    /// The new node for those of all calls, if each call's result has its place in it.
    fn fits(&self, builder: &Builder<'_>, node: &Node, at: NodeId, axis: usize) -> Option<Place> {
        let mut shape = node.ty.shape.clone();
        let length = shape.get_mut(axis)?;
        *length = length.clone() * Dim::from(self.calls.len() as i64);
        let ty = builder.ty(at);
        (ty.dtype == node.ty.dtype && ty.shape == shape).then_some(Place::Joined(at, axis))
    }
}

/// What an operation of one input that only moves elements becomes for inputs end to end along an axis, and the
/// axis along which its results are then. Others know the first axis only ([`Primitive::leading`]).
fn moved(op: &Op, input: &Type, axis: usize, times: usize) -> Option<(Op, usize)> {
    match op {
        Op::Permute(p) => Some((op.clone(), p.axes.iter().position(|a| *a == axis)?)),
        Op::Slice(s) if s.axis != axis => Some((op.clone(), axis)),
        // The same axis with as many elements before it.
        Op::Reshape(r) if axis > 0 => {
            let before = |shape: &[Dim]| shape.iter().fold(Dim::from(1), |a, d| a * d.clone());
            let skipped = before(&input.shape[..axis]);
            let here = |to: &usize| before(&r.shape[..*to]) == skipped && r.shape[*to] == input.shape[axis];
            let to = (0..r.shape.len()).find(here)?;
            let mut shape = r.shape.clone();
            shape[to] = shape[to].clone() * Dim::from(times as i64);
            Some((Reshape { shape }.into(), to))
        }
        _ => None,
    }
}
