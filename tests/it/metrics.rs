//! What is a plain function of tensors in the library against numpy, scipy and PyTorch: `std.metric` and the terms of
//! the variational bound (`make_metric.py`); `std.guidance` and `std.model.dit` (`make_diffusion.py`).

use taper::data::{Array, parse_safetensors};
use taper::run::{Device, from_array};
use tempfile::TempDir;

use crate::cli::{path, taper, text};
use crate::fences::root;

fn numbers(array: &Array) -> Vec<f64> {
    let tensor = from_array(array, &Device::Cpu).expect("a tensor");
    let tensor = tensor.to_dtype(candle_core::DType::F64).expect("floats");
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("its values")
}

/// Runs the graph that each tensor of NAME_golden.safetensors is called after, and compares; gives their count.
fn compare(name: &str, tolerance: impl Fn(&str) -> f64) -> usize {
    let file = |name: String| root().join("tests/fixtures").join(name).to_string_lossy().into_owned();
    let golden = std::fs::read(file(format!("{name}_golden.safetensors"))).expect("the fixture");
    let golden = parse_safetensors(&golden).expect("a safetensors file");
    let (pipeline, weights) = (file(format!("{name}.taper")), file(format!("{name}.safetensors")));
    let dir = TempDir::new().expect("a folder");
    for (graph, expected) in &golden {
        let out = path(&dir, "out.safetensors");
        let run = taper(&["run", &pipeline, graph, "--weights", &weights, "-o", &out]);
        assert!(run.status.success(), "{graph}: {}", text(&run.stderr));
        let ours = parse_safetensors(&std::fs::read(&out).expect("written")).expect("a safetensors file");
        let (ours, expected) = (numbers(&ours[0].1), numbers(expected));
        assert_eq!(ours.len(), expected.len(), "{graph}");
        for (a, b) in ours.iter().zip(&expected) {
            assert!((a - b).abs() <= tolerance(graph) * b.abs().max(1.0), "{graph}: {a} for {b}");
        }
    }
    golden.len()
}

#[test]
fn metrics_agree_with_numpy_and_scipy() {
    // numpy's eigenvalues of a singular product are good to the root of the rounding; the bound is in f32.
    let count = compare("metric", |graph| match graph {
        "distances" => 1e-6,
        "vlb" => 2e-5,
        _ => 1e-12,
    });
    assert_eq!(count, 9);
}

#[test]
fn guidance_and_dit_agree_with_numpy_and_pytorch() {
    let count = compare("diffusion", |graph| if graph == "denoised" { 2e-5 } else { 2e-6 });
    assert_eq!(count, 11);
}
