//! Samplers and schedules of the standard library against diffusers and the papers' equations, step by step:
//! `tests/fixtures/make_samplers.py` made the cases, and says where diffusers is not followed and why.

use std::collections::HashMap;

use taper::data::{Array, ArrayData, parse_safetensors};
use taper::elaborate::Request;
use taper::graph::program::StaticValue;
use taper::run::{Rng, Silent, Tensor, Watcher, to_f32_vec};
use taper::source::MemorySources;
use taper::{CheckOptions, Checked, Given, RunSettings, Session};

use crate::fences::{Disk, device, root};

/// Values of one image.
const PIXELS: usize = 32;

/// Values of each call of the network that are compared.
const SEEN: usize = 4;

/// The largest difference, relative to the largest value; the issue asks for 1e-4.
const TOLERANCE: f32 = 3e-5;

#[derive(serde::Deserialize)]
struct Case {
    graph: String,
    scale: f64,
    calls: usize,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(root().join("tests/fixtures/samplers.json")).expect("the cases");
    serde_json::from_str(&text).expect("a list of cases")
}

/// The numbers of the fixture, by name.
fn numbers() -> HashMap<String, Vec<f32>> {
    let bytes = std::fs::read(root().join("tests/fixtures/samplers.safetensors")).expect("the fixture");
    let arrays = parse_safetensors(&bytes).expect("a safetensors file");
    let floats = |a: Array| match a.data {
        ArrayData::F32(v) => v,
        other => panic!("floats of single precision, not {other:?}"),
    };
    arrays.into_iter().map(|(name, a)| (name, floats(a))).collect()
}

fn checked() -> Checked {
    let file = root().join("tests/fixtures/samplers.taper");
    let checked = taper::check(&Disk, &file.display().to_string(), &CheckOptions::default());
    assert!(checked.diagnostics.is_empty(), "{}", checked.render());
    checked
}

fn session(settings: RunSettings) -> Session {
    let settings = RunSettings { device: device(), ..settings };
    Session::open(checked().program.expect("a pipeline"), &settings).expect("a device")
}

fn images(values: Vec<f32>) -> Given {
    let x = Array::new(vec![values.len() / PIXELS, 2, 4, 4], ArrayData::F32(values)).expect("images");
    Given { arrays: vec![("x".into(), x)], ..Given::default() }
}

fn run(session: &mut Session, graph: &str, x: Vec<f32>, watcher: &mut dyn Watcher) -> Vec<f32> {
    let entry = session.program().entries.iter().find(|e| e.name == graph).expect("the graph").clone();
    let given = if entry.params.is_empty() { Given::default() } else { images(x) };
    let result = session.run(&entry, given, watcher);
    let result = result.unwrap_or_else(|d| panic!("{graph}: {:?}", d.map(|d| d.message)));
    match &result.outputs[0].1.data {
        ArrayData::F32(v) => v.clone(),
        other => panic!("floats of single precision, not {other:?}"),
    }
}

/// What each call of the network was given: those of the loop by step, and those beside it.
#[derive(Default)]
struct Calls {
    inside: Vec<Vec<f32>>,
    beside: Vec<Vec<f32>>,
}

impl Watcher for Calls {
    fn watch(&mut self, name: &str, _: usize, of: usize, value: &Tensor) {
        if name == "seen" {
            let values = to_f32_vec(value).expect("numbers")[..SEEN].to_vec();
            let list = if of > 1 { &mut self.inside } else { &mut self.beside };
            // A learned variance asks twice for what is computed once.
            if list.last() != Some(&values) {
                list.push(values);
            }
        }
    }
}

impl Calls {
    /// In their order: what is beside the loop comes after it, but where a method starts with other steps.
    fn ordered(self, graph: &str) -> Vec<Vec<f32>> {
        let start = graph.starts_with("plms") || graph.starts_with("pndm");
        let (a, b) = if start { (self.beside, self.inside) } else { (self.inside, self.beside) };
        a.into_iter().chain(b).collect()
    }
}

fn error(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let off = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
    off.fold(0.0f32, |m, e| if e.is_nan() { f32::INFINITY } else { m.max(e) }) / largest
}

#[test]
fn every_step_of_every_sampler_agrees_with_its_reference() {
    let (cases, numbers) = (cases(), numbers());
    let mut session = session(RunSettings { seed: 7, rng: Rng::Torch, ..RunSettings::default() });
    let (mut worst, mut wrong, mut calls) = (0.0f32, Vec::new(), 0);
    for (i, case) in cases.iter().enumerate() {
        let x = numbers["x"].iter().map(|v| (f64::from(*v) * case.scale) as f32).collect();
        let mut seen = Calls::default();
        let ours = run(&mut session, &case.graph, x, &mut seen);
        let mut off = error(&ours, &numbers["final"][i * PIXELS..][..PIXELS]);
        let seen = seen.ordered(&case.graph);
        if seen.len() == case.calls {
            let theirs = numbers["calls"][calls * SEEN..].chunks(SEEN);
            off = seen.iter().zip(theirs).fold(off, |m, (a, b)| m.max(error(a, b)));
        } else {
            wrong.push(format!("{}: {} calls, and {} are expected", case.graph, seen.len(), case.calls));
        }
        calls += case.calls;
        worst = worst.max(off);
        if off > TOLERANCE {
            wrong.push(format!("{}: off by {off:e}", case.graph));
        }
    }
    assert_eq!(calls * SEEN, numbers["calls"].len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() > 430 && worst > 0.0, "{} cases, off by {worst:e} at most", cases.len());
}

#[test]
fn schedules_agree_with_diffusers() {
    let numbers = numbers();
    let mut session = session(RunSettings::default());
    let mut count = 0;
    for (name, theirs) in numbers.iter().filter_map(|(n, v)| Some((n.strip_prefix("schedule.")?, v))) {
        let ours = run(&mut session, &format!("schedule_{name}"), Vec::new(), &mut Silent);
        for (a, b) in ours.iter().zip(theirs) {
            assert!((a - b).abs() <= 2e-6 * b.abs() + 1e-12, "{name}: {a}, and {b} is expected");
        }
        count += 1;
    }
    assert_eq!(count, 6);
}

#[test]
fn an_image_alone_is_the_image_of_the_batch_for_every_sampler() {
    let x: Vec<f32> = numbers()["x"]
        .iter()
        .cycle()
        .take(4 * PIXELS)
        .enumerate()
        .map(|(i, v)| v + i as f32 / 500.0)
        .collect();
    let mut whole = session(RunSettings { seed: 3, ..RunSettings::default() });
    let mut third = session(RunSettings { seed: 3, only: Some(2), ..RunSettings::default() });
    let mut noisy = 0;
    for case in cases() {
        let batch = run(&mut whole, &case.graph, x.clone(), &mut Silent);
        let alone = run(&mut third, &case.graph, x.clone(), &mut Silent);
        let same =
            alone.iter().map(|v| v.to_bits()).eq(batch[2 * PIXELS..3 * PIXELS].iter().map(|v| v.to_bits()));
        assert!(same, "{}: {alone:?}, and {:?} in the batch", case.graph, &batch[2 * PIXELS..3 * PIXELS]);
        let first = run(&mut third, &case.graph, x[..3 * PIXELS].to_vec(), &mut Silent);
        assert_eq!(alone, first, "{}: a smaller batch", case.graph);
        noisy += usize::from(case.graph.contains("eta1") || case.graph.starts_with("ddpm"));
    }
    assert!(noisy > 60, "{noisy} cases draw noise");
}

#[test]
fn a_mismatch_of_denoiser_and_sampler_is_an_error_of_the_check() {
    let errors = |call: &str| {
        let text = format!(
            "use std.denoiser.{{\n  denoiser, edm_model, eps_model, flow_model, learned_range, v_model, x0_model\n}}\n\
             use std.guidance\nuse std.loss\nuse std.metric\nuse std.sampler\nuse std.schedule\n\n\
             s = schedule.linear()\nz = schedule.zero_terminal_snr(s)\n\
             fn net(x, t) = 0.1 * x + t\nfn wide(x, t) = cat([x, x], axis = 1)\nfn flat(x, t) = sum(0 * x, axis = 1)\n\
             fn either(y) = if y == 0 {{ eps_model(net) }} else {{ v_model(net) }}\n\n\
             pipeline P() {{\n  graph go(x: [n, 4]) -> [n, 4] {{\n    {call}\n  }}\n}}\n"
        );
        let checked =
            taper::check(&MemorySources::single("p.taper", &text), "p.taper", &CheckOptions::default());
        let errors = checked.diagnostics.iter().filter(|d| d.is_error());
        errors.map(|d| format!("{}: {}", d.code, d.message)).collect::<Vec<_>>()
    };
    for fits in [
        "sampler.ddim(x, eps_model(net), schedule.leading(s, 10))",
        "sampler.ddim(x, { predicts: \"eps\", call: net }, schedule.leading(s, 10))",
        "sampler.ddim(x, v_model(net), schedule.trailing(z, 10))",
        "sampler.ddim(x, eps_model(net), schedule.inverted(schedule.leading(s, 10)))",
        "sampler.ddpm(x, learned_range(eps_model(wide)), schedule.leading(s, 10))",
        "sampler.euler(x, edm_model(net), schedule.ve(schedule.karras(10)))",
        "sampler.ddim(x, eps_model(net), schedule.even(s, 1, to_first = false))",
        "sampler.flow_euler(x, flow_model(net), schedule.flow([1.0, 0.5]))",
    ] {
        assert_eq!(errors(fits), Vec::<String>::new(), "{fits}");
    }
    for (call, says) in [
        // Denoisers.
        ("sampler.ddim(x, net, schedule.leading(s, 10))", "what the network predicts: eps_model(net)"),
        ("loss.simple(net, s, x)[:, none] + x", "what the network predicts: eps_model(net)"),
        ("sampler.ddim(x, denoiser(\"noise\", net), schedule.leading(s, 10))", "\"noise\" is given"),
        ("sampler.ddpm(x, eps_model(wide), schedule.leading(s, 10))", "learned_range(eps_model(net))?"),
        (
            "sampler.ddpm(x, learned_range(eps_model(net)), schedule.leading(s, 10))",
            "twice the channels of x, which has 4",
        ),
        ("guidance.classifier_free(either, 1, 0).call(x, 5)", "predicts v, and without it eps"),
        ("guidance.classifier_free(fn (y) = net, 1, 0).call(x, 5)", "what the network predicts"),
        // Processes.
        ("sampler.ddim(x, flow_model(net), schedule.leading(s, 10))", "flow(sigmas) of std.schedule"),
        ("sampler.euler(x, v_model(net), schedule.ve(schedule.karras(10)))", "a variance-preserving grid"),
        ("sampler.ddim(x, edm_model(net), schedule.leading(s, 10))", "called with sigma as its timestep"),
        (
            "sampler.ddim(x, guidance.classifier(eps_model(net), flat, s), schedule.ve([2.0, 1.0]))",
            "counts the timesteps of a schedule",
        ),
        ("guidance.classifier(flow_model(net), flat, s).call(x, 5)", "flow(sigmas) of std.schedule"),
        ("guidance.invert(x, flow_model(net), schedule.leading(s, 10))", "flow(sigmas) of std.schedule"),
        (
            "guidance.inpaint(x, flow_model(net), schedule.leading(s, 10), x, x)",
            "flow(sigmas) of std.schedule",
        ),
        ("loss.vlb(flow_model(net), s, x)[:, none] + x", "flow(sigmas) of std.schedule"),
        ("sampler.flow_euler(x, eps_model(net), schedule.leading(s, 10))", "straight paths"),
        ("sampler.tcd(x, eps_model(net), schedule.ve([2.0, 1.0]))", "tcd counts timesteps"),
        ("sampler.consistency(x, x0_model(net), schedule.leading(s, 10))", "at full strength"),
        // Where alpha or sigma is 0.
        (
            "sampler.ddim(x, eps_model(net), schedule.trailing(z, 5))",
            "says nothing of the image where alpha is 0",
        ),
        (
            "sampler.flow_euler(x, eps_model(net), schedule.flow([1.0, 0.5]))",
            "says nothing of the image where alpha is 0",
        ),
        ("loss.vlb(eps_model(net), z, x)[:, none] + x", "says nothing of the image where alpha is 0"),
        ("sampler.heun(x, v_model(net), schedule.trailing(z, 10))", "divides by alpha"),
        (
            "sampler.ddim(x, x0_model(net), schedule.inverted(schedule.leading(s, 10)))",
            "invert of std.guidance",
        ),
        (
            "sampler.ddim(x, eps_model(net), schedule.inverted(schedule.leading(s, 10)), on_x0 = guidance.clip())",
            "invert of std.guidance",
        ),
        (
            "sampler.heun(x, eps_model(net), schedule.inverted(schedule.leading(s, 10)))",
            "invert of std.guidance",
        ),
        (
            "sampler.dpm_solver(x, eps_model(net), schedule.leading(s, 10), of = \"eps\")",
            "cannot step to the clean image",
        ),
        // Grids.
        (
            "sampler.ddim(x, eps_model(net), schedule.leading(s, 1001))",
            "steps is 1 to 1000, and 1001 is given",
        ),
        ("sampler.ddim(x, eps_model(net), schedule.leading(s, 1000, to_first = false))", "steps is 1 to 999"),
        ("sampler.ddim(x, eps_model(net), schedule.linear_steps(s, 1500))", "steps is 1 to 1000"),
        ("sampler.ddim(x, eps_model(net), schedule.quadratic_steps(s, 0))", "and 0 is given"),
        ("sampler.ddim(x, eps_model(net), schedule.leading(s, 1))", "trailing(s, 1)"),
        ("sampler.ddim(x, eps_model(net), schedule.distilled(s, 60))", "steps is 1 to 50"),
        ("sampler.ddim(x, eps_model(net), schedule.ve([1.0, 2.0]))", "sigmas go down"),
        ("sampler.ddim(x, eps_model(net), schedule.ve([]))", "at least one step"),
        ("sampler.ddim(x, flow_model(net), schedule.flow([1.5, 0.5]))", "sigmas lie in 0 to 1"),
        (
            "sampler.ddim(x, eps_model(net), schedule.at(s, [500, 200], previous = [600, 100]))",
            "below its own",
        ),
        (
            "sampler.ddim(x, eps_model(net), schedule.at(s, [500, 200], previous = [100]))",
            "of the 2 steps, and has 1",
        ),
        // Options.
        ("sampler.ddim(x, eps_model(net), schedule.leading(s, 10), eta = -0.5)", "eta is 0"),
        (
            "sampler.dpm_solver(x, eps_model(net), schedule.leading(s, 10), solver = \"rk4\")",
            "\"rk4\" is given",
        ),
        ("sampler.unipc(x, eps_model(net), schedule.leading(s, 10), solver = \"bh3\")", "\"bh3\" is given"),
        (
            "sampler.ddpm(x, learned_range(eps_model(wide)), schedule.leading(s, 10), variance = \"fixd\")",
            "\"fixd\" is given",
        ),
        ("sampler.edm(x, eps_model(net), schedule.leading(s, 10), s_churn = -1)", "s_churn is 0 or more"),
        (
            "sampler.annealed_langevin(x, eps_model(net), schedule.ve([2.0]), steps = 0)",
            "1 or more, and 0 is given",
        ),
        (
            "sampler.predictor_corrector(x, eps_model(net), schedule.ve([2.0]), corrections = -1)",
            "0 or more, and -1 is given",
        ),
        (
            "guidance.inpaint(x, eps_model(net), schedule.leading(s, 10), x, x, resample = 0)",
            "1 or more, and 0 is given",
        ),
        ("guidance.dynamic_threshold(99.5)(x)", "0 to 1, and 99.5 is given"),
        (
            "guidance.classifier(eps_model(net), flat, s, guidance.interval(2, 9, 3)).call(x, 5)",
            "the smaller timestep",
        ),
        ("loss.min_snr(eps_model(net), s, x, gamma = 0)[:, none] + x", "above 0"),
        ("float(metric.variational_bound(eps_model(net), s, x, stride = -3))[:, none] + x", "-3 is given"),
        ("float(metric.precision_recall(x, x, k = 0).recall) + x", "from 1, and 0 is given"),
    ] {
        let found = errors(call);
        assert!(
            found.len() == 1 && found[0].starts_with("E0309") && found[0].contains(says),
            "{call}: {found:#?}"
        );
    }
    // A schedule for a grid, or both in the other order: the first error says so.
    for call in [
        "sampler.ddim(x, eps_model(net), s)",
        "sampler.heun(x, eps_model(net), s)",
        "sampler.ddim(x, schedule.leading(s, 10), eps_model(net))",
    ] {
        let found = errors(call);
        assert!(found[0].contains("a sampler takes x, a denoiser and a grid"), "{call}: {found:#?}");
    }
}

/// All images are 0, so that what the sampler gives is the noise that is left. An ancestral step leaves that of its
/// level, whatever its length; a reverse diffusion step (Song et al. 2021, eq. 46) leaves `(to / from)^4` of the variance that
/// it finds and adds `from^2 - to^2`.
#[test]
fn an_ancestral_predictor_leaves_the_noise_of_the_level() {
    let text = "use std.denoiser.{x0_model}\nuse std.sampler\nuse std.schedule\n\n\
                pipeline P() {\n  graph left(ancestral: bool = true) -> f32[] {\n    \
                grid = schedule.ve([8.0, 4.0, 2.0], last = 1.0)\n    \
                model = x0_model(fn (x, t) = 0 * x)\n    \
                y = sampler.predictor_corrector(8 * normal([256, 256]), model, grid, 0, ancestral = ancestral)\n    \
                mean(y^2)\n  }\n}\n";
    let left = |ancestral: bool| {
        let request = Request {
            entry: Some(("left".into(), vec![("ancestral".into(), StaticValue::Bool(ancestral))])),
            ..Request::default()
        };
        let options = CheckOptions { request, ..CheckOptions::default() };
        let checked = taper::check(&MemorySources::single("p.taper", text), "p.taper", &options);
        assert!(checked.diagnostics.is_empty(), "{}", checked.render());
        let mut session =
            Session::open(checked.program.expect("a pipeline"), &RunSettings::default()).expect("a device");
        let entry = checked.entry.expect("the graph");
        let result = session.run(&entry, Given::default(), &mut Silent).expect("it runs");
        match result.outputs[0].1.data {
            ArrayData::F32(ref v) => v[0],
            ref other => panic!("a number of single precision, not {other:?}"),
        }
    };
    let reverse = [(8.0, 4.0), (4.0, 2.0), (2.0, 1.0_f32)]
        .iter()
        .fold(64.0, |v, (from, to)| (to / from).powi(4) * v + from * from - to * to);
    for (ancestral, want) in [(true, 1.0), (false, reverse)] {
        let found = left(ancestral);
        assert!((found / want - 1.0).abs() < 0.03, "{found} beside {want}");
    }
}
