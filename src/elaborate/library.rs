//! A file without a pipeline: its blocks and functions are elaborated by themselves, as far as they can be.
//!
//! Tensors of a signature become inputs whose dimensions are open under their names. What needs more than
//! that (a function for a parameter, a width that only a use can tell) is checked where it is used.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::block::graphs;
use super::signature::Scope;
use super::unit::Unit;
use super::value::{BlockRef, Build, CallArgs, Env, Instance, TensorRef, Value};
use super::weights::Registry;
use super::{Elaborator, LibraryItem};
use crate::diagnostic::{Code, codes};
use crate::graph::Builder;
use crate::ops::Input;
use crate::shape::{DType, Dim, Type};
use crate::source::Span;
use crate::syntax::ast::{self, DimExpr, Item, TypeKind};

/// What is wrong at any size: with open dimensions, other errors may be those of the openness itself.
const AT_ANY_SIZE: &[Code] = &[
    codes::UNKNOWN_NAME,
    codes::UNKNOWN_FIELD,
    codes::MISSING_ARGUMENT,
    codes::DUPLICATE_ARGUMENT,
    codes::UNKNOWN_ARGUMENT,
    codes::WRONG_KIND,
    codes::NOT_CALLABLE,
    codes::UNPACK,
    codes::DTYPE_MISMATCH,
    codes::SPACE_MISMATCH,
    codes::WEIGHT_WITHOUT_FIELD,
    codes::NO_VALUE,
];

/// Why an item is not elaborated whole.
type Left = Option<String>;

impl Elaborator<'_> {
    /// Elaborates the blocks and functions of the first module; tells of each how far it was checked.
    pub(super) fn library(&mut self) -> Vec<LibraryItem> {
        let modules = self.modules;
        let mut out = Vec::new();
        for item in &modules.list[0].ast.items {
            match item {
                Item::Block(b) if !b.pipeline => {
                    let left = self.library_block(b);
                    out.push(LibraryItem { name: format!("block {}", b.name.name), left });
                }
                Item::Fn(f) => {
                    if let Some(name) = &f.name {
                        let left = self.library_fn(f, name);
                        out.push(LibraryItem { name: format!("fn {}", name.name), left });
                    }
                }
                _ => {}
            }
        }
        out
    }

    fn library_fn(&mut self, decl: &ast::FnDecl, name: &ast::Ident) -> Left {
        let function = self.global(0, &name.name)?;
        let saved = self.start(name.name.to_string());
        let mut env = Env::new(0);
        let left = match self.open_arguments(&decl.params, &mut env) {
            Err(why) => Some(why),
            Ok((args, open)) => self.certain(open, |e| {
                e.call(function, args, name.span);
            }),
        };
        self.finish(saved);
        left
    }

    fn library_block(&mut self, decl: &Arc<ast::Block>) -> Left {
        let required = decl.params.iter().find(|p| p.default.is_none());
        if let Some(p) = required {
            return Some(format!("`{}` has no default", p.name.name));
        }
        let block = Rc::new(BlockRef { decl: decl.clone(), module: 0 });
        let mut left = None;
        for graph in graphs(decl) {
            // Each graph on an instance of its own: what one learns does not bind the other.
            let Value::Instance(made) = self.construct(&block, CallArgs::default(), decl.name.span) else {
                return left;
            };
            let config = made.config.borrow().clone();
            let inferred = decl.params.iter().any(|p| !config.contains_key(&p.name.name));
            let root = Rc::new(Instance {
                block: block.clone(),
                config: RefCell::new(config),
                learned: RefCell::default(),
                path: RefCell::new(Some("".into())),
                state: RefCell::new(Build::Pending),
                span: decl.name.span,
            });
            let saved = self.start(decl.name.name.to_string());
            let mut env = self.config_env(&root);
            let of_graph = match self.open_arguments(&graph.params, &mut env) {
                Err(why) => Some(why),
                Ok((args, open)) => self.certain(open || inferred, |e| {
                    e.call_instance(&root, Some(graph.clone()), args, graph.head);
                }),
            };
            self.finish(saved);
            self.registry = Registry::new(Unit::new(1, "init"));
            left = left.or(of_graph);
        }
        left
    }

    /// Runs a part of the elaboration. Where sizes are open, what may come of that alone is left out, and so
    /// are data that a use would have; gives then what was left.
    fn certain(&mut self, open: bool, run: impl FnOnce(&mut Self)) -> Left {
        let before = self.diagnostics.len();
        run(self);
        if self.aborted {
            return None;
        }
        let mut left = None;
        let said = self.diagnostics.split_off(before);
        for d in said {
            if d.code == codes::DATA_UNREADABLE {
                left = Some("it reads data".to_string());
            } else if open && d.is_error() && !AT_ANY_SIZE.contains(&d.code) {
                left = Some("its sizes are open".to_string());
            } else if !self.diagnostics.contains(&d) {
                self.diagnostics.push(d);
            }
        }
        left
    }

    /// An input for each tensor of a signature, and whether any of their axes but the first is open.
    fn open_arguments(&mut self, params: &[ast::Param], env: &mut Env) -> Result<(CallArgs, bool), String> {
        let mut args = CallArgs::default();
        let mut open = false;
        for p in params {
            let ty = match p.ty.as_ref().map(|t| &t.kind) {
                Some(TypeKind::Tensor(dtype, dims)) => {
                    let Some((dtype, image)) = self.declared_dtype(dtype.as_ref()) else { continue };
                    let mut shape: Vec<Dim> = image.then(|| Dim::name("batch")).into_iter().collect();
                    for dim in dims {
                        shape.push(match dim {
                            DimExpr::One(e) => {
                                let size = self.polynomial(e, &Scope::default(), env);
                                size.unwrap_or_default().substitute(&|n| n.strip_prefix('?').map(Dim::name))
                            }
                            DimExpr::Spread(n) => Dim::name(n.name.clone()),
                        });
                    }
                    Type::new(dtype.unwrap_or(DType::F32), shape)
                }
                _ if p.default.is_some() => continue,
                Some(TypeKind::Named(kind)) => {
                    return Err(format!("`{}` is a {} without a default", p.name.name, kind.name));
                }
                Some(TypeKind::Tuple(_)) => return Err(format!("`{}` is a tuple", p.name.name)),
                None => return Err(format!("`{}` has no type", p.name.name)),
            };
            open |= ty.shape.iter().skip(1).any(|d| d.as_const().is_none());
            let value = self.input(&p.name, ty, p.span);
            args.named.push((p.name.clone(), value, p.span));
        }
        // Two names for the first axes may be one in a use.
        let firsts: BTreeSet<String> = args
            .named
            .iter()
            .filter_map(|(_, v, _)| self.type_of(v)?.shape.first().map(ToString::to_string))
            .collect();
        Ok((args, open || firsts.len() > 1))
    }

    fn input(&mut self, name: &ast::Ident, ty: Type, span: Span) -> Value {
        let Some(unit) = self.unit.as_mut() else { return Value::Error };
        let mut b = Builder::new(&mut unit.graph, 0, span, "".into());
        let node = b.push(Input { name: name.name.to_string(), ty: ty.clone() }.into(), &[], ty);
        Value::Tensor(TensorRef { unit: unit.id, region: 0, node, space: None })
    }
}
