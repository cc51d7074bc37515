//! Values of elaboration. Everything but tensors is gone when it is over.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::graph::{NodeId, RegionId};
use crate::ops::Signature;
use crate::resolve::ModuleId;
use crate::shape::{Dim, Space, Type};
use crate::source::Span;
use crate::syntax::ast::{self, Name};

use super::builtins::Builtin;

/// A value.
#[derive(Clone)]
pub(super) enum Value {
    /// A static integer, which may hold open dimensions.
    Int(Dim),
    Float(f64),
    Bool(bool),
    Str(Arc<str>),
    None,
    List(Rc<Vec<Value>>),
    Tuple(Rc<Vec<(Option<Name>, Value)>>),
    Record(Rc<Vec<(Name, Value)>>),
    /// A number that differs from step to step of a `loop`.
    Step(Rc<StepNumber>),
    Tensor(TensorRef),
    Param(Rc<ParamDecl>),
    Fn(Rc<Closure>),
    Op(&'static Signature),
    Builtin(Builtin),
    Block(Rc<BlockRef>),
    Instance(Rc<Instance>),
    /// A named graph of an instance.
    Method(Rc<Instance>, Arc<ast::Graph>),
    /// `a -> b` of callables.
    Chain(Rc<Vec<Value>>),
    /// `f(a)` inside a chain: called as `f(x, a)`.
    Partial(Rc<Partial>),
    Module(ModuleId),
    Space(Space),
    /// A data set: its name and split.
    Dataset(Rc<(String, String)>),
    /// Something that failed; a diagnostic has been given.
    Error,
}

/// A tensor of the graph under construction.
#[derive(Clone)]
pub(super) struct TensorRef {
    /// The unit (graph) it belongs to.
    pub unit: usize,
    pub region: RegionId,
    pub node: NodeId,
    pub space: Option<Space>,
}

/// The values of a per-step number: one per step.
pub(super) struct StepNumber {
    /// Which `loop`.
    pub scope: usize,
    pub values: Vec<f64>,
    pub kind: StepKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StepKind {
    Int,
    Float,
    Bool,
}

/// `param(shape, init = …)` or `state(…)`.
pub(super) struct ParamDecl {
    pub trainable: bool,
    pub ty: Type,
    pub init: Value,
    pub span: Span,
    /// Given when it is assigned to a field.
    pub path: RefCell<Option<Arc<str>>>,
}

/// A function with what it sees.
pub(super) struct Closure {
    pub decl: Arc<ast::FnDecl>,
    pub env: Env,
}

/// A block with the module it is defined in.
pub(super) struct BlockRef {
    pub decl: Arc<ast::Block>,
    pub module: ModuleId,
}

/// A call that waits for its first arguments.
pub(super) struct Partial {
    pub callee: Value,
    pub args: CallArgs,
    pub span: Span,
}

/// Evaluated arguments.
#[derive(Clone, Default)]
pub(super) struct CallArgs {
    pub positional: Vec<(Value, Span)>,
    pub named: Vec<(ast::Ident, Value, Span)>,
}

/// An instance of a block: its fields are built at the first use, when the widths are known.
pub(super) struct Instance {
    pub block: Rc<BlockRef>,
    pub config: RefCell<HashMap<Name, Value>>,
    /// Where a width was learned.
    pub learned: RefCell<HashMap<Name, Span>>,
    pub path: RefCell<Option<Arc<str>>>,
    pub state: RefCell<Build>,
    /// Where it was made.
    pub span: Span,
}

/// How far an instance is.
#[derive(Clone)]
pub(super) enum Build {
    Pending,
    Building,
    Built(Env),
    Failed,
}

/// The names in scope; cloning shares, binding copies only when shared.
#[derive(Clone)]
pub(super) struct Env {
    pub module: ModuleId,
    /// The instance whose block this code belongs to.
    pub instance: Option<Rc<Instance>>,
    vars: Rc<HashMap<Name, Value>>,
}

impl Env {
    pub fn new(module: ModuleId) -> Env {
        Env { module, instance: None, vars: Rc::default() }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.vars.get(name)
    }

    pub fn bind(&mut self, name: Name, value: Value) {
        Rc::make_mut(&mut self.vars).insert(name, value);
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.vars.keys().map(|k| &**k)
    }
}

impl Value {
    pub fn int(value: i64) -> Value {
        Value::Int(Dim::from(value))
    }

    pub fn list(items: Vec<Value>) -> Value {
        Value::List(Rc::new(items))
    }

    pub fn tuple(items: Vec<Value>) -> Value {
        Value::Tuple(Rc::new(items.into_iter().map(|v| (None, v)).collect()))
    }

    pub fn str(text: &str) -> Value {
        Value::Str(text.into())
    }

    /// Whether it can stand on the right of `->`.
    pub fn is_callable(&self) -> bool {
        matches!(
            self,
            Value::Fn(_)
                | Value::Op(_)
                | Value::Builtin(_)
                | Value::Instance(_)
                | Value::Method(..)
                | Value::Chain(_)
                | Value::Partial(_)
                | Value::Block(_)
        )
    }

    /// What `checkpoint(f)` is made of: f, which has the weights.
    pub fn checkpointed(&self) -> Option<&Value> {
        match self {
            Value::Partial(p) if matches!(p.callee, Value::Builtin(Builtin::Checkpoint)) => {
                p.args.positional.first().map(|(v, _)| v)
            }
            _ => None,
        }
    }

    pub fn is_tensor(&self) -> bool {
        matches!(self, Value::Tensor(_) | Value::Param(_))
    }

    /// What it is, for messages.
    pub fn describe(&self) -> String {
        match self {
            Value::Int(d) => match d.as_const() {
                Some(v) => format!("the integer {v}"),
                None => format!("the dimension {d}"),
            },
            Value::Float(v) => format!("the number {v:?}"),
            Value::Bool(v) => format!("`{v}`"),
            Value::Str(s) => format!("the string {s:?}"),
            Value::None => "`none`".into(),
            Value::List(l) => format!("a list of {}", l.len()),
            Value::Tuple(t) => format!("a tuple of {}", t.len()),
            Value::Record(_) => "a record".into(),
            Value::Step(_) => "a per-step number".into(),
            Value::Tensor(_) => "a tensor".into(),
            Value::Param(p) => format!("a weight {}", p.ty),
            Value::Fn(f) => match &f.decl.name {
                Some(n) => format!("the function `{}`", n.name),
                None => "a function".into(),
            },
            Value::Op(s) => format!("the operation `{}`", s.name),
            Value::Builtin(b) => format!("the built-in `{}`", b.name()),
            Value::Block(b) => format!("the block `{}`", b.decl.name.name),
            Value::Instance(i) => format!("an instance of `{}`", i.block.decl.name.name),
            Value::Method(i, g) => {
                let graph = g.name.as_ref().map_or("graph", |n| &*n.name);
                format!("the graph `{graph}` of `{}`", i.block.decl.name.name)
            }
            Value::Chain(_) => "a composition".into(),
            Value::Partial(_) => "a call that waits for its input".into(),
            Value::Module(_) => "a module".into(),
            Value::Space(s) => format!("the space `{s}`"),
            Value::Dataset(d) => format!("the data set {}", d.0),
            Value::Error => "an error".into(),
        }
    }
}
