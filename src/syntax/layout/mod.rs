//! The flat token list of a text, its brackets matched, and the text that the grammar parses: comments and
//! the newlines that end nothing are blanked out byte for byte, so that every offset stays true.

mod guess;
mod scan;

use pest::Parser;

use super::MAX_DEPTH;
use super::grammar::{Grammar, Rule};
use crate::diagnostic::{Diagnostic, codes};
use crate::source::{FileId, Span};
use scan::Scan;

/// A token of the flat list.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// The grammar's name for it.
    pub kind: Rule,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// What stands between a pair of braces, or between other brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The top of the file.
    Items,
    /// A block's members.
    Members,
    /// Statements.
    Body,
    /// A record, the names of an import, arguments, a list: no statements.
    Inline,
}

/// Where an opening bracket is closed.
#[derive(Clone, Copy, Debug)]
pub struct Close {
    /// Index of the closing token; for a bracket that is never closed, of the token before which it must be.
    pub at: usize,
    /// Whether the closing token is there.
    pub real: bool,
    /// What the brackets hold.
    pub role: Role,
}

/// What the token list alone shows to be wrong with a token. A piece of text with a fault is not parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// A brace that is not closed: what stands inside is still worth parsing.
    Brace,
    /// Anything else.
    Other,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Layout {
    /// Every token but blanks, comments and newlines included.
    pub tokens: Vec<Token>,
    /// For each token, where it is closed if it is an opening bracket.
    pub closes: Vec<Option<Close>>,
    /// For each token, whether it is a newline that ends a statement.
    pub ends: Vec<bool>,
    /// The text for the grammar, of the same length as the source.
    pub masked: String,
    /// For each token, what is wrong with it.
    pub faults: Vec<Fault>,
    /// What to tell about the faults.
    pub diagnostics: Vec<Diagnostic>,
}

impl Layout {
    /// Whether token `i` is a newline or a comment.
    pub fn trivia(&self, i: usize) -> bool {
        matches!(self.tokens[i].kind, Rule::newline | Rule::doc | Rule::comment)
    }

    /// Whether nothing stands before token `i` on its line.
    pub fn own_line(&self, i: usize) -> bool {
        i == 0 || self.tokens[i - 1].kind == Rule::newline
    }

    /// The bytes that tokens `from` to `to` (exclusive) cover.
    pub fn range(&self, from: usize, to: usize) -> (usize, usize) {
        let start = self.tokens.get(from).map_or(self.masked.len(), |t| t.start);
        let last = to.checked_sub(1).and_then(|i| self.tokens.get(i));
        (start, last.map_or(start, |t| t.end).max(start))
    }
}

/// Splits and lays out `text`.
pub fn layout(text: &str, file: FileId) -> Layout {
    let mut tokens = Vec::new();
    let pairs = match Grammar::parse(Rule::tokens, text) {
        Ok(pairs) => pairs,
        // Any text is tokens; only pest's guard of the stack can refuse.
        Err(_) => {
            let diagnostics = vec![too_deep(Span::new(file, 0, 0))];
            return Layout { masked: text.to_string(), diagnostics, ..Layout::default() };
        }
    };
    for pair in pairs.flat_map(|p| p.into_inner()) {
        let span = pair.as_span();
        if pair.as_rule() != Rule::EOI {
            tokens.push(Token { kind: pair.as_rule(), start: span.start(), end: span.end() });
        }
    }
    let strict = Scan::new(text, file, &tokens, false).run();
    let scan = if strict.mismatched { Scan::new(text, file, &tokens, true).run() } else { strict };
    let Scan { closes, ends, faults, diagnostics, blank, .. } = scan;
    let mut bytes = text.as_bytes().to_vec();
    for (token, blank) in tokens.iter().zip(blank) {
        if blank {
            bytes[token.start..token.end].fill(b' ');
        }
    }
    let masked = String::from_utf8(bytes).unwrap_or_else(|_| " ".repeat(text.len()));
    Layout { tokens, closes, ends, masked, faults, diagnostics }
}

/// The diagnostic for nesting beyond [`MAX_DEPTH`].
pub fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error(codes::NESTED_TOO_DEEP, format!("nested more than {MAX_DEPTH} levels deep"))
        .label(span, "this level is one too many")
        .help("give the inner parts names of their own")
}
