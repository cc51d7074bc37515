//! A chain of elementwise operations as one: a straight line of steps that is evaluated block by block, so
//! that what lies between the first and the last step never leaves the cache. Only `optimize` makes it.

mod block;
mod read;
mod step;
#[cfg(test)]
mod tests;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::util::{candle_dtype, from_candle};
use super::{Binary, EvalContext, GradContext, NodeId, Op, OpError, Primitive, Unary, cpu};
use crate::shape::{DType, Type};

/// Elementwise operations one after the other, each on inputs and on what earlier ones gave, broadcast to
/// the shape of the last. Bits are those of the operations one by one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Elementwise {
    /// How many inputs there are.
    pub inputs: u32,
    /// The steps; the last gives the output.
    pub steps: Vec<Step>,
}

/// One operation of the line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The operation: one that [`Elementwise::takes`], or a constant.
    pub op: Op,
    /// Its operands: an input by its number, or a step by its number and that of the inputs.
    pub args: Vec<u32>,
}

impl Elementwise {
    /// Whether an operation on operands of these dtypes can be a step: elementwise, of floats and truth
    /// values. Conversions are those that round once.
    pub fn takes(op: &Op, operands: &[DType]) -> bool {
        let float = operands.iter().all(|d| d.is_float());
        match op {
            Op::Unary(Unary::Not) | Op::Compare(_) | Op::Logical(_) | Op::Where(_) => true,
            Op::Unary(_) | Op::Binary(_) => float,
            Op::Cast(c) => match c.dtype {
                DType::F32 | DType::F64 | DType::Bool => true,
                DType::F16 | DType::BF16 => operands == [DType::F32],
                DType::U8 | DType::I64 => false,
            },
            _ => false,
        }
    }

    /// The types of inputs and steps, if all fit.
    fn types(&self, inputs: &[&Type]) -> Result<Vec<Type>, OpError> {
        if inputs.len() != self.inputs as usize || self.steps.is_empty() {
            let m = format!("a chain of {} inputs got {}", self.inputs, inputs.len());
            return Err(OpError::internal(m));
        }
        let mut types: Vec<Type> = inputs.iter().map(|t| t.plain()).collect();
        for step in &self.steps {
            let operands: Option<Vec<&Type>> = step.args.iter().map(|a| types.get(*a as usize)).collect();
            let Some(operands) = operands else {
                return Err(OpError::internal("a chain reads a step that comes later"));
            };
            let dtypes: Vec<DType> = operands.iter().map(|t| t.dtype).collect();
            if !matches!(step.op, Op::Const(_)) && !Elementwise::takes(&step.op, &dtypes) {
                return Err(OpError::internal(format!("`{}` is no step of a chain", step.op.name())));
            }
            types.push(step.op.infer(&operands)?);
        }
        Ok(types)
    }

    /// The dtype of each value, truth values as bytes, from those of the input tensors.
    fn dtypes(&self, inputs: &[Tensor]) -> candle_core::Result<Vec<DType>> {
        let mut out = Vec::with_capacity(inputs.len() + self.steps.len());
        for x in inputs {
            match from_candle(x.dtype()) {
                Some(dtype) => out.push(dtype),
                None => candle_core::bail!("a chain of elementwise operations on {:?}", x.dtype()),
            }
        }
        for step in &self.steps {
            let of = |i: usize| step.args.get(i).and_then(|a| out.get(*a as usize)).copied();
            let dtype = match &step.op {
                Op::Const(c) => Some(c.dtype),
                Op::Cast(c) => Some(c.dtype),
                Op::Compare(_) | Op::Logical(_) | Op::Unary(Unary::Not | Unary::IsFinite) => {
                    Some(DType::Bool)
                }
                Op::Where(_) => of(1),
                _ => of(0),
            };
            match dtype {
                Some(dtype) => out.push(dtype),
                None => candle_core::bail!("a chain reads a value that is not there"),
            }
        }
        Ok(out)
    }

    /// By single operations, as on a GPU.
    fn one_by_one(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let dtypes = self.dtypes(inputs)?;
        let mut values = inputs.to_vec();
        for (step, dtype) in self.steps.iter().zip(&dtypes[inputs.len()..]) {
            if let Op::Const(c) = &step.op {
                values.push(Tensor::full(c.value, (), cx.device)?.to_dtype(candle_dtype(c.dtype))?);
                continue;
            }
            let args: Vec<Tensor> = step.args.iter().map(|a| values[*a as usize].clone()).collect();
            let mut shape = candle_core::Shape::from(());
            for a in &args {
                shape = shape.broadcast_shape_binary_op(a.shape(), "elementwise")?;
            }
            let output = Type::of(*dtype, shape.dims());
            values.push(step.op.eval(&EvalContext { output: &output, ..*cx }, &args)?);
        }
        match values.pop() {
            Some(last) => Ok(last),
            None => candle_core::bail!("a chain without steps"),
        }
    }
}

impl Primitive for Elementwise {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Type, OpError> {
        let mut types = self.types(inputs)?;
        types.pop().ok_or_else(|| OpError::internal("a chain without steps"))
    }

    /// The rules of the steps, one after the other, over the chain taken apart again.
    fn grad(&self, cx: &mut GradContext<'_>) -> Result<Vec<Option<NodeId>>, OpError> {
        let mut values = cx.inputs.to_vec();
        for step in &self.steps {
            let args: Vec<NodeId> = step.args.iter().map(|a| values[*a as usize]).collect();
            values.push(cx.to.emit(step.op.clone(), &args)?);
        }
        let mut grads: Vec<Option<NodeId>> = vec![None; values.len()];
        if let Some(last) = grads.last_mut() {
            *last = Some(cx.grad);
        }
        let first = cx.inputs.len();
        for (k, step) in self.steps.iter().enumerate().rev() {
            let Some(grad) = grads[first + k].filter(|_| !step.args.is_empty()) else { continue };
            let inputs: Vec<NodeId> = step.args.iter().map(|a| values[*a as usize]).collect();
            let output = values[first + k];
            let mut inner = GradContext { to: &mut *cx.to, inputs: &inputs, output, grad };
            for (arg, part) in step.args.iter().zip(step.op.grad(&mut inner)?) {
                let Some(part) = part else { continue };
                let sum = &mut grads[*arg as usize];
                *sum = Some(match *sum {
                    Some(sum) => cx.to.binary(Binary::Add, sum, part)?,
                    None => part,
                });
            }
        }
        grads.truncate(first);
        Ok(grads)
    }

    fn eval(&self, cx: &EvalContext<'_>, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        if cpu::here(cx) { block::eval(self, cx, inputs) } else { self.one_by_one(cx, inputs) }
    }

    fn overwrites(&self, input: usize, inputs: &[&Type], output: &Type) -> bool {
        inputs.get(input).is_some_and(|x| super::in_place::fits(x, output))
    }

    fn label(&self) -> String {
        let named = self.steps.iter().filter(|s| !matches!(s.op, Op::Const(_)));
        let names: Vec<&str> = named.map(|s| s.op.name()).collect();
        match names.len() {
            0..=5 => format!("elementwise {}", names.join(", ")),
            n => format!("elementwise {}, … ({n})", names[..4].join(", ")),
        }
    }

    fn flops(&self, inputs: &[&Type], output: &Type) -> f64 {
        let Ok(types) = self.types(inputs) else { return 0.0 };
        let first = inputs.len();
        let each = |(k, step): (usize, &Step)| {
            let operands: Vec<&Type> = step.args.iter().map(|a| &types[*a as usize]).collect();
            match step.op {
                Op::Const(_) => 0.0,
                _ => step.op.flops(&operands, &Type { dtype: types[first + k].dtype, ..output.plain() }),
            }
        };
        self.steps.iter().enumerate().map(each).sum()
    }
}
