//! The text form of a graph, in RON: one node per line, read back to the same graph.
//!
//! ```text
//! (
//!     name: "vae.sample",
//!     regions: [
//!         (
//!             nodes: [
//!                 (id: 0, op: Input(name: "x", ty: "f32[n, 3]"), ty: "f32[n, 3]", span: (0, 12, 18)),
//!                 (id: 1, op: Unary(Exp), inputs: [0], ty: "f32[n, 3]", path: "encoder", span: (0, 30, 36)),
//!             ],
//!             outputs: [1],
//!         ),
//!     ],
//! )
//! ```

use std::fmt::Write;
use std::sync::Arc;

use ron::extensions::Extensions;
use ron::ser::PrettyConfig;
use serde::Deserialize;

use super::{Builder, Graph, Named, NodeId, Region, validate};
use crate::ops::Op;
use crate::shape::Type;
use crate::source::{FileId, Span};

/// The graph as text. What is empty, and spans of nothing, are left out.
pub fn to_ron(graph: &Graph) -> String {
    let mut out = format!("(\n    name: {},\n", quoted(&graph.name));
    if !graph.output_names.is_empty() {
        let names: Vec<String> = graph.output_names.iter().map(|n| quoted(n)).collect();
        let _ = writeln!(out, "    output_names: [{}],", names.join(", "));
    }
    out.push_str("    regions: [\n");
    for region in &graph.regions {
        out.push_str("        (\n            nodes: [\n");
        for id in region.ids() {
            write_node(&mut out, region, id);
        }
        let outputs: Vec<String> = region.outputs.iter().map(|o| o.index().to_string()).collect();
        let _ = writeln!(out, "            ],\n            outputs: [{}],", outputs.join(", "));
        write_named(&mut out, "            ", "watches", &region.watches);
        out.push_str("        ),\n");
    }
    out.push_str("    ],\n");
    write_named(&mut out, "    ", "updates", &graph.updates);
    out.push_str(")\n");
    out
}

fn write_node(out: &mut String, region: &Region, id: NodeId) {
    let node = region.node(id);
    let _ = write!(out, "                (id: {}, op: {}", id.index(), op_text(&node.op));
    if !node.inputs.is_empty() {
        let inputs: Vec<String> = node.inputs.iter().map(|i| i.index().to_string()).collect();
        let _ = write!(out, ", inputs: [{}]", inputs.join(", "));
    }
    let _ = write!(out, ", ty: \"{}\"", node.ty.to_text());
    if !node.path.is_empty() {
        let _ = write!(out, ", path: {}", quoted(&node.path));
    }
    if node.span != Span::default() {
        let _ = write!(out, ", span: ({}, {}, {})", node.span.file.0, node.span.start, node.span.end);
    }
    out.push_str("),\n");
}

fn write_named(out: &mut String, indent: &str, field: &str, values: &[Named]) {
    if values.is_empty() {
        return;
    }
    let _ = writeln!(out, "{indent}{field}: [");
    for v in values {
        let _ = writeln!(out, "{indent}    ({}, {}),", quoted(&v.name), v.node.index());
    }
    let _ = writeln!(out, "{indent}],");
}

/// An operation on one line: `Const(value: 0.5, dtype: f32)`.
pub(super) fn op_text(op: &Op) -> String {
    // Only a value without a text form fails, and operations are plain data. Should one appear, its text
    // does not read back, so that the mistake cannot pass unseen.
    let style = PrettyConfig::new().depth_limit(0);
    options().to_string_pretty(op, style).unwrap_or_else(|e| format!("unwritable: {e}"))
}

fn options() -> ron::Options {
    ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES)
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GraphText {
    name: String,
    #[serde(default)]
    output_names: Vec<String>,
    regions: Vec<RegionText>,
    #[serde(default)]
    updates: Vec<(String, u32)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionText {
    nodes: Vec<NodeText>,
    outputs: Vec<u32>,
    #[serde(default)]
    watches: Vec<(String, u32)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeText {
    id: u32,
    op: Op,
    #[serde(default)]
    inputs: Vec<u32>,
    ty: Type,
    #[serde(default)]
    path: String,
    #[serde(default)]
    span: (u32, u32, u32),
}

/// Reads a graph that [`to_ron`] wrote.
///
/// # Errors
/// The text is not RON, or the graph is not valid; a sentence that names the line or the node.
pub fn from_ron(text: &str) -> Result<Graph, String> {
    let read: GraphText = options().from_str(text).map_err(|e| format!("line {}", e))?;
    if read.regions.is_empty() {
        return Err("a graph needs a root region".into());
    }
    let mut graph = Graph {
        name: read.name,
        regions: vec![Region::default(); read.regions.len()],
        output_names: read.output_names,
        updates: named(read.updates),
    };
    let mut last_path: Arc<str> = "".into();
    for (r, region) in read.regions.into_iter().enumerate() {
        for (index, node) in region.nodes.into_iter().enumerate() {
            if node.id as usize != index {
                return Err(format!("region {r}: node {} stands at place {index}", node.id));
            }
            // Edges to nodes that are not there yet would be refused by petgraph with a panic.
            if let Some(later) = node.inputs.iter().find(|i| **i as usize >= index) {
                return Err(format!("region {r}: node {index} uses node {later}, which comes later"));
            }
            if *last_path != *node.path {
                last_path = node.path.into();
            }
            let (file, start, end) = node.span;
            let span = Span { file: FileId(file), start, end };
            let inputs: Vec<NodeId> = node.inputs.iter().map(|i| NodeId::new(*i as usize)).collect();
            Builder::new(&mut graph, r, span, last_path.clone()).push(node.op, &inputs, node.ty);
        }
        graph.regions[r].outputs = region.outputs.iter().map(|o| NodeId::new(*o as usize)).collect();
        graph.regions[r].watches = named(region.watches);
    }
    validate::validate(&graph)?;
    Ok(graph)
}

fn named(values: Vec<(String, u32)>) -> Vec<Named> {
    values.into_iter().map(|(name, node)| Named { name, node: NodeId::new(node as usize) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::same::same;
    use crate::ops::{Binary, Column, Const, Emit, Input, Loop, LoopInput, Parameter, Project, Table, Unary};
    use crate::shape::{DType, Dim};
    use proptest::prelude::*;

    /// `for 4 steps: x = exp(x) + w * c`, and a table beside.
    fn looped() -> Graph {
        let mut graph = Graph::new("demo.sample");
        let ty = Type { space: Some("unit".into()), ..Type::new(DType::F32, vec![Dim::name("n"), 3.into()]) };
        let wt = Type::of(DType::F32, &[3]);
        graph.regions.push(Region::default());
        let span = Span::new(FileId(1), 10, 24);
        let mut body = Builder::new(&mut graph, 1, span, "".into());
        let x = body.emit(LoopInput { index: 0, ty: ty.plain() }.into(), &[]).unwrap();
        let w = body.emit(LoopInput { index: 1, ty: wt.clone() }.into(), &[]).unwrap();
        let c = body.emit(Column { index: 0, dtype: DType::F32 }.into(), &[]).unwrap();
        let e = body.unary(Unary::Exp, x).unwrap();
        let s = body.binary(Binary::Mul, w, c).unwrap();
        let next = body.binary(Binary::Add, e, s).unwrap();
        graph.regions[1].outputs = vec![next];
        graph.regions[1].watches = vec![Named { name: "x0".into(), node: e }];
        let mut root = Builder::new(&mut graph, 0, Span::default(), "net.\"body\".0".into());
        let x = root.emit(Input { name: "x".into(), ty: ty.clone() }.into(), &[]).unwrap();
        let w = root.emit(Parameter { path: "net.scale".into(), ty: wt }.into(), &[]).unwrap();
        let table =
            Table { values: vec![1.0, -0.0, 1e-30, f64::INFINITY], shape: vec![2, 2], dtype: DType::F64 };
        root.emit(table.into(), &[]).unwrap();
        root.scalar(f64::NAN, DType::F32).unwrap();
        let l = Loop {
            region: 1,
            steps: 4,
            carries: 1,
            captures: 1,
            scans: 0,
            reverse: false,
            columns: vec![vec![1.0, 0.5, 0.25, 0.1]],
            outputs: vec![ty.plain()],
        };
        let l = root.emit(l.into(), &[x, w]).unwrap();
        let out = root.emit(Project { index: 0, ty: ty.plain() }.into(), &[l]).unwrap();
        graph.regions[0].outputs = vec![out];
        graph.output_names = vec!["image".into()];
        graph.updates = vec![Named { name: "net.scale".into(), node: w }];
        graph
    }

    #[test]
    fn a_loop_reads_back() {
        let graph = looped();
        let text = to_ron(&graph);
        let back = from_ron(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert!(same(&graph, &back), "{text}\n{}", to_ron(&back));
        assert_eq!(to_ron(&back), text);
    }

    #[test]
    fn golden() {
        insta::assert_snapshot!(to_ron(&looped()));
    }

    #[test]
    fn same_sees_differences() {
        let graph = looped();
        for change in [
            |g: &mut Graph| g.name.push('x'),
            |g: &mut Graph| g.updates.clear(),
            |g: &mut Graph| g.regions[1].watches.clear(),
            |g: &mut Graph| g.regions[0].dag[NodeId::new(0)].path = "other".into(),
            |g: &mut Graph| {
                g.regions[0].dag[NodeId::new(3)].op =
                    Arc::new(Const { value: 1.0, dtype: DType::F32 }.into());
            },
        ] {
            let mut other = graph.clone();
            change(&mut other);
            assert!(!same(&graph, &other));
        }
    }

    #[test]
    fn bad_text_is_an_error() {
        let good = to_ron(&looped());
        for (from, to) in [
            ("inputs: [0, 1]", "inputs: [0, 99]"),
            ("(id: 1,", "(id: 7,"),
            ("outputs: [5]", "outputs: [55]"),
            ("region: 1", "region: 9"),
            ("region: 1", "region: 0"),
            ("Unary(Exp)", "Unary(Explode)"),
            ("regions: [", "regions: [], more: ["),
            ("ty: \"f32[3]\"", "ty: \"f32[3\""),
            (")\n", ""),
        ] {
            assert!(good.contains(from), "{from}");
            assert!(from_ron(&good.replacen(from, to, 1)).is_err(), "{from} → {to}");
        }
        assert!(from_ron("").is_err());
        assert!(from_ron("(name: \"x\", regions: [])").is_err());
    }

    fn random_graph(steps: &[(u8, u16, u16)], value: f64, name: &str) -> Graph {
        let mut graph = Graph::new(name);
        let mut b = Builder::new(&mut graph, 0, Span::default(), name.into());
        let ty = Type::new(DType::F32, vec![Dim::name("n") * Dim::from(2), 5.into()]);
        let mut ids = vec![b.emit(Input { name: name.into(), ty }.into(), &[]).unwrap()];
        for (kind, i, j) in steps {
            let (x, y) = (ids[*i as usize % ids.len()], ids[*j as usize % ids.len()]);
            b.span = Span::new(FileId(0), *i as usize, *i as usize + *j as usize);
            b.path = format!("{name}.{}", kind % 3).into();
            ids.push(match kind % 4 {
                0 => b.unary(Unary::Exp, x).unwrap(),
                1 => b.binary(Binary::Add, x, y).unwrap(),
                2 => b.scalar(value, DType::F32).unwrap(),
                _ => b.binary(Binary::Mul, x, y).unwrap(),
            });
        }
        graph.regions[0].outputs = ids.last().copied().into_iter().collect();
        graph
    }

    proptest! {
        #[test]
        fn any_graph_reads_back(
            steps in prop::collection::vec(any::<(u8, u16, u16)>(), 0..30),
            value in any::<f64>(),
            name in "\\PC{0,12}|[a-z\"\\\\\n\t]{0,6}",
        ) {
            let graph = random_graph(&steps, value, &name);
            let text = to_ron(&graph);
            let back = from_ron(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
            prop_assert!(same(&graph, &back), "{}", text);
        }

        #[test]
        fn cut_text_never_panics(cut in 0usize..2000) {
            let text = to_ron(&looped());
            let end = cut.min(text.len());
            let _ = from_ron(text.get(..end).unwrap_or(""));
        }
    }
}
