//! Image files (PNG, JPEG, GIF, WebP, BMP) into planes of 8 bits.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use image::{ColorType, DynamicImage, ImageDecoder, ImageReader, Limits};

use super::image::{Filter, Fit, Image};
use super::sniff;
use crate::diagnostic::{Diagnostic, codes};

/// The most pixels that an image file may declare: 64 Mi, so that a small file cannot fill the memory.
pub const MAX_PIXELS: u64 = 1 << 26;

/// The most pixels that every image file may declare, however short it is.
const FREE_PIXELS: u64 = 1 << 22;

/// Pixels that each byte of a longer file allows. A plain PNG has at most 1,032 bytes of them in one; some
/// formats have no bound of their own, and 34 bytes of WebP would take seconds and half a gigabyte.
const PIXELS_PER_BYTE: u64 = 4096;

/// How to read an image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// 1 for grey, 3 for colour; `None` keeps what is stored. Transparency is dropped.
    pub channels: Option<usize>,
    /// Height and width to bring the image to; `None` keeps its size.
    pub size: Option<(usize, usize)>,
    /// How it is brought to that size.
    pub fit: Fit,
    /// The interpolation.
    pub filter: Filter,
}

/// What an image file's header says, its EXIF orientation applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Reads an image file.
///
/// # Errors
/// `E0805` when it is missing, is not an image, is damaged, or declares more than `MAX_PIXELS` pixels.
pub fn read_image(path: &Path, options: &ReadOptions) -> Result<Image, Diagnostic> {
    let name = path.display().to_string();
    decode(open(path)?, &name, options)
}

/// Reads the header of an image file alone.
///
/// # Errors
/// As [`read_image`].
pub fn read_header(path: &Path) -> Result<ImageHeader, Diagnostic> {
    let name = path.display().to_string();
    let mut decoder = decoder(open(path)?, &name)?;
    Ok(header(&mut decoder))
}

/// Decodes the bytes of an image file; `name` is what messages call it.
///
/// # Errors
/// As [`read_image`].
pub fn decode_image(bytes: &[u8], name: &str, options: &ReadOptions) -> Result<Image, Diagnostic> {
    decode(Cursor::new(bytes), name, options)
}

fn open(path: &Path) -> Result<BufReader<File>, Diagnostic> {
    let failed = |why: String| {
        Diagnostic::error(
            codes::IMAGE_UNREADABLE,
            format!("cannot read the image `{}`: {why}", path.display()),
        )
        .help("give the path of a png, jpeg, gif, webp or bmp file")
    };
    let file = File::open(path).map_err(|e| failed(crate::fs::plain(&e)))?;
    match file.metadata() {
        Ok(m) if m.is_dir() => Err(failed("it is a folder".into())),
        Ok(m) if !m.is_file() => Err(failed("it is not a regular file".into())),
        _ => Ok(BufReader::new(file)),
    }
}

fn decode<R: BufRead + Seek>(input: R, name: &str, options: &ReadOptions) -> Result<Image, Diagnostic> {
    let mut decoder = decoder(input, name)?;
    let channels = options.channels.unwrap_or_else(|| header(&mut decoder).channels);
    if !matches!(channels, 1 | 3) {
        return Err(Diagnostic::error(
            codes::DATA_SHAPE,
            format!("`{name}` was asked for with {channels} channels; an image has 1 (grey) or 3 (colour)"),
        )
        .help("ask for 1 or 3 channels"));
    }
    if matches!(options.size, Some((h, w)) if h == 0 || w == 0 || (h as u64).saturating_mul(w as u64) > MAX_PIXELS)
    {
        let (h, w) = options.size.unwrap_or_default();
        return Err(Diagnostic::error(
            codes::DATA_SHAPE,
            format!("`{name}` cannot be brought to {h} × {w} pixels: at least 1 and at most {MAX_PIXELS} are possible"),
        )
        .help("choose another size"));
    }
    // A damaged orientation tag says nothing about the pixels.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| damaged(name, &e.to_string()))?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let data =
        if channels == 1 { picture.into_luma8().into_raw() } else { planes(picture.into_rgb8().as_raw()) };
    let image = Image::new(channels, height, width, data)?;
    Ok(match options.size {
        Some((h, w)) => image.resize(h, w, options.fit, options.filter),
        None => image,
    })
}

/// A decoder that has read the header and refuses outrageous sizes.
fn decoder<'a, R: BufRead + Seek + 'a>(
    mut input: R,
    name: &'a str,
) -> Result<impl ImageDecoder + 'a, Diagnostic> {
    let mut head = Vec::new();
    let io = |e: std::io::Error| damaged(name, &crate::fs::plain(&e));
    input.by_ref().take(64).read_to_end(&mut head).map_err(io)?;
    let length = input.seek(std::io::SeekFrom::End(0)).map_err(io)?;
    input.rewind().map_err(io)?;
    let mut reader = ImageReader::new(input).with_guessed_format().map_err(io)?;
    if reader.format().is_none() {
        return Err(Diagnostic::error(
            codes::IMAGE_UNREADABLE,
            format!(
                "`{name}` is not an image: a png, jpeg, gif, webp or bmp file was expected, found {}",
                sniff::describe(&head)
            ),
        )
        .help("convert it, or remove it from the folder"));
    }
    let allowed = FREE_PIXELS.max(length.saturating_mul(PIXELS_PER_BYTE));
    let mut limits = Limits::default();
    // Frames too: those of a GIF may be larger than the image.
    limits.max_alloc = Some(MAX_PIXELS.min(allowed) * 16);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| damaged(name, &e.to_string()))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Diagnostic::error(
            codes::IMAGE_UNREADABLE,
            format!("`{name}` declares {height} × {width} pixels; at most {MAX_PIXELS} in all are read"),
        )
        .help("make the image smaller before using it"));
    }
    if u64::from(width) * u64::from(height) > allowed {
        let message = format!("`{name}` declares {height} × {width} pixels and has {length} bytes");
        return Err(Diagnostic::error(codes::IMAGE_UNREADABLE, message)
            .help("the file is damaged, or holds one colour; fetch or export it again, as png"));
    }
    Ok(decoder)
}

fn header(decoder: &mut impl ImageDecoder) -> ImageHeader {
    use image::metadata::Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let (width, height) = decoder.dimensions();
    let turned = matches!(decoder.orientation(), Ok(Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH));
    let (width, height) = if turned { (height, width) } else { (width, height) };
    let grey =
        matches!(decoder.color_type(), ColorType::L8 | ColorType::La8 | ColorType::L16 | ColorType::La16);
    ImageHeader { channels: if grey { 1 } else { 3 }, height: height as usize, width: width as usize }
}

fn planes(interleaved: &[u8]) -> Vec<u8> {
    (0..3).flat_map(|c| interleaved.iter().skip(c).step_by(3).copied()).collect()
}

fn damaged(name: &str, why: &str) -> Diagnostic {
    Diagnostic::error(codes::IMAGE_UNREADABLE, format!("the image `{name}` is damaged: {why}"))
        .help("open it in an image viewer; fetch or export it again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn png(channels: usize, h: usize, w: usize) -> Vec<u8> {
        let data = (0..channels * h * w).map(|i| (i * 11 % 256) as u8).collect();
        Image::new(channels, h, w, data).unwrap().to_png().unwrap()
    }

    /// Found by fuzzing: 34 bytes that took a minute.
    #[test]
    fn a_short_file_declares_no_large_image() {
        let mut webp = b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\0\x7e\x01\x14\x07\x12".to_vec();
        webp.extend(b"\x11\x11\x88\x88\xfe\x07\0");
        let d = decode_image(&webp, "a", &ReadOptions::default()).unwrap_err();
        assert!(d.message.ends_with("declares 4102 × 15873 pixels and has 34 bytes"), "{}", d.message);
    }

    /// Found by fuzzing: an image of one pixel with a frame that would take more than a gigabyte.
    #[test]
    fn a_short_file_has_no_large_frame() {
        let mut gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
        gif.extend(b",\0\0\0\0\xda\x49\x46\x38\0\x02\x02\x44\x01\0;");
        let d = decode_image(&gif, "a", &ReadOptions::default()).unwrap_err();
        assert!(d.message.contains("Memory limit exceeded"), "{}", d.message);
    }

    #[test]
    fn channels_and_size_are_as_asked() {
        let bytes = png(3, 9, 12);
        for channels in [1, 3] {
            let options = ReadOptions { channels: Some(channels), size: Some((4, 4)), ..Default::default() };
            assert_eq!(decode_image(&bytes, "a", &options).unwrap().shape(), [channels, 4, 4]);
        }
        let grey = decode_image(&png(1, 3, 2), "a", &ReadOptions { channels: Some(3), ..Default::default() })
            .unwrap();
        assert_eq!(grey.data[..6], grey.data[6..12]);
        let wrong = ReadOptions { channels: Some(2), ..Default::default() };
        assert_eq!(decode_image(&bytes, "a", &wrong).unwrap_err().code, codes::DATA_SHAPE);
        let huge = ReadOptions { size: Some((1 << 40, 1 << 40)), ..Default::default() };
        assert_eq!(decode_image(&bytes, "a", &huge).unwrap_err().code, codes::DATA_SHAPE);
    }

    #[test]
    fn all_five_formats_are_read() {
        let rgb = image::RgbImage::from_pixel(6, 4, image::Rgb([200, 100, 50]));
        for format in ["png", "jpeg", "gif", "webp", "bmp"] {
            let mut out = Cursor::new(Vec::new());
            let kind = image::ImageFormat::from_extension(format).unwrap();
            DynamicImage::ImageRgb8(rgb.clone()).write_to(&mut out, kind).unwrap();
            let read = decode_image(out.get_ref(), format, &ReadOptions::default()).unwrap();
            assert_eq!(read.shape(), [3, 4, 6], "{format}");
            assert!(read.data[0].abs_diff(200) < 4 && read.data[24].abs_diff(100) < 4, "{format}");
        }
    }

    #[test]
    fn bad_files_are_explained() {
        let d = decode_image(b"<!doctype html><p>404", "cat.png", &ReadOptions::default()).unwrap_err();
        assert_eq!(d.code, codes::IMAGE_UNREADABLE);
        assert!(d.message.contains("found an HTML page"), "{}", d.message);
        let mut cut = png(3, 30, 30);
        cut.truncate(cut.len() / 2);
        let d = decode_image(&cut, "cat.png", &ReadOptions::default()).unwrap_err();
        assert!(d.message.contains("damaged"), "{}", d.message);
        let folder = tempfile::tempdir().unwrap();
        assert!(read_image(folder.path(), &ReadOptions::default()).unwrap_err().message.contains("folder"));
        assert!(read_header(&folder.path().join("none.png")).is_err());
    }

    #[test]
    fn a_bomb_is_refused_from_its_header() {
        let mut bytes = png(1, 2, 2);
        bytes[16..20].copy_from_slice(&60_000u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&60_000u32.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let d = decode_image(&bytes, "bomb.png", &ReadOptions::default()).unwrap_err();
        assert!(d.message.contains("60000 × 60000"), "{}", d.message);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn mutated_images_never_panic(at in 0usize..200, value: u8, cut in 0usize..300) {
            let mut bytes = png(3, 8, 8);
            let len = bytes.len();
            bytes[at % len] = value;
            bytes.truncate(cut.max(1));
            let _ = decode_image(&bytes, "x", &ReadOptions::default());
        }
    }
}
