//! What to say about a piece of text that does not parse.

use pest::error::{Error, ErrorVariant, InputLocation};

use super::build::Origin;
use super::grammar::Rule;
use super::layout::{Layout, Role, too_deep};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::source::{FileId, Span};

/// The item, member or statement that failed.
pub struct Piece<'a> {
    /// The text of the file.
    pub text: &'a str,
    /// The file.
    pub file: FileId,
    /// Its tokens.
    pub layout: &'a Layout,
    /// Where the piece stands.
    pub role: Role,
    /// First token.
    pub from: usize,
    /// One past the last token.
    pub to: usize,
}

const ITEMS: &[&str] = &["use", "block", "pipeline", "fn", "space", "assert"];
const MEMBERS: &[&str] = &["graph", "train", "fn", "for", "if", "assert", "reveal"];
const STATEMENTS: &[&str] =
    &["fn", "for", "if", "loop", "watch", "reveal", "assert", "update", "minimize", "every"];
const IN_EXPRESSIONS: &[&str] = &["fn", "if", "loop", "not"];
const RESERVED: &[&str] =
    &["and", "or", "not", "if", "else", "for", "fn", "loop", "true", "false", "none", "in", "_"];

/// Words of other languages, and what Taper has instead.
const FOREIGN: &[(&str, &str)] = &[
    ("import", "modules are imported with `use std.nn.{Linear}`"),
    ("from", "modules are imported with `use std.nn.{Linear}`"),
    ("include", "modules are imported with `use \"./file.taper\".{Name}`"),
    ("def", "functions are declared with `fn`"),
    ("func", "functions are declared with `fn`"),
    ("function", "functions are declared with `fn`"),
    ("fun", "functions are declared with `fn`"),
    ("lambda", "a function value is `fn (x) = …`"),
    ("class", "what has weights is declared with `block`"),
    ("module", "what has weights is declared with `block`"),
    ("model", "what has weights is declared with `block`"),
    ("struct", "what has weights is declared with `block`"),
    ("forward", "what flows through a block is declared with `graph`"),
    ("let", "a name is bound without a keyword: `x = …`"),
    ("var", "a name is bound without a keyword: `x = …`"),
    ("const", "a name is bound without a keyword: `x = …`"),
    ("return", "the last expression of a body is its value; remove `return`"),
    ("while", "the run-time loop is `loop x for t in table { … }`; `for` is unrolled"),
    ("elif", "write `else if`"),
    ("print", "`reveal x` shows what is known of `x`, `watch x` its value in a run"),
];

/// Characters of other languages, and what Taper has instead.
const SYMBOLS: &[(&str, &str)] = &[
    (";", "a newline ends a statement; remove the `;`"),
    ("'", "strings are written in double quotes: \"…\""),
    ("“", "strings are written in straight double quotes: \"…\""),
    ("”", "strings are written in straight double quotes: \"…\""),
    ("`", "strings are written in double quotes: \"…\""),
    ("&", "write `and`"),
    ("|", "write `or`, or `->` for flow"),
    ("!", "write `not`; unequal is `!=`"),
    ("**", "powers are written with `^`"),
    ("*", "powers are written with `^`"),
    ("@", "a matrix product is `matmul(a, b)`"),
    ("?", "a choice is `if c { a } else { b }`"),
    ("$", "names are letters, digits and `_`"),
    ("\\", "a line goes on after an operator, a comma or inside brackets; no `\\` is needed"),
];

/// The diagnostic for a failed `piece`, of which `parsed` was parsed.
pub fn explain(error: &Error<Rule>, parsed: &str, origin: &Origin, piece: &Piece) -> Diagnostic {
    let (InputLocation::Pos(at) | InputLocation::Span((at, _))) = error.location;
    let rest = parsed.get(at..).unwrap_or("");
    let at = at + (rest.len() - rest.trim_start().len());
    let end = piece.layout.range(piece.from, piece.to).1;
    let at = if at < parsed.len() { origin.of(at) } else { end };
    let found = piece.token_at(at);
    let ErrorVariant::ParsingError { positives, .. } = &error.variant else {
        // The only error of another kind is pest's guard of the stack.
        return too_deep(piece.span(found));
    };
    piece
        .misspelt(found, positives)
        .or_else(|| piece.misplaced())
        .unwrap_or_else(|| piece.unexpected(found, positives))
}

impl Piece<'_> {
    /// The token that covers byte `at` or is the first after it; `to` at the end of the piece.
    fn token_at(&self, at: usize) -> usize {
        let tokens = &self.layout.tokens;
        let i = tokens.partition_point(|t| t.end <= at).max(self.from);
        (i..self.to).find(|&i| !self.layout.trivia(i)).unwrap_or(self.to)
    }

    fn word(&self, i: usize) -> &str {
        let token = self.layout.tokens.get(i);
        token.filter(|_| i < self.to).and_then(|t| self.text.get(t.start..t.end)).unwrap_or("")
    }

    fn kind(&self, i: usize) -> Option<Rule> {
        self.layout.tokens.get(i).filter(|_| i < self.to).map(|t| t.kind)
    }

    fn span(&self, i: usize) -> Span {
        match self.layout.tokens.get(i) {
            Some(t) if i < self.to => Span::new(self.file, t.start, t.end),
            _ => {
                let end = self.layout.range(self.from, self.to).1;
                Span::new(self.file, end, end)
            }
        }
    }

    fn next(&self, i: usize) -> usize {
        (i + 1..self.to).find(|&k| !self.layout.trivia(k)).unwrap_or(self.to)
    }

    fn previous(&self, i: usize) -> Option<usize> {
        (self.from..i).rev().find(|&k| !self.layout.trivia(k))
    }

    /// The word before token `i`, or before the brackets that end there: `fnn (x)`.
    fn word_before(&self, i: usize) -> Option<usize> {
        let mut p = self.previous(i)?;
        if matches!(self.kind(p), Some(Rule::rparen)) {
            let closes = &self.layout.closes;
            let open = (self.from..p).rev().find(|&k| closes[k].is_some_and(|c| c.real && c.at == p))?;
            p = self.previous(open)?;
        }
        (self.kind(p) == Some(Rule::word)).then_some(p)
    }

    fn misspelt(&self, found: usize, expected: &[Rule]) -> Option<Diagnostic> {
        let word = self.word(found);
        if self.kind(found) == Some(Rule::word) && word.len() > 2 && !RESERVED.contains(&word) {
            let keywords: Vec<&str> = expected.iter().filter_map(|r| keyword(*r)).collect();
            if let Some(right) = nearest(word, &keywords) {
                return Some(self.keyword_slip(found, right));
            }
        }
        let before = self.word_before(found)?;
        let word = self.word(before);
        let known: &[&str] = match (before == self.from, self.role) {
            (false, _) => IN_EXPRESSIONS,
            (_, Role::Items) => ITEMS,
            (_, Role::Members) => MEMBERS,
            _ => STATEMENTS,
        };
        // A word that is followed by a word, or by a parenthesis and then by what follows no call.
        let adjacent = self.next(before) == found;
        let follows = match self.kind(found) {
            Some(Rule::word | Rule::string | Rule::lbrace | Rule::int | Rule::float) => true,
            Some(Rule::lparen) => adjacent,
            Some(Rule::assign | Rule::arrow) => !adjacent,
            _ => false,
        };
        if !follows || known.contains(&word) || RESERVED.contains(&word) {
            return None;
        }
        let foreign = FOREIGN.iter().find(|(w, _)| *w == word);
        if let Some((_, help)) = foreign.filter(|_| before == self.from || word == "lambda") {
            let message = format!("`{word}` is no keyword of Taper");
            let diagnostic = Diagnostic::error(codes::MISSPELT_KEYWORD, message);
            return Some(diagnostic.label(self.span(before), "not known").help(*help));
        }
        (word.len() > 2).then(|| nearest(word, known)).flatten().map(|right| self.keyword_slip(before, right))
    }

    fn keyword_slip(&self, i: usize, right: &str) -> Diagnostic {
        let word = self.word(i);
        Diagnostic::error(codes::MISSPELT_KEYWORD, format!("`{word}` is no keyword"))
            .label(self.span(i), format!("did you mean `{right}`?"))
            .help(format!("write `{right}`"))
    }

    /// A construct of another level.
    fn misplaced(&self) -> Option<Diagnostic> {
        let word = self.word(self.from);
        let follows = self.kind(self.next(self.from));
        let heads = matches!(
            follows,
            Some(Rule::word | Rule::string | Rule::lparen | Rule::lbrace | Rule::int | Rule::float)
        );
        let (here, place) = match self.role {
            Role::Items => (ITEMS, "at the top of a file"),
            Role::Members => (MEMBERS, "among the members of a block"),
            Role::Body | Role::Inline => (STATEMENTS, "in a body"),
        };
        let other = [
            (ITEMS, "at the top of a file"),
            (MEMBERS, "inside a `block` or `pipeline`, beside its fields"),
            (STATEMENTS, "in the body of a `graph`, `train` or `fn`"),
        ];
        if !heads || here.contains(&word) {
            return None;
        }
        let (_, belongs) = other.into_iter().find(|(words, _)| words.contains(&word))?;
        let message = format!("`{word}` cannot stand {place}");
        let diagnostic = Diagnostic::error(codes::MISPLACED, message).label(self.span(self.from), "not here");
        Some(diagnostic.help(format!("`{word}` belongs {belongs}")))
    }

    fn unexpected(&self, found: usize, expected: &[Rule]) -> Diagnostic {
        let word = self.word(found);
        let what = match self.kind(found) {
            None if self.role == Role::Body => "end of the statement".to_string(),
            None => "end of the line".to_string(),
            Some(_) => format!("`{word}`"),
        };
        let diagnostic = Diagnostic::error(codes::UNEXPECTED_TOKEN, format!("unexpected {what}"));
        let list = expectations(expected);
        let label =
            if list.is_empty() { "not expected here".to_string() } else { format!("expected {list}") };
        let diagnostic = diagnostic.label(self.span(found), label);
        let names =
            expected.iter().any(|r| matches!(r, Rule::name | Rule::param | Rule::pattern | Rule::patterns));
        let symbol = SYMBOLS.iter().find(|(s, _)| *s == word);
        let doubled =
            self.word(self.next(found)) == "*" || self.previous(found).is_some_and(|p| self.word(p) == "*");
        let before = self.previous(found);
        let kind_before = before.and_then(|p| self.kind(p));
        let operator = matches!(kind_before, Some(Rule::plus | Rule::minus | Rule::star | Rule::slash));
        match symbol {
            None if word == "=" && operator => {
                let op = before.map_or("", |p| self.word(p));
                diagnostic.help(format!("there is no `{op}=`; write `x = x {op} …`"))
            }
            None if word == ":" && expected.contains(&Rule::lbrace) => {
                diagnostic.help("a body stands in braces: `{ … }`")
            }
            None if word == ":" && self.role == Role::Body && expected.contains(&Rule::assign) => {
                diagnostic.help("types stand in signatures only; a name is bound with `x = …`")
            }
            None if matches!(kind_before, Some(Rule::dot)) || word == "." => {
                diagnostic.help("a float has digits on both sides of its point: `0.5`, `1.0`")
            }
            Some((s, help)) if *s != "*" || doubled => diagnostic.help(*help),
            _ if RESERVED.contains(&word) && (names || self.kind(self.next(found)) == Some(Rule::assign)) => {
                diagnostic.help(format!("`{word}` is a reserved word; choose another name"))
            }
            _ => diagnostic,
        }
    }
}

/// The keyword that was meant; of two that are equally near the longer one, as letters get lost more often
/// than they get in.
fn nearest(word: &str, keywords: &[&'static str]) -> Option<&'static str> {
    let mut sorted = keywords.to_vec();
    sorted.sort_by_key(|k| std::cmp::Reverse(k.len()));
    let near = |k: &&str| strsim::damerau_levenshtein(word, k);
    sorted.into_iter().filter(|k| did_you_mean(word, [*k]).is_some()).min_by_key(near)
}

/// `a, b or c`.
fn expectations(rules: &[Rule]) -> String {
    let mut words: Vec<(u8, &str)> = rules.iter().filter_map(|r| phrase(*r)).collect();
    words.sort_unstable();
    words.dedup();
    // After a finished operand anything may follow; its brackets say nothing that "an operator" does not.
    if words.iter().any(|(_, w)| *w == OPERATOR) {
        words.retain(|(_, w)| !matches!(*w, "`(`" | "`[`" | "`.`"));
    }
    let words: Vec<&str> = words.into_iter().map(|(_, w)| w).take(6).collect();
    match words.split_last() {
        None => String::new(),
        Some((one, [])) => (*one).to_string(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

const OPERATOR: &str = "an operator";

/// What a rule is called in a list of expectations, and its place there.
fn phrase(rule: Rule) -> Option<(u8, &'static str)> {
    Some(match rule {
        Rule::name | Rule::param | Rule::carry | Rule::word | Rule::use_name | Rule::place => (0, "a name"),
        Rule::path => (0, "a name"),
        Rule::patterns | Rule::pattern | Rule::tuple_pattern | Rule::ignore => (0, "a name"),
        Rule::type_ | Rule::tensor_type | Rule::tuple_type | Rule::type_field => (1, "a type"),
        Rule::dim => (1, "a dimension"),
        Rule::string => (1, "a string"),
        Rule::expr | Rule::operand | Rule::primary | Rule::expr_list | Rule::element | Rule::arg => {
            (1, "an expression")
        }
        Rule::index_item | Rule::group | Rule::list | Rule::record | Rule::fn_value | Rule::if_expr => {
            (1, "an expression")
        }
        Rule::loop_expr | Rule::int | Rule::float | Rule::kw_true | Rule::kw_false | Rule::kw_none => {
            (1, "an expression")
        }
        Rule::kw_not | Rule::kw_fn | Rule::kw_loop => (1, "an expression"),
        Rule::entry => (1, "`name: value`"),
        Rule::stmt | Rule::let_stmt => (1, "a statement"),
        Rule::member | Rule::member_alone | Rule::field => (1, "a field"),
        Rule::stmt_alone => (1, "a statement"),
        Rule::item | Rule::item_alone | Rule::file => (1, "a declaration"),
        Rule::arrow | Rule::eq | Rule::ne | Rule::le | Rule::ge | Rule::lt | Rule::gt => (2, OPERATOR),
        Rule::plus | Rule::minus | Rule::star | Rule::floor_div | Rule::slash => (2, OPERATOR),
        Rule::percent | Rule::caret | Rule::kw_and | Rule::kw_or => (2, OPERATOR),
        Rule::result => (3, "`->`"),
        Rule::assign => (3, "`=`"),
        Rule::arg_name => return None,
        Rule::colon => (3, "`:`"),
        Rule::comma => (4, "`,`"),
        Rule::dot | Rule::access => (4, "`.`"),
        Rule::dots => (4, "`..`"),
        Rule::lparen | Rule::params | Rule::call => (5, "`(`"),
        Rule::lbracket | Rule::index => (5, "`[`"),
        Rule::lbrace | Rule::body | Rule::members | Rule::use_names => (5, "`{`"),
        Rule::rparen => (5, "`)`"),
        Rule::rbracket => (5, "`]`"),
        Rule::rbrace => (5, "`}`"),
        Rule::kw_in => (3, "`in`"),
        Rule::kw_if => (3, "`if`"),
        Rule::kw_else => (3, "`else`"),
        Rule::kw_for | Rule::clause => (3, "`for`"),
        Rule::kw_as | Rule::layout_clause => (6, "`as`"),
        Rule::kw_from | Rule::from_clause => (6, "`from`"),
        Rule::kw_frozen => (6, "`frozen`"),
        Rule::kw_over => (6, "`over`"),
        Rule::kw_with => (6, "`with`"),
        Rule::newline | Rule::EOI => (7, "the end of the line"),
        _ => return None,
    })
}

/// The text of a keyword's rule.
fn keyword(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::kw_in => "in",
        Rule::kw_if => "if",
        Rule::kw_else => "else",
        Rule::kw_for | Rule::clause => "for",
        Rule::kw_and => "and",
        Rule::kw_or => "or",
        Rule::kw_as | Rule::layout_clause => "as",
        Rule::kw_from | Rule::from_clause => "from",
        Rule::kw_frozen => "frozen",
        Rule::kw_over => "over",
        Rule::kw_with => "with",
        _ => return None,
    })
}
