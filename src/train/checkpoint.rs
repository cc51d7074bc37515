//! Checkpoints: everything a training needs to go on, on disk whole or not at all.
//!
//! The files are written into `checkpoints/step-N.tmp`, which is renamed to `step-N` when all are there: a
//! folder of that name is complete, and the newest one counts. Whenever the process is killed, the newest
//! complete folder is the state to continue from; what is half written is ignored, then removed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use crate::diagnostic::{Diagnostic, codes};
use crate::fs::{cannot_write, write_atomic_with};
use crate::graph::program::Weight;
use crate::weights::store::save;
use crate::weights::{ParamStore, load, locate::newest_checkpoint};

/// The prefix of the averages among the training's own states.
pub const EMA: &str = "ema.";

const MODEL: &str = "model.safetensors";
const AVERAGE: &str = "ema.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";

/// Writes the state after `step` steps and drops older checkpoints. Gives the folder.
///
/// # Errors
/// [`codes::CANNOT_WRITE`]; what was there before still counts.
pub fn write(
    folder: &Path,
    step: u64,
    weights: &[Weight],
    extra: &[Weight],
    store: &ParamStore,
) -> Result<PathBuf, Diagnostic> {
    let all = folder.join("checkpoints");
    let part = all.join(format!("step-{step}.tmp"));
    let done = all.join(format!("step-{step}"));
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |e: io::Error| cannot_write(&path, &e)
    };
    clean(&all);
    remove(&part).map_err(failed(&part))?;
    fs::create_dir_all(&part).map_err(failed(&part))?;
    let notes = BTreeMap::from([("step".to_string(), step.to_string())]);
    let model = |average: bool| {
        weights.iter().filter_map(move |w| {
            let averaged = average.then(|| store.get(&format!("{EMA}{}", w.path))).flatten();
            Some((w.path.as_str(), averaged.or_else(|| store.get(&w.path))?))
        })
    };
    save(model(false), &part.join(MODEL), &notes)?;
    if extra.iter().any(|w| w.path.starts_with(EMA)) {
        save(model(true), &part.join(AVERAGE), &notes)?;
    }
    let own = extra.iter().filter(|w| !w.path.starts_with(EMA));
    let own = own.filter_map(|w| Some((w.path.as_str(), store.get(&w.path)?)));
    save(own, &part.join(OPTIMIZER), &notes)?;
    // A folder of this name exists when a run is asked to save twice at one step: the state is the same.
    remove(&done).map_err(failed(&done))?;
    fs::rename(&part, &done).map_err(failed(&done))?;
    if let Ok(parent) = fs::File::open(&all) {
        // Not every file system lets a folder be flushed; the files' own contents are safe already.
        let _ = parent.sync_all();
    }
    publish(&done, folder)?;
    drop_older(&all, step);
    Ok(done)
}

/// Reads the newest checkpoint, whose files are put at the top of the run folder again: its step and all tensors, the
/// averages under their own paths. `None` if the run was stopped before its first one.
///
/// # Errors
/// The files are damaged, or of another model.
pub fn read(
    folder: &Path,
    weights: &[Weight],
    extra: &[Weight],
    device: &Device,
) -> Result<Option<(u64, ParamStore)>, Vec<Diagnostic>> {
    let Some((step, newest)) = newest_checkpoint(folder) else { return Ok(None) };
    let (mut store, _) = load(weights, &newest.join(MODEL), false, device)?;
    let (averages, own): (Vec<Weight>, Vec<Weight>) =
        extra.iter().cloned().partition(|w| w.path.starts_with(EMA));
    let (states, _) = load(&own, &newest.join(OPTIMIZER), false, device)?;
    for (path, tensor) in states.iter() {
        store.insert(path, tensor.clone());
    }
    if !averages.is_empty() {
        let plain: Vec<Weight> =
            averages.iter().map(|w| Weight { path: w.path[EMA.len()..].to_string(), ..w.clone() }).collect();
        let (read, _) = load(&plain, &newest.join(AVERAGE), false, device)?;
        for (path, tensor) in read.iter() {
            store.insert(format!("{EMA}{path}"), tensor.clone());
        }
    }
    // The process may have been killed between the two, after the last step above all.
    publish(&newest, folder).map_err(|d| vec![d])?;
    Ok(Some((step, store)))
}

/// The first trainable weight that holds something that is not finite.
///
/// # Errors
/// The copy from the device fails.
pub fn not_finite<'w>(weights: &'w [Weight], store: &ParamStore) -> candle_core::Result<Option<&'w Weight>> {
    for weight in weights.iter().filter(|w| w.trainable && w.ty.dtype.is_float()) {
        let Some(tensor) = store.get(&weight.path) else { continue };
        if !finite(tensor)? {
            return Ok(Some(weight));
        }
    }
    Ok(None)
}

fn finite(tensor: &Tensor) -> candle_core::Result<bool> {
    Ok(crate::run::to_f32_vec(tensor)?.iter().all(|v| v.is_finite()))
}

/// Puts the checkpoint's files at the top of the run folder, each by a rename.
fn publish(from: &Path, folder: &Path) -> Result<(), Diagnostic> {
    for name in [MODEL, AVERAGE, OPTIMIZER] {
        let (source, target) = (from.join(name), folder.join(name));
        if !source.is_file() {
            continue;
        }
        let link = folder.join(format!(".{name}.{}.link", std::process::id()));
        let linked = remove(&link)
            .and_then(|()| fs::hard_link(&source, &link))
            .and_then(|()| fs::rename(&link, &target));
        if linked.is_err() {
            // File systems without hard links get a copy.
            let mut file = fs::File::open(&source).map_err(|e| cannot_write(&target, &e))?;
            write_atomic_with(&target, |out| io::copy(&mut file, out).map(|_| ()))?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    gone.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

/// Removes what a killed process left half written or half removed.
fn clean(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "tmp" || e == "old") {
            // Leftovers are ignored by name anyway.
            let _ = remove(&path);
        }
    }
}

/// Removes all checkpoints but that of `step`; renamed first, so that a complete name means complete.
fn drop_older(all: &Path, step: u64) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let path = entry.path();
        let number = path.file_name().and_then(|n| n.to_str()?.strip_prefix("step-")?.parse::<u64>().ok());
        if number.is_some_and(|n| n != step) {
            let old = path.with_extension("old");
            // What stays costs room and nothing else.
            let _ = fs::rename(&path, &old).and_then(|()| remove(&old));
        }
    }
}

/// A weight has gone astray.
pub fn astray(weight: &Weight, step: u64) -> Diagnostic {
    Diagnostic::error(
        codes::NOT_FINITE,
        format!("`{}` holds values that are not finite after step {step}", weight.path),
    )
    .label(weight.span, "this weight")
    .note("the last checkpoint is kept as it was")
    .help("lower the learning rate, or clip the gradients: `train (clip = 1.0)`")
}
