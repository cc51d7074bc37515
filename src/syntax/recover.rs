//! Parsing a file with mistakes: items, members and statements one at a time. Each is parsed without what
//! stands in its bodies; the bodies' own pieces are put back (grafted). So each mistake is reported at its own
//! place and costs no more than the statement it is in, and no text is parsed twice.

use pest::Parser;

use super::ast::{File, Item, Member, Stmt};
use super::build::{Builder, Gathered, Grafts, Origin};
use super::explain::{Piece, explain};
use super::grammar::{Grammar, Rule};
use super::layout::{Fault, Layout, Role};
use crate::diagnostic::{Diagnostic, codes};
use crate::source::{FileId, Span};

/// What a piece turned out to be.
enum Node {
    Item(Item),
    Member(Member),
    Stmt(Stmt),
}

struct Recover<'a> {
    text: &'a str,
    file: FileId,
    layout: &'a Layout,
    grafts: Grafts,
    gathered: &'a mut Gathered,
}

/// The file, piece by piece.
pub fn file(text: &str, file: FileId, layout: &Layout, gathered: &mut Gathered) -> File {
    let mut recover = Recover { text, file, layout, grafts: Grafts::default(), gathered };
    let nodes = recover.pieces(0, layout.tokens.len(), Role::Items, 0);
    let items = nodes.into_iter().filter_map(|n| if let Node::Item(i) = n { Some(i) } else { None });
    File { doc: None, items: items.collect(), comments: Vec::new() }
}

impl Recover<'_> {
    /// The pieces between tokens `from` and `to`, which newlines of that level set apart.
    fn pieces(&mut self, from: usize, to: usize, role: Role, depth: usize) -> Vec<Node> {
        let mut nodes = Vec::new();
        let (mut i, mut start, mut end) = (from, None, from);
        while i < to {
            if self.layout.ends[i] {
                if let Some(start) = start.take() {
                    nodes.push(self.piece(start, end, role, depth));
                }
                i += 1;
                continue;
            }
            if !self.layout.trivia(i) {
                start.get_or_insert(i);
                end = i + 1;
            }
            i = match self.layout.closes[i] {
                Some(close) => {
                    let next = (close.at + usize::from(close.real)).clamp(i + 1, to);
                    end = (i + 1..next).rev().find(|&k| !self.layout.trivia(k)).map_or(end, |k| k + 1);
                    next
                }
                None => i + 1,
            };
        }
        if let Some(start) = start {
            nodes.push(self.piece(start, end, role, depth));
        }
        nodes
    }

    /// One item, member or statement: tokens `from` to `to`.
    fn piece(&mut self, from: usize, to: usize, role: Role, depth: usize) -> Node {
        let (start, end) = self.layout.range(from, to);
        let span = Span::new(self.file, start, end);
        let (mut bodies, mut fault, mut i) = (Vec::new(), Fault::None, from);
        while i < to {
            match self.layout.faults[i] {
                Fault::None => {}
                Fault::Brace if fault == Fault::Other => {}
                other => fault = other,
            }
            match self.layout.closes[i] {
                Some(close) if close.role != Role::Inline => {
                    bodies.push((i, close));
                    i = (close.at + usize::from(close.real)).max(i + 1);
                }
                _ => i += 1,
            }
        }
        if fault == Fault::Other {
            return error(role, span);
        }
        let (mut text, mut origin, mut at) = (String::new(), Origin::default(), start);
        for (open, close) in &bodies {
            let brace = self.layout.tokens[*open];
            let inner = self.pieces(open + 1, close.at.min(to), close.role, depth + 1);
            let (mut members, mut stmts) = (Vec::new(), Vec::new());
            for node in inner {
                match node {
                    Node::Member(m) => members.push(m),
                    Node::Stmt(s) => stmts.push(s),
                    Node::Item(_) => {}
                }
            }
            if close.role == Role::Members {
                self.grafts.members.insert(brace.start, members);
            } else {
                self.grafts.bodies.insert(brace.start, stmts);
            }
            origin.0.push((text.len(), at));
            text.push_str(self.layout.masked.get(at..brace.end).unwrap_or(""));
            at = self.layout.tokens.get(close.at).map_or(end, |t| t.start).clamp(brace.end, end);
        }
        origin.0.push((text.len(), at));
        text.push_str(self.layout.masked.get(at..end).unwrap_or(""));
        if fault == Fault::Brace {
            return error(role, span);
        }
        match self.parse(&text, &origin, role, depth, span) {
            Ok(node) => {
                for (open, _) in bodies {
                    self.unused(open);
                }
                node
            }
            Err(e) => {
                let Recover { text: file_text, file, layout, .. } = *self;
                let piece = Piece { text: file_text, file, layout, role, from, to };
                self.gathered.diagnostics.push(explain(&e, &text, &origin, &piece));
                error(role, span)
            }
        }
    }

    /// Braces that turned out to be no body: an empty record, or a mistake.
    fn unused(&mut self, open: usize) {
        let token = self.layout.tokens[open];
        let stmts = self.grafts.bodies.remove(&token.start).unwrap_or_default();
        let members = self.grafts.members.remove(&token.start).unwrap_or_default();
        let told = stmts.iter().any(|s| matches!(s, Stmt::Error(_)))
            || members.iter().any(|m| matches!(m, Member::Error(_)));
        if told || (stmts.is_empty() && members.is_empty()) {
            return;
        }
        let span = Span::new(self.file, token.start, token.end);
        self.gathered.diagnostics.push(
            Diagnostic::error(codes::UNEXPECTED_TOKEN, "unexpected `{`")
                .label(span, "no body can stand here")
                .help("a record is written `{ name: value }`"),
        );
    }

    fn parse(
        &mut self,
        piece: &str,
        origin: &Origin,
        role: Role,
        depth: usize,
        span: Span,
    ) -> Result<Node, Box<pest::error::Error<Rule>>> {
        let rule = match role {
            Role::Items => Rule::item_alone,
            Role::Members => Rule::member_alone,
            Role::Body | Role::Inline => Rule::stmt_alone,
        };
        let pairs = Grammar::parse(rule, piece)?;
        let Recover { text, file, layout, grafts, gathered } = self;
        let mut builder = Builder { file: *file, origin, layout, text, grafts, gathered, depth };
        let pair = pairs.flat_map(|p| p.into_inner()).next();
        Ok(match (pair, role) {
            (None, _) => error(role, span),
            (Some(p), Role::Items) => Node::Item(builder.item(p)),
            (Some(p), Role::Members) => Node::Member(builder.member(p)),
            (Some(p), _) => Node::Stmt(builder.stmt(p)),
        })
    }
}

fn error(role: Role, span: Span) -> Node {
    match role {
        Role::Items => Node::Item(Item::Error(span)),
        Role::Members => Node::Member(Member::Error(span)),
        Role::Body | Role::Inline => Node::Stmt(Stmt::Error(span)),
    }
}
