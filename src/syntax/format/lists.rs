//! Lists with commas: on the line they start on, else all on the next, else one element to a line.

use super::Formatter;
use super::doc::{D, broken, concat, force, group, hard, line, many_lines, nest, soft, text};
use crate::source::Span;
use crate::syntax::ast::*;
use crate::syntax::grammar::Rule;

/// What is put around a list and between its elements.
#[derive(Clone, Copy)]
pub struct Style {
    open: &'static str,
    close: &'static str,
    /// Blanks inside the brackets.
    pad: bool,
    /// A comma after the last element, when broken.
    comma: bool,
}

/// `( … )`.
pub const ROUND: Style = Style { open: "(", close: ")", pad: false, comma: true };
/// `[ … ]`.
pub const SQUARE: Style = Style { open: "[", close: "]", pad: false, comma: true };
/// `{ … }`.
pub const RECORD: Style = Style { open: "{", close: "}", pad: true, comma: true };
/// `{…}`.
pub const NAMES: Style = Style { open: "{", close: "}", pad: false, comma: true };
/// No brackets.
pub const BARE: Style = Style { open: "", close: "", pad: false, comma: false };

impl Formatter<'_> {
    /// A list; comments between bytes `open` and `close` belong to it.
    pub fn list<T>(
        &mut self,
        style: Style,
        list: &[T],
        (open, close): (u32, u32),
        span: impl Fn(&T) -> Span,
        mut build: impl FnMut(&mut Self, &T) -> D,
    ) -> D {
        if list.is_empty() {
            return text(format!("{}{}", style.open, style.close));
        }
        self.hoist(open);
        let edge = || if style.pad { line() } else { soft() };
        let mut inner: Vec<D> = Vec::new();
        for (i, element) in list.iter().enumerate() {
            let place = span(element);
            let mut leads = self.before(place.start);
            let (document, hoisted) = self.collect(place.end, |f| build(f, element));
            leads.extend(hoisted);
            if style.comma && many_lines(&document) && list.len() > 1 {
                inner.push(force());
            }
            for comment in &leads {
                inner.extend([self.comment(comment), hard(0)]);
            }
            inner.push(document);
            let last = i + 1 == list.len();
            match (last, style.comma) {
                (false, _) => inner.push(text(",")),
                (true, true) => inner.push(broken(",")),
                (true, false) => {}
            }
            if !last || style.comma {
                inner.extend(self.trailing(place.end, ","));
            }
            if !last {
                inner.push(line());
            }
        }
        if style.comma {
            for comment in self.before(close) {
                inner.extend([hard(0), self.comment(&comment)]);
            }
        }
        if style.open.is_empty() {
            return group(nest(concat(inner)));
        }
        // All elements on one line of their own, if that is enough.
        let inner = nest(concat(vec![edge(), group(concat(inner))]));
        group(concat(vec![text(style.open), inner, edge(), text(style.close)]))
    }

    /// `(a: int = 1, …)` of a header whose parentheses are the first after byte `from`.
    pub fn params(&mut self, params: &[Param], from: u32) -> D {
        if params.is_empty() {
            return text("()");
        }
        let place = self.brackets(Rule::lparen, from);
        self.list(ROUND, params, place, |p| p.span, |f, p| f.param(p))
    }

    fn param(&mut self, param: &Param) -> D {
        let mut parts = vec![text(&*param.name.name)];
        if let Some(ty) = &param.ty {
            parts.extend([text(": "), self.type_(ty)]);
        }
        if let Some(default) = &param.default {
            parts.extend([text(" = "), self.expr(default)]);
        }
        concat(parts)
    }

    /// `n = x`, `..x` or `x`: its beginning, and its value.
    pub fn arg(&mut self, arg: &Arg) -> (D, D) {
        let head = match &arg.name {
            Some(name) => format!("{} = ", name.name),
            None if arg.spread => "..".to_string(),
            None => String::new(),
        };
        (text(head), self.expr(&arg.value))
    }

    /// Arguments in parentheses at `place`.
    pub fn args(&mut self, args: &[Arg], place: (u32, u32)) -> D {
        self.list(ROUND, args, place, arg_span, |f, a| {
            let (head, value) = f.arg(a);
            concat(vec![head, value])
        })
    }

    /// A type.
    pub fn type_(&mut self, ty: &Type) -> D {
        let mut parts = vec![match &ty.kind {
            TypeKind::Named(name) => text(&*name.name),
            TypeKind::Tensor(name, dims) => {
                let mut parts = vec![text(name.as_ref().map_or("", |n| &n.name)), text("[")];
                for (i, dim) in dims.iter().enumerate() {
                    if i > 0 {
                        parts.push(text(", "));
                    }
                    match dim {
                        DimExpr::One(e) => parts.push(self.dim(e)),
                        DimExpr::Spread(name) => parts.push(text(format!("..{}", name.name))),
                    }
                }
                parts.push(text("]"));
                concat(parts)
            }
            TypeKind::Tuple(all) => {
                let place = (ty.span.start, ty.span.end);
                let span = |(name, ty): &(Option<Ident>, Type)| {
                    name.as_ref().map_or(ty.span, |n| n.span.to(ty.span))
                };
                self.list(ROUND, all, place, span, |f, (name, ty)| {
                    let ty = f.type_(ty);
                    match name {
                        Some(name) => concat(vec![text(format!("{}: ", name.name)), ty]),
                        None => ty,
                    }
                })
            }
        }];
        if let Some(space) = &ty.space {
            parts.push(text(format!(" in {}", dotted(space))));
        }
        concat(parts)
    }

    /// A dimension, written tightly: `2*h + 1`.
    fn dim(&mut self, e: &Expr) -> D {
        match &e.kind {
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.dim(a), self.dim(b));
                let loose = matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::And | BinaryOp::Or);
                let symbol = if loose { format!(" {} ", op.symbol()) } else { op.symbol().to_string() };
                concat(vec![a, text(symbol), b])
            }
            ExprKind::Paren(inner) => concat(vec![text("("), self.dim(inner), text(")")]),
            _ => self.expr(e),
        }
    }
}

/// The place of an argument.
fn arg_span(arg: &Arg) -> Span {
    arg.name.as_ref().map_or(arg.value.span, |n| n.span.to(arg.value.span))
}

/// `a.b.c`.
pub fn dotted(path: &[Ident]) -> String {
    path.iter().map(|i| &*i.name).collect::<Vec<_>>().join(".")
}
