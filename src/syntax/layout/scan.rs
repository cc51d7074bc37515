//! The walk over the tokens that matches brackets and decides which newlines end a statement.

use super::{Close, Fault, Role, Token, too_deep};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::source::{FileId, Span};
use crate::syntax::MAX_DEPTH;
use crate::syntax::grammar::Rule;

/// An open bracket.
pub struct Frame {
    pub opener: usize,
    pub kind: Rule,
    pub role: Role,
    /// Indentation of the line it stands on.
    pub indent: usize,
    /// First token of the current statement.
    pub first: Option<usize>,
    /// Whether the current statement has had its `=`.
    pub assigned: bool,
    /// `loop`, and other words that open an expression without brackets, in the current statement.
    pub loops: usize,
    pub words: usize,
    /// The innermost frames that are a parenthesis, a bracket, a brace, and a block's brace.
    pub nearest: [Option<usize>; 4],
}

/// One walk over the tokens. With `guess`, a bracket left open is closed where the text suggests that its
/// author meant to; only done once a strict walk has shown that some bracket does not match.
pub struct Scan<'a> {
    pub text: &'a str,
    pub file: FileId,
    pub tokens: &'a [Token],
    pub guess: bool,
    pub frames: Vec<Frame>,
    pub depth: usize,
    pub deep: bool,
    pub mismatched: bool,
    pub closes: Vec<Option<Close>>,
    pub ends: Vec<bool>,
    pub blank: Vec<bool>,
    pub faults: Vec<Fault>,
    pub diagnostics: Vec<Diagnostic>,
    pub indent: usize,
}

impl<'a> Scan<'a> {
    pub fn new(text: &'a str, file: FileId, tokens: &'a [Token], guess: bool) -> Self {
        let root = Frame {
            opener: usize::MAX,
            kind: Rule::file,
            role: Role::Items,
            indent: 0,
            first: None,
            assigned: false,
            loops: 0,
            words: 0,
            nearest: [None; 4],
        };
        Scan {
            text,
            file,
            tokens,
            guess,
            frames: vec![root],
            depth: 0,
            deep: false,
            mismatched: false,
            closes: vec![None; tokens.len()],
            ends: vec![false; tokens.len()],
            blank: vec![false; tokens.len()],
            faults: vec![Fault::None; tokens.len()],
            diagnostics: Vec::new(),
            indent: 0,
        }
    }

    pub fn run(mut self) -> Self {
        let mut i = 0;
        self.indent = self.column(self.next(0));
        let mut prev = None;
        while i < self.tokens.len() {
            if matches!(self.tokens[i].kind, Rule::newline | Rule::doc | Rule::comment) {
                i = self.gap(prev, i);
            } else {
                self.token(i);
                prev = Some(i);
                i += 1;
            }
        }
        self.unclosed(self.tokens.len(), 1);
        self
    }

    pub fn word(&self, i: usize) -> &'a str {
        self.tokens.get(i).map_or("", |t| self.text.get(t.start..t.end).unwrap_or(""))
    }

    pub fn kind(&self, i: usize) -> Option<Rule> {
        self.tokens.get(i).map(|t| t.kind)
    }

    /// The first token at or after `i` that is neither newline nor comment.
    pub fn next(&self, mut i: usize) -> usize {
        while matches!(self.kind(i), Some(Rule::newline | Rule::doc | Rule::comment)) {
            i += 1;
        }
        i
    }

    /// Bytes between the start of its line and token `i`.
    fn column(&self, i: usize) -> usize {
        let before = self.tokens.get(i).and_then(|t| self.text.get(..t.start)).unwrap_or("");
        before.len() - before.rfind('\n').map_or(0, |n| n + 1)
    }

    fn fault(&mut self, i: usize, diagnostic: Diagnostic) {
        self.faults[i] = Fault::Other;
        self.diagnostics.push(diagnostic);
    }

    fn span(&self, i: usize) -> Span {
        self.tokens.get(i).map_or(Span::new(self.file, self.text.len(), self.text.len()), |t| {
            Span::new(self.file, t.start, t.end)
        })
    }

    /// Newlines and comments from token `i` on; `prev` is the token before them. Returns the next token.
    fn gap(&mut self, prev: Option<usize>, i: usize) -> usize {
        let next = self.next(i);
        let newline = (i..next).find(|&k| self.tokens[k].kind == Rule::newline);
        for k in i..next {
            self.blank[k] = true;
        }
        let Some(newline) = newline else { return next };
        self.indent = self.column(next);
        if self.guess {
            self.guess_closed(prev, newline, next);
        }
        let (Some(prev), Some(frame)) = (prev, self.frames.last_mut()) else { return next };
        let inside = frame.role == Role::Inline;
        if !inside && next < self.tokens.len() {
            let after = self.next(next + 1);
            let joins = joins_next(self.tokens[prev].kind, self.word(prev))
                && !self.declares(prev, next, after)
                || self.joins_previous(prev, next, after);
            if !joins && self.tokens[prev].kind != Rule::lbrace {
                self.blank[newline] = false;
                self.ends[newline] = true;
                if let Some(frame) = self.frames.last_mut() {
                    self.depth -= frame.loops + frame.words;
                    (frame.loops, frame.words, frame.first, frame.assigned) = (0, 0, None, false);
                }
            }
        }
        next
    }

    /// Whether a line that starts with token `next` continues the line before.
    fn joins_previous(&self, prev: usize, next: usize, after: usize) -> bool {
        match self.tokens[next].kind {
            Rule::arrow | Rule::rbrace => true,
            Rule::word => match self.word(next) {
                "else" => self.tokens[prev].kind == Rule::rbrace,
                // Two words in a row never start a statement of another kind.
                "from" | "as" | "over" | "with" => {
                    matches!(self.kind(after), Some(Rule::word | Rule::string | Rule::open_string))
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether token `next`, first of its line, starts a declaration: an operator left before it at the end
    /// of the line above waits for no operand that could begin so.
    fn declares(&self, prev: usize, next: usize, after: usize) -> bool {
        let comma = self.tokens[prev].kind == Rule::comma;
        if comma && let Some(Frame { role: Role::Members, first: Some(first), .. }) = self.frames.last() {
            // A field takes no tuple: a comma at the end of its line is a slip.
            return !matches!(self.word(*first), "assert" | "for");
        }
        // After a comma it may be another carry of a `loop`.
        if self.kind(after) == Some(Rule::assign) && self.kind(next) == Some(Rule::word) {
            return !comma;
        }
        match self.word(next) {
            "fn" => self.kind(after) == Some(Rule::word),
            "block" | "pipeline" => self.indent == 0 && self.kind(after) == Some(Rule::word),
            "use" => self.indent == 0 && matches!(self.kind(after), Some(Rule::word | Rule::string)),
            _ => false,
        }
    }

    fn token(&mut self, i: usize) {
        let kind = self.tokens[i].kind;
        if let Some(frame) = self.frames.last_mut() {
            frame.first.get_or_insert(i);
        }
        match kind {
            Rule::lparen | Rule::lbracket | Rule::lbrace => self.open(i),
            Rule::rparen | Rule::rbracket | Rule::rbrace => self.close(i),
            Rule::open_string => {
                let diagnostic = Diagnostic::error(codes::UNCLOSED_STRING, "this string is never closed")
                    .label(self.span(i), "starts here, and its line ends without a closing `\"`")
                    .help("close it with `\"` on the same line; a newline inside a string is written `\\n`");
                self.fault(i, diagnostic);
            }
            Rule::assign => {
                if let Some(frame) = self.frames.last_mut() {
                    frame.assigned = true;
                }
            }
            Rule::comma => {
                if let Some(frame) = self.frames.last_mut() {
                    self.depth -= frame.words;
                    frame.words = 0;
                }
            }
            Rule::word => {
                let word = self.word(i);
                if matches!(word, "fn" | "if" | "loop") {
                    if let Some(frame) = self.frames.last_mut() {
                        *(if word == "loop" { &mut frame.loops } else { &mut frame.words }) += 1;
                    }
                    self.deeper(i);
                }
            }
            _ => {}
        }
    }

    /// One level more; too many are reported once until the depth is back within bounds.
    fn deeper(&mut self, i: usize) {
        self.depth += 1;
        if self.depth > MAX_DEPTH && !self.deep {
            self.deep = true;
            self.fault(i, too_deep(self.span(i)));
        }
    }

    fn open(&mut self, i: usize) {
        let role = if self.tokens[i].kind == Rule::lbrace { self.role(i) } else { Role::Inline };
        let kind = self.tokens[i].kind;
        let mut nearest = self.frames.last().map_or([None; 4], |f| f.nearest);
        nearest[slot(kind)] = Some(self.frames.len());
        if role == Role::Members {
            nearest[3] = Some(self.frames.len());
        }
        let indent = self.indent;
        self.frames.push(Frame {
            opener: i,
            kind,
            role,
            indent,
            first: None,
            assigned: false,
            loops: 0,
            words: 0,
            nearest,
        });
        self.deeper(i);
    }

    /// What the brace at token `i` opens.
    fn role(&self, i: usize) -> Role {
        let Some(frame) = self.frames.last() else { return Role::Body };
        let first = frame.first.unwrap_or(i);
        let word = if self.kind(first) == Some(Rule::word) { self.word(first) } else { "" };
        let second = self.next(first + 1);
        let inner = self.next(i + 1);
        let record = match self.kind(inner) {
            Some(Rule::dots) => true,
            Some(Rule::word) => self.kind(self.next(inner + 1)) == Some(Rule::colon),
            _ => false,
        };
        match (frame.role, word) {
            (Role::Items, "use") => Role::Inline,
            (Role::Items | Role::Members | Role::Body, "fn" | "graph" | "train") if !frame.assigned => {
                Role::Body
            }
            _ if record => Role::Inline,
            (Role::Items, "block" | "pipeline") | (Role::Members, "for" | "if") => Role::Members,
            (Role::Items, word)
                if self.kind(second) == Some(Rule::word)
                    && word != "fn"
                    && did_you_mean(word, ["block", "pipeline"]).is_some() =>
            {
                Role::Members
            }
            _ => Role::Body,
        }
    }

    fn pop(&mut self, at: usize, real: bool) -> Option<Frame> {
        let frame = self.frames.pop_if(|f| f.opener != usize::MAX)?;
        self.depth -= 1 + frame.loops + frame.words;
        if self.depth <= MAX_DEPTH {
            self.deep = false;
        }
        self.closes[frame.opener] = Some(Close { at, real, role: frame.role });
        Some(frame)
    }

    /// All but the outermost `keep` frames are left open before token `at`: one message for all of them.
    pub fn unclosed(&mut self, at: usize, keep: usize) {
        let mut opened = Vec::new();
        while self.frames.len() > keep.max(1) {
            let Some(frame) = self.pop(at, false) else { break };
            let brace = frame.kind == Rule::lbrace;
            self.faults[frame.opener] = if brace { Fault::Brace } else { Fault::Other };
            opened.push(frame);
        }
        let Some(inner) = opened.first() else { return };
        self.mismatched = true;
        let missing: String = opened.iter().take(8).map(|f| closing(f.kind)).collect();
        let mut diagnostic = Diagnostic::error(
            codes::UNCLOSED_BRACKET,
            format!("this `{}` is never closed", bracket(inner.kind)),
        )
        .label(self.span(inner.opener), "opened here");
        for frame in opened.iter().skip(1).take(2) {
            diagnostic = diagnostic.label(self.span(frame.opener), "and this one is open too");
        }
        let end = self.next(at);
        let place = if end < self.tokens.len() {
            format!("expected `{missing}` before this")
        } else {
            format!("the file ends without `{missing}`")
        };
        self.diagnostics
            .push(diagnostic.label(self.span(end), place).help(format!("add the missing `{missing}`")));
    }

    fn close(&mut self, i: usize) {
        let kind = self.tokens[i].kind;
        let opens = opening(kind);
        if self.guess && kind == Rule::rbrace && self.starts_line(i) {
            self.guess_brace(i);
        }
        let nearest = self.frames.last().map_or([None; 4], |f| f.nearest);
        let brace = nearest[slot(Rule::lbrace)];
        match nearest[slot(opens)] {
            // A parenthesis does not reach out of a pair of braces: it is stray there.
            Some(k) if Some(k) >= brace => {
                self.unclosed(i, k + 1);
                self.pop(i, true);
            }
            _ => self.stray(i),
        }
    }

    fn stray(&mut self, i: usize) {
        self.mismatched = true;
        let (close, open) = (self.word(i), bracket(opening(self.tokens[i].kind)));
        let diagnostic = Diagnostic::error(codes::UNEXPECTED_TOKEN, format!("this `{close}` closes nothing"))
            .label(self.span(i), format!("no `{open}` is open here"))
            .help(format!("remove it, or add the missing `{open}`"));
        // Blanked out, so that what stands around it parses.
        self.diagnostics.push(diagnostic);
        self.blank[i] = true;
    }
}

/// Whether a line that ends in this token goes on in the next.
fn joins_next(kind: Rule, word: &str) -> bool {
    match kind {
        Rule::arrow
        | Rule::dot
        | Rule::comma
        | Rule::colon
        | Rule::eq
        | Rule::assign
        | Rule::ne
        | Rule::le
        | Rule::ge
        | Rule::lt
        | Rule::gt
        | Rule::plus
        | Rule::minus
        | Rule::star
        | Rule::floor_div
        | Rule::slash
        | Rule::percent
        | Rule::caret
        | Rule::lbrace => true,
        Rule::word => matches!(word, "and" | "or" | "not"),
        _ => false,
    }
}

fn bracket(kind: Rule) -> &'static str {
    match kind {
        Rule::lparen => "(",
        Rule::lbracket => "[",
        _ => "{",
    }
}

/// Index of a kind of bracket in [`Frame::nearest`].
pub fn slot(kind: Rule) -> usize {
    match kind {
        Rule::lparen => 0,
        Rule::lbracket => 1,
        _ => 2,
    }
}

fn closing(kind: Rule) -> &'static str {
    match kind {
        Rule::lparen => ")",
        Rule::lbracket => "]",
        _ => "}",
    }
}

fn opening(kind: Rule) -> Rule {
    match kind {
        Rule::rparen => Rule::lparen,
        Rule::rbracket => Rule::lbracket,
        _ => Rule::lbrace,
    }
}
