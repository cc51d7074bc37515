//! Gradients as a transformation of the graph: reverse-mode differentiation (Griewank and Walther,
//! "Evaluating Derivatives", 2008, ch. 3) that emits the adjoint of each node into the region of the node,
//! by the rule of its operation. What comes out is a graph like any other, so that the same passes, plan and
//! executor serve it, and gradients of gradients need nothing further.
//!
//! Only the nodes between `wrt` and the loss are visited. A [`Loop`](crate::ops::Loop) is differentiated by
//! a second loop (see `loops.rs`).

mod flow;
mod fused;
mod loops;
mod recompute;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_fused;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::diagnostic::codes;
use crate::graph::{Builder, Graph, NodeId};
use crate::ops::{Binary, Emit, Expand, GradContext, Op, OpError, Primitive};
use crate::shape::Type;
use crate::source::Span;

use flow::Flow;
use recompute::Again;

/// An operation between the loss and what it is differentiated by refused, and where that operation is.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// What it said: [`codes::NOT_DIFFERENTIABLE`], or [`codes::INTERNAL`] for a fault of ours.
    pub error: OpError,
    /// The operation's place in the source.
    pub span: Span,
    /// The field path of the block that it belongs to.
    pub path: Arc<str>,
}

impl From<Refused> for OpError {
    fn from(refused: Refused) -> OpError {
        refused.error
    }
}

/// Emits the gradient of `sum(loss)` with respect to each node of `wrt`, which may be anything upstream of
/// the loss in the builder's region, intermediate values included. A gradient has the dtype and shape of
/// its node. `None` where no differentiable path leads from the node to the loss: there is none through
/// integers and `stop_grad`.
///
/// Gradient nodes get the span and path of the node that they are the adjoint of; the builder's own are as
/// they were afterwards.
///
/// # Errors
/// An operation on a path has no gradient.
pub fn gradients(
    builder: &mut Builder<'_>,
    loss: NodeId,
    wrt: &[NodeId],
) -> Result<Vec<Option<NodeId>>, Refused> {
    let ty = builder.ty(loss).plain();
    if !ty.dtype.is_float() {
        return Ok(vec![None; wrt.len()]);
    }
    let one = filled(builder, 1.0, &ty).map_err(|e| refused(builder, e))?;
    pullback(builder, &[(loss, one)], wrt)
}

/// The vector-Jacobian product: emits the gradient of `sum(g_i * y_i)` over the pairs `(y_i, g_i)` of
/// `seeds` with respect to each node of `wrt`. A `g_i` has the type of its `y_i`.
///
/// # Errors
/// An operation on a path has no gradient.
pub fn pullback(
    builder: &mut Builder<'_>,
    seeds: &[(NodeId, NodeId)],
    wrt: &[NodeId],
) -> Result<Vec<Option<NodeId>>, Refused> {
    let (span, path) = (builder.span, builder.path.clone());
    let result = Walk::new(builder, seeds, wrt).run(builder, seeds, wrt);
    builder.span = span;
    builder.path = path;
    result
}

/// The weights and states of the root that `from` depends on differentiably. Others get no gradient: they
/// never reach the loss, or only through integers, comparisons, `stop_grad` and the like.
pub fn reach(graph: &Graph, from: NodeId) -> Vec<NodeId> {
    let reached = Flow::new(graph).backward(0, &[from]);
    let root = graph.root();
    root.ids().filter(|id| reached[id.index()] && matches!(*root.dag[*id].op, Op::Parameter(_))).collect()
}

/// The state of one walk.
struct Walk {
    /// Nodes that lie on a differentiable path between `wrt` and the seeds.
    between: Vec<bool>,
    /// Adjoints so far.
    grads: HashMap<NodeId, NodeId>,
    /// For a loop: the adjoints of its outputs.
    loops: HashMap<NodeId, Vec<Option<NodeId>>>,
    /// Values that are computed again.
    again: Again,
    /// Those of the nodes between that read a node.
    users: Vec<Vec<NodeId>>,
    /// What one differentiates by, and the seeds.
    wanted: HashSet<NodeId>,
}

impl Walk {
    fn new(builder: &Builder<'_>, seeds: &[(NodeId, NodeId)], wrt: &[NodeId]) -> Self {
        let mut flow = Flow::new(builder.graph);
        let ends: Vec<NodeId> = seeds.iter().map(|(y, _)| *y).collect();
        let back = flow.backward(builder.region, &ends);
        let between = flow.forward(builder.region, wrt, &back);
        let mut users = vec![Vec::new(); between.len()];
        for id in (0..between.len()).filter(|i| between[*i]).map(NodeId::new) {
            for input in &builder.graph.regions[builder.region].dag[id].inputs {
                users[input.index()].push(id);
            }
        }
        Walk {
            between,
            grads: HashMap::new(),
            loops: HashMap::new(),
            again: Again::default(),
            users,
            wanted: wrt.iter().chain(&ends).copied().collect(),
        }
    }

    fn run(
        mut self,
        builder: &mut Builder<'_>,
        seeds: &[(NodeId, NodeId)],
        wrt: &[NodeId],
    ) -> Result<Vec<Option<NodeId>>, Refused> {
        for (y, g) in seeds {
            self.add(builder, *y, *g)?;
        }
        for index in (0..self.between.len()).rev().filter(|i| self.between[*i]).collect::<Vec<_>>() {
            self.visit(builder, NodeId::new(index))?;
        }
        Ok(wrt.iter().map(|x| self.grads.get(x).copied()).collect())
    }

    fn visit(&mut self, builder: &mut Builder<'_>, id: NodeId) -> Result<(), Refused> {
        let node = &builder.graph.regions[builder.region].dag[id];
        let active: Vec<bool> = node.inputs.iter().map(|i| self.between[i.index()]).collect();
        if !active.contains(&true) {
            return Ok(());
        }
        builder.span = node.span;
        builder.path = node.path.clone();
        let (op, inputs) = (Arc::clone(&node.op), node.inputs.clone());
        match &*op {
            Op::Project(p) => {
                if let Some(g) = self.grads.get(&id).copied() {
                    let outs = self.loops.entry(inputs[0]).or_default();
                    let index = p.index as usize;
                    outs.resize(outs.len().max(index + 1), None);
                    outs[index] = Some(match outs[index] {
                        Some(sum) => sum_of(builder, sum, g)?,
                        None => g,
                    });
                }
                Ok(())
            }
            Op::Loop(l) => match self.loops.remove(&id) {
                Some(mut outs) => {
                    outs.resize(l.outputs.len(), None);
                    let values = self.again.all(&inputs);
                    let grads = loops::pullback(builder, l, &values, &outs, &active)?;
                    self.add_all(builder, "loop", &inputs, grads, &active)
                }
                None => Ok(()),
            },
            op => {
                let Some(g) = self.grads.get(&id).copied() else { return Ok(()) };
                if let Op::Checkpoint(_) = op {
                    self.recompute(builder, id, g)?;
                }
                if let Some(found) = self.composition(builder, id) {
                    return self.visit_composition(builder, id, g, &found);
                }
                let grads = {
                    let values = self.again.all(&inputs);
                    let output = self.again.of(id);
                    let mut cx = GradContext { to: builder, inputs: &values, output, grad: g };
                    op.grad(&mut cx)
                };
                let grads = grads.map_err(|e| refusal(builder, op, e))?;
                self.add_all(builder, op.name(), &inputs, grads, &active)
            }
        }
    }

    fn add_all(
        &mut self,
        builder: &mut Builder<'_>,
        name: &str,
        inputs: &[NodeId],
        grads: Vec<Option<NodeId>>,
        active: &[bool],
    ) -> Result<(), Refused> {
        for ((input, g), active) in inputs.iter().zip(grads).zip(active) {
            let Some(g) = g.filter(|_| *active) else { continue };
            let (want, have) = (builder.ty(*input).plain(), builder.ty(g).plain());
            if want != have {
                let m = format!("the gradient of `{name}` is {have} and should be {want}");
                return Err(refused(builder, OpError::internal(m)));
            }
            self.add(builder, *input, g)?;
        }
        Ok(())
    }

    fn add(&mut self, builder: &mut Builder<'_>, id: NodeId, g: NodeId) -> Result<(), Refused> {
        if !self.between.get(id.index()).copied().unwrap_or(false) {
            return Ok(());
        }
        let sum = match self.grads.get(&id) {
            Some(sum) => sum_of(builder, *sum, g)?,
            None => g,
        };
        self.grads.insert(id, sum);
        Ok(())
    }
}

fn sum_of(builder: &mut Builder<'_>, a: NodeId, b: NodeId) -> Result<NodeId, Refused> {
    builder.binary(Binary::Add, a, b).map_err(|e| refused(builder, e))
}

/// A tensor of that type, the same number everywhere.
fn filled(to: &mut dyn Emit, value: f64, ty: &Type) -> Result<NodeId, OpError> {
    let number = to.scalar(value, ty.dtype)?;
    if ty.shape.is_empty() {
        return Ok(number);
    }
    to.emit(Expand { shape: ty.shape.clone() }.into(), &[number])
}

fn refused(builder: &Builder<'_>, error: OpError) -> Refused {
    Refused { error, span: builder.span, path: builder.path.clone() }
}

/// An operation's own refusal, with its name and code E0603.
fn refusal(builder: &Builder<'_>, op: &Op, error: OpError) -> Refused {
    if error.code == codes::INTERNAL {
        return refused(builder, error);
    }
    let message = if error.message.contains(&format!("`{}`", op.name())) {
        error.message
    } else {
        format!("`{}` has no gradient: {}", op.name(), error.message)
    };
    let help = error.help.unwrap_or_else(|| "`stop_grad(…)` around it cuts this path".to_string());
    refused(builder, OpError::new(codes::NOT_DIFFERENTIABLE, message).help(help))
}
