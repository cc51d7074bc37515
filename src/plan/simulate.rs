//! Predicts the memory of a run by going through it as the executor does, with sizes in place of tensors:
//! storages are counted by their users, views share them, a body is run until its steps are alike.

use std::collections::HashMap;

use super::{Schedule, bytes};
use crate::graph::{Graph, Node, NodeId, RegionId};
use crate::ops::{Loop, Op, Primitive};
use crate::shape::Type;

/// The most bytes at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Peak {
    /// Of tensors.
    pub live: f64,
    /// With the temporary memory of the operation that runs.
    pub total: f64,
}

/// The peak of a run of the graph.
pub(super) fn peak(graph: &Graph, plan: &[Schedule]) -> Peak {
    let mut run =
        Run { graph, plan, storages: Vec::new(), now: 0.0, peak: Peak::default(), fixed: HashMap::new() };
    run.hold_fixed();
    run.region(0, &[]);
    run.peak
}

/// A tensor: where it lies and with which strides.
#[derive(Clone, Debug)]
struct Value {
    storage: usize,
    shape: Vec<i64>,
    strides: Vec<i64>,
}

impl Value {
    fn contiguous(&self) -> bool {
        let dense = dense(&self.shape);
        self.shape.iter().zip(&self.strides).zip(&dense).all(|((d, s), want)| *d <= 1 || s == want)
    }
}

struct Run<'a> {
    graph: &'a Graph,
    plan: &'a [Schedule],
    /// Bytes and users.
    storages: Vec<(f64, usize)>,
    now: f64,
    peak: Peak,
    /// Constants of all regions, inputs and weights: there from the start to the end.
    fixed: HashMap<String, Value>,
}

impl Run<'_> {
    /// What is held throughout.
    fn hold_fixed(&mut self) {
        for (region, plan) in self.plan.iter().enumerate() {
            for id in &plan.order {
                let node = self.graph.regions[region].node(*id);
                let Some(key) = fixed_key(node, region, id.index()) else { continue };
                if !self.fixed.contains_key(&key) {
                    let value = self.make(&node.ty);
                    self.hold(&value);
                    self.fixed.insert(key, value);
                }
            }
        }
    }

    fn make(&mut self, ty: &Type) -> Value {
        self.storages.push((bytes(ty), 0));
        let shape = sizes(ty);
        Value { storage: self.storages.len() - 1, strides: dense(&shape), shape }
    }

    fn hold(&mut self, value: &Value) {
        let (size, users) = &mut self.storages[value.storage];
        *users += 1;
        if *users == 1 {
            self.now += *size;
            self.note(0.0);
        }
    }

    fn release(&mut self, value: &Value) {
        let (size, users) = &mut self.storages[value.storage];
        *users -= 1;
        if *users == 0 {
            self.now -= *size;
        }
    }

    fn note(&mut self, scratch: f64) {
        self.peak.live = self.peak.live.max(self.now);
        self.peak.total = self.peak.total.max(self.now + scratch);
    }

    /// Goes through a region; gives the values that are left.
    fn region(&mut self, region: RegionId, bound: &[Value]) -> Vec<Vec<Value>> {
        let (graph, plan) = (self.graph, self.plan);
        let dag = &graph.regions[region].dag;
        let mut values: Vec<Vec<Value>> = vec![Vec::new(); dag.node_count()];
        for (id, frees) in plan[region].order.iter().zip(&plan[region].frees) {
            let node = &dag[*id];
            let inputs: Vec<Value> =
                node.inputs.iter().filter_map(|i| values[i.index()].first().cloned()).collect();
            let out = match &*node.op {
                Op::LoopInput(i) => bound.get(i.index as usize).cloned().into_iter().collect(),
                Op::Project(p) => {
                    let of = node.inputs.first().map(|i| &values[i.index()]);
                    of.and_then(|v| v.get(p.index as usize)).cloned().into_iter().collect()
                }
                Op::Loop(l) => self.repeat(l, &inputs),
                _ => match fixed_key(node, region, id.index()).and_then(|k| self.fixed.get(&k)) {
                    Some(value) => vec![value.clone()],
                    None => vec![self.operation(node, &inputs, region, frees)],
                },
            };
            for value in &out {
                self.hold(value);
            }
            values[id.index()] = out;
            for free in frees {
                for value in std::mem::take(&mut values[free.index()]) {
                    self.release(&value);
                }
            }
        }
        values
    }

    /// The output of an operation: a view of its first input, an input written over, or a tensor of its own.
    fn operation(&mut self, node: &Node, inputs: &[Value], region: RegionId, frees: &[NodeId]) -> Value {
        let dag = &self.graph.regions[region].dag;
        let types: Vec<&Type> = node.inputs.iter().map(|i| &*dag[*i].ty).collect();
        if let Some(x) = inputs.first().filter(|_| node.op.is_view(&types))
            && let Some(view) = view(&node.op, x, &node.ty)
        {
            return view;
        }
        let over = inputs.iter().enumerate().find(|(i, x)| {
            let id = node.inputs[*i];
            let (size, users) = self.storages[x.storage];
            frees.contains(&id)
                && node.inputs.iter().filter(|other| **other == id).count() == 1
                && node.op.overwrites(*i, &types, &node.ty)
                && x.contiguous()
                && users == 1
                && size == bytes(&node.ty)
        });
        if let Some((_, x)) = over {
            self.note(node.op.scratch_bytes(&types, &node.ty));
            return x.clone();
        }
        let value = self.make(&node.ty);
        self.note(self.storages[value.storage].0 + node.op.scratch_bytes(&types, &node.ty));
        value
    }

    fn repeat(&mut self, l: &Loop, inputs: &[Value]) -> Vec<Value> {
        let (carries, captures) = (l.carries as usize, l.captures as usize);
        if inputs.len() < carries + captures {
            return Vec::new();
        }
        let stacked: Vec<Value> = l.outputs.iter().skip(carries).map(|ty| self.make(ty)).collect();
        for value in &stacked {
            self.hold(value);
        }
        let graph = self.graph;
        let body = &graph.regions[l.region as usize];
        let mut carry = inputs[..carries].to_vec();
        // The first step reads the inputs, the second what the first made; all further ones are alike.
        let turns = l.steps.min(3);
        for turn in 0..turns {
            let mut bound = carry.clone();
            bound.extend_from_slice(&inputs[carries..carries + captures]);
            bound.extend(inputs[carries + captures..].iter().map(|x| Value {
                storage: x.storage,
                shape: x.shape.iter().skip(1).copied().collect(),
                strides: x.strides.iter().skip(1).copied().collect(),
            }));
            let values = self.region(l.region as usize, &bound);
            let next: Vec<Value> =
                body.outputs[..carries].iter().filter_map(|id| values[id.index()].first().cloned()).collect();
            for value in &next {
                self.hold(value);
            }
            for value in values.iter().flatten() {
                self.release(value);
            }
            if turn > 0 {
                for value in &carry {
                    self.release(value);
                }
            }
            carry = next;
        }
        for value in carry.iter().take(if turns > 0 { carries } else { 0 }).chain(&stacked) {
            self.release(value);
        }
        carry.into_iter().chain(stacked).collect()
    }
}

/// Under which name a value that is there from the start is found.
fn fixed_key(node: &Node, region: RegionId, index: usize) -> Option<String> {
    match &*node.op {
        Op::Input(_) => Some(format!("input {index}")),
        Op::Parameter(p) => Some(format!("weight {}", p.path)),
        Op::Const(_) | Op::Table(_) => Some(format!("constant {region} {index}")),
        _ => None,
    }
}

/// The view of a tensor that an operation gives; `None` where the values must be copied after all.
fn view(op: &Op, x: &Value, ty: &Type) -> Option<Value> {
    let shape = sizes(ty);
    let strides = match op {
        Op::Permute(p) => p.axes.iter().map(|a| x.strides.get(*a).copied()).collect::<Option<Vec<_>>>()?,
        Op::Expand(_) => {
            let lead = shape.len().checked_sub(x.shape.len())?;
            let kept = x.shape.iter().zip(&x.strides).zip(&shape[lead..]);
            let repeat = kept.map(|((from, stride), to)| if from == to { *stride } else { 0 });
            std::iter::repeat_n(0, lead).chain(repeat).collect()
        }
        Op::Slice(_) => x.strides.clone(),
        _ if shape == x.shape => x.strides.clone(),
        // A reshape of what lies in order.
        _ if x.contiguous() => dense(&shape),
        _ => return None,
    };
    Some(Value { storage: x.storage, shape, strides })
}

fn sizes(ty: &Type) -> Vec<i64> {
    ty.shape.iter().map(|d| d.eval_with(1).max(0)).collect()
}

/// Strides of a tensor whose elements lie in order.
fn dense(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1i64; shape.len()];
    for i in (0..shape.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1].saturating_mul(shape[i + 1]);
    }
    strides
}
