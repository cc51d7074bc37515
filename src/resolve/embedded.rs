//! The standard library, embedded.

use crate::source::Sources;

mod table {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

pub use table::STDLIB;

/// The text of `std.nn` (`stdlib/nn.taper`) or of `std.nn.conv` (`stdlib/nn/conv.taper`): of the
/// folder that overrides the library if the sources have it there, else the embedded one.
pub fn std_text(sources: &dyn Sources, module: &str) -> Option<String> {
    let path = module.strip_prefix("std.")?.replace('.', "/") + ".taper";
    if let Some(text) = sources.std(&path) {
        return Some(text);
    }
    STDLIB.iter().find(|(p, _)| *p == path).map(|(_, text)| (*text).to_string())
}

/// The names of all embedded modules.
pub fn std_modules() -> Vec<String> {
    STDLIB
        .iter()
        .filter_map(|(p, _)| p.strip_suffix(".taper"))
        .map(|p| format!("std.{}", p.replace('/', ".")))
        .collect()
}

/// The RON text of `std.layouts.NAME`.
pub fn layout(name: &str) -> Option<&'static str> {
    let path = format!("layouts/{name}.ron");
    STDLIB.iter().find(|(p, _)| *p == path).map(|(_, text)| *text)
}
