//! Gives the open dimensions of a graph their values, from the shapes that its inputs really have.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, codes};
use crate::graph::Graph;
use crate::ops::{Op, Primitive};
use crate::shape::solve::{Solution, solve};
use crate::shape::{Dim, Type, display_shape};
use crate::source::Span;

/// The values of open dimensions, by name.
pub type Binding = BTreeMap<Arc<str>, i64>;

/// Solves the open dimensions of `graph` from the shapes of its inputs.
///
/// # Errors
/// [`codes::DATA_SHAPE`]: an input is missing, or its shape does not fit its type.
pub fn bind(graph: &Graph, shapes: &BTreeMap<String, Vec<usize>>) -> Result<Binding, Diagnostic> {
    let mut binding = Binding::new();
    let inputs: Vec<(Span, &str, &Type, &[usize])> = graph
        .root()
        .dag
        .node_weights()
        .filter_map(|node| match &*node.op {
            Op::Input(input) => Some((node.span, input)),
            _ => None,
        })
        .map(|(span, input)| match shapes.get(&input.name) {
            Some(shape) => Ok((span, input.name.as_str(), &input.ty, shape.as_slice())),
            None => Err(missing(graph, &input.name, &input.ty, span)),
        })
        .collect::<Result<_, _>>()?;
    // An expression of two unknowns may become solvable once another input has fixed one of them.
    loop {
        let (mut left, mut solved) = (None, false);
        for &(span, name, ty, shape) in &inputs {
            if shape.len() != ty.rank() {
                return Err(misfit(name, ty, shape, span, &binding));
            }
            for (dim, actual) in ty.shape.iter().zip(shape) {
                let known = substitute(dim, &binding);
                let unknown = known.names();
                match solve(&known, &Dim::from(*actual), &|n| unknown.contains(n)) {
                    Solution::Holds => {}
                    Solution::Solved(value) => match (value.as_const(), unknown.first()) {
                        (Some(value), Some(unknown)) if value >= 0 => {
                            binding.insert(unknown.clone(), value);
                            solved = true;
                        }
                        _ => return Err(misfit(name, ty, shape, span, &binding)),
                    },
                    Solution::Unsolvable => left = Some((name, ty, shape, span)),
                    Solution::Differs | Solution::Remainder => {
                        return Err(misfit(name, ty, shape, span, &binding));
                    }
                }
            }
        }
        match left {
            None => return Ok(binding),
            Some((name, ty, shape, span)) if !solved => return Err(misfit(name, ty, shape, span, &binding)),
            Some(_) => {}
        }
    }
}

/// The graph with every open dimension replaced.
///
/// # Errors
/// [`codes::INTERNAL`]: a dimension stays open, or becomes negative.
pub fn bound(graph: &Graph, binding: &Binding) -> Result<Graph, Diagnostic> {
    let mut graph = graph.clone();
    graph.map_dims(&mut |d| substitute(d, binding));
    for region in &graph.regions {
        for node in region.dag.node_weights() {
            if node.ty.constant_shape().is_none() {
                let message =
                    format!("the size of `{}` is not known before the run: {}", node.op.name(), node.ty);
                return Err(Diagnostic::error(codes::INTERNAL, message)
                    .label(node.span, "here")
                    .help("no input of this graph fixes the dimension; give it as a parameter"));
            }
        }
    }
    Ok(graph)
}

fn substitute(dim: &Dim, binding: &Binding) -> Dim {
    dim.substitute(&|name| binding.get(name).map(|v| Dim::from(*v)))
}

fn missing(graph: &Graph, name: &str, ty: &Type, span: Span) -> Diagnostic {
    Diagnostic::error(codes::DATA_SHAPE, format!("`{}` needs the input `{name}`, a tensor {ty}", graph.name))
        .label(span, "not given")
        .help(format!("give it with `--{name} FILE`"))
}

fn misfit(name: &str, ty: &Type, shape: &[usize], span: Span, binding: &Binding) -> Diagnostic {
    let found: Vec<Dim> = shape.iter().map(|d| Dim::from(*d)).collect();
    let message = format!("input `{name}` has shape {}, expected {ty}", display_shape(&found));
    let mut out = Diagnostic::error(codes::DATA_SHAPE, message).label(span, format!("expects {ty}"));
    // The names that other inputs (or other axes) have fixed, where those are what does not fit.
    let names = ty.shape.iter().zip(shape).filter(|(d, actual)| {
        shape.len() == ty.rank() && !substitute(d, binding).is(i64::try_from(**actual).unwrap_or(i64::MAX))
    });
    let names: std::collections::BTreeSet<_> = names.flat_map(|(d, _)| d.names()).collect();
    let known: Vec<String> =
        names.iter().filter_map(|n| Some(format!("{n} = {}", binding.get(n)?))).collect();
    if !known.is_empty() {
        out = out.note(format!("the inputs before say {}", known.join(", ")));
    }
    out.help(format!("give an array of shape {}", display_shape(&ty.shape)))
}
