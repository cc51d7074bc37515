//! What a training keeps beside the model: sums of gradients, averages of weights.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::super::Elaborator;
use super::super::value::{CallArgs, ParamDecl, TensorRef, Value};
use crate::diagnostic::codes;
use crate::graph::program::Weight;
use crate::graph::{Builder, NodeId};
use crate::ops::{Binary, Compare, CompareKind, Emit, Parameter, Unary};
use crate::shape::{DType, Type};
use crate::source::Span;

impl Elaborator<'_> {
    /// The number of optimizer steps done, and whether this batch is the last of its step.
    pub(super) fn accumulation(
        &mut self,
        step: NodeId,
        k: u64,
        span: Span,
    ) -> Option<(NodeId, Option<NodeId>)> {
        let mut b = self.builder(span)?;
        let result = (|| {
            let q = b.binary_scalar(Binary::Div, step, k as f64)?;
            let count = b.unary(Unary::Floor, q)?;
            let first = b.binary_scalar(Binary::Mul, count, k as f64)?;
            let within = b.binary(Binary::Sub, step, first)?;
            let last = b.scalar((k - 1) as f64, DType::F32)?;
            Ok((count, Some(b.emit(Compare { kind: CompareKind::Eq }.into(), &[within, last])?)))
        })();
        match result {
            Ok(v) => Some(v),
            Err(e) => {
                self.op_error(e, span, &[]);
                None
            }
        }
    }

    /// A state of the training itself, beside the model.
    pub(super) fn training_state(
        &mut self,
        path: String,
        ty: &Type,
        init: Value,
        span: Span,
    ) -> Option<Value> {
        let path: Arc<str> = path.into();
        let decl = Rc::new(ParamDecl {
            trainable: false,
            ty: ty.plain(),
            init,
            span,
            path: RefCell::new(Some(path.clone())),
        });
        self.register(&decl, &path).then_some(Value::Param(decl))
    }

    /// Adds this batch's gradient to the sum; gives the mean so far.
    pub(super) fn accumulate(
        &mut self,
        w: &Weight,
        g: &Value,
        k: u64,
        last: NodeId,
        span: Span,
    ) -> Option<Value> {
        let sum = self.training_state(format!("accumulate.{}", w.path), &w.ty, Value::Float(0.0), span)?;
        let (old, g) = (self.node(&sum, span)?, self.node(g, span)?);
        let mut b = self.builder(span)?;
        let result = (|| {
            let part = b.binary_scalar(Binary::Div, g, k as f64)?;
            let total = b.binary(Binary::Add, old, part)?;
            let zero = b.scalar(0.0, w.ty.dtype)?;
            let next = b.emit(crate::ops::Where {}.into(), &[last, zero, total])?;
            Ok((total, next))
        })();
        match result {
            Ok((total, next)) => {
                self.set_parameter(&format!("accumulate.{}", w.path), next, span);
                Some(self.tensor(total, span))
            }
            Err(e) => {
                self.op_error(e, span, &[]);
                None
            }
        }
    }

    /// The exponential moving average of every updated weight.
    pub(super) fn average(&mut self, decay: f64, span: Span) {
        let Some(state) = self.unit.as_ref().and_then(|u| u.train.as_ref()) else { return };
        let (updated, step, last) = (state.updated.clone(), state.step, state.last);
        let id = self.unit.as_ref().map_or(0, |u| u.id);
        let tensor = |node| Value::Tensor(TensorRef { unit: id, region: 0, node, space: None });
        for path in updated {
            let Some(w) = self.registry.weights.iter().find(|w| w.path == path).cloned() else { continue };
            // The average starts at the weight itself.
            let node = {
                let Some(init) = self.extra.as_mut().and_then(|e| e.init.as_mut()) else { return };
                let op = Parameter { path: path.clone(), ty: w.ty.clone() };
                let mut b = Builder::new(&mut init.graph, 0, w.span, path.as_str().into());
                let node = b.push(op.into(), &[], w.ty.clone());
                Value::Tensor(TensorRef { unit: init.id, region: 0, node, space: None })
            };
            let Some(ema) = self.training_state(format!("ema.{path}"), &w.ty, node, span) else { return };
            let Some(new) = self.unit.as_ref().and_then(|u| u.parameters.get(&path).copied()) else {
                continue;
            };
            let value = self.std_call(
                "std.optim",
                "ema",
                vec![ema.clone(), tensor(new), Value::Float(decay), tensor(step)],
                span,
            );
            // Reading the state makes its node, which the gate needs.
            if self.node(&ema, span).is_none() {
                return;
            }
            let Some(node) = self.node(&value, span) else { return };
            if let Some(t) = self.unit.as_mut().and_then(|u| u.train.as_mut()) {
                t.gate = last;
            }
            self.set_parameter(&format!("ema.{path}"), node, span);
            if let Some(t) = self.unit.as_mut().and_then(|u| u.train.as_mut()) {
                t.gate = None;
            }
        }
    }

    /// Calls a function of the standard library that training itself is written with.
    pub(super) fn std_call(&mut self, module: &str, name: &str, args: Vec<Value>, span: Span) -> Value {
        let Some(id) = self.modules.find(module) else {
            return self.error(
                codes::UNKNOWN_MODULE,
                span,
                format!("`{module}` is not loaded"),
                "needed here",
            );
        };
        match self.global(id, &name.into()) {
            Some(f) => {
                let positional = args.into_iter().map(|v| (v, span)).collect();
                self.call(f, CallArgs { positional, named: Vec::new() }, span)
            }
            None => {
                self.error(codes::UNKNOWN_IMPORT, span, format!("`{module}` has no `{name}`"), "needed here")
            }
        }
    }
}
