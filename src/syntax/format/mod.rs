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
    let (file, diagnostics, layout) = parse_laid_out(text, FileId::default());
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    let mut formatter =
        Formatter { text, layout: &layout, comments: &file.comments, next: 0, hoisted: Vec::new() };
    let document = formatter.file(&file);
    Ok(doc::print(&document))
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
