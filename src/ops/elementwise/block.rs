//! Evaluation on the CPU: every block of the output goes through all steps before the next one is begun.
//! Blocks depend on nothing but their elements, so that neither threads nor the batch change a bit.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{CpuStorage, Result, Storage, Tensor, WithDType};

use super::read::Reader;
use super::step::{self, Buffer, View};
use super::{Elementwise, Step};
use crate::ops::util::output_shape;
use crate::ops::{EvalContext, Op, cpu};
use crate::shape::DType;

/// Elements per block: a handful of buffers of this length stays in the first-level cache.
const BLOCK: usize = 1024;

/// The storage of an input.
#[derive(Clone, Copy)]
enum Data<'a> {
    Same(View<'a>),
    F16(&'a [half::f16]),
    BF16(&'a [half::bf16]),
}

struct Operand<'a> {
    data: Data<'a>,
    reader: Reader,
}

/// Where a value is found while a block is worked on.
#[derive(Clone, Copy)]
enum Place {
    /// In the input itself, whose elements lie in the order of the output.
    Input(usize),
    /// In a buffer.
    Buffer(usize),
}

/// A program with a buffer for each value that needs one.
struct Layout {
    /// Of each value.
    places: Vec<Place>,
    /// Of each buffer.
    buffers: Vec<DType>,
    dtypes: Vec<DType>,
}

pub(super) fn eval(program: &Elementwise, cx: &EvalContext<'_>, inputs: &[Tensor]) -> Result<Tensor> {
    let shape = output_shape(cx)?;
    let dtypes = program.dtypes(inputs)?;
    let guards: Vec<_> = inputs.iter().map(Tensor::storage_and_layout).collect();
    let mut operands = Vec::with_capacity(inputs.len());
    for (storage, layout) in &guards {
        operands.push(Operand { data: data(storage)?, reader: Reader::new(&shape, layout) });
    }
    let layout = lay_out(program, &operands, dtypes);
    let count: usize = shape.iter().product();
    let run = Run { program, operands: &operands, layout: &layout };
    match cx.output.dtype {
        DType::F32 => run.all(count, &shape, |v, o: &mut [f32]| match v {
            View::F32(x) => Some(o.copy_from_slice(x)),
            _ => None,
        }),
        DType::F64 => run.all(count, &shape, |v, o: &mut [f64]| match v {
            View::F64(x) => Some(o.copy_from_slice(x)),
            _ => None,
        }),
        DType::I64 => run.all(count, &shape, |v, o: &mut [i64]| match v {
            View::I64(x) => Some(o.copy_from_slice(x)),
            _ => None,
        }),
        DType::Bool | DType::U8 => run.all(count, &shape, |v, o: &mut [u8]| match v {
            View::U8(x) => Some(o.copy_from_slice(x)),
            _ => None,
        }),
        DType::F16 => run.all(count, &shape, |v, o: &mut [half::f16]| match v {
            View::F32(x) => Some(o.iter_mut().zip(x).for_each(|(o, x)| *o = half::f16::from_f32(*x))),
            _ => None,
        }),
        DType::BF16 => run.all(count, &shape, |v, o: &mut [half::bf16]| match v {
            View::F32(x) => Some(o.iter_mut().zip(x).for_each(|(o, x)| *o = half::bf16::from_f32(*x))),
            _ => None,
        }),
    }
}

fn data(storage: &Storage) -> Result<Data<'_>> {
    let Storage::Cpu(cpu) = storage else {
        candle_core::bail!("a CPU kernel got a tensor of another device")
    };
    Ok(match cpu {
        CpuStorage::F32(v) => Data::Same(View::F32(v)),
        CpuStorage::F64(v) => Data::Same(View::F64(v)),
        CpuStorage::U8(v) => Data::Same(View::U8(v)),
        CpuStorage::I64(v) => Data::Same(View::I64(v)),
        CpuStorage::F16(v) => Data::F16(v),
        CpuStorage::BF16(v) => Data::BF16(v),
        _ => candle_core::bail!("no elementwise operations on this dtype"),
    })
}

/// Gives buffers to values; a buffer is used again once its value has been read for the last time.
fn lay_out(program: &Elementwise, operands: &[Operand<'_>], dtypes: Vec<DType>) -> Layout {
    let first = operands.len();
    let mut places = Vec::with_capacity(dtypes.len());
    let mut buffers = Vec::new();
    let own = |dtype: DType, buffers: &mut Vec<DType>| {
        buffers.push(stored(dtype));
        Place::Buffer(buffers.len() - 1)
    };
    for (i, operand) in operands.iter().enumerate() {
        let direct = matches!(operand.data, Data::Same(_)) && operand.reader.contiguous().is_some();
        places.push(if direct && !operand.reader.is_uniform() {
            Place::Input(i)
        } else {
            own(dtypes[i], &mut buffers)
        });
    }
    let mut last = vec![0; dtypes.len()];
    for (k, step) in program.steps.iter().enumerate() {
        step.args.iter().for_each(|a| last[*a as usize] = k);
    }
    let mut free: Vec<usize> = Vec::new();
    for (k, step) in program.steps.iter().enumerate() {
        let dtype = dtypes[first + k];
        let constant = matches!(step.op, Op::Const(_));
        let reused = free.iter().position(|b| buffers[*b] == stored(dtype)).filter(|_| !constant);
        places.push(match reused {
            Some(at) => Place::Buffer(free.swap_remove(at)),
            None => own(dtype, &mut buffers),
        });
        // What is filled once, constants and inputs, is not written over.
        let mut done: Vec<u32> = step.args.clone();
        done.sort_unstable();
        done.dedup();
        for arg in done.into_iter().map(|a| a as usize).filter(|a| *a >= first && last[*a] == k) {
            let filled = matches!(program.steps[arg - first].op, Op::Const(_));
            if let (Place::Buffer(b), false) = (places[arg], filled) {
                free.push(b);
            }
        }
    }
    Layout { places, buffers, dtypes }
}

/// The dtype of the buffer that holds values of a dtype.
fn stored(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        DType::Bool => DType::U8,
        other => other,
    }
}

struct Run<'a> {
    program: &'a Elementwise,
    operands: &'a [Operand<'a>],
    layout: &'a Layout,
}

impl Run<'_> {
    /// All blocks; `store` takes the last value of one, if it is of the output's dtype.
    fn all<T: WithDType>(
        &self,
        count: usize,
        shape: &[usize],
        store: impl Fn(View<'_>, &mut [T]) -> Option<()> + Sync + Send,
    ) -> Result<Tensor> {
        let mut out = vec![T::zero(); count];
        let failed = AtomicBool::new(false);
        cpu::chunks(&mut out, |first, part| {
            let mut buffers = self.prepare(part.len().min(BLOCK));
            let mut at = first;
            for block in part.chunks_mut(BLOCK) {
                if self.block(at, block.len(), &mut buffers).and_then(|value| store(value, block)).is_none() {
                    failed.store(true, Ordering::Relaxed);
                }
                at += block.len();
            }
        });
        if failed.into_inner() {
            candle_core::bail!("a chain has a step that is not one");
        }
        cpu::tensor(out, shape)
    }

    /// The buffers of a task, with constants and uniform inputs in them.
    fn prepare(&self, len: usize) -> Vec<Buffer> {
        let mut buffers: Vec<Buffer> = self.layout.buffers.iter().map(|d| Buffer::new(*d, len)).collect();
        for (operand, place) in self.operands.iter().zip(&self.layout.places) {
            if let (Place::Buffer(b), true) = (place, operand.reader.is_uniform()) {
                load(operand, 0, len, &mut buffers[*b]);
            }
        }
        for (step, place) in self.program.steps.iter().zip(&self.layout.places[self.operands.len()..]) {
            if let (Op::Const(c), Place::Buffer(b)) = (&step.op, place) {
                buffers[*b].fill(c.value);
                buffers[*b].round(c.dtype, len);
            }
        }
        buffers
    }

    /// The last value of one block.
    fn block<'b>(&'b self, at: usize, len: usize, buffers: &'b mut [Buffer]) -> Option<View<'b>> {
        for (operand, place) in self.operands.iter().zip(&self.layout.places) {
            if let (Place::Buffer(b), false) = (place, operand.reader.is_uniform()) {
                load(operand, at, len, &mut buffers[*b]);
            }
        }
        let first = self.operands.len();
        for (k, step) in self.program.steps.iter().enumerate() {
            let Place::Buffer(to) = self.layout.places[first + k] else { return None };
            if matches!(step.op, Op::Const(_)) {
                continue;
            }
            let mut out = std::mem::replace(&mut buffers[to], Buffer::U8(Vec::new()));
            let known = step::run(&step.op, self.args(step, at, len, buffers), &mut out);
            out.round(self.layout.dtypes[first + k], len);
            buffers[to] = out;
            if !known {
                return None;
            }
        }
        self.value(self.layout.places.len() - 1, at, len, buffers)
    }

    fn args<'b>(
        &'b self,
        step: &Step,
        at: usize,
        len: usize,
        buffers: &'b [Buffer],
    ) -> [Option<View<'b>>; 3] {
        std::array::from_fn(|i| step.args.get(i).and_then(|a| self.value(*a as usize, at, len, buffers)))
    }

    fn value<'b>(&'b self, value: usize, at: usize, len: usize, buffers: &'b [Buffer]) -> Option<View<'b>> {
        match self.layout.places[value] {
            Place::Buffer(b) => Some(buffers[b].view(len)),
            Place::Input(i) => {
                let operand = &self.operands[i];
                let start = operand.reader.contiguous()? + at;
                match operand.data {
                    Data::Same(View::F32(v)) => Some(View::F32(&v[start..start + len])),
                    Data::Same(View::F64(v)) => Some(View::F64(&v[start..start + len])),
                    Data::Same(View::U8(v)) => Some(View::U8(&v[start..start + len])),
                    Data::Same(View::I64(v)) => Some(View::I64(&v[start..start + len])),
                    Data::F16(_) | Data::BF16(_) => None,
                }
            }
        }
    }
}

/// Reads an input in the order of the output, half precision as f32.
fn load(operand: &Operand<'_>, at: usize, len: usize, to: &mut Buffer) {
    let reader = &operand.reader;
    match (operand.data, to) {
        (Data::Same(View::F32(v)), Buffer::F32(o)) => reader.read(v, at, &mut o[..len], |x| x),
        (Data::Same(View::F64(v)), Buffer::F64(o)) => reader.read(v, at, &mut o[..len], |x| x),
        (Data::Same(View::U8(v)), Buffer::U8(o)) => reader.read(v, at, &mut o[..len], |x| x),
        (Data::Same(View::I64(v)), Buffer::I64(o)) => reader.read(v, at, &mut o[..len], |x| x),
        (Data::F16(v), Buffer::F32(o)) => reader.read(v, at, &mut o[..len], half::f16::to_f32),
        (Data::BF16(v), Buffer::F32(o)) => reader.read(v, at, &mut o[..len], half::bf16::to_f32),
        // Buffers are made of the dtypes of the values.
        _ => {}
    }
}
