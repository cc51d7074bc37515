//! `metadata.jsonl` beside images: a JSON object per line with `file_name` and further fields, as in
//! Hugging Face's `imagefolder`.

use std::path::{Component, Path};

use serde_json::{Map, Value};

use super::array::{Array, ArrayData};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};

/// A table of image files and what is known about each.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// Image files, relative to the folder of the table.
    pub files: Vec<String>,
    /// The other fields, one row per file, sorted by name.
    pub columns: Vec<(String, Array)>,
}

/// Parses the text of a table; `name` is for messages.
///
/// Strings become text, whole numbers i64, other numbers f32, truth values u8, lists of numbers of one
/// length rows. Every line must have the same fields with the same kinds of value.
///
/// # Errors
/// `E0802` names the line and what is wrong with it, `E0803` when there is no line.
pub fn parse_metadata(text: &str, name: &str) -> Result<Metadata, Diagnostic> {
    let mut rows: Vec<(usize, Map<String, Value>)> = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let line_number = i + 1;
        let row = match serde_json::from_str(line) {
            Ok(Value::Object(row)) => row,
            Ok(other) => {
                return Err(bad(
                    name,
                    line_number,
                    &format!("a JSON object was expected, found {}", kind(&other)),
                ));
            }
            Err(e) => return Err(bad(name, line_number, &format!("it is not JSON: {e}"))),
        };
        rows.push((line_number, row));
    }
    let Some((_, first)) = rows.first() else {
        return Err(Diagnostic::error(codes::DATA_EMPTY, format!("`{name}` has no lines")).help(
            "write a line such as {\"file_name\": \"0001.png\", \"text\": \"a red shoe\"} for each image",
        ));
    };
    let keys: Vec<String> = first.keys().cloned().collect();
    check_keys(&rows, &keys, name)?;
    let mut files = Vec::with_capacity(rows.len());
    for (line, row) in &rows {
        match row.get("file_name") {
            Some(Value::String(file)) => files.push(checked_path(file, name, *line)?),
            other => {
                let found = other.map_or("nothing", kind);
                return Err(bad(name, *line, &format!("`file_name` must be a string, found {found}")));
            }
        }
    }
    let fields = keys.iter().filter(|k| *k != "file_name");
    let columns =
        fields.map(|k| Ok((k.clone(), column(&rows, k, name)?))).collect::<Result<_, Diagnostic>>()?;
    Ok(Metadata { files, columns })
}

fn check_keys(rows: &[(usize, Map<String, Value>)], keys: &[String], name: &str) -> Result<(), Diagnostic> {
    let Some((first_line, first)) = rows.first() else { return Ok(()) };
    if !first.contains_key("file_name") {
        let d = bad(name, *first_line, "it has no `file_name`");
        return Err(match did_you_mean("file_name", keys.iter().map(String::as_str)) {
            Some(near) => d.help(format!("rename the field `{near}` to `file_name`")),
            None => d,
        });
    }
    if first.contains_key("image") {
        return Err(bad(name, *first_line, "the field `image` is the picture itself and cannot be given")
            .help("rename the field"));
    }
    for (line, row) in rows {
        if let Some(missing) = keys.iter().find(|k| !row.contains_key(*k)) {
            return Err(bad(name, *line, &format!("it has no `{missing}`, which line {first_line} has")));
        }
        if let Some(extra) = row.keys().find(|k| !keys.contains(k)) {
            return Err(bad(name, *line, &format!("it has `{extra}`, which line {first_line} has not")));
        }
    }
    Ok(())
}

/// A file name that stays inside the folder.
fn checked_path(file: &str, name: &str, line: usize) -> Result<String, Diagnostic> {
    let inside = Path::new(file).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if file.is_empty() || !inside {
        return Err(bad(name, line, &format!("`file_name` must stay inside the folder, found `{file}`"))
            .help("give the path relative to the folder of metadata.jsonl, without `..`"));
    }
    Ok(file.to_owned())
}

fn column(rows: &[(usize, Map<String, Value>)], key: &str, name: &str) -> Result<Array, Diagnostic> {
    let values: Vec<(usize, &Value)> = rows.iter().filter_map(|(l, r)| r.get(key).map(|v| (*l, v))).collect();
    let Some((first_line, first)) = values.first().copied() else {
        return Err(bad(name, 1, &format!("it has no `{key}`")));
    };
    let differs = |line: usize, v: &Value| {
        bad(name, line, &format!("`{key}` is {}, on line {first_line} it is {}", kind(v), kind(first)))
            .help("give a field the same kind of value on every line")
    };
    let n = values.len();
    match first {
        Value::String(_) => {
            let texts =
                values.iter().map(|(l, v)| v.as_str().map(str::to_owned).ok_or_else(|| differs(*l, v)));
            Array::new(vec![n], ArrayData::Text(texts.collect::<Result<_, _>>()?))
        }
        Value::Bool(_) => {
            let bits = values.iter().map(|(l, v)| v.as_bool().map(u8::from).ok_or_else(|| differs(*l, v)));
            Array::new(vec![n], ArrayData::U8(bits.collect::<Result<_, _>>()?))
        }
        Value::Number(_) => {
            if let Some((l, v)) = values.iter().find(|(_, v)| !v.is_number()) {
                return Err(differs(*l, v));
            }
            Array::new(vec![n], numbers(values.iter().map(|(_, v)| *v)))
        }
        Value::Array(items) => {
            for (l, v) in &values {
                let Some(list) = v.as_array() else { return Err(differs(*l, v)) };
                if list.len() != items.len() || list.is_empty() {
                    return Err(bad(
                        name,
                        *l,
                        &format!("`{key}` has {} numbers, {} were expected", list.len(), items.len().max(1)),
                    ));
                }
                if let Some(other) = list.iter().find(|x| !x.is_number()) {
                    return Err(bad(
                        name,
                        *l,
                        &format!("`{key}` must be a list of numbers; it holds {}", kind(other)),
                    ));
                }
            }
            let all = values.iter().filter_map(|(_, v)| v.as_array()).flatten();
            Array::new(vec![n, items.len()], numbers(all))
        }
        other => Err(bad(
            name,
            first_line,
            &format!("`{key}` is {}; a string, a number or a list of numbers was expected", kind(other)),
        )
        .help("fill in the field, or remove it from every line")),
    }
}

/// Whole numbers as i64 if all are, else f32.
fn numbers<'a>(values: impl Iterator<Item = &'a Value> + Clone) -> ArrayData {
    match values.clone().map(Value::as_i64).collect::<Option<Vec<i64>>>() {
        Some(v) => ArrayData::I64(v),
        None => ArrayData::F32(values.map(|v| v.as_f64().unwrap_or(f64::NAN) as f32).collect()),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn bad(name: &str, line: usize, why: &str) -> Diagnostic {
    Diagnostic::error(codes::DATA_FORMAT, format!("line {line} of `{name}` is wrong: {why}"))
        .help("every line is a JSON object such as {\"file_name\": \"0001.png\", \"text\": \"a red shoe\"}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Metadata, Diagnostic> {
        parse_metadata(text, "metadata.jsonl")
    }

    #[test]
    fn fields_get_their_kinds() {
        let text = "{\"file_name\":\"a.png\",\"text\":\"a\",\"label\":3,\"size\":1,\"box\":[1,2],\"ok\":true}\n\n\
                    {\"file_name\":\"s/b.png\",\"text\":\"b\",\"label\":4,\"size\":0.5,\"box\":[3,4],\"ok\":false}";
        let got = parse(text).unwrap();
        assert_eq!(got.files, ["a.png", "s/b.png"]);
        let named = |n: &str| &got.columns.iter().find(|c| c.0 == n).unwrap().1;
        assert_eq!(named("text").data, ArrayData::Text(vec!["a".into(), "b".into()]));
        assert_eq!(named("label").data, ArrayData::I64(vec![3, 4]));
        assert_eq!(named("size").data, ArrayData::F32(vec![1.0, 0.5]));
        assert_eq!(named("box"), &Array::new(vec![2, 2], ArrayData::I64(vec![1, 2, 3, 4])).unwrap());
        assert_eq!(named("ok").data, ArrayData::U8(vec![1, 0]));
    }

    #[test]
    fn every_mistake_names_its_line() {
        let a = "{\"file_name\":\"a.png\",\"text\":\"a\",\"k\":[1]}\n";
        for (line, says) in [
            (
                "{\"file_name\":\"b.png\",\"text\":1,\"k\":[1]}",
                "`text` is a number, on line 1 it is a string",
            ),
            ("{\"file_name\":\"b.png\",\"k\":[1]}", "it has no `text`, which line 1 has"),
            (
                "{\"file_name\":\"b.png\",\"text\":\"b\",\"k\":[1],\"x\":0}",
                "it has `x`, which line 1 has not",
            ),
            ("{\"file_name\":\"b.png\",\"text\":\"b\",\"k\":[1,2]}", "has 2 numbers, 1 were expected"),
            (
                "{\"file_name\":\"b.png\",\"text\":\"b\",\"k\":[\"z\"]}",
                "must be a list of numbers; it holds a string",
            ),
            ("{\"file_name\":\"../b.png\",\"text\":\"b\",\"k\":[1]}", "must stay inside the folder"),
            ("{\"file_name\":\"/etc/passwd\",\"text\":\"b\",\"k\":[1]}", "must stay inside the folder"),
            ("{\"file_name\":7,\"text\":\"b\",\"k\":[1]}", "`file_name` must be a string, found a number"),
            ("{\"file_name\":\"b.png\",", "it is not JSON"),
            ("[1, 2]", "a JSON object was expected, found a list"),
        ] {
            let d = parse(&format!("{a}{line}")).unwrap_err();
            assert_eq!(d.code, codes::DATA_FORMAT);
            assert!(
                d.message.starts_with("line 2 of `metadata.jsonl`") && d.message.contains(says),
                "{}",
                d.message
            );
        }
        let d = parse("{\"filename\":\"a.png\"}").unwrap_err();
        assert_eq!(d.help.unwrap(), "rename the field `filename` to `file_name`");
        assert!(parse("{\"file_name\":\"a.png\",\"image\":1}").is_err());
        assert!(parse("{\"file_name\":\"a.png\",\"x\":null}").unwrap_err().message.contains("`x` is null"));
        assert_eq!(parse("\n \n").unwrap_err().code, codes::DATA_EMPTY);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(\\{|\\}|\\[|\\]|\"file_name\"|\"a\"|:|,|1|null|[^\u{0}]){0,40}", line: String) {
            let _ = parse(&text);
            let _ = parse(&format!("{{\"file_name\":{line:?}}}"));
        }

        #[test]
        fn deep_nesting_is_refused(depth in 200usize..5000) {
            let text = format!("{{\"file_name\":\"a\",\"k\":{}", "[".repeat(depth));
            prop_assert!(parse(&text).is_err());
        }
    }
}
