//! Statements, bodies, patterns and functions.

use std::sync::Arc;

use pest::iterators::Pair;

use super::{Builder, Parts};
use crate::source::Span;
use crate::syntax::ast::*;
use crate::syntax::grammar::Rule;

impl Builder<'_> {
    /// `{ … }`.
    pub fn body(&mut self, pair: Pair<Rule>) -> Body {
        let span = self.span(&pair);
        if let Some(stmts) = self.grafts.bodies.remove(&(span.start as usize)) {
            return Body { stmts, span };
        }
        self.depth += 1;
        let stmts = Parts::of(pair).map(|p| self.stmt(p)).collect();
        self.depth -= 1;
        Body { stmts, span }
    }

    /// A statement, if the pair is one.
    pub fn stmt(&mut self, pair: Pair<Rule>) -> Stmt {
        let span = self.span(&pair);
        match pair.as_rule() {
            Rule::fn_decl => Stmt::Fn(Arc::new(self.fn_decl(pair, true))),
            Rule::let_stmt => Stmt::Let(self.let_stmt(pair)),
            Rule::expr_list => Stmt::Expr(self.expr_list(pair)),
            Rule::assert_stmt => Stmt::Assert(self.assert(pair)),
            Rule::for_stmt => self.for_stmt(pair),
            Rule::watch_stmt => {
                let mut parts = Parts::of(pair);
                parts.eat(Rule::kw_watch);
                let Some(name) = parts.eat(Rule::name).map(|p| self.ident(&p)) else {
                    return Stmt::Error(span);
                };
                Stmt::Watch(Watch { name, value: parts.eat(Rule::expr).map(|p| self.expr(p)), span })
            }
            Rule::reveal_stmt => match Parts::of(pair).find(|p| p.as_rule() == Rule::expr) {
                Some(expr) => Stmt::Reveal(self.expr(expr), span),
                None => Stmt::Error(span),
            },
            Rule::update_stmt => {
                let mut parts = Parts::of(pair);
                parts.eat(Rule::kw_update);
                match (parts.eat(Rule::place), parts.eat(Rule::expr)) {
                    (Some(place), Some(expr)) => {
                        Stmt::Update(Update { target: self.place(place), value: self.expr(expr), span })
                    }
                    _ => Stmt::Error(span),
                }
            }
            Rule::minimize_stmt => self.minimize(pair),
            Rule::every_stmt => {
                let mut parts = Parts::of(pair);
                parts.eat(Rule::kw_every);
                match (parts.eat(Rule::expr), parts.eat(Rule::body)) {
                    (Some(count), Some(body)) => {
                        Stmt::Every(Every { count: self.expr(count), body: self.body(body), span })
                    }
                    _ => Stmt::Error(span),
                }
            }
            _ => Stmt::Error(span),
        }
    }

    /// `pattern = expr`, without documentation.
    pub fn let_stmt(&mut self, pair: Pair<Rule>) -> Let {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let pattern = parts.eat(Rule::patterns).map_or(Pattern::Ignore(span), |p| self.patterns(p));
        let value = parts.eat(Rule::expr_list);
        let value = value.map_or(Expr { kind: ExprKind::Error, span }, |p| self.expr_list(p));
        Let { doc: None, pattern, value, span }
    }

    /// `assert cond, "…"`.
    pub fn assert(&mut self, pair: Pair<Rule>) -> Assert {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        parts.eat(Rule::kw_assert);
        let cond = parts.eat(Rule::expr);
        let cond = cond.map_or(Expr { kind: ExprKind::Error, span }, |p| self.expr(p));
        Assert { cond, message: parts.eat(Rule::expr).map(|p| self.expr(p)), span }
    }

    fn for_stmt(&mut self, pair: Pair<Rule>) -> Stmt {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        parts.eat(Rule::kw_for);
        let pattern = parts.eat(Rule::patterns);
        parts.eat(Rule::kw_in);
        match (pattern, parts.eat(Rule::expr), parts.eat(Rule::body)) {
            (Some(pattern), Some(iter), Some(body)) => {
                let (pattern, iter) = (self.patterns(pattern), self.expr(iter));
                Stmt::For(For { pattern, iter, body: self.body(body), span })
            }
            _ => Stmt::Error(span),
        }
    }

    fn minimize(&mut self, pair: Pair<Rule>) -> Stmt {
        let span = self.span(&pair);
        let (mut loss, mut over, mut with) = (None, Vec::new(), None);
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::expr if loss.is_none() => loss = Some(self.expr(part)),
                Rule::expr => with = Some(self.expr(part)),
                Rule::over_list => over = Parts::of(part).map(|p| self.expr(p)).collect(),
                _ => {}
            }
        }
        match loss {
            Some(loss) => Stmt::Minimize(Minimize { loss, over, with, span }),
            None => Stmt::Error(span),
        }
    }

    /// One expression, or several as a tuple.
    pub fn expr_list(&mut self, pair: Pair<Rule>) -> Expr {
        let span = self.span(&pair);
        let mut exprs: Vec<Expr> = Parts::of(pair).map(|p| self.expr(p)).collect();
        match (exprs.len(), exprs.pop()) {
            (1, Some(one)) => one,
            (_, last) => {
                exprs.extend(last);
                Expr { kind: ExprKind::Tuple(exprs), span }
            }
        }
    }

    /// `a, (b, c)`.
    pub fn patterns(&mut self, pair: Pair<Rule>) -> Pattern {
        let span = self.span(&pair);
        let mut all: Vec<Pattern> = Parts::of(pair).filter_map(|p| self.pattern(p)).collect();
        match (all.len(), all.pop()) {
            (1, Some(one)) => one,
            (_, last) => {
                all.extend(last);
                Pattern::Tuple(all, span)
            }
        }
    }

    fn pattern(&mut self, pair: Pair<Rule>) -> Option<Pattern> {
        let span = self.span(&pair);
        match pair.as_rule() {
            Rule::name => Some(Pattern::Name(self.ident(&pair))),
            Rule::ignore => Some(Pattern::Ignore(span)),
            Rule::tuple_pattern => {
                let comma = pair.clone().into_inner().any(|p| p.as_rule() == Rule::comma);
                let mut all: Vec<Pattern> = Parts::of(pair).filter_map(|p| self.pattern(p)).collect();
                if all.len() == 1 && !comma { all.pop() } else { Some(Pattern::Tuple(all, span)) }
            }
            _ => None,
        }
    }

    /// A function with a name (`documented`), or a function value.
    pub fn fn_decl(&mut self, pair: Pair<Rule>, documented: bool) -> FnDecl {
        let span = self.span(&pair);
        let mut decl = FnDecl {
            doc: if documented { self.doc(span.start) } else { None },
            name: None,
            params: Vec::new(),
            result: None,
            body: Body::default(),
            braces: false,
            span,
        };
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::name => decl.name = Some(self.ident(&part)),
                Rule::params => decl.params = self.params(part),
                Rule::result => decl.result = self.result(part),
                Rule::expr => decl.body = one_expr(self.expr(part)),
                Rule::expr_list => decl.body = one_expr(self.expr_list(part)),
                Rule::body => {
                    decl.body = self.body(part);
                    decl.braces = true;
                }
                _ => {}
            }
        }
        decl
    }

    /// `if c { … } else if d { … } else { … }`: each `else if` is a body of one `if`.
    pub fn if_expr(&mut self, pair: Pair<Rule>) -> Expr {
        let span = self.span(&pair);
        let arms = pair.clone().into_inner().filter(|p| p.as_rule() == Rule::body).count();
        if !self.fits(arms, span) {
            return Expr { kind: ExprKind::Error, span };
        }
        self.depth += arms;
        let (mut list, mut last, mut cond) = (Vec::new(), None, None);
        let mut start = span.start;
        for part in Parts::of(pair) {
            let at = self.span(&part).start;
            match part.as_rule() {
                Rule::kw_if => start = at,
                Rule::expr => cond = Some(self.expr(part)),
                Rule::body => match cond.take() {
                    Some(cond) => list.push((cond, self.body(part), start)),
                    None => last = Some(self.body(part)),
                },
                _ => {}
            }
        }
        self.depth -= arms;
        let mut whole: Option<Expr> = None;
        for (cond, then, start) in list.into_iter().rev() {
            let otherwise = whole.take().map(one_expr).or(last.take());
            let kind = ExprKind::If(Box::new(If { cond, then, otherwise }));
            whole = Some(Expr { kind, span: Span { start, ..span } });
        }
        whole.unwrap_or(Expr { kind: ExprKind::Error, span })
    }
}

/// A body of one expression.
fn one_expr(expr: Expr) -> Body {
    Body { span: expr.span, stmts: vec![Stmt::Expr(expr)] }
}
