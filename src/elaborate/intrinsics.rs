//! The built-in functions.

use std::cell::RefCell;

use super::Elaborator;
use super::builtins::Builtin;
use super::call::Slot;
use super::fields::new_param;
use super::value::{CallArgs, ParamDecl, Value};
use crate::diagnostic::{Diagnostic, codes};
use crate::ops::random;
use crate::ops::{Cast, Emit, OpError};
use crate::shape::{DType, Type};
use crate::source::Span;

pub(super) type Bound = Vec<Option<(Value, Span)>>;

impl Elaborator<'_> {
    pub(super) fn slots(
        &mut self,
        b: Builtin,
        names: &[(&str, bool)],
        args: CallArgs,
        span: Span,
    ) -> Option<Bound> {
        let slots: Vec<Slot> =
            names.iter().map(|(n, o)| Slot { name: n, optional: *o, span: None }).collect();
        Some(self.bind_slots(&slots, args, &format!("`{}`", b.name()), span, false, false)?.0)
    }

    pub(super) fn call_builtin(&mut self, b: Builtin, args: CallArgs, span: Span) -> Value {
        self.builtin(b, args, span).unwrap_or(Value::Error)
    }

    fn builtin(&mut self, b: Builtin, args: CallArgs, span: Span) -> Option<Value> {
        match b {
            Builtin::Range => self.range(args, span),
            Builtin::Linspace => {
                let bound = self.slots(b, &[("a", false), ("b", false), ("n", false)], args, span)?;
                let (from, to) = (self.number(&bound[0])?, self.number(&bound[1])?);
                let n = self.integer(&bound[2], span)?;
                if !self.allocate(usize::try_from(n).unwrap_or(0), span) {
                    return None;
                }
                let step =
                    |i: i64| if n <= 1 { from } else { from + (to - from) * i as f64 / (n - 1) as f64 };
                Some(Value::list((0..n).map(|i| Value::Float(step(i))).collect()))
            }
            Builtin::Len => {
                let bound = self.slots(b, &[("list", false)], args, span)?;
                let (v, at) = bound.into_iter().next()??;
                match &v {
                    Value::Str(s) => self.work_on(&v, at).then(|| Value::int(s.chars().count() as i64)),
                    Value::Record(r) => Some(Value::int(r.len() as i64)),
                    Value::List(l) => Some(Value::int(l.len() as i64)),
                    v => self.items(v, at).map(|i| Value::int(i.len() as i64)),
                }
            }
            Builtin::Zip => {
                let mut lists = Vec::new();
                for (v, at) in &args.positional {
                    lists.push(self.items(v, *at)?);
                }
                let n = lists.iter().map(Vec::len).min().unwrap_or(0);
                if lists.iter().any(|l| l.len() != n) {
                    let lens = lists.iter().map(|l| l.len().to_string()).collect::<Vec<_>>().join(", ");
                    return Some(self.error(
                        codes::STATIC_ARITHMETIC,
                        span,
                        format!("`zip` of lists of {lens}"),
                        "the lists must be equally long",
                    ));
                }
                let row = |i: usize| Value::tuple(lists.iter().map(|l: &Vec<Value>| l[i].clone()).collect());
                Some(self.made(Value::list((0..n).map(row).collect()), span))
            }
            Builtin::Enumerate => {
                let bound = self.slots(b, &[("list", false)], args, span)?;
                let (v, at) = bound.into_iter().next()??;
                let items = self.items(&v, at)?;
                let row = |(i, v): (usize, Value)| Value::tuple(vec![Value::int(i as i64), v]);
                Some(self.made(Value::list(items.into_iter().enumerate().map(row).collect()), span))
            }
            Builtin::Reversed => {
                let bound = self.slots(b, &[("list", false)], args, span)?;
                let (v, at) = bound.into_iter().next()??;
                let items = self.items(&v, at)?;
                Some(self.made(Value::list(items.into_iter().rev().collect()), span))
            }
            Builtin::Str => {
                let bound = self.slots(b, &[("value", false)], args, span)?;
                let (v, _) = bound.into_iter().next()??;
                Some(match &v {
                    Value::Str(_) => v,
                    Value::Int(d) => Value::str(&d.to_string()),
                    Value::Float(x) => Value::str(&format!("{x:?}")),
                    Value::Bool(x) => Value::str(&x.to_string()),
                    // What an `assert` allows reads as it is written, unless it is long or nested.
                    Value::List(l) if l.len() <= 64 && !l.iter().any(|i| matches!(i, Value::List(_))) => {
                        let text = super::pipeline::to_static(&v).map(|s| s.to_string());
                        Value::str(&text.unwrap_or_else(|| self.describe(&v)))
                    }
                    other => Value::str(&self.describe(other)),
                })
            }
            Builtin::Param | Builtin::State => self.weight(b, args, span),
            Builtin::Grad => self.grad(args, span),
            Builtin::Checkpoint => self.checkpoint(args, span),
            Builtin::Normal
            | Builtin::Uniform
            | Builtin::Bernoulli
            | Builtin::Categorical
            | Builtin::RandInt => self.random(b, args, span),
            Builtin::Dataset => self.dataset(args, span),
            Builtin::IsFunction => {
                let bound = self.slots(b, &[("value", false)], args, span)?;
                Some(Value::Bool(bound.into_iter().next()??.0.is_callable()))
            }
            Builtin::ShapeOf => {
                let bound = self.slots(b, &[("x", false)], args, span)?;
                let (v, at) = bound.into_iter().next()??;
                match self.type_of(&v) {
                    Some(t) => Some(Value::list(t.shape.into_iter().map(Value::Int).collect())),
                    None => {
                        let found = self.describe(&v);
                        Some(self.error(
                            codes::WRONG_KIND,
                            at,
                            "`shape` takes a tensor",
                            format!("this is {found}"),
                        ))
                    }
                }
            }
            Builtin::DtypeOf => {
                let bound = self.slots(b, &[("x", false)], args, span)?;
                let (v, at) = bound.into_iter().next()??;
                match self.type_of(&v) {
                    Some(t) => Some(Value::str(t.dtype.name())),
                    None => {
                        let found = self.describe(&v);
                        Some(self.error(
                            codes::WRONG_KIND,
                            at,
                            "`dtype` takes a tensor",
                            format!("this is {found}"),
                        ))
                    }
                }
            }
        }
    }

    fn range(&mut self, args: CallArgs, span: Span) -> Option<Value> {
        let bound =
            self.slots(Builtin::Range, &[("start", false), ("end", true), ("step", true)], args, span)?;
        let a = self.integer(&bound[0], span)?;
        let (start, end) = match &bound[1] {
            Some(_) => (a, self.integer(&bound[1], span)?),
            None => (0, a),
        };
        let step = if bound[2].is_some() { self.integer(&bound[2], span)? } else { 1 };
        if step == 0 {
            return Some(self.error(codes::BAD_VALUE, span, "a range with step 0 never ends", "here"));
        }
        let distance =
            if step > 0 { i128::from(end) - i128::from(start) } else { i128::from(start) - i128::from(end) };
        let size = i128::from(step).abs();
        let count = if distance <= 0 { 0 } else { (distance + size - 1) / size };
        if !self.allocate(usize::try_from(count).unwrap_or(usize::MAX), span) {
            return None;
        }
        Some(Value::list((0..count as i64).map(|i| Value::int(start + i * step)).collect()))
    }

    fn integer(&mut self, bound: &Option<(Value, Span)>, span: Span) -> Option<i64> {
        let (v, at) = bound.as_ref().map_or((Value::None, span), |(v, at)| (v.clone(), *at));
        self.known_int(&v, at)
    }

    pub(super) fn number(&mut self, bound: &Option<(Value, Span)>) -> Option<f64> {
        match bound {
            Some((Value::Float(v), _)) => Some(*v),
            Some((Value::Int(d), at)) => {
                let v = Value::Int(d.clone());
                self.known_int(&v, *at).map(|v| v as f64)
            }
            Some((other, at)) => {
                let found = self.describe(other);
                self.error(codes::WRONG_KIND, *at, "a number is needed", format!("this is {found}"));
                None
            }
            None => None,
        }
    }

    pub(super) fn string(&mut self, bound: &Option<(Value, Span)>) -> Option<String> {
        match bound {
            Some((Value::Str(s), _)) => Some(s.to_string()),
            Some((other, at)) => {
                let found = self.describe(other);
                self.error(codes::WRONG_KIND, *at, "a string is needed", format!("this is {found}"));
                None
            }
            None => None,
        }
    }

    /// `param(shape, init, dtype)`, `state(shape, init, dtype)`.
    fn weight(&mut self, b: Builtin, args: CallArgs, span: Span) -> Option<Value> {
        let bound = self.slots(b, &[("shape", false), ("init", true), ("dtype", true)], args, span)?;
        if self.in_fields == 0 {
            return Some(self.error_help(
                codes::WEIGHT_WITHOUT_FIELD,
                span,
                format!("`{}` inside a graph or function", b.name()),
                "a weight made here has no path in a checkpoint",
                "declare it as a field of the block: `weight = param([…])`, and use its name in the graph",
            ));
        }
        let (v, at) = bound[0].clone()?;
        let shape = self.dims(&v, at)?;
        if let Some(open) = shape.iter().find(|d| d.as_const().is_none_or(|v| v < 0)) {
            return Some(self.error_help(
                codes::NOT_STATIC,
                at,
                format!("the dimension `{open}` of a weight is not a known size"),
                "the shape of a weight",
                "a width that is learned at the first use is a parameter of the block with the default `infer`",
            ));
        }
        let dtype = match &bound[2] {
            None => DType::F32,
            Some((_, at)) => {
                let text = self.string(&bound[2])?;
                match text.parse::<DType>() {
                    Ok(d) => d,
                    Err(()) => {
                        return Some(self.error(
                            codes::UNKNOWN_NAME,
                            *at,
                            format!("there is no dtype `{text}`"),
                            "not a dtype",
                        ));
                    }
                }
            }
        };
        let ty = Type::new(dtype, shape);
        let bytes = ty.elements().as_const().unwrap_or(i64::MAX) as f64 * dtype.size() as f64;
        if bytes > self.options.limits.tensor_bytes {
            return Some(self.error_help(
                codes::TENSOR_TOO_LARGE,
                span,
                format!("a weight of {:.1} GB cannot be held", bytes / 1e9),
                format!("this is {ty}"),
                "check the widths",
            ));
        }
        let init = bound[1].clone().map_or(Value::Float(0.0), |(v, _)| v);
        let trainable = b == Builtin::Param;
        Some(new_param(ParamDecl { trainable, ty, init, span, path: RefCell::new(None) }))
    }

    /// `grad(y, x)`.
    fn grad(&mut self, args: CallArgs, span: Span) -> Option<Value> {
        let bound = self.slots(Builtin::Grad, &[("y", false), ("x", false)], args, span)?;
        let ((y, at_y), (x, at_x)) = (bound[0].clone()?, bound[1].clone()?);
        for (v, at) in [(&y, at_y), (&x, at_x)] {
            if !v.is_tensor() {
                let found = self.describe(v);
                return Some(self.error(
                    codes::WRONG_KIND,
                    at,
                    "`grad` takes two tensors",
                    format!("this is {found}"),
                ));
            }
        }
        let ty = self.type_of(&y)?;
        if ty.rank() > 1 {
            return Some(self.error_help(
                codes::WRONG_RANK,
                at_y,
                "`grad` takes one number per sample, or a single one",
                format!("this is {ty}"),
                "reduce it first: sum(y, axis = [1, 2, 3])",
            ));
        }
        let (ny, nx) = (self.node(&y, at_y)?, self.node(&x, at_x)?);
        let before = self.size_of_graph();
        let mut b = self.builder(span)?;
        let grads = crate::differentiate::gradients(&mut b, ny, &[nx]);
        // The walk goes over what is there, and adds to it.
        let after = self.size_of_graph();
        self.spend((before as u64) / 4 + (after - before) as u64 * super::unit::NODE, span);
        match grads {
            Ok(grads) => match grads.first().copied().flatten() {
                Some(node) => Some(self.tensor(node, span)),
                None => {
                    self.report(
                        Diagnostic::error(codes::NO_GRADIENT_PATH, "the first argument of `grad` does not depend on the second")
                            .label(at_y, "this")
                            .label(at_x, "is not computed from this")
                            .help("compute y from this x (not from a copy bound before), and without stop_grad or integer operations between"),
                    );
                    None
                }
            },
            Err(e) => Some(self.refused(e, span)),
        }
    }

    /// The random sources.
    fn random(&mut self, b: Builtin, args: CallArgs, span: Span) -> Option<Value> {
        let names: &[(&str, bool)] = match b {
            Builtin::Normal => &[("shape", true), ("like", true), ("mean", true), ("std", true)],
            Builtin::Uniform => &[("shape", true), ("lo", true), ("hi", true), ("like", true)],
            Builtin::Bernoulli => &[("p", false), ("shape", true), ("like", true)],
            Builtin::Categorical => &[("logits", false)],
            _ => &[("shape", false), ("lo", false), ("hi", false)],
        };
        let bound = self.slots(b, names, args, span)?;
        let get = |name: &str| names.iter().position(|(n, _)| *n == name).and_then(|i| bound[i].clone());
        let site = self.site();
        if b == Builtin::Categorical {
            let (v, at) = get("logits")?;
            let Some(node) = self.node(&v, at) else {
                let found = self.describe(&v);
                return Some(self.error(
                    codes::WRONG_KIND,
                    at,
                    "`categorical` takes logits",
                    format!("this is {found}"),
                ));
            };
            let mut build = self.builder(span)?;
            let result = random::categorical(&mut build, node, site);
            return Some(self.emitted(result, span));
        }
        // Noise like numbers of another precision is drawn in single precision.
        let mut dtype = DType::F32;
        let shape = match (get("shape"), get("like")) {
            (Some((v, at)), None) if v.is_tensor() => {
                return Some(self.error_help(
                    codes::WRONG_KIND,
                    at,
                    format!("`{}` takes a shape", b.name()),
                    format!("this is {}", self.describe(&v)),
                    "for the shape of a tensor write: like = x",
                ));
            }
            (Some((v, at)), None) => self.dims(&v, at)?,
            (None, Some((v, at))) => match self.type_of(&v) {
                Some(t) => {
                    if t.dtype.is_float() {
                        dtype = t.dtype;
                    }
                    t.shape
                }
                None => {
                    let found = self.describe(&v);
                    return Some(self.error(
                        codes::WRONG_KIND,
                        at,
                        "`like` takes a tensor",
                        format!("this is {found}"),
                    ));
                }
            },
            _ => {
                return Some(self.error_help(
                    codes::MISSING_ARGUMENT,
                    span,
                    format!("`{}` needs a shape or a tensor to be like", b.name()),
                    "here",
                    "normal([n, 16]), or normal(like = x)",
                ));
            }
        };
        let number = |s: &mut Self, name: &str, default: f64| match get(name) {
            None => Some(default),
            bound => s.number(&bound),
        };
        let f32 = DType::F32;
        let result: Result<_, OpError> = match b {
            Builtin::Normal => {
                let (mean, std) = (number(self, "mean", 0.0)?, number(self, "std", 1.0)?);
                let mut build = self.builder(span)?;
                random::normal(&mut build, shape, f32, site).and_then(|n| scale(&mut build, n, std, mean))
            }
            Builtin::Uniform => {
                let (lo, hi) = (number(self, "lo", 0.0)?, number(self, "hi", 1.0)?);
                let mut build = self.builder(span)?;
                random::uniform(&mut build, shape, (lo, hi), f32, site)
            }
            Builtin::Bernoulli => {
                let (p, at) = get("p")?;
                let p = match &p {
                    Value::Float(_) | Value::Int(_) => random::Probability::Number(number(self, "p", 0.5)?),
                    v => match self.as_node(v, f32, at) {
                        Some(n) => random::Probability::Tensor(n),
                        None => {
                            let found = self.describe(v);
                            return Some(self.error(
                                codes::WRONG_KIND,
                                at,
                                "`bernoulli` takes a probability",
                                format!("this is {found}"),
                            ));
                        }
                    },
                };
                let mut build = self.builder(span)?;
                random::bernoulli(&mut build, p, shape, f32, site)
            }
            _ => {
                let (lo, hi) = (self.integer(&get("lo"), span)?, self.integer(&get("hi"), span)?);
                if lo >= hi {
                    return Some(self.error(
                        codes::BAD_VALUE,
                        span,
                        format!("there is no integer in [{lo}, {hi})"),
                        "here",
                    ));
                }
                let mut build = self.builder(span)?;
                random::randint(&mut build, lo, hi, shape, site)
            }
        };
        let result = match result {
            Ok(noise) if dtype != f32 => self.builder(span)?.emit(Cast { dtype }.into(), &[noise]),
            result => result,
        };
        Some(self.emitted(result, span))
    }
}

/// `x * factor + offset`, without what changes nothing.
fn scale(
    to: &mut crate::graph::Builder<'_>,
    x: crate::graph::NodeId,
    factor: f64,
    offset: f64,
) -> Result<crate::graph::NodeId, OpError> {
    use crate::ops::Binary;
    let x = if factor == 1.0 { x } else { to.binary_scalar(Binary::Mul, x, factor)? };
    if offset == 0.0 { Ok(x) } else { to.binary_scalar(Binary::Add, x, offset) }
}
