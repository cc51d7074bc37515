//! Where an author meant to close a bracket that is never closed.

use super::scan::{Scan, slot};
use crate::syntax::MAX_DEPTH;
use crate::syntax::grammar::Rule;

impl Scan<'_> {
    pub fn starts_line(&self, i: usize) -> bool {
        i == 0 || matches!(self.tokens[i - 1].kind, Rule::newline)
    }

    /// A `}` at the start of a line closes the brace whose line is indented as it is.
    pub fn guess_brace(&mut self, i: usize) {
        let indent = self.indent;
        let top = self.frames.last().and_then(|f| f.nearest[slot(Rule::lbrace)]);
        if top.is_none_or(|k| self.frames[k].indent <= indent) {
            return;
        }
        let near = self.frames.len().saturating_sub(MAX_DEPTH);
        let same = |f: &super::scan::Frame| f.kind == Rule::lbrace && f.indent == indent;
        if let Some(k) = self.frames[near..].iter().rposition(same) {
            self.unclosed(i, near + k + 1);
        }
    }

    /// Closes, at the end of a line, what the next line shows to be unclosed.
    pub fn guess_closed(&mut self, prev: Option<usize>, newline: usize, next: usize) {
        if self.frames.len() == 1 || next >= self.tokens.len() {
            return;
        }
        let second = self.next(next + 1);
        let (word, follows) = (self.word(next), self.kind(second));
        let top = matches!(word, "use" | "block" | "pipeline" | "space" | "fn")
            && matches!(follows, Some(Rule::word | Rule::string))
            && self.indent == 0;
        if top {
            self.unclosed(newline, 1);
            return;
        }
        let members = self.frames.last().and_then(|f| f.nearest[3]);
        if self.graph_head(next)
            && let Some(k) = members
        {
            self.unclosed(newline, k + 1);
            return;
        }
        // Inside parentheses, an operand on one line and another on the next are no expression.
        let ends = prev.is_some_and(|p| ends_operand(self.tokens[p].kind, self.word(p)));
        let starts = matches!(self.tokens[next].kind, Rule::word)
            && !matches!(word, "for" | "if" | "else" | "in" | "and" | "or");
        if ends && starts {
            let brace = self.frames.last().and_then(|f| f.nearest[slot(Rule::lbrace)]).unwrap_or(0);
            self.unclosed(newline, brace + 1);
        }
    }

    /// Whether `graph` or `train` at token `i` starts a member.
    fn graph_head(&self, i: usize) -> bool {
        let mut k = self.next(i + 1);
        let named = self.kind(k) == Some(Rule::word);
        if named {
            k = self.next(k + 1);
        }
        match self.word(i) {
            "graph" if named => self.kind(k) == Some(Rule::lparen),
            "graph" => {
                let (a, b) = (self.next(k + 1), self.next(self.next(k + 1) + 1));
                self.kind(k) == Some(Rule::lparen)
                    && self.kind(a) == Some(Rule::word)
                    && self.kind(b) == Some(Rule::colon)
            }
            "train" => matches!(self.kind(k), Some(Rule::lparen | Rule::lbrace)) && self.starts_line(i),
            _ => false,
        }
    }
}

fn ends_operand(kind: Rule, word: &str) -> bool {
    match kind {
        Rule::word => !matches!(word, "and" | "or" | "not" | "if" | "else" | "for" | "in"),
        Rule::int | Rule::float | Rule::string | Rule::rparen | Rule::rbracket | Rule::rbrace => true,
        _ => false,
    }
}
