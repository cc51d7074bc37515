//! Lifetimes against a reader of the schedule, and the prediction against what the executor measured.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};

use super::*;
use crate::graph::{Builder, Region};
use crate::ops::{
    Binary, Emit, Input, Loop, LoopInput, MatMul, Parameter, Project, Reduce, ReduceKind, Unary,
};
use crate::run::{Executor, RunOptions, Silent};
use crate::shape::DType;
use crate::source::Span;

fn ty(shape: &[usize]) -> Type {
    Type::of(DType::F32, shape)
}

fn at(graph: &mut Graph, region: usize) -> Builder<'_> {
    Builder::new(graph, region, Span::default(), "".into())
}

/// A training step of layers `x ← tanh(x * w_i)`, with plain gradient descent.
fn step(layers: usize, batch: usize, width: usize) -> Graph {
    let mut g = Graph::new("step");
    let mut b = at(&mut g, 0);
    let mut x = b.push(Input { name: "x".into(), ty: ty(&[batch, width]) }.into(), &[], ty(&[batch, width]));
    let mut weights = Vec::new();
    for i in 0..layers {
        let path = format!("layers.{i}.weight");
        let w = b.push(Parameter { path, ty: ty(&[width]) }.into(), &[], ty(&[width]));
        weights.push(w);
        let y = b.binary(Binary::Mul, x, w).unwrap();
        x = b.unary(Unary::Tanh, y).unwrap();
    }
    let sq = b.unary(Unary::Square, x).unwrap();
    let loss =
        b.emit(Reduce { kind: ReduceKind::Mean, axes: vec![0, 1], keep: false }.into(), &[sq]).unwrap();
    let grads = crate::differentiate::gradients(&mut b, loss, &weights).unwrap();
    let mut updates = Vec::new();
    for (i, (w, grad)) in weights.iter().zip(grads).enumerate() {
        let scaled = b.binary_scalar(Binary::Mul, grad.unwrap(), 0.1).unwrap();
        let node = b.binary(Binary::Sub, *w, scaled).unwrap();
        updates.push(crate::graph::Named { name: format!("layers.{i}.weight"), node });
    }
    g.regions[0].outputs = vec![loss];
    g.updates = updates;
    g
}

/// x ← tanh(x w) for some steps, stacking each.
fn looped(steps: usize, batch: usize, width: usize) -> Graph {
    let mut g = Graph::new("loop");
    g.regions.push(Region::default());
    let mut b = at(&mut g, 1);
    let x = b.push(LoopInput { index: 0, ty: ty(&[batch, width]) }.into(), &[], ty(&[batch, width]));
    let w = b.push(LoopInput { index: 1, ty: ty(&[width, width]) }.into(), &[], ty(&[width, width]));
    let y = b.emit(MatMul::PLAIN.into(), &[x, w]).unwrap();
    let z = b.unary(Unary::Tanh, y).unwrap();
    let z = b.binary(Binary::Add, z, x).unwrap();
    g.regions[1].outputs = vec![z, y];
    let mut b = at(&mut g, 0);
    let x = b.push(Input { name: "x".into(), ty: ty(&[batch, width]) }.into(), &[], ty(&[batch, width]));
    let w = b.push(
        Parameter { path: "layers.0.weight".into(), ty: ty(&[width, width]) }.into(),
        &[],
        ty(&[width, width]),
    );
    let outputs = vec![ty(&[batch, width]), ty(&[steps, batch, width])];
    let l = Loop {
        region: 1,
        steps: steps as u32,
        carries: 1,
        captures: 1,
        scans: 0,
        reverse: false,
        columns: Vec::new(),
        outputs: outputs.clone(),
    };
    let node = b.push(l.into(), &[x, w], outputs[0].clone());
    let last = b.push(Project { index: 0, ty: outputs[0].clone() }.into(), &[node], outputs[0].clone());
    let all = b.push(Project { index: 1, ty: outputs[1].clone() }.into(), &[node], outputs[1].clone());
    let seen = b.emit(Reduce { kind: ReduceKind::Sum, axes: vec![0], keep: false }.into(), &[all]).unwrap();
    let sum = b.binary(Binary::Add, last, seen).unwrap();
    g.regions[0].outputs = vec![sum];
    g
}

/// Reads a schedule: every input is there when it is used, nothing is freed twice, what is kept stays.
fn follow(graph: &Graph, region: usize, plan: &Schedule) {
    let dag = &graph.regions[region].dag;
    let mut there = vec![false; dag.node_count()];
    for (id, frees) in plan.order.iter().zip(&plan.frees) {
        for input in &dag[*id].inputs {
            assert!(there[input.index()], "{} reads {} too late", id.index(), input.index());
        }
        there[id.index()] = true;
        for free in frees {
            assert!(std::mem::take(&mut there[free.index()]), "{} is freed twice", free.index());
        }
    }
    let roots = graph.roots(region);
    for id in graph.regions[region].ids() {
        assert_eq!(there[id.index()], roots.contains(&id), "{} at the end", id.index());
    }
}

#[test]
fn lifetimes_are_sound_in_both_orders() {
    for graph in [step(3, 4, 5), looped(3, 4, 5)] {
        for region in 0..graph.regions.len() {
            follow(&graph, region, &schedule(&graph, region));
            follow(&graph, region, &order::greedy(&graph, region));
        }
    }
}

#[test]
fn the_greedy_order_takes_what_gains_most() {
    for graph in [step(3, 4, 5), looped(3, 4, 5)] {
        for region in 0..graph.regions.len() {
            let order = order::greedy(&graph, region).order;
            let mut ids = order.clone();
            ids.sort_unstable();
            let mut state = order::State::new(&graph, region, &ids);
            let dag = &graph.regions[region].dag;
            for (place, chosen) in order.iter().enumerate() {
                // Every gain anew, where the order keeps those that did not change.
                let there = |id: &NodeId| order[..place].contains(id);
                let ready = ids.iter().filter(|id| !there(id) && dag[**id].inputs.iter().all(there));
                let best = ready.clone().max_by_key(|id| (state.gain(**id), std::cmp::Reverse(**id)));
                let first = ready.min().filter(|id| dag[**id].inputs.is_empty());
                assert_eq!(Some(chosen), first.or(best), "place {place} of region {region}");
                state.take(*chosen);
            }
        }
    }
}

fn measured(graph: &Graph) -> u64 {
    let tensor =
        |ty: &Type| Tensor::zeros(ty.constant_shape().unwrap(), candle_core::DType::F32, &Device::Cpu);
    let inputs: HashMap<String, Tensor> =
        graph.inputs().map(|i| (i.name.clone(), tensor(&i.ty).unwrap())).collect();
    let weights: HashMap<String, Tensor> =
        graph.parameters().map(|p| (p.path.clone(), tensor(&p.ty).unwrap())).collect();
    let shapes: BTreeMap<_, _> = inputs.iter().map(|(n, t)| (n.clone(), t.dims().to_vec())).collect();
    let executor = Executor::new(graph, &shapes, &Device::Cpu).unwrap();
    let params = |path: &str| weights.get(path).cloned();
    executor.run(&inputs, &params, &RunOptions::default(), &mut Silent).unwrap().memory.peak
}

#[test]
fn predicted_memory_is_what_the_executor_holds() {
    for graph in [step(4, 64, 32), step(1, 8, 64), looped(10, 64, 32), looped(1, 16, 8)] {
        let (predicted, measured) = (Plan::new(&graph).summary.live_bytes, measured(&graph));
        let off = (predicted as f64 - measured as f64).abs() / measured as f64;
        assert!(off < 0.02, "{}: predicted {predicted}, measured {measured}", graph.name);
    }
}

#[test]
fn work_and_parameters_are_counted() {
    let plan = Plan::new(&looped(10, 64, 32)).summary;
    assert_eq!((plan.parameters, plan.parameter_bytes), (1024, 4096));
    // Ten products of 64×32 by 32×32; the rest is elementwise.
    let products = 10.0 * 2.0 * 64.0 * 32.0 * 32.0;
    assert!((products..1.5 * products).contains(&plan.flops), "{}", plan.flops);
    let largest = largest_tensor(&looped(10, 64, 32)).unwrap();
    assert_eq!((largest.region, largest.bytes), (0, (10 * 64 * 32 * 4) as f64));
}

#[test]
fn open_dimensions_get_values() {
    let mut g = Graph::new("open");
    let mut b = at(&mut g, 0);
    let open = Type::new(DType::F32, vec![Dim::name("n"), Dim::from(8)]);
    let x = b.push(Input { name: "x".into(), ty: open.clone() }.into(), &[], open);
    let y = b.unary(Unary::Exp, x).unwrap();
    g.regions[0].outputs = vec![y];
    assert_eq!(Plan::new(&g).summary.live_bytes, 2 * 8 * 4);
    assert_eq!(Plan::bound(&g, &|_| Some(5)).summary.live_bytes, 5 * 2 * 8 * 4);
}
