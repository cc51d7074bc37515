//! Convolutions by minimal filtering: where, and to which values.

use candle_core::{Device, Tensor};

use super::tests::{at, input, put, root, ty};
use super::*;
use crate::graph::{Builder, Named, Region, text};
use crate::ops::{
    Conv, ConvSpec, ConvTranspose, ConvWeightGrad, Loop, LoopInput, Op, Parameter, Primitive, Project,
};
use crate::run::{RunOptions, Silent, execute};

#[test]
fn large_convolutions_by_minimal_filtering() {
    let conv = || Conv { spec: ConvSpec { padding: vec![(1, 1), (1, 1)], ..ConvSpec::unit(&[3, 3]) } };
    let weight = |b: &mut Builder<'_>, path: &str, shape: &[usize]| {
        put(b, Parameter { path: path.into(), ty: ty(shape) }, &[])
    };
    // Out of a loop; small images stay.
    let build = || {
        let mut g = root(|b| {
            let (x, w) = (input(b, "x", &[1, 32, 16, 16]), weight(b, "w", &[32, 32, 3, 3]));
            let small = input(b, "small", &[1, 32, 6, 6]);
            vec![x, w, put(b, conv(), &[small, w])]
        });
        let body = Region::default();
        g.regions.push(body);
        let image = ty(&[1, 32, 16, 16]);
        let mut b = at(&mut g, 1);
        let x = put(&mut b, LoopInput { index: 0, ty: image.clone() }, &[]);
        let w = put(&mut b, LoopInput { index: 1, ty: ty(&[32, 32, 3, 3]) }, &[]);
        let y = put(&mut b, conv(), &[x, w]);
        g.regions[1].outputs = vec![y];
        let outputs = g.regions[0].outputs.clone();
        let mut b = at(&mut g, 0);
        let l = Loop {
            region: 1,
            steps: 3,
            carries: 1,
            captures: 1,
            scans: 0,
            reverse: false,
            columns: vec![],
            outputs: vec![image.clone()],
        };
        let l = b.push(l.into(), &outputs[..2], image.clone());
        let y = b.push(Project { index: 0, ty: image.clone() }.into(), &[l], image);
        g.regions[0].outputs = vec![y, outputs[2]];
        g
    };
    let g = build();
    let new = dead_code(&winograd(&g));
    crate::graph::validate::validate(&new).unwrap();
    let ops = |g: &Graph, region: usize| -> Vec<String> {
        g.regions[region].dag.node_weights().map(|n| n.op.name().to_string()).collect()
    };
    let has = |region: usize, name: &str| ops(&new, region).iter().any(|n| n == name);
    let text = text::print(&new);
    assert!(has(0, "winograd_weights") && has(0, "conv2d") && !has(0, "conv2d_winograd"), "{text}");
    assert!(has(1, "conv2d_winograd") && !has(1, "winograd_weights") && !has(1, "conv2d"), "{text}");
    // With everything on, and once more.
    let all = optimize(&g, &Options::default());
    assert!(unchanged(&all, &optimize(&all, &Options::default())), "{}", text::print(&all));
    let off = Options { disabled: ["winograd".to_string()].into(), ..Options::default() };
    assert!(!text::print(&optimize(&g, &off)).contains("winograd"));
    // Not in training.
    let mut training = build();
    let w =
        training.regions[0].ids().find(|id| matches!(*training.regions[0].node(*id).op, Op::Parameter(_)));
    training.updates = vec![Named { name: "w".into(), node: w.unwrap() }];
    assert!(unchanged(&training, &winograd(&training)));
    // Unless it is asked for.
    let asked = Options { enabled: ["winograd_in_training".to_string()].into(), ..Options::default() };
    assert!(text::print(&optimize(&training, &asked)).contains("winograd"));
    assert!(!text::print(&optimize(&training, &Options::default())).contains("winograd"));
}

/// A step of training: the weight meets images forward and, turned around, their gradient.
fn step() -> Graph {
    let spec = ConvSpec { padding: vec![(0, 2), (1, 0)], ..ConvSpec::unit(&[3, 3]) };
    let mut graph = root(|b| {
        let x = input(b, "x", &[2, 32, 16, 19]);
        let w = put(b, Parameter { path: "w".into(), ty: ty(&[40, 32, 3, 3]) }, &[]);
        let y = put(b, Conv { spec: spec.clone() }, &[x, w]);
        let size = vec![crate::shape::Dim::from(16), crate::shape::Dim::from(19)];
        let back = put(b, ConvTranspose { spec: spec.clone(), size }, &[y, w]);
        vec![y, back, put(b, ConvWeightGrad { spec: spec.clone() }, &[x, y])]
    });
    let node = graph.regions[0].outputs[2];
    graph.updates = vec![Named { name: "w".into(), node }];
    graph
}

#[test]
fn a_step_by_minimal_filtering_has_its_values() {
    let graph = step();
    let new = winograd_in_training(&graph);
    let filtered = |n: &&crate::graph::Node| matches!(*n.op, Op::ConvWinograd(_));
    assert_eq!(new.root().dag.node_weights().filter(filtered).count(), 2, "{}", text::print(&new));
    // A graph of inference is left to `winograd`, which does the same to it.
    let sampling = || Graph { updates: vec![], ..step() };
    let gradient_only = |mut g: Graph| {
        g.regions[0].outputs.truncate(2);
        dead_code(&g)
    };
    let sampling = gradient_only(sampling());
    assert!(unchanged(&sampling, &winograd_in_training(&sampling)));
    let run = |graph: &Graph| -> Vec<Vec<f32>> {
        let numbers = |shape: &[usize], k: f32| {
            let len = shape.iter().product::<usize>();
            let data: Vec<f32> = (0..len).map(|i| (i as f32 * k).sin()).collect();
            Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
        };
        let inputs = [("x".to_string(), numbers(&[2, 32, 16, 19], 0.37))].into();
        let w = numbers(&[40, 32, 3, 3], 0.71);
        let out = execute(graph, &inputs, &|_| Some(w.clone()), &RunOptions::default(), &mut Silent).unwrap();
        out.outputs.iter().map(|t| t.flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    for (direct, filtered) in [(&graph, &new), (&sampling, &winograd(&sampling))] {
        for (a, b) in run(direct).iter().zip(&run(filtered)) {
            let largest = a.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let error = a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(error < 1e-4 * largest, "{error} of {largest}");
        }
    }
}
