//! Statements.

use super::Formatter;
use super::comments::Lined;
use super::doc::{D, braces, concat, group, line, nest, text};
use super::lists::BARE;
use crate::source::Span;
use crate::syntax::ast::*;

impl Lined for Stmt {
    fn span(&self) -> Span {
        match self {
            Stmt::Let(x) => x.span,
            Stmt::Expr(x) => x.span,
            Stmt::Fn(x) => x.span,
            Stmt::For(x) => x.span,
            Stmt::Watch(x) => x.span,
            Stmt::Reveal(_, span) | Stmt::Error(span) => *span,
            Stmt::Assert(x) => x.span,
            Stmt::Update(x) => x.span,
            Stmt::Minimize(x) => x.span,
            Stmt::Every(x) => x.span,
        }
    }

    fn doc(&self) -> Option<&str> {
        if let Stmt::Fn(f) = self { f.doc.as_deref() } else { None }
    }

    fn apart(&self) -> bool {
        false
    }

    fn build(&self, f: &mut Formatter) -> D {
        f.stmt(self)
    }
}

impl Formatter<'_> {
    /// A statement.
    pub fn stmt(&mut self, stmt: &Stmt) -> D {
        match stmt {
            Stmt::Let(l) => self.let_(l),
            Stmt::Expr(e) => self.expr(e),
            Stmt::Fn(decl) => self.fn_decl(decl),
            Stmt::For(x) => {
                let head = self.for_head(&x.pattern, &x.iter);
                concat(vec![head, self.body(&x.body)])
            }
            Stmt::Watch(w) => {
                let mut parts = vec![text(format!("watch {}", w.name.name))];
                if let Some(value) = &w.value {
                    parts.push(self.assigned(value));
                }
                concat(parts)
            }
            Stmt::Reveal(e, _) => concat(vec![text("reveal "), self.expr(e)]),
            Stmt::Assert(a) => self.assert(a),
            Stmt::Update(u) => {
                let target = self.place(&u.target);
                concat(vec![text("update "), target, self.assigned(&u.value)])
            }
            Stmt::Minimize(m) => self.minimize(m),
            Stmt::Every(e) => {
                let head = vec![text("every "), self.expr(&e.count), text(" ")];
                let inline = !self.commented(e.body.span);
                let mut flat = true;
                let body = self.arm(&e.body, inline, &mut flat);
                let force = if flat { super::doc::nil() } else { super::doc::force() };
                concat(head.into_iter().chain([braces(concat(vec![body, force]))]).collect())
            }
            Stmt::Error(_) => text(""),
        }
    }

    /// `a, b = e`.
    pub fn let_(&mut self, l: &Let) -> D {
        let pattern = self.pattern(&l.pattern);
        concat(vec![pattern, self.assigned(&l.value)])
    }

    /// `assert cond, "…"`.
    pub fn assert(&mut self, a: &Assert) -> D {
        let mut parts = vec![text("assert "), self.expr(&a.cond)];
        if let Some(message) = &a.message {
            let message = self.expr(message);
            parts.extend([text(","), group(nest(concat(vec![line(), message])))]);
        }
        concat(parts)
    }

    /// `for a, b in list `.
    pub fn for_head(&mut self, pattern: &Pattern, iter: &Expr) -> D {
        let pattern = self.pattern(pattern);
        concat(vec![text("for "), pattern, text(" in "), self.expr(iter), text(" ")])
    }

    /// A function with a name.
    pub fn fn_decl(&mut self, decl: &FnDecl) -> D {
        let (head, body) = self.fn_parts(decl);
        concat(vec![head, body])
    }

    /// `a[i].b`.
    pub fn place(&mut self, place: &Place) -> D {
        let mut parts = vec![text(&*place.root.name)];
        for step in &place.steps {
            match step {
                PlaceStep::Field(name) => parts.push(text(format!(".{}", name.name))),
                PlaceStep::Index(e) => parts.extend([text("["), self.expr(e), text("]")]),
            }
        }
        concat(parts)
    }

    fn minimize(&mut self, m: &Minimize) -> D {
        let mut parts = vec![text("minimize "), self.expr(&m.loss)];
        let mut tail = Vec::new();
        if let Some(first) = m.over.first() {
            tail.push(if starts_with_word(first) { line() } else { text(" ") });
            tail.push(text("over "));
            let place = (first.span.start, m.over.last().map_or(m.span.end, |e| e.span.end));
            tail.push(self.list(BARE, &m.over, place, |e| e.span, |f, e| f.expr(e)));
        }
        if let Some(with) = &m.with {
            tail.push(if starts_with_word(with) { line() } else { text(" ") });
            tail.extend([text("with "), self.expr(with)]);
        }
        parts.push(nest(concat(tail)));
        group(concat(parts))
    }
}

/// Whether a line may start with `over`, `with` or `from` before this: only words and strings show that
/// such a line goes on from the one above.
pub fn starts_with_word(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::Name(_) | ExprKind::Bool(_) | ExprKind::None | ExprKind::Str(_) => true,
        ExprKind::If(_) | ExprKind::Fn(_) | ExprKind::Loop(_) => true,
        ExprKind::Call(e, _) | ExprKind::Index(e, _) | ExprKind::Field(e, _) => starts_with_word(e),
        ExprKind::Flow(e, _) | ExprKind::Binary(_, e, _) => starts_with_word(e),
        _ => false,
    }
}
