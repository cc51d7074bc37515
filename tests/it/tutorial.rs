//! The graphs of `docs/tutorial-sampler.md` give what the page says of them.

use std::collections::HashMap;

use taper::CheckOptions;
use taper::data::ArrayData;
use taper::run::Silent;
use taper::session::{Given, RunSettings, Session};
use taper::source::MemorySources;

use crate::fences::{fences, root};

/// The outputs of a graph of the page's `test.taper`.
fn run(graph: &str) -> Vec<Vec<f64>> {
    let page = std::fs::read_to_string(root().join("docs/tutorial-sampler.md")).expect("the page");
    let named = fences(&page).into_iter().filter_map(|f| Some((f.attributes.get("file")?.clone(), f.text)));
    let sources = MemorySources(named.collect::<HashMap<_, _>>());
    let checked = taper::check(&sources, "test.taper", &CheckOptions::default());
    assert!(checked.diagnostics.is_empty(), "{}", checked.render());
    let program = checked.program.expect("a pipeline");
    let entry = program.entries.iter().find(|e| e.name == graph).expect("the graph").clone();
    let mut session = Session::open(program, &RunSettings::default()).expect("a device");
    let result = session.run(&entry, Given::default(), &mut Silent).expect("it runs");
    let numbers = |data: &ArrayData| match data {
        ArrayData::F64(v) => v.clone(),
        other => panic!("numbers of double precision, not {other:?}"),
    };
    result.outputs.iter().map(|(_, a)| numbers(&a.data)).collect()
}

#[test]
fn the_sampler_of_the_tutorial_is_of_second_order() {
    let table = run("error");
    assert_eq!(table[0], [16.0, 32.0, 64.0, 128.0]);
    let shown: Vec<String> = table[1].iter().map(|e| format!("{e:.4}")).collect();
    assert_eq!(shown, ["0.0926", "0.0201", "0.0047", "0.0011"], "the page shows these");
    for pair in table[1].windows(2) {
        let order = (pair[0] / pair[1]).log2();
        assert!((1.9..2.3).contains(&order), "order {order}");
    }
}

#[test]
fn the_sampler_of_the_tutorial_is_that_of_the_library() {
    let difference = run("difference")[0][0];
    assert!(difference < 1e-12, "{difference}");
}
