//! The parser that pest derives from `grammar/taper.pest`. Nothing outside `syntax` sees it.

/// Entry to the generated rules.
#[derive(pest_derive::Parser)]
#[grammar = "../grammar/taper.pest"]
pub struct Grammar;
