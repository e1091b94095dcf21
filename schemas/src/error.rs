//! Why a message is refused. Each variant names the rule broken.

/// What is wrong with a header, a placement, a declaration or a message of the handshake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("the bytes are no valid message: {0}")]
    Invalid(flatbuffers::InvalidFlatbuffer),
    #[error("the message lacks '{0}'")]
    Missing(&'static str),
    #[error("'{field}' has the unknown value {value}")]
    UnknownValue { field: &'static str, value: u64 },
    #[error("{count} tensors, at most {max} are possible", max = crate::tensor::TENSORS_MAX)]
    TooManyTensors { count: usize },
    #[error("{rank} dimensions, at most {max} are possible", max = crate::tensor::RANK_MAX)]
    RankTooHigh { rank: usize },
    #[error("the shape's product does not fit 64 bits")]
    ShapeTooLarge,
    #[error("a tensor of this shape takes {expected} bytes, the header says {found}")]
    WrongLength { expected: u64, found: u64 },
    #[error("a tensor does not start on a multiple of {align} bytes", align = crate::tensor::TENSOR_ALIGN)]
    Misaligned,
    #[error("a tensor lies outside its slot of {slot_bytes} bytes")]
    OutsideSlot { slot_bytes: u32 },
    #[error("the batch takes more than a slot can address; send fewer rows")]
    SlotOverflow,
    #[error(
        "the offsets of a variable-length tensor do not rise from 0 to the {values_bytes} bytes of values"
    )]
    BadOffsets { values_bytes: u32 },
    #[error("a header of {bytes} bytes exceeds {max}; declare fewer tensors", max = crate::predict::HEADER_BYTES_MAX)]
    HeaderTooLarge { bytes: usize },
    #[error("a handshake message of {bytes} bytes exceeds {max}; shorten the model's declaration", max = crate::lifecycle::MESSAGE_BYTES_MAX)]
    MessageTooLarge { bytes: usize },
    #[error("the model's declaration is not possible: {0}")]
    Spec(String),
}

impl From<flatbuffers::InvalidFlatbuffer> for SchemaError {
    fn from(error: flatbuffers::InvalidFlatbuffer) -> SchemaError {
        SchemaError::Invalid(error)
    }
}
