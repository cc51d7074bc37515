//! The register of weights, and the graph that computes their first values.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::Elaborator;
use super::unit::Unit;
use super::value::{CallArgs, ParamDecl, Value};
use crate::diagnostic::{Diagnostic, codes};
use crate::graph::Named;
use crate::graph::program::{Weight, WeightSource};
use crate::ops::{Cast, Emit, Expand};
use crate::shape::Type;

/// Weights by path, with their first values.
#[derive(Default)]
pub(super) struct Registry {
    pub weights: Vec<Weight>,
    index: HashMap<String, usize>,
    pub init: Option<Unit>,
    /// What fields said with `from` and `frozen`, by path prefix.
    pub sources: Vec<(String, Option<WeightSource>, bool)>,
}

impl Registry {
    pub fn new(unit: Unit) -> Registry {
        Registry { init: Some(unit), ..Registry::default() }
    }
}

/// Whether `path` is `prefix` or lies under it; the empty prefix is the root.
pub(super) fn under(path: &str, prefix: &str) -> bool {
    prefix.is_empty() || path == prefix || path.strip_prefix(prefix).is_some_and(|r| r.starts_with('.'))
}

impl Elaborator<'_> {
    /// Enters a weight under its path and emits its first value.
    pub(super) fn register(&mut self, p: &Rc<ParamDecl>, path: &Arc<str>) -> bool {
        // Each `from` and `frozen` is compared with the path.
        if !self.work(self.registry.sources.len(), p.span) {
            return false;
        }
        let extra = self.extra.is_some()
            && (under(path, "optimizer") || under(path, "ema") || under(path, "accumulate"));
        let registry =
            if extra { self.extra.as_mut().unwrap_or(&mut self.registry) } else { &mut self.registry };
        if let Some(at) = registry.index.get(&**path) {
            let first = registry.weights[*at].span;
            self.report(
                Diagnostic::error(codes::DUPLICATE_NAME, format!("two weights have the path `{path}`"))
                    .label(p.span, "this one")
                    .label(first, "and this one")
                    .help("give one of the fields another name"),
            );
            return false;
        }
        let source = registry.sources.iter().filter(|(prefix, _, _)| under(path, prefix));
        let (mut from, mut frozen) = (None, false);
        for (_, s, f) in source {
            from = s.clone().or(from);
            frozen |= f;
        }
        registry.index.insert(path.to_string(), registry.weights.len());
        registry.weights.push(Weight {
            path: path.to_string(),
            ty: p.ty.clone(),
            trainable: p.trainable,
            frozen,
            from,
            span: p.span,
        });
        let Some(init) = registry.init.take() else { return false };
        let saved = (self.unit.replace(init), std::mem::take(&mut self.in_fields));
        let outer = std::mem::replace(&mut self.path, path.clone());
        let ok = self.emit_init(p, path);
        self.path = outer;
        let init = std::mem::replace(&mut self.unit, saved.0);
        self.in_fields = saved.1;
        let registry =
            if extra { self.extra.as_mut().unwrap_or(&mut self.registry) } else { &mut self.registry };
        registry.init = init;
        ok
    }

    fn emit_init(&mut self, p: &Rc<ParamDecl>, path: &Arc<str>) -> bool {
        let shape = Value::list(p.ty.shape.iter().cloned().map(Value::Int).collect());
        let value = match &p.init {
            v if v.is_callable() => self.call(
                v.clone(),
                CallArgs { positional: vec![(shape, p.span)], named: Vec::new() },
                p.span,
            ),
            other => other.clone(),
        };
        if matches!(value, Value::Error) {
            return false;
        }
        let Some(mut node) = self.as_node(&value, p.ty.dtype, p.span) else {
            let found = self.describe(&value);
            self.error_help(
                codes::WRONG_KIND,
                p.span,
                format!("`init` of `{path}` gives {found}"),
                "must be a number, or a function of the shape",
                "init = 0.0, or init = fn (shape) = 0.02 * normal(shape)",
            );
            return false;
        };
        let want: Type = p.ty.plain();
        let Some(mut b) = self.builder(p.span) else { return false };
        let mut result = Ok(node);
        if b.ty(node).dtype != want.dtype {
            result = b.emit(Cast { dtype: want.dtype }.into(), &[node]);
        }
        if let Ok(n) = result
            && b.ty(n).shape != want.shape
        {
            result = b.emit(Expand { shape: want.shape.clone() }.into(), &[n]);
        }
        match result {
            Ok(n) => node = n,
            Err(e) => {
                self.op_error(e, p.span, &[]);
                return false;
            }
        }
        if let Some(unit) = &mut self.unit {
            unit.graph.updates.push(Named { name: path.to_string(), node });
        }
        true
    }
}
