//! Traces: what the blocks under a field path give, taken out of an entry point as watches.

use std::rc::Rc;

use super::Elaborator;
use super::fields::join;
use super::value::{Instance, Value};
use super::weights::under;
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::graph::Named;
use crate::graph::program::Entry;
use crate::source::Span;

impl Elaborator<'_> {
    /// Watches what the instance at `path` gave, if that is asked for: of a tuple its first value. A second
    /// call of the instance gets the name `PATH#2`.
    pub(super) fn trace_value(&mut self, path: &str, value: &Value, span: Span) {
        if path.is_empty() || !self.trace.iter().any(|p| under(path, p)) {
            return;
        }
        let first = match value {
            Value::Tuple(parts) => parts.first().map(|(_, v)| v.clone()),
            other => Some(other.clone()),
        };
        let Some(node) = first.filter(Value::is_tensor).and_then(|v| self.node(&v, span)) else { return };
        let Some(unit) = &mut self.unit else { return };
        let calls = unit.traced.iter().filter(|n| n.split('#').next() == Some(path)).count();
        let name = if calls == 0 { path.to_string() } else { format!("{path}#{}", calls + 1) };
        unit.traced.push(name.clone());
        let region = unit.region();
        unit.graph.regions[region].watches.push(Named { name, node });
    }

    /// Reports paths of a trace under which the entry point calls no block.
    pub(super) fn untraced(&mut self, entry: &Entry, trace: &[String], root: &Rc<Instance>) {
        let mut known: Vec<String> = self
            .registry
            .weights
            .iter()
            .flat_map(|w| {
                w.path.match_indices('.').map(|(at, _)| w.path[..at].to_string()).collect::<Vec<_>>()
            })
            .collect();
        known.extend(self.instance_names(root).iter().map(|n| join("", n).to_string()));
        known.sort_unstable();
        known.dedup();
        for path in trace {
            if entry.traced.iter().any(|t| under(t.split('#').next().unwrap_or(t), path)) {
                continue;
            }
            let message = format!("`{}` calls no block at or under `{path}`", entry.name);
            let near = did_you_mean(path, known.iter().map(String::as_str));
            let help = near.map_or("a field path is what the keys of the weights begin with".into(), |n| {
                format!("did you mean `{n}`?")
            });
            self.report(Diagnostic::error(codes::BAD_FLAG, message).help(help));
        }
    }
}
