//! A graph in the language of Graphviz: blocks and loops as clusters, edges labelled with shapes.

use std::fmt::Write;

use super::{Graph, NodeId, Region, RegionId};
use crate::ops::{Op, Primitive};

/// The graph as DOT text. Blocks are clusters by field path (`encoder.body.0` lies in `encoder.body`, in
/// `encoder`), a loop is a cluster that holds its body, and a dashed edge leads a carry back to its start.
pub fn to_dot(graph: &Graph) -> String {
    let mut out = format!("digraph {} {{\n", quoted(&graph.name));
    out.push_str("  compound=true; rankdir=TB; fontname=\"sans-serif\"; labeljust=l;\n");
    out.push_str("  node [shape=box, style=\"rounded,filled\", fillcolor=\"#f4f6f8\", color=\"#b8c2cc\", ");
    out.push_str("fontname=\"sans-serif\", fontsize=11];\n");
    out.push_str("  edge [color=\"#7b8794\", fontcolor=\"#52606d\", fontname=\"sans-serif\", fontsize=9];\n");
    let mut writer = Writer { graph, out, clusters: 0 };
    let all: Vec<NodeId> = graph.root().ids().collect();
    writer.cluster(0, &all, 0, 1);
    writer.root_outputs();
    writer.out.push_str("}\n");
    writer.out
}

struct Writer<'a> {
    graph: &'a Graph,
    out: String,
    clusters: usize,
}

impl Writer<'_> {
    /// Writes nodes that lie in the same block at `depth` path segments: its own, then inner blocks.
    fn cluster(&mut self, r: RegionId, nodes: &[NodeId], depth: usize, indent: usize) {
        let region = &self.graph.regions[r];
        let mut inner: Vec<(&str, Vec<NodeId>)> = Vec::new();
        let mut index = std::collections::HashMap::new();
        for id in nodes {
            match region.node(*id).path.split('.').filter(|s| !s.is_empty()).nth(depth) {
                None => self.node(r, *id, indent),
                Some(segment) => {
                    let at = *index.entry(segment).or_insert(inner.len());
                    if at == inner.len() {
                        inner.push((segment, Vec::new()));
                    }
                    inner[at].1.push(*id);
                }
            }
        }
        for (segment, nodes) in inner {
            self.open(segment, "#fafbfc", indent);
            self.cluster(r, &nodes, depth + 1, indent + 1);
            self.line(indent, "}");
        }
        for id in nodes {
            self.edges(r, region, *id, depth, indent);
        }
    }

    fn open(&mut self, label: &str, fill: &str, indent: usize) {
        self.line(indent, &format!("subgraph cluster_{} {{", self.clusters));
        self.clusters += 1;
        let style = format!("label={}; style=\"rounded,filled\"; fillcolor=\"{fill}\"; ", quoted(label));
        self.line(indent + 1, &(style + "color=\"#cbd2d9\"; fontsize=11;"));
    }

    fn node(&mut self, r: RegionId, id: NodeId, indent: usize) {
        let node = self.graph.regions[r].node(id);
        if let Op::Loop(l) = &*node.op {
            let inner = l.region as usize;
            self.open(&node.op.label(), "#e8f6f3", indent);
            let body: Vec<NodeId> = self.graph.regions[inner].ids().collect();
            self.cluster(inner, &body, 0, indent + 1);
            let region = &self.graph.regions[inner];
            for (k, from) in region.outputs.iter().enumerate().take(l.carries as usize) {
                let to = region.ids().find(
                    |i| matches!(&*region.node(*i).op, Op::LoopInput(input) if input.index as usize == k),
                );
                if let Some(to) = to {
                    let edge = format!(
                        "{} -> {} [style=dashed, constraint=false, label=\"next\"];",
                        name(inner, *from),
                        name(inner, to)
                    );
                    self.line(indent + 1, &edge);
                }
            }
            // The loop itself, where its outputs begin.
            let label = quoted(&node.op.label());
            self.line(indent + 1, &format!("{} [label={label}, shape=ellipse];", name(r, id)));
            self.line(indent, "}");
            return;
        }
        let (fill, shape) = match &*node.op {
            Op::Input(_) => ("#e3f0fc", "ellipse"),
            Op::Parameter(_) => ("#fff3dc", "note"),
            Op::Const(_) | Op::Table(_) | Op::Column(_) => ("#ffffff", "plaintext"),
            _ => ("#f4f6f8", "box"),
        };
        let label = quoted(&node.op.label());
        self.line(indent, &format!("{} [label={label}, shape={shape}, fillcolor=\"{fill}\"];", name(r, id)));
    }

    /// The edges into a node, written once: where its own block is written.
    fn edges(&mut self, r: RegionId, region: &Region, id: NodeId, depth: usize, indent: usize) {
        let node = region.node(id);
        if depth != 0 {
            return;
        }
        for (slot, from) in node.inputs.iter().enumerate() {
            let source = region.node(*from);
            let label = quoted(&source.ty.to_string());
            // Into a loop: to the body's input of that number.
            let target = match &*node.op {
                Op::Loop(l) => {
                    let inner = l.region as usize;
                    let body = &self.graph.regions[inner];
                    let input = body
                        .ids()
                        .find(|i| matches!(&*body.node(*i).op, Op::LoopInput(n) if n.index as usize == slot));
                    input.map_or(name(r, id), |i| name(inner, i))
                }
                _ => name(r, id),
            };
            self.line(indent, &format!("{} -> {target} [label={label}];", name(r, *from)));
        }
        if let Op::Loop(l) = &*node.op {
            let inner = l.region as usize;
            let body = &self.graph.regions[inner];
            for from in &body.outputs {
                let label = quoted(&body.node(*from).ty.to_string());
                self.line(indent, &format!("{} -> {} [label={label}];", name(inner, *from), name(r, id)));
            }
        }
    }

    fn root_outputs(&mut self) {
        let root = self.graph.root();
        for (k, from) in root.outputs.iter().enumerate() {
            let title = self.graph.output_names.get(k).cloned().unwrap_or_else(|| format!("output {k}"));
            self.pill(&format!("out{k}"), &title, "#e4f4e6", *from);
        }
        for (k, watch) in root.watches.iter().enumerate() {
            self.pill(&format!("watch{k}"), &format!("watch {}", watch.name), "#fde7ef", watch.node);
        }
        for (k, update) in self.graph.updates.iter().enumerate() {
            self.pill(&format!("update{k}"), &format!("next {}", update.name), "#fff3dc", update.node);
        }
    }

    fn pill(&mut self, id: &str, title: &str, fill: &str, from: NodeId) {
        self.line(1, &format!("{id} [label={}, shape=ellipse, fillcolor=\"{fill}\"];", quoted(title)));
        let label = quoted(&self.graph.root().node(from).ty.to_string());
        self.line(1, &format!("{} -> {id} [label={label}];", name(0, from)));
    }

    fn line(&mut self, indent: usize, text: &str) {
        let _ = writeln!(self.out, "{:width$}{text}", "", width = indent * 2);
    }
}

fn name(r: RegionId, id: NodeId) -> String {
    format!("r{r}n{}", id.index())
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
