//! Recognising what a path holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::array::{Array, ArrayData, Element, display_shape};
use super::bytes::{Bytes, unreadable, wrong_contents};
use super::column::Column;
use super::dataset::Dataset;
use super::split::Split;
use super::{folder, idx, npy, npz, safetensors};
use crate::diagnostic::{Diagnostic, codes};
use crate::media::{ReadOptions, sniff};

/// Opens a data set; see [`open_with`].
///
/// # Errors
/// As [`open_with`].
pub fn open(path: &Path, split: &str) -> Result<Dataset, Diagnostic> {
    open_with(path, split, &ReadOptions::default())
}

/// Opens the data set at a path. Headers and names are read and checked, contents are not.
///
/// A folder may hold the four files of MNIST's family (raw or gzipped), `SPLIT.npz`, `SPLIT.safetensors`
/// or `SPLIT.npy`, a sub-folder per split, class sub-folders, images with a `metadata.jsonl`, or images
/// alone. A file may be IDX, `.npz`, `.npy` or `.safetensors`. What is not divided into splits is `train`.
/// The split may select a range, see [`Split::parse`].
///
/// Fields: `image` is `[n, c, h, w]` with channels first (u8 except where an array file holds floats),
/// `label` is `i64[n]`, others are as stored.
///
/// # Errors
/// `E0801` when the path cannot be read, `E0802` when its contents are malformed, `E0803` when it holds
/// no samples, `E0805` for a broken image, `E0806` for shapes and dtypes that cannot be used, `E0807` when
/// there is no such split.
pub fn open_with(path: &Path, split: &str, options: &ReadOptions) -> Result<Dataset, Diagnostic> {
    let split = Split::parse(split)?;
    let metadata = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    let data = if metadata.is_dir() { open_folder(path, &split, options)? } else { open_file(path, &split)? };
    data.narrowed(&split)
}

fn open_folder(dir: &Path, split: &Split, options: &ReadOptions) -> Result<Dataset, Diagnostic> {
    let known = |name: &str| idx_file(dir, name, "images", 3).is_some();
    if known("train") || known("test") {
        return open_idx(dir, split);
    }
    const ARRAYS: [&str; 3] = ["npz", "safetensors", "npy"];
    let file = |stem: &str| ARRAYS.iter().map(|e| dir.join(format!("{stem}.{e}"))).find(|p| p.is_file());
    if let Some(file) = file(&split.name) {
        return open_arrays(&file);
    }
    let others: Vec<&str> =
        ["train", "test", "validation", "val"].into_iter().filter(|s| file(s).is_some()).collect();
    if !others.is_empty() {
        return Err(no_split(dir, split, &others));
    }
    let inside = dir.join(&split.name);
    let (folder, found) = if inside.is_dir() {
        let found = folder::scan(&inside)?;
        (inside, found)
    } else {
        let folders = folder::folder_names(dir);
        let divided: Vec<&str> =
            folders.iter().map(String::as_str).filter(|f| ["train", "test"].contains(f)).collect();
        if !divided.is_empty() {
            return Err(no_split(dir, split, &divided));
        }
        // Whether it is data at all comes before its splits.
        let found = folder::scan(dir).map_err(|d| match below(dir, &folders) {
            Some(near) => d.help(format!("did you mean `{}`?", near.display())),
            None => d,
        })?;
        undivided(dir, split)?;
        (dir.to_path_buf(), found)
    };
    let mut columns = vec![Column::images(found.files, *options)?];
    columns.extend(found.columns.into_iter().map(|(name, array)| Column::loaded(name, array)));
    Dataset::new(folder.display().to_string(), columns, found.classes)
}

fn open_file(path: &Path, split: &Split) -> Result<Dataset, Diagnostic> {
    undivided(path, split)?;
    if folder::is_image(path) {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Err(Diagnostic::error(
            codes::DATA_FORMAT,
            format!(
                "`{}` is a single image; a folder of images or a file of arrays was expected",
                path.display()
            ),
        )
        .help(format!("give its folder: `--data {}`", folder.display())));
    }
    open_arrays(path)
}

/// A file of arrays, recognised by its first bytes.
fn open_arrays(path: &Path) -> Result<Dataset, Diagnostic> {
    let source = Bytes::File(path.to_path_buf());
    let head = source.head(64)?;
    let name = path.display().to_string();
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let columns = if head.starts_with(b"PK") {
        let source = Arc::new(source);
        let entries = npz::read_headers(&source)?;
        let column = |e: npz::NpzEntry| {
            let (source, element, shape) = (source.clone(), e.header.element(), e.header.shape.clone());
            array_column(&format!("{name}:{}", e.name), &e.name.clone(), element, shape, move || {
                npz::read(&source, &e)
            })
        };
        entries.into_iter().map(column).collect::<Result<_, _>>()?
    } else if head.starts_with(b"\x93NUMPY") {
        let header = npy::read_header(&source)?;
        vec![array_column(&name, "data", header.element(), header.shape, move || npy::read(&source))?]
    } else if extension == "safetensors" || head.get(8) == Some(&b'{') {
        let source = Arc::new(source);
        let entries = safetensors::read_headers(&source)?;
        let column = |e: safetensors::TensorEntry| {
            let (source, element, shape) = (source.clone(), e.element(), e.shape.clone());
            array_column(&format!("{name}:{}", e.name), &e.name.clone(), element, shape, move || {
                safetensors::read(&source, &e)
            })
        };
        entries.into_iter().map(column).collect::<Result<_, _>>()?
    } else if head.starts_with(b"\x1f\x8b") || head.starts_with(&[0, 0]) {
        let header = idx::read_header(&source)?;
        let field = match (header.shape.len(), header.element()) {
            (3, Element::U8) => "image",
            (1, Element::U8 | Element::I64) => "label",
            _ => "data",
        };
        vec![array_column(&name, field, header.element(), header.shape, move || idx::read(&source))?]
    } else {
        let what = "data that is known (IDX, .npz, .npy or .safetensors)";
        return Err(match sniff::describe(&head) {
            "text" | "bytes of an unknown format" => wrong_contents(&name, what, &head)
                .help("convert it with numpy: `numpy.savez('train.npz', image=…, label=…)`"),
            _ => wrong_contents(&name, what, &head),
        });
    };
    Dataset::new(name, columns, None)
}

/// A field of an array file, in the form that the language wants.
fn array_column(
    place: &str,
    field: &str,
    element: Element,
    shape: Vec<usize>,
    load: impl Fn() -> Result<Array, Diagnostic> + Send + Sync + 'static,
) -> Result<Column, Diagnostic> {
    if shape.is_empty() {
        return Err(Diagnostic::error(
            codes::DATA_SHAPE,
            format!("`{place}` is a single number; its first axis should be the samples"),
        )
        .help("save it with a first axis, or leave it out of the file"));
    }
    match field {
        "image" => {
            let wanted = image_shape(place, &shape)?;
            let new = wanted.clone();
            Ok(Column::array(field, element, &wanted, move || {
                let array = load()?;
                // A file that changed meanwhile is caught by the column's own check.
                if array.shape == shape { Array::new(new.clone(), array.data) } else { Ok(array) }
            }))
        }
        "label" if element == Element::U8 => Ok(Column::array(field, Element::I64, &shape, move || {
            let array = load()?;
            match array.data {
                ArrayData::U8(v) => {
                    Array::new(array.shape, ArrayData::I64(v.into_iter().map(i64::from).collect()))
                }
                _ => Ok(array),
            }
        })),
        _ => Ok(Column::array(field, element, &shape, load)),
    }
}

/// `[n, c, h, w]` for images stored as `[n, h, w]` or `[n, c, h, w]`.
fn image_shape(place: &str, shape: &[usize]) -> Result<Vec<usize>, Diagnostic> {
    let help = match shape {
        [n, h, w] => return Ok(vec![*n, 1, *h, *w]),
        [_, 1 | 3, _, _] => return Ok(shape.to_vec()),
        [_, _, _, 1 | 3] => "channels come last here; save `image.transpose(0, 3, 1, 2)` instead",
        _ => "save images with 1 or 3 channels, channels first",
    };
    Err(Diagnostic::error(
        codes::DATA_SHAPE,
        format!(
            "`{place}` has shape {}; images are [n, h, w] or [n, c, h, w] with 1 or 3 channels",
            display_shape(shape)
        ),
    )
    .help(help))
}

fn open_idx(dir: &Path, split: &Split) -> Result<Dataset, Diagnostic> {
    let Some(images) = idx_file(dir, &split.name, "images", 3) else {
        let there: Vec<&str> =
            ["train", "test"].into_iter().filter(|s| idx_file(dir, s, "images", 3).is_some()).collect();
        return Err(no_split(dir, split, &there));
    };
    let labels = idx_file(dir, &split.name, "labels", 1);
    idx_dataset(dir.display().to_string(), Bytes::File(images), labels.map(Bytes::File), None)
}

/// Images and labels in IDX form as a data set.
pub(crate) fn idx_dataset(
    name: String,
    images: Bytes,
    labels: Option<Bytes>,
    classes: Option<Vec<String>>,
) -> Result<Dataset, Diagnostic> {
    let shape = idx::image_shape(&idx::read_header(&images)?, &images)?;
    let wanted = shape.clone();
    let mut columns = vec![Column::array("image", Element::U8, &shape, move || {
        let array = idx::read(&images)?;
        if array.data.len() == wanted.iter().product::<usize>() {
            Array::new(wanted.clone(), array.data)
        } else {
            Ok(array)
        }
    })];
    if let Some(labels) = labels {
        let header = idx::read_header(&labels)?;
        if header.shape.len() != 1 || !matches!(header.element(), Element::U8 | Element::I64) {
            return Err(idx::not_labels(&header.shape, header.element(), &labels));
        }
        columns.push(Column::array("label", Element::I64, &header.shape, move || {
            idx::labels(idx::read(&labels)?, &labels)
        }));
    }
    Dataset::new(name, columns, classes)
}

/// The file of MNIST's family for a split, under one of the names in use.
fn idx_file(dir: &Path, split: &str, what: &str, rank: u8) -> Option<PathBuf> {
    let prefixes: &[&str] = match split {
        "train" => &["train"],
        "test" => &["t10k", "test"],
        _ => return None,
    };
    let names = prefixes.iter().flat_map(|p| {
        ["-", "."]
            .iter()
            .flat_map(move |dot| ["", ".gz"].map(|gz| format!("{p}-{what}{dot}idx{rank}-ubyte{gz}")))
    });
    names.map(|n| dir.join(n)).find(|p| p.is_file())
}

/// A sub-folder that holds the files of MNIST's family: its parent was given.
fn below(dir: &Path, folders: &[String]) -> Option<PathBuf> {
    let known = |dir: &PathBuf| ["train", "test"].iter().any(|s| idx_file(dir, s, "images", 3).is_some());
    folders.iter().map(|f| dir.join(f)).find(known)
}

/// Data that is not divided into splits is `train`.
fn undivided(path: &Path, split: &Split) -> Result<(), Diagnostic> {
    if split.name == "train" { Ok(()) } else { Err(no_split(path, split, &["train"])) }
}

fn no_split(path: &Path, split: &Split, there: &[&str]) -> Diagnostic {
    let list = there.join(", ");
    let d =
        Diagnostic::error(codes::DATA_SPLIT, format!("`{}` has no split `{}`", path.display(), split.name))
            .note(format!("it has {list}"));
    match there {
        [only] => d.help(format!(
            "add the missing files, or hold a part back: \"{only}[:90%]\" to train with, \"{only}[90%:]\" to test with"
        )),
        _ => d.help(format!("use one of {list}")),
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
