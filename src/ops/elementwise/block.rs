//! Evaluation on the CPU: every block of the output goes through all steps before the next one is begun.
//! Blocks depend on nothing but their elements, so that neither threads nor the batch change a bit.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{CpuStorage, InplaceOp1, Result, Storage, Tensor, WithDType};
use half::{bf16, f16};

use super::read::Reader;
use super::step::{self, Buffer, View};
use super::{Elementwise, Step};
use crate::ops::in_place::Stored;
use crate::ops::util::output_shape;
use crate::ops::{EvalContext, Op, cpu};
use crate::shape::DType;

/// Elements per block: a handful of buffers of this length stays in the first-level cache.
const BLOCK: usize = 1024;

/// The storage of an input.
#[derive(Clone, Copy)]
enum Data<'a> {
    Same(View<'a>),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
    /// It is what is written over.
    Target,
}

/// An output element.
trait Output: WithDType {
    /// Writes all elements of a block, if the value is of this dtype.
    fn store(value: View<'_>, out: &mut [MaybeUninit<Self>]) -> Option<()>;
}

macro_rules! output {
    ($t:ty, $variant:ident) => {
        impl Output for $t {
            fn store(value: View<'_>, out: &mut [MaybeUninit<Self>]) -> Option<()> {
                match value {
                    View::$variant(x) => out.write_copy_of_slice(x),
                    _ => return None,
                };
                Some(())
            }
        }
    };
}

output!(f32, F32);
output!(f64, F64);
output!(i64, I64);
output!(u8, U8);

macro_rules! half_output {
    ($t:ident) => {
        impl Output for $t {
            fn store(value: View<'_>, out: &mut [MaybeUninit<Self>]) -> Option<()> {
                let View::F32(x) = value else { return None };
                for (o, x) in out.iter_mut().zip(x) {
                    o.write($t::from_f32(*x));
                }
                Some(())
            }
        }
    };
}

half_output!(f16);
half_output!(bf16);

/// An output element that may be written over an input.
trait Target: Output + Stored {
    fn view(data: &[Self]) -> View<'_>;
}

impl Target for f32 {
    fn view(data: &[f32]) -> View<'_> {
        View::F32(data)
    }
}

impl Target for f64 {
    fn view(data: &[f64]) -> View<'_> {
        View::F64(data)
    }
}

impl Target for i64 {
    fn view(data: &[i64]) -> View<'_> {
        View::I64(data)
    }
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
    /// Where the output goes.
    Target,
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
    // What is written over is not read by anyone meanwhile.
    let guards: Vec<_> = (0..inputs.len())
        .map(|i| (cx.overwrite != Some(i)).then(|| inputs[i].storage_and_layout()))
        .collect();
    let mut operands = Vec::with_capacity(inputs.len());
    for (guard, input) in guards.iter().zip(inputs) {
        operands.push(match guard {
            Some((storage, layout)) => Operand { data: data(storage)?, reader: Reader::new(&shape, layout) },
            None => Operand { data: Data::Target, reader: Reader::new(&shape, input.layout()) },
        });
    }
    let layout = lay_out(program, &operands, dtypes);
    let run = Run { program, operands: &operands, layout: &layout };
    if let Some(target) = cx.overwrite.and_then(|i| inputs.get(i)) {
        match cx.output.dtype {
            DType::F32 => target.inplace_op1(&Over::<f32>(&run, PhantomData))?,
            DType::F64 => target.inplace_op1(&Over::<f64>(&run, PhantomData))?,
            DType::I64 => target.inplace_op1(&Over::<i64>(&run, PhantomData))?,
            other => candle_core::bail!("elements of {other} are not written over others"),
        }
        return Ok(target.clone());
    }
    match cx.output.dtype {
        DType::F32 => run.all::<f32>(&shape),
        DType::F64 => run.all::<f64>(&shape),
        DType::I64 => run.all::<i64>(&shape),
        DType::Bool | DType::U8 => run.all::<u8>(&shape),
        DType::F16 => run.all::<f16>(&shape),
        DType::BF16 => run.all::<bf16>(&shape),
    }
}

/// Writes the output over an input.
struct Over<'a, T>(&'a Run<'a>, PhantomData<fn() -> T>);

impl<T: Target> InplaceOp1 for Over<'_, T> {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &candle_core::Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("a tensor that is written over does not lie in order");
        };
        match T::of(storage).and_then(|data| data.get_mut(start..end)) {
            Some(data) => self.0.over(data),
            None => candle_core::bail!("a tensor that is written over is of another dtype"),
        }
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
        let lies = operand.reader.contiguous().is_some() && !operand.reader.is_uniform();
        places.push(match operand.data {
            Data::Target => Place::Target,
            Data::Same(_) if lies => Place::Input(i),
            _ => own(dtypes[i], &mut buffers),
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
    /// All blocks, into a tensor of its own.
    fn all<T: Output>(&self, shape: &[usize]) -> Result<Tensor> {
        let failed = AtomicBool::new(false);
        let part = |first: usize, part: &mut [MaybeUninit<T>]| {
            let mut buffers = self.prepare(part.len().min(BLOCK));
            for (i, block) in part.chunks_mut(BLOCK).enumerate() {
                let value = self.block(first + i * BLOCK, block.len(), &mut buffers, None);
                if value.and_then(|value| T::store(value, block)).is_none() {
                    cpu::zeroed(block);
                    failed.store(true, Ordering::Relaxed);
                }
            }
        };
        // SAFETY: every block is written, by its value or by zeros.
        let out = unsafe { cpu::fresh(shape.iter().product(), |out| cpu::chunks(out, part)) };
        whole(&failed)?;
        cpu::tensor(out, shape)
    }

    /// All blocks, over the elements of an input.
    fn over<T: Target>(&self, out: &mut [T]) -> Result<()> {
        let failed = AtomicBool::new(false);
        cpu::chunks(out, |first, part| {
            let mut buffers = self.prepare(part.len().min(BLOCK));
            for (i, block) in part.chunks_mut(BLOCK).enumerate() {
                let value = self.block(first + i * BLOCK, block.len(), &mut buffers, Some(T::view(block)));
                // The value lies in a buffer, not in the block.
                let done = value.is_some()
                    && self.result(block.len(), &buffers).is_some_and(|value| {
                        // SAFETY: the same memory as elements that may be anything; all of them are written.
                        let target = unsafe { &mut *(std::ptr::from_mut(block) as *mut [MaybeUninit<T>]) };
                        T::store(value, target).is_some()
                    });
                if !done {
                    failed.store(true, Ordering::Relaxed);
                }
            }
        });
        whole(&failed)
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

    /// The last value of one block; `target` is what the block will be written over.
    fn block<'b>(
        &'b self,
        at: usize,
        len: usize,
        buffers: &'b mut [Buffer],
        target: Option<View<'_>>,
    ) -> Option<View<'b>> {
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
            let known = step::run(&step.op, self.args(step, at, len, buffers, target), &mut out);
            out.round(self.layout.dtypes[first + k], len);
            buffers[to] = out;
            if !known {
                return None;
            }
        }
        self.result(len, buffers)
    }

    /// The value of the last step.
    fn result<'b>(&self, len: usize, buffers: &'b [Buffer]) -> Option<View<'b>> {
        match self.layout.places.last() {
            Some(Place::Buffer(b)) => Some(buffers[*b].view(len)),
            _ => None,
        }
    }

    fn args<'b>(
        &'b self,
        step: &Step,
        at: usize,
        len: usize,
        buffers: &'b [Buffer],
        target: Option<View<'b>>,
    ) -> [Option<View<'b>>; 3] {
        std::array::from_fn(|i| {
            let value = *step.args.get(i)? as usize;
            match self.layout.places[value] {
                Place::Target => target,
                _ => self.value(value, at, len, buffers),
            }
        })
    }

    fn value<'b>(&'b self, value: usize, at: usize, len: usize, buffers: &'b [Buffer]) -> Option<View<'b>> {
        match self.layout.places[value] {
            Place::Target => None,
            Place::Buffer(b) => Some(buffers[b].view(len)),
            Place::Input(i) => {
                let operand = &self.operands[i];
                let start = operand.reader.contiguous()? + at;
                match operand.data {
                    Data::Same(View::F32(v)) => Some(View::F32(&v[start..start + len])),
                    Data::Same(View::F64(v)) => Some(View::F64(&v[start..start + len])),
                    Data::Same(View::U8(v)) => Some(View::U8(&v[start..start + len])),
                    Data::Same(View::I64(v)) => Some(View::I64(&v[start..start + len])),
                    Data::F16(_) | Data::BF16(_) | Data::Target => None,
                }
            }
        }
    }
}

fn whole(failed: &AtomicBool) -> Result<()> {
    if failed.load(Ordering::Relaxed) {
        candle_core::bail!("a chain has a step that is not one");
    }
    Ok(())
}

/// Reads an input in the order of the output, half precision as f32.
fn load(operand: &Operand<'_>, at: usize, len: usize, to: &mut Buffer) {
    let reader = &operand.reader;
    match (operand.data, to) {
        (Data::Same(View::F32(v)), Buffer::F32(o)) => reader.read(v, at, &mut o[..len], |x| x),
        (Data::Same(View::F64(v)), Buffer::F64(o)) => reader.read(v, at, &mut o[..len], |x| x),
        (Data::Same(View::U8(v)), Buffer::U8(o)) => reader.read(v, at, &mut o[..len], |x| x),
        (Data::Same(View::I64(v)), Buffer::I64(o)) => reader.read(v, at, &mut o[..len], |x| x),
        (Data::F16(v), Buffer::F32(o)) => reader.read(v, at, &mut o[..len], f16::to_f32),
        (Data::BF16(v), Buffer::F32(o)) => reader.read(v, at, &mut o[..len], bf16::to_f32),
        // Buffers are made of the dtypes of the values.
        _ => {}
    }
}
