//! The options of a `train` header.

use super::super::Elaborator;
use super::super::value::{Env, Value};
use crate::diagnostic::{codes, did_you_mean};
use crate::source::Span;
use crate::syntax::ast;

/// What they say, or their defaults.
pub(super) struct Header {
    pub(super) steps: u64,
    pub(super) batch: usize,
    pub(super) ema: Option<f64>,
    pub(super) accumulate: u64,
    pub(super) clip: Option<f64>,
}

const OPTIONS: &[&str] = &["steps", "batch", "ema", "accumulate", "clip"];

impl Elaborator<'_> {
    pub(super) fn train_header(&mut self, t: &ast::Train, env: &mut Env) -> Option<Header> {
        let mut h = Header { steps: 1000, batch: 64, ema: None, accumulate: 1, clip: None };
        let mut ok = true;
        let mut given: Vec<(String, Value, Span)> = Vec::new();
        for option in &t.options {
            let value = self.expr(&option.value, env);
            match &option.name {
                Some(name) => given.push((name.name.to_string(), value, option.value.span)),
                None => {
                    self.error_help(
                        codes::BAD_TRAIN,
                        option.value.span,
                        "the options of `train` are named",
                        "without a name",
                        format!("options: {}", OPTIONS.join(", ")),
                    );
                    ok = false;
                }
            }
        }
        for (name, value) in &self.options.train {
            let value = super::super::pipeline::from_static(value);
            given.push((name.clone(), value, t.head));
        }
        for (name, value, at) in given {
            let positive = match &value {
                Value::Int(d) => d.as_const().filter(|v| *v > 0),
                _ => None,
            };
            let float = match &value {
                Value::Float(v) => Some(*v),
                Value::Int(d) => d.as_const().map(|v| v as f64),
                _ => None,
            };
            let good = match (name.as_str(), positive, float) {
                (_, _, _) if matches!(value, Value::Error) => {
                    ok = false;
                    continue;
                }
                ("steps", Some(v), _) => {
                    h.steps = v as u64;
                    true
                }
                ("batch", Some(v), _) if v <= 1 << 24 => {
                    h.batch = v as usize;
                    true
                }
                ("accumulate", Some(v), _) if v <= 1 << 20 => {
                    h.accumulate = v as u64;
                    true
                }
                ("ema", _, Some(v)) if (0.0..1.0).contains(&v) => {
                    h.ema = Some(v);
                    true
                }
                ("clip", _, Some(v)) if v > 0.0 => {
                    h.clip = Some(v);
                    true
                }
                ("ema" | "clip", _, _) if matches!(value, Value::None) => true,
                (known, _, _) if OPTIONS.contains(&known) => {
                    let found = self.describe(&value);
                    let want = match known {
                        "ema" => "a decay in [0, 1), such as 0.999",
                        "clip" => "a positive gradient norm, such as 1.0",
                        _ => "a positive integer",
                    };
                    self.error(
                        codes::BAD_VALUE,
                        at,
                        format!("`{known}` must be {want}"),
                        format!("this is {found}"),
                    );
                    false
                }
                (unknown, _, _) => {
                    let help = did_you_mean(unknown, OPTIONS.iter().copied())
                        .map_or(format!("options: {}", OPTIONS.join(", ")), |n| {
                            format!("did you mean `{n}`?")
                        });
                    self.error_help(
                        codes::UNKNOWN_ARGUMENT,
                        at,
                        format!("`train` has no option `{unknown}`"),
                        "not an option",
                        help,
                    );
                    false
                }
            };
            ok &= good;
        }
        ok.then_some(h)
    }
}
