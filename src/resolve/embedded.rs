//! The standard library, embedded.

use crate::source::Sources;

mod table {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

pub use table::STDLIB;

/// `nn/conv.taper` of `std.nn.conv`.
fn path(module: &str) -> Option<String> {
    Some(module.strip_prefix("std.")?.replace('.', "/") + ".taper")
}

/// The text of `std.nn` (`stdlib/nn.taper`) or of `std.nn.conv` (`stdlib/nn/conv.taper`): of the
/// folder that overrides the library if the sources have it there, else the embedded one.
pub fn std_text(sources: &dyn Sources, module: &str) -> Option<String> {
    overridden(sources, module).or_else(|| embedded_text(module).map(String::from))
}

/// The text of a module in the folder that overrides the library.
pub fn overridden(sources: &dyn Sources, module: &str) -> Option<String> {
    sources.std(&path(module)?)
}

/// The text of an embedded module.
pub fn embedded_text(module: &str) -> Option<&'static str> {
    let path = path(module)?;
    STDLIB.iter().find(|(p, _)| *p == path).map(|(_, text)| *text)
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
