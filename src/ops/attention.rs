//! Scaled dot-product attention in blocks, which never holds the matrix of scores.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::composed::{self, flat};
use super::conv_spec::{check_floats, check_same};
use super::primitive::elements;
use super::{
    AttentionGrad, Binary, Emit, EvalContext, GradContext, MatMul, NodeId, OpError, Primitive, Softmax, cpu,
    kernels,
};
use crate::diagnostic::codes;
use crate::shape::{Type, display_shape};

/// `softmax(scale · q kᵀ) v` (Vaswani et al. 2017, eq. 1): q `[..b, l, d]`, k `[..b, m, d]`, v `[..b, m, e]`
/// to `[..b, l, e]`. Computed in blocks of queries and keys with a running maximum and sum (Milakov &
/// Gimelshein 2018; Dao et al. 2022).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attention {
    /// What the products are multiplied by, `1 / √d` as a rule.
    pub scale: f64,
}

/// Refuses operands that do not belong together; gives the output's type.
pub(super) fn check(name: &str, inputs: &[&Type]) -> Result<Type, OpError> {
    let [q, k, v] = inputs else {
        return Err(OpError::internal(format!("`{name}` takes q, k and v")));
    };
    for (role, ty) in [("q", q), ("k", k), ("v", v)] {
        check_floats(name, role, ty)?;
        check_same(name, ("q", q), (role, ty))?;
        if ty.rank() < 2 {
            let m = format!("`{name}` takes {role} as [.., rows, width], and this is {ty}");
            return Err(OpError::new(codes::WRONG_RANK, m));
        }
    }
    let lead = |ty: &Type| ty.shape[..ty.rank() - 2].to_vec();
    let side = |ty: &Type, back: usize| ty.shape[ty.rank() - back].clone();
    if lead(q) != lead(k) || lead(q) != lead(v) || side(q, 1) != side(k, 1) || side(k, 2) != side(v, 2) {
        let [q, k, v] = [q, k, v].map(|ty| display_shape(&ty.shape));
        let m = format!("`{name}` of q {q}, k {k} and v {v}");
        return Err(OpError::shape(m).help("they are [..b, l, d], [..b, m, d] and [..b, m, e]"));
    }
    let mut shape = q.shape.clone();
    shape.pop();
    shape.push(side(v, 1));
    Ok(Type::new(q.dtype, shape))
}

impl Attention {
    /// The same by operations that have gradients of any order.
    pub(super) fn composed(&self, to: &mut dyn Emit, inputs: &[NodeId]) -> Result<NodeId, OpError> {
        let [q, k, v] = *inputs else {
            return Err(OpError::internal("attention takes q, k and v"));
        };
        let scores = to.emit(MatMul { transpose_a: false, transpose_b: true }.into(), &[q, k])?;
        let scores = to.binary_scalar(Binary::Mul, scores, self.scale)?;
        let axis = to.ty(scores).rank() - 1;
        let weights = to.emit(Softmax { axis }.into(), &[scores])?;
        to.emit(MatMul { transpose_a: false, transpose_b: false }.into(), &[weights, v])
    }

    /// Its gradients by composed operations, flat: what [`AttentionGrad`] computes. The value itself is not
    /// read: a gradient of a gradient must see what it depends on.
    pub(super) fn composed_gradients(&self, to: &mut dyn Emit, inputs: &[NodeId]) -> Result<NodeId, OpError> {
        let [q, k, v, grad] = *inputs else {
            return Err(OpError::internal("the gradient of attention takes q, k, v and a gradient"));
        };
        let grads = composed::gradients(to, &[q, k, v], grad, &|to, xs| self.composed(to, xs))?;
        let grads = grads
            .into_iter()
            .zip([q, k, v])
            .map(|(g, x)| composed::or_zeros(to, g, x))
            .collect::<Result<Vec<_>, _>>()?;
        flat(to, &grads)
    }
}

impl Primitive for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        check(self.name(), inputs)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let [q, k, v] = *cx.inputs else {
            return Err(OpError::internal("attention takes q, k and v"));
        };
        let inputs = [q, k, v, cx.output, cx.grad];
        let all = cx.to.emit(AttentionGrad { scale: self.scale }.into(), &inputs)?;
        composed::parts(cx.to, all, cx.inputs)
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::attention(self.scale, inputs, cpu::here(cx))
    }

    fn flops(&self, inputs: &[&Type], output: &Type) -> f64 {
        let at = |i: usize, back: usize| inputs[i].shape[inputs[i].rank() - back].eval_with(1) as f64;
        let (m, d, e) = (at(1, 2), at(1, 1), at(2, 1));
        elements(output) / e.max(1.0) * m * (2.0 * (d + e) + 20.0)
    }

    fn scratch_bytes(&self, inputs: &[&Type], _output: &Type) -> f64 {
        kernels::attention_scratch_bytes(inputs)
    }
}
