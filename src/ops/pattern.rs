//! The notation of einops (Rogozhnikov 2022): sides of a pattern such as `b (h p) w ... -> b h p w ...`.

use super::OpError;
use crate::diagnostic::codes;
use crate::shape::{Dim, Type};

/// An elementary axis of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axis {
    /// A name.
    Name(String),
    /// An anonymous axis of that length.
    Literal(i64),
    /// `...`: any number of axes.
    Rest,
}

/// One side: an item per axis of the tensor, an item being the elementary axes that it consists of.
pub type Side = Vec<Vec<Axis>>;

/// A pattern error, which quotes the pattern.
pub fn malformed(pattern: &str, problem: impl std::fmt::Display) -> OpError {
    OpError::new(codes::BAD_PATTERN, format!("the pattern \"{pattern}\": {problem}"))
}

/// The two sides of `left -> right`, as text.
///
/// # Errors
/// There is no arrow, or more than one.
pub fn arrow(pattern: &str) -> Result<(&str, &str), OpError> {
    match pattern.split("->").collect::<Vec<_>>().as_slice() {
        [left, right] => Ok((left, right)),
        [_] => Err(malformed(pattern, "there is no `->`").help("\"axes before -> axes after\"")),
        _ => Err(malformed(pattern, "there is more than one `->`")),
    }
}

/// Reads a side.
///
/// # Errors
/// Brackets that do not match, a character that no axis has, an axis named twice, more than one `...`.
pub fn side(pattern: &str, text: &str) -> Result<Side, OpError> {
    let mut out: Side = Vec::new();
    let mut group: Option<Vec<Axis>> = None;
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let (token, after) = if let Some(after) = rest.strip_prefix("...") {
            ("...", after)
        } else if c.is_alphanumeric() || c == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            rest.split_at(end)
        } else {
            rest.split_at(c.len_utf8())
        };
        rest = after.trim_start();
        let axis = match token {
            "(" if group.is_some() => return Err(malformed(pattern, "brackets must not nest")),
            "(" => {
                group = Some(Vec::new());
                continue;
            }
            ")" => match group.take() {
                Some(mut axes) => {
                    // The anonymous 1 tells `(...)`, which merges, from a bare `...`.
                    if axes == [Axis::Rest] {
                        axes.push(Axis::Literal(1));
                    }
                    out.push(axes);
                    continue;
                }
                None => return Err(malformed(pattern, "a `)` has no `(`")),
            },
            "..." => Axis::Rest,
            _ if c.is_ascii_digit() => match token.parse::<i64>() {
                Ok(value) => Axis::Literal(value),
                Err(_) => {
                    return Err(malformed(
                        pattern,
                        format!("`{token}` is no axis; names start with a letter"),
                    ));
                }
            },
            _ if c.is_alphabetic() || c == '_' => Axis::Name(token.to_string()),
            _ => {
                let error = malformed(pattern, format!("`{token}` does not belong in a pattern"));
                return Err(
                    error.help("a pattern has names, `1`, brackets around merged axes, `...` and one `->`")
                );
            }
        };
        if !matches!(axis, Axis::Literal(_))
            && (out.iter().flatten().chain(group.iter().flatten())).any(|a| *a == axis)
        {
            let problem = match axis {
                Axis::Name(name) => format!("the axis `{name}` stands twice on one side"),
                _ => "`...` stands twice on one side".to_string(),
            };
            return Err(malformed(pattern, problem));
        }
        match &mut group {
            Some(axes) => axes.push(axis),
            None => out.push(vec![axis]),
        }
    }
    match group {
        Some(_) => Err(malformed(pattern, "a `(` has no `)`")),
        None => Ok(out),
    }
}

/// The names of a side in order.
pub fn names(side: &Side) -> impl Iterator<Item = &str> {
    side.iter().flatten().filter_map(|a| match a {
        Axis::Name(name) => Some(name.as_str()),
        _ => None,
    })
}

/// Elementary axes with their lengths: `...` has become numbered names.
pub type Sizes = Vec<(Axis, Dim)>;

/// The name of axis `i` of `...`; no name of a pattern can be equal to it.
pub fn rest_name(i: usize) -> Axis {
    Axis::Name(format!("...{i}"))
}

/// Matches the left side with a tensor: the elementary axes and their lengths, in order.
///
/// # Errors
/// The rank or a length disagrees, or a merged axis does not divide.
pub fn fit(pattern: &str, left: &Side, x: &Type, given: &[(String, Dim)]) -> Result<Sizes, OpError> {
    let is_rest = |item: &Vec<Axis>| item.contains(&Axis::Rest);
    if left.iter().any(|item| is_rest(item) && item.len() > 1) {
        return Err(malformed(pattern, "`...` stands in brackets on the left"));
    }
    let named = left.iter().filter(|item| !is_rest(item)).count();
    let has_rest = named < left.len();
    let rest = match x.rank().checked_sub(named) {
        Some(rest) if rest == 0 || has_rest => rest,
        _ => {
            let m = malformed(pattern, format!("it has {named} axes, and the tensor is {x}"));
            return Err(OpError { code: codes::WRONG_RANK, ..m });
        }
    };
    let mut out = Sizes::new();
    let mut dims = x.shape.iter();
    for item in left {
        if is_rest(item) {
            out.extend((0..rest).map(rest_name).zip(dims.by_ref().take(rest).cloned()));
            continue;
        }
        let Some(dim) = dims.next() else { break };
        out.extend(split_axis(pattern, item, dim, given)?);
    }
    Ok(out)
}

/// The lengths of the axes that one axis of the tensor is made of; one of them may be unknown.
fn split_axis(pattern: &str, item: &[Axis], dim: &Dim, given: &[(String, Dim)]) -> Result<Sizes, OpError> {
    let length = |axis: &Axis| match axis {
        Axis::Literal(value) => Some(Dim::from(*value)),
        Axis::Name(name) => given.iter().find(|(n, _)| n == name).map(|(_, d)| d.clone()),
        Axis::Rest => None,
    };
    let known = item.iter().filter_map(length).fold(Dim::from(1), |a, d| a * d);
    let unknown: Vec<&Axis> = item.iter().filter(|a| length(a).is_none()).collect();
    let text = item.iter().map(show).collect::<Vec<_>>().join(" ");
    let solved = match unknown.as_slice() {
        [] if known == *dim => Dim::from(1),
        [] => {
            let m = malformed(pattern, format!("`{text}` is {known}, and that axis of the tensor is {dim}"));
            return Err(OpError { code: codes::SHAPE_MISMATCH, ..m });
        }
        [_] => dim.exact_div(&known).ok_or_else(|| {
            let m = malformed(pattern, format!("the axis `{text}` is {dim}, which {known} does not divide"));
            OpError { code: codes::NOT_DIVISIBLE, ..m }
        })?,
        [first, ..] => {
            let m = malformed(pattern, format!("`{text}` has {} axes of unknown length", unknown.len()));
            let m = m.help(format!("name one, for instance `{} = 2` after the pattern", show(first)));
            return Err(OpError { code: codes::UNSOLVED_DIM, ..m });
        }
    };
    Ok(item.iter().map(|a| (a.clone(), length(a).unwrap_or_else(|| solved.clone()))).collect())
}

/// An axis as written.
pub fn show(axis: &Axis) -> String {
    match axis {
        Axis::Name(name) => name.clone(),
        Axis::Literal(value) => value.to_string(),
        Axis::Rest => "...".to_string(),
    }
}
