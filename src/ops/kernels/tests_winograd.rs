//! Minimal filtering against direct sums in f64.

use candle_core::{DType, Tensor};

use super::tests::{bits, tensor, values, with_threads};
use super::*;
use crate::ops::conv_spec::ConvSpec;

#[test]
fn minimal_filtering_is_a_convolution() {
    let spec =
        |padding: [(usize, usize); 2]| ConvSpec { padding: padding.to_vec(), ..ConvSpec::unit(&[3, 3]) };
    let one = [(1, 1), (1, 1)];
    for (i, (xs, o, padding)) in [
        ([2, 40, 16, 16], 36, one),
        ([3, 33, 17, 19], 32, one),
        ([1, 32, 32, 32], 50, one),
        ([3, 32, 20, 23], 35, [(0, 2), (1, 0)]),
        ([2, 300, 16, 20], 32, one),
        ([5, 34, 7, 7], 33, one),
        ([3, 64, 14, 14], 64, one),
    ]
    .into_iter()
    .enumerate()
    {
        let spec = spec(padding);
        let (x, w) = (tensor(&xs, 3, DType::F32), tensor(&[o, xs[1], 3, 3], 4, DType::F32));
        let direct = {
            let wide = |t: &Tensor| t.to_dtype(DType::F64).expect("f64");
            conv(&spec, &wide(&x), &wide(&w)).expect("convolution")
        };
        let ys = dims4(&direct).expect("4 axes");
        assert!(winograd_applies(&spec, xs[1], o, [ys[2], ys[3]]), "case {i}");
        let (b, r) = (tensor(&[o], 6, DType::F32), tensor(&ys, 7, DType::F32));
        let (bv, rv) = (values(&b), values(&r));
        let expected: Vec<f64> = values(&direct)
            .iter()
            .enumerate()
            .map(|(k, y)| y + bv[k / (ys[2] * ys[3]) % o] + rv[k])
            .collect();
        let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let run = |threads, x: &Tensor, r: &Tensor| {
            let evaluate = || {
                let weights = winograd_weights(&w, false)?;
                conv_winograd(&spec, o, x, &weights, Some(&b), Some(r))
            };
            with_threads(threads, evaluate).expect("minimal filtering")
        };
        let y = run(1, &x, &r);
        let error = values(&y).iter().zip(&expected).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / largest;
        assert!(error < 2e-5, "case {i}: {error:e}");
        // What other devices do.
        let (y2, error2) = {
            let weights = winograd_run::composed_weights(
                &w,
                false,
                winograd_weights(&w, false).expect("shape").dims2().expect("2 axes").into(),
            );
            let window = Window2::new(&spec).expect("window");
            let weights = weights.expect("composed");
            let y = winograd_run::composed(&window, o, [ys[2], ys[3]], &x, &weights, Some(&b), Some(&r));
            let y = y.expect("composed");
            let error = values(&y).iter().zip(&expected).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
            (y, error / largest)
        };
        assert_eq!(y2.dims(), y.dims());
        assert!(error2 < 3e-5, "case {i}, composed: {error2:e}");
        // Neither threads nor the batch change a bit.
        for threads in [2, 3] {
            assert_eq!(bits(&run(threads, &x, &r)), bits(&y), "case {i}, {threads} threads");
        }
        for k in 0..xs[0] {
            let one = |t: &Tensor| t.narrow(0, k, 1).and_then(|t| t.contiguous()).expect("one");
            assert_eq!(bits(&run(2, &one(&x), &one(&r))), bits(&one(&y)), "case {i}, image {k}");
        }
    }
    // Small images with many channels, few channels and other windows are summed directly.
    let unit = spec(one);
    assert!(winograd_applies(&unit, 64, 128, [7, 7]));
    assert!(!winograd_applies(&unit, 256, 256, [8, 8]) && !winograd_applies(&unit, 3, 128, [32, 32]));
    assert!(!winograd_applies(&unit, 128, 128, [17, 17]));
    assert!(!winograd_applies(&ConvSpec { stride: vec![2, 2], ..unit.clone() }, 128, 128, [32, 32]));
    assert!(!winograd_applies(&ConvSpec { groups: 2, ..unit }, 128, 128, [32, 32]));
}

/// The gradient of a convolution's images is a convolution by turned weights, which minimal filtering computes.
#[test]
fn minimal_filtering_is_a_transposed_convolution() {
    for (channels, outputs, size, padding) in [
        (40, 36, [16, 16], [(1, 1), (1, 1)]),
        (33, 32, [18, 20], [(0, 2), (1, 0)]),
        (32, 64, [7, 7], [(1, 1); 2]),
    ] {
        let spec = ConvSpec { padding: padding.to_vec(), ..ConvSpec::unit(&[3, 3]) };
        let turned = ConvSpec {
            padding: padding.iter().map(|(a, b)| (2 - a, 2 - b)).collect(),
            ..ConvSpec::unit(&[3, 3])
        };
        let window = Window2::new(&turned).expect("window");
        let out = [0, 1].map(|axis| window.windows(axis, size[axis]));
        let y = tensor(&[2, channels, size[0], size[1]], 3, DType::F32);
        let w = tensor(&[channels, outputs, 3, 3], 4, DType::F32);
        let wide = |t: &Tensor| t.to_dtype(DType::F64).expect("f64");
        let direct = conv_transpose(&spec, &wide(&y), &wide(&w), &out).expect("transposed convolution");
        let expected = values(&direct);
        let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let weights = winograd_weights(&w, true).expect("transformed");
        let ours = conv_winograd(&turned, outputs, &y, &weights, None, None).expect("minimal filtering");
        assert_eq!(ours.dims(), direct.dims());
        let composed = winograd_run::composed_weights(&w, true, weights.dims2().expect("2 axes").into())
            .expect("composed");
        let composed =
            winograd_run::composed(&window, outputs, out, &y, &composed, None, None).expect("composed");
        for got in [ours, composed] {
            let error = values(&got).iter().zip(&expected).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
            assert!(error / largest < 3e-5, "{channels} {outputs} {size:?}: {:e}", error / largest);
        }
    }
}
