//! The laid-out scene as SVG.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::layout::LABEL;
use super::measure::{CARRY, MARGIN, PAD_Y, SMALL, SMALL_LINE, TAIL_LINE, TITLE, TITLE_LINE, badge_width};
use super::scene::{Item, Kind, Scene, Wire};
use super::style::{SHEET, colours, nested};
use super::text::{escape, width};

/// Around the whole drawing.
const PAGE: f64 = 28.0;
const HEADING: f64 = 58.0;
const LEGEND: f64 = 34.0;

/// The drawing under a heading and over a legend.
pub(super) fn render(scene: &Scene, title: &str, subtitle: &str) -> String {
    let mut kinds = BTreeSet::new();
    collect_kinds(scene, &mut kinds);
    let legend: f64 = kinds.iter().map(|k| legend_width(*k)).sum();
    let heading = width(title, 19.0, true).max(width(subtitle, 11.5, false));
    let w = scene.w.max(heading).max(legend) + 2.0 * PAGE;
    let h = scene.h + 2.0 * PAGE + HEADING + LEGEND;
    let mut out = Out { text: String::new() };
    let _ = write!(
        out.text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" viewBox=\"0 0 {w:.0} {h:.0}\" \
         role=\"img\">\n<title>{}</title>\n<style>{SHEET}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escape(title)
    );
    let x = PAGE;
    out.line(&format!(
        "<text x=\"{x}\" y=\"{}\" style=\"font-size:19px;font-weight:700\">{}</text>",
        PAGE + 16.0,
        escape(title)
    ));
    out.line(&format!(
        "<text x=\"{x}\" y=\"{}\" style=\"font-size:11.5px;fill:#5b6b7b\">{}</text>",
        PAGE + 35.0,
        escape(subtitle)
    ));
    out.scene(scene, ((w - scene.w) / 2.0, PAGE + HEADING), "#ffffff", 0);
    out.legend(&kinds, h - PAGE);
    out.text.push_str("</svg>\n");
    out.text
}

fn collect_kinds(scene: &Scene, kinds: &mut BTreeSet<Kind>) {
    for item in &scene.items {
        if !item.kind().is_port() && !item.is_symbol() {
            kinds.insert(item.kind());
        }
        if let Some(inner) = &item.inner {
            collect_kinds(inner, kinds);
        }
    }
}

fn legend_width(kind: Kind) -> f64 {
    width(colours(kind).2, SMALL, false) + 40.0
}

struct Out {
    text: String,
}

/// A point for an attribute; a tenth of a pixel is enough.
fn pt(p: (f64, f64)) -> String {
    format!("{} {}", num(p.0), num(p.1))
}

fn num(v: f64) -> String {
    let text = format!("{v:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_string)
}

impl Out {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn words(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        self.line(&format!(
            "<text class=\"{class}\" x=\"{}\" y=\"{}\">{}</text>",
            num(x),
            num(y),
            escape(text)
        ));
    }

    fn rect(&mut self, (x, y, w, h): (f64, f64, f64, f64), r: f64, fill: &str, stroke: &str, more: &str) {
        self.line(&format!(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{r}\" fill=\"{fill}\" stroke=\"{stroke}\"{more}/>",
            num(x),
            num(y),
            num(w),
            num(h)
        ));
    }

    /// Draws a scene whose upper left corner is at `at`, on `ground`.
    fn scene(&mut self, scene: &Scene, at: (f64, f64), ground: &str, level: usize) {
        for wire in &scene.wires {
            self.wire(wire, at);
        }
        for item in &scene.items {
            self.item(item, (at.0 + item.x, at.1 + item.y), level);
        }
        for wire in &scene.wires {
            if let Some(((x, y), text)) = &wire.label {
                // The ground behind the words interrupts the line.
                let (x, y, w) = (at.0 + x, at.1 + y, width(text, LABEL, false) + 4.0);
                self.rect((x - w / 2.0, y - 6.5, w, 13.0), 3.0, ground, "none", "");
                self.words("l", (x, y + LABEL * 0.36), text);
            }
        }
    }

    fn wire(&mut self, wire: &Wire, at: (f64, f64)) {
        let shift = |p: (f64, f64)| (p.0 + at.0, p.1 + at.1);
        let mut path = String::new();
        let mut pen = (f64::NAN, f64::NAN);
        for curve in &wire.curves {
            if pen != curve.start {
                let _ = write!(path, "M{}", pt(shift(curve.start)));
            }
            pen = curve.start;
            for [a, b, end] in &curve.to {
                if pen.0 == end.0 && a.0 == end.0 && b.0 == end.0 {
                    let _ = write!(path, "V{}", num(end.1 + at.1));
                } else {
                    let _ = write!(path, "C{},{},{}", pt(shift(*a)), pt(shift(*b)), pt(shift(*end)));
                }
                pen = *end;
            }
        }
        self.line(&format!("<path class=\"w\" d=\"{path}\"/>"));
        for tip in &wire.arrows {
            self.arrow(shift(*tip), "a");
        }
    }

    /// An arrow's head that points down.
    fn arrow(&mut self, (x, y): (f64, f64), class: &str) {
        self.line(&format!("<path class=\"{class}\" d=\"M{}l-3.5 -7h7z\"/>", pt((x, y))));
    }

    fn item(&mut self, item: &Item, (x, y): (f64, f64), level: usize) {
        let kind = item.kind();
        if kind.is_port() && item.title.is_empty() {
            return;
        }
        self.text.push_str("<g>");
        if !item.hover.is_empty() {
            let _ = write!(self.text, "<title>{}</title>", escape(&item.hover));
        }
        self.text.push('\n');
        let (fill, stroke, _) = colours(kind);
        let middle = x + item.w / 2.0;
        match (kind, &item.inner) {
            (_, Some(inner)) => self.open(item, inner, (x, y), level),
            (Kind::PortIn | Kind::PortOut, _) => {
                self.rect((x, y, item.w, item.h), item.h / 2.0, fill, stroke, "");
                self.words("s m", (middle, y + item.h / 2.0 + 3.8), &item.title);
            }
            (Kind::Input | Kind::Output | Kind::Watch, _) => {
                let dash = if kind == Kind::Watch { " stroke-dasharray=\"4 3\"" } else { "" };
                self.rect((x, y, item.w, item.h), item.h / 2.0, fill, stroke, dash);
                self.words("t m", (middle, y + 5.0 + TITLE_LINE * 0.78), &item.title);
                for (i, text) in item.lines.iter().enumerate() {
                    let row = y + 5.0 + TITLE_LINE + SMALL_LINE * (i as f64 + 0.72);
                    self.words("s m", (middle, row), text);
                }
            }
            _ if item.is_symbol() => {
                let r = item.w / 2.0;
                self.line(&format!(
                    "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{fill}\" stroke=\"{stroke}\"/>",
                    num(middle),
                    num(y + r),
                    num(r)
                ));
                self.words("t m", (middle, y + r + TITLE * 0.36), &item.title);
            }
            _ => self.closed(item, (x, y), fill, stroke),
        }
        self.text.push_str("</g>\n");
    }

    fn closed(&mut self, item: &Item, (x, y): (f64, f64), fill: &str, stroke: &str) {
        self.rect((x, y, item.w, item.h), 8.0, fill, stroke, "");
        let middle = x + item.w / 2.0;
        let badge = if item.badge.is_empty() { 0.0 } else { badge_width(&item.badge) + 8.0 };
        let mut row = y + PAD_Y;
        self.words("t m", (middle - badge / 2.0, row + TITLE_LINE * 0.76), &item.title);
        if badge > 0.0 {
            let left = middle - badge / 2.0 + width(&item.title, TITLE, true) / 2.0 + 8.0;
            self.badge(&item.badge, left, row);
        }
        row += TITLE_LINE;
        for text in &item.lines {
            self.words("s m", (middle, row + SMALL_LINE * 0.76), text);
            row += SMALL_LINE;
        }
        if !item.tails.is_empty() {
            let (left, right) = (num(x + 10.0), num(x + item.w - 10.0));
            let line = num(row + 3.0);
            self.line(&format!(
                "<path d=\"M{left} {line}H{right}\" stroke=\"{stroke}\" stroke-width=\".7\"/>"
            ));
            row += 5.0;
        }
        for text in &item.tails {
            self.words("o m", (middle, row + TAIL_LINE * 0.74), text);
            row += TAIL_LINE;
        }
    }

    fn badge(&mut self, text: &str, x: f64, y: f64) {
        let w = badge_width(text);
        self.rect((x, y + 0.5, w, 16.0), 8.0, "#3f9d8a", "none", "");
        self.words("b", (x + w / 2.0, y + 12.3), text);
    }

    fn open(&mut self, item: &Item, inner: &Scene, (x, y): (f64, f64), level: usize) {
        let (fill, stroke, _) = colours(item.kind());
        let fill = if item.is(Kind::Loop) { fill } else { nested(level) };
        self.rect((x, y, item.w, item.h), 12.0, fill, stroke, "");
        let (header, left) = (item.header.0, x + item.header.1);
        let at = (x + inner.x, y + inner.y);
        // Lines from the border to the inner scene, and from it to the border.
        let mut path = String::new();
        let ports = |kind: Kind| inner.items.iter().filter(move |i| i.is(kind));
        for (port, place) in ports(Kind::PortIn).zip(&item.ins) {
            let end = at.1 + port.y;
            let _ = write!(path, "M{}V{}", pt((x + place, y)), num(end));
            if !port.title.is_empty() {
                self.arrow((x + place, end), "a");
            }
        }
        for (port, place) in ports(Kind::PortOut).zip(&item.outs) {
            if let Some(place) = place {
                let _ = write!(path, "M{}V{}", pt((x + place, at.1 + port.y + port.h)), num(y + item.h));
            }
        }
        self.line(&format!("<path class=\"w\" d=\"{path}\"/>"));
        self.carries(item, inner, (x, y), at, header);
        self.words("t", (left, y + 20.0), &item.title);
        if !item.badge.is_empty() {
            self.badge(&item.badge, left + width(&item.title, TITLE, true) + 8.0, y + 7.0);
        }
        for (i, text) in item.lines.iter().enumerate() {
            self.words("s", (left, y + 35.0 + SMALL_LINE * i as f64), text);
        }
        self.scene(inner, at, fill, level + 1);
    }

    /// The dashed lines by which a loop's next values come back to its start.
    fn carries(&mut self, item: &Item, inner: &Scene, (x, y): (f64, f64), at: (f64, f64), header: f64) {
        for (k, (from, to)) in inner.carries.iter().enumerate() {
            let (Some(from), Some(to)) = (inner.items.get(*from), inner.items.get(*to)) else {
                continue;
            };
            let lane = (k % 4) as f64;
            let right = x + item.w - MARGIN * 0.6 - lane * CARRY * 0.7;
            let low = at.1 + inner.h + 5.0 + lane * 2.5;
            let high = y + header - 7.0 - lane * 2.5;
            let aside = |i: &Item| at.0 + i.x + i.w * 0.78;
            let (start, end) = ((aside(from), at.1 + from.y + from.h), (aside(to), at.1 + to.y));
            let r = 5.0;
            self.line(&format!(
                "<path class=\"c\" d=\"M{}V{}q0 {r} {r} {r}H{}q{r} 0 {r} -{r}V{}q0 -{r} -{r} -{r}H{}q-{r} 0 -{r} {r}V{}\"/>",
                pt(start),
                num(low - r),
                num(right - r),
                num(high + r),
                num(end.0 + r),
                num(end.1)
            ));
            self.arrow(end, "ca");
        }
    }

    fn legend(&mut self, kinds: &BTreeSet<Kind>, y: f64) {
        let mut x = PAGE;
        for kind in kinds {
            let (fill, stroke, word) = colours(*kind);
            let round = if matches!(kind, Kind::Input | Kind::Output | Kind::Watch) { 6.0 } else { 3.0 };
            self.rect((x, y - 10.0, 18.0, 12.0), round, fill, stroke, "");
            self.words("s", (x + 24.0, y), word);
            x += legend_width(*kind);
        }
    }
}
