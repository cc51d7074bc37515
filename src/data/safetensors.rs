//! `.safetensors` files, <https://huggingface.co/docs/safetensors>: eight bytes, the length of a JSON header;
//! the header; the data, which the header's offsets must cover without a gap. Arrays are read one at a time.

use std::collections::BTreeMap;
use std::io::{self, Read};

use ::safetensors::Dtype;
use ::safetensors::tensor::Metadata;

use super::array::{Array, Element};
use super::bytes::{Bytes, read_up_to, wrong_contents};
use super::stored::Stored;
use crate::diagnostic::{Diagnostic, codes};

/// The format's own limit of its header, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// What a file says of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// Its name.
    pub(crate) name: String,
    /// As which dtype it is stored.
    pub(crate) dtype: Dtype,
    /// The size of each axis.
    pub(crate) shape: Vec<usize>,
    /// Where its bytes begin in the file.
    pub(crate) start: u64,
    /// How many they are.
    pub(crate) len: u64,
}

/// Why a file has no header that can be used.
#[derive(Debug)]
pub(crate) enum Flaw {
    /// It cannot be read.
    Io(io::Error),
    /// It is something else.
    Other,
    /// It is cut off or damaged, in words.
    Damaged(String),
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        Flaw::Io(error)
    }
}

/// Reads the header of a file of `total` bytes: its tensors by name, and its notes. What the header says of
/// the file's length has been checked then, so that a lying one takes no memory.
///
/// # Errors
/// See [`Flaw`].
pub(crate) fn describe(
    reader: &mut impl Read,
    total: u64,
) -> Result<(Vec<Described>, BTreeMap<String, String>), Flaw> {
    let first = read_up_to(reader, 9)?;
    let size = first.first_chunk::<8>().map(|b| u64::from_le_bytes(*b)).filter(|n| *n <= MAX_HEADER);
    // A header of no bytes has no brace; it cannot be a JSON object either.
    let (Some(size), Some(b'{')) = (size, first.get(8)) else { return Err(Flaw::Other) };
    let rest = total.saturating_sub(8);
    if size > rest {
        let why = format!("it is cut off: its header alone takes {size} bytes, the whole file has {rest}");
        return Err(Flaw::Damaged(why));
    }
    let mut text = vec![b'{'];
    text.extend(read_up_to(reader, size.saturating_sub(1))?);
    let header: Metadata =
        serde_json::from_slice(&text).map_err(|e| Flaw::Damaged(format!("its header is damaged: {e}")))?;
    let (expected, found) = (header.data_len() as u64, rest - size);
    if expected != found {
        let what = if found < expected { "it is cut off" } else { "it is too long" };
        let why = format!("{what}: its header tells of {expected} bytes of data, it has {found}");
        return Err(Flaw::Damaged(why));
    }
    let mut tensors: Vec<Described> = header
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            let (from, to) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
            let (start, len) = (8 + size + from, to.saturating_sub(from));
            Described { name, dtype: info.dtype, shape: info.shape.clone(), start, len }
        })
        .collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let notes = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok((tensors, notes))
}

/// One array of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorEntry {
    /// Its name.
    pub(crate) name: String,
    /// The size of each axis.
    pub(crate) shape: Vec<usize>,
    stored: Stored,
    start: u64,
    len: u64,
}

impl TensorEntry {
    /// What reading will give.
    pub(crate) fn element(&self) -> Element {
        self.stored.element()
    }
}

/// Reads the header, sorted by name, and checks it against the file's length.
///
/// # Errors
/// `E0801` when the file cannot be read, `E0802` when it is not safetensors or is cut off, `E0803` when
/// it holds no array, `E0806` for unsupported dtypes.
pub(crate) fn read_headers(source: &Bytes) -> Result<Vec<TensorEntry>, Diagnostic> {
    let (mut reader, len) = source.stored()?;
    let name = source.name();
    let tensors = match describe(&mut reader, len) {
        Ok((tensors, _)) => tensors,
        Err(Flaw::Io(e)) => return Err(source.damaged(&e, false)),
        Err(Flaw::Other) => return Err(wrong_contents(&name, "a safetensors file", &source.head(64)?)),
        Err(Flaw::Damaged(why)) => return Err(malformed(&name, &why)),
    };
    let mut entries = Vec::new();
    for Described { name: key, dtype, shape, start, len } in tensors {
        let stored = stored_type(dtype).ok_or_else(|| {
            Diagnostic::error(
                codes::DATA_SHAPE,
                format!(
                    "`{name}:{key}` has dtype {dtype}; a boolean, an integer or a real number was expected"
                ),
            )
            .help("convert it to F32 or I64 first")
        })?;
        entries.push(TensorEntry { name: key, shape, stored, start, len });
    }
    if entries.is_empty() {
        return Err(Diagnostic::error(codes::DATA_EMPTY, format!("`{name}` holds no array"))
            .help("save at least one tensor, such as `image` or `label`"));
    }
    Ok(entries)
}

/// Reads one array.
///
/// # Errors
/// As [`read_headers`].
pub(crate) fn read(source: &Bytes, entry: &TensorEntry) -> Result<Array, Diagnostic> {
    let bytes = source.range(entry.start, entry.len)?;
    let data = entry.stored.decode(bytes, false).map_err(|v| {
        Diagnostic::error(
            codes::DATA_SHAPE,
            format!("`{}:{}` holds {v}, which is too large for i64", source.name(), entry.name),
        )
        .help("store smaller integers, as I64")
    })?;
    Array::new(entry.shape.clone(), data)
}

/// Parses the bytes of a safetensors file into its named arrays, sorted by name.
///
/// # Errors
/// `E0802` when they are damaged, `E0803` when there is no array, `E0806` for unsupported dtypes.
pub fn parse_safetensors(bytes: &[u8]) -> Result<Vec<(String, Array)>, Diagnostic> {
    let source = Bytes::Memory(bytes.into());
    let entries = read_headers(&source)?;
    entries.into_iter().map(|e| Ok((e.name.clone(), read(&source, &e)?))).collect()
}

fn stored_type(dtype: Dtype) -> Option<Stored> {
    Some(match dtype {
        Dtype::BOOL => Stored::Bool,
        Dtype::U8 => Stored::U8,
        Dtype::I8 => Stored::I8,
        Dtype::U16 => Stored::U16,
        Dtype::I16 => Stored::I16,
        Dtype::U32 => Stored::U32,
        Dtype::I32 => Stored::I32,
        Dtype::U64 => Stored::U64,
        Dtype::I64 => Stored::I64,
        Dtype::F16 => Stored::F16,
        Dtype::BF16 => Stored::BF16,
        Dtype::F32 => Stored::F32,
        Dtype::F64 => Stored::F64,
        _ => return None,
    })
}

fn malformed(name: &str, why: &str) -> Diagnostic {
    Diagnostic::error(codes::DATA_FORMAT, format!("`{name}` is not a good safetensors file: {why}"))
        .help("the download or copy was interrupted, or the file is damaged; fetch or write it again")
}

#[cfg(test)]
mod tests {
    use super::super::array::ArrayData;
    use super::*;
    use ::safetensors::tensor::TensorView;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let floats: Vec<u8> = [1.5f32, -2.0, 3.0, 0.25].iter().flat_map(|v| v.to_le_bytes()).collect();
        let ints: Vec<u8> = [5i64, -6].iter().flat_map(|v| v.to_le_bytes()).collect();
        let tensors = [
            ("x", TensorView::new(Dtype::F32, vec![2, 2], &floats).unwrap()),
            ("label", TensorView::new(Dtype::I64, vec![2], &ints).unwrap()),
        ];
        ::safetensors::serialize(tensors, None).unwrap()
    }

    #[test]
    fn arrays_read_back() {
        let got = parse_safetensors(&sample()).unwrap();
        assert_eq!(got[0], ("label".into(), Array::new(vec![2], ArrayData::I64(vec![5, -6])).unwrap()));
        assert_eq!(got[1].1.data, ArrayData::F32(vec![1.5, -2.0, 3.0, 0.25]));
    }

    #[test]
    fn damage_is_told() {
        let good = sample();
        let message = |bytes: &[u8]| {
            let d = parse_safetensors(bytes).unwrap_err();
            assert_eq!(d.code, codes::DATA_FORMAT);
            d.message
        };
        assert!(message(&good[..good.len() - 1]).contains("tells of 32 bytes of data, it has 31"));
        assert!(message(b"").contains("an empty file"));
        assert!(message(b"<html> not found </html>").contains("an HTML page"));
        let mut huge = u64::MAX.to_le_bytes().to_vec();
        huge.extend(b"{}");
        assert!(message(&huge).contains("not a safetensors file"));
        assert_eq!(parse_safetensors(b"\x02\0\0\0\0\0\0\0{}").unwrap_err().code, codes::DATA_EMPTY);
    }

    fn with_header(header: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn lying_headers_are_refused() {
        for header in [
            r#"{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#,
            r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
            r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,80]}}"#,
            r#"{"x":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}"#,
            r#"{"x":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#,
        ] {
            assert_eq!(
                parse_safetensors(&with_header(header, &[0; 8])).unwrap_err().code,
                codes::DATA_FORMAT,
                "{header}"
            );
        }
        let complex = r#"{"x":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}"#;
        assert_eq!(parse_safetensors(&with_header(complex, &[0; 8])).unwrap_err().code, codes::DATA_SHAPE);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), at: prop::sample::Index, value: u8) {
            let _ = parse_safetensors(&bytes);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let _ = parse_safetensors(&with_header(&text, &bytes));
            let mut good = sample();
            let at = at.index(good.len());
            good[at] = value;
            let _ = parse_safetensors(&good);
        }
    }
}
