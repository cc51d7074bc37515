//! Normalisation over groups of channels or over the last axis, with scale, shift and silu in one pass: what
//! the optimizer puts in place of the operations that the standard library composes it of.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::composed::{self, flat};
use super::conv_spec::{check_floats, check_same};
use super::primitive::elements;
use super::reshape::reshape;
use super::{
    Binary, Emit, EvalContext, GradContext, NodeId, NormalizeGrad, OpError, Primitive, Reduce, ReduceKind,
    Unary, cpu, kernels,
};
use crate::diagnostic::codes;
use crate::shape::{Dim, Type, display_shape};

/// Which elements are normalised together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Over {
    /// Of x `[n, c, ..s]`: each sample's channels in that many groups, each over `(c / groups, ..s)` (Wu & He
    /// 2018, eq. 7). Scale and shift are per channel.
    Groups(usize),
    /// The last axis of x `[..s, c]` (Ba et al. 2016). Scale and shift lie along it.
    Last,
}

/// `y = (x - μ) / √(σ² + ε) · weight + bias`, then silu if wanted. Inputs: x, then the weight `[c]` if
/// `affine`, then the bias `[c]` if `bias`. The variance is that of the set (divided by its size).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalize {
    /// Which elements are normalised together.
    pub over: Over,
    /// ε.
    pub eps: f64,
    /// Whether the mean is taken out. Without, μ is 0 and σ² the mean square (Zhang & Sennrich 2019, eq. 4).
    pub centred: bool,
    /// Whether there is a weight.
    pub affine: bool,
    /// Whether there is a bias; only beside a weight.
    pub bias: bool,
    /// Whether the result is `y σ(y)`.
    pub silu: bool,
}

impl Normalize {
    /// How many of weight and bias there are.
    pub(super) fn weights(&self) -> usize {
        usize::from(self.affine) + usize::from(self.bias)
    }

    /// The number of channels, after a look at x and what scales it.
    pub(super) fn check(&self, name: &str, x: &Type, weights: &[&Type]) -> Result<Dim, OpError> {
        check_floats(name, "x", x)?;
        if self.bias && !self.affine {
            return Err(OpError::internal(format!("`{name}` has a bias and no weight")));
        }
        let channels = match self.over {
            Over::Groups(groups) => {
                let Some(c) = x.shape.get(1) else {
                    let m =
                        format!("`{name}` over groups of channels takes x as [n, c, ..], and this is {x}");
                    return Err(OpError::new(codes::WRONG_RANK, m));
                };
                if groups == 0 || c.exact_div(&Dim::from(groups as i64)).is_none() {
                    let m = format!("`{name}`: the {c} channels of {x} do not divide into {groups} groups");
                    return Err(OpError::new(codes::NOT_DIVISIBLE, m));
                }
                c
            }
            Over::Last => x.shape.last().ok_or_else(|| {
                OpError::new(codes::WRONG_RANK, format!("`{name}` over the last axis of {x}, which has none"))
            })?,
        };
        if weights.len() != self.weights() {
            let m = format!("`{name}` takes {} weights and was given {}", self.weights(), weights.len());
            return Err(OpError::internal(m));
        }
        for (role, w) in ["the weight", "the bias"].into_iter().zip(weights) {
            check_same(name, ("x", x), (role, w))?;
            if w.shape != [channels.clone()] {
                let (have, want) = (display_shape(&w.shape), display_shape(std::slice::from_ref(channels)));
                return Err(OpError::shape(format!(
                    "{role} of `{name}` is {have} and x {x}: expected {want}"
                )));
            }
        }
        Ok(channels.clone())
    }

    /// The same by operations that have gradients of any order.
    pub(super) fn composed(&self, to: &mut dyn Emit, inputs: &[NodeId]) -> Result<NodeId, OpError> {
        let x = inputs[0];
        let shape = to.ty(x).shape.clone();
        // What is normalised together becomes one axis.
        let (sets, axis) = match self.over {
            Over::Groups(groups) => {
                let groups = Dim::from(groups as i64);
                let per_group = shape[1].exact_div(&groups).ok_or_else(|| OpError::internal("no groups"))?;
                let set = shape[2..].iter().fold(per_group, |a, d| a * d.clone());
                (reshape(to, x, vec![shape[0].clone(), groups, set])?, 2)
            }
            Over::Last => (x, shape.len() - 1),
        };
        let mean = |to: &mut dyn Emit, x| {
            to.emit(Reduce { kind: ReduceKind::Mean, axes: vec![axis], keep: true }.into(), &[x])
        };
        let mut y = sets;
        if self.centred {
            let centre = mean(to, y)?;
            y = to.binary(Binary::Sub, y, centre)?;
        }
        let square = to.unary(Unary::Square, y)?;
        let variance = mean(to, square)?;
        let variance = to.binary_scalar(Binary::Add, variance, self.eps)?;
        let deviation = to.unary(Unary::Sqrt, variance)?;
        y = to.binary(Binary::Div, y, deviation)?;
        y = reshape(to, y, shape.clone())?;
        for (op, w) in [Binary::Mul, Binary::Add].into_iter().zip(&inputs[1..]) {
            let mut w = *w;
            if let Over::Groups(_) = self.over {
                let mut column = vec![shape[1].clone()];
                column.resize(shape.len() - 1, Dim::from(1));
                w = reshape(to, w, column)?;
            }
            y = to.binary(op, y, w)?;
        }
        if self.silu { to.unary(Unary::Silu, y) } else { Ok(y) }
    }

    /// What it is called where it is drawn.
    pub(super) fn describe(&self) -> String {
        let mut text = match (self.over, self.centred) {
            (Over::Groups(g), true) => format!("group_norm {g}"),
            (Over::Groups(g), false) => format!("group rms_norm {g}"),
            (Over::Last, true) => "layer_norm".into(),
            (Over::Last, false) => "rms_norm".into(),
        };
        if self.silu {
            text.push_str(", silu");
        }
        text
    }
}

impl Primitive for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let Some((x, weights)) = inputs.split_first() else {
            return Err(OpError::internal("`normalize` of nothing"));
        };
        self.check("normalize", x, weights)?;
        Ok(x.plain())
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let mut inputs = cx.inputs.to_vec();
        inputs.push(cx.grad);
        let all = cx.to.emit(NormalizeGrad(*self).into(), &inputs)?;
        let mut grads = composed::parts(cx.to, all, cx.inputs)?;
        // Weights' gradients are held to the end of a training step. In a tensor of their own they do not
        // hold that of x, whose views they would be.
        if let [_, Some(weight), rest @ ..] = &grads[..] {
            let bias = rest.first().copied().flatten().unwrap_or(*weight);
            let own = flat(cx.to, &[*weight, bias])?;
            let likes = &cx.inputs[1..];
            grads.truncate(1);
            grads.extend(composed::parts(cx.to, own, likes)?);
        }
        Ok(grads)
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::normalize(self, inputs, cpu::here(cx))
    }

    fn label(&self) -> String {
        self.describe()
    }

    fn flops(&self, _inputs: &[&Type], output: &Type) -> f64 {
        (if self.silu { 26.0 } else { 6.0 }) * elements(output)
    }
}

/// The gradients of [`Normalize`] by composed operations, flat: what [`NormalizeGrad`] computes.
pub(super) fn composed_gradients(
    op: &Normalize,
    to: &mut dyn Emit,
    inputs: &[NodeId],
) -> Result<NodeId, OpError> {
    let Some((grad, inputs)) = inputs.split_last() else {
        return Err(OpError::internal("no gradient was given"));
    };
    let grads = composed::gradients(to, inputs, *grad, &|to, xs| op.composed(to, xs))?;
    let grads = grads
        .into_iter()
        .zip(inputs)
        .map(|(g, x)| composed::or_zeros(to, g, *x))
        .collect::<Result<Vec<_>, _>>()?;
    flat(to, &grads)
}
