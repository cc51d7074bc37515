//! Our side: makes a case ready, then repeats it for each line on standard input.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use taper::CheckOptions;
use taper::graph::Graph;
use taper::graph::program::StaticValue;
use taper::optimize::{Options, optimize};
use taper::run::{Device, Executor, RunOptions, Silent, Tensor, candle_dtype, own};
use taper::source::MemorySources;
use taper::weights::{ParamStore, initialise_into};

use crate::cases::{self, Work};

/// `--ours CASE THREADS`.
pub fn main(arguments: &[String]) -> ExitCode {
    let [name, threads] = arguments else { return ExitCode::from(2) };
    let case = cases::all().into_iter().find(|c| c.name == *name);
    let Some(case) = case else { return ExitCode::from(2) };
    taper::run::set_threads(threads.parse().unwrap_or(2)).expect("threads");
    taper::run::keep_freed_memory();
    let mut ready = Ready::new(&case.work, &case.passes);
    let out = std::io::stdout();
    writeln!(out.lock(), "ready {}", ready.flops).expect("a reader");
    for line in std::io::stdin().lock().lines() {
        match line.as_deref() {
            Ok("go") => {
                let begun = Instant::now();
                ready.repeat();
                writeln!(out.lock(), "{}", begun.elapsed().as_secs_f64()).expect("a reader");
            }
            _ => break,
        }
    }
    writeln!(out.lock(), "{}", peak_kib()).expect("a reader");
    ExitCode::SUCCESS
}

/// Most memory that this process has held, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

/// A case, compiled, with weights and inputs.
struct Ready {
    executor: Executor,
    store: ParamStore,
    inputs: HashMap<String, Tensor>,
    trains: bool,
    step: u32,
    flops: f64,
}

impl Ready {
    fn new(work: &Work, passes: &Options) -> Ready {
        let (text, batch) = match work {
            Work::Graph { text, .. } => (text, None),
            Work::Train { text, batch } => (text, Some(*batch)),
        };
        let mut options = CheckOptions::default();
        if let Some(batch) = batch {
            options.train.push(("batch".into(), StaticValue::Int(batch as i64)));
        }
        let checked = taper::check(&MemorySources::single("case.taper", text), "case.taper", &options);
        let program = checked.program.as_ref().unwrap_or_else(|| panic!("{}", checked.render()));
        let mut store = ParamStore::new();
        initialise_into(&mut store, &program.init, 0, &Device::Cpu).expect("first values");
        let (graph, inputs): (&Graph, HashMap<String, Tensor>) = match work {
            Work::Graph { graph, inputs, .. } => {
                let entry = program.entries.iter().find(|e| e.name == *graph).expect("the graph");
                let made = inputs.iter().map(|(n, shape, time)| ((*n).into(), tensor(shape, *time)));
                (&entry.graph, made.collect())
            }
            Work::Train { .. } => {
                let entry = program.trains.first().expect("a training");
                initialise_into(&mut store, &entry.extra_init, 0, &Device::Cpu).expect("first values");
                let mut inputs = HashMap::new();
                for input in entry.graph.inputs() {
                    let shape = input.ty.constant_shape().expect("a constant shape");
                    let made = tensor(&shape, false).to_dtype(candle_dtype(input.ty.dtype));
                    inputs.insert(input.name.clone(), made.expect("numbers of that dtype"));
                }
                (&entry.graph, inputs)
            }
        };
        let graph = optimize(graph, passes);
        let shapes: BTreeMap<String, Vec<usize>> =
            inputs.iter().map(|(n, t)| (n.clone(), t.dims().to_vec())).collect();
        let executor = Executor::new(&graph, &shapes, &Device::Cpu).unwrap_or_else(|e| panic!("{e:?}"));
        // Weights that no update changes are transformed once, as a layer of the peer prepares them once.
        let executor = if batch.is_none() { executor.keeping_weights() } else { executor };
        let flops = executor.plan().summary.flops;
        let mut ready = Ready { executor, store, inputs, trains: batch.is_some(), step: 0, flops };
        // A first run pays for what later ones find ready, as in the peer.
        ready.repeat();
        ready
    }

    fn repeat(&mut self) {
        if self.trains {
            let step = Tensor::new(self.step as f32, &Device::Cpu).expect("a number");
            self.inputs.insert("step".into(), step);
        }
        let options = RunOptions { step: self.step, check_finite: false, ..RunOptions::default() };
        let store = &self.store;
        let out = self
            .executor
            .run(&self.inputs, &|path| store.get(path).cloned(), &options, &mut Silent)
            .unwrap_or_else(|e| panic!("{e:?}"));
        std::hint::black_box(&out.outputs);
        for (path, value) in out.updates {
            self.store.insert(path, own(&value).expect("a copy"));
        }
        self.step += 1;
    }
}

/// Numbers like normal ones (Irwin-Hall of order 4), the same in every run; or a timestep.
fn tensor(shape: &[usize], time: bool) -> Tensor {
    let n = shape.iter().product::<usize>();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let values: Vec<f32> = (0..n)
        .map(|_| if time { 500.0 } else { (uniform() + uniform() + uniform() + uniform() - 2.0) * 1.7 })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values")
}
