//! What is done to images on their way into a batch: resizing, crops, flips, normalisation.
//!
//! Every draw is keyed by (seed, epoch, sample), so that neither the batch size nor the number of workers
//! changes a picture.

use super::array::{Array, ArrayData, Element};
use super::column::FieldInfo;
use super::order::{below, mix};
use crate::diagnostic::{Diagnostic, codes};
use crate::media::{Filter, Fit, Image, ReadOptions};

/// Where a crop is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Rows of the result.
    pub height: usize,
    /// Columns of the result.
    pub width: usize,
    /// Black pixels added on every side before (He et al. 2016 use 4 for CIFAR-10).
    pub pad: usize,
    /// At a random place, new for each epoch; else in the middle.
    pub random: bool,
}

/// Changes to the field `image`, in the order of the fields here.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Augment {
    /// Read image files as grey (1) or in colour (3), whatever each holds.
    pub channels: Option<usize>,
    /// Resize so that the image covers this height and width, and cut what sticks out.
    pub resize: Option<(usize, usize)>,
    /// Take a part.
    pub crop: Option<Crop>,
    /// Mirror left and right, with probability 1/2.
    pub flip: bool,
    /// Mean and standard deviation of each channel, or one pair for all, in the unit range: the result is
    /// f32, `(value / 255 - mean) / deviation`.
    pub normalize: Option<Vec<(f32, f32)>>,
}

impl Augment {
    /// Whether nothing is changed.
    pub fn is_none(&self) -> bool {
        *self == Augment::default()
    }

    /// How image files are read for it: in its colours, and at its size, so that they may differ in both.
    pub fn read_options(&self) -> ReadOptions {
        ReadOptions { channels: self.channels, size: self.resize, fit: Fit::Crop, filter: Filter::Lanczos }
    }

    /// The field as it will be after the changes.
    ///
    /// # Errors
    /// `E0806` when it holds no u8 images, a crop is larger than the image, or the statistics are not one
    /// pair per channel.
    pub fn field(&self, info: &FieldInfo) -> Result<FieldInfo, Diagnostic> {
        if info.name != "image" || self.is_none() {
            return Ok(info.clone());
        }
        let [c, h, w] = match (&info.sample_shape[..], info.element) {
            ([c, h, w], Element::U8) => [*c, *h, *w],
            (shape, element) => {
                let shape = super::array::display_shape(shape);
                return Err(wrong(format!(
                    "images to be changed must be u8[n, c, h, w]; each sample here is {element}{shape}"
                ))
                .help("store the images as bytes, or change the floats in the graph"));
            }
        };
        if let Some(want) = self.channels.filter(|want| *want != c) {
            return Err(wrong(format!(
                "the images have {c} channels, and {want} are asked for: image files alone are read in other colours"
            ))
            .help(format!("leave out `channels`, and compute with {c} in the graph")));
        }
        let (mut h, mut w) = self.resize.unwrap_or((h, w));
        if let Some(crop) = self.crop {
            if crop.height > h + 2 * crop.pad || crop.width > w + 2 * crop.pad {
                return Err(wrong(format!(
                    "a crop of {} × {} does not fit into images of {h} × {w} padded by {}",
                    crop.height, crop.width, crop.pad
                ))
                .help("take a smaller crop, pad more, or enlarge the images first with `size`"));
            }
            (h, w) = (crop.height, crop.width);
        }
        if h == 0 || w == 0 {
            let help = "give sizes of at least 1";
            return Err(wrong("an image cannot be made 0 pixels high or wide".into()).help(help));
        }
        let element = match &self.normalize {
            None => Element::U8,
            Some(stats) if stats.len() != c && stats.len() != 1 => {
                return Err(wrong(format!(
                    "normalisation has statistics for {} channels; the images have {c}",
                    stats.len()
                ))
                .help(if c == 1 {
                    "give one number".to_string()
                } else {
                    format!("give {c} numbers, or one for all channels")
                }));
            }
            Some(stats) if stats.iter().any(|(m, s)| !m.is_finite() || !s.is_finite() || *s <= 0.0) => {
                let help = "`std` divides: it must be positive";
                return Err(
                    wrong("normalisation needs finite means and positive deviations".into()).help(help)
                );
            }
            Some(_) => Element::F32,
        };
        Ok(FieldInfo { name: info.name.clone(), element, sample_shape: vec![c, h, w] })
    }

    /// Changes the images `u8[n, c, h, w]` of the samples `indices`.
    ///
    /// # Errors
    /// As [`Augment::field`].
    pub fn apply(
        &self,
        images: Array,
        indices: &[usize],
        seed: u64,
        epoch: u64,
    ) -> Result<Array, Diagnostic> {
        if self.is_none() {
            return Ok(images);
        }
        let info = FieldInfo {
            name: "image".into(),
            element: images.data.element(),
            sample_shape: images.shape.iter().skip(1).copied().collect(),
        };
        let after = self.field(&info)?;
        let (ArrayData::U8(pixels), [c, h, w]) = (images.data, &info.sample_shape[..]) else {
            return Err(wrong("images to be changed must be u8[n, c, h, w]".into()));
        };
        let mut out = Vec::with_capacity(indices.len() * after.sample_shape.iter().product::<usize>());
        for (sample, index) in pixels.chunks_exact(c * h * w).zip(indices) {
            let key = mix(mix(mix(seed ^ 0x6175_676d_656e_7421) ^ epoch) ^ *index as u64);
            out.extend(self.one(Image::new(*c, *h, *w, sample.to_vec())?, key).data);
        }
        let shape = std::iter::once(indices.len()).chain(after.sample_shape).collect();
        match &self.normalize {
            None => Array::new(shape, ArrayData::U8(out)),
            Some(stats) => {
                let plane = shape[2] * shape[3];
                let scaled = out.chunks_exact(plane).enumerate().flat_map(|(i, p)| {
                    let (mean, deviation) = stats[i % stats.len()];
                    p.iter().map(move |v| (f32::from(*v) / 255.0 - mean) / deviation)
                });
                Array::new(shape.clone(), ArrayData::F32(scaled.collect()))
            }
        }
    }

    fn one(&self, mut image: Image, key: u64) -> Image {
        if let Some((h, w)) = self.resize {
            image = image.resize(h, w, Fit::Crop, Filter::Lanczos);
        }
        if let Some(crop) = self.crop {
            image = pad(&image, crop.pad);
            let (down, right) = (image.height - crop.height, image.width - crop.width);
            let (top, left) = if crop.random {
                (
                    below(mix(key ^ 1), down as u64 + 1) as usize,
                    below(mix(key ^ 2), right as u64 + 1) as usize,
                )
            } else {
                (down / 2, right / 2)
            };
            image = image.crop(top, left, crop.height, crop.width);
        }
        if self.flip && mix(key ^ 3) >> 63 == 1 {
            image.data.chunks_exact_mut(image.width).for_each(<[u8]>::reverse);
        }
        image
    }
}

/// What is done, in a few words: `64 × 64, random crop 56 × 56, flip`.
impl std::fmt::Display for Augment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        match self.channels {
            Some(1) => parts.push("grey".to_string()),
            Some(3) => parts.push("colour".to_string()),
            Some(n) => parts.push(format!("{n} channels")),
            None => {}
        }
        parts.extend(self.resize.map(|(h, w)| format!("{h} × {w}")));
        if let Some(c) = self.crop {
            parts.extend((c.pad > 0).then(|| format!("padded by {}", c.pad)));
            let place = if c.random { "random" } else { "centre" };
            parts.push(format!("{place} crop {} × {}", c.height, c.width));
        }
        parts.extend(self.flip.then(|| "flip".to_string()));
        if let Some(stats) = &self.normalize {
            let stats: Vec<String> = stats.iter().map(|(m, s)| format!("{m} ± {s}")).collect();
            parts.push(format!("normalised by {}", stats.join(", ")));
        }
        f.write_str(&parts.join(", "))
    }
}

fn pad(image: &Image, by: usize) -> Image {
    if by == 0 {
        return image.clone();
    }
    let (height, width) = (image.height + 2 * by, image.width + 2 * by);
    let mut data = vec![0; image.channels * height * width];
    for (i, row) in image.data.chunks_exact(image.width).enumerate() {
        let (c, y) = (i / image.height, i % image.height);
        let at = (c * height + y + by) * width + by;
        data[at..at + image.width].copy_from_slice(row);
    }
    Image { channels: image.channels, height, width, data }
}

fn wrong(message: String) -> Diagnostic {
    Diagnostic::error(codes::DATA_SHAPE, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(n: usize) -> Array {
        let data = (0..n * 3 * 6 * 5).map(|i| (i % 251) as u8).collect();
        Array::new(vec![n, 3, 6, 5], ArrayData::U8(data)).unwrap()
    }

    fn augment() -> Augment {
        Augment {
            flip: true,
            crop: Some(Crop { height: 4, width: 4, pad: 1, random: true }),
            ..Default::default()
        }
    }

    #[test]
    fn a_sample_is_changed_alike_in_any_batch() {
        let all = images(6);
        let whole = augment().apply(all.clone(), &[0, 1, 2, 3, 4, 5], 9, 2).unwrap();
        for i in 0..6 {
            let alone = augment().apply(all.take(&[i]).unwrap(), &[i], 9, 2).unwrap();
            assert_eq!(alone, whole.take(&[i]).unwrap());
        }
        assert_ne!(augment().apply(all.clone(), &[0, 1, 2, 3, 4, 5], 9, 3).unwrap(), whole);
        assert_ne!(augment().apply(all, &[0, 1, 2, 3, 4, 5], 8, 2).unwrap(), whole);
    }

    #[test]
    fn half_of_the_samples_are_mirrored() {
        let flip = Augment { flip: true, ..Default::default() };
        let one = Array::new(vec![1, 1, 1, 2], ArrayData::U8(vec![1, 2])).unwrap();
        let flipped = (0..10_000)
            .filter(|i| flip.apply(one.clone(), &[*i], 0, 0).unwrap().data == ArrayData::U8(vec![2, 1]));
        assert!(flipped.count().abs_diff(5000) < 250, "five standard deviations are 250");
    }

    #[test]
    fn normalisation_and_shapes_are_as_foretold() {
        let stats = vec![(0.5, 0.25), (0.0, 1.0), (0.1, 0.2)];
        let a = Augment { resize: Some((8, 8)), normalize: Some(stats), ..augment() };
        let got = a.apply(images(2), &[0, 1], 0, 0).unwrap();
        let info = FieldInfo { name: "image".into(), element: Element::U8, sample_shape: vec![3, 6, 5] };
        let field = a.field(&info).unwrap();
        assert_eq!((got.data.element(), &got.shape[1..]), (field.element, &field.sample_shape[..]));
        let plain = Augment { normalize: Some(vec![(0.5, 0.25)]), ..Default::default() };
        let white = Array::new(vec![1, 1, 1, 2], ArrayData::U8(vec![255, 0])).unwrap();
        assert_eq!(plain.apply(white, &[0], 0, 0).unwrap().data, ArrayData::F32(vec![2.0, -2.0]));
    }

    #[test]
    fn one_pair_of_statistics_serves_all_channels() {
        let one = Augment { normalize: Some(vec![(0.5, 0.5)]), ..Default::default() };
        let three = Augment { normalize: Some(vec![(0.5, 0.5); 3]), ..Default::default() };
        let apply = |a: &Augment| a.apply(images(2), &[0, 1], 0, 0).unwrap();
        assert_eq!(apply(&one), apply(&three));
        assert_eq!(one.to_string(), "normalised by 0.5 ± 0.5");
        let all = Augment { channels: Some(3), resize: Some((8, 6)), ..augment() };
        assert_eq!(all.to_string(), "colour, 8 × 6, padded by 1, random crop 4 × 4, flip");
    }

    #[test]
    fn a_centre_crop_and_padding_are_exact() {
        let middle =
            Augment { crop: Some(Crop { height: 2, width: 1, pad: 1, random: false }), ..Default::default() };
        let one = Array::new(vec![1, 1, 2, 1], ArrayData::U8(vec![7, 8])).unwrap();
        assert_eq!(middle.apply(one.clone(), &[0], 0, 0).unwrap().data, ArrayData::U8(vec![7, 8]));
        let all =
            Augment { crop: Some(Crop { height: 4, width: 3, pad: 1, random: true }), ..Default::default() };
        let padded = vec![0, 0, 0, 0, 7, 0, 0, 8, 0, 0, 0, 0];
        assert_eq!(all.apply(one, &[0], 0, 0).unwrap().data, ArrayData::U8(padded));
    }

    #[test]
    fn what_does_not_suit_is_refused() {
        let info = FieldInfo { name: "image".into(), element: Element::U8, sample_shape: vec![1, 4, 4] };
        let crop =
            Augment { crop: Some(Crop { height: 5, width: 4, pad: 0, random: false }), ..Default::default() };
        let stats = |s: Vec<(f32, f32)>| Augment { normalize: Some(s), ..Default::default() };
        for a in [
            crop,
            Augment { channels: Some(3), ..Default::default() },
            stats(vec![(0.0, 1.0); 3]),
            stats(vec![(0.0, 0.0)]),
            Augment { resize: Some((0, 3)), ..Default::default() },
        ] {
            assert_eq!(a.field(&info).unwrap_err().code, codes::DATA_SHAPE);
        }
        let label = FieldInfo { name: "label".into(), element: Element::I64, sample_shape: vec![] };
        assert_eq!(augment().field(&label).unwrap(), label);
        let floats = FieldInfo { element: Element::F32, ..info };
        assert!(augment().field(&floats).is_err());
    }
}
