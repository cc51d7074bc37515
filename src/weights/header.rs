//! The header of a file of weights: names, shapes and dtypes, read without the data.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
pub use safetensors::Dtype;

use crate::data::safetensors::{Described, Flaw, describe};
use crate::diagnostic::{Diagnostic, codes};
use crate::fs::plain;
use crate::shape::DType;

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
    let (found, metadata) = match describe(&mut BufReader::new(&mut file), meta.len()) {
        Ok(found) => found,
        Err(Flaw::Io(e)) => return Err(io(e)),
        Err(Flaw::Other) => {
            let mut head = Vec::with_capacity(64);
            file.seek(SeekFrom::Start(0)).and_then(|_| file.take(64).read_to_end(&mut head)).map_err(io)?;
            return Err(not_safetensors(path, &format!("it is {}", crate::media::sniff::describe(&head))));
        }
        Err(Flaw::Damaged(why)) => return Err(not_safetensors(path, &why)),
    };
    let tensors = found
        .into_iter()
        .map(|Described { name, dtype, shape, start, len }| (name, TensorInfo { dtype, shape, start, len }));
    Ok(Header { path: path.to_path_buf(), tensors: tensors.collect(), metadata })
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
