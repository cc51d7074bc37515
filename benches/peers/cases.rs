//! What is measured. The programs are written here as a user would write them; `benches/peer/peer.py` does the same
//! work for a case of the same words.

use taper::optimize::Options;

/// A case.
pub struct Case {
    /// Its name, and what the peer is told.
    pub name: String,
    /// Repeats of each side.
    pub repeats: usize,
    /// The ratio to reach, in wall time.
    pub goal: f64,
    /// Passes beyond the usual ones.
    pub passes: Options,
    /// What is run.
    pub work: Work,
}

/// The work of a case.
pub enum Work {
    /// An entry point of a program.
    Graph {
        /// The program.
        text: String,
        /// The entry point.
        graph: &'static str,
        /// Inputs by name: shapes, and whether they are timesteps (500 everywhere) rather than normal numbers.
        inputs: Vec<(&'static str, Vec<usize>, bool)>,
    },
    /// One step of the program's training.
    Train {
        /// The program.
        text: String,
        /// Samples per step.
        batch: u64,
    },
}

/// The program of a file of `pipelines/`.
fn pipeline(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn conv(n: usize, c: usize, size: usize, out: usize, kernel: usize, stride: usize) -> Case {
    let pad = kernel / 2;
    let text = format!(
        "use std.nn.{{Conv2d}}\n\
         pipeline P {{\n  layer = Conv2d({out}, {kernel}, stride = {stride}, pad = {pad})\n\
         \n  graph forward(x: [{n}, {c}, {size}, {size}]) {{ x -> layer }}\n}}\n"
    );
    Case {
        name: format!("conv {n} {c} {size} {out} {kernel} {stride}"),
        repeats: 7,
        goal: 0.9,
        passes: Options::default(),
        work: Work::Graph { text, graph: "forward", inputs: vec![("x", vec![n, c, size, size], false)] },
    }
}

fn attention(n: usize, heads: usize, l: usize, m: usize, d: usize) -> Case {
    let text = format!(
        "use std.nn.{{attention}}\n\
         pipeline P {{\n  graph forward(q: [{n}, {heads}, {l}, {d}], k: [{n}, {heads}, {m}, {d}], \
         v: [{n}, {heads}, {m}, {d}]) {{ attention(q, k, v) }}\n}}\n"
    );
    let inputs = vec![
        ("q", vec![n, heads, l, d], false),
        ("k", vec![n, heads, m, d], false),
        ("v", vec![n, heads, m, d], false),
    ];
    Case {
        name: format!("attention {n} {heads} {l} {m} {d}"),
        repeats: 7,
        goal: 0.9,
        passes: Options::default(),
        work: Work::Graph { text, graph: "forward", inputs },
    }
}

/// All cases, in the order of the table.
pub fn all() -> Vec<Case> {
    let mut all = Vec::new();
    for (bf16, batch) in [false, true].into_iter().flat_map(|b| [1usize, 4, 16].map(|n| (b, n))) {
        all.push(Case {
            name: format!("cifar_forward{} {batch}", if bf16 { "_bf16" } else { "" }),
            repeats: if batch == 16 { 7 } else { 11 },
            goal: if bf16 { 1.0 } else { 0.8 },
            passes: Options { bf16, ..Options::default() },
            work: Work::Graph {
                text: pipeline(CIFAR),
                graph: "denoise",
                inputs: vec![("x", vec![batch, 3, 32, 32], false), ("t", vec![batch], true)],
            },
        });
    }
    for (name, text, batch) in [("cifar_train", pipeline(CIFAR), 16), ("small_train", SMALL.into(), 128)] {
        // As it is, and with `--opt winograd_in_training`.
        for enabled in [None, Some("winograd_in_training")] {
            all.push(Case {
                name: format!("{name}{} {batch}", if enabled.is_some() { "_winograd" } else { "" }),
                repeats: 5,
                goal: 0.9,
                passes: Options {
                    enabled: enabled.into_iter().map(String::from).collect(),
                    ..Options::default()
                },
                work: Work::Train { text: text.clone(), batch },
            });
        }
    }
    all.push(Case {
        name: "cifar_ddim50 4".into(),
        repeats: 3,
        goal: 0.75,
        passes: Options::default(),
        work: Work::Graph {
            text: pipeline(CIFAR),
            graph: "decode",
            inputs: vec![("x", vec![4, 3, 32, 32], false)],
        },
    });
    // Stable Diffusion 1.5 at 512 x 512: the layers of its denoiser (batch 2 for guidance) and decoder.
    all.extend([
        conv(2, 320, 64, 320, 3, 1),
        conv(2, 640, 32, 640, 3, 1),
        conv(2, 1280, 16, 1280, 3, 1),
        conv(2, 1280, 8, 1280, 3, 1),
        conv(2, 320, 64, 320, 3, 2),
        conv(2, 960, 64, 320, 1, 1),
        conv(2, 4, 64, 320, 3, 1),
        conv(2, 320, 64, 4, 3, 1),
        conv(1, 512, 128, 512, 3, 1),
        conv(1, 128, 512, 128, 3, 1),
        conv(1, 128, 512, 3, 3, 1),
        attention(2, 8, 4096, 4096, 40),
        attention(2, 8, 1024, 1024, 80),
        attention(2, 8, 256, 256, 160),
        attention(2, 8, 4096, 77, 40),
    ]);
    all
}

/// The published CIFAR-10 network of Ho et al. 2020.
const CIFAR: &str = "ddpm_cifar10.taper";
/// A small network of the same kind.
const SMALL: &str = include_str!("small.taper");
