//! Text to tree and back: the pest grammar, the parser that never fails, the syntax tree, the formatter.

pub mod ast;
