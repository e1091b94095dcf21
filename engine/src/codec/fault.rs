//! What can be wrong with a question, one variant per thing its author can mend.

use schemas::tensor::{DType, RANK_MAX, TENSORS_MAX};

use crate::client_shm::region::RegionFault;

/// Characters of a caller's own words repeated in a message: enough to recognise them, too few to flood a log.
const EXCERPT_CHARS_MAX: usize = 64;

/// The message is a sentence for the caller; offsets count bytes of the request body from zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputFault {
    #[error("the request is not valid JSON: expected {expected} at byte {at}")]
    Json { at: usize, expected: &'static str },
    #[error(
        "the JSON of the request ends too early, at byte {at}; check that the whole body was sent and that \
         Inference-Header-Content-Length, if given, is the length of the JSON"
    )]
    Truncated { at: usize },
    #[error("the JSON at byte {at} is nested more than {limit} deep; send it flatter")]
    TooDeep { at: usize, limit: usize },
    #[error("the key '{key}' appears again before byte {at}; send it once")]
    DuplicateKey { key: &'static str, at: usize },
    #[error("'{key}' before byte {at} must be {expected}")]
    WrongKind { key: &'static str, at: usize, expected: &'static str },
    #[error(
        "the request has no 'inputs'; send a list of tensors with name, shape, datatype and data"
    )]
    NoInputs,
    #[error(
        "'{key}' is missing in a tensor that ends at byte {at}; every tensor needs name, shape and datatype"
    )]
    MissingKey { key: &'static str, at: usize },
    #[error("the request has more than {TENSORS_MAX} tensors in one list; send fewer")]
    TooManyTensors,
    #[error("tensor '{tensor}' appears twice; send each tensor once")]
    DuplicateTensor { tensor: String },
    #[error(
        "tensor '{tensor}' has the datatype '{found}', which is not one of BOOL, UINT8..UINT64, INT8..INT64, FP16, \
         BF16, FP32, FP64, BYTES"
    )]
    UnknownDatatype { tensor: String, found: String },
    #[error("{} has no JSON form (tensor '{tensor}'); send it with the binary tensor extension", .dtype.oip_name())]
    NotInJson { tensor: String, dtype: DType },
    #[error("tensor '{tensor}': expected {expected} at byte {at}")]
    Element { tensor: String, at: usize, expected: &'static str },
    #[error("tensor '{tensor}': the number at byte {at} does not fit {}", .dtype.oip_name())]
    OutOfRange { tensor: String, at: usize, dtype: DType },
    #[error(
        "tensor '{tensor}': NaN and infinities are not JSON (byte {at}); leave such rows out, or send the tensor with \
         the binary tensor extension"
    )]
    NotFinite { tensor: String, at: usize },
    #[error(
        "tensor '{tensor}': the nested lists differ in length or depth at byte {at}; every row needs the same form"
    )]
    Ragged { tensor: String, at: usize },
    #[error(
        "tensor '{tensor}': the data is nested as {found} but the shape says {shape}; nest it so, or send it flat"
    )]
    Nesting { tensor: String, shape: String, found: String },
    #[error(
        "tensor '{tensor}': the shape {shape} asks for {expected} elements but the data has {found}"
    )]
    ElementCount { tensor: String, shape: String, expected: u64, found: u64 },
    #[error("tensor '{tensor}' has more than {RANK_MAX} dimensions; reshape it")]
    RankTooHigh { tensor: String },
    #[error("tensor '{tensor}': the product of the dimensions {shape} does not fit 64 bits")]
    ShapeTooLarge { tensor: String, shape: String },
    #[error(
        "tensor '{tensor}' says twice where its data is; send one of 'data', 'binary_data_size' and 'shared_memory_region'"
    )]
    DataTwice { tensor: String },
    #[error("tensor '{tensor}' has neither 'data' nor 'binary_data_size'; send one of them")]
    NoData { tensor: String },
    #[error("'{what}' is unsupported by this server; {instead}")]
    NotOffered { what: &'static str, instead: &'static str },
    #[error("the parameter '{found}' begins with triton_, which is kept for servers; leave it out")]
    ReservedParameter { found: String },
    #[error(
        "a tensor has one of 'shared_memory_region' and 'shared_memory_byte_size'; send both or neither"
    )]
    HalfAPlace,
    #[error("tensor '{tensor}': {fault}")]
    Region { tensor: String, fault: RegionFault },

    #[error(
        "Inference-Header-Content-Length must be a whole number of bytes, the length of the JSON"
    )]
    HeaderLengthFormat,
    #[error(
        "Inference-Header-Content-Length says {header} bytes but the body has {body}; it is the length of the JSON alone"
    )]
    HeaderLength { header: u64, body: u64 },
    #[error(
        "tensor '{tensor}' has 'binary_data_size' but the request has no header Inference-Header-Content-Length; send it"
    )]
    NoHeaderLength { tensor: String },
    #[error(
        "tensor '{tensor}' claims {wanted} bytes after the JSON but only {left} are left; send the whole tensor"
    )]
    BinaryShort { tensor: String, wanted: u64, left: u64 },
    #[error(
        "tensor '{tensor}': the shape {shape} takes {expected} bytes but it has {found} (binary_data_size, or raw_input_contents)"
    )]
    BinarySize { tensor: String, shape: String, expected: u64, found: u64 },
    #[error(
        "tensor '{tensor}': the length of BYTES element {index} points outside the tensor's data"
    )]
    BytesElement { tensor: String, index: u64 },
    #[error(
        "{left} bytes are left after the last tensor; 'binary_data_size' of the inputs must add up to the whole body"
    )]
    Leftover { left: u64 },
    #[error("tensor '{tensor}': a BOOL is the byte 0 or 1, but byte {at} of it is {found}")]
    NotBool { tensor: String, at: usize, found: u8 },
    #[error("tensor '{tensor}': the model wants text, but element {index} is not UTF-8")]
    NotUtf8 { tensor: String, index: u64 },
    #[error(
        "a body without JSON (Inference-Header-Content-Length: 0) does not fit this model: {reason}"
    )]
    RawMode { reason: &'static str },

    #[error(
        "the request has both raw_input_contents and typed contents; send all inputs the same way"
    )]
    RawAndTyped,
    #[error(
        "raw_input_contents has {found} entries for {inputs} inputs; send one for each, in the order of the inputs"
    )]
    RawCount { inputs: usize, found: usize },
    #[error("tensor '{tensor}': the elements of {} belong in contents.{expected} and nowhere else", .dtype.oip_name())]
    WrongContents { tensor: String, dtype: DType, expected: &'static str },
    #[error("tensor '{tensor}': {} has no typed contents; send it in raw_input_contents", .dtype.oip_name())]
    NotTyped { tensor: String, dtype: DType },
    #[error("tensor '{tensor}': element {index} does not fit {}", .dtype.oip_name())]
    ContentsRange { tensor: String, index: usize, dtype: DType },
    #[error("tensor '{tensor}' has a negative size in its shape; sizes are 0 or more")]
    NegativeSize { tensor: String },
    #[error("the parameter '{name}' must be {expected}")]
    Parameter { name: &'static str, expected: &'static str },

    #[error("the model has no input '{tensor}'; its inputs are {known}")]
    UnknownInput { tensor: String, known: String },
    #[error("the input '{tensor}' is missing; the model's inputs are {known}")]
    MissingInput { tensor: String, known: String },
    #[error("input '{tensor}' has the datatype {} but the model takes {}", .found.oip_name(), .expected.oip_name())]
    WrongDatatype { tensor: String, expected: DType, found: DType },
    #[error("input '{tensor}' has the shape {found} but the model takes {expected} (-1: any size)")]
    WrongShape { tensor: String, expected: String, found: String },
    #[error(
        "input '{tensor}' has {found} rows but the inputs before it have {expected}; all inputs need the same first dimension"
    )]
    RowsDiffer { tensor: String, expected: u64, found: u64 },
    #[error("there is no class '{found}'; the classes are {known}")]
    UnknownClass { found: String, known: String },
    #[error("the request has no rows; send at least one")]
    NoRows,
    #[error(
        "the request has {rows} rows but the model takes at most {limit} at once (its max_batch); send fewer per request"
    )]
    TooManyRows { rows: u64, limit: u32 },
    #[error("the model has no output '{tensor}'; its outputs are {known}")]
    UnknownOutput { tensor: String, known: String },
    #[error("output '{tensor}' is {}, which has no JSON form; ask for it in binary (parameters: binary_data_output true)", .dtype.oip_name())]
    OutputNotInJson { tensor: String, dtype: DType },
    #[error("output '{tensor}' is {}, whose values have no order here; ask for it without classification", .dtype.oip_name())]
    NotClassified { tensor: String, dtype: DType },
    #[error(
        "output '{tensor}' holds bytes that are not UTF-8 and so have no JSON form; ask for it in binary (parameters: \
         binary_data_output true)"
    )]
    OutputNotUtf8 { tensor: String },
}

/// A caller's own words, cut to a length that suits a message.
pub fn excerpt(words: &str) -> String {
    match words.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
}

/// `[2, 784]`
pub fn shape_text(shape: &[u64]) -> String {
    format!("{shape:?}")
}
