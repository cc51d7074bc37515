//! What a file that was meant to be something else looks like, for error messages.

/// Names the contents that begin with `head`, as a noun phrase.
pub(crate) fn describe(head: &[u8]) -> &'static str {
    const SIGNATURES: &[(&[u8], &str)] = &[
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"GIF8", "a GIF image"),
        (b"BM", "a BMP image"),
        (b"\x1f\x8b", "a gzip file"),
        (b"PK\x03\x04", "a zip archive"),
        (b"PK\x05\x06", "an empty zip archive"),
        (b"\x93NUMPY", "a NumPy .npy array"),
        (b"%PDF", "a PDF document"),
        (b"BZh", "a bzip2 file"),
        (b"\xfd7zXZ\0", "an xz file"),
        (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    ];
    if head.is_empty() {
        return "an empty file";
    }
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return "a WebP image";
    }
    if let Some((_, name)) = SIGNATURES.iter().find(|(magic, _)| head.starts_with(magic)) {
        return name;
    }
    let text = head.iter().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..));
    let start: Vec<u8> =
        head.iter().skip_while(|b| b.is_ascii_whitespace()).take(14).map(u8::to_ascii_lowercase).collect();
    if start.starts_with(b"<!doctype html") || start.starts_with(b"<html") {
        "an HTML page"
    } else if text {
        "text"
    } else {
        "bytes of an unknown format"
    }
}

#[cfg(test)]
mod tests {
    use super::describe;

    #[test]
    fn names_the_usual_mistakes() {
        assert_eq!(describe(b""), "an empty file");
        assert_eq!(describe(b"\n<!DOCTYPE html><html>"), "an HTML page");
        assert_eq!(describe(b"RIFF\0\0\0\0WEBPVP8 "), "a WebP image");
        assert_eq!(describe(b"hello\n"), "text");
        assert_eq!(describe(&[0, 0, 8, 3]), "bytes of an unknown format");
        assert_eq!(
            describe(b"version https://git-lfs.github.com/spec/v1"),
            "a Git LFS pointer, not the file itself"
        );
    }
}
