use super::samples;
use super::*;

#[test]
fn samples_parse() {
    for (_, text) in samples::ALL {
        clean(text);
    }
}
