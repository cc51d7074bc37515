//! Modules: the files a pipeline imports, what each defines, and the check that every name is bound.
//!
//! Invariant of [`Modules`]: every import names an existing module and an existing name of it; modules that
//! could not be read or found have given a diagnostic and are left out.

mod ahead;
pub mod embedded;
pub mod names;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::source::{FileId, SourceFile, SourceMap, Sources, Span};
use crate::syntax::ast::{self, Item, Name, Pattern, UseFrom};

/// Index of a module.
pub type ModuleId = usize;

/// What a name of a module's top level stands for.
#[derive(Clone, Debug)]
pub enum Binding {
    /// A block or pipeline.
    Block(Arc<ast::Block>),
    /// A function.
    Fn(Arc<ast::FnDecl>),
    /// A space.
    Space(Name),
    /// The `i`-th item, a constant; for tuples of names the pattern is taken apart when it is evaluated.
    Const(usize),
    /// A name of another module.
    Import(ModuleId, Name),
    /// Another module, whole.
    Module(ModuleId),
}

/// A file with its definitions.
#[derive(Debug)]
pub struct Module {
    /// `std.nn`, or the file's path.
    pub name: String,
    /// Its text.
    pub file: FileId,
    /// Its tree.
    pub ast: ast::File,
    /// Its names, with the place of each definition.
    pub names: HashMap<Name, (Binding, Span)>,
    /// Whether it belongs to the standard library.
    pub std: bool,
    /// Names that a mistake reported elsewhere leaves undefined: imports that failed, lines that do not parse.
    pub silent: HashSet<Name>,
}

/// All modules of a compilation; the first is the file asked for.
#[derive(Debug, Default)]
pub struct Modules {
    /// In order of loading.
    pub list: Vec<Module>,
    by_path: HashMap<String, ModuleId>,
}

impl Modules {
    /// The module that every file sees without importing it, once loaded.
    pub fn prelude(&self) -> Option<ModuleId> {
        self.by_path.get("std.prelude").copied()
    }

    /// The module loaded under that name (`std.optim`).
    pub fn find(&self, name: &str) -> Option<ModuleId> {
        self.by_path.get(name).copied()
    }

    /// What a name of a module is, following imports to where it is defined.
    pub fn lookup(&self, module: ModuleId, name: &str) -> Option<(ModuleId, &Binding)> {
        let (mut module, mut name): (ModuleId, Name) = (module, name.into());
        // Imports form no cycle (cycles are refused), so this ends.
        for _ in 0..self.list.len() + 1 {
            match self.list.get(module)?.names.get(&name) {
                Some((Binding::Import(m, n), _)) => (module, name) = (*m, n.clone()),
                Some((binding, _)) => return Some((module, binding)),
                None => return None,
            }
        }
        None
    }
}

/// Modules that every file has, imported or not.
const EVERYWHERE: [&str; 2] = ["std.prelude", "std.optim"];

/// Reads a file and everything it imports.
pub struct Loader<'a> {
    sources: &'a dyn Sources,
    map: &'a mut SourceMap,
    diagnostics: &'a mut Vec<Diagnostic>,
    modules: Modules,
    /// The chain of imports under way, with the `use` that led to each.
    chain: Vec<(String, Span)>,
    /// Embedded modules that were parsed before they are asked for.
    ahead: ahead::Parsed,
}

/// Loads `path` with its imports; the prelude too.
pub fn load(
    sources: &dyn Sources,
    path: &str,
    map: &mut SourceMap,
    diagnostics: &mut Vec<Diagnostic>,
) -> Modules {
    let mut loader = Loader {
        sources,
        map,
        diagnostics,
        modules: Modules::default(),
        chain: Vec::new(),
        ahead: ahead::Parsed::new(),
    };
    match loader.sources.read(path) {
        Ok(text) => {
            loader.map.add(SourceFile::new(path, text.as_str()));
            loader.ahead = ahead::parse(sources, &text, loader.map);
            loader.module(path.to_string(), path.to_string(), text, false, Span::default());
        }
        Err(why) => {
            let d = Diagnostic::error(codes::UNREADABLE_FILE, format!("cannot read `{path}`: {why}"));
            loader.diagnostics.push(d.help("check the path; `taper new NAME` starts a file"));
        }
    }
    // The prelude is seen everywhere; training itself is written with `std.optim`.
    for module in EVERYWHERE {
        if let Some(text) = embedded::std_text(loader.sources, module) {
            loader.module(module.into(), module.into(), text, true, Span::default());
        }
    }
    loader.modules
}

impl Loader<'_> {
    /// Parses a module and loads its imports; a module that is there already is not read again.
    fn module(&mut self, key: String, name: String, text: String, std: bool, from: Span) -> Option<ModuleId> {
        if let Some(at) = self.chain.iter().position(|(k, _)| *k == key) {
            let names: Vec<_> =
                self.chain[at..].iter().map(|(k, _)| k.as_str()).chain([key.as_str()]).collect();
            let mut d = Diagnostic::error(codes::IMPORT_CYCLE, "these files import each other")
                .label(from, "this import closes the cycle")
                .note(names.join(" → "))
                .help("move what both need into a third file that imports neither");
            for (_, span) in self.chain[at + 1..].iter().take(4) {
                d = d.label(*span, "imported here");
            }
            self.diagnostics.push(d);
            return None;
        }
        if let Some(id) = self.modules.by_path.get(&key) {
            return Some(*id);
        }
        let file = self.map.add(SourceFile::new(name.clone(), text));
        let text = self.map.get(file).map(|f| f.text.clone()).unwrap_or_default();
        let (ast, problems) = self.ahead.remove(&file).unwrap_or_else(|| crate::syntax::parse(&text, file));
        let silent = names::on_broken_lines(&text, &problems);
        self.diagnostics.extend(problems);
        let id = self.modules.list.len();
        self.modules.list.push(Module { name, file, ast, names: HashMap::new(), std, silent });
        self.modules.by_path.insert(key.clone(), id);
        self.chain.push((key.clone(), from));
        let names = self.definitions(id, &key, std);
        let failed: Vec<Name> = names::imported(&self.modules.list[id].ast)
            .filter(|n| !names.contains_key(&n.name))
            .map(|n| n.name.clone())
            .collect();
        self.modules.list[id].silent.extend(failed);
        self.modules.list[id].names = names;
        self.chain.pop();
        Some(id)
    }

    fn definitions(&mut self, id: ModuleId, key: &str, std: bool) -> HashMap<Name, (Binding, Span)> {
        let mut names: HashMap<Name, (Binding, Span)> = HashMap::new();
        let items = self.modules.list[id].ast.items.clone();
        let mut define = |diagnostics: &mut Vec<Diagnostic>, name: &ast::Ident, binding: Binding| {
            if let Some((_, first)) = names.get(&name.name) {
                diagnostics.push(
                    Diagnostic::error(codes::DUPLICATE_NAME, format!("`{}` is defined twice", name.name))
                        .label(name.span, "again here")
                        .label(*first, "first defined here")
                        .help("give one of them another name"),
                );
                return;
            }
            names.insert(name.name.clone(), (binding, name.span));
        };
        for (index, item) in items.iter().enumerate() {
            match item {
                Item::Block(b) => define(self.diagnostics, &b.name, Binding::Block(b.clone())),
                Item::Fn(f) => {
                    if let Some(name) = &f.name {
                        define(self.diagnostics, name, Binding::Fn(f.clone()));
                    }
                }
                Item::Space(s) => define(self.diagnostics, &s.name, Binding::Space(s.name.name.clone())),
                Item::Let(l) => {
                    for name in pattern_names(&l.pattern) {
                        define(self.diagnostics, name, Binding::Const(index));
                    }
                }
                Item::Use(u) => {
                    for (name, binding) in self.import(u, key, std) {
                        define(self.diagnostics, &name, binding);
                    }
                }
                Item::Assert(_) | Item::Error(_) => {}
            }
        }
        names
    }

    fn import(&mut self, u: &ast::Use, key: &str, std: bool) -> Vec<(ast::Ident, Binding)> {
        match &u.from {
            UseFrom::File(path, span) => {
                let joined = if std {
                    Err("a module of the standard library imports no file".to_string())
                } else {
                    self.sources.join(key, path)
                };
                let joined = match joined {
                    Ok(j) => j,
                    Err(why) => {
                        self.diagnostics.push(
                            Diagnostic::error(
                                codes::IMPORT_OUTSIDE,
                                format!("`{path}` cannot be imported: {why}"),
                            )
                            .label(*span, "imported here")
                            .help("keep imports under the folder of the pipeline, or name another root"),
                        );
                        return Vec::new();
                    }
                };
                let text = match self.sources.read(&joined) {
                    Ok(text) => text,
                    Err(why) => {
                        self.diagnostics.push(
                            Diagnostic::error(codes::UNKNOWN_MODULE, format!("cannot read `{path}`: {why}"))
                                .label(*span, "imported here")
                                .help("the path is relative to the file that imports it"),
                        );
                        return Vec::new();
                    }
                };
                let Some(id) = self.module(joined.clone(), joined, text, false, u.span) else {
                    return Vec::new();
                };
                if u.names.is_empty() && u.alias.is_none() {
                    self.diagnostics.push(
                        Diagnostic::error(codes::UNKNOWN_IMPORT, format!("nothing is taken from `{path}`"))
                            .label(u.span, "an import without names")
                            .help(format!("say which: use \"{path}\".{{Name}}, or name the module: use \"{path}\" as name")),
                    );
                }
                self.take(u, id)
            }
            UseFrom::Path(parts) => self.import_std(u, parts),
        }
    }

    fn import_std(&mut self, u: &ast::Use, parts: &[ast::Ident]) -> Vec<(ast::Ident, Binding)> {
        let dotted = |n: usize| parts[..n].iter().map(|p| &*p.name).collect::<Vec<_>>().join(".");
        let whole = dotted(parts.len());
        if let Some(text) = embedded::std_text(self.sources, &whole) {
            let Some(id) = self.module(whole.clone(), whole, text, true, u.span) else { return Vec::new() };
            return self.take(u, id);
        }
        // `use std.data.fashion_mnist`: the last part is a name of the module before it.
        if parts.len() > 1 && u.names.is_empty() {
            let parent = dotted(parts.len() - 1);
            if let Some(text) = embedded::std_text(self.sources, &parent) {
                let Some(id) = self.module(parent.clone(), parent, text, true, u.span) else {
                    return Vec::new();
                };
                let name = ast::UseName { name: parts[parts.len() - 1].clone(), alias: u.alias.clone() };
                return self.take_name(&name, id).into_iter().collect();
            }
        }
        let known: Vec<String> = embedded::std_modules();
        let mut d = Diagnostic::error(codes::UNKNOWN_MODULE, format!("there is no module `{whole}`"));
        if let (Some(first), Some(last)) = (parts.first(), parts.last()) {
            d = d.label(first.span.to(last.span), "not a module of the standard library");
        }
        d = match did_you_mean(&whole, known.iter().map(String::as_str)) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None => d.help(format!("modules: {}", known.join(", "))),
        };
        self.diagnostics.push(d);
        Vec::new()
    }

    fn take(&mut self, u: &ast::Use, id: ModuleId) -> Vec<(ast::Ident, Binding)> {
        if !u.names.is_empty() {
            return u.names.iter().filter_map(|n| self.take_name(n, id)).collect();
        }
        let last = match (&u.alias, &u.from) {
            (Some(alias), _) => alias.clone(),
            (None, UseFrom::Path(parts)) => match parts.last() {
                Some(last) => last.clone(),
                None => return Vec::new(),
            },
            (None, UseFrom::File(..)) => return Vec::new(),
        };
        vec![(last, Binding::Module(id))]
    }

    fn take_name(&mut self, name: &ast::UseName, id: ModuleId) -> Option<(ast::Ident, Binding)> {
        let bound = name.alias.clone().unwrap_or_else(|| name.name.clone());
        if self.modules.list[id].names.contains_key(&name.name.name) {
            return Some((bound, Binding::Import(id, name.name.name.clone())));
        }
        let module = &self.modules.list[id];
        let mut known: Vec<&str> = module.names.keys().map(|k| &**k).collect();
        known.sort_unstable();
        let d = Diagnostic::error(
            codes::UNKNOWN_IMPORT,
            format!("`{}` has no `{}`", module.name, name.name.name),
        )
        .label(name.name.span, "not defined there");
        let d = match did_you_mean(&name.name.name, known.iter().copied()) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None if known.is_empty() => d.help("the module defines nothing (is it broken?)"),
            None => d.help(format!("it has: {}", known.join(", "))),
        };
        self.diagnostics.push(d);
        None
    }
}

/// The names that a pattern binds.
pub fn pattern_names(pattern: &Pattern) -> Vec<&ast::Ident> {
    match pattern {
        Pattern::Name(n) => vec![n],
        Pattern::Ignore(_) => Vec::new(),
        Pattern::Tuple(items, _) => items.iter().flat_map(pattern_names).collect(),
    }
}
