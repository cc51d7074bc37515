//! Pooling and resizing: each plane (a channel of an image) by itself.

use rayon::prelude::*;

use super::cpu::{Element, Kernel};
use super::tile::Real;
use super::{Between, axis_map};
use crate::ops::avg_pool::PoolSpec;
use crate::ops::resize::ResizeMode;

/// Elements below which a task is not worth a thread.
const GRAIN: usize = 4096;

/// Runs `f` for each plane of the output with the planes of the inputs.
fn each_plane<T: Real>(
    inputs: [(&[T], usize); 2],
    out: &mut [T],
    plane: usize,
    f: impl Fn([&[T]; 2], &mut [T]) + Sync,
) {
    if plane == 0 {
        return;
    }
    let largest = plane.max(inputs[0].1);
    out.par_chunks_mut(plane).with_min_len((GRAIN / largest).max(1)).enumerate().for_each(|(p, out)| {
        f(inputs.map(|(data, size)| &data[p * size..][..size]), out);
    });
}

/// The windows of a plane: for each, its number and the ranges of rows and columns within the plane.
fn windows(
    spec: &PoolSpec,
    from: [usize; 2],
    to: [usize; 2],
) -> impl Iterator<Item = (usize, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let range = move |axis: usize, i: usize, spec: &PoolSpec| {
        let start = i * spec.stride[axis];
        let end = (start + spec.kernel[axis]).saturating_sub(spec.padding[axis]).min(from[axis]);
        start.saturating_sub(spec.padding[axis]).min(end)..end
    };
    let spec = *spec;
    (0..to[0] * to[1]).map(move |w| (w, range(0, w / to[1], &spec), range(1, w % to[1], &spec)))
}

/// The index of the largest element of a window. The first of equal ones; a NaN wins.
fn largest<T: Real>(
    x: &[T],
    width: usize,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
) -> Option<usize> {
    let mut best: Option<(usize, T)> = None;
    for at in rows.flat_map(|i| columns.clone().map(move |j| i * width + j)) {
        #[allow(clippy::eq_op)] // Only a NaN differs from itself.
        if best.is_none_or(|(_, top)| x[at] > top || x[at] != x[at]) {
            best = Some((at, x[at]));
        }
    }
    best.map(|(at, _)| at)
}

/// What a plane is pooled to or from.
pub(super) enum PoolPart {
    /// x to means.
    Mean,
    /// Means to x.
    MeanGrad,
    /// (x, v) to the elements of v where x is largest.
    Pick,
    /// (x, y) to x, with y added where x is largest.
    MaxGrad,
}

/// Pooling between planes of `large` and planes of `small`.
pub(super) struct Pool {
    pub spec: PoolSpec,
    pub part: PoolPart,
    pub large: [usize; 2],
    pub small: [usize; 2],
}

impl Kernel for Pool {
    fn run<T: Element>(&self, inputs: &[&[T]], out: &mut [T]) {
        let (large, small) = (self.large[0] * self.large[1], self.small[0] * self.small[1]);
        let width = self.large[1];
        let windows = || windows(&self.spec, self.large, self.small);
        let share = T::nearest(1.0 / self.spec.area());
        match self.part {
            PoolPart::Mean => each_plane([(inputs[0], large), (&[], 0)], out, small, |[x, _], y| {
                for (w, rows, columns) in windows() {
                    let mut sum = T::ZERO;
                    for i in rows {
                        x[i * width..][columns.clone()].iter().for_each(|v| sum += *v);
                    }
                    y[w] = sum * share;
                }
            }),
            PoolPart::MeanGrad => each_plane([(inputs[0], small), (&[], 0)], out, large, |[y, _], x| {
                for (w, rows, columns) in windows() {
                    for i in rows {
                        x[i * width..][columns.clone()].iter_mut().for_each(|v| *v += y[w] * share);
                    }
                }
            }),
            PoolPart::Pick => {
                each_plane([(inputs[0], large), (inputs[1], large)], out, small, |[x, v], y| {
                    for (w, rows, columns) in windows() {
                        if let Some(at) = largest(x, width, rows, columns) {
                            y[w] = v[at];
                        }
                    }
                })
            }
            PoolPart::MaxGrad => {
                each_plane([(inputs[0], large), (inputs[1], small)], out, large, |[x, y], g| {
                    for (w, rows, columns) in windows() {
                        if let Some(at) = largest(x, width, rows, columns) {
                            g[at] += y[w];
                        }
                    }
                })
            }
        }
    }
}

/// Resizing of planes, or its adjoint.
pub(super) struct Resizing {
    pub mode: ResizeMode,
    pub adjoint: bool,
    /// The planes' size before resizing.
    pub before: [usize; 2],
    /// And after.
    pub after: [usize; 2],
}

impl Kernel for Resizing {
    fn run<T: Element>(&self, inputs: &[&[T]], out: &mut [T]) {
        let (before, after) = (self.before[0] * self.before[1], self.after[0] * self.after[1]);
        let map = |axis: usize| -> Vec<(Between, T)> {
            let map = axis_map(self.mode, self.before[axis], self.after[axis]);
            map.into_iter().map(|b| (b, T::nearest(b.weight))).collect()
        };
        let (rows, columns) = (map(0), map(1));
        let (from, to) = (self.before[1], self.after[1]);
        let one = T::nearest(1.0);
        let minus = T::nearest(-1.0);
        match (self.mode, self.adjoint) {
            (ResizeMode::Nearest, false) => {
                each_plane([(inputs[0], before), (&[], 0)], out, after, |[x, _], y| {
                    for ((row, _), y) in rows.iter().zip(y.chunks_exact_mut(to)) {
                        let x = &x[row.low * from..][..from];
                        y.iter_mut().zip(&columns).for_each(|(y, (column, _))| *y = x[column.low]);
                    }
                })
            }
            (ResizeMode::Nearest, true) => {
                each_plane([(inputs[0], after), (&[], 0)], out, before, |[y, _], x| {
                    for ((row, _), y) in rows.iter().zip(y.chunks_exact(to)) {
                        let x = &mut x[row.low * from..][..from];
                        y.iter().zip(&columns).for_each(|(y, (column, _))| x[column.low] += *y);
                    }
                })
            }
            (ResizeMode::Bilinear, false) => {
                each_plane([(inputs[0], before), (&[], 0)], out, after, |[x, _], y| {
                    for ((row, down), y) in rows.iter().zip(y.chunks_exact_mut(to)) {
                        let (top, bottom) = (&x[row.low * from..][..from], &x[row.high * from..][..from]);
                        for (y, (column, right)) in y.iter_mut().zip(&columns) {
                            let along =
                                |r: &[T]| r[column.low] * (one + *right * minus) + r[column.high] * *right;
                            *y = along(top) * (one + *down * minus) + along(bottom) * *down;
                        }
                    }
                })
            }
            (ResizeMode::Bilinear, true) => {
                each_plane([(inputs[0], after), (&[], 0)], out, before, |[y, _], x| {
                    for ((row, down), y) in rows.iter().zip(y.chunks_exact(to)) {
                        for (y, (column, right)) in y.iter().zip(&columns) {
                            for (i, weight) in [(row.low, one + *down * minus), (row.high, *down)] {
                                x[i * from + column.low] += *y * weight * (one + *right * minus);
                                x[i * from + column.high] += *y * weight * *right;
                            }
                        }
                    }
                })
            }
        }
    }
}
