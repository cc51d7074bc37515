//! `checkpoint(f)`: what f computes on the way is marked, for `differentiate` to compute it again.

use std::rc::Rc;

use super::Elaborator;
use super::builtins::Builtin;
use super::value::{CallArgs, Partial, Value};
use crate::diagnostic::codes;
use crate::graph::NodeId;
use crate::ops::{Checkpoint, Op};
use crate::source::Span;

impl Elaborator<'_> {
    /// `checkpoint(f)` waits for what f is called with: `checkpoint(f)(x)`, `x -> checkpoint(f)`.
    pub(super) fn checkpoint(&mut self, mut args: CallArgs, span: Span) -> Option<Value> {
        let Some((f, at)) = args.positional.pop().filter(|(f, _)| f.is_callable()) else {
            return Some(self.error_help(
                codes::WRONG_KIND,
                span,
                "`checkpoint` takes a function or a block",
                "called without one",
                "h = h -> checkpoint(layer)",
            ));
        };
        if args.positional.is_empty() && args.named.is_empty() {
            let args = CallArgs { positional: vec![(f, at)], named: Vec::new() };
            return Some(Value::Partial(Rc::new(Partial {
                callee: Value::Builtin(Builtin::Checkpoint),
                args,
                span,
            })));
        }
        let count = |e: &Self| e.unit.as_ref().map_or(0, |u| u.graph.regions[u.region()].dag.node_count());
        let start = count(self);
        let value = self.call(f, args, span);
        if self.unit.is_none() {
            return Some(value);
        }
        let begins = self.begins(start, count(self));
        Some(self.mark(value, start, &begins, span))
    }

    /// What nodes `start .. end` of the region read from before, weights and constants aside. What a loop
    /// captures on the way comes from before too.
    fn begins(&self, start: usize, end: usize) -> Vec<NodeId> {
        let Some(unit) = &self.unit else { return Vec::new() };
        let dag = &unit.graph.regions[unit.region()].dag;
        let mut out: Vec<NodeId> = Vec::new();
        for input in (start..end).flat_map(|i| &dag[NodeId::new(i)].inputs) {
            let before = match *dag[*input].op {
                Op::Parameter(_) | Op::Const(_) | Op::Table(_) | Op::Column(_) | Op::DimValue(_) => false,
                Op::LoopInput(_) | Op::Input(_) => true,
                _ => input.index() < start,
            };
            if before && !out.contains(input) {
                out.push(*input);
            }
        }
        out
    }

    /// Marks the tensors of a result as the end of the part.
    fn mark(&mut self, value: Value, start: usize, begins: &[NodeId], span: Span) -> Value {
        match value {
            Value::Tensor(t) if t.node.index() >= start && !begins.is_empty() => {
                let inputs: Vec<NodeId> = std::iter::once(t.node).chain(begins.iter().copied()).collect();
                match self.emit(Checkpoint {}, &inputs, span) {
                    Value::Tensor(new) => Value::Tensor(super::value::TensorRef { space: t.space, ..new }),
                    other => other,
                }
            }
            Value::Tuple(items) => {
                let marked =
                    items.iter().map(|(n, v)| (n.clone(), self.mark(v.clone(), start, begins, span)));
                Value::Tuple(Rc::new(marked.collect()))
            }
            Value::List(items) => {
                Value::list(items.iter().map(|v| self.mark(v.clone(), start, begins, span)).collect())
            }
            other => other,
        }
    }
}
