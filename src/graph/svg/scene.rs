//! What is drawn, before and after it has its place: items joined by edges, items holding scenes.

/// What an item is; it decides shape and colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// An input of the graph.
    Input,
    /// An output of the graph.
    Output,
    /// A watched value.
    Watch,
    /// A closed block with weights, or an operation that reads one.
    Weights,
    /// A closed block without weights, or an open block.
    Block,
    /// An operation.
    Op,
    /// A source of randomness.
    Random,
    /// A loop.
    Loop,
    /// Where a value enters the scene that holds it.
    PortIn,
    /// Where a value leaves it.
    PortOut,
}

impl Kind {
    /// Whether it marks a place on the border of the scene.
    pub(super) fn is_port(self) -> bool {
        matches!(self, Kind::PortIn | Kind::PortOut)
    }
}

/// A box, a pill, or a place on the border.
#[derive(Clone, Debug, Default)]
pub(super) struct Item {
    pub(super) kind: Option<Kind>,
    /// The large text.
    pub(super) title: String,
    /// The small text beneath.
    pub(super) lines: Vec<String>,
    /// Operations that were drawn into this box: `silu` after a convolution.
    pub(super) tails: Vec<String>,
    /// What the mouse reveals.
    pub(super) hover: String,
    /// The text at the upper right of a loop.
    pub(super) badge: String,
    /// What an open block or loop holds.
    pub(super) inner: Option<Box<Scene>>,
    /// Number of inputs; input `k` enters an inner scene at its `k`-th `PortIn`.
    pub(super) inputs: usize,
    /// The shape of each output; output `k` leaves an inner scene at its `k`-th `PortOut`.
    pub(super) outputs: Vec<String>,
    /// Whether it is a port between two columns of the same scene.
    pub(super) cut: bool,
    /// Whether it may be drawn into the box of what feeds it.
    pub(super) tail: bool,
    // What layout finds. The place is that of the upper left corner, in the scene.
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
    /// Height of the title of an open item, and the place of its text from the left.
    pub(super) header: (f64, f64),
    /// Where inputs and outputs touch the border, from the left; an output that nobody reads does not.
    pub(super) ins: Vec<f64>,
    pub(super) outs: Vec<Option<f64>>,
}

impl Item {
    pub(super) fn new(kind: Kind, title: impl Into<String>) -> Item {
        Item { kind: Some(kind), title: title.into(), ..Item::default() }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind.unwrap_or(Kind::Op)
    }

    pub(super) fn is(&self, kind: Kind) -> bool {
        self.kind == Some(kind)
    }

    /// Whether it is a sign such as `+`, drawn in a circle.
    pub(super) fn is_symbol(&self) -> bool {
        self.kind() == Kind::Op
            && self.title.chars().count() == 1
            && self.lines.is_empty()
            && self.tails.is_empty()
    }
}

/// A value that flows from an output of one item to an input of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) output: usize,
    pub(super) to: usize,
    pub(super) input: usize,
}

/// A line: where it starts, and cubic curves (two control points and an end each).
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) start: (f64, f64),
    pub(super) to: Vec<[(f64, f64); 3]>,
}

/// All lines of one value in a scene.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    pub(super) curves: Vec<Curve>,
    /// Tips of arrows that point down.
    pub(super) arrows: Vec<(f64, f64)>,
    /// The label's middle, and its text.
    pub(super) label: Option<((f64, f64), String)>,
}

/// Items and edges; the outputs of an item come before its users.
#[derive(Clone, Debug, Default)]
pub(super) struct Scene {
    pub(super) items: Vec<Item>,
    pub(super) edges: Vec<Edge>,
    /// Carries of a loop: from a `PortOut` to a `PortIn`.
    pub(super) carries: Vec<(usize, usize)>,
    // What layout finds.
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
    pub(super) wires: Vec<Wire>,
}

impl Scene {
    /// Boxes drawn, inner ones included.
    pub(super) fn count(&self) -> usize {
        let one = |i: &Item| 1 + i.inner.as_ref().map_or(0, |s| s.count());
        self.items.iter().filter(|i| !i.kind().is_port()).map(one).sum()
    }
}
