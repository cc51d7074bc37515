//! Constant folding: arithmetic of constants becomes a constant, arithmetic of a loop's columns and constants
//! a further column, computed in f64 before the run. A column of equal values becomes a constant.

use super::rewrite::{Site, rewrite};
use crate::graph::{Graph, NodeId};
use crate::ops::{Const, Emit, Op, OpError, Primitive, numbers};
use crate::shape::DType;

/// Folds them.
pub fn constant_folding(graph: &Graph) -> Graph {
    rewrite(graph, &mut rule)
}

/// The same of one node.
pub(super) fn rule(site: &mut Site<'_, '_>) -> Folded {
    match &*site.node.op {
        Op::Unary(_) | Op::Binary(_) | Op::Compare(_) | Op::Where(_) | Op::Cast(_) => arithmetic(site),
        Op::Column(c) => {
            let values = site.columns.get(c.index as usize);
            let (first, dtype) = (values.and_then(|v| v.first().copied()), c.dtype);
            match first {
                Some(value) if values.is_some_and(|v| v.iter().all(|x| x.to_bits() == value.to_bits())) => {
                    constant(site, value, dtype)
                }
                _ => Ok(None),
            }
        }
        Op::DimValue(d) => match d.dim.as_const() {
            Some(value) => constant(site, value as f64, d.dtype),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

type Folded = Result<Option<NodeId>, OpError>;

fn constant(site: &mut Site<'_, '_>, value: f64, dtype: DType) -> Folded {
    site.to.emit(Const { value, dtype }.into(), &[]).map(Some)
}

/// What is known of an operand.
enum Known {
    Same(f64),
    PerStep(Vec<f64>),
}

fn arithmetic(site: &mut Site<'_, '_>) -> Folded {
    let mut operands = Vec::with_capacity(site.inputs.len());
    let mut steps = None;
    for id in site.inputs {
        let known = match (&*site.at(*id).op, site.uniform(*id)) {
            (_, Some(value)) => Known::Same(value),
            (Op::Column(c), None) => match site.columns.get(c.index as usize) {
                Some(values) => Known::PerStep(values.clone()),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        if let Known::PerStep(values) = &known {
            steps = Some(values.len());
        }
        operands.push((known, site.at(*id).ty.dtype));
    }
    let count = steps.unwrap_or(1);
    let columns: Vec<(Vec<f64>, DType)> = operands
        .into_iter()
        .map(|(known, dtype)| match known {
            Known::Same(value) => (vec![value; count], dtype),
            Known::PerStep(values) => (values, dtype),
        })
        .collect();
    let out = site.node.ty.dtype;
    let Some(values) = numbers::evaluate(&site.node.op, &columns, out) else { return Ok(None) };
    if steps.is_none() {
        return site.filled(values[0]).map(Some);
    }
    // A column is a number; truth values and integers are left to the run.
    if !out.is_float() || site.node.op.name() == "where" {
        return Ok(None);
    }
    let column = site.column(values, out)?;
    site.fit(column).map(Some)
}
