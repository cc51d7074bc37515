//! Data sets, and the batches that training takes from them.
//!
//! Opening a data set reads headers only, so that a program can be checked against its fields in
//! milliseconds; whatever is wrong with the contents becomes a diagnostic when they are read, and memory is
//! taken only for bytes that exist.

mod array;
mod augment;
mod bytes;
mod column;
mod dataset;
mod embedded;
mod folder;
mod idx;
mod loader;
mod metadata;
mod npy;
mod npz;
mod open;
mod order;
pub(crate) mod safetensors;
mod split;
mod stored;

pub(crate) use array::display_shape;
pub use array::{Array, ArrayData, Element};
pub use augment::{Augment, Crop};
pub use column::FieldInfo;
pub use dataset::{Dataset, open_named, read_field};
pub use embedded::{EMBEDDED, embedded};
pub use idx::parse_idx;
pub use loader::{Batch, Loader, LoaderOptions};
pub use metadata::{Metadata, parse_metadata};
pub use npy::{encode_npy, parse_npy, read_npy, write_npy};
pub use npz::parse_npz;
pub use open::{open, open_with};
pub use order::{BatchOrder, mix, permutation};
pub use safetensors::parse_safetensors;
pub use split::Split;
