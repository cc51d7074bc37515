//! Golden tests: one page per mistake or behaviour in `tests/golden/`, with what the compiler makes of it.
//!
//! A page has a title, a sentence, `## source` with the program (more files as fences `taper,file=NAME`,
//! the first fence is the one checked), then `## diagnostics` and, for clean files, `## formatted` and
//! `## graph` (the first entry point). `UPDATE_GOLDEN=1 cargo test --test it golden` writes these anew.

use std::collections::HashMap;
use std::fmt::Write;

use crate::fences::{check, fences, files, root, shown};

/// The page with its results computed anew.
fn regenerate(page: &str) -> String {
    const SOURCE: &str = "\n## source\n";
    let start = page.find(SOURCE).expect("a section `## source`") + SOURCE.len();
    let end = page[start..].find("\n## ").map_or(page.len(), |i| start + i);
    let sources = fences(&page[start..end]);
    let main = sources.first().expect("a program under `## source`");
    let others: HashMap<String, String> = sources[1..]
        .iter()
        .map(|f| (f.attributes.get("file").expect("further files have names").clone(), f.text.clone()))
        .collect();
    let checked = check(main, &others);
    let mut out = page[..end].trim_end().to_string();
    let mut section = |title: &str, language: &str, text: &str| {
        let text = text.trim_end_matches('\n');
        write!(out, "\n\n## {title}\n\n```{language}\n{text}\n```").unwrap();
    };
    if !checked.diagnostics.is_empty() {
        section("diagnostics", "text", &checked.render());
    }
    if !checked.has_errors() {
        section("formatted", "taper", &taper::syntax::format(&main.text).expect("a clean file parses"));
        if let Some(entry) = checked.program.as_ref().and_then(|p| p.entries.first()) {
            section("graph", "text", &taper::graph::text::print(&entry.graph));
        }
    }
    out.push('\n');
    out
}

/// Where two texts part.
pub fn difference(old: &str, new: &str) -> String {
    let at = old.lines().zip(new.lines()).take_while(|(a, b)| a == b).count();
    let line = |t: &str| t.lines().nth(at).unwrap_or("(the end)").to_string();
    format!("line {}\n  stored: {}\n  now:    {}", at + 1, line(old), line(new))
}

#[test]
fn golden_pages() {
    let mut pages = files(&root().join("tests/golden"), "md");
    // Those are of the command line.
    pages.retain(|p| !p.parent().is_some_and(|d| d.ends_with("commands")));
    assert!(pages.len() >= 40, "only {} pages", pages.len());
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for path in pages {
        let old = std::fs::read_to_string(&path).unwrap();
        let new = regenerate(&old);
        if old == new {
            continue;
        }
        if update {
            std::fs::write(&path, &new).unwrap();
        } else {
            wrong.push(format!("{}: {}", shown(&path), difference(&old, &new)));
        }
    }
    let hint = "see what changed with: UPDATE_GOLDEN=1 cargo test --test it golden; git diff tests/golden";
    assert!(wrong.is_empty(), "{}\n{hint}", wrong.join("\n"));
}
