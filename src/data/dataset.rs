//! Data sets: named fields of equally many samples.

use std::ops::Range;
use std::path::Path;

use super::array::Array;
use super::augment::Augment;
use super::column::{Column, FieldInfo};
use super::{embedded, open};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::media::ReadOptions;

/// Samples with named, typed fields. Opening one reads headers and file names alone; contents are read
/// when they are first asked for, and from several threads if need be.
pub struct Dataset {
    name: String,
    rows: Range<usize>,
    columns: Vec<Column>,
    classes: Option<Vec<String>>,
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataset")
            .field("name", &self.name)
            .field("rows", &self.rows)
            .field("fields", &self.fields())
            .finish()
    }
}

impl Dataset {
    /// Columns that must agree in their number of samples.
    pub(crate) fn new(
        name: String,
        columns: Vec<Column>,
        classes: Option<Vec<String>>,
    ) -> Result<Dataset, Diagnostic> {
        let Some(first) = columns.first() else {
            return Err(Diagnostic::error(codes::DATA_EMPTY, format!("`{name}` holds no fields"))
                .help("check the path"));
        };
        let len = first.len;
        if let Some(other) = columns.iter().find(|c| c.len != len) {
            return Err(Diagnostic::error(
                codes::DATA_SHAPE,
                format!(
                    "the fields of `{name}` differ in length: `{}` has {len} samples, `{}` has {}",
                    first.info.name, other.info.name, other.len
                ),
            )
            .help("every field needs one row per sample; check that the files belong together"));
        }
        if len == 0 {
            return Err(Diagnostic::error(codes::DATA_EMPTY, format!("`{name}` holds no samples"))
                .help("use data with at least one sample"));
        }
        Ok(Dataset { name, rows: 0..len, columns, classes })
    }

    /// The part of it that a split's range selects.
    pub(crate) fn narrowed(mut self, split: &super::Split) -> Result<Dataset, Diagnostic> {
        self.rows = split.range(self.len(), &self.name)?;
        Ok(self)
    }

    /// What messages call it: a path, or the name of built-in data.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many samples it has; never 0.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no samples, which opening refuses.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What the fields are, without reading them.
    pub fn fields(&self) -> Vec<FieldInfo> {
        self.columns.iter().map(|c| c.info.clone()).collect()
    }

    /// One field.
    ///
    /// # Errors
    /// `E0804` lists the fields there are.
    pub fn field(&self, name: &str) -> Result<&FieldInfo, Diagnostic> {
        Ok(&self.column(name)?.info)
    }

    /// The names of the classes by label, where they are known.
    pub fn classes(&self) -> Option<&[String]> {
        self.classes.as_deref()
    }

    /// A field of the samples at `indices`, in that order: `[indices.len(), ..sample_shape]`. The same
    /// index may be given twice.
    ///
    /// # Errors
    /// `E0804` for an unknown field, and whatever is wrong with the contents: `E0801` to `E0806`.
    pub fn get(&self, indices: &[usize], field: &str) -> Result<Array, Diagnostic> {
        let column = self.column(field)?;
        if let Some(bad) = indices.iter().find(|i| **i >= self.len()) {
            return Err(super::array::out_of_range(*bad, self.len()));
        }
        let stored: Vec<usize> = indices.iter().map(|i| i + self.rows.start).collect();
        column.get(&stored)
    }

    fn column(&self, name: &str) -> Result<&Column, Diagnostic> {
        self.columns.iter().find(|c| c.info.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|c| c.info.name.as_str()).collect();
            let d = Diagnostic::error(codes::DATA_FIELD, format!("`{}` has no field `{name}`", self.name))
                .note(format!("its fields are {}", names.join(", ")));
            match did_you_mean(name, names.iter().copied()) {
                Some(near) => d.help(format!("did you mean `{near}`?")),
                None if name == "label" => {
                    d.help("put the images into one folder per class, or add a `label` to metadata.jsonl")
                }
                None => d.help(format!("use one of {}", names.join(", "))),
            }
        })
    }
}

/// Opens what a program calls `dataset`: the files under `data` if given, else what is built in.
///
/// `options` say how image files are read; other formats ignore them.
///
/// # Errors
/// Those of [`open::open_with`](super::open_with) and [`embedded`](super::embedded); `E0801` when the data
/// set is not built in and `data` is not given.
pub fn open_named(
    dataset: &str,
    split: &str,
    data: Option<&Path>,
    options: &ReadOptions,
) -> Result<Dataset, Diagnostic> {
    match data {
        Some(path) => open::open_with(path, split, options),
        None => embedded::embedded(dataset, split),
    }
}

/// A field of a data set as it is read outside of training: every sample, or the one asked for, its images
/// changed as `augment` says with the draws of the first epoch.
///
/// # Errors
/// Those of [`open_named`] and [`Dataset::get`]; `E0806` when the changes do not suit, `E0901` when there is
/// no sample of that number.
pub fn read_field(
    (dataset, split, field): (&str, &str, &str),
    data: Option<&Path>,
    augment: &Augment,
    only: Option<usize>,
    seed: u64,
) -> Result<Array, Diagnostic> {
    let set = open_named(dataset, split, data, &augment.read_options())?;
    let indices: Vec<usize> = match only {
        None => (0..set.len()).collect(),
        Some(k) if k < set.len() => vec![k],
        Some(k) => {
            let m = format!("sample {k} is asked for, and `{}` has {} samples", set.name(), set.len());
            return Err(Diagnostic::error(codes::BAD_FLAG, m).help("samples are counted from 0"));
        }
    };
    let array = set.get(&indices, field)?;
    if field == "image" { augment.apply(array, &indices, seed, 0) } else { Ok(array) }
}
