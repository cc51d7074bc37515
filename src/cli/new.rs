//! `taper new NAME`.

use std::path::PathBuf;

use clap::Args;

use super::{Outcome, report};
use crate::diagnostic::{Diagnostic, codes};

/// Arguments of `new`.
#[derive(Args)]
pub(super) struct NewArgs {
    /// The name: NAME.taper is written
    name: String,
}

const TEMPLATE: &str = include_str!("template.taper");

pub(super) fn main(args: &NewArgs) -> Outcome {
    let stem = args.name.strip_suffix(".taper").unwrap_or(&args.name);
    let path = PathBuf::from(format!("{stem}.taper"));
    let base = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String = base
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|part| {
            let mut chars = part.chars();
            chars.next().map(|c| c.to_ascii_uppercase().to_string() + chars.as_str())
        })
        .collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        let d = Diagnostic::error(codes::BAD_FLAG, format!("`{}` does not name a pipeline", args.name));
        return report::fail(d.help("a name begins with a letter: taper new my_vae"), Outcome::Wrong);
    }
    if path.exists() {
        let d = Diagnostic::error(codes::CANNOT_WRITE, format!("`{}` exists already", path.display()));
        return report::fail(d.help("choose another name; nothing was written"), Outcome::Wrong);
    }
    match crate::fs::write_atomic(&path, TEMPLATE.replace("NAME", &name).as_bytes()) {
        Ok(()) => {
            let p = path.display();
            report::say(&format!(
                "{p} written. Next:\n  taper check {p}\n  taper train {p} --out runs/{base}"
            ));
            Outcome::Done
        }
        Err(d) => report::fail(d, Outcome::Failed),
    }
}
