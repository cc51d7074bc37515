//! `where(cond, a, b)`: elementwise choice, broadcast.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Signature, required};
use super::cpu::{self, map3, widen, with_number};
use super::primitive::broadcast_lead;
use super::util::{arity, broadcast_shapes, output_shape, require_same_dtype, sum_to, with_dtype};
use super::{Emit, EvalContext, Expand, GradContext, Lead, NodeId, OpError, Primitive};
use crate::diagnostic::codes;
use crate::shape::{DType, Type};

/// `a` where the condition holds, else `b`. Inputs: cond (`bool`), a, b.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Where {}

impl Primitive for Where {
    fn name(&self) -> &'static str {
        "where"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [cond, a, b] = arity("where", inputs)?;
        if cond.dtype != DType::Bool {
            let m = format!("the condition of `where` is {}", with_dtype(&cond));
            return Err(OpError::dtype(m).help("it must be truth values; compare first: `x > 0`"));
        }
        require_same_dtype("where", &a, &b)?;
        let both = broadcast_shapes("where", &a.shape, &b.shape)?;
        Ok(Type::new(a.dtype, broadcast_shapes("where", &cond.shape, &both)?))
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        broadcast_lead(inputs, output)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let (cond, a, b, g) = (cx.inputs[0], cx.inputs[1], cx.inputs[2], cx.grad);
        let to = &mut *cx.to;
        let dtype = to.ty(a).dtype;
        if !dtype.is_float() {
            return Ok(vec![None; 3]);
        }
        let zero = to.scalar(0.0, dtype)?;
        let ga = to.emit(Where {}.into(), &[cond, g, zero])?;
        let gb = to.emit(Where {}.into(), &[cond, zero, g])?;
        let (shape_a, shape_b) = (to.ty(a).shape.clone(), to.ty(b).shape.clone());
        Ok(vec![None, Some(sum_to(to, ga, &shape_a)?), Some(sum_to(to, gb, &shape_b)?)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (cond, a, b) = (&inputs[0], &inputs[1], &inputs[2]);
        if cpu::here(cx) {
            let (x, y) = (&widen(a)?, &widen(b)?);
            let out = with_number!(x.dtype(), T => {
                map3::<u8, T, T, T>(cond, x, y, |c, x, y| if c != 0 { x } else { y })
            });
            return out?.to_dtype(a.dtype());
        }
        let shape = output_shape(cx)?;
        let full = |x: &Tensor| x.broadcast_as(shape.as_slice())?.contiguous();
        full(cond)?.where_cond(&full(a)?, &full(b)?)
    }
}

/// Numbers become constants of the other branch's dtype, or of the model's where both are numbers.
fn build(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let dtype = |i: usize| match args.params.get(i) {
        Some(Arg::Tensor(n)) => Some(to.ty(*n).dtype),
        _ => None,
    };
    let dtype = dtype(1).or(dtype(2)).unwrap_or(DType::F32);
    let branch = |to: &mut dyn Emit, i: usize| match args.params.get(i) {
        Some(Arg::Tensor(n)) => Ok(*n),
        Some(Arg::Bool(v)) => to.scalar(f64::from(u8::from(*v)), dtype),
        _ => to.scalar(args.float(i)?, dtype),
    };
    let (a, b) = (branch(to, 1)?, branch(to, 2)?);
    match args.params.first() {
        Some(Arg::Bool(cond)) => {
            let shape = broadcast_shapes("where", &to.ty(a).shape, &to.ty(b).shape)?;
            let taken = if *cond { a } else { b };
            if to.ty(taken).shape == shape {
                return Ok(Arg::Tensor(taken));
            }
            to.emit(Expand { shape }.into(), &[taken]).map(Arg::Tensor)
        }
        _ => to.emit(Where {}.into(), &[args.tensor(0)?, a, b]).map(Arg::Tensor),
    }
}

fn fold(args: &Args) -> Result<Arg, OpError> {
    let pick = |cond: &Arg, i: usize| match (cond, args.params.get(i)) {
        (Arg::Bool(_), Some(value)) => Ok(value.clone()),
        _ => Err(OpError::new(codes::WRONG_KIND, "the condition of `where` must be true or false")),
    };
    match &args.params[..] {
        [Arg::List(conds), a, b] => {
            let item = |x: &Arg, i: usize| match x {
                Arg::List(items) => items.get(i).cloned().ok_or_else(|| {
                    OpError::value(format!("`where` of lists of lengths {} and {}", conds.len(), items.len()))
                }),
                other => Ok(other.clone()),
            };
            let chosen = conds.iter().enumerate().map(|(i, c)| match c {
                Arg::Bool(true) => item(a, i),
                Arg::Bool(false) => item(b, i),
                _ => Err(OpError::new(codes::WRONG_KIND, "the condition of `where` must be true or false")),
            });
            Ok(Arg::List(chosen.collect::<Result<_, _>>()?))
        }
        [cond @ Arg::Bool(true), ..] => pick(cond, 1),
        [cond, ..] => pick(cond, 2),
        [] => Err(OpError::internal("`where` without arguments")),
    }
}

/// How the language calls it.
pub const SIGNATURES: &[Signature] = &[Signature {
    name: "where",
    params: &[required("cond", ArgKind::Any), required("a", ArgKind::Any), required("b", ArgKind::Any)],
    rest: None,
    named: false,
    doc: "Elementwise `a` where `cond` holds, else `b`; all three broadcast.",
    build,
    fold: Some(fold),
}];
