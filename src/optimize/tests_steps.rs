//! What samples share and what steps share, computed once: the graph before and after, and the values.

use candle_core::{Device, Tensor};

use super::tests::{at, golden, input, put, root, ty};
use super::*;
use crate::graph::{Builder, Region};
use crate::ops::{
    Binary, Cat, Column, Conv, ConvSpec, Emit, Expand, Input, Loop, LoopInput, MatMul, Parameter, Project,
    Reshape, Unary,
};
use crate::run::{RunOptions, Silent, execute};
use crate::shape::{DType, Dim, Type};

fn dims(shape: &[i64]) -> Vec<Dim> {
    shape.iter().map(|d| Dim::from(*d)).collect()
}

fn weight(b: &mut Builder<'_>, path: &str, shape: &[usize]) -> NodeId {
    put(b, Parameter { path: path.into(), ty: ty(shape) }, &[])
}

#[test]
fn what_all_samples_share_is_computed_for_one() {
    let n = || Dim::name("n");
    let g = root(|b| {
        let x = put(b, Input { name: "x".into(), ty: Type::new(DType::F32, vec![n(), Dim::from(3)]) }, &[]);
        let t = input(b, "t", &[]);
        let (freq, w) = (input(b, "freq", &[2]), weight(b, "w", &[2, 3]));
        let t = put(b, Expand { shape: vec![n()] }, &[t]);
        let t = put(b, Reshape { shape: vec![n(), Dim::from(1)] }, &[t]);
        let angle = b.binary(Binary::Mul, t, freq).unwrap();
        let wave = b.unary(Unary::Sin, angle).unwrap();
        let h = put(b, MatMul::PLAIN, &[wave, w]);
        // Both halves of a batch.
        let both = put(b, Cat { axis: 0 }, &[h, h]);
        vec![b.binary(Binary::Add, x, h).unwrap(), both]
    });
    golden(
        &g,
        &[alike, algebraic, alike, algebraic, dead_code],
        "
%0 = input x : [n, 3]
%1 = input t : []
%2 = input freq : [2]
%3 = param w : [2, 3]
%4 = expand [n] %1 : [n]
%5 = reshape [n, 1] %4 : [n, 1]
%6 = mul %5, %2 : [n, 2]
%7 = sin %6 : [n, 2]
%8 = matmul %7, %3 : [n, 3]
%9 = cat, axis 0 %8, %8 : [2*n, 3]
%10 = add %0, %8 : [n, 3]
give %10, %9",
        "
%0 = input x : [n, 3]
%1 = input t : []
%2 = input freq : [2]
%3 = param w : [2, 3]
%4 = expand [1] %1 : [1]
%5 = reshape [1, 1] %4 : [1, 1]
%6 = mul %5, %2 : [1, 2]
%7 = sin %6 : [1, 2]
%8 = matmul %7, %3 : [1, 3]
%9 = expand [2*n, 3] %8 : [2*n, 3]
%10 = add %0, %8 : [n, 3]
give %10, %9",
    );
}

/// Samples that meet, or of which each has its own, stay.
#[test]
fn what_samples_do_not_share_stays() {
    let g = root(|b| {
        let (x, t) = (input(b, "x", &[4, 2]), input(b, "t", &[4]));
        let one = input(b, "one", &[1, 2]);
        let t = put(b, Reshape { shape: dims(&[4, 1]) }, &[t]);
        let own = b.binary(Binary::Mul, x, t).unwrap();
        let shared = put(b, Expand { shape: dims(&[4, 2]) }, &[one]);
        let turned = put(b, MatMul { transpose_a: true, ..MatMul::PLAIN }, &[shared, own]);
        // The first axis of the result is another one.
        let flat = put(b, Reshape { shape: dims(&[8]) }, &[shared]);
        vec![own, turned, flat]
    });
    golden(&g, &[alike], &text(&g), &text(&g));
}

fn text(g: &Graph) -> String {
    crate::graph::text::print(g)
}

/// x goes through a layer with an embedding of each step, whose weights are captured.
fn stepping(steps: u32) -> Graph {
    let mut g = Graph::new("g");
    g.regions.push(Region::default());
    let mut b = at(&mut g, 1);
    let b = &mut b;
    let x = put(b, LoopInput { index: 0, ty: ty(&[4, 3]) }, &[]);
    let w = put(b, LoopInput { index: 1, ty: ty(&[2, 3]) }, &[]);
    let freq = put(b, LoopInput { index: 2, ty: ty(&[2]) }, &[]);
    let t = put(b, Column { index: 0, dtype: DType::F32 }, &[]);
    let row = put(b, Expand { shape: dims(&[1, 1]) }, &[t]);
    let angle = b.binary(Binary::Mul, row, freq).unwrap();
    let wave = b.unary(Unary::Sin, angle).unwrap();
    let emb = put(b, MatMul::PLAIN, &[wave, w]);
    let y = b.binary(Binary::Add, x, emb).unwrap();
    let y = b.binary(Binary::Mul, y, t).unwrap();
    g.regions[1].outputs = vec![y];
    let mut b = at(&mut g, 0);
    let (x, w, freq) =
        (input(&mut b, "x", &[4, 3]), weight(&mut b, "w", &[2, 3]), input(&mut b, "freq", &[2]));
    let l = Loop {
        region: 1,
        steps,
        carries: 1,
        captures: 2,
        scans: 0,
        reverse: false,
        columns: vec![(0..steps).map(|i| f64::from(i) * 0.3 + 0.5).collect()],
        outputs: vec![ty(&[4, 3])],
    };
    let node = b.push(l.into(), &[x, w, freq], ty(&[4, 3]));
    let out = b.push(Project { index: 0, ty: ty(&[4, 3]) }.into(), &[node], ty(&[4, 3]));
    g.regions[0].outputs = vec![out];
    g
}

#[test]
fn what_steps_alone_say_is_computed_before_the_loop() {
    golden(
        &stepping(3),
        &[tabulate, dead_code],
        "
%0 = input x : [4, 3]
%1 = param w : [2, 3]
%2 = input freq : [2]
%3 = loop ×3 (1 carried, 2 captured, 0 scanned) %0, %1, %2 : [4, 3]
  column 0 = [0.5, 0.8, 1.1]
  %0 = input #0 : [4, 3]
  %1 = input #1 : [2, 3]
  %2 = input #2 : [2]
  %3 = column 0 : []
  %4 = expand [1, 1] %3 : [1, 1]
  %5 = mul %4, %2 : [1, 2]
  %6 = sin %5 : [1, 2]
  %7 = matmul %6, %1 : [1, 3]
  %8 = add %0, %7 : [4, 3]
  %9 = mul %8, %3 : [4, 3]
  give %9
%4 = output #0 of %3 : [4, 3]
give %4",
        "
%0 = input x : [4, 3]
%1 = param w : [2, 3]
%2 = input freq : [2]
%3 = table [0.5, 0.8, 1.1] : [3]
%4 = reshape [3, 1] %3 : [3, 1]
%5 = mul %4, %2 : [3, 2]
%6 = sin %5 : [3, 2]
%7 = matmul %6, %1 : [3, 3]
%8 = loop ×3 (1 carried, 0 captured, 1 scanned) %0, %7 : [4, 3]
  column 0 = [0.5, 0.8, 1.1]
  %0 = input #0 : [4, 3]
  %1 = column 0 : []
  %2 = input #1 : [3]
  %3 = reshape [1, 3] %2 : [1, 3]
  %4 = add %0, %3 : [4, 3]
  %5 = mul %4, %1 : [4, 3]
  give %5
%9 = output #0 of %8 : [4, 3]
give %9",
    );
    assert!(tabulate::idle(&tabulate(&stepping(3))), "nothing is left to do");
    assert!(tabulate::idle(&stepping(1)), "one step is no saving");
}

fn run(graph: &Graph) -> Vec<f32> {
    let tensor = |shape: &[usize], k: f32| {
        let n = shape.iter().product::<usize>();
        let data: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7 + k).sin()).collect();
        Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
    };
    let inputs = [("x", tensor(&[4, 3], 0.1)), ("freq", tensor(&[2], 0.4))];
    let inputs = inputs.map(|(name, t)| (name.to_string(), t)).into_iter().collect();
    let w = tensor(&[2, 3], 0.2);
    let done =
        execute(graph, &inputs, &|_: &str| Some(w.clone()), &RunOptions::default(), &mut Silent).unwrap();
    done.outputs[0].flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn values_of_steps_stay_to_the_bit() {
    let g = stepping(5);
    assert_eq!(run(&tabulate(&g)), run(&g));
}

/// Rows of all steps would be in memory together.
#[test]
fn what_is_large_is_computed_step_by_step() {
    let wide = |elements: usize| tabulate::narrow(&ty(&[1, elements]));
    assert!(wide(1 << 14) && !wide((1 << 14) + 1));
    let open = Type::new(DType::F32, vec![Dim::from(1), Dim::name("k")]);
    assert!(!tabulate::narrow(&open), "an open axis may be long");
}

/// A bias and the embedding of a timestep are added before they meet the image, whether samples share the embedding
/// or not.
#[test]
fn numbers_of_channels_are_added_first() {
    for (samples, shown) in [(1, "[1, 3, 1, 1]"), (4, "[4, 3, 1, 1]")] {
        let g = root(|b| {
            let (x, w) = (input(b, "x", &[4, 2, 5, 5]), weight(b, "w", &[3, 2, 1, 1]));
            let bias = input(b, "bias", &[3, 1, 1]);
            let emb = input(b, "emb", &[samples, 3, 1, 1]);
            let y = put(b, Conv { spec: ConvSpec::unit(&[1, 1]) }, &[x, w]);
            let y = b.binary(Binary::Add, y, bias).unwrap();
            vec![b.binary(Binary::Add, y, emb).unwrap()]
        });
        let new = text(&dead_code(&algebraic(&g)));
        let want = format!("%5 = add %2, %3 : {shown}\n%6 = add %4, %5 : [4, 3, 5, 5]");
        assert!(new.contains(&want), "{new}");
    }
}
