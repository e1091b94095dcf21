//! What an application is asked: predictions and feedback.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::elements::elements;
use super::json_fault::{INPUTS_MAX, JsonFault, Kind, object};
use crate::apps::{InputType, Mode};

/// One input of an application, as its author wrote it.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Integers(Vec<i32>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Strings(String),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Predict {
    pub inputs: Vec<Input>,
    /// The model version asked for.
    pub version: Option<String>,
}

/// Appended to every complaint about a prediction's JSON.
pub const PREDICT_SCHEMA: &str = r#"
  {
   "input" := [double] | [int] | [string] | [byte] | [float],
  }
"#;

/// And about feedback's.
pub const UPDATE_SCHEMA: &str = r#"
  {
   "uid" := string,
   "input" := [double] | [int] | [string] | [byte] | [float],
   "label" := double
  }
"#;

#[derive(Deserialize)]
struct PredictKeys<'a> {
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    input_batch: Option<&'a RawValue>,
    #[serde(borrow)]
    version: Option<&'a RawValue>,
}

/// `input` wins over `input_batch`; unknown keys are passed over.
pub fn predict(json: &[u8], of: InputType, mode: Mode) -> Result<Predict, JsonFault> {
    let keys: PredictKeys<'_> = object(json)?;
    let version = keys.version.map(|value| text("version", value.get())).transpose()?;
    if let Some(value) = keys.input {
        let inputs = vec![input("input", value.get(), of, mode)?];
        return Ok(Predict { inputs, version });
    }
    let batch = keys.input_batch.ok_or(JsonFault::NoInput)?.get();
    let inputs = batch_of(batch, of, mode)?;
    Ok(Predict { inputs, version })
}

fn batch_of(list: &str, of: InputType, mode: Mode) -> Result<Vec<Input>, JsonFault> {
    expect_kind("input_batch", list, Kind::Array, "Array")?;
    let mut inputs = Vec::new();
    for element in elements(list) {
        if inputs.len() == INPUTS_MAX {
            return Err(JsonFault::TooManyInputs);
        }
        let (kind, expected) = form(of);
        let found = Kind::of(element);
        if found != kind {
            return Err(JsonFault::Element { expected, found });
        }
        inputs.push(value(element, of, mode)?);
    }
    Ok(inputs)
}

/// What one input is in JSON, and Clipper's word for it.
fn form(of: InputType) -> (Kind, &'static str) {
    match of {
        InputType::Integers | InputType::Floats | InputType::Doubles => (Kind::Array, "array"),
        InputType::Strings => (Kind::String, "string"),
        InputType::Bytes => (Kind::String, "base64-encoded string"),
    }
}

fn input(key: &'static str, text: &str, of: InputType, mode: Mode) -> Result<Input, JsonFault> {
    let (kind, _) = form(of);
    expect_kind(key, text, kind, kind.name())?;
    value(text, of, mode)
}

/// `text` is of the kind that [`form`] says.
fn value(text: &str, of: InputType, mode: Mode) -> Result<Input, JsonFault> {
    Ok(match of {
        InputType::Integers => Input::Integers(numbers(text, integer)?),
        InputType::Floats => Input::Floats(numbers(text, |it| float(it, "float", mode))?),
        InputType::Doubles => Input::Doubles(numbers(text, |it| float(it, "double", mode))?),
        InputType::Strings => Input::Strings(unquoted(text)?),
        InputType::Bytes => Input::Bytes(base64(&unquoted(text)?, mode)?),
    })
}

fn numbers<T>(
    list: &str,
    number: impl Fn(&str) -> Result<T, JsonFault>,
) -> Result<Vec<T>, JsonFault> {
    elements(list).map(number).collect()
}

fn integer(text: &str) -> Result<i32, JsonFault> {
    text.parse().map_err(|_| JsonFault::Element { expected: "int", found: Kind::of(text) })
}

/// A type of float that text is rounded to once.
trait Float: std::str::FromStr {
    fn finite(&self) -> bool;
}

impl Float for f32 {
    fn finite(&self) -> bool {
        self.is_finite()
    }
}

impl Float for f64 {
    fn finite(&self) -> bool {
        self.is_finite()
    }
}

/// Clipper takes only literals with a point or an exponent for floats; whoever sends `[1, 2]` means numbers.
fn float<T: Float>(text: &str, expected: &'static str, mode: Mode) -> Result<T, JsonFault> {
    let found = Kind::of(text);
    let fault = || JsonFault::Element { expected, found };
    if found != Kind::Number || (mode == Mode::Strict && is_integer(text)) {
        return Err(fault());
    }
    text.parse().ok().filter(T::finite).ok_or_else(fault)
}

fn is_integer(number: &str) -> bool {
    !number.contains(['.', 'e', 'E'])
}

fn unquoted(text: &str) -> Result<String, JsonFault> {
    serde_json::from_str(text).map_err(|error| JsonFault::malformed(text.as_bytes(), &error))
}

/// Padding may be left out, as many encoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Clipper does not look whether the decoding went well; what it would then pass on is anybody's guess, so strict passes
/// on nothing.
fn base64(text: &str, mode: Mode) -> Result<Vec<u8>, JsonFault> {
    match (BASE64.decode(text), mode) {
        (Ok(bytes), _) => Ok(bytes),
        (Err(_), Mode::Strict) => Ok(Vec::new()),
        (Err(why), Mode::Sane) => Err(JsonFault::Base64 { why }),
    }
}

/// Feedback: whose it is. Its input and label are checked; nothing learns from them yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// Whether the user is Clipper's only one, 0.
    pub of_default_user: bool,
}

#[derive(Deserialize)]
struct UpdateKeys<'a> {
    #[serde(borrow)]
    uid: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    label: Option<&'a RawValue>,
}

pub fn update(json: &[u8], of: InputType, mode: Mode) -> Result<Feedback, JsonFault> {
    let keys: UpdateKeys<'_> = object(json)?;
    let uid = keys.uid.ok_or(JsonFault::Missing { key: "uid" })?.get();
    let of_default_user = user(uid, mode)?;
    let given = keys.input.ok_or(JsonFault::Missing { key: "input" })?.get();
    input("input", given, of, mode)?;
    let label = keys.label.ok_or(JsonFault::Missing { key: "label" })?.get();
    expect_kind("label", label, Kind::Number, "Number")?;
    let wrong = |_| JsonFault::Value { expected: "double", found: Kind::of(label) };
    float::<f64>(label, "double", mode).map_err(wrong)?;
    Ok(Feedback { of_default_user })
}

/// Clipper's own schema calls the user's id a text, its parser takes whole numbers only.
fn user(uid: &str, mode: Mode) -> Result<bool, JsonFault> {
    if mode == Mode::Sane && Kind::of(uid) == Kind::String {
        return Ok(unquoted(uid)? == "0");
    }
    expect_kind("uid", uid, Kind::Number, "Number")?;
    let number: Result<i64, _> = uid.parse();
    let number = number.map_err(|_| JsonFault::Value { expected: "long", found: Kind::Number })?;
    Ok(number == 0)
}

fn text(key: &'static str, value: &str) -> Result<String, JsonFault> {
    expect_kind(key, value, Kind::String, "String")?;
    unquoted(value)
}

fn expect_kind(
    key: &'static str,
    value: &str,
    kind: Kind,
    expected: &'static str,
) -> Result<(), JsonFault> {
    let found = Kind::of(value);
    if found == kind { Ok(()) } else { Err(JsonFault::KeyKind { key, expected, found }) }
}

#[cfg(test)]
mod tests;
