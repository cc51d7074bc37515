//! `--only K`: one sample of a batch by itself gives the bytes that it has in the batch.

use std::collections::HashMap;

use taper::CheckOptions;
use taper::data::{Array, ArrayData};
use taper::elaborate::Request;
use taper::graph::program::{Entry, EntryKind, Program, StaticValue};
use taper::run::Silent;
use taper::session::{Given, RunSettings, Session};
use taper::shape::DType;
use taper::source::{MemorySources, Sources};

use crate::cli::{path, taper};
use crate::fences::{Disk, files, root};

/// Samples of a batch in these tests.
const BATCH: usize = 3;

/// An entry of a file for a batch of [`BATCH`], or with its count open.
fn entry(sources: &dyn Sources, path: &str, name: &str, open: Option<String>) -> (Program, Entry) {
    let checked = taper::check(sources, path, &CheckOptions::default());
    let program = checked.program.unwrap_or_else(|| panic!("{path}: {:?}", checked.diagnostics));
    let plain = program.entries.iter().find(|e| e.name == name).expect("the entry");
    let small = [("count", BATCH as i64), ("steps", 4), ("reference", 8)];
    let given = small.iter().filter(|(n, _)| plain.params.iter().any(|p| p.name == *n));
    let given = given.map(|(n, v)| (n.to_string(), StaticValue::Int(*v))).collect();
    let request = Request { entry: Some((name.into(), given)), open, ..Request::default() };
    let checked = taper::check(sources, path, &CheckOptions { request, ..CheckOptions::default() });
    let found = checked.entry.unwrap_or_else(|| panic!("{path} {name}: {:?}", checked.diagnostics));
    (program, found)
}

/// Numbers in [0, 1) for every tensor that the entry takes, a batch of them.
fn given(entry: &Entry) -> Given {
    let mut out = Given::default();
    for (i, p) in entry.params.iter().enumerate() {
        let (EntryKind::Image(ty) | EntryKind::Tensor(ty)) = &p.kind else { continue };
        let side = |d: &taper::shape::Dim| d.as_const().map_or(BATCH, |v| v as usize);
        let shape: Vec<usize> = ty.shape.iter().map(side).collect();
        let n: usize = shape.iter().product();
        let value = |j: usize| taper::data::mix((i * 1_000_000 + j) as u64) as f32 / u64::MAX as f32;
        let data = ArrayData::F32((0..n).map(value).collect());
        out.arrays.push((p.name.clone(), Array::new(shape, data).expect("an array")));
    }
    out
}

fn run(program: Program, entry: &Entry, file: &str, only: Option<u32>) -> Result<Vec<Array>, String> {
    let settings = RunSettings { seed: 7, only, ..RunSettings::default() };
    let mut session = Session::open(program, &settings).expect("a session");
    session.load_weights(None, file.as_ref()).expect("weights");
    match session.run(entry, given(entry), &mut Silent) {
        Ok(result) => Ok(result.outputs.into_iter().map(|(_, a)| a).collect()),
        Err(d) => Err(d.expect("not cancelled").message),
    }
}

/// Compares each sample alone with its part of the batch; gives how many samples there were.
fn replays(sources: &dyn Sources, path: &str, name: &str) -> usize {
    let (program, whole) = entry(sources, path, name, None);
    let open = whole.count_parameter().map(String::from);
    let open = open.filter(|count| entry(sources, path, name, Some(count.clone())).1.gives_samples());
    let batched = open.is_some() || !given(&whole).arrays.is_empty();
    let all = run(program, &whole, path, None).expect("the batch runs");
    // A graph without a batch gives rows that are asked for one by one.
    let samples = if batched { BATCH } else { all[0].rows() };
    for k in (0..samples).filter(|k| *k < BATCH || *k + 1 == samples) {
        let (program, alone) = entry(sources, path, name, open.clone());
        let one = run(program, &alone, path, Some(k as u32)).unwrap_or_else(|e| panic!("{path} {name}: {e}"));
        for (all, one) in all.iter().zip(&one) {
            let rows = all.rows() / samples;
            let part: Vec<usize> = (k * rows..(k + 1) * rows).collect();
            assert_eq!(*one, all.take(&part).expect("rows"), "{path}: sample {k} of `{name}`");
        }
    }
    samples
}

#[test]
fn every_entry_of_every_pipeline_replays_each_sample_alone() {
    let (mut count, mut measures) = (0, 0);
    for path in files(&root().join("pipelines"), "taper") {
        let path = path.display().to_string();
        let checked = taper::check(&Disk, &path, &CheckOptions::default());
        let program = checked.program.expect("a clean pipeline");
        // What is too large for a test is made of the layers of the others.
        if program.weights.iter().map(|w| w.ty.elements().eval_with(1)).sum::<i64>() > 10_000_000 {
            continue;
        }
        for e in &program.entries {
            if e.outputs.iter().any(|o| o.ty.dtype != DType::F64) {
                count += usize::from(replays(&Disk, &path, &e.name) > 0);
            } else if e.params.iter().any(|p| p.name == "steps") {
                // A measure of a set of images: no sample of it.
                let (program, whole) = entry(&Disk, &path, &e.name, None);
                run(program, &whole, &path, None).unwrap_or_else(|e| panic!("{path}: {e}"));
                measures += 1;
            }
        }
    }
    assert!(count >= 40 && measures >= 4, "{count} entries, {measures} measures");
}

/// Noise in every relation to the batch.
const NOISE: &str = r"
pipeline P() {
  graph shared(count: int = 4) -> [count, 5] {
    normal([1, 5]) + normal([count, 5]) + uniform([5])
  }

  graph rows(x: [n, 4]) -> [m, 4] {
    rearrange(x[:, none] + zeros([1, 3, 1]), 'n s k -> (n s) k') + normal([3 * shape(x)[0], 4])
  }

  graph looped(x: [n, 4]) -> [n, 4] {
    loop x for t in range(3) {
      x + t * normal(like = x) + bernoulli(0.5, [4])
    }
  }

  graph fixed() -> [6, 2] {
    normal([6, 2])
  }

  graph choose(logits: [n, 9]) -> i64[n] {
    categorical(logits)
  }

  graph odd(x: [n, 4]) -> [4] {
    sum(x, axis = 0) + sum(normal([shape(x)[0] + 1, 4]), axis = 0)
  }

  graph numbered(x: [n, 4]) -> [n, 4] {
    x / shape(x)[0]
  }
}
";

#[test]
fn noise_that_is_shared_and_noise_of_each_sample() {
    let text = NOISE.replace('\'', "\"");
    let sources = MemorySources(HashMap::from([("p.taper".to_string(), text)]));
    for name in ["shared", "rows", "looped", "choose"] {
        assert_eq!(replays(&sources, "p.taper", name), BATCH);
    }
    assert_eq!(replays(&sources, "p.taper", "fixed"), 6);
    for (name, says) in
        [("odd", "no part of this noise"), ("numbered", "computes with the number of samples")]
    {
        let (program, alone) = entry(&sources, "p.taper", name, None);
        let error = run(program, &alone, "p.taper", Some(1)).expect_err(name);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_graph_that_unrolls_over_its_count_runs_whole() {
    let dir = tempfile::TempDir::new().expect("a folder");
    let (file, out) = (path(&dir, "p.taper"), path(&dir, "o.npy"));
    let program = "pipeline P() {\n  graph f(count: int = 3) -> [count, 2] {\n    \
                   stack([normal([2]) for _ in range(count)], axis = 0)\n  }\n}\n";
    std::fs::write(&file, program).expect("written");
    let run = |more: &[&str]| {
        let run = taper(&[&["run", &file, "f", "--seed", "3", "-o", &out, "-q"][..], more].concat());
        (run.status.code(), taper::data::read_npy(out.as_ref()).expect("an array"))
    };
    let (_, all) = run(&[]);
    assert_eq!(run(&["--only", "2"]), (Some(0), all.take(&[2]).expect("a row")));
    assert_eq!(run(&["--only", "3"]).0, Some(2), "there are three");
}

#[test]
fn what_is_drawn_of_all_samples_is_drawn_of_all_under_only() {
    let dir = tempfile::TempDir::new().expect("a folder");
    let (file, out) = (path(&dir, "p.taper"), path(&dir, "o.npy"));
    let program = "pipeline P() {\n  graph drawn(count: int = 3) -> [1, 2] {\n    \
                   sum(normal([count, 2]), axis = 0)[none]\n  }\n}\n";
    std::fs::write(&file, program).expect("written");
    let run = |more: &[&str]| {
        let run = taper(&[&["run", &file, "drawn", "--seed", "3", "-o", &out, "-q"][..], more].concat());
        (run.status.code(), taper::data::read_npy(out.as_ref()).expect("an array"))
    };
    let all = run(&[]);
    assert_eq!(run(&["--only", "0"]), all);
    assert_eq!(run(&["--only", "1", "--count", "5"]).0, Some(2), "there is one");
}
