//! NumPy's `.npz`: a zip archive of `.npy` files.

use std::io::Read;

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::array::Array;
use super::bytes::{Bytes, MAX_DEFLATE, ReadSeek, read_up_to};
use super::npy::{self, NpyHeader};
use crate::diagnostic::{Diagnostic, codes};

/// One array of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NpzEntry {
    /// Its name, without `.npy`.
    pub(crate) name: String,
    /// Its header.
    pub(crate) header: NpyHeader,
    index: usize,
}

/// Reads the headers of all arrays, in the archive's order; entries that are not `.npy` are skipped.
///
/// # Errors
/// `E0801` when the file cannot be read, `E0802` when it is not a zip archive, is damaged, or an entry's
/// header does not fit its size, `E0803` when it holds no array, `E0806` for unsupported dtypes.
pub(crate) fn read_headers(source: &Bytes) -> Result<Vec<NpzEntry>, Diagnostic> {
    let (mut archive, _) = open(source)?;
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(|e| damaged(source, &e))?;
        let name = String::from_utf8_lossy(file.name_raw()).into_owned();
        let Some(name) = name.strip_suffix(".npy") else { continue };
        let label = format!("{}:{name}", source.name());
        let (size, packed, method) = (file.size(), file.compressed_size(), file.compression());
        let header = npy::parse_header(&mut file, &label)?;
        let total = header.total(&label)?;
        let possible = match method {
            CompressionMethod::Stored => packed,
            _ => packed.saturating_mul(MAX_DEFLATE),
        };
        if total != size || size > possible {
            return Err(Diagnostic::error(
                codes::DATA_FORMAT,
                format!("`{label}` has the wrong length: its header tells of {total} bytes, the archive of {size}, packed in {packed}"),
            )
            .help("the archive is damaged; write it again with `numpy.savez`"));
        }
        entries.push(NpzEntry { name: name.to_owned(), header, index });
    }
    if entries.is_empty() {
        return Err(Diagnostic::error(
            codes::DATA_EMPTY,
            format!("`{}` is a zip archive without any .npy array", source.name()),
        )
        .help("write it with `numpy.savez(path, image=…, label=…)`"));
    }
    Ok(entries)
}

/// Reads one array; the archive's checksum is verified.
///
/// # Errors
/// As [`read_headers`].
pub(crate) fn read(source: &Bytes, entry: &NpzEntry) -> Result<Array, Diagnostic> {
    let (mut archive, _) = open(source)?;
    let label = format!("{}:{}", source.name(), entry.name);
    let mut file = archive.by_index(entry.index).map_err(|e| damaged(source, &e))?;
    let header = npy::parse_header(&mut file, &label)?;
    if header != entry.header {
        return Err(Diagnostic::error(
            codes::DATA_FORMAT,
            format!("`{label}` changed while it was being read"),
        )
        .help("do not write to a data file during a run"));
    }
    let body = header.total(&label)? - header.len();
    let io = |e: std::io::Error| damaged(source, &ZipError::Io(e));
    let bytes = read_up_to(&mut file, body).map_err(io)?;
    // Reading on to the end makes the archive check its sum.
    let more = file.read(&mut [0u8]).map_err(io)?;
    if (bytes.len() as u64) < body || more > 0 {
        return Err(Diagnostic::error(
            codes::DATA_FORMAT,
            format!("`{label}` has another length than its header tells of"),
        )
        .help("the archive is damaged; write it again with `numpy.savez`"));
    }
    npy::decode(header, bytes, &label)
}

/// Parses the bytes of an `.npz` file into its named arrays.
///
/// # Errors
/// `E0802` when they are damaged, `E0803` when there is no array, `E0806` for unsupported dtypes.
pub fn parse_npz(bytes: &[u8]) -> Result<Vec<(String, Array)>, Diagnostic> {
    let source = Bytes::Memory(bytes.into());
    let entries = read_headers(&source)?;
    entries.into_iter().map(|e| Ok((e.name.clone(), read(&source, &e)?))).collect()
}

fn open(source: &Bytes) -> Result<(ZipArchive<Box<dyn ReadSeek>>, u64), Diagnostic> {
    let (reader, len) = source.stored()?;
    Ok((ZipArchive::new(reader).map_err(|e| damaged(source, &e))?, len))
}

fn damaged(source: &Bytes, error: &ZipError) -> Diagnostic {
    let why = match error {
        ZipError::Io(e) => crate::fs::plain(e),
        e => e.to_string(),
    };
    Diagnostic::error(codes::DATA_FORMAT, format!("`{}` is not a good .npz archive: {why}", source.name()))
        .help("check it with `unzip -t`; write it again with `numpy.savez`")
}

#[cfg(test)]
mod tests {
    use super::super::array::ArrayData;
    use super::super::npy::encode_npy;
    use super::*;
    use proptest::prelude::*;
    use std::io::{Cursor, Write};
    use zip::write::SimpleFileOptions;

    fn npz(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn sample() -> (Array, Array) {
        let image = Array::new(vec![2, 3, 3], ArrayData::U8((0..18).collect())).unwrap();
        (image, Array::new(vec![2], ArrayData::I64(vec![7, -1])).unwrap())
    }

    fn sample_npz(method: CompressionMethod) -> Vec<u8> {
        let (image, label) = sample();
        let (image, label) = (encode_npy(&image).unwrap(), encode_npy(&label).unwrap());
        npz(&[("image.npy", &image), ("label.npy", &label), ("notes.txt", b"hello")], method)
    }

    #[test]
    fn stored_and_deflated_read_back() {
        let (image, label) = sample();
        let want = vec![("image".to_owned(), image), ("label".to_owned(), label)];
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            assert_eq!(parse_npz(&sample_npz(method)).unwrap(), want);
        }
    }

    /// Written by NumPy 2.4's `savez_compressed`.
    #[test]
    fn what_numpy_writes_is_read() {
        let got = parse_npz(include_bytes!("../../tests/fixtures/numpy.npz")).unwrap();
        let named = |n: &str| &got.iter().find(|e| e.0 == n).unwrap().1;
        let array = |shape: &[usize], data| Array::new(shape.to_vec(), data).unwrap();
        assert_eq!(
            named("image"),
            &array(&[2, 3, 4], ArrayData::U8((0..24u8).map(|i| i.wrapping_mul(10)).collect()))
        );
        assert_eq!(named("label"), &array(&[2], ArrayData::I64(vec![3, -1])));
        assert_eq!(named("half"), &array(&[2, 1], ArrayData::F32(vec![0.5, -2.0])));
        assert_eq!(named("big"), &array(&[2], ArrayData::F64(vec![1.5, 2.5])));
        assert_eq!(named("flag"), &array(&[2], ArrayData::U8(vec![1, 0])));
        assert_eq!(named("fortran_vector"), &array(&[2, 1], ArrayData::F32(vec![1.0, 2.0])));
    }

    #[test]
    fn damage_and_emptiness_are_told() {
        let good = sample_npz(CompressionMethod::Deflated);
        assert_eq!(parse_npz(&good[..good.len() / 2]).unwrap_err().code, codes::DATA_FORMAT);
        assert_eq!(parse_npz(b"").unwrap_err().code, codes::DATA_FORMAT);
        assert_eq!(
            parse_npz(&npz(&[("a.txt", b"x")], CompressionMethod::Stored)).unwrap_err().code,
            codes::DATA_EMPTY
        );
        let lie =
            b"\x93NUMPY\x01\0\x46\0{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999,), } ";
        let d = parse_npz(&npz(&[("a.npy", lie)], CompressionMethod::Deflated)).unwrap_err();
        assert_eq!(d.code, codes::DATA_FORMAT);
        assert!(
            d.message.contains("tells of 800000000000070 bytes") || d.message.contains("tells of"),
            "{}",
            d.message
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn mutated_archives_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut: prop::sample::Index, deflate: bool) {
            let mut bytes = sample_npz(if deflate { CompressionMethod::Deflated } else { CompressionMethod::Stored });
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let _ = parse_npz(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            let _ = parse_npz(&bytes);
        }
    }
}
