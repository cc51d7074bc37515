//! Tests of parsing and formatting.

mod formatting;
mod generate;
mod mistakes;
mod parsing;
mod properties;
mod samples;

use super::ast::File;
use super::parse;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::render::render_all;
use crate::source::{FileId, SourceFile, SourceMap};

/// Diagnostics drawn for people.
fn drawn(text: &str, diagnostics: &[Diagnostic]) -> String {
    let mut sources = SourceMap::default();
    sources.add(SourceFile::new("test.taper", text));
    render_all(diagnostics, &sources, false)
}

/// The tree of a text without mistakes.
fn clean(text: &str) -> File {
    let (file, diagnostics) = parse(text, FileId(0));
    assert!(diagnostics.is_empty(), "{}", drawn(text, &diagnostics));
    file
}
