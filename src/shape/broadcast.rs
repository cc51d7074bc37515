//! Broadcasting, as NumPy does: align at the last axis; equal dimensions, or 1.

use super::Dim;

/// The common shape of `a` and `b`, or the axis (counted from the last, 0 first) at which they disagree.
/// A dimension that is open agrees only with the same polynomial, or with 1.
///
/// # Errors
/// The axis counted from the end.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, usize> {
    let rank = a.len().max(b.len());
    let one = Dim::from(1);
    let mut out = Vec::with_capacity(rank);
    for back in (0..rank).rev() {
        let get = |s: &[Dim]| s.len().checked_sub(back + 1).map_or(&one, |i| &s[i]).clone();
        let (x, y) = (get(a), get(b));
        out.push(match (x == y, x.is(1), y.is(1)) {
            (true, ..) | (false, false, true) => x,
            (false, true, _) => y,
            _ => return Err(back),
        });
    }
    Ok(out)
}

/// The common shape of several.
///
/// # Errors
/// The axis counted from the end.
pub fn broadcast_all<'a>(shapes: impl IntoIterator<Item = &'a [Dim]>) -> Result<Vec<Dim>, usize> {
    shapes.into_iter().try_fold(Vec::new(), |a, b| broadcast(&a, b))
}
