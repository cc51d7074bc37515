//! Random sources. Each site of a program draws from its own counter-based stream, keyed by the seed, the
//! site, the step of the loop and of training, and the index of the sample (the position along axis 0), so
//! that a sample's numbers do not depend on the batch, on threads or on the device.

use candle_core::{Device, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::layout::{arity, check_shape};
use super::philox::{self, Stream};
use super::torch_rng::TorchRng;
use super::util::output_shape;
use super::{ArgReduce, ArgReduceKind, Binary, Cast, Compare, CompareKind};
use super::{Emit, EvalContext, GradContext, NodeId, OpError, Primitive};
use crate::shape::{DType, Dim, Type, display_shape};

/// A distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dist {
    /// Mean 0, variance 1.
    Normal,
    /// Even on [0, 1), with as many bits as the dtype's mantissa holds.
    Uniform,
    /// The standard Gumbel distribution, whose argmax over `logits + g` is a draw from their softmax.
    Gumbel,
    /// Whole numbers of `low .. high`.
    Integer {
        /// The first.
        low: i64,
        /// The one after the last.
        high: i64,
    },
}

/// Random numbers of a shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Random {
    /// What they follow.
    pub dist: Dist,
    /// The shape; axis 0 counts samples.
    pub shape: Vec<Dim>,
    /// The key of the place in the program.
    pub site: u64,
    /// The dtype. The numbers of one site are the same at every dtype, save for rounding.
    pub dtype: DType,
}

impl Primitive for Random {
    fn name(&self) -> &'static str {
        match self.dist {
            Dist::Normal => "normal",
            Dist::Uniform => "uniform",
            Dist::Gumbel => "gumbel",
            Dist::Integer { .. } => "randint",
        }
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [] = arity(self.name(), inputs)?;
        check_shape(self.name(), &self.shape)?;
        let whole = matches!(self.dist, Dist::Integer { .. });
        if self.dtype.is_float() == whole || (whole && self.dtype != DType::I64) {
            return Err(OpError::dtype(format!(
                "`{}` does not make numbers of dtype {}",
                self.name(),
                self.dtype
            )));
        }
        if let Dist::Integer { low, high } = self.dist
            && low >= high
        {
            return Err(OpError::value(format!("`randint` of {low} to {high}: there is no number between")));
        }
        Ok(Type::new(self.dtype, self.shape.clone()))
    }

    fn grad(&self, _cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Ok(Vec::new())
    }

    fn eval(&self, cx: &EvalContext<'_>, _inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        fill(self, cx)
    }

    fn label(&self) -> String {
        match self.dist {
            Dist::Integer { low, high } => format!("randint {low}..{high} {}", display_shape(&self.shape)),
            _ => format!("{} {}", self.name(), display_shape(&self.shape)),
        }
    }

    fn flops(&self, _inputs: &[&Type], output: &Type) -> f64 {
        // About what a Philox block and the Box-Muller transform take per number.
        20.0 * super::primitive::elements(output)
    }

    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        for d in &mut self.shape {
            *d = f(d);
        }
    }
}

/// The numbers of a site by the Philox generator, made on the CPU and copied, so that they are the same on
/// every device.
///
/// # Errors
/// Whatever candle reports; a sample of more than 2^34 numbers.
pub fn fill(random: &Random, cx: &EvalContext<'_>) -> candle_core::Result<Tensor> {
    let shape = output_shape(cx)?;
    let stream = Stream::new(cx.seed, random.site, cx.loop_step, cx.step);
    let samples = shape.first().copied().unwrap_or(1);
    let per_sample = shape.iter().skip(1).product::<usize>();
    if per_sample.div_ceil(4) > u32::MAX as usize {
        candle_core::bail!("a random sample of {per_sample} numbers is too long");
    }
    let plan = Fill { stream, samples, per_sample, first: cx.first_sample };
    let cpu = &Device::Cpu;
    let tensor = match (random.dist, random.dtype) {
        (Dist::Normal, DType::F16) => Tensor::from_vec(plan.normal(f16::from_f64), shape, cpu),
        (Dist::Normal, DType::BF16) => Tensor::from_vec(plan.normal(bf16::from_f64), shape, cpu),
        (Dist::Normal, DType::F64) => Tensor::from_vec(plan.normal(|v| v), shape, cpu),
        (Dist::Normal, _) => Tensor::from_vec(plan.normal(|v| v as f32), shape, cpu),
        (Dist::Gumbel, DType::F16) => {
            Tensor::from_vec(plan.each(|w| f16::from_f64(philox::gumbel(w))), shape, cpu)
        }
        (Dist::Gumbel, DType::BF16) => {
            Tensor::from_vec(plan.each(|w| bf16::from_f64(philox::gumbel(w))), shape, cpu)
        }
        (Dist::Gumbel, DType::F64) => Tensor::from_vec(plan.each(philox::gumbel), shape, cpu),
        (Dist::Gumbel, _) => Tensor::from_vec(plan.each(|w| philox::gumbel(w) as f32), shape, cpu),
        (Dist::Uniform, DType::F16) => {
            Tensor::from_vec(plan.each(|w| f16::from_f64(top_bits(w, 11))), shape, cpu)
        }
        (Dist::Uniform, DType::BF16) => {
            Tensor::from_vec(plan.each(|w| bf16::from_f64(top_bits(w, 8))), shape, cpu)
        }
        (Dist::Uniform, DType::F64) => {
            Tensor::from_vec(plan.both(|w| (w >> 11) as f64 * 2f64.powi(-53)), shape, cpu)
        }
        (Dist::Uniform, _) => Tensor::from_vec(plan.each(|w| top_bits(w, 24) as f32), shape, cpu),
        (Dist::Integer { low, high }, _) => {
            // Multiply and shift: Lemire 2019, without the rejection, whose bias is below range / 2^64.
            let range = high.wrapping_sub(low) as u64;
            let number = move |w: u64| low.wrapping_add(((u128::from(w) * u128::from(range)) >> 64) as i64);
            Tensor::from_vec(plan.both(number), shape, cpu)
        }
    }?;
    tensor.to_device(cx.device)
}

/// The numbers of a site by PyTorch's CPU generator, which draws in the order of execution (`--rng torch`).
///
/// # Errors
/// Whatever candle reports.
pub fn fill_torch(random: &Random, cx: &EvalContext<'_>, rng: &mut TorchRng) -> candle_core::Result<Tensor> {
    let shape = output_shape(cx)?;
    let count: usize = shape.iter().product();
    let tensor = match random.dist {
        Dist::Normal => Tensor::from_vec(rng.randn_f32(count), shape, &Device::Cpu)?,
        Dist::Uniform => Tensor::from_vec(rng.rand_f32(count), shape, &Device::Cpu)?,
        Dist::Integer { low, high } => Tensor::from_vec(rng.randint(low, high, count), shape, &Device::Cpu)?,
        Dist::Gumbel => {
            let words: Vec<f32> = (0..count).map(|_| philox::gumbel(rng.word()) as f32).collect();
            Tensor::from_vec(words, shape, &Device::Cpu)?
        }
    };
    tensor.to_dtype(super::util::candle_dtype(random.dtype))?.to_device(cx.device)
}

/// The first bits of a word as a number of [0, 1).
fn top_bits(word: u32, bits: u32) -> f64 {
    f64::from(word >> (32 - bits)) / f64::from(1u32 << bits)
}

/// How the words of a stream are laid over a tensor.
struct Fill {
    stream: Stream,
    samples: usize,
    per_sample: usize,
    first: u32,
}

/// Numbers per task of the thread pool; a multiple of 4.
const CHUNK: usize = 4096;

impl Fill {
    /// Calls `f` with four words at a time and where they go; the last group of a sample may be shorter.
    fn groups<T: Copy + Default + Send>(&self, f: impl Fn(u32, u32, &mut [T]) + Sync) -> Vec<T> {
        let mut out = vec![T::default(); self.samples * self.per_sample];
        out.par_chunks_mut(self.per_sample.max(1)).enumerate().for_each(|(k, row)| {
            let sample = self.first.wrapping_add(k as u32);
            let run = |(c, part): (usize, &mut [T])| {
                for (i, group) in part.chunks_mut(4).enumerate() {
                    f((c * (CHUNK / 4) + i) as u32, sample, group);
                }
            };
            match row.len() <= CHUNK {
                true => run((0, row)),
                false => row.par_chunks_mut(CHUNK).enumerate().for_each(run),
            }
        });
        out
    }

    /// A number from each word.
    fn each<T: Copy + Default + Send>(&self, f: impl Fn(u32) -> T + Sync) -> Vec<T> {
        self.groups(|index, sample, group| {
            for (slot, word) in group.iter_mut().zip(self.stream.words(index, sample)) {
                *slot = f(word);
            }
        })
    }

    /// A number from two words: the one that [`Fill::each`] would use, and one of a second stream below it.
    fn both<T: Copy + Default + Send>(&self, f: impl Fn(u64) -> T + Sync) -> Vec<T> {
        let second = self.stream.second();
        self.groups(|index, sample, group| {
            let (high, low) = (self.stream.words(index, sample), second.words(index, sample));
            for (slot, (high, low)) in group.iter_mut().zip(high.into_iter().zip(low)) {
                *slot = f(u64::from(high) << 32 | u64::from(low));
            }
        })
    }

    /// Normal numbers, rounded from f64.
    fn normal<T: Copy + Default + Send>(&self, round: impl Fn(f64) -> T + Sync) -> Vec<T> {
        self.groups(|index, sample, group| {
            let words = self.stream.words(index, sample);
            let (a, b) = philox::normal_pair(words[0], words[1]);
            let (c, d) = philox::normal_pair(words[2], words[3]);
            for (slot, value) in group.iter_mut().zip([a, b, c, d]) {
                *slot = round(value);
            }
        })
    }
}

/// Emits standard normal numbers.
///
/// # Errors
/// A dtype that is no float, a negative dimension.
pub fn normal(to: &mut dyn Emit, shape: Vec<Dim>, dtype: DType, site: u64) -> Result<NodeId, OpError> {
    to.emit(Random { dist: Dist::Normal, shape, site, dtype }.into(), &[])
}

/// Emits numbers that are even on `[low, high)`.
///
/// # Errors
/// A dtype that is no float, a negative dimension, bounds that are not finite.
pub fn uniform(
    to: &mut dyn Emit,
    shape: Vec<Dim>,
    (low, high): (f64, f64),
    dtype: DType,
    site: u64,
) -> Result<NodeId, OpError> {
    if !low.is_finite() || !high.is_finite() || low > high {
        return Err(
            OpError::value(format!("`uniform` from {low} to {high}")).help("low must not exceed high")
        );
    }
    let mut x = to.emit(Random { dist: Dist::Uniform, shape, site, dtype }.into(), &[])?;
    if high - low != 1.0 {
        x = to.binary_scalar(Binary::Mul, x, high - low)?;
    }
    if low != 0.0 {
        x = to.binary_scalar(Binary::Add, x, low)?;
    }
    Ok(x)
}

/// A probability: a number, or a tensor that broadcasts to the shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Probability {
    /// For all elements.
    Number(f64),
    /// Element by element.
    Tensor(NodeId),
}

/// Emits truth values that are true with a probability, as `dtype` (bool, or 1 and 0).
///
/// # Errors
/// A number outside [0, 1], or a tensor that does not broadcast to the shape.
pub fn bernoulli(
    to: &mut dyn Emit,
    p: Probability,
    shape: Vec<Dim>,
    dtype: DType,
    site: u64,
) -> Result<NodeId, OpError> {
    let (p, float) = match p {
        Probability::Number(p) if !(0.0..=1.0).contains(&p) => {
            return Err(OpError::value(format!("`bernoulli` with the probability {p}"))
                .help("it lies between 0 and 1"));
        }
        Probability::Number(p) => (to.scalar(p, DType::F32)?, DType::F32),
        Probability::Tensor(node) => (node, to.ty(node).dtype),
    };
    let u = to.emit(Random { dist: Dist::Uniform, shape: shape.clone(), site, dtype: float }.into(), &[])?;
    let hit = to.emit(Compare { kind: CompareKind::Lt }.into(), &[u, p])?;
    if to.ty(hit).shape != shape {
        let m = format!("`bernoulli` of shape {} with probabilities {}", display_shape(&shape), to.ty(p));
        return Err(OpError::shape(m).help("the probabilities must broadcast to the shape"));
    }
    match dtype {
        DType::Bool => Ok(hit),
        _ => to.emit(Cast { dtype }.into(), &[hit]),
    }
}

/// Emits a class (i64) per row of logits `[.., classes]`, with the probabilities of their softmax: the
/// Gumbel-max trick (Gumbel 1954; Maddison, Tarlow and Minka 2014).
///
/// # Errors
/// Logits that are no float tensor, or have no axis.
pub fn categorical(to: &mut dyn Emit, logits: NodeId, site: u64) -> Result<NodeId, OpError> {
    let ty = to.ty(logits).clone();
    let Some(axis) = ty.rank().checked_sub(1) else {
        return Err(OpError::shape(format!("`categorical` of {ty}, which has no axis of classes")));
    };
    let g = to.emit(Random { dist: Dist::Gumbel, shape: ty.shape, site, dtype: ty.dtype }.into(), &[])?;
    let sum = to.binary(Binary::Add, logits, g)?;
    to.emit(ArgReduce { kind: ArgReduceKind::Max, axis, keep: false }.into(), &[sum])
}

/// Emits whole numbers (i64) of `low .. high`.
///
/// # Errors
/// An empty range, a negative dimension.
pub fn randint(
    to: &mut dyn Emit,
    low: i64,
    high: i64,
    shape: Vec<Dim>,
    site: u64,
) -> Result<NodeId, OpError> {
    to.emit(Random { dist: Dist::Integer { low, high }, shape, site, dtype: DType::I64 }.into(), &[])
}
