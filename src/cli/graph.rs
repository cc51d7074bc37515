//! `taper graph FILE [GRAPH] [-o OUT] [--stage …]`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::arguments::FileOptions;
use super::{Outcome, report};
use crate::CheckOptions;
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::graph::{Graph, dot, ron, svg, text};
use crate::ops::Primitive;

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
    #[arg(long)]
    depth: Option<usize>,
    #[command(flatten)]
    options: FileOptions,
}

pub(super) fn main(args: &GraphArgs) -> Outcome {
    let Some(checked) = args.options.check_and_print(&args.file, CheckOptions::default()) else {
        return Outcome::Wrong;
    };
    let Some(program) = &checked.program else {
        let d = Diagnostic::error(codes::BAD_FLAG, format!("`{}` has no pipeline", args.file.display()));
        return report::fail(
            d.help("a pipeline's graphs can be drawn: pipeline Name { graph … }"),
            Outcome::Wrong,
        );
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
    let options = match args.options.passes() {
        Ok(options) => options,
        Err(d) => return report::fail(d, Outcome::Wrong),
    };
    let graph = if args.stage == Stage::Graph {
        (*graph).clone()
    } else {
        crate::optimize::optimize(graph, &options)
    };
    let Some(path) = &args.output else {
        let shown = match args.stage {
            Stage::Plan => plan_text(&graph),
            _ => text::print(&graph),
        };
        report::say(shown.trim_end());
        return Outcome::Done;
    };
    let bytes = match path.extension().and_then(|e| e.to_str()) {
        Some("svg") => svg::to_svg(&graph, &svg::DrawOptions { depth: args.depth, ..Default::default() }),
        Some("dot") => dot::to_dot(&graph),
        Some("ron") => ron::to_ron(&graph),
        _ => {
            let d =
                Diagnostic::error(codes::BAD_FLAG, format!("cannot tell the form of `{}`", path.display()));
            return report::fail(
                d.help("name it .svg (a drawing), .dot (Graphviz) or .ron (text that reads back)"),
                Outcome::Wrong,
            );
        }
    };
    match crate::fs::write_atomic(path, bytes.as_bytes()) {
        Ok(()) => Outcome::Done,
        Err(d) => report::fail(d, Outcome::Failed),
    }
}

/// The order of execution: each node with its type, and what is freed after it.
fn plan_text(graph: &Graph) -> String {
    let plan = crate::plan::Plan::new(graph);
    let mut out = String::new();
    for (r, schedule) in plan.regions.iter().enumerate() {
        out += &format!("region {r}\n");
        for (i, id) in schedule.order.iter().enumerate() {
            let node = graph.regions[r].node(*id);
            let inputs = node.inputs.iter().map(|n| format!("%{}", n.index())).collect::<Vec<_>>().join(", ");
            let freed = schedule
                .frees
                .get(i)
                .map(|f| f.iter().map(|n| format!("%{}", n.index())).collect::<Vec<_>>().join(", "));
            out += &format!("  %{} = {} {inputs} : {}", id.index(), node.op.label(), node.ty);
            if let Some(f) = freed.filter(|f| !f.is_empty()) {
                out += &format!("   frees {f}");
            }
            out += "\n";
        }
    }
    let s = plan.summary;
    out + &format!("peak {}B, {}FLOPs", report::count(s.peak_bytes as f64), report::count(s.flops))
}
