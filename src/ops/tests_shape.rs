//! Shape and index operations: values and gradients against PyTorch (`tests/fixtures/make_ops_shape.py`),
//! gradients against finite differences, inferred against evaluated shapes, errors.

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use serde::Deserialize;

use super::args::{Arg, Args, Default as Given};
use super::expand::{expand, repeat, tile};
use super::index::{Item, index};
use super::slice::{chunk, split};
use super::testing::{
    Array, Tape, assert_batch_invariant, assert_close, check_gradients, evaluate, gradients,
};
use super::torch_rng::TorchRng;
use super::{
    Cat, Emit, NodeId, Op, OpError, Pad, PadMode, Permute, Primitive, Reshape, Slice, Take, einsum, pad,
    rearrange, reshape, signatures,
};
use crate::diagnostic::{Code, codes};
use crate::shape::{DType, Dim, Type};

/// An argument in the fixture.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Literal {
    Tensor(String),
    List(Vec<Literal>),
    Int(i64),
    Float(f64),
    Bool(bool),
    Str(String),
    None,
}

#[derive(Deserialize)]
struct Case {
    call: String,
    args: Vec<Literal>,
    rest: Vec<Literal>,
    named: Vec<(String, Literal)>,
    outputs: Vec<String>,
    #[serde(default)]
    seeds: Vec<String>,
    #[serde(default)]
    grads: Vec<String>,
}

#[derive(Deserialize)]
struct Draws {
    seed: u64,
    draws: Vec<(String, usize, String)>,
}

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
    rng: Vec<Draws>,
}

struct Arrays(std::collections::HashMap<String, Tensor>);

impl Arrays {
    fn tensor(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no array {name}"))
    }

    fn get(&self, name: &str) -> Array {
        Array::of(self.tensor(name))
    }
}

fn fixture() -> (Fixture, Arrays) {
    let json = include_str!("../../tests/fixtures/ops_shape.json");
    let arrays = include_bytes!("../../tests/fixtures/ops_shape.safetensors");
    let arrays = candle_core::safetensors::load_buffer(arrays, &Device::Cpu).expect("arrays");
    (serde_json::from_str(json).expect("a fixture"), Arrays(arrays))
}

/// The names of tensors among the arguments, in order.
fn tensors<'a>(literals: impl IntoIterator<Item = &'a Literal>) -> Vec<&'a str> {
    let mut out = Vec::new();
    for literal in literals {
        match literal {
            Literal::Tensor(name) => out.push(name.as_str()),
            Literal::List(items) => out.extend(tensors(items)),
            _ => {}
        }
    }
    out
}

fn arg(literal: &Literal, nodes: &mut dyn Iterator<Item = NodeId>) -> Arg {
    match literal {
        Literal::Tensor(_) => Arg::Tensor(nodes.next().expect("a node")),
        Literal::List(items) => Arg::List(items.iter().map(|i| arg(i, nodes)).collect()),
        Literal::Int(v) => Arg::Int(Dim::from(*v)),
        Literal::Float(v) => Arg::Float(*v),
        Literal::Bool(v) => Arg::Bool(*v),
        Literal::Str(v) => Arg::Str(v.clone()),
        Literal::None => Arg::None,
    }
}

/// Makes the call and returns its tensors.
fn call(to: &mut dyn Emit, case: &Case, nodes: &[NodeId]) -> Result<Vec<NodeId>, OpError> {
    let signature =
        signatures().find(|s| s.name == case.call).unwrap_or_else(|| panic!("no `{}`", case.call));
    let mut nodes = nodes.iter().copied();
    let mut params: Vec<Arg> = case.args.iter().map(|a| arg(a, &mut nodes)).collect();
    for missing in signature.params.iter().skip(params.len()) {
        params.push(match missing.default {
            Given::Int(v) => Arg::Int(Dim::from(v)),
            Given::None => Arg::None,
            other => panic!("`{}`: `{}` is missing, default {other:?}", case.call, missing.name),
        });
    }
    let rest = case.rest.iter().map(|a| arg(a, &mut nodes)).collect();
    let named = case.named.iter().map(|(n, a)| (n.clone(), arg(a, &mut nodes))).collect();
    match (signature.build)(to, &Args { params, rest, named })? {
        Arg::Tensor(node) => Ok(vec![node]),
        Arg::List(items) => Ok(items
            .into_iter()
            .map(|i| match i {
                Arg::Tensor(node) => node,
                other => panic!("{other:?} is no tensor"),
            })
            .collect()),
        other => panic!("{other:?} is no tensor"),
    }
}

#[test]
fn values_and_gradients_are_those_of_pytorch() {
    let (fixture, arrays) = fixture();
    for (i, case) in fixture.cases.iter().enumerate() {
        let what = format!("case {i}, `{}`", case.call);
        let inputs: Vec<Array> =
            tensors(case.args.iter().chain(&case.rest)).into_iter().map(|n| arrays.get(n)).collect();
        let mut tape = Tape::default();
        let xs: Vec<NodeId> = inputs.iter().map(|a| tape.input(a.ty())).collect();
        let ys = call(&mut tape, case, &xs).unwrap_or_else(|e| panic!("{what}: {}", e.message));
        assert_eq!(ys.len(), case.outputs.len(), "{what}: number of outputs");
        let given: Vec<Tensor> = inputs.iter().map(Array::tensor).collect();
        for (value, name) in tape.eval(&given, &ys).iter().zip(&case.outputs) {
            let want = arrays.get(name);
            assert_eq!(Array::of(value).dtype, want.dtype, "{what}: dtype");
            assert_close(&Array::of(value), &want, 1e-13, 1e-12, &what);
        }
        if case.seeds.is_empty() {
            continue;
        }
        let floats = ys.iter().filter(|y| tape.ty(**y).dtype.is_float()).copied().collect::<Vec<_>>();
        let pairs: Vec<(NodeId, NodeId)> =
            floats.iter().zip(&case.seeds).map(|(y, s)| (*y, tape.constant(&arrays.get(s)))).collect();
        let wrt: Vec<NodeId> = xs.iter().filter(|x| tape.ty(**x).dtype.is_float()).copied().collect();
        let grads = tape.gradients(&pairs, &wrt);
        for (have, want) in grads.iter().zip(&case.grads) {
            let want = arrays.get(want);
            match have {
                Some(node) => {
                    let have = Array::of(&tape.eval(&given, &[*node])[0]);
                    assert_close(&have, &want, 1e-13, 1e-12, &format!("{what}: gradient"));
                }
                None => assert!(want.data.iter().all(|v| *v == 0.0), "{what}: a gradient is missing"),
            }
        }
    }
    assert!(fixture.cases.len() > 100);
}

#[test]
fn first_and_second_gradients_are_those_of_differences() {
    let (fixture, arrays) = fixture();
    for case in fixture.cases.iter().filter(|c| !c.seeds.is_empty()) {
        let inputs: Vec<Array> =
            tensors(case.args.iter().chain(&case.rest)).into_iter().map(|n| arrays.get(n)).collect();
        if inputs.iter().map(|a| a.data.len()).sum::<usize>() > 100 {
            continue;
        }
        check_gradients(&inputs, &|to, xs| {
            let outputs = call(to, case, xs)?;
            let mut flat = Vec::new();
            for y in outputs {
                if to.ty(y).dtype.is_float() {
                    let count = to.ty(y).elements();
                    flat.push(reshape::reshape(to, y, vec![count])?);
                }
            }
            super::cat::cat(to, &flat, 0)
        });
    }
}

#[test]
fn the_generator_is_that_of_pytorch() {
    let (fixture, arrays) = fixture();
    for Draws { seed, draws } in &fixture.rng {
        let mut rng = TorchRng::new(*seed);
        for (i, (kind, count, name)) in draws.iter().enumerate() {
            let want = arrays.tensor(name);
            if kind == "randint" {
                let want: Vec<i64> = want.to_vec1().expect("values");
                assert_eq!(rng.randint(-3, 1000, *count), want, "seed {seed}, draw {i}");
                continue;
            }
            let want: Vec<f32> = want.to_vec1().expect("values");
            let have = if kind == "rand" { rng.rand_f32(*count) } else { rng.randn_f32(*count) };
            for (k, (have, want)) in have.iter().zip(&want).enumerate() {
                let apart = (have.to_bits() as i64 - want.to_bits() as i64).abs();
                // Fewer than 16 come from the system's f64 functions, rounded.
                let within = i64::from(*count < 16);
                assert!(apart <= within, "seed {seed}, draw {i} `{kind}`, number {k}: {have:e} and {want:e}");
            }
        }
    }
}

fn dim(text: &str) -> Dim {
    text.parse().expect("a dimension")
}

fn dims(text: &str) -> Vec<Dim> {
    text.split_whitespace().map(dim).collect()
}

/// A tape with one f64 input of that shape, names left open.
fn open(shape: &str) -> (Tape, NodeId) {
    let mut tape = Tape::default();
    let x = tape.input(Type::new(DType::F64, dims(shape)));
    (tape, x)
}

fn shape_of(tape: &Tape, node: Result<NodeId, OpError>) -> String {
    match node {
        Ok(node) => crate::shape::display_shape(&tape.ty(node).shape),
        Err(e) => format!("{}: {}", e.code, e.message),
    }
}

fn code<T>(result: Result<T, OpError>) -> Option<Code> {
    result.err().map(|e| e.code)
}

#[test]
fn open_dimensions_go_through() {
    let (mut t, x) = open("n 784");
    let wanted = reshape::solve_shape(&t.ty(x).shape.clone(), &dims("n 28 28"));
    let y = reshape::reshape(&mut t, x, wanted.expect("a shape"));
    assert_eq!(shape_of(&t, y), "[n, 28, 28]");
    let wanted = reshape::solve_shape(&t.ty(x).shape.clone(), &[dim("-1"), dim("7")]).expect("a shape");
    assert_eq!(wanted, vec![dim("112*n"), dim("7")]);

    let (mut t, x) = open("n c 2*h w");
    let y = rearrange::rearrange(&mut t, x, "n c (h a) w -> (n a) h w c", &[("a".into(), dim("2"))]);
    assert_eq!(shape_of(&t, y), "[2*n, h, w, c]");
    let y = reshape::flatten(&mut t, x, 1, -1);
    assert_eq!(shape_of(&t, y), "[n, 2*c*h*w]");
    let y = chunk(&mut t, x, 2, 2).map(|parts| parts[1]);
    assert_eq!(shape_of(&t, y), "[n, c, h, w]");
    let y = tile(&mut t, x, &dims("2 1 k 1"));
    assert_eq!(shape_of(&t, y), "[2*n, c, 2*h*k, w]");

    let (mut t, x) = open("n t d");
    let y = einsum(&mut t, "b i d, b j d -> b i j", &[x, x]);
    assert_eq!(shape_of(&t, y), "[n, t, t]");
    let y = index(&mut t, x, &[Item::Range(None, None), Item::Range(Some(dim("1")), None)]);
    assert_eq!(shape_of(&t, y), "[n, t - 1, d]");
    let y = index(&mut t, x, &[Item::Rest, Item::At(dim("-1"))]);
    assert_eq!(shape_of(&t, y), "[n, t]");
    let step = Slice { axis: 1, start: dim("0"), end: dim("t"), step: 2 };
    let y = t.emit(step.into(), &[x]);
    assert_eq!(shape_of(&t, y), "[n, (t + 1) // 2, d]");
}

#[test]
fn gradients_of_strided_slices_of_open_axes() {
    for step in [2, 3, -1, -2, -5] {
        let (mut t, x) = open("n t");
        let y =
            t.emit(Slice { axis: 1, start: dim("1"), end: dim("t"), step }.into(), &[x]).expect("a slice");
        let seed = t.input(t.ty(y).clone());
        assert!(t.gradients(&[(y, seed)], &[x])[0].is_some());
    }
}

#[test]
fn indexing() {
    let a = Array::new(&[2, 3, 4], &(0..24).map(f64::from).collect::<Vec<_>>());
    let at = |v: i64| Item::At(Dim::from(v));
    let range = |a: Option<i64>, b: Option<i64>| Item::Range(a.map(Dim::from), b.map(Dim::from));
    let get = |items: &[Item]| evaluate(std::slice::from_ref(&a), &|to, xs| index(to, xs[0], items));
    assert_eq!(get(&[at(1), at(-1), at(0)]).data, [20.0]);
    let rows = get(&[range(None, None), at(2), range(Some(1), Some(-1))]);
    assert_eq!((rows.shape, rows.data), (vec![2, 2], vec![9.0, 10.0, 21.0, 22.0]));
    let last = get(&[Item::Rest, Item::NewAxis, range(Some(-1), None)]);
    assert_eq!((last.shape, last.data), (vec![2, 3, 1, 1], vec![3.0, 7.0, 11.0, 15.0, 19.0, 23.0]));
    let picks = Array { shape: vec![2, 2], data: vec![2.0, 0.0, 1.0, 1.0], dtype: DType::I64 };
    let taken = evaluate(&[a.clone(), picks.clone()], &|to, xs| {
        index(to, xs[0], &[at(0), Item::Tensor(xs[1]), range(Some(0), Some(1))])
    });
    assert_eq!((taken.shape, taken.data), (vec![2, 2, 1], vec![8.0, 0.0, 4.0, 4.0]));
    check_gradients(&[a, picks], &|to, xs| index(to, xs[0], &[Item::NewAxis, at(1), Item::Tensor(xs[1])]));
}

#[test]
fn indices_out_of_range() {
    let (mut t, x) = open("n 3 h");
    let all = Item::Range(None, None);
    let mut get = |items: &[Item]| code(index(&mut t, x, items));
    assert_eq!(get(&[all.clone(), Item::At(dim("3"))]), Some(codes::BAD_INDEX));
    assert_eq!(get(&[all.clone(), Item::At(dim("-4"))]), Some(codes::BAD_INDEX));
    assert_eq!(get(&[all.clone(), Item::Range(Some(dim("2")), Some(dim("1")))]), Some(codes::BAD_INDEX));
    assert_eq!(
        get(&[all.clone(), all.clone(), Item::Range(None, Some(dim("4")))]),
        Some(codes::UNSOLVED_DIM)
    );
    assert_eq!(get(&[Item::Rest, Item::Rest]), Some(codes::BAD_INDEX));
    assert_eq!(get(&[all.clone(), all.clone(), all.clone(), all]), Some(codes::BAD_INDEX));
    assert_eq!(get(&[Item::Tensor(x)]), Some(codes::DTYPE_MISMATCH));
    assert_eq!(get(&[Item::At(dim("0"))]), None);
    // Found at run time: an error, not a wrong row.
    let table = Tensor::new(&[1f32, 2.0], &Device::Cpu).expect("a tensor");
    for bad in [2i64, -1] {
        let bad = Tensor::new(&[bad], &Device::Cpu).expect("a tensor");
        let ty = Type::of(DType::F32, &[1]);
        let cx = super::testing::context(&ty);
        assert!(Take { axis: 0 }.eval(&cx, &[table.clone(), bad]).is_err());
    }
}

#[test]
fn malformed_patterns() {
    let (mut t, x) = open("n 6 h");
    let message = |r: Result<NodeId, OpError>| r.map_or_else(|e| (e.code, e.message), |_| panic!("no error"));
    let cases = [
        ("a b c", "there is no `->`"),
        ("a b c -> a (b c", "a `(` has no `)`"),
        ("a b c -> a b) c", "a `)` has no `(`"),
        ("a a c -> a c", "the axis `a` stands twice on one side"),
        ("a b c -> a c", "the axis `b` stands on the left only"),
        ("a b c -> a b c d", "the axis `d` stands on the right only"),
        ("a b c -> a * b c", "`*` does not belong in a pattern"),
        ("a ... -> a", "`...` stands on the left and not on the right"),
        ("a (b (c)) d -> a b c d", "brackets must not nest"),
    ];
    for (pattern, part) in cases {
        let (code, text) = message(rearrange::rearrange(&mut t, x, pattern, &[]));
        assert_eq!(code, codes::BAD_PATTERN, "{pattern}");
        assert!(text.contains(part), "{text}");
    }
    let four = ("p".to_string(), dim("4"));
    let mut get =
        |pattern: &str, sizes: &[(String, Dim)]| code(rearrange::rearrange(&mut t, x, pattern, sizes));
    assert_eq!(get("a b -> b a", &[]), Some(codes::WRONG_RANK));
    assert_eq!(get("a (q p) c -> a q p c", std::slice::from_ref(&four)), Some(codes::NOT_DIVISIBLE));
    assert_eq!(get("a (q p) c -> a q p c", &[]), Some(codes::UNSOLVED_DIM));
    assert_eq!(get("a p c -> a p c", std::slice::from_ref(&four)), Some(codes::SHAPE_MISMATCH));
    assert_eq!(get("a b c -> a c b", &[four]), Some(codes::UNKNOWN_ARGUMENT));

    let cases = [
        ("bij,bjk", "there is no `->`"),
        ("bij->bij", "it has 1 operands, and 2 tensors were given"),
        ("bij,bkj->biz", "`z` stands after the `->` and in no operand"),
        ("bii,bkj->bk", "`i` stands twice in `bii`"),
        ("b i j, b k j -> b i ?", "`?` is no name of an axis"),
        ("b...,b...->b", "`...` of an operand is missing after the `->`"),
    ];
    for (pattern, part) in cases {
        let (code, text) = message(einsum(&mut t, pattern, &[x, x]));
        assert_eq!(code, codes::BAD_PATTERN, "{pattern}");
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(code(einsum(&mut t, "bij,bik->bjk", &[x, x])), None);
    assert_eq!(code(einsum(&mut t, "bij,bji->b", &[x, x])), Some(codes::SHAPE_MISMATCH));
    assert_eq!(code(einsum(&mut t, "bi,bi->b", &[x, x])), Some(codes::WRONG_RANK));
}

#[test]
fn wrong_shapes() {
    let (mut t, x) = open("n 6 h");
    assert_eq!(code(reshape::reshape(&mut t, x, dims("n 5 h"))), Some(codes::SHAPE_MISMATCH));
    let from = dims("n 6 h");
    assert_eq!(code(reshape::solve_shape(&from, &[dim("-1"), dim("5")])), Some(codes::NOT_DIVISIBLE));
    assert_eq!(code(reshape::solve_shape(&from, &[dim("-1"), dim("-1")])), Some(codes::UNSOLVED_DIM));
    assert_eq!(code(reshape::solve_shape(&from, &[dim("-1"), dim("0")])), Some(codes::NOT_DIVISIBLE));
    assert_eq!(code(reshape::squeeze(&mut t, x, &[1])), Some(codes::SHAPE_MISMATCH));
    assert_eq!(code(reshape::flatten(&mut t, x, 2, 1)), Some(codes::BAD_AXIS));
    assert_eq!(code(expand(&mut t, x, dims("n 12 h"))), Some(codes::BROADCAST));
    assert_eq!(code(t.emit(Permute { axes: vec![0, 0, 1] }.into(), &[x])), Some(codes::BAD_AXIS));
    assert_eq!(code(t.emit(Permute { axes: vec![0, 1, 5] }.into(), &[x])), Some(codes::BAD_AXIS));
    assert_eq!(code(split(&mut t, x, &dims("2 3"), 1)), Some(codes::SHAPE_MISMATCH));
    assert_eq!(code(chunk(&mut t, x, 4, 1)), Some(codes::NOT_DIVISIBLE));
    assert_eq!(code(chunk(&mut t, x, 0, 1)), Some(codes::BAD_VALUE));
    assert_eq!(code(repeat(&mut t, x, &dim("2"), 3)), Some(codes::BAD_AXIS));
    let y = t.input(Type::new(DType::F64, dims("n 5 h")));
    let z = t.input(Type::new(DType::F32, dims("n 6 h")));
    assert_eq!(code(t.emit(Cat { axis: 0 }.into(), &[x, y])), Some(codes::SHAPE_MISMATCH));
    assert_eq!(code(t.emit(Cat { axis: 0 }.into(), &[x, z])), Some(codes::DTYPE_MISMATCH));
    assert_eq!(code(t.emit(Cat { axis: 3 }.into(), &[x, x])), Some(codes::BAD_AXIS));
    assert_eq!(code(t.emit(Cat { axis: 0 }.into(), &[])), Some(codes::BAD_VALUE));
    assert_eq!(code(t.emit(Take { axis: 0 }.into(), &[x, y])), Some(codes::DTYPE_MISMATCH));
    assert_eq!(code(t.emit(Reshape { shape: vec![] }.into(), &[])), Some(codes::INTERNAL));
    let mirror = |before: &str| Pad {
        pads: vec![(dim("0"), dim("0")), (dim(before), dim("0")), (dim("0"), dim("0"))],
        mode: PadMode::Reflect,
        value: 0.0,
    };
    assert_eq!(code(t.emit(mirror("6").into(), &[x])), Some(codes::BAD_VALUE));
    assert_eq!(code(t.emit(mirror("5").into(), &[x])), None);
    assert_eq!(code(pad::pad_axis(&mut t, x, 1, dim("0"), -dim("1"))), Some(codes::BAD_VALUE));
}

#[test]
fn samples_do_not_depend_on_the_batch() {
    let x = Array::random(&[3, 4, 6], 1, 1.0).cast(DType::F32);
    let batch = |n: usize, build: super::testing::Build<'_>| {
        let inputs = vec![x.clone(); n];
        assert_batch_invariant(&inputs, &vec![true; n], build);
    };
    batch(1, &|to, xs| super::arg_sort::sort(to, xs[0], -1, true).map(|(v, _)| v));
    batch(1, &|to, xs| rearrange::rearrange(to, xs[0], "b (h p) w -> b p (w h)", &[("p".into(), dim("2"))]));
    batch(2, &|to, xs| einsum(to, "b i d, b j d -> b i j", &[xs[0], xs[1]]));
    batch(2, &|to, xs| einsum(to, "b i d, b i d -> b i", &[xs[0], xs[1]]));
    batch(1, &|to, xs| {
        let edges = vec![(dim("0"), dim("0")), (dim("2"), dim("1")), (dim("0"), dim("3"))];
        to.emit(Pad { pads: edges, mode: PadMode::Reflect, value: 0.0 }.into(), &[xs[0]])
    });
    let index =
        Array { shape: vec![3, 5], data: (0..15).map(|i| f64::from(i % 4)).collect(), dtype: DType::I64 };
    let source = Array::random(&[3, 5], 2, 1.0).cast(DType::F32);
    let rows = Array::random(&[3, 4], 3, 1.0).cast(DType::F32);
    assert_batch_invariant(&[rows, index, source], &[true; 3], &|to, xs| {
        to.emit(super::ScatterAdd { axis: 1 }.into(), xs)
    });
}

/// An operation that fits a shape of three axes, by a few numbers.
fn some_op(shape: [usize; 3], pick: usize, a: usize, b: usize, c: usize) -> Op {
    let axis = a % 3;
    let d = shape[axis];
    match pick % 6 {
        0 => Permute {
            axes: [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]][b % 6].to_vec(),
        }
        .into(),
        1 => {
            let (start, end) = (b % (d + 1), c % (d + 1));
            let (start, end) = (start.min(end), start.max(end));
            let step = [1, 2, 3, -1, -2, -3][(b + c) % 6];
            Slice { axis, start: Dim::from(start), end: Dim::from(end), step }.into()
        }
        2 => Reshape { shape: [shape[0] * shape[1], shape[2], 1].map(Dim::from).to_vec() }.into(),
        3 => {
            let mut pads = vec![(dim("0"), dim("0")); 3];
            let mode = [PadMode::Constant, PadMode::Reflect, PadMode::Replicate][c % 3];
            let most = if mode == PadMode::Reflect { d } else { 5 };
            pads[axis] = (Dim::from(b % most), Dim::from((b + c) % most));
            Pad { pads, mode, value: 0.5 }.into()
        }
        4 => {
            super::Expand { shape: [b % 3 + 1, shape[0], shape[1], shape[2]].map(Dim::from).to_vec() }.into()
        }
        _ => super::ArgSort { axis, descending: b.is_multiple_of(2) }.into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The harness asserts that every node evaluates to its inferred shape.
    #[test]
    fn inferred_shapes_are_the_evaluated_ones(
        shape in [1usize..5, 1usize..5, 1usize..5],
        pick in 0usize..6, a in 0usize..3, b in 0usize..60, c in 0usize..60,
    ) {
        let x = Array::random(&shape, 5, 1.0);
        let op = some_op(shape, pick, a, b, c);
        let y = evaluate(std::slice::from_ref(&x), &|to, xs| to.emit(op.clone(), xs));
        if !matches!(op, Op::ArgSort(_)) {
            let seed = Array::random(&y.shape, 6, 1.0);
            let grads = gradients(std::slice::from_ref(&x), &seed, &|to, xs| to.emit(op.clone(), xs));
            // <seed, f(x)> = <grad, x> for a linear f; padding with a number is linear after taking it off.
            let affine = evaluate(&[Array::new(&shape, &vec![0.0; x.data.len()])], &|to, xs| to.emit(op.clone(), xs));
            let left: f64 = seed.data.iter().zip(y.data.iter().zip(&affine.data)).map(|(s, (y, z))| s * (y - z)).sum();
            let right: f64 = grads[0].as_ref().map_or(0.0, |g| g.data.iter().zip(&x.data).map(|(g, x)| g * x).sum());
            prop_assert!((left - right).abs() < 1e-10, "{left} {right}");
        }
    }

    /// The shape of an open dimension, once it is bound, is that of the bound one.
    #[test]
    fn binding_dimensions_commutes_with_inference(
        n in 1usize..6, t in 3usize..9, step in prop::sample::select(vec![1i64, 2, 3, -1, -2]), k in 1usize..4,
    ) {
        let bind = |name: &str| match name { "n" => Some(Dim::from(n)), "t" => Some(Dim::from(t)), _ => None };
        let open = Type::new(DType::F32, dims("n t 6"));
        let bound = Type::of(DType::F32, &[n, t, 6]);
        let ops: Vec<Op> = vec![
            Slice { axis: 1, start: dim("1"), end: dim("t"), step }.into(),
            Reshape { shape: dims("6*t n") }.into(),
            Pad { pads: vec![(dim("0"), dim("0")), (dim("t"), Dim::from(k)), (dim("0"), dim("0"))], mode: PadMode::Constant, value: 0.0 }.into(),
            super::Expand { shape: dims("2*n n t 6") }.into(),
            Take { axis: 1 }.into(),
        ];
        for op in ops {
            let index = Type::new(DType::I64, dims("n t"));
            let bound_index = Type::of(DType::I64, &[n, t]);
            let count = if matches!(op, Op::Take(_)) { 2 } else { 1 };
            let first = op.infer(&[&open, &index][..count]).expect("open");
            let mut late = op.clone();
            late.map_dims(&mut |d| d.substitute(&bind));
            let second = late.infer(&[&bound, &bound_index][..count]).expect("bound");
            let first: Vec<Dim> = first.shape.iter().map(|d| d.substitute(&bind)).collect();
            prop_assert_eq!(first, second.shape);
        }
    }
}
