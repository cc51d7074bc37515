//! Any bytes are a .npy or an .npz file or are refused; what is read is written back to the same array.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper::data::{ArrayData, encode_npy, parse_npy, parse_npz};
use taper_fuzz::{bounded, mega};

fuzz_target!(|bytes: &[u8]| {
    let one = bounded(mega(200), 1.0, || parse_npy(bytes));
    let many = bounded(mega(400), 1.0, || parse_npz(bytes));
    for array in one.into_iter().chain(many.into_iter().flatten().map(|(_, a)| a)) {
        assert_eq!(array.shape.iter().product::<usize>(), array.data.len());
        if let (false, Ok(written)) = (matches!(array.data, ArrayData::Text(_)), encode_npy(&array)) {
            let back = parse_npy(&written).unwrap();
            assert_eq!(back.shape, array.shape);
            // Not by `==`: what is not a number differs from itself.
            assert_eq!(encode_npy(&back).unwrap(), written);
        }
    }
});
