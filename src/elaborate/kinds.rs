//! Static parameters against their declared kinds: `int`, `list`, `function`, `image`, …

use super::Elaborator;
use super::value::Value;
use crate::diagnostic::{Diagnostic, codes};
use crate::shape::{DType, Space};
use crate::source::Span;
use crate::syntax::ast;

impl Elaborator<'_> {
    /// A value against the name of a kind.
    pub(super) fn match_kind(
        &mut self,
        value: Value,
        kind: &ast::Ident,
        (what, name, at, _): (&str, &str, Span, bool),
    ) -> Value {
        let ok = match (&*kind.name, &value) {
            (_, Value::Error) => return Value::Error,
            ("int", Value::Int(_)) | ("bool", Value::Bool(_)) | ("string" | "text", Value::Str(_)) => true,
            ("float", Value::Float(_)) => true,
            ("float", Value::Int(d)) => match d.as_const() {
                Some(v) => return Value::Float(v as f64),
                None => false,
            },
            ("list", Value::List(_)) | ("record", Value::Record(_)) => true,
            ("function" | "block", v) => v.is_callable(),
            ("tensor", v) if v.is_tensor() => true,
            ("tensor", Value::Int(_) | Value::Float(_) | Value::Step(_)) => {
                return match self.as_node(&value, DType::F32, at) {
                    Some(node) => self.tensor(node, at),
                    None => Value::Error,
                };
            }
            ("image", v) if v.is_tensor() => {
                let ty = self.type_of(v);
                match ty {
                    Some(t) if t.rank() == 4 && t.dtype.is_float() => {
                        if let Some(space) = t.space.as_ref().filter(|s| &***s != "unit") {
                            self.report(
                                Diagnostic::error(
                                    codes::SPACE_MISMATCH,
                                    format!("an image is in `unit` ([0, 1]), and this is in `{space}`"),
                                )
                                .label(at, format!("this is {t}"))
                                .label(kind.span, "declared here")
                                .help("convert it: x -> to_unit"),
                            );
                            return Value::Error;
                        }
                        return self.in_space(value, Some(Space::from("unit")));
                    }
                    Some(t) => {
                        self.report(
                            Diagnostic::error(
                                codes::WRONG_RANK,
                                format!("{what}: an image is [n, channels, height, width] of floats"),
                            )
                            .label(at, format!("this is {t}"))
                            .label(kind.span, "declared here")
                            .help("rearrange(x, \"…\") or float(x) brings it into that form"),
                        );
                        return Value::Error;
                    }
                    None => false,
                }
            }
            ("int" | "float" | "bool" | "string" | "text" | "list" | "record" | "tensor" | "image", _) => {
                false
            }
            (other, _) => {
                let kinds = [
                    "int", "float", "bool", "string", "list", "record", "function", "block", "tensor",
                    "image",
                ];
                let near = crate::diagnostic::did_you_mean(other, kinds);
                let help =
                    near.map_or(format!("kinds: {}", kinds.join(", ")), |n| format!("did you mean `{n}`?"));
                return self.error_help(
                    codes::UNKNOWN_NAME,
                    kind.span,
                    format!("there is no type `{other}`"),
                    "not a type",
                    help,
                );
            }
        };
        if ok {
            return value;
        }
        let found = self.describe(&value);
        let article =
            if matches!(kind.name.chars().next(), Some('a' | 'e' | 'i' | 'o' | 'u')) { "an" } else { "a" };
        let d =
            Diagnostic::error(codes::WRONG_KIND, format!("{what}: {name} must be {article} {}", kind.name))
                .label(at, format!("this is {found}"))
                .label(kind.span, "declared here");
        let give = match &*kind.name {
            "int" => Some("a whole number, such as 8"),
            "float" => Some("a number, such as 0.5"),
            "bool" => Some("true or false"),
            "string" => Some("text, such as \"linear\""),
            "list" => Some("a list, such as [1, 2, 4]"),
            _ => None,
        };
        self.report(match give {
            Some(give) => d.help(format!("give {give}")),
            None => d,
        });
        Value::Error
    }
}
