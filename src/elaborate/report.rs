//! Diagnostics of elaboration: the user's line first, the limits, values of operations' errors.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Elaborator;
use super::value::Value;
use crate::diagnostic::{Code, Diagnostic, Label, Origin, codes};
use crate::ops::OpError;
use crate::source::Span;

/// What a diagnostic costs, in steps.
const REPORT: u64 = 1_000;

impl Elaborator<'_> {
    /// Whether a span lies in the standard library.
    pub(super) fn in_std(&self, span: Span) -> bool {
        self.modules.list.iter().any(|m| m.std && m.file == span.file)
    }

    /// A place for messages of later phases: the user's line that led into the standard library.
    pub(super) fn user_span(&self, span: Span) -> Span {
        let outside = |f: &&super::Frame| !self.in_std(f.call);
        match self.in_std(span) {
            true => self.frames.iter().rev().find(outside).map_or(span, |f| f.call),
            false => span,
        }
    }

    /// Adds a diagnostic. One whose place lies in the standard library points at the user's line first.
    pub(super) fn report(&mut self, mut d: Diagnostic) {
        if self.aborted && d.is_error() {
            return;
        }
        // A mistake takes longer than the expression it is in, and a loop may repeat it.
        self.steps = self.steps.saturating_add(REPORT);
        if let Some(label) = d.labels.first().filter(|_| d.is_error()) {
            let mut hash = DefaultHasher::new();
            self.frames.iter().for_each(|f| (f.call, &f.path).hash(&mut hash));
            d.origin = Some(Origin { place: label.span, calls: hash.finish() });
        }
        if let Some(first) = d.labels.first().cloned()
            && self.in_std(first.span)
            && let Some(at) = self.frames.iter().rposition(|f| !self.in_std(f.call))
        {
            let what = self.frames[at].what.clone();
            d.labels.insert(0, Label { span: self.frames[at].call, text: format!("in this use of {what}") });
        }
        // Shapes come from the call: a mistake inside a function of the user's is shown with it.
        if let Some(first) = d.labels.first()
            && !self.in_std(first.span)
            && let Some(frame) = self.frames.iter().skip(1).next_back()
            && !self.in_std(frame.call)
            && !d.labels.iter().any(|l| touch(l.span, frame.call))
        {
            d = d.label(frame.call, format!("in this use of {}", frame.what));
        }
        if let Some(path) = self.frames.iter().rev().find_map(|f| f.path.clone()).filter(|p| !p.is_empty())
            && d.is_error()
        {
            d.notes.push(format!("while building `{path}`"));
        }
        if !self.diagnostics.contains(&d) {
            self.diagnostics.push(d);
        }
    }

    /// Adds an error with one label and gives the value of what failed.
    pub(super) fn error(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Value {
        self.report(Diagnostic::error(code, message).label(span, label));
        Value::Error
    }

    /// [`Self::error`] with a help line.
    pub(super) fn error_help(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) -> Value {
        self.report(Diagnostic::error(code, message).label(span, label).help(help));
        Value::Error
    }

    /// An operation's error at the place of its call, with the types of what it was given.
    pub(super) fn op_error(&mut self, e: OpError, span: Span, given: &[(Span, &Value)]) -> Value {
        let mut d = Diagnostic::error(e.code, e.message);
        let mut parts: Vec<&(Span, &Value)> = given.iter().filter(|(at, _)| *at != span).collect();
        parts.dedup_by_key(|(at, _)| *at);
        let within = |at: Span| at.file == span.file && span.start <= at.start && at.end <= span.end;
        // A label around others is drawn badly: the operands alone, and the name of the operation before them.
        match parts.iter().filter(|(at, _)| within(*at)).map(|(at, _)| at.start).min() {
            None => d = d.label(span, "here"),
            Some(first) => {
                let text = self.map.text(span);
                let name = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
                if name > 0 && text[name..].starts_with('(') && span.start as usize + name < first as usize {
                    let callee = Span { end: span.start + name as u32, ..span };
                    d = d.label(callee, "in this call");
                }
            }
        }
        for (at, value) in parts {
            d = d.label(*at, format!("this is {}", self.describe(value)));
        }
        if let Some(help) = e.help {
            d = d.help(help);
        }
        self.report(d);
        Value::Error
    }

    /// An operation that refused to be differentiated: the place of the gradient first, then its own.
    pub(super) fn refused(&mut self, r: crate::differentiate::Refused, span: Span) -> Value {
        let mut d = Diagnostic::error(r.error.code, r.error.message).label(span, "differentiated here");
        if r.span != span {
            d = d.label(r.span, "this operation refuses");
        }
        if let Some(help) = r.error.help {
            d = d.help(help);
        }
        self.report(d);
        Value::Error
    }

    /// Counts one evaluation step.
    pub(super) fn tick(&mut self, span: Span) -> bool {
        self.spend(1, span)
    }

    /// Counts what goes over `count` things at once: several of them cost as much as one expression.
    pub(super) fn work(&mut self, count: usize, span: Span) -> bool {
        self.spend(1 + count as u64 / 4, span)
    }

    /// The same for what walks through a whole value, shared parts as often as they occur.
    pub(super) fn work_on(&mut self, value: &Value, span: Span) -> bool {
        let size = self.weigh(value);
        self.work(size, span)
    }

    /// How many elements a value has in all, those of its parts included; counting ends beyond the limit.
    pub(super) fn weigh(&self, value: &Value) -> usize {
        fn go(value: &Value, left: usize) -> usize {
            let mut sum = 1;
            let mut add = |part: &Value| {
                sum += go(part, left.saturating_sub(sum));
                sum <= left
            };
            match value {
                Value::List(l) | Value::Chain(l) => l.iter().all(&mut add),
                Value::Tuple(t) => t.iter().all(|(_, v)| add(v)),
                Value::Record(r) => r.iter().all(|(_, v)| add(v)),
                Value::Step(s) => {
                    sum += s.values.len();
                    true
                }
                Value::Str(s) => {
                    sum += s.len() / 16;
                    true
                }
                _ => true,
            };
            sum
        }
        go(value, usize::try_from(self.options.limits.elements).unwrap_or(usize::MAX))
    }

    /// A new list, tuple, record, composition or text, if the allowance has room for it. What is shared counts
    /// as often as it occurs, so that walking through any value is bounded.
    pub(super) fn made(&mut self, value: Value, span: Span) -> Value {
        let size = self.weigh(&value);
        if self.allocate(size, span) { value } else { Value::Error }
    }

    /// Counts evaluation steps; `false` when the file has used up its allowance.
    pub(super) fn spend(&mut self, steps: u64, span: Span) -> bool {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > self.options.limits.steps && !self.aborted {
            let limit = self.options.limits.steps;
            self.error_help(
                codes::STEP_LIMIT,
                span,
                format!("elaborating this file takes more than {limit} steps"),
                "this was under way",
                "a `for` that long belongs into a run-time `loop`; or make its range shorter",
            );
            self.aborted = true;
        }
        !self.aborted
    }

    /// Counts the elements of a new list; `false` when the file has used up its allowance.
    pub(super) fn allocate(&mut self, count: usize, span: Span) -> bool {
        self.elements = self.elements.saturating_add(count as u64);
        if self.elements > self.options.limits.elements && !self.aborted {
            let limit = self.options.limits.elements;
            self.error_help(
                codes::SIZE_LIMIT,
                span,
                format!("the lists of this file hold more than {limit} elements"),
                "this list outgrows the limit",
                "numbers by the million belong into a tensor (`arange`, `normal`, data), not into a static list",
            );
            self.aborted = true;
        }
        !self.aborted
    }

    /// Goes one level deeper; `false` when too deep. Pair with [`Self::leave`].
    pub(super) fn enter(&mut self, span: Span) -> bool {
        self.depth += 1;
        if self.depth > self.options.limits.depth && !self.aborted {
            let what = self.frames.last().map_or("this expression".to_string(), |f| f.what.clone());
            let call = self.frames.last().map_or(span, |f| f.call);
            self.error_help(
                codes::RECURSION_LIMIT,
                call,
                format!("{what} calls itself without end"),
                format!("{} nested calls and expressions deep here", self.options.limits.depth),
                "a function that calls itself needs an `if` on a static value that ends it",
            );
            self.aborted = true;
        }
        !self.aborted
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }
}

/// Whether two spans share text.
fn touch(a: Span, b: Span) -> bool {
    a.file == b.file && a.start < b.end.max(b.start + 1) && b.start < a.end.max(a.start + 1)
}
