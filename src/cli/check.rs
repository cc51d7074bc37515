//! `taper check FILE`.

use std::path::PathBuf;

use clap::Args;

use super::arguments::FileOptions;
use super::{Outcome, report};
use crate::CheckOptions;
use crate::graph::Graph;
use crate::graph::program::Program;
use crate::optimize::Options;
use crate::plan::Summary;

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
            report::say(&format!("{}: no pipeline; names and syntax are clean", args.file.display()));
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

fn graphs(program: &Program) -> impl Iterator<Item = (&str, &Graph)> {
    let entries = program.entries.iter().map(|e| (e.name.as_str(), &e.graph));
    entries.chain(program.trains.iter().map(|t| (t.name.as_str(), &t.graph)))
}

fn summary(graph: &Graph, passes: &Options) -> Summary {
    let optimized = crate::optimize::optimize(graph, passes);
    crate::plan::Plan::new(&optimized).summary
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
    for (name, graph) in graphs(program) {
        let s = summary(graph, passes);
        report::say(&format!(
            "  {name:width$}  {:>10}  {:>10}  {:>10}",
            report::count(s.parameters as f64).trim_end(),
            report::count(s.flops).trim_end(),
            format!("{}B", report::count(s.peak_bytes as f64)),
        ));
    }
}

fn json(program: &Program, passes: &Options) -> serde_json::Value {
    let graphs: Vec<_> = graphs(program)
        .map(|(name, graph)| {
            let s = summary(graph, passes);
            serde_json::json!({
                "graph": name, "parameters": s.parameters, "flops": s.flops, "peak_bytes": s.peak_bytes,
            })
        })
        .collect();
    serde_json::json!({ "pipeline": program.name, "weights": program.weights.len(), "graphs": graphs })
}
