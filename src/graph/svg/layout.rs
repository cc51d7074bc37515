//! Places everything: items in layers from top to bottom, lines between them, scenes within scenes.

use std::collections::{BTreeMap, BTreeSet};

use super::measure::{CARRY, FOOTER, HEADER, MARGIN, header_width, measure};
use super::order::Layered;
use super::rank::ranks;
use super::scene::{Curve, Edge, Item, Kind, Scene, Wire};
use super::text::width;
use super::wrap;

/// Size of the text on lines, and the room under a layer for it.
pub(super) const LABEL: f64 = 10.0;
const LABEL_ROOM: f64 = 22.0;
/// From the stub under a box to its label's middle.
const LABEL_AT: f64 = 12.0;
/// Room between layers: at least, and at most for lines that go far to the side.
const NEAR: f64 = 24.0;
const FAR: f64 = 64.0;
/// With more passing places than this, long lines are drawn straight behind the boxes.
const MOST_PASSES: usize = 40_000;

/// Sets the places and sizes of all that the scene holds.
pub(super) fn layout(scene: &mut Scene) {
    for item in &mut scene.items {
        match item.inner.take() {
            Some(mut inner) => {
                layout(&mut inner);
                enclose(item, &mut inner);
                item.inner = Some(inner);
            }
            None => measure(item),
        }
    }
    let read: BTreeSet<(usize, usize)> = scene.edges.iter().map(|e| (e.from, e.output)).collect();
    for (i, item) in scene.items.iter_mut().enumerate() {
        for (k, out) in item.outs.iter_mut().enumerate() {
            *out = out.filter(|_| read.contains(&(i, k)));
        }
    }
    flat(scene);
    wrap::wrap(scene);
}

/// Places the items of one scene, whose sizes are known, in one column.
pub(super) fn flat(scene: &mut Scene) {
    let rank = ranks(scene);
    let values = values(scene);
    let mut plan = Plan::new(scene, &rank, &values);
    plan.graph.order();
    plan.graph.place(9);
    plan.spread_ports(scene);
    plan.graph.order();
    plan.graph.place(12);
    plan.spread_ports(scene);
    plan.graph.relax(6);
    plan.graph.straighten();
    let width = plan.graph.normalise();
    plan.draw(scene, &rank, &values, width);
}

/// The size of an open item, and where its ports and title are.
fn enclose(item: &mut Item, inner: &mut Scene) {
    let ports = |kind: Kind| inner.items.iter().filter(move |i| i.is(kind)).map(|i| i.x + i.w / 2.0);
    let entries: Vec<f64> = ports(Kind::PortIn).collect();
    let exits: Vec<f64> = ports(Kind::PortOut).collect();
    let title = header_width(item);
    let carries = CARRY * inner.carries.len().min(4) as f64;
    // The title stands in the first gap between entering lines that is wide enough, else left of them all.
    let mut stops: Vec<f64> = entries.iter().map(|x| x + MARGIN).collect();
    stops.sort_by(f64::total_cmp);
    let need = title + 2.0 * MARGIN - 12.0;
    let full = inner.w + 2.0 * MARGIN + carries;
    let (mut shift, mut at) = (0.0, None);
    let mut from = 0.0;
    for stop in stops.iter().copied().chain([full]) {
        if stop - from >= need {
            at = Some(from + MARGIN - 4.0);
            break;
        }
        from = stop;
    }
    if at.is_none() {
        shift = (need - stops.first().copied().unwrap_or(full)).max(0.0);
        at = Some(MARGIN - 4.0);
    }
    let carried = if inner.carries.is_empty() { 0.0 } else { 10.0 };
    let header = carried + if item.lines.is_empty() { HEADER - 8.0 } else { HEADER + 6.0 };
    item.header = (header, at.unwrap_or(MARGIN));
    item.w = full + shift;
    item.h = inner.h + header + FOOTER;
    item.ins = entries.iter().map(|x| x + MARGIN + shift).collect();
    item.outs = exits.iter().map(|x| Some(x + MARGIN + shift)).collect();
    (inner.x, inner.y) = (MARGIN + shift, header);
}

/// A value: who gives it, and the edges that carry it.
struct Value {
    from: usize,
    output: usize,
    edges: Vec<Edge>,
}

fn values(scene: &Scene) -> Vec<Value> {
    let mut by_source: BTreeMap<(usize, usize), Vec<Edge>> = BTreeMap::new();
    for e in &scene.edges {
        by_source.entry((e.from, e.output)).or_default().push(*e);
    }
    by_source.into_iter().map(|((from, output), edges)| Value { from, output, edges }).collect()
}

/// What a link draws.
#[derive(Clone, Copy)]
struct Piece {
    value: usize,
    /// The edge that ends with it, as its place among the value's.
    edge: Option<usize>,
}

struct Plan {
    graph: Layered,
    /// By link.
    pieces: Vec<Piece>,
    /// Edges drawn straight: value and edge.
    loose: Vec<(usize, usize)>,
}

impl Plan {
    fn new(scene: &Scene, rank: &[usize], values: &[Value]) -> Plan {
        let mut plan = Plan { graph: Layered::default(), pieces: Vec::new(), loose: Vec::new() };
        // The labels of an item's outputs stand side by side under it.
        let mut labels = vec![0.0; scene.items.len()];
        for v in values {
            labels[v.from] += label_width(scene, v) + 10.0;
        }
        for (i, item) in scene.items.iter().enumerate() {
            let id = plan.graph.add(rank[i], item.w.max(labels[i] - 10.0).max(2.0), Some(i));
            plan.graph.nodes[id].rigid = item.inner.is_some();
        }
        let span = |v: &Value| {
            let to = v.edges.iter().map(|e| rank[e.to]).max().unwrap_or(0);
            to.saturating_sub(rank[v.from] + 1)
        };
        let mut longest = usize::MAX;
        let passes = |limit: usize| values.iter().map(span).filter(|s| *s <= limit).sum::<usize>();
        if passes(longest) > MOST_PASSES {
            longest = 512;
            while longest > 1 && passes(longest) > MOST_PASSES {
                longest /= 2;
            }
        }
        for (at, v) in values.iter().enumerate() {
            plan.route(scene, rank, at, v, longest);
        }
        plan
    }

    /// Adds the links of a value: one line down the layers, from which each edge leaves at its end.
    fn route(&mut self, scene: &Scene, rank: &[usize], at: usize, v: &Value, longest: usize) {
        let mut order: Vec<usize> = (0..v.edges.len()).collect();
        order.sort_by_key(|k| rank[v.edges[*k].to]);
        let start = rank[v.from];
        let out_at = offset(&scene.items[v.from], |i| i.outs.get(v.output).copied().flatten());
        let (mut end, mut end_at, mut layer) = (v.from, out_at, start);
        for k in order {
            let edge = &v.edges[k];
            let target = rank[edge.to];
            if target <= start || target - start > longest.saturating_add(1) {
                self.loose.push((at, k));
                continue;
            }
            while layer + 1 < target {
                layer += 1;
                let pass = self.graph.add(layer, 2.0, None);
                self.graph.link(end, pass, end_at, 0.0);
                self.pieces.push(Piece { value: at, edge: None });
                (end, end_at) = (pass, 0.0);
            }
            let in_at = offset(&scene.items[edge.to], |i| i.ins.get(edge.input).copied());
            self.graph.link(end, edge.to, end_at, in_at);
            self.pieces.push(Piece { value: at, edge: Some(k) });
        }
    }

    /// Gives the lines at closed items places side by side, in the order in which they come.
    fn spread_ports(&mut self, scene: &Scene) {
        for (i, item) in scene.items.iter().enumerate() {
            if item.inner.is_some() {
                continue;
            }
            let g = &self.graph;
            let mut ins: Vec<(f64, usize)> =
                g.up[i].iter().map(|k| (g.nodes[g.links[*k].from].x + g.links[*k].from_at, *k)).collect();
            ins.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let step = (item.w * 0.7 / ins.len().max(1) as f64).min(22.0);
            let step = if item.is_symbol() { step.min(9.0) } else { step };
            for (n, (_, k)) in ins.iter().enumerate() {
                self.graph.links[*k].to_at = (n as f64 - (ins.len() as f64 - 1.0) / 2.0) * step;
            }
            // Outputs: the links of one value leave from one place, as far from the next as labels need.
            let g = &self.graph;
            let mut outs: BTreeMap<usize, (f64, f64, Vec<usize>)> = BTreeMap::new();
            for k in &g.down[i] {
                let out = outs.entry(self.pieces[*k].value).or_default();
                out.0 += g.nodes[g.links[*k].to].x + g.links[*k].to_at;
                out.1 += 1.0;
                out.2.push(*k);
            }
            let mut outs: Vec<(f64, usize, Vec<usize>)> =
                outs.into_iter().map(|(v, (sum, n, links))| (sum / n, v, links)).collect();
            outs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let step =
                if outs.len() < 2 { 0.0 } else { self.graph.nodes[i].w.max(item.w) / outs.len() as f64 };
            for (n, (_, _, links)) in outs.iter().enumerate() {
                for k in links {
                    self.graph.links[*k].from_at = (n as f64 - (outs.len() as f64 - 1.0) / 2.0) * step;
                }
            }
        }
    }

    /// Writes places, sizes and lines into the scene.
    fn draw(&self, scene: &mut Scene, rank: &[usize], values: &[Value], total: f64) {
        let layers = self.graph.layers.len();
        let mut heights = vec![0.0f64; layers];
        let mut labelled = vec![false; layers];
        for (i, item) in scene.items.iter().enumerate() {
            heights[rank[i]] = heights[rank[i]].max(item.h);
        }
        for v in values {
            labelled[rank[v.from]] |= label_width(scene, v) > 0.0;
        }
        let mut sideways = vec![0.0f64; layers];
        for link in &self.graph.links {
            let (a, b) = (&self.graph.nodes[link.from], &self.graph.nodes[link.to]);
            let dx = (a.x + link.from_at - b.x - link.to_at).abs();
            sideways[a.layer] = sideways[a.layer].max(dx);
        }
        // Top of each layer, and the height below which its lines may bend.
        let (mut tops, mut bends) = (Vec::with_capacity(layers), Vec::with_capacity(layers));
        let mut ports = vec![false; layers];
        for (i, item) in scene.items.iter().enumerate() {
            ports[rank[i]] |= item.kind().is_port();
        }
        let mut y = 0.0;
        for l in 0..layers {
            tops.push(y);
            y += heights[l];
            bends.push(y + if labelled[l] { LABEL_ROOM } else { 4.0 });
            // Next to the border there is no box to keep away from.
            let near = if ports[l] || ports.get(l + 1) == Some(&true) { NEAR / 2.0 } else { NEAR };
            y = bends[l] + if l + 1 < layers { (near + sideways[l] * 0.12).min(FAR) } else { 0.0 };
        }
        let flat_end = !labelled.last().copied().unwrap_or(false);
        scene.h = if flat_end { (y - 4.0).max(0.0) } else { y };
        scene.w = total;
        for i in 0..scene.items.len() {
            let (x, item) = (self.graph.nodes[i].x, &mut scene.items[i]);
            item.x = x - item.w / 2.0;
            // Beside a tall box, what is small stays near what feeds it, and a source near what it feeds.
            let spare = heights[rank[i]] - item.h;
            item.y = tops[rank[i]]
                + match spare > item.h {
                    true if self.graph.up[i].is_empty() => spare,
                    true => 0.0,
                    false => spare / 2.0,
                };
            if item.inner.is_none() {
                item.ins = vec![item.w / 2.0; item.inputs];
            }
        }
        scene.wires = values.iter().map(|_| Wire::default()).collect();
        for (k, piece) in self.pieces.iter().enumerate() {
            self.draw_link(scene, values, (k, *piece), (&tops, &bends));
        }
        for (at, k) in &self.loose {
            let edge = &values[*at].edges[*k];
            let (a, b) = (&scene.items[edge.from], &scene.items[edge.to]);
            let start = (a.x + a.w / 2.0, a.y + a.h);
            let end = (b.x + b.w / 2.0, b.y);
            scene.wires[*at].curves.push(Curve { start, to: vec![[start, end, end]] });
            scene.wires[*at].arrows.push(end);
        }
    }

    fn draw_link(
        &self,
        scene: &mut Scene,
        values: &[Value],
        (k, piece): (usize, Piece),
        (tops, bends): (&[f64], &[f64]),
    ) {
        let link = &self.graph.links[k];
        let (a, b) = (&self.graph.nodes[link.from], &self.graph.nodes[link.to]);
        let (x0, x1) = (a.x + link.from_at, b.x + link.to_at);
        let v = &values[piece.value];
        let mut label = None;
        let top = match a.item {
            Some(i) => {
                let item = &scene.items[i];
                let bottom = item.y + item.h;
                let text = &item.outputs.get(v.output).map_or("", |t| t.as_str());
                if scene.wires[piece.value].label.is_none() && label_width(scene, v) > 0.0 {
                    let mid = bottom + LABEL_AT;
                    label = Some(((x0, mid), (*text).to_string()));
                }
                // Ends of a circle's side are above its lowest point.
                bottom - if item.is_symbol() { 1.5 } else { 0.0 }
            }
            None => tops[a.layer],
        };
        let bend = bends[a.layer];
        let below = tops[b.layer];
        let end = match b.item {
            Some(i) => scene.items[i].y,
            None => below,
        };
        let mut curve = Curve { start: (x0, top), to: Vec::new() };
        if bend > top {
            curve.to.push([(x0, top), (x0, bend), (x0, bend)]);
        }
        let mid = (bend + below) / 2.0;
        curve.to.push([(x0, mid), (x1, mid), (x1, below)]);
        if end > below {
            curve.to.push([(x1, below), (x1, end), (x1, end)]);
        }
        let wire = &mut scene.wires[piece.value];
        wire.curves.push(curve);
        if label.is_some() {
            wire.label = label;
        }
        if let (Some(i), Some(_)) = (b.item, piece.edge) {
            let item = &scene.items[i];
            // A line into an open block goes on inside; one to the border of this scene goes on outside.
            let goes_on = item.inner.is_some() || (item.kind().is_port() && item.title.is_empty());
            if !goes_on {
                wire.arrows.push((x1, end));
            }
        }
    }
}

/// An offset from the item's middle, of a place from its left.
fn offset(item: &Item, place: impl Fn(&Item) -> Option<f64>) -> f64 {
    match item.inner {
        Some(_) => place(item).map_or(0.0, |x| x - item.w / 2.0),
        None => 0.0,
    }
}

/// The width of a value's label; none where the next scene out shows it.
fn label_width(scene: &Scene, v: &Value) -> f64 {
    let text = scene.items[v.from].outputs.get(v.output).map_or("", |t| t.as_str());
    let outside = v.edges.iter().all(|e| {
        let to = &scene.items[e.to];
        to.is(Kind::PortOut) && to.title.is_empty() && !to.cut
    });
    if text.is_empty() || outside { 0.0 } else { width(text, LABEL, false) + 6.0 }
}
