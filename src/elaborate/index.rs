//! `x[…]`: elements of lists, slices of tensors.

use super::Elaborator;
use super::value::{Env, Value};
use crate::diagnostic::codes;
use crate::ops::index::{Item, index};
use crate::source::Span;
use crate::syntax::ast::{Expr, IndexItem};

impl Elaborator<'_> {
    pub(super) fn index(
        &mut self,
        value: Value,
        base: Span,
        items: &[IndexItem],
        span: Span,
        env: &mut Env,
    ) -> Value {
        match value {
            Value::Error => Value::Error,
            v if v.is_tensor() => self.index_tensor(v, items, span, env),
            Value::List(l) => self.index_list(&l, items, span, env),
            Value::Tuple(t) => {
                if !self.work(t.len(), span) {
                    return Value::Error;
                }
                let items_of: Vec<Value> = t.iter().map(|(_, v)| v.clone()).collect();
                self.index_list(&items_of, items, span, env)
            }
            Value::Step(_) => {
                self.error(codes::WRONG_KIND, base, "a per-step number has no elements", "this is one number")
            }
            other => {
                let found = self.describe(&other);
                self.error(
                    codes::WRONG_KIND,
                    base,
                    "only lists, tuples and tensors have elements",
                    format!("this is {found}"),
                )
            }
        }
    }

    fn index_list(&mut self, list: &[Value], items: &[IndexItem], span: Span, env: &mut Env) -> Value {
        let len = list.len() as i64;
        match items {
            [IndexItem::At(e)] => {
                let at = self.expr(e, env);
                if let Value::Step(s) = &at {
                    // A list looked up by a per-step integer is a further column.
                    return self.index_by_step(list, &s.clone(), e.span);
                }
                let Some(i) = self.known_int(&at, e.span) else { return Value::Error };
                let j = if i < 0 { i + len } else { i };
                match usize::try_from(j).ok().and_then(|j| list.get(j)) {
                    Some(v) => v.clone(),
                    None => self.error_help(
                        codes::BAD_INDEX,
                        e.span,
                        format!("index {i} of a list of {len}"),
                        "out of range",
                        if len == 0 {
                            "the list is empty".to_string()
                        } else {
                            format!("indices run from 0 to {} (or -{len} to -1)", len - 1)
                        },
                    ),
                }
            }
            [IndexItem::Range(a, b, _)] => {
                let mut bound = |e: &Option<Expr>, default: i64| -> Option<i64> {
                    match e {
                        None => Some(default),
                        Some(e) => {
                            let v = self.expr(e, env);
                            self.known_int(&v, e.span)
                                .map(|i| (if i < 0 { i + len } else { i }).clamp(0, len))
                        }
                    }
                };
                let (Some(a), Some(b)) = (bound(a, 0), bound(b, len)) else { return Value::Error };
                let part = Value::list(list[a as usize..b.max(a) as usize].to_vec());
                self.made(part, span)
            }
            _ => self.error(codes::BAD_INDEX, span, "a list has one axis", "indexed by several here"),
        }
    }

    fn index_by_step(&mut self, list: &[Value], s: &super::value::StepNumber, span: Span) -> Value {
        if !self.allocate(s.values.len(), span) {
            return Value::Error;
        }
        let mut values = Vec::with_capacity(s.values.len());
        let mut kind = super::value::StepKind::Int;
        for v in &s.values {
            let i = *v as i64;
            let i = if i < 0 { i + list.len() as i64 } else { i };
            match usize::try_from(i).ok().and_then(|i| list.get(i)) {
                Some(Value::Int(d)) if d.as_const().is_some() => {
                    values.push(d.as_const().unwrap_or(0) as f64)
                }
                Some(Value::Float(x)) => {
                    kind = super::value::StepKind::Float;
                    values.push(*x);
                }
                Some(_) => {
                    return self.error(
                        codes::WRONG_KIND,
                        span,
                        "a list of numbers is needed here",
                        "indexed by a per-step number",
                    );
                }
                None => {
                    let (n, at) = (list.len(), values.len());
                    return self.error(
                        codes::BAD_INDEX,
                        span,
                        format!("index {i} of a list of {n}"),
                        format!("at step {at} of the loop"),
                    );
                }
            }
        }
        super::arith::step(s.scope, values, kind)
    }

    fn index_tensor(&mut self, value: Value, items: &[IndexItem], span: Span, env: &mut Env) -> Value {
        let mut parts = Vec::with_capacity(items.len());
        for item in items {
            let part = match item {
                IndexItem::At(e) => match self.expr(e, env) {
                    Value::Int(d) => Item::At(d),
                    Value::None => Item::NewAxis,
                    Value::Error => return Value::Error,
                    v if v.is_tensor() => match self.node(&v, e.span) {
                        Some(n) => Item::Tensor(n),
                        None => return Value::Error,
                    },
                    other => {
                        let found = self.describe(&other);
                        return self.error_help(
                            codes::WRONG_KIND,
                            e.span,
                            "a tensor is indexed by integers, ranges, `..`, `none` and integer tensors",
                            format!("this is {found}"),
                            "x[0], x[:, 1:3], x[.., none]",
                        );
                    }
                },
                IndexItem::Range(a, b, _) => {
                    let mut bound = |e: &Option<Expr>| -> Result<Option<crate::shape::Dim>, ()> {
                        let Some(e) = e else { return Ok(None) };
                        match self.expr(e, env) {
                            Value::Int(d) => Ok(Some(d)),
                            Value::Error => Err(()),
                            other => {
                                let found = self.describe(&other);
                                self.error(
                                    codes::WRONG_KIND,
                                    e.span,
                                    "a range runs between integers",
                                    format!("this is {found}"),
                                );
                                Err(())
                            }
                        }
                    };
                    match (bound(a), bound(b)) {
                        (Ok(a), Ok(b)) => Item::Range(a, b),
                        _ => return Value::Error,
                    }
                }
                IndexItem::Rest(_) => Item::Rest,
            };
            parts.push(part);
        }
        let space = self.type_of(&value).and_then(|t| t.space);
        let given = [(span, &value)];
        let Some(node) = self.node(&value, span) else { return Value::Error };
        let Some(mut b) = self.builder(span) else { return Value::Error };
        match index(&mut b, node, &parts) {
            Ok(n) => {
                let v = self.tensor(n, span);
                self.in_space(v, space)
            }
            Err(e) => self.op_error(e, span, &given),
        }
    }
}
