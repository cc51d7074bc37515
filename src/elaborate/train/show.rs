//! What a training shows: the numbers of its log, and the graphs that run every so many steps.

use super::super::Elaborator;
use super::super::value::{Env, Value};
use crate::diagnostic::codes;
use crate::graph::{Builder, Graph, Named};
use crate::ops::{Emit, Op, Reduce, ReduceKind};
use crate::shape::DType;
use crate::syntax::ast;

impl Elaborator<'_> {
    /// `every N { graph(…) }`.
    pub(in crate::elaborate) fn every(&mut self, e: &ast::Every, env: &mut Env) {
        let count = self.expr(&e.count, env);
        let Some(count) = self.known_int(&count, e.count.span) else { return };
        if count < 1 || self.unit.as_ref().is_none_or(|u| u.train.is_none()) {
            self.error(
                codes::BAD_TRAIN,
                e.span,
                "`every` takes a positive number of steps, inside `train`",
                "here",
            );
            return;
        }
        let mut calls = Vec::new();
        for stmt in &e.body.stmts {
            let ast::Stmt::Expr(expr) = stmt else {
                self.error_help(
                    codes::BAD_TRAIN,
                    e.body.span,
                    "`every` holds calls of the pipeline's graphs",
                    "something else here",
                    "every 500 { sample(64) }",
                );
                return;
            };
            let ast::ExprKind::Call(callee, args) = &expr.kind else {
                self.error_help(
                    codes::BAD_TRAIN,
                    expr.span,
                    "`every` holds calls of the pipeline's graphs",
                    "not a call",
                    "every 500 { sample(64) }",
                );
                return;
            };
            let f = self.expr(callee, env);
            let Some(args) = self.arguments(args, env) else { return };
            match f {
                Value::Method(_, graph) => calls.push((graph, args, expr.span)),
                Value::Error => return,
                other => {
                    let found = self.describe(&other);
                    self.error(
                        codes::BAD_TRAIN,
                        callee.span,
                        "`every` calls graphs of the pipeline",
                        format!("this is {found}"),
                    );
                    return;
                }
            }
        }
        if let Some(t) = self.unit.as_mut().and_then(|u| u.train.as_mut()) {
            t.every.push((count as u64, calls));
        }
    }

    /// The log holds one number per watch: others are averaged.
    pub(super) fn scalar_watches(&mut self, graph: &mut Graph) {
        let watches = std::mem::take(&mut graph.regions[0].watches);
        let mut out = Vec::with_capacity(watches.len());
        for w in watches {
            let (ty, span, path) = {
                let n = graph.root().node(w.node);
                (n.ty.clone(), n.span, n.path.clone())
            };
            let mut b = Builder::new(graph, 0, span, path);
            let float = if ty.dtype.is_float() {
                Ok(w.node)
            } else {
                b.emit(crate::ops::Cast { dtype: DType::F32 }.into(), &[w.node])
            };
            let node = match float {
                Ok(n) if ty.rank() == 0 => Ok(n),
                Ok(n) => b.emit(
                    Op::from(Reduce { kind: ReduceKind::Mean, axes: (0..ty.rank()).collect(), keep: false }),
                    &[n],
                ),
                Err(e) => Err(e),
            };
            match node {
                Ok(node) => out.push(Named { name: w.name, node }),
                Err(e) => {
                    self.op_error(e, span, &[]);
                }
            }
        }
        graph.regions[0].watches = out;
    }
}
