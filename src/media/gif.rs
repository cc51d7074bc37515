//! Animated GIFs: a sampler at work, a walk through a latent space.

use std::path::Path;
use std::time::Duration;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, RgbaImage};

use super::image::Image;
use crate::diagnostic::{Diagnostic, codes};

/// How an animation plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Animation {
    /// How long each frame stays; GIF keeps hundredths of a second.
    pub delay: Duration,
    /// How much longer the last frame stays.
    pub hold: Duration,
    /// Whether it starts over at the end.
    pub repeat: bool,
}

impl Default for Animation {
    fn default() -> Self {
        Animation { delay: Duration::from_millis(80), hold: Duration::from_millis(1200), repeat: true }
    }
}

/// GIF bytes of the frames, which must be of one size.
///
/// A frame with at most 256 colours (any grey one) is kept exactly; others get the 256 that suit it best.
///
/// # Errors
/// `E0806` when there is no frame or the sizes differ, `E0902` when a side is over 65,535 pixels.
pub fn encode_gif(frames: &[Image], animation: &Animation) -> Result<Vec<u8>, Diagnostic> {
    let Some(first) = frames.first() else {
        return Err(Diagnostic::error(
            codes::DATA_SHAPE,
            "an animation needs at least one frame, found none",
        )
        .help("let the graph give more than one image, or watch a value inside its loop"));
    };
    if let Some((i, other)) =
        frames.iter().enumerate().find(|(_, f)| (f.height, f.width) != (first.height, first.width))
    {
        return Err(Diagnostic::error(
            codes::DATA_SHAPE,
            format!(
                "the frames of an animation must have one size: frame 0 is {} × {}, frame {i} is {} × {}",
                first.height, first.width, other.height, other.width
            ),
        )
        .help("bring the frames to one size"));
    }
    let failed = |why: String| Diagnostic::error(codes::CANNOT_WRITE, format!("cannot make a GIF: {why}"));
    if first.height.max(first.width) > usize::from(u16::MAX) {
        return Err(failed(format!("{} × {} pixels are too many", first.height, first.width))
            .help("write fewer images, or a PNG"));
    }
    let mut out = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut out, 10);
    encoder
        .set_repeat(if animation.repeat { Repeat::Infinite } else { Repeat::Finite(0) })
        .map_err(|e| failed(e.to_string()))?;
    for (i, frame) in frames.iter().enumerate() {
        let hold = if i + 1 == frames.len() { animation.hold } else { Duration::ZERO };
        let millis = u32::try_from((animation.delay + hold).as_millis()).unwrap_or(u32::MAX);
        let pixels = RgbaImage::from_raw(frame.width as u32, frame.height as u32, rgba(frame))
            .ok_or_else(|| failed("the pixels do not fill the frame".into()))?;
        encoder
            .encode_frame(Frame::from_parts(pixels, 0, 0, Delay::from_numer_denom_ms(millis, 1)))
            .map_err(|e| failed(e.to_string()))?;
    }
    drop(encoder);
    Ok(out)
}

/// Writes [`encode_gif`]'s bytes, whole or not at all.
///
/// # Errors
/// As [`encode_gif`], and `E0902` when it cannot be written.
pub fn write_gif(path: &Path, frames: &[Image], animation: &Animation) -> Result<(), Diagnostic> {
    crate::fs::write_atomic(path, &encode_gif(frames, animation)?)
}

fn rgba(image: &Image) -> Vec<u8> {
    let plane = image.height * image.width;
    let channel = |c: usize| if image.channels == 3 { c * plane } else { 0 };
    (0..plane)
        .flat_map(|i| {
            [image.data[channel(0) + i], image.data[channel(1) + i], image.data[channel(2) + i], 255]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::AnimationDecoder;
    use image::codecs::gif::GifDecoder;

    fn grey(value: u8) -> Image {
        let data = (0..64u8).map(|i| value.wrapping_add(i)).collect();
        Image::new(1, 8, 8, data).unwrap()
    }

    #[test]
    fn grey_frames_read_back_exactly_with_their_times() {
        let frames = [grey(0), grey(60), grey(180)];
        let animation =
            Animation { delay: Duration::from_millis(50), hold: Duration::from_secs(1), repeat: true };
        let bytes = encode_gif(&frames, &animation).unwrap();
        assert!(bytes.windows(11).any(|w| w == b"NETSCAPE2.0"), "loops for ever");
        let read =
            GifDecoder::new(std::io::Cursor::new(&bytes)).unwrap().into_frames().collect_frames().unwrap();
        assert_eq!(read.len(), 3);
        for (frame, image) in read.iter().zip(&frames) {
            let got: Vec<u8> = frame.buffer().pixels().map(|p| p.0[0]).collect();
            assert_eq!(got, image.data);
        }
        assert_eq!(read[0].delay().numer_denom_ms(), (50, 1));
        assert_eq!(read[2].delay().numer_denom_ms(), (1050, 1));
    }

    #[test]
    fn no_frames_and_mixed_sizes_are_refused() {
        assert_eq!(encode_gif(&[], &Animation::default()).unwrap_err().code, codes::DATA_SHAPE);
        let other = Image::new(1, 2, 2, vec![0; 4]).unwrap();
        let d = encode_gif(&[grey(0), other], &Animation::default()).unwrap_err();
        assert!(d.message.contains("frame 1 is 2 × 2"), "{}", d.message);
        let wide = Image::new(1, 1, 70_000, vec![0; 70_000]).unwrap();
        assert_eq!(encode_gif(&[wide], &Animation::default()).unwrap_err().code, codes::CANNOT_WRITE);
    }
}
