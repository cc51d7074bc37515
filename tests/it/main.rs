//! Integration tests, in one binary. One module per area.

mod bf16;
mod bounds;
mod checkpoint;
mod cli;
mod commands;
mod docs;
mod fences;
mod golden;
mod library;
mod metrics;
mod pages;
mod parity;
mod replay;
mod samplers;
mod tidy;
mod train;
mod tutorial;
