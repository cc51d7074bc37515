//! Source files, spans and line positions. Nothing here touches the file system: files come from a
//! [`Sources`] that the caller provides.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Which file of a [`SourceMap`] a span lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct FileId(pub u32);

/// A half-open byte range of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// A span of `file` from byte `start` to byte `end`.
    pub fn new(file: FileId, start: usize, end: usize) -> Self {
        Span { file, start: start as u32, end: end as u32 }
    }

    /// The smallest span that covers both; `self` if they lie in different files.
    pub fn to(self, other: Span) -> Span {
        if self.file != other.file {
            return self;
        }
        Span { file: self.file, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// A named text with an index of its lines.
#[derive(Debug)]
pub struct SourceFile {
    /// The name shown in diagnostics: a path, or `std.nn` for an embedded module.
    pub name: String,
    /// The whole text.
    pub text: String,
    line_starts: Vec<u32>,
}

impl SourceFile {
    /// Indexes `text`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let line_starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i as u32 + 1))
            .collect();
        SourceFile { name: name.into(), text, line_starts }
    }

    /// One-based line and column (in characters) of a byte offset.
    pub fn line_column(&self, offset: u32) -> (usize, usize) {
        let line = self.line_starts.partition_point(|&s| s <= offset).max(1) - 1;
        let start = self.line_starts[line] as usize;
        let end = (offset as usize).min(self.text.len());
        let column = self.text.get(start..end).map_or(0, |s| s.chars().count());
        (line + 1, column + 1)
    }
}

/// Every file that a compilation has read, in order.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<Arc<SourceFile>>,
    by_name: HashMap<String, FileId>,
}

impl SourceMap {
    /// Adds a file, or returns the id it has if one of that name is there already.
    pub fn add(&mut self, file: SourceFile) -> FileId {
        if let Some(id) = self.by_name.get(&file.name) {
            return *id;
        }
        let id = FileId(self.files.len() as u32);
        self.by_name.insert(file.name.clone(), id);
        self.files.push(Arc::new(file));
        id
    }

    /// The file of that id, if it is of this map.
    pub fn get(&self, id: FileId) -> Option<&Arc<SourceFile>> {
        self.files.get(id.0 as usize)
    }

    /// The id of the file of that name.
    pub fn find(&self, name: &str) -> Option<FileId> {
        self.by_name.get(name).copied()
    }

    /// The text that a span covers; empty if the span is not of this map.
    pub fn text(&self, span: Span) -> &str {
        self.get(span.file).and_then(|f| f.text.get(span.start as usize..span.end as usize)).unwrap_or("")
    }
}

/// Where files come from. The library never opens a file by itself.
pub trait Sources {
    /// The text of the file at `path` (as written on the command line, or joined by [`Sources::join`]).
    ///
    /// # Errors
    /// A sentence for people saying why the file cannot be read.
    fn read(&self, path: &str) -> Result<String, String>;

    /// The text of a standard library file (`nn.taper`, relative to the library's folder) where a folder
    /// overrides the embedded library; `None` otherwise.
    fn std(&self, _path: &str) -> Option<String> {
        None
    }

    /// The path of an import written in the file `from`.
    ///
    /// # Errors
    /// A sentence saying why the import leaves the allowed roots.
    fn join(&self, from: &str, import: &str) -> Result<String, String> {
        let dir = from.rfind('/').map_or("", |i| &from[..i + 1]);
        Ok(format!("{dir}{}", import.strip_prefix("./").unwrap_or(import)))
    }
}

/// Sources held in memory: for tests, and for a host that has the text already.
#[derive(Clone, Debug, Default)]
pub struct MemorySources(pub HashMap<String, String>);

impl MemorySources {
    /// One file of that name.
    pub fn single(name: impl Into<String>, text: impl Into<String>) -> Self {
        MemorySources(HashMap::from([(name.into(), text.into())]))
    }
}

impl Sources for MemorySources {
    fn read(&self, path: &str) -> Result<String, String> {
        self.0.get(path).cloned().ok_or_else(|| format!("there is no file `{path}`"))
    }
}
