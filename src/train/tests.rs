//! A linear regression with momentum, an average, noise and a sample, built by hand.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use candle_core::{Device, Tensor};

use super::*;
use crate::diagnostic::{Diagnostic, codes};
use crate::differentiate::gradients;
use crate::graph::program::{Entry, EntryOutput, EveryEntry, Program, TrainEntry, Weight};
use crate::graph::{Builder, Graph, Named};
use crate::ops::random::{Dist, Random};
use crate::ops::{Binary, Const, Emit, Expand, Input, NodeId, Op, Parameter, Reduce, ReduceKind, Reshape};
use crate::shape::{DType, Dim, Type};
use crate::source::Span;

const BATCH: usize = 8;

fn builder(graph: &mut Graph) -> Builder<'_> {
    Builder::new(graph, 0, Span::default(), "".into())
}

fn parameter(b: &mut Builder<'_>, path: &str) -> NodeId {
    b.emit(Op::Parameter(Parameter { path: path.into(), ty: Type::of(DType::F32, &[3]) }), &[]).unwrap()
}

fn update(name: &str, node: NodeId) -> Named {
    Named { name: name.into(), node }
}

fn weight(path: &str, trainable: bool) -> Weight {
    let ty = Type::of(DType::F32, &[3]);
    Weight { path: path.into(), ty, trainable, frozen: false, from: None, span: Span::default() }
}

fn normal(b: &mut Builder<'_>, shape: &[usize], site: u64) -> NodeId {
    let shape: Vec<Dim> = shape.iter().map(|d| Dim::from(*d)).collect();
    b.emit(Op::Random(Random { dist: Dist::Normal, shape, site, dtype: DType::F32 }), &[]).unwrap()
}

/// y = x·w with a little noise of each step; momentum 0.9; an average of decay 0.9. `lr` 0.05 converges.
fn step(lr: f64) -> Graph {
    let mut graph = Graph::new("line.train");
    let mut b = builder(&mut graph);
    let input = |b: &mut Builder<'_>, name: &str, shape: &[usize]| {
        b.emit(Op::Input(Input { name: name.into(), ty: Type::of(DType::F32, shape) }), &[]).unwrap()
    };
    let step = input(&mut b, "step", &[]);
    let x = input(&mut b, "x", &[BATCH, 3]);
    let y = input(&mut b, "y", &[BATCH]);
    let w = parameter(&mut b, "w");
    let reduce = |b: &mut Builder<'_>, kind, axes: &[usize], x| {
        b.emit(Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep: false }), &[x]).unwrap()
    };
    let noise = normal(&mut b, &[BATCH, 3], 11);
    let noise = b.binary_scalar(Binary::Mul, noise, 0.01).unwrap();
    let x = b.binary(Binary::Add, x, noise).unwrap();
    let xw = b.binary(Binary::Mul, x, w).unwrap();
    let predicted = reduce(&mut b, ReduceKind::Sum, &[1], xw);
    let error = b.binary(Binary::Sub, predicted, y).unwrap();
    let square = b.binary(Binary::Mul, error, error).unwrap();
    let loss = reduce(&mut b, ReduceKind::Mean, &[0], square);
    let gradient = gradients(&mut b, loss, &[w]).unwrap()[0].unwrap();
    let momentum = parameter(&mut b, "optimizer.w.momentum");
    let kept = b.binary_scalar(Binary::Mul, momentum, 0.9).unwrap();
    let next = b.binary(Binary::Add, kept, gradient).unwrap();
    let change = b.binary_scalar(Binary::Mul, next, -lr).unwrap();
    let new = b.binary(Binary::Add, w, change).unwrap();
    let average = parameter(&mut b, "ema.w");
    let old = b.binary_scalar(Binary::Mul, average, 0.9).unwrap();
    let part = b.binary_scalar(Binary::Mul, new, 0.1).unwrap();
    let averaged = b.binary(Binary::Add, old, part).unwrap();
    graph.regions[0].watches = vec![update("loss", loss), update("at", step)];
    graph.updates = vec![update("w", new), update("optimizer.w.momentum", next), update("ema.w", averaged)];
    graph
}

/// The weight as an image of one row.
fn sample() -> Entry {
    let mut graph = Graph::new("line.sample");
    let mut b = builder(&mut graph);
    let w = parameter(&mut b, "w");
    let shape: Vec<Dim> = [1usize, 1, 1, 3].iter().map(|d| Dim::from(*d)).collect();
    let image = b.emit(Op::Reshape(Reshape { shape }), &[w]).unwrap();
    graph.regions[0].outputs = vec![image];
    let ty = (*graph.root().node(image).ty).clone();
    let outputs = vec![EntryOutput { name: "out".into(), ty, image: true }];
    Entry {
        name: "sample".into(),
        doc: None,
        params: Vec::new(),
        graph,
        outputs,
        data: Vec::new(),
        traced: Vec::new(),
    }
}

fn program(lr: f64) -> Program {
    let mut init = Graph::new("line.init");
    let mut b = builder(&mut init);
    let first = normal(&mut b, &[3], 1);
    init.updates = vec![update("w", first)];
    let mut extra_init = Graph::new("line.train.init");
    let mut b = builder(&mut extra_init);
    let w = parameter(&mut b, "w");
    let zero = b.emit(Op::Const(Const { value: 0.0, dtype: DType::F32 }), &[]).unwrap();
    let zero = b.emit(Op::Expand(Expand { shape: vec![Dim::from(3usize)] }), &[zero]).unwrap();
    extra_init.updates = vec![update("optimizer.w.momentum", zero), update("ema.w", w)];
    let train = TrainEntry {
        name: "train".into(),
        doc: None,
        steps: 20,
        batch: BATCH,
        accumulate: 1,
        ema: Some(0.9),
        graph: step(lr),
        data: Vec::new(),
        extra: vec![weight("optimizer.w.momentum", false), weight("ema.w", false)],
        extra_init,
        every: vec![EveryEntry { steps: 10, entries: vec![("sample".into(), sample())] }],
        watches: vec!["loss".into(), "at".into()],
    };
    Program {
        name: "Line".into(),
        doc: None,
        config: Vec::new(),
        weights: vec![weight("w", true)],
        init,
        entries: Vec::new(),
        trains: vec![train],
    }
}

/// y = x · (0.2, 0.5, 0.8); a pure function of the step.
struct Line(u64, Option<(u64, Arc<AtomicBool>)>);

impl Batches for Line {
    fn next(&mut self) -> Result<TrainBatch, Diagnostic> {
        if let Some((at, stop)) = &self.1
            && self.0 + 1 == *at
        {
            stop.store(true, Ordering::Relaxed);
        }
        let x: Vec<f32> = (0..BATCH * 3)
            .map(|i| crate::data::mix(self.0 * 1000 + i as u64) as f32 / u64::MAX as f32 - 0.5)
            .collect();
        let y: Vec<f32> = x.chunks(3).map(|r| 0.2 * r[0] + 0.5 * r[1] + 0.8 * r[2]).collect();
        let tensor = |v: Vec<f32>, s: &[usize]| Tensor::from_vec(v, s, &Device::Cpu).unwrap();
        let inputs = HashMap::from([("x".into(), tensor(x, &[BATCH, 3])), ("y".into(), tensor(y, &[BATCH]))]);
        let epoch = self.0 / 4;
        self.0 += 1;
        Ok(TrainBatch { epoch, inputs })
    }
}

fn options(folder: &Path) -> TrainOptions {
    let origin =
        Origin { file: "line.taper".into(), text: "pipeline Line() {}\n".into(), ..Origin::default() };
    TrainOptions { seed: 7, log_every: 1, save_every: 5, origin, ..TrainOptions::new(folder) }
}

fn train(program: &Program, options: TrainOptions) -> Result<Finished, Diagnostic> {
    let mut trainer = Trainer::new(program, &program.trains[0], options).map_err(|d| d[0].clone())?;
    let mut batches = Line(trainer.step(), None);
    trainer.run(&mut batches, &mut Quiet)
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let read = |n: &str| std::fs::read(folder.join(n)).unwrap();
    ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "samples/step-000020-sample.png"]
        .map(read)
        .into()
}

/// Lines without what depends on the clock.
fn log(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines().map(|l| l.split(",\"seconds\"").next().unwrap().to_string()).collect()
}

#[test]
fn a_regression_is_learned_and_the_folder_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let (program, mut options) = (program(0.05), options(folder.path()));
    options.steps = Some(400);
    (options.log_every, options.save_every) = (100, 100);
    let done = train(&program, options).unwrap();
    assert_eq!((done.step, done.stopped), (400, false));
    assert!(done.last.unwrap().value("loss").unwrap() < 1e-3);
    let (store, said) = crate::weights::load(&program.weights, folder.path(), true, &Device::Cpu).unwrap();
    assert!(said.is_empty(), "{said:?}");
    let w = store.get("w").unwrap().to_vec1::<f32>().unwrap();
    assert!(w.iter().zip([0.2, 0.5, 0.8]).all(|(a, b)| (a - b).abs() < 0.05), "{w:?}");
    for file in ["run.ron", "metrics.jsonl", "curves.png", "samples/step-000010-sample.png"] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
    assert_eq!(log(folder.path()).len(), 5);
    // One checkpoint is kept.
    assert_eq!(std::fs::read_dir(folder.path().join("checkpoints")).unwrap().count(), 1);
    let record = RunRecord::read(folder.path()).unwrap();
    assert_eq!((record.seed, record.steps, record.pipeline.as_str()), (7, 400, "Line"));
}

#[test]
fn resuming_equals_never_stopping() {
    let program = program(0.05);
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    train(&program, options(whole.path())).unwrap();
    // Ten steps by the number, then seven by a stop from outside, then the rest.
    train(&program, TrainOptions { steps: Some(10), ..options(parts.path()) }).unwrap();
    let stop: Arc<AtomicBool> = Arc::default();
    let resume = TrainOptions { resume: true, stop: stop.clone(), ..options(parts.path()) };
    let mut trainer = Trainer::new(&program, &program.trains[0], resume.clone()).unwrap();
    assert_eq!(trainer.step(), 10);
    let stopped = trainer.run(&mut Line(10, Some((17, stop))), &mut Quiet).unwrap();
    assert_eq!((stopped.step, stopped.stopped), (17, true));
    // What a killed process leaves: half a checkpoint, half a line, lines of steps that are lost.
    let half = parts.path().join("checkpoints/step-19.tmp");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("model.safetensors"), b"half").unwrap();
    let metrics = parts.path().join("metrics.jsonl");
    let mut text = std::fs::read_to_string(&metrics).unwrap();
    text.push_str(
        "{\"step\":18,\"epoch\":4,\"loss\":1.0,\"seconds\":1.0,\"images_per_second\":1.0}\n{\"step\":19,\"ep",
    );
    std::fs::write(&metrics, text).unwrap();
    let resume = TrainOptions { stop: Arc::default(), ..resume };
    train(&program, resume).unwrap();
    assert_eq!(files(whole.path()), files(parts.path()));
    assert_eq!(log(whole.path()), log(parts.path()));
    assert_eq!(log(parts.path()).len(), 20);
    assert!(!half.exists());
}

#[test]
fn given_weights_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let program = program(0.05);
    let mut given = options(folder.path());
    given.weights.insert("w", Tensor::new(&[9.0f32, 9.0, 9.0], &Device::Cpu).unwrap());
    given.weights.insert("other", Tensor::new(1.0f32, &Device::Cpu).unwrap());
    let trainer = Trainer::new(&program, &program.trains[0], given).unwrap();
    for path in ["w", "ema.w"] {
        assert_eq!(trainer.store().get(path).unwrap().to_vec1::<f32>().unwrap(), [9.0; 3]);
    }
    assert_eq!(trainer.store().len(), 3);
}

#[test]
fn another_run_is_not_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let program = program(0.05);
    train(&program, TrainOptions { steps: Some(2), ..options(folder.path()) }).unwrap();
    let refused = |o: TrainOptions| {
        let d = train(&program, o).unwrap_err();
        assert_eq!(d.code, codes::RESUME);
        format!("{} {:?} {:?}", d.message, d.notes, d.help)
    };
    assert!(refused(options(folder.path())).contains("holds a run already"));
    let resume = TrainOptions { resume: true, ..options(folder.path()) };
    let seed = refused(TrainOptions { seed: 8, ..resume.clone() });
    assert!(seed.contains("the seed was 7, is 8"), "{seed}");
    let mut changed = resume.clone();
    changed.origin.text = "pipeline Line(x: int = 1) {}\n".into();
    let text = refused(changed);
    assert!(text.contains("`line.taper` has changed: line 1 was `pipeline Line() {}`"), "{text}");
    let mut set = resume;
    set.origin.overrides = vec![("width".into(), "8".into())];
    assert!(refused(set).contains("`--set` was nothing, is width=8"));
    let nothing = tempfile::tempdir().unwrap();
    assert!(
        refused(TrainOptions { resume: true, ..options(nothing.path()) }).contains("is not a run folder")
    );
}

#[test]
fn a_loss_that_is_not_finite_keeps_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let program = program(1e6);
    let d = train(&program, TrainOptions { save_every: 1, ..options(folder.path()) }).unwrap_err();
    assert_eq!(d.code, codes::NOT_FINITE);
    let (store, _) = crate::weights::load(&program.weights, folder.path(), true, &Device::Cpu).unwrap();
    assert!(store.get("w").unwrap().to_vec1::<f32>().unwrap().iter().all(|v| v.is_finite()));
}

/// The mean pixel of each batch of the embedded data goes into a state.
fn pixels() -> Program {
    let mut graph = Graph::new("pixels.train");
    let mut b = builder(&mut graph);
    let image = Type::of(DType::U8, &[BATCH, 1, 28, 28]);
    let x = b.emit(Op::Input(Input { name: "x".into(), ty: image.clone() }), &[]).unwrap();
    let w = parameter(&mut b, "w");
    let x = b.emit(Op::Cast(crate::ops::Cast { dtype: DType::F32 }), &[x]).unwrap();
    let mean = Reduce { kind: ReduceKind::Mean, axes: vec![0, 1, 2, 3], keep: false };
    let mean = b.emit(Op::Reduce(mean), &[x]).unwrap();
    let half = b.binary_scalar(Binary::Mul, w, 0.5).unwrap();
    let next = b.binary(Binary::Add, half, mean).unwrap();
    graph.regions[0].watches = vec![update("loss", mean)];
    graph.updates = vec![update("w", next)];
    let mut program = program(0.05);
    let train = &mut program.trains[0];
    (train.graph, train.extra, train.ema) = (graph, Vec::new(), None);
    (train.extra_init, train.watches) = (Graph::new("none"), vec!["loss".into()]);
    train.data = vec![crate::graph::program::DataInput {
        input: "x".into(),
        dataset: "fashion_mnist".into(),
        split: "train[:40]".into(),
        field: "image".into(),
        augment: crate::data::Augment::default(),
        ty: image,
        span: Span::default(),
    }];
    program
}

#[test]
fn data_sets_are_read_in_an_order_that_resumes() {
    let program = pixels();
    let train = |folder: &Path, steps, resume, workers| {
        let options = TrainOptions { steps: Some(steps), resume, ..options(folder) };
        let mut trainer = Trainer::new(&program, &program.trains[0], options).unwrap();
        let data = DataOptions { data: None, seed: 7, start: trainer.batches_done(), workers };
        let mut batches = DataBatches::open(&program.trains[0], &data).unwrap();
        assert_eq!(batches.steps_per_epoch(), Some(5));
        trainer.run(&mut batches, &mut Quiet).unwrap();
    };
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    train(whole.path(), 12, false, 2);
    train(parts.path(), 7, false, 0);
    train(parts.path(), 12, true, 1);
    assert_eq!(log(whole.path()), log(parts.path()));
    let lines = log(whole.path());
    assert!(lines[4].contains("\"epoch\":0") && lines[5].contains("\"epoch\":1"), "{lines:?}");
    assert!(!whole.path().join("ema.safetensors").exists());
}

#[test]
fn what_was_learned_before_the_data_failed_is_kept() {
    struct Failing(Line);
    impl Batches for Failing {
        fn next(&mut self) -> Result<TrainBatch, Diagnostic> {
            if self.0.0 == 3 {
                return Err(Diagnostic::error(codes::IMAGE_UNREADABLE, "broken"));
            }
            self.0.next()
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let program = program(0.05);
    let mut trainer = Trainer::new(&program, &program.trains[0], options(folder.path())).unwrap();
    let d = trainer.run(&mut Failing(Line(0, None)), &mut Quiet).unwrap_err();
    assert_eq!(d.code, codes::IMAGE_UNREADABLE);
    let resumed = TrainOptions { resume: true, ..options(folder.path()) };
    assert_eq!(Trainer::new(&program, &program.trains[0], resumed).unwrap().step(), 3);
}

#[test]
#[ignore = "a measurement"]
fn overhead_of_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = program(0.01);
    program.trains[0].every.clear();
    let steps = 5000;
    let given =
        TrainOptions { steps: Some(steps), log_every: 1000, save_every: 100_000, ..options(folder.path()) };
    let done = train(&program, given).unwrap();
    let nodes = program.trains[0].graph.root().dag.node_count();
    let seconds = done.last.unwrap().seconds;
    println!("{:.1} us a step of {nodes} nodes on tiny tensors", seconds / steps as f64 * 1e6);
}

/// Killed after its last checkpoint was complete and before that was put at the top, a run needs no step more.
#[test]
fn a_run_killed_before_its_last_files_were_published_has_them_when_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    train(&program(0.05), TrainOptions { steps: Some(19), ..options(folder.path()) }).unwrap();
    std::fs::rename(at("model.safetensors"), at("kept")).unwrap();
    let resumed = || TrainOptions { resume: true, ..options(folder.path()) };
    train(&program(0.05), resumed()).unwrap();
    let last = std::fs::read(at("model.safetensors")).unwrap();
    std::fs::rename(at("kept"), at("model.safetensors")).unwrap();
    train(&program(0.05), resumed()).unwrap();
    assert!(std::fs::read(at("model.safetensors")).unwrap() == last);
}

/// Killed at random moments, a run ends with the bytes of one that never was.
#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    train(&program(0.05), TrainOptions { save_every: 1, ..options(whole.path()) }).unwrap();
    let child = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "train::tests::child_of_the_test_above", "--ignored"])
            .env("TAPER_TEST_FOLDER", killed.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let (mut kills, mut finished) = (0, false);
    for round in 0..60u64 {
        let mut process = child();
        // From before the first step to the middle of the run, at moments that never align with steps.
        std::thread::sleep(Duration::from_micros(10_000 + crate::data::mix(round) % 80_000));
        match process.try_wait().unwrap() {
            None => {
                process.kill().unwrap();
                process.wait().unwrap();
                kills += 1;
            }
            Some(status) => {
                assert!(status.success());
                finished = true;
                break;
            }
        }
    }
    if !finished {
        assert!(child().wait().unwrap().success());
    }
    assert!(kills > 0);
    assert_eq!(files(whole.path()), files(killed.path()));
    assert_eq!(log(whole.path()), log(killed.path()));
}

#[test]
#[ignore = "run by another test, in a process that is killed"]
fn child_of_the_test_above() {
    let Some(folder) = std::env::var_os("TAPER_TEST_FOLDER") else { return };
    let folder = Path::new(&folder);
    let options = TrainOptions { save_every: 1, resume: folder.join("run.ron").exists(), ..options(folder) };
    struct Slow(Line);
    impl Batches for Slow {
        fn next(&mut self) -> Result<TrainBatch, Diagnostic> {
            std::thread::sleep(Duration::from_millis(4));
            self.0.next()
        }
    }
    let program = program(0.05);
    let mut trainer = Trainer::new(&program, &program.trains[0], options).unwrap();
    let mut batches = Slow(Line(trainer.step(), None));
    trainer.run(&mut batches, &mut Quiet).unwrap();
}
