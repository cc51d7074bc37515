//! Static evaluation of elementwise functions and reductions: numbers in f64 and i64, lists by element.

use super::OpError;
use super::args::Arg;
use crate::diagnostic::codes;

/// The largest list that folding nests into, against files that build towers of lists.
const DEPTH: usize = 64;

/// The number that a static value is.
///
/// # Errors
/// It is no number, or an open dimension.
pub fn number(value: &Arg) -> Result<f64, OpError> {
    match value {
        Arg::Float(v) => Ok(*v),
        Arg::Int(d) => d
            .as_const()
            .map(|v| v as f64)
            .ok_or_else(|| OpError::value(format!("a known number is needed, and `{d}` is open"))),
        _ => Err(OpError::new(codes::WRONG_KIND, "expected a number or a list of numbers")),
    }
}

/// Applies a function to a value, or to each element of a list, of lists too.
///
/// # Errors
/// Those of the function, or lists that nest too deep.
pub fn map_static(value: &Arg, f: &dyn Fn(&Arg) -> Result<Arg, OpError>) -> Result<Arg, OpError> {
    fn go(value: &Arg, depth: usize, f: &dyn Fn(&Arg) -> Result<Arg, OpError>) -> Result<Arg, OpError> {
        match value {
            Arg::List(_) if depth == DEPTH => Err(OpError::value("the list is nested too deep")),
            Arg::List(items) => {
                Ok(Arg::List(items.iter().map(|v| go(v, depth + 1, f)).collect::<Result<_, _>>()?))
            }
            other => f(other),
        }
    }
    go(value, 0, f)
}

/// Applies a function of two, repeating a single value over a list; lists must be of one length.
///
/// # Errors
/// Those of the function, or lists of different lengths.
pub fn map_static2(a: &Arg, b: &Arg, f: &dyn Fn(&Arg, &Arg) -> Result<Arg, OpError>) -> Result<Arg, OpError> {
    pairs(a, b, 0, f)
}

fn pairs(
    a: &Arg,
    b: &Arg,
    depth: usize,
    f: &dyn Fn(&Arg, &Arg) -> Result<Arg, OpError>,
) -> Result<Arg, OpError> {
    let next = |a: &Arg, b: &Arg| pairs(a, b, depth + 1, f);
    let all = |items: &mut dyn Iterator<Item = Result<Arg, OpError>>| {
        items.collect::<Result<_, _>>().map(Arg::List)
    };
    match (a, b) {
        (Arg::List(_), _) | (_, Arg::List(_)) if depth == DEPTH => {
            Err(OpError::value("the list is nested too deep"))
        }
        (Arg::List(x), Arg::List(y)) if x.len() != y.len() => Err(OpError::new(
            codes::STATIC_ARITHMETIC,
            format!("lists of {} and {} elements", x.len(), y.len()),
        )),
        (Arg::List(x), Arg::List(y)) => all(&mut x.iter().zip(y).map(|(x, y)| next(x, y))),
        (Arg::List(x), _) => all(&mut x.iter().map(|x| next(x, b))),
        (_, Arg::List(y)) => all(&mut y.iter().map(|y| next(a, y))),
        _ => f(a, b),
    }
}

/// The elements of a static list.
///
/// # Errors
/// It is no list.
pub fn items(value: &Arg) -> Result<&[Arg], OpError> {
    match value {
        Arg::List(items) => Ok(items),
        _ => Err(OpError::new(codes::WRONG_KIND, "expected a list of numbers, or a tensor")),
    }
}

/// All elements as whole numbers, if all are.
pub fn whole(items: &[Arg]) -> Option<Vec<i64>> {
    items
        .iter()
        .map(|v| match v {
            Arg::Int(d) => d.as_const(),
            _ => None,
        })
        .collect()
}
