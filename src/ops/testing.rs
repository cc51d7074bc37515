//! For tests of operations: build a small graph, evaluate it node by node, take gradients by the rules,
//! compare with finite differences and with fixtures of another library.

use std::collections::HashMap;
use std::sync::OnceLock;

use candle_core::{Device, Tensor};
use serde::Deserialize;

use super::util::{candle_dtype, from_candle};
use super::{Binary, Emit, EvalContext, GradContext, Input, Lead, NodeId, Op, OpError, Primitive, Table};
use crate::shape::{DType, Type};

/// Where operations are tested: the GPU of `TAPER_TEST_DEVICE` (`cuda:0`), else the CPU.
pub fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| match std::env::var("TAPER_TEST_DEVICE").ok().filter(|name| name != "cpu") {
        None => Device::Cpu,
        Some(name) => {
            let number = name.strip_prefix("cuda:").and_then(|n| n.parse().ok());
            Device::new_cuda(number.expect("TAPER_TEST_DEVICE is cpu or cuda:N")).expect("the GPU")
        }
    })
}

/// An array with its dtype; values in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub data: Vec<f64>,
    /// Its dtype.
    pub dtype: DType,
}

impl Array {
    /// An array of f64.
    pub fn new(shape: &[usize], data: &[f64]) -> Array {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Array { shape: shape.to_vec(), data: data.to_vec(), dtype: DType::F64 }
    }

    /// Reproducible values in (-scale, scale), no two of one array equal.
    pub fn random(shape: &[usize], seed: u64, scale: f64) -> Array {
        let n = shape.iter().product();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03;
        let data: Vec<f64> = (0..n)
            .map(|_| {
                // SplitMix64.
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0) * scale
            })
            .collect();
        Array::new(shape, &data)
    }

    /// The same values in another dtype.
    pub fn cast(mut self, dtype: DType) -> Array {
        self.dtype = dtype;
        self
    }

    /// Its type.
    pub fn ty(&self) -> Type {
        Type::of(self.dtype, &self.shape)
    }

    /// As a tensor on the device of the tests.
    pub fn tensor(&self) -> Tensor {
        let t = Tensor::from_slice(&self.data, self.shape.as_slice(), device()).expect("a tensor");
        t.to_dtype(candle_dtype(self.dtype)).expect("a cast")
    }

    /// Of a tensor.
    pub fn of(t: &Tensor) -> Array {
        let dtype = from_candle(t.dtype()).expect("a known dtype");
        let wide = t.to_dtype(candle_core::DType::F64).and_then(|t| t.flatten_all()).expect("a cast");
        Array { shape: t.dims().to_vec(), data: wide.to_vec1().expect("values"), dtype }
    }
}

struct Node {
    op: Op,
    inputs: Vec<NodeId>,
    ty: Type,
}

/// A graph without loops.
#[derive(Default)]
pub struct Tape {
    nodes: Vec<Node>,
}

impl Emit for Tape {
    fn emit(&mut self, op: Op, inputs: &[NodeId]) -> Result<NodeId, OpError> {
        let types: Vec<&Type> = inputs.iter().map(|i| &self.nodes[i.index()].ty).collect();
        let ty = op.infer(&types)?;
        self.nodes.push(Node { op, inputs: inputs.to_vec(), ty });
        Ok(NodeId::new(self.nodes.len() - 1))
    }

    fn ty(&self, node: NodeId) -> &Type {
        &self.nodes[node.index()].ty
    }
}

impl Tape {
    /// An input of that type.
    pub fn input(&mut self, ty: Type) -> NodeId {
        let name = format!("x{}", self.nodes.len());
        self.emit(Input { name, ty }.into(), &[]).expect("an input")
    }

    /// A constant array.
    pub fn constant(&mut self, a: &Array) -> NodeId {
        let table = Table { values: a.data.clone(), shape: a.shape.clone(), dtype: a.dtype };
        self.emit(table.into(), &[]).expect("a table")
    }

    /// Values of `targets`, given those of the inputs in order. Checks each node against its inferred type.
    pub fn eval(&self, inputs: &[Tensor], targets: &[NodeId]) -> Vec<Tensor> {
        let mut values: Vec<Tensor> = Vec::with_capacity(self.nodes.len());
        let mut given = inputs.iter();
        for (i, node) in self.nodes.iter().enumerate() {
            let cx = context(&node.ty);
            let args: Vec<Tensor> = node.inputs.iter().map(|n| values[n.index()].clone()).collect();
            let value = match &node.op {
                Op::Input(_) => given.next().expect("an input").clone(),
                Op::Const(c) => Tensor::full(c.value, (), device())
                    .and_then(|t| t.to_dtype(candle_dtype(c.dtype)))
                    .expect("a constant"),
                Op::Table(t) => {
                    Array { shape: t.shape.clone(), data: t.values.clone(), dtype: t.dtype }.tensor()
                }
                op => op.eval(&cx, &args).unwrap_or_else(|e| panic!("node {i} `{}`: {e}", op.label())),
            };
            let shape = node.ty.constant_shape().expect("a constant shape");
            assert_eq!(value.dims(), shape, "shape of node {i} `{}`", node.op.label());
            assert_eq!(value.dtype(), candle_dtype(node.ty.dtype), "dtype of node {i} `{}`", node.op.label());
            values.push(value);
        }
        targets.iter().map(|t| values[t.index()].clone()).collect()
    }

    /// Emits gradients by the rules: of `Σ seed · of` over the pairs, with respect to `wrt`.
    pub fn gradients(&mut self, of: &[(NodeId, NodeId)], wrt: &[NodeId]) -> Vec<Option<NodeId>> {
        let mut total: HashMap<NodeId, NodeId> = HashMap::new();
        for (y, seed) in of {
            self.add(&mut total, *y, *seed);
        }
        let last = of.iter().map(|(y, _)| y.index()).max().unwrap_or(0);
        for i in (0..=last).rev() {
            let id = NodeId::new(i);
            let Some(grad) = total.get(&id).copied() else { continue };
            let (op, inputs) = (self.nodes[i].op.clone(), self.nodes[i].inputs.clone());
            let mut cx = GradContext { to: self, inputs: &inputs, output: id, grad };
            let grads =
                op.grad(&mut cx).unwrap_or_else(|e| panic!("gradient of `{}`: {}", op.label(), e.message));
            assert_eq!(grads.len(), inputs.len(), "gradients of `{}`", op.label());
            for (input, g) in inputs.iter().zip(grads) {
                if let Some(g) = g {
                    let (have, want) = (self.ty(g).plain(), self.ty(*input).plain());
                    assert_eq!(have, want, "type of the gradient of `{}`", op.label());
                    self.add(&mut total, *input, g);
                }
            }
        }
        wrt.iter().map(|x| total.get(x).copied()).collect()
    }

    fn add(&mut self, total: &mut HashMap<NodeId, NodeId>, at: NodeId, g: NodeId) {
        let sum = match total.get(&at) {
            Some(have) => self.binary(Binary::Add, *have, g).expect("gradients of one type"),
            None => g,
        };
        total.insert(at, sum);
    }
}

/// A context on the device of the tests.
pub fn context(output: &Type) -> EvalContext<'_> {
    EvalContext { device: device(), output, seed: 0, loop_step: 0, step: 0, first_sample: 0, overwrite: None }
}

/// What a test builds: inputs to one output.
pub type Build<'a> = &'a dyn Fn(&mut dyn Emit, &[NodeId]) -> Result<NodeId, OpError>;

/// A tape with these inputs and what is built on them.
pub fn tape(inputs: &[Array], build: Build<'_>) -> (Tape, Vec<NodeId>, NodeId) {
    let mut tape = Tape::default();
    let xs: Vec<NodeId> = inputs.iter().map(|a| tape.input(a.ty())).collect();
    let y = build(&mut tape, &xs).unwrap_or_else(|e| panic!("{}: {}", e.code, e.message));
    (tape, xs, y)
}

fn tensors(inputs: &[Array]) -> Vec<Tensor> {
    inputs.iter().map(Array::tensor).collect()
}

/// Whether inputs end to end give outputs end to end where [`Primitive::leading`] says so: each input beside itself
/// with its samples in reverse order.
fn check_leading(tape: &Tape, values: &[Tensor]) {
    for (node, value) in tape.nodes.iter().zip(values) {
        let args: Vec<&Tensor> = node.inputs.iter().map(|n| &values[n.index()]).collect();
        let types: Vec<&Type> = node.inputs.iter().map(|n| &tape.nodes[n.index()].ty).collect();
        let Some(leads) = node.op.leading(&types, &node.ty) else { continue };
        assert_eq!(leads.len(), args.len(), "leading axes of `{}`", node.op.label());
        // One sample of each may be broadcast: nothing has to be a batch.
        if !leads.contains(&Lead::Batch) {
            continue;
        }
        let reversed = |t: &Tensor| t.contiguous().and_then(|t| t.flip(&[0])).expect("reversed samples");
        let other: Vec<Tensor> = args
            .iter()
            .zip(&leads)
            .map(|(t, lead)| if *lead == Lead::Batch { reversed(t) } else { (*t).clone() })
            .collect();
        let both: Vec<Tensor> = args
            .iter()
            .zip(&other)
            .zip(&leads)
            .map(|((a, b), lead)| match lead {
                Lead::Batch => Tensor::cat(&[*a, b], 0).expect("both"),
                _ => (*a).clone(),
            })
            .collect();
        let second = node.op.eval(&context(&node.ty), &other).expect("the other samples");
        let op = super::repeated(&node.op, 2);
        let given: Vec<Type> = both.iter().zip(&types).map(|(t, of)| Type::of(of.dtype, t.dims())).collect();
        let ty = op.infer(&given.iter().collect::<Vec<_>>()).expect("a type of both");
        let joined = op.eval(&context(&ty), &both).expect("both in one");
        let apart = Tensor::cat(&[value, &second], 0).expect("one after the other");
        let (joined, apart) = (Array::of(&joined), Array::of(&apart));
        let bits = |a: &Array| (a.shape.clone(), a.data.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
        assert!(bits(&joined) == bits(&apart), "samples of `{}` end to end", node.op.label());
    }
}

/// The value of what is built; what operations say of their batches is checked on the way.
pub fn evaluate(inputs: &[Array], build: Build<'_>) -> Array {
    let (tape, _, y) = tape(inputs, build);
    let all: Vec<NodeId> = (0..tape.nodes.len()).map(NodeId::new).collect();
    let values = tape.eval(&tensors(inputs), &all);
    // Bits are promised on the CPU; a GPU's library may sum a larger batch in another order.
    if device().is_cpu() {
        check_leading(&tape, &values);
    }
    Array::of(&values[y.index()])
}

/// Gradients by the rules of `Σ seed · y` with respect to each input.
pub fn gradients(inputs: &[Array], seed: &Array, build: Build<'_>) -> Vec<Option<Array>> {
    let (mut tape, xs, y) = tape(inputs, build);
    let seed = tape.constant(seed);
    let grads = tape.gradients(&[(y, seed)], &xs);
    let targets: Vec<NodeId> = grads.iter().flatten().copied().collect();
    let mut values = tape.eval(&tensors(inputs), &targets).into_iter();
    grads.iter().map(|g| g.map(|_| Array::of(&values.next().expect("a value")))).collect()
}

/// Asserts that arrays agree: `|a - b| <= absolute + relative · |b|`; NaN agrees with NaN.
pub fn assert_close(have: &Array, want: &Array, absolute: f64, relative: f64, what: &str) {
    if let Some(difference) = difference(have, want, absolute, relative) {
        panic!("{what}: {difference}");
    }
}

/// The first difference of two arrays, if they do not agree.
fn difference(have: &Array, want: &Array, absolute: f64, relative: f64) -> Option<String> {
    if have.shape != want.shape {
        return Some(format!("shape {:?} and should be {:?}", have.shape, want.shape));
    }
    have.data.iter().zip(&want.data).enumerate().find_map(|(i, (a, b))| {
        let near = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= absolute + relative * b.abs();
        (!near).then(|| format!("element {i} is {a:e} and should be {b:e}"))
    })
}

/// Compares first and second gradients by the rules with central differences. Inputs are f64 (integer
/// inputs are left alone) and should keep away from kinks.
pub fn check_gradients(inputs: &[Array], build: Build<'_>) {
    let (mut tape, xs, y) = tape(inputs, build);
    let ty = tape.ty(y).constant_shape().expect("a constant shape");
    let seed = tape.constant(&Array::random(&ty, 77, 1.0));
    let first = tape.gradients(&[(y, seed)], &xs);
    compare(&tape, inputs, &[(y, seed)], &first, "first");

    // The gradient of Σ v · (first gradients).
    let pairs: Vec<(NodeId, NodeId)> = first
        .iter()
        .flatten()
        .enumerate()
        .map(|(i, g)| {
            let shape = tape.ty(*g).constant_shape().expect("a constant shape");
            (*g, tape.constant(&Array::random(&shape, 99 + i as u64, 1.0)))
        })
        .collect();
    let second = tape.gradients(&pairs, &xs);
    compare(&tape, inputs, &pairs, &second, "second");
}

/// Compares gradients of `Σ seed · y` over the pairs with central differences.
fn compare(tape: &Tape, inputs: &[Array], of: &[(NodeId, NodeId)], grads: &[Option<NodeId>], what: &str) {
    let value = |inputs: &[Array]| -> f64 {
        let targets: Vec<NodeId> = of.iter().flat_map(|(y, s)| [*y, *s]).collect();
        let values = tape.eval(&tensors(inputs), &targets);
        values
            .chunks(2)
            .map(|p| {
                Array::of(&p[0]).data.iter().zip(&Array::of(&p[1]).data).map(|(a, b)| a * b).sum::<f64>()
            })
            .sum()
    };
    for (k, input) in inputs.iter().enumerate() {
        if input.dtype != DType::F64 {
            assert!(grads[k].is_none(), "{what} gradient of input {k}, which is {}", input.dtype);
            continue;
        }
        let have = match grads[k] {
            Some(g) => Array::of(&tape.eval(&tensors(inputs), &[g])[0]),
            None => Array { data: vec![0.0; input.data.len()], ..input.clone() },
        };
        let scale = have.data.iter().fold(1.0f64, |a, v| a.max(v.abs()));
        for i in 0..input.data.len() {
            let h = 1e-5 * input.data[i].abs().max(1.0);
            let at = |d: f64| {
                let mut moved = inputs.to_vec();
                moved[k].data[i] += d;
                value(&moved)
            };
            let want = (at(h) - at(-h)) / (2.0 * h);
            let error = (have.data[i] - want).abs();
            let have = have.data[i];
            assert!(
                error <= 2e-6 * scale,
                "{what} gradient of input {k}, element {i}: {have:e} by the rule, {want:e} by differences"
            );
        }
    }
}

/// Asserts that sample k evaluated alone has the same bits as in the batch. `batched` says which inputs have
/// the samples along their first axis; the output has.
pub fn assert_batch_invariant(inputs: &[Array], batched: &[bool], build: Build<'_>) {
    let (whole, _, y) = tape(inputs, build);
    let all = whole.eval(&tensors(inputs), &[y])[0].clone();
    let n = all.dims()[0];
    for k in 0..n {
        let one: Vec<Array> = inputs
            .iter()
            .zip(batched)
            .map(|(a, b)| match b {
                false => a.clone(),
                true => {
                    let size = a.data.len() / n;
                    let mut shape = a.shape.clone();
                    shape[0] = 1;
                    Array { shape, data: a.data[k * size..(k + 1) * size].to_vec(), dtype: a.dtype }
                }
            })
            .collect();
        let (alone, _, y) = tape(&one, build);
        let value = alone.eval(&tensors(&one), &[y])[0].clone();
        let (have, want) = (Array::of(&value), Array::of(&all.narrow(0, k, 1).expect("a sample")));
        let bits = |a: &Array| a.data.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&have), bits(&want), "sample {k} differs alone and in the batch");
    }
}

/// One case of a fixture file: an operation, its inputs, and what another library says of it.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// Says which.
    pub name: String,
    /// The operation, in its serialised form.
    pub op: Op,
    /// Names of the input arrays.
    pub inputs: Vec<String>,
    /// Dtypes of the inputs where the array's is not meant (`bool` is stored as `u8`).
    #[serde(default)]
    pub dtypes: Vec<Option<DType>>,
    /// Name of the output.
    pub output: String,
    /// Name of the output's gradient, if gradients were taken.
    #[serde(default)]
    pub seed: Option<String>,
    /// Names of the inputs' gradients.
    #[serde(default)]
    pub grads: Vec<Option<String>>,
    /// How far values may be apart, relative and absolute.
    pub tolerance: f64,
}

/// Runs every case of a fixture (a list of [`Case`] as JSON, arrays as safetensors) and returns how many.
pub fn run_fixture(json: &str, arrays: &[u8]) -> usize {
    let cases: Vec<Case> = serde_json::from_str(json).expect("a list of cases");
    let arrays = candle_core::safetensors::load_buffer(arrays, &Device::Cpu).expect("arrays");
    let get = |name: &str| Array::of(arrays.get(name).unwrap_or_else(|| panic!("no array {name}")));
    let mut failures = Vec::new();
    for case in &cases {
        let inputs: Vec<Array> = case
            .inputs
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let a = get(name);
                match case.dtypes.get(i).copied().flatten() {
                    Some(dtype) => Array { dtype, ..a },
                    None => a,
                }
            })
            .collect();
        let build = |to: &mut dyn Emit, xs: &[NodeId]| to.emit(case.op.clone(), xs);
        let t = case.tolerance;
        let found = difference(&evaluate(&inputs, &build), &get(&case.output), t, t);
        failures.extend(found.map(|d| format!("{}: {d}", case.name)));
        let Some(seed) = &case.seed else { continue };
        for (i, (have, want)) in gradients(&inputs, &get(seed), &build).iter().zip(&case.grads).enumerate() {
            let what = format!("{}: gradient {i}", case.name);
            match (have, want) {
                (Some(have), Some(want)) => {
                    failures.extend(difference(have, &get(want), t, t).map(|d| format!("{what}: {d}")));
                }
                (None, None) => {}
                // A gradient that is zero everywhere may be left out.
                (None, Some(want)) => assert!(get(want).data.iter().all(|v| *v == 0.0), "{what} is missing"),
                (Some(_), None) => panic!("{what} should not be there"),
            }
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
    cases.len()
}
