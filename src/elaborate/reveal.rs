//! What `reveal` shows of static values that hold others: a list of numbers, or a table of rows.

use super::value::Value;

/// Rows that are shown of the beginning and of the end of a longer table, and lines of a longer list.
const SHOWN: usize = 50;
const LINES: usize = 8;

/// The values of a list, tuple or record in rows and columns; `None` for what has no other values in it.
pub(super) fn table(value: &Value) -> Option<String> {
    let rows: Vec<Vec<String>> = match value {
        Value::List(items) if items.iter().any(|i| matches!(i, Value::Record(_))) => {
            let Some(Value::Record(first)) = items.first() else { return None };
            let head = first.iter().map(|(name, _)| name.to_string()).collect();
            std::iter::once(head).chain(items.iter().map(cells)).collect()
        }
        Value::List(items) if items.iter().any(|i| matches!(i, Value::List(_) | Value::Tuple(_))) => {
            items.iter().map(cells).collect()
        }
        Value::Record(fields) => {
            fields.iter().map(|(name, v)| vec![name.to_string(), cells(v).join(" ")]).collect()
        }
        Value::List(items) if !items.is_empty() => {
            items.chunks(6).map(|row| row.iter().map(cell).collect()).collect()
        }
        Value::Tuple(_) => vec![cells(value)],
        _ => return None,
    };
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(c, w)| format!("{c:>w$}", w = *w)).collect();
        cells.join("  ")
    };
    let plain = matches!(value, Value::List(items) if !items.iter().any(has_parts));
    let most = if plain { LINES } else { SHOWN };
    if rows.len() <= 2 * most + 1 {
        return Some(rows.iter().map(line).collect::<Vec<_>>().join("\n"));
    }
    let (start, end) = (&rows[..most], &rows[rows.len() - most..]);
    let left = format!("… {} more lines", rows.len() - 2 * most);
    let lines = start.iter().map(line).chain(std::iter::once(left)).chain(end.iter().map(line));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

fn has_parts(value: &Value) -> bool {
    matches!(value, Value::Record(_) | Value::List(_) | Value::Tuple(_))
}

/// The columns of a row.
fn cells(row: &Value) -> Vec<String> {
    match row {
        Value::List(items) if items.len() <= 6 && !items.iter().any(has_parts) => {
            items.iter().map(cell).collect()
        }
        Value::Tuple(items) => items.iter().map(|(_, v)| cell(v)).collect(),
        Value::Record(fields) => fields.iter().map(|(_, v)| cell(v)).collect(),
        other => vec![cell(other)],
    }
}

/// One value in few characters: six digits of a number.
fn cell(value: &Value) -> String {
    match value {
        Value::Int(d) => d.to_string(),
        Value::Float(v) if *v == 0.0 || !v.is_finite() => v.to_string(),
        Value::Float(v) if (1e-3..1e6).contains(&v.abs()) => {
            let digits = 5 - v.abs().log10().floor() as i32;
            format!("{v:.w$}", w = digits.clamp(0, 8) as usize)
        }
        Value::Float(v) => format!("{v:.5e}"),
        Value::Bool(b) => b.to_string(),
        Value::Str(s) => s.to_string(),
        other => other.describe(),
    }
}
