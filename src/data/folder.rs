//! Folders of images: one flat folder, a sub-folder per class, or a `metadata.jsonl` beside them.

use std::path::{Path, PathBuf};

use super::array::{Array, ArrayData};
use super::bytes::{Bytes, open_file, unreadable};
use super::metadata::{Metadata, parse_metadata};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};

const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "gif", "webp", "bmp"];
const TABLE: &str = "metadata.jsonl";

/// Image files and what is known about each.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Folder {
    /// The files, sorted by class and name, or in the table's order.
    pub(crate) files: Vec<PathBuf>,
    /// One row per file.
    pub(crate) columns: Vec<(String, Array)>,
    /// The names of the classes, by label.
    pub(crate) classes: Option<Vec<String>>,
}

/// Lists a folder; no image is opened.
///
/// # Errors
/// `E0801` when it cannot be read, `E0802` for a wrong `metadata.jsonl` or a mixture of layouts, `E0803`
/// when it or one of its class folders holds no image.
pub(crate) fn scan(dir: &Path) -> Result<Folder, Diagnostic> {
    if dir.join(TABLE).is_file() {
        return with_metadata(dir);
    }
    let (files, folders) = list(dir)?;
    let mut classes = Vec::new();
    for folder in &folders {
        classes.push((folder, list(folder)?.0));
    }
    let filled = classes.iter().filter(|c| !c.1.is_empty()).count();
    if files.is_empty() && filled == 0 {
        return Err(Diagnostic::error(
            codes::DATA_EMPTY,
            format!(
                "`{}` holds no images (png, jpeg, gif, webp, bmp) and no other data that is known",
                dir.display()
            ),
        )
        .note(contents(dir))
        .help(
            "give a folder of images, of class sub-folders with images, or with train-images-idx3-ubyte.gz, \
             train.npz or train.safetensors in it",
        ));
    }
    if !files.is_empty() {
        if filled > 0 {
            let (folder, inside) =
                classes.iter().find(|c| !c.1.is_empty()).map_or((dir, 0), |c| (c.0.as_path(), c.1.len()));
            return Err(Diagnostic::error(
                codes::DATA_FORMAT,
                format!(
                    "`{}` mixes layouts: {} images stand beside the folder `{}`, which holds {inside}",
                    dir.display(),
                    files.len(),
                    name(folder)
                ),
            )
            .help("put every image into a class folder, or all into one folder"));
        }
        return Ok(Folder { files, columns: Vec::new(), classes: None });
    }
    if let Some((empty, _)) = classes.iter().find(|c| c.1.is_empty()) {
        return Err(Diagnostic::error(
            codes::DATA_EMPTY,
            format!("the class folder `{}` holds no images, the other class folders do", empty.display()),
        )
        .help("put images into it, or remove it"));
    }
    let names = classes.iter().map(|c| name(c.0)).collect();
    let labels =
        classes.iter().enumerate().flat_map(|(i, c)| std::iter::repeat_n(i as i64, c.1.len())).collect();
    let files: Vec<PathBuf> = classes.into_iter().flat_map(|c| c.1).collect();
    let label = Array::new(vec![files.len()], ArrayData::I64(labels))?;
    Ok(Folder { files, columns: vec![("label".into(), label)], classes: Some(names) })
}

fn with_metadata(dir: &Path) -> Result<Folder, Diagnostic> {
    let path = dir.join(TABLE);
    let (_, len) = open_file(&path)?;
    let bytes = Bytes::File(path.clone()).range(0, len)?;
    let shown = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|e| {
        Diagnostic::error(
            codes::DATA_FORMAT,
            format!("`{shown}` is not UTF-8 text: byte {} is wrong", e.utf8_error().valid_up_to()),
        )
        .help("save it as UTF-8")
    })?;
    let Metadata { files, columns } = parse_metadata(&text, &shown)?;
    let mut paths = Vec::with_capacity(files.len());
    for file in &files {
        let path = dir.join(file);
        if !path.is_file() {
            let beside = path.parent().map(|p| list(p).unwrap_or_default().0).unwrap_or_default();
            let names: Vec<String> = beside.iter().map(|p| name(p)).collect();
            let near = did_you_mean(&name(&path), names.iter().map(String::as_str));
            let d = Diagnostic::error(
                codes::DATA_FORMAT,
                format!("`{shown}` names the image `{file}`, which does not exist in `{}`", dir.display()),
            );
            return Err(match near {
                Some(near) => d.help(format!("did you mean `{near}`?")),
                None => d.help("add the image, or remove its line"),
            });
        }
        paths.push(path);
    }
    Ok(Folder { files: paths, columns, classes: None })
}

/// The images and the sub-folders of a folder, sorted; hidden ones are left out.
fn list(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Diagnostic> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(dir).map_err(|e| unreadable(dir, &e))? {
        let path = entry.map_err(|e| unreadable(dir, &e))?.path();
        if name(&path).starts_with('.') {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if is_image(&path) {
            files.push(path);
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}

/// Whether the name is that of an image.
pub(crate) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

/// The sub-folders' names, for messages about splits.
pub(crate) fn folder_names(dir: &Path) -> Vec<String> {
    list(dir).map(|(_, folders)| folders.iter().map(|f| name(f)).collect()).unwrap_or_default()
}

fn contents(dir: &Path) -> String {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| name(&e.path())).collect();
    names.sort();
    match names.len() {
        0 => "the folder is empty".into(),
        n @ 1..=5 => format!("it holds {n}: {}", names.join(", ")),
        n => format!("it holds {n}: {}, …", names[..5].join(", ")),
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn touch(dir: &Path, names: &[&str]) {
        for n in names {
            let path = dir.join(n);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
    }

    #[test]
    fn class_folders_become_labels() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["dog/2.JPG", "dog/1.png", "cat/a.webp", "cat/notes.txt", ".hidden/x.png"]);
        let got = scan(dir.path()).unwrap();
        assert_eq!(got.classes.unwrap(), ["cat", "dog"]);
        assert_eq!(got.columns[0].1.data, ArrayData::I64(vec![0, 1, 1]));
        assert!(got.files[1].ends_with("dog/1.png"));
    }

    #[test]
    fn layouts_that_cannot_be_meant_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let d = scan(dir.path()).unwrap_err();
        assert_eq!((d.code, &d.notes[0][..]), (codes::DATA_EMPTY, "the folder is empty"));
        touch(dir.path(), &["notes.txt"]);
        assert_eq!(scan(dir.path()).unwrap_err().notes[0], "it holds 1: notes.txt");
        touch(dir.path(), &["cat/a.png", "dog/readme.md"]);
        assert!(scan(dir.path()).unwrap_err().message.contains("dog` holds no images"));
        touch(dir.path(), &["b.png"]);
        assert!(scan(dir.path()).unwrap_err().message.contains("mixes layouts"));
        assert_eq!(scan(&dir.path().join("none")).unwrap_err().code, codes::DATA_UNREADABLE);
    }

    #[test]
    fn metadata_gives_order_and_fields() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["a.png", "b.png"]);
        let table = dir.path().join(TABLE);
        fs::write(
            &table,
            "{\"file_name\":\"b.png\",\"text\":\"B\"}\n{\"file_name\":\"a.png\",\"text\":\"A\"}\n",
        )
        .unwrap();
        let got = scan(dir.path()).unwrap();
        assert!(got.files[0].ends_with("b.png"));
        assert_eq!(got.columns[0].1.data, ArrayData::Text(vec!["B".into(), "A".into()]));
        fs::write(&table, "{\"file_name\":\"aa.png\"}").unwrap();
        let d = scan(dir.path()).unwrap_err();
        assert!(d.message.contains("names the image `aa.png`"));
        assert_eq!(d.help.unwrap(), "did you mean `a.png`?");
        fs::write(&table, b"{\"file_name\":\"\xff.png\"}").unwrap();
        assert!(scan(dir.path()).unwrap_err().message.contains("byte 14"));
    }
}
