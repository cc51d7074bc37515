//! The one diagnostic type: a stable code, labelled spans, notes and a likely fix.

pub mod codes;
mod merge;
pub mod pages;
pub mod render;

pub use codes::Code;
pub use merge::merge_uses;

use crate::source::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something the user asked to be told (`reveal`).
    Info,
    /// Suspicious, and allowed.
    Warning,
    /// The file, weights, data or flags are wrong.
    Error,
}

/// A span with what to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is there.
    pub text: String,
}

/// One message to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The stable code, with a page of its own (`taper explain CODE`).
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence: what is wrong.
    pub message: String,
    /// The spans; the first is the place that is shown first.
    pub labels: Vec<Label>,
    /// Where things came from ("while building `unet.down[2].attn`").
    pub notes: Vec<String>,
    /// The likely fix.
    pub help: Option<String>,
    /// For an error inside a block or function: which use of it this is.
    pub origin: Option<Origin>,
}

/// Where an error arose, apart from the labels that lead to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What is wrong.
    pub place: Span,
    /// The chain of calls that led there, as a number: equal for equal chains.
    pub calls: u64,
}

impl Diagnostic {
    /// An error with a code and a sentence.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            notes: Vec::new(),
            help: None,
            origin: None,
        }
    }

    /// A warning with a code and a sentence.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// A piece of information that the user asked for.
    pub fn info(code: Code, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Info, ..Self::error(code, message) }
    }

    /// Adds a labelled span.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Sets the help line.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Whether this is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The longest name, in characters, that suggestions are made for: comparing takes the product of the lengths.
const LONGEST_NAME: usize = 100;

/// The name of `candidates` nearest to `name`, if it is near enough to be a slip.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    if length > LONGEST_NAME {
        return None;
    }
    let candidates: Vec<&str> =
        candidates.into_iter().filter(|c| *c != name && c.len() <= LONGEST_NAME).collect();
    // The distance is at least the difference of the lengths, which takes no time to see.
    let comparable = |c: &&&str| {
        let other = c.chars().count();
        length.abs_diff(other) <= (length.max(other) / 3).max(1)
    };
    let near = candidates
        .iter()
        .filter(comparable)
        .map(|c| (strsim::damerau_levenshtein(&name.to_lowercase(), &c.to_lowercase()), *c))
        .filter(|(d, c)| {
            let longest = length.max(c.chars().count());
            // Of names of one or two letters, any would be near to any other.
            *d <= if longest < 3 { 0 } else { (longest / 3).max(1) }
        })
        .min()
        .map(|(_, c)| c);
    // An abbreviation, or a name written out: `padding` for `pad`.
    near.or_else(|| {
        let begins = |a: &str, b: &str| b.chars().count() >= 3 && a.starts_with(b);
        candidates.into_iter().filter(|c| begins(name, c) || begins(c, name)).max_by_key(|c| (c.len(), *c))
    })
}
