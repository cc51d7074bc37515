//! Random small graphs, loops and gradients included, give the same values with and without the passes.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::*;
use crate::graph::{Builder, NodeId, text, validate};
use crate::ops::{
    Binary, Column, Const, Emit, Expand, Input, Loop, LoopInput, MatMul, Op, Permute, Project, Reduce,
    ReduceKind, Reshape, Softmax, Unary,
};
use crate::run::{RunOptions, Silent, execute};
use crate::shape::{DType, Dim, Type};
use crate::source::Span;

/// One node to be: which operation, and which of the nodes so far it reads.
type Choice = (u8, u8, u8);

fn choices(most: usize) -> impl Strategy<Value = Vec<Choice>> {
    prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..most)
}

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|d| Dim::from(*d)).collect()
}

fn square() -> Type {
    Type::of(DType::F64, &[3, 3])
}

fn put(b: &mut Builder<'_>, op: impl Into<Op>, inputs: &[NodeId]) -> NodeId {
    b.emit(op.into(), inputs).unwrap()
}

/// Adds nodes of shape [3, 3], through other shapes on the way, to those in `pool`.
fn grow(b: &mut Builder<'_>, pool: &mut Vec<NodeId>, choices: &[Choice]) {
    for (op, x, y) in choices {
        let (x, y) = (pool[*x as usize % pool.len()], pool[*y as usize % pool.len()]);
        let number = |b: &mut Builder<'_>, v: f64| put(b, Const { value: v, dtype: DType::F64 }, &[]);
        let new = match op % 18 {
            0 => b.binary(Binary::Add, x, y).unwrap(),
            1 => b.binary(Binary::Sub, x, y).unwrap(),
            2 => b.binary(Binary::Mul, x, y).unwrap(),
            3 => b.unary(Unary::Neg, x).unwrap(),
            4 => b.unary(Unary::Sin, x).unwrap(),
            5 => b.unary(Unary::Tanh, x).unwrap(),
            n @ 6..=9 => {
                // Zero, one, minus one, and something else, as an operand on either side.
                let value = number(b, [0.0, 1.0, -1.0, 0.7][usize::from(n - 6)]);
                let op = [Binary::Add, Binary::Sub, Binary::Mul][usize::from(op / 16) % 3];
                if op == Binary::Sub {
                    b.binary(op, value, x).unwrap()
                } else {
                    b.binary(op, x, value).unwrap()
                }
            }
            10 => {
                let flat = put(b, Reshape { shape: dims(&[9]) }, &[x]);
                put(b, Reshape { shape: dims(&[3, 3]) }, &[flat])
            }
            11 => put(b, Permute { axes: vec![1, 0] }, &[x]),
            12 => {
                let sum = put(b, Reduce { kind: ReduceKind::Mean, axes: vec![1], keep: true }, &[x]);
                put(b, Expand { shape: dims(&[3, 3]) }, &[sum])
            }
            13 => {
                let sum = put(b, Reduce { kind: ReduceKind::Sum, axes: vec![0], keep: false }, &[x]);
                let s = b.unary(Unary::Sin, sum).unwrap();
                b.binary(Binary::Mul, s, y).unwrap()
            }
            14 => {
                let two = number(b, 2.0);
                let s = b.unary(Unary::Sin, x).unwrap();
                b.binary(Binary::Pow, s, two).unwrap()
            }
            15 => {
                // A norm of the rows.
                let mean = |b: &mut Builder<'_>, x| {
                    put(b, Reduce { kind: ReduceKind::Mean, axes: vec![1], keep: true }, &[x])
                };
                let m = mean(b, x);
                let c = b.binary(Binary::Sub, x, m).unwrap();
                let s = b.unary(Unary::Square, c).unwrap();
                let v = mean(b, s);
                let v = b.binary_scalar(Binary::Add, v, 0.1).unwrap();
                let d = b.unary(Unary::Sqrt, v).unwrap();
                let n = b.binary(Binary::Div, c, d).unwrap();
                if op / 18 % 2 == 0 { n } else { b.unary(Unary::Silu, n).unwrap() }
            }
            16 => {
                let s = put(b, MatMul { transpose_a: false, transpose_b: true }, &[x, y]);
                let s = b.binary_scalar(Binary::Mul, s, 0.5).unwrap();
                let p = put(b, Softmax { axis: 1 }, &[s]);
                put(b, MatMul::PLAIN, &[p, x])
            }
            _ => b.unary(Unary::Cos, x).unwrap(),
        };
        pool.push(new);
    }
}

/// A loop of three steps over one of the pool as carry and two as captured, with columns.
fn add_loop(g: &mut Graph, pool: &mut Vec<NodeId>, choices: &[Choice], reverse: bool) {
    let region = g.regions.len();
    g.regions.push(Region::default());
    let mut b = Builder::new(g, region, Span::default(), "".into());
    let mut inner: Vec<NodeId> =
        (0..3).map(|index| put(&mut b, LoopInput { index, ty: square() }, &[])).collect();
    for (index, dtype) in [(0, DType::F64), (1, DType::F64)] {
        let c = put(&mut b, Column { index, dtype }, &[]);
        let wave = b.unary(Unary::Cos, c).unwrap();
        inner.push(put(&mut b, Expand { shape: dims(&[3, 3]) }, &[wave]));
    }
    grow(&mut b, &mut inner, choices);
    let last = inner[inner.len() - 1];
    let next = b.unary(Unary::Sin, last).unwrap();
    let stacked = inner[inner.len() / 2];
    g.regions[region].outputs = vec![next, stacked];
    let mut b = Builder::new(g, 0, Span::default(), "".into());
    let outputs = vec![square(), Type::of(DType::F64, &[3, 3, 3])];
    let l = Loop {
        region: region as u32,
        steps: 3,
        carries: 1,
        captures: 2,
        scans: 0,
        reverse,
        columns: vec![vec![0.1, 0.4, -0.3], vec![0.6, 0.6, 0.6]],
        outputs: outputs.clone(),
    };
    let n = pool.len();
    let node = b.push(l.into(), &[pool[0], pool[n / 2], pool[n - 1]], square());
    let carry = b.push(Project { index: 0, ty: square() }.into(), &[node], square());
    let stack = b.push(Project { index: 1, ty: outputs[1].clone() }.into(), &[node], outputs[1].clone());
    let sum = put(&mut b, Reduce { kind: ReduceKind::Sum, axes: vec![0], keep: false }, &[stack]);
    pool.extend([carry, sum]);
}

fn run(graph: &Graph) -> Vec<Vec<f64>> {
    validate::validate(graph).unwrap_or_else(|e| panic!("{e}\n{}", text::print(graph)));
    let tensor = |k: f64| {
        let values: Vec<f64> = (0..9).map(|i| ((i as f64 + k) * 1.3).sin()).collect();
        Tensor::from_vec(values, (3, 3), &Device::Cpu).unwrap()
    };
    let inputs = HashMap::from([("x".to_string(), tensor(0.0)), ("y".to_string(), tensor(5.0))]);
    let out = execute(graph, &inputs, &|_| None, &RunOptions::default(), &mut Silent)
        .unwrap_or_else(|e| panic!("{e}\n{}", text::print(graph)));
    out.outputs.iter().map(|t| t.flatten_all().unwrap().to_vec1::<f64>().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn values_stay(before in choices(10), body in choices(10), after in choices(10), reverse: bool) {
        let mut g = Graph::new("g");
        let mut b = Builder::new(&mut g, 0, Span::default(), "".into());
        let x = put(&mut b, Input { name: "x".into(), ty: square() }, &[]);
        let y = put(&mut b, Input { name: "y".into(), ty: square() }, &[]);
        let mut pool = vec![x, y];
        grow(&mut b, &mut pool, &before);
        add_loop(&mut g, &mut pool, &body, reverse);
        let mut b = Builder::new(&mut g, 0, Span::default(), "".into());
        grow(&mut b, &mut pool, &after);
        let last = pool[pool.len() - 1];
        let end = b.unary(Unary::Sin, last).unwrap();
        let grads = crate::differentiate::gradients(&mut b, end, &[x, y]).unwrap();
        g.regions[0].outputs = vec![end, pool[pool.len() / 2]];
        g.regions[0].outputs.extend(grads.into_iter().flatten());
        let want = run(&g);
        let close = |new: &Graph, what: &str| {
            for (a, b) in want.iter().flatten().zip(run(new).iter().flatten()) {
                assert!((a - b).abs() <= 1e-9 * a.abs().max(1.0), "{what}: {a} became {b}\n{}", text::print(&g));
            }
        };
        for pass in PASSES {
            close(&(pass.run)(&g), pass.name);
        }
        let new = optimize(&g, &Options::default());
        close(&new, "all");
        // Once more there is nothing left to do.
        prop_assert!(unchanged(&new, &optimize(&new, &Options::default())));
    }
}
