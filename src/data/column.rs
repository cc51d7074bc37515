//! One field of a data set, read when it is first needed.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::array::{Array, ArrayData, Element, display_shape, out_of_range};
use crate::diagnostic::{Diagnostic, codes};
use crate::media::{ReadOptions, read_header, read_image};

/// What a field of a data set is, known before its contents are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// Its name: `image`, `label`, `text`, …
    pub name: String,
    /// What its elements are.
    pub element: Element,
    /// The shape of one sample: `[1, 28, 28]` for an image, `[]` for a label.
    pub sample_shape: Vec<usize>,
}

type Load = Box<dyn Fn() -> Result<Array, Diagnostic> + Send + Sync>;

/// A field and where its contents come from.
pub(crate) struct Column {
    pub(crate) info: FieldInfo,
    pub(crate) len: usize,
    contents: Contents,
}

enum Contents {
    /// An array, read whole at its first use.
    Array { load: Load, loaded: OnceLock<Result<Array, Diagnostic>> },
    /// Image files, decoded each time they are used.
    Images { files: Vec<PathBuf>, options: ReadOptions },
}

impl Column {
    /// A field whose array `load` will read; `shape` includes the samples.
    pub(crate) fn array(
        name: impl Into<String>,
        element: Element,
        shape: &[usize],
        load: impl Fn() -> Result<Array, Diagnostic> + Send + Sync + 'static,
    ) -> Column {
        let info =
            FieldInfo { name: name.into(), element, sample_shape: shape.iter().skip(1).copied().collect() };
        let contents = Contents::Array { load: Box::new(load), loaded: OnceLock::new() };
        Column { info, len: shape.first().copied().unwrap_or(0), contents }
    }

    /// A field that is in memory already.
    pub(crate) fn loaded(name: impl Into<String>, array: Array) -> Column {
        let mut column = Column::array(name, array.data.element(), &array.shape.clone(), || {
            Err(Diagnostic::error(codes::INTERNAL, "a field that is in memory was read again"))
        });
        column.contents = match column.contents {
            Contents::Array { load, .. } => Contents::Array { load, loaded: OnceLock::from(Ok(array)) },
            other => other,
        };
        column
    }

    /// The field `image`, from files. Its shape is that of the first one, or of `options.size`; it is grey
    /// if all of a sample of the files are.
    ///
    /// # Errors
    /// `E0805` when one of the files looked at is not an image.
    pub(crate) fn images(files: Vec<PathBuf>, mut options: ReadOptions) -> Result<Column, Diagnostic> {
        const LOOKED_AT: usize = 16;
        let stride = files.len().div_ceil(LOOKED_AT).max(1);
        let mut headers = Vec::new();
        for file in files.iter().step_by(stride) {
            headers.push(read_header(file)?);
        }
        let Some(first) = headers.first() else {
            return Err(
                Diagnostic::error(codes::DATA_EMPTY, "there are no images").help("add at least one image")
            );
        };
        let grey = headers.iter().all(|h| h.channels == 1);
        let channels = options.channels.unwrap_or(if grey { 1 } else { 3 });
        let (height, width) = options.size.unwrap_or((first.height, first.width));
        options.channels = Some(channels);
        let info = FieldInfo {
            name: "image".into(),
            element: Element::U8,
            sample_shape: vec![channels, height, width],
        };
        Ok(Column { info, len: files.len(), contents: Contents::Images { files, options } })
    }

    /// The samples at `indices`.
    pub(crate) fn get(&self, indices: &[usize]) -> Result<Array, Diagnostic> {
        if let Some(bad) = indices.iter().find(|i| **i >= self.len) {
            return Err(out_of_range(*bad, self.len));
        }
        match &self.contents {
            Contents::Array { load, loaded } => match loaded.get_or_init(|| self.checked(load()?)) {
                Ok(array) => array.take(indices),
                Err(d) => Err(d.clone()),
            },
            Contents::Images { files, options } => {
                let shape = &self.info.sample_shape;
                let mut data = Vec::with_capacity(indices.len() * shape.iter().product::<usize>());
                for i in indices {
                    let image = read_image(&files[*i], options)?;
                    if image.shape()[..] != shape[..] {
                        return Err(Diagnostic::error(
                            codes::DATA_SHAPE,
                            format!(
                                "the image `{}` is {} × {}; the first one, `{}`, is {} × {}",
                                files[*i].display(),
                                image.height,
                                image.width,
                                files[0].display(),
                                shape[1],
                                shape[2]
                            ),
                        )
                        .help("bring them to one size: `folder(\"train\", size = 64)`"));
                    }
                    data.extend_from_slice(&image.data);
                }
                let shape = std::iter::once(indices.len()).chain(shape.iter().copied()).collect();
                Array::new(shape, ArrayData::U8(data))
            }
        }
    }

    /// The array, if it is what the header promised: the file may have changed since.
    fn checked(&self, array: Array) -> Result<Array, Diagnostic> {
        let same = array.data.element() == self.info.element
            && array.rows() == self.len
            && array.shape.get(1..) == Some(&self.info.sample_shape[..]);
        if same {
            return Ok(array);
        }
        Err(Diagnostic::error(
            codes::DATA_SHAPE,
            format!(
                "the field `{}` was {}[{}, …] with samples {} and is now {}{}",
                self.info.name,
                self.info.element,
                self.len,
                display_shape(&self.info.sample_shape),
                array.data.element(),
                display_shape(&array.shape)
            ),
        )
        .help("do not write to a data file during a run"))
    }
}
