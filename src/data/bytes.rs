//! Bytes of files and of what is built in, read so that a lying header cannot fill the memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use crate::diagnostic::{Diagnostic, codes};
use crate::media::sniff;

/// Deflate cannot expand data by more than this (Deutsch 1996, RFC 1951: 258 bytes from 2 bits).
pub(crate) const MAX_DEFLATE: u64 = 1032;
/// Memory set aside before anything was read; more only as bytes arrive.
const FIRST_RESERVE: u64 = 1 << 20;

/// Where bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    /// A file.
    File(PathBuf),
    /// Built into the binary, under a name for messages.
    Static(&'static str, &'static [u8]),
    /// In memory.
    Memory(Arc<[u8]>),
}

/// Bytes that can be read from any place.
pub(crate) trait ReadSeek: BufRead + Seek + Send {}

impl<T: BufRead + Seek + Send> ReadSeek for T {}

/// Bytes being read, decompressed if they are a gzip file.
pub(crate) struct Opened {
    /// The contents.
    pub(crate) reader: Box<dyn Read>,
    /// The most bytes that the contents can have; their exact number when not compressed.
    pub(crate) bound: u64,
    /// Whether they are compressed.
    pub(crate) gzip: bool,
}

impl Bytes {
    /// What messages call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Bytes::File(path) => path.display().to_string(),
            Bytes::Static(name, _) => (*name).to_owned(),
            Bytes::Memory(_) => "bytes in memory".to_owned(),
        }
    }

    /// The bytes as stored, and how many they are.
    pub(crate) fn stored(&self) -> Result<(Box<dyn ReadSeek>, u64), Diagnostic> {
        Ok(match self {
            Bytes::File(path) => {
                let (file, len) = open_file(path)?;
                (Box::new(BufReader::with_capacity(1 << 16, file)), len)
            }
            Bytes::Static(_, bytes) => (Box::new(Cursor::new(*bytes)), bytes.len() as u64),
            Bytes::Memory(bytes) => (Box::new(Cursor::new(bytes.clone())), bytes.len() as u64),
        })
    }

    /// The first bytes as stored, at most `n`.
    pub(crate) fn head(&self, n: usize) -> Result<Vec<u8>, Diagnostic> {
        read_up_to(&mut self.stored()?.0, n as u64).map_err(|e| self.damaged(&e, false))
    }

    /// Begins to read. Whether it is gzip is seen from the contents, not from the name.
    pub(crate) fn open(&self) -> Result<Opened, Diagnostic> {
        let gzip = self.head(2)? == b"\x1f\x8b";
        let (reader, stored) = self.stored()?;
        Ok(if gzip {
            let bound = stored.saturating_mul(MAX_DEFLATE);
            Opened { reader: Box::new(MultiGzDecoder::new(reader)), bound, gzip }
        } else {
            Opened { reader: Box::new(reader), bound: stored, gzip }
        })
    }

    /// Bytes `start..start + len` as stored.
    pub(crate) fn range(&self, start: u64, len: u64) -> Result<Vec<u8>, Diagnostic> {
        let (mut reader, size) = self.stored()?;
        let end = start.saturating_add(len);
        if end > size {
            return Err(wrong_length(&self.name(), end, size, false));
        }
        reader.seek(SeekFrom::Start(start)).map_err(|e| self.damaged(&e, false))?;
        let bytes = read_up_to(&mut reader, len).map_err(|e| self.damaged(&e, false))?;
        if (bytes.len() as u64) < len {
            return Err(wrong_length(&self.name(), end, start + bytes.len() as u64, false));
        }
        Ok(bytes)
    }

    /// Checks that `expected` bytes of contents are possible, as far as can be told without reading them.
    pub(crate) fn check_bound(&self, opened: &Opened, expected: u64) -> Result<(), Diagnostic> {
        if expected > opened.bound || (!opened.gzip && expected != opened.bound) {
            return Err(wrong_length(&self.name(), expected, opened.bound, opened.gzip));
        }
        Ok(())
    }

    /// Reads what is left of the contents, which must be `expected` bytes; `before` were read already.
    pub(crate) fn read_rest(
        &self,
        opened: &mut Opened,
        before: u64,
        expected: u64,
    ) -> Result<Vec<u8>, Diagnostic> {
        self.check_bound(opened, before.saturating_add(expected))?;
        let read = read_up_to(&mut opened.reader, expected).map_err(|e| self.damaged(&e, opened.gzip))?;
        // One byte more than expected shows a longer file, and makes gzip check its sum.
        let mut beyond = [0u8];
        let more = opened.reader.read(&mut beyond).map_err(|e| self.damaged(&e, opened.gzip))?;
        if (read.len() as u64) < expected || more > 0 {
            let found = before + read.len() as u64 + more as u64;
            return Err(wrong_length(&self.name(), before + expected, found, opened.gzip));
        }
        Ok(read)
    }

    /// A diagnostic for a failed read.
    pub(crate) fn damaged(&self, error: &io::Error, gzip: bool) -> Diagnostic {
        let name = self.name();
        match error.kind() {
            io::ErrorKind::UnexpectedEof if gzip => Diagnostic::error(
                codes::DATA_FORMAT,
                format!("`{name}` is cut off: its gzip stream ends early"),
            )
            .help("the download or copy was interrupted; fetch the file again"),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData if gzip => {
                Diagnostic::error(codes::DATA_FORMAT, format!("`{name}` is damaged: {error}"))
                    .help("check it with `gzip -t`; fetch the file again")
            }
            _ => unreadable(Path::new(&name), error),
        }
    }
}

/// Reads at most `n` bytes, reserving memory only as they arrive.
pub(crate) fn read_up_to(reader: &mut dyn Read, n: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(n.min(FIRST_RESERVE) as usize);
    reader.take(n).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a regular file and tells its length.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64), Diagnostic> {
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let metadata = file.metadata().map_err(|e| unreadable(path, &e))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a folder" } else { "not a regular file" };
        return Err(Diagnostic::error(
            codes::DATA_UNREADABLE,
            format!("cannot read the data `{}`: it is {what}, a file was expected", path.display()),
        )
        .help("give the path of the file itself"));
    }
    Ok((file, metadata.len()))
}

/// A diagnostic for a path that cannot be read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let d = Diagnostic::error(
        codes::DATA_UNREADABLE,
        format!("cannot read the data `{}`: {}", path.display(), crate::fs::plain(error)),
    );
    match error.kind() {
        io::ErrorKind::NotFound => match near(path) {
            Some(name) => d.help(format!("did you mean `{name}`?")),
            None => d.help("check the path"),
        },
        io::ErrorKind::PermissionDenied => d.help("make the file readable, or use another one"),
        _ => d.help("check the disk and the path"),
    }
}

/// The name beside a missing path that is most like it.
fn near(path: &Path) -> Option<String> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names: Vec<String> =
        std::fs::read_dir(parent).ok()?.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    let wanted = path.file_name()?.to_str()?;
    let name = crate::diagnostic::did_you_mean(wanted, names.iter().map(String::as_str))?;
    Some(path.with_file_name(name).display().to_string())
}

fn wrong_length(name: &str, expected: u64, found: u64, gzip: bool) -> Diagnostic {
    let (kind, most) = match (gzip, found < expected) {
        (true, true) => ("its contents are", "at most "),
        (true, false) => ("its contents are", "at least "),
        (false, true) => ("it is", ""),
        (false, false) => ("it is", "at least "),
    };
    let d = Diagnostic::error(
        codes::DATA_FORMAT,
        format!("`{name}` has the wrong length: its header tells of {expected} bytes, {kind} {most}{found}"),
    );
    if found < expected {
        d.help("the download or copy was interrupted, or the header is damaged; fetch the file again")
    } else {
        d.help("something was appended, or the header is damaged; fetch the file again")
    }
}

/// A diagnostic for contents that are not what was expected, naming what they look like.
pub(crate) fn wrong_contents(name: &str, expected: &str, head: &[u8]) -> Diagnostic {
    let shown: Vec<String> = head.iter().take(4).map(|b| format!("{b:02x}")).collect();
    let bytes = if shown.is_empty() { String::new() } else { format!(" (first bytes {})", shown.join(" ")) };
    let what = sniff::describe(head);
    let d = Diagnostic::error(codes::DATA_FORMAT, format!("`{name}` is not {expected}; found {what}{bytes}"));
    match what {
        "an HTML page" => d.help("the address answered with a web page; fetch the file itself"),
        "a Git LFS pointer, not the file itself" => d.help("fetch the file with `git lfs pull`"),
        "an empty file" => d.help("the file has no contents; fetch it again"),
        _ => d.help("check that the path names the right file"),
    }
}
