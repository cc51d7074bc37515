//! Colours and shapes by kind, and the style sheet.

use super::scene::Kind;

/// Fill, border, and the word of the legend.
pub(super) fn colours(kind: Kind) -> (&'static str, &'static str, &'static str) {
    match kind {
        Kind::Input => ("#e4f0fc", "#7fb2e6", "input"),
        Kind::Output => ("#e3f5e6", "#7cc48a", "output"),
        Kind::Watch => ("#fdeaf1", "#e79ab8", "watched value"),
        Kind::Weights => ("#fff3dd", "#e5b566", "with weights"),
        Kind::Block => ("#f7f9fb", "#c3ccd6", "block"),
        Kind::Op => ("#ffffff", "#b4bfca", "operation"),
        Kind::Random => ("#f2eafd", "#b498e0", "randomness"),
        Kind::Loop => ("#e9f7f4", "#6dbcab", "loop"),
        Kind::PortIn | Kind::PortOut => ("#ffffff", "#6dbcab", "carry"),
    }
}

/// Fill of open blocks by nesting, so that a block in a block stands out.
pub(super) fn nested(level: usize) -> &'static str {
    ["#f7f9fb", "#eef2f6"][level % 2]
}

pub(super) const SHEET: &str = "\
text{font-family:Inter,'Segoe UI','Helvetica Neue',Arial,'DejaVu Sans',sans-serif;fill:#1f2d3d}\
.t{font-size:13px;font-weight:600}.s{font-size:10.5px;fill:#5b6b7b}.o{font-size:11.5px;fill:#33475b}\
.m{text-anchor:middle}.l{font-size:10px;fill:#44566a;text-anchor:middle}\
.w{fill:none;stroke:#8595a6;stroke-width:1.3}.a{fill:#8595a6}\
.c{fill:none;stroke:#3f9d8a;stroke-width:1.5;stroke-dasharray:5 4}.ca{fill:#3f9d8a}\
.b{font-size:10.5px;font-weight:600;fill:#ffffff;text-anchor:middle}";
