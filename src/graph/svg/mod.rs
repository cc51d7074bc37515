//! A graph as a drawing that a person can read: blocks as boxes that hold their parts, loops as boxes that
//! go round, shapes on the lines. The layout is layered, from top to bottom, and the same for the same graph.

mod fold;
mod group;
mod label;
mod layout;
mod measure;
mod order;
mod place;
mod rank;
mod render;
mod scene;
mod style;
mod text;
mod tidy;
mod view;
mod wrap;

#[cfg(test)]
mod tests;

use super::Graph;
use fold::Folds;
use label::{Labels, plural};
use view::{Openness, scene};

/// Boxes in a drawing whose depth is not given.
const READABLE: usize = 70;

/// Items of one scene, beyond which neighbours share a box, if the depth is not given.
const MOST: usize = 120;

/// Deepest nesting that is tried when the depth is not given.
const DEEPEST: usize = 12;

/// How a graph is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrawOptions {
    /// Levels of blocks and loops that are drawn open; everything below is one box each. Without it, as many
    /// as leave the drawing readable, and blocks that hold nothing but their weights (a convolution) closed.
    pub depth: Option<usize>,
    /// The heading; the graph's name without it.
    pub title: Option<String>,
}

/// Draws a graph. The text is a whole SVG file, of the size that the graph needs.
pub fn to_svg(graph: &Graph, options: &DrawOptions) -> String {
    let folds = Folds::new(graph);
    let mut drawn = match options.depth {
        Some(depth) => scene(graph, &folds, Openness { depth, leaves: true, most: usize::MAX }),
        None => {
            let mut best = scene(graph, &folds, Openness { depth: 0, leaves: false, most: MOST });
            let mut count = best.count();
            for depth in 1..=DEEPEST {
                let deeper = scene(graph, &folds, Openness { depth, leaves: false, most: MOST });
                let more = deeper.count();
                if more > READABLE || more == count {
                    break;
                }
                (best, count) = (deeper, more);
            }
            best
        }
    };
    layout::layout(&mut drawn);
    let labels = Labels { graph, folds: &folds };
    let nodes: Vec<_> = graph.root().ids().collect();
    let weights = labels.weights(0, &nodes);
    let mut subtitle = plural(labels.operations(0, &nodes), "operation");
    if !weights.is_empty() {
        let size: f64 = weights.iter().map(|(_, t)| crate::ops::primitive::elements(t)).sum();
        subtitle.push_str(&format!(
            " · {} weights in {}",
            text::count(size),
            plural(weights.len(), "tensor")
        ));
    }
    render::render(&drawn, options.title.as_deref().unwrap_or(&graph.name), &subtitle)
}
