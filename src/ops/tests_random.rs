//! Random sources: moments, independence of batch, threads and dtype, edges of distributions.

use candle_core::Tensor;

use super::random::{self, Dist, Probability, Random};
use super::testing::{Array, Tape, device};
use super::{EvalContext, Primitive};
use crate::diagnostic::codes;
use crate::shape::{DType, Dim, Type};

fn source(dist: Dist, shape: &[usize], dtype: DType) -> Random {
    Random { dist, shape: shape.iter().map(|d| Dim::from(*d)).collect(), site: 11, dtype }
}

fn draw(random: &Random, change: impl Fn(&mut EvalContext<'_>)) -> Tensor {
    let ty = random.infer(&[]).expect("a type");
    let mut cx = EvalContext {
        device: device(),
        output: &ty,
        seed: 3,
        loop_step: 0,
        step: 0,
        first_sample: 0,
        overwrite: None,
    };
    change(&mut cx);
    random.eval(&cx, &[]).expect("numbers")
}

fn values(random: &Random) -> Vec<f64> {
    Array::of(&draw(random, |_| {})).data
}

fn moments(x: &[f64]) -> [f64; 4] {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let central = |k: i32| x.iter().map(|v| (v - mean).powi(k)).sum::<f64>() / n;
    let variance = central(2);
    [mean, variance, central(3) / variance.powf(1.5), central(4) / variance.powi(2)]
}

fn near(have: f64, want: f64, within: f64) {
    assert!((have - want).abs() < within, "{have} and {want}");
}

#[test]
fn moments_are_those_of_the_distributions() {
    let shape = [50, 4001];
    let normal = moments(&values(&source(Dist::Normal, &shape, DType::F32)));
    for (have, (want, within)) in normal.iter().zip([(0.0, 0.008), (1.0, 0.012), (0.0, 0.02), (3.0, 0.05)]) {
        near(*have, want, within);
    }
    let uniform = values(&source(Dist::Uniform, &shape, DType::F32));
    assert!(uniform.iter().all(|v| (0.0..1.0).contains(v)));
    let [mean, variance, _, kurtosis] = moments(&uniform);
    near(mean, 0.5, 0.003);
    near(variance, 1.0 / 12.0, 0.001);
    near(kurtosis, 1.8, 0.02);
    let [mean, variance, ..] = moments(&values(&source(Dist::Gumbel, &shape, DType::F64)));
    near(mean, 0.577_215_66, 0.012);
    near(variance, std::f64::consts::PI.powi(2) / 6.0, 0.03);
    let dice = values(&source(Dist::Integer { low: 1, high: 7 }, &shape, DType::I64));
    for face in 1..=6 {
        let share = dice.iter().filter(|v| **v == f64::from(face)).count() as f64 / dice.len() as f64;
        near(share, 1.0 / 6.0, 0.004);
    }
    // Neighbours, and neighbouring samples, are uncorrelated.
    let x = values(&source(Dist::Normal, &shape, DType::F32));
    for lag in [1, 2, 4, shape[1]] {
        let sum: f64 = x.iter().zip(&x[lag..]).map(|(a, b)| a * b).sum();
        near(sum / x.len() as f64, 0.0, 0.01);
    }
}

#[test]
fn a_sample_does_not_depend_on_the_batch() {
    for dist in [Dist::Normal, Dist::Uniform, Dist::Gumbel, Dist::Integer { low: -5, high: 90 }] {
        let dtype = if matches!(dist, Dist::Integer { .. }) { DType::I64 } else { DType::F32 };
        for rest in [1, 3, 4, 7, 9001] {
            let batch = draw(&source(dist, &[5, rest], dtype), |_| {});
            for k in 0..5 {
                let alone = draw(&source(dist, &[1, rest], dtype), |cx| cx.first_sample = k as u32);
                let want = batch.narrow(0, k, 1).expect("a sample");
                assert_eq!(Array::of(&alone).data, Array::of(&want).data, "{dist:?}, sample {k} of {rest}");
            }
        }
    }
}

#[test]
fn numbers_do_not_depend_on_threads() {
    let random = source(Dist::Normal, &[3, 20_000], DType::F32);
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    let one = pool(1).install(|| values(&random));
    assert_eq!(one, pool(3).install(|| values(&random)));
}

#[test]
fn steps_seeds_and_sites_differ() {
    let random = source(Dist::Normal, &[2, 4], DType::F32);
    let first = values(&random);
    let others = [
        Array::of(&draw(&random, |cx| cx.seed = 4)).data,
        Array::of(&draw(&random, |cx| cx.loop_step = 1)).data,
        Array::of(&draw(&random, |cx| cx.step = 1)).data,
        values(&Random { site: 12, ..random.clone() }),
    ];
    for other in others {
        assert!(first.iter().zip(&other).all(|(a, b)| a != b));
    }
}

#[test]
fn dtypes_differ_by_rounding_only() {
    for dist in [Dist::Normal, Dist::Uniform, Dist::Gumbel] {
        let exact = values(&source(dist, &[2, 999], DType::F64));
        for (dtype, within) in [(DType::F32, 2e-7), (DType::F16, 1e-3), (DType::BF16, 8e-3)] {
            let rounded = values(&source(dist, &[2, 999], dtype));
            for (a, b) in exact.iter().zip(&rounded) {
                assert!((a - b).abs() <= within * a.abs().max(1.0), "{dist:?} {dtype}: {a} and {b}");
            }
            assert!(dist != Dist::Uniform || rounded.iter().all(|v| *v < 1.0));
        }
    }
}

#[test]
fn choices_follow_their_probabilities() {
    let mut tape = Tape::default();
    let shape = vec![Dim::from(20_000)];
    let coin = random::bernoulli(&mut tape, Probability::Number(0.3), shape.clone(), DType::Bool, 1)
        .expect("a coin");
    assert_eq!(tape.eval(&[], &[coin])[0].dtype(), candle_core::DType::U8);
    let logits = tape.constant(&Array::new(&[3], &[0.0, 2f64.ln(), 5f64.ln()]).cast(DType::F32));
    let rows = super::expand::expand(&mut tape, logits, vec![Dim::from(20_000), Dim::from(3)]).expect("rows");
    let class = random::categorical(&mut tape, rows, 2).expect("classes");
    let edges = [0.0, 1.0].map(|p| {
        random::bernoulli(&mut tape, Probability::Number(p), shape.clone(), DType::F32, 3).expect("a coin")
    });
    let range = random::uniform(&mut tape, shape, (-2.0, 3.0), DType::F32, 4).expect("numbers");
    let out: Vec<Vec<f64>> =
        tape.eval(&[], &[coin, class, edges[0], edges[1], range]).iter().map(|t| Array::of(t).data).collect();
    let share = |x: &[f64], v: f64| x.iter().filter(|x| **x == v).count() as f64 / x.len() as f64;
    near(share(&out[0], 1.0), 0.3, 0.015);
    for (class, p) in [(0.0, 0.125), (1.0, 0.25), (2.0, 0.625)] {
        near(share(&out[1], class), p, 0.015);
    }
    assert_eq!((share(&out[2], 0.0), share(&out[3], 1.0)), (1.0, 1.0));
    assert!(out[4].iter().all(|v| (-2.0..3.0).contains(v)));
    near(moments(&out[4])[0], 0.5, 0.05);
}

#[test]
fn what_cannot_be_drawn() {
    let mut tape = Tape::default();
    let one = || vec![Dim::from(1)];
    let code = |r: Result<super::NodeId, super::OpError>| r.err().map(|e| e.code);
    assert_eq!(code(random::normal(&mut tape, one(), DType::I64, 0)), Some(codes::DTYPE_MISMATCH));
    assert_eq!(code(random::normal(&mut tape, vec![Dim::from(-2)], DType::F32, 0)), Some(codes::BAD_VALUE));
    assert_eq!(code(random::randint(&mut tape, 3, 3, one(), 0)), Some(codes::BAD_VALUE));
    assert_eq!(code(random::uniform(&mut tape, one(), (1.0, 0.0), DType::F32, 0)), Some(codes::BAD_VALUE));
    let p = Probability::Number(1.5);
    assert_eq!(code(random::bernoulli(&mut tape, p, one(), DType::Bool, 0)), Some(codes::BAD_VALUE));
    let p = Probability::Tensor(tape.constant(&Array::new(&[3], &[0.5; 3])));
    assert_eq!(code(random::bernoulli(&mut tape, p, one(), DType::Bool, 0)), Some(codes::SHAPE_MISMATCH));
    let scalar = tape.input(Type::scalar(DType::F32));
    assert_eq!(code(random::categorical(&mut tape, scalar, 0)), Some(codes::SHAPE_MISMATCH));
}

#[test]
fn empty_and_scalar_shapes() {
    assert!(values(&source(Dist::Normal, &[0, 4], DType::F32)).is_empty());
    assert!(values(&source(Dist::Uniform, &[4, 0], DType::F64)).is_empty());
    assert_eq!(values(&source(Dist::Normal, &[], DType::F32)).len(), 1);
}
