//! `slice`, and what lowers to it: `flip`, `split`, `chunk`.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, Signature, optional, required, resolve_axes};
use super::layout::{arity, axis_dim, constant, index_tensor};
use super::pad::pad_axis;
use super::reshape::{reshape, unsqueeze};
use super::{Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, copies};
use crate::diagnostic::codes;
use crate::shape::{Dim, Type, display_shape, is_nonnegative};

/// A range of one axis. A positive step takes `start`, `start + step`, … below `end`; a negative one walks
/// the same range `start .. end` backwards, from `end - 1` down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// The axis.
    pub axis: usize,
    /// The first index of the range; not negative.
    pub start: Dim,
    /// The index after the last of the range; not negative.
    pub end: Dim,
    /// The distance between taken indices; not 0.
    pub step: i64,
}

impl Slice {
    /// Number of taken indices: `ceil((end - start) / |step|)`.
    fn len(&self) -> Dim {
        let step = self.stride();
        (self.end.clone() - self.start.clone() + Dim::from(step - 1)).floor_div(step)
    }

    fn stride(&self) -> i64 {
        self.step.saturating_abs().max(1)
    }
}

impl Primitive for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x] = arity(self.name(), inputs)?;
        let dim = axis_dim(self.name(), x, self.axis)?;
        if self.step == 0 {
            return Err(OpError::value("the step of a slice must not be 0"));
        }
        let what = || format!("{}:{} of axis {} of {x}", self.start, self.end, self.axis);
        in_range(&self.start, &self.end, dim, &what)?;
        let mut out = x.clone();
        out.shape[self.axis] = self.len();
        Ok(out)
    }

    fn leading(&self, _inputs: &[&Type], _output: &Type) -> Option<Vec<Lead>> {
        (self.axis != 0).then(|| vec![Lead::Batch])
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let ty = cx.to.ty(cx.inputs[0]).clone();
        let dim = ty.shape[self.axis].clone();
        let (len, stride) = (self.len(), self.stride());
        if len.is(0) {
            return Ok(vec![None]);
        }
        // Ascending order, then the gaps of the step filled with zeros, then the outside.
        let mut g = cx.grad;
        if self.step < 0 {
            g = flip(cx.to, g, self.axis)?;
        }
        let mut width = len.clone();
        if stride > 1 {
            g = unsqueeze(cx.to, g, self.axis as i64 + 1)?;
            g = pad_axis(cx.to, g, self.axis + 1, Dim::from(0), Dim::from(stride - 1))?;
            let mut shape = ty.shape.clone();
            width = len * Dim::from(stride);
            shape[self.axis] = width.clone();
            g = reshape(cx.to, g, shape)?;
        }
        let gap = Dim::from(stride - 1);
        let first = match self.step > 0 {
            true => self.start.clone(),
            false => self.end.clone() - width.clone() + gap.clone(),
        };
        let after = dim.clone() - first.clone() - width;
        if is_nonnegative(&after) == Some(true) {
            return Ok(vec![Some(pad_axis(cx.to, g, self.axis, first, after)?)]);
        }
        // The gap after the last element may stand out of the axis, by its own length at most.
        g = pad_axis(cx.to, g, self.axis, first, after + gap)?;
        Ok(vec![Some(slice(cx.to, g, self.axis, Dim::from(0), dim)?)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (start, end) = (constant(&self.start)?, constant(&self.end)?);
        let len = end.saturating_sub(start);
        if self.step == 1 {
            return inputs[0].narrow(self.axis, start, len);
        }
        let stride = self.stride() as usize;
        let taken = (0..len.div_ceil(stride)).map(|i| i * stride);
        let indices: Vec<i64> = match self.step > 0 {
            true => taken.map(|i| (start + i) as i64).collect(),
            false => taken.map(|i| (end - 1 - i) as i64).collect(),
        };
        let count = indices.len();
        copies::contiguous(&inputs[0])?.index_select(&index_tensor(cx, indices, &[count])?, self.axis)
    }

    fn label(&self) -> String {
        match self.step {
            1 => format!("slice {}:{} of axis {}", self.start, self.end, self.axis),
            step => format!("slice {}:{} by {step} of axis {}", self.start, self.end, self.axis),
        }
    }

    fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }

    fn is_view(&self, _inputs: &[&Type]) -> bool {
        self.step == 1
    }

    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        self.start = f(&self.start);
        self.end = f(&self.end);
    }
}

/// Checks `0 <= start <= end <= dim` for every value of open names.
fn in_range(start: &Dim, end: &Dim, dim: &Dim, what: &dyn Fn() -> String) -> Result<(), OpError> {
    let checks = [start.clone(), end.clone() - start.clone(), dim.clone() - end.clone()];
    let mut undecided = false;
    for difference in checks {
        match is_nonnegative(&difference) {
            Some(true) => {}
            Some(false) => {
                return Err(OpError::new(codes::BAD_INDEX, format!("{} is out of range", what())).help(
                    format!("indices of that axis run from 0 to {dim}; negative ones count from its end"),
                ));
            }
            None => undecided = true,
        }
    }
    if undecided {
        return Err(undecided_range(&what()));
    }
    Ok(())
}

/// An index that fits for some values of open names and not for others.
pub(super) fn undecided_range(what: &str) -> OpError {
    OpError::new(codes::UNSOLVED_DIM, format!("whether {what} is in range depends on an open dimension"))
        .help("give the axis a size in the signature, or one that shows it, such as `k + 4`")
}

/// An index that may count from the end: a value that is negative whatever its names gets `dim` added.
pub(super) fn from_end(index: &Dim, dim: &Dim) -> Dim {
    match is_nonnegative(index) {
        Some(false) => index.clone() + dim.clone(),
        _ => index.clone(),
    }
}

/// Emits the range `start .. end` of an axis; `x` itself where that is all of it.
///
/// # Errors
/// The range is not inside the axis.
pub fn slice(to: &mut dyn Emit, x: NodeId, axis: usize, start: Dim, end: Dim) -> Result<NodeId, OpError> {
    if start.is(0) && to.ty(x).shape.get(axis) == Some(&end) {
        return Ok(x);
    }
    to.emit(Slice { axis, start, end, step: 1 }.into(), &[x])
}

/// Emits `x` with an axis reversed.
///
/// # Errors
/// The axis is out of range.
pub fn flip(to: &mut dyn Emit, x: NodeId, axis: usize) -> Result<NodeId, OpError> {
    let end = axis_dim("flip", to.ty(x), axis)?.clone();
    to.emit(Slice { axis, start: Dim::from(0), end, step: -1 }.into(), &[x])
}

/// Emits the parts of an axis, of the given sizes in order; one size may be -1.
///
/// # Errors
/// The sizes do not add up to the axis.
pub fn split(to: &mut dyn Emit, x: NodeId, sizes: &[Dim], axis: i64) -> Result<Vec<NodeId>, OpError> {
    let ty = to.ty(x).clone();
    let axis = resolve_axes(&[axis], ty.rank())?[0];
    let sum = |sizes: &[Dim]| sizes.iter().filter(|d| !d.is(-1)).fold(Dim::from(0), |a, d| a + d.clone());
    let rest = ty.shape[axis].clone() - sum(sizes);
    let mut sizes = sizes.to_vec();
    if sizes.iter().filter(|d| d.is(-1)).count() == 1 {
        sizes.iter_mut().filter(|d| d.is(-1)).for_each(|d| *d = rest.clone());
    } else if !rest.is(0) {
        let m = format!(
            "`split` of axis {axis} of {ty} into {}: the sizes add up to {} and the axis is {}",
            display_shape(&sizes),
            sum(&sizes),
            ty.shape[axis]
        );
        return Err(OpError::shape(m).help("-1 in place of one size takes what is left over"));
    }
    let mut start = Dim::from(0);
    let mut parts = Vec::with_capacity(sizes.len());
    for size in sizes {
        let end = start.clone() + size;
        parts.push(slice(to, x, axis, start, end.clone())?);
        start = end;
    }
    Ok(parts)
}

/// Emits equal parts of an axis.
///
/// # Errors
/// Their number does not divide the axis.
pub fn chunk(to: &mut dyn Emit, x: NodeId, parts: i64, axis: i64) -> Result<Vec<NodeId>, OpError> {
    let ty = to.ty(x).clone();
    let at = resolve_axes(&[axis], ty.rank())?[0];
    let count = usize::try_from(parts)
        .ok()
        .filter(|p| (1..=MAX_PARTS).contains(p))
        .ok_or_else(|| OpError::value(format!("{parts} parts of an axis; there can be 1 to {MAX_PARTS}")))?;
    let size = ty.shape[at].exact_div(&Dim::from(parts)).ok_or_else(|| {
        let m = format!("axis {at} of {ty} does not divide into {parts} equal parts");
        OpError::new(codes::NOT_DIVISIBLE, m).help("`split(x, [sizes], axis)` makes unequal parts")
    })?;
    split(to, x, &vec![size; count], axis)
}

/// More parts than any model has; a bound, so that a file cannot ask for a list without end.
const MAX_PARTS: usize = 65_536;

fn list(parts: Vec<NodeId>) -> Arg {
    Arg::List(parts.into_iter().map(Arg::Tensor).collect())
}

fn build_slice(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let x = args.tensor(0)?;
    let ty = to.ty(x).clone();
    let axis = resolve_axes(&[args.int(1)?], ty.rank())?[0];
    let dim = &ty.shape[axis];
    let bound = |i: usize, default: &Dim| match args.is_none(i) {
        true => Ok(default.clone()),
        false => args.dim(i).map(|d| from_end(&d, dim)),
    };
    let (start, end, step) = (bound(2, &Dim::from(0))?, bound(3, dim)?, args.int(4)?);
    match step {
        1 => slice(to, x, axis, start, end),
        _ => to.emit(Slice { axis, start, end, step }.into(), &[x]),
    }
    .map(Arg::Tensor)
}

fn build_flip(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let x = args.tensor(0)?;
    let axes = resolve_axes(&args.ints(1)?, to.ty(x).rank())?;
    axes.into_iter().try_fold(x, |x, axis| flip(to, x, axis)).map(Arg::Tensor)
}

fn build_split(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let (x, axis) = (args.tensor(0)?, args.int(2)?);
    match args.params.get(1) {
        Some(Arg::Int(_)) => chunk(to, x, args.int(1)?, axis).map(list),
        _ => split(to, x, &args.dims(1)?, axis).map(list),
    }
}

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "slice",
        params: &[
            required("x", ArgKind::Tensor),
            required("axis", ArgKind::Int),
            optional("start", ArgKind::Int, Default::None),
            optional("end", ArgKind::Int, Default::None),
            optional("step", ArgKind::Int, Default::Int(1)),
        ],
        rest: None,
        named: false,
        doc: "The range start:end of an axis, every step-th; negative bounds count from the end, a negative \
              step walks the same range backwards.",
        build: build_slice,
        fold: None,
    },
    Signature {
        name: "flip",
        params: &[required("x", ArgKind::Tensor), required("axis", ArgKind::Ints)],
        rest: None,
        named: false,
        doc: "The named axes reversed.",
        build: build_flip,
        fold: None,
    },
    Signature {
        name: "split",
        params: &[
            required("x", ArgKind::Tensor),
            required("sizes", ArgKind::Ints),
            required("axis", ArgKind::Int),
        ],
        rest: None,
        named: false,
        doc: "The parts of an axis as a list: of the given sizes (one may be -1), or that many equal ones.",
        build: build_split,
        fold: None,
    },
    Signature {
        name: "chunk",
        params: &[
            required("x", ArgKind::Tensor),
            required("parts", ArgKind::Int),
            required("axis", ArgKind::Int),
        ],
        rest: None,
        named: false,
        doc: "That many equal parts of an axis as a list.",
        build: |to, args| chunk(to, args.tensor(0)?, args.int(1)?, args.int(2)?).map(list),
        fold: None,
    },
];
