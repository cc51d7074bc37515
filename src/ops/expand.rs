//! `expand` (also `broadcast_to`), and what lowers to it: `repeat`, `tile`, and tensors of one number.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, Signature, optional, required, resolve_axes};
use super::layout::{arity, check_shape};
use super::primitive::broadcast_lead;
use super::reshape::reshape;
use super::util::output_shape;
use super::{Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, rearrange, util};
use crate::diagnostic::codes;
use crate::shape::{DType, Dim, Type, display_shape};

/// Broadcasting to a shape, as NumPy does: aligned at the last axis, an axis of length 1 is repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expand {
    /// The shape.
    pub shape: Vec<Dim>,
}

impl Primitive for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x] = arity(self.name(), inputs)?;
        check_shape(self.name(), &self.shape)?;
        let fits = self.shape.len() >= x.rank()
            && x.shape.iter().rev().zip(self.shape.iter().rev()).all(|(a, b)| a == b || a.is(1));
        if !fits {
            let m =
                format!("{} does not broadcast to {}", display_shape(&x.shape), display_shape(&self.shape));
            return Err(OpError::new(codes::BROADCAST, m)
                .help("shapes are aligned at the last axis; an axis must be equal, or 1"));
        }
        Ok(Type { shape: self.shape.clone(), ..x.clone() })
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        broadcast_lead(inputs, output)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let shape = cx.to.ty(cx.inputs[0]).shape.clone();
        Ok(vec![Some(util::sum_to(cx.to, cx.grad, &shape)?)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        inputs[0].broadcast_as(output_shape(cx)?)
    }

    fn label(&self) -> String {
        format!("expand {}", display_shape(&self.shape))
    }

    fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }

    fn is_view(&self, _inputs: &[&Type]) -> bool {
        true
    }

    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        for d in &mut self.shape {
            *d = f(d);
        }
    }
}

/// Emits a broadcast; `x` itself where it has that shape already.
///
/// # Errors
/// `x` does not broadcast to it.
pub fn expand(to: &mut dyn Emit, x: NodeId, shape: Vec<Dim>) -> Result<NodeId, OpError> {
    if to.ty(x).shape == shape {
        return Ok(x);
    }
    to.emit(Expand { shape }.into(), &[x])
}

/// Emits a tensor of one number.
///
/// # Errors
/// A negative dimension.
pub fn full(to: &mut dyn Emit, value: f64, shape: Vec<Dim>, dtype: DType) -> Result<NodeId, OpError> {
    let scalar = to.scalar(value, dtype)?;
    expand(to, scalar, shape)
}

/// Emits `x` with each element repeated `times` in place along an axis: `[a, b]` gives `[a, a, b, b]`.
///
/// # Errors
/// The axis is out of range or `times` is negative.
pub fn repeat(to: &mut dyn Emit, x: NodeId, times: &Dim, axis: i64) -> Result<NodeId, OpError> {
    let mut shape = to.ty(x).shape.clone();
    let axis = resolve_axes(&[axis], shape.len())?[0];
    let mut wide = shape.clone();
    wide.insert(axis + 1, Dim::from(1));
    let column = reshape(to, x, wide.clone())?;
    wide[axis + 1] = times.clone();
    let rows = expand(to, column, wide)?;
    shape[axis] = shape[axis].clone() * times.clone();
    reshape(to, rows, shape)
}

/// Emits `x` as a whole, `times[i]` of it side by side along axis `i` (aligned at the last axis):
/// `[a, b]` gives `[a, b, a, b]`.
///
/// # Errors
/// A negative number of times.
pub fn tile(to: &mut dyn Emit, x: NodeId, times: &[Dim]) -> Result<NodeId, OpError> {
    let mut shape = to.ty(x).shape.clone();
    while shape.len() < times.len() {
        shape.insert(0, Dim::from(1));
    }
    let first = shape.len() - times.len();
    let (mut narrow, mut wide, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for (i, d) in shape.iter().enumerate() {
        match i.checked_sub(first).map(|k| &times[k]).filter(|t| !t.is(1)) {
            Some(t) => {
                narrow.extend([Dim::from(1), d.clone()]);
                wide.extend([t.clone(), d.clone()]);
                out.push(t.clone() * d.clone());
            }
            None => {
                narrow.push(d.clone());
                wide.push(d.clone());
                out.push(d.clone());
            }
        }
    }
    let narrow = reshape(to, x, narrow)?;
    let wide = expand(to, narrow, wide)?;
    reshape(to, wide, out)
}

/// `-1` keeps the dimension of `x`.
fn target(x: &Type, wanted: &[Dim]) -> Result<Vec<Dim>, OpError> {
    let mut out = wanted.to_vec();
    for (back, d) in out.iter_mut().rev().enumerate().filter(|(_, d)| d.is(-1)) {
        *d = x.rank().checked_sub(back + 1).map(|i| x.shape[i].clone()).ok_or_else(|| {
            let m = format!("-1 in {} stands before the first axis of {x}", display_shape(wanted));
            OpError::new(codes::UNSOLVED_DIM, m)
        })?;
    }
    Ok(out)
}

fn build_expand(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let x = args.tensor(0)?;
    let shape = target(to.ty(x), &args.dims(1)?)?;
    expand(to, x, shape).map(Arg::Tensor)
}

fn build_repeat(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let x = args.tensor(0)?;
    match args.params.get(1) {
        Some(Arg::Str(pattern)) if args.is_none(2) => {
            rearrange::repeat(to, x, pattern, &rearrange::sizes(&args.named)?).map(Arg::Tensor)
        }
        Some(Arg::Str(_)) => Err(OpError::value("a pattern names its axes; `axis` has no meaning beside it")),
        _ if !args.named.is_empty() => {
            let m = format!("`repeat` has no parameter `{}` unless a pattern names it", args.named[0].0);
            Err(OpError::new(codes::UNKNOWN_ARGUMENT, m))
        }
        _ if args.is_none(2) => {
            Err(OpError::new(codes::MISSING_ARGUMENT, "`repeat` needs `axis`, unless it is given a pattern")
                .help("`repeat(x, 2, axis = 0)` or `repeat(x, \"n d -> (n 2) d\")`"))
        }
        _ => repeat(to, x, &args.dim(1)?, args.int(2)?).map(Arg::Tensor),
    }
}

/// A dtype parameter.
pub(super) fn dtype(args: &Args, i: usize) -> Result<DType, OpError> {
    let name = args.str(i)?;
    name.parse().map_err(|()| {
        let names = DType::ALL.map(DType::name).join(", ");
        OpError::value(format!("there is no dtype `{name}`")).help(format!("one of {names}"))
    })
}

fn build_full(to: &mut dyn Emit, args: &Args, value: f64, dtype_at: usize) -> Result<Arg, OpError> {
    let dtype = dtype(args, dtype_at)?;
    full(to, value, args.dims(0)?, dtype).map(Arg::Tensor)
}

fn build_like(to: &mut dyn Emit, args: &Args, value: f64) -> Result<Arg, OpError> {
    let ty = to.ty(args.tensor(0)?).clone();
    full(to, value, ty.shape, ty.dtype).map(Arg::Tensor)
}

const EXPAND_PARAMS: &[super::ParamSignature] =
    &[required("x", ArgKind::Tensor), required("shape", ArgKind::Ints)];
const SHAPE_PARAMS: &[super::ParamSignature] =
    &[required("shape", ArgKind::Ints), optional("dtype", ArgKind::Str, Default::Str("f32"))];

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "expand",
        params: EXPAND_PARAMS,
        rest: None,
        named: false,
        doc: "Broadcasts to a shape, aligned at the last axis; -1 keeps a dimension.",
        build: build_expand,
        fold: None,
    },
    Signature {
        name: "broadcast_to",
        params: EXPAND_PARAMS,
        rest: None,
        named: false,
        doc: "Broadcasts to a shape, aligned at the last axis; -1 keeps a dimension.",
        build: build_expand,
        fold: None,
    },
    Signature {
        name: "repeat",
        params: &[
            required("x", ArgKind::Tensor),
            required("times", ArgKind::Any),
            optional("axis", ArgKind::Int, Default::None),
        ],
        rest: None,
        named: true,
        doc: "Each element `times` in place along an axis ([a, b] gives [a, a, b, b]), or by an einops pattern: \
              repeat(x, \"n d -> n k d\", k = 4).",
        build: build_repeat,
        fold: None,
    },
    Signature {
        name: "tile",
        params: &[required("x", ArgKind::Tensor), required("times", ArgKind::Ints)],
        rest: None,
        named: false,
        doc: "Copies of the whole side by side, times[i] along axis i: [a, b] gives [a, b, a, b].",
        build: |to, args| tile(to, args.tensor(0)?, &args.dims(1)?).map(Arg::Tensor),
        fold: None,
    },
    Signature {
        name: "zeros",
        params: SHAPE_PARAMS,
        rest: None,
        named: false,
        doc: "A tensor of zeros.",
        build: |to, args| build_full(to, args, 0.0, 1),
        fold: None,
    },
    Signature {
        name: "ones",
        params: SHAPE_PARAMS,
        rest: None,
        named: false,
        doc: "A tensor of ones.",
        build: |to, args| build_full(to, args, 1.0, 1),
        fold: None,
    },
    Signature {
        name: "full",
        params: &[
            required("shape", ArgKind::Ints),
            required("value", ArgKind::Float),
            optional("dtype", ArgKind::Str, Default::Str("f32")),
        ],
        rest: None,
        named: false,
        doc: "A tensor of one number.",
        build: |to, args| build_full(to, args, args.float(1)?, 2),
        fold: None,
    },
    Signature {
        name: "zeros_like",
        params: &[required("x", ArgKind::Tensor)],
        rest: None,
        named: false,
        doc: "Zeros of the shape and dtype of x.",
        build: |to, args| build_like(to, args, 0.0),
        fold: None,
    },
    Signature {
        name: "ones_like",
        params: &[required("x", ArgKind::Tensor)],
        rest: None,
        named: false,
        doc: "Ones of the shape and dtype of x.",
        build: |to, args| build_like(to, args, 1.0),
        fold: None,
    },
    Signature {
        name: "full_like",
        params: &[required("x", ArgKind::Tensor), required("value", ArgKind::Float)],
        rest: None,
        named: false,
        doc: "One number in the shape and dtype of x.",
        build: |to, args| build_like(to, args, args.float(1)?),
        fold: None,
    },
];
