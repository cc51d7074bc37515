use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};

use super::*;
use crate::graph::{Builder, Graph, Named};
use crate::ops::{
    Binary, Column, Conv, ConvSpec, Emit, Input, Loop, LoopInput, NodeId, Op, Parameter, Project, Unary,
};
use crate::shape::{DType, Dim, Type};
use crate::source::Span;

fn named(dims: &[&str]) -> Type {
    Type::new(DType::F32, dims.iter().map(|d| d.parse::<Dim>().unwrap()).collect())
}

fn builder(graph: &mut Graph, region: usize) -> Builder<'_> {
    Builder::new(graph, region, Span::default(), "".into())
}

fn input(b: &mut Builder<'_>, name: &str, ty: Type) -> NodeId {
    b.emit(Op::Input(Input { name: name.into(), ty }), &[]).unwrap()
}

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap()
}

fn none(_: &str) -> Option<Tensor> {
    None
}

#[test]
fn open_dimensions_come_from_the_inputs() {
    let mut graph = Graph::new("g");
    let mut b = builder(&mut graph, 0);
    let x = input(&mut b, "x", named(&["n", "2*h"]));
    let y = b.binary(Binary::Add, x, x).unwrap();
    graph.regions[0].outputs = vec![y];
    let run = |shape: &[usize]| {
        let x = Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        execute(&graph, &HashMap::from([("x".into(), x)]), &none, &RunOptions::default(), &mut Silent)
    };
    assert_eq!(to_f32_vec(&run(&[3, 4]).unwrap().outputs[0]).unwrap(), vec![2.0; 12]);
    let odd = run(&[3, 5]).unwrap_err();
    assert!(odd.to_string().contains("[3, 5], expected [n, 2*h]"), "{odd}");
    assert!(run(&[3]).is_err());
    let empty = execute(&graph, &HashMap::new(), &none, &RunOptions::default(), &mut Silent).unwrap_err();
    assert!(empty.to_string().contains("needs the input `x`"), "{empty}");
}

/// x ← x·w + column, six steps; the stacked output is each step's carry before, summed with a scanned row.
fn looped(reverse: bool) -> Graph {
    let mut graph = Graph::new("loop");
    graph.regions.push(Default::default());
    let mut b = builder(&mut graph, 1);
    let ty = Type::of(DType::F32, &[2]);
    let put = |b: &mut Builder<'_>, index| {
        b.emit(Op::LoopInput(LoopInput { index, ty: Type::of(DType::F32, &[2]) }), &[]).unwrap()
    };
    let (x, w, row) = (put(&mut b, 0), put(&mut b, 1), put(&mut b, 2));
    let column = b.emit(Op::Column(Column { index: 0, dtype: DType::F32 }), &[]).unwrap();
    let scaled = b.binary(Binary::Mul, x, w).unwrap();
    let next = b.binary(Binary::Add, scaled, column).unwrap();
    let seen = b.binary(Binary::Add, x, row).unwrap();
    graph.regions[1].outputs = vec![next, seen];
    graph.regions[1].watches = vec![Named { name: "x".into(), node: next }];
    let mut b = builder(&mut graph, 0);
    let x = input(&mut b, "x", ty.clone());
    let w = b.emit(Op::Parameter(Parameter { path: "w".into(), ty: ty.clone() }), &[]).unwrap();
    let rows = input(&mut b, "rows", Type::of(DType::F32, &[3, 2]));
    let outputs = vec![ty, Type::of(DType::F32, &[3, 2])];
    let l = Loop {
        region: 1,
        steps: 3,
        carries: 1,
        captures: 1,
        scans: 1,
        reverse,
        columns: vec![vec![1.0, 10.0, 100.0]],
        outputs: outputs.clone(),
    };
    let l = b.emit(Op::Loop(l), &[x, w, rows]).unwrap();
    let project = |b: &mut Builder<'_>, index: usize| {
        b.emit(Op::Project(Project { index: index as u32, ty: outputs[index].clone() }), &[l]).unwrap()
    };
    let (last, all) = (project(&mut b, 0), project(&mut b, 1));
    graph.regions[0].outputs = vec![last, all];
    graph
}

#[derive(Default)]
struct Log {
    watched: Vec<(usize, usize, Vec<f32>)>,
    progress: Vec<(usize, usize)>,
    stop_after: Option<usize>,
}

impl Watcher for Log {
    fn watch(&mut self, _: &str, step: usize, of: usize, value: &Tensor) {
        self.watched.push((step, of, to_f32_vec(value).unwrap()));
    }
    fn progress(&mut self, step: usize, of: usize) {
        self.progress.push((step, of));
    }
    fn cancelled(&self) -> bool {
        self.stop_after.is_some_and(|n| self.progress.len() >= n)
    }
}

#[test]
fn a_loop_carries_captures_scans_and_stacks() {
    let rows: Vec<f32> = vec![0.1, 0.1, 0.2, 0.2, 0.3, 0.3];
    let inputs = HashMap::from([
        ("x".to_string(), tensor(&[1.0, 2.0], &[2])),
        ("rows".to_string(), tensor(&rows, &[3, 2])),
    ]);
    let params = |_: &str| Some(tensor(&[2.0, 3.0], &[2]));
    for reverse in [false, true] {
        let graph = looped(reverse);
        crate::graph::validate::validate(&graph).unwrap();
        let mut log = Log::default();
        let out = execute(&graph, &inputs, &params, &RunOptions::default(), &mut log).unwrap();
        // The same by hand.
        let (mut x, mut all) = ([1.0f32, 2.0], [[0.0f32; 2]; 3]);
        let order: Vec<usize> = if reverse { vec![2, 1, 0] } else { vec![0, 1, 2] };
        let mut watched = Vec::new();
        for s in order {
            all[s] = [x[0] + rows[2 * s], x[1] + rows[2 * s + 1]];
            let c = [1.0, 10.0, 100.0][s];
            x = [x[0] * 2.0 + c, x[1] * 3.0 + c];
            watched.push((s, 3, x.to_vec()));
        }
        assert_eq!(to_f32_vec(&out.outputs[0]).unwrap(), x);
        assert_eq!(to_f32_vec(&out.outputs[1]).unwrap(), all.concat());
        assert_eq!(log.watched, watched);
        assert_eq!(log.progress, vec![(1, 3), (2, 3), (3, 3)]);
    }
    let mut log = Log { stop_after: Some(2), ..Log::default() };
    let stopped = execute(&looped(false), &inputs, &params, &RunOptions::default(), &mut log);
    assert!(matches!(stopped, Err(RunError::Cancelled)));
    assert_eq!(log.progress.len(), 2);
}

#[test]
fn values_are_freed_after_their_last_use_and_views_count_once() {
    // A chain of ten negations of 1 MiB holds two of them at a time, whatever its length.
    let mut graph = Graph::new("chain");
    let mut b = builder(&mut graph, 0);
    let mut x = input(&mut b, "x", named(&["n"]));
    for _ in 0..10 {
        x = b.unary(Unary::Neg, x).unwrap();
    }
    graph.regions[0].outputs = vec![x, x];
    let given = Tensor::ones(1 << 18, candle_core::DType::F32, &Device::Cpu).unwrap();
    let inputs = HashMap::from([("x".to_string(), given)]);
    let out = execute(&graph, &inputs, &none, &RunOptions::default(), &mut Silent).unwrap();
    // The caller holds the input all the time.
    assert_eq!(out.memory.inputs, 1 << 20);
    assert_eq!(out.memory.peak, 3 << 20);
}

#[test]
fn wrong_weights_and_wrong_values_are_reported() {
    let mut graph = Graph::new("w");
    let mut b = builder(&mut graph, 0);
    let ty = Type::of(DType::F32, &[2]);
    let w = b.emit(Op::Parameter(Parameter { path: "net.w".into(), ty }), &[]).unwrap();
    let y = b.unary(Unary::Exp, w).unwrap();
    graph.regions[0].outputs = vec![y];
    let run = |w: Option<Tensor>, watcher: &mut dyn Watcher| {
        execute(&graph, &HashMap::new(), &|_| w.clone(), &RunOptions::default(), watcher)
    };
    assert!(run(None, &mut Silent).unwrap_err().to_string().contains("weight `net.w` has no value"));
    let shape = run(Some(tensor(&[1.0], &[1])), &mut Silent).unwrap_err().to_string();
    assert!(shape.contains("is f32[1], expected [2]"), "{shape}");
    #[derive(Default)]
    struct Finite(Vec<(usize, usize)>);
    impl Watcher for Finite {
        fn not_finite(&mut self, _: &str, count: usize, of: usize) {
            self.0.push((count, of));
        }
    }
    let mut finite = Finite::default();
    run(Some(tensor(&[1.0, 1e9], &[2])), &mut finite).unwrap();
    assert_eq!(finite.0, vec![(1, 2)]);
}

#[test]
fn devices_are_parsed_and_a_missing_gpu_is_an_error() {
    assert_eq!("cuda:1".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(1));
    assert_eq!("auto".parse::<DeviceChoice>().unwrap(), DeviceChoice::Auto);
    assert!("gpu".parse::<DeviceChoice>().unwrap_err().message.contains("`gpu` is not a device"));
    assert!(open(DeviceChoice::Auto).is_ok());
    if !cfg!(feature = "cuda") {
        assert_eq!(open(DeviceChoice::Cuda(0)).unwrap_err().code, crate::diagnostic::codes::NO_DEVICE);
    }
}

/// softmax(noise · w), a sum over everything but samples, and the noise again.
fn noisy(batch: usize) -> Graph {
    use crate::ops::{MatMul, Random, Reduce, ReduceKind, Softmax, random::Dist};
    let mut graph = Graph::new("noisy");
    let mut b = builder(&mut graph, 0);
    let shape = vec![Dim::from(batch), Dim::from(256)];
    let random = Random { dist: Dist::Normal, shape, site: 42, dtype: DType::F32 };
    let x = b.emit(Op::Random(random), &[]).unwrap();
    let ty = Type::of(DType::F32, &[256, 256]);
    let w = b.emit(Op::Parameter(Parameter { path: "w".into(), ty }), &[]).unwrap();
    let y = b.emit(Op::MatMul(MatMul { transpose_a: false, transpose_b: false }), &[x, w]).unwrap();
    let y = b.emit(Op::Softmax(Softmax { axis: 1 }), &[y]).unwrap();
    let sum = Reduce { kind: ReduceKind::Mean, axes: vec![1], keep: false };
    let mean = b.emit(Op::Reduce(sum), &[y]).unwrap();
    graph.regions[0].outputs = vec![x, y, mean];
    graph
}

fn noise(batch: usize, options: &RunOptions) -> Vec<Vec<f32>> {
    let w: Vec<f32> = (0..256 * 256).map(|i| ((i * 37 % 101) as f32 - 50.0) / 100.0).collect();
    let w = tensor(&w, &[256, 256]);
    let out = execute(&noisy(batch), &HashMap::new(), &|_| Some(w.clone()), options, &mut Silent).unwrap();
    out.outputs.iter().map(|t| to_f32_vec(t).unwrap()).collect()
}

#[test]
fn numbers_do_not_depend_on_threads_or_on_the_batch() {
    let options = RunOptions { seed: 5, ..RunOptions::default() };
    let whole = noise(64, &options);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| noise(64, &options)) == whole, "{threads} threads");
    }
    for k in [0usize, 17, 63] {
        let one = noise(1, &RunOptions { first_sample: k as u32, ..options.clone() });
        for (all, one) in whole.iter().zip(&one) {
            let width = all.len() / 64;
            assert!(all[k * width..(k + 1) * width] == one[..], "sample {k}");
        }
    }
    assert_ne!(noise(64, &RunOptions { seed: 6, ..options }), whole);
}

#[test]
fn torch_noise_is_drawn_in_order() {
    // torch.manual_seed(0); torch.randn(256)[:4]
    let options = RunOptions { rng: Rng::Torch, ..RunOptions::default() };
    let drawn = noise(1, &options);
    let expected = [-1.1258, -1.1524, -0.2506, -0.4339];
    assert!(drawn[0].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{:?}", &drawn[0][..4]);
}

#[test]
fn transformed_weights_are_kept_while_the_weight_is_the_same() {
    let mut graph = Graph::new("g");
    let mut b = builder(&mut graph, 0);
    let x = input(&mut b, "x", Type::of(DType::F32, &[1, 32, 16, 16]));
    let ty = Type::of(DType::F32, &[32, 32, 3, 3]);
    let w = b.emit(Op::Parameter(Parameter { path: "w".into(), ty }), &[]).unwrap();
    let spec = ConvSpec { padding: vec![(1, 1), (1, 1)], ..ConvSpec::unit(&[3, 3]) };
    let y = b.emit(Conv { spec }.into(), &[x, w]).unwrap();
    graph.regions[0].outputs = vec![y];
    let graph = crate::optimize::winograd(&graph);
    let values = |n: usize, k: f32| -> Vec<f32> { (0..n).map(|i| ((i as f32 + k) * 0.7).sin()).collect() };
    let inputs = HashMap::from([("x".to_string(), tensor(&values(32 * 256, 0.0), &[1, 32, 16, 16]))]);
    let weights = [1.0, 2.0].map(|k| tensor(&values(32 * 32 * 9, k), &[32, 32, 3, 3]));
    let shapes = BTreeMap::from([("x".to_string(), vec![1, 32, 16, 16])]);
    let new = || Executor::new(&graph, &shapes, &Device::Cpu).unwrap();
    let run = |executor: &Executor, k: usize| {
        let params = |_: &str| Some(weights[k].clone());
        let out = executor.run(&inputs, &params, &RunOptions::default(), &mut Silent).unwrap();
        (to_f32_vec(&out.outputs[0]).unwrap(), out.memory.peak)
    };
    let fresh = [0, 1].map(|k| run(&new(), k).0);
    assert_ne!(fresh[0], fresh[1]);
    let executor = new().keeping_weights();
    let mut peaks = Vec::new();
    for k in [0, 0, 1, 1, 0] {
        let (y, peak) = run(&executor, k);
        assert_eq!(y, fresh[k]);
        peaks.push(peak);
    }
    assert!(peaks.iter().all(|p| *p == peaks[0]), "{peaks:?}");
}
