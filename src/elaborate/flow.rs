//! `a -> b`: flow of tensors, composition of callables.

use std::rc::Rc;

use super::Elaborator;
use super::value::{CallArgs, Env, Partial, Value};
use crate::diagnostic::codes;
use crate::ops::args::Default as OpDefault;
use crate::source::Span;
use crate::syntax::ast::{Expr, ExprKind};

impl Elaborator<'_> {
    pub(super) fn flow(&mut self, a: &Expr, b: &Expr, span: Span, env: &mut Env) -> Value {
        let left = self.expr(a, env);
        if matches!(left, Value::Error) {
            // Elaborate the right side too, so that its own mistakes show.
            self.stage(b, env, false);
            return Value::Error;
        }
        let composing = left.is_callable();
        let Some((right, mut args)) = self.stage(b, env, composing) else { return Value::Error };
        if composing {
            let member = match args {
                None => right,
                Some(args) => Value::Partial(Rc::new(Partial { callee: right, args, span: b.span })),
            };
            if !member.is_callable() {
                return self.not_callable(&member, b.span);
            }
            let mut members = match left {
                Value::Chain(c) => c.to_vec(),
                other => vec![other],
            };
            match member {
                Value::Chain(c) => members.extend(c.iter().cloned()),
                other => members.push(other),
            }
            return self.made(Value::Chain(Rc::new(members)), span);
        }
        let inputs = flow_inputs(left, a.span);
        let rest = args.take().unwrap_or_default();
        let positional = inputs.into_iter().chain(rest.positional).collect();
        self.call(right, CallArgs { positional, named: rest.named }, span)
    }

    /// The right side of an arrow: a callable, with the arguments of `f(a)` if they wait for an input.
    fn stage(&mut self, b: &Expr, env: &mut Env, composing: bool) -> Option<(Value, Option<CallArgs>)> {
        let ExprKind::Call(callee, args) = &b.kind else {
            let value = self.expr(b, env);
            return match value {
                Value::Error => None,
                v if v.is_callable() => Some((v, None)),
                v => {
                    self.not_callable(&v, b.span);
                    None
                }
            };
        };
        let f = self.expr(callee, env);
        let args = self.arguments(args, env)?;
        match f {
            Value::Error => None,
            // A block's parentheses configure it; what flows in goes to the instance.
            Value::Block(_) => match self.call(f, args, b.span) {
                Value::Error => None,
                v => Some((v, None)),
            },
            // While composing, a call that is complete makes the next member (`conv_bn(64)`).
            f if composing && self.is_complete(&f, &args) => match self.call(f, args, b.span) {
                Value::Error => None,
                v => Some((v, None)),
            },
            f if f.is_callable() => Some((f, Some(args))),
            other => {
                self.not_callable(&other, callee.span);
                None
            }
        }
    }

    /// Whether a call leaves no required parameter open.
    fn is_complete(&self, f: &Value, args: &CallArgs) -> bool {
        let given = |i: usize, name: &str| {
            i < args.positional.len() || args.named.iter().any(|(n, _, _)| &*n.name == name)
        };
        match f {
            Value::Fn(c) => {
                c.decl.params.iter().enumerate().all(|(i, p)| p.default.is_some() || given(i, &p.name.name))
            }
            Value::Op(s) => {
                s.params.iter().enumerate().all(|(i, p)| p.default != OpDefault::Required || given(i, p.name))
            }
            Value::Builtin(_) => true,
            _ => false,
        }
    }

    pub(super) fn not_callable(&mut self, value: &Value, span: Span) -> Value {
        let found = self.describe(value);
        self.error_help(
            codes::NOT_CALLABLE,
            span,
            "this cannot be called",
            format!("this is {found}"),
            "functions, blocks and their instances can be called, and stand on the right of `->`",
        )
    }
}

/// What flows: a tuple feeds several inputs.
pub(super) fn flow_inputs(value: Value, span: Span) -> Vec<(Value, Span)> {
    match value {
        Value::Tuple(t) => t.iter().map(|(_, v)| (v.clone(), span)).collect(),
        other => vec![(other, span)],
    }
}
