//! Conversion between dtypes.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Signature, required};
use super::fold::{map_static, number};
use super::primitive::all_lead;
use super::util::{arity, candle_dtype};
use super::{Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive};
use crate::shape::{DType, Type};

/// The same numbers in another dtype: floats to integers drop the fraction, anything but 0 is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cast {
    /// The dtype of the output.
    pub dtype: DType,
}

impl Primitive for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let [x] = arity("cast", inputs)?;
        Ok(Type::new(self.dtype, x.shape))
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        all_lead(inputs, output)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let dtype = cx.to.ty(cx.inputs[0]).dtype;
        if !dtype.is_float() || !self.dtype.is_float() {
            return Ok(vec![None]);
        }
        Ok(vec![Some(cx.to.emit(Cast { dtype }.into(), &[cx.grad])?)])
    }

    fn eval(&self, _cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        match self.dtype {
            // Bytes and truth values are stored alike, so a byte has to be compared as well.
            DType::Bool => inputs[0].ne(0f64),
            dtype => inputs[0].to_dtype(candle_dtype(dtype)),
        }
    }

    fn label(&self) -> String {
        format!("cast {}", self.dtype)
    }

    fn is_view(&self, inputs: &[&Type]) -> bool {
        self.dtype != DType::Bool && inputs.iter().all(|x| candle_dtype(x.dtype) == candle_dtype(self.dtype))
    }
}

/// Casts, or gives the tensor itself where it has that dtype already.
///
/// # Errors
/// None in practice.
pub fn cast_to(to: &mut dyn Emit, x: NodeId, dtype: DType) -> Result<NodeId, OpError> {
    if to.ty(x).dtype == dtype { Ok(x) } else { to.emit(Cast { dtype }.into(), &[x]) }
}

fn named(args: &Args) -> Result<DType, OpError> {
    let name = args.str(1)?;
    name.parse().map_err(|()| {
        let names = DType::ALL.map(DType::name);
        let error = OpError::value(format!("`{name}` is no dtype"));
        match crate::diagnostic::did_you_mean(name, names) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("the dtypes are {}", names.join(", "))),
        }
    })
}

fn static_as(value: &Arg, dtype: DType) -> Result<Arg, OpError> {
    map_static(value, &|v| {
        let x = match v {
            Arg::Bool(b) => f64::from(u8::from(*b)),
            // Whole numbers stay exact.
            Arg::Int(d) if dtype == DType::I64 => return Ok(Arg::Int(d.clone())),
            other => number(other)?,
        };
        Ok(match dtype {
            DType::Bool => Arg::Bool(x != 0.0),
            DType::F64 => Arg::Float(x),
            DType::F32 => Arg::Float(f64::from(x as f32)),
            DType::F16 => Arg::Float(half::f16::from_f64(x).to_f64()),
            DType::BF16 => Arg::Float(half::bf16::from_f64(x).to_f64()),
            DType::I64 | DType::U8 if !x.is_finite() => {
                return Err(OpError::new(
                    crate::diagnostic::codes::STATIC_ARITHMETIC,
                    format!("{x} is no integer"),
                ));
            }
            DType::I64 => Arg::Int((x as i64).into()),
            DType::U8 => Arg::Int(i64::from(x as u8).into()),
        })
    })
}

/// How the language calls it.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "cast",
        params: &[required("x", ArgKind::Tensor), required("dtype", ArgKind::Str)],
        rest: None,
        named: false,
        doc: "x in another dtype: bool, u8, i64, f16, bf16, f32 or f64.",
        build: |to, args| cast_to(to, args.tensor(0)?, named(args)?).map(Arg::Tensor),
        fold: Some(|args| static_as(&args.params[0], named(args)?)),
    },
    Signature {
        name: "float",
        params: &[required("x", ArgKind::Tensor)],
        rest: None,
        named: false,
        doc: "x as floats: of the model's dtype if x is not of a float dtype already.",
        build: |to, args| {
            let x = args.tensor(0)?;
            let dtype = to.ty(x).dtype;
            cast_to(to, x, if dtype.is_float() { dtype } else { DType::F32 }).map(Arg::Tensor)
        },
        fold: Some(|args| static_as(&args.params[0], DType::F64)),
    },
    Signature {
        name: "int",
        params: &[required("x", ArgKind::Tensor)],
        rest: None,
        named: false,
        doc: "x as i64, the fraction dropped.",
        build: |to, args| cast_to(to, args.tensor(0)?, DType::I64).map(Arg::Tensor),
        fold: Some(|args| static_as(&args.params[0], DType::I64)),
    },
];
