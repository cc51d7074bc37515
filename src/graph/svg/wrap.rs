//! Breaks a tall scene into columns, as text is broken into lines: the layers are cut where few values
//! pass, and what passes goes round through the gutter to the top of the next column.

use std::collections::BTreeMap;

use super::layout::flat;
use super::rank::ranks;
use super::scene::{Curve, Edge, Item, Kind, Scene, Wire};

/// A scene is broken when it is taller than this, and that much taller than it is wide.
const TALL: f64 = 1000.0;
const RATIO: f64 = 1.6;
/// Height to width that is aimed at.
const AIM: f64 = 1.1;
/// No more columns than this, and no cut through more values.
const MOST_COLUMNS: usize = 8;
const MOST_PASSING: usize = 10;
/// What room left over, and each value that passes a cut, counts against columns.
const LEFT_OVER: f64 = 0.8;
const PASSING: f64 = 0.02;
/// Layers that are tried as cuts.
const MOST_CANDIDATES: usize = 250;
/// Beside the lines in a gutter, and between them.
const SIDE: f64 = 22.0;
const LANE: f64 = 9.0;
const TURN: f64 = 5.0;

/// Breaks a scene that `flat` has placed, if that makes it easier to see at once.
pub(super) fn wrap(scene: &mut Scene) {
    if scene.h < TALL || scene.h < RATIO * scene.w {
        return;
    }
    let rank = ranks(scene);
    let layers = Layers::new(scene, &rank);
    let mut best = (score(scene, &rank, &[]), Vec::new());
    for columns in 2..=MOST_COLUMNS {
        if let Some(cuts) = layers.cuts(columns) {
            let score = score(scene, &rank, &cuts);
            if score < best.0 {
                best = (score, cuts);
            }
        }
    }
    if best.1.is_empty() {
        return;
    }
    let mut parts = split(scene, &rank, &best.1);
    parts.iter_mut().for_each(|p| flat(&mut p.scene));
    join(scene, parts);
}

/// How bad the scene will look with these cuts, about: far from the shape that is aimed at, or with much
/// room left over under short columns.
fn score(scene: &Scene, rank: &[usize], cuts: &[usize]) -> f64 {
    let mut columns = vec![(f64::INFINITY, 0.0f64, BTreeMap::new()); cuts.len() + 1];
    for (i, item) in scene.items.iter().enumerate() {
        let column = &mut columns[cuts.partition_point(|c| *c < rank[i])];
        column.0 = column.0.min(item.y);
        column.1 = column.1.max(item.y + item.h);
        *column.2.entry(rank[i]).or_insert(0.0) += item.w + SIDE;
    }
    let sizes: Vec<(f64, f64)> = columns
        .iter()
        .map(|c| ((c.1 - c.0).max(0.0), c.2.values().copied().fold(0.0, f64::max) + 2.0 * SIDE))
        .collect();
    let height = sizes.iter().map(|s| s.0).fold(1.0, f64::max);
    let width = sizes.iter().map(|s| s.1).sum::<f64>().max(1.0);
    let filled: f64 = sizes.iter().map(|(h, w)| h * w).sum();
    (height / width / AIM).ln().abs() + LEFT_OVER * (1.0 - filled / (height * width))
}

/// What cutting needs to know of the layers.
struct Layers {
    height: f64,
    /// The lowest point of each.
    bottom: Vec<f64>,
    /// How many values pass the cut under it.
    passing: Vec<usize>,
}

impl Layers {
    fn new(scene: &Scene, rank: &[usize]) -> Layers {
        let count = rank.iter().max().map_or(0, |r| r + 1);
        let mut bottom = vec![0.0f64; count];
        for (i, item) in scene.items.iter().enumerate() {
            bottom[rank[i]] = bottom[rank[i]].max(item.y + item.h);
        }
        let mut reach: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for e in &scene.edges {
            let to = reach.entry((e.from, e.output)).or_default();
            *to = (*to).max(rank[e.to]);
        }
        // Each value passes the layers from its own to the one before its last reader: count by differences.
        let mut change = vec![0isize; count + 1];
        for ((from, _), to) in &reach {
            change[rank[*from]] += 1;
            change[(*to).max(rank[*from])] -= 1;
        }
        let running = change.iter().scan(0, |sum, c| {
            *sum += c;
            Some(usize::try_from(*sum).unwrap_or(0))
        });
        Layers { height: scene.h, bottom, passing: running.take(count).collect() }
    }

    /// The last layers of all columns but the last: columns of nearly equal height, cut where little passes.
    fn cuts(&self, columns: usize) -> Option<Vec<usize>> {
        // The first and the last layer may hold the ports alone: a column has more than them.
        let step = self.bottom.len().div_ceil(MOST_CANDIDATES).max(1);
        let all = (1..self.bottom.len().saturating_sub(2)).step_by(step);
        let candidates: Vec<usize> = all.filter(|l| self.passing[*l] <= MOST_PASSING).collect();
        let ideal = self.height / columns as f64;
        let cost = |from: f64, to: f64| ((to - from) / ideal - 1.0).powi(2);
        // The least cost of so many cuts of which the last is at a candidate, and the candidate before it.
        let first = |c: &usize| (cost(0.0, self.bottom[*c]) + PASSING * self.passing[*c] as f64, None);
        let mut table: Vec<Vec<(f64, Option<usize>)>> = vec![candidates.iter().map(first).collect()];
        for k in 1..columns - 1 {
            let row = candidates.iter().enumerate().map(|(i, c)| {
                let before = (0..i).map(|j| {
                    let total = table[k - 1][j].0 + cost(self.bottom[candidates[j]], self.bottom[*c]);
                    (total + PASSING * self.passing[*c] as f64, Some(j))
                });
                before.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, None))
            });
            let row = row.collect();
            table.push(row);
        }
        let total = |i: usize| table[columns - 2][i].0 + cost(self.bottom[candidates[i]], self.height);
        let mut at = (0..candidates.len()).min_by(|a, b| total(*a).total_cmp(&total(*b)))?;
        if !total(at).is_finite() {
            return None;
        }
        let mut out = vec![candidates[at]];
        for k in (1..columns - 1).rev() {
            at = table[k][at].1?;
            out.push(candidates[at]);
        }
        out.reverse();
        Some(out)
    }
}

/// A column: its items with their numbers in the whole, and what passes in and out, in order of its ports.
#[derive(Default)]
struct Part {
    scene: Scene,
    numbers: Vec<Option<usize>>,
    entries: Vec<(usize, usize)>,
    exits: Vec<(usize, usize)>,
}

fn split(scene: &mut Scene, rank: &[usize], cuts: &[usize]) -> Vec<Part> {
    let column = |layer: usize| cuts.partition_point(|c| *c < layer);
    let count = cuts.len() + 1;
    let mut last: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for e in &scene.edges {
        let to = last.entry((e.from, e.output)).or_default();
        *to = (*to).max(column(rank[e.to]));
    }
    let mut parts: Vec<Part> = (0..count).map(|_| Part::default()).collect();
    // Entries come first, as the ports of a scene do.
    let mut entry: Vec<BTreeMap<(usize, usize), usize>> = vec![BTreeMap::new(); count];
    for (value, to) in &last {
        for k in column(rank[value.0]) + 1..=*to {
            let port = Item { outputs: vec![String::new()], cut: true, ..Item::new(Kind::PortIn, "") };
            entry[k].insert(*value, parts[k].scene.items.len());
            parts[k].scene.items.push(port);
            parts[k].numbers.push(None);
            parts[k].entries.push(*value);
        }
    }
    let mut place = vec![0; scene.items.len()];
    for (i, item) in scene.items.iter_mut().enumerate() {
        let part = &mut parts[column(rank[i])];
        place[i] = part.scene.items.len();
        part.scene.items.push(std::mem::take(item));
        part.numbers.push(Some(i));
    }
    for e in &scene.edges {
        let k = column(rank[e.to]);
        let (from, output) = match entry[k].get(&(e.from, e.output)) {
            Some(port) => (*port, 0),
            None => (place[e.from], e.output),
        };
        parts[k].scene.edges.push(Edge { from, output, to: place[e.to], input: e.input });
    }
    for (value, to) in &last {
        for k in column(rank[value.0])..*to {
            let (from, output) = match entry[k].get(value) {
                Some(port) => (*port, 0),
                None => (place[value.0], value.1),
            };
            let part = &mut parts[k];
            let at = part.scene.items.len();
            part.scene.items.push(Item { inputs: 1, cut: true, ..Item::new(Kind::PortOut, "") });
            part.scene.edges.push(Edge { from, output, to: at, input: 0 });
            part.numbers.push(None);
            part.exits.push(*value);
        }
    }
    parts
}

/// Puts the columns side by side and joins what passes.
fn join(scene: &mut Scene, parts: Vec<Part>) {
    let lanes = parts.iter().map(|p| p.exits.len()).max().unwrap_or(0);
    let room = 2.0 * TURN + LANE * lanes as f64;
    let mut x = 0.0;
    let mut height = 0.0f64;
    scene.wires.clear();
    // Value, and its place at the foot of the column before.
    let mut open: Vec<((usize, usize), (f64, f64))> = Vec::new();
    for mut part in parts {
        let ports = |kind: Kind, part: &Part, x: f64| -> Vec<(f64, f64)> {
            let is = |i: &&Item| i.is(kind) && i.cut;
            let place =
                |i: &Item| (x + i.x + i.w / 2.0, room + i.y + if kind == Kind::PortOut { i.h } else { 0.0 });
            part.scene.items.iter().filter(is).map(place).collect()
        };
        if !open.is_empty() {
            x += 2.0 * SIDE + LANE * (open.len() as f64 - 1.0);
        }
        // Lines further right turn first, into the nearer lane, and rise higher.
        open.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
        let heads = ports(Kind::PortIn, &part, x);
        let foot = open.iter().map(|(_, p)| p.1).fold(0.0, f64::max);
        let count = open.len();
        for (k, (value, start)) in open.drain(..).enumerate() {
            let at = part.entries.iter().position(|v| *v == value).and_then(|i| heads.get(i));
            if let Some(end) = at {
                let lane = x - SIDE - LANE * (count - 1 - k) as f64;
                let low = foot + TURN + LANE * k as f64;
                let high = room - TURN - LANE * (count - 1 - k) as f64;
                height = height.max(low + TURN);
                scene
                    .wires
                    .push(Wire { curves: vec![around(start, *end, lane, low, high)], ..Wire::default() });
            }
        }
        let feet = ports(Kind::PortOut, &part, x);
        open = part.exits.iter().copied().zip(feet).collect();
        for mut wire in part.scene.wires.drain(..) {
            shift(&mut wire, (x, room));
            scene.wires.push(wire);
        }
        for (item, number) in part.scene.items.into_iter().zip(part.numbers) {
            if let Some(i) = number {
                scene.items[i] = Item { x: item.x + x, y: item.y + room, ..item };
            }
        }
        height = height.max(room + part.scene.h);
        x += part.scene.w;
    }
    (scene.w, scene.h) = (x, height);
}

/// Down to `low`, right to `lane`, up to `high`, right and down to the end, with round corners.
fn around(start: (f64, f64), end: (f64, f64), lane: f64, low: f64, high: f64) -> Curve {
    let mut to = Vec::new();
    let mut pen = start;
    let corners = [(start.0, low), (lane, low), (lane, high), (end.0, high), end];
    for (i, corner) in corners.iter().enumerate() {
        let next = corners.get(i + 1);
        let toward = |from: (f64, f64), goal: (f64, f64)| {
            let (dx, dy) = (goal.0 - from.0, goal.1 - from.1);
            let length = dx.hypot(dy).max(1e-9);
            let r = TURN.min(length / 2.0);
            (from.0 + dx / length * r, from.1 + dy / length * r)
        };
        let stop = if next.is_some() { toward(*corner, pen) } else { *corner };
        to.push([pen, stop, stop]);
        pen = stop;
        if let Some(next) = next {
            let leave = toward(*corner, *next);
            to.push([*corner, *corner, leave]);
            pen = leave;
        }
    }
    Curve { start, to }
}

fn shift(wire: &mut Wire, by: (f64, f64)) {
    let moved = |p: &mut (f64, f64)| *p = (p.0 + by.0, p.1 + by.1);
    for curve in &mut wire.curves {
        moved(&mut curve.start);
        curve.to.iter_mut().flatten().for_each(moved);
    }
    wire.arrows.iter_mut().for_each(moved);
    if let Some((at, _)) = &mut wire.label {
        moved(at);
    }
}
