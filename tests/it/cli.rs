//! The command line as a user has it: whole processes, exit codes, files.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

pub fn taper(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_taper")).args(args).output().expect("taper starts")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn pipeline(name: &str) -> String {
    format!("{}/pipelines/{name}.taper", env!("CARGO_MANIFEST_DIR"))
}

/// A pipeline that trains in milliseconds a step.
const TINY: &str = r#"
use std.data.fashion_mnist
use std.loss.{squared_error}
use std.nn.{Linear}
use std.optim.adamw

pipeline Tiny(width: int = 8) {
  encoder = flatten -> Linear(width) -> relu
  decoder = Linear(28 * 28) -> sigmoid

  ## Encode and decode images.
  graph reconstruct(x: image[1, 28, 28]) -> image {
    reshape(x -> encoder -> decoder, [batch, 1, 28, 28])
  }

  ## Noise decoded.
  graph sample(count: int = 4) -> image {
    reshape(normal([count, width]) -> decoder, [count, 1, 28, 28])
  }

  train (steps = 40, batch = 16, ema = 0.9, accumulate = 2, clip = 1.0) {
    x = fashion_mnist("train").image
    noisy = x + 0.1 * normal(like = x)
    minimize squared_error(x, reshape(noisy -> encoder -> decoder, [16, 1, 28, 28])) with adamw(lr = 1e-2)
    every 20 { sample(4) }
  }
}
"#;

fn tiny(dir: &TempDir) -> String {
    let path = dir.path().join("tiny.taper");
    std::fs::write(&path, TINY).expect("written");
    path.display().to_string()
}

pub fn path(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).display().to_string()
}

#[test]
fn a_shipped_pipeline_draws_garments() {
    let dir = TempDir::new().expect("a folder");
    let out = path(&dir, "samples.png");
    let run = taper(&["run", &pipeline("vae"), "sample", "--count", "9", "-o", &out]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(run.stderr.is_empty(), "trained weights ship beside it: {}", text(&run.stderr));
    let png = std::fs::read(&out).expect("the picture");
    assert_eq!(&png[1..4], b"PNG");
}

#[test]
fn same_seed_same_bytes_at_any_thread_count_and_alone() {
    let dir = TempDir::new().expect("a folder");
    let file = pipeline("vae");
    let read = |name: &str, more: &[&str]| {
        let out = path(&dir, name);
        let mut args = vec!["run", file.as_str(), "sample", "-o", out.as_str()];
        args.extend(more);
        let run = taper(&args);
        assert!(run.status.success(), "{}", text(&run.stderr));
        let bytes = std::fs::read(&out).expect("the tensor");
        let header = bytes.iter().position(|b| *b == b'\n').expect("an npy header");
        bytes[header + 1..].to_vec()
    };
    let all = read("a.npy", &["--seed", "7", "--count", "5", "--threads", "2"]);
    assert_eq!(all, read("b.npy", &["--seed", "7", "--count", "5", "--threads", "1"]));
    assert_ne!(all, read("c.npy", &["--seed", "8", "--count", "5"]).as_slice(), "another seed");
    let image = 28 * 28 * 4;
    for k in [0, 3, 4] {
        let one = read("k.npy", &["--seed", "7", "--only", &k.to_string()]);
        assert_eq!(one, all[k * image..(k + 1) * image], "image {k} alone");
    }
}

/// Starts a training and kills it after some milliseconds.
fn train_and_kill(args: &[&str], after: Duration) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_taper"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("taper starts");
    std::thread::sleep(after);
    // SIGKILL: nothing can be saved now. It may have ended by itself, which is fine too.
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_killed_training_resumes_to_the_same_bits() {
    let dir = TempDir::new().expect("a folder");
    let file = tiny(&dir);
    let (whole, killed) = (path(&dir, "whole"), path(&dir, "killed"));
    let run = taper(&["train", &file, "--out", &whole, "--seed", "3", "--save-every", "5", "-q"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let first = ["train", &file, "--out", &killed, "--seed", "3", "--save-every", "5", "-q"];
    train_and_kill(&first, Duration::from_millis(400));
    let resume = ["train", "--resume", &killed, "--save-every", "5", "-q"];
    let started = Path::new(&killed).join("run.ron").is_file();
    if started {
        for after in [150, 350, 250] {
            train_and_kill(&resume, Duration::from_millis(after));
        }
    }
    let last = if started { taper(&resume) } else { taper(&first) };
    assert!(last.status.success(), "{}", text(&last.stderr));
    for name in ["model.safetensors", "ema.safetensors", "optimizer.safetensors"] {
        let read = |run: &str| std::fs::read(PathBuf::from(run).join(name)).expect(name);
        assert_eq!(read(&whole), read(&killed), "{name}");
    }
    // No step is logged twice.
    let log = std::fs::read_to_string(Path::new(&killed).join("metrics.jsonl")).expect("the log");
    let steps: Vec<&str> = log.lines().filter_map(|l| l.split(',').next()).collect();
    let mut unique = steps.clone();
    unique.dedup();
    assert_eq!(steps, unique);
}

#[test]
fn training_does_not_depend_on_the_number_of_threads() {
    let dir = TempDir::new().expect("a folder");
    let file = tiny(&dir);
    let train = |name: &str, threads: &str| {
        let out = path(&dir, name);
        let run = taper(&["train", &file, "--out", &out, "--steps", "4", "--threads", threads, "-q"]);
        assert!(run.status.success(), "{}", text(&run.stderr));
        std::fs::read(Path::new(&out).join("model.safetensors")).expect("weights")
    };
    assert_eq!(train("one", "1"), train("two", "2"));
}

#[test]
fn exit_codes() {
    let dir = TempDir::new().expect("a folder");
    let file = tiny(&dir);
    let broken = path(&dir, "broken.taper");
    std::fs::write(&broken, "pipeline P {\n  graph f(x: [n, 2]) -> [n] { sum(y, axis = 1) }\n}\n")
        .expect("written");
    let garbage = path(&dir, "garbage.safetensors");
    std::fs::write(&garbage, b"not weights at all").expect("written");
    let out = path(&dir, "o.png");
    let values = path(&dir, "o.safetensors");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["check", &file], 0, ""),
        (&["check", &broken], 2, "E0201"),
        (&["check", "nowhere.taper"], 2, "E0907"),
        (&["check", &file, "--set", "widht=3"], 2, "did you mean `width`"),
        (&["check", &file, "--weights", &garbage], 2, "E0702"),
        (&["run", &file, "sample", "--count", "x", "-o", &out], 2, "E0901"),
        (&["run", &file, "smaple", "-o", &out], 2, "sample"),
        (&["run", &file, "sample", "--profile", "-o", &out], 0, "time by operation and shapes"),
        (&["check", &file, "--opt", "winograd_in_trainin"], 2, "did you mean `winograd_in_training`"),
        (&["check", &file, "--opt", "hoist"], 2, "`hoist` is on already"),
        (&["run", &file, "sample", "--trace", "decoder", "-o", &out], 2, "`--trace` writes tensors"),
        (&["run", &file, "sample", "--trace", "decodr", "-o", &values], 2, "did you mean `decoder`"),
        (&["run", &file, "sample", "--device", "cuda:99", "-o", &out], 2, "E0903"),
        (&["run", &file, "sample", "-o", "/nonexistent-folder/o.png"], 1, "E0902"),
        (&["run", &file, "reconstruct", "--x", &file, "-o", &out], 2, "E0805"),
        (&["train", &file, "--resume", "/nonexistent-folder"], 2, "E0905"),
        (&["train", &file, "--out", &out, "--data", "/nonexistent-folder"], 2, "E0801"),
        (&["graph", &file, "sampel"], 2, "did you mean `sample`"),
        (&["explain", "E9999"], 2, "E0901"),
        (&["fmt", &broken, "--check"], 1, ""),
        (&["weights", &garbage], 2, "E0702"),
        (&["new", "1"], 2, "E0901"),
    ];
    for (args, code, message) in cases {
        let run = taper(args);
        assert_eq!(run.status.code(), Some(*code), "{args:?}: {}{}", text(&run.stderr), text(&run.stdout));
        assert!(text(&run.stderr).contains(message), "{args:?}: {}", text(&run.stderr));
    }
}

#[test]
fn a_parameter_may_be_named_like_a_flag() {
    let dir = TempDir::new().expect("a folder");
    let (file, out) = (path(&dir, "p.taper"), path(&dir, "o.npy"));
    std::fs::write(&file, "pipeline P {\n  graph f(columns: int = 2) -> [columns] { zeros([columns]) }\n}\n")
        .expect("written");
    let run = taper(&["run", &file, "f", "--param-columns", "3", "-o", &out]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(text(&std::fs::read(&out).expect("the tensor")).contains("(3,)"));
}

#[test]
fn a_trace_writes_what_blocks_give() {
    let dir = TempDir::new().expect("a folder");
    let (file, out) = (path(&dir, "p.taper"), path(&dir, "o.safetensors"));
    let text = "use std.nn.{Linear}\n\npipeline P() {\n  body = Linear(3) -> relu -> Linear(2)\n\n  \
                graph f(n: int = 2) -> [n, 2] {\n    h = ones([n, 4]) -> body\n    \
                loop h for _ in range(2) {\n      h -> again\n    }\n  }\n  again = Linear(2)\n}\n";
    std::fs::write(&file, text).expect("written");
    let run = taper(&["run", &file, "f", "--trace", "body", "--trace", "again", "-o", &out]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let bytes = std::fs::read(&out).expect("the tensors");
    let found = taper::data::parse_safetensors(&bytes).expect("safetensors");
    let mut shapes: Vec<(String, Vec<usize>)> = found.into_iter().map(|(n, a)| (n, a.shape)).collect();
    shapes.sort();
    let expected = [("again@0", 2), ("again@1", 2), ("body.0", 3), ("body.2", 2), ("out", 2)];
    let expected: Vec<_> = expected.iter().map(|(n, k)| (n.to_string(), vec![2usize, *k])).collect();
    assert_eq!(shapes, expected);
}

#[test]
fn help_shows_the_graphs_of_the_file() {
    let run = taper(&["run", &pipeline("vae"), "--help"]);
    assert!(run.status.success());
    let shown = text(&run.stdout);
    for part in ["sample", "New images from the prior", "reconstruct", "interpolate"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}
