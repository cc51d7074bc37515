//! `taper check FILE`.

use std::path::PathBuf;

use clap::Args;
use rayon::prelude::*;

use super::arguments::FileOptions;
use super::{Outcome, report};
use crate::graph::Graph;
use crate::graph::program::Program;
use crate::optimize::Options;
use crate::plan::Summary;
use crate::{CheckOptions, Checked};

/// Arguments of `check`.
#[derive(Args)]
pub(super) struct CheckArgs {
    /// The file
    file: PathBuf,
    /// Weights to check against the model: a file or folder; only headers are read
    #[arg(long)]
    weights: Option<PathBuf>,
    #[command(flatten)]
    options: FileOptions,
    /// Print nothing but diagnostics
    #[arg(long, short)]
    quiet: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &CheckArgs) -> Outcome {
    let passes = match args.options.passes() {
        Ok(passes) => passes,
        Err(d) => return report::fail(d, Outcome::Wrong),
    };
    let Some(checked) = args.options.check_and_print(&args.file, CheckOptions::default()) else {
        return Outcome::Wrong;
    };
    let Some(program) = &checked.program else {
        if !args.quiet {
            library(args, &checked);
        }
        return Outcome::Done;
    };
    if let Some(path) = &args.weights {
        let diagnostics = crate::weights::check(&program.weights, path, true);
        if report::print(&diagnostics, &checked.sources) {
            return Outcome::Wrong;
        }
    }
    if args.json {
        report::say(&json(program, &passes).to_string());
    } else if !args.quiet {
        table(program, &passes);
    }
    Outcome::Done
}

/// What was checked of a file without a pipeline.
fn library(args: &CheckArgs, checked: &Checked) {
    let (whole, left): (Vec<_>, Vec<_>) = checked.library.iter().partition(|i| i.left.is_none());
    if args.json {
        let left: serde_json::Map<_, _> =
            left.iter().map(|i| (i.name.clone(), serde_json::json!(i.left))).collect();
        let whole: Vec<_> = whole.iter().map(|i| &i.name).collect();
        let object = serde_json::json!({ "pipeline": null, "checked": whole, "checked_where_used": left });
        return report::say(&object.to_string());
    }
    report::say(&format!("{}: no pipeline; names and syntax are clean", args.file.display()));
    if !whole.is_empty() {
        let names: Vec<&str> = whole.iter().map(|i| i.name.as_str()).collect();
        report::say(&format!("  checked whole: {}", names.join(", ")));
    }
    for item in left {
        report::say(&format!(
            "  {} is checked whole where it is used: {}",
            item.name,
            item.left.as_deref().unwrap_or_default()
        ));
    }
}

fn graphs(program: &Program) -> impl Iterator<Item = (&str, &Graph)> {
    let entries = program.entries.iter().map(|e| (e.name.as_str(), &e.graph));
    entries.chain(program.trains.iter().map(|t| (t.name.as_str(), &t.graph)))
}

/// What each graph costs. Graphs are planned side by side: it is most of a check.
fn summaries<'p>(program: &'p Program, passes: &Options) -> Vec<(&'p str, Summary)> {
    let all: Vec<(&str, &Graph)> = graphs(program).collect();
    let summary = |(name, graph): &(&'p str, &Graph)| {
        let optimized = crate::optimize::optimize(graph, passes);
        (*name, crate::plan::Plan::new(&optimized).summary)
    };
    all.par_iter().map(summary).collect()
}

fn table(program: &Program, passes: &Options) {
    let trainable: f64 = program
        .weights
        .iter()
        .filter(|w| w.trainable)
        .map(|w| w.ty.elements().eval_with(1) as f64)
        .fold(0.0, |a, b| a + b);
    report::say(&format!(
        "{}: {}parameters in {} weights",
        program.name,
        report::count(trainable),
        program.weights.len()
    ));
    let width = graphs(program).map(|(n, _)| n.len()).max().unwrap_or(0).max(5);
    report::say(&format!("  {:width$}  {:>10}  {:>10}  {:>10}", "graph", "parameters", "FLOPs", "peak"));
    for (name, s) in summaries(program, passes) {
        report::say(&format!(
            "  {name:width$}  {:>10}  {:>10}  {:>10}",
            report::count(s.parameters as f64).trim_end(),
            report::count(s.flops).trim_end(),
            format!("{}B", report::count(s.peak_bytes as f64)),
        ));
    }
}

fn json(program: &Program, passes: &Options) -> serde_json::Value {
    let graphs: Vec<_> = summaries(program, passes)
        .into_iter()
        .map(|(name, s)| {
            serde_json::json!({
                "graph": name, "parameters": s.parameters, "flops": s.flops, "peak_bytes": s.peak_bytes,
            })
        })
        .collect();
    serde_json::json!({ "pipeline": program.name, "weights": program.weights.len(), "graphs": graphs })
}
