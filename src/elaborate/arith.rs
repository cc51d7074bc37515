//! Operators: static arithmetic at once, per-step numbers column by column, tensors as nodes.

use std::rc::Rc;

use super::Elaborator;
use super::unit::{MAX_PRODUCT, MAX_TERMS};
use super::value::{StepKind, StepNumber, Value};
use crate::diagnostic::{Diagnostic, codes};
use crate::ops::{Binary, Cast, Compare, CompareKind, Emit, Logical, Op, Unary};
use crate::shape::{DType, Dim};
use crate::source::Span;
use crate::syntax::ast::{BinaryOp, UnaryOp};

/// A static number: integers stay integers where the operator allows.
#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    fn float(self) -> f64 {
        match self {
            Number::Int(v) => v as f64,
            Number::Float(v) => v,
        }
    }
}

impl Elaborator<'_> {
    pub(super) fn unary(&mut self, op: UnaryOp, value: Value, span: Span) -> Value {
        match (op, value) {
            (_, Value::Error) => Value::Error,
            (UnaryOp::Neg, Value::Int(d)) => Value::Int(-d),
            (UnaryOp::Neg, Value::Float(v)) => Value::Float(-v),
            (UnaryOp::Not, Value::Bool(b)) => Value::Bool(!b),
            (UnaryOp::Neg, Value::List(l)) => {
                if !self.allocate(l.len(), span) {
                    return Value::Error;
                }
                let items: Vec<Value> = l.iter().map(|v| self.unary(op, v.clone(), span)).collect();
                if items.iter().any(|v| matches!(v, Value::Error)) {
                    Value::Error
                } else {
                    Value::list(items)
                }
            }
            (_, Value::Step(s)) if !self.allocate(s.values.len(), span) => Value::Error,
            (UnaryOp::Neg, Value::Step(s)) if s.kind != StepKind::Bool => {
                step(s.scope, s.values.iter().map(|v| -v).collect(), s.kind)
            }
            (UnaryOp::Not, Value::Step(s)) if s.kind == StepKind::Bool => {
                step(s.scope, s.values.iter().map(|v| 1.0 - v).collect(), s.kind)
            }
            (op, v) if v.is_tensor() => {
                let Some(node) = self.node(&v, span) else { return Value::Error };
                let unary = if op == UnaryOp::Neg { Unary::Neg } else { Unary::Not };
                self.emit(unary, &[node], span)
            }
            (op, other) => {
                let found = self.describe(&other);
                let symbol = if op == UnaryOp::Neg { "-" } else { "not" };
                self.error(codes::WRONG_KIND, span, format!("`{symbol}` of {found}"), "here")
            }
        }
    }

    pub(super) fn binary(&mut self, op: BinaryOp, a: (Value, Span), b: (Value, Span), span: Span) -> Value {
        use Value::*;
        match (&a.0, &b.0) {
            (Error, _) | (_, Error) => Error,
            // Whether an input was given is known before the run, whatever it holds.
            (x, None) | (None, x) if matches!(op, BinaryOp::Eq | BinaryOp::Ne) => {
                Bool(matches!(x, None) == (op == BinaryOp::Eq))
            }
            (x, y) if x.is_tensor() || y.is_tensor() => self.tensor_binary(op, a, b, span),
            (Step(_), Int(_) | Float(_) | Bool(_) | Step(_)) | (Int(_) | Float(_) | Bool(_), Step(_)) => {
                self.step_binary(op, a, b, span)
            }
            (List(x), List(y)) if matches!(op, BinaryOp::Eq | BinaryOp::Ne) => {
                if !self.work_on(&a.0, span) || !self.work_on(&b.0, span) {
                    return Error;
                }
                let same = self.static_equal(&List(x.clone()), &List(y.clone()));
                Bool(same == (op == BinaryOp::Eq))
            }
            (List(x), List(y)) => {
                if x.len() != y.len() {
                    let (m, n) = (x.len(), y.len());
                    self.report(
                        Diagnostic::error(
                            codes::STATIC_ARITHMETIC,
                            format!("`{}` of lists of {m} and {n}", op.symbol()),
                        )
                        .label(a.1, format!("{m} numbers"))
                        .label(b.1, format!("{n} numbers"))
                        .help("arithmetic on lists is element by element; to join lists write [..a, ..b]"),
                    );
                    return Error;
                }
                let pairs: Vec<_> = x.iter().cloned().zip(y.iter().cloned()).collect();
                self.elementwise(op, pairs, (a.1, b.1), span)
            }
            (List(x), Int(_) | Float(_)) => {
                let pairs = x.iter().map(|v| (v.clone(), b.0.clone())).collect();
                self.elementwise(op, pairs, (a.1, b.1), span)
            }
            (Int(_) | Float(_), List(y)) => {
                let pairs = y.iter().map(|v| (a.0.clone(), v.clone())).collect();
                self.elementwise(op, pairs, (a.1, b.1), span)
            }
            (Int(x), Int(y)) => self.int_binary(op, x.clone(), y.clone(), span),
            (Int(_) | Float(_), Int(_) | Float(_)) => match (number(&a.0), number(&b.0)) {
                (Some(x), Some(y)) => self.number_binary(op, x, y, span),
                _ => self.open_dimension(&a.0, &b.0, span),
            },
            (Bool(x), Bool(y)) => match op {
                BinaryOp::And => Bool(*x && *y),
                BinaryOp::Or => Bool(*x || *y),
                BinaryOp::Eq => Bool(x == y),
                BinaryOp::Ne => Bool(x != y),
                _ => self.bad_operands(op, &a, &b, span),
            },
            (Str(x), Str(y)) => match op {
                BinaryOp::Add => {
                    let text = Value::str(&format!("{x}{y}"));
                    self.made(text, span)
                }
                BinaryOp::Eq => Bool(x == y),
                BinaryOp::Ne => Bool(x != y),
                _ => self.bad_operands(op, &a, &b, span),
            },
            (x, y) if matches!(op, BinaryOp::Eq | BinaryOp::Ne) => {
                Bool(self.static_equal(x, y) == (op == BinaryOp::Eq))
            }
            _ => self.bad_operands(op, &a, &b, span),
        }
    }

    fn static_equal(&self, a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Int(x), Value::Int(y)) => x == y,
            (Value::Bool(x), Value::Bool(y)) => x == y,
            (Value::Str(x), Value::Str(y)) => x == y,
            (Value::None, Value::None) => true,
            (Value::List(x), Value::List(y)) => {
                x.len() == y.len() && x.iter().zip(y.iter()).all(|(a, b)| self.static_equal(a, b))
            }
            _ => match (number(a), number(b)) {
                (Some(x), Some(y)) => x.float() == y.float(),
                _ => false,
            },
        }
    }

    fn elementwise(
        &mut self,
        op: BinaryOp,
        pairs: Vec<(Value, Value)>,
        at: (Span, Span),
        span: Span,
    ) -> Value {
        if !self.allocate(pairs.len(), span) {
            return Value::Error;
        }
        let mut out = Vec::with_capacity(pairs.len());
        for (x, y) in pairs {
            match self.binary(op, (x, at.0), (y, at.1), span) {
                Value::Error => return Value::Error,
                v => out.push(v),
            }
        }
        Value::list(out)
    }

    fn bad_operands(&mut self, op: BinaryOp, a: &(Value, Span), b: &(Value, Span), span: Span) -> Value {
        let (x, y) = (self.describe(&a.0), self.describe(&b.0));
        self.report(
            Diagnostic::error(codes::WRONG_KIND, format!("`{}` of {x} and {y}", op.symbol()))
                .label(a.1, x)
                .label(b.1, y)
                .help(match op {
                    BinaryOp::And | BinaryOp::Or => "`and` and `or` take truth values",
                    _ => "arithmetic takes numbers, lists of numbers and tensors",
                }),
        );
        let _ = span;
        Value::Error
    }

    fn open_dimension(&mut self, a: &Value, b: &Value, span: Span) -> Value {
        let (x, y) = (a.describe(), b.describe());
        self.error_help(
            codes::NOT_STATIC,
            span,
            "this needs the value of an open dimension",
            format!("{x} and {y}: not known before the run"),
            "an open dimension may be added, multiplied and divided exactly; with a tensor it becomes a number of the run",
        )
    }

    fn int_binary(&mut self, op: BinaryOp, x: Dim, y: Dim, span: Span) -> Value {
        use BinaryOp::*;
        if let (Some(a), Some(b)) = (x.as_const(), y.as_const()) {
            return self.number_binary(op, Number::Int(a), Number::Int(b), span);
        }
        let cost = match (op, y.as_const().and_then(|k| u32::try_from(k).ok())) {
            (Pow, Some(k)) => x.size().saturating_pow(k),
            (Add | Sub, _) => x.size() + y.size(),
            _ => x.size().saturating_mul(y.size()),
        };
        if cost > MAX_PRODUCT {
            return self.too_complex(span);
        }
        if !self.work(cost, span) {
            return Value::Error;
        }
        let value = match op {
            Add => Value::Int(x + y),
            Sub => Value::Int(x - y),
            Mul => Value::Int(x * y),
            FloorDiv => match (y.as_const(), x.exact_div(&y)) {
                (_, Some(q)) => Value::Int(q),
                (Some(k), None) if k > 0 => Value::Int(x.floor_div(k)),
                _ => self.open_dimension(&Value::Int(x), &Value::Int(y), span),
            },
            Eq | Ne if x == y => Value::Bool(op == Eq),
            Pow => match y.as_const() {
                Some(k @ 0..=8) => Value::Int((0..k).fold(Dim::from(1), |p, _| p * x.clone())),
                _ => self.open_dimension(&Value::Int(x), &Value::Int(y), span),
            },
            _ => self.open_dimension(&Value::Int(x), &Value::Int(y), span),
        };
        match &value {
            Value::Int(d) if d.size() > MAX_TERMS => self.too_complex(span),
            _ => value,
        }
    }

    fn number_binary(&mut self, op: BinaryOp, a: Number, b: Number, span: Span) -> Value {
        match compute(op, a, b) {
            Ok(Some(v)) => v,
            Ok(None) => {
                let wrap = |n: Number| match n {
                    Number::Int(v) => (Value::int(v), span),
                    Number::Float(v) => (Value::Float(v), span),
                };
                self.bad_operands(op, &wrap(a), &wrap(b), span)
            }
            Err(why) => self.error(codes::STATIC_ARITHMETIC, span, why, "here"),
        }
    }

    fn step_binary(&mut self, op: BinaryOp, a: (Value, Span), b: (Value, Span), span: Span) -> Value {
        let (scope, len) = match (&a.0, &b.0) {
            (Value::Step(x), Value::Step(y)) if x.scope != y.scope => {
                // Numbers of two nested loops meet at run time.
                return self.tensor_binary(op, a, b, span);
            }
            (Value::Step(s), _) | (_, Value::Step(s)) => (s.scope, s.values.len()),
            _ => return Value::Error,
        };
        if !self.allocate(len, span) {
            return Value::Error;
        }
        let numbers = |v: &Value| -> Option<Vec<Number>> {
            match v {
                Value::Step(s) if s.kind == StepKind::Float => {
                    Some(s.values.iter().map(|x| Number::Float(*x)).collect())
                }
                Value::Step(s) => Some(s.values.iter().map(|x| Number::Int(*x as i64)).collect()),
                Value::Bool(b) => Some(vec![Number::Int(i64::from(*b)); len]),
                other => number(other).map(|n| vec![n; len]),
            }
        };
        let (Some(x), Some(y)) = (numbers(&a.0), numbers(&b.0)) else {
            return self.open_dimension(&a.0, &b.0, span);
        };
        let mut values = Vec::with_capacity(len);
        let mut kind = StepKind::Int;
        for (x, y) in x.into_iter().zip(y) {
            let result = match op {
                BinaryOp::And => Ok(Some(Value::Bool(x.float() != 0.0 && y.float() != 0.0))),
                BinaryOp::Or => Ok(Some(Value::Bool(x.float() != 0.0 || y.float() != 0.0))),
                _ => compute(op, x, y),
            };
            match result {
                Ok(Some(Value::Int(d))) => values.push(d.as_const().unwrap_or(0) as f64),
                Ok(Some(Value::Float(v))) => {
                    kind = StepKind::Float;
                    values.push(v);
                }
                Ok(Some(Value::Bool(v))) => {
                    kind = StepKind::Bool;
                    values.push(f64::from(u8::from(v)));
                }
                Ok(_) => return self.bad_operands(op, &a, &b, span),
                Err(why) => {
                    let at = values.len();
                    return self.error(
                        codes::STATIC_ARITHMETIC,
                        span,
                        why,
                        format!("at step {at} of the loop"),
                    );
                }
            }
        }
        step(scope, values, kind)
    }

    /// An operator with a tensor operand becomes a node.
    fn tensor_binary(&mut self, op: BinaryOp, a: (Value, Span), b: (Value, Span), span: Span) -> Value {
        if !number_like(&a.0) || !number_like(&b.0) {
            return self.bad_operands(op, &a, &b, span);
        }
        // `x ^ 2` and its like are cheaper and more exact than a general power.
        if op == BinaryOp::Pow
            && let Some(n) = number(&b.0)
        {
            let Some(x) = self.node(&a.0, a.1) else { return Value::Error };
            let special: Option<Op> = match n.float() {
                0.5 => Some(Unary::Sqrt.into()),
                1.0 => return a.0,
                _ => None,
            };
            if n.float() == 2.0 {
                return self.emit(Binary::Mul, &[x, x], span);
            }
            if let Some(op) = special {
                return self.emit(op, &[x], span);
            }
        }
        let (ta, tb) = (self.type_of(&a.0), self.type_of(&b.0));
        let dtype = match (&ta, &tb) {
            (Some(t), _) | (None, Some(t)) => t.dtype,
            _ => DType::F32,
        };
        for (value, at) in [&a, &b] {
            let fraction = match value {
                Value::Float(_) => true,
                Value::Step(s) => s.kind == StepKind::Float,
                _ => false,
            };
            if fraction && !dtype.is_float() {
                let ty = ta.as_ref().or(tb.as_ref()).map(ToString::to_string).unwrap_or_default();
                let found = value.describe();
                return self.error_help(
                    codes::DTYPE_MISMATCH,
                    *at,
                    format!("`{}` of {ty} and {found}", op.symbol()),
                    "not a whole number, and the tensor holds integers",
                    "convert the tensor first: float(x)",
                );
            }
        }
        let given = [(a.1, &a.0), (b.1, &b.0)];
        let (Some(mut x), Some(mut y)) = (self.as_node(&a.0, dtype, a.1), self.as_node(&b.0, dtype, b.1))
        else {
            return Value::Error;
        };
        use BinaryOp::*;
        let node: Op = match op {
            Add => Binary::Add.into(),
            Sub => Binary::Sub.into(),
            Mul => Binary::Mul.into(),
            Div if !dtype.is_float() => {
                // `/` is true division, as for static numbers.
                let Some(mut bld) = self.builder(span) else { return Value::Error };
                let cast = Cast { dtype: DType::F32 };
                match (bld.emit(cast.into(), &[x]), bld.emit(cast.into(), &[y])) {
                    (Ok(p), Ok(q)) => (x, y) = (p, q),
                    (Err(e), _) | (_, Err(e)) => return self.op_error(e, span, &given),
                }
                Binary::Div.into()
            }
            Div => Binary::Div.into(),
            Pow => Binary::Pow.into(),
            Rem => Binary::Rem.into(),
            FloorDiv => Binary::FloorDiv.into(),
            Eq => Compare { kind: CompareKind::Eq }.into(),
            Ne => Compare { kind: CompareKind::Ne }.into(),
            Lt => Compare { kind: CompareKind::Lt }.into(),
            Le => Compare { kind: CompareKind::Le }.into(),
            Gt => Compare { kind: CompareKind::Gt }.into(),
            Ge => Compare { kind: CompareKind::Ge }.into(),
            And => Logical::And.into(),
            Or => Logical::Or.into(),
        };
        let Some(mut bld) = self.builder(span) else { return Value::Error };
        match bld.emit(node, &[x, y]) {
            Ok(n) => self.tensor(n, span),
            Err(e) => self.op_error(e, span, &given),
        }
    }
}

/// A per-step number.
pub(super) fn step(scope: usize, values: Vec<f64>, kind: StepKind) -> Value {
    Value::Step(Rc::new(StepNumber { scope, values, kind }))
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Int(d) => d.as_const().map(Number::Int),
        Value::Float(v) => Some(Number::Float(*v)),
        _ => None,
    }
}

fn number_like(value: &Value) -> bool {
    value.is_tensor() || matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::Step(_))
}

/// Static arithmetic: integers in i64 (checked), everything else in f64. `None`: not an operator of numbers.
fn compute(op: BinaryOp, a: Number, b: Number) -> Result<Option<Value>, String> {
    use BinaryOp::*;
    use Number::*;
    let overflow = || format!("`{}` overflows 64-bit integers", op.symbol());
    let int = |v: Option<i64>| v.map(|v| Some(Value::int(v))).ok_or_else(overflow);
    match (op, a, b) {
        (Add, Int(x), Int(y)) => int(x.checked_add(y)),
        (Sub, Int(x), Int(y)) => int(x.checked_sub(y)),
        (Mul, Int(x), Int(y)) => int(x.checked_mul(y)),
        (FloorDiv | Rem, Int(_), Int(0)) => Err(format!("`{}` divides by zero", op.symbol())),
        (FloorDiv, Int(x), Int(y)) => int(x.checked_div_euclid(y).map(|q| {
            // Floor, not Euclid, for negative divisors.
            if y < 0 && x.rem_euclid(y) != 0 { q - 1 } else { q }
        })),
        (Rem, Int(x), Int(y)) => {
            int(x.checked_rem_euclid(y).map(|r| if y < 0 && r != 0 { r + y } else { r }))
        }
        (Pow, Int(x), Int(y)) if y >= 0 => int(u32::try_from(y).ok().and_then(|y| x.checked_pow(y))),
        (Eq, Int(x), Int(y)) => Ok(Some(Value::Bool(x == y))),
        (Ne, Int(x), Int(y)) => Ok(Some(Value::Bool(x != y))),
        (Lt, Int(x), Int(y)) => Ok(Some(Value::Bool(x < y))),
        (Le, Int(x), Int(y)) => Ok(Some(Value::Bool(x <= y))),
        (Gt, Int(x), Int(y)) => Ok(Some(Value::Bool(x > y))),
        (Ge, Int(x), Int(y)) => Ok(Some(Value::Bool(x >= y))),
        (And | Or, ..) => Ok(None),
        (_, a, b) => {
            let (x, y) = (a.float(), b.float());
            Ok(Some(match op {
                Add => Value::Float(x + y),
                Sub => Value::Float(x - y),
                Mul => Value::Float(x * y),
                Div | FloorDiv | Rem if y == 0.0 => return Err(format!("`{}` divides by zero", op.symbol())),
                Div => Value::Float(x / y),
                FloorDiv => Value::Float((x / y).floor()),
                Rem => Value::Float(x - y * (x / y).floor()),
                Pow => Value::Float(x.powf(y)),
                Eq => Value::Bool(x == y),
                Ne => Value::Bool(x != y),
                Lt => Value::Bool(x < y),
                Le => Value::Bool(x <= y),
                Gt => Value::Bool(x > y),
                Ge => Value::Bool(x >= y),
                And | Or => return Ok(None),
            }))
        }
    }
}
