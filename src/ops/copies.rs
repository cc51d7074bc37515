//! Copies of tensors of any layout into order, on the CPU: in parallel, and blocked where axes are exchanged.

use std::mem::MaybeUninit;

use candle_core::{DType, Layout, Result, Tensor, WithDType};
use half::{bf16, f16};
use rayon::prelude::*;

use super::cpu::{Walk, chunks, fresh, tensor, with_data};

/// The side of a block of a transposition.
const BLOCK: usize = 16;

/// Runs `$body` with `$T` as the Rust type of a dtype; `$other` for those without one.
macro_rules! with_type {
    ($dtype:expr, $T:ident => $body:expr, $other:expr) => {
        match $dtype {
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            DType::F16 => {
                type $T = f16;
                $body
            }
            DType::BF16 => {
                type $T = bf16;
                $body
            }
            DType::I64 => {
                type $T = i64;
                $body
            }
            DType::U8 => {
                type $T = u8;
                $body
            }
            _ => $other,
        }
    };
}

/// The tensor with its elements in order: itself if they are, a copy otherwise.
///
/// # Errors
/// Whatever candle reports.
pub fn contiguous(x: &Tensor) -> Result<Tensor> {
    if x.is_contiguous() || !x.device().is_cpu() {
        return x.contiguous();
    }
    with_type!(x.dtype(), T => copy::<T>(x), x.contiguous())
}

fn copy<T: WithDType>(x: &Tensor) -> Result<Tensor> {
    let shape = x.dims();
    let data = with_data::<T, _>(x, |data, layout| {
        // SAFETY: `in_order` writes all elements.
        Ok(unsafe { fresh(x.elem_count(), |out| in_order(data, shape, layout, out)) })
    })?;
    tensor(data, shape)
}

/// Tensors one after the other along an axis.
///
/// # Errors
/// Whatever candle reports.
pub fn cat(parts: &[Tensor], axis: usize) -> Result<Tensor> {
    let Some(first) = parts.first() else { candle_core::bail!("`cat` of no tensors") };
    let plain = || {
        let parts = parts.iter().map(contiguous).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&parts, axis)
    };
    if !first.device().is_cpu() {
        return plain();
    }
    with_type!(first.dtype(), T => cat_of::<T>(parts, axis), plain())
}

fn cat_of<T: WithDType>(parts: &[Tensor], axis: usize) -> Result<Tensor> {
    // Rows of parts are copied as they lie, unless they would be gathered element by element.
    let parts = parts
        .iter()
        .map(|x| if x.stride().last().is_none_or(|s| *s <= 1) { Ok(x.clone()) } else { contiguous(x) })
        .collect::<Result<Vec<_>>>()?;
    let mut shape = parts[0].dims().to_vec();
    shape[axis] = parts.iter().map(|x| x.dims()[axis]).sum();
    let outer: usize = shape[..axis].iter().product();
    let rest: usize = shape[axis + 1..].iter().product();
    let guards: Vec<_> = parts.iter().map(Tensor::storage_and_layout).collect();
    let mut sources = Vec::with_capacity(parts.len());
    let mut at = 0;
    for ((storage, layout), x) in guards.iter().zip(&parts) {
        let candle_core::Storage::Cpu(cpu) = &**storage else {
            candle_core::bail!("a CPU kernel got a tensor of another device");
        };
        let len = x.dims()[axis] * rest;
        sources.push((at, len, cpu.as_slice::<T>()?, Walk::new(x.dims(), [layout])));
        at += len;
    }
    let row = at;
    let fill = |out: &mut [MaybeUninit<T>]| {
        chunks(out, |first, part| {
            // The pieces of rows that lie in this chunk.
            let mut done = 0;
            while done < part.len() {
                let (line, column) = ((first + done) / row, (first + done) % row);
                for (start, len, data, walk) in &sources {
                    let (from, to) = (column.max(*start), (start + len).min(column + part.len() - done));
                    if from < to {
                        let target = &mut part[done + from - column..done + to - column];
                        runs(data, walk, line * len + from - start, target);
                    }
                }
                done += (row - column).min(part.len() - done);
            }
        });
    };
    // SAFETY: the sources cover each row from its start to its end, and so each chunk.
    let data = unsafe { fresh(outer * row, fill) };
    drop(guards);
    tensor(data, &shape)
}

/// The elements from number `first` on, in order.
fn runs<T: Copy>(data: &[T], walk: &Walk<1>, first: usize, out: &mut [MaybeUninit<T>]) {
    let [step] = walk.inner_strides;
    walk.runs(first, out.len(), |range, [i]| {
        let to = &mut out[range];
        match step {
            1 => {
                to.write_copy_of_slice(&data[i..i + to.len()]);
            }
            0 => to.fill(MaybeUninit::new(data[i])),
            _ => to.iter_mut().enumerate().for_each(|(j, o)| {
                o.write(data[i + j * step]);
            }),
        }
    });
}

/// All elements in order; every one of `out` is written.
fn in_order<T: Copy + Send + Sync>(data: &[T], shape: &[usize], layout: &Layout, out: &mut [MaybeUninit<T>]) {
    let walk = Walk::new(shape, [layout]);
    // The axis along which the source lies in order, if it is not the last.
    let along = walk.outer_strides.iter().rposition(|s| *s == [1]);
    let (Some(axis), [step]) = (along, walk.inner_strides) else {
        return chunks(out, |first, part| runs(data, &walk, first, part));
    };
    if step <= 1 || walk.inner < 4 || walk.outer[axis] < 4 {
        return chunks(out, |first, part| runs(data, &walk, first, part));
    }
    if out.is_empty() {
        return;
    }
    let (rows, columns) = (walk.outer[axis], walk.inner);
    // Lines of the output between two of the transposition's rows.
    let gap: usize = walk.outer[axis + 1..].iter().product();
    let lead: usize = walk.outer[..axis].iter().product();
    let offset = |dims: &[usize], strides: &[[usize; 1]], mut index: usize| {
        let mut at = 0;
        for (size, [stride]) in dims.iter().zip(strides).rev() {
            at += index % size * stride;
            index /= size;
        }
        at
    };
    let start = walk.start[0];
    let slab = rows * gap * columns;
    // Bands of rows are tasks: each is BLOCK rows (and all that lies between them) of one leading index.
    let band = BLOCK * gap * columns;
    let work = |lead_index: usize, first_row: usize, band: &mut [MaybeUninit<T>]| {
        let base = start + offset(&walk.outer[..axis], &walk.outer_strides[..axis], lead_index) + first_row;
        let height = band.len() / (gap * columns);
        for between in 0..gap {
            let base = base + offset(&walk.outer[axis + 1..], &walk.outer_strides[axis + 1..], between);
            for left in (0..columns).step_by(BLOCK) {
                let width = BLOCK.min(columns - left);
                for i in 0..height {
                    let to = &mut band[(i * gap + between) * columns + left..][..width];
                    let from = &data[base + i + left * step..];
                    to.iter_mut().enumerate().for_each(|(j, o)| {
                        o.write(from[j * step]);
                    });
                }
            }
        }
    };
    debug_assert_eq!(lead * slab, out.len());
    out.par_chunks_mut(slab).enumerate().for_each(|(lead_index, slab)| {
        let least = (super::cpu::CHUNK / band).max(1);
        slab.par_chunks_mut(band).enumerate().with_min_len(least).for_each(|(i, part)| {
            work(lead_index, i * BLOCK, part);
        });
    });
}
