//! Diagnostics on standard error.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Outcome;
use crate::diagnostic::{Diagnostic, render::render_all};
use crate::run::Profile;
use crate::run::profile::Row;
use crate::source::SourceMap;

/// Prints diagnostics; whether there was an error.
pub(super) fn print(diagnostics: &[Diagnostic], sources: &SourceMap) -> bool {
    // A file is checked for its graphs and again with the arguments of one: what was said is not said again.
    static SAID: Mutex<Vec<Diagnostic>> = Mutex::new(Vec::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let diagnostics: Vec<Diagnostic> =
        diagnostics.iter().filter(|d| d.is_error() || !said.contains(d)).cloned().collect();
    said.extend(diagnostics.iter().filter(|d| !d.is_error()).cloned());
    let diagnostics = diagnostics.as_slice();
    if diagnostics.is_empty() {
        return false;
    }
    let stderr = std::io::stderr();
    let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // Blank lines stand between what is printed at different times as well.
    static PRINTED: AtomicBool = AtomicBool::new(false);
    let first = !PRINTED.swap(true, Ordering::Relaxed);
    let errors = diagnostics.iter().filter(|d| d.is_error()).count();
    let mut out = stderr.lock();
    // A closed pipe is no reason to fail.
    let gap = if first { "" } else { "\n" };
    let _ = write!(out, "{gap}{}", render_all(diagnostics, sources, colour));
    if errors > 1 {
        let _ = writeln!(out, "\n{errors} errors");
    }
    errors > 0
}

/// Prints one diagnostic without source; for what is wrong outside the file.
pub(super) fn fail(diagnostic: Diagnostic, outcome: Outcome) -> Outcome {
    print(std::slice::from_ref(&diagnostic), &SourceMap::default());
    outcome
}

/// Prints to standard output; a closed pipe is no reason to fail.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints to standard error.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Rows of a profile that are shown by themselves: of operations, and of operations with their shapes.
const PROFILE_ROWS: [usize; 2] = [15, 25];

/// Prints what took the time of a run, by operation and by operation and shapes; rows beyond the first as one.
pub(super) fn profile(profile: &Profile) {
    note("time by operation");
    profile_table(&profile.names(), PROFILE_ROWS[0]);
    note("\ntime by operation and shapes");
    profile_table(&profile.rows(), PROFILE_ROWS[1]);
}

fn profile_table(rows: &[Row], shown: usize) {
    let sum = |rows: &[Row], what: fn(&Row) -> f64| rows.iter().map(what).sum::<f64>();
    let total = |rows: &[Row], operation: &str, types: String| Row {
        operation: operation.into(),
        types,
        calls: rows.iter().map(|r| r.calls).sum(),
        seconds: sum(rows, |r| r.seconds),
        flops: sum(rows, |r| r.flops),
        ..Row::default()
    };
    let (first, rest) = rows.split_at(rows.len().min(shown));
    let mut lines = first.to_vec();
    if !rest.is_empty() {
        lines.push(total(rest, "others", format!("{} of them", rest.len())));
    }
    let all = total(rows, "all", String::new());
    let seconds = all.seconds.max(f64::MIN_POSITIVE);
    lines.push(all);
    let width = lines.iter().map(|r| r.operation.chars().count()).max().unwrap_or(0).max(9);
    note(&format!("{:>9}  {:>5}  {:>7}  {:>7}  {:width$}", "seconds", "%", "calls", "GFLOP/s", "operation"));
    for row in lines {
        let (share, speed) = (100.0 * row.seconds / seconds, row.flops / row.seconds.max(1e-12) / 1e9);
        let line = format!(
            "{:>9.3}  {share:>5.1}  {:>7}  {speed:>7.1}  {:width$}  {}",
            row.seconds, row.calls, row.operation, row.types
        );
        note(line.trim_end());
    }
}

/// `12.3 M`, `4.5 G`: a count.
pub(super) fn count(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= 1e12 => (v / 1e12, " T"),
        v if v >= 1e9 => (v / 1e9, " G"),
        v if v >= 1e6 => (v / 1e6, " M"),
        v if v >= 1e3 => (v / 1e3, " k"),
        v => return format!("{v:.0} "),
    };
    if scaled < 10.0 { format!("{scaled:.2}{unit}") } else { format!("{scaled:.1}{unit}") }
}
