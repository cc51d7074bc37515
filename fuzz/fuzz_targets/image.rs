//! Any bytes are an image or are refused. The first byte chooses how it is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper::media::{Filter, Fit, ReadOptions, decode_image};
use taper_fuzz::{bounded, mega};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let options = ReadOptions {
        channels: [None, Some(1), Some(3), None][usize::from(choice & 3)],
        size: [None, Some((8, 6))][usize::from(choice >> 2 & 1)],
        fit: [Fit::Crop, Fit::Stretch][usize::from(choice >> 3 & 1)],
        filter: Filter::Lanczos,
    };
    // A small file may declare many pixels, up to a bound, and those take their time.
    if let Ok(image) = bounded(mega(1000), 10.0, || decode_image(bytes, "fuzz", &options)) {
        let [c, h, w] = image.shape();
        assert_eq!(image.data.len(), c * h * w);
        assert!(options.channels.is_none_or(|n| n == c) && options.size.is_none_or(|s| s == (h, w)));
    }
});
