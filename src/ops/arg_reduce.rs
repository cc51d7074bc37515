//! The index of the largest or smallest element along an axis.

use candle_core::{DType as CandleType, Tensor, WithDType};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, ParamSignature, Signature, optional, required, resolve_axes};
use super::cpu::{self, CHUNK, tensor, widen, with_contiguous, with_number};
use super::fold::{items, number};
use super::primitive::all_lead;
use super::reduce::static_axis;
use super::util::{arity, check_axes, output_shape, reduced_shape};
use super::{Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive};
use crate::diagnostic::codes;
use crate::shape::{DType, Type};

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ArgReduceKind {
    /// Of the largest.
    Max,
    /// Of the smallest.
    Min,
}

/// The index of the extreme along one axis, as `i64`: the first among equals, or the first that is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ArgReduce {
    /// Which.
    pub kind: ArgReduceKind,
    /// Along which axis.
    pub axis: usize,
    /// Whether the axis stays, of size 1.
    pub keep: bool,
}

impl Primitive for ArgReduce {
    fn name(&self) -> &'static str {
        match self.kind {
            ArgReduceKind::Max => "argmax",
            ArgReduceKind::Min => "argmin",
        }
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x] = arity(self.name(), inputs)?;
        check_axes(self.name(), &[self.axis], x.rank())?;
        if x.shape[self.axis].is(0) {
            return Err(OpError::shape(format!(
                "`{}` along axis {} of {x}, which is empty",
                self.name(),
                self.axis
            )));
        }
        Ok(Type::new(DType::I64, reduced_shape(&x.shape, &[self.axis], self.keep)))
    }

    /// None: an index is an integer.
    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        if self.axis == 0 { None } else { all_lead(inputs, output) }
    }

    fn grad(&self, _cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Ok(vec![None])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let shape = output_shape(cx)?;
        let x = widen(&inputs[0])?;
        if x.dims()[self.axis] == 0 {
            candle_core::bail!("`{}` along an empty axis", self.name());
        }
        if cpu::here(cx) {
            let max = self.kind == ArgReduceKind::Max;
            return with_number!(x.dtype(), T => {
                if max {
                    search::<T>(&x, self.axis, &shape, |best, v| v > best)
                } else {
                    search::<T>(&x, self.axis, &shape, |best, v| v < best)
                }
            });
        }
        // candle's own does not say which of equals it takes: the first position that holds the extreme.
        let x = x.contiguous()?;
        let extreme = match self.kind {
            ArgReduceKind::Max => x.max_keepdim(self.axis)?,
            ArgReduceKind::Min => x.min_keepdim(self.axis)?,
        };
        let mut found = x.broadcast_eq(&extreme)?;
        if !x.dtype().is_int() {
            let nan = x.ne(&x)?;
            let any = nan.max_keepdim(self.axis)?.broadcast_as(x.shape())?.contiguous()?;
            found = any.where_cond(&nan, &found)?;
        }
        let n = x.dims()[self.axis];
        let mut along = vec![1; x.rank()];
        along[self.axis] = n;
        let index = Tensor::arange(0i64, n as i64, x.device())?.reshape(along)?;
        let index = index.broadcast_as(x.shape())?.contiguous()?;
        let none = Tensor::full(n as i64, x.shape(), x.device())?;
        found.where_cond(&index, &none)?.min_keepdim(self.axis)?.to_dtype(CandleType::I64)?.reshape(shape)
    }

    fn label(&self) -> String {
        format!("{} along {}", self.name(), self.axis)
    }

    fn flops(&self, inputs: &[&Type], _output: &Type) -> f64 {
        inputs.iter().map(|x| super::primitive::elements(x)).sum()
    }
}

fn search<T: WithDType>(
    x: &Tensor,
    axis: usize,
    shape: &[usize],
    better: impl Fn(T, T) -> bool + Sync + Send,
) -> candle_core::Result<Tensor> {
    let len = x.dims()[axis];
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let mut out = vec![0i64; x.elem_count() / len];
    // What is not a number differs from itself.
    #[allow(clippy::eq_op)]
    let nan = |v: T| v != v;
    with_contiguous::<T, _>(x, |data| {
        let work = |(o, out): (usize, &mut [i64])| {
            for (i, out) in out.iter_mut().enumerate() {
                let at = |r: usize| data[(o * len + r) * inner + i];
                let mut best = 0;
                for r in 1..len {
                    if nan(at(best)) {
                        break;
                    }
                    if better(at(best), at(r)) || nan(at(r)) {
                        best = r;
                    }
                }
                *out = best as i64;
            }
        };
        if out.is_empty() {
            return Ok(());
        }
        let least = (CHUNK / (len * inner)).max(1);
        out.par_chunks_mut(inner).enumerate().with_min_len(least).for_each(work);
        Ok(())
    })?;
    tensor(out, shape)
}

const PARAMS: &[ParamSignature] = &[
    required("x", ArgKind::Tensor),
    optional("axis", ArgKind::Int, Default::Int(-1)),
    optional("keep", ArgKind::Bool, Default::Bool(false)),
];

fn build(to: &mut dyn Emit, args: &Args, kind: ArgReduceKind) -> Result<Arg, OpError> {
    let x = args.tensor(0)?;
    let axis = resolve_axes(&[args.int(1)?], to.ty(x).rank())?[0];
    to.emit(ArgReduce { kind, axis, keep: args.bool(2)? }.into(), &[x]).map(Arg::Tensor)
}

fn fold(args: &Args, better: fn(f64, f64) -> bool) -> Result<Arg, OpError> {
    static_axis(args, 1)?;
    let mut best: Option<(usize, f64)> = None;
    for (i, item) in items(&args.params[0])?.iter().enumerate() {
        let v = number(item)?;
        if best.is_none_or(|(_, b)| better(b, v)) {
            best = Some((i, v));
        }
    }
    match best {
        Some((i, _)) => Ok(Arg::Int(i.into())),
        None => Err(OpError::new(codes::STATIC_ARITHMETIC, "the extreme of an empty list")),
    }
}

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "argmax",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "The index (i64) of the largest element along an axis (the last if none is given).",
        build: |to, args| build(to, args, ArgReduceKind::Max),
        fold: Some(|args| fold(args, |best, v| v > best)),
    },
    Signature {
        name: "argmin",
        params: PARAMS,
        rest: None,
        named: false,
        doc: "The index (i64) of the smallest element along an axis (the last if none is given).",
        build: |to, args| build(to, args, ArgReduceKind::Min),
        fold: Some(|args| fold(args, |best, v| v < best)),
    },
];
