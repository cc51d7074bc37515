//! Expressions.

use std::rc::Rc;

use super::Elaborator;
use super::builtins::{self, Builtin};
use super::value::{Closure, Env, Value};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::resolve::{Binding, ModuleId};
use crate::shape::Dim;
use crate::source::Span;
use crate::syntax::ast::{self, BinaryOp, Expr, ExprKind, Item, Name, Pattern};

/// How many elements of a list a name takes as much memory as.
pub(super) const CAPTURED: usize = 3;

impl Elaborator<'_> {
    /// The value of an expression; [`Value::Error`] when it has none, with a diagnostic given.
    pub(super) fn expr(&mut self, e: &Expr, env: &mut Env) -> Value {
        if self.aborted || !self.tick(e.span) {
            return Value::Error;
        }
        let value = if self.enter(e.span) { self.expr_kind(e, env) } else { Value::Error };
        self.leave();
        value
    }

    fn expr_kind(&mut self, e: &Expr, env: &mut Env) -> Value {
        match &e.kind {
            ExprKind::Int(v) => Value::int(*v),
            ExprKind::Float(v) => Value::Float(*v),
            ExprKind::Str(s) => Value::Str(s.clone()),
            ExprKind::Bool(b) => Value::Bool(*b),
            ExprKind::None => Value::None,
            ExprKind::Name(name) => self.name(name, e.span, env),
            ExprKind::Paren(inner) => self.expr(inner, env),
            ExprKind::List(items) => {
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    let value = self.expr(&item.value, env);
                    if matches!(value, Value::Error) {
                        return Value::Error;
                    }
                    if !item.spread {
                        out.push(value);
                        continue;
                    }
                    match self.items(&value, item.value.span) {
                        Some(more) => out.extend(more),
                        None => return Value::Error,
                    }
                }
                self.made(Value::list(out), e.span)
            }
            ExprKind::Comprehension(c) => {
                let mut out = Vec::new();
                // The names are copied when the first of the inner ones is bound.
                if !self.work(env.len(), e.span) {
                    return Value::Error;
                }
                let mut inner = env.clone();
                if self.comprehend(c, 0, &mut inner, &mut out) && self.allocate(0, e.span) {
                    Value::list(out)
                } else {
                    Value::Error
                }
            }
            ExprKind::Record(fields) => {
                let value = self.record(fields, env);
                self.made(value, e.span)
            }
            ExprKind::Tuple(items) => {
                let values: Vec<Value> = items.iter().map(|i| self.expr(i, env)).collect();
                if values.iter().any(|v| matches!(v, Value::Error)) {
                    Value::Error
                } else {
                    self.made(Value::tuple(values), e.span)
                }
            }
            ExprKind::Unary(op, a) => {
                let value = self.expr(a, env);
                self.unary(*op, value, e.span)
            }
            ExprKind::Binary(op @ (BinaryOp::And | BinaryOp::Or), a, b) => {
                let left = self.expr(a, env);
                // A static side decides without the other being evaluated.
                match (&left, op) {
                    (Value::Bool(false), BinaryOp::And) | (Value::Bool(true), BinaryOp::Or) => left,
                    _ => {
                        let right = self.expr(b, env);
                        self.binary(*op, (left, a.span), (right, b.span), e.span)
                    }
                }
            }
            ExprKind::Binary(op, a, b) => {
                let left = self.expr(a, env);
                let right = self.expr(b, env);
                self.binary(*op, (left, a.span), (right, b.span), e.span)
            }
            ExprKind::Call(callee, args) => {
                let f = self.expr(callee, env);
                let Some(args) = self.arguments(args, env) else { return Value::Error };
                self.call(f, args, e.span)
            }
            ExprKind::Index(base, items) => {
                let value = self.expr(base, env);
                self.index(value, base.span, items, e.span, env)
            }
            ExprKind::Field(base, name) => {
                let value = self.expr(base, env);
                self.field(value, name, base.span)
            }
            ExprKind::Flow(a, b) => self.flow(a, b, e.span, env),
            ExprKind::If(i) => match self.expr(&i.cond, env) {
                Value::Bool(true) => self.body(&i.then, env).unwrap_or(Value::None),
                Value::Bool(false) => match &i.otherwise {
                    Some(b) => self.body(b, env).unwrap_or(Value::None),
                    None => Value::None,
                },
                Value::Error => Value::Error,
                other => {
                    let found = self.describe(&other);
                    self.error_help(
                        codes::NOT_STATIC,
                        i.cond.span,
                        "`if` picks a side before the run and needs a static truth value",
                        format!("this is {found}"),
                        "for a choice by values of a tensor or of a loop step, use where(cond, a, b)",
                    )
                }
            },
            // It keeps the names that it sees.
            ExprKind::Fn(decl) if !self.allocate(CAPTURED * env.len(), decl.span) => Value::Error,
            ExprKind::Fn(decl) => Value::Fn(Rc::new(Closure { decl: decl.clone(), env: env.clone() })),
            ExprKind::Loop(l) => self.run_loop(l, env),
            ExprKind::Error => Value::Error,
        }
    }

    fn record(&mut self, fields: &[(Option<ast::Ident>, Expr)], env: &mut Env) -> Value {
        let mut out: Vec<(Name, Value)> = Vec::new();
        let mut put = |name: Name, value: Value| match out.iter_mut().find(|(n, _)| *n == name) {
            Some(slot) => slot.1 = value,
            None => out.push((name, value)),
        };
        for (name, value) in fields {
            let v = self.expr(value, env);
            match (name, v) {
                (_, Value::Error) => return Value::Error,
                (Some(name), v) => put(name.name.clone(), v),
                (None, Value::Record(r)) => {
                    // Each name is looked for among those before it.
                    if !self.work(r.len().saturating_mul(r.len() + fields.len()), value.span) {
                        return Value::Error;
                    }
                    r.iter().for_each(|(n, v)| put(n.clone(), v.clone()));
                }
                (None, other) => {
                    let found = self.describe(&other);
                    return self.error(
                        codes::WRONG_KIND,
                        value.span,
                        "`..` in a record spreads another record",
                        format!("this is {found}"),
                    );
                }
            }
        }
        Value::Record(Rc::new(out))
    }

    fn comprehend(&mut self, c: &ast::Comprehension, at: usize, env: &mut Env, out: &mut Vec<Value>) -> bool {
        let Some(clause) = c.clauses.get(at) else {
            let value = self.expr(&c.element, env);
            let value = self.made(value, c.element.span);
            let ok = !matches!(value, Value::Error);
            out.push(value);
            return ok;
        };
        let list = self.expr(&clause.iter, env);
        let Some(items) = self.items(&list, clause.iter.span) else { return false };
        for item in items {
            if self.aborted || !self.bind_pattern(&clause.pattern, item, clause.iter.span, env) {
                return false;
            }
            if let Some(cond) = &clause.cond {
                match self.expr(cond, env) {
                    Value::Bool(true) => {}
                    Value::Bool(false) => continue,
                    Value::Error => return false,
                    other => {
                        let found = self.describe(&other);
                        self.error(
                            codes::WRONG_KIND,
                            cond.span,
                            "the filter of a comprehension must be true or false",
                            format!("this is {found}"),
                        );
                        return false;
                    }
                }
            }
            if !self.comprehend(c, at + 1, env, out) {
                return false;
            }
        }
        true
    }

    /// The elements of what `for` walks over.
    pub(super) fn items(&mut self, value: &Value, span: Span) -> Option<Vec<Value>> {
        match value {
            Value::List(l) => self.work(l.len(), span).then(|| l.to_vec()),
            Value::Tuple(t) => self.work(t.len(), span).then(|| t.iter().map(|(_, v)| v.clone()).collect()),
            Value::Error => None,
            other => {
                let found = self.describe(other);
                let help = match other {
                    Value::Int(_) => "use range(n) for the numbers from 0 to n - 1",
                    Value::Tensor(_) => {
                        "`for` unrolls static lists; take slices with x[i], or use a run-time `loop`"
                    }
                    _ => "`for` walks over lists: range(n), zip(a, b), [ … ]",
                };
                self.error_help(
                    codes::WRONG_KIND,
                    span,
                    "a list is needed",
                    format!("this is {found}"),
                    help,
                );
                None
            }
        }
    }

    /// Binds a pattern to a value.
    pub(super) fn bind_pattern(
        &mut self,
        pattern: &Pattern,
        value: Value,
        from: Span,
        env: &mut Env,
    ) -> bool {
        match pattern {
            Pattern::Name(n) => {
                env.bind(n.name.clone(), value);
                true
            }
            Pattern::Ignore(_) => true,
            Pattern::Tuple(parts, span) => {
                let items: Vec<Value> = match &value {
                    Value::Tuple(t) => t.iter().map(|(_, v)| v.clone()).collect(),
                    Value::List(l) => l.to_vec(),
                    Value::Error => vec![Value::Error; parts.len()],
                    other => {
                        let found = self.describe(other);
                        self.report(
                            Diagnostic::error(
                                codes::UNPACK,
                                format!("{} values are asked for, and there is one", parts.len()),
                            )
                            .label(*span, format!("{} names", parts.len()))
                            .label(from, format!("this is {found}")),
                        );
                        vec![Value::Error; parts.len()]
                    }
                };
                if items.len() != parts.len() {
                    self.report(
                        Diagnostic::error(
                            codes::UNPACK,
                            format!("{} values are unpacked into {} names", items.len(), parts.len()),
                        )
                        .label(*span, format!("{} names", parts.len()))
                        .label(from, format!("{} values", items.len()))
                        .help("use `_` for values that are not needed"),
                    );
                    for part in parts {
                        self.bind_pattern(part, Value::Error, from, env);
                    }
                    return false;
                }
                parts.iter().zip(items).fold(true, |ok, (p, v)| self.bind_pattern(p, v, from, env) && ok)
            }
        }
    }

    /// A name: local, of the file, of the prelude, an operation, a built-in.
    fn name(&mut self, name: &Name, span: Span, env: &Env) -> Value {
        if let Some(value) = env.get(name) {
            return value.clone();
        }
        if let Some(value) = self.global(env.module, name) {
            return value;
        }
        if let Some(prelude) = self.modules.prelude()
            && let Some(value) = self.global(prelude, name)
        {
            return value;
        }
        if let Some((_, v)) = builtins::CONSTANTS.iter().find(|(n, _)| *n == &**name) {
            return Value::Float(*v);
        }
        if &**name == "training" {
            // Static: a training step and an entry point are two graphs.
            return Value::Bool(self.unit.as_ref().is_some_and(|u| u.train.is_some()));
        }
        if let Some(b) = Builtin::find(name) {
            return Value::Builtin(b);
        }
        if let Some(s) = crate::ops::signatures().find(|s| s.name == &**name) {
            return Value::Op(s);
        }
        if matches!(&**name, "unit" | "signed") {
            return Value::Space(name.clone());
        }
        if self.modules.list.get(env.module).is_some_and(|m| m.silent.contains(name)) {
            return Value::Error;
        }
        // The check of names has reported what is unbound in any case; this is for names bound too late.
        let told = |d: &Diagnostic| {
            d.code == codes::UNKNOWN_NAME && d.labels.first().is_some_and(|l| l.span == span)
        };
        if !self.diagnostics.iter().any(told) {
            let d = Diagnostic::error(codes::UNKNOWN_NAME, format!("nothing is called `{name}` here"))
                .label(span, "not defined");
            let near = did_you_mean(name, env.names().chain(builtins::names()));
            let help = near.map(|near| format!("did you mean `{near}`?"));
            self.report(Diagnostic { help, ..d });
        }
        self.spend(self.diagnostics.len() as u64, span);
        Value::Error
    }

    /// A name of a module's top level.
    pub(super) fn global(&mut self, module: ModuleId, name: &Name) -> Option<Value> {
        let modules = self.modules;
        let (home, binding) = modules.lookup(module, name)?;
        Some(match binding {
            Binding::Block(b) => {
                Value::Block(Rc::new(super::value::BlockRef { decl: b.clone(), module: home }))
            }
            Binding::Fn(f) => Value::Fn(Rc::new(Closure { decl: f.clone(), env: Env::new(home) })),
            Binding::Space(s) => Value::Space(s.clone()),
            Binding::Module(m) => Value::Module(*m),
            Binding::Const(index) => self.constant_item(home, *index, name),
            Binding::Import(..) => return None,
        })
    }

    /// A constant of a file, evaluated once.
    fn constant_item(&mut self, module: ModuleId, index: usize, name: &Name) -> Value {
        let modules = self.modules;
        let Some(Item::Let(l)) = modules.list[module].ast.items.get(index) else { return Value::Error };
        let value = match self.constants.get(&(module, index)) {
            Some(Some(value)) => value.clone(),
            Some(None) => {
                return self.error_help(
                    codes::RECURSION_LIMIT,
                    l.span,
                    format!("`{name}` is defined by itself"),
                    "its value is needed to compute it",
                    "a constant may use other constants, not itself",
                );
            }
            None => {
                self.constants.insert((module, index), None);
                let mut env = Env::new(module);
                self.in_fields += 1;
                let value = self.expr(&l.value, &mut env);
                self.in_fields -= 1;
                self.constants.insert((module, index), Some(value.clone()));
                value
            }
        };
        let mut env = Env::new(module);
        self.bind_pattern(&l.pattern, value, l.value.span, &mut env);
        env.get(name).cloned().unwrap_or(Value::Error)
    }

    /// `value.name`.
    pub(super) fn field(&mut self, value: Value, name: &ast::Ident, span: Span) -> Value {
        let candidates: Vec<String> = match &value {
            Value::Record(r) => match r.iter().find(|(n, _)| *n == name.name) {
                Some((_, v)) => return v.clone(),
                None => r.iter().map(|(n, _)| n.to_string()).collect(),
            },
            Value::Tuple(t) => match t.iter().find(|(n, _)| n.as_ref() == Some(&name.name)) {
                Some((_, v)) => return v.clone(),
                None => t.iter().filter_map(|(n, _)| n.as_ref().map(ToString::to_string)).collect(),
            },
            Value::Instance(i) => {
                let instance = i.clone();
                if let Some(v) = self.instance_field(&instance, &name.name) {
                    return v;
                }
                self.instance_names(&instance)
            }
            Value::Module(m) => match self.global(*m, &name.name) {
                Some(v) => return v,
                None => self.modules.list[*m].names.keys().map(ToString::to_string).collect(),
            },
            Value::Dataset(d) => return self.dataset_field(&d.clone(), name, span),
            Value::Error => return Value::Error,
            other => {
                let found = self.describe(other);
                return self.error(
                    codes::UNKNOWN_FIELD,
                    name.span,
                    format!("`.{}` of what has no fields", name.name),
                    format!("this is on {found}"),
                );
            }
        };
        let mut candidates = candidates;
        candidates.sort_unstable();
        let what = value.describe();
        let d = Diagnostic::error(codes::UNKNOWN_FIELD, format!("{what} has no `{}`", name.name))
            .label(name.span, "no such field or graph");
        let d = match did_you_mean(&name.name, candidates.iter().map(String::as_str)) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None if candidates.is_empty() => d,
            None => d.help(format!("it has: {}", candidates.join(", "))),
        };
        self.report(d);
        Value::Error
    }

    /// A static integer without open dimensions.
    pub(super) fn known_int(&mut self, value: &Value, span: Span) -> Option<i64> {
        match value {
            Value::Int(d) => match d.as_const() {
                Some(v) => Some(v),
                None => {
                    self.error_help(
                        codes::NOT_STATIC,
                        span,
                        format!("a known integer is needed, and {d} is open until the run"),
                        format!("this is {d}"),
                        "an open dimension (a batch) can size tensors, not unroll or choose",
                    );
                    None
                }
            },
            Value::Error => None,
            other => {
                let found = self.describe(other);
                self.error(codes::WRONG_KIND, span, "an integer is needed", format!("this is {found}"));
                None
            }
        }
    }

    /// A list of dimensions: integers and open dimensions.
    pub(super) fn dims(&mut self, value: &Value, span: Span) -> Option<Vec<Dim>> {
        let wrong = |v: &Value| !matches!(v, Value::Int(_));
        match value {
            Value::Int(d) => Some(vec![d.clone()]),
            Value::List(l) if !l.iter().any(wrong) => Some(
                l.iter().filter_map(|v| if let Value::Int(d) = v { Some(d.clone()) } else { None }).collect(),
            ),
            Value::Error => None,
            Value::List(l) => {
                let odd = l.iter().find(|v| wrong(v)).map(|v| self.describe(v)).unwrap_or_default();
                self.error_help(
                    codes::WRONG_KIND,
                    span,
                    "a shape is a list of integers",
                    format!("it holds {odd}"),
                    "`/` gives a float; use `//` to divide integers",
                );
                None
            }
            other => {
                let found = self.describe(other);
                self.error(
                    codes::WRONG_KIND,
                    span,
                    "a shape is needed: a list of integers",
                    format!("this is {found}"),
                );
                None
            }
        }
    }
}
