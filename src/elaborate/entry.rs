//! Entry points: a graph of a pipeline with its parameters as inputs.

use std::rc::Rc;
use std::sync::Arc;

use super::Elaborator;
use super::value::{CallArgs, Instance, TensorRef, Value};
use crate::diagnostic::{Diagnostic, codes};
use crate::graph::Builder;
use crate::graph::program::{Entry, EntryKind, EntryOutput, EntryParam, StaticValue};
use crate::ops::Input;
use crate::shape::{DType, Dim, Type};
use crate::source::Span;
use crate::syntax::ast::{self, DimExpr, TypeKind};

use super::pipeline::{from_static, to_static};
use super::signature::Scope;

impl Elaborator<'_> {
    /// Elaborates a graph as an entry point with static arguments given by name; parameters without
    /// argument or default are left open. With `open`, whole numbers among them stay open dimensions.
    pub(super) fn entry(
        &mut self,
        root: &Rc<Instance>,
        graph: &Arc<ast::Graph>,
        given: &[(String, StaticValue)],
        open: Option<&str>,
    ) -> Option<Entry> {
        let mut args = CallArgs::default();
        for (name, value) in given {
            let span = graph.head;
            let ident = ast::Ident { name: name.as_str().into(), span };
            args.named.push((ident, from_static(value), span));
        }
        if let Some(name) = open {
            args.named.retain(|(n, _, _)| &*n.name != name);
            let ident = ast::Ident { name: name.into(), span: graph.head };
            args.named.push((ident, Value::Int(Dim::name(name)), graph.head));
        }
        self.entry_with(root, graph, args, graph.head)
    }

    /// [`Self::entry`] with evaluated arguments.
    pub(super) fn entry_with(
        &mut self,
        root: &Rc<Instance>,
        graph: &Arc<ast::Graph>,
        mut args: CallArgs,
        span: Span,
    ) -> Option<Entry> {
        let name = graph.name.as_ref().map_or("graph".to_string(), |n| n.name.to_string());
        let pipeline = root.block.decl.name.name.clone();
        let errors = self.diagnostics.iter().filter(|d| d.is_error()).count();
        let saved = self.start(format!("{pipeline}.{name}"));
        let mut params = Vec::new();
        for (i, p) in graph.params.iter().enumerate() {
            let at = args
                .positional
                .get(i)
                .map(|_| ())
                .or_else(|| args.named.iter().find(|(n, _, _)| n.name == p.name.name).map(|_| ()));
            let Some((kind, default)) = self.entry_param(p, root) else {
                self.finish(saved);
                return None;
            };
            if at.is_none() {
                let open = self.open_value(p, &kind, default.is_some());
                if let Some(value) = open {
                    args.named.push((p.name.clone(), value, p.span));
                }
            }
            params.push(EntryParam { name: p.name.name.to_string(), kind, default, doc: None });
        }
        let value = self.call_instance(root, Some(graph.clone()), args, span);
        let image =
            matches!(&graph.result, Some(t) if matches!(&t.kind, TypeKind::Named(n) if &*n.name == "image"));
        let outputs = self.entry_outputs(&value, image, graph);
        let unit = self.finish(saved);
        if self.diagnostics.iter().filter(|d| d.is_error()).count() > errors {
            return None;
        }
        let (nodes, outputs): (Vec<_>, Vec<_>) = outputs?.into_iter().unzip();
        let mut g = unit.graph;
        g.regions[0].outputs = nodes;
        g.output_names = outputs.iter().map(|o| o.name.clone()).collect();
        let (doc, data, traced) = (graph.doc.clone(), unit.data, unit.traced);
        Some(Entry { name, doc, params, graph: g, outputs, data, traced })
    }

    /// What a parameter takes, and its default.
    fn entry_param(
        &mut self,
        p: &ast::Param,
        root: &Rc<Instance>,
    ) -> Option<(EntryKind, Option<StaticValue>)> {
        let default = match &p.default {
            None => None,
            Some(e) => {
                let mut env = self.build(root)?;
                match self.expr(e, &mut env) {
                    Value::Error => return None,
                    v => to_static(&v),
                }
            }
        };
        let kind = match p.ty.as_ref().map(|t| &t.kind) {
            Some(TypeKind::Tensor(dtype, dims)) => {
                let (dtype, image) = self.declared_dtype(dtype.as_ref())?;
                let mut shape = Vec::new();
                if image {
                    shape.push(Dim::name("batch"));
                }
                for dim in dims {
                    shape.push(self.entry_dim(dim, root)?);
                }
                let ty = Type::new(dtype.unwrap_or(DType::F32), shape);
                if image { EntryKind::Image(ty) } else { EntryKind::Tensor(ty) }
            }
            Some(TypeKind::Named(n)) => match &*n.name {
                "int" => EntryKind::Int,
                "float" => EntryKind::Float,
                "bool" => EntryKind::Bool,
                "string" | "text" => EntryKind::Str,
                other => {
                    self.error_help(
                        codes::WRONG_KIND,
                        p.span,
                        format!("an entry point cannot take a `{other}`"),
                        "the parameters of a pipeline's graph are given on the command line",
                        "int, float, bool, string, image[c, h, w], or a tensor with its shape",
                    );
                    return None;
                }
            },
            Some(TypeKind::Tuple(_)) | None => {
                let help = "declare it: count: int = 16, x: image[1, 28, 28], z: [n, 16]";
                self.error_help(
                    codes::WRONG_KIND,
                    p.span,
                    "a parameter of an entry point needs a type",
                    "of which kind?",
                    help,
                );
                return None;
            }
        };
        Some((kind, default))
    }

    /// A dimension of an entry's input: known, or open under its name.
    fn entry_dim(&mut self, dim: &DimExpr, root: &Rc<Instance>) -> Option<Dim> {
        match dim {
            DimExpr::One(e) => {
                let mut env = self.build(root)?;
                let d = self.polynomial(e, &Scope::default(), &mut env)?;
                Some(d.substitute(&|n| n.strip_prefix('?').map(Dim::name)))
            }
            DimExpr::Spread(n) => {
                self.error_help(
                    codes::WRONG_KIND,
                    n.span,
                    "an entry point needs inputs of a known rank",
                    format!("`..{}` has any", n.name),
                    "write the dimensions: x: [n, 3, h, w]",
                );
                None
            }
        }
    }

    /// The value of a parameter that has no argument: an input of the graph, or a stand-in for the check.
    fn open_value(&mut self, p: &ast::Param, kind: &EntryKind, has_default: bool) -> Option<Value> {
        let ty = match kind {
            EntryKind::Tensor(ty) | EntryKind::Image(ty) => ty.clone(),
            _ if has_default => return None,
            EntryKind::Int => return Some(Value::Int(Dim::name(p.name.name.clone()))),
            EntryKind::Float => return Some(Value::Float(1.0)),
            EntryKind::Bool => return Some(Value::Bool(false)),
            EntryKind::Str => return Some(Value::str("")),
        };
        let unit = self.unit.as_mut()?;
        let mut b = Builder::new(&mut unit.graph, 0, p.span, "".into());
        let node = b.push(Input { name: p.name.name.to_string(), ty: ty.clone() }.into(), &[], ty);
        Some(Value::Tensor(TensorRef { unit: unit.id, region: 0, node, space: None }))
    }

    fn entry_outputs(
        &mut self,
        value: &Value,
        image: bool,
        graph: &ast::Graph,
    ) -> Option<Vec<(crate::graph::NodeId, EntryOutput)>> {
        let values: Vec<(String, Value)> = match value {
            Value::Error => return None,
            Value::Tuple(t) => t
                .iter()
                .enumerate()
                .map(|(i, (n, v))| (n.as_ref().map_or(format!("out{i}"), ToString::to_string), v.clone()))
                .collect(),
            Value::Record(r) => r.iter().map(|(n, v)| (n.to_string(), v.clone())).collect(),
            Value::None => {
                self.report(
                    Diagnostic::error(codes::NO_VALUE, "this graph gives no value")
                        .label(graph.head, "its last statement has no value")
                        .help("end the body with the expression that is its value"),
                );
                return None;
            }
            v => vec![("out".into(), v.clone())],
        };
        let mut out = Vec::new();
        for (name, v) in values {
            let Some(node) = self.as_node(&v, Self::dtype_of_number(&v), graph.head) else {
                let found = self.describe(&v);
                self.error(
                    codes::WRONG_KIND,
                    graph.head,
                    "an entry point gives tensors",
                    format!("this one gives {found}"),
                );
                return None;
            };
            let tensor = self.tensor(node, graph.head);
            let mut ty = self.type_of(&tensor)?;
            ty.space = self.type_of(&v).and_then(|t| t.space);
            out.push((node, EntryOutput { name, ty, image }));
        }
        Some(out)
    }
}
