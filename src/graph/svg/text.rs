//! Text in drawings: how wide it is, how it is escaped, how numbers read.

/// Advance widths of DejaVu Sans in thousandths of an em, from the space to the tilde. It is the widest of
/// the fonts that the drawings name, so that text in any of them stays inside its box.
#[rustfmt::skip]
const WIDTHS: [u16; 95] = [
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636, 636,
    636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656,
    557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500, 500, 613,
    635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818,
    592, 592, 525, 636, 337, 636, 838,
];

/// Bold letters are wider by about this.
const BOLD: f64 = 1.1;

/// The width of a line of text in pixels.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    let em: u32 = text
        .chars()
        .map(|c| match c {
            ' '..='~' => u32::from(WIDTHS[c as usize - 32]),
            '₀'..='₉' => 401,
            // Ideographs and emoji fill their em.
            '\u{1100}'.. => 1000,
            _ => 840,
        })
        .sum();
    f64::from(em) / 1000.0 * size * if bold { BOLD } else { 1.0 }
}

/// Shortens a text in its middle to `max` characters.
pub(super) fn shorten(text: &str, max: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= max || max < 3 {
        return text.to_string();
    }
    let head = (max - 1) / 2;
    let tail = max - 1 - head;
    chars[..head].iter().chain(&['…']).chain(&chars[chars.len() - tail..]).collect()
}

/// Text for the content or an attribute of XML. Characters that XML 1.0 cannot hold become `�`.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => out.push('�'),
            c if c.is_control() => out.push('�'),
            c => out.push(c),
        }
    }
    out
}

/// A number as people write it: up to five digits that count.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if !value.is_finite() {
        return match value {
            v if v.is_nan() => "nan".into(),
            v if v > 0.0 => "∞".into(),
            _ => "−∞".into(),
        };
    }
    let rounded: f64 = format!("{value:.4e}").parse().unwrap_or(value);
    let plain = match rounded.abs() {
        a if (1e-4..1e6).contains(&a) => format!("{rounded}"),
        _ => format!("{rounded:e}"),
    };
    plain.replace('-', "−")
}

/// How many of something: `932`, `51.2 k`, `1.24 M`.
pub(super) fn count(value: f64) -> String {
    let (scale, unit) = match value {
        v if v < 10_000.0 => return format!("{v}"),
        v if v < 1e6 => (1e3, " k"),
        v if v < 1e9 => (1e6, " M"),
        _ => (1e9, " G"),
    };
    let scaled = value / scale;
    let digits = if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) };
    format!("{scaled:.digits$}{unit}")
}

/// A small number below the line: `c₁₂`.
pub(super) fn subscript(value: u32) -> String {
    value.to_string().chars().filter_map(|c| char::from_u32('₀' as u32 + c.to_digit(10)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let cases = [
            (0.5, "0.5"),
            (1.0, "1"),
            (-2.0, "−2"),
            (1e-5, "1e−5"),
            (0.182_150_01, "0.18215"),
            (1e9, "1e9"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "−∞"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!([count(9.0), count(51_200.0), count(1_236_000.0)], ["9", "51.2 k", "1.24 M"]);
        assert_eq!(subscript(120), "₁₂₀");
    }

    #[test]
    fn escaping_leaves_no_markup() {
        assert_eq!(escape("<a href=\"x\">&'\u{0}"), "&lt;a href=&quot;x&quot;&gt;&amp;&apos;�");
    }

    #[test]
    fn shortening_keeps_both_ends() {
        assert_eq!(shorten("encoder.body.0.weight", 11), "encod…eight");
        assert_eq!(shorten("short", 11), "short");
    }
}
