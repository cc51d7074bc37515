//! The primitive operations. One file per primitive (or per family that shares one rule): its signature in
//! the language, its shape rule, its gradient rule, its evaluation.
//!
//! An operation is a value of [`Op`] with static attributes. [`Primitive`] is what each gives. Operations
//! are put into a graph through [`Emit`], so that this module knows nothing of graphs.

pub mod args;
pub mod avg_pool;
pub mod conv_spec;
pub mod error;
pub mod max_pool;
pub mod numbers;
pub mod primitive;
pub mod resize;
pub mod structure;

mod after;
mod arange;
mod arg_reduce;
pub mod arg_sort;
mod attention;
mod attention_grad;
mod bf16_weights;
mod binary;
mod cast;
pub mod cat;
mod checkpoint;
mod compare;
mod composed;
mod conv;
mod conv_bf16;
mod conv_fused;
mod conv_transpose;
mod conv_weight_grad;
mod conv_winograd;
mod copies;
mod cpu;
mod cumulative;
mod dim_value;
mod einsum;
mod elementwise;
pub mod expand;
mod fold;
pub mod gather;
mod in_place;
pub mod index;
mod kernels;
mod layout;
mod log_sum_exp;
mod mask;
mod math;
mod matmul;
mod matmul_bf16;
mod normalize;
mod normalize_grad;
mod one_hot;
pub mod pad;
mod pattern;
pub mod permute;
pub mod philox;
pub mod random;
mod rearrange;
mod reduce;
pub mod reshape;
mod scatter_add;
pub mod slice;
mod softmax;
mod stop_grad;
pub mod take;
pub mod torch_rng;
mod unary;
pub mod util;
mod where_;
mod winograd_weights;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests_conv;
#[cfg(test)]
mod tests_elementwise;
#[cfg(test)]
mod tests_fused;
#[cfg(test)]
mod tests_random;
#[cfg(test)]
mod tests_shape;

pub use avg_pool::{AvgPool, AvgPoolGrad, PoolSpec};
pub use max_pool::{MaxPool, MaxPoolGrad, MaxPoolPick};
pub use resize::{Resize, ResizeGrad, ResizeMode};

pub use args::{Arg, ArgKind, Args, ParamSignature, Signature};
pub use error::OpError;
pub use primitive::{Emit, EvalContext, GradContext, Lead, NodeId, Primitive, repeated};
pub use structure::{Column, Const, Input, Loop, LoopInput, Parameter, Project, Table};

pub use after::After;
pub use arange::Arange;
pub use arg_reduce::{ArgReduce, ArgReduceKind};
pub use arg_sort::ArgSort;
pub use attention::Attention;
pub use attention_grad::AttentionGrad;
pub use bf16_weights::{Bf16Form, Bf16Weights};
pub use binary::{Binary, power};
pub use cast::{Cast, cast_to};
pub use cat::Cat;
pub use checkpoint::Checkpoint;
pub use compare::{Compare, CompareKind, Logical};
pub use conv::Conv;
pub use conv_bf16::ConvBf16;
pub use conv_fused::ConvFused;
pub use conv_spec::ConvSpec;
pub use conv_transpose::ConvTranspose;
pub use conv_weight_grad::ConvWeightGrad;
pub use conv_winograd::{ConvWinograd, winograd_pays};
pub use cumulative::{Cumulative, CumulativeKind, LinearScan};
pub use dim_value::{DimValue, dim_value};
pub use einsum::einsum;
pub use elementwise::{Elementwise, Step};
pub use expand::Expand;
pub use gather::Gather;
pub use kernels::reduced::bf16_native;
pub use log_sum_exp::LogSumExp;
pub use matmul::MatMul;
pub use matmul_bf16::MatMulBf16;
pub use normalize::{Normalize, Over};
pub use normalize_grad::NormalizeGrad;
pub use one_hot::OneHot;
pub use pad::{Pad, PadMode};
pub use permute::Permute;
pub use random::{Dist, Random};
pub use reduce::{Reduce, ReduceKind, reduce};
pub use reshape::Reshape;
pub use scatter_add::{IndexAdd, ScatterAdd};
pub use slice::Slice;
pub use softmax::{LogSoftmax, Softmax};
pub use stop_grad::StopGrad;
pub use take::Take;
pub use unary::Unary;
pub use where_::Where;
pub use winograd_weights::WinogradWeights;

use serde::{Deserialize, Serialize};

use crate::shape::{Dim, Type};

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// An operation with its static attributes.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Op {
            $($(#[$doc])* $name($name),)*
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Op {
                Op::$name(op)
            }
        })*

        impl Primitive for Op {
            fn name(&self) -> &'static str {
                match self { $(Op::$name(op) => op.name(),)* }
            }
            fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
                match self { $(Op::$name(op) => op.infer(inputs),)* }
            }
            fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
                match self { $(Op::$name(op) => op.grad(cx),)* }
            }
            fn eval(
                &self,
                cx: &EvalContext<'_>,
                inputs: &[candle_core::Tensor],
            ) -> candle_core::Result<candle_core::Tensor> {
                match self { $(Op::$name(op) => op.eval(cx, inputs),)* }
            }
            fn label(&self) -> String {
                match self { $(Op::$name(op) => op.label(),)* }
            }
            fn flops(&self, inputs: &[&Type], output: &Type) -> f64 {
                match self { $(Op::$name(op) => op.flops(inputs, output),)* }
            }
            fn scratch_bytes(&self, inputs: &[&Type], output: &Type) -> f64 {
                match self { $(Op::$name(op) => op.scratch_bytes(inputs, output),)* }
            }
            fn is_view(&self, inputs: &[&Type]) -> bool {
                match self { $(Op::$name(op) => op.is_view(inputs),)* }
            }
            fn overwrites(&self, input: usize, inputs: &[&Type], output: &Type) -> bool {
                match self { $(Op::$name(op) => op.overwrites(input, inputs, output),)* }
            }
            fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
                match self { $(Op::$name(op) => op.leading(inputs, output),)* }
            }
            fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
                match self { $(Op::$name(op) => op.map_dims(f),)* }
            }
        }
    };
}

ops! {
    // Structure: the executor treats these itself.
    /// An input of the graph.
    Input,
    /// A weight or a state.
    Parameter,
    /// A number.
    Const,
    /// A static array of numbers.
    Table,
    /// A run-time loop over a region.
    Loop,
    /// An input of a loop body.
    LoopInput,
    /// A per-step number of a loop body.
    Column,
    /// One output of a loop.
    Project,
    // Elementwise.
    /// A function of one element.
    Unary,
    /// A function of two elements, broadcast.
    Binary,
    /// Several of them, one after the other.
    Elementwise,
    // Products, convolutions, windows.
    /// Matrix product.
    MatMul,
    /// Convolution.
    Conv,
    /// Convolution with a bias and a residual.
    ConvFused,
    /// The same by minimal filtering.
    ConvWinograd,
    /// Its weights.
    WinogradWeights,
    /// Convolution of operands rounded to bf16.
    ConvBf16,
    /// Product with a weight, of operands rounded to bf16.
    MatMulBf16,
    /// Their weights.
    Bf16Weights,
    /// Transposed convolution.
    ConvTranspose,
    /// Gradient of a convolution's weight.
    ConvWeightGrad,
    /// Mean of windows.
    AvgPool,
    /// Its adjoint.
    AvgPoolGrad,
    /// Largest value of windows.
    MaxPool,
    /// The value of another tensor there.
    MaxPoolPick,
    /// Its adjoint.
    MaxPoolGrad,
    /// Resizing.
    Resize,
    /// Its adjoint.
    ResizeGrad,
    // Shape.
    /// The same elements under another shape.
    Reshape,
    /// The axes in another order.
    Permute,
    /// Broadcasting to a shape.
    Expand,
    /// A range of an axis.
    Slice,
    /// Elements around a tensor.
    Pad,
    /// Tensors one after the other.
    Cat,
    // Indices.
    /// An element per index along an axis.
    Gather,
    /// Elements added where an index says.
    ScatterAdd,
    /// Slices by an index.
    Take,
    /// Slices added where an index says.
    IndexAdd,
    /// Integers as indicator vectors.
    OneHot,
    /// The indices that sort an axis.
    ArgSort,
    // Sources.
    /// 0, 1, 2, …
    Arange,
    /// Random numbers.
    Random,
    /// A comparison, broadcast.
    Compare,
    /// And, or of truth values, broadcast.
    Logical,
    /// A choice, broadcast.
    Where,
    /// Another dtype.
    Cast,
    /// The identity without a gradient.
    StopGrad,
    /// The identity at the end of what the backward pass computes again.
    Checkpoint,
    /// The identity, after another value is known.
    After,
    /// An open dimension as a number.
    DimValue,
    // Reductions and walks along axes.
    /// Sum, mean, largest, smallest or product over axes.
    Reduce,
    /// The index of the largest or smallest.
    ArgReduce,
    /// The logarithm of a sum of exponentials.
    LogSumExp,
    /// Running sums and products.
    Cumulative,
    /// A linear recurrence.
    LinearScan,
    /// Softmax along an axis.
    Softmax,
    /// Log-softmax along an axis.
    LogSoftmax,
    // What the optimizer fuses.
    /// Group, layer or root-mean-square normalisation.
    Normalize,
    /// Its gradients.
    NormalizeGrad,
    /// Scaled dot-product attention.
    Attention,
    /// Its gradients.
    AttentionGrad,
}

/// Every operation as the language calls it, in alphabetical order of families.
pub fn signatures() -> impl Iterator<Item = &'static Signature> {
    [
        avg_pool::SIGNATURES,
        binary::SIGNATURES,
        conv::SIGNATURES,
        conv_transpose::SIGNATURES,
        mask::SIGNATURES,
        matmul::SIGNATURES,
        max_pool::SIGNATURES,
        resize::SIGNATURES,
        arange::SIGNATURES,
        arg_sort::SIGNATURES,
        cat::SIGNATURES,
        einsum::SIGNATURES,
        expand::SIGNATURES,
        gather::SIGNATURES,
        one_hot::SIGNATURES,
        pad::SIGNATURES,
        permute::SIGNATURES,
        rearrange::SIGNATURES,
        reshape::SIGNATURES,
        scatter_add::SIGNATURES,
        slice::SIGNATURES,
        take::SIGNATURES,
        unary::SIGNATURES,
        arg_reduce::SIGNATURES,
        cast::SIGNATURES,
        cumulative::SIGNATURES,
        log_sum_exp::SIGNATURES,
        reduce::SIGNATURES,
        softmax::SIGNATURES,
        stop_grad::SIGNATURES,
        where_::SIGNATURES,
    ]
    .into_iter()
    .flatten()
}
