//! Places of nodes within their layers: near the mean of their neighbours, without overlap. Each layer is a
//! least-squares problem with order constraints, solved exactly by pooling adjacent violators.

use super::order::Layered;

/// Between items, and around a passing line.
const GAP: f64 = 26.0;
const LINE_GAP: f64 = 13.0;

impl Layered {
    /// Finds `x` of every node; the least left edge is 0. Returns the width.
    pub(super) fn place(&mut self, rounds: usize) -> f64 {
        for l in 0..self.layers.len() {
            let mut x = 0.0;
            for i in 0..self.layers[l].len() {
                let id = self.layers[l][i];
                if i > 0 {
                    x += self.distance(self.layers[l][i - 1], id);
                }
                self.nodes[id].x = x;
            }
            // Layers begin around a common middle.
            for i in 0..self.layers[l].len() {
                let id = self.layers[l][i];
                self.nodes[id].x -= x / 2.0;
            }
        }
        self.relax(rounds);
        self.normalise()
    }

    /// Moves nodes towards their neighbours.
    pub(super) fn relax(&mut self, rounds: usize) {
        let count = self.layers.len();
        for round in 0..rounds {
            match round % 3 {
                0 => (0..count).for_each(|l| self.settle(l, true, false)),
                1 => (0..count).rev().for_each(|l| self.settle(l, false, true)),
                _ => (0..count).for_each(|l| self.settle(l, true, true)),
            }
        }
        for _ in 0..2 {
            (0..count).for_each(|l| self.settle(l, true, true));
            (0..count).rev().for_each(|l| self.settle(l, true, true));
        }
    }

    /// Makes lines that pass several layers straight, with as few bends as the room around them allows.
    pub(super) fn straighten(&mut self) {
        let mut position = vec![0; self.nodes.len()];
        for layer in &self.layers {
            for (i, id) in layer.iter().enumerate() {
                position[*id] = i;
            }
        }
        let passes = |g: &Layered, id: usize| g.nodes[id].item.is_none();
        let next =
            |g: &Layered, id: usize| g.down[id].iter().map(|k| g.links[*k].to).find(|to| passes(g, *to));
        for start in 0..self.nodes.len() {
            let begins =
                passes(self, start) && !self.up[start].iter().any(|k| passes(self, self.links[*k].from));
            if !begins {
                continue;
            }
            let mut chain = vec![start];
            while let Some(id) = chain.last().and_then(|id| next(self, *id)) {
                chain.push(id);
            }
            let mut at = 0;
            while at < chain.len() {
                // As long a piece as has a place that suits all of it.
                let (mut low, mut high, mut sum, mut end) = (f64::NEG_INFINITY, f64::INFINITY, 0.0, at);
                while end < chain.len() {
                    let (l, h) = self.room(chain[end], position[chain[end]]);
                    if low.max(l) > high.min(h) {
                        break;
                    }
                    (low, high) = (low.max(l), high.min(h));
                    sum += self.nodes[chain[end]].x;
                    end += 1;
                }
                let end = end.max(at + 1);
                let mean = sum / (end - at) as f64;
                if low <= high && sum.is_finite() {
                    for id in &chain[at..end] {
                        self.nodes[*id].x = mean.clamp(low, high);
                    }
                }
                at = end;
            }
        }
    }

    /// Between which places a node may move without touching its neighbours.
    fn room(&self, id: usize, position: usize) -> (f64, f64) {
        let layer = &self.layers[self.nodes[id].layer];
        let left = position.checked_sub(1).map(|i| self.nodes[layer[i]].x + self.distance(layer[i], id));
        let right = layer.get(position + 1).map(|r| self.nodes[*r].x - self.distance(id, *r));
        let x = self.nodes[id].x;
        // Rounding must not leave the present place out.
        (left.map_or(f64::NEG_INFINITY, |l| l.min(x)), right.map_or(f64::INFINITY, |r| r.max(x)))
    }

    /// Shifts all so that the least left edge is 0; gives the width.
    pub(super) fn normalise(&mut self) -> f64 {
        let left = self.nodes.iter().map(|n| n.x - n.w / 2.0).fold(f64::INFINITY, f64::min);
        if !left.is_finite() {
            return 0.0;
        }
        for node in &mut self.nodes {
            node.x -= left;
        }
        self.nodes.iter().map(|n| n.x + n.w / 2.0).fold(0.0, f64::max)
    }

    fn distance(&self, a: usize, b: usize) -> f64 {
        let (a, b) = (&self.nodes[a], &self.nodes[b]);
        let gap = if a.item.is_some() && b.item.is_some() { GAP } else { LINE_GAP };
        (a.w + b.w) / 2.0 + gap
    }

    fn settle(&mut self, l: usize, up: bool, down: bool) {
        let mut wishes: Vec<(f64, f64)> = Vec::with_capacity(self.layers[l].len());
        let mut offset = 0.0;
        let mut offsets = Vec::with_capacity(self.layers[l].len());
        for (i, id) in self.layers[l].iter().enumerate() {
            if i > 0 {
                offset += self.distance(self.layers[l][i - 1], *id);
            }
            offsets.push(offset);
            let (wish, weight) = self.wish(*id, up, down);
            wishes.push((wish - offset, weight));
        }
        // Pool adjacent violators: blocks of (weighted mean, weight, how many).
        let mut blocks: Vec<(f64, f64, usize)> = Vec::with_capacity(wishes.len());
        for (wish, weight) in wishes {
            let mut block = (wish, weight, 1);
            while let Some(last) = blocks.last().filter(|b| b.0 >= block.0).copied() {
                blocks.pop();
                let total = last.1 + block.1;
                block = ((last.0 * last.1 + block.0 * block.1) / total, total, last.2 + block.2);
            }
            blocks.push(block);
        }
        let mut i = 0;
        for (mean, _, size) in blocks {
            for _ in 0..size {
                let id = self.layers[l][i];
                self.nodes[id].x = mean + offsets[i];
                i += 1;
            }
        }
    }

    /// Where a line wants to enter. A box of several lines stays under what feeds it; were each line to be
    /// straight, a chain of such boxes would drift sideways.
    fn entry(&self, k: usize) -> f64 {
        let link = &self.links[k];
        if self.nodes[link.to].rigid { link.to_at } else { 0.0 }
    }

    /// Where a node wants to be, and how much. Lines that pass layers want to be straight most of all.
    fn wish(&self, id: usize, up: bool, down: bool) -> (f64, f64) {
        let (mut sum, mut total) = (0.0, 0.0);
        let passes = |n: usize| self.nodes[n].item.is_none();
        let weight = |a: usize, b: usize| match (passes(a), passes(b)) {
            (true, true) => 8.0,
            (false, false) => 1.0,
            _ => 2.0,
        };
        for k in self.up[id].iter().filter(|_| up) {
            let link = &self.links[*k];
            let w = weight(link.from, id);
            sum += w * (self.nodes[link.from].x + link.from_at - self.entry(*k));
            total += w;
        }
        for k in self.down[id].iter().filter(|_| down) {
            let link = &self.links[*k];
            let w = weight(id, link.to);
            sum += w * (self.nodes[link.to].x + self.entry(*k) - link.from_at);
            total += w;
        }
        if total > 0.0 { (sum / total, total) } else { (self.nodes[id].x, 0.05) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps_and_chains_are_straight() {
        let mut g = Layered::default();
        let a = g.add(0, 40.0, Some(0));
        let b = g.add(1, 80.0, Some(1));
        let c = g.add(1, 20.0, Some(2));
        let d = g.add(2, 40.0, Some(3));
        let e = g.add(3, 40.0, Some(4));
        for (x, y) in [(a, b), (a, c), (b, d), (c, d), (d, e)] {
            g.link(x, y, 0.0, 0.0);
        }
        g.order();
        let width = g.place(9);
        assert!((g.nodes[c].x - g.nodes[b].x).abs() >= 50.0 + GAP - 1e-6);
        assert!((g.nodes[d].x - g.nodes[e].x).abs() < 1e-6);
        assert!((126.0 - 1e-6..140.0).contains(&width), "{width}");
    }
}
