use proptest::collection::vec;
use proptest::prelude::*;

use super::generate::Generator;
use super::samples;
use super::*;
use crate::syntax::ast::*;
use crate::syntax::layout::layout;
use crate::syntax::{format, strip_spans};

/// What must hold for any text.
fn check_any(text: &str) {
    let (file, diagnostics) = parse(text, FileId(0));
    for diagnostic in &diagnostics {
        assert!(!diagnostic.labels.is_empty());
        for label in &diagnostic.labels {
            let (start, end) = (label.span.start as usize, label.span.end as usize);
            assert!(text.get(start..end).is_some(), "{diagnostic:?} in {text:?}");
        }
    }
    drawn(text, &diagnostics);
    let wrong = format!("{file:?}").contains("Error");
    assert!(!(wrong && diagnostics.is_empty()), "an error without a diagnostic in {text:?}");
    match format(text) {
        Err(errors) => assert!(!errors.is_empty()),
        Ok(once) => check_formatted(text, &file, &once),
    }
}

fn check_formatted(text: &str, file: &File, once: &str) {
    let (again, diagnostics) = parse(once, FileId(0));
    assert!(diagnostics.is_empty(), "from\n{text}\n---\n{}", drawn(once, &diagnostics));
    assert_eq!(strip_spans(file), strip_spans(&again), "meaning changed from\n{text}\n--- to\n{once}");
    let twice = format(once).unwrap_or_default();
    assert_eq!(once, twice, "not stable, from\n{text}");
}

/// Pieces of programs that tokens are replaced with.
const TOKENS: &[&str] = &[
    "(", ")", "[", "]", "{", "}", "\n", ",", "=", "->", "..", ".", ":", "-", "+", "^", "==", "not", "if",
    "else", "for", "in", "fn", "loop", "graph", "train", "block", "watch", "minimize", "from", "as", "x",
    "1", "\"", "#", "##", ";", "é", "\r", "1e999", "use",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_programs(choices in vec(any::<u8>(), 0..600)) {
        let (text, comments) = Generator::program(&choices);
        let (file, diagnostics) = parse(&text, FileId(0));
        prop_assert!(diagnostics.is_empty(), "{}", drawn(&text, &diagnostics));
        let once = format(&text).unwrap_or_default();
        check_formatted(&text, &file, &once);
        for i in 0..comments {
            // Documentation is part of the tree, which has been compared.
            let kept = once.matches(&format!("# c{i}.")).count();
            prop_assert_eq!(kept, 1, "comment {} from\n{}\n--- to\n{}", i, text, once);
        }
        for line in once.lines() {
            prop_assert_eq!(line.trim_end(), line);
        }
    }

    #[test]
    fn recovery_gives_the_same_tree(choices in vec(any::<u8>(), 0..300)) {
        let (text, _) = Generator::program(&choices);
        let whole = strip_spans(&clean(&text));
        let (file, diagnostics) = parse(&format!("{text}\nx = = 1\n"), FileId(0));
        prop_assert_eq!(diagnostics.len(), 1, "{}", drawn(&text, &diagnostics));
        let mut pieces = strip_spans(&file);
        prop_assert!(matches!(pieces.items.pop(), Some(Item::Error(_))));
        prop_assert_eq!(pieces.items, whole.items);
    }

    #[test]
    fn mutated_characters(which in 0..samples::ALL.len(), edits in vec((any::<u16>(), 0..3_u8, any::<char>()), 1..4)) {
        let mut chars: Vec<char> = samples::ALL[which].1.chars().collect();
        for (at, kind, c) in edits {
            let at = usize::from(at) % chars.len().max(1);
            match kind {
                0 => { chars.remove(at); }
                1 => chars.insert(at, c),
                _ => { let other = (at * 7 + 3) % chars.len(); chars.swap(at, other); }
            }
        }
        check_any(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn mutated_tokens(which in 0..samples::ALL.len(), edits in vec((any::<u16>(), 0..4_u8, 0..TOKENS.len()), 1..4)) {
        let text = samples::ALL[which].1;
        let mut parts: Vec<String> = Vec::new();
        let mut at = 0;
        for token in layout(text, FileId(0)).tokens {
            parts.push(text[at..token.start].to_string());
            parts.push(text[token.start..token.end].to_string());
            at = token.end;
        }
        for (at, kind, token) in edits {
            let at = usize::from(at) % parts.len().max(1);
            match kind {
                0 => { parts.remove(at); }
                1 => parts.insert(at, TOKENS[token].to_string()),
                2 => parts[at] = TOKENS[token].to_string(),
                _ => { let other = (at * 7 + 3) % parts.len(); parts.swap(at, other); }
            }
        }
        check_any(&parts.concat());
    }

    #[test]
    fn any_text(text in "\\PC{0,60}") {
        check_any(&text);
    }

    #[test]
    fn token_soup(tokens in vec(0..TOKENS.len(), 0..40)) {
        let words: Vec<&str> = tokens.into_iter().map(|i| TOKENS[i]).collect();
        check_any(&words.join(" "));
        check_any(&words.concat());
    }
}
