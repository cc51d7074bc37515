//! Any text is parsed to a tree, with diagnostics that lie on it and can be drawn; a text without mistakes
//! is formatted to one of the same meaning, which formatting leaves as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper::diagnostic::render::render_all;
use taper::source::{FileId, SourceFile, SourceMap};
use taper::syntax::{format, parse, strip_spans};
use taper_fuzz::{bounded, mega};

fuzz_target!(|text: &str| {
    let (file, diagnostics) = bounded(mega(500), 1.0, || parse(text, FileId(0)));
    for label in diagnostics.iter().flat_map(|d| &d.labels) {
        assert!(text.get(label.span.start as usize..label.span.end as usize).is_some(), "{label:?}");
    }
    let mut sources = SourceMap::default();
    sources.add(SourceFile::new("fuzz.taper", text));
    bounded(mega(500), 2.0, || render_all(&diagnostics, &sources, false));
    match bounded(mega(500), 1.0, || format(text)) {
        Err(errors) => assert!(!errors.is_empty()),
        Ok(once) => {
            let (again, problems) = parse(&once, FileId(0));
            assert!(problems.is_empty(), "formatted to something broken:\n{once}");
            assert_eq!(strip_spans(&file), strip_spans(&again), "formatting changed the meaning:\n{once}");
            assert_eq!(format(&once).as_ref(), Ok(&once), "formatting is not stable");
        }
    }
});
