//! Weights in memory, and writing them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::json;

use crate::diagnostic::{Diagnostic, codes};
use crate::fs::write_atomic_with;

/// Weights and states by checkpoint path.
#[derive(Clone, Debug, Default)]
pub struct ParamStore {
    tensors: BTreeMap<String, Tensor>,
}

impl ParamStore {
    /// None yet.
    pub fn new() -> Self {
        ParamStore::default()
    }

    /// The tensor of a path.
    pub fn get(&self, path: &str) -> Option<&Tensor> {
        self.tensors.get(path)
    }

    /// Sets the tensor of a path.
    pub fn insert(&mut self, path: impl Into<String>, tensor: Tensor) {
        self.tensors.insert(path.into(), tensor);
    }

    /// All of them, in order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Writes them as safetensors, whole or not at all. Equal tensors and notes give equal bytes: tensors in
    /// order of their paths, widest dtypes first, as the format's own writer does. The notes get `taper`, the
    /// version of this program.
    ///
    /// # Errors
    /// [`codes::CANNOT_WRITE`].
    pub fn save(&self, path: &Path, notes: &BTreeMap<String, String>) -> Result<(), Diagnostic> {
        save(self.iter(), path, notes)
    }
}

impl FromIterator<(String, Tensor)> for ParamStore {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(items: I) -> Self {
        ParamStore { tensors: items.into_iter().collect() }
    }
}

/// Writes tensors as [`ParamStore::save`] does.
///
/// # Errors
/// [`codes::CANNOT_WRITE`].
pub fn save<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    path: &Path,
    notes: &BTreeMap<String, String>,
) -> Result<(), Diagnostic> {
    let mut all: Vec<(&str, &Tensor)> = tensors.collect();
    all.sort_by_key(|(name, t)| (std::cmp::Reverse(t.dtype().size_in_bytes()), *name));
    let mut notes = notes.clone();
    notes.insert("taper".into(), env!("CARGO_PKG_VERSION").into());
    let mut header = serde_json::Map::from_iter([("__metadata__".to_string(), json!(notes))]);
    let mut at = 0;
    for (name, tensor) in &all {
        let end = at + tensor.elem_count() * tensor.dtype().size_in_bytes();
        let dtype = stored_name(tensor.dtype())
            .ok_or_else(|| cannot(path, name, &format!("its dtype is {}", tensor.dtype().as_str())))?;
        let info = json!({ "dtype": dtype, "shape": tensor.dims(), "data_offsets": [at, end] });
        header.insert((*name).to_string(), info);
        at = end;
    }
    let mut text = serde_json::Value::Object(header).to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    // A device that fails is reported under its own name, not as a full disk.
    let mut device: Option<Diagnostic> = None;
    let written = write_atomic_with(path, |out| {
        out.write_all(&(text.len() as u64).to_le_bytes())?;
        out.write_all(text.as_bytes())?;
        for (name, tensor) in &all {
            write_tensor(out, tensor).map_err(|e| match e {
                Failed::Io(e) => e,
                Failed::Device(e) => {
                    device = Some(cannot(path, name, &e.to_string()));
                    io::Error::other("a tensor could not be read")
                }
            })?;
        }
        Ok(())
    });
    match device {
        Some(d) => Err(d),
        None => written,
    }
}

fn cannot(path: &Path, name: &str, why: &str) -> Diagnostic {
    Diagnostic::error(codes::CANNOT_WRITE, format!("cannot write `{name}` to `{}`: {why}", path.display()))
}

/// The dtype's name in the format.
fn stored_name(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::U8 => "U8",
        DType::U32 => "U32",
        DType::I64 => "I64",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::F32 => "F32",
        DType::F64 => "F64",
        _ => return None,
    })
}

enum Failed {
    Io(io::Error),
    Device(candle_core::Error),
}

/// Little-endian elements in row-major order.
fn write_tensor(out: &mut dyn Write, tensor: &Tensor) -> Result<(), Failed> {
    fn put<T: candle_core::WithDType, const N: usize>(
        out: &mut dyn Write,
        flat: &Tensor,
        bytes: impl Fn(T) -> [u8; N],
    ) -> Result<(), Failed> {
        let mut block = Vec::with_capacity(1 << 16);
        for chunk in flat.to_vec1::<T>().map_err(Failed::Device)?.chunks((1 << 16) / N) {
            block.clear();
            chunk.iter().for_each(|v| block.extend_from_slice(&bytes(*v)));
            out.write_all(&block).map_err(Failed::Io)?;
        }
        Ok(())
    }
    let flat = tensor.to_device(&Device::Cpu).and_then(|t| t.flatten_all()).map_err(Failed::Device)?;
    match flat.dtype() {
        DType::U8 => put(out, &flat, |v: u8| [v]),
        DType::U32 => put(out, &flat, u32::to_le_bytes),
        DType::I64 => put(out, &flat, i64::to_le_bytes),
        DType::F16 => put(out, &flat, half::f16::to_le_bytes),
        DType::BF16 => put(out, &flat, half::bf16::to_le_bytes),
        DType::F32 => put(out, &flat, f32::to_le_bytes),
        _ => put(out, &flat, f64::to_le_bytes),
    }
}
