//! One sample of a batch by itself, `--only K`: which part of each random site's numbers is its own.

use std::collections::{BTreeMap, HashMap};

use super::bind;
use crate::diagnostic::{Diagnostic, codes};
use crate::graph::Graph;
use crate::ops::{Arange, DimValue, Op, Random};
use crate::shape::{Dim, display_shape};

/// One name for all that count samples; no name of the language has a blank.
const BATCH: &str = "the batch";

/// Where sample `k` begins in the numbers of each random site that is drawn for every sample: the sites whose
/// first axis grows with the batch. The others are shared by all samples and are not among them.
///
/// `batch` names the dimensions that count samples, `shapes` are those of the inputs for one sample. A first
/// axis of `c * batch` gives each sample `c` rows in a row.
///
/// # Errors
/// `E0901`: a first axis grows with the batch otherwise (`batch + 1`, `batch^2`), so that no part of it
/// belongs to one sample, or the graph computes with the number of samples; `E0806` when the inputs do not fit.
pub fn first_samples(
    graph: &Graph,
    batch: &[String],
    k: u32,
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Result<HashMap<u64, u32>, Diagnostic> {
    let counts = |name: &str| batch.iter().any(|b| **b == *name);
    let mut one = graph.clone();
    one.map_dims(&mut |d| d.substitute(&|n| counts(n).then(|| Dim::from(1))));
    let binding = bind::bind(&one, shapes)?;
    let mut out = HashMap::new();
    for node in graph.regions.iter().flat_map(|r| r.dag.node_weights()) {
        let (shape, site) = match &*node.op {
            Op::Random(Random { shape, site, .. }) => (shape, site),
            Op::DimValue(DimValue { dim, .. }) | Op::Arange(Arange { len: dim, .. })
                if dim.names().iter().any(|n| counts(n)) =>
            {
                let m = format!("`--only {k}`: the graph computes with the number of samples");
                return Err(Diagnostic::error(codes::BAD_FLAG, m)
                    .label(node.span, format!("{dim} is a number here, and would be that of one sample"))
                    .help("run the whole batch"));
            }
            _ => continue,
        };
        let Some(first) = shape.first().filter(|d| d.names().iter().any(|n| counts(n))) else { continue };
        let first = first.substitute(&|n| match counts(n) {
            true => Some(Dim::name(BATCH)),
            false => binding.get(n).map(|v| Dim::from(*v)),
        });
        // rows * batch + 0: sample k has the rows from k * rows on.
        let rows =
            first.linear_in(BATCH).filter(|(_, rest)| rest.is(0)).and_then(|(rows, _)| rows.as_const());
        let begin = rows.filter(|r| *r > 0).and_then(|r| r.checked_mul(i64::from(k)));
        let Some(begin) = begin.and_then(|b| u32::try_from(b).ok()) else {
            let m = format!("`--only {k}`: no part of this noise belongs to one sample");
            return Err(Diagnostic::error(codes::BAD_FLAG, m)
                .label(node.span, format!("drawn with the shape {}", display_shape(shape)))
                .help(
                    "run the whole batch, or draw noise whose first axis is the batch or a multiple of it",
                ));
        };
        out.insert(*site, begin);
    }
    Ok(out)
}
