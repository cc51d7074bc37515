//! The header of a safetensors file: names, shapes and dtypes, read without the data.
//!
//! Format: <https://huggingface.co/docs/safetensors>: eight bytes, the length of a JSON header; the header;
//! the data, which the header's offsets must cover without a gap.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
pub use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::diagnostic::{Diagnostic, codes};
use crate::fs::plain;
use crate::shape::DType;

/// The format's own limit of a header, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// As which dtype it is stored.
    pub dtype: Dtype,
    /// The size of each axis.
    pub shape: Vec<usize>,
    start: u64,
    len: u64,
}

impl TensorInfo {
    /// The language's dtype; `None` for those that it has not.
    pub fn taper_dtype(&self) -> Option<DType> {
        Some(match self.dtype {
            Dtype::BOOL => DType::Bool,
            Dtype::U8 => DType::U8,
            Dtype::I64 => DType::I64,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            _ => return None,
        })
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> u64 {
        self.len
    }
}

/// What a safetensors file says it holds; its length has been checked against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The file.
    pub path: PathBuf,
    /// Its tensors, by name.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Its notes (`taper`, `step`, …).
    pub metadata: BTreeMap<String, String>,
}

/// Reads the header of a file.
///
/// # Errors
/// [`codes::WEIGHTS_UNREADABLE`]: no such file, or it cannot be read. [`codes::WEIGHTS_NOT_SAFETENSORS`]:
/// something else, or cut off, or its header lies about its length.
pub fn read_header(path: &Path) -> Result<Header, Diagnostic> {
    let name = path.display();
    let io = |e: std::io::Error| unreadable(path, &e);
    let mut file = File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(Diagnostic::error(codes::WEIGHTS_UNREADABLE, format!("`{name}` is not a file"))
            .help("give a .safetensors file, a run folder or a published folder"));
    }
    let total = meta.len();
    let mut head = Vec::with_capacity(64);
    (&mut file).take(64).read_to_end(&mut head).map_err(io)?;
    let size = head.first_chunk::<8>().map(|b| u64::from_le_bytes(*b)).filter(|n| *n <= MAX_HEADER);
    let (Some(size), Some(b'{')) = (size, head.get(8)) else {
        let found = crate::media::sniff::describe(&head);
        return Err(not_safetensors(path, &format!("it is {found}")));
    };
    if total - 8 < size {
        let why =
            format!("it is cut off: its header alone takes {size} bytes, the whole file has {}", total - 8);
        return Err(not_safetensors(path, &why));
    }
    // `size` is at most the length of the file here, so a lying header allocates nothing.
    let mut text = vec![0; size as usize];
    file.seek(SeekFrom::Start(8)).and_then(|_| file.read_exact(&mut text)).map_err(io)?;
    let parsed: Metadata = serde_json::from_slice(&text)
        .map_err(|e| not_safetensors(path, &format!("its header is damaged: {e}")))?;
    let (expected, found) = (parsed.data_len() as u64, total - 8 - size);
    if expected != found {
        let what = if found < expected { "it is cut off" } else { "it is too long" };
        let why = format!("{what}: its header tells of {expected} bytes of data, it has {found}");
        return Err(not_safetensors(path, &why));
    }
    let mut tensors = BTreeMap::new();
    for (key, info) in parsed.tensors() {
        let (from, to) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        let info = TensorInfo {
            dtype: info.dtype,
            shape: info.shape.clone(),
            start: 8 + size + from,
            len: to.saturating_sub(from),
        };
        tensors.insert(key, info);
    }
    let metadata = parsed.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(Header { path: path.to_path_buf(), tensors, metadata })
}

impl Header {
    /// Reads one tensor, on the CPU, in the dtype that it is stored in (truth values as bytes).
    ///
    /// # Errors
    /// [`codes::WEIGHT_MISSING`], [`codes::WEIGHT_DTYPE`], [`codes::WEIGHTS_UNREADABLE`].
    pub fn read(&self, key: &str) -> Result<Tensor, Diagnostic> {
        let name = self.path.display();
        let info = self.tensors.get(key).ok_or_else(|| {
            Diagnostic::error(codes::WEIGHT_MISSING, format!("`{name}` has no tensor `{key}`"))
        })?;
        let dtype = info.taper_dtype().ok_or_else(|| {
            Diagnostic::error(
                codes::WEIGHT_DTYPE,
                format!("`{key}` in `{name}` is {}, which taper does not read", info.dtype),
            )
        })?;
        let io = |e: std::io::Error| unreadable(&self.path, &e);
        let mut file = File::open(&self.path).map_err(io)?;
        file.seek(SeekFrom::Start(info.start)).map_err(io)?;
        // The length was within the file when the header was read; `take` bears with a file that shrank.
        let mut bytes = Vec::with_capacity(usize::try_from(info.len).unwrap_or(0));
        file.take(info.len).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 != info.len {
            return Err(not_safetensors(&self.path, "it was cut off while it was read"));
        }
        Tensor::from_raw_buffer(&bytes, crate::run::candle_dtype(dtype), &info.shape, &Device::Cpu)
            .map_err(|e| not_safetensors(&self.path, &format!("`{key}` does not fit its shape ({e})")))
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    let message = format!("the weights `{}` cannot be read: {}", path.display(), plain(error));
    let out = Diagnostic::error(codes::WEIGHTS_UNREADABLE, message);
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            out.help("check the path; `taper train FILE --out DIR` makes weights, `--weights DIR` takes them")
        }
        _ => out.help("check the permissions of the file"),
    }
}

fn not_safetensors(path: &Path, why: &str) -> Diagnostic {
    Diagnostic::error(
        codes::WEIGHTS_NOT_SAFETENSORS,
        format!("`{}` is not a good safetensors file: {why}", path.display()),
    )
    .help("fetch or copy it again; PyTorch's .bin and .ckpt files must be converted to safetensors first")
}
