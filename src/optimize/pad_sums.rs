//! Sums of tensors that are padded with zeros at complementary ends become one tensor of their parts: the
//! gradient of `split` is the gradients of the parts side by side, without adding zeros.

use super::rewrite::{Site, rewrite};
use crate::graph::{Graph, NodeId};
use crate::ops::{Binary, Cat, Emit, Op, OpError, Pad, PadMode};
use crate::shape::Dim;

/// Puts them side by side.
pub fn pad_sums(graph: &Graph) -> Graph {
    rewrite(graph, &mut rule)
}

/// The same of one node.
pub(super) fn rule(site: &mut Site<'_, '_>) -> Result<Option<NodeId>, OpError> {
    match *site.node.op {
        Op::Binary(Binary::Add) => sum(site),
        _ => Ok(None),
    }
}

/// A tensor padded with zeros along one axis.
struct Padded {
    axis: usize,
    part: NodeId,
    before: Dim,
    /// Where the part ends.
    end: Dim,
    after: Dim,
}

fn padded(site: &Site<'_, '_>, id: NodeId) -> Option<Padded> {
    let node = site.at(id);
    let Op::Pad(pad) = &*node.op else { return None };
    if pad.mode != PadMode::Constant || pad.value != 0.0 {
        return None;
    }
    let mut axes = (0..pad.pads.len()).filter(|i| !pad.pads[*i].0.is(0) || !pad.pads[*i].1.is(0));
    let (Some(axis), None) = (axes.next(), axes.next()) else { return None };
    let part = node.inputs[0];
    let (before, after) = pad.pads[axis].clone();
    let end = before.clone() + site.at(part).ty.shape[axis].clone();
    Some(Padded { axis, part, before, end, after })
}

fn sum(site: &mut Site<'_, '_>) -> Result<Option<NodeId>, OpError> {
    let (a, b) = (site.inputs[0], site.inputs[1]);
    let (Some(a), Some(b)) = (padded(site, a), padded(site, b)) else { return Ok(None) };
    if a.axis != b.axis || site.at(a.part).ty.rank() != site.at(b.part).ty.rank() {
        return Ok(None);
    }
    let axis = a.axis;
    let (first, second) = match (a.end == b.before, b.end == a.before) {
        (true, _) => (a, b),
        (_, true) => (b, a),
        _ => return Ok(None),
    };
    let mut parts = Vec::new();
    for part in [first.part, second.part] {
        match &*site.at(part).op {
            Op::Cat(cat) if cat.axis == axis => parts.extend_from_slice(&site.at(part).inputs),
            _ => parts.push(part),
        }
    }
    let joined = site.to.emit(Cat { axis }.into(), &parts)?;
    if first.before.is(0) && second.after.is(0) {
        return Ok(Some(joined));
    }
    let mut pads = vec![(Dim::from(0), Dim::from(0)); site.node.ty.rank()];
    pads[axis] = (first.before, second.after);
    site.to.emit(Pad { pads, mode: PadMode::Constant, value: 0.0 }.into(), &[joined]).map(Some)
}
