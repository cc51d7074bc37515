//! `pad`: more elements around a tensor.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, Signature, optional, required};
use super::layout::{arity, constant, index_tensor};
use super::slice::{flip, slice};
use super::{
    Binary, Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, Reduce, ReduceKind, copies,
};
use crate::diagnostic::codes;
use crate::shape::{Dim, Type, is_nonnegative};

/// What padding is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PadMode {
    /// A number.
    Constant,
    /// The elements mirrored at the border, which itself is not repeated: `c b | a b c | b a`.
    Reflect,
    /// The border's element: `a a | a b c | c c`.
    Replicate,
}

impl PadMode {
    const ALL: [(PadMode, &str); 3] =
        [(PadMode::Constant, "constant"), (PadMode::Reflect, "reflect"), (PadMode::Replicate, "replicate")];

    fn name(self) -> &'static str {
        PadMode::ALL.iter().find(|(m, _)| *m == self).map_or("constant", |(_, n)| n)
    }
}

/// Elements added before and after each axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pad {
    /// How many before and after, per axis; not negative.
    pub pads: Vec<(Dim, Dim)>,
    /// What they are.
    pub mode: PadMode,
    /// The number of [`PadMode::Constant`].
    pub value: f64,
}

impl Pad {
    /// The axes that get something.
    fn padded(&self) -> impl DoubleEndedIterator<Item = (usize, &Dim, &Dim)> {
        self.pads
            .iter()
            .enumerate()
            .filter(|(_, (before, after))| !before.is(0) || !after.is(0))
            .map(|(axis, (before, after))| (axis, before, after))
    }
}

impl Primitive for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x] = arity(self.name(), inputs)?;
        if self.pads.len() != x.rank() {
            let m = format!("`pad` with {} pairs of {x}, which has rank {}", self.pads.len(), x.rank());
            return Err(OpError::new(codes::WRONG_RANK, m));
        }
        let mut out = x.clone();
        if self.mode == PadMode::Constant {
            out.space = None;
        }
        for (axis, before, after) in self.padded() {
            let dim = &x.shape[axis];
            for size in [before, after] {
                if is_nonnegative(size) == Some(false) {
                    return Err(OpError::value(format!(
                        "`pad` of axis {axis} of {x} by {size}, which is negative"
                    )));
                }
                // A mirror needs as many other elements as it gives; a border needs to be there.
                let room = match self.mode {
                    PadMode::Constant => Dim::from(0),
                    PadMode::Reflect => dim.clone() - Dim::from(1) - size.clone(),
                    PadMode::Replicate => dim.clone() - Dim::from(1),
                };
                match is_nonnegative(&room) {
                    Some(true) => {}
                    Some(false) => {
                        let m =
                            format!("`pad` of axis {axis} of {x} by {size}, mode \"{}\"", self.mode.name());
                        return Err(OpError::value(m).help("the axis is too short for that mode"));
                    }
                    None => {
                        let what = format!("padding axis {axis} of {x} by {size}");
                        return Err(super::slice::undecided_range(&what));
                    }
                }
            }
            out.shape[axis] = before.clone() + dim.clone() + after.clone();
        }
        Ok(out)
    }

    fn leading(&self, _inputs: &[&Type], _output: &Type) -> Option<Vec<Lead>> {
        let (before, after) = self.pads.first()?;
        (before.is(0) && after.is(0)).then(|| vec![Lead::Batch])
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let shape = cx.to.ty(cx.inputs[0]).shape.clone();
        let mut g = cx.grad;
        for (axis, before, after) in self.padded() {
            let dim = &shape[axis];
            let end = before.clone() + dim.clone();
            let mut sum = slice(cx.to, g, axis, before.clone(), end.clone())?;
            if self.mode != PadMode::Constant {
                // What was copied out of the tensor flows back to where it came from.
                let sides = [
                    (before, Dim::from(0), before.clone(), true),
                    (after, end.clone(), end.clone() + after.clone(), false),
                ];
                for (size, from, until, left) in sides {
                    if size.is(0) {
                        continue;
                    }
                    let part = slice(cx.to, g, axis, from, until)?;
                    let (part, width, offset) = match self.mode {
                        PadMode::Reflect => {
                            let offset = match left {
                                true => Dim::from(1),
                                false => dim.clone() - Dim::from(1) - size.clone(),
                            };
                            (flip(cx.to, part, axis)?, size.clone(), offset)
                        }
                        _ => {
                            let sum = Reduce { kind: ReduceKind::Sum, axes: vec![axis], keep: true };
                            let offset = if left { Dim::from(0) } else { dim.clone() - Dim::from(1) };
                            (cx.to.emit(sum.into(), &[part])?, Dim::from(1), offset)
                        }
                    };
                    let rest = dim.clone() - offset.clone() - width;
                    let part = pad_axis(cx.to, part, axis, offset, rest)?;
                    sum = cx.to.binary(Binary::Add, sum, part)?;
                }
            }
            g = sum;
        }
        Ok(vec![Some(g)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let mut x = inputs[0].clone();
        for (axis, before, after) in self.padded() {
            let (before, after) = (constant(before)?, constant(after)?);
            let len = x.dim(axis)?;
            x = match self.mode {
                PadMode::Constant => {
                    let mut parts = Vec::with_capacity(3);
                    let fill = |size: usize| {
                        let mut dims = x.dims().to_vec();
                        dims[axis] = size;
                        Tensor::full(self.value, (), cx.device)?.to_dtype(x.dtype())?.broadcast_as(dims)
                    };
                    if before > 0 {
                        parts.push(fill(before)?);
                    }
                    parts.push(x.clone());
                    if after > 0 {
                        parts.push(fill(after)?);
                    }
                    copies::cat(&parts, axis)?
                }
                PadMode::Reflect | PadMode::Replicate => {
                    let last = len as i64 - 1;
                    let source = |i: usize| {
                        let i = i as i64 - before as i64;
                        match self.mode {
                            PadMode::Reflect => last - (last - i.abs()).abs(),
                            _ => i.clamp(0, last),
                        }
                    };
                    let indices: Vec<i64> = (0..before + len + after).map(source).collect();
                    let count = indices.len();
                    x.contiguous()?.index_select(&index_tensor(cx, indices, &[count])?, axis)?
                }
            };
        }
        Ok(x)
    }

    fn label(&self) -> String {
        let sides: Vec<String> = self.pads.iter().map(|(a, b)| format!("({a}, {b})")).collect();
        format!("pad {} {}", self.mode.name(), sides.join(" "))
    }

    fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }

    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        for (before, after) in &mut self.pads {
            *before = f(before);
            *after = f(after);
        }
    }
}

/// Emits zeros before and after one axis; `x` itself where both are 0.
///
/// # Errors
/// A size is negative.
pub fn pad_axis(
    to: &mut dyn Emit,
    x: NodeId,
    axis: usize,
    before: Dim,
    after: Dim,
) -> Result<NodeId, OpError> {
    if before.is(0) && after.is(0) {
        return Ok(x);
    }
    let mut pads = vec![(Dim::from(0), Dim::from(0)); to.ty(x).rank()];
    if let Some(at) = pads.get_mut(axis) {
        *at = (before, after);
    }
    to.emit(Pad { pads, mode: PadMode::Constant, value: 0.0 }.into(), &[x])
}

/// The pairs per axis: a flat list goes from the last axis to the first, as PyTorch's does (left, right, top,
/// bottom); a list of pairs goes along the axes.
fn pairs(args: &Args, rank: usize) -> Result<Vec<(Dim, Dim)>, OpError> {
    let pair = |items: &[Dim]| match items {
        [before, after] => Ok((before.clone(), after.clone())),
        _ => Err(OpError::value("`pad` takes pairs (before, after)").help(
            "`pad(x, [left, right, top, bottom])`, or one pair per axis: `[[0, 0], [0, 0], [1, 1], [1, 1]]`",
        )),
    };
    let dims = |arg: &Arg| {
        let one = Args { params: vec![arg.clone()], ..Args::default() };
        one.dims(0)
    };
    let out: Vec<(Dim, Dim)> = match args.params.get(1) {
        Some(Arg::List(items)) if items.iter().any(|i| matches!(i, Arg::List(_))) => {
            items.iter().map(|i| pair(&dims(i)?)).collect::<Result<_, _>>()?
        }
        _ => {
            let mut sides = args.dims(1)?.chunks(2).map(pair).collect::<Result<Vec<_>, _>>()?;
            if sides.len() > rank {
                let m = format!("`pad` with {} pairs of a tensor of rank {rank}", sides.len());
                return Err(OpError::new(codes::WRONG_RANK, m));
            }
            sides.resize(rank, (Dim::from(0), Dim::from(0)));
            sides.reverse();
            sides
        }
    };
    if out.len() != rank {
        let m = format!("`pad` with {} pairs of a tensor of rank {rank}", out.len());
        return Err(OpError::new(codes::WRONG_RANK, m).help("give one pair per axis"));
    }
    Ok(out)
}

fn build(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let mut x = args.tensor(0)?;
    let name = args.str(2)?;
    let mode = PadMode::ALL.iter().find(|(_, n)| *n == name).map(|(m, _)| *m).ok_or_else(|| {
        OpError::value(format!("`pad` has no mode \"{name}\""))
            .help("\"constant\", \"reflect\" or \"replicate\"")
    })?;
    let mut pads = pairs(args, to.ty(x).rank())?;
    // A negative pad cuts off.
    for (axis, (before, after)) in pads.iter_mut().enumerate() {
        let dim = to.ty(x).shape[axis].clone();
        let (mut start, mut end) = (Dim::from(0), dim);
        if is_nonnegative(before) == Some(false) {
            start = -std::mem::take(before);
        }
        if is_nonnegative(after) == Some(false) {
            end = end + std::mem::take(after);
        }
        x = slice(to, x, axis, start, end)?;
    }
    if pads.iter().all(|(before, after)| before.is(0) && after.is(0)) {
        return Ok(Arg::Tensor(x));
    }
    to.emit(Pad { pads, mode, value: args.float(3)? }.into(), &[x]).map(Arg::Tensor)
}

/// How the language calls it.
pub const SIGNATURES: &[Signature] = &[Signature {
    name: "pad",
    params: &[
        required("x", ArgKind::Tensor),
        required("pads", ArgKind::Any),
        optional("mode", ArgKind::Str, Default::Str("constant")),
        optional("value", ArgKind::Float, Default::Float(0.0)),
    ],
    rest: None,
    named: false,
    doc: "Elements around the last axes: [left, right, top, bottom] as in PyTorch, or one pair per axis; mode \
          \"constant\", \"reflect\" or \"replicate\"; a negative number cuts off.",
    build,
    fold: None,
}];
