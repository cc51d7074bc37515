//! Elementwise operations, reductions and walks along axes: against PyTorch, against finite differences,
//! alone against in a batch, and as the language calls them.

mod language;
mod rules;

use std::slice::from_ref;

use candle_core::Tensor;

use super::testing::{
    Array, Tape, assert_batch_invariant, assert_close, check_gradients, context, run_fixture,
};
use super::{
    Binary, Cast, Compare, CompareKind, Cumulative, CumulativeKind, Emit, LinearScan, LogSoftmax, LogSumExp,
    NodeId, Op, OpError, Primitive, Reduce, ReduceKind, Softmax, StopGrad, Unary, Where, cpu,
};
use crate::shape::{DType, Type};

/// How it was made: `tests/fixtures/make_ops_elementwise.py`.
const CASES: &str = include_str!("../../tests/fixtures/ops_elementwise.json");
const ARRAYS: &[u8] = include_bytes!("../../tests/fixtures/ops_elementwise.safetensors");

#[test]
fn agrees_with_pytorch() {
    assert_eq!(run_fixture(CASES, ARRAYS), 429);
}

#[test]
fn evaluation_for_gpus_agrees_with_pytorch() {
    cpu::PORTABLE.set(true);
    let count = run_fixture(CASES, ARRAYS);
    cpu::PORTABLE.set(false);
    assert_eq!(count, 429);
}

/// Builds one operation.
fn one(op: impl Into<Op>) -> impl Fn(&mut dyn Emit, &[NodeId]) -> Result<NodeId, OpError> {
    let op = op.into();
    move |to, xs| to.emit(op.clone(), xs)
}

/// Values in (lo, hi), away from multiples of a half, where there are kinks.
fn between(shape: &[usize], lo: f64, hi: f64) -> Array {
    let mut a = Array::random(shape, 5, 1.0);
    for v in &mut a.data {
        *v = lo + (hi - lo) * (*v + 1.0) / 2.0;
        let near = (*v * 2.0).round() / 2.0;
        if (*v - near).abs() < 0.02 {
            *v = near + 0.03;
        }
    }
    a
}

#[test]
fn gradients_of_unary_functions() {
    for op in Unary::ALL {
        let (lo, hi) = match op {
            Unary::Log | Unary::Sqrt | Unary::Reciprocal => (0.2, 3.0),
            Unary::Log1p => (-0.7, 3.0),
            Unary::Tan => (-1.2, 1.2),
            Unary::IsFinite | Unary::Not => continue,
            _ => (-3.0, 3.0),
        };
        check_gradients(&[between(&[3, 4], lo, hi)], &one(op));
    }
}

#[test]
fn gradients_of_binary_functions() {
    let shapes: [(&[usize], &[usize]); 4] =
        [(&[2, 3], &[2, 3]), (&[2, 3], &[3]), (&[2, 1], &[3]), (&[], &[2, 2])];
    for op in Binary::ALL {
        for (a, b) in shapes {
            let x = if op == Binary::Pow { between(a, 0.3, 2.0) } else { between(a, -2.0, 2.0) };
            let mut y = Array::random(b, 9, 1.4);
            for v in &mut y.data {
                *v += 0.6 * v.signum();
            }
            check_gradients(&[x, y], &one(op));
        }
    }
    // A whole exponent of a negative base: the gradient of the base is exact there.
    let base = Array::new(&[3], &[-1.5, 0.7, -0.4]);
    check_gradients(&[base], &|to, xs| super::power(to, xs[0], 3.0));
    for exponent in [-1.0, 0.5, 2.0, 4.0, 2.5, 1.0] {
        check_gradients(&[between(&[4], 0.3, 2.0)], &|to, xs| super::power(to, xs[0], exponent));
    }
}

#[test]
fn gradients_of_choices_and_casts() {
    let cond = Array::new(&[2, 3], &[1.0, 0.0, 1.0, 0.0, 0.0, 1.0]).cast(DType::Bool);
    let (a, b) = (Array::random(&[3], 1, 1.0), Array::random(&[2, 1], 2, 1.0));
    check_gradients(&[cond, a, b], &one(Where {}));
    check_gradients(&[Array::random(&[3], 1, 1.0)], &one(Cast { dtype: DType::F64 }));
    let cube = |to: &mut dyn Emit, xs: &[NodeId]| {
        let s = to.emit(StopGrad {}.into(), &[xs[0]])?;
        to.binary(Binary::Mul, s, xs[1])
    };
    let (mut tape, xs, y) =
        super::testing::tape(&[Array::random(&[3], 1, 1.0), Array::random(&[3], 2, 1.0)], &cube);
    let seed = tape.constant(&Array::new(&[3], &[1.0; 3]));
    let grads = tape.gradients(&[(y, seed)], &xs);
    assert!(grads[0].is_none() && grads[1].is_some(), "`stop_grad` cuts the first operand");
}

#[test]
fn gradients_of_reductions() {
    let x = Array::random(&[2, 3, 2], 3, 1.5);
    for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min] {
        for axes in [vec![], vec![0], vec![1], vec![0, 2], vec![0, 1, 2]] {
            for keep in [false, true] {
                check_gradients(from_ref(&x), &one(Reduce { kind, axes: axes.clone(), keep }));
            }
        }
    }
    let mut zeros = x.clone();
    (zeros.data[1], zeros.data[4], zeros.data[6]) = (0.0, 0.0, 0.0);
    for axis in 0..3 {
        for keep in [false, true] {
            check_gradients(
                std::slice::from_ref(&zeros),
                &one(Reduce { kind: ReduceKind::Prod, axes: vec![axis], keep }),
            );
            check_gradients(from_ref(&x), &one(LogSumExp { axes: vec![axis], keep }));
        }
    }
    check_gradients(from_ref(&x), &one(LogSumExp { axes: vec![0, 2], keep: false }));
    check_gradients(&[x], &|to, xs| super::reduce(to, ReduceKind::Prod, xs[0], &[2, 0], false));
}

#[test]
fn gradients_of_walks() {
    let x = Array::random(&[2, 4, 2], 3, 1.5);
    let mut zeros = x.clone();
    (zeros.data[1], zeros.data[4], zeros.data[6], zeros.data[10]) = (0.0, 0.0, 0.0, 0.0);
    for axis in 0..3 {
        for reverse in [false, true] {
            check_gradients(from_ref(&x), &one(Cumulative { kind: CumulativeKind::Sum, axis, reverse }));
            check_gradients(from_ref(&zeros), &one(Cumulative { kind: CumulativeKind::Prod, axis, reverse }));
            check_gradients(&[zeros.clone(), x.clone()], &one(LinearScan { axis, reverse }));
        }
        check_gradients(from_ref(&x), &one(Softmax { axis }));
        check_gradients(from_ref(&x), &one(LogSoftmax { axis }));
    }
}

/// Operations with what they take: `n` samples along the first axis of the first input.
fn per_sample(n: usize) -> Vec<(Op, Vec<Array>)> {
    let x = || Array::random(&[n, 37, 53], 11, 2.0).cast(DType::F32);
    let y = || Array::random(&[n, 37, 53], 12, 2.0).cast(DType::F32);
    let mut out: Vec<(Op, Vec<Array>)> = Vec::new();
    out.extend(Unary::ALL.into_iter().filter(|u| *u != Unary::Not).map(|u| (u.into(), vec![x()])));
    out.extend(Binary::ALL.map(|b| (b.into(), vec![x(), y()])));
    out.push((Compare { kind: CompareKind::Lt }.into(), vec![x(), y()]));
    out.push((Where {}.into(), vec![x().cast(DType::Bool), x(), y()]));
    out.push((Cast { dtype: DType::F16 }.into(), vec![x()]));
    for axes in [vec![1], vec![2], vec![1, 2]] {
        for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min] {
            out.push((Reduce { kind, axes: axes.clone(), keep: false }.into(), vec![x()]));
        }
        out.push((LogSumExp { axes, keep: true }.into(), vec![x()]));
    }
    for axis in [1, 2] {
        out.push((Reduce { kind: ReduceKind::Prod, axes: vec![axis], keep: false }.into(), vec![x()]));
        out.push((Softmax { axis }.into(), vec![x()]));
        out.push((LogSoftmax { axis }.into(), vec![x()]));
        out.push((LinearScan { axis, reverse: true }.into(), vec![x(), y()]));
        for kind in [CumulativeKind::Sum, CumulativeKind::Prod] {
            out.push((Cumulative { kind, axis, reverse: false }.into(), vec![x()]));
        }
        let kind = super::ArgReduceKind::Max;
        out.push((super::ArgReduce { kind, axis, keep: false }.into(), vec![x()]));
    }
    out
}

#[test]
fn a_sample_alone_equals_it_in_the_batch() {
    for (op, inputs) in per_sample(20) {
        assert_batch_invariant(&inputs, &vec![true; inputs.len()], &one(op));
    }
}

#[test]
fn threads_change_nothing() {
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool");
    let (single, several) = (pool(1), pool(3));
    let bits = |a: &Array| a.data.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let mut all = per_sample(40);
    let x = Array::random(&[40, 37, 53], 11, 2.0).cast(DType::F32);
    for axes in [vec![0], vec![0, 1], vec![0, 2], vec![0, 1, 2]] {
        all.push((Reduce { kind: ReduceKind::Sum, axes, keep: false }.into(), vec![x.clone()]));
    }
    for (op, inputs) in all {
        let value = || super::testing::evaluate(&inputs, &one(op.clone()));
        assert_eq!(bits(&single.install(value)), bits(&several.install(value)), "`{}`", op.label());
    }
}

#[test]
fn any_layout_is_taken() {
    // The same numbers as a transposed view, and as the tail of a larger tensor.
    let (x, y) = (Array::random(&[5, 4, 6], 1, 1.0), Array::random(&[6], 2, 1.0));
    let (x, y) = (x.tensor(), y.tensor());
    let view = x.transpose(1, 2).expect("a view").transpose(0, 1).expect("a view");
    let flat = view.copy().expect("a copy").contiguous().expect("a copy");
    let tail = x.narrow(0, 2, 3).expect("a view");
    let flat_tail = Tensor::from_vec(
        tail.flatten_all().expect("flat").to_vec1::<f64>().expect("values"),
        (3, 4, 6),
        x.device(),
    )
    .expect("a tensor");
    for (strided, plain) in [(&view, &flat), (&tail, &flat_tail)] {
        let shape = strided.dims().to_vec();
        let ops: [Op; 6] = [
            Unary::Exp.into(),
            Softmax { axis: 1 }.into(),
            Reduce { kind: ReduceKind::Sum, axes: vec![0, 2], keep: true }.into(),
            Cumulative { kind: CumulativeKind::Sum, axis: 1, reverse: false }.into(),
            LogSumExp { axes: vec![1], keep: true }.into(),
            Reduce { kind: ReduceKind::Max, axes: vec![1], keep: false }.into(),
        ];
        for op in ops {
            let ty = op.infer(&[&Type::of(DType::F64, &shape)]).expect("a type");
            let cx = context(&ty);
            let a = Array::of(&op.eval(&cx, from_ref(strided)).expect("a value"));
            let b = Array::of(&op.eval(&cx, from_ref(plain)).expect("a value"));
            assert_close(&a, &b, 0.0, 0.0, op.name());
        }
        let row = y.narrow(0, 0, shape[2].min(6)).expect("a view");
        if row.dims()[0] == shape[2] {
            let ty = Type::of(DType::F64, &shape);
            for op in [Binary::Add, Binary::Mul, Binary::Sub] {
                let a = op.eval(&context(&ty), &[strided.clone(), row.clone()]).expect("a value");
                let b = op.eval(&context(&ty), &[plain.clone(), row.clone()]).expect("a value");
                assert_close(&Array::of(&a), &Array::of(&b), 0.0, 0.0, op.name());
            }
        }
    }
}

#[test]
fn half_precision_is_single_precision_rounded_once() {
    for dtype in [DType::F16, DType::BF16] {
        let x = Array::random(&[3, 7], 4, 2.0).cast(dtype);
        // What the half-precision numbers are.
        let exact = Array::of(&x.tensor()).cast(DType::F32);
        let y = Array { data: exact.data.iter().rev().copied().collect(), ..exact.clone() };
        let ops: [(Op, usize); 8] = [
            (Unary::Gelu.into(), 1),
            (Unary::Tanh.into(), 1),
            (Binary::Div.into(), 2),
            (Binary::Max.into(), 2),
            (Reduce { kind: ReduceKind::Mean, axes: vec![1], keep: false }.into(), 1),
            (Softmax { axis: 1 }.into(), 1),
            (Cumulative { kind: CumulativeKind::Sum, axis: 1, reverse: false }.into(), 1),
            (LogSumExp { axes: vec![0], keep: false }.into(), 1),
        ];
        for (op, n) in ops {
            let wide = [exact.clone(), y.clone()];
            let narrow = wide.clone().map(|a| a.cast(dtype));
            let have = super::testing::evaluate(&narrow[..n], &one(op.clone()));
            let want = super::testing::evaluate(&wide[..n], &one(op.clone()));
            assert_eq!(have.dtype, dtype, "`{}`", op.label());
            let rounded = Array::of(&Array { dtype, ..want }.tensor());
            assert_close(&have, &rounded, 0.0, 0.0, op.name());
        }
    }
}

#[test]
fn sums_of_many_are_accurate() {
    let n = 300_000;
    let x = Array { shape: vec![n], data: vec![0.1; n], dtype: DType::F32 };
    let have =
        super::testing::evaluate(&[x], &one(Reduce { kind: ReduceKind::Sum, axes: vec![0], keep: false }));
    let want = f64::from(0.1f32) * n as f64;
    assert!((have.data[0] - want).abs() / want < 1e-7, "{} and {want}", have.data[0]);
}

#[test]
fn empty_tensors() {
    let x = Array { shape: vec![0, 3], data: vec![], dtype: DType::F32 };
    let value = |op: Op| super::testing::evaluate(from_ref(&x), &one(op));
    assert_eq!(value(Unary::Exp.into()).shape, [0, 3]);
    assert_eq!(value(Softmax { axis: 1 }.into()).shape, [0, 3]);
    let sum = |axes| value(Reduce { kind: ReduceKind::Sum, axes, keep: false }.into());
    assert_eq!(sum(vec![0]).data, [0.0; 3]);
    assert_eq!(sum(vec![1]).data, [] as [f64; 0]);
    let mut tape = Tape::default();
    let x = tape.input(x.ty());
    let max = Reduce { kind: ReduceKind::Max, axes: vec![0], keep: false };
    assert!(tape.emit(max.into(), &[x]).is_err(), "nothing is the largest of nothing");
}
