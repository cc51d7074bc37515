//! The IDX format of MNIST and its family, raw or gzipped.
//!
//! <http://yann.lecun.com/exdb/mnist/>: two zero bytes, a type, the number of axes, each axis as a
//! big-endian u32, the numbers in C order, big-endian.

use std::io::Read;

use super::array::{Array, ArrayData, Element, count, display_shape};
use super::bytes::{Bytes, wrong_contents};
use super::stored::Stored;
use crate::diagnostic::{Diagnostic, codes};

/// What an IDX file's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxHeader {
    /// The size of each axis; the first is the number of samples.
    pub shape: Vec<usize>,
    stored: Stored,
}

impl IdxHeader {
    /// What [`read`] will give.
    pub fn element(&self) -> Element {
        self.stored.element()
    }

    /// Bytes before the numbers.
    fn len(&self) -> u64 {
        4 + 4 * self.shape.len() as u64
    }

    fn body(&self) -> Option<u64> {
        count(&self.shape)?.checked_mul(self.stored.size()).map(|n| n as u64)
    }
}

/// Reads the header alone, and checks it against the file's length.
///
/// # Errors
/// `E0801` when the file cannot be read, `E0802` when it is not IDX, is cut off, or its header cannot
/// be true, `E0803` when it holds no sample.
pub(crate) fn read_header(source: &Bytes) -> Result<IdxHeader, Diagnostic> {
    Ok(open(source)?.0)
}

/// Reads the whole array. Memory is taken only for bytes that exist.
///
/// # Errors
/// As [`read_header`], and `E0802` when the contents end early, go on too long, or fail gzip's checksum.
pub(crate) fn read(source: &Bytes) -> Result<Array, Diagnostic> {
    let (header, mut opened) = open(source)?;
    let body = header.body().unwrap_or(u64::MAX);
    let bytes = source.read_rest(&mut opened, header.len(), body)?;
    let data = header.stored.decode(bytes, true).map_err(|v| {
        Diagnostic::error(codes::DATA_FORMAT, format!("`{}` holds {v}, which no i64 can", source.name()))
    })?;
    Array::new(header.shape, data)
}

/// Parses IDX bytes, raw or gzipped.
///
/// # Errors
/// `E0802` when they are not IDX, end early, go on too long, or fail gzip's checksum; `E0803` when they
/// hold no sample.
pub fn parse_idx(bytes: &[u8]) -> Result<Array, Diagnostic> {
    read(&Bytes::Memory(bytes.into()))
}

fn open(source: &Bytes) -> Result<(IdxHeader, super::bytes::Opened), Diagnostic> {
    let mut opened = source.open()?;
    let gzip = opened.gzip;
    let mut read = |n: usize| -> Result<Vec<u8>, Diagnostic> {
        let mut bytes = Vec::new();
        opened
            .reader
            .by_ref()
            .take(n as u64)
            .read_to_end(&mut bytes)
            .map_err(|e| source.damaged(&e, gzip))?;
        Ok(bytes)
    };
    let magic = read(4)?;
    let (stored, rank) = match magic[..] {
        [0, 0, kind, rank] if rank > 0 && stored_type(kind).is_some() => (stored_type(kind), rank),
        _ => {
            let mut start = magic;
            start.extend(read(60).unwrap_or_default());
            return Err(wrong_contents(
                &source.name(),
                "an IDX file (00 00, a type, the number of axes)",
                &start,
            ));
        }
    };
    let axes = read(4 * usize::from(rank))?;
    if axes.len() < 4 * usize::from(rank) {
        return Err(Diagnostic::error(
            codes::DATA_FORMAT,
            format!("`{}` is cut off inside its header: {rank} axes were announced", source.name()),
        )
        .help("fetch the file again"));
    }
    let shape: Vec<usize> =
        axes.chunks_exact(4).map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]) as usize).collect();
    let header = IdxHeader { shape, stored: stored.unwrap_or(Stored::U8) };
    if header.shape[0] == 0 {
        return Err(Diagnostic::error(
            codes::DATA_EMPTY,
            format!("`{}` holds no samples: its shape is {}", source.name(), display_shape(&header.shape)),
        )
        .help("use a file with at least one sample"));
    }
    let total = header.body().and_then(|n| n.checked_add(header.len()));
    match total {
        Some(total) if !header.shape.contains(&0) => source.check_bound(&opened, total)?,
        _ => {
            return Err(Diagnostic::error(
                codes::DATA_FORMAT,
                format!(
                    "`{}` has an impossible header: shape {}",
                    source.name(),
                    display_shape(&header.shape)
                ),
            )
            .help("the header is damaged; fetch the file again"));
        }
    }
    Ok((header, opened))
}

fn stored_type(code: u8) -> Option<Stored> {
    Some(match code {
        0x08 => Stored::U8,
        0x09 => Stored::I8,
        0x0b => Stored::I16,
        0x0c => Stored::I32,
        0x0d => Stored::F32,
        0x0e => Stored::F64,
        _ => return None,
    })
}

/// The array as images `[n, 1, h, w]`.
///
/// # Errors
/// `E0806` when it is not u8 `[n, h, w]`.
pub(crate) fn image_shape(header: &IdxHeader, source: &Bytes) -> Result<Vec<usize>, Diagnostic> {
    match (&header.shape[..], header.element()) {
        ([n, h, w], Element::U8) => Ok(vec![*n, 1, *h, *w]),
        (shape, element) => Err(Diagnostic::error(
            codes::DATA_SHAPE,
            format!(
                "`{}` should hold images u8[n, h, w]; it holds {element}{}",
                source.name(),
                display_shape(shape)
            ),
        )
        .help("check that images and labels were not exchanged")),
    }
}

/// Labels as `i64[n]`.
///
/// # Errors
/// `E0806` when they are not integers with one axis.
pub(crate) fn labels(array: Array, source: &Bytes) -> Result<Array, Diagnostic> {
    let Array { shape, data } = array;
    match data {
        ArrayData::U8(v) if shape.len() == 1 => {
            Array::new(shape, ArrayData::I64(v.into_iter().map(i64::from).collect()))
        }
        ArrayData::I64(v) if shape.len() == 1 => Array::new(shape, ArrayData::I64(v)),
        other => Err(not_labels(&shape, other.element(), source)),
    }
}

/// The error of [`labels`], from the header alone.
pub(crate) fn not_labels(shape: &[usize], element: Element, source: &Bytes) -> Diagnostic {
    Diagnostic::error(
        codes::DATA_SHAPE,
        format!("`{}` should hold labels u8[n]; it holds {element}{}", source.name(), display_shape(shape)),
    )
    .help("check that images and labels were not exchanged")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn idx(kind: u8, axes: &[u32], body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, axes.len() as u8];
        bytes.extend(axes.iter().flat_map(|a| a.to_be_bytes()));
        bytes.extend(body);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn parse_owned(bytes: Vec<u8>) -> Result<Array, Diagnostic> {
        parse_idx(&bytes)
    }

    #[test]
    fn raw_and_gzipped_read_alike() {
        let raw = idx(8, &[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let want = Array::new(vec![2, 2, 3], ArrayData::U8((1..=12).collect())).unwrap();
        assert_eq!(parse_owned(gzip(&raw)).unwrap(), want);
        assert_eq!(parse_owned(raw).unwrap(), want);
        let ints = idx(0x0b, &[2], &[0xff, 0xff, 0, 5]);
        assert_eq!(parse_owned(ints).unwrap().data, ArrayData::I64(vec![-1, 5]));
    }

    #[test]
    fn damage_is_told_apart() {
        let raw = idx(8, &[50, 10], &(0..250).chain(0..250).map(|i| i as u8).collect::<Vec<_>>());
        let message = |bytes: Vec<u8>| {
            let d = parse_owned(bytes).unwrap_err();
            assert_eq!(d.code, codes::DATA_FORMAT, "{}", d.message);
            assert!(d.help.is_some());
            d.message
        };
        let zipped = gzip(&raw);
        assert!(message(zipped[..zipped.len() / 2].to_vec()).contains("its gzip stream ends early"));
        assert!(message(zipped[..zipped.len() - 3].to_vec()).contains("its gzip stream ends early"));
        let mut flipped = zipped.clone();
        let at = flipped.len() - 6;
        flipped[at] ^= 1;
        assert!(message(flipped).contains("damaged"));
        assert!(message(raw[..raw.len() - 1].to_vec()).contains("tells of 512 bytes, it is 511"));
        assert!(message(gzip(&raw[..400])).contains("tells of 512 bytes, its contents are at most 400"));
        assert!(message([raw.clone(), vec![0]].concat()).contains("it is at least 513"));
        assert!(message(gzip(&[raw.clone(), vec![0]].concat())).contains("its contents are at least 513"));
        assert!(message(b"<html>404</html>".to_vec()).contains("found an HTML page"));
        assert!(message(vec![]).contains("an empty file"));
        assert!(message(idx(7, &[1], &[0])).contains("first bytes 00 00 07 01"));
        assert!(message(vec![0, 0, 8, 3, 0, 0]).contains("cut off inside its header"));
        assert_eq!(parse_owned(idx(8, &[0, 28, 28], &[])).unwrap_err().code, codes::DATA_EMPTY);
    }

    #[test]
    fn a_header_that_lies_allocates_nothing() {
        for axes in
            [&[u32::MAX; 3][..], &[u32::MAX; 2], &[1, u32::MAX], &[4_000_000_000, 4], &[u32::MAX; 255]]
        {
            assert_eq!(parse_owned(idx(8, axes, &[1; 64])).unwrap_err().code, codes::DATA_FORMAT);
            assert_eq!(parse_owned(gzip(&idx(8, axes, &[1; 64]))).unwrap_err().code, codes::DATA_FORMAT);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), fix: bool, zip: bool) {
            let mut bytes = bytes;
            if fix && bytes.len() > 4 {
                let rank = bytes[3] % 4;
                bytes[..4].copy_from_slice(&[0, 0, 8, rank]);
            }
            let bytes = if zip { gzip(&bytes) } else { bytes };
            if let Ok(array) = parse_owned(bytes.clone()) {
                prop_assert!(array.data.len() <= bytes.len() * 1032);
            }
        }
    }
}
