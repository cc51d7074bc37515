//! Files without a pipeline, and layout tables of the library.

use std::collections::BTreeMap;
use std::path::Path;

use taper::run::{Device, Tensor};
use taper::source::MemorySources;
use taper::{CheckOptions, Checked};
use tempfile::TempDir;

use crate::cli::{path, taper, text};

fn check(file: &str) -> Checked {
    taper::check(&MemorySources::single("lib.taper", file), "lib.taper", &CheckOptions::default())
}

/// The errors' codes, and why each item is not checked whole.
fn outcome(file: &str) -> (Vec<String>, Vec<Option<String>>) {
    let checked = check(file);
    let errors = checked.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.code.to_string()).collect();
    (errors, checked.library.into_iter().map(|i| i.left).collect())
}

#[test]
fn blocks_and_functions_are_elaborated_by_themselves() {
    let whole = |left: &[Option<String>]| left.iter().all(Option::is_none);
    // Clean, whole.
    let (errors, left) = outcome(
        "use std.nn.{Linear}\n\
         block Coder(latent: int = 4) {\n  body = Linear(latent)\n  graph (x: [n, 8]) -> [n, latent] { x -> body }\n}\n\
         fn both(x: [n, 3], y: [n, 3]) -> [n] = sum(x * y, axis = 1)\n",
    );
    assert!(errors.is_empty() && whole(&left) && left.len() == 2, "{errors:?} {left:?}");
    // A shape that cannot be: known sizes, so it is an error here and now.
    for (file, code) in [
        (
            "use std.nn.{Linear}\nblock B() {\n  a = Linear(4)\n  graph (x: [n, 8]) -> [n, 5] { x -> a }\n}\n",
            "E0401",
        ),
        ("fn f(x: [n, 3]) = x + zeros([4])\n", "E0405"),
        ("fn f(x: [n, 3]) = relu(x, 2, 3)\n", "E0303"),
        // Whatever the sizes are.
        ("fn f(x: [n, k]) = relu(x, slope = 3)\n", "E0303"),
        ("fn f(x: i64[n, k], y: [n, k]) = x + y\n", "E0501"),
        (
            "fn f(x: [n, k] in unit) -> [n, k] in signed = g(x)\nfn g(x: [n, k] in signed) -> [n, k] in signed = x\n",
            "E0502",
        ),
        ("block B() {\n  graph (x: [n, k]) -> [n] { x.size }\n}\n", "E0206"),
    ] {
        let (errors, _) = outcome(file);
        assert!(errors.contains(&code.to_string()), "{file}: {errors:?}");
    }
    // What only a use can tell is said, and is no error.
    for (file, why) in [
        ("fn f(x: [n, k], y: [n, m]) = x + y\n", "its sizes are open"),
        ("fn f(x: [n, k]) = [x[:, i] for i in range(k)]\n", "its sizes are open"),
        ("fn f(x: [n, 2], g: function) = g(x)\n", "`g` is a function without a default"),
        ("fn f(x) = x + 1\n", "`x` has no type"),
        ("fn f(split: string = \"train\") = dataset(\"folder\", split)\n", "it reads data"),
        ("block B(width: int) {\n  graph (x: [n, width]) -> [n, width] { x }\n}\n", "`width` has no default"),
        (
            "block B(width: int = infer) {\n  w = param([width])\n  graph (x: [n, width]) -> [n, width] { x * w }\n}\n",
            "its sizes are open",
        ),
    ] {
        let (errors, left) = outcome(file);
        assert!(errors.is_empty(), "{file}: {errors:?}");
        assert_eq!(left, [Some(why.to_string())], "{file}");
    }
}

#[test]
fn a_check_says_what_it_has_checked() {
    let dir = TempDir::new().expect("a folder");
    let file = path(&dir, "lib.taper");
    std::fs::write(&file, "fn a(x: [n, 2]) = x + 1\nfn b(x) = x\n").expect("written");
    let run = taper(&["check", &file]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let said = text(&run.stdout);
    assert!(said.contains("checked whole: fn a"), "{said}");
    assert!(said.contains("fn b is checked whole where it is used: `x` has no type"), "{said}");
    let json: serde_json::Value =
        serde_json::from_slice(&taper(&["check", &file, "--json"]).stdout).expect("JSON");
    assert_eq!(json["checked"][0], "fn a");
}

/// An attention with the names of the present, in the middle of an autoencoder.
const ATTENTION: &str = r#"
use std.nn.{Linear}

block Attention(width: int) {
  to_q = Linear(width)
  to_k = Linear(width)
  to_v = Linear(width)
  to_out[0] = Linear(width)

  graph (x: [n, l, width]) -> [n, l, width] {
    a = softmax(einsum("n i c, n j c -> n i j", to_q(x), to_k(x)), axis = 2)
    einsum("n i j, n j c -> n i c", a, to_v(x)) -> (to_out[0])
  }
}

block Middle() {
  attentions[0] = Attention(4)

  graph (x: [n, l, 4]) -> [n, l, 4] {
    x -> (attentions[0])
  }
}

block Decoder() {
  mid_block = Middle()

  graph (x: [n, l, 4]) -> [n, l, 4] {
    x -> mid_block
  }
}

block Autoencoder() {
  decoder = Decoder()

  graph (x: [n, l, 4]) -> [n, l, 4] {
    x -> decoder
  }
}

pipeline P() {
  vae = Autoencoder() from "vae/model.safetensors" as std.layouts.attention_blocks

  graph run(x: [n, l, 4]) -> [n, l, 4] {
    x -> vae
  }
}
"#;

#[test]
fn a_layout_of_the_library_loads_files_of_old() {
    let dir = TempDir::new().expect("a folder");
    let write = |folder: &str, names: [&str; 4]| {
        let mut tensors = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let numbers =
                |n: usize| (0..n).map(|j| ((i * 31 + j * 7) % 11) as f32 / 10.0 - 0.5).collect::<Vec<_>>();
            let key = |part: &str| format!("decoder.mid_block.attentions.0.{name}.{part}");
            let tensor =
                |v: Vec<f32>, shape: &[usize]| Tensor::from_vec(v, shape, &Device::Cpu).expect("a tensor");
            tensors.push((key("weight"), tensor(numbers(16), &[4, 4])));
            tensors.push((key("bias"), tensor(numbers(4), &[4])));
        }
        let folder = dir.path().join(folder);
        std::fs::create_dir_all(folder.join("vae")).expect("a folder");
        let tensors = tensors.iter().map(|(n, t)| (n.as_str(), t));
        taper::weights::store::save(tensors, &folder.join("vae/model.safetensors"), &BTreeMap::new())
            .expect("saved");
        folder.display().to_string()
    };
    let old = write("old", ["query", "key", "value", "proj_attn"]);
    let new = write("new", ["to_q", "to_k", "to_v", "to_out.0"]);
    let (file, plain) = (path(&dir, "p.taper"), path(&dir, "plain.taper"));
    std::fs::write(&file, ATTENTION).expect("written");
    std::fs::write(&plain, ATTENTION.replace(" as std.layouts.attention_blocks", "")).expect("written");
    let x = path(&dir, "x.npy");
    let values = taper::data::ArrayData::F32((0..24).map(|i| i as f32 / 24.0).collect());
    taper::data::write_npy(Path::new(&x), &taper::data::Array::new(vec![2, 3, 4], values).expect("x"))
        .expect("saved");
    let run = |file: &str, weights: &str| {
        let out = path(&dir, "o.npy");
        let run = taper(&["run", file, "run", "--x", &x, "--weights", weights, "-o", &out, "-q"]);
        assert!(run.status.success(), "{}", text(&run.stderr));
        std::fs::read(out).expect("the result")
    };
    // The table leaves names of the present as they are.
    assert_eq!(run(&file, &old), run(&plain, &new));
    assert_eq!(run(&file, &new), run(&plain, &new));
    let without = taper(&["check", &plain, "--weights", &old]);
    assert_eq!(without.status.code(), Some(2));
    assert!(text(&without.stderr).contains("E0703"), "{}", text(&without.stderr));
}
