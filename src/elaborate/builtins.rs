//! What the language has beside operations: static functions, and what makes weights, randomness,
//! gradients and data.

/// A built-in function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    Range,
    Len,
    Zip,
    Enumerate,
    Reversed,
    Str,
    Param,
    State,
    Grad,
    Checkpoint,
    Normal,
    Uniform,
    Bernoulli,
    Categorical,
    RandInt,
    Dataset,
    ShapeOf,
    DtypeOf,
    Linspace,
    IsFunction,
}

/// All of them, with their names and one line each.
pub(super) const ALL: &[(Builtin, &str, &str)] = &[
    (Builtin::Range, "range", "range(n), range(a, b), range(a, b, step): a static list of integers."),
    (Builtin::Len, "len", "len(list): the number of its elements."),
    (Builtin::Zip, "zip", "zip(a, b, …): a static list of tuples."),
    (Builtin::Enumerate, "enumerate", "enumerate(list): a static list of (index, element)."),
    (Builtin::Reversed, "reversed", "reversed(list): the list from its end."),
    (Builtin::Str, "str", "str(value): a static value as text."),
    (Builtin::Param, "param", "param(shape, init = …): a weight of the block; only as a field."),
    (Builtin::State, "state", "state(shape, init = …): a buffer that `update` changes; only as a field."),
    (Builtin::Grad, "grad", "grad(y, x): the gradient of sum(y) with respect to x."),
    (
        Builtin::Checkpoint,
        "checkpoint",
        "checkpoint(f): f, whose inner values are computed again for the gradient instead of being held.",
    ),
    (Builtin::Normal, "normal", "normal(shape) or normal(like = x): standard normal noise."),
    (
        Builtin::Uniform,
        "uniform",
        "uniform(shape, lo = 0, hi = 1) or uniform(like = x): uniform noise in [lo, hi).",
    ),
    (
        Builtin::Bernoulli,
        "bernoulli",
        "bernoulli(p, shape) or bernoulli(p, like = x): 1 with probability p, else 0.",
    ),
    (
        Builtin::Categorical,
        "categorical",
        "categorical(logits): an index of the last axis, drawn from softmax(logits).",
    ),
    (Builtin::RandInt, "randint", "randint(shape, lo, hi): uniform integers in [lo, hi), i64."),
    (
        Builtin::Dataset,
        "dataset",
        "dataset(name, split): the fields of a data set, as tensors with a batch axis.",
    ),
    (Builtin::ShapeOf, "shape", "shape(x): the dimensions of a tensor as a static list."),
    (Builtin::DtypeOf, "dtype", "dtype(x): the dtype of a tensor as a string."),
    (Builtin::IsFunction, "is_function", "is_function(value): whether it can be called."),
    (Builtin::Linspace, "linspace", "linspace(a, b, n): n static numbers from a to b, both included."),
];

impl Builtin {
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(b, _, _)| *b == self).map_or("", |(_, n, _)| n)
    }

    pub fn find(name: &str) -> Option<Builtin> {
        ALL.iter().find(|(_, n, _)| *n == name).map(|(b, _, _)| *b)
    }
}

/// Constants that need no import.
pub(super) const CONSTANTS: &[(&str, f64)] =
    &[("pi", std::f64::consts::PI), ("e", std::f64::consts::E), ("inf", f64::INFINITY)];

/// Every name that needs no definition.
pub(super) fn names() -> Vec<&'static str> {
    crate::ops::signatures()
        .map(|s| s.name)
        .chain(ALL.iter().map(|(_, n, _)| *n))
        .chain(CONSTANTS.iter().map(|(n, _)| *n))
        .chain(["infer", "unit", "signed", "training"])
        .collect()
}
