//! Files written whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::diagnostic::{Diagnostic, codes};

/// Writes `bytes` to `path` so that a reader sees the old file or the new one, never a part.
///
/// # Errors
/// `E0902` names the path and why it cannot be written; what was at `path` is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
    write_atomic_with(path, |out| out.write_all(bytes))
}

/// Like [`write_atomic`], for output that is produced piece by piece.
///
/// The bytes go to a temporary file in the same folder, which is flushed to the disk and renamed over
/// `path`. A symbolic link is followed (its target is replaced); a device or a pipe (`/dev/stdout`) is
/// written to directly, since replacing it would break it.
///
/// # Errors
/// `E0902` when the folder, the temporary file, `write` or the rename fails.
pub fn write_atomic_with(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Diagnostic> {
    let failed = |e: io::Error| cannot_write(path, &e);
    let existing = match fs::metadata(path) {
        Ok(m) if m.is_dir() => {
            return Err(Diagnostic::error(
                codes::CANNOT_WRITE,
                format!("cannot write `{}`: it is a folder, a file name was expected", path.display()),
            )
            .help(format!("give a file inside it, such as `{}`", path.join("out.png").display())));
        }
        Ok(m) if !m.is_file() => {
            let mut out = BufWriter::new(OpenOptions::new().write(true).open(path).map_err(failed)?);
            return write(&mut out).and_then(|()| out.flush()).map_err(failed);
        }
        Ok(m) => Some(m),
        Err(_) => None,
    };
    let target = match &existing {
        Some(_) => fs::canonicalize(path).map_err(failed)?,
        None => path.to_path_buf(),
    };
    let (temporary, file) = create_beside(&target).map_err(failed)?;
    let guard = RemoveOnDrop(Some(temporary.clone()));
    let mut out = BufWriter::new(file);
    write(&mut out).map_err(failed)?;
    let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
    if let Some(m) = existing {
        file.set_permissions(m.permissions()).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    drop(file);
    fs::rename(&temporary, &target).map_err(failed)?;
    guard.keep();
    sync_folder(&target);
    Ok(())
}

/// A diagnostic for a path that cannot be written, with the likely fix.
pub fn cannot_write(path: &Path, error: &io::Error) -> Diagnostic {
    let d = Diagnostic::error(
        codes::CANNOT_WRITE,
        format!("cannot write `{}`: {}", path.display(), plain(error)),
    );
    match error.kind() {
        io::ErrorKind::NotFound => match path.parent().filter(|p| !p.as_os_str().is_empty()) {
            Some(folder) => d.help(format!(
                "the folder `{0}` does not exist; make it with `mkdir -p {0}`",
                folder.display()
            )),
            None => d.help("give a file name"),
        },
        io::ErrorKind::PermissionDenied => d.help("choose a folder that you may write to"),
        io::ErrorKind::StorageFull => d.help("free some space on this disk, or choose another one"),
        _ => d.help("choose another path"),
    }
}

/// The text of an I/O error without Rust's "(os error 2)".
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

/// A new file in the folder of `target`, under a name that nothing else has.
fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = target.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    // A leftover of a killed process may have our id: try further numbers.
    for _ in 0..1000 {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.{}.tmp", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
        let path = target.with_file_name(hidden);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

/// Removes the temporary files that killed processes left in `folder`. Only for a folder that nothing else
/// writes to, such as a run that is being resumed.
pub fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_temporary) {
            // One that stays is only untidy.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a name is one that [`create_beside`] gives: `.NAME.PROCESS.NUMBER.tmp`.
fn is_temporary(name: &str) -> bool {
    let number = |s: Option<&str>| s.is_some_and(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()));
    let Some(stem) = name.strip_prefix('.').and_then(|n| n.strip_suffix(".tmp")) else { return false };
    let mut parts = stem.rsplitn(3, '.');
    number(parts.next()) && number(parts.next()) && parts.next().is_some_and(|n| !n.is_empty())
}

/// Makes the rename itself durable where the system can.
fn sync_folder(target: &Path) {
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Not every file system lets a folder be flushed; the file's own contents are safe already.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

struct RemoveOnDrop(Option<PathBuf>);

impl RemoveOnDrop {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_a_file_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_failure_half_way_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_atomic(&path, b"old").unwrap();
        let failed = write_atomic_with(&path, |out| {
            out.write_all(&vec![1; 100_000])?;
            Err(io::Error::other("the pen broke"))
        });
        let d = failed.unwrap_err();
        assert_eq!(d.code, codes::CANNOT_WRITE);
        assert!(d.message.contains("the pen broke"), "{}", d.message);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_panic_half_way_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let result = std::panic::catch_unwind(|| {
            write_atomic_with(&path, |_| std::panic::resume_unwind(Box::new(())))
        });
        assert!(result.is_err());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn leftovers_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (left, _file) = create_beside(&folder.path().join("model.safetensors")).unwrap();
        assert!(is_temporary(left.file_name().unwrap().to_str().unwrap()));
        for name in ["a.tmp", ".a.1.tmp", ".a.x.1.tmp", "a.1.2.tmp", ".1.2.tmp", "model.safetensors"] {
            fs::write(folder.path().join(name), "kept").unwrap();
        }
        remove_leftovers(folder.path());
        assert_eq!(names(folder.path()).len(), 6);
        assert!(!left.exists());
        remove_leftovers(&folder.path().join("none"));
    }

    #[test]
    fn a_missing_folder_and_a_folder_as_file_are_said() {
        let folder = tempfile::tempdir().unwrap();
        let d = write_atomic(&folder.path().join("no/such/a.png"), b"x").unwrap_err();
        assert!(d.help.unwrap().contains("mkdir -p"));
        let d = write_atomic(folder.path(), b"x").unwrap_err();
        assert!(d.message.contains("it is a folder"));
        assert_eq!(write_atomic(Path::new(""), b"x").unwrap_err().code, codes::CANNOT_WRITE);
    }

    #[cfg(unix)]
    #[test]
    fn follows_a_link_and_writes_to_a_device() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        write_atomic(&real, b"old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_atomic(&link, b"new").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let null = folder.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &null).unwrap();
        write_atomic(&null, b"gone").unwrap();
        assert!(fs::symlink_metadata(&null).unwrap().is_symlink());
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
