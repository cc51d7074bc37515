//! `taper graph FILE [GRAPH] [-o OUT] [--stage …]`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::arguments::FileOptions;
use super::{Outcome, report};
use crate::CheckOptions;
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::graph::{Graph, dot, ron, svg, text};

/// Which form of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// As elaborated.
    Graph,
    /// After the optimizer's passes.
    Optimized,
    /// In order of execution, with lifetimes.
    Plan,
}

/// Arguments of `graph`.
#[derive(Args)]
pub(super) struct GraphArgs {
    /// The file
    file: PathBuf,
    /// The graph or training procedure; the first if none is named
    graph: Option<String>,
    /// Where to write: .svg, .dot or .ron; as text to the terminal if left out
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Which form
    #[arg(long, value_enum, default_value = "graph")]
    stage: Stage,
    /// How deep blocks are opened in a drawing
    #[arg(long, default_value_t = 2)]
    depth: usize,
    /// A pass of the optimizer to leave out (repeatable)
    #[arg(long = "no-opt", value_name = "PASS")]
    no_opt: Vec<String>,
    #[command(flatten)]
    options: FileOptions,
}

pub(super) fn main(args: &GraphArgs) -> Outcome {
    let Some(checked) = args.options.check_and_print(&args.file, CheckOptions::default()) else {
        return Outcome::Wrong;
    };
    let Some(program) = &checked.program else {
        let d = Diagnostic::error(codes::BAD_FLAG, format!("`{}` has no pipeline", args.file.display()));
        return report::fail(d.help("a pipeline's graphs can be drawn: pipeline Name { graph … }"), Outcome::Wrong);
    };
    let graphs: Vec<(&str, &Graph)> = program
        .entries
        .iter()
        .map(|e| (e.name.as_str(), &e.graph))
        .chain(program.trains.iter().map(|t| (t.name.as_str(), &t.graph)))
        .collect();
    let found = match &args.graph {
        None => graphs.first(),
        Some(name) => graphs.iter().find(|(n, _)| n == name),
    };
    let Some((_, graph)) = found else {
        let known: Vec<&str> = graphs.iter().map(|(n, _)| *n).collect();
        let name = args.graph.as_deref().unwrap_or_default();
        let d = Diagnostic::error(codes::BAD_FLAG, format!("`{}` has no graph `{name}`", program.name));
        let near = did_you_mean(name, known.iter().copied());
        let help = near.map_or(format!("it has: {}", known.join(", ")), |n| format!("did you mean `{n}`?"));
        return report::fail(d.help(help), Outcome::Wrong);
    };
    let options = match crate::optimize::Options::without(&args.no_opt) {
        Ok(o) => o,
        Err(d) => return report::fail(d, Outcome::Wrong),
    };
    let graph = if args.stage == Stage::Graph { (*graph).clone() } else { crate::optimize::optimize(graph, &options) };
    let Some(path) = &args.output else {
        let shown = match args.stage {
            Stage::Plan => crate::plan::Plan::new(&crate::plan::with_open_as(&graph, 1)).to_text(&graph),
            _ => text::to_text(&graph),
        };
        report::say(shown.trim_end());
        return Outcome::Done;
    };
    let bytes = match path.extension().and_then(|e| e.to_str()) {
        Some("svg") => svg::to_svg(&graph, &svg::DrawOptions { depth: args.depth, ..Default::default() }),
        Some("dot") => dot::to_dot(&graph),
        Some("ron") => ron::to_ron(&graph),
        _ => {
            let d = Diagnostic::error(codes::BAD_FLAG, format!("cannot tell the form of `{}`", path.display()));
            return report::fail(d.help("name it .svg (a drawing), .dot (Graphviz) or .ron (text that reads back)"), Outcome::Wrong);
        }
    };
    match crate::fs::write_atomic(path, bytes.as_bytes()) {
        Ok(()) => Outcome::Done,
        Err(d) => report::fail(d, Outcome::Failed),
    }
}
