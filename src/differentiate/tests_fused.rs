//! Gradients by the rules of recognised compositions, of first and second order, against differences; where
//! something inside a composition is read elsewhere; and parts that are computed again.

use super::tests::{Values, add_loop, at, binary, check, input, loop_input, sum, ty};
use super::*;
use crate::graph::Region;
use crate::ops::{Checkpoint, Loop, MatMul, Reduce, ReduceKind, Reshape, Softmax, Unary};
use crate::shape::Dim;

fn values(list: &[(&'static str, &[usize])]) -> Values {
    let value = |(k, (name, shape)): (usize, &(&'static str, &[usize]))| {
        let n: usize = shape.iter().product();
        let data = (0..n).map(|i| ((i * 7 + k * 5) as f64 * 0.9).sin() + 0.1 * i as f64).collect();
        (*name, shape.to_vec(), data)
    };
    list.iter().enumerate().map(value).collect()
}

fn reshape(b: &mut Builder<'_>, x: NodeId, shape: &[i64]) -> NodeId {
    b.emit(Reshape { shape: shape.iter().map(|d| Dim::from(*d)).collect() }.into(), &[x]).unwrap()
}

fn mean(b: &mut Builder<'_>, x: NodeId) -> NodeId {
    let axes = vec![b.ty(x).rank() - 1];
    b.emit(Reduce { kind: ReduceKind::Mean, axes, keep: true }.into(), &[x]).unwrap()
}

/// The normalised rows, and the rows less their means.
fn norm(b: &mut Builder<'_>, x: NodeId) -> (NodeId, NodeId) {
    let m = mean(b, x);
    let c = binary(b, Binary::Sub, x, m);
    let s = binary(b, Binary::Mul, c, c);
    let v = mean(b, s);
    let v = b.binary_scalar(Binary::Add, v, 1e-2).unwrap();
    let d = b.unary(Unary::Sqrt, v).unwrap();
    (binary(b, Binary::Div, c, d), c)
}

fn total(b: &mut Builder<'_>, y: NodeId) -> NodeId {
    let y = b.unary(Unary::Sin, y).unwrap();
    sum(b, y)
}

fn names(g: &Graph) -> Vec<&'static str> {
    g.regions.iter().flat_map(|r| r.dag.node_weights()).map(|n| n.op.name()).collect()
}

/// Checks both orders, and whether the rule of the fused operation was used.
fn fused(values: &Values, rule: &str, used: bool, build: &dyn Fn(&mut Graph) -> (NodeId, Vec<NodeId>)) {
    check(values, 1, build);
    check(values, 2, build);
    let mut g = Graph::new("g");
    let (loss, inputs) = build(&mut g);
    gradients(&mut at(&mut g, 0), loss, &inputs).unwrap();
    assert_eq!(names(&g).contains(&rule), used, "{rule}");
}

#[test]
fn of_layer_norm() {
    let build = |g: &mut Graph| {
        let mut b = at(g, 0);
        let (x, w, c) = (input(&mut b, "x", &[2, 5]), input(&mut b, "w", &[5]), input(&mut b, "c", &[5]));
        let (y, _) = norm(&mut b, x);
        let y = binary(&mut b, Binary::Mul, y, w);
        let y = binary(&mut b, Binary::Add, y, c);
        (total(&mut b, y), vec![x, w, c])
    };
    fused(&values(&[("x", &[2, 5]), ("w", &[5]), ("c", &[5])]), "normalize_grad", true, &build);
}

#[test]
fn of_group_norm_and_silu_of_something_computed() {
    let build = |g: &mut Graph| {
        let mut b = at(g, 0);
        let (x, w, c) =
            (input(&mut b, "x", &[2, 4, 2, 1]), input(&mut b, "w", &[4]), input(&mut b, "c", &[4]));
        let h = b.unary(Unary::Tanh, x).unwrap();
        let sets = reshape(&mut b, h, &[2, 2, 4]);
        let (y, _) = norm(&mut b, sets);
        let y = reshape(&mut b, y, &[2, 4, 2, 1]);
        let (w3, c3) = (reshape(&mut b, w, &[4, 1, 1]), reshape(&mut b, c, &[4, 1, 1]));
        let y = binary(&mut b, Binary::Mul, y, w3);
        let y = binary(&mut b, Binary::Add, y, c3);
        let y = b.unary(Unary::Silu, y).unwrap();
        let y = binary(&mut b, Binary::Add, y, x);
        (total(&mut b, y), vec![x, w, c])
    };
    fused(&values(&[("x", &[2, 4, 2, 1]), ("w", &[4]), ("c", &[4])]), "normalize_grad", true, &build);
}

#[test]
fn of_a_norm_whose_inside_is_read_too() {
    let build = |g: &mut Graph| {
        let mut b = at(g, 0);
        let x = input(&mut b, "x", &[2, 5]);
        let (y, c) = norm(&mut b, x);
        let c = b.unary(Unary::Cos, c).unwrap();
        let y = binary(&mut b, Binary::Mul, y, c);
        (total(&mut b, y), vec![x])
    };
    fused(&values(&[("x", &[2, 5])]), "normalize_grad", false, &build);
}

#[test]
fn of_attention() {
    let build = |g: &mut Graph| {
        let mut b = at(g, 0);
        let (q, k) = (input(&mut b, "q", &[2, 3, 2]), input(&mut b, "k", &[2, 4, 2]));
        let v = input(&mut b, "v", &[2, 4, 3]);
        let s = b.emit(MatMul { transpose_a: false, transpose_b: true }.into(), &[q, k]).unwrap();
        let s = b.binary_scalar(Binary::Div, s, 1.5).unwrap();
        let p = b.emit(Softmax { axis: 2 }.into(), &[s]).unwrap();
        let y = b.emit(MatMul::PLAIN.into(), &[p, v]).unwrap();
        (total(&mut b, y), vec![q, k, v])
    };
    let given = values(&[("q", &[2, 3, 2]), ("k", &[2, 4, 2]), ("v", &[2, 4, 3])]);
    fused(&given, "attention_grad", true, &build);
}

#[test]
fn of_self_attention_with_one_tensor_for_all() {
    let build = |g: &mut Graph| {
        let mut b = at(g, 0);
        let x = input(&mut b, "x", &[3, 2]);
        let s = b.emit(MatMul { transpose_a: false, transpose_b: true }.into(), &[x, x]).unwrap();
        let p = b.emit(Softmax { axis: 1 }.into(), &[s]).unwrap();
        let y = b.emit(MatMul::PLAIN.into(), &[p, x]).unwrap();
        (total(&mut b, y), vec![x])
    };
    fused(&values(&[("x", &[3, 2])]), "attention_grad", true, &build);
}

#[test]
fn of_a_norm_in_a_loop() {
    let build = |g: &mut Graph| {
        g.regions.push(Region::default());
        let mut b = at(g, 1);
        let (h, w) = (loop_input(&mut b, 0, &[2, 3]), loop_input(&mut b, 1, &[3]));
        let (y, _) = norm(&mut b, h);
        let y = binary(&mut b, Binary::Mul, y, w);
        let y = binary(&mut b, Binary::Add, y, h);
        g.regions[1].outputs = vec![y];
        let mut b = at(g, 0);
        let (x, w) = (input(&mut b, "x", &[2, 3]), input(&mut b, "w", &[3]));
        let l = Loop {
            region: 1,
            steps: 2,
            carries: 1,
            captures: 1,
            scans: 0,
            reverse: false,
            columns: vec![],
            outputs: vec![ty(&[2, 3])],
        };
        let y = add_loop(&mut b, l, &[x, w])[0];
        (total(&mut b, y), vec![x, w])
    };
    fused(&values(&[("x", &[2, 3]), ("w", &[3])]), "normalize_grad", true, &build);
}

/// `tanh` of a product of x and w, twice, each a checkpoint, with a norm inside, nested.
fn parts(g: &mut Graph, mark: bool) -> (NodeId, Vec<NodeId>) {
    let mut b = at(g, 0);
    let (x, w) = (input(&mut b, "x", &[2, 3]), input(&mut b, "w", &[3]));
    let mut h = x;
    for _ in 0..2 {
        let begin = h;
        let y = binary(&mut b, Binary::Mul, h, w);
        let inner = y;
        let (y, _) = norm(&mut b, y);
        let mut y = b.unary(Unary::Tanh, y).unwrap();
        if mark {
            y = b.emit(Checkpoint {}.into(), &[y, inner]).unwrap();
        }
        let y = binary(&mut b, Binary::Add, y, h);
        let y = b.unary(Unary::Sigmoid, y).unwrap();
        let y = binary(&mut b, Binary::Sub, y, w);
        h = if mark { b.emit(Checkpoint {}.into(), &[y, begin, w]).unwrap() } else { y };
    }
    (total(&mut b, h), vec![x, w])
}

#[test]
fn of_parts_that_are_computed_again() {
    let given = values(&[("x", &[2, 3]), ("w", &[3])]);
    check(&given, 1, &|g| parts(g, true));
    check(&given, 2, &|g| parts(g, true));
    let graphs = [false, true].map(|mark| {
        let mut g = Graph::new("g");
        let (loss, inputs) = parts(&mut g, mark);
        let grads = gradients(&mut at(&mut g, 0), loss, &inputs).unwrap();
        g.regions[0].outputs = grads.into_iter().flatten().collect();
        g
    });
    let [plain, marked] = graphs.map(|g| crate::optimize::optimize(&g, &Default::default()));
    let count = |g: &Graph, name: &str| names(g).iter().filter(|n| **n == name).count();
    assert_eq!((count(&plain, "after"), count(&marked, "checkpoint")), (0, 0));
    assert!(count(&marked, "after") >= 2, "{}", crate::graph::text::print(&marked));
}
