//! The executor.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use candle_core::{Device, Tensor};

use super::failure::failure;
use super::memory::Account;
use super::profile::Times;
use super::watch::{Outputs, Rng, RunError, RunOptions, Watcher};
use super::{Memory, bind, candle_dtype, convert};
use crate::diagnostic::{Code, Diagnostic, codes};
use crate::graph::{Graph, Node, NodeId, RegionId};
use crate::ops::random::fill_torch;
use crate::ops::torch_rng::TorchRng;
use crate::ops::{EvalContext, Loop, Op, Primitive};
use crate::plan::{Plan, Schedule, schedule};
use crate::shape::Type;

/// A graph whose dimensions are known, with its order of evaluation, for one device. Made once, run often.
pub struct Executor {
    graph: Graph,
    plan: Plan,
    /// The constants, tables and columns (all steps), on the device.
    constants: HashMap<(RegionId, NodeId), Tensor>,
    /// Weights and what was made of them alone, where it is kept from run to run.
    kept: Option<Mutex<HashMap<NodeId, (Tensor, Tensor)>>>,
    device: Device,
}

/// Binds the graph to the inputs' shapes and runs it once.
///
/// # Errors
/// See [`Executor::new`] and [`Executor::run`].
pub fn execute(
    graph: &Graph,
    inputs: &HashMap<String, Tensor>,
    params: &dyn Fn(&str) -> Option<Tensor>,
    options: &RunOptions,
    watcher: &mut dyn Watcher,
) -> Result<Outputs, RunError> {
    let shapes = inputs.iter().map(|(name, t)| (name.clone(), t.dims().to_vec())).collect();
    Executor::new(graph, &shapes, &options.device)?.run(inputs, params, options, watcher)
}

impl Executor {
    /// Prepares a graph for inputs of these shapes.
    ///
    /// # Errors
    /// An input is missing or has another shape ([`codes::DATA_SHAPE`]); a constant does not fit the device.
    pub fn new(
        graph: &Graph,
        shapes: &BTreeMap<String, Vec<usize>>,
        device: &Device,
    ) -> Result<Executor, RunError> {
        let binding = bind::bind(graph, shapes)?;
        let graph = bind::bound(graph, &binding)?;
        let plan = Plan::new(&graph);
        let columns: HashMap<RegionId, &Loop> = graph
            .regions
            .iter()
            .flat_map(|r| r.dag.node_weights())
            .filter_map(|n| match &*n.op {
                Op::Loop(l) => Some((l.region as usize, l)),
                _ => None,
            })
            .collect();
        let mut constants = HashMap::new();
        for (r, region) in plan.regions.iter().enumerate() {
            for id in &region.order {
                let node = graph.regions[r].node(*id);
                let made = match &*node.op {
                    Op::Const(c) => convert::from_f64(&[c.value], &[], c.dtype, device),
                    Op::Table(t) => convert::from_f64(&t.values, &t.shape, t.dtype, device),
                    // All steps at once, so that a step copies nothing to the device.
                    Op::Column(c) => match columns.get(&r).and_then(|l| l.columns.get(c.index as usize)) {
                        Some(values) => convert::from_f64(values, &[values.len()], c.dtype, device),
                        None => {
                            let e = candle_core::Error::Msg("the loop has no such column".into());
                            return Err(failure(&graph, node, &[], &e));
                        }
                    },
                    _ => continue,
                };
                let tensor = made.map_err(|e| failure(&graph, node, &[], &e))?;
                constants.insert((r, *id), tensor);
            }
        }
        Ok(Executor { graph, plan, constants, kept: None, device: device.clone() })
    }

    /// Keeps transformed weights from run to run, for as long as a weight is the same tensor (or a clone of
    /// it). It pays where a graph runs often; they are held throughout, which the plan's peak does not count.
    pub fn keeping_weights(mut self) -> Self {
        self.kept = Some(Mutex::default());
        self
    }

    /// The graph, all dimensions known.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The order of evaluation, and what it costs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs it. `params` gives weights and states by path. Tensors may lie on any device and are moved to
    /// the executor's; `options.device` is not read here.
    ///
    /// # Errors
    /// [`RunError::Cancelled`]; an input or weight that is missing or has another shape or dtype; no memory;
    /// a fault of ours ([`codes::INTERNAL`]) with the node's span.
    pub fn run(
        &self,
        inputs: &HashMap<String, Tensor>,
        params: &dyn Fn(&str) -> Option<Tensor>,
        options: &RunOptions,
        watcher: &mut dyn Watcher,
    ) -> Result<Outputs, RunError> {
        // PyTorch's generator is drawn from in the order of the program, whatever the plan prefers.
        let (torch, in_order) = match options.rng {
            Rng::Philox => (None, None),
            Rng::Torch => (Some(TorchRng::new(options.seed)), Some(in_order(&self.graph))),
        };
        let schedules = in_order.as_deref().unwrap_or(&self.plan.regions);
        let mut run = Run {
            on: self,
            params,
            options,
            watcher,
            account: Account::default(),
            torch,
            schedules,
            times: Times::new(),
        };
        let mut given = run.inputs(inputs)?;
        let mut memory = Memory { inputs: run.account.now(), ..Memory::default() };
        for tensor in self.constants.values() {
            run.account.hold(tensor);
        }
        for (_, made) in self.kept().iter().flat_map(|kept| kept.values()) {
            run.account.hold(made);
        }
        let before = run.account.now();
        given.extend(run.weights()?);
        memory.parameters = run.account.now() - before;
        let frame = Frame { given: Some(&given), ..Frame::default() };
        let (mut values, _) = run.region(0, &frame)?;
        memory.peak = run.account.peak();
        if let Some(profile) = &options.profile {
            profile.add(&self.graph, &run.times);
        }
        let root = self.graph.root();
        let mut take = |id: NodeId| get(&mut values, id).ok_or_else(|| self.lost(0, id));
        let out = Outputs {
            outputs: root.outputs.iter().map(|id| take(*id)).collect::<Result<_, _>>()?,
            updates: self
                .graph
                .updates
                .iter()
                .map(|u| Ok((u.name.clone(), take(u.node)?)))
                .collect::<Result<_, RunError>>()?,
            watches: root
                .watches
                .iter()
                .map(|w| Ok((w.name.clone(), take(w.node)?)))
                .collect::<Result<_, RunError>>()?,
            memory,
        };
        if options.check_finite {
            run.check_finite(&out)?;
        }
        Ok(out)
    }

    fn kept(&self) -> Option<MutexGuard<'_, HashMap<NodeId, (Tensor, Tensor)>>> {
        // What a run that panicked left there is whole.
        self.kept.as_ref().map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lost(&self, region: RegionId, id: NodeId) -> RunError {
        let node = self.graph.regions[region].node(id);
        let message = format!("the value of `{}` is not there", node.op.name());
        Diagnostic::error(codes::INTERNAL, message).label(node.span, "needed here").into()
    }
}

fn in_order(graph: &Graph) -> Vec<Schedule> {
    (0..graph.regions.len()).map(|r| schedule(graph, r)).collect()
}

/// The values of a region: of most nodes one, of a loop several, none where freed or not yet computed.
type Values = Vec<Vec<Tensor>>;

/// What is fixed while one region runs.
#[derive(Clone, Copy, Default)]
struct Frame<'a> {
    /// The graph's inputs and weights (root).
    given: Option<&'a HashMap<NodeId, Tensor>>,
    /// The loop's inputs at this step (bodies).
    bound: &'a [Tensor],
    /// The loop of a body, with the step of its own.
    of: Option<(&'a Loop, u32)>,
    /// The loop's step with outer loops folded in.
    step: u32,
    /// Steps of all enclosing loops together.
    total: u32,
}

struct Run<'a> {
    on: &'a Executor,
    params: &'a dyn Fn(&str) -> Option<Tensor>,
    options: &'a RunOptions,
    watcher: &'a mut dyn Watcher,
    account: Account,
    /// PyTorch's generator, where the run draws from it.
    torch: Option<TorchRng>,
    schedules: &'a [Schedule],
    /// Filled where the run is profiled.
    times: Times,
}

impl Run<'_> {
    fn inputs(&mut self, given: &HashMap<String, Tensor>) -> Result<HashMap<NodeId, Tensor>, RunError> {
        let mut out = HashMap::new();
        for id in &self.schedules[0].order {
            let node = self.on.graph.root().node(*id);
            if let Op::Input(input) = &*node.op {
                let what = format!("input `{}`", input.name);
                let tensor = given.get(&input.name).cloned();
                out.insert(*id, self.checked(node, &what, tensor, codes::DATA_SHAPE)?);
            }
        }
        Ok(out)
    }

    fn weights(&mut self) -> Result<HashMap<NodeId, Tensor>, RunError> {
        let mut out = HashMap::new();
        for id in &self.schedules[0].order {
            let node = self.on.graph.root().node(*id);
            if let Op::Parameter(p) = &*node.op {
                let what = format!("weight `{}`", p.path);
                out.insert(*id, self.checked(node, &what, (self.params)(&p.path), codes::WEIGHT_SHAPE)?);
            }
        }
        Ok(out)
    }

    fn checked(
        &mut self,
        node: &Node,
        what: &str,
        tensor: Option<Tensor>,
        code: Code,
    ) -> Result<Tensor, RunError> {
        let Some(tensor) = tensor else {
            return Err(Diagnostic::error(code, format!("{what} has no value"))
                .label(node.span, format!("needs a tensor {}", node.ty))
                .into());
        };
        if let Some(found) = misfit(&tensor, &node.ty) {
            let expected = node.ty.plain().to_text();
            return Err(Diagnostic::error(code, format!("{what} is {found}, expected {expected}"))
                .label(node.span, format!("expects {expected}"))
                .help(format!("convert it to {} of that shape", node.ty.dtype))
                .into());
        }
        let tensor =
            tensor.to_device(&self.on.device).map_err(|e| failure(&self.on.graph, node, &[&tensor], &e))?;
        self.account.hold(&tensor);
        Ok(tensor)
    }

    /// Evaluates a region. Gives its values, of which the roots are still there, and which tensors of it are
    /// on the account.
    fn region(&mut self, region: RegionId, frame: &Frame<'_>) -> Result<(Values, Vec<NodeId>), RunError> {
        let on = self.on;
        let dag = &on.graph.regions[region].dag;
        let mut values: Values = vec![Vec::new(); dag.node_count()];
        let plan = &self.schedules[region];
        for (id, frees) in plan.order.iter().zip(&plan.frees) {
            if self.watcher.cancelled() {
                return Err(RunError::Cancelled);
            }
            let begun = self.options.profile.as_ref().map(|_| Instant::now());
            let out = self.node(region, *id, frees, &mut values, frame)?;
            if let Some(begun) = begun {
                self.timed((region, *id), begun)?;
            }
            for tensor in &out {
                self.account.hold(tensor);
            }
            values[id.index()] = out;
            for free in frees {
                for tensor in std::mem::take(&mut values[free.index()]) {
                    self.account.release(&tensor);
                }
            }
        }
        let of = frame.of.map_or(1, |_| frame.total as usize);
        for watch in &on.graph.regions[region].watches {
            let value = get(&mut values, watch.node).ok_or_else(|| on.lost(region, watch.node))?;
            self.watcher.watch(&watch.name, frame.step as usize, of, &value);
        }
        let held = (0..values.len()).filter(|i| !values[*i].is_empty()).map(NodeId::new).collect();
        Ok((values, held))
    }

    /// Notes that a node ran. The time of a loop is that of its body.
    fn timed(&mut self, (region, id): (RegionId, NodeId), begun: Instant) -> Result<(), RunError> {
        let node = self.on.graph.regions[region].node(id);
        if matches!(*node.op, Op::Loop(_)) {
            return Ok(());
        }
        // A device works on while the host goes on.
        self.on.device.synchronize().map_err(|e| failure(&self.on.graph, node, &[], &e))?;
        let (calls, seconds) = self.times.entry((region, id)).or_default();
        *calls += 1;
        *seconds += begun.elapsed().as_secs_f64();
        Ok(())
    }

    fn node(
        &mut self,
        region: RegionId,
        id: NodeId,
        frees: &[NodeId],
        values: &mut Values,
        frame: &Frame<'_>,
    ) -> Result<Vec<Tensor>, RunError> {
        let on = self.on;
        let node = on.graph.regions[region].node(id);
        let one = |tensor: Option<Tensor>| tensor.map(|t| vec![t]).ok_or_else(|| on.lost(region, id));
        match &*node.op {
            Op::Input(_) | Op::Parameter(_) => one(frame.given.and_then(|g| g.get(&id)).cloned()),
            Op::Const(_) | Op::Table(_) => one(on.constants.get(&(region, id)).cloned()),
            Op::LoopInput(input) => one(frame.bound.get(input.index as usize).cloned()),
            Op::Column(_) => {
                let (all, step) = on
                    .constants
                    .get(&(region, id))
                    .zip(frame.of)
                    .map(|(all, (_, step))| (all, step as usize))
                    .ok_or_else(|| on.lost(region, id))?;
                let value = all.narrow(0, step, 1).and_then(|t| t.squeeze(0));
                value.map(|t| vec![t]).map_err(|e| failure(&on.graph, node, &[], &e))
            }
            Op::Project(project) => {
                let input = *node.inputs.first().ok_or_else(|| on.lost(region, id))?;
                one(values[input.index()].get(project.index as usize).cloned())
            }
            Op::Loop(l) => {
                let inputs = self.gather(region, node, values)?;
                self.repeat(l, node, inputs, frame)
            }
            op => {
                let inputs = self.gather(region, node, values)?;
                let cx = EvalContext {
                    device: &on.device,
                    output: &node.ty,
                    seed: self.options.seed,
                    loop_step: frame.step,
                    step: self.options.step,
                    first_sample: match op {
                        Op::Random(r) => self.options.first_samples.get(&r.site).copied().unwrap_or(0),
                        _ => 0,
                    },
                    overwrite: self.overwritten(region, node, frees, &inputs),
                };
                let all: Vec<&Tensor> = inputs.iter().collect();
                let keep = region == 0 && matches!(op, Op::WinogradWeights(_) | Op::Bf16Weights(_));
                let mut kept = if keep { on.kept() } else { None };
                if let Some(kept) = &mut kept {
                    match kept.get(&id) {
                        Some((weight, made)) if weight.id() == inputs[0].id() => {
                            return Ok(vec![made.clone()]);
                        }
                        // Of another weight: it makes room.
                        _ => kept.remove(&id).iter().for_each(|(_, made)| self.account.release(made)),
                    }
                }
                let out = match (op, &mut self.torch) {
                    (Op::Random(random), Some(rng)) => fill_torch(random, &cx, rng),
                    _ => op.eval(&cx, &inputs),
                };
                let out = out.map_err(|e| failure(&on.graph, node, &all, &e))?;
                if let Some(kept) = &mut kept {
                    self.account.hold(&out);
                    kept.insert(id, (inputs[0].clone(), out.clone()));
                }
                match misfit(&out, &node.ty) {
                    None => Ok(vec![out]),
                    Some(found) => {
                        let e = candle_core::Error::Msg(format!("it gave {found} in place of {}", node.ty));
                        Err(failure(&on.graph, node, &all, &e))
                    }
                }
            }
        }
    }

    /// An input that is freed after the node, that nothing else refers to and that the operation can write its
    /// output over. The plan foresees the same.
    fn overwritten(
        &self,
        region: RegionId,
        node: &Node,
        frees: &[NodeId],
        inputs: &[Tensor],
    ) -> Option<usize> {
        if !self.on.device.is_cpu() || frees.is_empty() {
            return None;
        }
        let dag = &self.on.graph.regions[region].dag;
        let types: Vec<&Type> = node.inputs.iter().map(|i| &*dag[*i].ty).collect();
        inputs.iter().enumerate().position(|(i, tensor)| {
            let id = node.inputs[i];
            frees.contains(&id)
                && node.inputs.iter().filter(|other| **other == id).count() == 1
                && node.op.overwrites(i, &types, &node.ty)
                && tensor.is_contiguous()
                && self.account.is_whole(tensor)
        })
    }

    fn gather(&self, region: RegionId, node: &Node, values: &Values) -> Result<Vec<Tensor>, RunError> {
        let first = |id: &NodeId| values[id.index()].first().cloned();
        node.inputs.iter().map(|id| first(id).ok_or_else(|| self.on.lost(region, *id))).collect()
    }

    /// Runs a loop: carries, captured tensors, slices of scanned tensors, stacked outputs.
    fn repeat(
        &mut self,
        l: &Loop,
        node: &Node,
        inputs: Vec<Tensor>,
        frame: &Frame<'_>,
    ) -> Result<Vec<Tensor>, RunError> {
        let on = self.on;
        let (carries, captures) = (l.carries as usize, l.captures as usize);
        let fault = |e: candle_core::Error| failure(&on.graph, node, &[], &e);
        let missing = || fault(candle_core::Error::Msg("the loop lacks an input or an output".into()));
        if inputs.len() != carries + captures + l.scans as usize {
            return Err(missing());
        }
        let mut carry: Vec<Tensor> = inputs[..carries].to_vec();
        let mut stacked = Vec::new();
        for ty in l.outputs.iter().skip(carries) {
            let shape = ty.constant_shape().ok_or_else(missing)?;
            let tensor = Tensor::zeros(shape, candle_dtype(ty.dtype), &on.device).map_err(fault)?;
            self.account.hold(&tensor);
            stacked.push(tensor);
        }
        let body = &on.graph.regions[l.region as usize];
        let outer = frame.of.is_some();
        for turn in 0..l.steps {
            let step = if l.reverse { l.steps - 1 - turn } else { turn };
            let mut bound = carry.clone();
            bound.extend_from_slice(&inputs[carries..carries + captures]);
            for scanned in &inputs[carries + captures..] {
                let at = scanned.narrow(0, step as usize, 1).and_then(|t| t.squeeze(0)).map_err(fault)?;
                bound.push(at);
            }
            let inner = Frame {
                bound: &bound,
                of: Some((l, step)),
                step: frame.step.wrapping_mul(l.steps).wrapping_add(step),
                total: if outer { frame.total.wrapping_mul(l.steps) } else { l.steps },
                ..Frame::default()
            };
            let (mut values, held) = self.region(l.region as usize, &inner)?;
            let mut outputs = Vec::with_capacity(body.outputs.len());
            for id in &body.outputs {
                outputs.push(get(&mut values, *id).ok_or_else(|| on.lost(l.region as usize, *id))?);
            }
            for (target, value) in stacked.iter().zip(&outputs[carries..]) {
                let row = value.unsqueeze(0).and_then(|t| t.contiguous()).map_err(fault)?;
                target.slice_set(&row, 0, step as usize).map_err(fault)?;
            }
            outputs.truncate(carries);
            // The new carries are held before the body's values go, the old ones released after.
            for tensor in &outputs {
                self.account.hold(tensor);
            }
            for tensor in held.iter().flat_map(|id| &values[id.index()]) {
                self.account.release(tensor);
            }
            if turn > 0 {
                for tensor in &carry {
                    self.account.release(tensor);
                }
            }
            carry = outputs;
            if !outer {
                self.watcher.progress(turn as usize + 1, l.steps as usize);
            }
        }
        let made = l.steps > 0;
        let out: Vec<Tensor> = carry.iter().chain(&stacked).cloned().collect();
        // From here on the loop's node holds them.
        for tensor in carry.iter().take(if made { carries } else { 0 }).chain(&stacked) {
            self.account.release(tensor);
        }
        Ok(out)
    }

    fn check_finite(&mut self, out: &Outputs) -> Result<(), RunError> {
        let names = &self.on.graph.output_names;
        for (i, tensor) in out.outputs.iter().enumerate() {
            if !tensor.dtype().is_float() {
                continue;
            }
            let node = self.on.graph.root().node(self.on.graph.root().outputs[i]);
            let values =
                convert::to_f32_vec(tensor).map_err(|e| failure(&self.on.graph, node, &[tensor], &e))?;
            let count = values.iter().filter(|v| !v.is_finite()).count();
            if count > 0 {
                self.watcher.not_finite(names.get(i).map_or("out", String::as_str), count, values.len());
            }
        }
        Ok(())
    }
}

fn get(values: &mut Values, id: NodeId) -> Option<Tensor> {
    values.get(id.index())?.first().cloned()
}

/// What a tensor is, if it is not what the type says.
fn misfit(tensor: &Tensor, ty: &Type) -> Option<String> {
    let same_shape = tensor.rank() == ty.rank()
        && tensor.dims().iter().zip(&ty.shape).all(|(d, t)| i64::try_from(*d).is_ok_and(|d| t.is(d)));
    if same_shape && tensor.dtype() == candle_dtype(ty.dtype) {
        return None;
    }
    let shape: Vec<String> = tensor.dims().iter().map(ToString::to_string).collect();
    Some(format!("{}[{}]", tensor.dtype().as_str(), shape.join(", ")))
}
