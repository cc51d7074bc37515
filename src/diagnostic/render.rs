//! Diagnostics as text, drawn by miette.

use std::fmt;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};

use super::{Diagnostic, Severity};
use crate::source::{FileId, SourceMap};

/// Draws one diagnostic, with unicode boxes and without colour unless `colour` is set.
pub fn render(diagnostic: &Diagnostic, sources: &SourceMap, colour: bool) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
    let mut out = String::new();
    let report = Report::new(diagnostic, sources);
    if handler.render_report(&mut out, &report).is_err() {
        out.push_str(&diagnostic.message);
    }
    out
}

/// Draws several, one after another.
pub fn render_all(diagnostics: &[Diagnostic], sources: &SourceMap, colour: bool) -> String {
    diagnostics.iter().map(|d| render(d, sources, colour)).collect::<Vec<_>>().join("\n")
}

/// The longest line that is drawn, in bytes. Beyond, a drawing helps nobody (and miette cannot align its marks
/// from column 65,536 on): places are given as numbers.
const LONGEST_LINE: usize = 2_000;

/// Whether the lines of a diagnostic's labels in a file are short enough to be drawn.
fn drawable(d: &Diagnostic, file: FileId, sources: &SourceMap) -> bool {
    let Some(text) = sources.get(file).map(|f| f.text.as_bytes()) else { return false };
    d.labels.iter().filter(|l| l.span.file == file).all(|l| {
        let (start, end) = (l.span.start as usize, (l.span.end as usize).min(text.len()));
        // A line of context stands before and after.
        let before = text[..start.min(text.len())].rsplit(|b| *b == b'\n').take(2).map(<[u8]>::len).max();
        let after = text[end..].split(|b| *b == b'\n').take(2).map(<[u8]>::len).max();
        let inside =
            text.get(start..end).into_iter().flat_map(|t| t.split(|b| *b == b'\n')).map(<[u8]>::len).max();
        before.max(after).max(inside).unwrap_or(0) <= LONGEST_LINE
    })
}

/// One diagnostic as miette sees it: the labels of one file, and a related report per further file.
struct Report {
    code: String,
    severity: Severity,
    message: String,
    help: Option<String>,
    source: Option<NamedSource<String>>,
    labels: Vec<LabeledSpan>,
    related: Vec<Report>,
}

impl Report {
    fn new(d: &Diagnostic, sources: &SourceMap) -> Report {
        let mut files: Vec<FileId> = Vec::new();
        for label in &d.labels {
            if sources.get(label.span.file).is_some() && !files.contains(&label.span.file) {
                files.push(label.span.file);
            }
        }
        files.retain(|f| drawable(d, *f, sources));
        let part = |file: FileId, first: bool| {
            let labels = d.labels.iter().enumerate().filter(|(_, l)| l.span.file == file).map(|(i, l)| {
                let range = l.span.start as usize..(l.span.end.max(l.span.start)) as usize;
                let text = (!l.text.is_empty()).then(|| l.text.clone());
                if i == 0 && first {
                    LabeledSpan::new_primary_with_span(text, range)
                } else {
                    LabeledSpan::new_with_span(text, range)
                }
            });
            let source = sources.get(file).map(|f| NamedSource::new(&f.name, f.text.clone()));
            (labels.collect::<Vec<_>>(), source)
        };
        let (labels, source) = files.first().map_or((Vec::new(), None), |f| part(*f, true));
        let related = files.iter().skip(1).map(|f| {
            let (labels, source) = part(*f, false);
            let name = sources.get(*f).map_or_else(String::new, |f| f.name.clone());
            Report {
                code: String::new(),
                severity: Severity::Info,
                message: format!("in {name}"),
                help: None,
                source,
                labels,
                related: Vec::new(),
            }
        });
        let mut help: Vec<String> = d.help.iter().cloned().collect();
        help.extend(d.notes.iter().map(|n| format!("note: {n}")));
        for label in &d.labels {
            if let Some(file) = sources.get(label.span.file).filter(|_| !files.contains(&label.span.file)) {
                let (line, column) = file.line_column(label.span.start);
                help.push(format!("at {}:{line}:{column}: {}", file.name, label.text));
            }
        }
        Report {
            code: d.code.to_string(),
            severity: d.severity,
            message: d.message.clone(),
            help: (!help.is_empty()).then(|| help.join("\n")),
            source,
            labels,
            related: related.collect(),
        }
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Report {}

impl miette::Diagnostic for Report {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.code.is_empty()).then(|| Box::new(&self.code) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Info => miette::Severity::Advice,
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|s| s as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty())
            .then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = _>>)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        (!self.related.is_empty()).then(|| {
            Box::new(self.related.iter().map(|r| r as &dyn miette::Diagnostic)) as Box<dyn Iterator<Item = _>>
        })
    }
}
