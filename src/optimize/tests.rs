//! Each pass on a small graph: the text before and after.

use super::*;
use crate::graph::{Builder, Named, NodeId, text, validate};
use crate::ops::random::Dist;
use crate::ops::{
    Binary, Cast, Column, Const, Emit, Expand, Input, Loop, LoopInput, Op, Parameter, Permute, Project,
    Random, Reduce, ReduceKind, Reshape, Unary,
};
use crate::shape::{DType, Dim, Type};
use crate::source::Span;

pub(super) fn ty(shape: &[usize]) -> Type {
    Type::of(DType::F32, shape)
}

pub(super) fn at(graph: &mut Graph, region: usize) -> Builder<'_> {
    Builder::new(graph, region, Span::default(), "".into())
}

pub(super) fn put(b: &mut Builder<'_>, op: impl Into<Op>, inputs: &[NodeId]) -> NodeId {
    b.emit(op.into(), inputs).unwrap()
}

pub(super) fn input(b: &mut Builder<'_>, name: &str, shape: &[usize]) -> NodeId {
    put(b, Input { name: name.into(), ty: ty(shape) }, &[])
}

pub(super) fn number(b: &mut Builder<'_>, value: f64) -> NodeId {
    put(b, Const { value, dtype: DType::F32 }, &[])
}

fn shape(dims: &[i64]) -> Vec<Dim> {
    dims.iter().map(|d| Dim::from(*d)).collect()
}

/// Applies passes and compares the texts.
pub(super) fn golden(graph: &Graph, passes: &[fn(&Graph) -> Graph], before: &str, after: &str) {
    validate::validate(graph).unwrap();
    let mut new = graph.clone();
    for pass in passes {
        new = pass(&new);
        validate::validate(&new).unwrap_or_else(|e| panic!("{e}\n{}", text::print(&new)));
    }
    let lines =
        |text: &str| text.trim().lines().map(|l| l.trim_end().to_string()).collect::<Vec<_>>().join("\n");
    assert_eq!(lines(&text::print(graph)), lines(before), "before");
    assert_eq!(lines(&text::print(&new)), lines(after), "after");
}

pub(super) fn root(build: impl FnOnce(&mut Builder<'_>) -> Vec<NodeId>) -> Graph {
    let mut g = Graph::new("g");
    let outputs = build(&mut at(&mut g, 0));
    g.regions[0].outputs = outputs;
    g
}

#[test]
fn dead_code_goes() {
    let mut g = root(|b| {
        let (x, _) = (input(b, "x", &[2]), input(b, "unused", &[2]));
        let _ = put(b, Parameter { path: "w".into(), ty: ty(&[2]) }, &[]);
        let y = b.unary(Unary::Exp, x).unwrap();
        let _ = b.unary(Unary::Sin, y).unwrap();
        let z = b.unary(Unary::Cos, y).unwrap();
        let u = b.unary(Unary::Tanh, y).unwrap();
        b.graph.updates = vec![Named { name: "w".into(), node: u }];
        vec![z]
    });
    let w = g.regions[0].outputs[0];
    g.regions[0].watches = vec![Named { name: "z".into(), node: w }];
    golden(
        &g,
        &[dead_code],
        "
%0 = input x : [2]
%1 = input unused : [2]
%2 = param w : [2]
%3 = exp %0 : [2]
%4 = sin %3 : [2]
%5 = cos %3 : [2]
%6 = tanh %3 : [2]
watch z = %5
give %5
update w = %6",
        "
%0 = input x : [2]
%1 = input unused : [2]
%2 = exp %0 : [2]
%3 = cos %2 : [2]
%4 = tanh %2 : [2]
watch z = %3
give %3
update w = %4",
    );
}

/// Carries a and b, where b feeds nothing that is read; captured p and q; a stack of each carry.
fn wasteful() -> Graph {
    let mut g = Graph::new("g");
    g.regions.push(Region::default());
    let mut b = at(&mut g, 1);
    let into = |b: &mut Builder<'_>, index| put(b, LoopInput { index, ty: ty(&[2]) }, &[]);
    let (x, y, p, q) = (into(&mut b, 0), into(&mut b, 1), into(&mut b, 2), into(&mut b, 3));
    let _ = put(&mut b, Column { index: 0, dtype: DType::F32 }, &[]);
    let c = put(&mut b, Column { index: 1, dtype: DType::F32 }, &[]);
    let scaled = b.binary(Binary::Mul, q, c).unwrap();
    let x2 = b.binary(Binary::Add, x, scaled).unwrap();
    let y2 = b.binary(Binary::Add, y, p).unwrap();
    g.regions[1].outputs = vec![y2, x2, y, x];
    let mut b = at(&mut g, 0);
    let (x, y, p) = (input(&mut b, "x", &[2]), input(&mut b, "y", &[2]), input(&mut b, "p", &[2]));
    let outputs = vec![ty(&[2]), ty(&[2]), ty(&[3, 2]), ty(&[3, 2])];
    let l = Loop {
        region: 1,
        steps: 3,
        carries: 2,
        captures: 2,
        scans: 0,
        reverse: false,
        columns: vec![vec![9.0, 8.0, 7.0], vec![1.0, 2.0, 3.0]],
        outputs: outputs.clone(),
    };
    // The body's inputs 0 and 1 are the carries in the other order, to see numbers change.
    let node = b.push(l.into(), &[y, x, p, y], ty(&[2]));
    let out = b.push(Project { index: 3, ty: outputs[3].clone() }.into(), &[node], outputs[3].clone());
    g.regions[0].outputs = vec![out];
    g
}

#[test]
fn dead_parts_of_loops_go() {
    golden(
        &wasteful(),
        &[dead_code],
        "
%0 = input x : [2]
%1 = input y : [2]
%2 = input p : [2]
%3 = loop ×3 (2 carried, 2 captured, 0 scanned) %1, %0, %2, %1 : [2], [2], [3, 2], [3, 2]
  column 0 = [9.0, 8.0, 7.0]
  column 1 = [1.0, 2.0, 3.0]
  %0 = input #0 : [2]
  %1 = input #1 : [2]
  %2 = input #2 : [2]
  %3 = input #3 : [2]
  %4 = column 0 : []
  %5 = column 1 : []
  %6 = mul %3, %5 : [2]
  %7 = add %0, %6 : [2]
  %8 = add %1, %2 : [2]
  give %8, %7, %1, %0
%4 = output #3 of %3 : [3, 2]
give %4",
        // Stacked is carry 0, which comes from carry 1, which comes from carry 0 and p and q: all but the
        // other stack and column are needed.
        "
%0 = input x : [2]
%1 = input y : [2]
%2 = input p : [2]
%3 = loop ×3 (2 carried, 2 captured, 0 scanned) %1, %0, %2, %1 : [2], [2], [3, 2]
  column 0 = [1.0, 2.0, 3.0]
  %0 = input #0 : [2]
  %1 = input #1 : [2]
  %2 = input #2 : [2]
  %3 = input #3 : [2]
  %4 = column 0 : []
  %5 = mul %3, %4 : [2]
  %6 = add %0, %5 : [2]
  %7 = add %1, %2 : [2]
  give %7, %6, %0
%4 = output #2 of %3 : [3, 2]
give %4",
    );
}

#[test]
fn equal_nodes_become_one_and_noise_does_not() {
    let g = root(|b| {
        let x = input(b, "x", &[2]);
        let normal = |site| Random { dist: Dist::Normal, shape: vec![Dim::from(2)], site, dtype: DType::F32 };
        let (a, c) = (b.unary(Unary::Exp, x).unwrap(), b.unary(Unary::Exp, x).unwrap());
        let (n, m, o) = (put(b, normal(1), &[]), put(b, normal(1), &[]), put(b, normal(2), &[]));
        let (p, q) = (b.binary(Binary::Add, a, n).unwrap(), b.binary(Binary::Add, c, m).unwrap());
        let r = b.binary(Binary::Add, c, o).unwrap();
        vec![p, q, r]
    });
    let new = dead_code(&common_subexpressions(&g));
    validate::validate(&new).unwrap();
    let ops: Vec<&str> = new.root().dag.node_weights().map(|n| crate::ops::Primitive::name(&*n.op)).collect();
    assert_eq!(ops, ["input", "exp", "normal", "normal", "add", "add"]);
    assert_eq!(new.root().outputs[0], new.root().outputs[1]);
}

#[test]
fn constants_fold_in_f64() {
    let g = root(|b| {
        let x = input(b, "x", &[2]);
        let (one, ten) = (number(b, 1.0), number(b, 10.0));
        let tenth = b.binary(Binary::Div, one, ten).unwrap();
        let wide = put(b, Expand { shape: shape(&[2]) }, &[tenth]);
        let e = b.unary(Unary::Exp, wide).unwrap();
        vec![b.binary(Binary::Mul, x, e).unwrap()]
    });
    golden(
        &g,
        &[constant_folding, algebraic, dead_code],
        "
%0 = input x : [2]
%1 = const 1.0 : []
%2 = const 10.0 : []
%3 = div %1, %2 : []
%4 = expand [2] %3 : [2]
%5 = exp %4 : [2]
%6 = mul %0, %5 : [2]
give %6",
        "
%0 = input x : [2]
%1 = const 1.1051709180756477 : []
%2 = mul %0, %1 : [2]
give %2",
    );
}

#[test]
fn columns_fold_into_columns() {
    let mut g = Graph::new("g");
    g.regions.push(Region::default());
    let mut b = at(&mut g, 1);
    let x = put(&mut b, LoopInput { index: 0, ty: ty(&[2]) }, &[]);
    let a = put(&mut b, Column { index: 0, dtype: DType::F32 }, &[]);
    let same = put(&mut b, Column { index: 1, dtype: DType::F32 }, &[]);
    let root_a = b.unary(Unary::Sqrt, a).unwrap();
    let y = b.binary(Binary::Mul, root_a, same).unwrap();
    let z = b.binary(Binary::Mul, x, y).unwrap();
    g.regions[1].outputs = vec![z];
    let mut b = at(&mut g, 0);
    let x = input(&mut b, "x", &[2]);
    let l = Loop {
        region: 1,
        steps: 2,
        carries: 1,
        captures: 0,
        scans: 0,
        reverse: false,
        columns: vec![vec![4.0, 9.0], vec![0.5, 0.5]],
        outputs: vec![ty(&[2])],
    };
    let node = b.push(l.into(), &[x], ty(&[2]));
    let out = b.push(Project { index: 0, ty: ty(&[2]) }.into(), &[node], ty(&[2]));
    g.regions[0].outputs = vec![out];
    golden(
        &g,
        &[constant_folding, dead_code],
        "
%0 = input x : [2]
%1 = loop ×2 (1 carried, 0 captured, 0 scanned) %0 : [2]
  column 0 = [4.0, 9.0]
  column 1 = [0.5, 0.5]
  %0 = input #0 : [2]
  %1 = column 0 : []
  %2 = column 1 : []
  %3 = sqrt %1 : []
  %4 = mul %3, %2 : []
  %5 = mul %0, %4 : [2]
  give %5
%2 = output #0 of %1 : [2]
give %2",
        "
%0 = input x : [2]
%1 = loop ×2 (1 carried, 0 captured, 0 scanned) %0 : [2]
  column 0 = [1.0, 1.5]
  %0 = input #0 : [2]
  %1 = column 0 : []
  %2 = mul %0, %1 : [2]
  give %2
%2 = output #0 of %1 : [2]
give %2",
    );
}

#[test]
fn identities_vanish() {
    let g = root(|b| {
        let x = input(b, "x", &[2, 3]);
        let (zero, one) = (number(b, 0.0), number(b, 1.0));
        let y = b.binary(Binary::Add, x, zero).unwrap();
        let y = b.binary(Binary::Mul, one, y).unwrap();
        let y = b.binary(Binary::Div, y, one).unwrap();
        let y = b.binary(Binary::Sub, y, zero).unwrap();
        let y = b.binary(Binary::Pow, y, one).unwrap();
        let y = b.unary(Unary::Neg, y).unwrap();
        let y = b.unary(Unary::Neg, y).unwrap();
        let y = put(b, Cast { dtype: DType::F64 }, &[y]);
        let y = put(b, Cast { dtype: DType::F32 }, &[y]);
        let y = put(b, Reshape { shape: shape(&[6]) }, &[y]);
        let y = put(b, Reshape { shape: shape(&[2, 3]) }, &[y]);
        let y = put(b, Permute { axes: vec![1, 0] }, &[y]);
        let y = put(b, Permute { axes: vec![1, 0] }, &[y]);
        let y = put(b, Expand { shape: shape(&[2, 3]) }, &[y]);
        let y = put(b, Reduce { kind: ReduceKind::Sum, axes: vec![], keep: false }, &[y]);
        vec![y]
    });
    let new = dead_code(&algebraic(&g));
    assert_eq!(text::print(&new).trim(), "%0 = input x : [2, 3]\ngive %0");
}

#[test]
fn zero_noise_vanishes_and_shapes_stay() {
    let g = root(|b| {
        let x = input(b, "x", &[3]);
        let zero = number(b, 0.0);
        let shape = shape(&[2, 3]);
        let n = put(b, Random { dist: Dist::Normal, shape, site: 1, dtype: DType::F32 }, &[]);
        let n = b.binary(Binary::Mul, zero, n).unwrap();
        vec![b.binary(Binary::Add, x, n).unwrap()]
    });
    golden(
        &g,
        &[algebraic, dead_code],
        "
%0 = input x : [3]
%1 = const 0.0 : []
%2 = normal [2, 3] : [2, 3]
%3 = mul %1, %2 : [2, 3]
%4 = add %0, %3 : [2, 3]
give %4",
        "
%0 = input x : [3]
%1 = expand [2, 3] %0 : [2, 3]
give %1",
    );
}

#[test]
fn lossy_conversions_stay() {
    let g = root(|b| {
        let x = input(b, "x", &[2]);
        let y = put(b, Cast { dtype: DType::I64 }, &[x]);
        vec![put(b, Cast { dtype: DType::F32 }, &[y])]
    });
    assert_eq!(text::print(&algebraic(&g)), text::print(&g));
}

#[test]
fn invariant_code_leaves_its_loop() {
    let mut g = Graph::new("g");
    g.regions.push(Region::default());
    let mut b = at(&mut g, 1);
    let (x, p) = (
        put(&mut b, LoopInput { index: 0, ty: ty(&[2]) }, &[]),
        put(&mut b, LoopInput { index: 1, ty: ty(&[2]) }, &[]),
    );
    let r = put(&mut b, LoopInput { index: 2, ty: ty(&[2]) }, &[]);
    let e = b.unary(Unary::Exp, p).unwrap();
    let s = b.unary(Unary::Sin, e).unwrap();
    let n = put(&mut b, Random { dist: Dist::Normal, shape: shape(&[2]), site: 1, dtype: DType::F32 }, &[]);
    let y = b.binary(Binary::Mul, x, s).unwrap();
    let y = b.binary(Binary::Add, y, n).unwrap();
    let y = b.binary(Binary::Add, y, r).unwrap();
    g.regions[1].outputs = vec![y];
    let mut b = at(&mut g, 0);
    let (x, p, r) = (input(&mut b, "x", &[2]), input(&mut b, "p", &[2]), input(&mut b, "r", &[3, 2]));
    let l = Loop {
        region: 1,
        steps: 3,
        carries: 1,
        captures: 1,
        scans: 1,
        reverse: false,
        columns: vec![],
        outputs: vec![ty(&[2])],
    };
    let node = b.push(l.into(), &[x, p, r], ty(&[2]));
    let out = b.push(Project { index: 0, ty: ty(&[2]) }.into(), &[node], ty(&[2]));
    g.regions[0].outputs = vec![out];
    golden(
        &g,
        &[hoist, dead_code],
        "
%0 = input x : [2]
%1 = input p : [2]
%2 = input r : [3, 2]
%3 = loop ×3 (1 carried, 1 captured, 1 scanned) %0, %1, %2 : [2]
  %0 = input #0 : [2]
  %1 = input #1 : [2]
  %2 = input #2 : [2]
  %3 = exp %1 : [2]
  %4 = sin %3 : [2]
  %5 = normal [2] : [2]
  %6 = mul %0, %4 : [2]
  %7 = add %6, %5 : [2]
  %8 = add %7, %2 : [2]
  give %8
%4 = output #0 of %3 : [2]
give %4",
        "
%0 = input x : [2]
%1 = input p : [2]
%2 = input r : [3, 2]
%3 = exp %1 : [2]
%4 = sin %3 : [2]
%5 = loop ×3 (1 carried, 1 captured, 1 scanned) %0, %4, %2 : [2]
  %0 = input #0 : [2]
  %1 = input #2 : [2]
  %2 = input #1 : [2]
  %3 = normal [2] : [2]
  %4 = mul %0, %2 : [2]
  %5 = add %4, %3 : [2]
  %6 = add %5, %1 : [2]
  give %6
%6 = output #0 of %5 : [2]
give %6",
    );
}

#[test]
fn a_loop_and_its_repetition_for_the_gradient_become_one() {
    let mut g = Graph::new("g");
    g.regions.push(Region::default());
    let mut b = at(&mut g, 1);
    let x = put(&mut b, LoopInput { index: 0, ty: ty(&[2]) }, &[]);
    let y = b.unary(Unary::Sin, x).unwrap();
    g.regions[1].outputs = vec![y];
    g.regions[1].watches = vec![Named { name: "y".into(), node: y }];
    let mut b = at(&mut g, 0);
    let x = input(&mut b, "x", &[2]);
    let l = Loop {
        region: 1,
        steps: 3,
        carries: 1,
        captures: 0,
        scans: 0,
        reverse: false,
        columns: vec![],
        outputs: vec![ty(&[2])],
    };
    let node = b.push(l.into(), &[x], ty(&[2]));
    let y = b.push(Project { index: 0, ty: ty(&[2]) }.into(), &[node], ty(&[2]));
    let grad = crate::differentiate::gradients(&mut b, y, &[x]).unwrap()[0].unwrap();
    g.regions[0].outputs = vec![y, grad];
    assert_eq!(g.regions.len(), 4, "the loop, its repetition, its adjoint, and the root");
    golden_end(&optimize(&g, &Options::default()));
}

fn golden_end(new: &Graph) {
    let want = "
%0 = input x : [2]
%1 = loop ×3 (1 carried, 0 captured, 0 scanned) %0 : [2], [3, 2]
  %0 = input #0 : [2]
  %1 = sin %0 : [2]
  watch y = %1
  give %1, %0
%2 = output #0 of %1 : [2]
%3 = const 1.0 : []
%4 = expand [2] %3 : [2]
%5 = output #1 of %1 : [3, 2]
%6 = loop ×3 reversed (1 carried, 0 captured, 1 scanned) %4, %5 : [2]
  %0 = input #0 : [2]
  %1 = input #1 : [2]
  %2 = elementwise (#2 = cos #0; #3 = mul #1 #2) %1, %0 : [2]
  give %2
%7 = output #0 of %6 : [2]
give %2, %7";
    assert_eq!(text::print(new).trim(), want.trim());
}

#[test]
fn passes_can_be_switched_off() {
    let g = root(|b| {
        let x = input(b, "x", &[2]);
        let zero = number(b, 0.0);
        vec![b.binary(Binary::Add, x, zero).unwrap()]
    });
    let off = Options { disabled: PASSES.iter().map(|p| p.name.to_string()).collect(), ..Options::default() };
    assert_eq!(text::print(&optimize(&g, &off)), text::print(&g));
    assert_eq!(text::print(&optimize(&g, &Options::default())).trim(), "%0 = input x : [2]\ngive %0");
}
