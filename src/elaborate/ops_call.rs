//! Calls of primitive operations: kinds checked, numbers made constants, static calls folded.

use super::Elaborator;
use super::arith::step;
use super::call::Slot;
use super::value::{CallArgs, StepKind, Value};
use crate::diagnostic::{Diagnostic, codes};
use crate::ops::args::Default as OpDefault;
use crate::ops::{Arg, ArgKind, Args, Signature};
use crate::shape::{DType, Dim};
use crate::source::Span;

impl Elaborator<'_> {
    pub(super) fn call_op(&mut self, s: &'static Signature, args: CallArgs, span: Span) -> Value {
        let what = format!("`{}`", s.name);
        let slots: Vec<Slot> = s
            .params
            .iter()
            .map(|p| Slot { name: p.name, optional: p.default != OpDefault::Required, span: None })
            .collect();
        let Some((bound, rest, named)) =
            self.bind_slots(&slots, args, &what, span, s.rest.is_some(), s.named)
        else {
            return Value::Error;
        };
        for (p, b) in s.params.iter().zip(&bound) {
            if let (ArgKind::Tensor, Some((v, at))) = (p.kind, b)
                && !(v.is_tensor()
                    || matches!(
                        v,
                        Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::Step(_) | Value::None
                    )
                    || matches!(v, Value::List(_) | Value::Tuple(_)) && s.fold.is_some())
            {
                let found = self.describe(v);
                return self.error(
                    codes::WRONG_KIND,
                    *at,
                    format!("`{}` of {what} must be a tensor or a number", p.name),
                    format!("this is {found}"),
                );
            }
        }
        let given: Vec<&(Value, Span)> = bound.iter().flatten().chain(&rest).collect();
        for (v, _) in &given {
            if matches!(v, Value::List(_) | Value::Tuple(_) | Value::Str(_)) {
                // Each element becomes an argument of its own.
                let size = self.weigh(v) as u64;
                if !self.spend(size, span) {
                    return Value::Error;
                }
            }
        }
        let any_tensor = given.iter().any(|(v, _)| holds_tensor(v));
        if !any_tensor && given.iter().any(|(v, _)| matches!(v, Value::Step(_))) && s.fold.is_some() {
            return self.fold_steps(s, &bound, &rest, span);
        }
        if !any_tensor
            && !given.iter().any(|(v, _)| matches!(v, Value::Step(_)))
            && let Some(fold) = s.fold
        {
            // All static: the value is computed here and now.
            let Some(args) = self.static_args(s, &bound, &rest, &named) else { return Value::Error };
            return match fold(&args) {
                Ok(arg) => match self.result(arg, span) {
                    list @ Value::List(_) => self.made(list, span),
                    value => value,
                },
                Err(e) => self.op_error(e, span, &[]),
            };
        }
        let dtype = given
            .iter()
            .find_map(|(v, _)| self.type_of(v))
            .or_else(|| given.iter().find_map(|(v, _)| first_tensor(v).and_then(|t| self.type_of(&t))))
            .map_or(DType::F32, |t| t.dtype);
        let tensors: Vec<(Span, &Value)> =
            given.iter().filter(|(v, _)| holds_tensor(v)).map(|(v, at)| (*at, v)).collect();
        let mut args = Args::default();
        for (p, b) in s.params.iter().zip(&bound) {
            let arg = match b {
                Some((v, at)) => match self.argument(v, p.kind, dtype, *at, p.name, s.name, p.default) {
                    Some(a) => a,
                    None => return Value::Error,
                },
                None => default_arg(p.default),
            };
            args.params.push(arg);
        }
        if let Some(kind) = s.rest {
            for (v, at) in &rest {
                match self.argument(v, kind, dtype, *at, "…", s.name, OpDefault::Required) {
                    Some(a) => args.rest.push(a),
                    None => return Value::Error,
                }
            }
        }
        for (name, v, at) in &named {
            match self.argument(v, ArgKind::Any, dtype, *at, &name.name, s.name, OpDefault::Required) {
                Some(a) => args.named.push((name.name.to_string(), a)),
                None => return Value::Error,
            }
        }
        let Some(mut b) = self.builder(span) else { return Value::Error };
        match (s.build)(&mut b, &args) {
            Ok(arg) => self.result(arg, span),
            Err(e) => self.op_error(e, span, &tensors),
        }
    }

    /// A static call with per-step numbers: step by step.
    fn fold_steps(
        &mut self,
        s: &'static Signature,
        bound: &[Option<(Value, Span)>],
        rest: &[(Value, Span)],
        span: Span,
    ) -> Value {
        let all = || bound.iter().flatten().chain(rest);
        let Some((scope, len)) = all().find_map(|(v, _)| match v {
            Value::Step(x) => Some((x.scope, x.values.len())),
            _ => None,
        }) else {
            return Value::Error;
        };
        if all().any(|(v, _)| matches!(v, Value::Step(x) if x.scope != scope)) {
            return self.error_help(
                codes::NOT_STATIC,
                span,
                "numbers of two nested loops meet in a static function",
                "here",
                "combine them with a tensor first, or compute each in its own loop",
            );
        }
        if !self.allocate(len, span) || !self.work(len.saturating_mul(8), span) {
            return Value::Error;
        }
        let at = |v: &Value, i: usize| match v {
            Value::Step(x) => match x.kind {
                StepKind::Int => Value::int(x.values[i] as i64),
                StepKind::Float => Value::Float(x.values[i]),
                StepKind::Bool => Value::Bool(x.values[i] != 0.0),
            },
            other => other.clone(),
        };
        // Steps may give integers and floats, which are floats then, but not numbers and truth values.
        let (mut values, mut kind) = (Vec::with_capacity(len), None);
        for i in 0..len {
            let b: Vec<Option<(Value, Span)>> =
                bound.iter().map(|x| x.as_ref().map(|(v, p)| (at(v, i), *p))).collect();
            let r: Vec<(Value, Span)> = rest.iter().map(|(v, p)| (at(v, i), *p)).collect();
            let Some(args) = self.static_args(s, &b, &r, &[]) else { return Value::Error };
            let given = match s.fold.map(|fold| fold(&args)) {
                Some(Ok(Arg::Int(d))) => d.as_const().map(|v| (v as f64, StepKind::Int)),
                Some(Ok(Arg::Float(v))) => Some((v, StepKind::Float)),
                Some(Ok(Arg::Bool(v))) => Some((f64::from(u8::from(v)), StepKind::Bool)),
                Some(Err(e)) => return self.op_error(e, span, &[]),
                _ => None,
            };
            let met = given.and_then(|(_, of)| match (kind, of) {
                (None, of) => Some(of),
                (Some(known), of) if known == of => Some(of),
                (Some(StepKind::Bool), _) | (_, StepKind::Bool) => None,
                _ => Some(StepKind::Float),
            });
            let (Some((value, _)), Some(met)) = (given, met) else {
                return self.error(
                    codes::WRONG_KIND,
                    span,
                    format!("`{}` of a per-step number", s.name),
                    "here",
                );
            };
            kind = Some(met);
            values.push(value);
        }
        step(scope, values, kind.unwrap_or(StepKind::Int))
    }

    fn static_args(
        &mut self,
        s: &'static Signature,
        bound: &[Option<(Value, Span)>],
        rest: &[(Value, Span)],
        named: &[(crate::syntax::ast::Ident, Value, Span)],
    ) -> Option<Args> {
        let mut args = Args::default();
        for (p, b) in s.params.iter().zip(bound) {
            args.params.push(match b {
                Some((v, at)) => self.static_arg(v, *at, s.name)?,
                None => default_arg(p.default),
            });
        }
        for (v, at) in rest {
            args.rest.push(self.static_arg(v, *at, s.name)?);
        }
        for (n, v, at) in named {
            args.named.push((n.name.to_string(), self.static_arg(v, *at, s.name)?));
        }
        Some(args)
    }

    fn static_arg(&mut self, v: &Value, span: Span, op: &str) -> Option<Arg> {
        Some(match v {
            Value::Int(d) => Arg::Int(d.clone()),
            Value::Float(x) => Arg::Float(*x),
            Value::Bool(b) => Arg::Bool(*b),
            Value::Str(t) => Arg::Str(t.to_string()),
            Value::None => Arg::None,
            Value::List(l) => {
                Arg::List(l.iter().map(|v| self.static_arg(v, span, op)).collect::<Option<Vec<_>>>()?)
            }
            Value::Tuple(t) => {
                Arg::List(t.iter().map(|(_, v)| self.static_arg(v, span, op)).collect::<Option<Vec<_>>>()?)
            }
            other => {
                let found = self.describe(other);
                self.error(codes::WRONG_KIND, span, format!("`{op}` does not take {found}"), "here");
                return None;
            }
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn argument(
        &mut self,
        v: &Value,
        kind: ArgKind,
        dtype: DType,
        span: Span,
        name: &str,
        op: &str,
        default: OpDefault,
    ) -> Option<Arg> {
        if matches!(v, Value::None) && default == OpDefault::None {
            return Some(Arg::None);
        }
        let expected = match (kind, v) {
            (ArgKind::Tensor | ArgKind::Any, v) if v.is_tensor() => {
                return self.node(v, span).map(Arg::Tensor);
            }
            (ArgKind::Tensor, Value::Int(_) | Value::Float(_) | Value::Step(_) | Value::Bool(_)) => {
                let dtype = match v {
                    Value::Float(_) if !dtype.is_float() => DType::F32,
                    Value::Bool(_) => DType::Bool,
                    _ => dtype,
                };
                return self.as_node(v, dtype, span).map(Arg::Tensor);
            }
            (ArgKind::Tensor, _) => "a tensor",
            (ArgKind::Int, Value::Int(d)) => return Some(Arg::Int(d.clone())),
            (ArgKind::Int, _) => "an integer",
            (ArgKind::Float, Value::Int(d)) => return Some(Arg::Int(d.clone())),
            (ArgKind::Float, Value::Float(x)) => return Some(Arg::Float(*x)),
            (ArgKind::Float, _) => "a static number",
            (ArgKind::Bool, Value::Bool(b)) => return Some(Arg::Bool(*b)),
            (ArgKind::Bool, _) => "true or false",
            (ArgKind::Str, Value::Str(t)) => return Some(Arg::Str(t.to_string())),
            (ArgKind::Str, _) => "a string",
            (ArgKind::Ints, Value::Int(d)) => return Some(Arg::Int(d.clone())),
            (ArgKind::Ints, Value::List(_) | Value::Tuple(_)) => return self.static_arg(v, span, op),
            (ArgKind::Ints, _) => "an integer or a list of integers",
            (ArgKind::Tensors, v) if v.is_tensor() => return self.node(v, span).map(Arg::Tensor),
            (ArgKind::Tensors | ArgKind::Any, Value::List(_) | Value::Tuple(_))
                if kind == ArgKind::Tensors || holds_tensor(v) =>
            {
                let items = self.items(v, span)?;
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    out.push(self.argument(
                        &item,
                        ArgKind::Tensor,
                        dtype,
                        span,
                        name,
                        op,
                        OpDefault::Required,
                    )?);
                }
                return Some(Arg::List(out));
            }
            (ArgKind::Tensors, _) => "a list of tensors",
            // Beside a tensor.
            (ArgKind::Any, Value::Step(step)) => {
                let dtype = if step.kind == StepKind::Bool { DType::Bool } else { dtype };
                return self.as_node(v, dtype, span).map(Arg::Tensor);
            }
            (ArgKind::Any, _) => return self.static_arg(v, span, op),
        };
        let found = self.describe(v);
        self.report(
            Diagnostic::error(codes::WRONG_KIND, format!("`{name}` of `{op}` must be {expected}"))
                .label(span, format!("this is {found}")),
        );
        None
    }

    pub(super) fn result(&mut self, arg: Arg, span: Span) -> Value {
        match arg {
            Arg::Tensor(node) => self.tensor(node, span),
            Arg::Int(d) => Value::Int(d),
            Arg::Float(v) => Value::Float(v),
            Arg::Bool(b) => Value::Bool(b),
            Arg::Str(s) => Value::str(&s),
            Arg::List(items) => {
                let tensors = items.iter().any(|a| matches!(a, Arg::Tensor(_)));
                let values: Vec<Value> = items.into_iter().map(|a| self.result(a, span)).collect();
                if tensors { Value::tuple(values) } else { Value::list(values) }
            }
            Arg::None => Value::None,
        }
    }
}

fn default_arg(default: OpDefault) -> Arg {
    match default {
        OpDefault::Required | OpDefault::None => Arg::None,
        OpDefault::Int(v) => Arg::Int(Dim::from(v)),
        OpDefault::Float(v) => Arg::Float(v),
        OpDefault::Bool(v) => Arg::Bool(v),
        OpDefault::Str(s) => Arg::Str(s.into()),
    }
}

fn first_tensor(v: &Value) -> Option<Value> {
    match v {
        v if v.is_tensor() => Some(v.clone()),
        Value::List(l) => l.iter().find_map(first_tensor),
        Value::Tuple(t) => t.iter().find_map(|(_, v)| first_tensor(v)),
        _ => None,
    }
}

fn holds_tensor(v: &Value) -> bool {
    first_tensor(v).is_some()
}
