//! Layers and models of the standard library against PyTorch and diffusers: values, what is inside, gradients,
//! a step of Adam. `tests/fixtures/make_nn.py` and `make_unet.py` made what they are compared with.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use taper::data::{Array, parse_safetensors};
use taper::elaborate::Request;
use taper::graph::program::TrainEntry;
use taper::run::{
    Device, Executor, Outputs, RunOptions, Silent, Tensor, from_array, open, to_array, to_f32_vec,
};
use taper::weights::{self, ParamStore, initialise_into};
use taper::{CheckOptions, Checked, Given, RunResult, RunSettings, Session};
use tempfile::TempDir;

use crate::fences::{Disk, device, root};

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// The arrays of a .safetensors file.
fn arrays(path: &Path) -> HashMap<String, Array> {
    let bytes = std::fs::read(path).expect("the fixture");
    parse_safetensors(&bytes).expect("a safetensors file").into_iter().collect()
}

fn numbers(array: &Array) -> Vec<f32> {
    let tensor = from_array(array, &Device::Cpu).expect("a tensor");
    let tensor = tensor.to_dtype(candle_core::DType::F32).expect("floats");
    to_f32_vec(&tensor).expect("its values")
}

/// The largest difference of two tensors, relative to the largest value of the second, or to `floor` if that
/// is larger.
fn error(ours: &[f32], theirs: &[f32], floor: f32) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(floor, |m, v| m.max(v.abs()));
    let off = ours.iter().zip(theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    if off == 0.0 { 0.0 } else { off / largest }
}

/// Collects what is off by more than its tolerance.
#[derive(Default)]
struct Report {
    count: usize,
    worst: f32,
    wrong: Vec<String>,
}

impl Report {
    fn add(&mut self, name: &str, ours: &[f32], theirs: &[f32], tolerance: f32, floor: f32) {
        self.count += 1;
        if ours.len() != theirs.len() {
            self.wrong.push(format!("{name}: {} values, and {} are expected", ours.len(), theirs.len()));
            return;
        }
        let e = error(ours, theirs, floor);
        self.worst = self.worst.max(e);
        // Not a number is never close.
        if e.is_nan() || e > tolerance {
            self.wrong.push(format!("{name}: off by {e:e}, {tolerance:e} is allowed"));
        }
    }

    fn done(&self, what: &str) {
        assert!(self.wrong.is_empty(), "{what}:\n{}", self.wrong.join("\n"));
    }
}

/// What an error of this gradient is relative to at least. What is added to all keys alike does not change a
/// softmax, so that the bias of keys has no gradient but rounding, which is compared with the other gradients.
fn floor(key: &str, largest: f32) -> f32 {
    if key.ends_with("to_k.bias") { 1e-3 * largest } else { 0.0 }
}

fn checked(file: &Path, options: &CheckOptions) -> Checked {
    let checked = taper::check(&Disk, &file.display().to_string(), options);
    assert!(checked.program.is_some(), "{}", checked.render());
    checked
}

/// Runs an entry point with the weights of a file.
fn run(file: &Path, weights: &Path, options: &CheckOptions, inputs: Vec<(String, Array)>) -> RunResult {
    let checked = checked(file, options);
    let entry = checked.entry.clone().expect("the entry that was asked for");
    let settings = RunSettings { device: device(), ..RunSettings::default() };
    let mut session = Session::open(checked.program.expect("a pipeline"), &settings).expect("a device");
    session.load_weights(Some(weights), file).expect("the weights fit");
    let given = Given { arrays: inputs, ..Given::default() };
    session.run(&entry, given, &mut Silent).expect("a result")
}

/// One step of a training on given data.
fn step(train: &TrainEntry, store: &ParamStore, data: &HashMap<String, Array>, optimize: bool) -> Outputs {
    let device = open(device().parse().expect("a device")).expect("the GPU");
    let mut inputs: HashMap<String, Tensor> = train
        .data
        .iter()
        .map(|d| (d.input.clone(), from_array(&data[&d.field], &device).expect("a tensor")))
        .collect();
    inputs.insert("step".into(), Tensor::new(0f32, &device).expect("a number"));
    let graph = match optimize {
        true => taper::optimize::optimize(&train.graph, &taper::optimize::Options::default()),
        false => train.graph.clone(),
    };
    let shapes: BTreeMap<String, Vec<usize>> =
        inputs.iter().map(|(n, t)| (n.clone(), t.dims().to_vec())).collect();
    let executor = Executor::new(&graph, &shapes, &device).expect("the inputs fit");
    let params = |path: &str| store.get(path).cloned();
    executor.run(&inputs, &params, &RunOptions::default(), &mut Silent).expect("a step")
}

fn watched(out: &Outputs, name: &str) -> Vec<f32> {
    let (_, tensor) = out.watches.iter().find(|(n, _)| n == name).expect("a watched value");
    to_f32_vec(tensor).expect("its value")
}

/// The data set of a case: its training inputs, as a file that the check can read.
fn data_file(dir: &TempDir, golden: &HashMap<String, Array>) -> (PathBuf, HashMap<String, Array>) {
    let path = dir.path().join("train.safetensors");
    let fields: HashMap<String, Array> = ["x", "t", "y", "noise"]
        .iter()
        .filter_map(|n| golden.get(*n).map(|a| (n.to_string(), a.clone())))
        .collect();
    let tensors: Vec<(&String, Tensor)> =
        fields.iter().map(|(n, a)| (n, from_array(a, &Device::Cpu).expect("a tensor"))).collect();
    weights::store::save(tensors.iter().map(|(n, t)| (n.as_str(), t)), &path, &BTreeMap::new())
        .expect("the data set");
    (path, fields)
}

/// One U-Net of `make_unet.py`, whole.
fn unet(name: &str, traced: usize) {
    let file = fixture(&format!("unet_{name}.taper"));
    let weights = fixture(&format!("unet_{name}.safetensors"));
    let golden = arrays(&fixture(&format!("unet_{name}_golden.safetensors")));
    let dir = TempDir::new().expect("a folder");
    let (data, fields) = data_file(&dir, &golden);
    let expected = |key: &str| numbers(&golden[key]);

    // Forward, and what every block inside gave.
    let request =
        Request { entry: Some(("forward".into(), vec![])), trace: vec!["unet".into()], ..Request::default() };
    let options = CheckOptions { data: Some(data.clone()), request, ..CheckOptions::default() };
    let inputs = fields.iter().filter(|(n, _)| *n != "noise").map(|(n, a)| (n.clone(), a.clone())).collect();
    let result = run(&file, &weights, &options, inputs);
    let mut forward = Report::default();
    forward.add("out", &numbers(&result.outputs[0].1), &expected("out"), 1e-4, 0.0);
    forward.done(name);
    let ours: HashMap<&str, &Array> = result.traced.iter().map(|(n, a)| (n.as_str(), a)).collect();
    let mut inside = Report::default();
    for (key, theirs) in &golden {
        let Some(path) = key.strip_prefix("trace.") else { continue };
        match ours.get(format!("unet.{path}").as_str()) {
            Some(array) => inside.add(path, &numbers(array), &numbers(theirs), 1e-4, 0.0),
            // Activations are functions here, which have no path.
            None => assert!(
                ["conv_act", "nonlinearity", "act"].contains(&path.rsplit('.').next().unwrap_or_default()),
                "{name}: nothing is called at `unet.{path}`"
            ),
        }
    }
    inside.done(name);
    assert_eq!(inside.count, traced, "{name}: blocks that were compared");

    // Every gradient of a training step, and the loss before and after one step of Adam; with and without
    // the rewriting passes.
    let options = CheckOptions { data: Some(data), ..CheckOptions::default() };
    let program = checked(&file, &options).program.expect("a pipeline");
    let (store, _) = weights::load(&program.weights, &weights, true, &Device::Cpu).expect("the weights fit");
    let train = |name: &str| program.trains.iter().find(|t| t.name == name).expect("a training");
    let largest = golden
        .iter()
        .filter(|(k, _)| k.starts_with("grad."))
        .flat_map(|(_, a)| numbers(a))
        .fold(0.0f32, |m, v| m.max(v.abs()));
    for optimize in [false, true] {
        let out = step(train("gradients"), &store, &fields, optimize);
        let mut gradients = Report::default();
        gradients.add("loss", &watched(&out, "loss"), &expected("loss"), 1e-5, 0.0);
        for (path, tensor) in &out.updates {
            let ours = to_f32_vec(tensor).expect("a gradient");
            let key = format!("grad.{}", path.strip_prefix("unet.").expect("a weight of the model"));
            gradients.add(&key, &ours, &expected(&key), 1e-3, floor(&key, largest));
        }
        gradients.done(name);
        let theirs = golden.keys().filter(|k| k.starts_with("grad.")).count();
        assert_eq!(gradients.count, theirs + 1, "{name}: gradients that were compared");
    }
    let train = train("step");
    let mut stepped = store.clone();
    initialise_into(&mut stepped, &train.extra_init, 0, &Device::Cpu).expect("the optimizer's states");
    let out = step(train, &stepped, &fields, true);
    for (path, tensor) in &out.updates {
        stepped.insert(path.clone(), tensor.clone());
    }
    let mut adam = Report::default();
    let after = step(train, &stepped, &fields, true);
    adam.add("loss after a step", &watched(&after, "loss"), &expected("loss_after"), 1e-4, 0.0);
    adam.done(name);
}

#[test]
fn the_published_kind_of_unet() {
    unet("ddpm", 55);
}

#[test]
fn a_unet_of_classes_with_scale_and_shift() {
    unet("classes", 55);
}

#[test]
fn a_unet_of_odd_widths_and_an_oblong_image() {
    unet("odd_widths", 14);
}

#[test]
fn a_unet_resampled_by_residual_blocks() {
    unet("resnet_resampling", 17);
}

#[test]
fn a_unet_on_odd_sizes() {
    unet("odd_sizes", 14);
}

#[test]
fn layers() {
    let (file, weights) = (fixture("nn.taper"), fixture("nn.safetensors"));
    let golden = arrays(&fixture("nn_golden.safetensors"));
    let request = Request { entry: Some(("outputs".into(), vec![])), ..Request::default() };
    let options = CheckOptions { request, ..CheckOptions::default() };
    let result = run(&file, &weights, &options, vec![]);
    assert!(result.warnings.is_empty(), "{:?}", result.warnings);
    let mut values = Report::default();
    for (out, array) in &result.outputs {
        let key = format!("{}.out", out.name);
        assert_eq!(array.shape, golden[&key].shape, "{key}");
        // The angles of timesteps near 1,000 are known to 6e-5 in f32.
        let tolerance = if golden.contains_key(&format!("{}.grad.x", out.name)) { 1e-5 } else { 2e-4 };
        values.add(&key, &numbers(array), &numbers(&golden[&key]), tolerance, 0.0);
    }
    values.done("layers");
    assert_eq!(values.count, golden.keys().filter(|k| k.ends_with(".out")).count());

    let program = checked(&file, &options).program.expect("a pipeline");
    let (store, _) = weights::load(&program.weights, &weights, true, &Device::Cpu).expect("the weights fit");
    for optimize in [false, true] {
        let out = step(&program.trains[0], &store, &HashMap::new(), optimize);
        let mut report = Report::default();
        for (path, tensor) in &out.updates {
            let (layer, key) = path.split_once('.').expect("a path under a layer");
            let array = to_array(tensor).expect("an array");
            let (kind, tolerance) = if golden.contains_key(&format!("{layer}.state.{key}")) {
                ("state", 1e-6)
            } else {
                ("grad", 1e-4)
            };
            let theirs = &golden[&format!("{layer}.{kind}.{key}")];
            assert_eq!(array.shape, theirs.shape, "{path}");
            report.add(path, &numbers(&array), &numbers(theirs), tolerance, floor(path, 10.0));
        }
        report.done("gradients and states of layers");
        let theirs = golden.keys().filter(|k| !k.ends_with(".out")).count();
        assert_eq!(report.count, theirs, "gradients and states that were compared");
    }
}

#[test]
fn dropout_keeps_the_mean_and_rests_outside_training() {
    let text = "use std.nn.{Dropout}\nuse std.optim.sgd\n\npipeline P() {\n  scale = param([1], init = 1.0)\n  \
                drop = Dropout(0.3)\n\n  graph f(x: [n, k]) -> [n, k] {\n    x -> drop\n  }\n\n  \
                train (steps = 1) {\n    y = ones([200, 500]) * scale -> drop\n    \
                watch zero = mean(float(y == 0))\n    watch ave = mean(y)\n    watch top = max(y)\n    \
                minimize mean(y) with sgd()\n  }\n}\n";
    let sources = taper::source::MemorySources::single("p.taper", text);
    let checked = taper::check(&sources, "p.taper", &CheckOptions::default());
    let program = checked.program.clone().unwrap_or_else(|| panic!("{}", checked.render()));
    let mut store = ParamStore::new();
    initialise_into(&mut store, &program.init, 0, &Device::Cpu).expect("first values");
    let out = step(&program.trains[0], &store, &HashMap::new(), true);
    // 100,000 draws: one standard deviation is 0.0015 of the share, 0.002 of the mean.
    assert!((watched(&out, "zero")[0] - 0.3).abs() < 0.007, "{:?}", watched(&out, "zero"));
    assert!((watched(&out, "ave")[0] - 1.0).abs() < 0.01, "{:?}", watched(&out, "ave"));
    assert!((watched(&out, "top")[0] - 1.0 / 0.7).abs() < 1e-5, "{:?}", watched(&out, "top"));
    assert_eq!(program.entries[0].graph.root().dag.node_count(), 1, "outside training it does nothing");
}

/// The keys of the published checkpoint google/ddpm-cifar10-32 (as diffusers 0.42 saves it) with their shapes.
#[test]
fn keys_of_the_published_checkpoint() {
    let text = std::fs::read_to_string(fixture("unet_ddpm_cifar10_keys.txt")).expect("the list of keys");
    let theirs: BTreeMap<&str, &str> = text.lines().filter_map(|l| l.split_once('\t')).collect();
    let program =
        checked(&root().join("pipelines/ddpm_cifar10.taper"), &CheckOptions::default()).program.expect("it");
    let shapes = program.weights.iter().map(|w| {
        let shape: Vec<String> = w.ty.shape.iter().map(ToString::to_string).collect();
        (w.path.strip_prefix("unet.").expect("a weight of the model").to_string(), shape.join("x"))
    });
    let ours: BTreeMap<String, String> = shapes.collect();
    assert_eq!(theirs.len(), 328);
    assert!(ours.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(theirs), "{ours:?}");
}

#[test]
fn older_names_of_attention_load_by_a_layout() {
    let text = std::fs::read_to_string(fixture("unet_ddpm.taper")).expect("the fixture");
    let text = text
        .replace("from \"unet.safetensors\"", "from \"unet.safetensors\" as std.layouts.attention_blocks");
    let dir = TempDir::new().expect("a folder");
    let golden = arrays(&fixture("unet_ddpm_golden.safetensors"));
    let (data, _) = data_file(&dir, &golden);
    let options = CheckOptions { data: Some(data), ..CheckOptions::default() };
    let sources = taper::source::MemorySources::single("p.taper", &text);
    let checked = taper::check(&sources, "p.taper", &options);
    let program = checked.program.clone().unwrap_or_else(|| panic!("{}", checked.render()));
    let older = |key: &str| {
        let names = [
            (".to_q.", ".query."),
            (".to_k.", ".key."),
            (".to_v.", ".value."),
            (".to_out.0.", ".proj_attn."),
        ];
        names.iter().fold(key.to_string(), |k, (new, old)| k.replace(new, old))
    };
    let weights = arrays(&fixture("unet_ddpm.safetensors"));
    for names in [older as fn(&str) -> String, str::to_string] {
        let tensors: Vec<(String, Tensor)> =
            weights.iter().map(|(k, a)| (names(k), from_array(a, &Device::Cpu).expect("a tensor"))).collect();
        let path = dir.path().join("unet.safetensors");
        weights::store::save(tensors.iter().map(|(n, t)| (n.as_str(), t)), &path, &BTreeMap::new())
            .expect("the weights");
        let found = weights::check(&program.weights, dir.path(), true);
        assert!(found.is_empty(), "{found:?}");
    }
}
