//! What the three convolution operations share: stride, padding, dilation and groups, their spelling in
//! the language, and the arithmetic of sizes.

use serde::{Deserialize, Serialize};

use super::OpError;
use super::args::{Arg, Args};
use crate::diagnostic::codes;
use crate::shape::{DType, Dim, Type, display_shape};

/// The attributes of a convolution, one entry per spatial axis. Sizes follow Dumoulin & Visin 2016, "A guide
/// to convolution arithmetic for deep learning".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvSpec {
    /// Size of a window.
    pub kernel: Vec<usize>,
    /// Steps between windows.
    pub stride: Vec<usize>,
    /// Zeros before and after each axis.
    pub padding: Vec<(usize, usize)>,
    /// Steps between the taps of a window.
    pub dilation: Vec<usize>,
    /// Groups of channels that do not mix.
    pub groups: usize,
}

impl ConvSpec {
    /// Stride 1, no padding, no dilation, one group.
    pub fn unit(kernel: &[usize]) -> Self {
        let spatial = kernel.len();
        ConvSpec {
            kernel: kernel.to_vec(),
            stride: vec![1; spatial],
            padding: vec![(0, 0); spatial],
            dilation: vec![1; spatial],
            groups: 1,
        }
    }

    /// Number of spatial axes.
    pub fn spatial(&self) -> usize {
        self.stride.len()
    }

    /// Reads stride, padding, dilation and groups from the parameters with these indices.
    ///
    /// # Errors
    /// A value of the wrong form, zero, or negative; a weight of the wrong rank, or without known sizes.
    pub fn from_args(
        op: &str,
        weight: &Type,
        args: &Args,
        at: [usize; 4],
        spatial: usize,
    ) -> Result<Self, OpError> {
        check_rank(op, "weight", weight, spatial)?;
        let kernel = weight.shape[2..]
            .iter()
            .map(|d| d.as_const().and_then(|v| usize::try_from(v).ok()).filter(|v| *v > 0))
            .collect::<Option<_>>()
            .ok_or_else(|| OpError::value(format!("`{op}`: the kernel of {weight} must have known sizes")))?;
        Ok(ConvSpec {
            kernel,
            stride: positive(args, at[0], spatial, "stride")?,
            padding: pads(args, at[1], spatial)?,
            dilation: positive(args, at[2], spatial, "dilation")?,
            groups: match args.size(at[3])? {
                0 => return Err(OpError::value("`groups` must be at least 1")),
                g => g,
            },
        })
    }

    /// `floor((size + before + after - dilation (kernel - 1) - 1) / stride) + 1`: the windows along an axis.
    pub fn windows(&self, axis: usize, size: &Dim) -> Dim {
        let (before, after) = self.padding[axis];
        let reach = Dim::from(self.dilation[axis]) * Dim::from(self.kernel[axis].saturating_sub(1));
        (size.clone() + Dim::from(before) + Dim::from(after) - reach - Dim::from(1))
            .floor_div(i64::try_from(self.stride[axis]).unwrap_or(i64::MAX))
            + Dim::from(1)
    }

    /// `(size - 1) stride - before - after + dilation (kernel - 1) + 1`: what [`windows`](Self::windows)
    /// would have come from, without the rows that no window ends on.
    pub fn span(&self, axis: usize, size: &Dim) -> Dim {
        let (before, after) = self.padding[axis];
        (size.clone() - Dim::from(1)) * Dim::from(self.stride[axis]) - Dim::from(before) - Dim::from(after)
            + Dim::from(self.dilation[axis]) * Dim::from(self.kernel[axis].saturating_sub(1))
            + Dim::from(1)
    }

    /// Checks rank and dtype of an operand.
    pub(super) fn check_operand(&self, op: &str, role: &str, ty: &Type) -> Result<(), OpError> {
        check_rank(op, role, ty, self.spatial())?;
        check_floats(op, role, ty)
    }

    /// Checks that a weight has the kernel of these attributes.
    pub(super) fn check_weight(&self, op: &str, weight: &Type) -> Result<(), OpError> {
        self.check_operand(op, "weight", weight)?;
        match weight.shape[2..].iter().cloned().eq(self.kernel.iter().map(|k| Dim::from(*k))) {
            true => Ok(()),
            false => {
                Err(OpError::shape(format!("`{op}` of {} windows has a weight {weight}", by(&self.kernel))))
            }
        }
    }

    /// The kernel and the attributes that differ from the usual, for labels: ` 4×4, stride 2, pad 1`.
    pub(super) fn suffix(&self) -> String {
        let mut out = format!(" {}", by(&self.kernel));
        if self.stride.iter().any(|s| *s != 1) {
            out += &format!(", stride {}", times(&self.stride));
        }
        if self.padding.iter().any(|p| *p != (0, 0)) {
            let sides: Vec<usize> = self.padding.iter().flat_map(|p| [p.0, p.1]).collect();
            out += &match sides.iter().all(|s| *s == sides[0]) {
                true => format!(", pad {}", sides[0]),
                false => format!(", pad {:?}", self.padding),
            };
        }
        if self.dilation.iter().any(|d| *d != 1) {
            out += &format!(", dilation {}", times(&self.dilation));
        }
        if self.groups != 1 {
            out += &format!(", {} groups", self.groups);
        }
        out
    }
}

/// `2` or `2×3`.
pub(super) fn times(sizes: &[usize]) -> String {
    match sizes {
        [first, rest @ ..] if rest.iter().all(|s| s == first) => first.to_string(),
        _ => by(sizes),
    }
}

/// `4×4`.
pub(super) fn by(sizes: &[usize]) -> String {
    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}

fn check_rank(op: &str, role: &str, ty: &Type, spatial: usize) -> Result<(), OpError> {
    let (rank, layout) = match (spatial, role) {
        (1, "weight") => (3, "[out, in, width]"),
        (1, _) => (3, "[batch, channels, width]"),
        (_, "weight") => (4, "[out, in, height, width]"),
        _ => (4, "[batch, channels, height, width]"),
    };
    if ty.rank() == rank {
        return Ok(());
    }
    let m = format!("`{op}` takes {role} as {layout}, and this is {ty}");
    let error = OpError::new(codes::WRONG_RANK, m);
    Err(if role != "weight" && ty.rank() + 1 == rank {
        error.help("add the batch axis: `reshape(x, [1, …])`")
    } else {
        error
    })
}

/// Refuses integers and truth values.
pub(super) fn check_floats(op: &str, role: &str, ty: &Type) -> Result<(), OpError> {
    match ty.dtype.is_float() {
        true => Ok(()),
        false => Err(OpError::dtype(format!("`{op}` works on real numbers, and {role} is {ty}"))
            .help(format!("cast it first: `cast({role}, {})`", DType::F32))),
    }
}

/// Refuses operands of different dtypes.
pub(super) fn check_same(op: &str, a: (&str, &Type), b: (&str, &Type)) -> Result<(), OpError> {
    match a.1.dtype == b.1.dtype {
        true => Ok(()),
        false => Err(OpError::dtype(format!("`{op}`: {} is {}, {} is {}", a.0, a.1, b.0, b.1))),
    }
}

/// Refuses an output without elements along a spatial axis.
pub(super) fn check_fits(op: &str, kernel: &[usize], input: &Type, output: &[Dim]) -> Result<(), OpError> {
    match output.iter().any(|d| d.as_const().is_some_and(|v| v < 1)) {
        false => Ok(()),
        true => {
            let m = format!("the {} window of `{op}` does not fit in {input}", by(kernel));
            Err(OpError::shape(m).help("a smaller kernel or dilation, or more padding"))
        }
    }
}

/// Explains a disagreement of channels.
pub(super) fn channel_error(op: &str, expected: &Dim, input: &Type, weight: &Type) -> OpError {
    let s = if expected.is(1) { "" } else { "s" };
    let m = format!("`{op}`: the weight {weight} expects {expected} channel{s}, x has {}", input.shape[1]);
    let last = input.shape.last();
    OpError::shape(m).help(if last == Some(expected) && input.rank() == 4 {
        format!(
            "{} has its channels last; `permute(x, [0, 3, 1, 2])` puts them first",
            display_shape(&input.shape)
        )
    } else if last == Some(expected) && input.rank() == 3 {
        "the channels seem to be last; `permute(x, [0, 2, 1])` puts them first".to_string()
    } else {
        "channels are axis 1 of x; the weight is [out, in / groups, …]".to_string()
    })
}

/// Sizes of at least one: one integer for all axes, or one per axis.
pub(super) fn positive(args: &Args, i: usize, spatial: usize, name: &str) -> Result<Vec<usize>, OpError> {
    let values = natural(args, i, spatial, name)?;
    match values.contains(&0) {
        true => Err(OpError::value(format!("`{name}` must be at least 1"))),
        false => Ok(values),
    }
}

/// Sizes of at least zero: one integer for all axes, or one per axis.
pub(super) fn natural(args: &Args, i: usize, spatial: usize, name: &str) -> Result<Vec<usize>, OpError> {
    let values = args.ints(i)?;
    let sizes: Vec<usize> = values
        .iter()
        .map(|v| usize::try_from(*v).ok().filter(|v| *v <= 1 << 24))
        .collect::<Option<_>>()
        .ok_or_else(|| {
            OpError::value(format!("`{name}` is {values:?}, and must be small and not negative"))
        })?;
    match sizes.len() {
        1 => Ok(vec![sizes[0]; spatial]),
        n if n == spatial => Ok(sizes),
        n => Err(OpError::value(format!("`{name}` takes one integer or {spatial}, not {n}"))),
    }
}

/// `1`, `[1, 2]` (one per axis) or `[[top, bottom], [left, right]]`.
fn pads(args: &Args, i: usize, spatial: usize) -> Result<Vec<(usize, usize)>, OpError> {
    match args.params.get(i) {
        Some(Arg::List(items)) if items.iter().any(|a| matches!(a, Arg::List(_))) => {
            if items.len() != spatial {
                let m = format!("`pad` takes {spatial} pairs, not {}", items.len());
                return Err(OpError::value(m).help("[[top, bottom], [left, right]]"));
            }
            items
                .iter()
                .map(|pair| {
                    let one = Args { params: vec![pair.clone()], ..Args::default() };
                    let sides = natural(&one, 0, 2, "pad")?;
                    Ok((sides[0], sides[1]))
                })
                .collect()
        }
        _ => Ok(natural(args, i, spatial, "pad")?.into_iter().map(|p| (p, p)).collect()),
    }
}
