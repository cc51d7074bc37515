//! Products, convolutions, pooling and resizing against PyTorch, finite differences and each other.

use super::args::{Arg, Args};
use super::testing::{Array, Tape, assert_batch_invariant, check_gradients, run_fixture};
use super::*;
use crate::diagnostic::codes;
use crate::shape::{DType, Dim, Type};

#[test]
fn values_and_gradients_of_pytorch() {
    let json = include_str!("../../tests/fixtures/ops_conv.json");
    let arrays = include_bytes!("../../tests/fixtures/ops_conv.safetensors");
    assert!(run_fixture(json, arrays) > 80);
}

fn spec(
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [(usize, usize); 2],
    dilation: [usize; 2],
    groups: usize,
) -> ConvSpec {
    ConvSpec {
        kernel: kernel.to_vec(),
        stride: stride.to_vec(),
        padding: padding.to_vec(),
        dilation: dilation.to_vec(),
        groups,
    }
}

fn specs() -> Vec<ConvSpec> {
    vec![
        spec([3, 3], [1, 1], [(1, 1), (1, 1)], [1, 1], 1),
        spec([3, 2], [2, 1], [(0, 1), (1, 0)], [1, 2], 2),
        spec([2, 2], [2, 2], [(0, 0), (0, 0)], [1, 1], 1),
        spec([2, 2], [3, 3], [(0, 0), (0, 0)], [1, 1], 1),
    ]
}

#[test]
fn convolutions_have_first_and_second_gradients() {
    for s in specs() {
        let (x, w) = (
            Array::random(&[2, 2, 5, 4], 1, 1.0),
            Array::random(&[2, 2 / s.groups, s.kernel[0], s.kernel[1]], 2, 1.0),
        );
        let conv = Conv { spec: s.clone() };
        check_gradients(&[x.clone(), w.clone()], &|to, xs| to.emit(conv.clone().into(), xs));
        let y = testing::evaluate(&[x.clone(), w.clone()], &|to, xs| to.emit(conv.clone().into(), xs));
        let y = Array::random(&y.shape, 3, 1.0);
        let back = ConvTranspose { spec: s.clone(), size: vec![Dim::from(5), Dim::from(4)] };
        check_gradients(&[y.clone(), w], &|to, xs| to.emit(back.clone().into(), xs));
        let weight = ConvWeightGrad { spec: s };
        check_gradients(&[x, y], &|to, xs| to.emit(weight.clone().into(), xs));
    }
}

#[test]
fn fused_convolutions_are_the_sum_of_their_parts() {
    for (i, s) in specs().into_iter().enumerate() {
        let (x, w) = (
            Array::random(&[2, 2, 5, 4], 1, 1.0),
            Array::random(&[2, 2 / s.groups, s.kernel[0], s.kernel[1]], 2, 1.0),
        );
        let conv = Conv { spec: s.clone() };
        let y = testing::evaluate(&[x.clone(), w.clone()], &|to, xs| to.emit(conv.clone().into(), xs));
        let (b, r) = (Array::random(&[2], 3, 1.0), Array::random(&y.shape, 4, 1.0));
        for (bias, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            let fused = ConvFused { spec: s.clone(), bias, residual };
            let mut inputs = vec![x.clone(), w.clone()];
            inputs.extend(bias.then(|| b.clone()));
            inputs.extend(residual.then(|| r.clone()));
            let plane: usize = y.shape[2..].iter().product();
            let expected: Vec<f64> = (0..y.data.len())
                .map(|at| {
                    let with_bias = if bias { y.data[at] + b.data[at / plane % 2] } else { y.data[at] };
                    if residual { with_bias + r.data[at] } else { with_bias }
                })
                .collect();
            let build: testing::Build<'_> = &|to, xs| to.emit(fused.clone().into(), xs);
            assert_eq!(testing::evaluate(&inputs, build).data, expected, "case {i} {bias} {residual}");
            check_gradients(&inputs, build);
            let single: Vec<Array> = inputs.iter().map(|a| a.clone().cast(DType::F32)).collect();
            let last = inputs.len() - 1;
            let batched: Vec<bool> = (0..=last).map(|k| k == 0 || (residual && k == last)).collect();
            assert_batch_invariant(&single, &batched, build);
        }
    }
}

#[test]
fn fused_convolutions_refuse_what_does_not_fit() {
    let fused = ConvFused { spec: specs()[0].clone(), bias: true, residual: true };
    let f32s = |shape: &[usize]| Type::of(DType::F32, shape);
    let (x, w) = (f32s(&[2, 2, 5, 4]), f32s(&[3, 2, 3, 3]));
    let infer = |b: &[usize], r: &[usize]| fused.infer(&[&x, &w, &f32s(b), &f32s(r)]);
    assert_eq!(infer(&[3], &[2, 3, 5, 4]).expect("fits"), f32s(&[2, 3, 5, 4]));
    assert_eq!(infer(&[2], &[2, 3, 5, 4]).expect_err("bias").code, codes::SHAPE_MISMATCH);
    assert_eq!(infer(&[3], &[2, 3, 5, 5]).expect_err("residual").code, codes::SHAPE_MISMATCH);
    assert_eq!(fused.infer(&[&x, &w]).expect_err("too few").code, codes::INTERNAL);
    assert_eq!(fused.label(), "conv2d 3×3, pad 1 + bias + residual");
}

#[test]
fn products_have_first_and_second_gradients() {
    for (a, b) in [
        (&[3, 4][..], &[4, 2][..]),
        (&[2, 3, 4], &[4, 2]),
        (&[2, 1, 3, 4], &[3, 4, 2]),
        (&[3, 4], &[2, 4, 2]),
    ] {
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let turned = |s: &[usize], t: bool| {
                let mut s = s.to_vec();
                let r = s.len();
                if t {
                    s.swap(r - 2, r - 1);
                }
                s
            };
            let xs = [
                Array::random(&turned(a, transpose_a), 1, 1.0),
                Array::random(&turned(b, transpose_b), 2, 1.0),
            ];
            check_gradients(&xs, &|to, xs| to.emit(MatMul { transpose_a, transpose_b }.into(), xs));
        }
    }
}

#[test]
fn planes_have_first_and_second_gradients() {
    let x = Array::random(&[1, 2, 5, 6], 4, 1.0);
    for (kernel, stride, padding) in [([2, 2], [2, 2], [0, 0]), ([3, 2], [1, 2], [1, 1])] {
        let spec = PoolSpec { kernel, stride, padding };
        check_gradients(std::slice::from_ref(&x), &|to, xs| to.emit(AvgPool { spec }.into(), xs));
        check_gradients(std::slice::from_ref(&x), &|to, xs| to.emit(MaxPool { spec }.into(), xs));
        // The gradient's own rule, where it is not linear in what it is asked for.
        check_gradients(std::slice::from_ref(&x), &|to, xs| {
            let y = to.emit(MaxPool { spec }.into(), xs)?;
            to.binary(Binary::Mul, y, y)
        });
    }
    for mode in [ResizeMode::Nearest, ResizeMode::Bilinear] {
        for size in [[7, 3], [10, 12], [2, 2]] {
            let size: Vec<Dim> = size.iter().map(|s| Dim::from(*s)).collect();
            check_gradients(std::slice::from_ref(&x), &|to, xs| {
                to.emit(Resize { mode, size: size.clone() }.into(), xs)
            });
        }
    }
}

#[test]
fn samples_do_not_see_each_other() {
    let x = Array::random(&[4, 4, 9, 7], 5, 1.0).cast(DType::F32);
    let w = Array::random(&[6, 4, 3, 3], 6, 1.0).cast(DType::F32);
    let s = spec([3, 3], [2, 2], [(1, 1), (1, 0)], [1, 1], 1);
    assert_batch_invariant(&[x.clone(), w], &[true, false], &|to, xs| {
        to.emit(Conv { spec: s.clone() }.into(), xs)
    });
    let pool = PoolSpec { kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
    assert_batch_invariant(std::slice::from_ref(&x), &[true], &|to, xs| {
        to.emit(MaxPool { spec: pool }.into(), xs)
    });
    let size = vec![Dim::from(5), Dim::from(13)];
    let resize = Resize { mode: ResizeMode::Bilinear, size };
    assert_batch_invariant(&[x], &[true], &|to, xs| to.emit(resize.clone().into(), xs));
    let (a, b) = (
        Array::random(&[5, 300], 7, 1.0).cast(DType::F32),
        Array::random(&[40, 300], 8, 1.0).cast(DType::F32),
    );
    let op = MatMul { transpose_a: false, transpose_b: true };
    assert_batch_invariant(&[a, b], &[true, false], &|to, xs| to.emit(op.into(), xs));
}

fn ty(dims: &[&str]) -> Type {
    Type::new(DType::F32, dims.iter().map(|d| d.parse().expect("a dimension")).collect())
}

/// Calls an operation as the language does: two or one tensors, then parameters in order, the rest by default.
fn call(name: &str, tensors: &[Type], given: &[(&str, Arg)]) -> Result<Type, OpError> {
    let signature = signatures().find(|s| s.name == name).expect("an operation of that name");
    let mut tape = Tape::default();
    let mut nodes = tensors.iter().map(|t| Arg::Tensor(tape.input(t.clone())));
    let params = signature
        .params
        .iter()
        .map(|p| match given.iter().find(|(n, _)| *n == p.name) {
            Some((_, value)) => value.clone(),
            None if p.kind == args::ArgKind::Tensor => nodes.next().expect("a tensor"),
            None => match p.default {
                args::Default::Int(v) => Arg::Int(Dim::from(v)),
                args::Default::Bool(v) => Arg::Bool(v),
                args::Default::Float(v) => Arg::Float(v),
                args::Default::Str(v) => Arg::Str(v.to_string()),
                args::Default::None => Arg::None,
                args::Default::Required => panic!("`{}` is not given", p.name),
            },
        })
        .collect();
    match (signature.build)(&mut tape, &Args { params, ..Args::default() })? {
        Arg::Tensor(node) => Ok(tape.ty(node).clone()),
        other => panic!("{other:?} is not a tensor"),
    }
}

fn int(value: i64) -> Arg {
    Arg::Int(Dim::from(value))
}

fn list(items: &[i64]) -> Arg {
    Arg::List(items.iter().map(|v| int(*v)).collect())
}

#[test]
fn shapes_with_open_dimensions() {
    let x = ty(&["n", "3", "2*h", "w"]);
    let w = ty(&["8", "3", "4", "4"]);
    let conv = |given: &[(&str, Arg)]| call("conv2d", &[x.clone(), w.clone()], given);
    let y = conv(&[("stride", int(2)), ("pad", int(1))]).expect("fits");
    assert_eq!(y, ty(&["n", "8", "h", "w // 2"]));
    let back =
        call("conv_transpose2d", &[y, ty(&["8", "3", "4", "4"])], &[("stride", int(2)), ("pad", int(1))]);
    assert_eq!(back.expect("fits"), ty(&["n", "3", "2*h", "2*(w // 2)"]));
    let sides = Arg::List(vec![list(&[0, 1]), list(&[2, 3])]);
    assert_eq!(conv(&[("pad", sides)]).expect("fits"), ty(&["n", "8", "2*h - 2", "w + 2"]));
    assert_eq!(conv(&[("pad", list(&[1, 2]))]).expect("fits"), ty(&["n", "8", "2*h - 1", "w + 1"]));
    let up = call("upsample", std::slice::from_ref(&x), &[("scale", Arg::Float(2.0))]).expect("fits");
    assert_eq!(up, ty(&["n", "3", "4*h", "2*w"]));
    let down = call("upsample", std::slice::from_ref(&x), &[("scale", Arg::Float(0.5))]).expect("fits");
    assert_eq!(down, ty(&["n", "3", "h", "w // 2"]));
    assert_eq!(
        call("max_pool2d", std::slice::from_ref(&x), &[("kernel", int(2))]).expect("fits"),
        ty(&["n", "3", "h", "w // 2"])
    );
    assert_eq!(call("resize", &[x], &[("size", list(&[5, 6]))]).expect("fits"), ty(&["n", "3", "5", "6"]));
    let product =
        call("matmul", &[ty(&["n", "t", "d"]), ty(&["8", "d"])], &[("transpose_b", Arg::Bool(true))]);
    assert_eq!(product.expect("fits"), ty(&["n", "t", "8"]));
}

#[test]
fn gradients_of_open_shapes_are_exact() {
    // A strided convolution loses a row of odd sizes; its adjoint is told the size.
    let mut tape = Tape::default();
    let (x, w) = (tape.input(ty(&["n", "3", "h", "w"])), tape.input(ty(&["8", "3", "3", "3"])));
    let spec = spec([3, 3], [2, 2], [(1, 1), (0, 1)], [1, 1], 1);
    let y = tape.emit(Conv { spec }.into(), &[x, w]).expect("fits");
    let grads = tape.gradients(&[(y, y)], &[x, w]);
    assert!(grads.iter().all(Option::is_some));
}

#[test]
fn errors_say_what_is_expected() {
    let image = ty(&["n", "28", "28", "1"]);
    let error =
        |name: &str, tensors: &[Type], given: &[(&str, Arg)]| call(name, tensors, given).expect_err("wrong");
    let e = error("conv2d", &[image, ty(&["8", "1", "3", "3"])], &[]);
    assert_eq!(e.code, codes::SHAPE_MISMATCH);
    assert!(e.message.contains("expects 1 channel, x has 28"), "{}", e.message);
    assert!(e.help.as_deref().is_some_and(|h| h.contains("permute(x, [0, 3, 1, 2])")), "{:?}", e.help);
    let e = error("conv2d", &[ty(&["n", "1", "8", "8"]), ty(&["8", "3", "3", "3"])], &[]);
    assert!(e.message.contains("expects 3 channels, x has 1"), "{}", e.message);
    let e = error("conv2d", &[ty(&["1", "8", "8"]), ty(&["8", "1", "3", "3"])], &[]);
    assert_eq!(e.code, codes::WRONG_RANK);
    let e = error("conv2d", &[ty(&["n", "1", "2", "2"]), ty(&["8", "1", "3", "3"])], &[]);
    assert!(e.message.contains("does not fit"), "{}", e.message);
    let e = error("conv2d", &[ty(&["n", "4", "8", "8"]), ty(&["9", "2", "3", "3"])], &[("groups", int(2))]);
    assert_eq!(e.code, codes::NOT_DIVISIBLE);
    let (x, w) = (ty(&["n", "4", "8", "8"]), ty(&["4", "2", "3", "3"]));
    for (name, value) in
        [("stride", int(0)), ("groups", int(0)), ("pad", int(-1)), ("dilation", list(&[1, 2, 3]))]
    {
        assert_eq!(
            error("conv2d", &[x.clone(), w.clone()], &[(name, value)]).code,
            codes::BAD_VALUE,
            "{name}"
        );
    }
    let e = error("conv_transpose2d", &[x.clone(), w], &[("stride", int(2)), ("output_pad", int(2))]);
    assert!(e.message.contains("smaller than the stride"), "{}", e.message);
    let e = error("matmul", &[ty(&["n", "784"]), ty(&["128", "784"])], &[]);
    assert_eq!(e.code, codes::SHAPE_MISMATCH);
    assert!(e.help.as_deref().is_some_and(|h| h.contains("transpose_b = true")), "{:?}", e.help);
    assert_eq!(error("matmul", &[ty(&["n"]), ty(&["n", "2"])], &[]).code, codes::WRONG_RANK);
    assert_eq!(
        error("max_pool2d", std::slice::from_ref(&x), &[("kernel", int(2)), ("pad", int(2))]).code,
        codes::BAD_VALUE
    );
    assert_eq!(
        error("resize", std::slice::from_ref(&x), &[("size", int(4)), ("mode", Arg::Str("cubic".into()))])
            .code,
        codes::BAD_VALUE
    );
    assert_eq!(
        error("upsample", &[ty(&["n", "c", "h", "w"])], &[("scale", Arg::Float(1.5))]).code,
        codes::BAD_VALUE
    );
    let labels = Type { dtype: DType::I64, ..x };
    assert_eq!(error("avg_pool2d", &[labels], &[("kernel", int(2))]).code, codes::DTYPE_MISMATCH);
}

#[test]
fn labels_are_short() {
    let label = |s: ConvSpec| Conv { spec: s }.label();
    assert_eq!(label(spec([4, 4], [2, 2], [(0, 0), (0, 0)], [1, 1], 1)), "conv2d 4×4, stride 2");
    assert_eq!(label(spec([3, 3], [1, 1], [(1, 1), (1, 1)], [1, 1], 8)), "conv2d 3×3, pad 1, 8 groups");
}
