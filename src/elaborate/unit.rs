//! The graph under construction: regions, captures, random sites.

use std::collections::HashMap;
use std::sync::Arc;

use super::Elaborator;
use super::train::TrainState;
use super::value::{StepKind, StepNumber, TensorRef, Value};
use crate::diagnostic::codes;
use crate::graph::program::DataInput;
use crate::graph::{Builder, Graph, NodeId, Region, RegionId};
use crate::ops::{Column, Emit, LoopInput, Op, OpError, Parameter};
use crate::shape::{DType, Dim, Space, Type};
use crate::source::Span;

/// What a node costs, in steps: it takes more time and memory than a static value.
pub(super) const NODE: u64 = 10;

/// The most axes of a tensor.
const MAX_RANK: usize = 32;

/// The most terms and names ([`Dim::size`]) of a dimension, and of the number of a tensor's elements.
pub(super) const MAX_TERMS: usize = crate::shape::dim::MAX_SIZE;

/// The most that the terms of dimensions that are multiplied may come to.
pub(super) const MAX_PRODUCT: usize = 4096;

/// One graph under construction.
pub(super) struct Unit {
    pub id: usize,
    pub graph: Graph,
    /// The region being filled, with those around it.
    pub stack: Vec<RegionState>,
    /// Nodes of parameters and of updated states, by path.
    pub parameters: HashMap<String, NodeId>,
    /// How many random sites each path has so far.
    pub sites: HashMap<String, u32>,
    /// The data sets' fields that were read.
    pub data: Vec<DataInput>,
    /// The batch dimension of data.
    pub batch: Dim,
    /// Set while a `train` body is elaborated.
    pub train: Option<TrainState>,
    /// Whether `update` is allowed.
    pub updates: bool,
    /// The names of the watches that a trace made.
    pub traced: Vec<String>,
}

/// A region being filled.
pub(super) struct RegionState {
    pub region: RegionId,
    /// The `loop` it is the body of (0 for the root).
    pub scope: usize,
    /// Captured nodes of the region around, in order, and what they are here.
    pub captures: Vec<(NodeId, NodeId)>,
    /// The same, to look up.
    captured: HashMap<NodeId, NodeId>,
    pub carries: usize,
    /// Per-step numbers in use, and the nodes that read them.
    pub columns: Vec<(Vec<f64>, DType, NodeId)>,
}

impl RegionState {
    fn new(region: RegionId, scope: usize, carries: usize) -> RegionState {
        let (captures, captured, columns) = Default::default();
        RegionState { region, scope, captures, captured, carries, columns }
    }
}

impl Unit {
    pub fn new(id: usize, name: impl Into<String>) -> Unit {
        let root = RegionState::new(0, 0, 0);
        Unit {
            id,
            graph: Graph::new(name),
            stack: vec![root],
            parameters: HashMap::new(),
            sites: HashMap::new(),
            data: Vec::new(),
            batch: Dim::name("batch"),
            train: None,
            updates: false,
            traced: Vec::new(),
        }
    }

    pub fn region(&self) -> RegionId {
        self.stack.last().map_or(0, |r| r.region)
    }
}

/// A stable 64-bit hash of a site's name (FNV-1a): the same on every machine and version.
fn site_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

impl Elaborator<'_> {
    /// Starts a graph; returns the one under way, to be put back by [`Self::finish`].
    pub(super) fn start(&mut self, name: impl Into<String>) -> Option<Unit> {
        self.units += 1;
        self.unit.replace(Unit::new(self.units, name))
    }

    /// Ends the graph under construction.
    pub(super) fn finish(&mut self, saved: Option<Unit>) -> Unit {
        let done = std::mem::replace(&mut self.unit, saved);
        done.unwrap_or_else(|| Unit::new(0, ""))
    }

    /// A builder at the present region; `None` (with an error) where no graph is under construction.
    pub(super) fn builder(&mut self, span: Span) -> Option<Builder<'_>> {
        if self.in_fields > 0 || self.unit.is_none() {
            self.error_help(
                codes::NOT_STATIC,
                span,
                "a tensor cannot be computed here",
                "outside a graph",
                "fields hold blocks, weights and static values; compute tensors inside `graph (…) { … }`",
            );
            return None;
        }
        if !self.spend(NODE, span) {
            return None;
        }
        let path = self.path.clone();
        let unit = self.unit.as_mut()?;
        let region = unit.region();
        Some(Builder::new(&mut unit.graph, region, span, path))
    }

    /// Adds a node at the present region.
    pub(super) fn emit(&mut self, op: impl Into<Op>, inputs: &[NodeId], span: Span) -> Value {
        let op = op.into();
        let Some(mut b) = self.builder(span) else { return Value::Error };
        match b.emit(op, inputs) {
            Ok(node) => self.tensor(node, span),
            Err(e) => self.op_error(e, span, &[]),
        }
    }

    /// A node of the present region as a value; checks that the machine can hold it.
    pub(super) fn tensor(&mut self, node: NodeId, span: Span) -> Value {
        let Some(unit) = &self.unit else { return Value::Error };
        let (id, region) = (unit.id, unit.region());
        let ty = &unit.graph.regions[region].node(node).ty;
        let sizes = ty.shape.iter().map(Dim::size);
        // What the number of elements would take to write down.
        let terms = ty.shape.iter().map(|d| d.terms().count().max(1));
        let product = terms.fold(1, usize::saturating_mul);
        let cost = sizes.sum::<usize>();
        if ty.rank() > MAX_RANK {
            let rank = ty.rank();
            return self.error_help(
                codes::SIZE_LIMIT,
                span,
                format!("a tensor of {rank} axes"),
                format!("{MAX_RANK} axes are the most"),
                "merge some with reshape or flatten",
            );
        }
        if ty.shape.iter().any(|d| d.size() > MAX_TERMS) || product > MAX_PRODUCT {
            return self.too_complex(span);
        }
        if cost > ty.rank() && !self.work(cost * cost, span) {
            return Value::Error;
        }
        let Some(unit) = &self.unit else { return Value::Error };
        let ty = &unit.graph.regions[region].node(node).ty;
        let elements: f64 = ty.shape.iter().map(|d| d.eval_with(1) as f64).product();
        let bytes = elements * ty.dtype.size() as f64;
        if bytes > self.options.limits.tensor_bytes
            || ty.shape.iter().any(|d| d.as_const().is_some_and(|v| v < 0))
        {
            let ty = ty.clone();
            if bytes > 0.0 {
                return self.error_help(
                    codes::TENSOR_TOO_LARGE,
                    span,
                    format!("a tensor of {:.1} GB cannot be held", bytes / 1e9),
                    format!("this is {ty}"),
                    "check the sizes; a batch or a step can be made smaller, a weight narrower",
                );
            }
            return self.error(
                codes::SHAPE_MISMATCH,
                span,
                format!("a dimension is negative: {ty}"),
                "this has a negative size",
            );
        }
        Value::Tensor(TensorRef { unit: id, region, node, space: None })
    }

    /// A dimension, or a number of elements, that has outgrown its limit.
    pub(super) fn too_complex(&mut self, span: Span) -> Value {
        self.error_help(
            codes::SIZE_LIMIT,
            span,
            format!("a dimension of more than {MAX_TERMS} terms and names"),
            "this has outgrown the limit",
            "sizes that are given (an `int` parameter with a default) are numbers, not formulas",
        )
    }

    /// Nodes of the graph under construction.
    pub(super) fn size_of_graph(&self) -> usize {
        self.unit.as_ref().map_or(0, |u| u.graph.regions.iter().map(|r| r.dag.node_count()).sum())
    }

    /// The type of a tensor or weight; `None` for other values.
    pub(super) fn type_of(&self, value: &Value) -> Option<Type> {
        match value {
            Value::Tensor(t) => {
                let unit = self.unit.as_ref().filter(|u| u.id == t.unit)?;
                let mut ty = unit.graph.regions[t.region].node(t.node).ty.plain();
                ty.space = t.space.clone();
                Some(ty)
            }
            Value::Param(p) => Some(p.ty.clone()),
            _ => None,
        }
    }

    /// What a value is, with the type if it is a tensor.
    pub(super) fn describe(&self, value: &Value) -> String {
        match self.type_of(value) {
            Some(ty) => format!("{ty}"),
            None => value.describe(),
        }
    }

    /// The node that a tensor is in the present region: captured through every loop between.
    pub(super) fn node(&mut self, value: &Value, span: Span) -> Option<NodeId> {
        let tensor = match value {
            Value::Tensor(t) => t.clone(),
            Value::Param(_) => self.parameter(value, span)?,
            _ => return None,
        };
        let unit = self.unit.as_mut()?;
        let Some(level) = unit.stack.iter().position(|r| r.region == tensor.region && unit.id == tensor.unit)
        else {
            self.error_help(
                codes::NO_GRADIENT_PATH,
                span,
                "this tensor belongs to a graph or loop that is over",
                "used outside where it was computed",
                "make it the value of the graph or a carry of the loop",
            );
            return None;
        };
        let mut node = tensor.node;
        for at in level + 1..unit.stack.len() {
            node = capture(unit, at, node);
        }
        Some(node)
    }

    /// The parameter's present node, at the root.
    fn parameter(&mut self, value: &Value, span: Span) -> Option<TensorRef> {
        let Value::Param(p) = value else { return None };
        let Some(path) = p.path.borrow().clone() else {
            self.error_help(
                codes::WEIGHT_WITHOUT_FIELD,
                p.span,
                "a weight without a field",
                "made here, and no field holds it",
                "give it a name in the block: `weight = param(…)`",
            );
            return None;
        };
        self.builder(span)?;
        let unit = self.unit.as_mut()?;
        let node = match unit.parameters.get(&*path) {
            Some(node) => *node,
            None => {
                let op = Parameter { path: path.to_string(), ty: p.ty.clone() };
                let mut b = Builder::new(&mut unit.graph, 0, p.span, path.clone());
                let node = b.push(op.into(), &[], p.ty.clone());
                unit.parameters.insert(path.to_string(), node);
                node
            }
        };
        Some(TensorRef { unit: unit.id, region: 0, node, space: None })
    }

    /// A value as a node: tensors as they are, numbers as constants of `dtype`.
    pub(super) fn as_node(&mut self, value: &Value, dtype: DType, span: Span) -> Option<NodeId> {
        match value {
            Value::Tensor(_) | Value::Param(_) => self.node(value, span),
            Value::Float(v) => self.constant(*v, dtype, span),
            Value::Bool(v) => self.constant(f64::from(u8::from(*v)), dtype, span),
            Value::Int(d) => match d.as_const() {
                Some(v) => self.constant(v as f64, dtype, span),
                None => {
                    let op = crate::ops::DimValue { dim: d.clone(), dtype };
                    let value = self.emit(op, &[], span);
                    self.node(&value, span)
                }
            },
            Value::Step(s) => self.column(&s.clone(), dtype, span),
            _ => None,
        }
    }

    fn constant(&mut self, value: f64, dtype: DType, span: Span) -> Option<NodeId> {
        let mut b = self.builder(span)?;
        match b.scalar(value, dtype) {
            Ok(node) => Some(node),
            Err(e) => {
                self.op_error(e, span, &[]);
                None
            }
        }
    }

    /// The node that reads a per-step number; one that never changes is a constant.
    fn column(&mut self, step: &StepNumber, dtype: DType, span: Span) -> Option<NodeId> {
        if let Some(first) = step.values.first()
            && step.values.iter().all(|v| v.to_bits() == first.to_bits())
        {
            return self.constant(*first, dtype, span);
        }
        self.builder(span)?;
        let path = self.path.clone();
        let level = self.unit.as_ref()?.stack.iter().position(|r| r.scope == step.scope)?;
        let columns = self.unit.as_ref()?.stack[level].columns.len();
        if !self.work(columns.saturating_add(step.values.len()), span) {
            return None;
        }
        let unit = self.unit.as_mut()?;
        let state = &mut unit.stack[level];
        let found = state.columns.iter().position(|(v, d, _)| *d == dtype && *v == step.values);
        let mut node = match found {
            Some(i) => state.columns[i].2,
            None => {
                let index = state.columns.len() as u32;
                let mut b = Builder::new(&mut unit.graph, state.region, span, path);
                let node = b.push(Column { index, dtype }.into(), &[], Type::scalar(dtype));
                state.columns.push((step.values.clone(), dtype, node));
                node
            }
        };
        for at in level + 1..unit.stack.len() {
            node = capture(unit, at, node);
        }
        Some(node)
    }

    /// The dtype that a number takes when no tensor says.
    pub(super) fn dtype_of_number(value: &Value) -> DType {
        match value {
            Value::Bool(_) => DType::Bool,
            Value::Step(s) if s.kind == StepKind::Bool => DType::Bool,
            _ => DType::F32,
        }
    }

    /// The next random site of the present path.
    pub(super) fn site(&mut self) -> u64 {
        let path = self.path.clone();
        let Some(unit) = &mut self.unit else { return 0 };
        let count = unit.sites.entry(path.to_string()).or_insert(0);
        *count += 1;
        site_hash(&format!("{}/{path}#{count}", unit.graph.name))
    }

    /// Marks a tensor's space, for the value and for drawings.
    pub(super) fn in_space(&mut self, value: Value, space: Option<Space>) -> Value {
        let (Value::Tensor(mut t), Some(space)) = (value.clone(), space) else { return value };
        if let Some(unit) = self.unit.as_mut().filter(|u| u.id == t.unit) {
            let node = &mut unit.graph.regions[t.region].dag[t.node];
            if node.ty.space.is_none() {
                Arc::make_mut(&mut node.ty).space = Some(space.clone());
            }
        }
        t.space = Some(space);
        Value::Tensor(t)
    }

    /// Opens the region of a loop body.
    pub(super) fn open_region(&mut self, scope: usize, carries: usize) -> Option<RegionId> {
        let unit = self.unit.as_mut()?;
        let region = unit.graph.regions.len();
        unit.graph.regions.push(Region::default());
        unit.stack.push(RegionState::new(region, scope, carries));
        Some(region)
    }

    /// An [`OpError`] from a helper of `ops` that emits, reported at `span`.
    pub(super) fn emitted(&mut self, result: Result<NodeId, OpError>, span: Span) -> Value {
        match result {
            Ok(node) => self.tensor(node, span),
            Err(e) => self.op_error(e, span, &[]),
        }
    }
}

/// The node that stands for `outer` (of the region around) in region `at` of the stack.
fn capture(unit: &mut Unit, at: usize, outer: NodeId) -> NodeId {
    if let Some(here) = unit.stack[at].captured.get(&outer) {
        return *here;
    }
    let around = unit.stack[at - 1].region;
    let source = unit.graph.regions[around].node(outer);
    let (ty, span, path): (Type, Span, Arc<str>) = ((*source.ty).clone(), source.span, source.path.clone());
    // A number is cheaper to make again than to capture.
    let constant = matches!(*source.op, Op::Const(_)).then(|| (*source.op).clone());
    let state = &unit.stack[at];
    let index = (state.carries + state.captures.len()) as u32;
    let region = state.region;
    let mut b = Builder::new(&mut unit.graph, region, span, path);
    if let Some(op) = constant {
        return b.push(op, &[], ty);
    }
    let here = b.push(LoopInput { index, ty: ty.clone() }.into(), &[], ty);
    unit.stack[at].captures.push((outer, here));
    unit.stack[at].captured.insert(outer, here);
    here
}
