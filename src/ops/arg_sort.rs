//! `argsort`, and what lowers to it and a gather: `sort`, `top_k`.

use std::cmp::Ordering;

use candle_core::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, Signature, optional, required, resolve_axes};
use super::layout::{arity, axis_dim};
use super::primitive::all_lead;
use super::slice::slice;
use super::{Emit, EvalContext, Gather, GradContext, Lead, NodeId, OpError, Primitive};
use crate::diagnostic::codes;
use crate::shape::{DType, Dim, Type, is_nonnegative};

/// The indices that sort an axis. Equal elements keep their order; NaN counts as the greatest, as in PyTorch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArgSort {
    /// The axis.
    pub axis: usize,
    /// Whether the greatest comes first.
    pub descending: bool,
}

impl Primitive for ArgSort {
    fn name(&self) -> &'static str {
        "argsort"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x] = arity(self.name(), inputs)?;
        axis_dim(self.name(), x, self.axis)?;
        Ok(Type::new(DType::I64, x.shape.clone()))
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        if self.axis == 0 { None } else { all_lead(inputs, output) }
    }

    fn grad(&self, _cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Ok(vec![None])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        use candle_core::DType as D;
        // On the CPU for every device, so that the order of equal elements is one.
        let last = inputs[0].rank().saturating_sub(1);
        let x = inputs[0].to_device(&candle_core::Device::Cpu)?.transpose(self.axis, last)?.contiguous()?;
        let width = x.dim(last)?.max(1);
        let flat = x.flatten_all()?;
        let indices = match flat.dtype() {
            D::F64 => self.rows(&flat.to_vec1::<f64>()?, width, total_order),
            D::F32 | D::F16 | D::BF16 => {
                self.rows(&flat.to_dtype(D::F32)?.to_vec1::<f32>()?, width, total_order)
            }
            _ => self.rows(&flat.to_dtype(D::I64)?.to_vec1::<i64>()?, width, i64::cmp),
        };
        Tensor::from_vec(indices, x.dims(), cx.device)?.transpose(self.axis, last)
    }

    fn label(&self) -> String {
        format!("argsort{}, axis {}", if self.descending { " descending" } else { "" }, self.axis)
    }

    fn flops(&self, inputs: &[&Type], output: &Type) -> f64 {
        let width =
            inputs.first().and_then(|x| x.shape.get(self.axis)).map_or(1.0, |d| d.eval_with(1) as f64);
        super::primitive::elements(output) * width.max(2.0).log2()
    }
}

/// Numbers in order, every NaN equal and greatest.
fn total_order<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| {
        let nan = |v: &T| v.partial_cmp(v).is_none();
        nan(a).cmp(&nan(b))
    })
}

impl ArgSort {
    fn rows<T: Sync>(&self, values: &[T], width: usize, order: fn(&T, &T) -> Ordering) -> Vec<i64> {
        let mut out: Vec<i64> = vec![0; values.len()];
        out.par_chunks_mut(width).zip(values.par_chunks(width)).for_each(|(out, row)| {
            for (i, slot) in out.iter_mut().enumerate() {
                *slot = i as i64;
            }
            out.sort_by(|a, b| {
                let order = order(&row[*a as usize], &row[*b as usize]);
                if self.descending { order.reverse() } else { order }
            });
        });
        out
    }
}

/// Emits the sorted values of an axis and their indices.
///
/// # Errors
/// The axis is out of range.
pub fn sort(to: &mut dyn Emit, x: NodeId, axis: i64, descending: bool) -> Result<(NodeId, NodeId), OpError> {
    let axis = resolve_axes(&[axis], to.ty(x).rank())?[0];
    let index = to.emit(ArgSort { axis, descending }.into(), &[x])?;
    Ok((to.emit(Gather { axis }.into(), &[x, index])?, index))
}

/// Emits the `k` greatest values of an axis, the greatest first, and their indices.
///
/// # Errors
/// The axis is out of range or shorter than `k`.
pub fn top_k(to: &mut dyn Emit, x: NodeId, k: &Dim, axis: i64) -> Result<(NodeId, NodeId), OpError> {
    let ty = to.ty(x).clone();
    let axis = resolve_axes(&[axis], ty.rank())?[0];
    if is_nonnegative(k) == Some(false)
        || is_nonnegative(&(ty.shape[axis].clone() - k.clone())) == Some(false)
    {
        let m = format!("the {k} greatest of axis {axis} of {ty}");
        return Err(OpError::new(codes::BAD_VALUE, m).help(format!("`k` may be 0 to {}", ty.shape[axis])));
    }
    let index = to.emit(ArgSort { axis, descending: true }.into(), &[x])?;
    let index = slice(to, index, axis, Dim::from(0), k.clone())?;
    Ok((to.emit(Gather { axis }.into(), &[x, index])?, index))
}

fn pair((values, indices): (NodeId, NodeId)) -> Arg {
    Arg::List(vec![Arg::Tensor(values), Arg::Tensor(indices)])
}

fn build_argsort(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let x = args.tensor(0)?;
    let axis = resolve_axes(&[args.int(1)?], to.ty(x).rank())?[0];
    to.emit(ArgSort { axis, descending: args.bool(2)? }.into(), &[x]).map(Arg::Tensor)
}

const SORT_PARAMS: &[super::ParamSignature] = &[
    required("x", ArgKind::Tensor),
    optional("axis", ArgKind::Int, Default::Int(-1)),
    optional("descending", ArgKind::Bool, Default::Bool(false)),
];

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "sort",
        params: SORT_PARAMS,
        rest: None,
        named: false,
        doc: "The sorted values of an axis and their indices (i64), as two tensors.",
        build: |to, args| sort(to, args.tensor(0)?, args.int(1)?, args.bool(2)?).map(pair),
        fold: None,
    },
    Signature {
        name: "argsort",
        params: SORT_PARAMS,
        rest: None,
        named: false,
        doc: "The indices (i64) that sort an axis; equal elements keep their order.",
        build: build_argsort,
        fold: None,
    },
    Signature {
        name: "top_k",
        params: &[
            required("x", ArgKind::Tensor),
            required("k", ArgKind::Int),
            optional("axis", ArgKind::Int, Default::Int(-1)),
        ],
        rest: None,
        named: false,
        doc: "The k greatest values of an axis, the greatest first, and their indices (i64), as two tensors.",
        build: |to, args| top_k(to, args.tensor(0)?, &args.dim(1)?, args.int(2)?).map(pair),
        fold: None,
    },
];
