//! `dataset(name, split, …)`: data as inputs of a graph, its images changed on their way in.

use std::rc::Rc;

use super::Elaborator;
use super::builtins::Builtin;
use super::value::{CallArgs, DataRef, TensorRef, Value};
use crate::data::{Augment, Crop};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::graph::program::DataInput;
use crate::ops::Input;
use crate::shape::{Dim, Type};
use crate::source::Span;
use crate::syntax::ast::Ident;

/// The parameters, and whether each may be left out.
const PARAMETERS: &[(&str, bool)] = &[
    ("name", false),
    ("split", true),
    ("channels", true),
    ("size", true),
    ("pad", true),
    ("crop", true),
    ("random_crop", true),
    ("flip", true),
    ("mean", true),
    ("std", true),
];

/// The largest side of an image, in pixels.
const MAX_SIDE: i64 = 1 << 14;

/// What reading the header of a data set costs, in steps.
const DATASET: u64 = 2_000;

/// An argument with its place; `none` counts as left out.
type Argument = Option<(Value, Span)>;

impl Elaborator<'_> {
    /// `dataset(name, split, …)`: the fields are known from the data's headers.
    pub(super) fn dataset(&mut self, args: CallArgs, span: Span) -> Option<Value> {
        let bound = self.slots(Builtin::Dataset, PARAMETERS, args, span)?;
        let name = self.string(&bound[0])?;
        let split = if bound[1].is_some() { self.string(&bound[1])? } else { "train".into() };
        let given = |name: &str| {
            let at = PARAMETERS.iter().position(|(n, _)| *n == name)?;
            bound[at].clone().filter(|(v, _)| !matches!(v, Value::None))
        };
        let augment = self.augment(&given)?;
        if !self.spend(DATASET, span) {
            return None;
        }
        match (self.options.data)(&name, &split, &augment) {
            Ok(_) => Some(Value::Dataset(Rc::new(DataRef { name, split, augment }))),
            Err(d) => {
                self.report(d.label(span, "read here"));
                None
            }
        }
    }

    /// What the arguments ask to be done to images; `None` after an error.
    fn augment(&mut self, given: &dyn Fn(&str) -> Argument) -> Option<Augment> {
        let channels = match given("channels") {
            None => None,
            Some((v, at)) => match self.known_int(&v, at)? {
                n @ (1 | 3) => Some(n as usize),
                n => return self.bad(at, format!("`channels` is {n}"), "1 for grey, 3 for colour"),
            },
        };
        let resize = self.sides("size", given("size"))?;
        let pad = match given("pad") {
            None => 0,
            Some((v, at)) => match self.known_int(&v, at)? {
                n @ 0..=MAX_SIDE => n as usize,
                n => {
                    return self.bad(
                        at,
                        format!("`pad` is {n}"),
                        "the black pixels around an image: 0, 4, …",
                    );
                }
            },
        };
        let (middle, random) = (given("crop"), given("random_crop"));
        if let (Some(_), Some((_, at))) = (&middle, &random) {
            let help = "`crop` takes the middle, `random_crop` a random place: use one of them";
            return self.bad(*at, "`crop` and `random_crop` exclude each other".into(), help);
        }
        let is_random = random.is_some();
        let crop = self.sides(if is_random { "random_crop" } else { "crop" }, random.or(middle))?;
        if let (None, true, Some((_, at))) = (crop, pad > 0, given("pad")) {
            let help = "say what is cut out of the padded image: random_crop = 28, or crop = 28";
            return self.bad(at, "`pad` without a crop".into(), help);
        }
        let crop = crop.map(|(height, width)| Crop { height, width, pad, random: is_random });
        let flip = match given("flip") {
            None => false,
            Some((Value::Bool(v), _)) => v,
            Some((v, at)) => {
                let found = self.describe(&v);
                self.error(codes::WRONG_KIND, at, "`flip` is true or false", format!("this is {found}"));
                return None;
            }
        };
        let normalize = self.statistics(given("mean"), given("std"))?;
        Some(Augment { channels, resize, crop, flip, normalize })
    }

    /// A side of a square, or `[height, width]`. `Some(None)` if it is left out.
    fn sides(&mut self, what: &str, value: Argument) -> Option<Option<(usize, usize)>> {
        let Some((value, at)) = value else { return Some(None) };
        let help = format!("{what} = 64, or {what} = [height, width]");
        let sides = match &value {
            Value::List(l) if l.len() == 2 => [self.known_int(&l[0], at)?, self.known_int(&l[1], at)?],
            Value::Int(_) => [self.known_int(&value, at)?; 2],
            other => {
                let found = self.describe(other);
                let m = format!("`{what}` is a number of pixels, or two");
                self.error_help(codes::WRONG_KIND, at, m, format!("this is {found}"), help);
                return None;
            }
        };
        match sides.iter().find(|s| !(1..=MAX_SIDE).contains(*s)) {
            Some(s) => self.bad(at, format!("`{what}` of {s} pixels"), &help),
            None => Some(Some((sides[0] as usize, sides[1] as usize))),
        }
    }

    /// Pairs of mean and deviation, from numbers or lists of one for each channel.
    fn statistics(&mut self, mean: Argument, std: Argument) -> Option<Option<Vec<(f32, f32)>>> {
        let Some((_, at)) = std.as_ref().or(mean.as_ref()).cloned() else { return Some(None) };
        let means = self.numbers(mean, 0.0)?;
        let stds = self.numbers(std, 1.0)?;
        let n = means.len().max(stds.len());
        if [&means, &stds].iter().any(|l| l.len() != n && l.len() != 1) || n == 0 {
            let m = format!("`mean` has {} numbers and `std` {}", means.len(), stds.len());
            return self.bad(at, m, "give one number for each channel, or one for all");
        }
        if let Some(s) = stds.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return self.bad(at, format!("a deviation of {s}"), "`std` divides: it must be positive");
        }
        let of = |l: &[f32], i: usize| l[i % l.len()];
        Some(Some((0..n).map(|i| (of(&means, i), of(&stds, i))).collect()))
    }

    fn numbers(&mut self, value: Argument, default: f32) -> Option<Vec<f32>> {
        let Some((value, at)) = value else { return Some(vec![default]) };
        let items = match &value {
            Value::List(l) => l.to_vec(),
            v => vec![v.clone()],
        };
        items.into_iter().map(|v| self.number(&Some((v, at))).map(|v| v as f32)).collect()
    }

    fn bad<T>(&mut self, at: Span, message: String, help: &str) -> Option<T> {
        self.error_help(codes::BAD_VALUE, at, message, "here", help);
        None
    }

    /// `fashion_mnist("train").image`: an input of the graph that the data fills.
    pub(super) fn dataset_field(&mut self, d: &Rc<DataRef>, name: &Ident, span: Span) -> Value {
        let DataRef { name: dataset, split, augment } = &**d;
        if !self.spend(DATASET, span) {
            return Value::Error;
        }
        let fields = match (self.options.data)(dataset, split, augment) {
            Ok(f) => f,
            Err(e) => {
                self.report(e.label(span, "read here"));
                return Value::Error;
            }
        };
        let Some(field) = fields.iter().find(|f| f.name == *name.name) else {
            let known: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
            let d = Diagnostic::error(
                codes::DATA_FIELD,
                format!("the data set `{dataset}` has no field `{}`", name.name),
            )
            .label(name.span, "no such field");
            let d = match did_you_mean(&name.name, known.iter().copied()) {
                Some(near) => d.help(format!("did you mean `{near}`?")),
                None => d.help(format!("it has: {}", known.join(", "))),
            };
            self.report(d);
            return Value::Error;
        };
        let Some(dtype) = field.dtype else {
            return self.error_help(
                codes::DATA_FIELD,
                name.span,
                format!("`{}` of `{dataset}` holds text, and a graph takes numbers", name.name),
                "text",
                "store what the text becomes beside it: a list of numbers in each line of metadata.jsonl is a field i64[batch, k]",
            );
        };
        let nodes = self.size_of_graph();
        if self.builder(span).is_none() || !self.work(nodes, span) {
            return Value::Error;
        }
        let span = self.user_span(span);
        let Some(unit) = self.unit.as_mut() else { return Value::Error };
        // Labels are the same however the images are changed.
        let image = *name.name == *"image";
        let how = if image && !augment.is_none() { format!(" ({augment})") } else { String::new() };
        let input = format!("{dataset}[{split}].{}{how}", name.name);
        let shape =
            std::iter::once(unit.batch.clone()).chain(field.shape.iter().map(|d| Dim::from(*d))).collect();
        let ty = Type::new(dtype, shape);
        let known = unit.graph.root().ids().find(
            |id| matches!(&*unit.graph.root().node(*id).op, crate::ops::Op::Input(i) if i.name == input),
        );
        let node = match known {
            Some(node) => node,
            None => {
                unit.data.push(DataInput {
                    input: input.clone(),
                    dataset: dataset.clone(),
                    split: split.clone(),
                    field: name.name.to_string(),
                    augment: augment.clone(),
                    ty: ty.clone(),
                    span,
                });
                let mut b = crate::graph::Builder::new(&mut unit.graph, 0, span, "".into());
                b.push(Input { name: input, ty: ty.clone() }.into(), &[], ty)
            }
        };
        Value::Tensor(TensorRef { unit: unit.id, region: 0, node, space: None })
    }
}
