//! A model's answer to a sample beside what it is to be. Pure, but for the asking.

use std::fmt;
use std::time::Duration;

use schemas::lifecycle::ModelSpec;
use schemas::tensor::DType;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::handle::ModelHandle;
use crate::clock::Time;
use crate::codec::binary_tensor;
use crate::codec::bind::{Named, bind};
use crate::codec::fault::InputFault;
use crate::codec::json_tensor::{InputData, parse_request};
use crate::ids::ClassId;
use crate::query::types::{Deadline, TaskError, TaskInputs, Tensor, TensorData, Tensors, Terms};

/// A sample is a few rows, and the model is warm: what takes longer is stuck.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Outputs in the order the model declares them.
pub type Answer = Tensors;

/// `|answer - expected| <= absolute + relative * |expected|`, for numbers that are not whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    pub relative: f64,
    pub absolute: f64,
}

impl Tolerance {
    fn allows(self, answer: f64, expected: f64) -> bool {
        let equal = answer == expected || (answer.is_nan() && expected.is_nan());
        equal || (answer - expected).abs() <= self.absolute + self.relative * expected.abs()
    }
}

/// Where an answer is not what is expected.
#[derive(Debug, PartialEq)]
pub enum Difference {
    Unreadable(String),
    NoOutput(String),
    Datatype {
        output: String,
        answered: DType,
        expected: DType,
    },
    Shape {
        output: String,
        answered: Vec<u64>,
        expected: Vec<u64>,
    },
    Values {
        output: String,
        count: usize,
        of: usize,
        at: usize,
        answered: String,
        expected: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Unreadable(why) => write!(f, "expected.json can't be read: {why}"),
            Difference::NoOutput(name) => write!(f, "it has no output '{name}'"),
            Difference::Datatype { output, answered, expected } => write!(
                f,
                "output '{output}' is {}, expected is {}",
                answered.oip_name(),
                expected.oip_name()
            ),
            Difference::Shape { output, answered, expected } => {
                write!(f, "output '{output}' has the shape {answered:?}, expected is {expected:?}")
            }
            Difference::Values { output, count, of, at, answered, expected } => write!(
                f,
                "{count} of {of} values of output '{output}' differ; the first, number {at}, is {answered} where {expected} \
                 is expected"
            ),
        }
    }
}

/// What a sample asks.
pub fn inputs(spec: &ModelSpec, sample: &[u8]) -> Result<TaskInputs, InputFault> {
    let named = tensors(sample)?;
    bind(spec, named.iter().map(|(name, tensor)| Named { name, tensor: tensor.clone() }))
}

/// The tensors of a request, all of them in its JSON.
fn tensors(request: &[u8]) -> Result<Vec<(String, Tensor)>, InputFault> {
    let mut request = parse_request(request)?;
    binary_tensor::attach(&mut request.inputs, None)?;
    let read = request.inputs.into_iter().filter_map(|input| {
        // Attaching without bytes behind the JSON has refused all that is not here.
        let InputData::Here(data) = input.data else { return None };
        let tensor = Tensor { dtype: input.dtype, shape: input.shape, data };
        Some((input.name.into_owned(), tensor))
    });
    Ok(read.collect())
}

/// From any thread: the answer comes by way of the model's own core.
pub async fn ask(handle: &ModelHandle, inputs: TaskInputs, now: Time) -> Result<Answer, TaskError> {
    let due = now.after(ANSWER_WAIT);
    let deadline = Deadline { due, late_limit: due };
    let terms = Terms { deadline, class: ClassId::DEFAULT, weight: 1 };
    let prediction = handle.submit(inputs, terms, now, handle.core)?.await?;
    Ok(prediction.outputs)
}

/// The body of an answer; its tensors are written as those of a request.
#[derive(Deserialize)]
struct Expected<'e> {
    #[serde(borrow)]
    outputs: &'e RawValue,
}

pub fn compare(
    spec: &ModelSpec,
    answer: &Answer,
    expected: &[u8],
    tolerance: Tolerance,
) -> Result<(), Difference> {
    let unreadable = Difference::Unreadable;
    let expected: Expected<'_> =
        serde_json::from_slice(expected).map_err(|error| unreadable(error.to_string()))?;
    let request = format!("{{\"inputs\":{}}}", expected.outputs.get());
    let expected = tensors(request.as_bytes()).map_err(|fault| unreadable(fault.to_string()))?;
    for (name, expected) in &expected {
        let index = spec.outputs.iter().position(|output| output.name == *name);
        let answered = index.and_then(|index| answer.get(index));
        let answered = answered.ok_or_else(|| Difference::NoOutput(name.clone()))?;
        one(name, answered, expected, tolerance)?;
    }
    Ok(())
}

fn one(
    name: &str,
    answered: &Tensor,
    expected: &Tensor,
    tolerance: Tolerance,
) -> Result<(), Difference> {
    let output = name.to_owned();
    // BYTES is both bytes and text on the wire.
    if answered.dtype.oip_name() != expected.dtype.oip_name() {
        let (answered, expected) = (answered.dtype, expected.dtype);
        return Err(Difference::Datatype { output, answered, expected });
    }
    if answered.shape != expected.shape {
        let (answered, expected) = (answered.shape.to_vec(), expected.shape.to_vec());
        return Err(Difference::Shape { output, answered, expected });
    }
    let (answered, expected) = (elements(answered), elements(expected));
    let pairs = answered.iter().zip(&expected).enumerate();
    let mut differ = pairs.filter(|(_, (answered, expected))| !answered.is(expected, tolerance));
    let Some((at, (first, wanted))) = differ.next() else { return Ok(()) };
    let (answered, expected, of) = (first.to_string(), wanted.to_string(), answered.len());
    Err(Difference::Values { output, count: 1 + differ.count(), of, at, answered, expected })
}

/// One value of a tensor.
enum Element<'t> {
    Float(f64),
    /// Of a number that is compared exactly.
    Exact(DType, &'t [u8]),
    Text(&'t [u8]),
}

impl Element<'_> {
    fn is(&self, expected: &Element<'_>, tolerance: Tolerance) -> bool {
        match (self, expected) {
            (Element::Float(answer), Element::Float(expected)) => {
                tolerance.allows(*answer, *expected)
            }
            (Element::Exact(_, answer), Element::Exact(_, expected))
            | (Element::Text(answer), Element::Text(expected)) => answer == expected,
            _ => false,
        }
    }
}

impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Float(value) => write!(f, "{value}"),
            Element::Exact(dtype, bytes) => match (whole(bytes), dtype) {
                (value, DType::Bool) => write!(f, "{}", value != 0),
                (value, DType::I8 | DType::I16 | DType::I32 | DType::I64) => {
                    let unused = 64 - 8 * bytes.len() as u32;
                    write!(f, "{}", (value << unused).cast_signed() >> unused)
                }
                (value, _) => write!(f, "{value}"),
            },
            Element::Text(bytes) => write!(f, "{:?}", String::from_utf8_lossy(bytes)),
        }
    }
}

/// Little-endian, of up to eight bytes.
fn whole(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

fn elements(tensor: &Tensor) -> Vec<Element<'_>> {
    match &tensor.data {
        TensorData::Variable { offsets, values } => {
            let pairs = offsets.windows(2);
            pairs.map(|pair| Element::Text(&values[pair[0] as usize..pair[1] as usize])).collect()
        }
        TensorData::Fixed(bytes) => {
            let size = tensor.dtype.size_bytes().unwrap_or(1);
            bytes.chunks_exact(size).map(|bytes| element(tensor.dtype, bytes)).collect()
        }
    }
}

fn element(dtype: DType, bytes: &[u8]) -> Element<'_> {
    match (dtype, bytes) {
        (DType::F64, _) => Element::Float(f64::from_bits(whole(bytes))),
        (DType::F32, _) => Element::Float(f32::from_bits(whole(bytes) as u32).into()),
        (DType::F16, _) => Element::Float(half(whole(bytes) as u16)),
        _ => Element::Exact(dtype, bytes),
    }
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests;
