//! What can be wrong with a JSON object of Clipper's, in Clipper's words.

use serde_json::value::RawValue;

/// Inputs of one batch at most, each a query of its own: what the engine takes for rows of one request elsewhere.
pub const INPUTS_MAX: usize = 65_536;

/// Clipper calls the kinds of JSON values so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    False,
    True,
    Object,
    Array,
    String,
    Number,
}

impl Kind {
    /// Of a valid JSON value's text.
    pub fn of(value: &str) -> Kind {
        match value.trim_start().bytes().next() {
            Some(b'n') => Kind::Null,
            Some(b'f') => Kind::False,
            Some(b't') => Kind::True,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            _ => Kind::Number,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Null => "Null",
            Kind::False => "False",
            Kind::True => "True",
            Kind::Object => "Object",
            Kind::Array => "Array",
            Kind::String => "String",
            Kind::Number => "Number",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    #[error("JSON parse error: {what} (offset {offset})\n")]
    Malformed { what: String, offset: usize },
    /// Said without the wrapper that names the expected schema.
    #[error("JSON schema invalid")]
    NotAnObject,
    #[error("JSON object does not have required key: {key}")]
    Missing { key: &'static str },
    #[error("JSON object does not have required keys input or input_batch")]
    NoInput,
    #[error("Type mismatch! JSON key {key} expected type {expected} but found type {}", .found.name())]
    KeyKind { key: &'static str, expected: &'static str, found: Kind },
    #[error("Input of type {} is not of type {expected}", .found.name())]
    Value { expected: &'static str, found: Kind },
    #[error("Array input of type {} is not of type {expected}", .found.name())]
    Element { expected: &'static str, found: Kind },
    #[error("Input of type String is not of type base64-encoded string: {why}")]
    Base64 { why: base64::DecodeError },
    #[error("input_batch has more than {INPUTS_MAX} inputs; send fewer per request")]
    TooManyInputs,
    #[error("'{name}' is no input_type; use integers, floats, doubles, strings or bytes")]
    InputType { name: String },
}

impl JsonFault {
    /// From the parser's, whose message ends with line and column.
    pub fn malformed(json: &[u8], error: &serde_json::Error) -> JsonFault {
        let before = json.split(|&byte| byte == b'\n').take(error.line().saturating_sub(1));
        let offset = before.map(|line| line.len() + 1).sum::<usize>() + error.column();
        let text = error.to_string();
        let what = text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what);
        JsonFault::Malformed { what: what.to_owned(), offset: offset.min(json.len()) }
    }
}

/// Reads the keys that `T` names, values unread. `T` must not fail for anything but malformed JSON.
pub fn object<'a, T: serde::Deserialize<'a>>(json: &'a [u8]) -> Result<T, JsonFault> {
    let whole: &RawValue =
        serde_json::from_slice(json).map_err(|error| JsonFault::malformed(json, &error))?;
    if Kind::of(whole.get()) != Kind::Object {
        return Err(JsonFault::NotAnObject);
    }
    serde_json::from_str(whole.get()).map_err(|error| JsonFault::malformed(json, &error))
}
