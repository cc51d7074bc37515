//! `--dtype bf16`: what it costs in accuracy on weights that were trained, and that a batch changes nothing.

use taper::data::{Array, ArrayData};
use taper::optimize::Options;
use taper::run::Silent;
use taper::{CheckOptions, Given, RunSettings, Session};

use crate::fences::{Disk, device, root};

/// The noise that ddpm's network sees in these images.
fn denoise(bf16: bool, x: &[f32], t: &[f32]) -> Vec<f32> {
    let file = root().join("pipelines/ddpm.taper");
    let program = taper::check(&Disk, &file.display().to_string(), &CheckOptions::default()).program;
    let passes = Options { bf16, ..Options::default() };
    let settings = RunSettings { device: device(), passes, ..RunSettings::default() };
    let mut session = Session::open(program.expect("a pipeline"), &settings).expect("a device");
    session.load_weights(None, &file).expect("weights");
    let entry = session.program().entries.iter().find(|e| e.name == "denoise").expect("a graph").clone();
    let array =
        |shape: Vec<usize>, v: &[f32]| Array::new(shape, ArrayData::F32(v.to_vec())).expect("an array");
    let arrays =
        vec![("x".into(), array(vec![t.len(), 1, 28, 28], x)), ("t".into(), array(vec![t.len()], t))];
    let given = Given { arrays, ..Given::default() };
    let result = session.run(&entry, given, &mut Silent).unwrap_or_else(|_| panic!("a run"));
    match &result.outputs[0].1.data {
        ArrayData::F32(v) => v.clone(),
        other => panic!("f32, not {other:?}"),
    }
}

#[test]
fn bf16_is_near_f32_and_the_same_in_any_batch() {
    let t = [999.0, 700.0, 400.0, 100.0, 0.0];
    let number = |i: usize| (taper::data::mix(i as u64) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let x: Vec<f32> = (0..t.len() * 784).map(|i| 1.7 * number(i)).collect();
    let (exact, reduced) = (denoise(false, &x, &t), denoise(true, &x, &t));
    let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|d| f64::from(d * d)).sum::<f64>().sqrt();
    let error = norm(&mut exact.iter().zip(&reduced).map(|(a, b)| a - b)) / norm(&mut exact.iter().copied());
    assert!(error > 1e-5, "nothing was computed in bf16");
    assert!(error < 0.02, "bf16 is {error:.4} away from f32");
    for (k, t) in t.iter().enumerate() {
        let alone = denoise(true, &x[k * 784..][..784], &[*t]);
        assert!(alone == reduced[k * 784..][..784], "image {k} alone");
    }
}
