//! Every diagnostic code, with its short title. A code is never reused; each has a page in `docs/errors/`.
//!
//! E01 syntax · E02 names and imports · E03 arguments and static values · E04 shapes · E05 dtypes and
//! spaces · E06 graphs, loops, gradients, training · E07 weights · E08 data · E09 command line and runs ·
//! E10 limits · W warnings · I information.

use std::fmt;

/// A stable diagnostic code such as `E0401`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub &'static str);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal;)*) => {
        $(#[doc = $title] pub const $name: Code = Code($code);)*
        /// Every code with its title, in order.
        pub const ALL: &[(Code, &str)] = &[$(($name, $title)),*];
    };
}

codes! {
    // E01 syntax
    UNEXPECTED_TOKEN = "E0101", "unexpected token";
    UNCLOSED_BRACKET = "E0102", "unclosed bracket";
    UNCLOSED_STRING = "E0103", "unclosed string";
    MISSPELT_KEYWORD = "E0104", "misspelt keyword";
    BAD_NUMBER = "E0105", "number out of range";
    NESTED_TOO_DEEP = "E0106", "nested too deep";
    MISPLACED = "E0107", "a construct where it cannot stand";
    // E02 names and imports
    UNKNOWN_NAME = "E0201", "unknown name";
    UNKNOWN_MODULE = "E0202", "unknown module or file";
    UNKNOWN_IMPORT = "E0203", "the module has no such name";
    IMPORT_CYCLE = "E0204", "import cycle";
    DUPLICATE_NAME = "E0205", "defined twice";
    UNKNOWN_FIELD = "E0206", "no such field or graph";
    IMPORT_OUTSIDE = "E0207", "import outside the allowed folders";
    // E03 arguments and static values
    MISSING_ARGUMENT = "E0301", "missing argument";
    DUPLICATE_ARGUMENT = "E0302", "argument given twice";
    UNKNOWN_ARGUMENT = "E0303", "unknown argument";
    WRONG_KIND = "E0304", "wrong kind of value";
    NOT_CALLABLE = "E0305", "not callable";
    STATIC_ARITHMETIC = "E0306", "static arithmetic failed";
    NOT_STATIC = "E0307", "a static value is needed";
    BAD_INDEX = "E0308", "index out of range";
    ASSERTION_FAILED = "E0309", "assertion failed";
    UNPACK = "E0310", "wrong number of values to unpack";
    BAD_VALUE = "E0311", "a value outside what is allowed";
    // E04 shapes
    SHAPE_MISMATCH = "E0401", "shapes do not match";
    WRONG_RANK = "E0402", "wrong rank";
    NOT_DIVISIBLE = "E0403", "a dimension does not divide";
    WIDTH_DISAGREES = "E0404", "a second use disagrees with the inferred width";
    BROADCAST = "E0405", "shapes do not broadcast";
    UNSOLVED_DIM = "E0406", "a dimension cannot be solved";
    BAD_AXIS = "E0407", "axis out of range";
    BAD_PATTERN = "E0408", "malformed einops or einsum pattern";
    // E05 dtypes and spaces
    DTYPE_MISMATCH = "E0501", "dtypes do not match";
    SPACE_MISMATCH = "E0502", "value is in another space";
    // E06 graphs, loops, gradients, training
    LOOP_CARRY = "E0601", "loop carry changes its shape";
    NO_GRADIENT_PATH = "E0602", "gradient does not reach";
    NOT_DIFFERENTIABLE = "E0603", "operation has no gradient";
    WEIGHT_WITHOUT_FIELD = "E0604", "weight without a field";
    UNREACHED_WEIGHT = "E0605", "a trainable weight never reaches the loss";
    LOSS_WITHOUT_WEIGHT = "E0606", "the loss reaches no weight";
    NO_VALUE = "E0607", "body has no value";
    BAD_TRAIN = "E0608", "malformed train block";
    // E07 weights
    WEIGHTS_UNREADABLE = "E0701", "weights file cannot be read";
    WEIGHTS_NOT_SAFETENSORS = "E0702", "not a safetensors file";
    WEIGHT_MISSING = "E0703", "weight missing from the file";
    WEIGHT_EXTRA = "E0704", "weight in the file that the model has not";
    WEIGHT_SHAPE = "E0705", "weight has another shape";
    WEIGHT_DTYPE = "E0706", "weight has another dtype";
    // E08 data
    DATA_UNREADABLE = "E0801", "data cannot be read";
    DATA_FORMAT = "E0802", "data is malformed";
    DATA_EMPTY = "E0803", "no data found";
    DATA_FIELD = "E0804", "the data has no such field";
    IMAGE_UNREADABLE = "E0805", "image cannot be read";
    DATA_SHAPE = "E0806", "data has another shape or dtype";
    DATA_SPLIT = "E0807", "the data has no such split";
    // E09 command line and runs
    BAD_FLAG = "E0901", "wrong flag or value";
    CANNOT_WRITE = "E0902", "cannot write the output";
    NO_DEVICE = "E0903", "device not available";
    INTERNAL = "E0904", "internal error";
    RESUME = "E0905", "run folder cannot be resumed";
    NOT_FINITE = "E0906", "a value is not finite";
    UNREADABLE_FILE = "E0907", "file cannot be read";
    // E10 limits
    RECURSION_LIMIT = "E1001", "recursion too deep";
    STEP_LIMIT = "E1002", "elaboration takes too many steps";
    SIZE_LIMIT = "E1003", "a list outgrows the limit";
    TENSOR_TOO_LARGE = "E1004", "tensor too large for the machine";
    // Warnings and information
    UNUSED = "W0001", "never used";
    SHADOWED_DATA = "W0002", "last partial batch is dropped";
    UNTRAINED = "W0003", "the weights are not trained";
    REVEALED = "I0001", "revealed type";
}

/// The code whose text is `text`, in any case.
pub fn find(text: &str) -> Option<(Code, &'static str)> {
    ALL.iter().copied().find(|(c, _)| c.0.eq_ignore_ascii_case(text))
}
