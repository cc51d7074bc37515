//! Embeds the standard library: one table, sorted by name.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn files(dir: &Path, extensions: &[&str], out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            files(&path, extensions, out);
        } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e)) {
            out.push(path);
        }
    }
}

fn table(root: &Path, folder: &str, extensions: &[&str], name: &str) -> String {
    let dir = root.join(folder);
    println!("cargo::rerun-if-changed={}", dir.display());
    let mut paths = Vec::new();
    files(&dir, extensions, &mut paths);
    paths.sort();
    let mut text = format!(
        "/// Relative path and text of each file of `{folder}/`.\npub static {name}: &[(&str, &str)] = &[\n"
    );
    for path in paths {
        let relative = path.strip_prefix(&dir).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let _ = writeln!(text, "    ({relative:?}, include_str!({:?})),", path.display().to_string());
    }
    text + "];\n"
}

fn main() {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
    let text = table(&root, "stdlib", &["taper", "ron"], "STDLIB");
    let out = PathBuf::from(std::env::var("OUT_DIR").unwrap_or_default()).join("embedded.rs");
    if let Err(e) = std::fs::write(&out, text) {
        println!("cargo::error=cannot write {}: {e}", out.display());
    }
}
