//! Golden tests of the command line: one page per mistake outside of the source, in `tests/golden/commands/`.
//!
//! A page has a title, a sentence, `## files` with what lies in the folder, `## command` with what is run
//! there, and `## result`, which `UPDATE_GOLDEN=1 cargo test --test it commands` writes anew: the exit code and
//! what was printed. Fences under `## files` are texts (`taper,file=NAME`), or lines that make files
//! (`make`), see [`make`]. Of several commands, all but the last succeed and print nothing that is kept.
//!
//! Every page is run twice: in the folder as it is, and with an older output where the command is told to
//! write. If the last command fails, it has left everything as it was, and nothing half-written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use taper::data::{Array, ArrayData, encode_npy};
use taper::media::Image;

use crate::fences::{fences, files, root, shown};

/// The fences of a section.
fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let start = format!("\n## {title}\n");
    let at = page.find(&start).map(|i| i + start.len());
    let Some(at) = at else { return "" };
    let end = page[at..].find("\n## ").map_or(page.len(), |i| at + i + 1);
    &page[at..end]
}

/// Makes the files of a page.
fn prepare(page: &str, dir: &Path) {
    for fence in fences(section(page, "files")) {
        if fence.language == "make" {
            fence.text.lines().for_each(|line| make(line, dir));
        } else {
            write(dir, fence.attributes.get("file").expect("a file has a name"), fence.text.as_bytes());
        }
    }
}

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

/// One line of a `make` fence:
///
/// - `folder NAME`
/// - `text NAME WORDS…`: a file of these words; `bytes NAME HEX`: of these bytes
/// - `weights NAME KEY TYPE KEY TYPE …`: a safetensors file of zeros, `encoder.bias f32[8]`
/// - `idx NAME TYPE`, `npy NAME TYPE`, `png NAME HEIGHT WIDTH`: a valid file of that format
/// - `gzip NAME`: compresses it; `cut NAME N`: leaves the first N bytes
fn make(line: &str, dir: &Path) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |i: usize| words[i].parse::<usize>().expect("a number");
    match words[0] {
        "folder" => std::fs::create_dir_all(dir.join(words[1])).expect("made"),
        "text" => write(dir, words[1], (words[2..].join(" ") + "\n").as_bytes()),
        "bytes" => {
            let digits =
                |i: usize| u8::from_str_radix(&words[2][i..i + 2], 16).expect("two hexadecimal digits");
            write(dir, words[1], &(0..words[2].len()).step_by(2).map(digits).collect::<Vec<u8>>());
        }
        "weights" => write(dir, words[1], &safetensors(&words[2..])),
        "idx" => {
            let (_, shape) = ty(words[2]);
            let mut bytes = vec![0, 0, 8, shape.len() as u8];
            bytes.extend(shape.iter().flat_map(|d| (*d as u32).to_be_bytes()));
            bytes.extend((0..shape.iter().product::<usize>()).map(|i| i as u8));
            write(dir, words[1], &bytes);
        }
        "npy" => {
            let (dtype, shape) = ty(words[2]);
            let n = shape.iter().product();
            let data = match dtype {
                "u8" => ArrayData::U8(vec![1; n]),
                "i64" => ArrayData::I64(vec![1; n]),
                _ => ArrayData::F32(vec![0.5; n]),
            };
            let array = Array::new(shape, data).expect("an array");
            write(dir, words[1], &encode_npy(&array).expect("encoded"));
        }
        "png" => {
            let (h, w) = (number(2), number(3));
            let pixels = (0..h * w).map(|i| i as u8).collect();
            let image = Image::new(1, h, w, pixels).expect("an image");
            write(dir, words[1], &image.to_png().expect("encoded"));
        }
        "gzip" => {
            let bytes = std::fs::read(dir.join(words[1])).expect("read");
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(&bytes).expect("compressed");
            write(dir, words[1], &out.finish().expect("compressed"));
        }
        "cut" => {
            let bytes = std::fs::read(dir.join(words[1])).expect("read");
            write(dir, words[1], &bytes[..number(2)]);
        }
        other => panic!("`{other}` makes nothing"),
    }
}

/// `f32[8, 4]` without its blank: the dtype, the shape.
fn ty(text: &str) -> (&str, Vec<usize>) {
    let (dtype, shape) = text.trim_end_matches(']').split_once('[').expect("a type");
    (dtype, shape.split(',').filter(|d| !d.is_empty()).map(|d| d.parse().expect("a size")).collect())
}

fn safetensors(pairs: &[&str]) -> Vec<u8> {
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for pair in pairs.chunks(2) {
        let (dtype, shape) = ty(pair[1]);
        let size = if dtype.ends_with("64") {
            8
        } else if dtype.ends_with("16") {
            2
        } else {
            4
        };
        let end = at + size * shape.iter().product::<usize>();
        let entry =
            serde_json::json!({ "dtype": dtype.to_uppercase(), "shape": shape, "data_offsets": [at, end] });
        header.insert(pair[0].to_string(), entry);
        at = end;
    }
    let text = serde_json::Value::Object(header).to_string();
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.resize(bytes.len() + at, 0);
    bytes
}

fn taper(line: &str, dir: &Path) -> Output {
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), Some("taper"), "{line}");
    Command::new(env!("CARGO_BIN_EXE_taper")).args(words).current_dir(dir).output().expect("taper starts")
}

/// Every file and folder below, with its bytes.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut out = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path.clone());
                out.insert(path, None);
            } else {
                let bytes = std::fs::read(&path).expect("read");
                out.insert(path, Some(bytes));
            }
        }
    }
    out
}

/// What a command is told to write, if anything: a file, or the folder of a training.
fn output(command: &str) -> Option<(&str, bool)> {
    let mut words = command.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "-o" | "--output" => return Some((words.next()?, false)),
            "--out" => return Some((words.next()?, true)),
            _ => {}
        }
    }
    None
}

/// Runs the commands of a page in a fresh folder, with an older output there if `older`.
fn run(page: &str, older: bool) -> (Output, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    prepare(page, dir);
    let commands = fences(section(page, "command"));
    let mut lines: Vec<&str> = commands[0].text.lines().collect();
    let last = lines.pop().expect("a command");
    for line in lines {
        let run = taper(line, dir);
        assert!(run.status.success(), "{line}: {}", String::from_utf8_lossy(&run.stderr));
    }
    if let (true, Some((name, folder))) = (older, output(last)) {
        let file = if folder { format!("{name}/notes.txt") } else { name.to_string() };
        // A page about a folder that is not there has no place for an older output.
        if dir.join(&file).parent().is_some_and(|p| folder || p.is_dir()) {
            write(dir, &file, b"what was here before");
        }
    }
    let before = contents(dir);
    let run = taper(last, dir);
    let stderr = String::from_utf8(run.stderr.clone()).expect("text");
    assert!(!stderr.contains(&dir.display().to_string()), "a message names the folder of the test: {stderr}");
    if !run.status.success() {
        let after = contents(dir);
        let changed: Vec<&PathBuf> =
            before.keys().chain(after.keys()).filter(|p| before.get(*p) != after.get(*p)).collect();
        assert!(changed.is_empty(), "`{last}` fails, and has changed {changed:?}");
    }
    (run, stderr)
}

/// The page with its result computed anew.
fn regenerate(page: &str) -> String {
    let (run_clean, stderr) = run(page, false);
    let (run_older, again) = run(page, true);
    assert_eq!(
        (run_clean.status.code(), &stderr),
        (run_older.status.code(), &again),
        "an older output matters"
    );
    let end = page.find("\n## result\n").unwrap_or(page.len());
    let code = run_clean.status.code().expect("an exit code");
    let mut out = page[..end].trim_end().to_string();
    let text: String = stderr.lines().map(|l| format!("{}\n", l.trim_end())).collect();
    write!(out, "\n\n## result\n\nExit code {code}.\n\n```text\n{}\n```\n", text.trim_end()).unwrap();
    out
}

#[test]
fn command_pages() {
    let pages = files(&root().join("tests/golden/commands"), "md");
    assert!(pages.len() >= 25, "only {} pages", pages.len());
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for path in pages {
        let old = std::fs::read_to_string(&path).unwrap();
        let new = match std::panic::catch_unwind(|| regenerate(&old)) {
            Ok(new) => new,
            Err(why) => {
                let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
                wrong.push(format!("{}: {why}", shown(&path)));
                continue;
            }
        };
        if old != new && update {
            std::fs::write(&path, &new).unwrap();
        } else if old != new {
            wrong.push(format!("{}: {}", shown(&path), crate::golden::difference(&old, &new)));
        }
    }
    let hint = "see what changed with: UPDATE_GOLDEN=1 cargo test --test it commands; git diff tests/golden";
    assert!(wrong.is_empty(), "{}\n{hint}", wrong.join("\n"));
}
