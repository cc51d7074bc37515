//! Calls of one instance that become one: the graph before and after, and the values.

use super::tests::{golden, put, root};
use super::*;
use crate::graph::{Builder, NodeId};
use crate::ops::{
    Binary, Cat, Emit, Input, MatMul, Parameter, Permute, Reduce, ReduceKind, Reshape, Slice, Unary,
};
use crate::run::{RunOptions, Silent, execute};
use crate::shape::{DType, Dim, Type};
use candle_core::{Device, Tensor};

fn rows(n: &str, width: usize) -> Type {
    Type::new(DType::F32, vec![Dim::name(n), Dim::from(width as i64)])
}

fn given(b: &mut Builder<'_>, name: &str, ty: Type) -> NodeId {
    put(b, Input { name: name.into(), ty }, &[])
}

fn weight(b: &mut Builder<'_>) -> NodeId {
    put(b, Parameter { path: "net.weight".into(), ty: Type::of(DType::F32, &[3, 3]) }, &[])
}

/// A call of `net`: of the input, scaled by a sine of the condition, and of the time, whose layer is the same
/// for calls at the same time.
fn call(b: &mut Builder<'_>, w: NodeId, x: NodeId, time: NodeId, condition: NodeId) -> NodeId {
    let outer = std::mem::replace(&mut b.path, "net".into());
    let t = put(b, MatMul::PLAIN, &[time, w]);
    let h = b.binary(Binary::Add, x, t).unwrap();
    let c = b.unary(Unary::Sin, condition).unwrap();
    let h = b.binary(Binary::Mul, h, c).unwrap();
    let h = put(b, Reshape { shape: vec![Dim::name("n"), Dim::from(1), Dim::from(3)] }, &[h]);
    let y = put(b, Reduce { kind: ReduceKind::Sum, axes: vec![1], keep: false }, &[h]);
    b.path = outer;
    y
}

fn guided() -> Graph {
    root(|b| {
        let (x, time) = (given(b, "x", rows("n", 3)), given(b, "time", rows("n", 3)));
        let (y, nothing) = (given(b, "y", rows("n", 3)), given(b, "nothing", rows("n", 3)));
        let w = weight(b);
        let conditional = call(b, w, x, time, y);
        let unconditional = call(b, w, x, time, nothing);
        let difference = b.binary(Binary::Sub, conditional, unconditional).unwrap();
        let scaled = b.binary_scalar(Binary::Mul, difference, 3.0).unwrap();
        vec![b.binary(Binary::Add, unconditional, scaled).unwrap()]
    })
}

#[test]
fn the_halves_of_guidance_are_one_call() {
    golden(
        &guided(),
        &[batch_calls],
        "
%0 = input x : [n, 3]
%1 = input time : [n, 3]
%2 = input y : [n, 3]
%3 = input nothing : [n, 3]
%4 = param net.weight : [3, 3]
%5 = matmul %1, %4 : [n, 3]
%6 = add %0, %5 : [n, 3]
%7 = sin %2 : [n, 3]
%8 = mul %6, %7 : [n, 3]
%9 = reshape [n, 1, 3] %8 : [n, 1, 3]
%10 = sum over [1] %9 : [n, 3]
%11 = matmul %1, %4 : [n, 3]
%12 = add %0, %11 : [n, 3]
%13 = sin %3 : [n, 3]
%14 = mul %12, %13 : [n, 3]
%15 = reshape [n, 1, 3] %14 : [n, 1, 3]
%16 = sum over [1] %15 : [n, 3]
%17 = sub %10, %16 : [n, 3]
%18 = const 3.0 : []
%19 = mul %17, %18 : [n, 3]
%20 = add %16, %19 : [n, 3]
give %20",
        "
%0 = input x : [n, 3]
%1 = input time : [n, 3]
%2 = input y : [n, 3]
%3 = input nothing : [n, 3]
%4 = param net.weight : [3, 3]
%5 = const 3.0 : []
%6 = matmul %1, %4 : [n, 3]
%7 = add %0, %6 : [n, 3]
%8 = cat, axis 0 %2, %3 : [2*n, 3]
%9 = sin %8 : [2*n, 3]
%10 = cat, axis 0 %7, %7 : [2*n, 3]
%11 = mul %10, %9 : [2*n, 3]
%12 = reshape [2*n, 1, 3] %11 : [2*n, 1, 3]
%13 = sum over [1] %12 : [2*n, 3]
%14 = slice 0:n of axis 0 %13 : [n, 3]
%15 = slice n:2*n of axis 0 %13 : [n, 3]
%16 = sub %14, %15 : [n, 3]
%17 = mul %16, %5 : [n, 3]
%18 = add %15, %17 : [n, 3]
give %18",
    );
}

/// Values of the outputs for samples that are numbered.
fn values(graph: &Graph) -> Vec<Vec<f32>> {
    let inputs = ["x", "time", "y", "nothing"].iter().enumerate().map(|(k, name)| {
        let data: Vec<f32> = (0..6).map(|i| ((i * 7 + k * 3) % 11) as f32 * 0.3 - 1.0).collect();
        (name.to_string(), Tensor::from_vec(data, (2, 3), &Device::Cpu).unwrap())
    });
    let w: Vec<f32> = (0..9).map(|i| (i as f32 * 0.7).sin()).collect();
    let w = Tensor::from_vec(w, (3, 3), &Device::Cpu).unwrap();
    let inputs = inputs.collect();
    let weights = |_: &str| Some(w.clone());
    let done = execute(graph, &inputs, &weights, &RunOptions::default(), &mut Silent).unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1().unwrap();
    done.outputs.iter().map(flat).collect()
}

#[test]
fn one_call_gives_the_values_of_two_to_the_bit() {
    let graph = guided();
    assert_eq!(values(&batch_calls(&graph)), values(&graph));
}

/// Calls in the graph, by the products with the weight.
fn products(graph: &Graph) -> usize {
    graph.root().dag.node_weights().filter(|n| matches!(*n.op, crate::ops::Op::MatMul(_))).count()
}

#[test]
fn calls_one_after_the_other_stay_and_pairs_of_each_step_join() {
    let step = |b: &mut Builder<'_>, w, x, y, nothing| {
        // The time differs here, so that its product is in each call.
        let (p, q) = (call(b, w, x, y, y), call(b, w, x, nothing, nothing));
        b.binary(Binary::Add, p, q).unwrap()
    };
    let graph = root(|b| {
        let (x, y) = (given(b, "x", rows("n", 3)), given(b, "y", rows("n", 3)));
        let (nothing, _) = (given(b, "nothing", rows("n", 3)), given(b, "time", rows("n", 3)));
        let w = weight(b);
        let x = step(b, w, x, y, nothing);
        vec![step(b, w, x, y, nothing)]
    });
    let joined = batch_calls(&graph);
    assert_eq!((products(&graph), products(&joined)), (4, 2));
    assert_eq!(values(&joined), values(&graph));
    assert_eq!(products(&batch_calls(&joined)), 2);
}

#[test]
fn samples_that_meet_and_weights_that_are_trained_keep_calls_apart() {
    let graph = |axis: usize| {
        root(|b| {
            let (x, y) = (given(b, "x", rows("n", 3)), given(b, "y", rows("n", 3)));
            let w = weight(b);
            let both = [x, y].map(|x| {
                let outer = std::mem::replace(&mut b.path, "net".into());
                let h = put(b, MatMul::PLAIN, &[x, w]);
                let y = put(b, Reduce { kind: ReduceKind::Sum, axes: vec![axis], keep: true }, &[h]);
                b.path = outer;
                y
            });
            both.to_vec()
        })
    };
    assert_eq!(products(&batch_calls(&graph(1))), 1);
    assert_eq!(products(&batch_calls(&graph(0))), 2, "a sum over the batch");
    let mut trained = graph(1);
    let node = trained.regions[0].outputs[0];
    trained.updates = vec![crate::graph::Named { name: "net.weight".into(), node }];
    assert_eq!(products(&batch_calls(&trained)), 2, "a graph that trains");
}

/// Queries and keys in one product, taken apart along a new first axis, as vision transformers do.
#[test]
fn the_batch_may_be_another_axis_in_between() {
    let graph = root(|b| {
        let (x, y) = (given(b, "x", rows("n", 3)), given(b, "y", rows("n", 3)));
        let w = weight(b);
        let both = [x, y].map(|x| {
            let outer = std::mem::replace(&mut b.path, "net".into());
            let h = put(b, MatMul::PLAIN, &[x, w]);
            let h = put(b, Reshape { shape: vec![Dim::name("n"), Dim::from(3), Dim::from(1)] }, &[h]);
            let h = put(b, Permute { axes: vec![1, 0, 2] }, &[h]);
            let parts = [0, 1].map(|k| {
                let part = Slice { axis: 0, start: Dim::from(k), end: Dim::from(k + 1), step: 1 };
                let part = put(b, part, &[h]);
                put(b, Reshape { shape: vec![Dim::name("n"), Dim::from(1)] }, &[part])
            });
            let y = put(b, Cat { axis: 1 }, &[parts[0], parts[1], x]);
            b.path = outer;
            (y, h)
        });
        // One of the moved values is read outside too.
        vec![both[0].0, both[1].0, both[1].1]
    });
    let joined = batch_calls(&graph);
    assert_eq!((products(&graph), products(&joined)), (2, 1));
    assert_eq!(values(&joined), values(&graph));
}
