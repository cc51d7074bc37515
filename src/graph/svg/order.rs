//! The order of nodes within layers, with few crossings: barycentre sweeps, then swaps of neighbours.
//! (Sugiyama, Tagawa & Toda 1981; counting after Barth, Mutzel & Jünger 2004.)

/// A node of the layered graph: an item, or a place where a line passes a layer.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) layer: usize,
    /// Room it needs, from side to side.
    pub(super) w: f64,
    /// The item, if it is one.
    pub(super) item: Option<usize>,
    /// Whether lines enter it at fixed places, as those of an open block do.
    pub(super) rigid: bool,
    /// The place of its middle; found by `place`.
    pub(super) x: f64,
}

/// A piece of a line from a layer to the next. Offsets are from the middle of the nodes.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) from_at: f64,
    pub(super) to_at: f64,
}

/// Layers of nodes, and links between adjacent layers.
#[derive(Clone, Debug, Default)]
pub(super) struct Layered {
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<Link>,
    pub(super) layers: Vec<Vec<usize>>,
    /// Links into and out of each node.
    pub(super) up: Vec<Vec<usize>>,
    pub(super) down: Vec<Vec<usize>>,
}

impl Layered {
    pub(super) fn add(&mut self, layer: usize, w: f64, item: Option<usize>) -> usize {
        let id = self.nodes.len();
        self.nodes.push(Node { layer, w, item, rigid: false, x: 0.0 });
        while self.layers.len() <= layer {
            self.layers.push(Vec::new());
        }
        self.layers[layer].push(id);
        self.up.push(Vec::new());
        self.down.push(Vec::new());
        id
    }

    pub(super) fn link(&mut self, from: usize, to: usize, from_at: f64, to_at: f64) {
        let k = self.links.len();
        self.links.push(Link { from, to, from_at, to_at });
        self.down[from].push(k);
        self.up[to].push(k);
    }

    /// Orders the layers.
    pub(super) fn order(&mut self) {
        let rounds = match self.links.len() {
            0..2_000 => 12,
            2_000..20_000 => 6,
            _ => 3,
        };
        let mut position = vec![0usize; self.nodes.len()];
        self.number(&mut position);
        let mut best = (self.crossings(&position), self.layers.clone());
        for round in 0..rounds {
            let count = self.layers.len();
            if round % 2 == 0 {
                for l in 1..count {
                    self.sweep(l, true, &mut position);
                }
            } else {
                for l in (0..count.saturating_sub(1)).rev() {
                    self.sweep(l, false, &mut position);
                }
            }
            self.swap_neighbours(&mut position);
            let crossings = self.crossings(&position);
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
            if best.0 == 0 {
                break;
            }
        }
        self.layers = best.1;
    }

    fn number(&self, position: &mut [usize]) {
        for layer in &self.layers {
            for (i, id) in layer.iter().enumerate() {
                position[*id] = i;
            }
        }
    }

    /// Where a link touches its node, as a share of the node's width.
    fn at(&self, position: &[usize], node: usize, offset: f64) -> f64 {
        position[node] as f64 + (offset / self.nodes[node].w.max(1.0)).clamp(-0.49, 0.49)
    }

    fn above(&self, position: &[usize], k: usize) -> f64 {
        self.at(position, self.links[k].from, self.links[k].from_at)
    }

    fn below(&self, position: &[usize], k: usize) -> f64 {
        self.at(position, self.links[k].to, self.links[k].to_at)
    }

    fn sweep(&mut self, l: usize, down: bool, position: &mut [usize]) {
        let key = |id: usize, position: &[usize]| {
            let links = if down { &self.up[id] } else { &self.down[id] };
            if links.is_empty() {
                return None;
            }
            let sum: f64 = links
                .iter()
                .map(|k| if down { self.above(position, *k) } else { self.below(position, *k) })
                .sum();
            Some(sum / links.len() as f64)
        };
        // Nodes without neighbours keep their places; the others are sorted among the places left.
        let keys: Vec<(usize, Option<f64>)> =
            self.layers[l].iter().map(|id| (*id, key(*id, position))).collect();
        let mut sorted: Vec<(usize, f64)> = keys.iter().filter_map(|(id, k)| Some((*id, (*k)?))).collect();
        sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut next = sorted.into_iter();
        for (i, (id, key)) in keys.iter().enumerate() {
            let id = if key.is_some() { next.next().map_or(*id, |s| s.0) } else { *id };
            self.layers[l][i] = id;
            position[id] = i;
        }
    }

    /// Swaps neighbours where that removes crossings.
    fn swap_neighbours(&mut self, position: &mut [usize]) {
        for l in 0..self.layers.len() {
            for i in 1..self.layers[l].len() {
                let (a, b) = (self.layers[l][i - 1], self.layers[l][i]);
                // Quadratic in the degree: hubs are left to the sweeps.
                if [a, b].iter().any(|n| self.up[*n].len() + self.down[*n].len() > 24) {
                    continue;
                }
                if self.pair(a, b, position) > self.pair(b, a, position) {
                    self.layers[l].swap(i - 1, i);
                    position.swap(a, b);
                }
            }
        }
    }

    /// Crossings among the links of `left` and `right` if they stand in that order.
    fn pair(&self, left: usize, right: usize, position: &[usize]) -> usize {
        let count = |a: &[usize], b: &[usize], end: &dyn Fn(usize) -> f64| {
            a.iter().map(|x| b.iter().filter(|y| end(*x) > end(**y)).count()).sum::<usize>()
        };
        count(&self.up[left], &self.up[right], &|k| self.above(position, k))
            + count(&self.down[left], &self.down[right], &|k| self.below(position, k))
    }

    /// All crossings.
    pub(super) fn crossings(&self, position: &[usize]) -> usize {
        let mut total = 0;
        for layer in &self.layers {
            let mut ends: Vec<(f64, f64)> = layer
                .iter()
                .flat_map(|id| &self.down[*id])
                .map(|k| (self.above(position, *k), self.below(position, *k)))
                .collect();
            ends.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            let mut lower: Vec<f64> = ends.iter().map(|e| e.1).collect();
            lower.sort_by(f64::total_cmp);
            lower.dedup();
            // A Fenwick tree over the lower ends counts those already seen to the right.
            let mut tree = vec![0usize; lower.len() + 1];
            for (seen, (_, y)) in ends.iter().enumerate() {
                let rank = lower.partition_point(|v| v < y) + 1;
                let (mut i, mut left) = (rank, 0);
                while i > 0 {
                    left += tree[i];
                    i &= i - 1;
                }
                total += seen - left;
                let mut i = rank;
                while i < tree.len() {
                    tree[i] += 1;
                    i += i & i.wrapping_neg();
                }
            }
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layered(top: usize, bottom: usize, links: &[(usize, usize)]) -> Layered {
        let mut g = Layered::default();
        for _ in 0..top {
            g.add(0, 10.0, None);
        }
        for _ in 0..bottom {
            g.add(1, 10.0, None);
        }
        for (a, b) in links {
            g.link(*a, top + b, 0.0, 0.0);
        }
        g
    }

    fn count(g: &Layered) -> usize {
        let mut position = vec![0; g.nodes.len()];
        g.number(&mut position);
        g.crossings(&position)
    }

    #[test]
    fn counts_crossings() {
        assert_eq!(count(&layered(2, 2, &[(0, 1), (1, 0)])), 1);
        assert_eq!(count(&layered(3, 3, &[(0, 2), (1, 1), (2, 0)])), 3);
        assert_eq!(count(&layered(2, 2, &[(0, 0), (0, 1), (1, 1)])), 0);
    }

    #[test]
    fn untangles() {
        let mut g = layered(4, 4, &[(0, 3), (1, 2), (2, 1), (3, 0), (0, 2)]);
        g.order();
        assert_eq!(count(&g), 0);
    }
}
