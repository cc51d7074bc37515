//! `einsum`: sums of products by the names of axes. It contracts the operands from left to right; a pair
//! lowers to permute, reshape and a batched matrix product, or to a product and a sum where there is none.

use std::collections::BTreeSet;

use super::args::{Arg, ArgKind, Args, Signature, required};
use super::pattern::{arrow, malformed};
use super::permute::permute;
use super::reshape::reshape;
use super::{Binary, Emit, MatMul, NodeId, OpError, Reduce, ReduceKind};
use crate::diagnostic::codes;
use crate::shape::{Dim, Type, broadcast_all};

/// An operand in the course of contraction: a name per axis.
#[derive(Clone, Debug)]
struct Term {
    node: NodeId,
    axes: Vec<String>,
}

impl Term {
    fn has(&self, name: &str) -> bool {
        self.axes.iter().any(|a| a == name)
    }

    fn dim(&self, to: &dyn Emit, name: &str) -> Dim {
        let at = self.axes.iter().position(|a| a == name);
        at.map_or_else(|| Dim::from(1), |at| to.ty(self.node).shape[at].clone())
    }

    fn sum(&mut self, to: &mut dyn Emit, drop: impl Fn(&str) -> bool) -> Result<(), OpError> {
        let axes: Vec<usize> = (0..self.axes.len()).filter(|i| drop(&self.axes[*i])).collect();
        if !axes.is_empty() {
            self.node = to.emit(Reduce { kind: ReduceKind::Sum, axes, keep: false }.into(), &[self.node])?;
            self.axes.retain(|a| !drop(a));
        }
        Ok(())
    }

    fn order(&mut self, to: &mut dyn Emit, axes: &[String]) -> Result<(), OpError> {
        let order = axes.iter().filter_map(|a| self.axes.iter().position(|b| a == b)).collect();
        self.node = permute(to, self.node, order)?;
        self.axes.retain(|a| axes.contains(a));
        self.axes.sort_by_key(|a| axes.iter().position(|b| a == b));
        Ok(())
    }
}

/// The names of an operand or of the result: words if the pattern has spaces within a part, else letters.
fn axes(pattern: &str, part: &str, words: bool) -> Result<Vec<String>, OpError> {
    let spaced = part.replace("...", " ... ");
    let mut out: Vec<String> = Vec::new();
    for word in spaced.split_whitespace() {
        let names: Vec<String> = match words || word == "..." {
            true => vec![word.to_string()],
            false => word.chars().map(String::from).collect(),
        };
        for name in names {
            let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_')
                && !name.starts_with(|c: char| c.is_ascii_digit());
            if !is_name && name != "..." {
                let error = malformed(pattern, format!("`{name}` is no name of an axis"));
                return Err(error.help("\"b i d, b j d -> b i j\" or \"bid,bjd->bij\""));
            }
            if out.contains(&name) {
                let problem =
                    format!("`{name}` stands twice in `{}`; diagonals cannot be taken", part.trim());
                return Err(malformed(pattern, problem));
            }
            out.push(name);
        }
    }
    Ok(out)
}

struct Parsed {
    inputs: Vec<Vec<String>>,
    output: Vec<String>,
}

fn parse(pattern: &str, operands: usize) -> Result<Parsed, OpError> {
    let (left, right) = arrow(pattern)?;
    let parts: Vec<&str> = left.split(',').collect();
    if right.contains(',') {
        return Err(malformed(pattern, "there is a `,` after the `->`"));
    }
    if parts.len() != operands {
        let m =
            malformed(pattern, format!("it has {} operands, and {operands} tensors were given", parts.len()));
        return Err(m);
    }
    let words = parts
        .iter()
        .chain([&right])
        .any(|p| p.trim().replace("...", "").trim().contains(char::is_whitespace));
    let inputs: Vec<Vec<String>> = parts.iter().map(|p| axes(pattern, p, words)).collect::<Result<_, _>>()?;
    let output = axes(pattern, right, words)?;
    if let Some(name) = output.iter().find(|n| !inputs.iter().flatten().any(|m| m == *n)) {
        return Err(malformed(pattern, format!("`{name}` stands after the `->` and in no operand")));
    }
    if !output.iter().any(|n| n == "...") && inputs.iter().flatten().any(|n| n == "...") {
        return Err(malformed(pattern, "`...` of an operand is missing after the `->`"));
    }
    Ok(Parsed { inputs, output })
}

/// The number of axes that `...` stands for in an operand.
fn rest_rank(pattern: &str, axes: &[String], x: &Type, at: usize) -> Result<usize, OpError> {
    let named = axes.iter().filter(|a| *a != "...").count();
    let has_rest = named < axes.len();
    match x.rank().checked_sub(named) {
        Some(rest) if rest == 0 || has_rest => Ok(rest),
        _ => {
            let m = malformed(pattern, format!("operand {at} has {named} axes there, and the tensor is {x}"));
            Err(OpError { code: codes::WRONG_RANK, ..m })
        }
    }
}

/// The name of an axis of `...`, counted from its end, where operands are aligned.
fn rest_name(back: usize) -> String {
    format!("...{back}")
}

fn replace_rest(axes: &[String], rest: usize) -> Vec<String> {
    axes.iter()
        .flat_map(|a| match a.as_str() {
            "..." => (0..rest).rev().map(rest_name).collect(),
            _ => vec![a.clone()],
        })
        .collect()
}

/// Emits the sum of products that the pattern names.
///
/// # Errors
/// [`codes::BAD_PATTERN`], or shapes that do not fit it.
pub fn einsum(to: &mut dyn Emit, pattern: &str, xs: &[NodeId]) -> Result<NodeId, OpError> {
    let parsed = parse(pattern, xs.len())?;
    let mut rests = Vec::with_capacity(xs.len());
    for (i, (axes, x)) in parsed.inputs.iter().zip(xs).enumerate() {
        rests.push(rest_rank(pattern, axes, to.ty(*x), i)?);
    }
    let mut terms: Vec<Term> = Vec::with_capacity(xs.len());
    for ((axes, rest), x) in parsed.inputs.iter().zip(&rests).zip(xs) {
        terms.push(Term { node: *x, axes: replace_rest(axes, *rest) });
    }
    let output = replace_rest(&parsed.output, rests.iter().copied().max().unwrap_or(0));
    check_sizes(to, pattern, &mut terms)?;

    let mut rest = terms.into_iter();
    let Some(mut done) = rest.next() else {
        return Err(malformed(pattern, "there is no operand"));
    };
    let mut later: Vec<Term> = rest.collect();
    let needed =
        |name: &str, later: &[Term]| output.iter().any(|o| o == name) || later.iter().any(|t| t.has(name));
    done.sum(to, |a| !needed(a, &later))?;
    while !later.is_empty() {
        let mut next = later.remove(0);
        next.sum(to, |a| !done.has(a) && !needed(a, &later))?;
        let keep = |a: &str| needed(a, &later);
        done = contract(to, done, next, &keep)?;
    }
    done.order(to, &output)?;
    // Axes of `...` that are 1 in every operand were kept by the first that has them.
    Ok(done.node)
}

/// Checks that an axis has one length everywhere; axes of `...` broadcast, and those of length 1 that do go.
fn check_sizes(to: &mut dyn Emit, pattern: &str, terms: &mut [Term]) -> Result<(), OpError> {
    let names: BTreeSet<String> = terms.iter().flat_map(|t| t.axes.iter().cloned()).collect();
    for name in names {
        let holders: Vec<usize> = (0..terms.len()).filter(|i| terms[*i].has(&name)).collect();
        let dims: Vec<Dim> = holders.iter().map(|i| terms[*i].dim(to, &name)).collect();
        if dims.windows(2).all(|w| w[0] == w[1]) {
            continue;
        }
        let shown = name.strip_prefix("...").map_or(name.as_str(), |_| "...");
        let common = match name.starts_with("...") {
            true => broadcast_all(dims.iter().map(std::slice::from_ref)).ok(),
            false => None,
        };
        if common.is_none() {
            let list = dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(" and ");
            let m = malformed(pattern, format!("the axis `{shown}` is {list} in operands {holders:?}"));
            return Err(OpError { code: codes::SHAPE_MISMATCH, ..m });
        }
        for (i, dim) in holders.into_iter().zip(dims) {
            if dim.is(1) {
                let term = &mut terms[i];
                let at = term.axes.iter().position(|a| *a == name).unwrap_or(0);
                let mut shape = to.ty(term.node).shape.clone();
                shape.remove(at);
                term.node = reshape(to, term.node, shape)?;
                term.axes.remove(at);
            }
        }
    }
    Ok(())
}

/// How a matrix operand lies: whether `[batch, first, second]` or with the last two exchanged.
fn matrix(
    to: &mut dyn Emit,
    term: &mut Term,
    (batch, first, second): (&[String], &[String], &[String]),
) -> Result<bool, OpError> {
    let straight: Vec<String> = [batch, first, second].concat();
    let crossed: Vec<String> = [batch, second, first].concat();
    let transposed = term.axes != straight && term.axes == crossed;
    term.order(to, if transposed { &crossed } else { &straight })?;
    // One axis for rows, one for columns.
    let shape = to.ty(term.node).shape.clone();
    let middle = if transposed { second.len() } else { first.len() };
    let merge = |dims: &[Dim]| dims.iter().fold(Dim::from(1), |a, d| a * d.clone());
    let (lead, tail) = shape.split_at(batch.len());
    let mut flat = lead.to_vec();
    flat.extend([merge(&tail[..middle]), merge(&tail[middle..])]);
    term.node = reshape(to, term.node, flat)?;
    Ok(transposed)
}

/// The product of two operands, summed over the axes that nothing later needs.
fn contract(
    to: &mut dyn Emit,
    mut a: Term,
    mut b: Term,
    keep: &dyn Fn(&str) -> bool,
) -> Result<Term, OpError> {
    let shared: Vec<String> = a.axes.iter().filter(|n| b.has(n)).cloned().collect();
    let (batch, inner): (Vec<String>, Vec<String>) = shared.into_iter().partition(|n| keep(n));
    let rows: Vec<String> = a.axes.iter().filter(|n| !b.has(n)).cloned().collect();
    let columns: Vec<String> = b.axes.iter().filter(|n| !a.has(n)).cloned().collect();
    let dims = |to: &dyn Emit, term: &Term, names: &[String]| {
        names.iter().map(|n| term.dim(to, n)).collect::<Vec<_>>()
    };
    let axes = [batch.clone(), rows.clone(), columns.clone()].concat();
    if inner.is_empty() || (rows.is_empty() && columns.is_empty()) {
        // No matrix product: align the axes, multiply, and sum what is left of `inner`.
        let all: Vec<String> = [axes.as_slice(), &inner].concat();
        for term in [&mut a, &mut b] {
            term.order(to, &all)?;
            let shape = all.iter().map(|n| term.dim(to, n)).collect();
            term.node = reshape(to, term.node, shape)?;
        }
        let mut product = Term { node: to.binary(Binary::Mul, a.node, b.node)?, axes: all };
        product.sum(to, |n| inner.iter().any(|i| i == n))?;
        return Ok(product);
    }
    let shape = [dims(to, &a, &batch), dims(to, &a, &rows), dims(to, &b, &columns)].concat();
    let transpose_a = matrix(to, &mut a, (&batch, &rows, &inner))?;
    let transpose_b = matrix(to, &mut b, (&batch, &inner, &columns))?;
    let product = to.emit(MatMul { transpose_a, transpose_b }.into(), &[a.node, b.node])?;
    Ok(Term { node: reshape(to, product, shape)?, axes })
}

fn build(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let rest = Args { params: vec![Arg::List(args.rest.clone())], ..Args::default() };
    einsum(to, args.str(0)?, &rest.tensors(0)?).map(Arg::Tensor)
}

/// How the language calls it.
pub const SIGNATURES: &[Signature] = &[Signature {
    name: "einsum",
    params: &[required("pattern", ArgKind::Str)],
    rest: Some(ArgKind::Tensor),
    named: false,
    doc: "Sums of products by the names of axes: einsum(\"b h i d, b h j d -> b h i j\", q, k), or with letters: \
          \"bhid,bhjd->bhij\".",
    build,
    fold: None,
}];
