//! Any text is a graph in RON or is refused; what is read is valid and written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper::graph::ron::{from_ron, to_ron};
use taper::graph::{same::same, validate::validate};
use taper_fuzz::{bounded, mega};

fuzz_target!(|text: &str| {
    if let Ok(graph) = bounded(mega(200), 1.0, || from_ron(text)) {
        validate(&graph).unwrap();
        let back = from_ron(&to_ron(&graph)).unwrap();
        assert!(same(&graph, &back));
    }
});
