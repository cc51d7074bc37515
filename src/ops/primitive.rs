//! What every operation gives, and what it is given.

use candle_core::{Device, Tensor};

use super::{Binary, Const, Expand, Op, OpError, Reshape, Unary};
use crate::shape::{DType, Dim, Type};

/// A node of a region.
pub type NodeId = petgraph::graph::NodeIndex<u32>;

/// One primitive operation.
pub trait Primitive {
    /// Its name, as in the language where it has one.
    fn name(&self) -> &'static str;

    /// The type of the output. Dimensions may be open; what cannot be decided about them is an error.
    ///
    /// # Errors
    /// The inputs do not fit the operation.
    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError>;

    /// Emits the gradient with respect to each input, given that of the output (`cx.grad`). `None` where
    /// there is none (integer inputs, or zero everywhere). A gradient has the shape of its input.
    ///
    /// # Errors
    /// The operation has no gradient, with the reason.
    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError>;

    /// Computes the output. Inputs are of the inferred types, on `cx.device`, and of any layout; the output
    /// is of the inferred dtype and shape. The result of sample `k` (index of the first axis) must not
    /// depend on the other samples, on their number, or on the number of threads.
    ///
    /// # Errors
    /// Whatever candle reports; the executor names the node.
    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor>;

    /// The name with its main attributes, for drawings: `conv2d 4×4, stride 2`.
    fn label(&self) -> String {
        self.name().to_string()
    }

    /// Floating-point operations (a multiply-add counts as two); types are constant.
    fn flops(&self, _inputs: &[&Type], output: &Type) -> f64 {
        elements(output)
    }

    /// Bytes of temporary memory while it runs, beyond inputs and output; types are constant.
    fn scratch_bytes(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }

    /// Whether the output shares the storage of the first input (a reshape of contiguous data, a permutation, …).
    fn is_view(&self, _inputs: &[&Type]) -> bool {
        false
    }

    /// Whether the output may be written over input `input`, on the CPU, where nobody reads that input
    /// afterwards: it then lies in order, shares its storage with no other input, and is named by
    /// [`EvalContext::overwrite`]. Types are constant.
    fn overwrites(&self, _input: usize, _inputs: &[&Type], _output: &Type) -> bool {
        false
    }

    /// Which inputs hold samples along their first axis, where the operation treats each sample of its output's
    /// first axis by itself: laid end to end along that axis, such inputs give outputs laid end to end. `None`
    /// where samples meet, or where nobody has said.
    fn leading(&self, _inputs: &[&Type], _output: &Type) -> Option<Vec<Lead>> {
        None
    }

    /// Rewrites the dimensions among the attributes, when open dimensions get their values.
    fn map_dims(&mut self, _f: &mut dyn FnMut(&Dim) -> Dim) {}
}

/// What the first axis of an input is to an operation that treats samples one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// The samples.
    Batch,
    /// It is 1, as the output's: the samples, or broadcast over them.
    Either,
    /// Something that all samples share, or no axis at all.
    Shared,
}

/// [`Primitive::leading`] of what is broadcast.
pub(super) fn broadcast_lead(inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
    let first = output.shape.first()?;
    let lead = |x: &&Type| match x.shape.first() {
        Some(d) if x.rank() == output.rank() && d == first => {
            if d.is(1) {
                Lead::Either
            } else {
                Lead::Batch
            }
        }
        _ => Lead::Shared,
    };
    Some(inputs.iter().map(lead).collect())
}

/// [`Primitive::leading`] of what keeps the first axis, or only the order of elements, of every input.
pub(super) fn all_lead(inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
    let axis = output.rank() > 0 && inputs.iter().all(|x| x.rank() > 0);
    axis.then(|| vec![Lead::Batch; inputs.len()])
}

/// Number of elements of a type, open names counting as 1.
pub fn elements(ty: &Type) -> f64 {
    ty.shape.iter().map(|d| d.eval_with(1) as f64).product()
}

/// Where operations are put. A graph's builder is one.
pub trait Emit {
    /// Adds a node.
    ///
    /// # Errors
    /// The inputs do not fit the operation.
    fn emit(&mut self, op: Op, inputs: &[NodeId]) -> Result<NodeId, OpError>;

    /// The type of a node's (first) output.
    fn ty(&self, node: NodeId) -> &Type;

    /// A number of that dtype, without dimensions.
    ///
    /// # Errors
    /// None in practice.
    fn scalar(&mut self, value: f64, dtype: DType) -> Result<NodeId, OpError> {
        self.emit(Const { value, dtype }.into(), &[])
    }

    /// An elementwise function.
    ///
    /// # Errors
    /// A wrong dtype.
    fn unary(&mut self, op: Unary, x: NodeId) -> Result<NodeId, OpError> {
        self.emit(op.into(), &[x])
    }

    /// An elementwise function of two, broadcast.
    ///
    /// # Errors
    /// Shapes that do not broadcast, or different dtypes.
    fn binary(&mut self, op: Binary, a: NodeId, b: NodeId) -> Result<NodeId, OpError> {
        self.emit(op.into(), &[a, b])
    }

    /// An elementwise function of a tensor and a number of its dtype.
    ///
    /// # Errors
    /// A wrong dtype.
    fn binary_scalar(&mut self, op: Binary, a: NodeId, b: f64) -> Result<NodeId, OpError> {
        let dtype = self.ty(a).dtype;
        let b = self.scalar(b, dtype)?;
        self.emit(op.into(), &[a, b])
    }
}

/// What a gradient rule works with.
pub struct GradContext<'a> {
    /// Where the rule emits.
    pub to: &'a mut dyn Emit,
    /// The node's inputs.
    pub inputs: &'a [NodeId],
    /// The node's output.
    pub output: NodeId,
    /// The gradient of the output.
    pub grad: NodeId,
}

/// What an evaluation works with, beside its inputs.
pub struct EvalContext<'a> {
    /// Where the tensors are.
    pub device: &'a Device,
    /// The inferred type of the output, all dimensions constant.
    pub output: &'a Type,
    /// The key of the run: `--seed`.
    pub seed: u64,
    /// Index of the present step of the innermost `loop`, with outer loops folded in (0 outside).
    pub loop_step: u32,
    /// The training step (0 outside training).
    pub step: u32,
    /// The index of the first sample of the batch, for replaying a sample or a shard by itself.
    pub first_sample: u32,
    /// An input that the output is to be written over, of an operation that said that it can.
    pub overwrite: Option<usize>,
}

/// The operation for so many inputs end to end: those that name a shape name a longer first
/// axis. See [`Primitive::leading`].
pub fn repeated(op: &Op, times: usize) -> Op {
    let longer = |shape: &[Dim]| {
        let mut shape = shape.to_vec();
        if let Some(first) = shape.first_mut() {
            *first = first.clone() * Dim::from(times as i64);
        }
        shape
    };
    match op {
        Op::Reshape(r) => Reshape { shape: longer(&r.shape) }.into(),
        Op::Expand(e) => Expand { shape: longer(&e.shape) }.into(),
        other => other.clone(),
    }
}
