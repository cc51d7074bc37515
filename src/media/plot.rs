//! Training curves as a picture: one small panel per quantity.

use std::path::Path;

use super::canvas::{Align, Canvas, Colour};
use super::image::Image;
use crate::diagnostic::Diagnostic;

/// One curve of a panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its name in the legend, shown when a panel has several.
    pub name: String,
    /// Step and value, in order of steps. Values that are not finite leave a gap.
    pub points: Vec<(f64, f64)>,
}

/// One set of axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What is drawn, above the axes.
    pub title: String,
    /// What the horizontal axis counts.
    pub x: String,
    /// The curves.
    pub lines: Vec<Line>,
}

impl Panel {
    /// A panel with a single curve.
    pub fn single(name: impl Into<String>, points: Vec<(f64, f64)>) -> Panel {
        let title = name.into();
        Panel { lines: vec![Line { name: title.clone(), points }], title, x: "step".into() }
    }
}

const PANEL: (f32, f32) = (620.0, 380.0);
const MARGIN: f32 = 14.0;
const TITLE_SIZE: f32 = 19.0;
const LABEL_SIZE: f32 = 14.5;
const INK: Colour = [38, 42, 48];
const FAINT: Colour = [112, 118, 126];
const GRID: Colour = [228, 231, 235];
const AXIS: Colour = [170, 175, 182];
/// Okabe and Ito's colours, which people with colour-blindness tell apart, without black and yellow.
const COLOURS: [Colour; 6] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [230, 159, 0]];

/// Draws the panels, in rows of up to three.
///
/// A panel's values get a logarithmic axis when all are positive and span more than two decades.
/// `smoothing` in [0, 1) draws a two-sided exponential mean of at most that weight over the pale curve
/// itself (curves of fewer than 50 points are left alone); 0 draws the curve alone.
///
/// # Errors
/// `E0904` only when the built-in font is damaged.
pub fn plot_curves(panels: &[Panel], smoothing: f64) -> Result<Image, Diagnostic> {
    let columns = match panels.len() {
        0 | 1 => 1,
        2..=4 => 2,
        _ => 3,
    };
    let rows = panels.len().div_ceil(columns).max(1);
    let size = |n: usize, side: f32| (n as f32 * side + 2.0 * MARGIN) as usize;
    let mut canvas = Canvas::new(size(columns, PANEL.0), size(rows, PANEL.1))?;
    if panels.is_empty() {
        canvas.text("nothing was measured", PANEL.0 / 2.0, PANEL.1 / 2.0, TITLE_SIZE, Align::Middle, FAINT);
    }
    for (i, panel) in panels.iter().enumerate() {
        let at = (MARGIN + (i % columns) as f32 * PANEL.0, MARGIN + (i / columns) as f32 * PANEL.1);
        draw_panel(&mut canvas, panel, at, smoothing.clamp(0.0, 0.9999));
    }
    canvas.into_image()
}

/// Writes [`plot_curves`] as a PNG, whole or not at all.
///
/// # Errors
/// As [`plot_curves`], and `E0902` when it cannot be written.
pub fn write_curves(path: &Path, panels: &[Panel], smoothing: f64) -> Result<(), Diagnostic> {
    plot_curves(panels, smoothing)?.write_png(path)
}

fn draw_panel(canvas: &mut Canvas, panel: &Panel, (left, top): (f32, f32), smoothing: f64) {
    let right = left + PANEL.0 - 22.0;
    let all: Vec<(f64, f64)> =
        panel.lines.iter().flat_map(|l| l.points.iter().copied()).filter(finite).collect();
    let last = panel.lines.first().filter(|_| panel.lines.len() == 1);
    let last = last.and_then(|l| l.points.iter().rev().find(|p| finite(p))).map(|p| value_label(p.1));
    let last_width = last.as_ref().map_or(0.0, |l| canvas.text_width(l, LABEL_SIZE) + 20.0);
    let title = canvas.shorten(&panel.title, TITLE_SIZE, right - left - 20.0 - last_width);
    let baseline = top + 28.0;
    if let (Some(x), Some(y)) =
        (Axis::of(all.iter().map(|p| p.0), false), Axis::of(all.iter().map(|p| p.1), true))
    {
        let labels = y.ticks();
        let widest = labels.iter().map(|(_, l)| canvas.text_width(l, LABEL_SIZE)).fold(0.0, f32::max);
        let legend = if panel.lines.len() > 1 { 26.0 } else { 0.0 };
        let area = Area {
            left: (left + widest + 18.0).round(),
            right,
            top: top + 46.0 + legend,
            bottom: (top + PANEL.1 - 52.0).round(),
            x,
            y,
        };
        canvas.text(&title, area.left, baseline, TITLE_SIZE, Align::Left, INK);
        if let Some(last) = last {
            canvas.text(&last, right, baseline, LABEL_SIZE, Align::Right, COLOURS[0]);
        }
        draw_axes(canvas, &area, &labels, &panel.x);
        if legend > 0.0 {
            draw_legend(canvas, &panel.lines, area.left, baseline + 27.0, right);
        }
        for (i, line) in panel.lines.iter().enumerate() {
            draw_line(canvas, &area, &line.points, smoothing, COLOURS[i % COLOURS.len()]);
        }
    } else {
        canvas.text(&title, left + 18.0, baseline, TITLE_SIZE, Align::Left, INK);
        let middle = (left + PANEL.0 / 2.0, top + PANEL.1 / 2.0);
        canvas.text("no finite value", middle.0, middle.1, LABEL_SIZE, Align::Middle, FAINT);
    }
}

fn finite(p: &(f64, f64)) -> bool {
    p.0.is_finite() && p.1.is_finite()
}

/// Where a panel's curves are drawn, in pixels, and what its sides mean.
struct Area {
    left: f32,
    right: f32,
    top: f32,
    bottom: f32,
    x: Axis,
    y: Axis,
}

impl Area {
    fn x(&self, v: f64) -> f32 {
        self.left + (self.right - self.left) * self.x.place(v) as f32
    }

    fn y(&self, v: f64) -> f32 {
        self.bottom - (self.bottom - self.top) * self.y.place(v) as f32
    }
}

fn draw_axes(canvas: &mut Canvas, area: &Area, labels: &[(f64, String)], name: &str) {
    for (v, label) in labels {
        let y = area.y(*v).round();
        canvas.rectangle(area.left, y, area.right - area.left, 1.0, GRID);
        canvas.text(label, area.left - 9.0, y + LABEL_SIZE * 0.36, LABEL_SIZE, Align::Right, FAINT);
    }
    for (v, label) in area.x.ticks() {
        let x = area.x(v).round();
        canvas.rectangle(x, area.top, 1.0, area.bottom - area.top, GRID);
        canvas.rectangle(x, area.bottom, 1.0, 5.0, AXIS);
        // The last label stays inside the panel.
        let half = canvas.text_width(&label, LABEL_SIZE) / 2.0;
        canvas.text(
            &label,
            x.min(area.right + 18.0 - half),
            area.bottom + 22.0,
            LABEL_SIZE,
            Align::Middle,
            FAINT,
        );
    }
    canvas.rectangle(area.left, area.bottom, area.right - area.left, 1.0, AXIS);
    let name = canvas.shorten(name, LABEL_SIZE, area.right - area.left);
    let middle = (area.left + area.right) / 2.0;
    canvas.text(&name, middle, area.bottom + 43.0, LABEL_SIZE, Align::Middle, FAINT);
}

fn draw_legend(canvas: &mut Canvas, lines: &[Line], left: f32, y: f32, right: f32) {
    let mut x = left;
    for (i, line) in lines.iter().enumerate() {
        let name = canvas.shorten(&line.name, LABEL_SIZE, right - x - 26.0);
        canvas.rectangle(x, y - 6.5, 18.0, 3.0, COLOURS[i % COLOURS.len()]);
        canvas.text(&name, x + 25.0, y, LABEL_SIZE, Align::Left, INK);
        x += 25.0 + canvas.text_width(&name, LABEL_SIZE) + 22.0;
    }
}

fn draw_line(canvas: &mut Canvas, area: &Area, points: &[(f64, f64)], smoothing: f64, colour: Colour) {
    let pale = colour.map(|c| (255.0 - (255.0 - f32::from(c)) * 0.32).round() as u8);
    // A gap where a value is not finite.
    for run in points.split(|p| !finite(p)).filter(|r| !r.is_empty()) {
        let draw = |canvas: &mut Canvas, run: &[(f64, f64)], thickness, colour| {
            let pixels: Vec<(f32, f32)> = run.iter().map(|p| (area.x(p.0), area.y(p.1))).collect();
            canvas.line(&thin(&pixels), thickness, colour);
        };
        // A short curve is its own summary: the window never exceeds a twenty-fifth of it.
        let weight = smoothing.min(1.0 - 25.0 / run.len() as f64);
        if weight > 0.5 {
            draw(canvas, run, 1.3, pale);
            draw(canvas, &smooth(run, weight, area.y.log), 2.4, colour);
        } else {
            draw(canvas, run, 2.0, colour);
        }
    }
}

/// At most the first, lowest, highest and last point of every pixel column: the same picture from far
/// fewer points.
fn thin(points: &[(f32, f32)]) -> Vec<(f32, f32)> {
    let mut out = Vec::new();
    for column in points.chunk_by(|a, b| a.0.floor() == b.0.floor()) {
        let mut keep = [0, 0, 0, column.len() - 1];
        for (i, p) in column.iter().enumerate() {
            if p.1 < column[keep[1]].1 {
                keep[1] = i;
            }
            if p.1 > column[keep[2]].1 {
                keep[2] = i;
            }
        }
        keep.sort_unstable();
        let mut last = None;
        for i in keep {
            if last != Some(i) {
                out.push(column[i]);
            }
            last = Some(i);
        }
    }
    out
}

/// Mean over both sides with exponentially falling weights: smooth, and without the lag of a one-sided
/// moving average. On a logarithmic axis the mean is of the logarithms, as the eye takes it.
fn smooth(points: &[(f64, f64)], weight: f64, log: bool) -> Vec<(f64, f64)> {
    let value = |p: &(f64, f64)| if log { p.1.ln() } else { p.1 };
    let sums = |points: &mut dyn Iterator<Item = &(f64, f64)>| -> Vec<(f64, f64)> {
        points
            .scan((0.0, 0.0), |(sum, total), p| {
                (*sum, *total) = (*sum * weight + value(p), *total * weight + 1.0);
                Some((*sum, *total))
            })
            .collect()
    };
    let before = sums(&mut points.iter());
    let after = sums(&mut points.iter().rev());
    let both = before.iter().zip(after.iter().rev()).zip(points);
    both.map(|((b, a), p)| {
        let mean = (b.0 + a.0 - value(p)) / (b.1 + a.1 - 1.0);
        (p.0, if log { mean.exp() } else { mean })
    })
    .collect()
}

/// A range of values along one side.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// An axis that holds the values; `y` leaves room at the ends and may be logarithmic.
    fn of(values: impl Iterator<Item = f64>, y: bool) -> Option<Axis> {
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return None;
        }
        let log = y && low > 0.0 && high / low > 100.0;
        if log {
            let room = (high / low).powf(0.04);
            return Some(Axis { low: low / room, high: (high * room).min(f64::MAX), log });
        }
        // A constant gets an axis around it.
        let flat = high / 2.0 - low / 2.0 <= low.abs().max(high.abs()) * 1e-12;
        let room = match (flat, y) {
            (true, _) => (low.abs() * 0.1).max(if y { 1e-3 } else { 0.5 }),
            (false, true) => (high / 2.0 - low / 2.0) * 0.12,
            (false, false) => 0.0,
        };
        Some(Axis { low: (low - room).max(f64::MIN / 4.0), high: (high + room).min(f64::MAX / 4.0), log })
    }

    /// The place of a value, 0 to 1 from the low end to the high end.
    fn place(&self, v: f64) -> f64 {
        let place = if self.log {
            (v / self.low).ln() / (self.high / self.low).ln()
        } else {
            (v - self.low) / (self.high - self.low)
        };
        if place.is_finite() { place.clamp(-0.05, 1.05) } else { 0.0 }
    }

    /// The values to mark, with their labels.
    fn ticks(&self) -> Vec<(f64, String)> {
        if self.log { self.log_ticks() } else { self.linear_ticks() }
    }

    fn linear_ticks(&self) -> Vec<(f64, String)> {
        let rough = (self.high - self.low) / 6.5;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .map(|m| m * power)
            .into_iter()
            .find(|s| *s >= rough * 0.999)
            .unwrap_or(rough);
        let first = (self.low / step - 1e-9).ceil();
        let ticks =
            (0..12).map(|i| (first + f64::from(i)) * step).take_while(|v| *v <= self.high + step * 1e-9);
        ticks.map(|v| (v, linear_label(v, step, self.low.abs().max(self.high.abs())))).collect()
    }

    fn log_ticks(&self) -> Vec<(f64, String)> {
        let decades = (self.high / self.low).log10();
        let within: &[f64] = if decades < 3.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let stride = (decades / 7.0).ceil().max(1.0) as i32;
        let (from, to) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let marks = (from..=to).filter(|e| e.rem_euclid(stride) == 0).flat_map(|e| {
            within.iter().map(move |m| {
                (m * 10f64.powi(e), if *m == 1.0 { power_label(e) } else { value_label(m * 10f64.powi(e)) })
            })
        });
        marks.filter(|(v, _)| (self.low..=self.high).contains(v)).collect()
    }
}

/// A tick of a linear axis, with as many decimals as its step needs.
fn linear_label(v: f64, step: f64, largest: f64) -> String {
    let v = if v.abs() < step * 1e-6 { 0.0 } else { v };
    let (unit, suffix) = match largest {
        m if (1e4..1e7).contains(&m) => (1e3, "k"),
        m if (1e7..1e10).contains(&m) => (1e6, "M"),
        m if (1e-3..1e4).contains(&m) => (1.0, ""),
        _ => return value_label(v),
    };
    if v == 0.0 {
        return "0".into();
    }
    let decimals = (0..6).find(|d| {
        let scaled = step / unit * 10f64.powi(*d);
        (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0)
    });
    minus(format!("{:.*}{suffix}", decimals.unwrap_or(6) as usize, v / unit))
}

/// A value to about four digits.
fn value_label(v: f64) -> String {
    let size = v.abs();
    let text = if v == 0.0 {
        "0".into()
    } else if (1e-3..1e6).contains(&size) {
        let decimals = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{v:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        let exponent = size.log10().floor() as i32;
        let mantissa = format!("{:.2}", v / 10f64.powi(exponent));
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        if mantissa == "1" { power_label(exponent) } else { format!("{mantissa}·{}", power_label(exponent)) }
    };
    minus(text)
}

/// A power of ten: 0.01, 1, 100, or 10⁻⁵ where that is shorter.
fn power_label(exponent: i32) -> String {
    if (-3..=4).contains(&exponent) {
        let decimals = (-exponent).max(0) as usize;
        return format!("{:.decimals$}", 10f64.powi(exponent));
    }
    let digit = |c: char| match c {
        '-' => '⁻',
        '0' => '⁰',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        d => char::from_u32('⁴' as u32 + (d as u32 - '4' as u32)).unwrap_or(d),
    };
    format!("10{}", exponent.to_string().chars().map(digit).collect::<String>())
}

/// A true minus sign, as wide as a digit.
fn minus(text: String) -> String {
    text.replace('-', "−")
}

#[cfg(test)]
#[path = "plot_tests.rs"]
mod tests;
