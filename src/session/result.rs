//! What a run gave, as files and as lines of text.

use std::collections::BTreeMap;
use std::path::Path;

use super::RunResult;
use crate::data::{self, Array, ArrayData};
use crate::diagnostic::{Diagnostic, codes};
use crate::graph::program::{Entry, EntryOutput};
use crate::media::table::{self, Column};
use crate::media::{Animation, GridShape, Image, grid_f32, signed_to_unit, write_curves, write_gif};
use crate::run::{Device, Tensor, from_array};
use crate::weights;

/// Checks before a run that [`RunResult::write`] knows the form that a file's name asks for, and that what the graph
/// gives fits it.
///
/// # Errors
/// Another ending, an image or a table of what is none, one tensor of several (E0901).
pub fn check_output(path: &Path, entry: &Entry) -> Result<(), Diagnostic> {
    let outputs = &entry.outputs;
    let image = |o: &EntryOutput| match o.ty.shape.as_slice() {
        [_, c, _, _] => c.as_const().is_none_or(|c| matches!(c, 1 | 3)),
        _ => false,
    };
    let images = outputs.iter().any(image);
    let table = || outputs.iter().all(|o| o.ty.shape.len() < 2 && o.ty.shape == outputs[0].ty.shape);
    let watched = || entry.graph.regions.iter().skip(1).any(|r| !r.watches.is_empty());
    match form(path).as_deref() {
        Some("png") if !(images || table() && outputs.len() > 1) => Err(no_image(path)),
        Some("gif") if !(images || watched()) => Err(no_frames()),
        Some("npy") if outputs.len() != 1 => Err(several(outputs.len())),
        Some("csv" | "md") if !table() => Err(no_table(path)),
        Some("png" | "gif" | "npy" | "safetensors" | "csv" | "md") => Ok(()),
        _ => Err(unknown(path)),
    }
}

fn form(path: &Path) -> Option<String> {
    path.extension().map(|e| e.to_string_lossy().to_lowercase())
}

fn bad(message: impl Into<String>, help: &str) -> Diagnostic {
    Diagnostic::error(codes::BAD_FLAG, message).help(help.to_string())
}

fn unknown(path: &Path) -> Diagnostic {
    bad(
        format!("cannot tell the form of `{}`", path.display()),
        "name it .png (a grid of images), .gif, .npy, .safetensors, .csv or .md",
    )
}

fn no_image(path: &Path) -> Diagnostic {
    bad(
        format!("`{}`: the graph gives no image [n, c, h, w] with 1 or 3 channels", path.display()),
        "write it to .npy or .safetensors, or let the graph end in an image",
    )
}

fn no_frames() -> Diagnostic {
    bad(
        "the graph gives no images for a .gif",
        "`watch` an image in the loop, or let the graph end in images",
    )
}

fn several(count: usize) -> Diagnostic {
    bad(format!("a .npy holds one tensor, and the graph gives {count}"), "write them to .safetensors")
}

fn no_table(path: &Path) -> Diagnostic {
    bad(
        format!("`{}`: what the graph gives is no table", path.display()),
        "a table is made of numbers, or of columns [k] of one length; write others to .safetensors",
    )
}

impl RunResult {
    /// Writes the result: `.png` a grid of images, `.gif` an animation (of the loop's watched images, else of
    /// the batch), `.npy` the only output, `.safetensors` all outputs by name and what was traced. Outputs that are
    /// columns of one length are a table: `.csv`, `.md`, and curves over the first of them as `.png`.
    ///
    /// # Errors
    /// A form that does not suit the outputs (E0901), a file that cannot be written (E0902).
    pub fn write(&self, path: &Path, columns: Option<usize>) -> Result<(), Diagnostic> {
        match form(path).as_deref() {
            Some("png") => match (self.outputs.iter().find_map(|(_, a)| picture(a, columns)), self.table()) {
                (Some(image), _) => image?.write_png(path),
                (None, Some(table)) if table.len() > 1 => write_curves(path, &table::panels(&table), 0.0),
                _ => Err(no_image(path)),
            },
            Some(form @ ("csv" | "md")) => match self.table() {
                Some(table) => {
                    let text = if form == "csv" { table::csv(&table) } else { table::markdown(&table) };
                    crate::fs::write_atomic(path, text.as_bytes())
                }
                None => Err(no_table(path)),
            },
            Some("gif") => {
                let frames = self.frames(columns)?;
                write_gif(path, &frames, &Animation::default())
            }
            Some("npy") => match self.outputs.as_slice() {
                [(_, array)] => data::write_npy(path, array),
                all => Err(several(all.len())),
            },
            Some("safetensors") => {
                let outputs = self.outputs.iter().map(|(o, a)| (&o.name, a));
                let named: Vec<(&str, Tensor)> = outputs
                    .chain(self.traced.iter().map(|(n, a)| (n, a)))
                    .map(|(n, a)| Ok((n.as_str(), from_array(a, &Device::Cpu)?)))
                    .collect::<Result<_, Diagnostic>>()?;
                weights::store::save(named.iter().map(|(n, t)| (*n, t)), path, &BTreeMap::new())
            }
            _ => Err(unknown(path)),
        }
    }

    /// The outputs as columns, if they are numbers or vectors of one length.
    fn table(&self) -> Option<Vec<Column>> {
        let (_, first) = self.outputs.first()?;
        let fits = self.outputs.iter().all(|(_, a)| a.shape.len() < 2 && a.shape == first.shape);
        let column = |(o, a): &(EntryOutput, Array)| Column { name: o.name.clone(), values: numbers(a) };
        fits.then(|| self.outputs.iter().map(column).collect())
    }

    fn frames(&self, columns: Option<usize>) -> Result<Vec<Image>, Diagnostic> {
        // The range of all is that of the last, which is nearest to an image.
        let signed = self.watched.iter().rfind(|(_, _, a)| shape_of_pictures(a).is_some());
        let signed = signed.is_some_and(|(_, _, a)| signed_to_unit(&mut pixels(a)));
        let mut frames = Vec::new();
        for (_, _, array) in &self.watched {
            let Some(shape) = shape_of_pictures(array) else { continue };
            let mut pixels = pixels(array);
            if signed {
                pixels.iter_mut().for_each(|v| *v = (*v + 1.0) / 2.0);
            }
            frames.push(grid_f32(&pixels, shape, columns)?);
        }
        if frames.is_empty() {
            // No loop to show: one frame per image.
            for (_, array) in &self.outputs {
                for k in 0..array.rows() {
                    if let Some(image) = picture(&array.take(&[k])?, columns) {
                        frames.push(image?);
                    }
                }
            }
        }
        if frames.is_empty() {
            return Err(no_frames());
        }
        Ok(frames)
    }

    /// A line about each output: its value if it is one number, else its type and range.
    pub fn summaries(&self) -> Vec<(String, String)> {
        self.outputs
            .iter()
            .map(|(o, a)| {
                let values = numbers(a);
                let text = match values.as_slice() {
                    [one] if a.shape.is_empty() => format!("{one}"),
                    _ => {
                        let n = values.len().max(1) as f64;
                        let mean = values.iter().sum::<f64>() / n;
                        let (lo, hi) = values
                            .iter()
                            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
                        format!("{:?} mean {mean:.6}, from {lo:.6} to {hi:.6}", a.shape)
                    }
                };
                (o.name.clone(), text)
            })
            .collect()
    }
}

fn numbers(a: &Array) -> Vec<f64> {
    match &a.data {
        ArrayData::U8(v) => v.iter().map(|x| f64::from(*x)).collect(),
        ArrayData::I64(v) => v.iter().map(|x| *x as f64).collect(),
        ArrayData::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        ArrayData::F64(v) => v.clone(),
        ArrayData::Text(_) => Vec::new(),
    }
}

/// Images [n, c, h, w] in [0, 1] as a grid; `None` for what is no picture.
fn picture(a: &Array, columns: Option<usize>) -> Option<Result<Image, Diagnostic>> {
    Some(grid_f32(&pixels(a), shape_of_pictures(a)?, columns))
}

fn shape_of_pictures(a: &Array) -> Option<GridShape> {
    let [n, c, h, w] = <[usize; 4]>::try_from(a.shape.as_slice()).ok()?;
    (matches!(c, 1 | 3) && n > 0).then_some(GridShape { n, c, h, w })
}

fn pixels(a: &Array) -> Vec<f32> {
    numbers(a).into_iter().map(|v| v as f32).collect()
}
