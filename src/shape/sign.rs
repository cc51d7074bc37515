//! The sign of a dimension whose names are open.

use super::{Atom, Dim};

/// Whether `dim >= 0` whatever the values of its names, each of them at least 1 (a batch has a sample).
/// `None` if it depends on the values, or if the bounds used here are too weak to tell.
///
/// A name is replaced by 1 plus a name that is at least 0; then all factors being nonnegative shows that
/// the whole is. A floor `d // k` lies between `(d - k + 1) / k` and `d / k`.
pub fn is_nonnegative(dim: &Dim) -> Option<bool> {
    if let Some(value) = dim.as_const() {
        return Some(value >= 0);
    }
    if shifted(&bound_floors(dim, true)).terms().all(|(_, f)| f >= 0) {
        return Some(true);
    }
    let above = shifted(&bound_floors(dim, false));
    let constant = above.terms().find(|(m, _)| m.is_empty()).map_or(0, |(_, f)| f);
    let falls = above.terms().all(|(m, f)| m.is_empty() || f <= 0);
    (falls && constant < 0).then_some(false)
}

/// Every name `a` becomes `a + 1`.
fn shifted(dim: &Dim) -> Dim {
    dim.substitute(&|name| Some(Dim::name(name) + Dim::from(1)))
}

/// A polynomial whose sign bounds that of `dim`: from below, or from above. Floors that stand alone in their
/// term give way to their bounds, scaled to stay whole; others remain as they are.
fn bound_floors(dim: &Dim, below: bool) -> Dim {
    let mut scale = 1i64;
    let mut floors = Vec::new();
    let mut rest = Dim::default();
    for (monomial, factor) in dim.terms() {
        match monomial {
            [Atom::Floor(inner, divisor)] if *divisor > 0 => {
                scale = scale.saturating_mul(*divisor);
                floors.push((inner.as_ref().clone(), *divisor, factor));
            }
            _ => {
                let product = monomial.iter().fold(Dim::from(factor), |product, atom| {
                    product
                        * match atom {
                            Atom::Name(name) => Dim::name(name.clone()),
                            Atom::Floor(inner, divisor) => inner.floor_div(*divisor),
                        }
                });
                rest = rest + product;
            }
        }
    }
    let mut out = rest * Dim::from(scale);
    for (inner, divisor, factor) in floors {
        // The lower bound serves where the term's factor and the wanted side agree.
        let slack = if (factor > 0) == below { divisor - 1 } else { 0 };
        out = out + (inner - Dim::from(slack)) * Dim::from(factor.saturating_mul(scale / divisor));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs() {
        let sign = |text: &str| is_nonnegative(&text.parse().expect(text));
        assert_eq!(sign("0"), Some(true));
        assert_eq!(sign("-1"), Some(false));
        assert_eq!(sign("n - 1"), Some(true));
        assert_eq!(sign("n - 2"), None);
        assert_eq!(sign("-n"), Some(false));
        assert_eq!(sign("1 - n"), None);
        assert_eq!(sign("n*h - h"), Some(true));
        assert_eq!(sign("h - h // 2"), Some(true));
        assert_eq!(sign("h // 2"), Some(true));
        assert_eq!(sign("h // 2 - h - 1"), Some(false));
        assert_eq!(sign("2*h - 3*(h // 2)"), Some(true));
    }
}
