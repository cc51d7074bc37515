//! Kernels against direct sums in f64, and the promise that batch and threads change no bit.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::ops::conv_spec::ConvSpec;

/// Reproducible numbers in [-1, 1).
fn numbers(len: usize, seed: u32) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1u32 << 23) - 1.0
        })
        .collect()
}

pub(super) fn tensor(shape: &[usize], seed: u32, dtype: DType) -> Tensor {
    let data = numbers(shape.iter().product(), seed);
    Tensor::from_vec(data, shape, &Device::Cpu).and_then(|t| t.to_dtype(dtype)).expect("a tensor")
}

pub(super) fn values(t: &Tensor) -> Vec<f64> {
    let t = t.to_dtype(DType::F64).and_then(|t| t.flatten_all()).expect("values");
    t.to_vec1().expect("values")
}

fn close(found: &Tensor, expected: &[f64], tolerance: f64, what: &str) {
    let found = values(found);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * (1.0 + e.abs()), "{what}: element {i} is {f}, not {e}");
    }
}

pub(super) fn bits(t: &Tensor) -> Vec<u32> {
    let v: Vec<f32> = t.flatten_all().and_then(|t| t.to_vec1()).expect("f32");
    v.into_iter().map(f32::to_bits).collect()
}

pub(super) fn with_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool").install(f)
}

/// A direct sum over batches with broadcasting, for `[.., m, k]` and `[.., k, n]`.
fn naive_matmul(a: &Tensor, b: &Tensor, ta: bool, tb: bool) -> Vec<f64> {
    let a = if ta { a.t().expect("t") } else { a.clone() }.to_dtype(DType::F64).expect("f64");
    let b = if tb { b.t().expect("t") } else { b.clone() }.to_dtype(DType::F64).expect("f64");
    let (m, k) = (a.dim(candle_core::D::Minus2).expect("m"), a.dim(candle_core::D::Minus1).expect("k"));
    let n = b.dim(candle_core::D::Minus1).expect("n");
    let lead = a.broadcast_matmul(&b).expect("shape").dims().to_vec();
    let lead = &lead[..lead.len() - 2];
    let with = |r: usize, c: usize| [lead, &[r, c]].concat();
    let (a, b) =
        (values(&a.broadcast_as(with(m, k)).expect("a")), values(&b.broadcast_as(with(k, n)).expect("b")));
    let mut out = Vec::new();
    for p in 0..lead.iter().product::<usize>() {
        for i in 0..m {
            for j in 0..n {
                out.push((0..k).map(|l| a[(p * m + i) * k + l] * b[(p * k + l) * n + j]).sum());
            }
        }
    }
    out
}

#[test]
fn matmul_of_odd_shapes() {
    for (i, &(m, k, n)) in [
        (1, 1, 1),
        (1, 300, 1),
        (3, 7, 5),
        (8, 16, 32),
        (9, 257, 33),
        (15, 513, 31),
        (64, 3, 65),
        (33, 40, 700),
        (130, 20, 129),
        (7, 0, 3),
        (0, 4, 3),
    ]
    .iter()
    .enumerate()
    {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            for (dtype, tolerance) in [(DType::F32, 2e-5), (DType::F64, 1e-12), (DType::BF16, 3e-2)] {
                let a = tensor(&if ta { [k, m] } else { [m, k] }, i as u32, dtype);
                let b = tensor(&if tb { [n, k] } else { [k, n] }, 77 + i as u32, dtype);
                let c = matmul(&a, &b, ta, tb).expect("product");
                assert_eq!((c.dims(), c.dtype()), (&[m, n][..], dtype));
                close(
                    &c,
                    &naive_matmul(&a, &b, ta, tb),
                    tolerance,
                    &format!("{m} {k} {n} {ta} {tb} {dtype:?}"),
                );
            }
        }
    }
}

#[test]
fn matmul_broadcasts_and_takes_any_layout() {
    for (a, b) in [
        (&[2, 3, 4, 5][..], &[5, 6][..]),
        (&[2, 3, 4, 5], &[3, 5, 6]),
        (&[4, 5], &[2, 3, 5, 6]),
        (&[2, 1, 4, 5], &[1, 3, 5, 6]),
        (&[1, 4, 5], &[7, 5, 2]),
    ] {
        let (a, b) = (tensor(a, 1, DType::F32), tensor(b, 2, DType::F32));
        let expected = naive_matmul(&a, &b, false, false);
        close(&matmul(&a, &b, false, false).expect("product"), &expected, 1e-5, "broadcast");
        let turned = a.t().and_then(|t| t.contiguous()).expect("turned");
        close(&matmul(&turned, &b, true, false).expect("product"), &expected, 1e-5, "turned");
        close(
            &matmul(&turned.t().expect("view"), &b, false, false).expect("product"),
            &expected,
            1e-5,
            "view",
        );
    }
    // Slices and expanded axes.
    let a = tensor(&[6, 9, 8], 3, DType::F32).narrow(1, 2, 5).and_then(|t| t.narrow(2, 1, 4)).expect("slice");
    let b = tensor(&[1, 4, 3], 4, DType::F32).expand((6, 4, 3)).expect("expanded");
    close(
        &matmul(&a, &b, false, false).expect("product"),
        &naive_matmul(&a, &b, false, false),
        1e-5,
        "slices",
    );
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    use super::tile::{Isa, Operand, ROWS, Tile};
    let best = Isa::detect();
    let k = 37;
    let data = |len, seed| -> Vec<f32> { numbers(len, seed).into_iter().map(|v| v as f32).collect() };
    // Two panels of B, and the places of their rows.
    let (a, b) = (data(k * ROWS, 5), data(2 * k * f32::PANEL, 6));
    let places: Vec<u32> = (0..k).map(|i| (i * f32::PANEL) as u32).collect();
    let columns = 2 * f32::PANEL;
    let run = |isa: Isa, rows: usize, packed: bool, placed: bool, add: bool| {
        let lanes = isa.lanes::<f32>();
        let mut c = data(rows * columns, 7);
        for first in (0..columns).step_by(2 * lanes) {
            let vector = |v: usize| {
                let column = first + v * lanes;
                b[column / f32::PANEL * k * f32::PANEL + column % f32::PANEL..].as_ptr()
            };
            let tile = Tile {
                k,
                a: a.as_ptr(),
                a_steps: if packed { (1, rows) } else { (k, 1) },
                b: [vector(0), vector(1)],
                b_rows: if placed { places.as_ptr() } else { std::ptr::null() },
                b_step: f32::PANEL,
                vectors: 2,
                c: c[first..].as_mut_ptr(),
                c_row: columns,
                add,
            };
            // Rows that are too many for one tile are two.
            for above in (0..rows).step_by(isa.rows()) {
                let height = isa.rows().min(rows - above);
                let tile = Tile {
                    a: a[above * tile.a_steps.0..].as_ptr(),
                    c: c[above * columns + first..].as_mut_ptr(),
                    ..tile
                };
                // SAFETY: A has k · ROWS elements, B two panels of k rows, C `rows` rows of two panels.
                unsafe { f32::tile(isa, height, &tile) };
            }
        }
        c
    };
    for case in 0..ROWS * 8 {
        let (rows, packed, placed, add) = (case / 8 + 1, case & 1 == 0, case & 2 == 0, case & 4 == 0);
        let expected = run(best, rows, packed, placed, add);
        #[cfg(target_arch = "x86_64")]
        if best == Isa::Avx512 {
            let found = run(Isa::Avx2, rows, packed, placed, add);
            assert!(expected.iter().zip(&found).all(|(a, b)| a.to_bits() == b.to_bits()), "{rows} rows");
        }
        let found = run(Isa::Portable, rows, packed, placed, add);
        assert!(expected.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-4), "{rows} rows");
    }
}

#[test]
fn matmul_does_not_depend_on_batch_or_threads() {
    let (a, w) = (tensor(&[37, 5, 600], 1, DType::F32), tensor(&[70, 600], 2, DType::F32));
    let whole = with_threads(1, || matmul(&a, &w, false, true)).expect("product");
    for threads in [2, 3] {
        let again = with_threads(threads, || matmul(&a, &w, false, true)).expect("product");
        assert_eq!(bits(&whole), bits(&again), "{threads} threads");
    }
    for i in [0, 17, 36] {
        let alone = matmul(&a.narrow(0, i, 1).expect("one"), &w, false, true).expect("product");
        assert_eq!(bits(&alone), bits(&whole.narrow(0, i, 1).expect("one")), "sample {i}");
        let row = matmul(&a.narrow(0, i, 1).and_then(|t| t.narrow(1, 3, 1)).expect("row"), &w, false, true);
        let expected = whole.narrow(0, i, 1).and_then(|t| t.narrow(1, 3, 1)).expect("row");
        assert_eq!(bits(&row.expect("product")), bits(&expected), "row of sample {i}");
    }
}

/// Every combination that takes another way through the kernels: (x, weight, spec).
fn cases() -> Vec<([usize; 4], [usize; 4], ConvSpec)> {
    let spec =
        |stride: [usize; 2], padding: [(usize, usize); 2], dilation: [usize; 2], groups, k: [usize; 2]| {
            ConvSpec {
                kernel: k.to_vec(),
                stride: stride.to_vec(),
                padding: padding.to_vec(),
                dilation: dilation.to_vec(),
                groups,
            }
        };
    let none = [(0, 0), (0, 0)];
    let one = [(1, 1), (1, 1)];
    vec![
        ([1, 5, 32, 40], [5, 1, 3, 3], spec([2, 2], one, [1, 1], 5, [3, 3])),
        ([2, 4, 13, 17], [4, 1, 5, 5], spec([1, 1], [(3, 1), (2, 2)], [1, 2], 4, [5, 5])),
        ([2, 12, 14, 28], [13, 12, 3, 3], spec([1, 1], one, [1, 1], 1, [3, 3])),
        ([2, 24, 16, 16], [13, 24, 3, 3], spec([1, 1], one, [1, 1], 1, [3, 3])),
        ([1, 40, 32, 32], [7, 40, 3, 3], spec([2, 2], one, [1, 1], 1, [3, 3])),
        ([2, 20, 8, 8], [70, 10, 3, 3], spec([1, 1], [(2, 2), (2, 2)], [2, 2], 2, [3, 3])),
        ([2, 3, 9, 8], [5, 3, 3, 3], spec([1, 1], one, [1, 1], 1, [3, 3])),
        ([3, 1, 28, 28], [8, 1, 4, 4], spec([2, 2], one, [1, 1], 1, [4, 4])),
        ([2, 4, 7, 7], [6, 4, 1, 1], spec([1, 1], none, [1, 1], 1, [1, 1])),
        ([2, 4, 20, 20], [6, 4, 1, 1], spec([1, 1], none, [1, 1], 1, [1, 1])),
        ([2, 4, 7, 8], [6, 4, 1, 1], spec([2, 3], none, [1, 1], 1, [1, 1])),
        ([2, 4, 7, 9], [6, 2, 3, 2], spec([2, 1], [(0, 1), (2, 0)], [1, 2], 2, [3, 2])),
        ([1, 6, 10, 11], [6, 1, 3, 3], spec([1, 1], one, [1, 1], 6, [3, 3])),
        ([2, 3, 8, 8], [4, 3, 3, 3], spec([3, 2], [(3, 0), (0, 4)], [2, 3], 1, [3, 3])),
        ([5, 40, 4, 4], [70, 40, 3, 3], spec([1, 1], one, [1, 1], 1, [3, 3])),
        ([2, 2, 3, 600], [3, 2, 1, 5], spec([1, 2], [(0, 0), (2, 2)], [1, 1], 1, [1, 5])),
        ([9, 3, 2, 2], [4, 3, 2, 2], spec([2, 2], none, [1, 1], 1, [2, 2])),
        ([1, 2, 5, 5], [2, 2, 2, 2], spec([4, 4], none, [1, 1], 1, [2, 2])),
        ([1, 1, 30, 30], [1, 1, 5, 5], spec([1, 1], [(2, 2), (2, 2)], [1, 1], 1, [5, 5])),
    ]
}

/// The sum that defines the three convolutions, for each triple of positions it multiplies: offsets in x,
/// weight and y.
fn terms(
    xs: [usize; 4],
    ws: [usize; 4],
    ys: [usize; 4],
    s: &ConvSpec,
    mut f: impl FnMut(usize, usize, usize),
) {
    let outputs = ws[0] / s.groups;
    for n in 0..xs[0] {
        for o in 0..ws[0] {
            for c in 0..ws[1] {
                for (p, q) in (0..ys[2]).flat_map(|p| (0..ys[3]).map(move |q| (p, q))) {
                    for (i, j) in (0..ws[2]).flat_map(|i| (0..ws[3]).map(move |j| (i, j))) {
                        let y = (p * s.stride[0] + i * s.dilation[0]).wrapping_sub(s.padding[0].0);
                        let x = (q * s.stride[1] + j * s.dilation[1]).wrapping_sub(s.padding[1].0);
                        if y < xs[2] && x < xs[3] {
                            let channel = o / outputs * ws[1] + c;
                            f(
                                ((n * xs[1] + channel) * xs[2] + y) * xs[3] + x,
                                ((o * ws[1] + c) * ws[2] + i) * ws[3] + j,
                                ((n * ws[0] + o) * ys[2] + p) * ys[3] + q,
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn convolutions_and_their_adjoints() {
    for (i, (xs, ws, spec)) in cases().into_iter().enumerate() {
        for (dtype, tolerance) in [(DType::F32, 2e-5), (DType::F64, 1e-12)] {
            let (x, w) = (tensor(&xs, 3, dtype), tensor(&ws, 4, dtype));
            let y = conv(&spec, &x, &w).expect("convolution");
            let ys = dims4(&y).expect("4 axes");
            let g = tensor(&ys, 5, dtype);
            let (xv, wv, gv) = (values(&x), values(&w), values(&g));
            let (mut ye, mut xe, mut we) =
                (vec![0.0; values(&y).len()], vec![0.0; xv.len()], vec![0.0; wv.len()]);
            terms(xs, ws, ys, &spec, |x, w, y| {
                ye[y] += xv[x] * wv[w];
                xe[x] += gv[y] * wv[w];
                we[w] += gv[y] * xv[x];
            });
            close(&y, &ye, tolerance, &format!("forward, case {i}"));
            let dx = conv_transpose(&spec, &g, &w, &xs[2..]).expect("transposed");
            assert_eq!(dx.dims(), &xs);
            close(&dx, &xe, tolerance, &format!("transposed, case {i}"));
            let dw = conv_weight_grad(&spec, &x, &g).expect("weight");
            assert_eq!(dw.dims(), &ws);
            close(&dw, &we, tolerance, &format!("weight, case {i}"));
            // What other devices do gives the same.
            let window = Window2::new(&spec).expect("window");
            close(
                &device::conv(&window, &x, &w).expect("composed"),
                &ye,
                tolerance,
                &format!("composed {i}"),
            );
            let (b, r) = (tensor(&ws[..1], 6, dtype), tensor(&ys, 7, dtype));
            let (bv, rv) = (values(&b), values(&r));
            let fe: Vec<f64> =
                ye.iter().enumerate().map(|(i, y)| y + bv[i / (ys[2] * ys[3]) % ys[1]] + rv[i]).collect();
            for found in [
                conv_fused(&spec, &x, &w, Some(&b), Some(&r)),
                device::conv_fused(&window, &x, &w, Some(&b), Some(&r)),
            ] {
                close(&found.expect("fused"), &fe, tolerance, &format!("fused {i}"));
            }
            let dx = device::conv_transpose(&window, &g, &w, [xs[2], xs[3]]).expect("composed");
            close(&dx, &xe, tolerance, &format!("composed transposed {i}"));
            let dw = device::conv_weight_grad(&window, &x, &g).expect("composed");
            close(&dw, &we, tolerance, &format!("composed weight {i}"));
        }
    }
}

#[test]
fn convolutions_do_not_depend_on_batch_or_threads() {
    for (i, (xs, ws, spec)) in cases().into_iter().enumerate() {
        let xs = [11, xs[1], xs[2], xs[3]];
        let (x, w) = (tensor(&xs, 3, DType::F32), tensor(&ws, 4, DType::F32));
        let run = |threads, x: &Tensor| with_threads(threads, || conv(&spec, x, &w)).expect("convolution");
        let y = run(1, &x);
        let g = tensor(y.dims(), 5, DType::F32);
        let back = |threads, g: &Tensor| {
            with_threads(threads, || conv_transpose(&spec, g, &w, &xs[2..])).expect("adjoint")
        };
        let dx = back(1, &g);
        let weight = |threads| with_threads(threads, || conv_weight_grad(&spec, &x, &g)).expect("weight");
        let dw = weight(1);
        for threads in [2, 5] {
            assert_eq!(bits(&run(threads, &x)), bits(&y), "case {i}, {threads} threads");
            assert_eq!(bits(&back(threads, &g)), bits(&dx), "adjoint {i}, {threads} threads");
            assert_eq!(bits(&weight(threads)), bits(&dw), "weight {i}, {threads} threads");
        }
        for k in [0, 4, 10] {
            let one = |t: &Tensor| t.narrow(0, k, 1).expect("one");
            assert_eq!(bits(&run(2, &one(&x))), bits(&one(&y)), "case {i}, image {k}");
            assert_eq!(bits(&back(2, &one(&g))), bits(&one(&dx)), "adjoint {i}, image {k}");
        }
    }
}

#[test]
fn one_axis_and_half_precision() {
    let spec = ConvSpec { stride: vec![2], padding: vec![(1, 2)], ..ConvSpec::unit(&[3]) };
    let (x, w) = (tensor(&[2, 3, 11], 1, DType::F32), tensor(&[4, 3, 3], 2, DType::F32));
    let y = conv(&spec, &x, &w).expect("convolution");
    assert_eq!(y.dims(), &[2, 4, 6]);
    let padded = x.pad_with_zeros(2, 1, 2).expect("padded");
    close(&y, &values(&padded.conv1d(&w, 0, 2, 1, 1).expect("candle")), 1e-5, "conv1d");
    for dtype in [DType::BF16, DType::F16] {
        let half = |t: &Tensor| t.to_dtype(dtype).expect("half");
        let h = conv(&spec, &half(&x), &half(&w)).expect("convolution");
        assert_eq!(h.dtype(), dtype);
        close(&h, &values(&y), 4e-2, "half precision");
    }
    assert_eq!(conv_transpose(&spec, &y, &w, &[11]).expect("adjoint").dims(), x.dims());
    assert_eq!(conv_weight_grad(&spec, &x, &y).expect("weight").dims(), w.dims());
}

#[test]
fn planes_agree_with_what_other_devices_do() {
    let x = tensor(&[2, 3, 7, 10], 1, DType::F32);
    let v = tensor(&[2, 3, 7, 10], 2, DType::F32);
    for (kernel, stride, padding) in
        [([2, 2], [2, 2], [0, 0]), ([3, 3], [2, 2], [1, 1]), ([3, 2], [1, 3], [1, 0])]
    {
        let spec = PoolSpec { kernel, stride, padding };
        let y = avg_pool(&spec, &x).expect("pool");
        close(&y, &values(&device::avg_pool(&spec, &x).expect("composed")), 1e-5, "mean");
        let g = avg_pool_grad(&spec, &y, &[7, 10]).expect("adjoint");
        close(
            &g,
            &values(&device::avg_pool_grad(&spec, &y, &[7, 10]).expect("composed")),
            1e-5,
            "mean, adjoint",
        );
        let picked = max_pool_pick(&spec, &x, &v).expect("pool");
        close(&picked, &values(&device::max_pool_pick(&spec, &x, &v).expect("composed")), 0.0, "pick");
        let g = max_pool_grad(&spec, &x, &y).expect("adjoint");
        close(&g, &values(&device::max_pool_grad(&spec, &x, &y).expect("composed")), 1e-6, "pick, adjoint");
    }
    for mode in [ResizeMode::Nearest, ResizeMode::Bilinear] {
        for size in [[14, 20], [3, 5], [7, 13], [1, 1], [16, 4]] {
            let y = resize(mode, &x, &size).expect("resize");
            close(&y, &values(&device::resize(mode, &x, &size).expect("composed")), 1e-5, "resize");
            let g = resize_grad(mode, &y, &[7, 10]).expect("adjoint");
            close(
                &g,
                &values(&device::resize_grad(mode, &y, &[7, 10]).expect("composed")),
                1e-5,
                "resize, adjoint",
            );
        }
    }
}

#[test]
fn one_row_and_transposed_products() {
    // Few rows times a transposed matrix are computed the other way around: to the same bits.
    let (a, w) = (tensor(&[50, 700], 1, DType::F32), tensor(&[130, 700], 2, DType::F32));
    let whole = matmul(&a, &w, false, true).expect("product");
    for rows in [1, 2, 7, 32, 33] {
        for threads in [1, 3] {
            let few = a.narrow(0, 3, rows).expect("rows");
            let found = with_threads(threads, || matmul(&few, &w, false, true)).expect("product");
            assert_eq!(bits(&found), bits(&whole.narrow(0, 3, rows).expect("rows")), "{rows} rows");
        }
    }
    let untransposed = w.t().and_then(|t| t.contiguous()).expect("transposed");
    assert_eq!(bits(&matmul(&a, &untransposed, false, false).expect("product")), bits(&whole));
}
