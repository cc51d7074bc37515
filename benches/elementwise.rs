//! Operations that are bound by memory or by functions of one number, normalisation and attention, on one
//! thread: `cargo bench --bench elementwise [-- PART OF A NAME]`. The peer, with the same names and sizes, is
//! `benches/peer/elementwise_torch.py`. Time is that of the CPU, so that other programs do not count.

use std::hint::black_box;
use std::time::Duration;

use candle_core::{Device, Tensor};
use criterion::Criterion;
use taper::ops::{
    Attention, AttentionGrad, Binary, Cat, EvalContext, LogSoftmax, Normalize, NormalizeGrad, Op, Over,
    Primitive, Reduce, ReduceKind, Reshape, Resize, ResizeGrad, ResizeMode, Softmax, Unary, Where,
};
use taper::shape::{DType, Type};

/// The CPU time of this process.
#[cfg(target_os = "linux")]
fn now() -> Duration {
    #[repr(C)]
    struct Time {
        seconds: i64,
        nanoseconds: i64,
    }
    const PROCESS: i32 = 2;
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Time) -> i32;
    }
    let mut time = Time { seconds: 0, nanoseconds: 0 };
    // SAFETY: a valid clock of Linux and a structure of its layout.
    assert_eq!(unsafe { clock_gettime(PROCESS, &mut time) }, 0, "the process's clock");
    Duration::new(time.seconds as u64, time.nanoseconds as u32)
}

#[cfg(not(target_os = "linux"))]
fn now() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

fn normal(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1f32, shape, &Device::Cpu).expect("a tensor")
}

fn bench(c: &mut Criterion, name: &str, op: impl Into<Op>, inputs: &[Tensor]) {
    let op = op.into();
    let dtype = |t: &Tensor| if t.dtype() == candle_core::DType::U8 { DType::Bool } else { DType::F32 };
    let types: Vec<Type> = inputs.iter().map(|t| Type::of(dtype(t), t.dims())).collect();
    let output = op.infer(&types.iter().collect::<Vec<_>>()).expect("operands that fit");
    let cx = EvalContext {
        device: &Device::Cpu,
        output: &output,
        seed: 0,
        loop_step: 0,
        step: 0,
        first_sample: 0,
        overwrite: None,
    };
    c.bench_function(name, |b| {
        b.iter_custom(|times| {
            let start = now();
            for _ in 0..times {
                black_box(op.eval(&cx, inputs).expect("a value"));
            }
            now() - start
        });
    });
}

fn functions(c: &mut Criterion) {
    let (x, y) = (normal(&[8, 320, 32, 32]), normal(&[8, 320, 32, 32]));
    let unary = [
        Unary::Neg,
        Unary::Exp,
        Unary::Log,
        Unary::Sigmoid,
        Unary::Silu,
        Unary::SiluSlope,
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Tanh,
        Unary::Softplus,
        Unary::Sin,
        Unary::Cos,
        Unary::Sqrt,
    ];
    for op in unary {
        bench(c, op.name(), op, std::slice::from_ref(&x));
    }
    bench(c, "pow", Binary::Pow, &[x.abs().expect("a tensor"), y.clone()]);
    bench(c, "add", Binary::Add, &[x.clone(), y.clone()]);
    bench(c, "add channel bias", Binary::Add, &[x.clone(), normal(&[320, 1, 1])]);
    bench(c, "add sample+channel", Binary::Add, &[x.clone(), normal(&[8, 320, 1, 1])]);
    bench(c, "mul row", Binary::Mul, &[normal(&[8192, 320]), normal(&[320])]);
    bench(c, "where", Where {}, &[x.gt(0.0).expect("a tensor"), x.clone(), y]);
}

fn reductions(c: &mut Criterion) {
    let x = normal(&[8, 320, 32, 32]);
    let sum = |axes: &[usize]| Reduce { kind: ReduceKind::Sum, axes: axes.to_vec(), keep: false };
    for axes in [&[3][..], &[2, 3], &[0], &[0, 2, 3], &[0, 1, 2, 3], &[1], &[1, 2, 3]] {
        bench(c, &format!("sum {axes:?}"), sum(axes), std::slice::from_ref(&x));
    }
    bench(c, "sum [0] of 8192x320", sum(&[0]), &[normal(&[8192, 320])]);
    let max = Reduce { kind: ReduceKind::Max, axes: vec![2, 3], keep: false };
    bench(c, "max [2, 3]", max, std::slice::from_ref(&x));
    bench(c, "softmax 2560x1024", Softmax { axis: 1 }, &[normal(&[2560, 1024])]);
    bench(c, "softmax 16x1024x1024", Softmax { axis: 2 }, &[normal(&[16, 1024, 1024])]);
    bench(c, "softmax 32768x77", Softmax { axis: 1 }, &[normal(&[32768, 77])]);
    bench(c, "log_softmax 2560x1024", LogSoftmax { axis: 1 }, &[normal(&[2560, 1024])]);
}

fn moves(c: &mut Criterion) {
    let half = || normal(&[8, 160, 32, 32]);
    bench(c, "cat channels", Cat { axis: 1 }, &[half(), half()]);
    // A copy is what a reshape of exchanged axes makes.
    let copied = |c: &mut Criterion, name: &str, x: Tensor| {
        let shape = Type::of(DType::F32, &[x.elem_count()]).shape;
        bench(c, name, Reshape { shape }, &[x]);
    };
    let turned = |shape: &[usize], axes: &[usize]| normal(shape).permute(axes).expect("a view");
    copied(c, "permute nchw->nhwc copy", turned(&[8, 320, 32, 32], &[0, 2, 3, 1]));
    copied(c, "permute nhwc->nchw copy", turned(&[8, 32, 32, 320], &[0, 3, 1, 2]));
    let size = |side: i64| vec![side.into(), side.into()];
    let mode = ResizeMode::Nearest;
    bench(c, "upsample x2 (16->32)", Resize { mode, size: size(32) }, &[normal(&[8, 320, 16, 16])]);
    bench(c, "upsample x2 adjoint", ResizeGrad { mode, size: size(16) }, &[normal(&[8, 320, 32, 32])]);
}

fn fused(c: &mut Criterion) {
    let norm = |over, silu| Normalize { over, eps: 1e-5, centred: true, affine: true, bias: true, silu };
    let (x, y, w, b) = (normal(&[8, 320, 32, 32]), normal(&[8, 320, 32, 32]), normal(&[320]), normal(&[320]));
    for silu in [false, true] {
        let op = norm(Over::Groups(32), silu);
        bench(c, &format!("group_norm 32 silu={silu}"), op, &[x.clone(), w.clone(), b.clone()]);
        let inputs = [x.clone(), w.clone(), b.clone(), y.clone()];
        bench(c, &format!("group_norm grad silu={silu}"), NormalizeGrad(op), &inputs);
    }
    let (x, y) = (normal(&[8192, 320]), normal(&[8192, 320]));
    let op = norm(Over::Last, false);
    bench(c, "layer_norm", op, &[x.clone(), w.clone(), b.clone()]);
    bench(c, "layer_norm grad", NormalizeGrad(op), &[x.clone(), w.clone(), b, y]);
    bench(c, "rms_norm", Normalize { centred: false, bias: false, ..op }, &[x, w]);
    let shapes = [
        (2, 8, 1024, 1024, 80),
        (2, 8, 1024, 77, 80),
        (2, 8, 256, 256, 160),
        (1, 1, 256, 256, 256),
        (1, 8, 4096, 4096, 40),
    ];
    for (n, h, l, m, d) in shapes {
        let (q, k, v) = (normal(&[n, h, l, d]), normal(&[n, h, m, d]), normal(&[n, h, m, d]));
        let op = Attention { scale: 1.0 / (d as f64).sqrt() };
        bench(c, &format!("attention {n},{h},{l},{m},{d}"), op, &[q.clone(), k.clone(), v.clone()]);
        let inputs = [q.clone(), k, v, q.clone(), q];
        bench(c, &format!("attention grad {n},{h},{l},{m},{d}"), AttentionGrad { scale: op.scale }, &inputs);
    }
}

fn main() {
    taper::run::keep_freed_memory();
    taper::run::set_threads(1).expect("one thread");
    let mut c = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    functions(&mut c);
    reductions(&mut c);
    moves(&mut c);
    fused(&mut c);
    c.final_summary();
}
