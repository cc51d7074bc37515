use super::*;
use proptest::prelude::*;

fn labels(low: f64, high: f64, log: bool) -> Vec<String> {
    Axis { low, high, log }.ticks().into_iter().map(|t| t.1).collect()
}

fn noise(i: usize) -> f64 {
    (crate::data::mix(i as u64) >> 40) as f64 / (1u64 << 24) as f64 - 0.5
}

#[test]
fn ticks_are_round_numbers() {
    assert_eq!(labels(0.0, 1.0, false), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    assert_eq!(labels(0.0, 10_000.0, false), ["0", "2k", "4k", "6k", "8k", "10k"]);
    assert_eq!(labels(-2.0, 3.0, false), ["−2", "−1", "0", "1", "2", "3"]);
    assert_eq!(
        labels(0.02, 50.0, true),
        ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50"]
    );
    assert_eq!(labels(0.9e-6, 2.0, true), ["10⁻⁶", "10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1", "1"]);
    assert_eq!(value_label(243.567), "243.6");
    assert_eq!(value_label(-0.000_012), "−1.2·10⁻⁵");
}

#[test]
fn a_log_axis_needs_positive_values_over_two_decades() {
    let axis = |values: &[f64]| Axis::of(values.iter().copied(), true).unwrap().log;
    assert!(axis(&[0.1, 20.0]));
    assert!(!axis(&[1.0, 50.0]));
    assert!(!axis(&[-1.0, 1000.0]));
    assert!(!Axis::of([1.0, 1e6].into_iter(), false).unwrap().log, "steps are linear");
}

#[test]
fn smoothing_neither_lags_nor_shifts() {
    let line: Vec<(f64, f64)> = (0..500).map(|i| (f64::from(i), f64::from(i) * 0.5 + 3.0)).collect();
    for (got, want) in smooth(&line, 0.9, false).iter().zip(&line).skip(100).take(300) {
        assert!((got.1 - want.1).abs() < 1e-3);
    }
    let decay: Vec<(f64, f64)> = (0..500).map(|i| (f64::from(i), (-0.05 * f64::from(i)).exp())).collect();
    for (got, want) in smooth(&decay, 0.9, true).iter().zip(&decay).skip(100).take(300) {
        assert!((got.1 / want.1 - 1.0).abs() < 1e-3);
    }
    assert!(smooth(&[(0.0, 5.0); 50], 0.9, false).iter().all(|p| (p.1 - 5.0).abs() < 1e-12));
}

#[test]
fn thinning_keeps_the_extremes_of_a_column() {
    let points: Vec<(f32, f32)> = (0..10_000).map(|i| (i as f32 / 100.0, noise(i) as f32)).collect();
    let few = thin(&points);
    assert!(few.len() <= 400);
    let top = |p: &[(f32, f32)]| p.iter().map(|p| p.1).fold(f32::MIN, f32::max);
    assert_eq!(top(&few), top(&points));
    assert_eq!((few[0], few[few.len() - 1]), (points[0], points[9999]));
}

/// Leaves its pictures in `target/plots`, to be looked at.
#[test]
fn the_picture_has_ink_in_every_panel() {
    let steps = |f: &dyn Fn(usize) -> f64| (0..3000).map(|i| (i as f64 * 4.0, f(i))).collect::<Vec<_>>();
    let mse = steps(&|i| 230.0 * (-(i as f64) / 300.0).exp() + 21.0 + noise(i) * 4.0);
    let kl = steps(&|i| 12.0 * (1.0 - (-(i as f64) / 500.0).exp()) + noise(i + 9999));
    let lr = steps(&|i| 1e-3 * (0.5 + 0.5 * (i as f64 / 3000.0 * std::f64::consts::PI).cos()));
    let grad = steps(&|i| 10f64.powf(2.0 - i as f64 / 1000.0 + noise(i) * 0.6));
    let test = mse.iter().step_by(250).map(|p| (p.0, p.1 * 1.04 + 0.6)).collect();
    let panels = [
        Panel::single("mse", mse.clone()),
        Panel::single("kl", kl),
        Panel {
            title: "loss".into(),
            x: "step".into(),
            lines: vec![
                Line { name: "train".into(), points: mse },
                Line { name: "test".into(), points: test },
            ],
        },
        Panel::single("learning rate", lr),
        Panel::single("gradient norm", grad),
    ];
    for (name, panels, smoothing) in [
        ("five", &panels[..], 0.95),
        ("one", &panels[..1], 0.0),
        ("two", &panels[3..], 0.0),
        ("none", &[], 0.0),
    ] {
        let image = plot_curves(panels, smoothing).unwrap();
        assert!(image.data.iter().any(|v| *v < 120), "{name}");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/plots");
        std::fs::create_dir_all(&folder).unwrap();
        image.write_png(&folder.join(format!("{name}.png"))).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_values_can_be_drawn(points in prop::collection::vec((any::<f64>(), any::<f64>()), 0..6)) {
        plot_curves(&[Panel::single("x", points)], 0.9).unwrap();
    }
}
