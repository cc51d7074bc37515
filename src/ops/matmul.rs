//! Matrix product over the last two axes, leading axes broadcast.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, Signature, optional, required};
use super::conv_spec::{check_floats, check_same};
use super::primitive::broadcast_lead;
use super::reshape::reshape;
use super::util::sum_to;
use super::{Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, kernels};
use crate::diagnostic::codes;
use crate::shape::{Dim, Type, broadcast, display_shape};

/// `c[…, i, j] = Σ_k a[…, i, k] · b[…, k, j]`; a transposed operand has its last two axes exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatMul {
    /// Whether a is `[…, k, i]`.
    pub transpose_a: bool,
    /// Whether b is `[…, j, k]`.
    pub transpose_b: bool,
}

/// Rows and columns of a matrix after the transposition.
fn sides(ty: &Type, transposed: bool) -> (&Dim, &Dim) {
    let r = ty.rank();
    let (rows, columns) = (&ty.shape[r - 2], &ty.shape[r - 1]);
    if transposed { (columns, rows) } else { (rows, columns) }
}

impl Primitive for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let (a, b) = (inputs[0], inputs[1]);
        for (role, ty) in [("a", a), ("b", b)] {
            check_floats("matmul", role, ty)?;
            if ty.rank() < 2 {
                let m = format!("`matmul` takes matrices, and {role} is {ty}");
                let help = "give it a second axis: `reshape(x, [1, …])` for a row, `reshape(x, […, 1])` for a column";
                return Err(OpError::new(codes::WRONG_RANK, m).help(help));
            }
        }
        check_same("matmul", ("a", a), ("b", b))?;
        let ((m, k), (l, n)) = (sides(a, self.transpose_a), sides(b, self.transpose_b));
        if k != l {
            return Err(self.inner_error(a, b, k, l));
        }
        let (lead_a, lead_b) = (&a.shape[..a.rank() - 2], &b.shape[..b.rank() - 2]);
        let mut shape = broadcast(lead_a, lead_b).map_err(|_| {
            let (a, b) = (display_shape(&a.shape), display_shape(&b.shape));
            OpError::new(codes::BROADCAST, format!("the leading axes of {a} and {b} do not broadcast"))
        })?;
        shape.extend([m.clone(), n.clone()]);
        Ok(Type::new(a.dtype, shape))
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        let (a, b, r) = (inputs[0].rank(), inputs[1].rank(), output.rank());
        match (a, b) {
            // The rows of the left matrix are the samples.
            (2, 2) if !self.transpose_a => Some(vec![Lead::Batch, Lead::Shared]),
            _ if r > 2 => broadcast_lead(inputs, output),
            _ => None,
        }
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let (a, b, g) = (cx.inputs[0], cx.inputs[1], cx.grad);
        let (shape_a, shape_b) = (cx.to.ty(a).shape.clone(), cx.to.ty(b).shape.clone());
        // dA = dC · Bᵀ and dB = Aᵀ · dC, each as the operand is stored.
        let da = match self.transpose_a {
            false => product(cx.to, g, b, false, !self.transpose_b)?,
            true => product(cx.to, b, g, self.transpose_b, true)?,
        };
        let da = sum_to(cx.to, da, &shape_a)?;
        // One B for all: the sum over the leading axes is part of the product.
        let (mut a, mut g) = (a, g);
        if shape_b.len() == 2 && shape_a.len() > 2 && !self.transpose_a {
            a = reshape(cx.to, a, tall(&shape_a))?;
            let shape = tall(&cx.to.ty(g).shape);
            g = reshape(cx.to, g, shape)?;
        }
        let db = match self.transpose_b {
            false => product(cx.to, a, g, !self.transpose_a, false)?,
            true => product(cx.to, g, a, true, self.transpose_a)?,
        };
        Ok(vec![Some(da), Some(sum_to(cx.to, db, &shape_b)?)])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::matmul(&inputs[0], &inputs[1], self.transpose_a, self.transpose_b)
    }

    fn label(&self) -> String {
        let mark = |t: bool| if t { "ᵀ" } else { "" };
        match (self.transpose_a, self.transpose_b) {
            (false, false) => "matmul".to_string(),
            (a, b) => format!("matmul a{} b{}", mark(a), mark(b)),
        }
    }

    fn flops(&self, inputs: &[&Type], output: &Type) -> f64 {
        let (_, k) = sides(inputs[0], self.transpose_a);
        2.0 * super::primitive::elements(output) * k.eval_with(1) as f64
    }

    fn scratch_bytes(&self, inputs: &[&Type], output: &Type) -> f64 {
        kernels::matmul_scratch_bytes(inputs, output)
    }
}

impl MatMul {
    /// `a · b` as stored.
    pub const PLAIN: MatMul = MatMul { transpose_a: false, transpose_b: false };

    fn inner_error(&self, a: &Type, b: &Type, k: &Dim, l: &Dim) -> OpError {
        let (sa, sb) = (display_shape(&a.shape), display_shape(&b.shape));
        let error = OpError::shape(format!("`matmul` of {sa} and {sb}: a has {k} columns, b has {l} rows"));
        if sides(b, !self.transpose_b).0 == k {
            let to = !self.transpose_b;
            error.help(format!("b fits the other way round: `transpose_b = {to}`"))
        } else if sides(a, !self.transpose_a).1 == l {
            let to = !self.transpose_a;
            error.help(format!("a fits the other way round: `transpose_a = {to}`"))
        } else {
            error.help("the columns of a must be as many as the rows of b")
        }
    }
}

fn product(
    to: &mut dyn Emit,
    a: NodeId,
    b: NodeId,
    transpose_a: bool,
    transpose_b: bool,
) -> Result<NodeId, OpError> {
    to.emit(MatMul { transpose_a, transpose_b }.into(), &[a, b])
}

/// The shape with all axes but the last as one.
fn tall(shape: &[Dim]) -> Vec<Dim> {
    match shape.split_last() {
        Some((last, lead)) => {
            vec![lead.iter().fold(Dim::from(1), |n, d| n * d.clone()), last.clone()]
        }
        None => Vec::new(),
    }
}

fn build(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let op = MatMul { transpose_a: args.bool(2)?, transpose_b: args.bool(3)? };
    to.emit(op.into(), &[args.tensor(0)?, args.tensor(1)?]).map(Arg::Tensor)
}

/// How the language calls it.
pub const SIGNATURES: &[Signature] = &[Signature {
    name: "matmul",
    params: &[
        required("a", ArgKind::Tensor),
        required("b", ArgKind::Tensor),
        optional("transpose_a", ArgKind::Bool, Default::Bool(false)),
        optional("transpose_b", ArgKind::Bool, Default::Bool(false)),
    ],
    rest: None,
    named: false,
    doc: "Matrix product of a [.., m, k] and b [.., k, n], giving [.., m, n]; leading axes broadcast.",
    build,
    fold: None,
}];
