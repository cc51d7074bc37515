//! Measured memory: bytes of the storages that live tensors hold, a storage counted once however many views
//! share it. Scratch memory inside an operation is not seen.

use std::collections::HashMap;

use candle_core::{CpuStorage, Storage, Tensor};

/// Bytes held during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Most at any time, weights and inputs included.
    pub peak: u64,
    /// The weights and states that the graph reads.
    pub parameters: u64,
    /// The inputs.
    pub inputs: u64,
}

/// Counts live storages.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Users and bytes of each storage, by its address.
    live: HashMap<usize, (usize, u64)>,
    now: u64,
    peak: u64,
}

impl Account {
    pub(crate) fn hold(&mut self, tensor: &Tensor) {
        let (key, bytes) = storage(tensor);
        let entry = self.live.entry(key).or_insert((0, bytes));
        entry.0 += 1;
        if entry.0 == 1 {
            self.now += bytes;
            self.peak = self.peak.max(self.now);
        }
    }

    pub(crate) fn release(&mut self, tensor: &Tensor) {
        let (key, _) = storage(tensor);
        if let Some(entry) = self.live.get_mut(&key) {
            entry.0 -= 1;
            if entry.0 == 0 {
                self.now -= entry.1;
                self.live.remove(&key);
            }
        }
    }

    /// Whether the tensor has a storage for itself: no other holds it, and it is no part of a larger one.
    pub(crate) fn is_whole(&self, tensor: &Tensor) -> bool {
        let (key, bytes) = storage(tensor);
        let own = tensor.elem_count() as u64 * tensor.dtype().size_in_bytes() as u64;
        bytes == own && self.live.get(&key).is_some_and(|(users, _)| *users == 1)
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }
}

/// The address of a tensor's storage, which identifies it while the tensor lives, and its size. On a GPU the
/// size is taken from the tensor that is seen first, which is the one that was allocated.
pub(super) fn storage(tensor: &Tensor) -> (usize, u64) {
    let (storage, layout) = tensor.storage_and_layout();
    let key = std::ptr::from_ref::<Storage>(&storage).addr();
    let bytes = match &*storage {
        Storage::Cpu(cpu) => cpu_bytes(cpu),
        _ => None,
    };
    let seen = || layout.shape().elem_count() as u64 * tensor.dtype().size_in_bytes() as u64;
    (key, bytes.unwrap_or_else(seen))
}

fn cpu_bytes(storage: &CpuStorage) -> Option<u64> {
    Some(match storage {
        CpuStorage::U8(v) => v.len() as u64,
        CpuStorage::U32(v) => 4 * v.len() as u64,
        CpuStorage::I64(v) => 8 * v.len() as u64,
        CpuStorage::BF16(v) => 2 * v.len() as u64,
        CpuStorage::F16(v) => 2 * v.len() as u64,
        CpuStorage::F32(v) => 4 * v.len() as u64,
        CpuStorage::F64(v) => 8 * v.len() as u64,
        _ => return None,
    })
}
