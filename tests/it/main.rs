//! Integration tests, in one binary.

mod tidy;
