//! Expressions.

use std::rc::Rc;

use super::Formatter;
use super::doc::{
    D, Doc, braces, broken, concat, group, hard, line, many_lines, nest, nil, soft, text, value,
};
use super::lists::{BARE, RECORD, ROUND, SQUARE};
use crate::source::Span;
use crate::syntax::ast::*;
use crate::syntax::grammar::Rule;

impl Formatter<'_> {
    /// An expression.
    pub fn expr(&mut self, e: &Expr) -> D {
        match &e.kind {
            ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Name(_) | ExprKind::Error => {
                text(self.text.get(e.span.start as usize..e.span.end as usize).unwrap_or(""))
            }
            ExprKind::Str(s) => text(quoted(s)),
            ExprKind::Bool(b) => text(if *b { "true" } else { "false" }),
            ExprKind::None => text("none"),
            ExprKind::List(all) => self.list(
                SQUARE,
                all,
                within(e.span),
                |x| x.value.span,
                |f, x| {
                    let dots = if x.spread { text("..") } else { nil() };
                    concat(vec![dots, f.expr(&x.value)])
                },
            ),
            ExprKind::Comprehension(c) => self.comprehension(c),
            ExprKind::Record(all) => {
                let span = |(name, value): &(Option<Ident>, Expr)| {
                    name.as_ref().map_or(value.span, |n| n.span.to(value.span))
                };
                self.list(RECORD, all, within(e.span), span, |f, (name, value)| {
                    let head = name.as_ref().map_or("..".to_string(), |n| format!("{}: ", n.name));
                    concat(vec![text(head), f.expr(value)])
                })
            }
            ExprKind::Tuple(all) => self.tuple(all, e.span),
            ExprKind::Paren(inner) => {
                let inner = self.expr(inner);
                group(concat(vec![text("("), nest(concat(vec![soft(), inner])), soft(), text(")")]))
            }
            ExprKind::Unary(op, inner) => {
                let mark = if *op == UnaryOp::Neg { "-" } else { "not " };
                concat(vec![text(mark), self.expr(inner)])
            }
            ExprKind::Binary(BinaryOp::Pow, a, b) => {
                let base = self.expr(a);
                concat(vec![base, text("^"), self.expr(b)])
            }
            ExprKind::Binary(op, ..) => self.operators(e, precedence(*op)),
            ExprKind::Flow(..) => self.flow(e),
            ExprKind::Call(callee, args) => self.call(callee, args, e.span),
            ExprKind::Index(object, items) => {
                let object_end = object.span.end;
                let object = self.expr(object);
                let place = (object_end, e.span.end.saturating_sub(1));
                concat(vec![object, self.list(SQUARE, items, place, index_span, |f, i| f.index_item(i))])
            }
            ExprKind::Field(object, name) => concat(vec![self.expr(object), text(format!(".{}", name.name))]),
            ExprKind::If(_) => self.if_expr(e),
            ExprKind::Fn(decl) => {
                let (head, body) = self.fn_parts(decl);
                concat(vec![head, body])
            }
            ExprKind::Loop(l) => self.loop_expr(l),
        }
    }

    /// `a, b` where the text has no parentheses around it, `(a, b)` where it has.
    fn tuple(&mut self, all: &[Expr], span: Span) -> D {
        match all {
            [first, _, ..] if first.span.start == span.start => {
                self.list(BARE, all, (span.start, span.end), |x| x.span, |f, x| f.expr(x))
            }
            [one] => concat(vec![text("("), self.expr(one), text(",)")]),
            _ => self.list(ROUND, all, within(span), |x| x.span, |f, x| f.expr(x)),
        }
    }

    fn comprehension(&mut self, c: &Comprehension) -> D {
        let mut inner = vec![soft(), self.expr(&c.element)];
        for clause in &c.clauses {
            inner.extend([line(), text("for "), self.pattern(&clause.pattern), text(" in ")]);
            inner.push(self.expr(&clause.iter));
            if let Some(cond) = &clause.cond {
                inner.extend([line(), text("if "), self.expr(cond)]);
            }
        }
        group(concat(vec![text("["), nest(concat(inner)), soft(), text("]")]))
    }

    /// ` = ` and a value. An equation goes to a line of its own rather than being broken.
    pub fn assigned(&mut self, e: &Expr) -> D {
        let document = self.expr(e);
        if matches!(e.kind, ExprKind::Binary(..) | ExprKind::Unary(..)) {
            concat(vec![text(" ="), value(document)])
        } else {
            concat(vec![text(" = "), document])
        }
    }

    /// Operators of one precedence, each at the end of its line if they do not fit on one.
    fn operators(&mut self, e: &Expr, level: u8) -> D {
        self.hoist(e.span.start);
        let (mut spine, mut left) = (Vec::new(), e);
        while let ExprKind::Binary(op, a, b) = &left.kind
            && precedence(*op) == level
        {
            spine.push((*op, &**b));
            left = a;
        }
        let first = self.expr(left);
        let mut rest = Vec::new();
        let mut end = left.span.end;
        for (op, operand) in spine.into_iter().rev() {
            rest.push(text(format!(" {}", op.symbol())));
            rest.extend(self.trailing(end, op.symbol()));
            rest.push(line());
            for comment in self.before(operand.span.start) {
                rest.extend([self.comment(&comment), hard(0)]);
            }
            rest.push(self.expr(operand));
            end = operand.span.end;
        }
        group(concat(vec![first, nest(concat(rest))]))
    }

    /// A chain of `->`; if it does not fit on a line, each step that is not a bare name starts one.
    fn flow(&mut self, e: &Expr) -> D {
        self.hoist(e.span.start);
        let (mut spine, mut left) = (Vec::new(), e);
        while let ExprKind::Flow(a, b) = &left.kind {
            spine.push(&**b);
            left = a;
        }
        let first = self.expr(left);
        let mut rest = Vec::new();
        let mut end = left.span.end;
        for step in spine.into_iter().rev() {
            let mut comments: Vec<D> = self.trailing(end, "->").into_iter().collect();
            for comment in self.before(step.span.start) {
                comments.extend([hard(0), self.comment(&comment)]);
            }
            let document = concat(vec![line(), text("-> "), self.expr(step)]);
            // A bare name, as of an activation, stays with the step before it.
            let stays = comments.is_empty() && matches!(step.kind, ExprKind::Name(_));
            rest.extend(comments);
            rest.push(if stays { group(document) } else { document });
            end = step.span.end;
        }
        group(concat(vec![first, nest(concat(rest))]))
    }

    fn call(&mut self, callee: &Expr, args: &[Arg], span: Span) -> D {
        let place = (callee.span.end, span.end.saturating_sub(1));
        let callee = self.expr(callee);
        let hugged = match args {
            [] => None,
            [Arg { value, .. }] if matches!(value.kind, ExprKind::List(_) | ExprKind::Record(_)) => {
                args.last()
            }
            [.., Arg { value: Expr { kind: ExprKind::Fn(f), .. }, .. }] if f.braces => args.last(),
            _ => None,
        };
        let Some(last) = hugged.filter(|_| !self.commented(span)) else {
            let args = self.args(args, place);
            return concat(vec![callee, args]);
        };
        let mut head = vec![text("(")];
        let mut plain = vec![soft()];
        for arg in &args[..args.len() - 1] {
            let (name, argument) = self.arg(arg);
            head.extend([name.clone(), argument.clone(), text(", ")]);
            plain.extend([name, argument, text(","), line()]);
        }
        let name = text(match (&last.name, last.spread) {
            (Some(name), _) => format!("{} = ", name.name),
            (None, spread) => (if spread { ".." } else { "" }).to_string(),
        });
        let (start, body) = match &last.value.kind {
            ExprKind::Fn(f) => self.fn_parts(f),
            _ => (nil(), self.expr(&last.value)),
        };
        head.extend([name.clone(), start.clone()]);
        plain.extend([name, start, body.clone(), broken(",")]);
        let plain = concat(vec![text("("), nest(concat(plain)), soft(), text(")")]);
        let hug = Doc::Hug { head: concat(head), last: body, tail: text(")"), plain };
        concat(vec![callee, Rc::new(hug)])
    }

    fn index_item(&mut self, item: &IndexItem) -> D {
        match item {
            IndexItem::At(e) => self.expr(e),
            IndexItem::Rest(_) => text(".."),
            IndexItem::Range(from, to, _) => {
                let from = from.as_ref().map_or_else(nil, |e| self.expr(e));
                let to = to.as_ref().map_or_else(nil, |e| self.expr(e));
                concat(vec![from, text(":"), to])
            }
        }
    }

    /// `if … { … } else if … { … } else { … }`, on one line if each body is one statement and all fits.
    fn if_expr(&mut self, e: &Expr) -> D {
        let (mut arms, mut rest, mut last) = (Vec::new(), Some(e), None);
        while let Some(Expr { kind: ExprKind::If(i), .. }) = rest {
            arms.push(&**i);
            rest = None;
            // `else if` is a body whose span is that of its only expression; braces would make it wider.
            match i.otherwise.as_ref().map(|body| (body, body.stmts.as_slice())) {
                Some((body, [Stmt::Expr(next)]))
                    if next.span == body.span && matches!(next.kind, ExprKind::If(_)) =>
                {
                    rest = Some(next);
                }
                Some((body, _)) => last = Some(body),
                None => {}
            }
        }
        let bodies = arms.iter().map(|a| &a.then).chain(last);
        let inline = !bodies.into_iter().any(|b| self.commented(b.span));
        let mut parts = Vec::new();
        let mut flat = inline;
        for arm in arms {
            parts.push(text(if parts.is_empty() { "if " } else { " else if " }));
            parts.extend([self.expr(&arm.cond), text(" ")]);
            parts.push(self.arm(&arm.then, inline, &mut flat));
        }
        if let Some(body) = last {
            parts.push(text(" else "));
            parts.push(self.arm(body, inline, &mut flat));
        }
        if !flat {
            // One arm that cannot stand on one line breaks all of them.
            parts.push(Rc::new(Doc::Force));
        }
        braces(concat(parts))
    }

    /// A body in an expression: breakable if it is one simple statement, else broken.
    pub fn arm(&mut self, body: &Body, inline: bool, flat: &mut bool) -> D {
        if !inline || body.stmts.len() > 1 {
            *flat = false;
            return self.body(body);
        }
        let Some(stmt) = body.stmts.first() else { return text("{}") };
        let stmt = self.stmt(stmt);
        if many_lines(&stmt) {
            *flat = false;
        }
        concat(vec![text("{"), nest(concat(vec![line(), stmt])), line(), text("}")])
    }

    /// `fn (x) -> T`, ` = e` included up to the expression, and the body.
    pub fn fn_parts(&mut self, decl: &FnDecl) -> (D, D) {
        let mut head = vec![text(decl.name.as_ref().map_or("fn ".to_string(), |n| format!("fn {}", n.name)))];
        head.push(self.params(&decl.params, decl.span.start));
        if let Some(result) = &decl.result {
            head.extend([text(" -> "), self.type_(result)]);
        }
        if decl.braces {
            head.push(text(" "));
            if decl.name.is_some() {
                return (concat(head), self.body(&decl.body));
            }
            let mut flat = true;
            let inline = !self.commented(decl.body.span);
            let body = self.arm(&decl.body, inline, &mut flat);
            let force = if flat { nil() } else { Rc::new(Doc::Force) };
            return (concat(head), braces(concat(vec![body, force])));
        }
        head.push(text(if decl.name.is_some() { " =" } else { " = " }));
        let body = match decl.body.stmts.as_slice() {
            [Stmt::Expr(e)] => self.expr(e),
            _ => nil(),
        };
        (concat(head), if decl.name.is_some() { value(body) } else { body })
    }

    fn loop_expr(&mut self, l: &Loop) -> D {
        let mut parts = vec![text("loop ")];
        for (i, (name, value)) in l.carries.iter().enumerate() {
            parts.push(text(if i > 0 { format!(", {}", name.name) } else { name.name.to_string() }));
            if let Some(value) = value {
                parts.extend([text(" = "), self.expr(value)]);
            }
        }
        parts.extend([text(" for "), self.pattern(&l.pattern), text(" in "), self.expr(&l.table), text(" ")]);
        parts.push(self.body(&l.body));
        concat(parts)
    }

    /// `{ … }` over several lines.
    pub fn body(&mut self, body: &Body) -> D {
        let (open, close) = self.brackets(Rule::lbrace, body.span.start);
        self.block(&body.stmts, open, close)
    }

    /// What a binding binds; parentheses as in the text.
    pub fn pattern(&self, pattern: &Pattern) -> D {
        text(self.pattern_text(pattern))
    }

    fn pattern_text(&self, pattern: &Pattern) -> String {
        match pattern {
            Pattern::Name(name) => name.name.to_string(),
            Pattern::Ignore(_) => "_".to_string(),
            Pattern::Tuple(all, span) => {
                let list = all.iter().map(|p| self.pattern_text(p)).collect::<Vec<_>>().join(", ");
                let bare = all.first().is_some_and(|p| pattern_start(p) == span.start);
                match (bare, all.len()) {
                    (true, 2..) => list,
                    (_, 1) => format!("({list},)"),
                    _ => format!("({list})"),
                }
            }
        }
    }
}

/// After the opening and before the closing bracket of an expression that has them at its ends.
fn within(span: Span) -> (u32, u32) {
    (span.start + 1, span.end.saturating_sub(1))
}

/// A string literal.
pub fn quoted(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn pattern_start(pattern: &Pattern) -> u32 {
    match pattern {
        Pattern::Name(name) => name.span.start,
        Pattern::Ignore(span) | Pattern::Tuple(_, span) => span.start,
    }
}

fn index_span(item: &IndexItem) -> Span {
    match item {
        IndexItem::At(e) => e.span,
        IndexItem::Range(_, _, span) | IndexItem::Rest(span) => *span,
    }
}

/// Operators of equal precedence share a line break.
fn precedence(op: BinaryOp) -> u8 {
    use BinaryOp::*;
    match op {
        Or => 0,
        And => 1,
        Eq | Ne | Lt | Le | Gt | Ge => 2,
        Add | Sub => 3,
        Mul | Div | FloorDiv | Rem => 4,
        Pow => 5,
    }
}
