//! Trainings as a user has them: what a run folder says, what goes on after a stop, data that is changed.

use std::path::Path;

use tempfile::TempDir;

use crate::cli::{path, taper, text};
use crate::fences::root;

/// A training over the pictures of the fixtures, each flipped and cropped anew in each epoch.
const PICTURES: &str = r#"
use std.data.folder
use std.loss.{squared_error}
use std.nn.{Linear}
use std.optim.adamw

pipeline Pictures(width: int = 8, flip: bool = true) {
  code = flatten -> Linear(width) -> relu -> Linear(3 * 16 * 16) -> sigmoid

  ## The pictures as they are read outside of training.
  graph look() -> [batch, 3, 16, 16] {
    folder("train", channels = 3, size = 20, random_crop = 16, pad = 1, flip = flip).image -> pixels
  }

  graph tokens() -> i64[batch, 3] {
    folder("train").tokens
  }

  graph normal_form() -> [batch, 3, 16, 24] {
    folder("train", channels = 3, size = [16, 24], mean = 0.5, std = [0.5, 0.25, 1]).image
  }

  train (steps = 14, batch = 4) {
    data = folder("train", channels = 3, size = 20, random_crop = 16, pad = 1, flip = flip)
    x = data.image -> pixels
    watch brightness = mean(x)
    watch label = mean(float(data.label))
    minimize squared_error(x, reshape(code(x), [4, 3, 16, 16])) with adamw(lr = 1e-2)
  }
}
"#;

fn written(dir: &TempDir, name: &str, program: &str) -> String {
    let file = path(dir, name);
    std::fs::write(&file, program).expect("written");
    file
}

fn pictures() -> String {
    root().join("tests/fixtures/pictures").display().to_string()
}

fn ok(args: &[&str]) -> String {
    let run = taper(args);
    assert!(run.status.success(), "{args:?}: {}", text(&run.stderr));
    text(&run.stdout)
}

/// What a command that must fail says, its code being 2.
fn refused(args: &[&str]) -> String {
    let run = taper(args);
    assert_eq!(run.status.code(), Some(2), "{args:?}: {}{}", text(&run.stderr), text(&run.stdout));
    // The message may be wrapped anywhere.
    text(&run.stderr).split_whitespace().filter(|w| *w != "│").collect::<Vec<_>>().join(" ")
}

fn read(folder: &str, name: &str) -> Vec<u8> {
    std::fs::read(Path::new(folder).join(name)).expect(name)
}

/// The log without what depends on the clock.
fn log(folder: &str) -> Vec<String> {
    let text = String::from_utf8(read(folder, "metrics.jsonl")).expect("text");
    text.lines().map(|l| l.split(",\"seconds\"").next().unwrap_or_default().to_string()).collect()
}

#[test]
fn changed_pictures_are_reproducible_and_resume() {
    let dir = TempDir::new().expect("a folder");
    let (file, data) = (written(&dir, "pictures.taper", PICTURES), pictures());
    let train = |name: &str, more: &[&str]| {
        let out = path(&dir, name);
        let mut args = vec!["train", &file, "--out", &out, "--data", &data, "--log-every", "1", "-q"];
        args.extend(more);
        ok(&args);
        out
    };
    let whole = train("whole", &["--seed", "5", "--threads", "1"]);
    let again = train("again", &["--seed", "5", "--threads", "2"]);
    let parts = train("parts", &["--seed", "5", "--steps", "5"]);
    ok(&["train", "--resume", &parts, "--steps", "14", "--log-every", "1", "-q"]);
    for name in ["model.safetensors", "optimizer.safetensors"] {
        assert_eq!(read(&whole, name), read(&again, name), "{name}");
        assert_eq!(read(&whole, name), read(&parts, name), "{name}");
    }
    assert_eq!(log(&whole), log(&parts));
    // The pictures really are changed: with the seed, with the epoch, and by the flip alone.
    let seed = train("seed", &["--seed", "6"]);
    assert_ne!(read(&whole, "model.safetensors"), read(&seed, "model.safetensors"));
    let plain = train("plain", &["--seed", "5", "--set", "flip=false"]);
    let (with, without) = (log(&whole), log(&plain));
    assert_ne!(with, without);
    // Labels stay with their pictures: the same samples in the same order, flipped or not.
    let label =
        |line: &String| line.split("\"label\":").nth(1).map(|l| l.split(',').next().map(String::from));
    assert_eq!(with.iter().map(label).collect::<Vec<_>>(), without.iter().map(label).collect::<Vec<_>>());
}

#[test]
fn entries_read_changed_pictures() {
    let dir = TempDir::new().expect("a folder");
    let (file, data, out) = (written(&dir, "pictures.taper", PICTURES), pictures(), path(&dir, "o.npy"));
    let array = |graph: &str, more: &[&str]| {
        let mut args = vec!["run", &file, graph, "--data", &data, "-o", &out, "-q"];
        args.extend(more);
        ok(&args);
        taper::data::read_npy(Path::new(&out)).expect("an array")
    };
    let look = array("look", &[]);
    assert_eq!(look.shape, [12, 3, 16, 16]);
    assert_eq!(look, array("look", &["--threads", "1"]));
    assert_ne!(look, array("look", &["--seed", "1"]));
    // A sample by itself is changed as in the whole.
    assert_eq!(look.take(&[7]).expect("a row"), array("look", &["--only", "7"]));
    let tokens = array("tokens", &[]);
    assert_eq!(tokens.take(&[1]).expect("a row").data, taper::data::ArrayData::I64(vec![1, 4, 0]));
    // Mean 0.5 for all channels, a deviation for each: [-1, 1], [-2, 2], [-1/2, 1/2].
    let taper::data::ArrayData::F32(values) = array("normal_form", &[]).data else { panic!("floats") };
    let (plane, mut range) = (16 * 24, [0f32; 3]);
    for (i, part) in values.chunks_exact(plane).enumerate() {
        range[i % 3] = part.iter().fold(range[i % 3], |m, v| m.max(v.abs()));
    }
    assert_eq!(range, [1.0, 2.0, 0.5], "some pixel of each channel is black or white");
}

#[test]
fn pictures_that_do_not_suit_are_refused() {
    let dir = TempDir::new().expect("a folder");
    let data = pictures();
    let check = |how: &str| {
        let program = PICTURES.replace("folder(\"train\").tokens", how);
        refused(&["check", &written(&dir, "p.taper", &program), "--data", &data])
    };
    let said = check("folder(\"train\").text");
    assert!(said.contains("E0804") && said.contains("holds text"), "{said}");
    let said = check("folder(\"train\").tokns");
    assert!(said.contains("E0804") && said.contains("did you mean `tokens`?"), "{said}");
    let said = check("folder(\"train\", size = 16, crop = 20).tokens");
    assert!(
        said.contains("E0806") && said.contains("a crop of 20 × 20 does not fit into images of 16 × 16"),
        "{said}"
    );
    let said = check("folder(\"test\").tokens");
    assert!(said.contains("E0807"), "{said}");
}

/// Two numbers that a step sees: the batch's first pixel sum and the step itself.
const COUNTED: &str = r#"
use std.data.fashion_mnist
use std.nn.{Linear}
use std.optim.{sgd}

pipeline Counted() {
  code = flatten -> Linear(4) -> Linear(784)

  graph sample(count: int = 1) -> image {
    reshape(normal([count, 784]) -> sigmoid, [count, 1, 28, 28])
  }

  train (steps = 6, batch = 8, accumulate = 3) {
    x = fashion_mnist("train[:48]").image
    minimize mean((code(x) - flatten(x))^2) with sgd(lr = fn (t) = 0.1 / (1 + t))
    every 2 { sample(1) }
  }
}
"#;

#[test]
fn steps_are_those_of_the_optimizer_also_with_accumulation() {
    let dir = TempDir::new().expect("a folder");
    let file = written(&dir, "counted.taper", COUNTED);
    let plain = COUNTED.replace("batch = 8, accumulate = 3", "batch = 24");
    let plain = written(&dir, "plain.taper", &plain);
    let train = |file: &str, name: &str, more: &[&str]| {
        let out = path(&dir, name);
        let mut args = vec!["train", file, "--out", &out, "--log-every", "1", "--save-every", "2", "-q"];
        args.extend(more);
        ok(&args);
        out
    };
    let whole = train(&file, "whole", &[]);
    let steps: Vec<String> =
        log(&whole).iter().filter_map(|l| l.split(',').next().map(String::from)).collect();
    assert_eq!(steps, (1..=6).map(|s| format!("{{\"step\":{s}")).collect::<Vec<_>>());
    let mut samples: Vec<_> = std::fs::read_dir(Path::new(&whole).join("samples"))
        .expect("samples")
        .map(|e| e.expect("a file").file_name().into_string().expect("a name"))
        .collect();
    samples.sort();
    assert_eq!(samples, ["step-000002-sample.png", "step-000004-sample.png", "step-000006-sample.png"]);
    assert!(Path::new(&whole).join("checkpoints/step-6").is_dir());
    // Two steps of three batches are an epoch of 48 images; the third step begins the next.
    let epochs: Vec<bool> = log(&whole).iter().map(|l| l.contains("\"epoch\":0")).collect();
    assert_eq!(epochs, [true, true, false, false, false, false]);
    // Three batches of eight are one of twenty-four, up to the rounding of their sums.
    let loss = |folder: &str| -> Vec<f64> {
        let number = |l: &String| l.split("\"loss\":").nth(1)?.split([',', '}']).next()?.parse().ok();
        log(folder).iter().map(|l| number(l).expect("a loss")).collect()
    };
    let (a, b) = (loss(&whole), loss(&train(&plain, "plain", &[])));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
    // A run stopped between goes on to the same bits.
    let parts = train(&file, "parts", &["--steps", "3"]);
    ok(&["train", "--resume", &parts, "--steps", "6", "--log-every", "1", "-q"]);
    assert_eq!(log(&whole), log(&parts));
    for name in ["model.safetensors", "optimizer.safetensors"] {
        assert_eq!(read(&whole, name), read(&parts, name), "{name}");
    }
}

#[test]
fn a_resumed_run_is_what_its_record_says() {
    let dir = TempDir::new().expect("a folder");
    let (file, data, out) = (written(&dir, "pictures.taper", PICTURES), pictures(), path(&dir, "run"));
    let begin = ["--data", &data, "--seed", "9", "--set", "width=5", "--batch", "4", "--steps", "4", "-q"];
    ok(&[&["train", &file, "--out", &out][..], &begin].concat());
    for (flags, says) in [
        (&["--seed", "8"][..], "`--seed 8` contradicts the run in"),
        (&["--batch", "6"], "which began with --batch 4"),
        (&["--data", "/elsewhere"], "`--data /elsewhere` contradicts"),
        (&["--set", "width=6"], "which began with --set width=5"),
        (&["--set", "flip=false"], "which began without --set flip"),
        (&["--stdlib", "/elsewhere"], "which began without --stdlib"),
        (&["--seed", "8", "--set", "width=6"], "so does `--set width=6`"),
    ] {
        let said = refused(&[&["train", "--resume", &out][..], flags].concat());
        assert!(
            said.contains("E0905") && said.contains(says) && said.contains("leave the flag out"),
            "{said}"
        );
    }
    let said = refused(&["train", &file, "other", "--resume", &out]);
    assert!(said.contains("`train other` contradicts"), "{said}");
    // Flags that agree are no contradiction; the steps may be more.
    ok(&["train", &file, "--resume", &out, "--seed", "9", "--set", "width=5", "--steps", "6", "-q"]);
    let whole = path(&dir, "whole");
    ok(&[
        "train", &file, "--out", &whole, "--data", &data, "--seed", "9", "--set", "width=5", "--steps", "6",
        "-q",
    ]);
    assert_eq!(read(&whole, "model.safetensors"), read(&out, "model.safetensors"));
    std::fs::remove_file(&file).expect("removed");
    let said = refused(&["train", "--resume", &out]);
    assert!(said.contains("which the run was made from, is not there"), "{said}");
}

#[test]
fn torch_noise_through_the_command_line_is_pytorchs() {
    let dir = TempDir::new().expect("a folder");
    let program = "pipeline P() {\n  graph noise(n: int = 40) -> (first: [n, 50], second: [2, 3, 8], even: [4, 5], last: [16]) {\n    \
                   first = normal([n, 50])\n    second = normal([2, 3, 8])\n    even = uniform([4, 5])\n    \
                   last = loop x = zeros([16]) for _ in range(3) { 0 * x + normal([16]) }\n    \
                   first, second, even, last\n  }\n}\n";
    let (file, out) = (written(&dir, "p.taper", program), path(&dir, "o.safetensors"));
    ok(&["run", &file, "noise", "--seed", "7", "--rng", "torch", "-o", &out, "-q"]);
    let arrays =
        |path: &Path| taper::data::parse_safetensors(&std::fs::read(path).expect("a file")).expect("arrays");
    let golden = arrays(&root().join("tests/fixtures/torch_rng.safetensors"));
    assert_eq!(golden.len(), 4);
    assert!(arrays(Path::new(&out)) == golden, "the bits of torch.randn and torch.rand");
    ok(&["run", &file, "noise", "--seed", "8", "--rng", "torch", "-o", &out, "-q"]);
    assert!(arrays(Path::new(&out)) != golden);
    let said = refused(&["run", &file, "noise", "--rng", "torch", "--only", "1", "-o", &out]);
    assert!(said.contains("`--only` cannot go with `--rng torch`"), "{said}");
}
