//! `rearrange`, `reduce` and `repeat` by einops patterns (Rogozhnikov, "Einops: clear and reliable tensor
//! manipulations with Einstein-like notation", ICLR 2022). They lower to reshape, permute, reduce and expand.

use super::args::{Arg, ArgKind, Args, Signature, required};
use super::expand::expand;
use super::pattern::{self, Axis, Side, Sizes, malformed, names, rest_name, show};
use super::permute::permute;
use super::reshape::reshape;
use super::{Emit, NodeId, OpError, Reduce, ReduceKind};
use crate::diagnostic::codes;
use crate::shape::Dim;

/// A pattern matched with a tensor.
struct Matched {
    /// The tensor, an axis per elementary axis of the left side.
    x: NodeId,
    /// Those axes, without literal ones.
    axes: Sizes,
    /// The right side, `...` replaced.
    right: Side,
}

fn matched(to: &mut dyn Emit, x: NodeId, pattern: &str, given: &[(String, Dim)]) -> Result<Matched, OpError> {
    let (left, right) = pattern::arrow(pattern)?;
    let (left, right) = (pattern::side(pattern, left)?, pattern::side(pattern, right)?);
    if let Some((name, _)) = given.iter().find(|(n, _)| !names(&left).chain(names(&right)).any(|m| m == n)) {
        let m = format!("the axis `{name}` has a length and does not stand in the pattern \"{pattern}\"");
        return Err(OpError::new(codes::UNKNOWN_ARGUMENT, m));
    }
    let has_rest = |side: &Side| side.iter().flatten().any(|a| *a == Axis::Rest);
    if has_rest(&left) != has_rest(&right) {
        let (with, without) = if has_rest(&left) { ("left", "right") } else { ("right", "left") };
        return Err(malformed(pattern, format!("`...` stands on the {with} and not on the {without}")));
    }
    let ty = to.ty(x).clone();
    let axes = pattern::fit(pattern, &left, &ty, given)?;
    // Anonymous axes of the left have length 1 and carry nothing.
    if let Some((Axis::Literal(value), _)) =
        axes.iter().find(|(a, _)| matches!(a, Axis::Literal(v) if *v != 1))
    {
        return Err(malformed(
            pattern,
            format!("the anonymous axis `{value}` on the left must be 1, or have a name"),
        ));
    }
    let axes: Sizes = axes.into_iter().filter(|(a, _)| !matches!(a, Axis::Literal(_))).collect();
    let x = reshape(to, x, axes.iter().map(|(_, d)| d.clone()).collect())?;
    let rest = axes.iter().filter(|(a, _)| show(a).starts_with("...")).count();
    let right = right
        .into_iter()
        .flat_map(|item| match item.as_slice() {
            [Axis::Rest] => (0..rest).map(|i| vec![rest_name(i)]).collect::<Vec<_>>(),
            _ => vec![
                item.into_iter()
                    .flat_map(|a| match a {
                        Axis::Rest => (0..rest).map(rest_name).collect(),
                        a => vec![a],
                    })
                    .collect(),
            ],
        })
        .collect();
    Ok(Matched { x, axes, right })
}

/// Brings the axes into the order of the right side, puts in those that only it has, and merges.
fn finish(
    to: &mut dyn Emit,
    pattern: &str,
    m: Matched,
    given: &[(String, Dim)],
    may_add: bool,
) -> Result<NodeId, OpError> {
    let (mut order, mut narrow, mut wide, mut out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for item in &m.right {
        let mut merged = Dim::from(1);
        for axis in item {
            let (from, to) = match m.axes.iter().position(|(a, _)| a == axis) {
                Some(at) => {
                    order.push(at);
                    (m.axes[at].1.clone(), m.axes[at].1.clone())
                }
                None => (Dim::from(1), added(pattern, axis, given, may_add)?),
            };
            merged = merged * to.clone();
            narrow.push(from);
            wide.push(to);
        }
        out.push(merged);
    }
    let x = permute(to, m.x, order)?;
    let x = reshape(to, x, narrow)?;
    let x = expand(to, x, wide)?;
    reshape(to, x, out)
}

/// The length of an axis that only the right side has.
fn added(pattern: &str, axis: &Axis, given: &[(String, Dim)], may_add: bool) -> Result<Dim, OpError> {
    match axis {
        Axis::Literal(1) => Ok(Dim::from(1)),
        Axis::Literal(value) if may_add => Ok(Dim::from(*value)),
        Axis::Name(name) if may_add => {
            given.iter().find(|(n, _)| n == name).map(|(_, d)| d.clone()).ok_or_else(|| {
                malformed(pattern, format!("the new axis `{name}` has no length"))
                    .help(format!("give one after the pattern: `{name} = 2`"))
            })
        }
        axis => Err(malformed(pattern, format!("the axis `{}` stands on the right only", show(axis)))
            .help("`repeat` makes new axes")),
    }
}

/// The axes of the left side that the right has not.
fn dropped(m: &Matched) -> Vec<usize> {
    let kept = |a: &Axis| m.right.iter().flatten().any(|r| r == a);
    m.axes.iter().enumerate().filter(|(_, (a, _))| !kept(a)).map(|(i, _)| i).collect()
}

fn refuse_dropped(pattern: &str, m: &Matched) -> Result<(), OpError> {
    match dropped(m).first() {
        Some(at) => {
            Err(malformed(pattern, format!("the axis `{}` stands on the left only", show(&m.axes[*at].0)))
                .help("`reduce` takes axes out"))
        }
        None => Ok(()),
    }
}

/// Emits `x` with its axes split, reordered and merged as the pattern says.
///
/// # Errors
/// A malformed pattern, or one that does not fit `x`.
pub fn rearrange(
    to: &mut dyn Emit,
    x: NodeId,
    pattern: &str,
    sizes: &[(String, Dim)],
) -> Result<NodeId, OpError> {
    let m = matched(to, x, pattern, sizes)?;
    refuse_dropped(pattern, &m)?;
    finish(to, pattern, m, sizes, false)
}

/// Emits `x` repeated along the axes that only the right side has.
///
/// # Errors
/// A malformed pattern, one that does not fit `x`, or a new axis without a length.
pub fn repeat(
    to: &mut dyn Emit,
    x: NodeId,
    pattern: &str,
    sizes: &[(String, Dim)],
) -> Result<NodeId, OpError> {
    let m = matched(to, x, pattern, sizes)?;
    refuse_dropped(pattern, &m)?;
    finish(to, pattern, m, sizes, true)
}

/// Emits `x` reduced over the axes that only the left side has.
///
/// # Errors
/// A malformed pattern, or one that does not fit `x`.
pub fn reduce(
    to: &mut dyn Emit,
    x: NodeId,
    pattern: &str,
    kind: ReduceKind,
    sizes: &[(String, Dim)],
) -> Result<NodeId, OpError> {
    let mut m = matched(to, x, pattern, sizes)?;
    let axes = dropped(&m);
    if !axes.is_empty() {
        match kind {
            // The product is over one axis at a time.
            ReduceKind::Prod => {
                for axis in axes.iter().rev() {
                    m.x = to.emit(Reduce { kind, axes: vec![*axis], keep: false }.into(), &[m.x])?;
                }
            }
            _ => m.x = to.emit(Reduce { kind, axes: axes.clone(), keep: false }.into(), &[m.x])?,
        }
        let mut i = 0;
        m.axes.retain(|_| {
            i += 1;
            !axes.contains(&(i - 1))
        });
    }
    finish(to, pattern, m, sizes, false)
}

/// The named arguments of a call as lengths of axes.
///
/// # Errors
/// One is no integer.
pub fn sizes(named: &[(String, Arg)]) -> Result<Vec<(String, Dim)>, OpError> {
    named
        .iter()
        .map(|(name, value)| match value {
            Arg::Int(d) => Ok((name.clone(), d.clone())),
            _ => Err(OpError::new(
                codes::WRONG_KIND,
                format!("the length of the axis `{name}` must be an integer"),
            )),
        })
        .collect()
}

fn build_rearrange(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    rearrange(to, args.tensor(0)?, args.str(1)?, &sizes(&args.named)?).map(Arg::Tensor)
}

fn build_reduce(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let kind = match args.str(2)? {
        "sum" => ReduceKind::Sum,
        "mean" => ReduceKind::Mean,
        "max" => ReduceKind::Max,
        "min" => ReduceKind::Min,
        "prod" => ReduceKind::Prod,
        other => {
            let error = OpError::value(format!("`reduce` has no kind \"{other}\""));
            return Err(error.help("\"sum\", \"mean\", \"max\", \"min\" or \"prod\""));
        }
    };
    reduce(to, args.tensor(0)?, args.str(1)?, kind, &sizes(&args.named)?).map(Arg::Tensor)
}

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "rearrange",
        params: &[required("x", ArgKind::Tensor), required("pattern", ArgKind::Str)],
        rest: None,
        named: true,
        doc: "Splits, reorders and merges axes: rearrange(x, \"b c (h p) (w q) -> b (h w) (c p q)\", p = 4, q = 4).",
        build: build_rearrange,
        fold: None,
    },
    Signature {
        name: "reduce",
        params: &[
            required("x", ArgKind::Tensor),
            required("pattern", ArgKind::Str),
            required("kind", ArgKind::Str),
        ],
        rest: None,
        named: true,
        doc: "Reduces the axes that only the left side has: reduce(x, \"b c h w -> b c\", \"mean\").",
        build: build_reduce,
        fold: None,
    },
];
