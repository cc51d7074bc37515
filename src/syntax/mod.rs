//! Text to tree and back: the pest grammar, the parser that never fails, the syntax tree, the formatter.
//!
//! [`parse`] gives a tree and diagnostics for any text whatever; what could not be parsed is an `Error` node.

pub mod ast;
mod build;
mod explain;
mod format;
mod grammar;
mod layout;
mod parse;
mod recover;
mod spans;

pub use format::format;
pub use parse::parse;
pub use spans::strip_spans;

#[cfg(test)]
mod tests;

/// How deep brackets, and words that open an expression without them (`fn`, `if`, `loop`), may nest.
pub const MAX_DEPTH: usize = 200;

/// How deep a tree may be, operators counted: every later phase walks it by recursion.
pub const MAX_TREE: usize = 256;
