//! Where comments and blank lines go, and bodies, which are lines with comments between them.

use super::Formatter;
use super::doc::{D, braces, concat, hard, nest, suffix, text};
use crate::source::Span;
use crate::syntax::ast::Comment;
use crate::syntax::grammar::Rule;
use crate::syntax::layout::Close;

/// A thing that has lines of its own: an item, a member, a statement.
pub trait Lined {
    /// Its place, without documentation.
    fn span(&self) -> Span;
    /// Its documentation.
    fn doc(&self) -> Option<&str>;
    /// Whether blank lines set it apart from its neighbours.
    fn apart(&self) -> bool;
    /// The document, without documentation.
    fn build(&self, f: &mut Formatter) -> D;
}

/// The text of a comment. Documentation that documents nothing becomes a plain comment, so that it cannot
/// come to document what follows it.
fn plain(comment: &Comment) -> String {
    match comment.text.strip_prefix("##") {
        None => comment.text.clone(),
        Some(rest) if rest.starts_with('#') => format!("# {rest}"),
        Some(rest) => format!("#{rest}"),
    }
}

impl Formatter<'_> {
    /// The comments before byte `pos` that are not yet placed.
    pub fn before(&mut self, pos: u32) -> Vec<Comment> {
        let rest = self.comments.get(self.next..).unwrap_or(&[]);
        let taken: Vec<Comment> = rest.iter().take_while(|c| c.span.start < pos).cloned().collect();
        self.next += taken.len();
        taken
    }

    /// Comments before byte `pos` have no line of their own where they stand: they go before the element,
    /// statement or member that is being built.
    pub fn hoist(&mut self, pos: u32) {
        let early = self.before(pos);
        self.hoisted.extend(early);
    }

    /// Builds what ends at byte `end`, and gathers the comments inside that found no place in it.
    pub fn collect(&mut self, end: u32, build: impl FnOnce(&mut Self) -> D) -> (D, Vec<Comment>) {
        let outer = std::mem::take(&mut self.hoisted);
        let document = build(self);
        self.hoist(end);
        (document, std::mem::replace(&mut self.hoisted, outer))
    }

    /// The comment on the line on which something ends at byte `end`, with nothing but `between` before it.
    pub fn trailing(&mut self, end: u32, between: &str) -> Option<D> {
        let comment = self.comments.get(self.next).filter(|c| !c.own_line && c.span.start >= end)?;
        let gap = self.text.get(end as usize..comment.span.start as usize)?;
        if gap.chars().any(|c| c == '\n' || !(c.is_whitespace() || between.contains(c))) {
            return None;
        }
        self.next += 1;
        Some(suffix(plain(comment)))
    }

    /// Whether a comment stands inside `span`.
    pub fn commented(&self, span: Span) -> bool {
        let i = self.comments.partition_point(|c| c.span.start < span.start);
        self.comments.get(i).is_some_and(|c| c.span.start < span.end)
    }

    /// A comment on a line of its own.
    pub fn comment(&self, comment: &Comment) -> D {
        text(plain(comment))
    }

    /// Whether an empty line lies between two places.
    fn blank(&self, from: u32, to: u32) -> bool {
        let gap = self.text.get(from as usize..(to.max(from)) as usize).unwrap_or("");
        let lines: Vec<&str> = gap.split('\n').collect();
        lines.len() > 2 && lines[1..lines.len() - 1].iter().any(|line| line.trim().is_empty())
    }

    /// The first of the documentation lines before the token at `start`, or `start`.
    fn doc_start(&self, start: u32) -> u32 {
        let tokens = &self.layout.tokens;
        let mut i = tokens.partition_point(|t| t.start < start as usize);
        let mut first = start;
        while i > 0 {
            i -= 1;
            match tokens[i].kind {
                Rule::doc if self.layout.own_line(i) => first = tokens[i].start as u32,
                Rule::newline | Rule::comment => {}
                _ => break,
            }
        }
        first
    }

    /// The lines of `list`, which starts at byte `open` and ends at `close`; the first starts a line.
    pub fn lines<T: Lined>(&mut self, list: &[T], open: u32, close: u32) -> Vec<D> {
        let mut out: Vec<D> = Vec::new();
        let (mut last, mut apart) = (open, false);
        let push = |out: &mut Vec<D>, blank: bool, d: D| {
            if !out.is_empty() {
                out.push(hard(usize::from(blank)));
            }
            out.push(d);
        };
        for node in list {
            let span = node.span();
            let start = if node.doc().is_some() { self.doc_start(span.start) } else { span.start };
            let leads = self.before(span.start);
            let (document, hoisted) = self.collect(span.end, |f| node.build(f));
            let mut gap = apart || node.apart();
            for comment in &leads {
                let blank = std::mem::take(&mut gap) || self.blank(last, comment.span.start);
                push(&mut out, blank, self.comment(comment));
                last = last.max(comment.span.end);
            }
            let mut blank = std::mem::take(&mut gap) || self.blank(last, start);
            for comment in &hoisted {
                push(&mut out, std::mem::take(&mut blank), self.comment(comment));
            }
            for line in node.doc().into_iter().flat_map(|doc| doc.split('\n')) {
                let line = text(format!("## {line}").trim_end());
                push(&mut out, std::mem::take(&mut blank), line);
            }
            let trailing = self.trailing(span.end, "");
            last = span.end;
            if trailing.is_some() {
                last = self.comments[self.next - 1].span.end;
            }
            push(&mut out, blank, concat(std::iter::once(document).chain(trailing).collect()));
            apart = node.apart();
        }
        for comment in self.before(close) {
            let blank = std::mem::take(&mut apart) || self.blank(last, comment.span.start);
            push(&mut out, blank, self.comment(&comment));
            last = comment.span.end;
        }
        out
    }

    /// `{ … }` over several lines; `{}` if there is nothing in it.
    pub fn block<T: Lined>(&mut self, list: &[T], open: u32, close: u32) -> D {
        let first = self.trailing(open, "");
        let lines = self.lines(list, open, close);
        if lines.is_empty() && first.is_none() {
            return text("{}");
        }
        let mut inner: Vec<D> = first.into_iter().collect();
        if !lines.is_empty() {
            inner.push(hard(0));
            inner.extend(lines);
        }
        braces(concat(vec![text("{"), nest(concat(inner)), hard(0), text("}")]))
    }

    /// The first brackets of a kind at or after byte `pos`: the bytes after the opening and before the
    /// closing one.
    pub fn brackets(&self, kind: Rule, pos: u32) -> (u32, u32) {
        let tokens = &self.layout.tokens;
        let from = tokens.partition_point(|t| t.start < pos as usize);
        let open = (from..tokens.len()).find(|&i| tokens[i].kind == kind);
        match open.map(|i| (tokens[i].end, self.layout.closes[i])) {
            Some((end, Some(Close { at, .. }))) => {
                (end as u32, tokens.get(at).map_or(end, |t| t.start) as u32)
            }
            _ => (pos, pos),
        }
    }
}
