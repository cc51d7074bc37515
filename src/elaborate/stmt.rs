//! Statements. The last expression of a body is its value.

use std::rc::Rc;

use super::Elaborator;
use super::expr::CAPTURED;
use super::reveal;
use super::value::{Closure, Env, Value};
use crate::diagnostic::{Diagnostic, codes};
use crate::graph::Named;
use crate::ops::{Emit, Where};
use crate::source::Span;
use crate::syntax::ast::{self, Body, Stmt};

impl Elaborator<'_> {
    /// Evaluates a body; `None` when its last statement has no value.
    pub(super) fn body(&mut self, body: &Body, env: &mut Env) -> Option<Value> {
        let mut value = None;
        for stmt in &body.stmts {
            if self.aborted {
                return Some(Value::Error);
            }
            value = None;
            match stmt {
                Stmt::Let(l) => {
                    let v = self.expr(&l.value, env);
                    self.bind_pattern(&l.pattern, v, l.value.span, env);
                }
                Stmt::Expr(e) => value = Some(self.expr(e, env)),
                Stmt::Fn(decl) => {
                    if let Some(name) = &decl.name
                        && self.allocate(CAPTURED * env.len(), decl.span)
                    {
                        let closure = Closure { decl: decl.clone(), env: env.clone() };
                        env.bind(name.name.clone(), Value::Fn(Rc::new(closure)));
                    }
                }
                Stmt::For(f) => {
                    let list = self.expr(&f.iter, env);
                    let Some(items) = self.items(&list, f.iter.span) else {
                        value = Some(Value::Error);
                        continue;
                    };
                    for item in items {
                        if !self.tick(f.span) || !self.bind_pattern(&f.pattern, item, f.iter.span, env) {
                            return Some(Value::Error);
                        }
                        self.body(&f.body, env);
                    }
                }
                Stmt::Watch(w) => self.watch(w, env),
                Stmt::Reveal(e, span) => self.reveal(e, *span, env),
                // What follows is written for the case that it holds.
                Stmt::Assert(a) => {
                    if !self.assert(a, env) {
                        return Some(Value::Error);
                    }
                }
                Stmt::Update(u) => self.update(u, env),
                Stmt::Minimize(m) => self.minimize(m, env),
                Stmt::Every(e) => self.every(e, env),
                Stmt::Error(_) => value = Some(Value::Error),
            }
        }
        value
    }

    fn watch(&mut self, w: &ast::Watch, env: &mut Env) {
        let value = match &w.value {
            Some(e) => {
                let v = self.expr(e, env);
                env.bind(w.name.name.clone(), v.clone());
                v
            }
            None => {
                let e = ast::Expr { kind: ast::ExprKind::Name(w.name.name.clone()), span: w.name.span };
                self.expr(&e, env)
            }
        };
        if matches!(value, Value::Error) {
            return;
        }
        let Some(node) = self.as_node(&value, Self::dtype_of_number(&value), w.span) else {
            let found = self.describe(&value);
            self.error(
                codes::WRONG_KIND,
                w.span,
                format!("`watch {}` takes a tensor or a number", w.name.name),
                format!("this is {found}"),
            );
            return;
        };
        if let Some(unit) = &mut self.unit {
            let region = unit.region();
            unit.graph.regions[region].watches.push(Named { name: w.name.name.to_string(), node });
        }
    }

    pub(super) fn reveal(&mut self, e: &ast::Expr, span: Span, env: &mut Env) {
        let value = self.expr(e, env);
        let shown = match &value {
            Value::Error => return,
            v => self.describe(v),
        };
        let mut info =
            Diagnostic::info(codes::REVEALED, format!("this is {shown}")).label(span, shown.clone());
        if let Some(table) = reveal::table(&value) {
            info = info.help(table);
        }
        self.report(info);
    }

    pub(super) fn assert(&mut self, a: &ast::Assert, env: &mut Env) -> bool {
        let cond = self.expr(&a.cond, env);
        let message = match &a.message {
            Some(m) => match self.expr(m, env) {
                Value::Str(s) => s.to_string(),
                other => self.describe(&other),
            },
            None => "the assertion does not hold".into(),
        };
        match cond {
            Value::Bool(true) => true,
            Value::Error => false,
            Value::Bool(false) => {
                self.error(codes::ASSERTION_FAILED, a.span, message, "this is false");
                false
            }
            other => {
                let found = self.describe(&other);
                self.error_help(
                    codes::NOT_STATIC,
                    a.cond.span,
                    "`assert` takes a static truth value",
                    format!("this is {found}"),
                    "values of tensors are known only in the run; shapes and configuration are static",
                );
                false
            }
        }
    }

    /// `update name = expr`.
    fn update(&mut self, u: &ast::Update, env: &mut Env) {
        let mut target =
            ast::Expr { kind: ast::ExprKind::Name(u.target.root.name.clone()), span: u.target.root.span };
        for step in &u.target.steps {
            target = match step {
                ast::PlaceStep::Field(n) => {
                    ast::Expr { kind: ast::ExprKind::Field(Box::new(target), n.clone()), span: u.target.span }
                }
                ast::PlaceStep::Index(e) => ast::Expr {
                    kind: ast::ExprKind::Index(Box::new(target), vec![ast::IndexItem::At(e.clone())]),
                    span: u.target.span,
                },
            };
        }
        let state = self.expr(&target, env);
        let value = self.expr(&u.value, env);
        let p = match (&state, &value) {
            (Value::Error, _) | (_, Value::Error) => return,
            (Value::Param(p), _) if !p.trainable => p.clone(),
            (other, _) => {
                let found = self.describe(other);
                self.error_help(
                    codes::WRONG_KIND,
                    u.target.span,
                    "only a `state` can be updated",
                    format!("this is {found}"),
                    "declare it as a field: name = state(shape, init = 0.0)",
                );
                return;
            }
        };
        let (updates, depth) = self.unit.as_ref().map_or((false, 0), |x| (x.updates, x.stack.len()));
        if !updates || depth != 1 {
            self.error_help(
                codes::BAD_TRAIN,
                u.span,
                if updates { "`update` inside a `loop`" } else { "`update` outside training" },
                "nothing keeps the new value",
                if updates {
                    "make it a carry of the loop"
                } else {
                    "only training keeps states: put it under `if training { … }`"
                },
            );
            return;
        }
        let Some(new) = self.as_node(&value, p.ty.dtype, u.value.span) else {
            let found = self.describe(&value);
            self.error(
                codes::WRONG_KIND,
                u.value.span,
                "the next value of a state is a tensor",
                format!("this is {found}"),
            );
            return;
        };
        let tensor = self.tensor(new, u.value.span);
        let Some(found) = self.type_of(&tensor) else { return };
        if found.plain() != p.ty.plain() {
            self.report(
                Diagnostic::error(
                    codes::SHAPE_MISMATCH,
                    format!("the state is {}, and its next value {}", p.ty, found.plain()),
                )
                .label(u.value.span, format!("this is {}", found.plain()))
                .label(p.span, format!("declared as {}", p.ty)),
            );
            return;
        }
        let Some(path) = p.path.borrow().clone() else { return };
        self.set_parameter(&path, new, u.span);
    }

    /// The value that a weight or state has from here on, and after the step. While gradients accumulate,
    /// the old value stays until the last batch.
    pub(super) fn set_parameter(&mut self, path: &str, new: crate::graph::NodeId, span: Span) {
        let gate = self.unit.as_ref().and_then(|u| u.train.as_ref()).and_then(|t| t.gate);
        let old = self.unit.as_ref().and_then(|u| u.parameters.get(path).copied());
        let mut node = new;
        if let (Some(gate), Some(old)) = (gate, old) {
            let Some(mut b) = self.builder(span) else { return };
            match b.emit(Where {}.into(), &[gate, new, old]) {
                Ok(n) => node = n,
                Err(e) => {
                    self.op_error(e, span, &[]);
                    return;
                }
            }
        }
        let Some(unit) = &mut self.unit else { return };
        unit.parameters.insert(path.to_string(), node);
        match unit.graph.updates.iter_mut().find(|u| u.name == path) {
            Some(u) => u.node = node,
            None => unit.graph.updates.push(Named { name: path.to_string(), node }),
        }
    }
}
