//! Layout tables: they rename the keys of a file that was written for another code base.
//!
//! A table is RON: `(rename: [("model.down.*.block.*.conv1.*", "down.*.blocks.*.conv1.*"), …], ignore: ["alphas*"])`.
//! The left side is a key of the file, the right side the field path; each `*` stands for any text without a
//! dot, and the n-th `*` on the right repeats what the n-th on the left stood for. The first rule that
//! fits is taken; a key that no rule fits keeps its name.

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, codes};

/// A parsed table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// From a file's keys to field paths.
    #[serde(default)]
    pub rename: Vec<(String, String)>,
    /// Keys that the model does not need.
    #[serde(default)]
    pub ignore: Vec<String>,
}

impl Layout {
    /// Reads a table.
    ///
    /// # Errors
    /// [`codes::WEIGHTS_UNREADABLE`] with the place of the mistake.
    pub fn parse(text: &str) -> Result<Layout, Diagnostic> {
        let bad = |why: String| {
            Diagnostic::error(codes::WEIGHTS_UNREADABLE, format!("a layout table is malformed: {why}"))
                .help("a table is (rename: [(\"key.*\", \"path.*\")], ignore: [\"key\"])")
        };
        let layout: Layout = ron::from_str(text).map_err(|e| bad(e.to_string()))?;
        let stars = |s: &str| s.matches('*').count();
        match layout.rename.iter().find(|(from, to)| stars(to) > stars(from)) {
            Some((from, to)) => Err(bad(format!("`{to}` has more `*` than `{from}`"))),
            None => Ok(layout),
        }
    }

    /// The field path of a file's key; `None` if it is ignored.
    pub fn path(&self, key: &str) -> Option<String> {
        if self.ignore.iter().any(|p| capture(p, key).is_some()) {
            return None;
        }
        for (from, to) in &self.rename {
            if let Some(found) = capture(from, key) {
                let mut parts = to.split('*');
                let mut out = parts.next().unwrap_or_default().to_string();
                for (part, text) in parts.zip(found) {
                    out.push_str(text);
                    out.push_str(part);
                }
                return Some(out);
            }
        }
        Some(key.to_string())
    }
}

/// What each `*` of the pattern stands for in `text`, if it fits: the shortest for each in turn.
fn capture<'t>(pattern: &str, text: &'t str) -> Option<Vec<&'t str>> {
    let mut parts = pattern.split('*');
    let mut rest = text.strip_prefix(parts.next()?)?;
    let parts: Vec<&str> = parts.collect();
    let mut found = Vec::with_capacity(parts.len());
    for (i, part) in parts.iter().enumerate() {
        let at = if i + 1 == parts.len() { rest.strip_suffix(part)?.len() } else { rest.find(part)? };
        let (star, after) = rest.split_at(at);
        if star.contains('.') {
            return None;
        }
        found.push(star);
        rest = after.strip_prefix(part)?;
    }
    rest.is_empty().then_some(found)
}
