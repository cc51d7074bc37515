//! `taper weights FILE`.

use std::path::PathBuf;

use clap::Args;

use super::{Outcome, report};

/// Arguments of `weights`.
#[derive(Args)]
pub(super) struct WeightsArgs {
    /// A safetensors file
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &WeightsArgs) -> Outcome {
    let header = match crate::weights::read_header(&args.file) {
        Ok(h) => h,
        Err(d) => return report::fail(d, Outcome::Wrong),
    };
    let total: usize = header.tensors.values().map(crate::weights::TensorInfo::elements).sum();
    let bytes: u64 = header.tensors.values().map(crate::weights::TensorInfo::bytes).sum();
    if args.json {
        let tensors: serde_json::Map<_, _> = header
            .tensors
            .iter()
            .map(|(k, t)| (k.clone(), serde_json::json!({ "dtype": t.dtype.to_string(), "shape": t.shape })))
            .collect();
        report::say(
            &serde_json::json!({ "tensors": tensors, "elements": total, "bytes": bytes }).to_string(),
        );
        return Outcome::Done;
    }
    let width = header.tensors.keys().map(String::len).max().unwrap_or(0);
    for (key, t) in &header.tensors {
        report::say(&format!("{key:width$}  {:<5} {:?}", t.dtype.to_string(), t.shape));
    }
    let (n, b) = (report::count(total as f64), report::count(bytes as f64));
    report::say(&format!("{} tensors, {n}elements, {b}B", header.tensors.len()));
    Outcome::Done
}
