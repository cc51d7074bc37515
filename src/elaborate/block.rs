//! Blocks: instances made with their configuration, built at the first use, called.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::call::Slot;
use super::value::{BlockRef, Build, CallArgs, Env, Instance, Value};
use super::{Elaborator, Frame};
use crate::diagnostic::{Diagnostic, codes};
use crate::source::Span;
use crate::syntax::ast::{self, ExprKind, Member, Name};

impl Elaborator<'_> {
    /// Makes an instance. Its fields are built later, when inferred widths are known.
    pub(super) fn construct(&mut self, block: &Rc<BlockRef>, args: CallArgs, span: Span) -> Value {
        let decl = &block.decl;
        let what = format!("`{}`", decl.name.name);
        let slots: Vec<Slot> = decl
            .params
            .iter()
            .map(|p| Slot { name: &p.name.name, optional: p.default.is_some(), span: Some(p.span) })
            .collect();
        let Some((bound, _, _)) = self.bind_slots(&slots, args, &what, span, false, false) else {
            return Value::Error;
        };
        let mut env = Env::new(block.module);
        // Widths that are learned stay out until they are known.
        let (mut params, mut values) = (Vec::new(), Vec::new());
        for (p, b) in decl.params.iter().zip(bound) {
            if b.is_none() && is_inferred(p) {
                continue;
            }
            params.push(p.clone());
            values.push(b);
        }
        self.frames.push(Frame { call: span, path: None, what: what.clone() });
        let matched = self.match_params(&params, values, &mut env, &what);
        self.frames.pop();
        if matched.is_none() {
            return Value::Error;
        }
        let config: HashMap<Name, Value> = params
            .iter()
            .filter_map(|p| Some((p.name.name.clone(), env.get(&p.name.name)?.clone())))
            .collect();
        Value::Instance(Rc::new(Instance {
            block: block.clone(),
            config: RefCell::new(config),
            learned: RefCell::default(),
            path: RefCell::new(None),
            state: RefCell::new(Build::Pending),
            span,
        }))
    }

    /// Another instance of the same block with the same configuration, at a path.
    pub(super) fn clone_instance(&self, i: &Instance, path: Arc<str>) -> Rc<Instance> {
        let learned: Vec<Name> = i.learned.borrow().keys().cloned().collect();
        let mut config = i.config.borrow().clone();
        config.retain(|name, _| !learned.contains(name));
        Rc::new(Instance {
            block: i.block.clone(),
            config: RefCell::new(config),
            learned: RefCell::default(),
            path: RefCell::new(Some(path)),
            state: RefCell::new(Build::Pending),
            span: i.span,
        })
    }

    /// Calls a graph of an instance: the nameless one, or `graph`.
    pub(super) fn call_instance(
        &mut self,
        instance: &Rc<Instance>,
        graph: Option<Arc<ast::Graph>>,
        args: CallArgs,
        span: Span,
    ) -> Value {
        let decl = instance.block.decl.clone();
        let name = decl.name.name.clone();
        let Some(graph) = graph.or_else(|| nameless(&decl)) else {
            let named: Vec<String> =
                graphs(&decl).filter_map(|g| g.name.as_ref().map(|n| n.name.to_string())).collect();
            let help = if named.is_empty() {
                "give the block a `graph (x: […]) { … }`".to_string()
            } else {
                format!(
                    "call one of its graphs: {}",
                    named.iter().map(|n| format!(".{n}(…)")).collect::<Vec<_>>().join(", ")
                )
            };
            self.report(
                Diagnostic::error(codes::NOT_CALLABLE, format!("`{name}` has no nameless graph to call"))
                    .label(span, "called here")
                    .label(decl.name.span, "defined here")
                    .help(help),
            );
            return Value::Error;
        };
        if self.builder(span).is_none() {
            return Value::Error;
        }
        let what = match &graph.name {
            Some(g) => format!("`{name}.{}`", g.name),
            None => format!("`{name}`"),
        };
        if !self.enter(span) {
            self.leave();
            return Value::Error;
        }
        let path = instance.path.borrow().clone();
        self.frames.push(Frame { call: span, path: path.clone(), what: what.clone() });
        let outer = path.clone().map(|p| std::mem::replace(&mut self.path, p));
        let value = self.run_graph(instance, &graph, args, &what, span);
        if let Some(outer) = outer {
            self.path = outer;
        }
        if let Some(path) = path.filter(|_| !self.trace.is_empty()) {
            self.trace_value(&path, &value, span);
        }
        self.frames.pop();
        self.leave();
        value
    }

    fn run_graph(
        &mut self,
        instance: &Rc<Instance>,
        graph: &ast::Graph,
        args: CallArgs,
        what: &str,
        span: Span,
    ) -> Value {
        let slots: Vec<Slot> = graph
            .params
            .iter()
            .map(|p| Slot { name: &p.name.name, optional: p.default.is_some(), span: Some(p.span) })
            .collect();
        let Some((bound, _, _)) = self.bind_slots(&slots, args, what, span, false, false) else {
            return Value::Error;
        };
        let inputs: Vec<Option<(Value, Span)>> = bound.clone();
        let mut env = self.config_env(instance);
        let before = self.diagnostics.len();
        let Some(mut scope) = self.match_params(&graph.params, bound, &mut env, what) else {
            self.explain_learned(instance, before);
            return Value::Error;
        };
        // What the signature has taught about inferred widths.
        for p in instance.block.decl.params.iter().filter(|p| is_inferred(p)) {
            let name = &p.name.name;
            if instance.config.borrow().contains_key(name) {
                continue;
            }
            if let Some(value) = env.get(name).cloned() {
                let at = inputs.iter().flatten().next().map_or(span, |(_, at)| *at);
                if matches!(&value, Value::Int(d) if d.as_const().is_none()) {
                    self.error_help(
                        codes::NOT_STATIC,
                        at,
                        format!("{what}: the width `{name}` is open until the run"),
                        format!(
                            "this is {}",
                            self.describe(
                                &inputs.iter().flatten().next().map_or(Value::None, |(v, _)| v.clone())
                            )
                        ),
                        "the width of a weight must be known; only the batch may be open",
                    );
                    return Value::Error;
                }
                instance.config.borrow_mut().insert(name.clone(), value);
                instance.learned.borrow_mut().insert(name.clone(), at);
            }
        }
        let Some(mut built) = self.build(instance) else { return Value::Error };
        // The graph's own names go on top of the fields.
        for p in &graph.params {
            if let Some(v) = env.get(&p.name.name) {
                built.bind(p.name.name.clone(), v.clone());
            }
        }
        for name in scope.dims.keys() {
            if let Some(v) = env.get(name) {
                built.bind(name.clone(), v.clone());
            }
        }
        let value = match self.body(&graph.body, &mut built) {
            Some(v) => v,
            None => Value::None,
        };
        match &graph.result {
            Some(ty) => self.match_result(value, ty, &mut scope, &mut built, what, &graph.body),
            None => value,
        }
    }

    /// Adds where an inferred width was learned to the errors of a second use that disagrees.
    fn explain_learned(&mut self, instance: &Instance, from: usize) {
        let learned = instance.learned.borrow();
        if learned.is_empty() {
            return;
        }
        for d in self.diagnostics.iter_mut().skip(from).filter(|d| d.code == codes::SHAPE_MISMATCH) {
            for (name, at) in learned.iter() {
                let width = instance.config.borrow().get(name).map(Value::describe).unwrap_or_default();
                d.code = codes::WIDTH_DISAGREES;
                d.labels.push(crate::diagnostic::Label {
                    span: *at,
                    text: format!("`{name}` was learned from this use: {width}"),
                });
                d.help = Some(
                    "one instance has one set of weights; make a second instance for another width".into(),
                );
            }
        }
    }

    fn config_env(&self, instance: &Rc<Instance>) -> Env {
        let mut env = Env::new(instance.block.module);
        env.instance = Some(instance.clone());
        for (name, value) in instance.config.borrow().iter() {
            env.bind(name.clone(), value.clone());
        }
        env
    }

    /// The environment of an instance with its fields, built now if this is the first use.
    pub(super) fn build(&mut self, instance: &Rc<Instance>) -> Option<Env> {
        let state = instance.state.borrow().clone();
        match state {
            Build::Built(env) => return Some(env),
            Build::Failed => return None,
            Build::Building => {
                let name = &instance.block.decl.name.name;
                self.error_help(
                    codes::RECURSION_LIMIT,
                    instance.span,
                    format!("`{name}` is needed to build its own fields"),
                    "this instance",
                    "a field cannot use the block that it belongs to",
                );
                return None;
            }
            Build::Pending => {}
        }
        let decl = instance.block.decl.clone();
        let missing: Vec<&str> = decl
            .params
            .iter()
            .filter(|p| is_inferred(p) && !instance.config.borrow().contains_key(&p.name.name))
            .map(|p| &*p.name.name)
            .collect();
        if !missing.is_empty() {
            let names = missing.join("`, `");
            self.error_help(
                codes::UNSOLVED_DIM,
                instance.span,
                format!("`{}` is used before its width `{names}` is known", decl.name.name),
                "made here",
                format!("call it first, or give the width: {} = …", missing[0]),
            );
            *instance.state.borrow_mut() = Build::Failed;
            return None;
        }
        *instance.state.borrow_mut() = Build::Building;
        let mut env = self.config_env(instance);
        let path = instance.path.borrow().clone();
        self.frames.push(Frame {
            call: instance.span,
            path: path.clone(),
            what: format!("`{}`", decl.name.name),
        });
        self.in_fields += 1;
        let before = self.diagnostics.len();
        let mut ok = self.members(&decl.members, instance, &mut env);
        // The graphs of a pipeline are checked although a field of it is wrong: every mistake in one go.
        if !ok && path.as_deref() == Some("") && !self.aborted {
            ok = self.diagnostics[before..].iter().all(|d| d.code != codes::ASSERTION_FAILED);
        }
        // The block's graphs see each other by name.
        for g in graphs(&decl) {
            if let Some(name) = g.name.as_ref().filter(|n| env.get(&n.name).is_none()) {
                env.bind(name.name.clone(), Value::Method(instance.clone(), g.clone()));
            }
        }
        self.in_fields -= 1;
        self.frames.pop();
        *instance.state.borrow_mut() = if ok { Build::Built(env.clone()) } else { Build::Failed };
        ok.then_some(env)
    }

    /// A field or named graph of an instance.
    pub(super) fn instance_field(&mut self, instance: &Rc<Instance>, name: &Name) -> Option<Value> {
        let decl = instance.block.decl.clone();
        if let Some(g) = graphs(&decl).find(|g| g.name.as_ref().is_some_and(|n| n.name == *name)) {
            return Some(Value::Method(instance.clone(), g.clone()));
        }
        if let Some(v) = instance.config.borrow().get(name) {
            return Some(v.clone());
        }
        // A name that is declared nowhere is a slip, whatever the widths are.
        if !declares(&decl.members, name) && !decl.params.iter().any(|p| p.name.name == *name) {
            return None;
        }
        match self.build(instance) {
            Some(env) => env.get(name).cloned(),
            None => Some(Value::Error),
        }
    }

    pub(super) fn instance_names(&mut self, instance: &Rc<Instance>) -> Vec<String> {
        let mut names: Vec<String> = graphs(&instance.block.decl)
            .filter_map(|g| g.name.as_ref().map(|n| n.name.to_string()))
            .collect();
        declared(&instance.block.decl.members, &mut names);
        names
    }
}

/// `name: int = infer`: learned at the first use.
pub(super) fn is_inferred(p: &ast::Param) -> bool {
    matches!(&p.default, Some(d) if matches!(&d.kind, ExprKind::Name(n) if &**n == "infer"))
}

/// Whether members declare a field or function of that name.
fn declares(members: &[Member], name: &str) -> bool {
    let mut names = Vec::new();
    declared(members, &mut names);
    names.iter().any(|n| n == name)
}

/// The names of fields and functions among members.
fn declared(members: &[Member], out: &mut Vec<String>) {
    for member in members {
        match member {
            Member::Field(f) => out.push(f.target.root.name.to_string()),
            Member::Fn(f) => out.extend(f.name.as_ref().map(|n| n.name.to_string())),
            Member::For(f) => declared(&f.body, out),
            Member::If(i) => {
                declared(&i.then, out);
                declared(&i.otherwise, out);
            }
            _ => {}
        }
    }
}

/// The graphs of a block, in order.
pub(super) fn graphs(block: &ast::Block) -> impl Iterator<Item = &Arc<ast::Graph>> {
    block.members.iter().filter_map(|m| match m {
        Member::Graph(g) => Some(g),
        _ => None,
    })
}

fn nameless(block: &ast::Block) -> Option<Arc<ast::Graph>> {
    graphs(block).find(|g| g.name.is_none()).cloned()
}
