//! Files for the library: from the folder of the pipeline and the roots given, nowhere else.

use std::path::{Component, Path, PathBuf};

use crate::source::Sources;

/// Reads files under the allowed roots.
pub(super) struct FileSources {
    /// The file itself, which may lie anywhere.
    entry: PathBuf,
    /// Folders that imports may reach.
    roots: Vec<PathBuf>,
    /// A folder that overrides the standard library.
    stdlib: Option<PathBuf>,
}

/// Files larger than this are no pipelines.
const MAX_BYTES: u64 = 16 << 20;

impl FileSources {
    pub(super) fn new(entry: &Path, roots: &[PathBuf], stdlib: Option<&Path>) -> FileSources {
        let dir = entry.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let roots = std::iter::once(dir.to_path_buf()).chain(roots.iter().cloned()).collect();
        FileSources { entry: entry.to_path_buf(), roots, stdlib: stdlib.map(Path::to_path_buf) }
    }

    fn allowed(&self, path: &Path) -> Result<PathBuf, String> {
        let real = path.canonicalize().map_err(|e| describe(&e))?;
        let inside = |root: &PathBuf| root.canonicalize().is_ok_and(|r| real.starts_with(r));
        if path == self.entry || self.roots.iter().any(inside) {
            return Ok(real);
        }
        Err("it lies outside the folder of the pipeline".into())
    }
}

/// An I/O error in words.
pub(super) fn describe(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission is denied".into(),
        std::io::ErrorKind::IsADirectory => "it is a folder".into(),
        _ => e.to_string(),
    }
}

impl Sources for FileSources {
    fn read(&self, path: &str) -> Result<String, String> {
        let real = self.allowed(Path::new(path))?;
        let meta = std::fs::metadata(&real).map_err(|e| describe(&e))?;
        if meta.is_dir() {
            return Err("it is a folder".into());
        }
        if meta.len() > MAX_BYTES {
            return Err(format!("it has {} MB, and a pipeline file at most 16", meta.len() >> 20));
        }
        let bytes = std::fs::read(&real).map_err(|e| describe(&e))?;
        String::from_utf8(bytes)
            .map_err(|e| format!("it is not UTF-8 text (byte {})", e.utf8_error().valid_up_to()))
    }

    fn std(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.stdlib.as_ref()?.join(path)).ok()
    }

    fn join(&self, from: &str, import: &str) -> Result<String, String> {
        if Path::new(import).is_absolute() {
            return Err("an import is relative to its file".into());
        }
        let mut out = Path::new(from).parent().map(Path::to_path_buf).unwrap_or_default();
        for part in Path::new(import).components() {
            match part {
                Component::ParentDir if out.file_name().is_some_and(|n| n != "..") => {
                    out.pop();
                }
                Component::CurDir => {}
                other => out.push(other),
            }
        }
        if out.exists() {
            self.allowed(&out)?;
        }
        Ok(out.to_string_lossy().into_owned())
    }
}
