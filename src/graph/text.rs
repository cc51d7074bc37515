//! A graph as text for people and tests: one line per node, `%3 = mul %1, %2 : [n, 4]`. Not read back; the
//! form that is, is RON.

use std::fmt::{self, Write};

use super::{Graph, NodeId, Region};
use crate::ops::{Op, Primitive};

/// Writes the graph, one line per node, bodies of loops indented under their loop.
pub fn print(graph: &Graph) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_graph(graph, &mut out);
    out
}

fn write_graph(graph: &Graph, out: &mut String) -> fmt::Result {
    write_region(graph, graph.root(), 0, out)?;
    for update in &graph.updates {
        writeln!(out, "update {} = %{}", update.name, update.node.index())?;
    }
    Ok(())
}

fn write_region(graph: &Graph, region: &Region, depth: usize, out: &mut String) -> fmt::Result {
    let indent = "  ".repeat(depth);
    for id in region.ids() {
        let node = region.node(id);
        write!(out, "{indent}%{} = {}", id.index(), describe(&node.op))?;
        if !node.inputs.is_empty() {
            write!(out, " {}", list(&node.inputs))?;
        }
        let Op::Loop(l) = &*node.op else {
            writeln!(out, " : {}", node.ty)?;
            continue;
        };
        let types: Vec<String> = l.outputs.iter().map(ToString::to_string).collect();
        writeln!(out, " : {}", types.join(", "))?;
        for (i, column) in l.columns.iter().enumerate() {
            writeln!(out, "{indent}  column {i} = {column:?}")?;
        }
        if let Some(body) = graph.regions.get(l.region as usize) {
            write_region(graph, body, depth + 1, out)?;
        }
    }
    for watch in &region.watches {
        writeln!(out, "{indent}watch {} = %{}", watch.name, watch.node.index())?;
    }
    if !region.outputs.is_empty() {
        writeln!(out, "{indent}give {}", list(&region.outputs))?;
    }
    Ok(())
}

/// The operation with all attributes that matter, on one line.
fn describe(op: &Op) -> String {
    let name = op.name();
    match op {
        Op::Const(c) => format!("const {:?}", c.value),
        Op::Table(t) if t.values.len() <= 8 => format!("table {:?}", t.values),
        Op::Table(t) => format!("table of {}", t.values.len()),
        Op::Column(c) => format!("column {}", c.index),
        Op::LoopInput(i) => format!("input #{}", i.index),
        Op::Project(p) => format!("output #{} of", p.index),
        // `elementwise (#2 = mul #0 #1; silu #2)`: inputs first, then steps.
        Op::Elementwise(e) => {
            let step = |(i, s): (usize, &crate::ops::Step)| {
                let args: Vec<String> = s.args.iter().map(|a| format!(" #{a}")).collect();
                format!("#{} = {}{}", e.inputs as usize + i, describe(&s.op), args.concat())
            };
            let steps: Vec<String> = e.steps.iter().enumerate().map(step).collect();
            format!("elementwise ({})", steps.join("; "))
        }
        Op::Loop(l) => {
            let mut text = format!("loop ×{}", l.steps);
            if l.reverse {
                text.push_str(" reversed");
            }
            let _ = write!(text, " ({} carried, {} captured, {} scanned)", l.carries, l.captures, l.scans);
            text
        }
        _ => {
            let label = op.label();
            if label.starts_with(name) { label } else { format!("{name} {label}") }
        }
    }
}

fn list(ids: &[NodeId]) -> String {
    let names: Vec<String> = ids.iter().map(|i| format!("%{}", i.index())).collect();
    names.join(", ")
}
