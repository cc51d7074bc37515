//! `taper explain CODE`.

use clap::Args;

use super::{Outcome, report};
use crate::diagnostic::{Diagnostic, codes, did_you_mean, pages};

/// Arguments of `explain`.
#[derive(Args)]
pub(super) struct ExplainArgs {
    /// A code such as E0401; without one, all codes are listed
    code: Option<String>,
}

pub(super) fn main(args: &ExplainArgs) -> Outcome {
    let Some(text) = &args.code else {
        for (code, title) in codes::ALL {
            report::say(&format!("{code}  {title}"));
        }
        return Outcome::Done;
    };
    let Some((code, title)) = codes::find(text) else {
        let near = did_you_mean(&text.to_uppercase(), codes::ALL.iter().map(|(c, _)| c.0));
        let d = Diagnostic::error(codes::BAD_FLAG, format!("there is no code `{text}`"));
        let help = near.map_or("`taper explain` lists all".to_string(), |n| {
            format!("did you mean {n}? `taper explain` lists all")
        });
        return report::fail(d.help(help), Outcome::Wrong);
    };
    match pages::page(code) {
        Some(page) => report::say(page.trim_end()),
        None => report::say(&format!("{code}: {title}")),
    }
    Outcome::Done
}
