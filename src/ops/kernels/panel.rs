//! Products of a matrix where it lies with one panel, without packing rows: what attention is made of.

use super::tile::{Isa, Real, Tile};

/// Columns of a panel that fills the registers of a tile: two vectors of this machine.
pub(super) fn wide<T: Real>() -> usize {
    2 * Isa::detect().lanes::<T>()
}

/// `c (+)= a · b`: a is `rows` × `k` at these steps between rows and columns, b a panel of `k` rows of `width`
/// elements (`T::PANEL` or [`wide`]), c `rows` rows of `width` elements that lie `c_row` apart. Every element is a chain
/// of fused multiply-adds over `k`, in order.
pub(super) fn multiply_panel<T: Real>(
    (rows, k): (usize, usize),
    a: &[T],
    a_steps: (usize, usize),
    (b, width): (&[T], usize),
    c: &mut [T],
    c_row: usize,
    add: bool,
) {
    if rows == 0 || k == 0 {
        if !add {
            (0..rows).for_each(|i| c[i * c_row..][..width].fill(T::ZERO));
        }
        return;
    }
    let isa = Isa::detect();
    // A panel is one vector or two, side by side.
    let lanes = isa.lanes::<T>();
    let vectors = width / lanes;
    // Checked once here, so that the kernels need not.
    assert!(matches!(vectors, 1 | 2) && vectors * lanes == width);
    assert!((rows - 1) * a_steps.0 + (k - 1) * a_steps.1 < a.len());
    assert!(b.len() >= k * width);
    assert!(c.len() >= (rows - 1) * c_row + width);
    let panel = [b.as_ptr(), b[(vectors - 1) * lanes..].as_ptr()];
    let mut i = 0;
    while i < rows {
        let height = (rows - i).min(isa.rows());
        let tile = Tile {
            k,
            a: a[i * a_steps.0..].as_ptr(),
            a_steps,
            b: panel,
            b_rows: std::ptr::null(),
            b_step: width,
            vectors,
            c: c[i * c_row..].as_mut_ptr(),
            c_row,
            add,
        };
        // SAFETY: `isa` was detected; by the assertions above the rows i .. i + height of a and c and the
        // rows 0 .. k of b are there, and c is borrowed by this function.
        unsafe { T::tile(isa, height, &tile) };
        i += height;
    }
}
