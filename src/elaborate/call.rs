//! Calls: arguments bound to parameters, functions inlined, compositions run.

use std::rc::Rc;

use super::value::{CallArgs, Closure, Env, Value};
use super::{Elaborator, Frame};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::source::Span;
use crate::syntax::ast::{self, Arg};

/// A parameter, as far as binding arguments needs to know it.
pub(super) struct Slot<'a> {
    pub name: &'a str,
    pub optional: bool,
    pub span: Option<Span>,
}

impl Elaborator<'_> {
    /// Evaluates arguments; `None` when one failed.
    pub(super) fn arguments(&mut self, args: &[Arg], env: &mut Env) -> Option<CallArgs> {
        let mut out = CallArgs::default();
        let mut ok = true;
        for arg in args {
            let value = self.expr(&arg.value, env);
            let span = arg.value.span;
            match (&arg.name, arg.spread, value) {
                (_, _, Value::Error) => ok = false,
                (Some(name), _, v) => out.named.push((name.clone(), v, span)),
                (None, false, v) => out.positional.push((v, span)),
                (None, true, Value::Record(r)) => {
                    for (n, v) in r.iter() {
                        out.named.push((ast::Ident { name: n.clone(), span }, v.clone(), span));
                    }
                }
                (None, true, v) => match self.items(&v, span) {
                    Some(items) if !self.spend(items.len() as u64, span) => ok = false,
                    Some(items) => out.positional.extend(items.into_iter().map(|v| (v, span))),
                    None => ok = false,
                },
            }
        }
        ok.then_some(out)
    }

    /// Calls a value.
    pub(super) fn call(&mut self, f: Value, args: CallArgs, span: Span) -> Value {
        if self.aborted || !self.tick(span) {
            return Value::Error;
        }
        match f {
            Value::Error => Value::Error,
            Value::Fn(closure) => self.call_fn(&closure, args, span),
            Value::Op(signature) => self.call_op(signature, args, span),
            Value::Builtin(b) => self.call_builtin(b, args, span),
            Value::Block(block) => self.construct(&block, args, span),
            Value::Instance(i) => self.call_instance(&i, None, args, span),
            Value::Method(i, graph) => self.call_instance(&i, Some(graph), args, span),
            Value::Partial(p) => {
                let mut all = args;
                all.positional.extend(p.args.positional.iter().cloned());
                all.named.extend(p.args.named.iter().cloned());
                self.call(p.callee.clone(), all, p.span)
            }
            Value::Chain(members) => {
                let mut args = args;
                let mut value = Value::Error;
                for (i, member) in members.iter().enumerate() {
                    if i > 0 {
                        args =
                            CallArgs { positional: super::flow::flow_inputs(value, span), named: Vec::new() };
                    }
                    value = self.call(member.clone(), args.clone(), span);
                    if matches!(value, Value::Error) {
                        return value;
                    }
                }
                value
            }
            other => self.not_callable(&other, span),
        }
    }

    fn call_fn(&mut self, closure: &Rc<Closure>, args: CallArgs, span: Span) -> Value {
        let decl = &closure.decl;
        let what = decl.name.as_ref().map_or("this function".to_string(), |n| format!("`{}`", n.name));
        if !self.enter(span) || !self.work(closure.env.len(), span) {
            self.leave();
            return Value::Error;
        }
        self.frames.push(Frame { call: span, path: None, what: what.clone() });
        let mut env = closure.env.clone();
        if let Some(name) = &decl.name
            && env.get(&name.name).is_none()
        {
            // A function sees itself, so that static recursion is possible.
            env.bind(name.name.clone(), Value::Fn(closure.clone()));
        }
        let value =
            self.run_signature(&decl.params, decl.result.as_ref(), &decl.body, args, &mut env, &what, span);
        self.frames.pop();
        self.leave();
        value
    }

    /// Binds arguments, matches the signature, evaluates the body, checks the result.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn run_signature(
        &mut self,
        params: &[ast::Param],
        result: Option<&ast::Type>,
        body: &ast::Body,
        args: CallArgs,
        env: &mut Env,
        what: &str,
        span: Span,
    ) -> Value {
        let slots: Vec<Slot> = params
            .iter()
            .map(|p| Slot { name: &p.name.name, optional: p.default.is_some(), span: Some(p.span) })
            .collect();
        let Some((bound, rest, named)) = self.bind_slots(&slots, args, what, span, false, false) else {
            return Value::Error;
        };
        debug_assert!(rest.is_empty() && named.is_empty());
        let Some(mut scope) = self.match_params(params, bound, env, what) else { return Value::Error };
        let value = match self.body(body, env) {
            Some(v) => v,
            None => Value::None,
        };
        match result {
            Some(ty) => self.match_result(value, ty, &mut scope, env, what, body),
            None => value,
        }
    }

    /// Binds evaluated arguments to parameters, by position and by name. Further ones are returned if
    /// `rest` (positional) or `free` (named) allow them.
    #[allow(clippy::type_complexity)]
    pub(super) fn bind_slots(
        &mut self,
        slots: &[Slot],
        args: CallArgs,
        what: &str,
        span: Span,
        rest: bool,
        free: bool,
    ) -> Option<(Vec<Option<(Value, Span)>>, Vec<(Value, Span)>, Vec<(ast::Ident, Value, Span)>)> {
        let mut bound: Vec<Option<(Value, Span)>> = slots.iter().map(|_| None).collect();
        let (mut more, mut named, mut ok) = (Vec::new(), Vec::new(), true);
        let count = args.positional.len();
        for (i, arg) in args.positional.into_iter().enumerate() {
            match bound.get_mut(i) {
                Some(slot) => *slot = Some(arg),
                None if rest => more.push(arg),
                None => {
                    ok = false;
                    if i == slots.len() {
                        let names = slots.iter().map(|s| s.name).collect::<Vec<_>>().join(", ");
                        let takes = if names.is_empty() {
                            "it takes none".into()
                        } else {
                            format!("it takes: {names}")
                        };
                        self.error_help(
                            codes::UNKNOWN_ARGUMENT,
                            arg.1,
                            format!(
                                "{what} takes {} argument{}, and {count} are given",
                                slots.len(),
                                if slots.len() == 1 { "" } else { "s" }
                            ),
                            "one too many",
                            takes,
                        );
                    }
                }
            }
        }
        for (name, value, at) in args.named {
            match slots.iter().position(|s| s.name == &*name.name) {
                Some(i) => match &bound[i] {
                    Some((_, first)) => {
                        self.report(
                            Diagnostic::error(
                                codes::DUPLICATE_ARGUMENT,
                                format!("`{}` is given twice", name.name),
                            )
                            .label(name.span, "again here")
                            .label(*first, "given here already")
                            .help("leave one of them out"),
                        );
                        ok = false;
                    }
                    None => bound[i] = Some((value, at)),
                },
                None if free => named.push((name, value, at)),
                None => {
                    let names: Vec<&str> = slots.iter().map(|s| s.name).collect();
                    let d = Diagnostic::error(
                        codes::UNKNOWN_ARGUMENT,
                        format!("{what} has no parameter `{}`", name.name),
                    )
                    .label(name.span, "not a parameter");
                    let d = match did_you_mean(&name.name, names.iter().copied()) {
                        Some(near) => d.help(format!("did you mean `{near}`?")),
                        None if names.is_empty() => d.help("it takes no arguments"),
                        None => d.help(format!("it has: {}", names.join(", "))),
                    };
                    self.report(d);
                    ok = false;
                }
            }
        }
        let missing: Vec<&Slot> =
            slots.iter().zip(&bound).filter(|(s, b)| b.is_none() && !s.optional).map(|(s, _)| s).collect();
        if ok && !missing.is_empty() {
            let names = missing.iter().map(|s| format!("`{}`", s.name)).collect::<Vec<_>>().join(" and ");
            let mut d = Diagnostic::error(codes::MISSING_ARGUMENT, format!("{what} needs {names}"))
                .label(span, "called without it");
            if let Some(at) = missing[0].span {
                d = d.label(at, "declared here, without a default");
            }
            let first = missing[0].name;
            self.report(d.help(format!("give it: {first} = …")));
            ok = false;
        }
        ok.then_some((bound, more, named))
    }
}
