//! Products and convolutions of bf16 against sums in f64 of rounded operands, on every instruction set of the machine.

use candle_core::{DType, Tensor};

use super::pair::Pair;
use super::reduced::{
    bf16_columns, bf16_columns_len, bf16_filters, bf16_filters_len, conv_bf16, matmul_bf16,
};
use super::tests::{bits, tensor, values, with_threads};
use super::tile::{Isa, Operand, ROWS, Tile};
use crate::ops::conv_spec::ConvSpec;

/// Rounded to bf16, in f64.
fn rounded(x: &Tensor) -> Tensor {
    x.to_dtype(DType::BF16).and_then(|t| t.to_dtype(DType::F64)).expect("rounded")
}

fn largest_error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (values(found), values(expected));
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    found.iter().zip(&expected).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / largest
}

#[test]
fn rounding_is_to_the_nearest_even() {
    let exact = half::bf16::from_f32;
    for bits in (0..=u32::MAX).step_by(65_521).chain([
        0x7f80_0000,
        0x7f7f_ffff,
        0x7f80_0001,
        0xffc0_0000,
        0x3f80_8000,
        1,
    ]) {
        let x = f32::from_bits(bits);
        let [found] = Pair::parts(vec![Pair::new(x, 0.0)])[..1] else { panic!("one pair") };
        assert!(
            found.to_bits() == exact(x).to_bits() || found.is_nan() && x.is_nan(),
            "{x:e} gives {found:e}"
        );
    }
}

#[test]
fn tiles_of_pairs_are_the_same_sums() {
    let k = 37;
    let number = |i: usize| (i * 7919 % 1013) as f32 / 500.0 - 1.0;
    let pair = |i: usize| Pair::new(number(2 * i), number(2 * i + 1));
    let a: Vec<Pair> = (0..ROWS * k).map(pair).collect();
    let b: Vec<Pair> = (0..2 * k * Pair::PANEL).map(|i| pair(i + 5000)).collect();
    let best = Isa::detect();
    let mut sets = vec![Isa::Portable];
    #[cfg(target_arch = "x86_64")]
    {
        if best != Isa::Portable {
            sets.push(Isa::Avx2);
        }
        if best == Isa::Avx512 {
            sets.push(Isa::Avx512);
        }
    }
    let part = |p: Pair, i: usize| f64::from(Pair::parts(vec![p])[i]);
    for isa in sets {
        let lanes = isa.lanes::<Pair>();
        for rows in 1..=isa.rows() {
            for (packed, add) in [(true, false), (false, false), (true, true)] {
                let width = 2 * lanes;
                let mut c = vec![0.5f32; rows * width];
                let a_steps = if packed { (1, rows) } else { (k, 1) };
                // Two vectors of a panel, or one of each of two panels.
                let start = |v: usize| v * lanes / Pair::PANEL * k * Pair::PANEL + v * lanes % Pair::PANEL;
                let tile = Tile {
                    k,
                    a: a.as_ptr(),
                    a_steps,
                    b: [b.as_ptr(), b[start(1)..].as_ptr()],
                    b_rows: std::ptr::null(),
                    b_step: Pair::PANEL,
                    vectors: 2,
                    c: c.as_mut_ptr(),
                    c_row: width,
                    add,
                };
                // SAFETY: a, b and c have room for it; the instruction set is the machine's or a lesser one.
                unsafe { Pair::tile(isa, rows, &tile) };
                for (i, found) in c.iter().enumerate() {
                    let (r, j) = (i / width, i % width);
                    let term = |l: usize| {
                        let x = a[r * a_steps.0 + l * a_steps.1];
                        let y = b[start(j / lanes) + l * Pair::PANEL + j % lanes];
                        part(x, 0) * part(y, 0) + part(x, 1) * part(y, 1)
                    };
                    let expected = (0..k).map(term).sum::<f64>() + if add { 0.5 } else { 0.0 };
                    assert!(
                        (f64::from(*found) - expected).abs() < 2e-5,
                        "{isa:?}, {rows} rows, packed {packed}: {found} at ({r}, {j}) should be {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn convolutions_of_rounded_operands() {
    let pad = |p: usize| vec![(p, p), (p, p)];
    let unit = |k: usize| ConvSpec::unit(&[k, k]);
    for (i, (xs, o, spec)) in [
        // Whole vectors of the strip, ragged ones, packed runs.
        ([2, 40, 16, 16], 36, ConvSpec { padding: pad(1), ..unit(3) }),
        ([2, 33, 17, 30], 20, ConvSpec { padding: pad(1), ..unit(3) }),
        ([3, 5, 7, 7], 7, ConvSpec { padding: vec![(0, 1), (2, 0)], ..unit(3) }),
        // More than a block of the depth.
        ([1, 300, 16, 16], 24, ConvSpec { padding: pad(1), ..unit(3) }),
        // Pixels in place, several blocks; strided; dilated; one channel.
        ([2, 700, 16, 16], 33, unit(1)),
        ([2, 7, 5, 6], 9, unit(1)),
        ([2, 12, 32, 32], 16, ConvSpec { padding: pad(1), stride: vec![2, 2], ..unit(3) }),
        ([1, 6, 20, 20], 8, ConvSpec { padding: pad(2), dilation: vec![2, 2], ..unit(3) }),
        ([4, 1, 28, 28], 32, ConvSpec { padding: pad(1), ..unit(3) }),
    ]
    .into_iter()
    .enumerate()
    {
        let (x, w) =
            (tensor(&xs, 3, DType::F32), tensor(&[o, xs[1], spec.kernel[0], spec.kernel[1]], 4, DType::F32));
        let direct = super::conv(&spec, &rounded(&x), &rounded(&w)).expect("convolution");
        let ys = super::dims4(&direct).expect("4 axes");
        let (b, r) = (tensor(&[o], 6, DType::F32), tensor(&ys, 7, DType::F32));
        let wide = |t: &Tensor| t.to_dtype(DType::F64).expect("f64");
        let expected = direct
            .broadcast_add(&wide(&b).reshape((1, o, 1, 1)).expect("a bias"))
            .and_then(|y| y + wide(&r))
            .expect("sums");
        let weights = bf16_filters(&w).expect("weights");
        assert_eq!(weights.dims(), [bf16_filters_len(o, xs[1], spec.kernel.iter().product())]);
        let run = |threads, x: &Tensor, r: &Tensor| {
            with_threads(threads, || conv_bf16(&spec, o, x, &weights, Some(&b), Some(r)))
                .expect("a convolution")
        };
        let y = run(1, &x, &r);
        let error = largest_error(&y, &expected);
        assert!(error < 3e-6, "case {i}: {error:e}");
        // Neither threads nor the batch change a bit.
        assert_eq!(bits(&run(3, &x, &r)), bits(&y), "case {i}, 3 threads");
        for k in 0..xs[0] {
            let one = |t: &Tensor| t.narrow(0, k, 1).and_then(|t| t.contiguous()).expect("one");
            assert_eq!(bits(&run(2, &one(&x), &one(&r))), bits(&one(&y)), "case {i}, image {k}");
        }
    }
}

#[test]
fn products_of_rounded_operands() {
    for (i, (lead, k, n)) in [
        (vec![1], 8, 16),
        (vec![3], 1, 1),
        (vec![2, 5], 33, 17),
        (vec![2, 100], 256, 300),
        (vec![4], 1500, 70),
        (vec![400], 700, 40),
    ]
    .into_iter()
    .enumerate()
    {
        let x = tensor(&[lead.clone(), vec![k]].concat(), 11, DType::F32);
        for transposed in [false, true] {
            let w = tensor(&if transposed { [n, k] } else { [k, n] }, 12, DType::F32);
            let expected = super::matmul(&rounded(&x), &rounded(&w), false, transposed).expect("a product");
            let weights = bf16_columns(&w, transposed).expect("weights");
            assert_eq!(weights.dims(), [bf16_columns_len(k, n)]);
            let run = |threads, x: &Tensor| {
                with_threads(threads, || matmul_bf16(x, &weights, n)).expect("a product")
            };
            let y = run(1, &x);
            let error = largest_error(&y, &expected);
            assert!(error < 3e-6, "case {i}, transposed {transposed}: {error:e}");
            assert_eq!(bits(&run(3, &x)), bits(&y), "case {i}");
            let first = |t: &Tensor| t.narrow(0, 0, 1).and_then(|t| t.contiguous()).expect("one");
            assert_eq!(bits(&run(2, &first(&x))), bits(&first(&y)), "case {i}, a part");
        }
    }
}
