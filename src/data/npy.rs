//! NumPy's `.npy` format, <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::io::Read;

use super::array::{Array, ArrayData, Element, count, display_shape};
use super::bytes::{Bytes, read_up_to, wrong_contents};
use super::stored::Stored;
use crate::diagnostic::{Diagnostic, codes};

const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy's headers take some hundred bytes; its own reader stops at 10,000.
const MAX_HEADER: usize = 1 << 16;

/// What a `.npy` header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NpyHeader {
    /// The size of each axis.
    pub shape: Vec<usize>,
    stored: Stored,
    big_endian: bool,
    /// Bytes before the numbers.
    len: u64,
}

impl NpyHeader {
    /// What reading will give: booleans become u8, half precision f32, other integers i64.
    pub fn element(&self) -> Element {
        self.stored.element()
    }

    /// Bytes before the numbers.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    fn body(&self) -> Option<u64> {
        count(&self.shape)?.checked_mul(self.stored.size()).map(|n| n as u64)
    }

    /// All bytes of the file.
    pub(crate) fn total(&self, name: &str) -> Result<u64, Diagnostic> {
        self.body().and_then(|n| n.checked_add(self.len)).ok_or_else(|| {
            malformed(name, &format!("its shape {} is impossible", display_shape(&self.shape)))
        })
    }
}

/// Reads and checks the header of a `.npy` file.
///
/// # Errors
/// `E0801`, `E0802` and `E0806` as [`parse_header`], and `E0802` when the file has another length than
/// the header says.
pub(crate) fn read_header(source: &Bytes) -> Result<NpyHeader, Diagnostic> {
    let mut opened = source.open()?;
    let header = parse_header(&mut opened.reader, &source.name())?;
    source.check_bound(&opened, header.total(&source.name())?)?;
    Ok(header)
}

/// Reads a `.npy` file.
///
/// # Errors
/// As [`read_header`].
pub(crate) fn read(source: &Bytes) -> Result<Array, Diagnostic> {
    let mut opened = source.open()?;
    let header = parse_header(&mut opened.reader, &source.name())?;
    let body = header.total(&source.name())? - header.len;
    let bytes = source.read_rest(&mut opened, header.len, body)?;
    decode(header, bytes, &source.name())
}

/// Reads a `.npy` file at a path.
///
/// # Errors
/// `E0801` when it cannot be read, `E0802` when it is malformed, `E0806` for a dtype or an order of axes
/// that is not supported.
pub fn read_npy(path: &std::path::Path) -> Result<Array, Diagnostic> {
    read(&Bytes::File(path.to_path_buf()))
}

/// Parses `.npy` bytes.
///
/// # Errors
/// As [`read_npy`].
pub fn parse_npy(bytes: &[u8]) -> Result<Array, Diagnostic> {
    read(&Bytes::Memory(bytes.into()))
}

/// The array of a header and the bytes after it.
pub(crate) fn decode(header: NpyHeader, bytes: Vec<u8>, name: &str) -> Result<Array, Diagnostic> {
    let data = header.stored.decode(bytes, header.big_endian).map_err(|v| {
        Diagnostic::error(codes::DATA_SHAPE, format!("`{name}` holds {v}, which is too large for i64"))
            .help("store smaller integers, as int64")
    })?;
    Array::new(header.shape, data)
}

/// Parses a header from the start of `reader`; `name` is for messages.
///
/// # Errors
/// `E0802` when it is not a `.npy` header, `E0806` when its dtype is not a plain number or its axes are
/// in Fortran's order.
pub(crate) fn parse_header(reader: &mut dyn Read, name: &str) -> Result<NpyHeader, Diagnostic> {
    let read = |reader: &mut dyn Read, n: usize| {
        read_up_to(reader, n as u64).map_err(|e| malformed(name, &crate::fs::plain(&e)))
    };
    let start = read(reader, 8)?;
    if start.len() < 8 || !start.starts_with(MAGIC) {
        return Err(wrong_contents(name, "a NumPy .npy array", &start));
    }
    let wide = match start[6] {
        1 => 2,
        2 | 3 => 4,
        version => {
            return Err(malformed(name, &format!("its format version is {version}; 1, 2 and 3 are known")));
        }
    };
    let size = read(reader, wide)?;
    if size.len() < wide {
        return Err(malformed(name, "it is cut off inside its header"));
    }
    let size = size.iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b));
    if size > MAX_HEADER {
        return Err(malformed(
            name,
            &format!("its header claims {size} bytes; at most {MAX_HEADER} are expected"),
        ));
    }
    let text = read(reader, size)?;
    if text.len() < size {
        return Err(malformed(name, "it is cut off inside its header"));
    }
    let text = String::from_utf8_lossy(&text);
    let fields = Fields::parse(&text).ok_or_else(|| {
        malformed(
            name,
            &format!(
                "its header is not `{{'descr': …, 'fortran_order': …, 'shape': …}}` but `{}`",
                text.trim()
            ),
        )
    })?;
    let (stored, big_endian) = dtype(&fields.descr).ok_or_else(|| {
        Diagnostic::error(
            codes::DATA_SHAPE,
            format!(
                "`{name}` has NumPy dtype `{}`; a boolean, an integer or a real number was expected",
                fields.descr
            ),
        )
        .help("convert it first: `array.astype('float32')` or `array.astype('int64')`")
    })?;
    if fields.fortran && fields.shape.iter().filter(|d| **d > 1).count() > 1 {
        return Err(Diagnostic::error(
            codes::DATA_SHAPE,
            format!("`{name}` stores its axes in Fortran's order; C order was expected"),
        )
        .help("save `numpy.ascontiguousarray(array)` instead"));
    }
    Ok(NpyHeader { shape: fields.shape, stored, big_endian, len: (8 + wide + size) as u64 })
}

fn malformed(name: &str, why: &str) -> Diagnostic {
    Diagnostic::error(codes::DATA_FORMAT, format!("`{name}` is not a good .npy array: {why}"))
        .help("write it again with `numpy.save` or `numpy.savez`")
}

fn dtype(descr: &str) -> Option<(Stored, bool)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let stored = match kind {
        "b1" => Stored::Bool,
        "u1" => Stored::U8,
        "i1" => Stored::I8,
        "u2" => Stored::U16,
        "i2" => Stored::I16,
        "u4" => Stored::U32,
        "i4" => Stored::I32,
        "u8" => Stored::U64,
        "i8" => Stored::I64,
        "f2" => Stored::F16,
        "f4" => Stored::F32,
        "f8" => Stored::F64,
        _ => return None,
    };
    match order {
        "<" => Some((stored, false)),
        ">" => Some((stored, true)),
        // "|": byte order does not matter; "=": the writer's, which is little-endian wherever NumPy is used.
        "|" if stored.size() == 1 => Some((stored, false)),
        "=" => Some((stored, false)),
        _ => None,
    }
}

/// The Python dictionary of a header.
struct Fields {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Fields {
    fn parse(text: &str) -> Option<Fields> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{')?.trim_start();
        while !rest.starts_with('}') {
            let (key, after) = string(rest)?;
            rest = after.trim_start().strip_prefix(':')?.trim_start();
            match key {
                "descr" if rest.starts_with('[') => {
                    // A structured dtype: a list whose end is at the matching bracket.
                    let end = rest.find(']')? + 1;
                    (descr, rest) = (Some(rest[..end].to_owned()), &rest[end..]);
                }
                "descr" => {
                    let (value, after) = string(rest)?;
                    (descr, rest) = (Some(value.to_owned()), after);
                }
                "fortran_order" => {
                    let word = rest.split(|c: char| !c.is_ascii_alphabetic()).next()?;
                    fortran = Some(match word {
                        "True" => true,
                        "False" => false,
                        _ => return None,
                    });
                    rest = &rest[word.len()..];
                }
                "shape" => {
                    let (inside, after) = rest.strip_prefix('(')?.split_once(')')?;
                    let axes: Vec<&str> = inside.split(',').map(str::trim).collect();
                    let axes = axes.iter().filter(|a| !a.is_empty());
                    shape = Some(axes.map(|a| a.parse().ok()).collect::<Option<Vec<usize>>>()?);
                    rest = after;
                }
                _ => return None,
            }
            rest = rest.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        Some(Fields { descr: descr?, fortran: fortran?, shape: shape? })
    }
}

/// A quoted Python string without escapes, and what follows it.
fn string(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// The bytes of a `.npy` file, version 1.0, little-endian.
///
/// # Errors
/// `E0806` for text, which `.npy` does not hold.
pub fn encode_npy(array: &Array) -> Result<Vec<u8>, Diagnostic> {
    let (descr, body): (&str, Vec<u8>) = match &array.data {
        ArrayData::U8(v) => ("|u1", v.clone()),
        ArrayData::I64(v) => ("<i8", v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        ArrayData::F32(v) => ("<f4", v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        ArrayData::F64(v) => ("<f8", v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        ArrayData::Text(_) => {
            return Err(Diagnostic::error(
                codes::DATA_SHAPE,
                "text cannot be written as .npy; numbers were expected",
            )
            .help("tokenize it first"));
        }
    };
    let axes: String = array.shape.iter().map(|d| format!("{d}, ")).collect();
    let axes = if array.shape.len() == 1 { axes.trim_end() } else { axes.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({axes}), }}");
    // The numbers begin at a multiple of 64 bytes.
    let padding = 63 - (10 + header.len()) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut out = Vec::with_capacity(10 + header.len() + body.len());
    out.extend(MAGIC);
    out.extend([1, 0]);
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(body);
    Ok(out)
}

/// Writes a `.npy` file, whole or not at all.
///
/// # Errors
/// As [`encode_npy`], and `E0902` when it cannot be written.
pub fn write_npy(path: &std::path::Path, array: &Array) -> Result<(), Diagnostic> {
    crate::fs::write_atomic(path, &encode_npy(array)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn npy(header: &str, body: &[u8]) -> Vec<u8> {
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.as_bytes());
        out.extend(body);
        out
    }

    #[test]
    fn what_numpy_writes_is_read() {
        // numpy.save(f, numpy.array([[1.5, -2], [0, 4]], '>f4')), NumPy 2.2.
        let header = "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 2), }                                                          \n";
        let body: Vec<u8> = [1.5f32, -2.0, 0.0, 4.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        let got = parse_npy(&npy(header, &body)).unwrap();
        assert_eq!(got, Array::new(vec![2, 2], ArrayData::F32(vec![1.5, -2.0, 0.0, 4.0])).unwrap());
        let scalar = parse_npy(&npy("{'descr': '|b1', 'fortran_order': False, 'shape': ()}", &[1])).unwrap();
        assert_eq!((scalar.shape, scalar.data), (vec![], ArrayData::U8(vec![1])));
        assert!(
            parse_npy(&npy("{'descr': '<i4', 'fortran_order': True, 'shape': (1, 1,), }", &[7, 0, 0, 0]))
                .is_ok()
        );
    }

    #[test]
    fn what_is_not_supported_says_so() {
        let d = parse_npy(&npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", &[0; 16]))
            .unwrap_err();
        assert_eq!((d.code, d.help.unwrap().contains("ascontiguousarray")), (codes::DATA_SHAPE, true));
        for descr in ["'|O'", "'<c8'", "'<U7'", "'<M8[ns]'", "[('a', '<f4'), ('b', '<i4')]", "'<f16'"] {
            let d = parse_npy(&npy(
                &format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}"),
                &[0; 8],
            ));
            let d = d.unwrap_err();
            assert_eq!(d.code, codes::DATA_SHAPE, "{descr}: {}", d.message);
            assert!(d.message.contains(descr.trim_matches('\'')), "{}", d.message);
        }
    }

    #[test]
    fn lies_and_damage_are_refused() {
        let header =
            |shape: &str| format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}");
        for shape in [
            "99999999999999, 99999999999",
            "18446744073709551615",
            "3",
            "-1",
            "1, 2, x",
            "36893488147419103232",
        ] {
            assert_eq!(
                parse_npy(&npy(&header(shape), &[0; 8])).unwrap_err().code,
                codes::DATA_FORMAT,
                "{shape}"
            );
        }
        for bytes in
            [&b""[..], b"\x93NUMPY", b"\x93NUMPY\x01\0\xff\xff{", b"\x93NUMPY\x09\0\0\0", b"PK\x03\x04....."]
        {
            assert_eq!(parse_npy(bytes).unwrap_err().code, codes::DATA_FORMAT);
        }
        assert_eq!(parse_npy(b"\x93NUMPY\x02\0\xff\xff\xff\xff").unwrap_err().code, codes::DATA_FORMAT);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(shape in prop::collection::vec(0usize..5, 0..4), seed: u64) {
            let n = shape.iter().product::<usize>() as u64;
            let bits = |i: u64| crate::data::mix(seed ^ i);
            let arrays = [
                ArrayData::U8((0..n).map(|i| bits(i) as u8).collect()),
                ArrayData::I64((0..n).map(|i| bits(i) as i64).collect()),
                ArrayData::F32((0..n).map(|i| bits(i) as i32 as f32).collect()),
                ArrayData::F64((0..n).map(|i| bits(i) as f64).collect()),
            ];
            for data in arrays {
                let array = Array::new(shape.clone(), data).unwrap();
                let bytes = encode_npy(&array).unwrap();
                let body = (bytes.len() - n as usize * size(&array.data)) % 64;
                prop_assert_eq!(body, 0);
                prop_assert_eq!(parse_npy(&bytes).unwrap(), array);
            }
        }

        #[test]
        fn arbitrary_headers_never_panic(text in "[{}()'a-z_:, <>|0-9f4TrueFals]{0,80}", body in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse_npy(&npy(&text, &body));
            let _ = parse_npy(&body);
            let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({text}), }}");
            if let Ok(array) = parse_npy(&npy(&dict, &body)) {
                prop_assert!(array.data.len() <= body.len());
            }
        }
    }

    fn size(data: &ArrayData) -> usize {
        match data {
            ArrayData::U8(_) => 1,
            ArrayData::F32(_) => 4,
            _ => 8,
        }
    }
}
