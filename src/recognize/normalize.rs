//! `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * weight + bias`, then silu: layer norm along the last
//! axis, group norm between two reshapes, RMS norm without the mean.

use super::parts::{binary, either, number, row_mean, square, unary};
use super::{Match, Operand};
use crate::graph::{NodeId, Region};
use crate::ops::{Binary, Normalize, Op, Over, Unary};
use crate::shape::Dim;

/// Recognises a normalisation that gives the value of `root`.
pub fn normalize(region: &Region, root: NodeId) -> Option<Match> {
    let ty = &region.node(root).ty;
    if !ty.dtype.is_float() || ty.rank() == 0 {
        return None;
    }
    let mut inside = Vec::new();
    let mut at = root;
    let silu = silu_of(region, root, &mut inside);
    if let Some(x) = silu {
        at = x;
    }
    let found = affine(region, at)?;
    if at != root {
        inside.push(at);
    }
    let Affine { core, weight, bias, inside: between } = found;
    inside.extend(between);
    let Core { x, over, eps, centred, inside: below } = core;
    inside.extend(below);
    let shape = &region.node(at).ty.shape;
    let channels = match over {
        Over::Groups(_) => shape[1].clone(),
        Over::Last => shape[shape.len() - 1].clone(),
    };
    let op = Normalize {
        over,
        eps,
        centred,
        affine: weight.is_some(),
        bias: bias.is_some(),
        silu: silu.is_some(),
    };
    let mut operands = vec![Operand::shaped(region, x, shape)];
    for w in [weight, bias].into_iter().flatten() {
        operands.push(Operand::shaped(region, w, std::slice::from_ref(&channels)));
    }
    inside.retain(|id| *id != root);
    Some(Match { op: op.into(), operands, inside })
}

/// What `silu` is applied to, also where it is written `x * sigmoid(x)`.
fn silu_of(region: &Region, root: NodeId, inside: &mut Vec<NodeId>) -> Option<NodeId> {
    if let Some(x) = unary(region, root, Unary::Silu) {
        return Some(x);
    }
    let gated = |(x, gate): &(NodeId, NodeId)| unary(region, *gate, Unary::Sigmoid) == Some(*x);
    let (x, gate) = either(region, root, Binary::Mul).into_iter().find(gated)?;
    inside.push(gate);
    Some(x)
}

/// A normalisation with what scales and shifts it.
struct Affine {
    core: Core,
    weight: Option<NodeId>,
    bias: Option<NodeId>,
    /// Nodes below the one that was looked at.
    inside: Vec<NodeId>,
}

fn affine(region: &Region, at: NodeId) -> Option<Affine> {
    for (y, bias) in either(region, at, Binary::Add) {
        for (n, weight) in either(region, y, Binary::Mul) {
            let Some(core) = core(region, n) else { continue };
            if per_channel(region, weight, n, &core.over) && per_channel(region, bias, n, &core.over) {
                return Some(Affine { core, weight: Some(weight), bias: Some(bias), inside: vec![y, n] });
            }
        }
    }
    for (n, weight) in either(region, at, Binary::Mul) {
        let Some(core) = core(region, n) else { continue };
        if per_channel(region, weight, n, &core.over) {
            return Some(Affine { core, weight: Some(weight), bias: None, inside: vec![n] });
        }
    }
    let core = core(region, at)?;
    Some(Affine { core, weight: None, bias: None, inside: Vec::new() })
}

/// Whether `w` is one number per channel of `n`, at the axis of the channels.
fn per_channel(region: &Region, w: NodeId, n: NodeId, over: &Over) -> bool {
    let (w, n) = (&region.node(w).ty.shape, &region.node(n).ty.shape);
    let axis = match over {
        Over::Groups(_) => 1,
        Over::Last => n.len() - 1,
    };
    let Some(at) = (axis + w.len()).checked_sub(n.len()) else { return false };
    w.len() <= n.len() && w.iter().enumerate().all(|(i, d)| if i == at { *d == n[axis] } else { d.is(1) })
}

/// The normalisation itself.
struct Core {
    x: NodeId,
    over: Over,
    eps: f64,
    centred: bool,
    /// Nodes between x and the normalised value, x aside.
    inside: Vec<NodeId>,
}

/// `at` is normalised rows, or those under the shape of images.
fn core(region: &Region, at: NodeId) -> Option<Core> {
    if let Some(rows) = rows(region, at) {
        return Some(rows);
    }
    let node = region.node(at);
    let Op::Reshape(_) = *node.op else { return None };
    let inner = node.inputs[0];
    let mut core = rows(region, inner)?;
    // [n, groups, c / groups · s] of [n, c, ..s].
    let (sets, shape) = (&region.node(inner).ty.shape, &node.ty.shape);
    let groups = match (sets.len(), sets.get(1)) {
        (3, Some(g)) => usize::try_from(g.as_const()?).ok().filter(|g| *g > 0)?,
        _ => return None,
    };
    if shape.len() < 2 || shape[0] != sets[0] {
        return None;
    }
    let per_group = shape[1].exact_div(&Dim::from(groups as i64))?;
    let size = shape[2..].iter().fold(per_group, |a, d| a * d.clone());
    if size != sets[2] {
        return None;
    }
    core.over = Over::Groups(groups);
    core.inside.push(inner);
    Some(core)
}

/// `c / sqrt(mean(c^2) + eps)` along the last axis, where c is x or x less its mean.
fn rows(region: &Region, at: NodeId) -> Option<Core> {
    let mut candidates: Vec<(NodeId, NodeId, Vec<NodeId>)> = Vec::new();
    if let Some((c, deviation)) = binary(region, at, Binary::Div)
        && let Some(v) = unary(region, deviation, Unary::Sqrt)
    {
        candidates.push((c, v, vec![deviation]));
    }
    for (c, factor) in either(region, at, Binary::Mul) {
        if let Some(deviation) = unary(region, factor, Unary::Reciprocal)
            && let Some(v) = unary(region, deviation, Unary::Sqrt)
        {
            candidates.push((c, v, vec![factor, deviation]));
        }
        if let Some((v, power)) = binary(region, factor, Binary::Pow)
            && number(region, power) == Some(-0.5)
        {
            candidates.push((c, v, vec![factor]));
        }
    }
    candidates.into_iter().find_map(|(c, v, inside)| of_variance(region, c, v, inside))
}

fn of_variance(region: &Region, c: NodeId, v: NodeId, mut inside: Vec<NodeId>) -> Option<Core> {
    let with_eps = either(region, v, Binary::Add).into_iter();
    let (variance, eps) = with_eps.filter_map(|(v, e)| Some((v, number(region, e)?))).next()?;
    let squares = row_mean(region, variance)?;
    if square(region, squares) != Some(c) || eps < 0.0 {
        return None;
    }
    inside.extend([v, variance, squares]);
    let centre = binary(region, c, Binary::Sub).filter(|(x, mean)| row_mean(region, *mean) == Some(*x));
    Some(match centre {
        Some((x, mean)) => {
            inside.extend([c, mean]);
            Core { x, over: Over::Last, eps, centred: true, inside }
        }
        None => Core { x: c, over: Over::Last, eps, centred: false, inside },
    })
}
