//! Which models Clipper's five kinds of input can be sent to.

use schemas::tensor::DType;

use crate::clipper_rpc::models::InputType;

impl InputType {
    /// The type whose inputs a model with this datatype is fed without a loss.
    pub fn of_dtype(dtype: DType) -> Option<InputType> {
        match dtype {
            DType::U8
            | DType::U16
            | DType::U32
            | DType::U64
            | DType::I8
            | DType::I16
            | DType::I32
            | DType::I64 => Some(InputType::Integers),
            DType::F32 => Some(InputType::Floats),
            DType::F64 => Some(InputType::Doubles),
            DType::Bytes => Some(InputType::Bytes),
            DType::Str => Some(InputType::Strings),
            DType::Bool | DType::F16 | DType::Bf16 => None,
        }
    }

    /// Whether inputs of this type can be rows of a tensor that a model declares so. Numbers go into any numbers that can
    /// hold them, texts and bytes into either of the two, bytes also into an array of them.
    pub fn feeds(self, dtype: DType) -> bool {
        match self {
            InputType::Integers | InputType::Floats | InputType::Doubles => {
                !matches!(dtype, DType::Str | DType::Bytes | DType::F16 | DType::Bf16 | DType::Bool)
            }
            InputType::Bytes => matches!(dtype, DType::Bytes | DType::Str | DType::U8),
            InputType::Strings => matches!(dtype, DType::Bytes | DType::Str),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_feeds_the_datatype_it_is_named_after() {
        for dtype in DType::ALL {
            assert!(InputType::of_dtype(dtype).is_none_or(|of| of.feeds(dtype)));
        }
    }
}
