//! `std.metric` and the terms of the variational bound against numpy and scipy (`tests/fixtures/make_metric.py`).

use taper::data::{Array, parse_safetensors};
use taper::run::{Device, from_array};
use tempfile::TempDir;

use crate::cli::{path, taper, text};
use crate::fences::root;

fn numbers(array: &Array) -> Vec<f64> {
    let tensor = from_array(array, &Device::Cpu).expect("a tensor");
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("numbers of f64")
}

#[test]
fn metrics_agree_with_numpy_and_scipy() {
    let fixtures = root().join("tests/fixtures");
    let file = |name: &str| fixtures.join(name).to_string_lossy().into_owned();
    let golden = std::fs::read(file("metric_golden.safetensors")).expect("the fixture");
    let golden = parse_safetensors(&golden).expect("a safetensors file");
    let dir = TempDir::new().expect("a folder");
    let mut compared = 0;
    for (graph, expected) in &golden {
        let out = path(&dir, "out.safetensors");
        let run = taper(&[
            "run",
            &file("metric.taper"),
            graph,
            "--weights",
            &file("metric.safetensors"),
            "-o",
            &out,
        ]);
        assert!(run.status.success(), "{graph}: {}", text(&run.stderr));
        let ours = parse_safetensors(&std::fs::read(&out).expect("written")).expect("a safetensors file");
        let (ours, expected) = (numbers(&ours[0].1), numbers(expected));
        // numpy's eigenvalues of a singular product are good to the root of the rounding; the bound is in f32.
        let tolerance = match graph.as_str() {
            "distances" => 1e-6,
            "vlb" => 2e-5,
            _ => 1e-12,
        };
        assert_eq!(ours.len(), expected.len(), "{graph}");
        for (a, b) in ours.iter().zip(&expected) {
            assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{graph}: {a} for {b}");
        }
        compared += 1;
    }
    assert_eq!(compared, 9);
}
