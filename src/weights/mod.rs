//! Weights: safetensors files read and written, checked against a model by their headers alone, found in run
//! folders and published folders, and initialised.

pub mod check;
pub mod header;
pub mod init;
pub mod layout;
pub mod locate;
pub mod store;

#[cfg(test)]
mod tests;

pub use check::{Opened, check, load, load_beside, open};
pub use header::{Header, TensorInfo, read_header};
pub use init::{initialise, initialise_into};
pub use layout::Layout;
pub use locate::{FileSet, locate, shipped};
pub use store::ParamStore;
