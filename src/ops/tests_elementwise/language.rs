//! The operations as the language calls them: on tensors, and on static values.

use crate::diagnostic::codes;
use crate::ops::args::{Arg, Args, Default};
use crate::ops::testing::{Array, Tape};
use crate::ops::{Emit, NodeId, OpError, Signature, signatures};
use crate::shape::DType;

fn signature(name: &str) -> &'static Signature {
    signatures().find(|s| s.name == name).unwrap_or_else(|| panic!("no `{name}`"))
}

/// Binds arguments by position and by name, as elaboration does.
fn bind(s: &Signature, positional: Vec<Arg>, named: &[(&str, Arg)]) -> Args {
    let mut params: Vec<Option<Arg>> = vec![None; s.params.len()];
    for (slot, a) in params.iter_mut().zip(positional) {
        *slot = Some(a);
    }
    for (name, a) in named {
        let at = s.params.iter().position(|p| p.name == *name).expect("a parameter");
        params[at] = Some(a.clone());
    }
    let filled = params.into_iter().zip(s.params).map(|(given, p)| {
        given.unwrap_or_else(|| match p.default {
            Default::Required => panic!("`{}` of `{}` is missing", p.name, s.name),
            Default::None => Arg::None,
            Default::Int(v) => Arg::Int(v.into()),
            Default::Float(v) => Arg::Float(v),
            Default::Bool(v) => Arg::Bool(v),
            Default::Str(v) => Arg::Str(v.into()),
        })
    });
    Args { params: filled.collect(), ..Args::default() }
}

fn fold(name: &str, positional: Vec<Arg>, named: &[(&str, Arg)]) -> Result<Arg, OpError> {
    let s = signature(name);
    (s.fold.expect("static evaluation"))(&bind(s, positional, named))
}

fn on_tensor(name: &str, x: &Array, named: &[(&str, Arg)]) -> Array {
    let mut tape = Tape::default();
    let id = tape.input(x.ty());
    let s = signature(name);
    match (s.build)(&mut tape, &bind(s, vec![Arg::Tensor(id)], named)) {
        Ok(Arg::Tensor(y)) => Array::of(&tape.eval(&[x.tensor()], &[y])[0]),
        other => panic!("`{name}` gave {other:?}"),
    }
}

fn floats(values: &[f64]) -> Arg {
    Arg::List(values.iter().map(|v| Arg::Float(*v)).collect())
}

fn ints(values: &[i64]) -> Arg {
    Arg::List(values.iter().map(|v| Arg::Int((*v).into())).collect())
}

fn numbers(value: &Arg) -> Vec<f64> {
    match value {
        Arg::List(items) => items.iter().flat_map(numbers).collect(),
        Arg::Float(v) => vec![*v],
        Arg::Int(d) => vec![d.as_const().expect("known") as f64],
        Arg::Bool(b) => vec![f64::from(u8::from(*b))],
        other => panic!("{other:?} is no number"),
    }
}

#[test]
fn static_values_agree_with_tensors() {
    let elementwise = [
        "abs",
        "ceil",
        "cos",
        "erf",
        "exp",
        "expm1",
        "floor",
        "gelu",
        "gelu_tanh",
        "isfinite",
        "log",
        "log1p",
        "reciprocal",
        "relu",
        "round",
        "sigmoid",
        "sign",
        "silu",
        "sin",
        "softplus",
        "sqrt",
        "square",
        "tan",
        "tanh",
        "float",
        "int",
    ];
    let whole = ["sum", "mean", "prod", "max", "min", "var", "std", "logsumexp", "argmax", "argmin"];
    let walks = ["cumsum", "cumprod", "softmax", "log_softmax"];
    let x = [0.3, 1.7, 2.5, 0.9, 0.1];
    for name in elementwise.into_iter().chain(whole).chain(walks) {
        let have =
            numbers(&fold(name, vec![floats(&x)], &[]).unwrap_or_else(|e| panic!("{name}: {}", e.message)));
        let want = on_tensor(name, &Array::new(&[5], &x), &[]).data;
        assert_eq!(have.len(), want.len(), "{name}");
        for (a, b) in have.iter().zip(&want) {
            assert!((a - b).abs() <= 1e-14 * b.abs().max(1.0), "{name}: {a} and {b}");
        }
    }
}

#[test]
fn whole_numbers_stay_whole() {
    let int = |v: i64| Arg::Int(v.into());
    assert_eq!(fold("abs", vec![int(-3)], &[]), Ok(int(3)));
    assert_eq!(fold("sum", vec![ints(&[1, 2, 4])], &[]), Ok(int(7)));
    assert_eq!(fold("prod", vec![ints(&[3, 5])], &[]), Ok(int(15)));
    assert_eq!(fold("cumsum", vec![ints(&[1, 2, 4])], &[]), Ok(ints(&[1, 3, 7])));
    assert_eq!(fold("max", vec![int(2), int(7)], &[]), Ok(int(7)));
    assert_eq!(fold("min", vec![Arg::Float(0.5), int(7)], &[]), Ok(Arg::Float(0.5)));
    assert_eq!(fold("max", vec![ints(&[4, 9, 2])], &[]), Ok(int(9)));
    assert_eq!(fold("min", vec![floats(&[4.0, 0.5]), int(1)], &[]), Ok(floats(&[1.0, 0.5])));
    assert_eq!(fold("pow", vec![int(3), int(4)], &[]), Ok(int(81)));
    assert_eq!(fold("int", vec![Arg::Float(-2.7)], &[]), Ok(int(-2)));
    assert_eq!(fold("argmax", vec![ints(&[4, 9, 9])], &[]), Ok(int(1)));
    assert_eq!(
        fold("exp", vec![Arg::List(vec![ints(&[0]), int(0)])], &[]),
        Ok(Arg::List(vec![floats(&[1.0]), Arg::Float(1.0)]))
    );
    assert_eq!(
        fold("all", vec![Arg::List(vec![Arg::Bool(true), Arg::Bool(false)])], &[]),
        Ok(Arg::Bool(false))
    );
}

#[test]
fn static_errors() {
    let code = |r: Result<Arg, OpError>| r.expect_err("refused").code;
    assert_eq!(code(fold("log", vec![Arg::Float(-1.0)], &[])), codes::STATIC_ARITHMETIC);
    assert_eq!(code(fold("sum", vec![ints(&[i64::MAX, 1])], &[])), codes::STATIC_ARITHMETIC);
    assert_eq!(code(fold("max", vec![ints(&[])], &[])), codes::STATIC_ARITHMETIC);
    assert_eq!(code(fold("sqrt", vec![Arg::Str("a".into())], &[])), codes::WRONG_KIND);
    assert_eq!(code(fold("sum", vec![ints(&[1])], &[("axis", Arg::Int(1.into()))])), codes::BAD_AXIS);
    assert_eq!(
        code(fold("max", vec![Arg::Int(1.into()), ints(&[1, 2])], &[("axis", Arg::Int(0.into()))])),
        codes::BAD_VALUE
    );
    let nested = (0..100).fold(Arg::Float(1.0), |a, _| Arg::List(vec![a]));
    assert!(fold("exp", vec![nested.clone()], &[]).is_err());
    assert!(fold("max", vec![nested, Arg::Float(0.0)], &[]).is_err());
    let e = fold("cast", vec![Arg::Float(1.0), Arg::Str("f23".into())], &[]).expect_err("no such dtype");
    assert!(e.help.is_some_and(|h| h.contains("f32")));
}

#[test]
fn reductions_of_tensors() {
    let x = Array::new(&[2, 3], &[1.0, 5.0, 2.0, -4.0, 0.5, 3.0]);
    let axis = |v: i64| ("axis", Arg::Int(v.into()));
    let keep = ("keep", Arg::Bool(true));
    assert_eq!(on_tensor("max", &x, &[axis(-1)]).data, [5.0, 3.0]);
    assert_eq!(on_tensor("max", &x, &[axis(0), keep.clone()]).shape, [1, 3]);
    assert_eq!(on_tensor("min", &x, &[]).data, [-4.0]);
    assert_eq!(on_tensor("sum", &x, &[("axis", ints(&[1, 0]))]).data, [7.5]);
    assert_eq!(on_tensor("prod", &x, &[]).data, [-60.0]);
    assert_eq!(on_tensor("prod", &x, &[keep]).shape, [1, 1]);
    let var = on_tensor("var", &x, &[axis(1)]).data;
    assert!((var[0] - 26.0 / 9.0).abs() < 1e-12, "the population's variance: {var:?}");
    assert_eq!(on_tensor("argmax", &x, &[axis(1)]).data, [1.0, 2.0]);
    let truth = Array::new(&[2, 2], &[1.0, 0.0, 1.0, 1.0]).cast(DType::Bool);
    assert_eq!(on_tensor("any", &truth, &[axis(1)]).data, [1.0, 1.0]);
    assert_eq!(on_tensor("all", &truth, &[axis(1)]).data, [0.0, 1.0]);
}

#[test]
fn numbers_beside_tensors() {
    let x = Array::new(&[3], &[-1.0, 0.5, 2.0]);
    let run = |f: &dyn Fn(&mut Tape, NodeId) -> Result<Arg, OpError>| {
        let mut tape = Tape::default();
        let id = tape.input(x.ty());
        match f(&mut tape, id) {
            Ok(Arg::Tensor(y)) => Array::of(&tape.eval(&[x.tensor()], &[y])[0]).data,
            other => panic!("{other:?}"),
        }
    };
    let powers = run(&|tape, id| {
        let s = signature("pow");
        (s.build)(tape, &bind(s, vec![Arg::Tensor(id), Arg::Int(3.into())], &[]))
    });
    assert_eq!(powers, [-1.0, 0.125, 8.0]);
    let chosen = run(&|tape, id| {
        let zero = tape.scalar(0.0, DType::F64)?;
        let kind = crate::ops::CompareKind::Gt;
        let c = tape.emit(crate::ops::Compare { kind }.into(), &[id, zero])?;
        let s = signature("where");
        (s.build)(tape, &bind(s, vec![Arg::Tensor(c), Arg::Tensor(id), Arg::Float(7.0)], &[]))
    });
    assert_eq!(chosen, [7.0, 0.5, 2.0]);
    let taken = run(&|tape, id| {
        let s = signature("where");
        (s.build)(tape, &bind(s, vec![Arg::Bool(false), Arg::Tensor(id), Arg::Float(7.0)], &[]))
    });
    assert_eq!(taken, [7.0; 3]);
}

#[test]
fn every_signature_is_documented_and_named_once() {
    let mut names: Vec<_> = signatures().map(|s| s.name).collect();
    assert!(signatures().all(|s| s.doc.ends_with('.')), "a sentence");
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}
