//! Items and members.

use super::Formatter;
use super::comments::Lined;
use super::doc::{D, concat, force, group, hard, line, nest, text};
use super::lists::{NAMES, dotted};
use super::stmt::starts_with_word;
use crate::source::Span;
use crate::syntax::ast::*;
use crate::syntax::grammar::Rule;

impl Lined for Item {
    fn span(&self) -> Span {
        match self {
            Item::Use(x) => x.span,
            Item::Block(x) => x.span,
            Item::Fn(x) => x.span,
            Item::Space(x) => x.span,
            Item::Let(x) => x.span,
            Item::Assert(x) => x.span,
            Item::Error(span) => *span,
        }
    }

    fn doc(&self) -> Option<&str> {
        match self {
            Item::Block(x) => x.doc.as_deref(),
            Item::Fn(x) => x.doc.as_deref(),
            Item::Space(x) => x.doc.as_deref(),
            Item::Let(x) => x.doc.as_deref(),
            Item::Use(_) | Item::Assert(_) | Item::Error(_) => None,
        }
    }

    fn apart(&self) -> bool {
        match self {
            Item::Block(_) => true,
            Item::Fn(f) => f.braces,
            _ => false,
        }
    }

    fn build(&self, f: &mut Formatter) -> D {
        match self {
            Item::Use(u) => f.use_(u),
            Item::Block(b) => f.block_item(b),
            Item::Fn(decl) => f.fn_decl(decl),
            Item::Space(s) => text(format!("space {}", s.name.name)),
            Item::Let(l) => f.let_(l),
            Item::Assert(a) => f.assert(a),
            Item::Error(_) => text(""),
        }
    }
}

impl Lined for Member {
    fn span(&self) -> Span {
        match self {
            Member::Field(x) => x.span,
            Member::Graph(x) => x.span,
            Member::Train(x) => x.span,
            Member::Fn(x) => x.span,
            Member::For(x) => x.span,
            Member::If(x) => x.span,
            Member::Assert(x) => x.span,
            Member::Reveal(_, span) | Member::Error(span) => *span,
        }
    }

    fn doc(&self) -> Option<&str> {
        match self {
            Member::Field(x) => x.doc.as_deref(),
            Member::Graph(x) => x.doc.as_deref(),
            Member::Train(x) => x.doc.as_deref(),
            Member::Fn(x) => x.doc.as_deref(),
            _ => None,
        }
    }

    fn apart(&self) -> bool {
        match self {
            Member::Graph(_) | Member::Train(_) => true,
            Member::Fn(f) => f.braces,
            _ => false,
        }
    }

    fn build(&self, f: &mut Formatter) -> D {
        match self {
            Member::Field(x) => f.field(x),
            Member::Graph(x) => f.graph(x),
            Member::Train(x) => f.train(x),
            Member::Fn(decl) => f.fn_decl(decl),
            Member::For(x) => {
                let head = f.for_head(&x.pattern, &x.iter);
                let (open, close) = f.brackets(Rule::lbrace, x.iter.span.end);
                concat(vec![head, f.block(&x.body, open, close)])
            }
            Member::If(x) => f.member_if(x),
            Member::Assert(a) => f.assert(a),
            Member::Reveal(e, _) => concat(vec![text("reveal "), f.expr(e)]),
            Member::Error(_) => text(""),
        }
    }
}

impl Formatter<'_> {
    /// A whole file.
    pub fn file(&mut self, file: &File) -> D {
        let mut parts = Vec::new();
        if let Some(doc) = &file.doc {
            for line in doc.split('\n') {
                parts.extend([text(format!("## {line}").trim_end()), hard(0)]);
            }
            // The empty line is what tells it from the documentation of the first item.
            parts.push(hard(0));
        }
        let start = self.layout.tokens.first().map_or(0, |t| t.start) as u32;
        let lines = self.lines(&file.items, start, self.text.len() as u32 + 1);
        parts.extend(lines);
        concat(parts)
    }

    fn use_(&mut self, u: &Use) -> D {
        let mut parts = vec![text("use ")];
        parts.push(match &u.from {
            UseFrom::Path(path) => text(dotted(path)),
            UseFrom::File(file, _) => text(super::expr::quoted(file)),
        });
        if !u.names.is_empty() {
            let span = |n: &UseName| n.alias.as_ref().map_or(n.name.span, |a| n.name.span.to(a.span));
            parts.push(text("."));
            parts.push(self.list(NAMES, &u.names, (u.span.start, u.span.end), span, |_, n| {
                text(match &n.alias {
                    Some(alias) => format!("{} as {}", n.name.name, alias.name),
                    None => n.name.name.to_string(),
                })
            }));
        }
        if let Some(alias) = &u.alias {
            parts.push(text(format!(" as {}", alias.name)));
        }
        concat(parts)
    }

    fn block_item(&mut self, b: &Block) -> D {
        let keyword = if b.pipeline { "pipeline" } else { "block" };
        let mut parts = vec![text(format!("{keyword} {}", b.name.name))];
        let mut end = b.name.span.end;
        if !b.params.is_empty() {
            parts.push(self.params(&b.params, end));
        } else {
            parts.push(text("()"));
        }
        if let Some(last) = b.params.last() {
            end = last.span.end;
        }
        let (open, close) = self.brackets(Rule::lbrace, end);
        parts.extend([text(" "), self.block(&b.members, open, close)]);
        concat(parts)
    }

    fn field(&mut self, field: &Field) -> D {
        let target = self.place(&field.target);
        let mut parts = vec![target, self.assigned(&field.value)];
        let mut tail = Vec::new();
        if let Some(from) = &field.from {
            tail.push(if starts_with_word(from) { line() } else { text(" ") });
            tail.extend([text("from "), self.expr(from)]);
        }
        if let Some(path) = &field.layout {
            tail.extend([line(), text(format!("as {}", dotted(path)))]);
        }
        if field.frozen {
            tail.push(text(" frozen"));
        }
        parts.push(group(nest(concat(tail))));
        concat(parts)
    }

    fn graph(&mut self, g: &Graph) -> D {
        let name = g.name.as_ref().map_or(String::new(), |n| n.name.to_string());
        let mut parts = vec![text(format!("graph {name}")), self.params(&g.params, g.span.start)];
        if let Some(result) = &g.result {
            parts.extend([text(" -> "), self.type_(result)]);
        }
        parts.extend([text(" "), self.body(&g.body)]);
        concat(parts)
    }

    fn train(&mut self, t: &Train) -> D {
        let mut parts = vec![text("train ")];
        if let Some(name) = &t.name {
            parts.push(text(format!("{} ", name.name)));
        }
        if !t.options.is_empty() {
            let place = self.brackets(Rule::lparen, t.span.start);
            parts.extend([self.args(&t.options, place), text(" ")]);
        }
        parts.push(self.body(&t.body));
        concat(parts)
    }

    fn member_if(&mut self, whole: &MemberIf) -> D {
        let (mut parts, mut rest) = (Vec::new(), Some(whole));
        while let Some(m) = rest.take() {
            parts.push(text(if parts.is_empty() { "if " } else { " else if " }));
            parts.extend([self.expr(&m.cond), text(" ")]);
            let (open, close) = self.brackets(Rule::lbrace, m.cond.span.end);
            parts.push(self.block(&m.then, open, close));
            match m.otherwise.as_slice() {
                [] => {}
                [Member::If(next)] if self.is_else_if(close, next) => rest = Some(next),
                members => {
                    let (open, close) = self.brackets(Rule::lbrace, close + 1);
                    parts.extend([text(" else "), self.block(members, open, close)]);
                }
            }
        }
        parts.push(force());
        concat(parts)
    }

    /// Whether no brace stands between the `}` at byte `close` and the `if`.
    fn is_else_if(&self, close: u32, next: &MemberIf) -> bool {
        let tokens = &self.layout.tokens;
        let from = tokens.partition_point(|t| t.start <= close as usize);
        let to = tokens.partition_point(|t| t.start < next.span.start as usize);
        !tokens[from.min(to)..to].iter().any(|t| t.kind == Rule::lbrace)
    }
}
