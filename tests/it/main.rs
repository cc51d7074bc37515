//! Integration tests, in one binary.

mod pages;
mod tidy;
