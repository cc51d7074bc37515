//! The one canonical layout of a file: `taper fmt`.
//!
//! Two spaces of indentation, 100 columns, at most one blank line, no alignment; what does not fit is broken
//! one part to a line. A comment stays before or behind the statement, member, item, argument, element,
//! operator or `->` it stands at; one in a place that has no line of its own moves before its statement.

mod comments;
mod doc;
mod expr;
mod item;
mod lists;
mod stmt;

use super::ast::Comment;
use super::layout::Layout;
use super::parse::parse_laid_out;
use crate::diagnostic::Diagnostic;
use crate::source::FileId;

/// The text in canonical layout. Its meaning is unchanged, and formatting it again changes nothing.
///
/// # Errors
/// The diagnostics of a text that does not parse: it is not formatted.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let (mut out, comments) = once(text)?;
    // A comment that has moved before a statement no longer keeps what it stood in from fitting on a line.
    for _ in 0..if comments { MOVES } else { 0 } {
        let (next, _) = once(&out)?;
        if next == out {
            break;
        }
        out = next;
    }
    Ok(out)
}

/// How often comments may move; each time they leave one construct for the one around it.
const MOVES: usize = 8;

/// The text laid out, and whether it has comments.
fn once(text: &str) -> Result<(String, bool), Vec<Diagnostic>> {
    let (file, diagnostics, layout) = parse_laid_out(text, FileId::default());
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    let mut formatter =
        Formatter { text, layout: &layout, comments: &file.comments, next: 0, hoisted: Vec::new() };
    let document = formatter.file(&file);
    Ok((doc::print(&document), !file.comments.is_empty()))
}

/// Turns a tree into a document, with the comments in their order.
struct Formatter<'a> {
    text: &'a str,
    layout: &'a Layout,
    comments: &'a [Comment],
    /// The first comment that is not yet in the document.
    next: usize,
    /// Comments that go before what is being built.
    hoisted: Vec<Comment>,
}
