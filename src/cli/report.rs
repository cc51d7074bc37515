//! Diagnostics on standard error.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Outcome;
use crate::diagnostic::{Diagnostic, render::render_all};
use crate::run::Profile;
use crate::run::profile::Row;
use crate::source::SourceMap;

/// Prints diagnostics; whether there was an error.
pub(super) fn print(diagnostics: &[Diagnostic], sources: &SourceMap) -> bool {
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

/// Rows of a profile that are shown by themselves.
const PROFILE_ROWS: usize = 30;

/// Prints what took the time of a run; rows beyond the first as one.
pub(super) fn profile(profile: &Profile) {
    let rows = profile.rows();
    let sum = |rows: &[Row], what: fn(&Row) -> f64| rows.iter().map(what).sum::<f64>();
    let all = sum(&rows, |r| r.seconds);
    let (first, rest) = rows.split_at(rows.len().min(PROFILE_ROWS));
    let width = first.iter().map(|r| r.operation.chars().count()).max().unwrap_or(0).max(9);
    note(&format!("{:>8}  {:>5}  {:>7}  {:>7}  {:width$}  types", "seconds", "%", "calls", "GFLOP/s", "operation"));
    let line = |seconds: f64, calls: f64, flops: f64, operation: &str, types: &str| {
        let (share, speed) = (100.0 * seconds / all.max(1e-12), flops / seconds.max(1e-12) / 1e9);
        note(&format!("{seconds:>8.3}  {share:>5.1}  {calls:>7}  {speed:>7.1}  {operation:width$}  {types}"));
    };
    for row in first {
        line(row.seconds, row.calls as f64, row.flops, &row.operation, &row.types);
    }
    if !rest.is_empty() {
        let (seconds, flops) = (sum(rest, |r| r.seconds), sum(rest, |r| r.flops));
        line(seconds, sum(rest, |r| r.calls as f64), flops, "others", &format!("of {} kinds", rest.len()));
    }
    line(all, sum(&rows, |r| r.calls as f64), sum(&rows, |r| r.flops), "all", "");
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
