//! Signatures: kinds of static parameters, shapes matched and solved, spaces, results.

use std::collections::HashMap;
use std::rc::Rc;

use super::Elaborator;
use super::value::{Env, Value};
use crate::diagnostic::{Diagnostic, codes};
use crate::ops::Expand;
use crate::shape::solve::{Solution, solve};
use crate::shape::{DType, Dim, Space, Type, display_shape};
use crate::source::Span;
use crate::syntax::ast::{self, BinaryOp, DimExpr, Expr, ExprKind, Name, TypeKind, UnaryOp};

/// What a message calls the value of a body.
const RESULT: &str = "the result";

/// The dimension names that a signature has bound, with the place that bound each.
#[derive(Default)]
pub(super) struct Scope {
    pub dims: HashMap<Name, (Dim, Span)>,
    /// Equations with more than one unknown, tried again when more names are bound.
    pending: Vec<(Dim, Dim, Span, Span)>,
}

impl Elaborator<'_> {
    /// Binds parameters to values in `env`, with shapes matched. Static ones first, so that shapes can use them.
    pub(super) fn match_params(
        &mut self,
        params: &[ast::Param],
        bound: Vec<Option<(Value, Span)>>,
        env: &mut Env,
        what: &str,
    ) -> Option<Scope> {
        let mut scope = Scope::default();
        let mut ok = true;
        let mut values: Vec<Option<(Value, Span, bool)>> =
            bound.into_iter().map(|b| b.map(|(v, at)| (v, at, true))).collect();
        for tensors in [false, true] {
            for (p, slot) in params.iter().zip(&mut values) {
                let is_tensor = p.ty.as_ref().is_some_and(is_tensor_type);
                if is_tensor != tensors {
                    continue;
                }
                if slot.is_none()
                    && let Some(default) = &p.default
                {
                    let mut inner = env.clone();
                    *slot = Some((self.expr(default, &mut inner), default.span, false));
                }
                let Some((value, at, given)) = slot.take() else { continue };
                let value = match (&p.ty, value) {
                    (_, Value::Error) => {
                        ok = false;
                        Value::Error
                    }
                    // A default of `none` means that the input may be left out.
                    (Some(_), Value::None)
                        if p.default.as_ref().is_some_and(|d| matches!(d.kind, ExprKind::None)) =>
                    {
                        Value::None
                    }
                    (Some(ty), value) => {
                        let v = self.match_type(value, ty, &mut scope, env, (what, &p.name.name, at, given));
                        ok &= !matches!(v, Value::Error);
                        v
                    }
                    (None, value) => value,
                };
                env.bind(p.name.name.clone(), value);
            }
        }
        ok &= self.settle(&mut scope, env, what);
        ok.then_some(scope)
    }

    /// Solves what was pending and binds the names; what stays unsolved is an error.
    fn settle(&mut self, scope: &mut Scope, env: &mut Env, what: &str) -> bool {
        let mut ok = true;
        loop {
            let pending = std::mem::take(&mut scope.pending);
            let before = pending.len();
            for (expression, target, declared, at) in pending {
                let known = scope.dims.clone();
                let expression = expression
                    .substitute(&|n| n.strip_prefix('?').and_then(|n| known.get(n)).map(|(d, _)| d.clone()));
                ok &= self.equate(expression, target, declared, at, scope, what, &String::new);
            }
            if scope.pending.len() >= before {
                break;
            }
        }
        for (expression, target, declared, at) in std::mem::take(&mut scope.pending) {
            let shown = expression.to_string().replace('?', "");
            self.report(
                Diagnostic::error(
                    codes::UNSOLVED_DIM,
                    format!("`{shown}` = {target} cannot be solved for its names"),
                )
                .label(at, format!("this dimension is {target}"))
                .label(declared, "more than one unknown name, or one that is not linear")
                .help("let each name stand alone in some dimension of the signature"),
            );
            ok = false;
        }
        for (name, (dim, _)) in &scope.dims {
            // A list-valued name (`..d`) was bound when it was matched.
            if !matches!(env.get(name), Some(Value::List(_))) {
                env.bind(name.clone(), Value::Int(dim.clone()));
            }
        }
        ok
    }

    /// A value against a declared type. `context`: the callee, the parameter, the argument's place, and whether it was given.
    fn match_type(
        &mut self,
        value: Value,
        ty: &ast::Type,
        scope: &mut Scope,
        env: &mut Env,
        context: (&str, &str, Span, bool),
    ) -> Value {
        let (what, name, at, _) = context;
        match &ty.kind {
            TypeKind::Tensor(dtype, dims) => {
                let Some((dtype, image)) = self.declared_dtype(dtype.as_ref()) else { return Value::Error };
                let space = if image { Some(Space::from("unit")) } else { self.declared_space(ty, env) };
                self.match_tensor(value, (dtype, image, dims), space, ty, scope, env, (what, name, at))
            }
            TypeKind::Named(kind) => self.match_kind(value, kind, context),
            TypeKind::Tuple(parts) => {
                let items: Vec<Value> = match &value {
                    Value::Tuple(t) => t.iter().map(|(_, v)| v.clone()).collect(),
                    Value::Error => return Value::Error,
                    other => {
                        let found = self.describe(other);
                        self.report(
                            Diagnostic::error(
                                codes::UNPACK,
                                format!("{what}: {name} is a tuple of {}", parts.len()),
                            )
                            .label(at, format!("this is {found}"))
                            .label(ty.span, "declared here"),
                        );
                        return Value::Error;
                    }
                };
                if items.len() != parts.len() {
                    let (m, n) = (parts.len(), items.len());
                    self.report(
                        Diagnostic::error(
                            codes::UNPACK,
                            format!("{what}: {name} has {n} values where {m} are declared"),
                        )
                        .label(at, format!("{n} values"))
                        .label(ty.span, format!("{m} declared here")),
                    );
                    return Value::Error;
                }
                let mut out = Vec::with_capacity(items.len());
                for ((part, ty), item) in parts.iter().zip(items) {
                    let label = part.as_ref().map_or(name.to_string(), |p| p.name.to_string());
                    let v = self.match_type(item, ty, scope, env, (what, &label, at, true));
                    if matches!(v, Value::Error) {
                        return Value::Error;
                    }
                    out.push((part.as_ref().map(|p| p.name.clone()), v));
                }
                Value::Tuple(Rc::new(out))
            }
        }
    }

    /// The result of a body against its declared type.
    pub(super) fn match_result(
        &mut self,
        value: Value,
        ty: &ast::Type,
        scope: &mut Scope,
        env: &mut Env,
        what: &str,
        body: &ast::Body,
    ) -> Value {
        let at = match body.stmts.last() {
            Some(ast::Stmt::Expr(e)) => e.span,
            _ => body.span,
        };
        if matches!(value, Value::None) {
            self.report(
                Diagnostic::error(codes::NO_VALUE, format!("{what} gives no value"))
                    .label(at, "the last statement has no value")
                    .label(ty.span, "declared to give this")
                    .help("end the body with the expression that is its value"),
            );
            return Value::Error;
        }
        let value = self.match_type(value, ty, scope, env, (what, RESULT, at, true));
        if self.settle(scope, env, what) { value } else { Value::Error }
    }

    /// The dtype that a tensor type names (`image` is unit floats with a batch axis).
    pub(super) fn declared_dtype(&mut self, name: Option<&ast::Ident>) -> Option<(Option<DType>, bool)> {
        let Some(name) = name else { return Some((None, false)) };
        if &*name.name == "image" {
            return Some((None, true));
        }
        match name.name.parse::<DType>() {
            Ok(dtype) => Some((Some(dtype), false)),
            Err(()) => {
                let known: Vec<&str> = DType::ALL.iter().map(|d| d.name()).collect();
                let near = crate::diagnostic::did_you_mean(&name.name, known.iter().copied());
                let help =
                    near.map_or(format!("dtypes: {}", known.join(", ")), |n| format!("did you mean `{n}`?"));
                self.error_help(
                    codes::UNKNOWN_NAME,
                    name.span,
                    format!("there is no dtype `{}`", name.name),
                    "not a dtype",
                    help,
                );
                None
            }
        }
    }

    fn declared_space(&mut self, ty: &ast::Type, env: &Env) -> Option<Space> {
        let parts = ty.space.as_ref()?;
        let last = parts.last()?;
        if parts.len() == 1 && matches!(&*last.name, "unit" | "signed") {
            return Some(last.name.clone());
        }
        let found = if parts.len() == 1 {
            self.global(env.module, &last.name)
        } else {
            match self.global(env.module, &parts[0].name) {
                Some(Value::Module(m)) => self.global(m, &last.name),
                other => other,
            }
        };
        match found {
            Some(Value::Space(s)) => Some(s),
            _ => {
                self.error_help(
                    codes::UNKNOWN_NAME,
                    last.span,
                    format!("there is no space `{}`", last.name),
                    "not a space",
                    format!(
                        "declare it: space {}; or use `unit` ([0, 1] images) or `signed` ([-1, 1])",
                        last.name
                    ),
                );
                None
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn match_tensor(
        &mut self,
        value: Value,
        (dtype, image, dims): (Option<DType>, bool, &[DimExpr]),
        space: Option<Space>,
        ty: &ast::Type,
        scope: &mut Scope,
        env: &mut Env,
        (what, name, at): (&str, &str, Span),
    ) -> Value {
        let declared = self.map.text(ty.span).to_string();
        let value = match value {
            Value::Int(_) | Value::Float(_) | Value::Step(_) | Value::Bool(_) => {
                match self.number_as_tensor(&value, dtype, dims, scope, env, at) {
                    Some(v) => v,
                    None => return Value::Error,
                }
            }
            v => v,
        };
        let Some(found) = self.type_of(&value) else {
            if matches!(value, Value::Error) {
                return Value::Error;
            }
            let found = self.describe(&value);
            self.report(
                Diagnostic::error(codes::WRONG_KIND, format!("{what} takes a tensor as {name}"))
                    .label(at, format!("this is {found}"))
                    .label(ty.span, format!("declared as {declared}")),
            );
            return Value::Error;
        };
        let wanted = dtype.unwrap_or(DType::F32);
        if found.dtype != wanted && !(dtype.is_none() && found.dtype.is_float()) {
            let help = if dtype.is_none() {
                "convert it: float(x); or declare the dtype in the signature".to_string()
            } else {
                format!("convert it: cast(x, \"{wanted}\")")
            };
            self.report(
                Diagnostic::error(
                    codes::DTYPE_MISMATCH,
                    if name == RESULT {
                        format!("{what} is declared to give {wanted}, and its body gives {}", found.dtype)
                    } else {
                        format!("{what} takes {name} as {wanted}, and gets {}", found.dtype)
                    },
                )
                .label(at, format!("this is {found}"))
                .label(ty.span, format!("declared as {declared}"))
                .help(help),
            );
            return Value::Error;
        }
        if let (Some(want), Some(have)) = (&space, &found.space)
            && want != have
        {
            let help = match (&**have, &**want) {
                ("unit", "signed") => "convert it: x -> to_signed".to_string(),
                ("signed", "unit") => "convert it: x -> to_unit".to_string(),
                _ => format!("a function declared `(x: […] in {have}) -> […] in {want}` would convert it"),
            };
            self.report(
                Diagnostic::error(
                    codes::SPACE_MISMATCH,
                    if name == RESULT {
                        format!("{what} is declared to give a value in `{want}`, and its body gives one in `{have}`")
                    } else {
                        format!("{what} takes {name} in `{want}`, and gets one in `{have}`")
                    },
                )
                .label(at, format!("this is {found}"))
                .label(ty.span, format!("declared as {declared}"))
                .help(help),
            );
            return Value::Error;
        }
        let batch = DimExpr::One(Expr { kind: ExprKind::Name("batch".into()), span: ty.span });
        let all: Vec<&DimExpr> =
            if image { std::iter::once(&batch).chain(dims).collect() } else { dims.iter().collect() };
        if !self.match_shape(&found, &all, &declared, ty.span, scope, env, (what, name, at)) {
            return Value::Error;
        }
        self.in_space(value, space.or(found.space))
    }

    /// A number given for a tensor: a scalar, expanded where the declared dimensions are known.
    fn number_as_tensor(
        &mut self,
        value: &Value,
        dtype: Option<DType>,
        dims: &[DimExpr],
        scope: &mut Scope,
        env: &mut Env,
        at: Span,
    ) -> Option<Value> {
        let node = self.as_node(value, dtype.unwrap_or(DType::F32), at)?;
        if dims.is_empty() {
            return Some(self.tensor(node, at));
        }
        let mut shape = Vec::new();
        for dim in dims {
            match dim {
                DimExpr::One(e) => match self.polynomial(e, scope, env) {
                    Some(d) if !d.names().iter().any(|n| n.starts_with('?')) => shape.push(d),
                    _ => return Some(self.tensor(node, at)),
                },
                DimExpr::Spread(n) => match env.get(&n.name).cloned() {
                    Some(v @ Value::List(_)) => shape.extend(self.dims(&v, n.span)?),
                    _ => return Some(self.tensor(node, at)),
                },
            }
        }
        Some(self.emit(Expand { shape }, &[node], at))
    }

    #[allow(clippy::too_many_arguments)]
    fn match_shape(
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

    fn match_spread(
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
    #[allow(clippy::too_many_arguments)]
    fn equate(
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
    pub(super) fn polynomial(&mut self, e: &Expr, scope: &Scope, env: &mut Env) -> Option<Dim> {
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

/// Whether a declared type is one of tensors.
pub(super) fn is_tensor_type(ty: &ast::Type) -> bool {
    match &ty.kind {
        TypeKind::Tensor(..) => true,
        TypeKind::Named(n) => matches!(&*n.name, "tensor" | "image"),
        TypeKind::Tuple(parts) => parts.iter().any(|(_, t)| is_tensor_type(t)),
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
