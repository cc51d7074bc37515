//! Integration tests, in one binary.

mod cli;
mod pages;
mod tidy;
