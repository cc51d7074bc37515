//! The ways in which a norm, attention or a convolution is written, as the language emits them.

use super::*;
use crate::graph::{Builder, Graph};
use crate::ops::{
    Attention, Binary, Conv, ConvFused, ConvSpec, Input, MatMul, Normalize, Over, Permute, Reduce,
    ReduceKind, Softmax, Unary,
};
use crate::shape::{DType, Type};
use crate::source::Span;

fn at(graph: &mut Graph) -> Builder<'_> {
    Builder::new(graph, 0, Span::default(), "".into())
}

fn put(b: &mut Builder<'_>, op: impl Into<Op>, inputs: &[NodeId]) -> NodeId {
    b.emit(op.into(), inputs).unwrap()
}

fn input(b: &mut Builder<'_>, dims: &[&str]) -> NodeId {
    let shape = dims.iter().map(|d| d.parse().unwrap()).collect();
    put(b, Input { name: "x".into(), ty: Type::new(DType::F32, shape) }, &[])
}

fn reshape(b: &mut Builder<'_>, x: NodeId, dims: &[&str]) -> NodeId {
    let shape = dims.iter().map(|d| d.parse().unwrap()).collect();
    put(b, Reshape { shape }, &[x])
}

fn mean(b: &mut Builder<'_>, x: NodeId, axis: usize) -> NodeId {
    put(b, Reduce { kind: ReduceKind::Mean, axes: vec![axis], keep: true }, &[x])
}

fn two(b: &mut Builder<'_>, op: Binary, x: NodeId, y: NodeId) -> NodeId {
    b.binary(op, x, y).unwrap()
}

/// `c / sqrt(mean(c^2) + eps)`, in three spellings.
fn over_deviation(b: &mut Builder<'_>, c: NodeId, axis: usize, spelling: usize) -> NodeId {
    let s = match spelling {
        0 => b.unary(Unary::Square, c).unwrap(),
        1 => two(b, Binary::Mul, c, c),
        _ => b.binary_scalar(Binary::Pow, c, 2.0).unwrap(),
    };
    let v = mean(b, s, axis);
    let v = b.binary_scalar(Binary::Add, v, 1e-5).unwrap();
    match spelling {
        0 => {
            let d = b.unary(Unary::Sqrt, v).unwrap();
            two(b, Binary::Div, c, d)
        }
        1 => {
            let d = b.unary(Unary::Sqrt, v).unwrap();
            let r = b.unary(Unary::Reciprocal, d).unwrap();
            two(b, Binary::Mul, r, c)
        }
        _ => {
            let r = b.binary_scalar(Binary::Pow, v, -0.5).unwrap();
            two(b, Binary::Mul, c, r)
        }
    }
}

/// The operands of a match, without views.
fn plain(m: &Match) -> Vec<NodeId> {
    assert!(m.operands.iter().all(|o| o.views.is_empty()), "{m:?}");
    m.operands.iter().map(|o| o.node).collect()
}

/// A match whose inside is all that lies between its operands and the root.
fn closed(region: &Region, m: &Match, root: NodeId) {
    let users = |of: NodeId| region.ids().filter(|id| region.node(*id).inputs.contains(&of)).collect();
    assert!(m.is_closed(root, &users), "{m:?}");
}

#[test]
fn layer_norm_in_all_spellings() {
    for spelling in 0..3 {
        for (affine, bias) in [(true, true), (true, false), (false, false)] {
            let mut g = Graph::new("g");
            let mut b = at(&mut g);
            let (x, w, c) =
                (input(&mut b, &["n", "7", "16"]), input(&mut b, &["16"]), input(&mut b, &["16"]));
            let m = mean(&mut b, x, 2);
            let centred = two(&mut b, Binary::Sub, x, m);
            let mut y = over_deviation(&mut b, centred, 2, spelling);
            if affine {
                y = two(&mut b, Binary::Mul, y, w);
            }
            if bias {
                y = two(&mut b, Binary::Add, c, y);
            }
            let m = normalize(g.root(), y).expect("a layer norm");
            let want = Normalize { over: Over::Last, eps: 1e-5, centred: true, affine, bias, silu: false };
            assert_eq!(m.op, want.into());
            assert_eq!(plain(&m), [x, w, c][..1 + usize::from(affine) + usize::from(bias)]);
            closed(g.root(), &m, y);
        }
    }
}

#[test]
fn group_norm_between_reshapes_with_silu() {
    for gated in [false, true] {
        let mut g = Graph::new("g");
        let mut b = at(&mut g);
        let x = input(&mut b, &["n", "8", "h", "w"]);
        let (w, c) = (input(&mut b, &["8"]), input(&mut b, &["8"]));
        let sets = reshape(&mut b, x, &["n", "4", "2*h*w"]);
        let m = mean(&mut b, sets, 2);
        let centred = two(&mut b, Binary::Sub, sets, m);
        let y = over_deviation(&mut b, centred, 2, 0);
        let y = reshape(&mut b, y, &["n", "8", "h", "w"]);
        let (w3, c3) = (reshape(&mut b, w, &["8", "1", "1"]), reshape(&mut b, c, &["8", "1", "1"]));
        let y = two(&mut b, Binary::Mul, y, w3);
        let y = two(&mut b, Binary::Add, y, c3);
        let s = if gated {
            let s = b.unary(Unary::Sigmoid, y).unwrap();
            two(&mut b, Binary::Mul, y, s)
        } else {
            b.unary(Unary::Silu, y).unwrap()
        };
        let op = Normalize {
            over: Over::Groups(4),
            eps: 1e-5,
            centred: true,
            affine: true,
            bias: true,
            silu: true,
        };
        let m = normalize(g.root(), s).expect("a group norm with silu");
        assert_eq!((&m.op, plain(&m)), (&op.into(), vec![x, w, c]));
        closed(g.root(), &m, s);
        let m = normalize(g.root(), y).expect("the group norm alone");
        assert_eq!(m.op, Normalize { silu: false, ..op }.into());
    }
}

#[test]
fn rms_norm_and_what_is_no_norm() {
    let mut g = Graph::new("g");
    let mut b = at(&mut g);
    let (x, w, z) = (input(&mut b, &["n", "16"]), input(&mut b, &["16"]), input(&mut b, &["n", "16"]));
    let y = over_deviation(&mut b, x, 1, 0);
    let scaled = two(&mut b, Binary::Mul, y, w);
    // Scaled by a tensor of the same size: the norm is inside.
    let modulated = two(&mut b, Binary::Mul, y, z);
    // The mean of one tensor, the variance of another.
    let m = mean(&mut b, z, 1);
    let mixed = two(&mut b, Binary::Sub, x, m);
    let mixed = over_deviation(&mut b, mixed, 1, 0);
    // Along the first axis.
    let first = over_deviation(&mut b, x, 0, 0);
    let op =
        Normalize { over: Over::Last, eps: 1e-5, centred: false, affine: true, bias: false, silu: false };
    let m = normalize(g.root(), scaled).expect("an RMS norm");
    assert_eq!((m.op.clone(), plain(&m)), (op.into(), vec![x, w]));
    assert!(normalize(g.root(), modulated).is_none());
    assert!(normalize(g.root(), y).is_some());
    let uncentred = normalize(g.root(), mixed).expect("an RMS norm of the difference");
    assert_eq!(uncentred.op, Normalize { affine: false, ..op }.into());
    assert!(normalize(g.root(), first).is_none());
}

#[test]
fn attention_wherever_the_scale_stands() {
    for place in 0..5 {
        let mut g = Graph::new("g");
        let mut b = at(&mut g);
        let (q, k) = (input(&mut b, &["n", "4", "l", "8"]), input(&mut b, &["n", "4", "m", "8"]));
        let v = input(&mut b, &["n", "4", "m", "6"]);
        let (mut a, mut c) = (q, k);
        if place == 1 {
            a = b.binary_scalar(Binary::Mul, q, 0.5).unwrap();
        }
        if place == 2 {
            a = b.binary_scalar(Binary::Div, q, 4.0).unwrap();
            c = b.binary_scalar(Binary::Mul, k, 2.0).unwrap();
        }
        let transposed = place == 3;
        if transposed {
            c = put(&mut b, Permute { axes: vec![0, 1, 3, 2] }, &[k]);
        }
        let mut s = put(&mut b, MatMul { transpose_a: false, transpose_b: !transposed }, &[a, c]);
        match place {
            0 => s = b.binary_scalar(Binary::Mul, s, 0.5).unwrap(),
            3 => s = b.binary_scalar(Binary::Div, s, 2.0).unwrap(),
            _ => {}
        }
        let p = put(&mut b, Softmax { axis: 3 }, &[s]);
        let y = put(&mut b, MatMul { transpose_a: false, transpose_b: false }, &[p, v]);
        let m = attention(g.root(), y).expect("attention");
        let scale = if place == 4 { 1.0 } else { 0.5 };
        assert_eq!(m.op, Attention { scale }.into(), "place {place}");
        let operands: Vec<NodeId> = m.operands.iter().map(|o| o.node).collect();
        let key = if transposed { c } else { k };
        assert_eq!(operands, [q, key, v]);
        assert_eq!(m.operands[1].views.len(), usize::from(transposed));
        closed(g.root(), &m, y);
    }
}

#[test]
fn one_key_for_all_heads_is_left_alone() {
    let mut g = Graph::new("g");
    let mut b = at(&mut g);
    let (q, k, v) =
        (input(&mut b, &["n", "4", "l", "8"]), input(&mut b, &["m", "8"]), input(&mut b, &["m", "6"]));
    let s = put(&mut b, MatMul { transpose_a: false, transpose_b: true }, &[q, k]);
    let p = put(&mut b, Softmax { axis: 3 }, &[s]);
    let y = put(&mut b, MatMul { transpose_a: false, transpose_b: false }, &[p, v]);
    assert!(attention(g.root(), y).is_none());
}

#[test]
fn bias_and_residual_of_a_convolution() {
    let spec: ConvSpec = serde_json::from_str(
        r#"{"kernel":[3,3],"stride":[1,1],"padding":[[1,1],[1,1]],"dilation":[1,1],"groups":1}"#,
    )
    .unwrap();
    let mut g = Graph::new("g");
    let mut b = at(&mut g);
    let (x, w, c) =
        (input(&mut b, &["n", "3", "8", "8"]), input(&mut b, &["5", "3", "3", "3"]), input(&mut b, &["5"]));
    let r = input(&mut b, &["n", "5", "8", "8"]);
    let conv = put(&mut b, Conv { spec: spec.clone() }, &[x, w]);
    let c3 = reshape(&mut b, c, &["5", "1", "1"]);
    let biased = two(&mut b, Binary::Add, conv, c3);
    let both = two(&mut b, Binary::Add, r, biased);
    let other = put(&mut b, Conv { spec: spec.clone() }, &[x, w]);
    let only = two(&mut b, Binary::Add, other, r);
    let embedded = input(&mut b, &["n", "5", "1", "1"]);
    let shifted = two(&mut b, Binary::Add, conv, embedded);
    let fused = |bias, residual| ConvFused { spec: spec.clone(), bias, residual }.into();
    let find = |root| conv_epilogue(g.root(), root).map(|m| (m.op.clone(), plain(&m), m.inside));
    assert_eq!(find(biased), Some((fused(true, false), vec![x, w, c], vec![conv])));
    assert_eq!(find(both), Some((fused(true, true), vec![x, w, c, r], vec![conv, biased])));
    assert_eq!(find(only), Some((fused(false, true), vec![x, w, r], vec![other])));
    assert!(find(shifted).is_none(), "one number per sample and channel is no bias");
}
