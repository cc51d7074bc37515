//! From text to tree.

use pest::Parser;

use super::ast::{Comment, File};
use super::build::{Builder, Gathered, Grafts, Origin};
use super::explain::{Piece, explain};
use super::grammar::{Grammar, Rule};
use super::layout::{Layout, Role, layout};
use super::recover;
use crate::diagnostic::{Diagnostic, codes};
use crate::source::{FileId, Span};

/// How many diagnostics one file gives at most; a file with more is not one that a person wrote.
const MAX_DIAGNOSTICS: usize = 100;

/// How large a file may be: its tree takes some hundred times its size.
const MAX_BYTES: usize = 64 << 20;

/// Parses a file. Never fails: what cannot be parsed is an `Error` node, with a diagnostic that says why.
pub fn parse(text: &str, file: FileId) -> (File, Vec<Diagnostic>) {
    let (tree, diagnostics, _) = parse_laid_out(text, file);
    (tree, diagnostics)
}

/// The same, with the tokens.
pub fn parse_laid_out(text: &str, file: FileId) -> (File, Vec<Diagnostic>, Layout) {
    if text.len() > MAX_BYTES {
        let diagnostic = Diagnostic::error(codes::SIZE_LIMIT, "the file is larger than 64 MiB");
        let diagnostic = diagnostic.label(Span::new(file, 0, 0), "this file");
        return (File::default(), vec![diagnostic], Layout::default());
    }
    let mut layout = layout(text, file);
    let mut gathered = Gathered::default();
    let mut tree = match whole(text, file, &layout, &mut gathered) {
        Ok(tree) => tree,
        Err(failure) => {
            gathered = Gathered::default();
            let tree = recover::file(text, file, &layout, &mut gathered);
            if layout.diagnostics.is_empty() && gathered.diagnostics.is_empty() {
                // Every piece parses and the whole does not: then what is wrong is where the whole stopped.
                let piece = Piece {
                    text,
                    file,
                    layout: &layout,
                    role: Role::Items,
                    from: 0,
                    to: layout.tokens.len(),
                };
                let stop = failure.map(|e| explain(&e, &layout.masked, &Origin::default(), &piece));
                gathered.diagnostics.extend(stop);
            }
            tree
        }
    };
    tree.doc = file_doc(text, &layout, &mut gathered);
    tree.comments = comments(text, file, &layout, &gathered);
    let mut diagnostics = std::mem::take(&mut layout.diagnostics);
    diagnostics.extend(gathered.diagnostics);
    diagnostics.sort_by_key(|d| d.labels.first().map_or(0, |l| l.span.start));
    diagnostics.truncate(MAX_DIAGNOSTICS);
    (tree, diagnostics, layout)
}

/// The file in one go, if it has no mistakes.
fn whole(
    text: &str,
    file: FileId,
    layout: &Layout,
    gathered: &mut Gathered,
) -> Result<File, Option<Box<pest::error::Error<Rule>>>> {
    if !layout.diagnostics.is_empty() {
        return Err(None);
    }
    let pairs = Grammar::parse(Rule::file, &layout.masked).map_err(|e| Some(Box::new(e)))?;
    let (mut grafts, origin) = (Grafts::default(), Origin::default());
    let mut builder =
        Builder { file, origin: &origin, layout, text, grafts: &mut grafts, gathered, depth: 0 };
    let items = pairs
        .flat_map(|p| p.into_inner())
        .filter(|p| !matches!(p.as_rule(), Rule::newline | Rule::EOI))
        .map(|p| builder.item(p))
        .collect();
    Ok(File { doc: None, items, comments: Vec::new() })
}

/// `##` lines before everything else that a blank line (or the end of the file) sets apart.
fn file_doc(text: &str, layout: &Layout, gathered: &mut Gathered) -> Option<String> {
    let (mut lines, mut docs, mut newlines) = (Vec::new(), Vec::new(), 0);
    for (i, token) in layout.tokens.iter().enumerate() {
        match token.kind {
            Rule::newline => newlines += 1,
            Rule::doc if docs.is_empty() || newlines == 1 => {
                let line = text.get(token.start + 2..token.end).unwrap_or("");
                lines.push(line.strip_prefix(' ').unwrap_or(line).trim_end());
                docs.push(i);
                newlines = 0;
            }
            _ if newlines > 1 => break,
            _ => return None,
        }
        if newlines > 1 && !docs.is_empty() {
            break;
        }
    }
    if docs.is_empty() || docs.iter().any(|i| gathered.docs.contains(i)) {
        return None;
    }
    gathered.docs.extend(docs);
    Some(lines.join("\n"))
}

/// Every comment, and documentation that documents nothing.
fn comments(text: &str, file: FileId, layout: &Layout, gathered: &Gathered) -> Vec<Comment> {
    let mut out = Vec::new();
    for (i, token) in layout.tokens.iter().enumerate() {
        let doc = token.kind == Rule::doc && !gathered.docs.contains(&i);
        if token.kind == Rule::comment || doc {
            out.push(Comment {
                text: text.get(token.start..token.end).unwrap_or("").trim_end().to_string(),
                span: Span::new(file, token.start, token.end),
                own_line: layout.own_line(i),
            });
        }
    }
    out
}
