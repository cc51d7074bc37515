//! Gradients of whole graphs against finite differences, through the executor in f64.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::*;
use crate::graph::{Region, text, validate};
use crate::ops::testing::device;
use crate::ops::{Column, Input, Loop, LoopInput, Parameter, Project, Reduce, ReduceKind, StopGrad, Unary};
use crate::run::{RunOptions, Silent, execute};
use crate::shape::{DType, Dim};

pub(super) fn ty(shape: &[usize]) -> Type {
    Type::of(DType::F64, shape)
}

pub(super) fn at(graph: &mut Graph, region: usize) -> Builder<'_> {
    Builder::new(graph, region, Span::default(), "".into())
}

pub(super) fn input(b: &mut Builder<'_>, name: &str, shape: &[usize]) -> NodeId {
    b.push(Input { name: name.into(), ty: ty(shape) }.into(), &[], ty(shape))
}

pub(super) fn loop_input(b: &mut Builder<'_>, index: u32, shape: &[usize]) -> NodeId {
    b.push(LoopInput { index, ty: ty(shape) }.into(), &[], ty(shape))
}

pub(super) fn sum(b: &mut Builder<'_>, x: NodeId) -> NodeId {
    let axes = (0..b.ty(x).rank()).collect();
    b.emit(Reduce { kind: ReduceKind::Sum, axes, keep: false }.into(), &[x]).unwrap()
}

pub(super) fn binary(b: &mut Builder<'_>, op: Binary, x: NodeId, y: NodeId) -> NodeId {
    b.binary(op, x, y).unwrap()
}

/// Adds a loop with all its projections.
pub(super) fn add_loop(b: &mut Builder<'_>, l: Loop, inputs: &[NodeId]) -> Vec<NodeId> {
    let types = l.outputs.clone();
    let node = b.push(l.into(), inputs, types[0].clone());
    types
        .into_iter()
        .enumerate()
        .map(|(i, t)| b.push(Project { index: i as u32, ty: t.clone() }.into(), &[node], t))
        .collect()
}

pub(super) type Values = Vec<(&'static str, Vec<usize>, Vec<f64>)>;

fn run(graph: &Graph, values: &Values) -> Vec<Vec<f64>> {
    validate::validate(graph).unwrap_or_else(|e| panic!("{e}\n{}", text::print(graph)));
    let inputs: HashMap<String, Tensor> = values
        .iter()
        .map(|(n, s, v)| (n.to_string(), Tensor::from_vec(v.clone(), s.clone(), &Device::Cpu).unwrap()))
        .collect();
    let options = RunOptions { device: device().clone(), ..RunOptions::default() };
    let out = execute(graph, &inputs, &|_| None, &options, &mut Silent)
        .unwrap_or_else(|e| panic!("{e}\n{}", text::print(graph)));
    out.outputs.iter().map(|t| t.flatten_all().unwrap().to_vec1::<f64>().unwrap()).collect()
}

/// Builds the loss twice: alone, and with its gradients by all inputs; compares with central differences.
pub(super) fn check(values: &Values, order: usize, build: &dyn Fn(&mut Graph) -> (NodeId, Vec<NodeId>)) {
    let mut plain = Graph::new("plain");
    let (loss, inputs) = build(&mut plain);
    plain.regions[0].outputs = vec![loss];
    let mut full = Graph::new("full");
    let (mut y, _) = build(&mut full);
    for _ in 1..order {
        // Second order: the gradient of a weighted sum of the first gradients.
        let mut b = at(&mut full, 0);
        let grads = gradients(&mut b, y, &inputs).unwrap();
        let mut total: Option<NodeId> = None;
        for g in grads.into_iter().flatten() {
            let s = b.unary(Unary::Sin, g).unwrap();
            let s = sum(&mut b, s);
            total = Some(match total {
                Some(t) => binary(&mut b, Binary::Add, t, s),
                None => s,
            });
        }
        y = total.unwrap();
        plain = full.clone();
        plain.regions[0].outputs = vec![y];
    }
    let grads = gradients(&mut at(&mut full, 0), y, &inputs).unwrap();
    full.regions[0].outputs = grads.iter().map(|g| g.expect("a path")).collect();
    let found = run(&full, values);
    for (which, (name, ..)) in values.iter().enumerate() {
        for (i, got) in found[which].iter().copied().enumerate() {
            let h = 1e-5;
            let shifted = |by: f64| {
                let mut values = values.clone();
                values[which].2[i] += by;
                run(&plain, &values)[0].iter().sum::<f64>()
            };
            let want = (shifted(h) - shifted(-h)) / (2.0 * h);
            let close = (want - got).abs() <= 1e-6 * want.abs().max(1.0);
            assert!(close, "d/d{name}[{i}]: {got}, by differences {want}\n{}", text::print(&full));
        }
    }
    let optimized = crate::optimize::optimize(&full, &Default::default());
    for (a, b) in found.iter().zip(run(&optimized, values)) {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= 1e-9 * a.abs().max(1.0), "{a} {b}\n{}", text::print(&optimized));
        }
    }
}

fn xw() -> Values {
    vec![("x", vec![2, 3], vec![0.3, -0.7, 1.1, 0.2, 0.9, -0.4]), ("w", vec![3], vec![0.5, -1.2, 0.8])]
}

#[test]
fn of_elementwise_and_broadcast() {
    let build = |g: &mut Graph| {
        let mut b = at(g, 0);
        let (x, w) = (input(&mut b, "x", &[2, 3]), input(&mut b, "w", &[3]));
        let y = binary(&mut b, Binary::Mul, x, w);
        let s = b.unary(Unary::Sin, y).unwrap();
        let z = binary(&mut b, Binary::Add, s, x);
        let z = binary(&mut b, Binary::Mul, z, y);
        (z, vec![x, w])
    };
    check(&xw(), 1, &build);
    check(&xw(), 2, &build);
}

/// x ← sin(x w) + column x, with what is stacked: x w; the loss uses both.
fn looped(g: &mut Graph, reverse: bool) -> (NodeId, Vec<NodeId>) {
    let region = g.regions.len();
    g.regions.push(Region::default());
    let mut b = at(g, region);
    let (x, w, r) =
        (loop_input(&mut b, 0, &[2, 3]), loop_input(&mut b, 1, &[3]), loop_input(&mut b, 2, &[3]));
    let column = b.push(Column { index: 0, dtype: DType::F64 }.into(), &[], ty(&[]));
    let y = binary(&mut b, Binary::Mul, x, w);
    let y = binary(&mut b, Binary::Add, y, r);
    let s = b.unary(Unary::Sin, y).unwrap();
    let scaled = binary(&mut b, Binary::Mul, x, column);
    let next = binary(&mut b, Binary::Add, s, scaled);
    g.regions[region].outputs = vec![next, y];
    let mut b = at(g, 0);
    let (x, w, rows) =
        (input(&mut b, "x", &[2, 3]), input(&mut b, "w", &[3]), input(&mut b, "rows", &[4, 3]));
    let l = Loop {
        region: region as u32,
        steps: 4,
        carries: 1,
        captures: 1,
        scans: 1,
        reverse,
        columns: vec![vec![0.5, 0.25, -0.5, 0.75]],
        outputs: vec![ty(&[2, 3]), ty(&[4, 2, 3])],
    };
    let out = add_loop(&mut b, l, &[x, w, rows]);
    let a = binary(&mut b, Binary::Mul, out[0], w);
    let c = b.unary(Unary::Cos, out[1]).unwrap();
    let (a, c) = (sum(&mut b, a), sum(&mut b, c));
    let loss = binary(&mut b, Binary::Mul, a, c);
    (loss, vec![x, w, rows])
}

fn xwr() -> Values {
    let mut values = xw();
    let rows = (0..12).map(|i| (i as f64 * 0.7).sin()).collect();
    values.push(("rows", vec![4, 3], rows));
    values
}

#[test]
fn of_loops() {
    for reverse in [false, true] {
        check(&xwr(), 1, &|g| looped(g, reverse));
    }
}

#[test]
fn second_order_of_loops() {
    for reverse in [false, true] {
        check(&xwr(), 2, &|g| looped(g, reverse));
    }
}

/// A loop whose body has a loop: x ← inner(x) w, inner: c ← sin(c + k).
fn nested(g: &mut Graph) -> (NodeId, Vec<NodeId>) {
    let (outer, inner) = (g.regions.len(), g.regions.len() + 1);
    g.regions.extend([Region::default(), Region::default()]);
    let mut b = at(g, inner);
    let (c, k) = (loop_input(&mut b, 0, &[2, 3]), loop_input(&mut b, 1, &[3]));
    let column = b.push(Column { index: 0, dtype: DType::F64 }.into(), &[], ty(&[]));
    let s = binary(&mut b, Binary::Add, c, k);
    let s = b.unary(Unary::Sin, s).unwrap();
    let next = binary(&mut b, Binary::Mul, s, column);
    g.regions[inner].outputs = vec![next];
    let mut b = at(g, outer);
    let (x, w) = (loop_input(&mut b, 0, &[2, 3]), loop_input(&mut b, 1, &[3]));
    let column = b.push(Column { index: 0, dtype: DType::F64 }.into(), &[], ty(&[]));
    let k = binary(&mut b, Binary::Mul, w, column);
    let l = |region: usize, steps: u32, column: &[f64]| Loop {
        region: region as u32,
        steps,
        carries: 1,
        captures: 1,
        scans: 0,
        reverse: false,
        columns: vec![column.to_vec()],
        outputs: vec![ty(&[2, 3])],
    };
    let y = add_loop(&mut b, l(inner, 3, &[1.0, 0.5, 1.5]), &[x, k])[0];
    let next = binary(&mut b, Binary::Mul, y, w);
    g.regions[outer].outputs = vec![next];
    let mut b = at(g, 0);
    let (x, w) = (input(&mut b, "x", &[2, 3]), input(&mut b, "w", &[3]));
    let y = add_loop(&mut b, l(outer, 2, &[0.9, -1.1]), &[x, w])[0];
    (sum(&mut b, y), vec![x, w])
}

#[test]
fn of_nested_loops() {
    check(&xw(), 1, &nested);
    check(&xw(), 2, &nested);
}

#[test]
fn by_intermediate_values_and_none_where_nothing_leads() {
    let mut g = Graph::new("g");
    let mut b = at(&mut g, 0);
    let (x, w) = (input(&mut b, "x", &[2]), input(&mut b, "w", &[2]));
    let h = binary(&mut b, Binary::Mul, x, x);
    let cut = b.emit(StopGrad {}.into(), &[w]).unwrap();
    let y = binary(&mut b, Binary::Mul, h, cut);
    let grads = gradients(&mut b, y, &[h, x, w, y]).unwrap();
    assert!(grads[2].is_none());
    g.regions[0].outputs = [grads[0], grads[1], grads[3]].map(Option::unwrap).to_vec();
    let out = run(&g, &vec![("x", vec![2], vec![3.0, 5.0]), ("w", vec![2], vec![0.5, 2.0])]);
    assert_eq!(out, vec![vec![0.5, 2.0], vec![3.0, 20.0], vec![1.0, 1.0]]);
}

#[test]
fn emitted_nodes_keep_span_and_path_of_theirs() {
    let mut g = Graph::new("g");
    let mut b = at(&mut g, 0);
    let x = input(&mut b, "x", &[2]);
    b.span = Span { file: Default::default(), start: 7, end: 9 };
    b.path = "decoder.body".into();
    let y = b.unary(Unary::Sin, x).unwrap();
    b.span = Span::default();
    b.path = "".into();
    let before = b.graph.regions[0].dag.node_count();
    let grads = gradients(&mut b, y, &[x]).unwrap();
    assert_eq!((b.span, &*b.path), (Span::default(), ""));
    let root = g.root();
    assert!(grads[0].is_some_and(|n| &*root.node(n).path == "decoder.body"));
    assert!(root.ids().skip(before).any(|n| root.node(n).span.start == 7));
}

#[test]
fn reach_finds_the_parameters_behind_a_loss() {
    let mut g = Graph::new("g");
    let mut b = at(&mut g, 0);
    let mut weight = |name: &str| b.push(Parameter { path: name.into(), ty: ty(&[3]) }.into(), &[], ty(&[3]));
    let (used, cut, unused, stepped) = (weight("used"), weight("cut"), weight("unused"), weight("stepped"));
    let c = b.emit(StopGrad {}.into(), &[cut]).unwrap();
    let f = b.unary(Unary::Floor, stepped).unwrap();
    let y = binary(&mut b, Binary::Mul, used, c);
    let y = binary(&mut b, Binary::Add, y, f);
    let _ = binary(&mut b, Binary::Add, unused, y);
    assert_eq!(reach(&g, y), vec![used]);
}

#[test]
fn reach_goes_through_loops() {
    let mut g = Graph::new("g");
    let (loss, inputs) = looped(&mut g, false);
    let flow = Flow::new(&g).backward(0, &[loss]);
    assert!(inputs.iter().all(|i| flow[i.index()]));
    // Of the carry alone, the scanned rows still matter; of a loop of one carry that ignores them, not.
    let shape = vec![Dim::from(2), Dim::from(3)];
    assert_eq!(g.root().node(inputs[0]).ty.shape, shape);
}
