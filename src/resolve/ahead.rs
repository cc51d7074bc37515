//! Parsing of the standard library's modules before they are asked for, side by side: most of a small file's check.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{EVERYWHERE, embedded};
use crate::diagnostic::Diagnostic;
use crate::source::{FileId, SourceFile, SourceMap, Sources};
use crate::syntax::ast;

/// Trees by file, with what there is to say of each.
pub(super) type Parsed = HashMap<FileId, (ast::File, Vec<Diagnostic>)>;

/// Threads beyond which a few dozen small files gain nothing.
const MOST_THREADS: usize = 4;

/// Parses the embedded modules that `text` seems to import, and those that they import. What is missed here is
/// parsed when it is asked for; what is too much is not looked at.
pub(super) fn parse(sources: &dyn Sources, text: &str, map: &mut SourceMap) -> Parsed {
    let mut texts: Vec<(FileId, &str)> = Vec::new();
    let mut names: Vec<String> = EVERYWHERE.map(String::from).to_vec();
    names.extend(imports(text));
    while let Some(name) = names.pop() {
        // A text that overrides a module is the user's: it may nest deeper than the stack of a worker bears.
        let Some(text) =
            embedded::embedded_text(&name).filter(|_| embedded::overridden(sources, &name).is_none())
        else {
            continue;
        };
        if map.find(&name).is_none() {
            texts.push((map.add(SourceFile::new(name, text)), text));
            names.extend(imports(text));
        }
    }
    // Threads of their own: how many the pool of the run has is not decided yet.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let next = AtomicUsize::new(0);
    let work = || {
        let mine = std::iter::from_fn(|| texts.get(next.fetch_add(1, Ordering::Relaxed)));
        mine.map(|(file, text)| (*file, crate::syntax::parse(text, *file))).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        // Where the system has no thread left, this one does it all.
        let another = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads).filter_map(another).collect();
        let mut all: Parsed = work().into_iter().collect();
        // What a worker did not give is parsed when it is asked for.
        all.extend(others.into_iter().filter_map(|t| t.join().ok()).flatten());
        all
    })
}

/// The modules that the lines beginning with `use std.` may mean: `std.data.mnist` is a module, or a name of `std.data`.
fn imports(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for rest in text.lines().filter_map(|l| l.strip_prefix("use ")).map(str::trim_start) {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len());
        let path = rest[..end].trim_end_matches('.');
        out.push(path.to_string());
        out.extend(path.rsplit_once('.').map(|(parent, _)| parent.to_string()));
    }
    out
}
