//! Any text is checked within bounds. A clean one has valid graphs, which every pass, the plan, the text form
//! and the drawing take.
//!
//! The limits are a twentieth of the usual ones, so that what runs into them does not slow the search down;
//! `tests/it/bounds.rs` has programs that run into the usual ones.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper::CheckOptions;
use taper::elaborate::Limits;
use taper::graph::{Graph, ron, same::same, svg, validate::validate};
use taper::source::MemorySources;
use taper_fuzz::{bounded, mega};

fuzz_target!(|text: &str| {
    let limits = Limits { steps: 200_000, elements: 400_000, ..Limits::default() };
    let options = CheckOptions { limits, ..CheckOptions::default() };
    let sources = MemorySources::single("fuzz.taper", text);
    let checked = bounded(mega(200), 2.0, || taper::check(&sources, "fuzz.taper", &options));
    bounded(mega(500), 2.0, || checked.render());
    assert!(checked.program.is_none() || !checked.has_errors());
    let Some(program) = checked.program else { return };
    let graphs = program.entries.iter().map(|e| &e.graph).chain(program.trains.iter().map(|t| &t.graph));
    for graph in graphs.chain([&program.init]) {
        validate(graph).unwrap();
        // Large graphs come from loops over the same nodes, and show nothing new.
        if nodes(graph) < 2_000 {
            bounded(mega(500), 5.0, || passes(graph));
        }
    }
});

fn nodes(graph: &Graph) -> usize {
    graph.regions.iter().map(|r| r.dag.node_count()).sum()
}

fn passes(graph: &Graph) {
    let optimized = taper::optimize::optimize(graph, &taper::optimize::Options::default());
    validate(&optimized).unwrap();
    taper::plan::Plan::new(&optimized);
    let text = ron::to_ron(graph);
    let back = ron::from_ron(&text).unwrap();
    assert!(same(graph, &back), "{text}");
    svg::to_svg(graph, &svg::DrawOptions::default());
}
