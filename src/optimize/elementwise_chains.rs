//! Elementwise chains: elementwise operations whose values nobody else reads go into the operation that reads
//! them, so that a chain is one walk over memory. Operands may be broadcast; what is itself repeated by
//! broadcasting stays outside, since it would be computed again at each place.
//!
//! A cheap operation on one large tensor (a bias added to a product, say) is repeated in each chain that
//! reads its value: reading the tensor under it costs the same as reading the value, and the value need not
//! be written. Nothing else is computed twice.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::rewrite::rename;
use crate::graph::{Builder, Graph, Node, NodeId, Region, RegionId};
use crate::ops::{Binary, Elementwise, Loop, Op, Step, Unary};
use crate::shape::DType;

/// Most tensors that a chain reads: each is a stream of memory.
const INPUTS: usize = 12;

/// Most operations of a chain.
const STEPS: usize = 48;

/// Makes the chains.
pub fn elementwise_chains(graph: &Graph) -> Graph {
    let mut new = Graph { output_names: graph.output_names.clone(), ..Graph::new(graph.name.clone()) };
    let map = region(graph, 0, &mut new, 0);
    new.updates = rename(&graph.updates, &map);
    new
}

/// Copies a region, a chain in the place of its last operation.
fn region(graph: &Graph, from: RegionId, new: &mut Graph, to: RegionId) -> Vec<NodeId> {
    let old = &graph.regions[from];
    let chains = Chains::find(graph, from);
    let mut map: Vec<NodeId> = vec![NodeId::end(); old.dag.node_count()];
    for id in old.ids() {
        let node = old.node(id);
        if chains.inside(id) {
            continue;
        }
        let (op, inputs) = match chains.of(id).filter(|members| members.len() > 1) {
            Some(members) => {
                let (op, inputs) = chain(old, members, &map);
                (Arc::new(op), inputs)
            }
            None => (Arc::clone(&node.op), node.inputs.iter().map(|i| map[i.index()]).collect()),
        };
        let op = match &*op {
            Op::Loop(l) => {
                let body = new.regions.len();
                new.regions.push(Region::default());
                region(graph, l.region as usize, new, body);
                Arc::new(Loop { region: body as u32, ..l.clone() }.into())
            }
            _ => op,
        };
        let mut builder = Builder::new(new, to, node.span, Arc::clone(&node.path));
        map[id.index()] = builder.share(op, &inputs, Arc::clone(&node.ty));
    }
    new.regions[to].outputs = old.outputs.iter().map(|o| map[o.index()]).collect();
    new.regions[to].watches = rename(&old.watches, &map);
    map
}

/// The chain of these members, the last of which is what is read outside, and its inputs.
fn chain(old: &Region, members: &BTreeSet<NodeId>, map: &[NodeId]) -> (Op, Vec<NodeId>) {
    // Inputs first, each once; constants are steps.
    let mut numbers: HashMap<NodeId, u32> = HashMap::new();
    let mut inputs = Vec::new();
    let mut constants = Vec::new();
    for operand in members.iter().flat_map(|m| &old.node(*m).inputs) {
        if members.contains(operand) || numbers.contains_key(operand) || constants.contains(operand) {
            continue;
        }
        match &*old.node(*operand).op {
            Op::Const(_) => constants.push(*operand),
            _ => {
                numbers.insert(*operand, inputs.len() as u32);
                inputs.push(map[operand.index()]);
            }
        }
    }
    let mut steps = Vec::with_capacity(constants.len() + members.len());
    for id in constants.iter().chain(members) {
        let node = old.node(*id);
        let args = node.inputs.iter().map(|i| numbers[i]).collect();
        numbers.insert(*id, (inputs.len() + steps.len()) as u32);
        steps.push(Step { op: (*node.op).clone(), args });
    }
    (Elementwise { inputs: inputs.len() as u32, steps }.into(), inputs)
}

/// Which nodes go together.
struct Chains {
    /// For each node: the last operations of the chains that it is in; itself, for a last operation.
    ends: Vec<Vec<NodeId>>,
    /// The members of each chain by its last operation, in order.
    members: HashMap<NodeId, BTreeSet<NodeId>>,
}

impl Chains {
    fn find(graph: &Graph, region: RegionId) -> Chains {
        let old = &graph.regions[region];
        let count = old.dag.node_count();
        let mut users: Vec<Vec<NodeId>> = vec![Vec::new(); count];
        for id in old.ids() {
            for input in &old.node(id).inputs {
                if users[input.index()].last() != Some(&id) {
                    users[input.index()].push(id);
                }
            }
        }
        let mut kept = vec![false; count];
        graph.roots(region).iter().for_each(|root| kept[root.index()] = true);
        let mut chains = Chains { ends: vec![Vec::new(); count], members: HashMap::new() };
        // From the end, so that it is known of all users where they are.
        for id in old.ids().rev() {
            if !takes(old, old.node(id)) {
                continue;
            }
            let ends = chains.around(old, id, &users[id.index()]).filter(|_| !kept[id.index()]);
            match ends.filter(|ends| chains.fits(old, id, ends)) {
                Some(ends) => {
                    for end in &ends {
                        chains.members.entry(*end).or_default().insert(id);
                    }
                    chains.ends[id.index()] = ends;
                }
                None => {
                    chains.ends[id.index()] = vec![id];
                    chains.members.insert(id, BTreeSet::from([id]));
                }
            }
        }
        chains
    }

    /// The chains that all users of a value are in; `None` if one of them is in none, or of another shape.
    fn around(&self, old: &Region, id: NodeId, users: &[NodeId]) -> Option<Vec<NodeId>> {
        let shape = &old.node(id).ty.shape;
        let mut ends: Vec<NodeId> = Vec::new();
        for user in users {
            let of = &self.ends[user.index()];
            if of.is_empty() || old.node(*user).ty.shape != *shape {
                return None;
            }
            ends.extend(of);
        }
        ends.sort_unstable();
        ends.dedup();
        (!ends.is_empty()).then_some(ends)
    }

    /// Whether a node may go into these chains: into one, or, if it is cheap, into several.
    fn fits(&self, old: &Region, id: NodeId, ends: &[NodeId]) -> bool {
        let small = |end: &NodeId| {
            let members = &self.members[end];
            let mut reads: BTreeSet<NodeId> = BTreeSet::new();
            for member in members.iter().chain([&id]) {
                reads.extend(old.node(*member).inputs.iter().filter(|i| !members.contains(i) && **i != id));
            }
            reads.retain(|r| !matches!(*old.node(*r).op, Op::Const(_)));
            members.len() < STEPS && reads.len() <= INPUTS
        };
        (ends.len() == 1 || cheap(old, old.node(id))) && ends.iter().all(small)
    }

    /// The members of the chain that ends here.
    fn of(&self, id: NodeId) -> Option<&BTreeSet<NodeId>> {
        self.members.get(&id)
    }

    /// Whether a node has gone into chains that end elsewhere.
    fn inside(&self, id: NodeId) -> bool {
        let ends = &self.ends[id.index()];
        !ends.is_empty() && !ends.contains(&id)
    }
}

/// Whether a node can be a step.
fn takes(old: &Region, node: &Node) -> bool {
    let operands: Vec<DType> = node.inputs.iter().map(|i| old.node(*i).ty.dtype).collect();
    !operands.is_empty() && Elementwise::takes(&node.op, &operands)
}

/// One instruction per element, on one tensor of the size of the value at most.
fn cheap(old: &Region, node: &Node) -> bool {
    let quick = match &*node.op {
        Op::Unary(op) => matches!(op, Unary::Neg | Unary::Abs | Unary::Relu | Unary::Square | Unary::Not),
        Op::Binary(op) => {
            matches!(op, Binary::Add | Binary::Sub | Binary::Mul | Binary::Min | Binary::Max)
        }
        Op::Compare(_) | Op::Logical(_) | Op::Where(_) => true,
        _ => false,
    };
    let mut large: Vec<NodeId> =
        node.inputs.iter().copied().filter(|i| old.node(*i).ty.shape == node.ty.shape).collect();
    large.dedup();
    // Reading a wider tensor again would cost more than the value is worth.
    let size = |id: &NodeId| old.node(*id).ty.dtype.size();
    quick && large.len() <= 1 && large.iter().all(|i| size(i) <= node.ty.dtype.size())
}
