//! How large boxes are.

use super::scene::{Item, Kind};
use super::text::width;

/// Sizes of text in pixels.
pub(super) const TITLE: f64 = 13.0;
pub(super) const SMALL: f64 = 10.5;
pub(super) const TAIL: f64 = 11.5;
/// Heights of lines.
pub(super) const TITLE_LINE: f64 = 17.0;
pub(super) const SMALL_LINE: f64 = 14.0;
pub(super) const TAIL_LINE: f64 = 17.0;
/// Within boxes.
const PAD_X: f64 = 12.0;
pub(super) const PAD_Y: f64 = 8.0;
/// Diameter of the circle around a sign.
const CIRCLE: f64 = 30.0;
/// Around the content of an open item.
pub(super) const MARGIN: f64 = 18.0;
pub(super) const HEADER: f64 = 40.0;
pub(super) const FOOTER: f64 = 16.0;
/// Room for the line of each carry at the right of a loop.
pub(super) const CARRY: f64 = 18.0;

/// Sets the size of an item that holds nothing.
pub(super) fn measure(item: &mut Item) {
    let text = |lines: &[String], size: f64| lines.iter().map(|l| width(l, size, false)).fold(0.0, f64::max);
    let title = width(&item.title, TITLE, true);
    let small = text(&item.lines, SMALL);
    (item.w, item.h) = match item.kind() {
        Kind::PortIn | Kind::PortOut if item.title.is_empty() => (0.0, 0.0),
        Kind::PortIn | Kind::PortOut => (width(&item.title, SMALL, false) + 20.0, 20.0),
        Kind::Input | Kind::Output | Kind::Watch => {
            let h = TITLE_LINE + SMALL_LINE * item.lines.len() as f64 + 10.0;
            (title.max(small) + 32.0, h)
        }
        _ if item.is_symbol() => (CIRCLE, CIRCLE),
        _ => {
            let tails = text(&item.tails, TAIL) + 14.0;
            let badge = if item.badge.is_empty() { 0.0 } else { badge_width(&item.badge) + 8.0 };
            let w = (title + badge).max(small).max(if item.tails.is_empty() { 0.0 } else { tails });
            let h = PAD_Y * 2.0
                + TITLE_LINE
                + SMALL_LINE * item.lines.len() as f64
                + if item.tails.is_empty() { 0.0 } else { 5.0 + TAIL_LINE * item.tails.len() as f64 };
            (w.max(28.0) + 2.0 * PAD_X, h)
        }
    };
}

/// The width of the badge of a loop.
pub(super) fn badge_width(text: &str) -> f64 {
    width(text, SMALL, true) + 14.0
}

/// The width of the title of an open item.
pub(super) fn header_width(item: &Item) -> f64 {
    let badge = if item.badge.is_empty() { 0.0 } else { badge_width(&item.badge) + 8.0 };
    let small = item.lines.iter().map(|l| width(l, SMALL, false)).fold(0.0, f64::max);
    (width(&item.title, TITLE, true) + badge).max(small)
}
