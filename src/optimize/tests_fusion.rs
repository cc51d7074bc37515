//! Golden tests of the passes that fuse: the graph before and after.

use super::tests::{at, golden, input, number, put, root, ty};
use super::*;
use crate::graph::{Builder, Named, NodeId, Region, text};
use crate::ops::{
    Binary, Cast, Column, Compare, CompareKind, Conv, ConvSpec, Emit, Loop, LoopInput, MatMul, Op, Pad,
    PadMode, Parameter, Project, Reduce, ReduceKind, Reshape, Softmax, Unary, Where,
};
use crate::shape::DType;

const CHAINS: &[fn(&Graph) -> Graph] = &[elementwise_chains, dead_code];

fn sum(b: &mut Builder<'_>, x: NodeId) -> NodeId {
    put(b, Reduce { kind: ReduceKind::Sum, axes: vec![1], keep: false }, &[x])
}

#[test]
fn a_chain_becomes_one_operation() {
    let g = root(|b| {
        let (x, w, c) = (input(b, "x", &[4, 3]), input(b, "w", &[3]), input(b, "c", &[3]));
        let half = number(b, 0.5);
        let y = b.binary(Binary::Mul, x, w).unwrap();
        let y = b.binary(Binary::Add, y, c).unwrap();
        let s = b.unary(Unary::Sigmoid, y).unwrap();
        let y = b.binary(Binary::Mul, y, s).unwrap();
        let on = put(b, Compare { kind: CompareKind::Gt }, &[y, half]);
        let y = put(b, Where {}, &[on, y, half]);
        vec![sum(b, y)]
    });
    golden(
        &g,
        CHAINS,
        "
%0 = input x : [4, 3]
%1 = input w : [3]
%2 = input c : [3]
%3 = const 0.5 : []
%4 = mul %0, %1 : [4, 3]
%5 = add %4, %2 : [4, 3]
%6 = sigmoid %5 : [4, 3]
%7 = mul %5, %6 : [4, 3]
%8 = gt > %7, %3 : bool[4, 3]
%9 = where %8, %7, %3 : [4, 3]
%10 = sum over [1] %9 : [4]
give %10",
        "
%0 = input x : [4, 3]
%1 = input w : [3]
%2 = input c : [3]
%3 = elementwise (#3 = const 0.5; #4 = mul #0 #1; #5 = add #4 #2; #6 = sigmoid #5; #7 = mul #5 #6; #8 = gt > #7 #3; #9 = where #8 #7 #3) %0, %1, %2 : [4, 3]
%4 = sum over [1] %3 : [4]
give %4",
    );
}

#[test]
fn what_others_read_or_broadcast_stays_outside() {
    let mut g = root(|b| {
        let (x, w) = (input(b, "x", &[4, 3]), input(b, "w", &[3]));
        // Broadcast: once per row if it went inside.
        let e = b.unary(Unary::Exp, w).unwrap();
        let y = b.binary(Binary::Mul, x, e).unwrap();
        // Watched.
        let t = b.unary(Unary::Tanh, y).unwrap();
        let z = b.unary(Unary::Neg, t).unwrap();
        let z = b.unary(Unary::Cos, z).unwrap();
        // Read by a sum too.
        let total = sum(b, z);
        let z = b.unary(Unary::Sin, z).unwrap();
        // Whole numbers are no chain.
        let i = put(b, Cast { dtype: DType::I64 }, &[z]);
        vec![total, put(b, Cast { dtype: DType::F32 }, &[i])]
    });
    g.regions[0].watches = vec![Named { name: "t".into(), node: NodeId::new(4) }];
    golden(
        &g,
        CHAINS,
        "
%0 = input x : [4, 3]
%1 = input w : [3]
%2 = exp %1 : [3]
%3 = mul %0, %2 : [4, 3]
%4 = tanh %3 : [4, 3]
%5 = neg %4 : [4, 3]
%6 = cos %5 : [4, 3]
%7 = sum over [1] %6 : [4]
%8 = sin %6 : [4, 3]
%9 = cast i64 %8 : i64[4, 3]
%10 = cast f32 %9 : [4, 3]
watch t = %4
give %7, %10",
        "
%0 = input x : [4, 3]
%1 = input w : [3]
%2 = exp %1 : [3]
%3 = elementwise (#2 = mul #0 #1; #3 = tanh #2) %0, %2 : [4, 3]
%4 = elementwise (#1 = neg #0; #2 = cos #1) %3 : [4, 3]
%5 = sum over [1] %4 : [4]
%6 = sin %4 : [4, 3]
%7 = cast i64 %6 : i64[4, 3]
%8 = cast f32 %7 : [4, 3]
watch t = %3
give %5, %8",
    );
}

#[test]
fn a_bias_is_added_again_where_its_sum_is_read() {
    let g = root(|b| {
        let (x, c, g) = (input(b, "x", &[4, 3]), input(b, "c", &[3]), input(b, "g", &[4, 3]));
        let y = b.binary(Binary::Add, x, c).unwrap();
        let a = b.unary(Unary::Silu, y).unwrap();
        let a = sum(b, a);
        let s = b.unary(Unary::SiluSlope, y).unwrap();
        vec![a, b.binary(Binary::Mul, g, s).unwrap()]
    });
    golden(
        &g,
        CHAINS,
        "
%0 = input x : [4, 3]
%1 = input c : [3]
%2 = input g : [4, 3]
%3 = add %0, %1 : [4, 3]
%4 = silu %3 : [4, 3]
%5 = sum over [1] %4 : [4]
%6 = silu_slope %3 : [4, 3]
%7 = mul %2, %6 : [4, 3]
give %5, %7",
        "
%0 = input x : [4, 3]
%1 = input c : [3]
%2 = input g : [4, 3]
%3 = elementwise (#2 = add #0 #1; #3 = silu #2) %0, %1 : [4, 3]
%4 = sum over [1] %3 : [4]
%5 = elementwise (#3 = add #0 #1; #4 = silu_slope #3; #5 = mul #2 #4) %0, %1, %2 : [4, 3]
give %4, %5",
    );
}

#[test]
fn chains_in_loops_and_updates() {
    let mut g = Graph::new("g");
    g.regions.push(Region::default());
    let mut b = at(&mut g, 1);
    let x = put(&mut b, LoopInput { index: 0, ty: ty(&[2]) }, &[]);
    let c = put(&mut b, Column { index: 0, dtype: DType::F32 }, &[]);
    let y = b.binary(Binary::Mul, x, c).unwrap();
    let y = b.unary(Unary::Sin, y).unwrap();
    g.regions[1].outputs = vec![y];
    let mut b = at(&mut g, 0);
    let x = input(&mut b, "x", &[2]);
    let l = Loop {
        region: 1,
        steps: 3,
        carries: 1,
        captures: 0,
        scans: 0,
        reverse: false,
        columns: vec![vec![1.0, 2.0, 3.0]],
        outputs: vec![ty(&[2])],
    };
    let node = b.push(l.into(), &[x], ty(&[2]));
    let y = b.push(Project { index: 0, ty: ty(&[2]) }.into(), &[node], ty(&[2]));
    let half = number(&mut b, 0.5);
    let m = b.binary(Binary::Mul, y, half).unwrap();
    let m = b.binary(Binary::Add, m, x).unwrap();
    let w = b.unary(Unary::Sqrt, m).unwrap();
    let w = b.binary(Binary::Sub, x, w).unwrap();
    g.regions[0].outputs = vec![y];
    g.updates = vec![Named { name: "m".into(), node: m }, Named { name: "w".into(), node: w }];
    let new = CHAINS.iter().fold(g, |g, pass| pass(&g));
    let want = "
%0 = input x : [2]
%1 = loop ×3 (1 carried, 0 captured, 0 scanned) %0 : [2]
  column 0 = [1.0, 2.0, 3.0]
  %0 = input #0 : [2]
  %1 = column 0 : []
  %2 = elementwise (#2 = mul #0 #1; #3 = sin #2) %0, %1 : [2]
  give %2
%2 = output #0 of %1 : [2]
%3 = elementwise (#2 = const 0.5; #3 = mul #0 #2; #4 = add #3 #1) %2, %0 : [2]
%4 = elementwise (#2 = sqrt #0; #3 = sub #1 #2) %3, %0 : [2]
give %2
update m = %3
update w = %4";
    assert_eq!(text::print(&new).trim(), want.trim());
}

#[test]
fn gradients_of_parts_stand_side_by_side() {
    let g = root(|b| {
        let (x, y, z) = (input(b, "x", &[4, 3]), input(b, "y", &[4, 2]), input(b, "z", &[4, 1]));
        let pad = |b: &mut Builder<'_>, x, before: i64, after: i64| {
            let pads = vec![(0.into(), 0.into()), (before.into(), after.into())];
            put(b, Pad { pads, mode: PadMode::Constant, value: 0.0 }, &[x])
        };
        let (x, y, z) = (pad(b, x, 1, 4), pad(b, y, 4, 2), pad(b, z, 6, 1));
        let s = b.binary(Binary::Add, z, y).unwrap();
        vec![b.binary(Binary::Add, s, x).unwrap()]
    });
    golden(
        &g,
        &[pad_sums, dead_code],
        "
%0 = input x : [4, 3]
%1 = input y : [4, 2]
%2 = input z : [4, 1]
%3 = pad constant (0, 0) (1, 4) %0 : [4, 8]
%4 = pad constant (0, 0) (4, 2) %1 : [4, 8]
%5 = pad constant (0, 0) (6, 1) %2 : [4, 8]
%6 = add %5, %4 : [4, 8]
%7 = add %6, %3 : [4, 8]
give %7",
        "
%0 = input x : [4, 3]
%1 = input y : [4, 2]
%2 = input z : [4, 1]
%3 = cat, axis 1 %0, %1, %2 : [4, 6]
%4 = pad constant (0, 0) (1, 1) %3 : [4, 8]
give %4",
    );
}

#[test]
fn compositions_become_operations() {
    let spec = crate::ops::ConvSpec {
        kernel: vec![3, 3],
        stride: vec![1, 1],
        padding: vec![(1, 1), (1, 1)],
        dilation: vec![1, 1],
        groups: 1,
    };
    let mut g = root(|b| {
        let (x, w, c) = (input(b, "x", &[2, 4, 6, 6]), input(b, "w", &[4, 4, 3, 3]), input(b, "c", &[4]));
        let reshape = |b: &mut Builder<'_>, x, to: &[i64]| {
            put(b, Reshape { shape: to.iter().map(|d| (*d).into()).collect() }, &[x])
        };
        let column = reshape(b, c, &[4, 1, 1]);
        let y = put(b, Conv { spec: spec.clone() }, &[x, w]);
        let y = b.binary(Binary::Add, y, column).unwrap();
        let y = b.binary(Binary::Add, y, x).unwrap();
        // A group norm with silu.
        let mean = |b: &mut Builder<'_>, x| {
            put(b, Reduce { kind: ReduceKind::Mean, axes: vec![2], keep: true }, &[x])
        };
        let sets = reshape(b, y, &[2, 2, 72]);
        let m = mean(b, sets);
        let d = b.binary(Binary::Sub, sets, m).unwrap();
        let s = b.unary(Unary::Square, d).unwrap();
        let v = mean(b, s);
        let v = b.binary_scalar(Binary::Add, v, 1e-5).unwrap();
        let v = b.unary(Unary::Sqrt, v).unwrap();
        let n = b.binary(Binary::Div, d, v).unwrap();
        let n = reshape(b, n, &[2, 4, 6, 6]);
        let n = b.binary(Binary::Mul, n, column).unwrap();
        let n = b.binary(Binary::Add, n, column).unwrap();
        let n = b.unary(Unary::Silu, n).unwrap();
        // Attention of its rows.
        let s = put(b, MatMul { transpose_a: false, transpose_b: true }, &[n, n]);
        let s = b.binary_scalar(Binary::Mul, s, 0.5).unwrap();
        let p = put(b, Softmax { axis: 3 }, &[s]);
        vec![put(b, MatMul::PLAIN, &[p, n])]
    });
    let fuse: &[fn(&Graph) -> Graph] = &[normalize, attention, conv_epilogue, dead_code];
    let fused = fuse.iter().fold(g.clone(), |g, pass| pass(&g));
    crate::graph::validate::validate(&fused).unwrap();
    let want = "
%0 = input x : [2, 4, 6, 6]
%1 = input w : [4, 4, 3, 3]
%2 = input c : [4]
%3 = conv2d_fused %0, %1, %2, %0 : [2, 4, 6, 6]
%4 = normalize group_norm 2, silu %3, %2, %2 : [2, 4, 6, 6]
%5 = attention %4, %4, %4 : [2, 4, 6, 6]
give %5";
    let lines: Vec<String> = text::print(&fused)
        .lines()
        .map(|l| match l.find("conv2d_fused") {
            Some(at) => format!("{}conv2d_fused {}", &l[..at], &l[l.rfind(" %0, %1").unwrap_or(at) + 1..]),
            None => l.to_string(),
        })
        .collect();
    assert_eq!(lines.join("\n"), want.trim());
    // What somebody watches is still there.
    let watched = g.root().ids().nth(8).unwrap();
    g.regions[0].watches = vec![Named { name: "d".into(), node: watched }];
    let fused = fuse.iter().fold(g, |g, pass| pass(&g));
    assert!(!text::print(&fused).contains("normalize"), "{}", text::print(&fused));
}

#[test]
fn long_chains_are_cut() {
    let g = root(|b| {
        let mut y = input(b, "x", &[4, 3]);
        for i in 0..30 {
            let z = input(b, &format!("z{i}"), &[4, 3]);
            y = b.binary(Binary::Add, y, z).unwrap();
        }
        vec![y]
    });
    let new = CHAINS.iter().fold(g, |g, pass| pass(&g));
    validate_chains(&new);
}

fn validate_chains(g: &Graph) {
    crate::graph::validate::validate(g).unwrap();
    let mut chains = 0;
    for node in g.root().dag.node_weights() {
        if let crate::ops::Op::Elementwise(e) = &*node.op {
            assert!(e.inputs <= 12 && e.steps.len() <= 48);
            chains += 1;
        }
    }
    assert_eq!(chains, 3);
}

#[test]
fn products_with_weights_take_operands_of_bf16() {
    let weight = |b: &mut Builder<'_>, path: &str, shape: &[usize]| {
        put(b, Parameter { path: path.into(), ty: ty(shape) }, &[])
    };
    let build = || {
        root(|b| {
            let (x, t) = (input(b, "x", &[2, 3, 8, 8]), input(b, "t", &[2, 6]));
            let (w, v) = (weight(b, "w", &[4, 3, 3, 3]), weight(b, "v", &[5, 6]));
            let depthwise = weight(b, "d", &[4, 1, 3, 3]);
            let spec = ConvSpec { padding: vec![(1, 1), (1, 1)], ..ConvSpec::unit(&[3, 3]) };
            let y = put(b, Conv { spec: spec.clone() }, &[x, w]);
            let y = put(b, Conv { spec: ConvSpec { groups: 4, ..spec } }, &[y, depthwise]);
            let u = put(b, MatMul { transpose_a: false, transpose_b: true }, &[t, v]);
            let scores = put(b, MatMul { transpose_a: false, transpose_b: true }, &[u, u]);
            vec![y, u, scores]
        })
    };
    golden(
        &build(),
        &[bf16, dead_code],
        "
%0 = input x : [2, 3, 8, 8]
%1 = input t : [2, 6]
%2 = param w : [4, 3, 3, 3]
%3 = param v : [5, 6]
%4 = param d : [4, 1, 3, 3]
%5 = conv2d 3×3, pad 1 %0, %2 : [2, 4, 8, 8]
%6 = conv2d 3×3, pad 1, 4 groups %5, %4 : [2, 4, 8, 8]
%7 = matmul a bᵀ %1, %3 : [2, 5]
%8 = matmul a bᵀ %7, %7 : [2, 2]
give %6, %7, %8",
        "
%0 = input x : [2, 3, 8, 8]
%1 = input t : [2, 6]
%2 = param w : [4, 3, 3, 3]
%3 = param v : [5, 6]
%4 = param d : [4, 1, 3, 3]
%5 = bf16_weights %2 : bf16[144]
%6 = conv2d_bf16 3×3, pad 1 %0, %5 : [2, 4, 8, 8]
%7 = conv2d 3×3, pad 1, 4 groups %6, %4 : [2, 4, 8, 8]
%8 = bf16_weights %3 : bf16[96]
%9 = matmul_bf16 %1, %8 : [2, 5]
%10 = matmul a bᵀ %9, %9 : [2, 2]
give %7, %9, %10",
    );
    // Only where it is asked for, and not in training.
    assert!(!text::print(&optimize(&build(), &Options::default())).contains("bf16"));
    let asked = Options { bf16: true, ..Options::default() };
    assert!(text::print(&optimize(&build(), &asked)).contains("conv2d_bf16"));
    let mut training = build();
    let w =
        training.regions[0].ids().find(|id| matches!(*training.regions[0].node(*id).op, Op::Parameter(_)));
    training.updates = vec![Named { name: "w".into(), node: w.unwrap() }];
    assert!(unchanged(&training, &bf16(&training)));
}
