//! `train`, `test[:1000]`, `train[90%:]`: which part of which split.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, codes};

/// A split's name and the part of it, as `datasets` of Hugging Face writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// `train`, `test`, …
    pub name: String,
    from: Option<Bound>,
    to: Option<Bound>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    value: i64,
    percent: bool,
}

impl Split {
    /// Parses `name`, `name[a:b]`, where each of `a` and `b` may be left out, be negative (counted from the
    /// end) or a percentage.
    ///
    /// # Errors
    /// `E0807` when the text is something else.
    pub fn parse(text: &str) -> Result<Split, Diagnostic> {
        let bad = || {
            Diagnostic::error(
                codes::DATA_SPLIT,
                format!("`{text}` is not a split; a name or `name[from:to]` was expected"),
            )
            .help("write \"train\", \"train[:9000]\", \"train[9000:]\" or \"train[90%:]\"")
        };
        let (name, range) = match text.split_once('[') {
            None => (text, None),
            Some((name, rest)) => (name, Some(rest.strip_suffix(']').ok_or_else(bad)?)),
        };
        // A split names a folder: nothing that could lead out of the data.
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
            return Err(bad());
        }
        let (mut from, mut to) = (None, None);
        if let Some(range) = range {
            let (a, b) = range.split_once(':').ok_or_else(bad)?;
            let bound = |text: &str| -> Result<Option<Bound>, Diagnostic> {
                let text = text.trim();
                if text.is_empty() {
                    return Ok(None);
                }
                let (digits, percent) = text.strip_suffix('%').map_or((text, false), |d| (d, true));
                let value: i64 = digits.replace('_', "").parse().map_err(|_| bad())?;
                if percent && !(-100..=100).contains(&value) {
                    return Err(bad());
                }
                Ok(Some(Bound { value, percent }))
            };
            (from, to) = (bound(a)?, bound(b)?);
        }
        Ok(Split { name: name.to_owned(), from, to })
    }

    /// The samples of it, out of `len`. Percentages are rounded to the nearest sample.
    ///
    /// # Errors
    /// `E0807` when a bound lies outside the data, `E0803` when nothing is left.
    pub fn range(&self, len: usize, data: &str) -> Result<Range<usize>, Diagnostic> {
        let place = |bound: Option<Bound>, default: usize| -> Result<usize, Diagnostic> {
            let Some(Bound { value, percent }) = bound else { return Ok(default) };
            let size = value.unsigned_abs();
            let size = if percent {
                // Twice the exact value plus one, halved: rounding without floats.
                usize::try_from((len as u128 * u128::from(size) * 2 + 100) / 200).ok()
            } else {
                usize::try_from(size).ok()
            };
            match size.filter(|s| *s <= len) {
                Some(size) if value < 0 => Ok(len - size),
                Some(size) => Ok(size),
                None => Err(Diagnostic::error(
                    codes::DATA_SPLIT,
                    format!("`{self}` asks for sample {value} of `{data}`; the split has {len}"),
                )
                .help(format!("use bounds from 0 to {len}"))),
            }
        };
        let range = place(self.from, 0)?..place(self.to, len)?;
        if range.is_empty() {
            return Err(Diagnostic::error(
                codes::DATA_EMPTY,
                format!(
                    "`{self}` of `{data}` holds no samples: it goes from {} to {} of {len}",
                    range.start, range.end
                ),
            )
            .help("let the range hold at least one sample"));
        }
        Ok(range)
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if self.from.is_none() && self.to.is_none() {
            return Ok(());
        }
        let show = |b: Option<Bound>| {
            b.map_or(String::new(), |b| format!("{}{}", b.value, if b.percent { "%" } else { "" }))
        };
        write!(f, "[{}:{}]", show(self.from), show(self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str, len: usize) -> Range<usize> {
        Split::parse(text).unwrap().range(len, "d").unwrap()
    }

    #[test]
    fn ranges_are_as_in_python() {
        assert_eq!(range("train", 10), 0..10);
        assert_eq!(range("train[:9_000]", 10_000), 0..9000);
        assert_eq!(range("train[9000:]", 10_000), 9000..10_000);
        assert_eq!(range("test[-2:]", 10), 8..10);
        assert_eq!(range("train[10%:-10%]", 99), 10..89);
        assert_eq!(range("train[:]", 3), 0..3);
        assert_eq!(Split::parse("a[ 1 : 50% ]").unwrap().to_string(), "a[1:50%]");
    }

    #[test]
    fn wrong_ones_are_explained() {
        for text in [
            "",
            "[1:2]",
            "train[1]",
            "train[1:2",
            "train[a:]",
            "../x",
            "a/b",
            "train[:200%]",
            "train[1:2]]",
            "train[99999999999999999999:]",
        ] {
            assert_eq!(Split::parse(text).unwrap_err().code, codes::DATA_SPLIT, "{text}");
        }
        let code = |t: &str| Split::parse(t).unwrap().range(10, "d").unwrap_err().code;
        assert_eq!(
            [code("t[:11]"), code("t[-11:]"), code("t[4:4]"), code("t[6:2]")],
            [codes::DATA_SPLIT, codes::DATA_SPLIT, codes::DATA_EMPTY, codes::DATA_EMPTY]
        );
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,30}", len: usize) {
            if let Ok(split) = Split::parse(&text) {
                prop_assert_eq!(&Split::parse(&split.to_string()).unwrap(), &split);
                if let Ok(range) = split.range(len, "d") {
                    prop_assert!(range.start < range.end && range.end <= len);
                }
            }
        }

        #[test]
        fn complementary_ranges_cover(len in 2usize..100_000, p in 1u8..100) {
            let cut = format!("{p}%");
            let (a, b) = (Split::parse(&format!("t[:{cut}]")).unwrap(), Split::parse(&format!("t[{cut}:]")).unwrap());
            if let (Ok(a), Ok(b)) = (a.range(len, "d"), b.range(len, "d")) {
                prop_assert_eq!((a.start, a.end, b.end), (0, b.start, len));
            }
        }
    }
}
