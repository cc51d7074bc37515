//! Algebraic identities: of zero and one, of double negation, conversion and reshaping. As everywhere in
//! such systems, `x * 0` counts as 0 also where x would not be finite.

use super::rewrite::{Site, rewrite};
use crate::graph::{Graph, NodeId};
use crate::ops::{Binary, Cast, Emit, Expand, Op, OpError, Permute, ReduceKind, Reshape, Unary};
use crate::shape::DType;

/// Applies them.
pub fn algebraic(graph: &Graph) -> Graph {
    rewrite(graph, &mut rule)
}

/// The same of one node.
pub(super) fn rule(site: &mut Site<'_, '_>) -> Rewritten {
    let ty = &site.node.ty;
    if ty.dtype == DType::Bool && !matches!(*site.node.op, Op::Checkpoint(_)) {
        return Ok(None);
    }
    match (*site.node.op).clone() {
        Op::Unary(op) => unary(site, op),
        Op::Binary(op) => binary(site, op),
        Op::Cast(op) => cast(site, &op),
        Op::Reshape(op) => reshape(site, &op),
        Op::Permute(op) => permute(site, &op),
        Op::Expand(op) => expand(site, &op),
        Op::Reduce(op) => reduce(site, op.kind, &op.axes, op.keep),
        Op::Where(_) => select(site),
        // Gradients are there by now.
        Op::Checkpoint(_) => Ok(Some(site.inputs[0])),
        Op::Slice(_) | Op::MatMul(_) | Op::Cumulative(_) => zero_in_zero_out(site),
        _ => Ok(None),
    }
}

type Rewritten = Result<Option<NodeId>, OpError>;

fn unary(site: &mut Site<'_, '_>, op: Unary) -> Rewritten {
    let inner = |site: &Site<'_, '_>| site.at(site.inputs[0]).inputs.clone();
    match (op, site.input(0)) {
        (Unary::Neg, Op::Unary(Unary::Neg)) => Ok(Some(inner(site)[0])),
        // -(a - b) = b - a
        (Unary::Neg, Op::Binary(Binary::Sub)) => {
            let operands = inner(site);
            site.to.binary(Binary::Sub, operands[1], operands[0]).map(Some)
        }
        (Unary::Neg, _) => zero_in_zero_out(site),
        _ => Ok(None),
    }
}

fn binary(site: &mut Site<'_, '_>, op: Binary) -> Rewritten {
    let (a, b) = (site.inputs[0], site.inputs[1]);
    let (left, right) = (site.uniform(a), site.uniform(b));
    let is = |side: Option<f64>, value: f64| side == Some(value);
    match op {
        Binary::Add if is(right, 0.0) => return site.fit(a).map(Some),
        Binary::Add if is(left, 0.0) => return site.fit(b).map(Some),
        Binary::Sub if is(right, 0.0) => return site.fit(a).map(Some),
        Binary::Sub if is(left, 0.0) => {
            let b = site.fit(b)?;
            return site.to.unary(Unary::Neg, b).map(Some);
        }
        Binary::Mul if is(left, 0.0) || is(right, 0.0) => return site.filled(0.0).map(Some),
        Binary::Mul | Binary::Div if is(right, 1.0) => return site.fit(a).map(Some),
        Binary::Mul if is(left, 1.0) => return site.fit(b).map(Some),
        Binary::Mul | Binary::Div if is(right, -1.0) => {
            let a = site.fit(a)?;
            return site.to.unary(Unary::Neg, a).map(Some);
        }
        Binary::Mul if is(left, -1.0) => {
            let b = site.fit(b)?;
            return site.to.unary(Unary::Neg, b).map(Some);
        }
        Binary::Div if is(left, 0.0) && !is(right, 0.0) => return site.filled(0.0).map(Some),
        Binary::Pow if is(right, 1.0) => return site.fit(a).map(Some),
        Binary::Pow if is(right, 0.0) => return site.filled(1.0).map(Some),
        Binary::Pow if is(right, 2.0) && site.node.ty.dtype.is_float() => {
            let a = site.fit(a)?;
            return site.to.unary(Unary::Square, a).map(Some);
        }
        _ => {}
    }
    // a + (-b) = a - b, and a - (-b) = a + b
    let negated = match site.input(1) {
        Op::Unary(Unary::Neg) => site.at(b).inputs.first().copied(),
        _ => None,
    };
    match (op, negated) {
        (Binary::Add, Some(b)) => return site.to.binary(Binary::Sub, a, b).map(Some),
        (Binary::Sub, Some(b)) => return site.to.binary(Binary::Add, a, b).map(Some),
        _ => {}
    }
    if op == Binary::Add
        && let Some(sum) = small_ones_first(site)?
    {
        return Ok(Some(sum));
    }
    let shrunk = [narrow(site, a, b), narrow(site, b, a)];
    if shrunk == [None, None] {
        return Ok(None);
    }
    site.to.binary(op, shrunk[0].unwrap_or(a), shrunk[1].unwrap_or(b)).map(Some)
}

/// What an operand was before it was broadcast, if the other operand alone has the shape of the result.
fn narrow(site: &Site<'_, '_>, id: NodeId, other: NodeId) -> Option<NodeId> {
    let node = site.at(id);
    let full = site.at(other).ty.shape == site.node.ty.shape && !matches!(*site.at(other).op, Op::Expand(_));
    (full && matches!(*node.op, Op::Expand(_))).then(|| node.inputs[0])
}

/// (x + a) + b = x + (a + b) where x is a convolution and a and b are numbers of its channels: its bias and the
/// embedding of a timestep. Whether samples have one b or each its own does not matter, so that they have equal bits.
fn small_ones_first(site: &mut Site<'_, '_>) -> Rewritten {
    let shape = &site.node.ty.shape;
    let per_channel = |id: NodeId| {
        let own = &site.at(id).ty.shape;
        let missing = shape.len().saturating_sub(own.len());
        own.iter().enumerate().all(|(i, d)| i + missing < 2 || d.is(1))
    };
    if shape.len() < 3 {
        return Ok(None);
    }
    let sides = [(site.inputs[0], site.inputs[1]), (site.inputs[1], site.inputs[0])];
    for (sum, b) in sides {
        let Op::Binary(Binary::Add) = &*site.at(sum).op else { continue };
        let (x, a) = match site.at(sum).inputs[..] {
            [x, a] if matches!(*site.at(x).op, Op::Conv(_)) => (x, a),
            [a, x] if matches!(*site.at(x).op, Op::Conv(_)) => (x, a),
            _ => continue,
        };
        if site.at(x).ty.shape == *shape && per_channel(a) && per_channel(b) {
            let small = site.to.binary(Binary::Add, a, b)?;
            return site.to.binary(Binary::Add, x, small).map(Some);
        }
    }
    Ok(None)
}

fn cast(site: &mut Site<'_, '_>, op: &Cast) -> Rewritten {
    let x = site.inputs[0];
    if site.at(x).ty.dtype == op.dtype {
        return Ok(Some(x));
    }
    if let (Op::Cast(inner), Some(source)) = (site.input(0), site.at(x).inputs.first().copied()) {
        let from = site.at(source).ty.dtype;
        if holds(inner.dtype, from) {
            return match from == op.dtype {
                true => Ok(Some(source)),
                false => site.to.emit((*op).into(), &[source]).map(Some),
            };
        }
    }
    Ok(None)
}

/// Whether every value of dtype `small` is one of `large`.
fn holds(large: DType, small: DType) -> bool {
    use DType::{BF16, Bool, F16, F32, F64, I64, U8};
    large == small
        || match small {
            Bool => large != Bool,
            U8 => matches!(large, I64 | F16 | F32 | F64),
            F16 | BF16 => matches!(large, F32 | F64),
            F32 => large == F64,
            I64 | F64 => false,
        }
}

fn reshape(site: &mut Site<'_, '_>, op: &Reshape) -> Rewritten {
    let x = site.inputs[0];
    if site.at(x).ty.shape == op.shape {
        return Ok(Some(x));
    }
    if let Some(value) = site.uniform(x) {
        return site.filled(value).map(Some);
    }
    match (site.input(0), site.at(x).inputs.first().copied()) {
        (Op::Reshape(_), Some(source)) => {
            if site.at(source).ty.shape == op.shape {
                return Ok(Some(source));
            }
            site.to.emit(op.clone().into(), &[source]).map(Some)
        }
        _ => Ok(None),
    }
}

fn permute(site: &mut Site<'_, '_>, op: &Permute) -> Rewritten {
    let x = site.inputs[0];
    if op.axes.iter().enumerate().all(|(i, a)| i == *a) {
        return Ok(Some(x));
    }
    if let Some(value) = site.uniform(x) {
        return site.filled(value).map(Some);
    }
    match (site.input(0).clone(), site.at(x).inputs.first().copied()) {
        (Op::Permute(inner), Some(source)) => {
            let axes: Vec<usize> = op.axes.iter().map(|a| inner.axes[*a]).collect();
            if axes.iter().enumerate().all(|(i, a)| i == *a) {
                return Ok(Some(source));
            }
            site.to.emit(Permute { axes }.into(), &[source]).map(Some)
        }
        _ => Ok(None),
    }
}

fn expand(site: &mut Site<'_, '_>, op: &Expand) -> Rewritten {
    let x = site.inputs[0];
    if site.at(x).ty.shape == op.shape {
        return Ok(Some(x));
    }
    match (site.input(0), site.at(x).inputs.first().copied()) {
        (Op::Expand(_), Some(source)) => site.to.emit(op.clone().into(), &[source]).map(Some),
        _ => Ok(None),
    }
}

fn reduce(site: &mut Site<'_, '_>, kind: ReduceKind, axes: &[usize], keep: bool) -> Rewritten {
    let x = site.inputs[0];
    let shape = &site.at(x).ty.shape;
    // Over axes of length 1 there is nothing to reduce.
    if axes.iter().all(|a| shape[*a].is(1)) {
        if keep || axes.is_empty() {
            return Ok(Some(x));
        }
        return site.to.emit(Reshape { shape: site.node.ty.shape.clone() }.into(), &[x]).map(Some);
    }
    match (kind, site.uniform(x)) {
        (ReduceKind::Mean | ReduceKind::Max | ReduceKind::Min, Some(value)) => site.filled(value).map(Some),
        (ReduceKind::Sum, Some(0.0)) => site.filled(0.0).map(Some),
        (ReduceKind::Prod, Some(1.0)) => site.filled(1.0).map(Some),
        // The sum of one number over known axes.
        (ReduceKind::Sum, Some(value)) => {
            let count =
                axes.iter().try_fold(1i64, |n, a| shape[*a].as_const().and_then(|d| n.checked_mul(d)));
            match count {
                Some(count) => site.filled(value * count as f64).map(Some),
                None => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// A choice that is the same everywhere.
fn select(site: &mut Site<'_, '_>) -> Rewritten {
    if site.inputs[1] == site.inputs[2] {
        return site.fit(site.inputs[1]).map(Some);
    }
    match site.uniform(site.inputs[0]) {
        Some(c) => site.fit(site.inputs[if c != 0.0 { 1 } else { 2 }]).map(Some),
        None => Ok(None),
    }
}

/// Linear operations: zeros, if an operand is.
fn zero_in_zero_out(site: &mut Site<'_, '_>) -> Rewritten {
    match site.inputs.iter().any(|i| site.uniform(*i) == Some(0.0)) {
        true => site.filled(0.0).map(Some),
        false => Ok(None),
    }
}
