//! Dimensions: integer polynomials over names, with floor division as an atom.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Add, Mul, Neg, Sub};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An indivisible factor of a monomial.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Atom {
    /// A name left open, such as a batch.
    Name(Arc<str>),
    /// `floor(dim / divisor)` where the division is not exact for every value of the names.
    Floor(Arc<Dim>, i64),
}

/// A product of atoms, sorted, repeated for powers. The empty product is 1.
type Monomial = Vec<Atom>;

/// An integer polynomial over names, in normal form (no zero terms), so that `==` is equality of
/// polynomials. Arithmetic saturates; sizes near `i64::MAX` are refused long before by the checks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Dim {
    /// The term without names: most dimensions have no other, and cost no allocation.
    constant: i64,
    /// The other terms in order of their monomials; no factor is 0.
    terms: Vec<(Monomial, i64)>,
}

/// The largest dimension ([`Dim::size`]) of a program or of a text that is read.
pub const MAX_SIZE: usize = 256;

/// The most that the sizes of two polynomials may come to that a text multiplies: more than those of any two whose
/// product is no larger than [`MAX_SIZE`], so that what was written is read.
const MAX_PRODUCT: usize = 1 << 15;

/// The most parentheses around a part of a text: a dimension has less than one for each name.
const MAX_DEPTH: usize = MAX_SIZE;

impl Dim {
    /// The polynomial that is one name.
    pub fn name(name: impl Into<Arc<str>>) -> Dim {
        Dim::atom(Atom::Name(name.into()))
    }

    fn atom(atom: Atom) -> Dim {
        Dim { constant: 0, terms: vec![(vec![atom], 1)] }
    }

    /// Its terms: a sorted product of atoms (the empty product is 1) and its factor, which is not 0.
    pub fn terms(&self) -> impl Iterator<Item = (&[Atom], i64)> {
        let constant = (self.constant != 0).then_some((&[][..], self.constant));
        constant.into_iter().chain(self.terms.iter().map(|(m, f)| (m.as_slice(), *f)))
    }

    /// How much it takes to write it down: its terms and the names in them, those inside of floors included.
    pub fn size(&self) -> usize {
        let atom = |a: &Atom| match a {
            Atom::Name(_) => 1,
            Atom::Floor(d, _) => 1 + d.size(),
        };
        1 + self.terms.iter().map(|(m, _)| 1 + m.iter().map(atom).sum::<usize>()).sum::<usize>()
    }

    /// How many terms it has.
    fn len(&self) -> usize {
        self.terms.len() + usize::from(self.constant != 0)
    }

    /// Its value, if it has no names.
    pub fn as_const(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// Whether it is this number.
    pub fn is(&self, value: i64) -> bool {
        self.as_const() == Some(value)
    }

    /// The names in it.
    pub fn names(&self) -> BTreeSet<Arc<str>> {
        let mut out = BTreeSet::new();
        self.collect_names(&mut out);
        out
    }

    fn collect_names(&self, out: &mut BTreeSet<Arc<str>>) {
        for atom in self.terms.iter().flat_map(|(m, _)| m) {
            match atom {
                Atom::Name(n) => {
                    out.insert(n.clone());
                }
                Atom::Floor(d, _) => d.collect_names(out),
            }
        }
    }

    fn add_term(&mut self, monomial: Monomial, factor: i64) {
        if monomial.is_empty() {
            self.constant = self.constant.saturating_add(factor);
            return;
        }
        match self.terms.binary_search_by(|(m, _)| m.cmp(&monomial)) {
            Ok(at) => {
                let sum = self.terms[at].1.saturating_add(factor);
                match sum {
                    0 => drop(self.terms.remove(at)),
                    sum => self.terms[at].1 = sum,
                }
            }
            Err(at) if factor != 0 => self.terms.insert(at, (monomial, factor)),
            Err(_) => {}
        }
    }

    /// `self / other` if the division leaves no remainder as polynomials (by one monomial or a constant,
    /// or by a proportional polynomial).
    pub fn exact_div(&self, other: &Dim) -> Option<Dim> {
        // Long division by the leading term of `other`, in the order of the terms.
        let (lead, lead_factor) = other.terms().last()?;
        let mut rest = self.clone();
        let mut quotient = Dim::default();
        let mut turns = 0;
        while let Some((monomial, factor)) = rest.terms().last().map(|(m, f)| (m.to_vec(), f)) {
            turns += 1;
            if turns > self.len() * 4 + 8 {
                return None;
            }
            let mut left = monomial;
            for atom in lead {
                let at = left.iter().position(|a| a == atom)?;
                left.remove(at);
            }
            if factor.checked_rem(lead_factor)? != 0 {
                return None;
            }
            let mut term = Dim::default();
            term.add_term(left, factor / lead_factor);
            rest = rest - term.clone() * other.clone();
            quotient = quotient + term;
        }
        Some(quotient)
    }

    /// `floor(self / divisor)` for a positive divisor: the exact part is taken out, what remains becomes an
    /// atom.
    pub fn floor_div(&self, divisor: i64) -> Dim {
        if divisor == 1 {
            return self.clone();
        }
        if divisor <= 0 {
            return Dim::atom(Atom::Floor(Arc::new(self.clone()), divisor));
        }
        let (mut whole, mut rest) = (Dim::default(), Dim::default());
        for (monomial, factor) in self.terms() {
            let quotient = factor.div_euclid(divisor);
            let remainder = factor.rem_euclid(divisor);
            if remainder == 0 || monomial.is_empty() {
                whole.add_term(monomial.to_vec(), quotient);
                if remainder != 0 {
                    rest.add_term(monomial.to_vec(), remainder);
                }
            } else {
                rest.add_term(monomial.to_vec(), factor);
            }
        }
        match rest.as_const() {
            Some(_) => whole,
            None => whole + Dim::atom(Atom::Floor(Arc::new(rest), divisor)),
        }
    }

    /// Replaces names; a name that `values` does not know stays.
    pub fn substitute(&self, values: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        let mut out = Dim::from(self.constant);
        for (monomial, factor) in &self.terms {
            let mut product = Dim::from(*factor);
            for atom in monomial {
                product = product
                    * match atom {
                        Atom::Name(n) => values(n).unwrap_or_else(|| Dim::atom(atom.clone())),
                        Atom::Floor(d, k) => d.substitute(values).floor_div(*k),
                    };
            }
            out = out + product;
        }
        out
    }

    /// The coefficients of `self` as `a * unknown + b`, if it is linear in that name and `a` is constant or
    /// a polynomial without the name.
    pub fn linear_in(&self, unknown: &str) -> Option<(Dim, Dim)> {
        let (mut a, mut b) = (Dim::default(), Dim::default());
        for (monomial, factor) in self.terms() {
            let is_unknown = |atom: &Atom| matches!(atom, Atom::Name(n) if &**n == unknown);
            if monomial
                .iter()
                .any(|x| matches!(x, Atom::Floor(d, _) if d.names().iter().any(|n| &**n == unknown)))
            {
                return None;
            }
            match monomial.iter().filter(|x| is_unknown(x)).count() {
                0 => b.add_term(monomial.to_vec(), factor),
                1 => a.add_term(monomial.iter().filter(|x| !is_unknown(x)).cloned().collect(), factor),
                _ => return None,
            }
        }
        Some((a, b))
    }

    /// A value for checks that need a number where names are open: every name counts as `value`.
    pub fn eval_with(&self, value: i64) -> i64 {
        if self.terms.is_empty() {
            return self.constant;
        }
        self.substitute(&|_| Some(Dim::from(value))).as_const().unwrap_or(value)
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Dim {
        Dim { constant: value, terms: Vec::new() }
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Dim {
        Dim::from(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<i32> for Dim {
    fn from(value: i32) -> Dim {
        Dim::from(i64::from(value))
    }
}

impl Add for Dim {
    type Output = Dim;

    fn add(mut self, other: Dim) -> Dim {
        self.constant = self.constant.saturating_add(other.constant);
        for (m, f) in other.terms {
            self.add_term(m, f);
        }
        self
    }
}

impl Neg for Dim {
    type Output = Dim;

    fn neg(mut self) -> Dim {
        self.constant = self.constant.saturating_neg();
        for (_, f) in &mut self.terms {
            *f = f.saturating_neg();
        }
        self
    }
}

impl Sub for Dim {
    type Output = Dim;

    fn sub(self, other: Dim) -> Dim {
        self + -other
    }
}

impl Mul for Dim {
    type Output = Dim;

    fn mul(self, other: Dim) -> Dim {
        let mut out = Dim::default();
        for (a, f) in self.terms() {
            for (b, g) in other.terms() {
                let mut monomial: Monomial = a.iter().chain(b).cloned().collect();
                monomial.sort();
                out.add_term(monomial, f.saturating_mul(g));
            }
        }
        out
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Name(n) => f.write_str(n),
            // A minus binds more loosely than a division.
            Atom::Floor(d, k) if d.len() == 1 && d.terms().all(|(_, factor)| factor > 0) => {
                write!(f, "{d} // {k}")
            }
            Atom::Floor(d, k) => write!(f, "({d}) // {k}"),
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.len() == 0 {
            return f.write_str("0");
        }
        // Highest degree first, the constant last, as people write polynomials.
        let mut terms: Vec<_> = self.terms().collect();
        terms.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.0.cmp(b.0)));
        for (i, (monomial, factor)) in terms.into_iter().enumerate() {
            match (i, factor < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            let size = factor.unsigned_abs();
            if monomial.is_empty() {
                write!(f, "{size}")?;
                continue;
            }
            let mut first = true;
            if size != 1 {
                write!(f, "{size}")?;
                first = false;
            }
            let product = monomial.len() > 1 || size != 1;
            for atom in monomial {
                if !first {
                    f.write_str("*")?;
                }
                first = false;
                match atom {
                    Atom::Floor(..) if product => write!(f, "({atom})")?,
                    _ => write!(f, "{atom}")?,
                }
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for Dim {
    type Err = String;

    /// Reads what [`Display`](fmt::Display) writes: `+ - * //`, parentheses, numbers and names.
    fn from_str(text: &str) -> Result<Dim, String> {
        let mut parser = Reader { rest: text, depth: 0 };
        let dim = parser.sum()?;
        if parser.peek().is_some() {
            return Err(format!("`{}` is left over in the dimension `{text}`", parser.rest));
        }
        Ok(dim)
    }
}

const TOO_LARGE: &str = "the dimension has too many factors";

fn bounded(dim: Dim) -> Result<Dim, String> {
    if dim.size() > MAX_SIZE { Err(TOO_LARGE.into()) } else { Ok(dim) }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, token: &str) -> bool {
        self.peek();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Result<Dim, String> {
        let negative = self.take("-");
        let first = self.product()?;
        let mut out = if negative { -first } else { first };
        loop {
            if self.take("+") {
                out = bounded(out + self.product()?)?;
            } else if self.take("-") {
                out = bounded(out - self.product()?)?;
            } else {
                return Ok(out);
            }
        }
    }

    fn product(&mut self) -> Result<Dim, String> {
        let mut out = self.factor()?;
        loop {
            if self.take("//") {
                let divisor = self.factor()?.as_const().filter(|d| *d > 0);
                out = bounded(out.floor_div(divisor.ok_or("a divisor must be a positive number")?))?;
            } else if self.take("*") {
                let factor = self.factor()?;
                if out.size() * factor.size() > MAX_PRODUCT {
                    return Err(TOO_LARGE.into());
                }
                out = bounded(out * factor)?;
            } else {
                return Ok(out);
            }
        }
    }

    fn factor(&mut self) -> Result<Dim, String> {
        if self.take("(") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err("the dimension is nested too deep".into());
            }
            let inner = self.sum()?;
            self.depth -= 1;
            return if self.take(")") { Ok(inner) } else { Err("`)` is missing in a dimension".into()) };
        }
        self.peek();
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word.chars().next() {
            None => Err("a dimension ends early".into()),
            Some(c) if c.is_ascii_digit() => word.parse::<i64>().map(Dim::from).map_err(|e| e.to_string()),
            Some(_) => Ok(Dim::name(word)),
        }
    }
}

impl Serialize for Dim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_const() {
            Some(value) => serializer.serialize_i64(value),
            None => serializer.serialize_str(&self.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for Dim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Dim, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Dim;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer or a polynomial such as \"2*h + 1\"")
            }

            fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<Dim, E> {
                Ok(Dim::from(v))
            }

            fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<Dim, E> {
                i64::try_from(v).map(Dim::from).map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Dim, E> {
                v.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Dim {
        text.parse().expect(text)
    }

    #[test]
    fn normal_form_is_unique() {
        assert_eq!(d("2*h + h + 1 - 1"), d("3*h"));
        assert_eq!(d("(h + 1) * (h - 1)"), d("h*h - 1"));
        assert_eq!(d("h - h"), Dim::from(0));
    }

    #[test]
    fn division() {
        assert_eq!(d("6*a*b").exact_div(&d("2*a")), Some(d("3*b")));
        assert_eq!(d("a*a - 1").exact_div(&d("a + 1")), Some(d("a - 1")));
        assert_eq!(d("a + 1").exact_div(&d("2")), None);
        assert_eq!(d("4*h + 3").floor_div(2), d("2*h + 1"));
        assert_eq!(d("h + 2").floor_div(2), d("h // 2 + 1"));
        assert_eq!(d("h").floor_div(2).substitute(&|_| Some(Dim::from(7))), Dim::from(3));
    }

    #[test]
    fn products_of_a_text_are_bounded() {
        let sums: Vec<String> = (0..40).map(|i| format!("(a{i} + b{i})")).collect();
        assert!(sums.join("*").parse::<Dim>().unwrap_err().contains("too many factors"));
        // Found by fuzzing: what one order of factors allowed, the order in which they are written did not.
        for factors in [20, 60, 200] {
            let names: Vec<String> = (0..factors).map(|i| format!("a{} // 2", i % 9)).collect();
            let read = names.join(" * ").parse::<Dim>();
            assert_eq!(read.is_ok(), factors < 100, "{factors}");
            read.into_iter().for_each(|dim| assert_eq!(dim.to_string().parse(), Ok(dim)));
        }
        assert_eq!(d("(a + 1) * (b // 2 + 3)").size(), 14);
    }

    #[test]
    fn text_reads_back() {
        for text in ["2*h + 1", "n*(h // 2)", "-a + 3", "0", "(h + 1) // 2"] {
            assert_eq!(d(&d(text).to_string()), d(text), "{text}");
        }
    }
}
