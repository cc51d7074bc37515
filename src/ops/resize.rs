//! Resizing of the last two axes.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::args::{Arg, ArgKind, Args, Default, Signature, optional, required};
use super::conv_spec::check_floats;
use super::primitive::all_lead;
use super::primitive::elements;
use super::{Emit, EvalContext, GradContext, Lead, NodeId, OpError, Primitive, kernels};
use crate::diagnostic::codes;
use crate::shape::{Dim, Type};

/// How a value between samples is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResizeMode {
    /// Output `i` is input `floor(i · in / out)`, as PyTorch's `nearest`.
    Nearest,
    /// Linear between the centres of pixels (PyTorch's `bilinear` with `align_corners = False`), without
    /// smoothing when it shrinks.
    Bilinear,
}

impl ResizeMode {
    fn name(self) -> &'static str {
        match self {
            ResizeMode::Nearest => "nearest",
            ResizeMode::Bilinear => "bilinear",
        }
    }

    fn parse(text: &str) -> Result<Self, OpError> {
        match text {
            "nearest" => Ok(ResizeMode::Nearest),
            "bilinear" => Ok(ResizeMode::Bilinear),
            other => Err(OpError::value(format!("`mode` is \"{other}\""))
                .help("the modes are \"nearest\" and \"bilinear\"")),
        }
    }
}

/// x `[…, h, w]` to `[…, size]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resize {
    /// The mode.
    pub mode: ResizeMode,
    /// Height and width of the output.
    pub size: Vec<Dim>,
}

/// The adjoint of [`Resize`]: y `[…, h', w']` to `[…, size]`, where resizing `size` gave `[h', w']`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizeGrad {
    /// The mode.
    pub mode: ResizeMode,
    /// Height and width of the output.
    pub size: Vec<Dim>,
}

fn resized(op: &str, x: &Type, size: &[Dim]) -> Result<Type, OpError> {
    check_floats(op, "x", x)?;
    if x.rank() < 2 || size.len() != 2 {
        return Err(OpError::new(
            codes::WRONG_RANK,
            format!("`{op}` takes x as [.., h, w], and this is {x}"),
        ));
    }
    if let Some(d) = size.iter().find(|d| d.as_const().is_some_and(|v| v < 1)) {
        return Err(OpError::value(format!("`{op}` to a size of {d}")));
    }
    let mut shape = x.shape[..x.rank() - 2].to_vec();
    shape.extend(size.iter().cloned());
    Ok(Type::new(x.dtype, shape))
}

impl Primitive for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        resized(self.name(), inputs[0], &self.size)
    }

    fn leading(&self, inputs: &[&Type], output: &Type) -> Option<Vec<Lead>> {
        all_lead(inputs, output)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let x = cx.to.ty(cx.inputs[0]);
        let size = x.shape[x.rank() - 2..].to_vec();
        let g = cx.to.emit(ResizeGrad { mode: self.mode, size }.into(), &[cx.grad])?;
        Ok(vec![Some(g)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::resize(self.mode, &inputs[0], &kernels::size_of(cx.output)?)
    }

    fn label(&self) -> String {
        format!("resize {}", self.mode.name())
    }

    fn flops(&self, _inputs: &[&Type], output: &Type) -> f64 {
        match self.mode {
            ResizeMode::Nearest => 0.0,
            ResizeMode::Bilinear => 8.0 * elements(output),
        }
    }

    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        self.size.iter_mut().for_each(|d| *d = f(d));
    }
}

impl Primitive for ResizeGrad {
    fn name(&self) -> &'static str {
        "resize_grad"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        resized(self.name(), inputs[0], &self.size)
    }

    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let y = cx.to.ty(cx.inputs[0]);
        let size = y.shape[y.rank() - 2..].to_vec();
        let g = cx.to.emit(Resize { mode: self.mode, size }.into(), &[cx.grad])?;
        Ok(vec![Some(g)])
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        kernels::resize_grad(self.mode, &inputs[0], &kernels::size_of(cx.output)?)
    }

    fn label(&self) -> String {
        format!("resize_grad {}", self.mode.name())
    }

    fn flops(&self, inputs: &[&Type], _output: &Type) -> f64 {
        match self.mode {
            ResizeMode::Nearest => elements(inputs[0]),
            ResizeMode::Bilinear => 8.0 * elements(inputs[0]),
        }
    }

    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        self.size.iter_mut().for_each(|d| *d = f(d));
    }
}

fn build_resize(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let size = match args.dims(1)?.as_slice() {
        [side] => vec![side.clone(), side.clone()],
        size => size.to_vec(),
    };
    if size.len() != 2 {
        return Err(OpError::value(format!("`size` takes one integer or two, not {}", size.len())));
    }
    let mode = ResizeMode::parse(args.str(2)?)?;
    to.emit(Resize { mode, size }.into(), &[args.tensor(0)?]).map(Arg::Tensor)
}

/// `floor(size · scale)`, exact where the scale is a whole number or one over a whole number.
fn scaled(size: &Dim, scale: f64) -> Result<Dim, OpError> {
    if !(scale > 0.0 && scale <= 65_536.0) {
        return Err(OpError::value(format!("`scale` is {scale}, and must be positive")));
    }
    let inverse = 1.0 / scale;
    if scale.fract() == 0.0 {
        Ok(size.clone() * Dim::from(scale as i64))
    } else if inverse.round() >= 1.0 && (inverse - inverse.round()).abs() < 1e-12 * inverse {
        Ok(size.floor_div(inverse.round() as i64))
    } else if let Some(v) = size.as_const() {
        Ok(Dim::from((v as f64 * scale).floor() as i64))
    } else {
        let m = format!("`scale` {scale} of the open size {size} is not an integer polynomial");
        Err(OpError::value(m).help("give the size itself: `resize(x, [h', w'])`"))
    }
}

fn build_upsample(to: &mut dyn Emit, args: &Args) -> Result<Arg, OpError> {
    let x = args.tensor(0)?;
    let scale = args.float(1)?;
    let mode = ResizeMode::parse(args.str(2)?)?;
    let ty = to.ty(x);
    if ty.rank() < 2 {
        return Err(OpError::new(
            codes::WRONG_RANK,
            format!("`upsample` takes x as [.., h, w], and this is {ty}"),
        ));
    }
    let size = ty.shape[ty.rank() - 2..].iter().map(|d| scaled(d, scale)).collect::<Result<_, _>>()?;
    to.emit(Resize { mode, size }.into(), &[x]).map(Arg::Tensor)
}

/// How the language calls them.
pub const SIGNATURES: &[Signature] = &[
    Signature {
        name: "resize",
        params: &[
            required("x", ArgKind::Tensor),
            required("size", ArgKind::Ints),
            optional("mode", ArgKind::Str, Default::Str("nearest")),
        ],
        rest: None,
        named: false,
        doc: "Resizes x [.., h, w] to [.., size]; mode is \"nearest\" or \"bilinear\" (centres aligned).",
        build: build_resize,
        fold: None,
    },
    Signature {
        name: "upsample",
        params: &[
            required("x", ArgKind::Tensor),
            optional("scale", ArgKind::Float, Default::Int(2)),
            optional("mode", ArgKind::Str, Default::Str("nearest")),
        ],
        rest: None,
        named: false,
        doc: "Resizes x [.., h, w] to [.., floor(scale h), floor(scale w)]; mode is \"nearest\" or \"bilinear\".",
        build: build_upsample,
        fold: None,
    },
];
