//! Any bytes are an IDX file, raw or gzipped, or are refused; memory is taken for bytes that exist.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper::data::parse_idx;
use taper_fuzz::{bounded, mega};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(array) = bounded(mega(200), 1.0, || parse_idx(bytes)) {
        assert_eq!(array.shape.iter().product::<usize>(), array.data.len());
        assert!(array.data.len() <= bytes.len() * 1032);
    }
});
