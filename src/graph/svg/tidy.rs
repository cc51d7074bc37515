//! Fewer boxes and lines for the same content: chains of small operations share a box, and bundles of
//! values between two closed boxes share a line.

use std::collections::BTreeMap;

use super::scene::{Edge, Kind, Scene};

/// Most operations in one box.
const LONGEST_CHAIN: usize = 6;

/// Values between the same boxes that get lines of their own.
const LINES: usize = 2;

/// Applies both.
pub(super) fn tidy(scene: Scene) -> Scene {
    bundle(chain(scene))
}

/// Draws an operation into the box that feeds it, where it is that box's only reader, reads nothing else
/// and keeps the shape: `conv2d`, then `silu`.
fn chain(mut scene: Scene) -> Scene {
    let n = scene.items.len();
    let mut readers = vec![0; n];
    let mut feeds: Vec<Option<usize>> = vec![None; n];
    let mut inputs = vec![0; n];
    for e in &scene.edges {
        readers[e.from] += 1;
        inputs[e.to] += 1;
        feeds[e.to] = Some(e.from);
    }
    // Where an item went.
    let mut into: Vec<usize> = (0..n).collect();
    for i in 0..n {
        let Some(from) = feeds[i].filter(|f| scene.items[i].tail && inputs[i] == 1 && readers[*f] == 1)
        else {
            continue;
        };
        let head = into[from];
        let host = &scene.items[head];
        let fits = matches!(host.kind(), Kind::Op | Kind::Weights | Kind::Random) && host.inner.is_none();
        if !fits || host.outputs.len() != 1 || host.tails.len() + 1 >= LONGEST_CHAIN {
            continue;
        }
        let tail = std::mem::take(&mut scene.items[i]);
        let host = &mut scene.items[head];
        host.tails.push(tail.title);
        host.tails.extend(tail.lines);
        host.hover = format!("{}\n{}", host.hover, tail.hover);
        host.outputs = tail.outputs;
        into[i] = head;
    }
    // A chain stands where its last operation stood, so that what comes before stays before.
    let mut last: Vec<usize> = (0..n).collect();
    for i in 0..n {
        last[into[i]] = i;
    }
    let heads: BTreeMap<usize, usize> =
        (0..n).filter(|i| into[*i] == *i).map(|head| (last[head], head)).collect();
    let mut place = vec![0; n];
    for (at, head) in heads.values().enumerate() {
        place[*head] = at;
    }
    let items = heads.values().map(|h| std::mem::take(&mut scene.items[*h])).collect();
    let at = |i: usize| place[into[i]];
    let edges = scene.edges.iter().filter(|e| into[e.from] != into[e.to]);
    let edges = edges.map(|e| Edge { from: at(e.from), to: at(e.to), ..*e }).collect();
    let carries = scene.carries.iter().map(|(a, b)| (at(*a), at(*b))).collect();
    Scene { items, edges, carries, ..Scene::default() }
}

/// Joins the outputs of a closed box that all go to the same closed boxes.
fn bundle(mut scene: Scene) -> Scene {
    let mut outgoing: Vec<BTreeMap<usize, Vec<usize>>> = vec![BTreeMap::new(); scene.items.len()];
    for (k, e) in scene.edges.iter().enumerate() {
        outgoing[e.from].entry(e.output).or_default().push(k);
    }
    let mut dropped = vec![false; scene.edges.len()];
    for (i, outputs) in outgoing.iter().enumerate() {
        if scene.items[i].inner.is_some() || outputs.len() <= LINES {
            continue;
        }
        let mut by_target: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for (output, edges) in outputs {
            let mut targets: Vec<usize> = edges.iter().map(|k| scene.edges[*k].to).collect();
            targets.sort_unstable();
            let closed = |t: &usize| scene.items[*t].inner.is_none() && !scene.items[*t].kind().is_port();
            if targets.iter().all(closed) {
                by_target.entry(targets).or_default().push(*output);
            }
        }
        for group in by_target.values().filter(|g| g.len() > LINES) {
            let labels: Vec<&String> = group.iter().map(|o| &scene.items[i].outputs[*o]).collect();
            let label = match labels.iter().all(|l| *l == labels[0]) {
                true => format!("{} × {}", group.len(), labels[0]),
                false => format!("{} tensors", group.len()),
            };
            scene.items[i].outputs[group[0]] = label;
            for output in &group[1..] {
                for k in &outputs[output] {
                    dropped[*k] = true;
                }
            }
        }
    }
    let mut keep = dropped.iter().map(|d| !d);
    scene.edges.retain(|_| keep.next().unwrap_or(true));
    scene
}
