//! `one_hot`: integers as indicator vectors.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, Signature, optional, required};
use super::expand::dtype;
use super::layout::{arity, check_index, check_shape, constant};
use super::primitive::all_lead;
use super::util::candle_dtype;
use super::{Arange, EvalContext, GradContext, Lead, NodeId, OpError, Primitive};
use crate::shape::{DType, Dim, Type};

/// A new last axis that is 1 at the index and 0 elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneHot {
    /// Its length.
    pub classes: Dim,
    /// The dtype of the result.
    pub dtype: DType,
}

impl Primitive for OneHot {
    fn name(&self) -> &'static str {
        "one_hot"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [index] = arity(self.name(), inputs)?;
        check_index(self.name(), index)?;
        check_shape(self.name(), std::slice::from_ref(&self.classes))?;
        let mut shape = index.shape.clone();
        shape.push(self.classes.clone());
        Ok(Type::new(self.dtype, shape))
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        all_lead(inputs, output)
    }

    fn grad(&self, _cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        Ok(vec![None])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        // On the CPU, so that an index out of range is an error on every device.
        let classes = constant(&self.classes)?;
        let indices: Vec<i64> = inputs[0].flatten_all()?.to_vec1()?;
        let mut out = vec![0u8; indices.len() * classes];
        for (row, index) in indices.iter().enumerate() {
            match usize::try_from(*index).ok().filter(|i| *i < classes) {
                Some(i) => out[row * classes + i] = 1,
                None => candle_core::bail!("the index {index} is not one of {classes} classes"),
            }
        }
        let mut shape = inputs[0].dims().to_vec();
        shape.push(classes);
        Tensor::from_vec(out, shape, cx.device)?.to_dtype(candle_dtype(self.dtype))
    }

    fn label(&self) -> String {
        format!("one_hot {}", self.classes)
    }

    fn flops(&self, _inputs: &[&Type], _output: &Type) -> f64 {
        0.0
    }

    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        self.classes = f(&self.classes);
    }
}

fn build(to: &mut dyn super::Emit, args: &Args) -> Result<Arg, OpError> {
    let op = OneHot { classes: args.dim(1)?, dtype: dtype(args, 2)? };
    to.emit(op.into(), &[args.tensor(0)?]).map(Arg::Tensor)
}

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "one_hot",
        params: &[
            required("index", ArgKind::Tensor),
            required("classes", ArgKind::Int),
            optional("dtype", ArgKind::Str, Default::Str("f32")),
        ],
        rest: None,
        named: false,
        doc: "A new last axis that is 1 at the index: i64[n] gives [n, classes].",
        build,
        fold: None,
    },
    Signature {
        name: "eye",
        params: &[required("n", ArgKind::Int), optional("dtype", ArgKind::Str, Default::Str("f32"))],
        rest: None,
        named: false,
        doc: "The identity matrix [n, n].",
        build: |to, args| {
            let (n, dtype) = (args.dim(0)?, dtype(args, 1)?);
            let index = to.emit(Arange { len: n.clone(), dtype: DType::I64 }.into(), &[])?;
            to.emit(OneHot { classes: n, dtype }.into(), &[index]).map(Arg::Tensor)
        },
        fold: None,
    },
];
