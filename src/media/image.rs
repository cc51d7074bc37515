//! An 8-bit image in planes, and its resizing.

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma};

use crate::diagnostic::{Diagnostic, codes};

/// An image of 8-bit channels stored one plane after another: `[channels, height, width]`, as the
/// language's image tensors are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `channels * height * width` values from 0 (dark) to 255.
    pub data: Vec<u8>,
}

/// How an image is brought to another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fit {
    /// Scale to cover the size, keeping proportions, and cut what sticks out on both sides equally.
    #[default]
    Crop,
    /// Scale both axes independently.
    Stretch,
}

/// The interpolation of a resize; both widen their support when shrinking, so that nothing aliases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Filter {
    /// Linear (a triangle): smooth, never overshoots.
    Triangle,
    /// Lanczos with three lobes: sharper.
    #[default]
    Lanczos,
}

impl Image {
    /// An image from its planes.
    ///
    /// # Errors
    /// `E0806` when there are not 1 or 3 channels, an axis is empty, or `data` has another length.
    pub fn new(channels: usize, height: usize, width: usize, data: Vec<u8>) -> Result<Image, Diagnostic> {
        let len = channels.checked_mul(height).and_then(|n| n.checked_mul(width));
        if !matches!(channels, 1 | 3) || height == 0 || width == 0 || len != Some(data.len()) {
            return Err(Diagnostic::error(
                codes::DATA_SHAPE,
                format!(
                    "an image must be [1, height, width] or [3, height, width]; found \
                     [{channels}, {height}, {width}] with {} values",
                    data.len()
                ),
            )
            .help("give 1 channel for grey or 3 for colour"));
        }
        Ok(Image { channels, height, width, data })
    }

    /// The shape: `[channels, height, width]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// The image at `height` × `width` pixels, both at least 1.
    #[must_use]
    pub fn resize(&self, height: usize, width: usize, fit: Fit, filter: Filter) -> Image {
        let (height, width) = (height.max(1), width.max(1));
        if (height, width) == (self.height, self.width) {
            return self.clone();
        }
        let (h, w) = match fit {
            Fit::Stretch => (height, width),
            Fit::Crop => {
                let scale = (height as f64 / self.height as f64).max(width as f64 / self.width as f64);
                let side = |n: usize, least: usize| ((n as f64 * scale).round() as usize).max(least);
                (side(self.height, height), side(self.width, width))
            }
        };
        self.scale(h, w, filter).center_crop(height, width)
    }

    /// The middle `height` × `width` pixels, or as many as there are.
    #[must_use]
    pub fn center_crop(&self, height: usize, width: usize) -> Image {
        let (height, width) = (height.clamp(1, self.height), width.clamp(1, self.width));
        self.crop((self.height - height) / 2, (self.width - width) / 2, height, width)
    }

    /// The pixels from `(top, left)` on, `height` × `width` of them; a window that leaves the image is
    /// cut at its edge.
    #[must_use]
    pub fn crop(&self, top: usize, left: usize, height: usize, width: usize) -> Image {
        let (top, left) = (top.min(self.height - 1), left.min(self.width - 1));
        let (height, width) = (height.clamp(1, self.height - top), width.clamp(1, self.width - left));
        if (height, width) == (self.height, self.width) {
            return self.clone();
        }
        let mut data = Vec::with_capacity(self.channels * height * width);
        for plane in self.data.chunks_exact(self.height * self.width) {
            for row in plane.chunks_exact(self.width).skip(top).take(height) {
                data.extend_from_slice(&row[left..left + width]);
            }
        }
        Image { channels: self.channels, height, width, data }
    }

    /// Every pixel as a square of `factor` × `factor`, to look at small images.
    #[must_use]
    pub fn enlarge(&self, factor: usize) -> Image {
        let factor = factor.max(1);
        let rows = self.data.chunks_exact(self.width);
        let data = rows.flat_map(|row| {
            let wide: Vec<u8> = row.iter().flat_map(|v| std::iter::repeat_n(*v, factor)).collect();
            wide.repeat(factor)
        });
        Image {
            channels: self.channels,
            height: self.height * factor,
            width: self.width * factor,
            data: data.collect(),
        }
    }

    fn scale(&self, height: usize, width: usize, filter: Filter) -> Image {
        if (height, width) == (self.height, self.width) {
            return self.clone();
        }
        let filter = match filter {
            Filter::Triangle => FilterType::Triangle,
            Filter::Lanczos => FilterType::Lanczos3,
        };
        let mut data = Vec::with_capacity(self.channels * height * width);
        for plane in self.data.chunks_exact(self.height * self.width) {
            let view = ImageBuffer::<Luma<u8>, &[u8]>::from_raw(self.width as u32, self.height as u32, plane);
            if let Some(view) = view {
                data.extend_from_slice(imageops::resize(&view, width as u32, height as u32, filter).as_raw());
            }
        }
        Image { channels: self.channels, height, width, data }
    }

    /// The pixels as an encoder wants them: all channels of a pixel together.
    pub(crate) fn interleaved(&self) -> Vec<u8> {
        let plane = self.height * self.width;
        (0..plane).flat_map(|i| (0..self.channels).map(move |c| self.data[c * plane + i])).collect()
    }

    /// PNG bytes, lossless.
    ///
    /// # Errors
    /// `E0902` when the image is larger than PNG allows.
    pub fn to_png(&self) -> Result<Vec<u8>, Diagnostic> {
        use image::ImageEncoder;
        use image::codecs::png::{CompressionType, FilterType, PngEncoder};
        let too_large =
            |why: String| Diagnostic::error(codes::CANNOT_WRITE, format!("cannot make a PNG: {why}"));
        let (Ok(width), Ok(height)) = (u32::try_from(self.width), u32::try_from(self.height)) else {
            return Err(too_large(format!("{} × {} pixels are too many", self.height, self.width)));
        };
        let colour =
            if self.channels == 1 { image::ExtendedColorType::L8 } else { image::ExtendedColorType::Rgb8 };
        let mut out = Vec::new();
        PngEncoder::new_with_quality(&mut out, CompressionType::Default, FilterType::Adaptive)
            .write_image(&self.interleaved(), width, height, colour)
            .map_err(|e| too_large(e.to_string()))?;
        Ok(out)
    }

    /// Writes a PNG, whole or not at all.
    ///
    /// # Errors
    /// `E0902` when it cannot be written.
    pub fn write_png(&self, path: &std::path::Path) -> Result<(), Diagnostic> {
        crate::fs::write_atomic(path, &self.to_png()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(channels: usize, height: usize, width: usize) -> Image {
        let data = (0..channels * height * width).map(|i| (i * 7 % 251) as u8).collect();
        Image::new(channels, height, width, data).unwrap()
    }

    #[test]
    fn wrong_lengths_and_channels_are_refused() {
        assert_eq!(Image::new(2, 2, 2, vec![0; 8]).unwrap_err().code, codes::DATA_SHAPE);
        assert!(Image::new(1, 2, 2, vec![0; 5]).is_err());
        assert!(Image::new(1, 0, 2, vec![]).is_err());
        assert!(Image::new(3, usize::MAX, usize::MAX, vec![]).is_err());
    }

    #[test]
    fn resize_keeps_a_constant_and_covers_the_size() {
        for filter in [Filter::Triangle, Filter::Lanczos] {
            for fit in [Fit::Crop, Fit::Stretch] {
                let image = Image::new(3, 10, 17, vec![93; 510]).unwrap();
                let small = image.resize(4, 5, fit, filter);
                assert_eq!(small.shape(), [3, 4, 5]);
                assert!(small.data.iter().all(|v| *v == 93));
                assert_eq!(image.resize(33, 21, fit, filter).shape(), [3, 33, 21]);
            }
        }
    }

    #[test]
    fn crop_takes_the_middle_of_each_plane() {
        let image = ramp(3, 4, 6);
        let middle = image.center_crop(2, 2);
        assert_eq!(middle.shape(), [3, 2, 2]);
        let at = |c: usize, y: usize, x: usize| image.data[(c * 4 + y) * 6 + x];
        assert_eq!(&middle.data[4..8], &[at(1, 1, 2), at(1, 1, 3), at(1, 2, 2), at(1, 2, 3)]);
        assert_eq!(image.crop(3, 5, 10, 10).shape(), [3, 1, 1]);
    }

    #[test]
    fn enlarging_repeats_pixels() {
        let image = Image::new(1, 1, 2, vec![5, 9]).unwrap().enlarge(2);
        assert_eq!((image.shape(), &image.data[..]), ([1, 2, 4], &[5, 5, 9, 9, 5, 5, 9, 9][..]));
    }

    #[test]
    fn png_reads_back() {
        for image in [ramp(1, 5, 7), ramp(3, 6, 4)] {
            let read =
                super::super::decode_image(&image.to_png().unwrap(), "x.png", &Default::default()).unwrap();
            assert_eq!(read, image);
        }
    }
}
