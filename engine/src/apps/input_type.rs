//! Clipper's five kinds of input.

use schemas::tensor::DType;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputType {
    Bytes,
    Integers,
    Floats,
    Doubles,
    Strings,
}

const NAMES: [(InputType, &str, &[&str]); 5] = [
    (InputType::Bytes, "bytes", &["byte", "b"]),
    (InputType::Integers, "integers", &["ints", "integer", "int", "i"]),
    (InputType::Floats, "floats", &["float", "f"]),
    (InputType::Doubles, "doubles", &["double", "d"]),
    (InputType::Strings, "strings", &["string", "str", "strs", "s"]),
];

impl InputType {
    /// By its name or one of the names that Clipper takes for it.
    pub fn of_name(name: &str) -> Option<InputType> {
        let named = |(_, canonical, aliases): &&(InputType, &str, &[&str])| {
            *canonical == name || aliases.contains(&name)
        };
        NAMES.iter().find(named).map(|(it, ..)| *it)
    }

    /// As Clipper's answers say it.
    pub fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

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
    fn every_name_clipper_takes_is_known() {
        for (name, of) in
            [("ints", "integers"), ("d", "doubles"), ("str", "strings"), ("byte", "bytes"), ("f", "floats")]
        {
            assert_eq!(InputType::of_name(name).map(InputType::name), Some(of));
        }
        assert_eq!(InputType::of_name("tensors"), None);
    }

    #[test]
    fn a_type_feeds_the_datatype_it_is_named_after() {
        for dtype in DType::ALL {
            assert!(InputType::of_dtype(dtype).is_none_or(|of| of.feeds(dtype)));
        }
    }
}
