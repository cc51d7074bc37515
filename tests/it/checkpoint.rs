//! `checkpoint`: the same gradients to the bit in less memory.

use std::collections::HashMap;

use taper::data::{Array, ArrayData};
use taper::graph::Graph;
use taper::plan::Plan;
use taper::run::{Device, RunOptions, Silent, Tensor, execute, from_array, to_array};
use taper::source::MemorySources;

/// A chain of residual layers with a gate that two inputs feed, a constant beside and noise; `LAYER` is how
/// one is called.
const TEXT: &str = r#"
use std.data.fashion_mnist
use std.nn.{LayerNorm, Linear}
use std.optim.adam

block Residual(width: int) {
  norm = LayerNorm()
  inner = Linear(2 * width) -> silu
  outer = Linear(width)

  graph (x: [n, width], t: [n, width]) -> (h: [n, width], t: [n, width]) {
    h = x -> norm -> inner -> outer
    h = h * bernoulli(0.9, like = h) + x
    h * sigmoid(t), t + 0.1 * tanh(h)
  }
}

pipeline Demo() {
  first = Linear(64)
  layers = [FIELD for _ in range(6)]
  last = Linear(64)

  train (steps = 10, batch = 512) {
    x = flatten(fashion_mnist("train").image)[:, :64]
    h = x -> first
    t = h
    for layer in layers {
      h, t = (h, t) -> LAYER
    }
    minimize mean((last(h + t) - x)^2, axis = 1) with adam(lr = 1e-4)
  }
}
"#;

fn graph(field: &str, layer: &str) -> Graph {
    let text = TEXT.replace("FIELD", field).replace("LAYER", layer);
    let checked = taper::check(&MemorySources::single("p.taper", &text), "p.taper", &Default::default());
    assert!(!checked.has_errors(), "{}", checked.render());
    checked.program.expect("a clean file").trains.remove(0).graph
}

/// A value for every input and weight, from its name and type alone.
fn value(name: &str, shape: &[usize], bytes: bool) -> Tensor {
    let n: usize = shape.iter().product();
    let data = match (bytes, name.starts_with("optimizer.")) {
        (true, _) => ArrayData::U8((0..n).map(|i| (i * 7 % 256) as u8).collect()),
        (_, true) => ArrayData::F32(vec![0.0; n]),
        _ => ArrayData::F32((0..n).map(|i| ((i + name.len()) as f32 * 0.7).sin() * 0.1).collect()),
    };
    from_array(&Array::new(shape.to_vec(), data).expect("as many values"), &Device::Cpu).expect("a tensor")
}

fn updates(graph: &Graph) -> Vec<(String, Vec<u32>)> {
    let mut inputs = HashMap::new();
    for input in graph.inputs() {
        let shape = input.ty.constant_shape().expect("a training step is closed");
        let tensor = match input.name.as_str() {
            "step" => value("step", &[], false),
            name if name.ends_with("label") => {
                let labels = ArrayData::I64(vec![0; shape[0]]);
                from_array(&Array::new(shape, labels).expect("labels"), &Device::Cpu).expect("a tensor")
            }
            name => value(name, &shape, true),
        };
        inputs.insert(input.name.clone(), tensor);
    }
    let weights: HashMap<String, Tensor> = graph
        .parameters()
        .map(|p| (p.path.clone(), value(&p.path, &p.ty.constant_shape().expect("closed"), false)))
        .collect();
    let params = |path: &str| weights.get(path).cloned();
    let out = execute(graph, &inputs, &params, &RunOptions::default(), &mut Silent).expect("a run");
    let bits = |t: &Tensor| match to_array(t).expect("an array").data {
        ArrayData::F32(v) => v.iter().map(|x| x.to_bits()).collect(),
        other => panic!("{other:?}"),
    };
    out.updates.iter().map(|(n, t)| (n.clone(), bits(t))).collect()
}

#[test]
fn gradients_keep_their_bits_and_memory_falls() {
    let options = taper::optimize::Options::default();
    let plain = graph("Residual(64)", "layer");
    let want = updates(&plain);
    assert!(want.iter().filter(|(n, _)| n.starts_with("layers.5.")).count() >= 5, "the weights have paths");
    let peak = |g: &Graph| Plan::new(&taper::optimize::optimize(g, &options)).summary.peak_bytes;
    for (field, layer) in [("Residual(64)", "checkpoint(layer)"), ("checkpoint(Residual(64))", "layer")] {
        let spared = graph(field, layer);
        assert_eq!(updates(&spared), want, "not optimized, {layer}");
        let (before, after) =
            (taper::optimize::optimize(&plain, &options), taper::optimize::optimize(&spared, &options));
        assert_eq!(updates(&after), updates(&before), "optimized, {layer}");
        let (held, saved) = (peak(&plain), peak(&spared));
        assert!((saved as f64) < 0.6 * held as f64, "{saved} of {held} bytes");
    }
}

#[test]
fn checkpoint_takes_what_can_be_called() {
    let checked = |body: &str| {
        let text = format!("pipeline P {{ graph run(x: [n, 4]) -> [n, 4] {{ {body} }} }}");
        taper::check(&MemorySources::single("p.taper", text), "p.taper", &Default::default())
    };
    for good in [
        "x -> checkpoint(tanh)",
        "checkpoint(tanh)(x)",
        "x -> (checkpoint(fn (h) = h * h) -> sin)",
        "f = tanh -> checkpoint(exp) -> sin\nx -> f",
        "grad(sum(x -> checkpoint(fn (h) = exp(h) * h), axis = 1), x)",
    ] {
        let c = checked(good);
        assert!(!c.has_errors(), "{good}: {}", c.render());
    }
    let c = checked("x -> checkpoint(3)");
    assert!(c.has_errors() && c.render().contains("takes a function or a block"), "{}", c.render());
}
