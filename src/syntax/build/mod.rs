//! From pest's pairs to the syntax tree. The grammar guarantees the order of the parts; where a part could
//! only be missing through a bug of ours, the node becomes an `Error` instead of a panic.

mod expr;
mod item;
mod literal;
mod stmt;

use std::collections::{HashMap, HashSet};

use pest::iterators::{Pair, Pairs};

use super::MAX_TREE;
use super::ast::{Ident, Member, Stmt};
use super::grammar::Rule;
use super::layout::Layout;
use crate::diagnostic::{Diagnostic, codes};
use crate::source::{FileId, Span};

/// Contents of braces that were parsed piece by piece, by the byte offset of the opening brace. The text
/// around them is parsed with those braces emptied.
#[derive(Default)]
pub struct Grafts {
    /// Statements of bodies.
    pub bodies: HashMap<usize, Vec<Stmt>>,
    /// Members of blocks, and of `for` and `if` around members.
    pub members: HashMap<usize, Vec<Member>>,
}

/// Where a parsed text comes from: pairs of an offset in it and the offset in the file, in order. A text from
/// which bodies were left out has a pair for each part that is left.
#[derive(Clone, Debug, Default)]
pub struct Origin(pub Vec<(usize, usize)>);

impl Origin {
    /// The offset in the file.
    pub fn of(&self, offset: usize) -> usize {
        let i = self.0.partition_point(|(start, _)| *start <= offset);
        i.checked_sub(1).and_then(|i| self.0.get(i)).map_or(offset, |(start, file)| file + (offset - start))
    }
}

/// What building gathers beside the tree.
#[derive(Default)]
pub struct Gathered {
    /// Mistakes that the grammar does not see: numbers out of range, unknown escapes, depth.
    pub diagnostics: Vec<Diagnostic>,
    /// The documentation tokens that found what they document.
    pub docs: HashSet<usize>,
    /// Whether too great a depth has been reported already.
    deep: bool,
}

/// Builds the nodes of one piece of a file.
pub struct Builder<'a> {
    /// The file.
    pub file: FileId,
    /// Where the parsed text comes from.
    pub origin: &'a Origin,
    /// The tokens of the file.
    pub layout: &'a Layout,
    /// The text of the file.
    pub text: &'a str,
    /// Braces parsed beforehand.
    pub grafts: &'a mut Grafts,
    /// Mistakes and documentation.
    pub gathered: &'a mut Gathered,
    /// Levels above the node that is being built.
    pub depth: usize,
}

impl Builder<'_> {
    /// The place of a pair, without the blanks that pest may leave at its end.
    fn span(&self, pair: &Pair<Rule>) -> Span {
        let first = pair.as_span().start();
        let start = self.origin.of(first);
        let end = match pair.as_str().trim_end().len() {
            0 => start,
            length => self.origin.of(first + length - 1) + 1,
        };
        Span::new(self.file, start, end)
    }

    fn ident(&self, pair: &Pair<Rule>) -> Ident {
        Ident { name: pair.as_str().into(), span: self.span(pair) }
    }

    /// Every name or word directly inside a pair.
    fn idents(&self, pair: Pair<Rule>) -> Vec<Ident> {
        pair.into_inner()
            .filter(|p| matches!(p.as_rule(), Rule::name | Rule::word))
            .map(|p| self.ident(&p))
            .collect()
    }

    /// Whether `levels` more fit; if not, says so once a file.
    fn fits(&mut self, levels: usize, span: Span) -> bool {
        let fits = self.depth + levels <= MAX_TREE;
        if !fits && !self.gathered.deep {
            self.gathered.deep = true;
            self.gathered.diagnostics.push(too_long(span));
        }
        fits
    }

    /// The `##` lines right before the token that starts at byte `start`, joined.
    fn doc(&mut self, start: u32) -> Option<String> {
        let tokens = &self.layout.tokens;
        let mut i = tokens.partition_point(|t| t.start < start as usize);
        let (mut lines, mut newlines) = (Vec::new(), 0);
        while i > 0 {
            i -= 1;
            let token = tokens[i];
            match token.kind {
                Rule::newline => newlines += 1,
                Rule::comment | Rule::doc if newlines != 1 || !self.layout.own_line(i) => break,
                Rule::comment => newlines = 0,
                Rule::doc => {
                    newlines = 0;
                    let line = self.text.get(token.start + 2..token.end).unwrap_or("");
                    lines.push(line.strip_prefix(' ').unwrap_or(line).trim_end());
                    self.gathered.docs.insert(i);
                }
                _ => break,
            }
        }
        lines.reverse();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

fn too_long(span: Span) -> Diagnostic {
    let message = format!("an expression of more than {MAX_TREE} operators and levels");
    Diagnostic::error(codes::NESTED_TOO_DEEP, message)
        .label(span, "this part is one too many")
        .help("give parts of it names of their own")
}

/// The parts of a pair, without brackets, separators and newlines.
struct Parts<'i>(std::iter::Peekable<Pairs<'i, Rule>>);

impl<'i> Parts<'i> {
    fn of(pair: Pair<'i, Rule>) -> Self {
        Parts(pair.into_inner().peekable())
    }

    /// The next part of that kind, if it comes next.
    fn eat(&mut self, rule: Rule) -> Option<Pair<'i, Rule>> {
        self.skip();
        self.0.next_if(|p| p.as_rule() == rule)
    }

    fn skip(&mut self) {
        while self.0.next_if(|p| punctuation(p.as_rule())).is_some() {}
    }
}

impl<'i> Iterator for Parts<'i> {
    type Item = Pair<'i, Rule>;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip();
        self.0.next()
    }
}

fn punctuation(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::newline
            | Rule::comma
            | Rule::dot
            | Rule::assign
            | Rule::lparen
            | Rule::rparen
            | Rule::lbracket
            | Rule::rbracket
            | Rule::lbrace
            | Rule::rbrace
            | Rule::EOI
    )
}
