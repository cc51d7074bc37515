//! Drawings of realistic graphs: nothing overlaps, everything is there, the text is well-formed.

use std::sync::Arc;

use super::fold::Folds;
use super::scene::{Kind, Scene};
use super::view::{Openness, scene};
use super::{DrawOptions, layout, to_svg};
use crate::graph::{Builder, Graph, Named, NodeId, Region};
use crate::ops::{
    Binary, Column, Conv, ConvSpec, ConvTranspose, Dist, Emit, Input, Loop, LoopInput, MatMul, Op, Parameter,
    Project, Random, Reduce, ReduceKind, Reshape, Unary,
};
use crate::shape::{DType, Dim, Type};
use crate::source::Span;

/// A builder that knows a few blocks of the standard library, as elaboration lays them out.
struct Net<'a> {
    b: Builder<'a>,
    site: u64,
}

impl Net<'_> {
    fn at<T>(&mut self, name: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.b.path.clone();
        let inner = if before.is_empty() { name.to_string() } else { format!("{before}.{name}") };
        self.b.path = Arc::from(inner);
        let out = f(self);
        self.b.path = before;
        out
    }

    fn emit(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> NodeId {
        self.b.emit(op.into(), inputs).unwrap_or_else(|e| panic!("{}", e.message))
    }

    fn weight(&mut self, name: &str, shape: &[usize]) -> NodeId {
        let path = format!("{}.{name}", self.b.path);
        self.emit(Parameter { path, ty: Type::of(DType::F32, shape) }, &[])
    }

    fn width(&self, x: NodeId, axis: usize) -> usize {
        self.b.ty(x).shape[axis].as_const().unwrap() as usize
    }

    fn bias(&mut self, y: NodeId, channels: usize, rank: usize) -> NodeId {
        let bias = self.weight("bias", &[channels]);
        let bias = if rank == 2 {
            bias
        } else {
            let shape = vec![Dim::from(1), channels.into(), 1.into(), 1.into()];
            self.emit(Reshape { shape }, &[bias])
        };
        self.emit(Binary::Add, &[y, bias])
    }

    fn linear(&mut self, name: &str, x: NodeId, out: usize) -> NodeId {
        self.at(name, |n| {
            let w = n.width(x, 1);
            let weight = n.weight("weight", &[out, w]);
            let y = n.emit(MatMul { transpose_a: false, transpose_b: true }, &[x, weight]);
            n.bias(y, out, 2)
        })
    }

    fn conv(&mut self, name: &str, x: NodeId, out: usize, kernel: usize, stride: usize) -> NodeId {
        self.at(name, |n| {
            let c = n.width(x, 1);
            let weight = n.weight("weight", &[out, c, kernel, kernel]);
            let spec = ConvSpec {
                stride: vec![stride; 2],
                padding: vec![(1, 1); 2],
                ..ConvSpec::unit(&[kernel, kernel])
            };
            let y = n.emit(Conv { spec }, &[x, weight]);
            n.bias(y, out, 4)
        })
    }

    fn conv_transpose(&mut self, name: &str, x: NodeId, out: usize) -> NodeId {
        self.at(name, |n| {
            let (c, h) = (n.width(x, 1), n.width(x, 2));
            let weight = n.weight("weight", &[c, out, 4, 4]);
            let spec = ConvSpec { stride: vec![2; 2], padding: vec![(1, 1); 2], ..ConvSpec::unit(&[4, 4]) };
            let size = vec![Dim::from(2 * h), Dim::from(2 * h)];
            let y = n.emit(ConvTranspose { spec, size }, &[x, weight]);
            n.bias(y, out, 4)
        })
    }

    fn norm(&mut self, name: &str, x: NodeId) -> NodeId {
        self.at(name, |n| {
            let c = n.width(x, 1);
            let mean = n.emit(Reduce { kind: ReduceKind::Mean, axes: vec![1, 2, 3], keep: true }, &[x]);
            let d = n.emit(Binary::Sub, &[x, mean]);
            let s = n.emit(Binary::Mul, &[d, d]);
            let v = n.emit(Reduce { kind: ReduceKind::Mean, axes: vec![1, 2, 3], keep: true }, &[s]);
            let v = n.b.binary_scalar(Binary::Add, v, 1e-5).unwrap();
            let v = n.emit(Unary::Sqrt, &[v]);
            let y = n.emit(Binary::Div, &[d, v]);
            let w = n.weight("weight", &[c]);
            let w = n.emit(Reshape { shape: vec![Dim::from(1), c.into(), 1.into(), 1.into()] }, &[w]);
            let y = n.emit(Binary::Mul, &[y, w]);
            n.bias(y, c, 4)
        })
    }

    fn normal(&mut self, shape: &[Dim]) -> NodeId {
        self.site += 1;
        let shape = shape.to_vec();
        self.emit(Random { dist: Dist::Normal, shape, site: self.site, dtype: DType::F32 }, &[])
    }

    fn unary(&mut self, op: Unary, x: NodeId) -> NodeId {
        self.emit(op, &[x])
    }

    fn scalar(&mut self, op: Binary, x: NodeId, value: f64) -> NodeId {
        self.b.binary_scalar(op, x, value).unwrap()
    }

    fn input(&mut self, name: &str, shape: &[Dim], space: Option<&str>) -> NodeId {
        let ty = Type { space: space.map(Arc::from), ..Type::new(DType::F32, shape.to_vec()) };
        self.emit(Input { name: name.into(), ty }, &[])
    }
}

fn net(graph: &mut Graph, region: usize) -> Net<'_> {
    Net { b: Builder::new(graph, region, Span::default(), "".into()), site: 0 }
}

fn dims(rest: &[i64]) -> Vec<Dim> {
    std::iter::once(Dim::name("n")).chain(rest.iter().map(|d| Dim::from(*d))).collect()
}

fn encoder(n: &mut Net<'_>, x: NodeId) -> (NodeId, NodeId) {
    n.at("encoder", |n| {
        let h = n.at("body", |n| {
            let h = n.conv("0", x, 32, 4, 2);
            let h = n.unary(Unary::Silu, h);
            let h = n.conv("2", h, 64, 4, 2);
            let h = n.unary(Unary::Silu, h);
            n.emit(Reshape { shape: dims(&[64 * 49]) }, &[h])
        });
        (n.linear("mean", h, 16), n.linear("logvar", h, 16))
    })
}

fn decoder(n: &mut Net<'_>, z: NodeId) -> NodeId {
    n.at("decoder", |n| {
        let h = n.linear("stem", z, 64 * 49);
        let h = n.unary(Unary::Silu, h);
        let h = n.emit(Reshape { shape: dims(&[64, 7, 7]) }, &[h]);
        n.at("body", |n| {
            let h = n.conv_transpose("0", h, 32);
            let h = n.unary(Unary::Silu, h);
            let h = n.conv_transpose("2", h, 1);
            n.unary(Unary::Tanh, h)
        })
    })
}

fn to_unit(n: &mut Net<'_>, y: NodeId) -> NodeId {
    let y = n.scalar(Binary::Mul, y, 0.5);
    n.scalar(Binary::Add, y, 0.5)
}

/// Encode, reparameterize, decode, and the two terms of the loss.
fn vae() -> Graph {
    let mut graph = Graph::new("vae.reconstruct");
    let mut n = net(&mut graph, 0);
    let x = n.input("x", &dims(&[1, 28, 28]), Some("unit"));
    let s = n.scalar(Binary::Mul, x, 2.0);
    let s = n.scalar(Binary::Sub, s, 1.0);
    let (mu, logvar) = encoder(&mut n, s);
    let std = n.scalar(Binary::Mul, logvar, 0.5);
    let std = n.unary(Unary::Exp, std);
    let noise = n.normal(&dims(&[16]));
    let z = n.emit(Binary::Mul, &[std, noise]);
    let z = n.emit(Binary::Add, &[mu, z]);
    let y = decoder(&mut n, z);
    let image = to_unit(&mut n, y);
    let d = n.emit(Binary::Sub, &[y, s]);
    let d = n.emit(Binary::Mul, &[d, d]);
    let mse = n.emit(Reduce { kind: ReduceKind::Sum, axes: vec![1, 2, 3], keep: false }, &[d]);
    let m2 = n.emit(Binary::Mul, &[mu, mu]);
    let e = n.unary(Unary::Exp, logvar);
    let k = n.emit(Binary::Add, &[m2, e]);
    let k = n.emit(Binary::Sub, &[k, logvar]);
    let k = n.scalar(Binary::Sub, k, 1.0);
    let k = n.emit(Reduce { kind: ReduceKind::Sum, axes: vec![1], keep: false }, &[k]);
    let kl = n.scalar(Binary::Mul, k, 0.5);
    graph.regions[0].outputs = vec![image];
    graph.regions[0].watches =
        vec![Named { name: "mse".into(), node: mse }, Named { name: "kl".into(), node: kl }];
    graph.output_names = vec!["image".into()];
    graph
}

/// A residual block; skip connection and conditioning.
fn resnet(n: &mut Net<'_>, name: &str, x: NodeId, t: NodeId) -> NodeId {
    n.at(name, |n| {
        let c = n.width(x, 1);
        let h = n.norm("norm1", x);
        let h = n.unary(Unary::Silu, h);
        let h = n.conv("conv1", h, c, 3, 1);
        let e = n.linear("time_emb_proj", t, c);
        let e = n.emit(Reshape { shape: dims(&[c as i64, 1, 1]) }, &[e]);
        let h = n.emit(Binary::Add, &[h, e]);
        let h = n.norm("norm2", h);
        let h = n.unary(Unary::Silu, h);
        let h = n.conv("conv2", h, c, 3, 1);
        n.emit(Binary::Add, &[x, h])
    })
}

/// A small denoiser with skips: down, middle, up.
fn unet(n: &mut Net<'_>, x: NodeId, t: NodeId) -> NodeId {
    n.at("unet", |n| {
        let e = n.at("time", |n| {
            let e = n.linear("0", t, 64);
            let e = n.unary(Unary::Silu, e);
            n.linear("2", e, 64)
        });
        let mut h = n.conv("conv_in", x, 32, 3, 1);
        let mut skips = Vec::new();
        for i in 0..2 {
            h = n.at(&format!("down.{i}"), |n| {
                let h = resnet(n, "resnet", h, e);
                skips.push(h);
                n.conv("downsample", h, 32, 4, 2)
            });
        }
        h = resnet(n, "mid", h, e);
        for i in 0..2 {
            h = n.at(&format!("up.{i}"), |n| {
                let h = n.conv_transpose("upsample", h, 32);
                let h = n.emit(Binary::Add, &[h, skips.pop().unwrap()]);
                resnet(n, "resnet", h, e)
            });
        }
        n.conv("conv_out", h, 1, 3, 1)
    })
}

/// Noise, fifty steps of a sampler around the denoiser, images.
fn sampler() -> Graph {
    let mut graph = Graph::new("diffusion.sample");
    graph.regions.push(Region::default());
    let shape = dims(&[1, 28, 28]);
    let ty = Type::new(DType::F32, shape.clone());
    // The weights are captured by the loop, as elaboration does it: build the body on stand-ins first.
    let mut body = net(&mut graph, 1);
    let x = body.emit(LoopInput { index: 0, ty: ty.clone() }, &[]);
    let label = body.emit(LoopInput { index: 1, ty: Type::new(DType::F32, dims(&[8])) }, &[]);
    let c: Vec<NodeId> = (0..4).map(|index| body.emit(Column { index, dtype: DType::F32 }, &[])).collect();
    let t = body.emit(Binary::Mul, &[label, c[0]]);
    let t = body.unary(Unary::Sin, t);
    let eps = unet(&mut body, x, t);
    let scaled = body.emit(Binary::Mul, &[eps, c[1]]);
    let x0 = body.emit(Binary::Sub, &[x, scaled]);
    let x0 = body.emit(Binary::Div, &[x0, c[2]]);
    let dir = body.emit(Binary::Mul, &[eps, c[3]]);
    let mean = body.emit(Binary::Mul, &[x0, c[2]]);
    let next = body.emit(Binary::Add, &[mean, dir]);
    let noise = body.normal(&shape);
    let noise = body.emit(Binary::Mul, &[noise, c[1]]);
    let next = body.emit(Binary::Add, &[next, noise]);
    graph.regions[1].outputs = vec![next];
    graph.regions[1].watches = vec![Named { name: "x0".into(), node: x0 }];
    let mut root = net(&mut graph, 0);
    let label = root.input("label", &dims(&[8]), None);
    let x = root.normal(&shape);
    let steps = Loop {
        region: 1,
        steps: 50,
        carries: 1,
        captures: 1,
        scans: 0,
        reverse: false,
        columns: vec![vec![0.0; 50]; 4],
        outputs: vec![ty.clone()],
    };
    let l = root.emit(steps, &[x, label]);
    let y = root.emit(Project { index: 0, ty }, &[l]);
    let y = to_unit(&mut root, y);
    graph.regions[0].outputs = vec![y];
    graph.output_names = vec!["image".into()];
    graph
}

/// Many layers of many blocks.
fn deep(blocks: usize) -> Graph {
    let mut graph = Graph::new("deep.forward");
    let mut n = net(&mut graph, 0);
    let x = n.input("x", &dims(&[8, 8, 8]), None);
    let t = n.input("t", &dims(&[8]), None);
    let mut h = x;
    for i in 0..blocks {
        h = n.at("trunk", |n| resnet(n, &format!("layers.{i}"), h, t));
    }
    graph.regions[0].outputs = vec![h];
    graph
}

fn save(name: &str, text: &str) {
    if let Some(dir) = option_env!("TAPER_DRAWINGS") {
        std::fs::write(format!("{dir}/{name}.svg"), text).unwrap();
    }
}

#[test]
fn drawings() {
    for (name, graph) in [("vae", vae()), ("sampler", sampler()), ("deep", deep(12))] {
        for (suffix, depth) in
            [("", None), ("_0", Some(0)), ("_1", Some(1)), ("_2", Some(2)), ("_9", Some(9))]
        {
            let text = to_svg(&graph, &DrawOptions { depth, title: None });
            save(&format!("{name}{suffix}"), &text);
            check(
                &graph,
                depth.map_or(Openness { depth: 2, leaves: false, most: 120 }, |depth| Openness {
                    depth,
                    leaves: true,
                    most: usize::MAX,
                }),
            );
            assert_eq!(text, to_svg(&graph, &DrawOptions { depth, title: None }), "the same text each time");
            assert_balanced(&text);
        }
    }
}

/// Boxes do not overlap, labels lie on no box, inner scenes lie within their item, lines keep to the scene.
fn check(graph: &Graph, open: Openness) {
    let mut s = scene(graph, &Folds::new(graph), open);
    layout::layout(&mut s);
    check_scene(&s);
}

fn check_scene(s: &Scene) {
    const E: f64 = 0.01;
    let rects: Vec<(f64, f64, f64, f64)> = s.items.iter().map(|i| (i.x, i.y, i.x + i.w, i.y + i.h)).collect();
    for (i, a) in rects.iter().enumerate() {
        assert!(a.0 > -E && a.1 > -E && a.2 < s.w + E && a.3 < s.h + E, "{} is inside", s.items[i].title);
        for (j, b) in rects.iter().enumerate().skip(i + 1) {
            let apart = a.2 < b.0 + E || b.2 < a.0 + E || a.3 < b.1 + E || b.3 < a.1 + E;
            assert!(apart, "{} and {} overlap", s.items[i].title, s.items[j].title);
        }
    }
    let labels: Vec<_> = s.wires.iter().filter_map(|w| w.label.as_ref()).collect();
    let boxes: Vec<(f64, f64, f64, f64)> = labels
        .iter()
        .map(|((x, y), t)| {
            let w = super::text::width(t, layout::LABEL, false) / 2.0;
            (x - w, y - 5.0, x + w, y + 5.0)
        })
        .collect();
    for (i, a) in boxes.iter().enumerate() {
        for b in boxes.iter().skip(i + 1).chain(&rects) {
            let apart = a.2 < b.0 + E || b.2 < a.0 + E || a.3 < b.1 + E || b.3 < a.1 + E;
            assert!(apart || b.0 == b.2, "the label {} is free: {a:?} {b:?}", labels[i].1);
        }
    }
    for item in &s.items {
        if let Some(inner) = &item.inner {
            assert!(inner.x + inner.w <= item.w + E && inner.y + inner.h <= item.h + E);
            check_scene(inner);
        }
    }
}

/// Tags close in order, and no text holds raw markup.
fn assert_balanced(text: &str) {
    let mut open = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        assert!(!tag.contains('<'), "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap_or(""));
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn shows_what_matters() {
    let text = to_svg(&vae(), &DrawOptions::default());
    for part in
        ["conv2d 4×4", "stride 2", "weight [32, 1, 4, 4]", "[n, 32, 14, 14]", "encoder", "watch kl", "normal"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let text = to_svg(&sampler(), &DrawOptions::default());
    for part in ["×50", "carry", "next", "watch x0", "unet"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn calls_of_one_block_stand_apart() {
    let mut graph = Graph::new("gan");
    let mut n = net(&mut graph, 0);
    let a = n.input("real", &dims(&[8]), None);
    let b = n.input("fake", &dims(&[8]), None);
    let a = n.linear("critic", a, 1);
    let b = n.linear("critic", b, 1);
    graph.regions[0].outputs = vec![a, b];
    let s = scene(&graph, &Folds::new(&graph), Openness { depth: 0, leaves: false, most: 120 });
    assert_eq!(s.items.iter().filter(|i| i.is(Kind::Weights)).count(), 2);
}

#[test]
fn text_is_escaped() {
    let mut graph = Graph::new("<&\">");
    let mut n = net(&mut graph, 0);
    let x = n.input("a<b", &dims(&[8]), None);
    let y = n.linear("x\"&'", x, 2);
    graph.regions[0].outputs = vec![y];
    let text = to_svg(&graph, &DrawOptions::default());
    assert_balanced(&text);
    assert!(text.contains("a&lt;b") && !text.contains("a<b"));
}

#[test]
fn an_empty_graph_is_a_drawing() {
    assert_balanced(&to_svg(&Graph::new("empty"), &DrawOptions::default()));
}

#[test]
fn a_long_flat_graph_is_summed_up() {
    let mut graph = Graph::new("flat");
    let mut n = net(&mut graph, 0);
    let x = n.input("x", &dims(&[8]), None);
    let mut h = x;
    for _ in 0..1000 {
        let s = n.unary(Unary::Sin, h);
        h = n.emit(Binary::Add, &[s, x]);
    }
    graph.regions[0].outputs = vec![h];
    let text = to_svg(&graph, &DrawOptions::default());
    save("flat", &text);
    assert!(text.contains("operations") && text.len() < 40_000, "{}", text.len());
}

#[test]
fn five_thousand_nodes_take_under_a_second() {
    let graph = deep(5000 / 34 + 1);
    assert!(graph.root().dag.node_count() >= 5000, "{}", graph.root().dag.node_count());
    let start = std::time::Instant::now();
    let text = to_svg(&graph, &DrawOptions::default());
    let time = start.elapsed();
    save("big", &text);
    // Four times the limit: tests share their machine and are not optimised.
    assert!(time.as_secs_f64() < 4.0, "{time:?}");
}
