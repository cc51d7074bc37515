//! The layer of each item: below everything that feeds it, and near what it feeds.

use super::scene::{Kind, Scene};

/// A layer for each item. Entries stand alone in the first, exits alone in the last. Every edge leads down,
/// in the order of the items.
pub(super) fn ranks(scene: &Scene) -> Vec<usize> {
    let n = scene.items.len();
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); n];
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); n];
    // Items come in topological order. An edge against it would be a fault of `view`; it has no say here.
    for e in scene.edges.iter().filter(|e| e.from < e.to) {
        before[e.to].push(e.from);
        after[e.from].push(e.to);
    }
    let first = usize::from(scene.items.iter().any(|i| i.is(Kind::PortIn)));
    let mut rank = vec![first; n];
    for i in 0..n {
        if scene.items[i].is(Kind::PortIn) {
            rank[i] = 0;
        } else if let Some(r) = before[i].iter().map(|b| rank[*b] + 1).max() {
            rank[i] = r.max(first);
        }
    }
    let exits = scene.items.iter().any(|i| i.is(Kind::PortOut));
    if exits {
        let inner = (0..n).filter(|i| !scene.items[*i].is(Kind::PortOut));
        let last = inner.map(|i| rank[i]).max().unwrap_or(0) + 1;
        for i in (0..n).filter(|i| scene.items[*i].is(Kind::PortOut)) {
            rank[i] = last;
        }
    }
    // What has fewer lines in than out moves down to its readers: sources above all.
    for _ in 0..2 {
        for i in (0..n).rev() {
            let movable = !scene.items[i].kind().is_port() && after[i].len() > before[i].len();
            if let Some(low) = after[i].iter().map(|a| rank[*a]).min().filter(|_| movable) {
                rank[i] = rank[i].max(low.saturating_sub(1));
            }
        }
    }
    rank
}
