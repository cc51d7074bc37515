//! `arange`, and static arrays: `linspace`, `tensor`.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, Signature, optional, required};
use super::expand::dtype;
use super::layout::{arity, check_shape, constant};
use super::util::candle_dtype;
use super::{Binary, Emit, EvalContext, GradContext, NodeId, OpError, Primitive, Table};
use crate::diagnostic::codes;
use crate::shape::{DType, Dim, Type};

/// The numbers 0, 1, … below a length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arange {
    /// How many.
    pub len: Dim,
    /// As what dtype.
    pub dtype: DType,
}

impl Primitive for Arange {
    fn name(&self) -> &'static str {
        "arange"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [] = arity(self.name(), inputs)?;
        check_shape(self.name(), std::slice::from_ref(&self.len))?;
        if self.dtype == DType::Bool {
            return Err(OpError::dtype("`arange` makes numbers, not truth values"));
        }
        Ok(Type::new(self.dtype, vec![self.len.clone()]))
    }

    fn grad(&self, _cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Ok(Vec::new())
    }

    fn eval(&self, cx: &EvalContext<'_>, _inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let len = constant(&self.len)?;
        let values: Vec<i64> = (0..len as i64).collect();
        Tensor::from_vec(values, len, cx.device)?.to_dtype(candle_dtype(self.dtype))
    }

    fn label(&self) -> String {
        format!("arange {}", self.len)
    }

    fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }

    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        self.len = f(&self.len);
    }
}

/// More elements than a static array should hold; longer ones are computed by operations.
const MAX_TABLE: usize = 1 << 24;

fn build_arange(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let dtype = dtype(args, 3)?;
    let (start, end) = match args.is_none(1) {
        true => (Dim::from(0), args.dim(0)?),
        false => (args.dim(0)?, args.dim(1)?),
    };
    let step = args.int(2)?;
    let distance = if step < 0 { start.clone() - end } else { end - start.clone() };
    let stride = step.saturating_abs();
    if stride == 0 {
        return Err(OpError::value("the step of `arange` must not be 0"));
    }
    let len = (distance + Dim::from(stride - 1)).floor_div(stride);
    let plain = start.is(0) && step == 1;
    let mut x = to.emit(Arange { len, dtype: if plain { dtype } else { DType::I64 } }.into(), &[])?;
    if plain {
        return Ok(Arg::Tensor(x));
    }
    if step != 1 {
        x = to.binary_scalar(Binary::Mul, x, step as f64)?;
    }
    if !start.is(0) {
        let first = match start.as_const() {
            Some(first) => to.scalar(first as f64, DType::I64)?,
            None => to.emit(super::DimValue { dim: start, dtype: DType::I64 }.into(), &[])?,
        };
        x = to.binary(Binary::Add, x, first)?;
    }
    if dtype != DType::I64 {
        x = to.emit(super::Cast { dtype }.into(), &[x])?;
    }
    Ok(Arg::Tensor(x))
}

fn build_linspace(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let (start, end, count, dtype) = (args.float(0)?, args.float(1)?, args.size(2)?, dtype(args, 3)?);
    if count > MAX_TABLE {
        return Err(OpError::new(
            codes::SIZE_LIMIT,
            format!("`linspace` of {count} numbers; {MAX_TABLE} at most"),
        ));
    }
    let last = count.saturating_sub(1).max(1) as f64;
    // From both ends, so that the last number is `end` itself.
    let at = |i: usize| {
        let t = i as f64 / last;
        if t < 0.5 { start + (end - start) * t } else { end - (end - start) * (1.0 - t) }
    };
    let values = (0..count).map(at).collect();
    to.emit(Table { values, shape: vec![count], dtype }.into(), &[]).map(Arg::Tensor)
}

/// A nested list as values, shape and whether every number is whole, or a truth value.
struct Nested {
    values: Vec<f64>,
    shape: Vec<usize>,
    dtype: DType,
}

fn nested(arg: &Arg, depth: usize) -> Result<Nested, OpError> {
    let leaf = |value, dtype| Ok(Nested { values: vec![value], shape: Vec::new(), dtype });
    match arg {
        Arg::Int(d) => match d.as_const() {
            Some(v) => leaf(v as f64, DType::I64),
            None => Err(OpError::value(format!("`tensor` of the open dimension {d}"))
                .help("`stack` joins values that are known at run time")),
        },
        Arg::Float(v) => leaf(*v, DType::F32),
        Arg::Bool(v) => leaf(f64::from(u8::from(*v)), DType::Bool),
        Arg::List(_) if depth > 16 => Err(OpError::value("`tensor` of a list nested deeper than 16")),
        Arg::List(items) => {
            let mut out = Nested { values: Vec::new(), shape: vec![0], dtype: DType::I64 };
            for (i, item) in items.iter().enumerate() {
                let part = nested(item, depth + 1)?;
                if i == 0 {
                    out.shape = [&[items.len()], part.shape.as_slice()].concat();
                    out.dtype = part.dtype;
                } else if out.shape[1..] != part.shape {
                    let m = format!(
                        "`tensor`: element 0 has shape {:?} and element {i} {:?}",
                        &out.shape[1..],
                        part.shape
                    );
                    return Err(OpError::shape(m).help("the lists of one level must have one length"));
                } else if (out.dtype == DType::Bool) != (part.dtype == DType::Bool) {
                    return Err(OpError::dtype("`tensor` of truth values and numbers in one list"));
                } else if part.dtype == DType::F32 {
                    out.dtype = DType::F32;
                }
                out.values.extend(part.values);
                if out.values.len() > MAX_TABLE {
                    return Err(OpError::new(
                        codes::SIZE_LIMIT,
                        format!("`tensor` of more than {MAX_TABLE} numbers"),
                    ));
                }
            }
            Ok(out)
        }
        Arg::Tensor(_) => {
            Err(OpError::new(codes::WRONG_KIND, "`tensor` takes static numbers")
                .help("`stack` joins tensors"))
        }
        Arg::Str(_) | Arg::None => {
            Err(OpError::new(codes::WRONG_KIND, "`tensor` takes numbers or truth values"))
        }
    }
}

fn build_tensor(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let Nested { values, shape, dtype: found } = nested(args.params.first().unwrap_or(&Arg::None), 0)?;
    let dtype = if args.is_none(1) { found } else { dtype(args, 1)? };
    if !dtype.is_float() && values.iter().any(|v| v.fract() != 0.0) {
        return Err(OpError::dtype(format!("`tensor` of numbers that are not whole as {dtype}")));
    }
    to.emit(Table { values, shape, dtype }.into(), &[]).map(Arg::Tensor)
}

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "arange",
        params: &[
            required("start", ArgKind::Int),
            optional("end", ArgKind::Int, Default::None),
            optional("step", ArgKind::Int, Default::Int(1)),
            optional("dtype", ArgKind::Str, Default::Str("i64")),
        ],
        rest: None,
        named: false,
        doc: "arange(n): i64 numbers 0 to n - 1. arange(start, end, step): those from start, below end.",
        build: build_arange,
        fold: None,
    },
    Signature {
        name: "linspace",
        params: &[
            required("start", ArgKind::Float),
            required("end", ArgKind::Float),
            required("count", ArgKind::Int),
            optional("dtype", ArgKind::Str, Default::Str("f32")),
        ],
        rest: None,
        named: false,
        doc: "That many numbers from start to end, both included, at equal distances.",
        build: build_linspace,
        fold: None,
    },
    Signature {
        name: "tensor",
        params: &[required("values", ArgKind::Any), optional("dtype", ArgKind::Str, Default::None)],
        rest: None,
        named: false,
        doc: "A number or a nested list as a tensor: whole numbers as i64, others as the model's dtype.",
        build: build_tensor,
        fold: None,
    },
];
