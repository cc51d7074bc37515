//! `train`: one step as one graph, with gradients, clipping, accumulation, the optimizer and the average.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::Elaborator;
use super::unit::Unit;
use super::value::{CallArgs, Env, Instance, ParamDecl, TensorRef, Value};
use super::weights::{Registry, under};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::graph::program::{EveryEntry, TrainEntry, Weight};
use crate::graph::{Builder, Graph, Named, NodeId};
use crate::ops::{Binary, Compare, CompareKind, Emit, Input, Op, Parameter, Reduce, ReduceKind, Unary};
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

/// The options of a `train` header.
struct Header {
    steps: u64,
    batch: usize,
    ema: Option<f64>,
    accumulate: u64,
    clip: Option<f64>,
}

const OPTIONS: &[&str] = &["steps", "batch", "ema", "accumulate", "clip"];

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
        if phases == 0 && !failed {
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
            steps: header.steps * header.accumulate,
            batch: header.batch,
            ema: header.ema,
            graph: unit.graph,
            data: unit.data,
            extra: extra.weights,
            extra_init: extra.init.map(|u| u.graph).unwrap_or_default(),
            every,
            watches,
        })
    }

    fn train_header(&mut self, t: &ast::Train, env: &mut Env) -> Option<Header> {
        let mut h = Header { steps: 1000, batch: 64, ema: None, accumulate: 1, clip: None };
        let mut ok = true;
        let mut given: Vec<(String, Value, Span)> = Vec::new();
        for option in &t.options {
            let value = self.expr(&option.value, env);
            match &option.name {
                Some(name) => given.push((name.name.to_string(), value, option.value.span)),
                None => {
                    self.error_help(
                        codes::BAD_TRAIN,
                        option.value.span,
                        "the options of `train` are named",
                        "without a name",
                        format!("options: {}", OPTIONS.join(", ")),
                    );
                    ok = false;
                }
            }
        }
        for (name, value) in &self.options.train {
            let value = super::pipeline::from_static(value);
            given.push((name.clone(), value, t.head));
        }
        for (name, value, at) in given {
            let positive = match &value {
                Value::Int(d) => d.as_const().filter(|v| *v > 0),
                _ => None,
            };
            let float = match &value {
                Value::Float(v) => Some(*v),
                Value::Int(d) => d.as_const().map(|v| v as f64),
                _ => None,
            };
            let good = match (name.as_str(), positive, float) {
                (_, _, _) if matches!(value, Value::Error) => {
                    ok = false;
                    continue;
                }
                ("steps", Some(v), _) => {
                    h.steps = v as u64;
                    true
                }
                ("batch", Some(v), _) if v <= 1 << 24 => {
                    h.batch = v as usize;
                    true
                }
                ("accumulate", Some(v), _) if v <= 1 << 20 => {
                    h.accumulate = v as u64;
                    true
                }
                ("ema", _, Some(v)) if (0.0..1.0).contains(&v) => {
                    h.ema = Some(v);
                    true
                }
                ("clip", _, Some(v)) if v > 0.0 => {
                    h.clip = Some(v);
                    true
                }
                ("ema" | "clip", _, _) if matches!(value, Value::None) => true,
                (known, _, _) if OPTIONS.contains(&known) => {
                    let found = self.describe(&value);
                    let want = match known {
                        "ema" => "a decay in [0, 1), such as 0.999",
                        "clip" => "a positive gradient norm, such as 1.0",
                        _ => "a positive integer",
                    };
                    self.error(
                        codes::BAD_VALUE,
                        at,
                        format!("`{known}` must be {want}"),
                        format!("this is {found}"),
                    );
                    false
                }
                (unknown, _, _) => {
                    let help = did_you_mean(unknown, OPTIONS.iter().copied())
                        .map_or(format!("options: {}", OPTIONS.join(", ")), |n| {
                            format!("did you mean `{n}`?")
                        });
                    self.error_help(
                        codes::UNKNOWN_ARGUMENT,
                        at,
                        format!("`train` has no option `{unknown}`"),
                        "not an option",
                        help,
                    );
                    false
                }
            };
            ok &= good;
        }
        ok.then_some(h)
    }

    /// The number of optimizer steps done, and whether this batch is the last of its step.
    fn accumulation(&mut self, step: NodeId, k: u64, span: Span) -> Option<(NodeId, Option<NodeId>)> {
        let mut b = self.builder(span)?;
        let result = (|| {
            let q = b.binary_scalar(Binary::Div, step, k as f64)?;
            let count = b.unary(Unary::Floor, q)?;
            let first = b.binary_scalar(Binary::Mul, count, k as f64)?;
            let within = b.binary(Binary::Sub, step, first)?;
            let last = b.scalar((k - 1) as f64, DType::F32)?;
            Ok((count, Some(b.emit(Compare { kind: CompareKind::Eq }.into(), &[within, last])?)))
        })();
        match result {
            Ok(v) => Some(v),
            Err(e) => {
                self.op_error(e, span, &[]);
                None
            }
        }
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

    /// A state of the training itself, beside the model.
    fn training_state(&mut self, path: String, ty: &Type, init: Value, span: Span) -> Option<Value> {
        let path: Arc<str> = path.into();
        let decl = Rc::new(ParamDecl {
            trainable: false,
            ty: ty.plain(),
            init,
            span,
            path: RefCell::new(Some(path.clone())),
        });
        self.register(&decl, &path).then_some(Value::Param(decl))
    }

    /// Adds this batch's gradient to the sum; gives the mean so far.
    fn accumulate(&mut self, w: &Weight, g: &Value, k: u64, last: NodeId, span: Span) -> Option<Value> {
        let sum = self.training_state(format!("accumulate.{}", w.path), &w.ty, Value::Float(0.0), span)?;
        let (old, g) = (self.node(&sum, span)?, self.node(g, span)?);
        let mut b = self.builder(span)?;
        let result = (|| {
            let part = b.binary_scalar(Binary::Div, g, k as f64)?;
            let total = b.binary(Binary::Add, old, part)?;
            let zero = b.scalar(0.0, w.ty.dtype)?;
            let next = b.emit(crate::ops::Where {}.into(), &[last, zero, total])?;
            Ok((total, next))
        })();
        match result {
            Ok((total, next)) => {
                self.set_parameter(&format!("accumulate.{}", w.path), next, span);
                Some(self.tensor(total, span))
            }
            Err(e) => {
                self.op_error(e, span, &[]);
                None
            }
        }
    }

    /// The exponential moving average of every updated weight.
    fn average(&mut self, decay: f64, span: Span) {
        let Some(state) = self.unit.as_ref().and_then(|u| u.train.as_ref()) else { return };
        let (updated, step, last) = (state.updated.clone(), state.step, state.last);
        let id = self.unit.as_ref().map_or(0, |u| u.id);
        let tensor = |node| Value::Tensor(TensorRef { unit: id, region: 0, node, space: None });
        for path in updated {
            let Some(w) = self.registry.weights.iter().find(|w| w.path == path).cloned() else { continue };
            // The average starts at the weight itself.
            let node = {
                let Some(init) = self.extra.as_mut().and_then(|e| e.init.as_mut()) else { return };
                let op = Parameter { path: path.clone(), ty: w.ty.clone() };
                let mut b = Builder::new(&mut init.graph, 0, w.span, path.as_str().into());
                let node = b.push(op.into(), &[], w.ty.clone());
                Value::Tensor(TensorRef { unit: init.id, region: 0, node, space: None })
            };
            let Some(ema) = self.training_state(format!("ema.{path}"), &w.ty, node, span) else { return };
            let Some(new) = self.unit.as_ref().and_then(|u| u.parameters.get(&path).copied()) else {
                continue;
            };
            let value = self.std_call(
                "std.optim",
                "ema",
                vec![ema.clone(), tensor(new), Value::Float(decay), tensor(step)],
                span,
            );
            // Reading the state makes its node, which the gate needs.
            if self.node(&ema, span).is_none() {
                return;
            }
            let Some(node) = self.node(&value, span) else { return };
            if let Some(t) = self.unit.as_mut().and_then(|u| u.train.as_mut()) {
                t.gate = last;
            }
            self.set_parameter(&format!("ema.{path}"), node, span);
            if let Some(t) = self.unit.as_mut().and_then(|u| u.train.as_mut()) {
                t.gate = None;
            }
        }
    }

    /// Calls a function of the standard library that training itself is written with.
    fn std_call(&mut self, module: &str, name: &str, args: Vec<Value>, span: Span) -> Value {
        let Some(id) = self.modules.find(module) else {
            return self.error(
                codes::UNKNOWN_MODULE,
                span,
                format!("`{module}` is not loaded"),
                "needed here",
            );
        };
        match self.global(id, &name.into()) {
            Some(f) => {
                let positional = args.into_iter().map(|v| (v, span)).collect();
                self.call(f, CallArgs { positional, named: Vec::new() }, span)
            }
            None => {
                self.error(codes::UNKNOWN_IMPORT, span, format!("`{module}` has no `{name}`"), "needed here")
            }
        }
    }

    /// `every N { graph(…) }`.
    pub(super) fn every(&mut self, e: &ast::Every, env: &mut Env) {
        let count = self.expr(&e.count, env);
        let Some(count) = self.known_int(&count, e.count.span) else { return };
        if count < 1 || self.unit.as_ref().is_none_or(|u| u.train.is_none()) {
            self.error(
                codes::BAD_TRAIN,
                e.span,
                "`every` takes a positive number of steps, inside `train`",
                "here",
            );
            return;
        }
        let mut calls = Vec::new();
        for stmt in &e.body.stmts {
            let ast::Stmt::Expr(expr) = stmt else {
                self.error_help(
                    codes::BAD_TRAIN,
                    e.body.span,
                    "`every` holds calls of the pipeline's graphs",
                    "something else here",
                    "every 500 { sample(64) }",
                );
                return;
            };
            let ast::ExprKind::Call(callee, args) = &expr.kind else {
                self.error_help(
                    codes::BAD_TRAIN,
                    expr.span,
                    "`every` holds calls of the pipeline's graphs",
                    "not a call",
                    "every 500 { sample(64) }",
                );
                return;
            };
            let f = self.expr(callee, env);
            let Some(args) = self.arguments(args, env) else { return };
            match f {
                Value::Method(_, graph) => calls.push((graph, args, expr.span)),
                Value::Error => return,
                other => {
                    let found = self.describe(&other);
                    self.error(
                        codes::BAD_TRAIN,
                        callee.span,
                        "`every` calls graphs of the pipeline",
                        format!("this is {found}"),
                    );
                    return;
                }
            }
        }
        if let Some(t) = self.unit.as_mut().and_then(|u| u.train.as_mut()) {
            t.every.push((count as u64, calls));
        }
    }

    /// The log holds one number per watch: others are averaged.
    fn scalar_watches(&mut self, graph: &mut Graph) {
        let watches = std::mem::take(&mut graph.regions[0].watches);
        let mut out = Vec::with_capacity(watches.len());
        for w in watches {
            let (ty, span, path) = {
                let n = graph.root().node(w.node);
                (n.ty.clone(), n.span, n.path.clone())
            };
            let mut b = Builder::new(graph, 0, span, path);
            let float = if ty.dtype.is_float() {
                Ok(w.node)
            } else {
                b.emit(crate::ops::Cast { dtype: DType::F32 }.into(), &[w.node])
            };
            let node = match float {
                Ok(n) if ty.rank() == 0 => Ok(n),
                Ok(n) => b.emit(
                    Op::from(Reduce { kind: ReduceKind::Mean, axes: (0..ty.rank()).collect(), keep: false }),
                    &[n],
                ),
                Err(e) => Err(e),
            };
            match node {
                Ok(node) => out.push(Named { name: w.name, node }),
                Err(e) => {
                    self.op_error(e, span, &[]);
                }
            }
        }
        graph.regions[0].watches = out;
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
