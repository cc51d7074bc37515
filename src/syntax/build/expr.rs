//! Expressions. Operators come as a flat list and are folded here by precedence climbing.

use std::sync::Arc;
use std::vec::IntoIter;

use pest::iterators::Pair;

use super::{Builder, Parts};
use crate::diagnostic::{Diagnostic, codes};
use crate::source::Span;
use crate::syntax::ast::*;
use crate::syntax::grammar::Rule;

/// A part of a flat operator list.
enum Part {
    Operand(Expr),
    Prefix(UnaryOp, Span),
    Infix(Infix, Span),
}

#[derive(Clone, Copy, PartialEq)]
enum Infix {
    Flow,
    Op(BinaryOp),
}

impl Infix {
    fn of(rule: Rule) -> Option<Infix> {
        use BinaryOp::*;
        Some(Infix::Op(match rule {
            Rule::arrow => return Some(Infix::Flow),
            Rule::kw_or => Or,
            Rule::kw_and => And,
            Rule::eq => Eq,
            Rule::ne => Ne,
            Rule::lt => Lt,
            Rule::le => Le,
            Rule::gt => Gt,
            Rule::ge => Ge,
            Rule::plus => Add,
            Rule::minus => Sub,
            Rule::star => Mul,
            Rule::slash => Div,
            Rule::floor_div => FloorDiv,
            Rule::percent => Rem,
            Rule::caret => Pow,
            _ => return None,
        }))
    }

    /// How tightly it binds its left side, and the least that may stand on its right without brackets.
    fn power(self) -> (u8, u8) {
        use BinaryOp::*;
        match self {
            Infix::Flow => (1, 2),
            Infix::Op(Or) => (3, 4),
            Infix::Op(And) => (5, 6),
            Infix::Op(Eq | Ne | Lt | Le | Gt | Ge) => (9, 10),
            Infix::Op(Add | Sub) => (11, 12),
            Infix::Op(Mul | Div | FloorDiv | Rem) => (13, 14),
            Infix::Op(Pow) => (18, 17),
        }
    }
}

/// `not` binds looser than comparisons, `-` tighter than products and looser than `^`.
fn prefix_power(op: UnaryOp) -> u8 {
    match op {
        UnaryOp::Not => 7,
        UnaryOp::Neg => 15,
    }
}

fn comparison(op: BinaryOp) -> bool {
    use BinaryOp::*;
    matches!(op, Eq | Ne | Lt | Le | Gt | Ge)
}

impl Builder<'_> {
    /// An expression.
    pub fn expr(&mut self, pair: Pair<Rule>) -> Expr {
        let span = self.span(&pair);
        // The deepest operand of a chain of n operators lies n levels down.
        let mut levels = 1;
        for p in pair.clone().into_inner() {
            levels += match p.as_rule() {
                Rule::operand => p.into_inner().count().saturating_sub(1),
                _ => 1,
            };
        }
        if !self.fits(levels, span) {
            return Expr { kind: ExprKind::Error, span };
        }
        self.depth += levels;
        let mut parts = Vec::new();
        for p in pair.into_inner() {
            let at = self.span(&p);
            match (p.as_rule(), Infix::of(p.as_rule())) {
                (Rule::operand, _) => self.operand(p, &mut parts),
                (_, Some(op)) => parts.push(Part::Infix(op, at)),
                _ => {}
            }
        }
        self.depth -= levels;
        self.climb(&mut parts.into_iter().peekable(), 0).unwrap_or(Expr { kind: ExprKind::Error, span })
    }

    /// Folds what binds at least as tightly as `least`.
    fn climb(&mut self, parts: &mut std::iter::Peekable<IntoIter<Part>>, least: u8) -> Option<Expr> {
        let mut left = match parts.next()? {
            Part::Operand(expr) => expr,
            Part::Prefix(op, span) => {
                let inner = self.climb(parts, prefix_power(op))?;
                let span = span.to(inner.span);
                Expr { kind: ExprKind::Unary(op, Box::new(inner)), span }
            }
            Part::Infix(..) => return None,
        };
        while let Some(Part::Infix(op, at)) = parts.peek() {
            let (op, at) = (*op, *at);
            let (bind, right) = op.power();
            if bind < least {
                break;
            }
            parts.next();
            let right = self.climb(parts, right)?;
            let span = left.span.to(right.span);
            let kind = match op {
                Infix::Flow => ExprKind::Flow(Box::new(left), Box::new(right)),
                Infix::Op(op) => {
                    self.check_chain(op, &left, at);
                    ExprKind::Binary(op, Box::new(left), Box::new(right))
                }
            };
            left = Expr { kind, span };
        }
        Some(left)
    }

    /// `a < b < c` means nothing useful when read from the left.
    fn check_chain(&mut self, op: BinaryOp, left: &Expr, at: Span) {
        if let ExprKind::Binary(first, ..) = &left.kind
            && comparison(op)
            && comparison(*first)
        {
            let (first, second) = (first.symbol(), op.symbol());
            self.gathered.diagnostics.push(
                Diagnostic::error(codes::UNEXPECTED_TOKEN, "comparisons do not chain")
                    .label(at, format!("`{second}` after `{first}`"))
                    .help(format!("write `a {first} b and b {second} c`")),
            );
        }
    }

    fn operand(&mut self, pair: Pair<Rule>, out: &mut Vec<Part>) {
        let whole = self.span(&pair);
        let mut value: Option<Expr> = None;
        for p in pair.into_inner() {
            let span = self.span(&p);
            match (p.as_rule(), value.take()) {
                (Rule::minus, None) => out.push(Part::Prefix(UnaryOp::Neg, span)),
                (Rule::kw_not, None) => out.push(Part::Prefix(UnaryOp::Not, span)),
                (_, None) => value = Some(self.primary(p)),
                (_, Some(object)) => value = Some(self.postfix(object, p)),
            }
        }
        out.push(Part::Operand(value.unwrap_or(Expr { kind: ExprKind::Error, span: whole })));
    }

    fn postfix(&mut self, object: Expr, pair: Pair<Rule>) -> Expr {
        let span = object.span.to(self.span(&pair));
        let kind = match pair.as_rule() {
            Rule::call => ExprKind::Call(Box::new(object), self.args(pair)),
            Rule::index => {
                ExprKind::Index(Box::new(object), Parts::of(pair).map(|p| self.index_item(p)).collect())
            }
            Rule::access => match self.idents(pair).pop() {
                Some(name) => ExprKind::Field(Box::new(object), name),
                None => ExprKind::Error,
            },
            _ => ExprKind::Error,
        };
        Expr { kind, span }
    }

    fn primary(&mut self, pair: Pair<Rule>) -> Expr {
        let span = self.span(&pair);
        let kind = match pair.as_rule() {
            Rule::int => self.int(&pair),
            Rule::float => self.float(&pair),
            Rule::string => ExprKind::Str(self.unescape(&pair).into()),
            Rule::kw_true => ExprKind::Bool(true),
            Rule::kw_false => ExprKind::Bool(false),
            Rule::kw_none => ExprKind::None,
            Rule::name => ExprKind::Name(pair.as_str().into()),
            Rule::fn_value => ExprKind::Fn(Arc::new(self.fn_decl(pair, false))),
            Rule::loop_expr => self.loop_expr(pair),
            Rule::if_expr => return self.if_expr(pair),
            Rule::list => self.list(pair),
            Rule::record => ExprKind::Record(Parts::of(pair).filter_map(|p| self.entry(p)).collect()),
            Rule::group => self.group(pair),
            _ => ExprKind::Error,
        };
        Expr { kind, span }
    }

    /// `(a)`, or a tuple.
    fn group(&mut self, pair: Pair<Rule>) -> ExprKind {
        let comma = pair.clone().into_inner().any(|p| p.as_rule() == Rule::comma);
        let mut all: Vec<Expr> = Parts::of(pair).map(|p| self.expr(p)).collect();
        match all.pop() {
            Some(one) if all.is_empty() && !comma => ExprKind::Paren(Box::new(one)),
            last => {
                all.extend(last);
                ExprKind::Tuple(all)
            }
        }
    }

    fn list(&mut self, pair: Pair<Rule>) -> ExprKind {
        let (mut elements, mut clauses) = (Vec::new(), Vec::new());
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::element => elements.push(self.element(part)),
                Rule::clause => clauses.extend(self.clause(part)),
                _ => {}
            }
        }
        if clauses.is_empty() {
            return ExprKind::List(elements);
        }
        let Some(Element { spread, value }) = elements.pop() else { return ExprKind::Error };
        if spread {
            self.gathered.diagnostics.push(
                Diagnostic::error(codes::UNEXPECTED_TOKEN, "a comprehension cannot spread its element")
                    .label(value.span, "`..` stands before this")
                    .help("add a clause: `[x for xs in lists for x in xs]`"),
            );
        }
        ExprKind::Comprehension(Box::new(Comprehension { element: value, clauses }))
    }

    fn element(&mut self, pair: Pair<Rule>) -> Element {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let spread = parts.eat(Rule::dots).is_some();
        let value = parts.eat(Rule::expr).map(|p| self.expr(p));
        Element { spread, value: value.unwrap_or(Expr { kind: ExprKind::Error, span }) }
    }

    fn clause(&mut self, pair: Pair<Rule>) -> Option<Clause> {
        let mut parts = Parts::of(pair);
        parts.eat(Rule::kw_for);
        let pattern = parts.eat(Rule::patterns).map(|p| self.patterns(p))?;
        parts.eat(Rule::kw_in);
        let iter = parts.eat(Rule::expr).map(|p| self.expr(p))?;
        parts.eat(Rule::kw_if);
        let cond = parts.eat(Rule::expr).map(|p| self.expr(p));
        Some(Clause { pattern, iter, cond })
    }

    fn entry(&mut self, pair: Pair<Rule>) -> Option<(Option<Ident>, Expr)> {
        let mut parts = Parts::of(pair);
        parts.eat(Rule::dots);
        let name = parts.eat(Rule::word).map(|p| self.ident(&p));
        parts.eat(Rule::colon);
        parts.eat(Rule::expr).map(|p| (name, self.expr(p)))
    }

    /// `(a, b = c, ..d)`.
    pub fn args(&mut self, pair: Pair<Rule>) -> Vec<Arg> {
        Parts::of(pair).filter_map(|p| self.arg(p)).collect()
    }

    fn arg(&mut self, pair: Pair<Rule>) -> Option<Arg> {
        let mut parts = Parts::of(pair);
        let spread = parts.eat(Rule::dots).is_some();
        let name = parts.eat(Rule::arg_name).and_then(|p| self.idents(p).pop());
        parts.eat(Rule::expr).map(|p| Arg { name, spread, value: self.expr(p) })
    }

    fn index_item(&mut self, pair: Pair<Rule>) -> IndexItem {
        let span = self.span(&pair);
        let (mut from, mut to, mut range) = (None, None, false);
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::dots => return IndexItem::Rest(span),
                Rule::colon => range = true,
                Rule::expr if range => to = Some(self.expr(part)),
                Rule::expr => from = Some(self.expr(part)),
                _ => {}
            }
        }
        match (range, from) {
            (false, Some(at)) => IndexItem::At(at),
            (_, from) => IndexItem::Range(from, to, span),
        }
    }

    fn loop_expr(&mut self, pair: Pair<Rule>) -> ExprKind {
        let span = self.span(&pair);
        let (mut carries, mut pattern, mut table, mut body) = (Vec::new(), None, None, None);
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::carry => carries.extend(self.carry(part)),
                Rule::patterns => pattern = Some(self.patterns(part)),
                Rule::expr => table = Some(self.expr(part)),
                Rule::body => body = Some(self.body(part)),
                _ => {}
            }
        }
        match (pattern, table, body) {
            (Some(pattern), Some(table), Some(body)) => {
                ExprKind::Loop(Arc::new(Loop { carries, pattern, table, body, span }))
            }
            _ => ExprKind::Error,
        }
    }

    fn carry(&mut self, pair: Pair<Rule>) -> Option<(Ident, Option<Expr>)> {
        let mut parts = Parts::of(pair);
        let name = parts.eat(Rule::name).map(|p| self.ident(&p))?;
        Some((name, parts.eat(Rule::expr).map(|p| self.expr(p))))
    }
}
