//! What to say when an operation fails while a graph runs.

use candle_core::Tensor;

use super::watch::RunError;
use crate::diagnostic::{Diagnostic, codes};
use crate::graph::{Graph, Node};
use crate::ops::{Op, Primitive};
use crate::shape::display_shape;

/// An index that is not in its axis: of values, which no check knows.
fn outside(op: &Op, inputs: &[&Tensor]) -> Option<Diagnostic> {
    let (axis, index) = match op {
        Op::Take(t) => (t.axis, inputs.get(1)?),
        Op::Gather(g) => (g.axis, inputs.get(1)?),
        Op::ScatterAdd(s) => (s.axis, inputs.get(1)?),
        Op::IndexAdd(s) => (s.axis, inputs.get(1)?),
        _ => return None,
    };
    let length = i64::try_from(*inputs.first()?.dims().get(axis)?).ok()?;
    let values = index.flatten_all().and_then(|i| i.to_dtype(candle_core::DType::I64)?.to_vec1::<i64>());
    let wrong = values.ok()?.into_iter().find(|i| !(0..length).contains(i))?;
    let m = format!("`{}` reads place {wrong} of an axis of length {length}", op.name());
    let help = match length {
        0 => "the axis has no place".to_string(),
        _ => format!(
            "places are 0 to {}: check the labels, names and counts that the graph is given",
            length - 1
        ),
    };
    Some(Diagnostic::error(codes::BAD_INDEX, m).help(help))
}

/// An operation failed after a clean check: our fault, unless the machine is out of memory.
pub(super) fn failure(
    graph: &Graph,
    node: &Node,
    inputs: &[&Tensor],
    error: &candle_core::Error,
) -> RunError {
    let text = error.to_string();
    let reason = text.lines().next().unwrap_or("unknown error");
    let lower = text.to_lowercase();
    let mut out = if lower.contains("out of memory") || lower.contains("out_of_memory") {
        Diagnostic::error(
            codes::TENSOR_TOO_LARGE,
            format!("the device is out of memory at `{}`", node.op.name()),
        )
        .help("use a smaller batch, or `--device cpu`")
    } else if let Some(d) = outside(&node.op, inputs) {
        d
    } else {
        Diagnostic::error(codes::INTERNAL, format!("`{}` failed: {reason}", node.op.label()))
            .help("the check should have excluded this: please report it with the file")
    };
    out = out.label(node.span, format!("gives {}", node.ty));
    let shapes: Vec<String> = inputs
        .iter()
        .map(|t| {
            let shape: Vec<_> = t.dims().iter().map(|d| (*d).into()).collect();
            format!("{}{}", t.dtype().as_str(), display_shape(&shape))
        })
        .collect();
    if !shapes.is_empty() {
        out = out.note(format!("inputs: {}", shapes.join(", ")));
    }
    let place =
        if node.path.is_empty() { graph.name.clone() } else { format!("{}, {}", graph.name, node.path) };
    out.note(format!("in `{place}`")).into()
}
