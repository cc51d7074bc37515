//! The flat token list of a text, its brackets matched, and the text that the grammar parses: comments and
//! the newlines that end nothing are blanked out byte for byte, so that every offset stays true.

use pest::Parser;

use super::MAX_DEPTH;
use super::grammar::{Grammar, Rule};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::source::{FileId, Span};

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

/// An open bracket.
struct Frame {
    opener: usize,
    kind: Rule,
    role: Role,
    /// Indentation of the line it stands on.
    indent: usize,
    /// First token of the current statement.
    first: Option<usize>,
    /// `loop`, and other words that open an expression without brackets, in the current statement.
    loops: usize,
    words: usize,
    /// The innermost frames that are a parenthesis, a bracket, a brace, and a block's brace.
    nearest: [Option<usize>; 4],
}

/// Splits and lays out `text`.
pub fn layout(text: &str, file: FileId) -> Layout {
    let mut tokens = Vec::new();
    if let Ok(pairs) = Grammar::parse(Rule::tokens, text) {
        for pair in pairs.flat_map(|p| p.into_inner()) {
            let span = pair.as_span();
            if pair.as_rule() != Rule::EOI {
                tokens.push(Token { kind: pair.as_rule(), start: span.start(), end: span.end() });
            }
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

/// One walk over the tokens. With `guess`, a bracket left open is closed where the text suggests that its
/// author meant to; only done once a strict walk has shown that some bracket does not match.
struct Scan<'a> {
    text: &'a str,
    file: FileId,
    tokens: &'a [Token],
    guess: bool,
    frames: Vec<Frame>,
    depth: usize,
    deep: bool,
    mismatched: bool,
    closes: Vec<Option<Close>>,
    ends: Vec<bool>,
    blank: Vec<bool>,
    faults: Vec<Fault>,
    diagnostics: Vec<Diagnostic>,
    indent: usize,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str, file: FileId, tokens: &'a [Token], guess: bool) -> Self {
        let root = Frame {
            opener: usize::MAX,
            kind: Rule::file,
            role: Role::Items,
            indent: 0,
            first: None,
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

    fn run(mut self) -> Self {
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

    fn word(&self, i: usize) -> &'a str {
        self.tokens.get(i).map_or("", |t| self.text.get(t.start..t.end).unwrap_or(""))
    }

    fn kind(&self, i: usize) -> Option<Rule> {
        self.tokens.get(i).map(|t| t.kind)
    }

    /// The first token at or after `i` that is neither newline nor comment.
    fn next(&self, mut i: usize) -> usize {
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
        let inside = matches!(frame.kind, Rule::lparen | Rule::lbracket);
        if !inside && next < self.tokens.len() {
            let after = self.next(next + 1);
            let joins = joins_next(self.tokens[prev].kind, self.word(prev)) && !self.declares(next, after)
                || self.joins_previous(prev, next, after);
            if !joins && self.tokens[prev].kind != Rule::lbrace {
                self.blank[newline] = false;
                self.ends[newline] = true;
                if let Some(frame) = self.frames.last_mut() {
                    self.depth -= frame.loops + frame.words;
                    (frame.loops, frame.words, frame.first) = (0, 0, None);
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
    fn declares(&self, next: usize, after: usize) -> bool {
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
        self.frames.push(Frame { opener: i, kind, role, indent, first: None, loops: 0, words: 0, nearest });
        self.deeper(i);
    }

    /// What the brace at token `i` opens.
    fn role(&self, i: usize) -> Role {
        let Some(frame) = self.frames.last() else { return Role::Body };
        let first = frame.first.unwrap_or(i);
        let word = if self.kind(first) == Some(Rule::word) { self.word(first) } else { "" };
        let second = self.next(first + 1);
        let inner = self.next(i + 1);
        match (frame.role, word) {
            (Role::Items, "block" | "pipeline") => return Role::Members,
            (Role::Items, "use") => return Role::Inline,
            (Role::Items, w) if self.kind(second) == Some(Rule::word) => {
                if w != "fn" && did_you_mean(w, ["block", "pipeline"]).is_some() {
                    return Role::Members;
                }
            }
            (Role::Members, "for" | "if") => return Role::Members,
            _ => {}
        }
        let record = match self.kind(inner) {
            Some(Rule::dots) => true,
            Some(Rule::word) => self.kind(self.next(inner + 1)) == Some(Rule::colon),
            _ => false,
        };
        if record { Role::Inline } else { Role::Body }
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
    fn unclosed(&mut self, at: usize, keep: usize) {
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

    fn starts_line(&self, i: usize) -> bool {
        i == 0 || matches!(self.tokens[i - 1].kind, Rule::newline)
    }

    /// A `}` at the start of a line closes the brace whose line is indented as it is.
    fn guess_brace(&mut self, i: usize) {
        let indent = self.indent;
        let top = self.frames.last().and_then(|f| f.nearest[slot(Rule::lbrace)]);
        if top.is_none_or(|k| self.frames[k].indent <= indent) {
            return;
        }
        let near = self.frames.len().saturating_sub(MAX_DEPTH);
        let same = |f: &Frame| f.kind == Rule::lbrace && f.indent == indent;
        if let Some(k) = self.frames[near..].iter().rposition(same) {
            self.unclosed(i, near + k + 1);
        }
    }

    /// Closes, at the end of a line, what the next line shows to be unclosed.
    fn guess_closed(&mut self, prev: Option<usize>, newline: usize, next: usize) {
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

/// The diagnostic for nesting beyond [`MAX_DEPTH`].
pub fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error(codes::NESTED_TOO_DEEP, format!("nested more than {MAX_DEPTH} levels deep"))
        .label(span, "this level is one too many")
        .help("give the inner parts names of their own")
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

fn ends_operand(kind: Rule, word: &str) -> bool {
    match kind {
        Rule::word => !matches!(word, "and" | "or" | "not" | "if" | "else" | "for" | "in"),
        Rule::int | Rule::float | Rule::string | Rule::rparen | Rule::rbracket | Rule::rbrace => true,
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
fn slot(kind: Rule) -> usize {
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
