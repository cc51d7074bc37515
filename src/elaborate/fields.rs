//! Fields: evaluated in order, named by their paths, weights registered.

use std::rc::Rc;
use std::sync::Arc;

use super::Elaborator;
use super::value::{Closure, Env, Instance, ParamDecl, Value};
use crate::diagnostic::{Diagnostic, codes};
use crate::graph::program::WeightSource;
use crate::source::Span;
use crate::syntax::ast::{self, Field, Member, PlaceStep};

/// A resolved step of a field's path.
enum Step {
    Name(ast::Name),
    Index(usize),
}

impl Elaborator<'_> {
    /// Evaluates the members that are no graphs; `false` when one failed.
    pub(super) fn members(&mut self, members: &[Member], instance: &Rc<Instance>, env: &mut Env) -> bool {
        let mut ok = true;
        // Functions may use any field: they see the fields as they are when a graph calls them, so they are
        // bound first without, and again at the end with all of them.
        self.bind_functions(members, env);
        for member in members {
            if self.aborted {
                return false;
            }
            match member {
                Member::Field(f) => {
                    let good = self.field_member(f, instance, env);
                    if !good && env.get(&f.target.root.name).is_none() {
                        env.bind(f.target.root.name.clone(), Value::Error);
                    }
                    ok &= good;
                }
                Member::For(f) => {
                    let list = self.expr(&f.iter, env);
                    let Some(items) = self.items(&list, f.iter.span) else {
                        ok = false;
                        continue;
                    };
                    for item in items {
                        if !self.tick(f.span) || !self.bind_pattern(&f.pattern, item, f.iter.span, env) {
                            return false;
                        }
                        ok &= self.members(&f.body, instance, env);
                    }
                }
                Member::If(i) => match self.expr(&i.cond, env) {
                    Value::Bool(true) => ok &= self.members(&i.then, instance, env),
                    Value::Bool(false) => ok &= self.members(&i.otherwise, instance, env),
                    Value::Error => ok = false,
                    other => {
                        let found = self.describe(&other);
                        self.error(
                            codes::NOT_STATIC,
                            i.cond.span,
                            "`if` needs a static truth value",
                            format!("this is {found}"),
                        );
                        ok = false;
                    }
                },
                Member::Assert(a) => ok &= self.assert(a, env),
                Member::Reveal(e, span) => self.reveal(e, *span, env),
                Member::Graph(_) | Member::Train(_) | Member::Fn(_) => {}
                Member::Error(_) => ok = false,
            }
        }
        self.bind_functions(members, env);
        ok
    }

    fn bind_functions(&mut self, members: &[Member], env: &mut Env) {
        for member in members {
            if let Member::Fn(decl) = member
                && let Some(name) = &decl.name
            {
                let closure = Closure { decl: decl.clone(), env: env.clone() };
                env.bind(name.name.clone(), Value::Fn(Rc::new(closure)));
            }
        }
    }

    fn field_member(&mut self, f: &Field, instance: &Rc<Instance>, env: &mut Env) -> bool {
        let value = self.expr(&f.value, env);
        let root = &f.target.root;
        if matches!(value, Value::Error) {
            env.bind(root.name.clone(), Value::Error);
            return false;
        }
        let Some(steps) = self.place_steps(&f.target, env) else { return false };
        let prefix = instance.path.borrow().clone().unwrap_or_else(|| "".into());
        let rooted = instance.path.borrow().is_some();
        let mut path = join(&prefix, &root.name);
        for step in &steps {
            path = match step {
                Step::Name(n) => join(&path, n),
                Step::Index(i) => join(&path, &i.to_string()),
            };
        }
        if f.from.is_some() || f.frozen {
            let source = match &f.from {
                None => None,
                Some(e) => match self.expr(e, env) {
                    Value::Str(file) => {
                        let layout = match &f.layout {
                            Some(parts) => match self.layout(parts) {
                                Some(l) => Some(l),
                                None => return false,
                            },
                            None => None,
                        };
                        Some(WeightSource { file: file.to_string(), root: path.to_string(), layout })
                    }
                    Value::Error => return false,
                    other => {
                        let found = self.describe(&other);
                        self.error(
                            codes::WRONG_KIND,
                            e.span,
                            "`from` takes the name of a file",
                            format!("this is {found}"),
                        );
                        return false;
                    }
                },
            };
            self.registry.sources.push((path.to_string(), source, f.frozen));
        }
        let mut ok = true;
        if rooted {
            ok = self.assign_path(&value, &path);
        } else if holds_weights(&value) {
            self.report(
                Diagnostic::error(
                    codes::WEIGHT_WITHOUT_FIELD,
                    format!(
                        "an instance of `{}` has weights and no field holds it",
                        instance.block.decl.name.name
                    ),
                )
                .label(instance.span, "made here, inside a graph or an expression")
                .help(format!(
                    "make it a field of the block: `name = {}(…)`, and use the name in the graph",
                    instance.block.decl.name.name
                )),
            );
            ok = false;
        }
        if steps.is_empty() {
            if let Some(old) = env.get(&root.name)
                && (holds_weights(old) || sits_at(old, &path))
            {
                self.error_help(
                    codes::DUPLICATE_NAME,
                    root.span,
                    format!("the field `{}` is assigned twice", root.name),
                    "again here",
                    "two weights cannot share a checkpoint path; give it another name or an index",
                );
                return false;
            }
            env.bind(root.name.clone(), value);
            return ok;
        }
        let old = env.get(&root.name).cloned().unwrap_or(Value::None);
        match self.insert(old, &steps, value, f.target.span) {
            Some(v) => env.bind(root.name.clone(), v),
            None => ok = false,
        }
        ok
    }

    fn layout(&mut self, parts: &[ast::Ident]) -> Option<String> {
        let names: Vec<&str> = parts.iter().map(|p| &*p.name).collect();
        if let ["std", "layouts", name] = names.as_slice()
            && let Some(text) = crate::resolve::embedded::layout(name)
        {
            return Some(text.to_string());
        }
        let span = parts.first()?.span.to(parts.last()?.span);
        self.error_help(
            codes::UNKNOWN_MODULE,
            span,
            format!("there is no layout `{}`", names.join(".")),
            "not a layout of the standard library",
            "layouts are tables in std.layouts: `as std.layouts.NAME`",
        );
        None
    }

    fn place_steps(&mut self, place: &ast::Place, env: &mut Env) -> Option<Vec<Step>> {
        let mut out = Vec::new();
        for step in &place.steps {
            out.push(match step {
                PlaceStep::Field(n) => Step::Name(n.name.clone()),
                PlaceStep::Index(e) => {
                    let v = self.expr(e, env);
                    let i = self.known_int(&v, e.span)?;
                    match usize::try_from(i) {
                        Ok(i) => Step::Index(i),
                        Err(_) => {
                            self.error(
                                codes::BAD_INDEX,
                                e.span,
                                format!("index {i} of a field"),
                                "must not be negative",
                            );
                            return None;
                        }
                    }
                }
            });
        }
        Some(out)
    }

    /// Puts a value into nested lists and records.
    fn insert(&mut self, old: Value, steps: &[Step], value: Value, span: Span) -> Option<Value> {
        let Some((first, rest)) = steps.split_first() else { return Some(value) };
        match (first, old) {
            (Step::Index(i), Value::None | Value::List(_)) if *i > 100_000 => {
                self.error(codes::BAD_INDEX, span, format!("index {i} of a field"), "too large");
                None
            }
            (Step::Index(i), old @ (Value::None | Value::List(_))) => {
                let mut list = match old {
                    Value::List(l) => l.to_vec(),
                    _ => Vec::new(),
                };
                // A list may have holes: a block without attention at some level has no such path.
                while list.len() <= *i {
                    list.push(Value::None);
                }
                let inner = std::mem::replace(&mut list[*i], Value::None);
                list[*i] = self.insert(inner, rest, value, span)?;
                Some(Value::list(list))
            }
            (Step::Name(n), old @ (Value::None | Value::Record(_))) => {
                let mut record = match old {
                    Value::Record(r) => r.to_vec(),
                    _ => Vec::new(),
                };
                let at = record.iter().position(|(k, _)| k == n);
                let inner = at.map_or(Value::None, |i| record[i].1.clone());
                let new = self.insert(inner, rest, value, span)?;
                match at {
                    Some(i) => record[i].1 = new,
                    None => record.push((n.clone(), new)),
                }
                Some(Value::Record(Rc::new(record)))
            }
            (_, other) => {
                let found = self.describe(&other);
                self.error(
                    codes::WRONG_KIND,
                    span,
                    "this field cannot hold parts",
                    format!("it is {found} already"),
                );
                None
            }
        }
    }

    /// Gives paths to what has none yet: instances, weights, members of compositions, elements.
    fn assign_path(&mut self, value: &Value, path: &Arc<str>) -> bool {
        match value {
            Value::Instance(i) => {
                if i.path.borrow().is_none() {
                    *i.path.borrow_mut() = Some(path.clone());
                }
                true
            }
            Value::Param(p) => {
                if p.path.borrow().is_some() {
                    return true;
                }
                *p.path.borrow_mut() = Some(path.clone());
                self.register(p, path)
            }
            Value::Chain(members) | Value::List(members) => members
                .iter()
                .enumerate()
                .fold(true, |ok, (i, m)| self.assign_path(m, &join(path, &i.to_string())) && ok),
            Value::Record(r) => r.iter().fold(true, |ok, (n, v)| self.assign_path(v, &join(path, n)) && ok),
            Value::Partial(_) => value.checkpointed().is_none_or(|v| self.assign_path(v, path)),
            Value::Tuple(t) => t
                .iter()
                .enumerate()
                .fold(true, |ok, (i, (_, v))| self.assign_path(v, &join(path, &i.to_string())) && ok),
            _ => true,
        }
    }
}

/// Whether a value is, or holds, something that may own weights.
fn holds_weights(value: &Value) -> bool {
    match value {
        Value::Param(_) => true,
        Value::Instance(i) => i.path.borrow().is_none() && has_fields(i),
        Value::Chain(m) | Value::List(m) => m.iter().any(holds_weights),
        Value::Record(r) => r.iter().any(|(_, v)| holds_weights(v)),
        Value::Tuple(t) => t.iter().any(|(_, v)| holds_weights(v)),
        Value::Partial(_) => value.checkpointed().is_some_and(holds_weights),
        _ => false,
    }
}

/// Whether a value has been given its weights' paths by a field of that path.
fn sits_at(value: &Value, path: &str) -> bool {
    let here = |p: &Option<Arc<str>>| p.as_deref().is_some_and(|p| super::weights::under(p, path));
    match value {
        Value::Param(p) => here(&p.path.borrow()),
        Value::Instance(i) => here(&i.path.borrow()) && has_fields(i),
        Value::Chain(m) | Value::List(m) => m.iter().any(|v| sits_at(v, path)),
        Value::Record(r) => r.iter().any(|(_, v)| sits_at(v, path)),
        Value::Tuple(t) => t.iter().any(|(_, v)| sits_at(v, path)),
        Value::Partial(_) => value.checkpointed().is_some_and(|v| sits_at(v, path)),
        _ => false,
    }
}

fn has_fields(i: &Instance) -> bool {
    i.block.decl.members.iter().any(|m| matches!(m, Member::Field(_) | Member::For(_) | Member::If(_)))
}

/// `prefix.name`, or `name` at the top.
pub(super) fn join(prefix: &str, name: &str) -> Arc<str> {
    if prefix.is_empty() { name.into() } else { format!("{prefix}.{name}").into() }
}

/// Keeps a weight's declaration with its place.
pub(super) fn new_param(decl: ParamDecl) -> Value {
    Value::Param(Rc::new(decl))
}
