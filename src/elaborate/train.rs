//! `train`: one step as one graph, with gradients, clipping, accumulation, the optimizer and the average.

mod header;
mod show;
mod state;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::Elaborator;
use super::unit::Unit;
use super::value::{CallArgs, Env, Instance, TensorRef, Value};
use super::weights::{Registry, under};
use crate::diagnostic::{Diagnostic, codes};
use crate::graph::program::{EveryEntry, TrainEntry, Weight};
use crate::graph::{Builder, Named, NodeId};
use crate::ops::{Emit, Input, Reduce, ReduceKind};
use crate::shape::{DType, Dim, Type};
use crate::source::Span;
use crate::syntax::ast;

/// What a `train` body gathers.
pub(super) struct TrainState {
    pub step: NodeId,
    pub clip: Option<f64>,
    pub accumulate: u64,
    /// True in the last batch of an optimizer step; set while the optimizer writes.
    pub gate: Option<NodeId>,
    pub last: Option<NodeId>,
    /// The weights that some phase has updated, in order.
    pub updated: Vec<String>,
    pub phases: usize,
    pub every: Vec<(u64, Vec<(Arc<ast::Graph>, CallArgs, Span)>)>,
}

impl Elaborator<'_> {
    pub(super) fn train_entry(&mut self, root: &Rc<Instance>, t: &ast::Train) -> Option<TrainEntry> {
        let mut env = self.build(root)?;
        let header = self.train_header(t, &mut env)?;
        let name = t.name.as_ref().map_or("train".to_string(), |n| n.name.to_string());
        let pipeline = root.block.decl.name.name.clone();
        let saved = self.start(format!("{pipeline}.{name}"));
        self.units += 1;
        self.extra = Some(Registry::new(Unit::new(self.units, format!("{pipeline}.{name}.init"))));
        let step = {
            let unit = self.unit.as_mut()?;
            unit.batch = Dim::from(header.batch);
            unit.updates = true;
            let ty = Type::scalar(DType::F32);
            let mut b = Builder::new(&mut unit.graph, 0, t.head, "".into());
            b.push(Input { name: "step".into(), ty: ty.clone() }.into(), &[], ty)
        };
        let (mut count, mut last) = (step, None);
        if header.accumulate > 1 {
            (count, last) = self.accumulation(step, header.accumulate, t.head)?;
        }
        if let Some(unit) = self.unit.as_mut() {
            unit.train = Some(TrainState {
                step: count,
                clip: header.clip,
                accumulate: header.accumulate,
                gate: None,
                last,
                updated: Vec::new(),
                phases: 0,
                every: Vec::new(),
            });
        }
        let errors = self.diagnostics.iter().filter(|d| d.is_error()).count();
        self.body(&t.body, &mut env);
        let failed = self.diagnostics.iter().filter(|d| d.is_error()).count() > errors;
        let phases = self.unit.as_ref().and_then(|u| u.train.as_ref()).map_or(0, |t| t.phases);
        // What could not be read may have been one.
        let unread = t.body.stmts.iter().any(|s| matches!(s, ast::Stmt::Error(_)));
        if phases == 0 && !failed && !unread {
            self.error_help(
                codes::BAD_TRAIN,
                t.head,
                "this `train` minimizes nothing",
                "no `minimize` in it",
                "end it with: minimize loss over encoder, decoder with adamw(lr = 1e-3)",
            );
        }
        if let Some(decay) = header.ema {
            self.average(decay, t.head);
        }
        let mut unit = self.finish(saved);
        let extra = self.extra.take().unwrap_or_default();
        let state = unit.train.take()?;
        self.scalar_watches(&mut unit.graph);
        let mut every = Vec::new();
        for (steps, calls) in state.every {
            let mut entries = Vec::new();
            for (graph, args, span) in calls {
                if let Some(entry) = self.entry_with(root, &graph, args, span) {
                    entries.push((entry.name.clone(), entry));
                }
            }
            every.push(EveryEntry { steps, entries });
        }
        let mut watches: Vec<String> = Vec::new();
        for w in &unit.graph.root().watches {
            if !watches.contains(&w.name) {
                watches.push(w.name.clone());
            }
        }
        Some(TrainEntry {
            name,
            doc: t.doc.clone(),
            steps: header.steps,
            batch: header.batch,
            accumulate: header.accumulate,
            ema: header.ema,
            graph: unit.graph,
            data: unit.data,
            extra: extra.weights,
            extra_init: extra.init.map(|u| u.graph).unwrap_or_default(),
            every,
            watches,
        })
    }

    /// `minimize loss over fields with optimizer`.
    pub(super) fn minimize(&mut self, m: &ast::Minimize, env: &mut Env) {
        if self.unit.as_ref().is_none_or(|u| u.train.is_none()) {
            self.error_help(
                codes::BAD_TRAIN,
                m.span,
                "`minimize` outside `train`",
                "here",
                "put it into the `train` of the pipeline",
            );
            return;
        }
        if let Some(t) = self.unit.as_mut().and_then(|u| u.train.as_mut()) {
            t.phases += 1;
        }
        let loss = self.expr(&m.loss, env);
        let mut over = Vec::new();
        for e in &m.over {
            let v = self.expr(e, env);
            over.push((v, e.span));
        }
        let optimizer = match &m.with {
            Some(e) => (self.expr(e, env), e.span),
            None => {
                self.error_help(
                    codes::BAD_TRAIN,
                    m.span,
                    "`minimize` needs an optimizer",
                    "no `with`",
                    "minimize loss over model with adamw(lr = 1e-3)   (use std.optim.adamw)",
                );
                return;
            }
        };
        if matches!(loss, Value::Error)
            || matches!(optimizer.0, Value::Error)
            || over.iter().any(|(v, _)| matches!(v, Value::Error))
        {
            return;
        }
        let Value::Instance(optimizer_instance) = &optimizer.0 else {
            let found = self.describe(&optimizer.0);
            self.error_help(
                codes::WRONG_KIND,
                optimizer.1,
                "the optimizer is a block",
                format!("this is {found}"),
                "adamw(lr = 1e-3), sgd(lr = 0.1), …",
            );
            return;
        };
        let Some(loss_node) = self.loss_node(&loss, m) else { return };
        let weights = self.weights_of(&over);
        self.phase(m, loss_node, &weights, optimizer_instance, &over);
    }

    /// The loss as a scalar: the mean over samples.
    fn loss_node(&mut self, loss: &Value, m: &ast::Minimize) -> Option<NodeId> {
        let at = m.loss.span;
        let Some(ty) = self.type_of(loss) else {
            let found = self.describe(loss);
            self.error(codes::WRONG_KIND, at, "`minimize` takes a tensor", format!("this is {found}"));
            return None;
        };
        if ty.rank() > 1 || !ty.dtype.is_float() {
            self.error_help(
                codes::WRONG_RANK,
                at,
                "`minimize` takes a scalar, or one number per sample",
                format!("this is {ty}"),
                "reduce it: sum(x, axis = [1, 2, 3]) gives one number per sample, mean(x) one in all",
            );
            return None;
        }
        let node = self.node(loss, at)?;
        if ty.rank() == 0 {
            return Some(node);
        }
        let mut b = self.builder(at)?;
        match b.emit(Reduce { kind: ReduceKind::Mean, axes: vec![0], keep: false }.into(), &[node]) {
            Ok(n) => Some(n),
            Err(e) => {
                self.op_error(e, at, &[]);
                None
            }
        }
    }

    /// The trainable weights under some fields, in order of construction.
    fn weights_of(&self, over: &[(Value, Span)]) -> Vec<Weight> {
        let mut prefixes = BTreeSet::new();
        for (v, _) in over {
            collect_paths(v, &mut prefixes);
        }
        self.registry
            .weights
            .iter()
            .filter(|w| {
                w.trainable && !w.frozen && (over.is_empty() || prefixes.iter().any(|p| under(&w.path, p)))
            })
            .cloned()
            .collect()
    }

    fn phase(
        &mut self,
        m: &ast::Minimize,
        loss: NodeId,
        weights: &[Weight],
        optimizer: &Rc<Instance>,
        over: &[(Value, Span)],
    ) {
        let nodes: Vec<Option<NodeId>> = weights
            .iter()
            .map(|w| self.unit.as_ref().and_then(|u| u.parameters.get(&w.path).copied()))
            .collect();
        let wrt: Vec<NodeId> = nodes.iter().flatten().copied().collect();
        let Some(mut b) = self.builder(m.span) else { return };
        let grads = match crate::differentiate::gradients(&mut b, loss, &wrt) {
            Ok(g) => g,
            Err(e) => {
                self.refused(e, m.loss.span);
                return;
            }
        };
        let mut given = grads.into_iter();
        let pairs: Vec<(&Weight, Option<(NodeId, NodeId)>)> = weights
            .iter()
            .zip(&nodes)
            .map(|(w, n)| (w, n.and_then(|n| given.next().flatten().map(|g| (n, g)))))
            .collect();
        if pairs.iter().all(|(_, g)| g.is_none()) {
            let mut d = Diagnostic::error(
                codes::LOSS_WITHOUT_WEIGHT,
                "this loss reaches no trainable weight of its phase",
            )
            .label(m.loss.span, "minimized here");
            for (_, at) in over.iter().take(2) {
                d = d.label(*at, "over the weights of this");
            }
            self.report(d.help("name the fields whose weights the loss is computed from; frozen ones and stop_grad do not count"));
            return;
        }
        for (w, _) in pairs.iter().filter(|(_, g)| g.is_none()) {
            self.report(
                Diagnostic::error(codes::UNREACHED_WEIGHT, format!("`{}` never reaches the loss", w.path))
                    .label(m.loss.span, "no gradient flows from this loss to it")
                    .label(w.span, format!("`{}` is declared here: {}", w.path, w.ty))
                    .help("use it in what the loss is computed from, leave its field out of `over`, or mark the field `frozen`"),
            );
        }
        let pairs: Vec<(Weight, NodeId, NodeId)> =
            pairs.into_iter().filter_map(|(w, g)| g.map(|(n, g)| (w.clone(), n, g))).collect();
        self.watch_loss(loss);
        self.optimize_weights(m, pairs, optimizer);
    }

    /// The loss of each phase goes to the log.
    fn watch_loss(&mut self, loss: NodeId) {
        let Some(unit) = &mut self.unit else { return };
        let phases = unit.train.as_ref().map_or(1, |t| t.phases);
        let name = if phases == 1 { "loss".to_string() } else { format!("loss_{phases}") };
        let watches = &mut unit.graph.regions[0].watches;
        if !watches.iter().any(|w| w.name == name) {
            watches.push(Named { name, node: loss });
        }
    }

    fn optimize_weights(
        &mut self,
        m: &ast::Minimize,
        pairs: Vec<(Weight, NodeId, NodeId)>,
        optimizer: &Rc<Instance>,
    ) {
        let Some(unit) = self.unit.as_ref() else { return };
        let id = unit.id;
        let tensor = |node| Value::Tensor(TensorRef { unit: id, region: 0, node, space: None });
        let Some(state) = &unit.train else { return };
        let (step, clip, k, last) = (state.step, state.clip, state.accumulate, state.last);
        let mut grads: Vec<Value> = pairs.iter().map(|(_, _, g)| tensor(*g)).collect();
        if let Some(last) = last {
            for (i, (w, _, _)) in pairs.iter().enumerate() {
                match self.accumulate(w, &grads[i], k, last, m.span) {
                    Some(g) => grads[i] = g,
                    None => return,
                }
            }
        }
        if let Some(clip) = clip {
            match self.std_call(
                "std.optim",
                "clip_grad_norm",
                vec![Value::list(grads.clone()), Value::Float(clip)],
                m.span,
            ) {
                Value::List(l) => grads = l.to_vec(),
                Value::Tuple(t) => grads = t.iter().map(|(_, v)| v.clone()).collect(),
                _ => return,
            }
        }
        if let Some(t) = self.unit.as_mut().and_then(|u| u.train.as_mut()) {
            t.gate = last;
        }
        for ((w, node, _), g) in pairs.iter().zip(grads) {
            let path: Arc<str> = format!("optimizer.{}", w.path).into();
            let instance = self.clone_instance(optimizer, path);
            let args = [tensor(*node), g, tensor(step)].into_iter().map(|v| (v, optimizer.span)).collect();
            let new = self.call_instance(
                &instance,
                None,
                CallArgs { positional: args, named: Vec::new() },
                optimizer.span,
            );
            let Some(ty) = self.type_of(&new) else {
                if !matches!(new, Value::Error) {
                    self.error(
                        codes::WRONG_KIND,
                        optimizer.span,
                        "an optimizer gives the next weight",
                        "this one gives none",
                    );
                }
                break;
            };
            if ty.plain() != w.ty.plain() {
                self.error(
                    codes::SHAPE_MISMATCH,
                    optimizer.span,
                    format!("the optimizer turns {} into {ty}", w.ty),
                    "must keep the shape",
                );
                break;
            }
            let Some(new) = self.node(&new, m.span) else { break };
            self.set_parameter(&w.path, new, m.span);
            if let Some(t) = self.unit.as_mut().and_then(|u| u.train.as_mut())
                && !t.updated.contains(&w.path)
            {
                t.updated.push(w.path.clone());
            }
        }
        if let Some(t) = self.unit.as_mut().and_then(|u| u.train.as_mut()) {
            t.gate = None;
        }
    }
}

/// The field paths that a value of `over` stands for.
fn collect_paths(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Instance(i) => {
            if let Some(p) = &*i.path.borrow() {
                out.insert(p.to_string());
            }
        }
        Value::Param(p) => {
            if let Some(p) = &*p.path.borrow() {
                out.insert(p.to_string());
            }
        }
        Value::Chain(v) | Value::List(v) => v.iter().for_each(|v| collect_paths(v, out)),
        Value::Tuple(t) => t.iter().for_each(|(_, v)| collect_paths(v, out)),
        Value::Record(r) => r.iter().for_each(|(_, v)| collect_paths(v, out)),
        Value::Method(i, _) => collect_paths(&Value::Instance(i.clone()), out),
        Value::Partial(_) => value.checkpointed().into_iter().for_each(|v| collect_paths(v, out)),
        _ => {}
    }
}
