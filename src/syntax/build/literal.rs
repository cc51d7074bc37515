//! Numbers and strings.

use pest::iterators::Pair;

use super::Builder;
use crate::diagnostic::{Diagnostic, codes};
use crate::source::Span;
use crate::syntax::ast::ExprKind;
use crate::syntax::grammar::Rule;

impl Builder<'_> {
    /// `10_000`.
    pub fn int(&mut self, pair: &Pair<Rule>) -> ExprKind {
        match pair.as_str().replace('_', "").parse() {
            Ok(value) => ExprKind::Int(value),
            Err(_) => {
                let what = format!("whole numbers reach from 0 to {}", i64::MAX);
                self.bad_number(self.span(pair), what, "write it as a float, with `.0` or an exponent")
            }
        }
    }

    /// `1e-3`.
    pub fn float(&mut self, pair: &Pair<Rule>) -> ExprKind {
        let text = pair.as_str().replace('_', "");
        let mantissa = text.split(['e', 'E']).next().unwrap_or("");
        let zero = mantissa.bytes().all(|b| matches!(b, b'0' | b'.'));
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() && (value != 0.0 || zero) => ExprKind::Float(value),
            _ => {
                let what = "a float is between 5e-324 and 1.797e308 in size".to_string();
                self.bad_number(self.span(pair), what, "rescale the quantity, or compute with its logarithm")
            }
        }
    }

    fn bad_number(&mut self, span: Span, what: String, help: &str) -> ExprKind {
        let diagnostic =
            Diagnostic::error(codes::BAD_NUMBER, "this number is out of range").label(span, what);
        self.gathered.diagnostics.push(diagnostic.help(help));
        ExprKind::Error
    }

    /// The text that a string literal stands for.
    pub fn unescape(&mut self, pair: &Pair<Rule>) -> String {
        let quoted = pair.as_str();
        let inner = quoted.strip_prefix('"').and_then(|s| s.strip_suffix('"')).unwrap_or("");
        let start = self.span(pair).start as usize + 1;
        let mut out = String::with_capacity(inner.len());
        let mut chars = inner.char_indices();
        while let Some((at, c)) = chars.next() {
            if c != '\\' {
                out.push(c);
                continue;
            }
            match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some('0') => out.push('\0'),
                Some(c @ ('"' | '\\')) => out.push(c),
                other => {
                    let escape = inner[at..].chars().take(2).collect::<String>();
                    let span =
                        Span::new(self.file, start + at, start + at + 1 + other.map_or(0, char::len_utf8));
                    let diagnostic = Diagnostic::error(
                        codes::UNEXPECTED_TOKEN,
                        format!("`{escape}` is no escape"),
                    )
                    .label(span, "in this string")
                    .help(
                        r#"strings know `\n`, `\t`, `\r`, `\0`, `\"` and `\\`; a backslash itself is `\\`"#,
                    );
                    self.gathered.diagnostics.push(diagnostic);
                }
            }
        }
        out
    }
}
