//! A small drawing surface: smooth lines, rectangles and text.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

use super::image::Image;
use crate::diagnostic::{Diagnostic, codes};

/// DejaVu Sans, reduced to Latin, Greek and some signs; see `font/LICENSE`.
static FONT: &[u8] = include_bytes!("font/DejaVuSans.ttf");

/// Red, green, blue.
pub(super) type Colour = [u8; 3];

/// Where a text's anchor lies along its width.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Middle,
    Right,
}

/// Pixels in rows, colours together, `x` to the right and `y` down, in pixels from the top left corner.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<[f32; 3]>,
    font: FontRef<'static>,
}

impl Canvas {
    /// A white surface.
    pub(super) fn new(width: usize, height: usize) -> Result<Canvas, Diagnostic> {
        Ok(Canvas { width, height, pixels: vec![[255.0; 3]; width * height], font: font()? })
    }

    /// Fills a rectangle whose sides may lie between pixels.
    pub(super) fn rectangle(&mut self, x: f32, y: f32, w: f32, h: f32, colour: Colour) {
        let covered = |at: usize, from: f32, size: f32| {
            ((at as f32 + 1.0).min(from + size) - (at as f32).max(from)).clamp(0.0, 1.0)
        };
        for py in pixel_range(y, y + h, self.height) {
            for px in pixel_range(x, x + w, self.width) {
                self.blend(px, py, colour, covered(px, x, w) * covered(py, y, h));
            }
        }
    }

    /// Draws a connected line with round joins. Every pixel is covered once, however often the line
    /// crosses it, so that a noisy curve keeps its colour.
    pub(super) fn line(&mut self, points: &[(f32, f32)], thickness: f32, colour: Colour) {
        let reach = thickness / 2.0 + 0.5;
        let mut cover = vec![0f32; self.width * self.height];
        let mut segment = |a: (f32, f32), b: (f32, f32)| {
            for py in pixel_range(a.1.min(b.1) - reach, a.1.max(b.1) + reach, self.height) {
                for px in pixel_range(a.0.min(b.0) - reach, a.0.max(b.0) + reach, self.width) {
                    let d = distance((px as f32 + 0.5, py as f32 + 0.5), a, b);
                    let c = &mut cover[py * self.width + px];
                    *c = c.max((reach - d).clamp(0.0, 1.0));
                }
            }
        };
        match points {
            [only] => segment(*only, *only),
            _ => points.windows(2).for_each(|p| segment(p[0], p[1])),
        }
        for (i, c) in cover.into_iter().enumerate().filter(|(_, c)| *c > 0.0) {
            self.blend(i % self.width, i / self.width, colour, c);
        }
    }

    /// Writes text whose baseline is at `y` and whose anchor is at `x`; `size` is the em's height.
    pub(super) fn text(&mut self, text: &str, x: f32, y: f32, size: f32, align: Align, colour: Colour) {
        let width = self.text_width(text, size);
        let start = match align {
            Align::Left => x,
            Align::Middle => x - width / 2.0,
            Align::Right => x - width,
        };
        for mut glyph in self.layout(text, size).1 {
            // Horizontal positions stay between pixels: even spacing matters more than crisp stems.
            glyph.position = point(start + glyph.position.x, y.round());
            let Some(outline) = self.font.outline_glyph(glyph) else { continue };
            let bounds = outline.px_bounds();
            let mut spots = Vec::new();
            outline.draw(|gx, gy, c| spots.push((bounds.min.x + gx as f32, bounds.min.y + gy as f32, c)));
            for (px, py, c) in spots {
                if px >= 0.0 && py >= 0.0 && (px as usize) < self.width && (py as usize) < self.height {
                    self.blend(px as usize, py as usize, colour, c);
                }
            }
        }
    }

    /// The width of a text, in pixels.
    pub(super) fn text_width(&self, text: &str, size: f32) -> f32 {
        self.layout(text, size).0
    }

    /// `text`, shortened with an ellipsis to fit in `width` pixels.
    pub(super) fn shorten(&self, text: &str, size: f32, width: f32) -> String {
        if self.text_width(text, size) <= width {
            return text.to_owned();
        }
        let mut kept: Vec<char> = text.chars().collect();
        while !kept.is_empty() {
            kept.pop();
            let short: String = kept.iter().chain(&['…']).collect();
            if self.text_width(&short, size) <= width {
                return short;
            }
        }
        String::new()
    }

    fn layout(&self, text: &str, size: f32) -> (f32, Vec<Glyph>) {
        // ab_glyph's scale is ascent minus descent; ours is the em, as in other programs.
        let em = self.font.units_per_em().unwrap_or(2048.0);
        let scale = PxScale::from(size * self.font.height_unscaled() / em);
        let scaled = self.font.as_scaled(scale);
        let (mut x, mut last, mut glyphs) = (0.0, None, Vec::new());
        for c in text.chars() {
            let id = scaled.glyph_id(c);
            x += last.map_or(0.0, |l| scaled.kern(l, id));
            glyphs.push(id.with_scale_and_position(scale, point(x, 0.0)));
            x += scaled.h_advance(id);
            last = Some(id);
        }
        (x, glyphs)
    }

    fn blend(&mut self, x: usize, y: usize, colour: Colour, cover: f32) {
        let cover = cover.clamp(0.0, 1.0);
        for (p, c) in self.pixels[y * self.width + x].iter_mut().zip(colour) {
            *p += (f32::from(c) - *p) * cover;
        }
    }

    /// The finished picture.
    pub(super) fn into_image(self) -> Result<Image, Diagnostic> {
        let plane = |c: usize| self.pixels.iter().map(move |p| p[c].round().clamp(0.0, 255.0) as u8);
        let data = plane(0).chain(plane(1)).chain(plane(2)).collect();
        Image::new(3, self.height, self.width, data)
    }
}

fn font() -> Result<FontRef<'static>, Diagnostic> {
    static PARSED: OnceLock<Option<FontRef<'static>>> = OnceLock::new();
    PARSED.get_or_init(|| FontRef::try_from_slice(FONT).ok()).clone().ok_or_else(|| {
        Diagnostic::error(codes::INTERNAL, "the font of plots, built into taper, cannot be read")
    })
}

/// The pixels that the interval touches.
fn pixel_range(from: f32, to: f32, len: usize) -> std::ops::Range<usize> {
    let clip = |v: f32| if v > 0.0 { (v as usize).min(len) } else { 0 };
    clip(from.floor())..clip(to.ceil())
}

/// The distance from a point to a segment.
fn distance(p: (f32, f32), a: (f32, f32), b: (f32, f32)) -> f32 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length2 = dx * dx + dy * dy;
    let t =
        if length2 > 0.0 { (((p.0 - a.0) * dx + (p.1 - a.1) * dy) / length2).clamp(0.0, 1.0) } else { 0.0 };
    (p.0 - a.0 - t * dx).hypot(p.1 - a.1 - t * dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_rectangles_cover_what_they_should() {
        let mut canvas = Canvas::new(20, 10).unwrap();
        canvas.rectangle(2.0, 2.0, 3.5, 1.0, [0, 0, 0]);
        canvas.line(&[(0.5, 7.5), (19.5, 7.5), (0.5, 7.5)], 1.0, [255, 0, 0]);
        let image = canvas.into_image().unwrap();
        let red = |y: usize, x: usize| image.data[y * 20 + x];
        let green = |y: usize, x: usize| image.data[200 + y * 20 + x];
        assert_eq!((red(2, 1), red(2, 2), red(2, 4), red(2, 5), red(3, 3)), (255, 0, 0, 128, 255));
        assert_eq!((red(7, 10), green(7, 10), green(5, 10)), (255, 0, 255));
    }

    #[test]
    fn text_is_measured_shortened_and_kept_inside() {
        let mut canvas = Canvas::new(60, 20).unwrap();
        assert!(canvas.text_width("iii", 12.0) < canvas.text_width("mmm", 12.0));
        assert_eq!(canvas.shorten("loss", 12.0, 100.0), "loss");
        let short = canvas.shorten("a very long name of a series", 12.0, 50.0);
        assert!(short.ends_with('…') && canvas.text_width(&short, 12.0) <= 50.0);
        canvas.text("outside on both sides", 30.0, 5.0, 16.0, Align::Middle, [0, 0, 0]);
        assert!(canvas.into_image().unwrap().data.iter().any(|v| *v < 100));
    }
}
