//! `taper fmt FILE… [--check]`.

use std::path::PathBuf;

use clap::Args;

use super::files::describe;
use super::{Outcome, report};
use crate::diagnostic::{Diagnostic, codes};
use crate::source::{SourceFile, SourceMap};

/// Arguments of `fmt`.
#[derive(Args)]
pub(super) struct FmtArgs {
    /// The files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Only say which files would change
    #[arg(long)]
    check: bool,
}

pub(super) fn main(args: &FmtArgs) -> Outcome {
    let mut outcome = Outcome::Done;
    for path in &args.files {
        let shown = path.display().to_string();
        let text = match std::fs::read(path)
            .map_err(|e| describe(&e))
            .and_then(|b| String::from_utf8(b).map_err(|_| "it is not UTF-8 text".to_string()))
        {
            Ok(text) => text,
            Err(why) => {
                let d = Diagnostic::error(codes::UNREADABLE_FILE, format!("cannot read `{shown}`: {why}"));
                outcome = report::fail(d.help("check the path"), Outcome::Wrong);
                continue;
            }
        };
        match crate::syntax::format(&text) {
            Ok(new) if new == text => {}
            Ok(_) if args.check => {
                report::say(&format!("{shown} would change"));
                if outcome == Outcome::Done {
                    outcome = Outcome::Failed;
                }
            }
            Ok(new) => {
                if let Err(d) = crate::fs::write_atomic(path, new.as_bytes()) {
                    outcome = report::fail(d, Outcome::Failed);
                } else {
                    report::say(&format!("{shown} formatted"));
                }
            }
            Err(diagnostics) => {
                let mut map = SourceMap::default();
                map.add(SourceFile::new(shown, text));
                report::print(&diagnostics, &map);
                outcome = Outcome::Wrong;
            }
        }
    }
    outcome
}
