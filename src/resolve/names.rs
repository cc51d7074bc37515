//! The check that every name is bound, over whole files, also where elaboration never comes.

use std::collections::HashSet;

use super::{ModuleId, Modules, pattern_names};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::source::Span;
use crate::syntax::ast::*;

/// How many unbound names of a module are reported; of more, no person reads the rest.
const MAX_UNKNOWN: usize = 100;

/// Reports every unbound name of a module. `builtins` are the names that need no definition.
pub fn check(modules: &Modules, id: ModuleId, builtins: &[&str], diagnostics: &mut Vec<Diagnostic>) {
    let module = &modules.list[id];
    let mut top: HashSet<Name> = module.names.keys().cloned().collect();
    if let Some(prelude) = modules.prelude() {
        top.extend(modules.list[prelude].names.keys().cloned());
    }
    top.extend(module.silent.iter().cloned());
    // In a file with mistakes, what looks unused may be used in a line that could not be read; a file of imports alone
    // gathers names for others.
    let gathers = module.ast.items.iter().all(|i| matches!(i, Item::Use(_)));
    let warn = !module.std && module.silent.is_empty() && !gathers;
    let uses = vec![Uses::default()];
    let mut walk = Walk { builtins, scopes: vec![top], diagnostics, seen: HashSet::new(), uses, warn };
    for item in &module.ast.items {
        match item {
            Item::Block(b) => walk.block(b),
            Item::Fn(f) => walk.function(f),
            Item::Let(l) => walk.expr(&l.value),
            Item::Assert(a) => walk.assert(a),
            Item::Use(_) | Item::Space(_) | Item::Error(_) => {}
        }
    }
    let used = walk.uses.pop().unwrap_or_default().used;
    for name in imported(&module.ast).filter(|n| !used.contains(&n.name)) {
        walk.unused(name, "imported, and not used in this file", "take it out of the `use`");
    }
}

/// The names that a file imports.
pub fn imported(file: &File) -> impl Iterator<Item = &Ident> {
    file.items.iter().flat_map(|item| {
        let mut names: Vec<&Ident> = Vec::new();
        if let Item::Use(u) = item {
            names.extend(u.names.iter().map(|n| n.alias.as_ref().unwrap_or(&n.name)));
            if let (true, Some(alias)) = (names.is_empty(), &u.alias) {
                names.push(alias);
            } else if let (true, UseFrom::Path(parts)) = (names.is_empty(), &u.from) {
                names.extend(parts.last());
            }
        }
        names
    })
}

/// The words on the lines that syntax errors point at.
pub fn on_broken_lines(text: &str, problems: &[Diagnostic]) -> HashSet<Name> {
    let mut words = HashSet::new();
    for label in problems.iter().filter(|d| d.is_error()).flat_map(|d| &d.labels) {
        let at = (label.span.start as usize).min(text.len());
        let start = text.get(..at).and_then(|t| t.rfind('\n')).map_or(0, |i| i + 1);
        let line = text.get(start..).and_then(|t| t.lines().next()).unwrap_or_default();
        words.extend(
            line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .filter(|w| !w.is_empty())
                .map(Name::from),
        );
    }
    words
}

/// What the body of a function or graph binds and uses.
#[derive(Default)]
struct Uses {
    used: HashSet<Name>,
    bound: Vec<Ident>,
}

struct Walk<'a> {
    builtins: &'a [&'a str],
    scopes: Vec<HashSet<Name>>,
    diagnostics: &'a mut Vec<Diagnostic>,
    seen: HashSet<(Name, Span)>,
    /// Of the file, and of each function around.
    uses: Vec<Uses>,
    /// Whether unused names are reported.
    warn: bool,
}

impl Walk<'_> {
    fn bind(&mut self, name: &Name) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.clone());
        }
    }

    fn bind_pattern(&mut self, pattern: &Pattern) {
        for name in pattern_names(pattern) {
            self.bind(&name.name);
        }
    }

    fn used(&mut self, name: &Name) {
        if let Some(uses) = self.uses.last_mut() {
            uses.used.insert(name.clone());
        }
    }

    fn unused(&mut self, name: &Ident, what: &str, help: &str) {
        if !self.warn {
            return;
        }
        let d = Diagnostic::warning(codes::UNUSED, format!("`{}` is never used", name.name));
        self.diagnostics.push(d.label(name.span, what).help(help));
    }

    /// The body of a function or graph: names bound in it and never used are warned of.
    fn function_scope(&mut self, f: impl FnOnce(&mut Self)) {
        self.uses.push(Uses::default());
        self.scoped(f);
        let Some(inner) = self.uses.pop() else { return };
        for name in inner.bound.iter().filter(|n| !inner.used.contains(&n.name)) {
            self.unused(name, "bound, and not used after", "use it, remove it, or bind `_` instead");
        }
        if let Some(outer) = self.uses.last_mut() {
            outer.used.extend(inner.used);
        }
    }

    fn scoped(&mut self, f: impl FnOnce(&mut Self)) {
        self.scopes.push(HashSet::new());
        f(self);
        self.scopes.pop();
    }

    fn known(&self, name: &str) -> bool {
        self.builtins.contains(&name) || self.scopes.iter().any(|s| s.contains(name))
    }

    fn name(&mut self, name: &Name, span: Span) {
        self.used(name);
        if self.known(name) || !self.seen.insert((name.clone(), span)) {
            return;
        }
        if self.seen.len() > MAX_UNKNOWN {
            return;
        }
        let mut candidates: Vec<&str> = self.scopes.iter().flatten().map(|n| &**n).collect();
        candidates.extend(self.builtins);
        candidates.sort_unstable();
        let d = Diagnostic::error(codes::UNKNOWN_NAME, format!("nothing is called `{name}` here"))
            .label(span, "not defined");
        let in_std = super::embedded::STDLIB.iter().find_map(|(path, text)| {
            let module = path.strip_suffix(".taper")?.replace('/', ".");
            let defines = text.lines().any(|l| {
                ["block ", "fn "].iter().any(|k| {
                    l.strip_prefix(k)
                        .and_then(|r| r.strip_prefix(&**name))
                        .is_some_and(|r| r.starts_with('('))
                })
            });
            defines.then(|| format!("std.{module}"))
        });
        let d = match (in_std, did_you_mean(name, candidates.iter().copied())) {
            (Some(module), _) => d.help(format!("import it: use {module}.{{{name}}}")),
            (None, Some(near)) => d.help(format!("did you mean `{near}`?")),
            (None, None) => d.help("define it above, import it with `use`, or make it a parameter"),
        };
        self.diagnostics.push(d);
    }

    fn block(&mut self, b: &Block) {
        self.scoped(|w| {
            w.params(&b.params);
            w.declare_members(&b.members);
            w.members(&b.members);
        });
    }

    /// Fields, functions and graphs see each other whatever their order.
    fn declare_members(&mut self, members: &[Member]) {
        for member in members {
            match member {
                Member::Field(f) => self.bind(&f.target.root.name),
                Member::Fn(f) => {
                    if let Some(name) = &f.name {
                        self.bind(&name.name);
                    }
                }
                Member::Graph(g) => {
                    if let Some(name) = &g.name {
                        self.bind(&name.name);
                    }
                }
                Member::For(f) => {
                    self.bind_pattern(&f.pattern);
                    self.declare_members(&f.body);
                }
                Member::If(i) => {
                    self.declare_members(&i.then);
                    self.declare_members(&i.otherwise);
                }
                _ => {}
            }
        }
    }

    fn members(&mut self, members: &[Member]) {
        for member in members {
            match member {
                Member::Field(f) => {
                    self.place(&f.target);
                    self.expr(&f.value);
                    if let Some(from) = &f.from {
                        self.expr(from);
                    }
                }
                Member::Graph(g) => self.function_scope(|w| {
                    w.params(&g.params);
                    w.result(g.result.as_ref());
                    w.body(&g.body);
                }),
                Member::Train(t) => self.function_scope(|w| {
                    for option in &t.options {
                        w.expr(&option.value);
                    }
                    w.body(&t.body);
                }),
                Member::Fn(f) => self.function(f),
                Member::For(f) => {
                    self.expr(&f.iter);
                    self.members(&f.body);
                }
                Member::If(i) => {
                    self.expr(&i.cond);
                    self.members(&i.then);
                    self.members(&i.otherwise);
                }
                Member::Assert(a) => self.assert(a),
                Member::Reveal(e, _) => self.expr(e),
                Member::Error(_) => {}
            }
        }
    }

    fn function(&mut self, f: &FnDecl) {
        self.function_scope(|w| {
            if let Some(name) = &f.name {
                w.bind(&name.name);
            }
            w.params(&f.params);
            w.result(f.result.as_ref());
            w.body(&f.body);
        });
    }

    fn params(&mut self, params: &[Param]) {
        for p in params {
            if let Some(default) = &p.default {
                self.expr(default);
            }
        }
        // Dimension names of all signatures are bound together: an expression may come before its names.
        for p in params {
            self.bind(&p.name.name);
            if let Some(ty) = &p.ty {
                self.bind_type(ty);
            }
        }
    }

    fn result(&mut self, ty: Option<&Type>) {
        if let Some(ty) = ty {
            self.bind_type(ty);
        }
    }

    fn bind_type(&mut self, ty: &Type) {
        if let Some(root) = ty.space.as_ref().and_then(|s| s.first()) {
            self.used(&root.name);
        }
        match &ty.kind {
            TypeKind::Tensor(dtype, dims) => {
                // `image[…]` has a batch axis of that name.
                if dtype.as_ref().is_some_and(|d| &*d.name == "image") {
                    self.bind(&"batch".into());
                }
                for dim in dims {
                    match dim {
                        DimExpr::One(e) => self.bind_names(e),
                        DimExpr::Spread(n) => {
                            self.used(&n.name);
                            self.bind(&n.name);
                        }
                    }
                }
            }
            TypeKind::Named(_) => {}
            TypeKind::Tuple(items) => items.iter().for_each(|(_, t)| self.bind_type(t)),
        }
    }

    fn bind_names(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Name(n) => {
                self.used(n);
                self.bind(n);
            }
            ExprKind::Paren(a) | ExprKind::Unary(_, a) => self.bind_names(a),
            ExprKind::Binary(_, a, b) => {
                self.bind_names(a);
                self.bind_names(b);
            }
            _ => self.expr(e),
        }
    }

    fn place(&mut self, place: &Place) {
        for step in &place.steps {
            if let PlaceStep::Index(e) = step {
                self.expr(e);
            }
        }
    }

    fn assert(&mut self, a: &Assert) {
        self.expr(&a.cond);
        if let Some(m) = &a.message {
            self.expr(m);
        }
    }

    fn body(&mut self, body: &Body) {
        for stmt in &body.stmts {
            match stmt {
                Stmt::Let(l) => {
                    self.expr(&l.value);
                    self.bind_pattern(&l.pattern);
                    if let Some(uses) = self.uses.last_mut() {
                        uses.bound.extend(pattern_names(&l.pattern).into_iter().cloned());
                    }
                }
                Stmt::Expr(e) | Stmt::Reveal(e, _) => self.expr(e),
                Stmt::Fn(f) => {
                    if let Some(name) = &f.name {
                        self.bind(&name.name);
                    }
                    self.function(f);
                }
                Stmt::For(f) => {
                    self.expr(&f.iter);
                    self.bind_pattern(&f.pattern);
                    self.body(&f.body);
                }
                Stmt::Watch(w) => match &w.value {
                    Some(value) => {
                        self.expr(value);
                        self.bind(&w.name.name);
                    }
                    None => self.name(&w.name.name, w.name.span),
                },
                Stmt::Assert(a) => self.assert(a),
                Stmt::Update(u) => {
                    self.name(&u.target.root.name, u.target.root.span);
                    self.place(&u.target);
                    self.expr(&u.value);
                }
                Stmt::Minimize(m) => {
                    self.expr(&m.loss);
                    m.over.iter().chain(&m.with).for_each(|e| self.expr(e));
                }
                Stmt::Every(e) => {
                    self.expr(&e.count);
                    self.body(&e.body);
                }
                Stmt::Error(_) => {}
            }
        }
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Name(n) => self.name(n, e.span),
            ExprKind::List(items) => items.iter().for_each(|i| self.expr(&i.value)),
            ExprKind::Comprehension(c) => self.scoped(|w| {
                for clause in &c.clauses {
                    w.expr(&clause.iter);
                    w.bind_pattern(&clause.pattern);
                    if let Some(cond) = &clause.cond {
                        w.expr(cond);
                    }
                }
                w.expr(&c.element);
            }),
            ExprKind::Record(fields) => fields.iter().for_each(|(_, v)| self.expr(v)),
            ExprKind::Tuple(items) => items.iter().for_each(|i| self.expr(i)),
            ExprKind::Paren(a) | ExprKind::Unary(_, a) | ExprKind::Field(a, _) => self.expr(a),
            ExprKind::Binary(_, a, b) | ExprKind::Flow(a, b) => {
                self.expr(a);
                self.expr(b);
            }
            ExprKind::Call(f, args) => {
                self.expr(f);
                args.iter().for_each(|a| self.expr(&a.value));
            }
            ExprKind::Index(a, items) => {
                self.expr(a);
                for item in items {
                    match item {
                        IndexItem::At(e) => self.expr(e),
                        IndexItem::Range(a, b, _) => a.iter().chain(b).for_each(|e| self.expr(e)),
                        IndexItem::Rest(_) => {}
                    }
                }
            }
            ExprKind::If(i) => {
                self.expr(&i.cond);
                self.body(&i.then);
                if let Some(b) = &i.otherwise {
                    self.body(b);
                }
            }
            ExprKind::Fn(f) => self.function(f),
            ExprKind::Loop(l) => {
                self.expr(&l.table);
                for (name, first) in &l.carries {
                    match first {
                        Some(e) => self.expr(e),
                        None => self.name(&name.name, name.span),
                    }
                }
                self.scoped(|w| {
                    l.carries.iter().for_each(|(n, _)| w.bind(&n.name));
                    w.bind_pattern(&l.pattern);
                    w.body(&l.body);
                });
            }
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Str(_)
            | ExprKind::Bool(_)
            | ExprKind::None
            | ExprKind::Error => {}
        }
    }
}
