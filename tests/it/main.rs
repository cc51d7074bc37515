//! Integration tests, in one binary. One module per area.

mod checkpoint;
mod cli;
mod docs;
mod fences;
mod golden;
mod pages;
mod parity;
mod tidy;
