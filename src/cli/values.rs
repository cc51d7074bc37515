//! Static values as flags give them.

use crate::diagnostic::{Diagnostic, codes};
use crate::graph::program::{EntryKind, StaticValue};

/// A value written on the command line: a number, `true`, `false`, `none`, a list, else a string.
pub(super) fn parse(text: &str) -> StaticValue {
    let plain = text.replace('_', "");
    if let Ok(v) = plain.parse::<i64>() {
        return StaticValue::Int(v);
    }
    if let Ok(v) = plain.parse::<f64>() {
        return StaticValue::Float(v);
    }
    match text {
        "true" => StaticValue::Bool(true),
        "false" => StaticValue::Bool(false),
        "none" => StaticValue::None,
        _ => match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            Some("") => StaticValue::List(Vec::new()),
            Some(inner) => StaticValue::List(inner.split(',').map(|p| parse(p.trim())).collect()),
            // A quoted string has the escapes that it is shown with.
            None if text.starts_with('"') => {
                StaticValue::Str(ron::from_str(text).unwrap_or_else(|_| text.trim_matches('"').to_string()))
            }
            None => StaticValue::Str(text.trim_matches('"').to_string()),
        },
    }
}

/// `--set name=value`.
pub(super) fn parse_set(text: &str) -> Result<(String, StaticValue), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_string(), parse(value.trim()))),
        _ => Err("give it as name=value".into()),
    }
}

/// `--seed`.
pub(super) fn parse_seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a whole number from 0 to {} is needed", u64::MAX))
}

/// A number of threads, steps or samples.
pub(super) fn parse_count<T: std::str::FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    text.parse().ok().filter(|n| *n >= T::from(1)).ok_or_else(|| "a whole number from 1 is needed".into())
}

/// The value of a flag of a given kind.
pub(super) fn parse_kind(name: &str, kind: &EntryKind, text: &str) -> Result<StaticValue, Diagnostic> {
    let wrong = |want: &str| {
        Diagnostic::error(codes::BAD_FLAG, format!("`--{name} {text}`: {want} is needed"))
            .help(format!("for example: --{name} {}", if want.contains("whole") { "16" } else { "0.5" }))
    };
    match kind {
        EntryKind::Int => match parse(text) {
            v @ StaticValue::Int(_) => Ok(v),
            _ => Err(wrong("a whole number")),
        },
        EntryKind::Float => match parse(text) {
            StaticValue::Int(v) => Ok(StaticValue::Float(v as f64)),
            v @ StaticValue::Float(_) => Ok(v),
            _ => Err(wrong("a number")),
        },
        EntryKind::Bool => match parse(text) {
            v @ StaticValue::Bool(_) => Ok(v),
            _ => Err(wrong("true or false")),
        },
        _ => Ok(StaticValue::Str(text.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        let text = |s: &str| StaticValue::Str(s.into());
        for value in [
            StaticValue::Int(-7),
            StaticValue::Float(1e-5),
            StaticValue::Float(3.0),
            StaticValue::Bool(true),
            StaticValue::None,
            StaticValue::List(vec![StaticValue::Int(1), text("two")]),
            text("none"),
            text("1_0"),
            text("a \"b\" \n\u{1b}é"),
        ] {
            assert_eq!(parse(&value.to_string()), value);
        }
    }
}
