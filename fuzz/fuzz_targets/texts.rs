//! The small texts that files bring along: layout tables, captions and labels of folders, splits, types.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper::data::{Split, parse_metadata};
use taper::shape::Type;
use taper::weights::Layout;
use taper_fuzz::{bounded, mega};

fuzz_target!(|text: &str| {
    bounded(mega(200), 1.0, || {
        if let Ok(layout) = Layout::parse(text) {
            layout.path("down.1.block.0.conv.bias");
        }
        let _ = parse_metadata(text, "metadata.jsonl");
        if let Ok(split) = Split::parse(text)
            && let Ok(range) = split.range(1000, "fuzz")
        {
            assert!(range.start < range.end && range.end <= 1000);
        }
        if let Ok(ty) = text.parse::<Type>() {
            assert_eq!(ty.to_text().parse::<Type>().as_ref(), Ok(&ty));
        }
    });
});
