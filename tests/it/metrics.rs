//! What is a plain function of tensors in the library against numpy, scipy and PyTorch: `std.metric` and the terms of
//! the variational bound (`make_metric.py`); `std.guidance` and `std.model.dit` (`make_diffusion.py`); `std.loss`, what denoisers
//! are read as, and the way back to noise (`make_diffusion_loss.py`).

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

fn fixture(name: String) -> String {
    root().join("tests/fixtures").join(name).to_string_lossy().into_owned()
}

/// What a graph of a fixture gives with some weights, on PyTorch's draws of seed 7.
fn run(name: &str, graph: &str, weights: &str) -> Vec<f64> {
    let dir = TempDir::new().expect("a folder");
    let (pipeline, out) = (fixture(format!("{name}.taper")), path(&dir, "out.safetensors"));
    let draws = ["--rng", "torch", "--seed", "7"];
    let run = taper(&[&["run", &pipeline, graph, "--weights", weights, "-o", &out], &draws[..]].concat());
    assert!(run.status.success(), "{graph}: {}", text(&run.stderr));
    numbers(&parse_safetensors(&std::fs::read(&out).expect("written")).expect("a safetensors file")[0].1)
}

/// Runs the graph that each tensor of NAME_golden.safetensors is called after, and compares; gives their count.
fn compare(name: &str, tolerance: impl Fn(&str) -> f64) -> usize {
    let golden = std::fs::read(fixture(format!("{name}_golden.safetensors"))).expect("the fixture");
    let golden = parse_safetensors(&golden).expect("a safetensors file");
    for (graph, expected) in &golden {
        let ours = run(name, graph, &fixture(format!("{name}.safetensors")));
        let expected = numbers(expected);
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
    assert_eq!(count, 10);
}

#[test]
fn guidance_and_dit_agree_with_numpy_and_pytorch() {
    let count = compare("diffusion", |graph| if graph == "denoised" { 2e-5 } else { 2e-6 });
    assert_eq!(count, 11);
}

#[test]
fn losses_and_readings_of_denoisers_agree_with_their_formulas() {
    let count = compare("diffusion_loss", |graph| match graph {
        // Shares of 20,000 and of 40,000 draws.
        "dropped" => 0.02,
        "importance_drawn" => 0.005,
        // Estimates from a part of the terms, at one draw of noise.
        "bound_in_strides" => 0.03,
        // Noise is read from x0 where there is a hundredth of it.
        "codes" => 5e-5,
        _ => 3e-6,
    });
    assert_eq!(count, 20);
}

#[test]
fn guidance_for_an_interval_holds_inside_of_samplers() {
    assert_eq!(compare("diffusion_interval", |_| 5e-6), 3);
}

#[test]
fn importance_sampling_learns_the_losses_of_its_timesteps() {
    let dir = TempDir::new().expect("a folder");
    let (file, out) = (fixture("diffusion_loss.taper".into()), path(&dir, "run"));
    let train = taper(&["train", &file, "--out", &out, "-q"]);
    assert!(train.status.success(), "{}", text(&train.stderr));
    // Losses of 1 to 4, and a thousandth of all draws is uniform.
    let ours = run("diffusion_loss", "learned_importance", &out);
    for (k, p) in ours.iter().enumerate() {
        let expected = 0.999 * (k + 1) as f64 / 10.0 + 0.001 / 4.0;
        assert!((p - expected).abs() < 1e-5, "{ours:?}");
    }
    assert_eq!(ours.len(), 4);
}
