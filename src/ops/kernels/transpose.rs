//! Transposed copies: blocks of 8 × 8 in registers where the machine has AVX2, element by element elsewhere.

/// Rows and columns of a block.
#[cfg(target_arch = "x86_64")]
const BLOCK: usize = 8;

/// `to[j · to_row + i] = from[i · from_row + j]` for `rows` × `columns` elements of `from`.
pub(super) fn transpose<T: Copy>(
    (from, from_row): (&[T], usize),
    (rows, columns): (usize, usize),
    (to, to_row): (&mut [T], usize),
) {
    if rows == 0 || columns == 0 {
        return;
    }
    // Checked once here, so that the blocks need not.
    assert!(from.len() >= (rows - 1) * from_row + columns && to.len() >= (columns - 1) * to_row + rows);
    #[cfg(target_arch = "x86_64")]
    let (high, wide) = match size_of::<T>() == size_of::<f32>() && std::is_x86_feature_detected!("avx2") {
        true => (rows - rows % BLOCK, columns - columns % BLOCK),
        false => (0, 0),
    };
    #[cfg(not(target_arch = "x86_64"))]
    let (high, wide) = (0, 0);
    #[cfg(target_arch = "x86_64")]
    if high * wide > 0 {
        // SAFETY: AVX2 was detected, elements have the size of f32, and by the assertion they lie at these steps.
        unsafe { blocks((from.as_ptr().cast(), from_row), (high, wide), (to.as_mut_ptr().cast(), to_row)) };
    }
    for i in 0..rows {
        let line = &from[i * from_row..][..columns];
        let first = if i < high { wide } else { 0 };
        for (j, x) in line.iter().enumerate().skip(first) {
            to[j * to_row + i] = *x;
        }
    }
}

/// All blocks of `rows` × `columns` elements.
///
/// # Safety
/// The machine has AVX2; both are multiples of [`BLOCK`], and the elements lie at these steps.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn blocks(
    (from, from_row): (*const f32, usize),
    (rows, columns): (usize, usize),
    (to, to_row): (*mut f32, usize),
) {
    for j in (0..columns).step_by(BLOCK) {
        for i in (0..rows).step_by(BLOCK) {
            // SAFETY: as the caller says; the block lies within both.
            unsafe { block(from.add(i * from_row + j), from_row, to.add(j * to_row + i), to_row) };
        }
    }
}

/// One block.
///
/// # Safety
/// The machine has AVX2; eight rows of eight elements lie at these steps in both.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn block(from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller says that the elements are there.
    unsafe {
        let row = |i: usize| _mm256_loadu_ps(from.add(i * from_row));
        let pairs = |i: usize| {
            let (a, b) = (row(i), row(i + 1));
            (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b))
        };
        let fours = |i: usize| {
            let ((al, ah), (bl, bh)) = (pairs(i), pairs(i + 2));
            [
                _mm256_shuffle_ps::<0x44>(al, bl),
                _mm256_shuffle_ps::<0xEE>(al, bl),
                _mm256_shuffle_ps::<0x44>(ah, bh),
                _mm256_shuffle_ps::<0xEE>(ah, bh),
            ]
        };
        let (top, bottom) = (fours(0), fours(4));
        for j in 0..4 {
            let low = _mm256_permute2f128_ps::<0x20>(top[j], bottom[j]);
            let high = _mm256_permute2f128_ps::<0x31>(top[j], bottom[j]);
            _mm256_storeu_ps(to.add(j * to_row), low);
            _mm256_storeu_ps(to.add((j + 4) * to_row), high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Copy + PartialEq + std::fmt::Debug + Default>(of: impl Fn(usize) -> T) {
        for (rows, columns) in [(1, 1), (8, 8), (16, 40), (13, 21), (32, 7), (7, 32)] {
            let (from_row, to_row) = (columns + 3, rows + 5);
            let from: Vec<T> = (0..rows * from_row).map(&of).collect();
            let mut to = vec![T::default(); columns * to_row];
            transpose((&from, from_row), (rows, columns), (&mut to, to_row));
            for (j, line) in to.chunks_exact(to_row).enumerate() {
                let want: Vec<T> = (0..rows).map(|i| from[i * from_row + j]).collect();
                assert_eq!(line[..rows], want, "column {j} of {rows} x {columns}");
                assert!(line[rows..].iter().all(|x| *x == T::default()), "written beside");
            }
        }
    }

    #[test]
    fn rows_become_columns() {
        check(|i| i as f32);
        check(|i| i as f64);
    }
}
