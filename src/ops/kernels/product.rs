//! Batches of matrix products over tensors of any layout.

use std::mem::MaybeUninit;

use candle_core::{DType, Result, Tensor};

use super::cpu::{Element, Kernel, apply, written};
use super::gemm::{Matrix, Product, products};

/// How the matrices of an operand lie: strides of the leading axes (0 where broadcast), of rows and columns.
struct Layout {
    lead: Vec<usize>,
    row: usize,
    column: usize,
}

struct Products {
    lead: Vec<usize>,
    size: (usize, usize, usize),
    a: Layout,
    b: Layout,
}

impl Kernel for Products {
    fn run<T: Element>(&self, inputs: &[&[T]], out: &mut [T]) {
        self.run_fresh(inputs, written(out));
    }

    fn run_fresh<T: Element>(&self, inputs: &[&[T]], out: &mut [MaybeUninit<T>]) {
        let (m, k, n) = self.size;
        let count: usize = self.lead.iter().product();
        if count * m * n == 0 {
            return;
        }
        let matrix = |layout: &Layout, data, offset: usize| -> Matrix<'_, T> {
            let data: &[T] = data;
            Matrix { data: data.get(offset..).unwrap_or_default(), row: layout.row, column: layout.column }
        };
        // The same B for all, and the rows of the As at one step: a single tall product.
        if self.b.lead.iter().all(|s| *s == 0) && self.tall() {
            let p = Product { a: matrix(&self.a, inputs[0], 0), b: matrix(&self.b, inputs[1], 0) };
            return products((count * m, k, n), &[p], out);
        }
        let offset = |strides: &[usize], mut index: usize| -> usize {
            let mut at = 0;
            for (size, stride) in self.lead.iter().zip(strides).rev() {
                at += index % size * stride;
                index /= size;
            }
            at
        };
        let all: Vec<Product<'_, T>> = (0..count)
            .map(|i| Product {
                a: matrix(&self.a, inputs[0], offset(&self.a.lead, i)),
                b: matrix(&self.b, inputs[1], offset(&self.b.lead, i)),
            })
            .collect();
        products(self.size, &all, out);
    }
}

impl Products {
    fn tall(&self) -> bool {
        let mut step = self.a.row * self.size.0;
        for (size, stride) in self.lead.iter().zip(&self.a.lead).rev() {
            if *size != 1 && *stride != step {
                return false;
            }
            step *= size;
        }
        true
    }
}

fn layout(x: &Tensor, lead: &[usize], transposed: bool) -> Layout {
    let (dims, strides) = (x.dims(), x.stride());
    let own = dims.len() - 2;
    let (row, column) =
        if transposed { (strides[own + 1], strides[own]) } else { (strides[own], strides[own + 1]) };
    let lead = (0..lead.len())
        .map(|i| match (i + own).checked_sub(lead.len()) {
            Some(axis) if dims[axis] != 1 => strides[axis],
            _ => 0,
        })
        .collect();
    Layout { lead, row, column }
}

/// `a · b` over the last two axes on the CPU.
pub(super) fn matmul(a: &Tensor, b: &Tensor, transpose_a: bool, transpose_b: bool) -> Result<Tensor> {
    // Any layout will do, but half precision is converted as a whole.
    let half = !matches!(a.dtype(), DType::F32 | DType::F64);
    let (a, b) = if half { (a.contiguous()?, b.contiguous()?) } else { (a.clone(), b.clone()) };
    if a.rank() < 2 || b.rank() < 2 {
        candle_core::bail!("a product of {:?} and {:?}", a.shape(), b.shape());
    }
    let side = |x: &Tensor, t: bool| {
        let [.., rows, columns] = *x.dims() else { return (0, 0) };
        if t { (columns, rows) } else { (rows, columns) }
    };
    let ((m, k), (l, n)) = (side(&a, transpose_a), side(&b, transpose_b));
    let of = |x: &Tensor| x.dims()[..x.rank() - 2].to_vec();
    let (lead_a, lead_b) = (of(&a), of(&b));
    let mut lead = vec![1; lead_a.len().max(lead_b.len())];
    for dims in [&lead_a, &lead_b] {
        let skip = lead.len() - dims.len();
        for (out, d) in lead[skip..].iter_mut().zip(dims) {
            match (*out, *d) {
                (1, d) => *out = d,
                (o, d) if d == 1 || d == o => {}
                _ => candle_core::bail!("leading axes of {:?} and {:?}", a.shape(), b.shape()),
            }
        }
    }
    if k != l {
        candle_core::bail!("inner sizes of {:?} and {:?}", a.shape(), b.shape());
    }
    let (la, lb) = (layout(&a, &lead, transpose_a), layout(&b, &lead, transpose_b));
    let mut shape = lead.clone();
    shape.extend([m, n]);
    apply(&Products { lead, size: (m, k, n), a: la, b: lb }, &[&a, &b], &shape)
}
