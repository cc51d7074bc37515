//! Types: shapes that stay open, and errors that say how to go on.

use std::slice::from_ref;

use crate::diagnostic::codes;
use crate::ops::testing::Tape;
use crate::ops::util::sum_to;
use crate::ops::{
    Binary, Cast, Compare, CompareKind, DimValue, Emit, Logical, Op, Primitive, Reduce, ReduceKind, Softmax,
    Unary, Where,
};
use crate::shape::{DType, Dim, Type};

fn ty(dtype: DType, shape: &[&str]) -> Type {
    Type::new(dtype, shape.iter().map(|d| d.parse::<Dim>().expect("a dimension")).collect())
}

fn infer(op: impl Into<Op>, inputs: &[Type]) -> Result<String, crate::ops::OpError> {
    op.into().infer(&inputs.iter().collect::<Vec<_>>()).map(|t| t.to_string())
}

#[test]
fn open_dimensions_stay() {
    let x = ty(DType::F32, &["n", "2*h", "4"]);
    assert_eq!(infer(Unary::Exp, from_ref(&x)).expect("fits"), "[n, 2*h, 4]");
    assert_eq!(infer(Binary::Add, &[x.clone(), ty(DType::F32, &["2*h", "1"])]).expect("fits"), "[n, 2*h, 4]");
    let mean = |axes, keep| Reduce { kind: ReduceKind::Mean, axes, keep };
    assert_eq!(infer(mean(vec![0, 2], false), from_ref(&x)).expect("fits"), "[2*h]");
    assert_eq!(infer(mean(vec![1], true), from_ref(&x)).expect("fits"), "[n, 1, 4]");
    assert_eq!(
        infer(Compare { kind: CompareKind::Eq }, &[x.clone(), x.clone()]).expect("fits"),
        "bool[n, 2*h, 4]"
    );
    let spaced = Type { space: Some("unit".into()), ..x };
    assert_eq!(infer(Unary::Neg, &[spaced]).expect("fits"), "[n, 2*h, 4]", "arithmetic forgets the space");
}

#[test]
fn the_mean_over_an_open_axis_has_a_gradient() {
    let mut tape = Tape::default();
    let x = tape.input(ty(DType::F32, &["n", "3"]));
    let y = tape
        .emit(Reduce { kind: ReduceKind::Mean, axes: vec![0, 1], keep: false }.into(), &[x])
        .expect("fits");
    let seed = tape.scalar(1.0, DType::F32).expect("a number");
    let g = tape.gradients(&[(y, seed)], &[x])[0].expect("a gradient");
    assert_eq!(tape.ty(g).to_string(), "[n, 3]");
    let mut op: Op = DimValue { dim: "3*n".parse().expect("a dimension"), dtype: DType::F32 }.into();
    op.map_dims(&mut |d| d.substitute(&|_| Some(Dim::from(4))));
    let scalar = Type::scalar(DType::F32);
    let value = op.eval(&crate::ops::testing::context(&scalar), &[]).expect("a value");
    assert_eq!(value.to_scalar::<f32>().expect("a number"), 12.0);
}

#[test]
fn broadcasting_is_undone() {
    let mut tape = Tape::default();
    let g = tape.input(ty(DType::F32, &["n", "c", "h", "w"]));
    for shape in [&["c", "1", "1"][..], &["n", "c", "h", "w"], &[], &["1", "c", "1", "w"], &["h", "w"]] {
        let want = ty(DType::F32, shape);
        let s = sum_to(&mut tape, g, &want.shape).expect("was broadcast");
        assert_eq!(tape.ty(s), &want);
    }
}

#[test]
fn errors_say_how_to_go_on() {
    let f = ty(DType::F32, &["n", "3"]);
    let i = ty(DType::I64, &["n", "3"]);
    let b = ty(DType::Bool, &["n", "3"]);
    let u = ty(DType::U8, &["n", "3"]);
    let d = ty(DType::F64, &["n", "3"]);
    let cases: Vec<(Op, Vec<Type>, crate::diagnostic::Code, &str)> = vec![
        (Unary::Exp.into(), vec![i.clone()], codes::DTYPE_MISMATCH, "float(x)"),
        (Unary::Not.into(), vec![f.clone()], codes::DTYPE_MISMATCH, "x == 0"),
        (Unary::Neg.into(), vec![b.clone()], codes::DTYPE_MISMATCH, "int(x)"),
        (Binary::Add.into(), vec![f.clone(), i.clone()], codes::DTYPE_MISMATCH, "second operand: `float(x)`"),
        (Binary::Add.into(), vec![f.clone(), d], codes::DTYPE_MISMATCH, "cast(x, \"f64\")"),
        (Binary::Add.into(), vec![u.clone(), u], codes::DTYPE_MISMATCH, "float(x)"),
        (Binary::Div.into(), vec![i.clone(), i.clone()], codes::DTYPE_MISMATCH, "//"),
        (
            Binary::Mul.into(),
            vec![f.clone(), ty(DType::F32, &["3", "n"])],
            codes::BROADCAST,
            "permute(x, [1, 0])",
        ),
        (Binary::Mul.into(), vec![f.clone(), ty(DType::F32, &["n"])], codes::BROADCAST, "reshape(x, [n, 1])"),
        (Binary::Mul.into(), vec![f.clone(), ty(DType::F32, &["n", "4"])], codes::BROADCAST, "must be equal"),
        (Logical::And.into(), vec![f.clone(), b.clone()], codes::DTYPE_MISMATCH, "x > 0"),
        (Where {}.into(), vec![f.clone(), f.clone(), f.clone()], codes::DTYPE_MISMATCH, "x > 0"),
        (
            Compare { kind: CompareKind::Lt }.into(),
            vec![b.clone(), b.clone()],
            codes::DTYPE_MISMATCH,
            "int(x)",
        ),
        (
            Reduce { kind: ReduceKind::Mean, axes: vec![0], keep: false }.into(),
            vec![i],
            codes::DTYPE_MISMATCH,
            "float(x)",
        ),
        (Softmax { axis: 1 }.into(), vec![b], codes::DTYPE_MISMATCH, "float(x)"),
    ];
    for (op, inputs, code, help) in cases {
        let e = infer(op.clone(), &inputs).expect_err(op.name());
        assert_eq!(e.code, code, "{}", e.message);
        assert!(e.help.as_deref().is_some_and(|h| h.contains(help)), "{}: {:?}", e.message, e.help);
    }
    let e = infer(Softmax { axis: 2 }, &[f]).expect_err("no such axis");
    assert_eq!(e.code, codes::BAD_AXIS);
}

#[test]
fn truth_values_and_bytes_are_told_apart() {
    let bytes = candle_core::Tensor::new(&[0u8, 3, 255], &candle_core::Device::Cpu).expect("a tensor");
    let out = Type::of(DType::Bool, &[3]);
    let cast = Cast { dtype: DType::Bool };
    let value = cast.eval(&crate::ops::testing::context(&out), &[bytes]).expect("a value");
    assert_eq!(value.to_vec1::<u8>().expect("values"), [0, 1, 1]);
    assert!(!cast.is_view(&[&Type::of(DType::U8, &[3])]));
    assert!(Cast { dtype: DType::U8 }.is_view(&[&Type::of(DType::Bool, &[3])]));
}
