//! Many images as one: sample grids.

use super::image::Image;
use crate::diagnostic::{Diagnostic, codes};

/// Pixels between the images of a grid, and around it.
const SEPARATOR: usize = 2;
/// The separator's brightness.
const SEPARATOR_VALUE: u8 = 255;

/// The shape of a batch of images: `[n, c, h, w]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GridShape {
    /// How many images.
    pub n: usize,
    /// Channels: 1 or 3.
    pub c: usize,
    /// Rows of each.
    pub h: usize,
    /// Columns of each.
    pub w: usize,
}

/// Lays `[n, c, h, w]` pixels out in rows of `columns` images, with white lines of 2 pixels between and
/// around them. `columns = None` makes the grid about square. A single image stays as it is.
///
/// # Errors
/// `E0806` when there is no image, the channels are not 1 or 3, or `pixels` has another length.
pub fn grid(pixels: &[u8], shape: GridShape, columns: Option<usize>) -> Result<Image, Diagnostic> {
    let GridShape { n, c, h, w } = shape;
    let len = [c, h, w].iter().try_fold(n, |a, b| a.checked_mul(*b));
    if n == 0 || h == 0 || w == 0 || !matches!(c, 1 | 3) || len != Some(pixels.len()) {
        return Err(Diagnostic::error(
            codes::DATA_SHAPE,
            format!(
                "a picture needs images [n, 1, h, w] or [n, 3, h, w]; found [{n}, {c}, {h}, {w}] with {} values",
                pixels.len()
            ),
        )
        .help("let the graph end in an image, or write the tensor to .npy or .safetensors instead"));
    }
    if n == 1 {
        return Image::new(c, h, w, pixels.to_vec());
    }
    let columns = columns.unwrap_or_else(|| (n as f64).sqrt().ceil() as usize).clamp(1, n);
    let rows = n.div_ceil(columns);
    let height = rows * (h + SEPARATOR) + SEPARATOR;
    let width = columns * (w + SEPARATOR) + SEPARATOR;
    let mut data = vec![SEPARATOR_VALUE; c * height * width];
    for (i, plane) in pixels.chunks_exact(h * w).enumerate() {
        let (image, channel) = (i / c, i % c);
        let top = SEPARATOR + image / columns * (h + SEPARATOR);
        let left = SEPARATOR + image % columns * (w + SEPARATOR);
        for (y, row) in plane.chunks_exact(w).enumerate() {
            let at = (channel * height + top + y) * width + left;
            data[at..at + w].copy_from_slice(row);
        }
    }
    Image::new(c, height, width, data)
}

/// [`grid`] of images in the unit range, see [`unit_to_u8`].
///
/// # Errors
/// `E0806` as [`grid`], `E0906` when a pixel is not a number.
pub fn grid_f32(pixels: &[f32], shape: GridShape, columns: Option<usize>) -> Result<Image, Diagnostic> {
    grid(&unit_to_u8(pixels)?, shape, columns)
}

/// Brings values of images that are plainly in [-1, 1] to [0, 1], and says whether: where more than 5 % lie below -0.25.
/// What a loop watches does not say its range.
pub fn signed_to_unit(values: &mut [f32]) -> bool {
    let below = values.iter().filter(|v| **v < -0.25).count();
    let signed = below * 20 > values.len();
    if signed {
        values.iter_mut().for_each(|v| *v = (*v + 1.0) / 2.0);
    }
    signed
}

/// Brightness in [0, 1] as 8 bits: clamped, scaled by 255 and rounded to nearest.
///
/// # Errors
/// `E0906` says how many values are not numbers.
pub fn unit_to_u8(pixels: &[f32]) -> Result<Vec<u8>, Diagnostic> {
    let bad = pixels.iter().filter(|v| v.is_nan()).count();
    if bad > 0 {
        return Err(Diagnostic::error(
            codes::NOT_FINITE,
            format!("an image holds {bad} values of {} that are not a number (NaN)", pixels.len()),
        )
        .help("the weights or the sampler diverged; try a smaller learning rate or more steps"));
    }
    Ok(pixels.iter().map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_stand_in_rows_with_lines_between() {
        let pixels: Vec<u8> = (0..5).flat_map(|i| [i * 10; 6]).collect();
        let image = grid(&pixels, GridShape { n: 5, c: 1, h: 2, w: 3 }, Some(2)).unwrap();
        assert_eq!(image.shape(), [1, 3 * 4 + 2, 2 * 5 + 2]);
        let at = |y: usize, x: usize| image.data[y * image.width + x];
        assert_eq!((at(0, 0), at(1, 5), at(2, 2), at(2, 7), at(6, 2), at(10, 4)), (255, 255, 0, 10, 20, 40));
        assert_eq!(at(10, 7), 255, "the last place of the grid is empty");
    }

    #[test]
    fn colour_planes_stay_apart() {
        let pixels = [1u8, 2, 3, 4, 5, 6];
        let image = grid(&pixels, GridShape { n: 2, c: 3, h: 1, w: 1 }, None).unwrap();
        assert_eq!(image.shape(), [3, 5, 8]);
        let at = |c: usize, x: usize| image.data[(c * 5 + 2) * 8 + x];
        assert_eq!([at(0, 2), at(1, 2), at(2, 2), at(0, 5), at(2, 5)], [1, 2, 3, 4, 6]);
    }

    #[test]
    fn signed_images_are_told_by_their_dark_pixels() {
        let mut signed = [-1.0, 0.0, 1.0];
        assert!(signed_to_unit(&mut signed));
        assert_eq!(signed, [0.0, 0.5, 1.0]);
        let mut unit = [-0.2, 0.5, 1.2];
        assert!(!signed_to_unit(&mut unit));
        assert_eq!(unit, [-0.2, 0.5, 1.2]);
    }

    #[test]
    fn unit_values_are_rounded_and_clamped() {
        let got = unit_to_u8(&[-1.0, 0.0, 0.499 / 255.0, 0.5 / 255.0, 0.5, 1.0, f32::INFINITY]).unwrap();
        assert_eq!(got, [0, 0, 0, 1, 128, 255, 255]);
        assert_eq!(unit_to_u8(&[f32::NAN]).unwrap_err().code, codes::NOT_FINITE);
    }

    #[test]
    fn every_byte_survives_the_way_through_unit() {
        let unit: Vec<f32> = (0..=255u8).map(|v| f32::from(v) / 255.0).collect();
        assert_eq!(unit_to_u8(&unit).unwrap(), (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn shapes_that_lie_are_refused() {
        for shape in [(0, 1, 1, 1), (1, 2, 1, 1), (4, 1, 3, 3), (usize::MAX, 3, usize::MAX, 9)] {
            let (n, c, h, w) = shape;
            assert_eq!(grid(&[0; 2], GridShape { n, c, h, w }, None).unwrap_err().code, codes::DATA_SHAPE);
        }
        assert_eq!(grid(&[7; 4], GridShape { n: 1, c: 1, h: 2, w: 2 }, None).unwrap().shape(), [1, 2, 2]);
    }
}
