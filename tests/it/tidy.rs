//! The "never" lines of ARCHITECTURE.md, checked over the sources.

use std::path::{Path, PathBuf};

/// Longest file, in lines that hold code.
const LONGEST: usize = 700;

/// What the modules of a layer do not import.
const NEVER_IMPORT: &[(&[&str], &[&str])] = &[
    (&["source"], &["*"]),
    (&["shape"], &["*"]),
    (&["diagnostic"], &["syntax", "resolve", "elaborate", "ops", "graph", "run", "train", "cli"]),
    (&["syntax"], &["resolve", "elaborate", "ops", "graph", "run", "train", "cli"]),
    (
        &["ops"],
        &[
            "syntax",
            "resolve",
            "elaborate",
            "graph",
            "differentiate",
            "optimize",
            "plan",
            "run",
            "train",
            "cli",
        ],
    ),
    (
        &["graph"],
        &["syntax", "resolve", "elaborate", "differentiate", "optimize", "plan", "run", "train", "cli"],
    ),
    (
        &["recognize"],
        &[
            "syntax",
            "resolve",
            "elaborate",
            "differentiate",
            "optimize",
            "plan",
            "run",
            "weights",
            "train",
            "cli",
        ],
    ),
    (&["differentiate"], &["syntax", "resolve", "elaborate", "optimize", "plan", "run", "train", "cli"]),
    (&["optimize"], &["syntax", "resolve", "elaborate", "plan", "run", "train", "cli"]),
    (&["plan"], &["syntax", "resolve", "elaborate", "run", "train", "cli"]),
    (&["run"], &["syntax", "resolve", "elaborate", "train", "cli"]),
    (&["weights", "data", "media"], &["syntax", "resolve", "elaborate", "train", "cli"]),
    (&["elaborate", "resolve", "train"], &["cli"]),
];

/// The modules that may import candle.
const CANDLE: &[&str] = &["ops", "run", "weights", "train"];

/// The modules that may print, exit and read the environment.
const OUTSIDE: &[&str] = &["cli", "main"];

/// Names of models and samplers: they live in `stdlib/` and `pipelines/`, not in Rust.
const MODELS: &[&str] = &[
    "unet", "ddim", "ddpm", "vae", "cvae", "vqvae", "dcgan", "realnvp", "ncsn", "sdxl", "glide", "imagen",
    "unclip", "dalle", "resnet", "pixelcnn",
];

struct File {
    path: PathBuf,
    /// The top module: `graph` for `src/graph/svg/mod.rs`.
    module: String,
    /// The text without comments and tests; strings are kept.
    code: String,
    /// The same without the contents of strings.
    bare: String,
}

fn sources() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut texts = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !is_test(&path) {
                let text = std::fs::read_to_string(&path).unwrap();
                texts.push((path, text));
            }
        }
    }
    // `#[cfg(test)] mod property;` makes `property.rs` a test as well.
    let tests: Vec<PathBuf> = texts.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    texts.retain(|(path, _)| !tests.iter().any(|t| *path == t.with_extension("rs") || path.starts_with(t)));
    let mut files: Vec<File> = texts
        .into_iter()
        .map(|(path, text)| {
            let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
            let module = first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_string();
            File { code: code(&text, true), bare: code(&text, false), module, path }
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 30, "the sources were found");
    files
}

/// `tests.rs`, `plot_tests.rs`, `tests_shape.rs`, `testing.rs`, and folders called `tests`.
fn is_test(path: &Path) -> bool {
    let word = |c: &std::ffi::OsStr| {
        let name = c.to_string_lossy();
        name.trim_end_matches(".rs").split('_').any(|w| w == "tests" || w == "testing")
    };
    path.iter().rev().take_while(|c| *c != "src").any(word)
}

/// The places of modules that a file declares for tests only, without their ending.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let stem = path.file_stem().unwrap_or_default();
    let beside = ["mod", "lib", "main"].iter().any(|s| stem == *s);
    let folder = if beside { path.parent().unwrap().to_path_buf() } else { path.with_extension("") };
    let declared = text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| {
        let rest = rest.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        let (name, _) = rest.strip_prefix("mod ")?.split_once(';')?;
        name.chars().all(|c| c.is_alphanumeric() || c == '_').then(|| folder.join(name))
    });
    declared.collect()
}

/// The text up to its tests, without comments; with or without what stands in strings.
fn code(text: &str, strings: bool) -> String {
    // Tests come last in a file.
    let end = text
        .match_indices("#[cfg(test)]\nmod ")
        .map(|(at, _)| at)
        .find(|at| text[*at..].find('{').unwrap_or(usize::MAX) < text[*at..].find(';').unwrap_or(usize::MAX));
    let chars: Vec<char> = text[..end.unwrap_or(text.len())].chars().collect();
    let mut out = String::new();
    let mut i = 0;
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    while i < chars.len() {
        match (chars[i], at(i + 1)) {
            ('/', '/') => {
                while i < chars.len() && chars[i] != '\n' {
                    i += 1;
                }
            }
            ('/', '*') => {
                let mut depth = 0;
                while i < chars.len() {
                    match (chars[i], at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            ('r', '"' | '#') if !at(i.wrapping_sub(1)).is_alphanumeric() => {
                let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
                if at(i + 1 + hashes) != '"' {
                    out.push(chars[i]);
                    i += 1;
                    continue;
                }
                i += hashes + 2;
                out.push('"');
                while i < chars.len() && !(chars[i] == '"' && (1..=hashes).all(|k| at(i + k) == '#')) {
                    if strings {
                        out.push(chars[i]);
                    }
                    i += 1;
                }
                out.push('"');
                i += hashes + 1;
            }
            ('"', _) => {
                out.push('"');
                i += 1;
                while i < chars.len() && chars[i] != '"' {
                    let step = if chars[i] == '\\' { 2 } else { 1 };
                    if strings {
                        out.extend(&chars[i..(i + step).min(chars.len())]);
                    }
                    i += step;
                }
                out.push('"');
                i += 1;
            }
            // A character, unless it is a lifetime.
            ('\'', c) if c == '\\' || at(i + 2) == '\'' => {
                i += if c == '\\' { 3 } else { 2 };
                while i < chars.len() && chars[i] != '\'' {
                    i += 1;
                }
                i += 1;
            }
            (c, _) => {
                out.push(c);
                i += 1;
            }
        }
    }
    out
}

/// Words of letters and digits, in lower case; `CamelCase` and `snake_case` are taken apart as well.
fn words(code: &str) -> Vec<String> {
    let mut out = Vec::new();
    for word in code.split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut part = String::new();
        for c in word.chars() {
            if c.is_ascii_uppercase() && part.chars().any(|p| p.is_ascii_lowercase()) {
                out.push(std::mem::take(&mut part).to_lowercase());
            }
            part.push(c);
        }
        out.push(part.to_lowercase());
    }
    out
}

/// The modules of this crate that a file names: `crate::graph::…`, `crate::{graph, ops::Op}`.
fn imports(bare: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (at, _) in bare.match_indices("crate::") {
        let rest = &bare[at + "crate::".len()..];
        let name = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let Some(list) = rest.strip_prefix('{') else {
            out.push(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && c.is_alphabetic() => {
                    out.push(name(&list[i..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    out
}

fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn layers_import_downwards_only() {
    let mut broken = Vec::new();
    for file in sources() {
        for (modules, never) in NEVER_IMPORT.iter().filter(|(m, _)| m.contains(&&*file.module)) {
            for import in imports(&file.bare) {
                let own = modules.contains(&&*import) || import.is_empty();
                if never.contains(&&*import) || (never == &["*"] && !own) {
                    broken.push(format!(
                        "{}: `{}` must not import `{import}`",
                        file.path.display(),
                        file.module
                    ));
                }
            }
        }
    }
    report(broken);
}

#[test]
fn candle_stays_in_its_modules() {
    let broken = sources()
        .iter()
        .filter(|f| !CANDLE.contains(&&*f.module) && f.bare.contains("candle"))
        .map(|f| format!("{}: only {} import candle", f.path.display(), CANDLE.join(", ")))
        .collect();
    report(broken);
}

#[test]
fn only_the_command_line_prints_exits_and_reads_the_environment() {
    let mut broken = Vec::new();
    for file in sources().iter().filter(|f| !OUTSIDE.contains(&&*f.module)) {
        for word in
            ["println!", "print!", "eprintln!", "eprint!", "dbg!", "process::exit", "std::env", "env::var"]
        {
            let found = file.bare.match_indices(word).any(|(at, _)| {
                // `print!` is not `eprint!`, and neither is `my_print!`.
                !file.bare[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
            });
            if found {
                broken.push(format!("{}: `{word}` outside of cli", file.path.display()));
            }
        }
    }
    report(broken);
}

#[test]
fn files_do_one_thing() {
    let mut broken = Vec::new();
    for file in sources() {
        let lines = file.bare.lines().filter(|l| !l.trim().is_empty()).count();
        if lines > LONGEST {
            broken.push(format!("{}: {lines} lines of code; {LONGEST} are the most", file.path.display()));
        }
    }
    report(broken);
}

#[test]
fn no_model_is_known_in_rust() {
    let mut broken = Vec::new();
    for file in sources() {
        // The command line may name a file in an example.
        let mut names = words(if file.module == "cli" { &file.bare } else { &file.code });
        names.retain(|w| MODELS.contains(&&**w));
        names.dedup();
        for name in names {
            broken.push(format!("{}: `{name}` belongs into stdlib/ or pipelines/", file.path.display()));
        }
    }
    report(broken);
}

#[test]
fn nothing_is_left_to_be_written() {
    let mut broken = Vec::new();
    for file in sources() {
        for word in ["todo!", "unimplemented!"] {
            if file.bare.contains(word) {
                broken.push(format!("{}: `{word}`", file.path.display()));
            }
        }
    }
    report(broken);
}

#[test]
fn the_checks_see_what_they_look_for() {
    let text = "use crate::{graph::Graph, ops::{self, Op}, run};\n// println!(\"a\")\nlet s = \"todo! // x\"; \
                let c = '\"'; let l: &'static str = r#\"a\"b\"#; /* dbg! /* */ */ call::<'a>();\n\
                #[cfg(test)]\nmod tests { println!(); }";
    let bare = code(text, false);
    assert_eq!(imports(&bare), ["graph", "ops", "run"]);
    assert!(!bare.contains("println") && !bare.contains("todo") && !bare.contains("dbg"), "{bare}");
    assert!(bare.contains("call::<'a>()"), "{bare}");
    assert!(code(text, true).contains("todo! // x"));
    assert_eq!(imports("use crate::syntax::ast;"), ["syntax"]);
    assert_eq!(words("MyUnet::ddim_step \"a-vae\""), ["my", "unet", "", "ddim", "step", "", "a", "vae", ""]);
    assert!(
        is_test(Path::new("/x/src/media/plot_tests.rs")) && is_test(Path::new("src/syntax/tests/samples.rs"))
    );
    assert!(!is_test(Path::new("tests/src/media/plot.rs")));
    let declared = test_modules(Path::new("src/a/mod.rs"), "mod b;\n#[cfg(test)]\nmod c;\nuse crate::d;");
    assert_eq!(declared, [Path::new("src/a/c")]);
    assert!(code("#[cfg(test)]\nmod c;\nuse crate::d;", false).contains("crate::d"));
}
