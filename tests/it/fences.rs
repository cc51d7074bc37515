//! The ``` fences of a Markdown page, and checks of the programs in them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use taper::source::{MemorySources, Sources};
use taper::{CheckOptions, Checked};

/// A fenced block of a page.
#[derive(Debug)]
pub struct Fence {
    /// The language: `taper`, `text`, `sh`.
    pub language: String,
    /// What follows the language: `error=E0401`, `file=decoder.taper`, `data=tests/fixtures/pictures`.
    pub attributes: HashMap<String, String>,
    /// The text inside, with its last newline.
    pub text: String,
    /// Line of the opening fence, from 1.
    pub line: usize,
}

/// All fences of a page, in order.
pub fn fences(page: &str) -> Vec<Fence> {
    let mut out: Vec<Fence> = Vec::new();
    let mut open = false;
    for (i, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(info), false) => {
                let mut parts = info.split(',');
                let language = parts.next().unwrap_or_default().trim().to_string();
                let attributes = parts.map(|p| p.split_once('=').unwrap_or((p, "")));
                let attributes =
                    attributes.map(|(k, v)| (k.trim().to_string(), v.trim().to_string())).collect();
                out.push(Fence { language, attributes, text: String::new(), line: i + 1 });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => {
                if let Some(fence) = out.last_mut() {
                    fence.text.push_str(line);
                    fence.text.push('\n');
                }
            }
            (None, false) => {}
        }
    }
    assert!(!open, "a fence is not closed");
    out
}

/// Checks a fence among other files, all in memory; `data=FOLDER` names a folder of the repository as `--data`.
pub fn check(fence: &Fence, others: &HashMap<String, String>) -> Checked {
    let main = fence.attributes.get("file").map_or("main.taper", String::as_str);
    let mut files = others.clone();
    files.insert(main.to_string(), fence.text.clone());
    let data = fence.attributes.get("data").map(|folder| root().join(folder));
    taper::check(&MemorySources(files), main, &CheckOptions { data, ..CheckOptions::default() })
}

/// Where models are tested: the GPU of `TAPER_TEST_DEVICE` (`cuda:0`), else the CPU.
pub fn device() -> String {
    std::env::var("TAPER_TEST_DEVICE").unwrap_or_else(|_| "cpu".into())
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of a folder and the folders in it that end in `.extension`, sorted.
pub fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return out };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            out.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            out.push(path);
        }
    }
    out.sort();
    out
}

/// A path as the tests name it: relative to the repository.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// Files on disk, as the command line reads them.
pub struct Disk;

impl Sources for Disk {
    fn read(&self, path: &str) -> Result<String, String> {
        std::fs::read_to_string(path).map_err(|e| e.to_string())
    }
}
