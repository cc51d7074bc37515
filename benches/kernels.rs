//! Products and convolutions, as a graph evaluates them: GFLOP/s of each, beside the machine's peak.
//!
//!     cargo bench --bench kernels [-- FILTER]
//!     RAYON_NUM_THREADS=1 TAPER_BENCH=cpu cargo bench --bench kernels
//!
//! Criterion prints GFLOP/s as `Gelem/s`; a Winograd convolution counts the operations that it saves. With
//! `TAPER_BENCH=cpu` the time is that of all threads on a core, which a busy machine disturbs less than the
//! time on the wall. The peer is `benches/peer/kernels_torch.py`, whose cases have the same names.

use std::time::{Duration, Instant};

use candle_core::{DType as Candle, Device, Tensor};
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, measurement::WallTime};
use taper::ops::{
    Conv, ConvFused, ConvSpec, ConvTranspose, ConvWeightGrad, ConvWinograd, EvalContext, MatMul, Op,
    Primitive, WinogradWeights, winograd_pays,
};
use taper::shape::{DType, Dim, Type};

fn ty(shape: &[usize]) -> Type {
    Type::of(DType::F32, shape)
}

/// Reproducible numbers in [-1, 1).
fn tensor(shape: &[usize], seed: u32) -> Tensor {
    let mut state = seed;
    let values: Vec<f32> = (0..shape.iter().product::<usize>())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")
}

/// Time of all threads of this process on a core.
fn cpu_time() -> Option<Duration> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let nanoseconds = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(nanoseconds.sum()))
}

struct Bench<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    cpu: bool,
}

impl Bench<'_> {
    fn time(&mut self, name: &str, flops: f64, mut f: impl FnMut()) {
        self.group.throughput(Throughput::Elements(flops as u64));
        let cpu = self.cpu;
        self.group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let start = (Instant::now(), if cpu { cpu_time() } else { None });
                (0..times).for_each(|_| f());
                match (start.1, cpu_time()) {
                    (Some(from), Some(to)) => to - from,
                    _ => start.0.elapsed(),
                }
            });
        });
    }

    /// An operation on random operands.
    fn op(&mut self, name: &str, op: &Op, shapes: &[&[usize]]) {
        let types: Vec<Type> = shapes.iter().map(|s| ty(s)).collect();
        let types: Vec<&Type> = types.iter().collect();
        let output = op.infer(&types).unwrap_or_else(|e| panic!("{name}: {}", e.message));
        let inputs: Vec<Tensor> = shapes.iter().zip(1..).map(|(s, i)| tensor(s, i)).collect();
        let flops = op.flops(&types, &output);
        self.time(name, flops, || drop(evaluate(op, &output, &inputs)));
    }
}

fn evaluate(op: &Op, output: &Type, inputs: &[Tensor]) -> Tensor {
    let cx = EvalContext {
        device: &Device::Cpu,
        output,
        seed: 0,
        loop_step: 0,
        step: 0,
        first_sample: 0,
        overwrite: None,
    };
    let y = op.eval(&cx, inputs).expect("a value");
    assert_eq!(y.dtype(), Candle::F32);
    y
}

/// A convolution: batch, channels, side, outputs, kernel, stride, padding, dilation, groups.
type Case = [usize; 9];

/// The CIFAR-10 DDPM U-Net's, Stable Diffusion 1.5's (U-Net, then decoder), and other kinds.
const CONVOLUTIONS: &[Case] = &[
    [1, 128, 32, 128, 3, 1, 1, 1, 1],
    [4, 128, 32, 128, 3, 1, 1, 1, 1],
    [16, 128, 32, 128, 3, 1, 1, 1, 1],
    [4, 384, 32, 128, 3, 1, 1, 1, 1],
    [4, 256, 32, 256, 3, 1, 1, 1, 1],
    [1, 256, 16, 256, 3, 1, 1, 1, 1],
    [4, 256, 16, 256, 3, 1, 1, 1, 1],
    [4, 512, 16, 256, 3, 1, 1, 1, 1],
    [1, 256, 8, 256, 3, 1, 1, 1, 1],
    [16, 256, 8, 256, 3, 1, 1, 1, 1],
    [1, 512, 4, 256, 3, 1, 1, 1, 1],
    [16, 512, 4, 256, 3, 1, 1, 1, 1],
    [4, 384, 32, 128, 1, 1, 0, 1, 1],
    [4, 256, 16, 256, 1, 1, 0, 1, 1],
    [4, 128, 32, 128, 3, 2, 1, 1, 1],
    [4, 3, 32, 128, 3, 1, 1, 1, 1],
    [4, 128, 32, 3, 3, 1, 1, 1, 1],
    [2, 4, 64, 320, 3, 1, 1, 1, 1],
    [2, 320, 64, 320, 3, 1, 1, 1, 1],
    [2, 640, 32, 640, 3, 1, 1, 1, 1],
    [2, 1280, 16, 1280, 3, 1, 1, 1, 1],
    [2, 1280, 8, 1280, 3, 1, 1, 1, 1],
    [2, 320, 64, 320, 1, 1, 0, 1, 1],
    [2, 320, 64, 320, 3, 2, 1, 1, 1],
    [2, 320, 64, 4, 3, 1, 1, 1, 1],
    [1, 512, 64, 512, 3, 1, 1, 1, 1],
    [1, 128, 256, 128, 3, 1, 1, 1, 1],
    [1, 128, 256, 3, 3, 1, 1, 1, 1],
    [4, 256, 32, 256, 3, 1, 1, 1, 256],
    [4, 64, 28, 64, 3, 1, 1, 1, 1],
    [4, 64, 32, 64, 3, 1, 2, 2, 1],
    [4, 64, 28, 32, 4, 2, 1, 1, 1],
];

/// Products: batch, rows, inner size, columns, and whether the second operand is transposed.
const PRODUCTS: &[(usize, usize, usize, usize, bool)] = &[
    (1, 1024, 1024, 1024, false),
    (1, 8192, 320, 2560, true),
    (1, 154, 768, 768, true),
    (1, 1, 4096, 4096, true),
    (1, 1, 4096, 4096, false),
    (1, 16, 512, 512, true),
    (64, 77, 64, 77, true),
    (256, 16, 16, 16, false),
];

fn convolutions(bench: &mut Bench<'_>) {
    for [n, c, side, o, k, stride, pad, dilation, groups] in CONVOLUTIONS.iter().copied() {
        let spec = ConvSpec {
            kernel: vec![k; 2],
            stride: vec![stride; 2],
            padding: vec![(pad, pad); 2],
            dilation: vec![dilation; 2],
            groups,
        };
        let mut name = format!("{n}x{c}x{side} to {o}, {k}x{k}");
        for (what, value) in [("stride", stride), ("dilation", dilation), ("groups", groups)] {
            if value != 1 {
                name += &format!(", {what} {value}");
            }
        }
        let (xs, ws) = ([n, c, side, side], [o, c / groups, k, k]);
        let conv = Conv { spec: spec.clone() };
        let y = conv.infer(&[&ty(&xs), &ty(&ws)]).expect("a convolution");
        let ys = y.constant_shape().expect("constant");
        bench.op(&format!("{name}: forward"), &conv.clone().into(), &[&xs, &ws]);
        if winograd_pays(&spec, &ty(&xs), (&ty(&ws), false), &y) {
            let (x, w) = (tensor(&xs, 1), tensor(&ws, 2));
            let transform: Op = WinogradWeights { transposed: false }.into();
            let weights = evaluate(&transform, &transform.infer(&[&ty(&ws)]).expect("a weight"), &[w]);
            let op = ConvWinograd { spec: spec.clone(), outputs: o, bias: false, residual: false }.into();
            let flops = conv.flops(&[&ty(&xs), &ty(&ws)], &y);
            bench.time(&format!("{name}: winograd"), flops, || {
                drop(evaluate(&op, &y, &[x.clone(), weights.clone()]));
            });
        }
        let to_x = ConvTranspose { spec: spec.clone(), size: vec![Dim::from(side); 2] };
        bench.op(&format!("{name}: input gradient"), &to_x.into(), &[&ys, &ws]);
        let to_w = ConvWeightGrad { spec };
        bench.op(&format!("{name}: weight gradient"), &to_w.into(), &[&xs, &ys]);
    }
    let spec = ConvSpec { padding: vec![(1, 1); 2], ..ConvSpec::unit(&[3, 3]) };
    let fused = ConvFused { spec, bias: true, residual: true };
    let y = [4, 128, 32, 32];
    bench.op("bias and residual: forward", &fused.into(), &[&y, &[128, 128, 3, 3], &[128], &y]);
}

fn products(bench: &mut Bench<'_>) {
    for &(b, m, k, n, transpose_b) in PRODUCTS {
        let second = if transpose_b { [b, n, k] } else { [b, k, n] };
        let (a, second) =
            if b == 1 { (vec![m, k], second[1..].to_vec()) } else { (vec![b, m, k], second.to_vec()) };
        let name = format!("{b}x{m}x{k}x{n}{}", if transpose_b { ", transposed" } else { "" });
        bench.op(&name, &MatMul { transpose_a: false, transpose_b }.into(), &[&a, &second]);
    }
}

/// Multiply-adds of registers alone.
#[cfg(target_arch = "x86_64")]
fn peak(bench: &mut Bench<'_>) {
    use std::arch::x86_64::*;
    #[target_feature(enable = "avx2,fma")]
    fn run(times: usize) -> f32 {
        let mut sums = [_mm256_setzero_ps(); 12];
        let (x, y) = (_mm256_set1_ps(1e-9), _mm256_set1_ps(0.999));
        for _ in 0..times {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, y, x);
            }
        }
        _mm256_cvtss_f32(sums.into_iter().reduce(|a, b| _mm256_add_ps(a, b)).unwrap_or(x))
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        const TIMES: usize = 1_000_000;
        bench.time("peak of one core, 256 bits", (TIMES * 12 * 16) as f64, || {
            // SAFETY: the features were detected.
            std::hint::black_box(unsafe { run(TIMES) });
        });
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let cpu = std::env::var("TAPER_BENCH").is_ok_and(|v| v == "cpu");
    for (name, run) in [
        #[cfg(target_arch = "x86_64")]
        ("peak", peak as fn(&mut Bench<'_>)),
        ("convolution", convolutions),
        ("product", products),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400));
        run(&mut Bench { group, cpu });
    }
    criterion.final_summary();
}
