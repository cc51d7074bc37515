//! Which files a weights argument stands for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Layout, read_header};
use crate::diagnostic::{Diagnostic, codes};
use crate::fs::plain;
use crate::graph::program::Weight;

/// Files that hold the weights of one part of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSet {
    /// One file, or the shards of one.
    pub files: Vec<PathBuf>,
    /// The field path that the files' keys lie under; empty for whole paths.
    pub root: String,
    /// Renames the keys.
    pub layout: Option<Layout>,
    /// The weights that come from here, as indices into the program's.
    pub weights: Vec<usize>,
}

/// Where the weights lie that ship beside a pipeline: `pipelines/vae.taper` has `pipelines/vae.safetensors`.
pub fn shipped(file: &Path) -> PathBuf {
    file.with_extension("safetensors")
}

/// What lies beside a pipeline's `file`: with `own` the [`shipped`] weights, and for what those have not, the file
/// of each `from`. What is not there is left out.
///
/// # Errors
/// A file, layout or index of shards that cannot be read.
pub fn beside(weights: &[Weight], file: &Path, own: bool) -> Result<Vec<FileSet>, Vec<Diagnostic>> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let shipped = Some(shipped(file)).filter(|path| own && path.is_file());
    let header = shipped.as_deref().map(read_header).transpose().map_err(|d| vec![d])?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for (i, weight) in weights.iter().enumerate() {
        let here = header.as_ref().is_some_and(|h| h.tensors.contains_key(&weight.path));
        match &weight.from {
            Some(from) if !here => theirs.extend(files(folder, &from.file).is_ok().then_some(i)),
            _ => ours.push(i),
        }
    }
    let mut sets = published(weights, folder, theirs)?;
    sets.extend(shipped.filter(|_| !ours.is_empty()).map(|file| FileSet {
        files: vec![file],
        root: String::new(),
        layout: None,
        weights: ours,
    }));
    Ok(sets)
}

/// The newest complete checkpoint of a run folder, and its step.
pub(crate) fn newest_checkpoint(folder: &Path) -> Option<(u64, PathBuf)> {
    let entries = std::fs::read_dir(folder.join("checkpoints")).ok()?;
    entries
        .filter_map(|e| {
            let path = e.ok()?.path();
            let step = path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()?;
            path.is_dir().then_some((step, path))
        })
        .max()
}

/// Finds the files: a single file, a run folder (its averages where it has them and `average` is wanted), or
/// a published folder, where each `from` of the program names a file or the shards of one.
///
/// # Errors
/// [`codes::WEIGHTS_UNREADABLE`]: nothing there, or not what is needed.
pub fn locate(weights: &[Weight], argument: &Path, average: bool) -> Result<Vec<FileSet>, Vec<Diagnostic>> {
    let whole = |file: PathBuf| FileSet {
        files: vec![file],
        root: String::new(),
        layout: None,
        weights: (0..weights.len()).collect(),
    };
    if !argument.is_dir() {
        return Ok(vec![whole(argument.to_path_buf())]);
    }
    if argument.join("run.ron").is_file() || argument.join("checkpoints").is_dir() {
        return match run_file(argument, average) {
            Some(file) => Ok(vec![whole(file)]),
            None => {
                let message = format!("the run folder `{}` holds no weights yet", argument.display());
                Err(vec![
                    Diagnostic::error(codes::WEIGHTS_UNREADABLE, message)
                        .help("the run has not reached its first checkpoint; resume it with `--resume`"),
                ])
            }
        };
    }
    published(weights, argument, (0..weights.len()).collect())
}

/// `ema.safetensors`, else `model.safetensors`, of the folder itself or of its newest checkpoint.
fn run_file(folder: &Path, average: bool) -> Option<PathBuf> {
    let names: &[&str] =
        if average { &["ema.safetensors", "model.safetensors"] } else { &["model.safetensors"] };
    let newest = newest_checkpoint(folder).map(|(_, path)| path);
    [Some(folder.to_path_buf()), newest]
        .into_iter()
        .flatten()
        .flat_map(|f| names.iter().map(move |n| f.join(n)))
        .find(|f| f.is_file())
}

/// The files of a folder that the weights of these numbers come from.
fn published(
    weights: &[Weight],
    folder: &Path,
    numbers: Vec<usize>,
) -> Result<Vec<FileSet>, Vec<Diagnostic>> {
    let (mut sets, mut errors) = (Vec::<FileSet>::new(), Vec::new());
    let mut groups: BTreeMap<(String, String, Option<String>), Vec<usize>> = BTreeMap::new();
    for (i, weight) in numbers.into_iter().filter_map(|i| weights.get(i).map(|w| (i, w))) {
        let key = match &weight.from {
            Some(s) => (s.file.clone(), s.root.clone(), s.layout.clone()),
            None => ("model.safetensors".into(), String::new(), None),
        };
        groups.entry(key).or_default().push(i);
    }
    for ((file, root, layout), members) in groups {
        let layout = match layout.as_deref().map(Layout::parse).transpose() {
            Ok(layout) => layout,
            Err(d) => {
                errors.push(d);
                continue;
            }
        };
        match files(folder, &file) {
            Ok(files) => sets.push(FileSet { files, root, layout, weights: members }),
            Err(d) => {
                let first = members.first().and_then(|i| weights.get(*i));
                let d = match first {
                    Some(w) if w.from.is_some() => d.label(w.span, format!("`{}` comes from there", w.path)),
                    Some(w) => d.label(w.span, format!("`{}` has no `from`", w.path)),
                    None => d,
                };
                errors.push(d);
            }
        }
    }
    if errors.is_empty() { Ok(sets) } else { Err(errors) }
}

/// The file of that name, or its shards, or its half-precision variant.
fn files(folder: &Path, name: &str) -> Result<Vec<PathBuf>, Diagnostic> {
    let unreadable = |message: String| Diagnostic::error(codes::WEIGHTS_UNREADABLE, message);
    let path = Path::new(name);
    if path.is_absolute() || path.components().any(|c| matches!(c, std::path::Component::ParentDir)) {
        return Err(unreadable(format!("`{name}` leaves the weights folder"))
            .help("`from` names a file inside the weights folder"));
    }
    let path = folder.join(path);
    if path.is_file() {
        return Ok(vec![path]);
    }
    let mut index = path.clone().into_os_string();
    index.push(".index.json");
    let index = PathBuf::from(index);
    if index.is_file() {
        return shards(&index);
    }
    let half = path.with_extension("fp16.safetensors");
    if half.is_file() {
        return Ok(vec![half]);
    }
    Err(unreadable(format!("`{}` has no `{name}`", folder.display())).help(format!(
        "there should be `{}`, or its shards with `{}`",
        path.display(),
        index.display()
    )))
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn shards(index: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let bad = |why: String| {
        let message = format!("the index of shards `{}` cannot be read: {why}", index.display());
        Diagnostic::error(codes::WEIGHTS_UNREADABLE, message).help("fetch it again")
    };
    let text = std::fs::read_to_string(index).map_err(|e| bad(plain(&e)))?;
    let parsed: Index = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    let folder = index.parent().unwrap_or(Path::new("."));
    let names: std::collections::BTreeSet<String> = parsed.weight_map.into_values().collect();
    match names.iter().find(|n| n.contains(['/', '\\']) || n.contains("..")) {
        Some(outside) => Err(bad(format!("`{outside}` is not a file beside it"))),
        None => Ok(names.iter().map(|n| folder.join(n)).collect()),
    }
}
