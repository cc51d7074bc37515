//! `metrics.jsonl` and `curves.png`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::diagnostic::Diagnostic;
use crate::fs::{cannot_write, write_atomic};
use crate::media::{Panel, write_curves};

/// Keys of a line that are not watches.
const OWN: [&str; 4] = ["step", "epoch", "seconds", "images_per_second"];

/// One logged step.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Optimizer steps done.
    pub step: u64,
    /// The epoch of its last batch, counted from 0.
    pub epoch: u64,
    /// The watches, in order; the means over the batches of the step.
    pub values: Vec<(String, f64)>,
    /// Seconds of training so far, those before a resumption included.
    pub seconds: f64,
    /// Samples per second since the last logged step.
    pub images_per_second: f64,
}

impl Record {
    /// The value of a watch.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    /// Its line; the step first, so that a person can read it. A number that is not finite is `null`.
    fn line(&self) -> String {
        let mut parts = vec![format!("\"step\":{}", self.step), format!("\"epoch\":{}", self.epoch)];
        for (name, value) in &self.values {
            let name = if OWN.contains(&name.as_str()) { format!("watch_{name}") } else { name.clone() };
            parts.push(format!("{}:{}", json!(name), json!(value)));
        }
        parts.push(format!("\"seconds\":{}", json!((self.seconds * 1e3).round() / 1e3)));
        parts
            .push(format!("\"images_per_second\":{}", json!((self.images_per_second * 10.0).round() / 10.0)));
        format!("{{{}}}", parts.join(","))
    }

    fn parse(line: &str) -> Option<Record> {
        let object: Map<String, Value> = serde_json::from_str(line).ok()?;
        let number = |key: &str| object.get(key).and_then(Value::as_f64);
        Some(Record {
            step: object.get("step")?.as_u64()?,
            epoch: object.get("epoch")?.as_u64()?,
            values: object
                .iter()
                .filter(|(k, _)| !OWN.contains(&k.as_str()))
                .map(|(k, v)| (k.clone(), v.as_f64().unwrap_or(f64::NAN)))
                .collect(),
            seconds: number("seconds")?,
            images_per_second: number("images_per_second").unwrap_or(0.0),
        })
    }
}

/// The log of a run: what was logged before, and the file that is added to.
pub struct Metrics {
    path: PathBuf,
    file: File,
    records: Vec<Record>,
}

impl Metrics {
    /// Opens the log of a run that has done `step` steps: lines of later steps, which a killed run wrote after
    /// its last checkpoint, and half lines are taken out.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn open(folder: &Path, step: u64) -> Result<Metrics, Diagnostic> {
        let path = folder.join("metrics.jsonl");
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        };
        let (mut kept, mut records) = (String::new(), Vec::new());
        for line in text.lines() {
            if let Some(record) = Record::parse(line).filter(|r| r.step <= step) {
                kept.push_str(line);
                kept.push('\n');
                records.push(record);
            }
        }
        if kept != text || !path.exists() {
            write_atomic(&path, kept.as_bytes())?;
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| cannot_write(&path, &e))?;
        Ok(Metrics { path, file, records })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn add(&mut self, record: Record) -> Result<(), Diagnostic> {
        let line = record.line() + "\n";
        self.file.write_all(line.as_bytes()).map_err(|e| cannot_write(&self.path, &e))?;
        self.records.push(record);
        Ok(())
    }

    /// The last logged step.
    pub fn last(&self) -> Option<&Record> {
        self.records.last()
    }

    /// All logged steps.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Draws the curves of these watches, one panel each.
    ///
    /// # Errors
    /// The picture cannot be written.
    pub fn curves(&self, path: &Path, names: &[String]) -> Result<(), Diagnostic> {
        let panel = |name: &String| {
            let points = self
                .records
                .iter()
                .filter_map(|r| r.value(name).map(|v| (r.step as f64, v)))
                .filter(|(_, v)| v.is_finite())
                .collect();
            Panel::single(name.clone(), points)
        };
        write_curves(path, &names.iter().map(panel).collect::<Vec<_>>(), 0.9)
    }
}
