//! The adjoint of a loop.
//!
//! For a loop `c_{s+1}, y_s = body(c_s, p, x_s)` with carries c, captured p, scanned x and stacked y, two
//! loops are emitted. The first repeats the carries and stacks `c_s` for every step; the original cannot be
//! changed, since a pass never mutates a region and the caller may keep using it. Where the original's
//! values are used too, `optimize` merges both into one. The second runs the steps in the other direction
//! over the same columns, takes `c_s` and `x_s` as scans, recomputes the body, and emits its adjoint:
//!
//! `dc_s, dp_s, dx_s = vjp(body at c_s, p, x_s)(dc_{s+1}, dy_s)`, `dp = Σ_s dp_s`.
//!
//! Its carries are dc and the sums for p; it stacks dx. Random sites of the recomputed body keep their site,
//! and the step's own index, hence their values.

use std::collections::HashMap;

use super::flow::Flow;
use super::{Refused, filled, refused};
use crate::graph::{Builder, NodeId, Region, RegionId, copy};
use crate::ops::{Binary, Emit, Loop, LoopInput, Op, OpError, Project};
use crate::shape::{Dim, Type};

/// Emits the gradients with respect to the inputs of a loop, given those of its outputs. `active` says which
/// inputs are asked for.
pub(super) fn pullback(
    builder: &mut Builder<'_>,
    l: &Loop,
    inputs: &[NodeId],
    outs: &[Option<NodeId>],
    active: &[bool],
) -> Result<Vec<Option<NodeId>>, Refused> {
    let (k, captures) = (l.carries as usize, l.captures as usize);
    let given: Vec<bool> = outs.iter().map(Option::is_some).collect();
    let (forward, back) = {
        let mut flow = Flow::new(builder.graph);
        (flow.loop_forward(l, active), flow.loop_backward(l, &given))
    };
    let wanted: Vec<bool> = active.iter().zip(&back.inputs).map(|(a, b)| *a && *b).collect();
    if !wanted.contains(&true) {
        return Ok(vec![None; inputs.len()]);
    }
    let carries: Vec<usize> =
        (0..k).filter(|i| back.carries[*i] && (forward.carries[*i] || forward.outputs[*i])).collect();
    let sums: Vec<usize> = (k..k + captures).filter(|i| wanted[*i]).collect();
    let scanned: Vec<usize> = (k + captures..inputs.len()).filter(|i| wanted[*i]).collect();
    let stacked: Vec<usize> = (k..outs.len()).filter(|i| given[*i] && forward.outputs[*i]).collect();

    let saved = save_carries(builder, l, inputs);
    let mut adjoint = Adjoint {
        region: new_region(builder),
        carries: (carries.len() + sums.len()) as u32,
        next_input: 0,
        inputs: Vec::new(),
        outputs: Vec::new(),
    };
    let err = |b: &Builder<'_>, e: OpError| refused(b, e);

    // Carries: the adjoints of the carries, from those of the loop's outputs; then the sums, from zero.
    let mut seeds: Vec<(NodeId, NodeId)> = Vec::new();
    let mut carried = Vec::new();
    for i in &carries {
        let ty = builder.ty(inputs[*i]).plain();
        let start = match outs[*i] {
            Some(g) => g,
            None => filled(builder, 0.0, &ty).map_err(|e| err(builder, e))?,
        };
        carried.push(adjoint.input(builder, start, ty));
    }
    let mut sum_inputs = Vec::new();
    for i in &sums {
        let ty = builder.ty(inputs[*i]).plain();
        let zero = filled(builder, 0.0, &ty).map_err(|e| err(builder, e))?;
        sum_inputs.push(adjoint.input(builder, zero, ty));
    }
    // Captured: what the body captures. Scanned: what it scans, its carries, the adjoints of what it stacks.
    let mut values: Vec<NodeId> = vec![NodeId::end(); inputs.len()];
    for i in k..k + captures {
        let ty = builder.ty(inputs[i]).clone();
        values[i] = adjoint.input(builder, inputs[i], ty);
    }
    for i in k + captures..inputs.len() {
        let ty = slice_of(builder.ty(inputs[i]));
        values[i] = adjoint.input(builder, inputs[i], ty);
    }
    for i in 0..k {
        let ty = builder.ty(inputs[i]).plain();
        values[i] = adjoint.input(builder, saved[i], ty);
    }
    let mut stack_grads = Vec::new();
    for i in &stacked {
        // `given` says that it is there.
        if let Some(g) = outs[*i] {
            let ty = slice_of(builder.ty(g)).plain();
            stack_grads.push(adjoint.input(builder, g, ty));
        }
    }

    // The body again, and its adjoint.
    let body = l.region as usize;
    let ends = builder.graph.regions[body].outputs.clone();
    let map = body_inputs(builder, body).into_iter().map(|(i, id)| (id, values[i])).collect();
    let map = copy::copy_nodes(builder.graph, body, adjoint.region, &ends, map);
    seeds.extend(carries.iter().zip(&carried).map(|(i, g)| (map[&ends[*i]], *g)));
    seeds.extend(stacked.iter().zip(&stack_grads).map(|(i, g)| (map[&ends[*i]], *g)));
    let wrt: Vec<NodeId> = carries.iter().chain(&sums).chain(&scanned).map(|i| values[*i]).collect();
    let (span, path, outer) = (builder.span, builder.path.clone(), builder.region);
    builder.region = adjoint.region;
    let result = adjoint.body(builder, &seeds, &wrt, carries.len(), &sum_inputs);
    builder.region = outer;
    builder.span = span;
    builder.path = path;
    result?;

    let projected = adjoint.finish(builder, l);
    let mut grads = vec![None; inputs.len()];
    for (i, g) in carries.iter().chain(&sums).chain(&scanned).zip(projected) {
        if wanted[*i] {
            grads[*i] = Some(g);
        }
    }
    Ok(grads)
}

/// The loop that runs backwards, under construction. Its inputs are added in the order carries, captures,
/// scans.
struct Adjoint {
    region: RegionId,
    carries: u32,
    next_input: u32,
    inputs: Vec<NodeId>,
    outputs: Vec<Type>,
}

impl Adjoint {
    /// Adds an input: its value outside and its type inside.
    fn input(&mut self, builder: &mut Builder<'_>, value: NodeId, ty: Type) -> NodeId {
        let op = LoopInput { index: self.next_input, ty: ty.clone() };
        self.next_input += 1;
        self.inputs.push(value);
        let outer = std::mem::replace(&mut builder.region, self.region);
        let id = builder.push(op.into(), &[], ty);
        builder.region = outer;
        id
    }

    /// Emits the adjoint of the recomputed body and sets the region's outputs.
    fn body(
        &mut self,
        builder: &mut Builder<'_>,
        seeds: &[(NodeId, NodeId)],
        wrt: &[NodeId],
        carries: usize,
        sums: &[NodeId],
    ) -> Result<(), Refused> {
        let grads = super::pullback(builder, seeds, wrt)?;
        let mut outputs = Vec::with_capacity(wrt.len());
        for (n, (x, g)) in wrt.iter().zip(grads).enumerate() {
            let sum = n.checked_sub(carries).and_then(|n| sums.get(n)).copied();
            let out = match (sum, g) {
                (Some(sum), Some(g)) => builder.binary(Binary::Add, sum, g),
                (Some(sum), None) => Ok(sum),
                (None, Some(g)) => Ok(g),
                (None, None) => {
                    let ty = builder.ty(*x).plain();
                    filled(builder, 0.0, &ty)
                }
            };
            outputs.push(out.map_err(|e| refused(builder, e))?);
        }
        self.outputs = outputs.iter().map(|o| builder.ty(*o).plain()).collect();
        builder.graph.regions[self.region].outputs = outputs;
        Ok(())
    }

    /// Adds the loop and gives its outputs.
    fn finish(self, builder: &mut Builder<'_>, l: &Loop) -> Vec<NodeId> {
        let mut outputs = self.outputs;
        for ty in &mut outputs[self.carries as usize..] {
            ty.shape.insert(0, Dim::from(i64::from(l.steps)));
        }
        let k = l.carries;
        let backward = Loop {
            region: self.region as u32,
            steps: l.steps,
            carries: self.carries,
            captures: l.captures,
            // Scans: those of the body, its carries, and adjoints of stacked values.
            scans: self.next_input - self.carries - l.captures,
            reverse: !l.reverse,
            columns: l.columns.clone(),
            outputs,
        };
        debug_assert!(backward.scans >= l.scans + k);
        add_loop(builder, backward, &self.inputs, 0)
    }
}

/// Emits the loop once more, stacking its carries at the start of each step, and gives the stacks.
fn save_carries(builder: &mut Builder<'_>, l: &Loop, inputs: &[NodeId]) -> Vec<NodeId> {
    let (k, body) = (l.carries as usize, l.region as usize);
    let region = new_region(builder);
    let ends: Vec<NodeId> = builder.graph.regions[body].outputs[..k].to_vec();
    let mut starts: Vec<Option<NodeId>> = vec![None; k];
    for (i, id) in body_inputs(builder, body) {
        if i < k {
            starts[i] = Some(id);
        }
    }
    let roots: Vec<NodeId> = ends.iter().copied().chain(starts.iter().flatten().copied()).collect();
    let map = copy::copy_nodes(builder.graph, body, region, &roots, HashMap::new());
    let mut outputs: Vec<NodeId> = ends.iter().map(|e| map[e]).collect();
    let mut types: Vec<Type> = l.outputs[..k].to_vec();
    for (i, start) in starts.iter().enumerate() {
        let ty = builder.ty(inputs[i]).plain();
        outputs.push(match start {
            Some(start) => map[start],
            // A body that never reads its carry need not have a node for it.
            None => {
                let outer = std::mem::replace(&mut builder.region, region);
                let id = builder.push(LoopInput { index: i as u32, ty: ty.clone() }.into(), &[], ty.clone());
                builder.region = outer;
                id
            }
        });
        types.push(stack_of(&ty, l.steps));
    }
    builder.graph.regions[region].outputs = outputs;
    let op = Loop { region: region as u32, outputs: types, columns: l.columns.clone(), ..*l };
    add_loop(builder, op, inputs, k)
}

/// Adds a loop with its projections from `first` on.
fn add_loop(builder: &mut Builder<'_>, l: Loop, inputs: &[NodeId], first: usize) -> Vec<NodeId> {
    let types = l.outputs.clone();
    let ty = types.first().cloned().unwrap_or_else(|| Type::scalar(crate::shape::DType::F32));
    let node = builder.push(l.into(), inputs, ty);
    let project = |(i, ty): (usize, Type)| {
        builder.push(Project { index: i as u32, ty: ty.clone() }.into(), &[node], ty)
    };
    types.into_iter().enumerate().skip(first).map(project).collect()
}

fn new_region(builder: &mut Builder<'_>) -> RegionId {
    builder.graph.regions.push(Region::default());
    builder.graph.regions.len() - 1
}

/// The inputs of a body, by number.
fn body_inputs(builder: &Builder<'_>, body: RegionId) -> Vec<(usize, NodeId)> {
    let region = &builder.graph.regions[body];
    let number = |id: NodeId| match &*region.dag[id].op {
        Op::LoopInput(i) => Some((i.index as usize, id)),
        _ => None,
    };
    region.ids().filter_map(number).collect()
}

/// The type of a slice along axis 0.
fn slice_of(ty: &Type) -> Type {
    Type::new(ty.dtype, ty.shape.iter().skip(1).cloned().collect())
}

/// The type of that value of all steps.
fn stack_of(ty: &Type, steps: u32) -> Type {
    let mut shape = vec![Dim::from(i64::from(steps))];
    shape.extend(ty.shape.iter().cloned());
    Type::new(ty.dtype, shape)
}
