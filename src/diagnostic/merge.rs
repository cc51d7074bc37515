//! One error for a mistake that every use of a block or function meets again.

use std::collections::HashSet;

use super::Diagnostic;

/// Keeps the first of the errors that have their code, place and shown line in common and differ in the calls that
/// led there, and notes how many uses more there are. Errors of one use stay apart: they are different mistakes.
pub fn merge_uses(diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut kept: Vec<(Diagnostic, HashSet<u64>)> = Vec::new();
    for d in diagnostics {
        let Some(origin) = d.origin.filter(|_| d.is_error()) else {
            kept.push((d, HashSet::new()));
            continue;
        };
        let shown = |d: &Diagnostic| d.labels.first().map(|l| l.span);
        let alike = |k: &Diagnostic| {
            k.code == d.code
                && shown(k) == shown(&d)
                && k.origin.is_some_and(|o| o.place == origin.place && o.calls != origin.calls)
        };
        let place = |k: &dyn Fn(&Diagnostic) -> bool| kept.iter().position(|(other, _)| k(other));
        // Of several mistakes at one place, each use repeats each.
        let same = place(&|k| alike(k) && k.message == d.message).or_else(|| place(&alike));
        match same {
            Some(at) => {
                kept[at].1.insert(origin.calls);
            }
            None => kept.push((d, HashSet::new())),
        }
    }
    let noted = |(mut d, uses): (Diagnostic, HashSet<u64>)| {
        match uses.len() {
            0 => {}
            1 => d.notes.push("1 more use fails at this line".into()),
            n => d.notes.push(format!("{n} more uses fail at this line")),
        }
        d
    };
    kept.into_iter().map(noted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Origin, codes};
    use crate::source::Span;

    fn error(message: &str, at: u32, calls: u64) -> Diagnostic {
        let place = Span { start: at, end: at + 1, ..Span::default() };
        let origin = Some(Origin { place, calls });
        Diagnostic { origin, ..Diagnostic::error(codes::SHAPE_MISMATCH, message).label(place, "here") }
    }

    #[test]
    fn uses_are_counted_and_mistakes_are_kept() {
        let given = vec![
            error("of 3", 5, 1),
            error("of 4", 5, 2),
            error("of 5", 5, 3),
            error("of 5", 9, 3),
            error("again", 9, 3),
        ];
        let merged = merge_uses(given);
        let said: Vec<(&str, Vec<String>)> =
            merged.iter().map(|d| (d.message.as_str(), d.notes.clone())).collect();
        let two = vec!["2 more uses fail at this line".to_string()];
        assert_eq!(said, [("of 3", two), ("of 5", vec![]), ("again", vec![])]);
    }

    #[test]
    fn two_mistakes_at_one_place_are_two_in_every_use() {
        let given = vec![error("a", 5, 1), error("b", 5, 1), error("a", 5, 2), error("b", 5, 2)];
        let merged = merge_uses(given);
        let one = vec!["1 more use fails at this line".to_string()];
        assert_eq!(merged.iter().map(|d| d.notes.clone()).collect::<Vec<_>>(), [one.clone(), one]);
    }
}
