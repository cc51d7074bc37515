//! Images in the terminal while they come to be: two pixels a character, the upper half block in two colours.

use console::Term;

use crate::media::{GridShape, Image, grid_f32, signed_to_unit};
use crate::run::{Tensor, to_f32_vec};

/// The largest side of an image that is shown pixel by pixel.
const SIDE: usize = 32;
/// Lines left for the bar and what stood there before.
const MARGIN: usize = 4;

/// Where pictures can be shown: a terminal of known size, in colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preview {
    lines: usize,
    columns: usize,
    true_colors: bool,
}

impl Preview {
    /// On standard error, if that is a terminal that shows colours (`NO_COLOR` is heeded).
    pub(super) fn on_terminal() -> Option<Preview> {
        let term = Term::stderr();
        if !term.is_term() || !console::colors_enabled_stderr() {
            return None;
        }
        let (lines, columns) = term.size_checked()?;
        let true_colors = console::true_colors_enabled_stderr();
        Some(Preview { lines: lines.into(), columns: columns.into(), true_colors })
    }

    /// Text that shows the first images of `[n, c, h, w]`, as many as there is room for; `None` for what is no
    /// picture, or of values that are not numbers.
    pub(super) fn of(&self, value: &Tensor) -> Option<String> {
        let [n, c, h, w] = <[usize; 4]>::try_from(value.dims()).ok()?;
        if !matches!(c, 1 | 3) || n == 0 || h == 0 || w == 0 {
            return None;
        }
        // Of the grid's lines of 2 pixels one shows between images.
        let scale = h.max(w).div_ceil(SIDE);
        let (high, wide) = (h.div_ceil(scale), w.div_ceil(scale));
        let across = (self.columns.saturating_sub(3) / (wide + 2)).min(n);
        let down = (2 * self.lines.saturating_sub(MARGIN) / (high + 2)).min(n.div_ceil(across.max(1)));
        if across == 0 || down == 0 {
            return None;
        }
        let shown = n.min(across * down);
        let first = value.narrow(0, 0, shown).ok()?;
        let mut pixels = to_f32_vec(&first).ok()?;
        signed_to_unit(&mut pixels);
        let shape = GridShape { n: shown, c, h: high, w: wide };
        let image = grid_f32(&shrunk(&pixels, h, w, scale), shape, Some(across)).ok()?;
        Some(half_blocks(&image, self.true_colors))
    }
}

/// Planes of h × w pixels with every square of `scale` pixels as its mean.
fn shrunk(pixels: &[f32], h: usize, w: usize, scale: usize) -> Vec<f32> {
    if scale == 1 {
        return pixels.to_vec();
    }
    let mean = |plane: &[f32], top: usize, left: usize| {
        let (bottom, right) = ((top + scale).min(h), (left + scale).min(w));
        let sum: f32 = (top..bottom).flat_map(|y| &plane[y * w + left..y * w + right]).sum();
        sum / ((bottom - top) * (right - left)) as f32
    };
    let mut small = Vec::new();
    for plane in pixels.chunks_exact(h * w) {
        for top in (0..h).step_by(scale) {
            small.extend((0..w).step_by(scale).map(|left| mean(plane, top, left)));
        }
    }
    small
}

/// Two rows of pixels a line. A last row without a partner stands alone in the terminal's own ground.
fn half_blocks(image: &Image, true_colors: bool) -> String {
    let plane = image.height * image.width;
    let color = |y: usize, x: usize| {
        let at = |c: usize| image.data[(c % image.channels) * plane + y * image.width + x];
        let [r, g, b] = if image.channels == 1 { [at(0); 3] } else { [at(0), at(1), at(2)] };
        if true_colors { format!("2;{r};{g};{b}") } else { format!("5;{}", nearest(r, g, b)) }
    };
    let mut lines = Vec::new();
    for y in (0..image.height).step_by(2) {
        let mut line = String::new();
        for x in 0..image.width {
            line += &format!("\x1b[38;{}", color(y, x));
            if y + 1 < image.height {
                line += &format!(";48;{}", color(y + 1, x));
            }
            line += "m▀";
        }
        lines.push(line + "\x1b[0m");
    }
    lines.join("\n")
}

/// Of the 256 colours that most terminals have, one near this: of 24 greys, or of a cube of 6 × 6 × 6.
fn nearest(r: u8, g: u8, b: u8) -> u8 {
    if r == g && g == b {
        return match r {
            0..4 => 16,
            247.. => 231,
            _ => 232 + ((u16::from(r) - 3) / 10).min(23) as u8,
        };
    }
    let level = |v: u8| if v < 48 { 0 } else { ((u16::from(v) - 35) / 40).min(5) as u8 };
    16 + 36 * level(r) + 6 * level(g) + level(b)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn two_rows_of_pixels_are_a_line() {
        let image = Image::new(1, 3, 1, vec![0, 128, 255]).unwrap();
        let lines = "\x1b[38;2;0;0;0;48;2;128;128;128m▀\x1b[0m\n\x1b[38;2;255;255;255m▀\x1b[0m";
        assert_eq!(half_blocks(&image, true), lines);
        let image = Image::new(3, 1, 1, vec![255, 0, 95]).unwrap();
        assert_eq!(half_blocks(&image, false), "\x1b[38;5;197m▀\x1b[0m");
        assert_eq!(
            [nearest(0, 0, 0), nearest(8, 8, 8), nearest(238, 238, 238), nearest(255, 255, 255)],
            [16, 232, 255, 231]
        );
    }

    #[test]
    fn as_many_images_as_there_is_room_for() {
        let preview = Preview { lines: 24, columns: 80, true_colors: true };
        let zeros = |shape: [usize; 4]| Tensor::zeros(&shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        let size = |shape: [usize; 4]| {
            preview.of(&zeros(shape)).map(|text| {
                let first = text.lines().next().unwrap_or_default();
                (text.lines().count(), first.matches('▀').count())
            })
        };
        // Two garments beside each other and one line of them: 28 pixels and 2 lines of 2.
        assert_eq!(size([16, 1, 28, 28]), Some((16, 62)));
        assert_eq!(size([1, 3, 64, 64]), Some((16, 32)));
        assert_eq!(size([4, 2, 8, 8]), None);
        assert_eq!(Preview { lines: 5, ..preview }.of(&zeros([1, 1, 28, 28])), None);
    }

    #[test]
    fn large_images_are_shown_by_means() {
        assert_eq!(shrunk(&[0.0, 2.0, 5.0, 4.0, 6.0, 7.0], 2, 3, 2), [3.0, 6.0]);
    }
}
