//! Any bytes are read as data, and as a weights file, or refused; both readers agree on what is good.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper::data::parse_safetensors;
use taper::weights::read_header;
use taper_fuzz::{bounded, mega};

fuzz_target!(|bytes: &[u8]| {
    let data = bounded(mega(200), 1.0, || parse_safetensors(bytes));
    let path = std::env::temp_dir().join(format!("taper-fuzz-{}.safetensors", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    bounded(mega(200), 1.0, || {
        if let Ok(header) = read_header(&path) {
            for (key, info) in &header.tensors {
                if let Ok(tensor) = header.read(key) {
                    assert_eq!((tensor.dims(), tensor.elem_count()), (&info.shape[..], info.elements()));
                    assert!(info.bytes() <= bytes.len() as u64);
                }
            }
        } else {
            assert!(data.is_err(), "the reader of data takes what the reader of weights refuses");
        }
    });
});
