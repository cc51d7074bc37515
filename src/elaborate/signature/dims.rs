//! Declared shapes against found ones: names bound, expressions solved.

use super::super::Elaborator;
use super::super::value::{Env, Value};
use super::{RESULT, Scope};
use crate::diagnostic::{Diagnostic, codes};
use crate::shape::solve::{Solution, solve};
use crate::shape::{Dim, Type, display_shape};
use crate::source::Span;
use crate::syntax::ast::{self, BinaryOp, DimExpr, Expr, ExprKind, Name, UnaryOp};

impl Elaborator<'_> {
    pub(super) fn match_shape(
        &mut self,
        found: &Type,
        dims: &[&DimExpr],
        declared: &str,
        declared_at: Span,
        scope: &mut Scope,
        env: &mut Env,
        (what, name, at): (&str, &str, Span),
    ) -> bool {
        let spread = dims.iter().position(|d| matches!(d, DimExpr::Spread(_)));
        let fixed = dims.len() - usize::from(spread.is_some());
        let rank_ok = if spread.is_some() { found.rank() >= fixed } else { found.rank() == fixed };
        if !rank_ok {
            let at_least = if spread.is_some() { "at least " } else { "" };
            let mut d = Diagnostic::error(
                codes::WRONG_RANK,
                if name == RESULT {
                    format!("{what} is declared to give {declared}, and its body gives {found}")
                } else {
                    format!(
                        "{what} takes {name}: {declared}, {at_least}{fixed} dimensions, and gets {}",
                        found.rank()
                    )
                },
            )
            .label(at, format!("this is {found}"))
            .label(declared_at, "declared here");
            d = match found.rank().cmp(&fixed) {
                std::cmp::Ordering::Less if fixed - found.rank() == 1 => d.help(
                    "an axis is missing: unsqueeze(x, 0) adds a batch axis, unsqueeze(x, 1) a channel axis",
                ),
                std::cmp::Ordering::Less => {
                    d.help("reshape(x, […]) or rearrange(x, \"…\") gives it the shape")
                }
                _ => d.help("flatten(x) merges the axes after the first; mean(x, axis = …) removes some"),
            };
            self.report(d);
            return false;
        }
        let mut ok = true;
        let split = spread.unwrap_or(dims.len());
        let tail = dims.len() - split - usize::from(spread.is_some());
        for (i, dim) in dims.iter().enumerate() {
            let target = match dim {
                DimExpr::One(_) if i < split => found.shape[i].clone(),
                DimExpr::One(_) => found.shape[found.rank() - (dims.len() - i)].clone(),
                DimExpr::Spread(n) => {
                    let middle: Vec<Dim> = found.shape[split..found.rank() - tail].to_vec();
                    ok &= self.match_spread(n, middle, found, scope, env, (what, name, at));
                    continue;
                }
            };
            let DimExpr::One(e) = dim else { continue };
            let Some(expression) = self.polynomial(e, scope, env) else {
                ok = false;
                continue;
            };
            let shown = || {
                if name == RESULT {
                    format!("is declared to give {declared}, and its body gives {found}")
                } else {
                    format!("takes {name}: {declared}, and gets {found}")
                }
            };
            if !self.equate(expression, target, e.span, at, scope, what, &shown) {
                // One message per tensor: exchanged axes differ in several places.
                return false;
            }
        }
        ok
    }

    pub(super) fn match_spread(
        &mut self,
        n: &ast::Ident,
        middle: Vec<Dim>,
        found: &Type,
        scope: &mut Scope,
        env: &mut Env,
        (what, name, at): (&str, &str, Span),
    ) -> bool {
        let known = match env.get(&n.name) {
            Some(Value::List(l)) => Some(
                l.iter()
                    .filter_map(|v| if let Value::Int(d) = v { Some(d.clone()) } else { None })
                    .collect::<Vec<_>>(),
            ),
            _ => None,
        };
        match known {
            Some(known) if known != middle => {
                let mut d = Diagnostic::error(
                    codes::SHAPE_MISMATCH,
                    format!(
                        "{what}: `..{}` is {} and {}",
                        n.name,
                        display_shape(&known),
                        display_shape(&middle)
                    ),
                )
                .label(at, format!("{name} is {found}"));
                if let Some((_, first)) = scope.dims.get(&n.name) {
                    d = d.label(*first, format!("bound to {} here", display_shape(&known)));
                }
                self.report(d.help("tensors that share `..d` must have the same shape"));
                false
            }
            Some(_) => true,
            None => {
                env.bind(n.name.clone(), Value::list(middle.into_iter().map(Value::Int).collect()));
                scope.dims.insert(n.name.clone(), (Dim::default(), at));
                true
            }
        }
    }

    /// `expression = target`: checked, solved for its one unknown, or kept for later.
    pub(super) fn equate(
        &mut self,
        expression: Dim,
        target: Dim,
        declared: Span,
        at: Span,
        scope: &mut Scope,
        what: &str,
        shown: &dyn Fn() -> String,
    ) -> bool {
        let clean = || expression.to_string().replace('?', "");
        match solve(&expression, &target, &|n| n.starts_with('?')) {
            Solution::Holds => true,
            Solution::Solved(value) => {
                if value.as_const().is_some_and(|v| v < 0) {
                    let m = format!("{what}: `{}` = {target} has a negative solution", clean());
                    self.report(
                        Diagnostic::error(codes::UNSOLVED_DIM, m).label(at, format!("this is {target}")),
                    );
                    return false;
                }
                if let Some(name) =
                    expression.names().iter().find_map(|n| n.strip_prefix('?').map(Name::from))
                {
                    scope.dims.insert(name, (value, at));
                }
                true
            }
            Solution::Remainder => {
                self.report(
                    Diagnostic::error(
                        codes::NOT_DIVISIBLE,
                        format!("{what}: {target} is not of the form `{}` with a whole number", clean()),
                    )
                    .label(at, format!("this dimension is {target}"))
                    .label(declared, "declared here")
                    .help("choose a size that divides, or pad"),
                );
                false
            }
            Solution::Unsolvable => {
                scope.pending.push((expression, target, declared, at));
                true
            }
            Solution::Differs => {
                let (clean, shown) = (clean(), shown());
                let mut d = Diagnostic::error(codes::SHAPE_MISMATCH, format!("{what} {shown}"))
                    .label(at, format!("{target} here"))
                    .label(
                        declared,
                        if clean.parse::<i64>().is_ok() {
                            format!("{clean} is expected")
                        } else {
                            format!("`{clean}` is expected")
                        },
                    );
                let text = self.map.text(declared).trim().to_string();
                if let Some((_, first)) = scope.dims.get(&*text)
                    && *first != at
                {
                    d = d.label(*first, format!("`{text}` is {clean} because of this"));
                }
                self.report(d.help(shape_help(&shown, &target)));
                false
            }
        }
    }

    /// A dimension expression as a polynomial; unbound names are unknowns, marked with `?`.
    pub(in crate::elaborate) fn polynomial(&mut self, e: &Expr, scope: &Scope, env: &mut Env) -> Option<Dim> {
        match &e.kind {
            ExprKind::Int(v) => Some(Dim::from(*v)),
            ExprKind::Paren(inner) => self.polynomial(inner, scope, env),
            ExprKind::Name(n) => {
                if let Some((d, _)) = scope.dims.get(n) {
                    return Some(d.clone());
                }
                let value = env.get(n).cloned().or_else(|| self.global(env.module, n));
                match value {
                    Some(Value::Int(d)) => Some(d),
                    Some(Value::Error) => None,
                    _ => Some(Dim::name(format!("?{n}"))),
                }
            }
            ExprKind::Unary(UnaryOp::Neg, a) => Some(-self.polynomial(a, scope, env)?),
            ExprKind::Binary(op, a, b) => {
                let (x, y) = (self.polynomial(a, scope, env)?, self.polynomial(b, scope, env)?);
                let result = match op {
                    BinaryOp::Add => Some(x + y),
                    BinaryOp::Sub => Some(x - y),
                    BinaryOp::Mul => Some(x * y),
                    BinaryOp::FloorDiv => {
                        x.exact_div(&y).or_else(|| y.as_const().filter(|k| *k > 0).map(|k| x.floor_div(k)))
                    }
                    BinaryOp::Pow => match y.as_const() {
                        Some(k @ 0..=8) => Some((0..k).fold(Dim::from(1), |p, _| p * x.clone())),
                        _ => None,
                    },
                    _ => None,
                };
                if result.is_none() {
                    self.error_help(
                        codes::UNSOLVED_DIM,
                        e.span,
                        format!("`{}` cannot stand in a shape", op.symbol()),
                        "not a polynomial over integers",
                        "a dimension is made of integers and names with + - * and exact //",
                    );
                }
                result
            }
            _ => {
                let value = self.expr(e, env);
                match value {
                    Value::Int(d) => Some(d),
                    Value::Error => None,
                    other => {
                        let found = self.describe(&other);
                        self.error(
                            codes::WRONG_KIND,
                            e.span,
                            "a dimension is an integer",
                            format!("this is {found}"),
                        );
                        None
                    }
                }
            }
        }
    }
}

/// The likely fix of a dimension that differs.
fn shape_help(shown: &str, target: &Dim) -> String {
    let lists: Vec<Vec<&str>> = shown
        .match_indices('[')
        .filter_map(|(i, _)| shown[i + 1..].split(']').next())
        .map(|inner| inner.split(", ").collect())
        .collect();
    if let [declared, found, ..] = lists.as_slice() {
        let (mut a, mut b) = (declared.clone(), found.clone());
        a.sort_unstable();
        b.sort_unstable();
        if a == b && declared != found {
            return "the axes are in another order: permute(x, […]) or rearrange(x, \"…\")".into();
        }
    }
    format!("make the part that gives {target} match, or reshape before")
}
