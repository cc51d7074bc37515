//! A pipeline, whole: configuration, entry points, training procedures.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::block::graphs;
use super::builtins;
use super::unit::Unit;
use super::value::{BlockRef, Build, CallArgs, Env, Instance, Value};
use super::weights::Registry;
use super::{Elaborator, LibraryItem, Options};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::graph::program::{Entry, EntryKind, EntryParam, Program, StaticValue};
use crate::resolve::Modules;
use crate::source::SourceMap;
use crate::syntax::ast::{self, Item, Member};

/// What is asked of an elaboration beyond the check of everything.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Which pipeline, when the file has several.
    pub pipeline: Option<String>,
    /// An entry point with static arguments.
    pub entry: Option<(String, Vec<(String, StaticValue)>)>,
    /// A parameter of that entry that stays an open dimension (for replaying one sample).
    pub open: Option<String>,
    /// Field paths: the entry also gives what each block at or under them gives.
    pub trace: Vec<String>,
    /// Graphs and training procedures that read data of which no path is given are left out, not errors: who runs
    /// another graph needs no data.
    pub without_data: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Elaboration {
    /// The pipeline, unless the file has none or has errors.
    pub program: Option<Program>,
    /// The entry that was asked for.
    pub entry: Option<Entry>,
    /// The blocks and functions of a file without a pipeline.
    pub library: Vec<LibraryItem>,
    /// Everything there is to say.
    pub diagnostics: Vec<Diagnostic>,
}

/// Bytes of stack for elaboration, whose recursion the limits bound.
const STACK: usize = 1 << 30;

/// Elaborates the pipeline of the first module.
pub fn elaborate(
    map: &SourceMap,
    modules: &Modules,
    options: &Options<'_>,
    request: &Request,
) -> Elaboration {
    let run = || {
        let mut e = Elaborator {
            map,
            modules,
            options,
            diagnostics: Vec::new(),
            frames: Vec::new(),
            unit: None,
            units: 1,
            registry: Registry::new(Unit::new(1, "init")),
            extra: None,
            path: "".into(),
            constants: HashMap::new(),
            steps: 0,
            depth: 0,
            elements: 0,
            aborted: false,
            loops: 0,
            in_fields: 0,
            trace: Vec::new(),
        };
        let (program, entry, library) = e.file(request);
        Elaboration { program, entry, library, diagnostics: e.diagnostics }
    };
    // A thread of its own: deep programs need more stack than a caller may have.
    std::thread::scope(|s| {
        let spawned = std::thread::Builder::new().stack_size(STACK).spawn_scoped(s, run);
        match spawned.map(|h| h.join()) {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(e) => Elaboration {
                diagnostics: vec![Diagnostic::error(
                    codes::INTERNAL,
                    format!("no thread for elaboration: {e}"),
                )],
                ..Elaboration::default()
            },
        }
    })
}

impl Elaborator<'_> {
    fn file(&mut self, request: &Request) -> (Option<Program>, Option<Entry>, Vec<LibraryItem>) {
        let modules = self.modules;
        if modules.list.is_empty() {
            return (None, None, Vec::new());
        }
        let names = builtins::names();
        for id in 0..modules.list.len() {
            crate::resolve::names::check(modules, id, &names, &mut self.diagnostics);
        }
        self.top_level();
        let pipelines: Vec<_> = modules.list[0]
            .ast
            .items
            .iter()
            .filter_map(|i| match i {
                Item::Block(b) if b.pipeline => Some(b.clone()),
                _ => None,
            })
            .collect();
        let chosen = match &request.pipeline {
            None => match pipelines.as_slice() {
                [] => return (None, None, self.library()),
                [one] => one.clone(),
                several => {
                    // Every pipeline is checked; the first is the program.
                    for p in &several[1..] {
                        self.pipeline(p, request, false);
                        self.registry = Registry::new(Unit::new(1, "init"));
                    }
                    several[0].clone()
                }
            },
            Some(name) => match pipelines.iter().find(|p| *p.name.name == **name) {
                Some(p) => p.clone(),
                None => {
                    let known: Vec<&str> = pipelines.iter().map(|p| &*p.name.name).collect();
                    let d = Diagnostic::error(codes::BAD_FLAG, format!("the file has no pipeline `{name}`"));
                    let near = did_you_mean(name, known.iter().copied());
                    self.report(d.help(near.map_or(format!("it has: {}", known.join(", ")), |n| {
                        format!("did you mean `{n}`?")
                    })));
                    return (None, None, Vec::new());
                }
            },
        };
        let (program, entry) = self.pipeline(&chosen, request, true);
        (program, entry, Vec::new())
    }

    /// Constants and assertions of the file itself are evaluated even where nothing uses them.
    fn top_level(&mut self) {
        let modules = self.modules;
        for item in &modules.list[0].ast.items {
            match item {
                Item::Let(l) => {
                    for name in crate::resolve::pattern_names(&l.pattern) {
                        self.global(0, &name.name);
                    }
                }
                Item::Assert(a) => {
                    let mut env = Env::new(0);
                    self.in_fields += 1;
                    self.assert(a, &mut env);
                    self.in_fields -= 1;
                }
                _ => {}
            }
        }
    }

    fn pipeline(
        &mut self,
        decl: &std::sync::Arc<ast::Block>,
        request: &Request,
        asked: bool,
    ) -> (Option<Program>, Option<Entry>) {
        let Some((root, config)) = self.configure(decl) else { return (None, None) };
        if self.build(&root).is_none() {
            return (None, None);
        }
        let mut entries = Vec::new();
        for g in graphs(decl) {
            let said = self.diagnostics.len();
            let entry = self.entry(&root, g, &[], None);
            if !self.left_out(request, said) {
                entries.extend(entry);
            }
        }
        let mut trains = Vec::new();
        for m in &decl.members {
            let said = self.diagnostics.len();
            let Member::Train(t) = m else { continue };
            let train = self.train_entry(&root, t);
            if !self.left_out(request, said) {
                trains.extend(train);
            }
        }
        let mut special = None;
        if let (true, Some((name, args))) = (asked, &request.entry) {
            self.trace = request.trace.clone();
            // A budget of its own: what passes a check must not be too long for a run, which elaborates it once more.
            if !self.aborted {
                (self.steps, self.elements) = (0, 0);
            }
            special = self.special(decl, &root, name, args, request.open.as_deref());
            self.trace.clear();
            if let Some(entry) = &special {
                self.untraced(entry, &request.trace, &root);
            }
        }
        if self.aborted || self.diagnostics.iter().any(Diagnostic::is_error) {
            return (None, None);
        }
        let registry = std::mem::take(&mut self.registry);
        let program = Program {
            name: decl.name.name.to_string(),
            doc: decl.doc.clone().or_else(|| self.modules.list[0].ast.doc.clone()),
            config,
            weights: registry.weights,
            init: registry.init.map(|u| u.graph).unwrap_or_default(),
            entries,
            trains,
        };
        (Some(program), special)
    }

    /// Whether what was said since then is that data is not given, which is forgotten where none is needed.
    fn left_out(&mut self, request: &Request, said: usize) -> bool {
        let new = self.diagnostics.get(said..).unwrap_or_default();
        let missing = |d: &Diagnostic| d.code == codes::DATA_UNREADABLE;
        let out = request.without_data && !new.is_empty() && new.iter().all(missing);
        if out {
            self.diagnostics.truncate(said);
        }
        out
    }

    fn special(
        &mut self,
        decl: &ast::Block,
        root: &Rc<Instance>,
        name: &str,
        args: &[(String, StaticValue)],
        open: Option<&str>,
    ) -> Option<Entry> {
        let named = |g: &&std::sync::Arc<ast::Graph>| match &g.name {
            Some(n) => &*n.name == name,
            None => name == "graph",
        };
        match graphs(decl).find(named) {
            Some(g) => {
                let g = g.clone();
                self.entry(root, &g, args, open)
            }
            None => {
                let known: Vec<String> = graphs(decl)
                    .map(|g| g.name.as_ref().map_or("graph".to_string(), |n| n.name.to_string()))
                    .collect();
                let d =
                    Diagnostic::error(codes::BAD_FLAG, format!("`{}` has no graph `{name}`", decl.name.name))
                        .label(decl.name.span, "this pipeline");
                let near = did_you_mean(name, known.iter().map(String::as_str));
                self.report(d.help(
                    near.map_or(format!("it has: {}", known.join(", ")), |n| format!("did you mean `{n}`?")),
                ));
                None
            }
        }
    }

    /// The pipeline's instance, with `--set` over the defaults.
    fn configure(
        &mut self,
        decl: &std::sync::Arc<ast::Block>,
    ) -> Option<(Rc<Instance>, Vec<(EntryParam, StaticValue)>)> {
        let block = Rc::new(BlockRef { decl: decl.clone(), module: 0 });
        let mut args = CallArgs::default();
        for (name, value) in &self.options.set {
            let known: Vec<&str> = decl.params.iter().map(|p| &*p.name.name).collect();
            let Some(p) = decl.params.iter().find(|p| &*p.name.name == name.as_str()) else {
                let d = Diagnostic::error(
                    codes::BAD_FLAG,
                    format!("`{}` has no parameter `{name}`", decl.name.name),
                )
                .label(decl.name.span, "set by --set");
                let near = did_you_mean(name, known.iter().copied());
                let all = if known.is_empty() {
                    "it has none".to_string()
                } else {
                    format!("it has: {}", known.join(", "))
                };
                self.report(d.help(near.map_or(all, |n| format!("did you mean `{n}`?"))));
                return None;
            };
            args.named.push((p.name.clone(), from_static(value), p.span));
        }
        let Value::Instance(made) = self.construct(&block, args, decl.name.span) else { return None };
        let config = made.config.borrow().clone();
        let root = Rc::new(Instance {
            block,
            config: RefCell::new(config.clone()),
            learned: RefCell::default(),
            path: RefCell::new(Some("".into())),
            state: RefCell::new(Build::Pending),
            span: decl.name.span,
        });
        let mut shown = Vec::new();
        for p in &decl.params {
            let Some(value) = config.get(&p.name.name).and_then(to_static) else { continue };
            let kind = match &value {
                StaticValue::Int(_) => EntryKind::Int,
                StaticValue::Float(_) => EntryKind::Float,
                StaticValue::Bool(_) => EntryKind::Bool,
                _ => EntryKind::Str,
            };
            let param = EntryParam { name: p.name.name.to_string(), kind, default: None, doc: None };
            shown.push((param, value));
        }
        Some((root, shown))
    }
}

/// A value of the command line as a value of the language.
pub(super) fn from_static(value: &StaticValue) -> Value {
    match value {
        StaticValue::Int(v) => Value::int(*v),
        StaticValue::Float(v) => Value::Float(*v),
        StaticValue::Bool(v) => Value::Bool(*v),
        StaticValue::Str(s) => Value::str(s),
        StaticValue::List(l) => Value::list(l.iter().map(from_static).collect()),
        StaticValue::None => Value::None,
    }
}

/// A static value as the command line shows it; `None` for what it cannot.
pub(super) fn to_static(value: &Value) -> Option<StaticValue> {
    Some(match value {
        Value::Int(d) => StaticValue::Int(d.as_const()?),
        Value::Float(v) => StaticValue::Float(*v),
        Value::Bool(v) => StaticValue::Bool(*v),
        Value::Str(s) => StaticValue::Str(s.to_string()),
        Value::List(l) => StaticValue::List(l.iter().map(to_static).collect::<Option<_>>()?),
        Value::None => StaticValue::None,
        _ => return None,
    })
}
