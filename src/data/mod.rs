//! Data sets, and the batches that training takes from them.

mod order;

pub use order::{BatchOrder, mix, permutation};
