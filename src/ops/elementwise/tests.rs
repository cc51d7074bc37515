//! A chain gives the bits of its operations one by one, in any layout, dtype and length, on any number of
//! threads; and their gradients.

use std::slice::from_ref;

use candle_core::{DType as CandleType, Tensor};

use super::*;
use crate::ops::testing::{Array, Tape, assert_batch_invariant, assert_close, check_gradients, context};
use crate::ops::{Cast, Compare, CompareKind, Const, Emit, Logical, Where};

fn step(op: impl Into<Op>, args: &[u32]) -> Step {
    Step { op: op.into(), args: args.to_vec() }
}

/// The value of the chain and that of its operations one by one, on tensors of any layout. Bools are those
/// inputs that hold truth values.
fn both(chain: &Elementwise, inputs: &[Tensor], bools: &[bool]) -> (Tensor, Tensor) {
    let types: Vec<Type> = inputs
        .iter()
        .zip(bools)
        .map(|(t, b)| {
            let dtype = if *b { DType::Bool } else { from_candle(t.dtype()).unwrap() };
            Type::of(dtype, t.dims())
        })
        .collect();
    let refs: Vec<&Type> = types.iter().collect();
    let output = chain.infer(&refs).unwrap();
    let whole = chain.eval(&context(&output), inputs).unwrap();
    let single = chain.one_by_one(&context(&output), inputs).unwrap();
    assert_eq!(whole.dims(), output.constant_shape().unwrap());
    let single = single.broadcast_as(whole.shape()).unwrap();
    (whole, single)
}

fn bits(t: &Tensor) -> Vec<u64> {
    let wide = t.to_dtype(CandleType::F64).unwrap().flatten_all().unwrap();
    wide.to_vec1::<f64>().unwrap().iter().map(|v| if v.is_nan() { 1 } else { v.to_bits() }).collect()
}

fn same(chain: &Elementwise, inputs: &[Tensor], bools: &[bool]) {
    let (whole, single) = both(chain, inputs, bools);
    assert_eq!(whole.dtype(), single.dtype(), "{}", chain.label());
    assert_eq!(bits(&whole), bits(&single), "{}", chain.label());
}

fn random(shape: &[usize], seed: u64, dtype: DType) -> Tensor {
    Array::random(shape, seed, 3.0).cast(dtype).tensor()
}

const FLOATS: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];

#[test]
fn every_function_has_the_bits_of_the_single_operation() {
    for dtype in FLOATS {
        let (x, y) = (random(&[3, 700], 1, dtype), random(&[3, 700], 2, dtype));
        for op in Unary::ALL.into_iter().filter(|op| *op != Unary::Not) {
            // A second step, so that the function's value is one between.
            let then = if op == Unary::IsFinite { step(Unary::Not, &[1]) } else { step(Unary::Neg, &[1]) };
            same(&Elementwise { inputs: 1, steps: vec![step(op, &[0]), then] }, from_ref(&x), &[false]);
        }
        for op in Binary::ALL {
            let steps = vec![step(op, &[0, 1]), step(Binary::Mul, &[2, 2])];
            same(&Elementwise { inputs: 2, steps }, &[x.clone(), y.clone()], &[false; 2]);
        }
    }
}

#[test]
fn comparisons_choices_and_conversions() {
    use CompareKind::{Eq, Ge, Gt, Le, Lt, Ne};
    for dtype in FLOATS {
        let (x, y) = (random(&[5, 40], 1, dtype), random(&[40], 2, dtype));
        for (kind, logic) in [
            (Eq, Logical::And),
            (Ne, Logical::Or),
            (Lt, Logical::And),
            (Le, Logical::Or),
            (Gt, Logical::And),
            (Ge, Logical::Or),
        ] {
            let steps = vec![
                step(Compare { kind }, &[0, 1]),
                step(Unary::IsFinite, &[0]),
                step(logic, &[2, 3]),
                step(Const { value: 0.3, dtype }, &[]),
                step(Where {}, &[4, 0, 5]),
            ];
            same(&Elementwise { inputs: 2, steps }, &[x.clone(), y.clone()], &[false; 2]);
        }
        for to in [DType::F32, DType::F64, DType::Bool] {
            let steps = vec![step(Unary::Floor, &[0]), step(Cast { dtype: to }, &[1])];
            same(&Elementwise { inputs: 1, steps }, from_ref(&x), &[false]);
        }
    }
    let bytes = Array::new(&[6], &[0.0, 1.0, 2.0, 254.0, 255.0, 7.0]);
    for (from, is_bool) in [(DType::U8, false), (DType::I64, false), (DType::U8, true)] {
        for to in [DType::F32, DType::F64] {
            let chain = Elementwise {
                inputs: 1,
                steps: vec![
                    step(Cast { dtype: to }, &[0]),
                    step(Const { value: 255.0, dtype: to }, &[]),
                    step(Binary::Div, &[1, 2]),
                ],
            };
            same(&chain, &[bytes.clone().cast(from).tensor()], &[is_bool]);
        }
    }
    for half in [DType::F16, DType::BF16] {
        let steps = vec![step(Unary::Exp, &[0]), step(Cast { dtype: half }, &[1]), step(Unary::Neg, &[2])];
        same(&Elementwise { inputs: 1, steps }, &[random(&[90], 4, DType::F32)], &[false]);
    }
}

#[test]
fn layouts_and_lengths() {
    // x · w + b, then silu: along channels in the middle, along the last axis, transposed, one number.
    let chain = Elementwise {
        inputs: 3,
        steps: vec![
            step(Binary::Mul, &[0, 1]),
            step(Binary::Add, &[3, 2]),
            step(Unary::Silu, &[4]),
            step(Binary::Sub, &[5, 0]),
        ],
    };
    let r = |shape: &[usize], seed| random(shape, seed, DType::F32);
    for x in [r(&[3, 5, 7, 11], 1), r(&[11, 7, 5, 3], 1).permute((3, 2, 1, 0)).unwrap()] {
        for w in [r(&[5, 1, 1], 2), r(&[11], 2), r(&[3, 1, 7, 1], 2), r(&[], 2), r(&[1, 1, 1, 1], 2)] {
            for b in [r(&[3, 5, 7, 11], 3), r(&[7, 11], 3), r(&[11, 7], 3).t().unwrap()] {
                same(&chain, &[x.clone(), w.clone(), b], &[false; 3]);
            }
        }
    }
    let narrow = r(&[4, 3000], 1).narrow(1, 7, 2100).unwrap();
    same(&chain, &[narrow, r(&[2100], 2), r(&[4, 1], 3)], &[false; 3]);
    for n in [0, 1, 1023, 1024, 1025, 70_001] {
        same(&chain, &[r(&[n], 1), r(&[1], 2), r(&[n], 3)], &[false; 3]);
    }
}

#[test]
fn an_input_may_be_written_over() {
    let chain = Elementwise {
        inputs: 3,
        steps: vec![
            step(Binary::Mul, &[0, 1]),
            step(Unary::Silu, &[3]),
            step(Binary::Sub, &[4, 2]),
            step(Binary::Add, &[5, 0]),
        ],
    };
    for dtype in [DType::F32, DType::F64] {
        for n in [5, 70_001] {
            let inputs = [random(&[n], 1, dtype), random(&[1], 2, dtype), random(&[n], 3, dtype)];
            let output = Type::of(dtype, &[n]);
            let want = chain.eval(&context(&output), &inputs).unwrap();
            for over in [0, 2] {
                let types: Vec<Type> = inputs.iter().map(|t| Type::of(dtype, t.dims())).collect();
                let refs: Vec<&Type> = types.iter().collect();
                assert!(chain.overwrites(over, &refs, &output) && !chain.overwrites(1, &refs, &output));
                let mut inputs = inputs.clone();
                inputs[over] = inputs[over].copy().unwrap();
                let cx = EvalContext { overwrite: Some(over), ..context(&output) };
                let out = chain.eval(&cx, &inputs).unwrap();
                assert_eq!(bits(&out), bits(&want));
                assert_eq!(bits(&inputs[over]), bits(&want), "written over");
            }
        }
    }
}

#[test]
fn gradients_and_batches() {
    let chain = Elementwise {
        inputs: 3,
        steps: vec![
            step(Binary::Mul, &[0, 1]),
            step(Binary::Add, &[3, 2]),
            step(Unary::Tanh, &[4]),
            step(Const { value: 0.7, dtype: DType::F64 }, &[]),
            step(Binary::Mul, &[5, 6]),
            step(Binary::Mul, &[7, 4]),
        ],
    };
    let inputs =
        [Array::random(&[2, 3], 1, 1.0), Array::random(&[3], 2, 1.0), Array::random(&[2, 1], 3, 1.0)];
    let build = |to: &mut dyn Emit, xs: &[NodeId]| to.emit(chain.clone().into(), xs);
    check_gradients(&inputs, &build);
    assert_batch_invariant(&inputs, &[true, false, true], &build);
}

#[test]
fn evaluation_for_gpus_agrees() {
    let chain = Elementwise {
        inputs: 2,
        steps: vec![
            step(Binary::Add, &[0, 1]),
            step(Unary::Gelu, &[2]),
            step(Const { value: 0.5, dtype: DType::F32 }, &[]),
            step(Compare { kind: CompareKind::Gt }, &[3, 4]),
            step(Where {}, &[5, 3, 1]),
        ],
    };
    let inputs = [random(&[3, 40], 1, DType::F32), random(&[40], 2, DType::F32)];
    let output = Type::of(DType::F32, &[3, 40]);
    let here = chain.eval(&context(&output), &inputs).unwrap();
    cpu::PORTABLE.set(true);
    let there = chain.eval(&context(&output), &inputs);
    cpu::PORTABLE.set(false);
    assert_close(&Array::of(&here), &Array::of(&there.unwrap()), 1e-5, 1e-5, "on a GPU");
}

#[test]
fn what_is_no_step_is_refused() {
    let x = Type::of(DType::F32, &[4]);
    let refused = [
        Elementwise { inputs: 1, steps: vec![] },
        Elementwise { inputs: 2, steps: vec![step(Unary::Exp, &[0])] },
        Elementwise { inputs: 1, steps: vec![step(Unary::Exp, &[1]), step(Unary::Exp, &[0])] },
        Elementwise { inputs: 1, steps: vec![step(Cast { dtype: DType::I64 }, &[0])] },
        Elementwise { inputs: 1, steps: vec![step(crate::ops::Softmax { axis: 0 }, &[0])] },
    ];
    for chain in refused {
        let count = vec![&x; 1];
        assert!(chain.infer(&count).is_err(), "{chain:?}");
    }
    let mut tape = Tape::default();
    let node = tape.input(x);
    assert!(
        tape.emit(Elementwise { inputs: 1, steps: vec![step(Unary::Exp, &[0])] }.into(), &[node]).is_ok()
    );
}
