//! `loop`: a region with carries, per-step columns and captured tensors.

use std::sync::Arc;

use super::Elaborator;
use super::arith::step;
use super::value::{Env, StepKind, TensorRef, Value};
use crate::diagnostic::{Diagnostic, codes};
use crate::graph::{Builder, NodeId};
use crate::ops::{Loop, LoopInput, Project};
use crate::shape::{DType, Type};
use crate::source::Span;
use crate::syntax::ast::{self, Pattern};

impl Elaborator<'_> {
    pub(super) fn run_loop(&mut self, l: &Arc<ast::Loop>, env: &mut Env) -> Value {
        let table = self.expr(&l.table, env);
        let Some(rows) = self.items(&table, l.table.span) else { return Value::Error };
        // The carries' first values, as tensors of the region around.
        let mut carries: Vec<(NodeId, Type, Span)> = Vec::new();
        for (name, first) in &l.carries {
            let (value, at) = match first {
                Some(e) => (self.expr(e, env), e.span),
                None => {
                    let e = ast::Expr { kind: ast::ExprKind::Name(name.name.clone()), span: name.span };
                    (self.expr(&e, env), name.span)
                }
            };
            if matches!(value, Value::Error) {
                return Value::Error;
            }
            let dtype = self.type_of(&value).map_or(DType::F32, |t| t.dtype);
            let Some(node) = self.as_node(&value, dtype, at) else {
                let found = self.describe(&value);
                return self.error_help(
                    codes::WRONG_KIND,
                    at,
                    format!("`{}` is carried through the loop and must be a tensor", name.name),
                    format!("this is {found}"),
                    "static values need no carrying: name them inside the body, or use `for`",
                );
            };
            let tensor = self.tensor(node, at);
            let Some(ty) = self.type_of(&tensor) else { return Value::Error };
            carries.push((node, ty, at));
        }
        if rows.is_empty() {
            let values = carries.iter().map(|(n, _, at)| self.tensor(*n, *at)).collect();
            return one_or_tuple(values);
        }
        if u32::try_from(rows.len()).is_err() || self.builder(l.span).is_none() {
            return Value::Error;
        }
        self.loops += 1;
        let scope = self.loops;
        let mut inner = env.clone();
        let columns: Vec<&Value> = rows.iter().collect();
        if !self.bind_columns(&l.pattern, &columns, scope, l.table.span, &mut inner) {
            return Value::Error;
        }
        let Some(region) = self.open_region(scope, carries.len()) else { return Value::Error };
        for (i, ((name, _), (_, ty, _))) in l.carries.iter().zip(&carries).enumerate() {
            let path = self.path.clone();
            let Some(unit) = &mut self.unit else { return Value::Error };
            let id = unit.id;
            let mut b = Builder::new(&mut unit.graph, region, name.span, path);
            let node = b.push(LoopInput { index: i as u32, ty: ty.clone() }.into(), &[], ty.clone());
            inner.bind(name.name.clone(), Value::Tensor(TensorRef { unit: id, region, node, space: None }));
        }
        let value = self.body(&l.body, &mut inner).unwrap_or(Value::None);
        let outputs = self.loop_outputs(l, value, &carries);
        let Some(unit) = &mut self.unit else { return Value::Error };
        let Some(state) = unit.stack.pop() else { return Value::Error };
        let Some(outputs) = outputs else { return Value::Error };
        unit.graph.regions[region].outputs = outputs;
        let types: Vec<Type> = carries.iter().map(|(_, t, _)| t.clone()).collect();
        let inputs: Vec<NodeId> = carries
            .iter()
            .map(|(n, _, _)| *n)
            .chain(state.captures.iter().map(|(outer, _)| *outer))
            .collect();
        let op = Loop {
            region: region as u32,
            steps: rows.len() as u32,
            carries: carries.len() as u32,
            captures: state.captures.len() as u32,
            scans: 0,
            reverse: false,
            columns: state.columns.into_iter().map(|(values, _, _)| values).collect(),
            outputs: types.clone(),
        };
        let path = self.path.clone();
        let Some(unit) = &mut self.unit else { return Value::Error };
        let around = unit.region();
        let mut b = Builder::new(&mut unit.graph, around, l.span, path);
        let Some(first) = types.first().cloned() else { return Value::Error };
        let node = b.push(op.into(), &inputs, first);
        let projects: Vec<NodeId> = types
            .into_iter()
            .enumerate()
            .map(|(i, ty)| b.push(Project { index: i as u32, ty: ty.clone() }.into(), &[node], ty))
            .collect();
        one_or_tuple(projects.into_iter().map(|n| self.tensor(n, l.span)).collect())
    }

    /// The next carries, checked against the first ones.
    fn loop_outputs(
        &mut self,
        l: &ast::Loop,
        value: Value,
        carries: &[(NodeId, Type, Span)],
    ) -> Option<Vec<NodeId>> {
        let at = match l.body.stmts.last() {
            Some(ast::Stmt::Expr(e)) => e.span,
            _ => l.body.span,
        };
        let values: Vec<Value> = match value {
            Value::Error => return None,
            Value::Tuple(t) if carries.len() > 1 => t.iter().map(|(_, v)| v.clone()).collect(),
            other => vec![other],
        };
        if values.len() != carries.len() {
            let (m, n) = (carries.len(), values.len());
            self.report(
                Diagnostic::error(
                    codes::LOOP_CARRY,
                    format!("the loop carries {m} tensors, and its body gives {n}"),
                )
                .label(at, format!("{n} here"))
                .label(l.span, format!("{m} carried"))
                .help("end the body with the next value of each carry, in order: `x, y`"),
            );
            return None;
        }
        let mut out = Vec::new();
        for (i, (value, (_, ty, first))) in values.into_iter().zip(carries).enumerate() {
            let name = l.carries[i].0.name.clone();
            let Some(node) = self.as_node(&value, ty.dtype, at) else {
                let found = self.describe(&value);
                let d = if matches!(value, Value::None) {
                    Diagnostic::error(codes::NO_VALUE, "the loop's body gives no value")
                        .label(at, "the last statement has no value")
                } else {
                    Diagnostic::error(codes::LOOP_CARRY, format!("the next `{name}` must be a tensor"))
                        .label(at, format!("this is {found}"))
                };
                self.report(d.help("end the body with the next value of the carry"));
                return None;
            };
            let tensor = self.tensor(node, at);
            let found = self.type_of(&tensor)?;
            if found.plain() != ty.plain() {
                self.report(
                    Diagnostic::error(codes::LOOP_CARRY, format!("`{name}` changes from {} to {} in the loop", ty.plain(), found.plain()))
                        .label(at, format!("the next `{name}` is {}", found.plain()))
                        .label(*first, format!("the first `{name}` is {}", ty.plain()))
                        .help("a carry keeps its shape and dtype in every step; broadcasting in the body often widens it"),
                );
                return None;
            }
            out.push(node);
        }
        Some(out)
    }

    /// Binds a pattern to the columns of a table.
    fn bind_columns(
        &mut self,
        pattern: &Pattern,
        rows: &[&Value],
        scope: usize,
        span: Span,
        env: &mut Env,
    ) -> bool {
        match pattern {
            Pattern::Ignore(_) => true,
            Pattern::Name(n) => match self.column_value(rows, scope) {
                Some(v) => {
                    env.bind(n.name.clone(), v);
                    true
                }
                None => {
                    let found = rows.first().map(|v| self.describe(v)).unwrap_or_default();
                    self.report(
                        Diagnostic::error(
                            codes::WRONG_KIND,
                            format!("`{}` is not a number in every step", n.name),
                        )
                        .label(n.span, format!("in the first step it is {found}"))
                        .label(span, "the table of the loop")
                        .help("a table is a list of numbers, or of tuples of numbers: zip(ts, alphas)"),
                    );
                    false
                }
            },
            Pattern::Tuple(parts, at) => {
                let mut table: Vec<Vec<&Value>> = vec![Vec::with_capacity(rows.len()); parts.len()];
                for row in rows {
                    let items: Vec<&Value> = match row {
                        Value::Tuple(t) => t.iter().map(|(_, v)| v).collect(),
                        Value::List(l) => l.iter().collect(),
                        other => vec![other],
                    };
                    if items.len() != parts.len() {
                        let (m, n) = (parts.len(), items.len());
                        self.report(
                            Diagnostic::error(
                                codes::UNPACK,
                                format!("each step of the loop unpacks {n} values into {m} names"),
                            )
                            .label(*at, format!("{m} names"))
                            .label(span, format!("a row of this table has {n}")),
                        );
                        return false;
                    }
                    for (column, item) in table.iter_mut().zip(items) {
                        column.push(item);
                    }
                }
                parts
                    .iter()
                    .zip(table)
                    .fold(true, |ok, (p, c)| self.bind_columns(p, &c, scope, span, env) && ok)
            }
        }
    }

    /// A column as a per-step number; records give a record of columns.
    fn column_value(&self, rows: &[&Value], scope: usize) -> Option<Value> {
        if let Some(Value::Record(first)) = rows.first() {
            let mut out = Vec::new();
            for (name, _) in first.iter() {
                let mut column = Vec::with_capacity(rows.len());
                for row in rows {
                    let Value::Record(r) = row else { return None };
                    column.push(&r.iter().find(|(n, _)| n == name)?.1);
                }
                out.push((name.clone(), self.column_value(&column, scope)?));
            }
            return Some(Value::Record(std::rc::Rc::new(out)));
        }
        let mut kind = None;
        let mut values = Vec::with_capacity(rows.len());
        for row in rows {
            let (v, k) = match row {
                Value::Int(d) => (d.as_const()? as f64, StepKind::Int),
                Value::Float(v) => (*v, StepKind::Float),
                Value::Bool(b) => (f64::from(u8::from(*b)), StepKind::Bool),
                _ => return None,
            };
            kind = match (kind, k) {
                (None, k) => Some(k),
                (Some(a), b) if a == b => Some(a),
                (Some(StepKind::Int | StepKind::Float), StepKind::Int | StepKind::Float) => {
                    Some(StepKind::Float)
                }
                _ => return None,
            };
            values.push(v);
        }
        Some(step(scope, values, kind?))
    }
}

fn one_or_tuple(mut values: Vec<Value>) -> Value {
    match values.len() {
        1 => values.remove(0),
        _ if values.iter().any(|v| matches!(v, Value::Error)) => Value::Error,
        _ => Value::tuple(values),
    }
}
