//! Messages of the Open Inference Protocol over gRPC: what they ask of a model, and what a model answered as a message.
//!
//! Elements come raw or typed, never both. Raw ones of a fixed datatype stay slices of the message, with no copy.
//! Answers are always raw, an entry for each output, since clients index that list without looking.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use schemas::inference::infer_parameter::ParameterChoice;
use schemas::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use schemas::inference::model_infer_response::InferOutputTensor;
use schemas::inference::{InferParameter, ModelInferResponse};
use schemas::lifecycle::ModelSpec;
use schemas::tensor::{DType, RANK_MAX, Shape, TENSORS_MAX, elements};
use smallvec::SmallVec;

use crate::client_shm::region::Place;
use crate::codec::answer::{self, About, Choice, Chosen, Wanted};
use crate::codec::binary_tensor::{self, Claim};
use crate::codec::bind::Named;
use crate::codec::fault::{InputFault, excerpt, shape_text};
use crate::codec::json_tensor::is_reserved;
use crate::query::types::{Tensor, TensorData};

mod typed;

pub type Parameters = BTreeMap<String, InferParameter>;

/// The parameters of a request that mean something here.
#[derive(Debug, Default, PartialEq)]
pub struct Asked<'p> {
    /// Absent when 0.
    pub timeout: Option<Duration>,
    /// 1 is the highest; absent when 0.
    pub priority: Option<NonZeroU32>,
    /// The name of an SLO class.
    pub class: Option<&'p str>,
    /// A stream's last message comes even where it carries no outputs.
    pub empty_final_response: bool,
}

/// Unknown parameters are passed over.
pub fn asked(parameters: &Parameters) -> Result<Asked<'_>, InputFault> {
    let mut asked = Asked::default();
    for (name, parameter) in parameters {
        let Some(value) = &parameter.parameter_choice else { continue };
        match name.as_str() {
            "timeout" => {
                let timeout_us = whole("timeout", value)?;
                asked.timeout = (timeout_us > 0).then(|| Duration::from_micros(timeout_us));
            }
            "foil_class" => asked.class = Some(text("foil_class", value)?),
            "triton_enable_empty_final_response" => {
                asked.empty_final_response = flag("triton_enable_empty_final_response", value)?;
            }
            "priority" => asked.priority = number("priority", value)?,
            "sequence_id" | "sequence_start" | "sequence_end" => refuse_sequence(value)?,
            reserved if is_reserved(reserved) => {
                return Err(InputFault::ReservedParameter { found: excerpt(reserved) });
            }
            _ => {}
        }
    }
    Ok(asked)
}

/// A small whole number, absent when 0.
fn number(name: &'static str, value: &ParameterChoice) -> Result<Option<NonZeroU32>, InputFault> {
    let expected = "a whole number below 2 to the 32nd";
    let number = u32::try_from(whole(name, value)?);
    number.map(NonZeroU32::new).map_err(|_| InputFault::Parameter { name, expected })
}

fn whole(name: &'static str, value: &ParameterChoice) -> Result<u64, InputFault> {
    let found = match value {
        ParameterChoice::Int64Param(number) => u64::try_from(*number).ok(),
        ParameterChoice::Uint64Param(number) => Some(*number),
        _ => None,
    };
    found.ok_or(InputFault::Parameter { name, expected: "a whole number, 0 or more" })
}

fn text<'v>(name: &'static str, value: &'v ParameterChoice) -> Result<&'v str, InputFault> {
    match value {
        ParameterChoice::StringParam(text) => Ok(text),
        _ => Err(InputFault::Parameter { name, expected: "a string" }),
    }
}

fn flag(name: &'static str, value: &ParameterChoice) -> Result<bool, InputFault> {
    match value {
        ParameterChoice::BoolParam(flag) => Ok(*flag),
        _ => Err(InputFault::Parameter { name, expected: "true or false" }),
    }
}

/// Zero, false and the empty name ask for no sequence.
fn refuse_sequence(value: &ParameterChoice) -> Result<(), InputFault> {
    let asks = match value {
        ParameterChoice::BoolParam(flag) => *flag,
        ParameterChoice::Int64Param(number) => *number != 0,
        ParameterChoice::Uint64Param(number) => *number != 0,
        ParameterChoice::DoubleParam(number) => *number != 0.0,
        ParameterChoice::StringParam(text) => !text.is_empty(),
    };
    if !asks {
        return Ok(());
    }
    Err(InputFault::NotOffered {
        what: "sequence_id",
        instead: "sequences are unsupported: send requests that don't depend on each other",
    })
}

/// The tensors of a request by name, each with its elements. Whether the model wants them is not asked here. Those that
/// lie in client shared memory have no entry among the raw ones; `fetch` brings their bytes.
pub fn inputs<'i>(
    inputs: &'i mut [InferInputTensor],
    raw: Vec<Bytes>,
    fetch: impl Fn(&str, &Place) -> Result<Bytes, InputFault>,
) -> Result<SmallVec<[Named<'i>; 1]>, InputFault> {
    if inputs.is_empty() {
        return Err(InputFault::NoInputs);
    }
    if inputs.len() > TENSORS_MAX {
        return Err(InputFault::TooManyTensors);
    }
    if inputs.iter().any(is_shared) {
        return beside_shared(inputs, raw, fetch);
    }
    if raw.is_empty() {
        return inputs.iter_mut().map(typed_input).collect();
    }
    if inputs.iter().any(|input| input.contents.is_some()) {
        return Err(InputFault::RawAndTyped);
    }
    if raw.len() != inputs.len() {
        return Err(InputFault::RawCount { inputs: inputs.len(), found: raw.len() });
    }
    inputs.iter().zip(raw).map(|(input, blob)| raw_input(input, blob)).collect()
}

fn is_shared(input: &InferInputTensor) -> bool {
    input.parameters.contains_key(REGION)
}

/// The same where at least one input lies in shared memory.
fn beside_shared<'i>(
    inputs: &'i mut [InferInputTensor],
    raw: Vec<Bytes>,
    fetch: impl Fn(&str, &Place) -> Result<Bytes, InputFault>,
) -> Result<SmallVec<[Named<'i>; 1]>, InputFault> {
    let others = inputs.iter().filter(|input| !is_shared(input)).count();
    if !raw.is_empty() && raw.len() != others {
        return Err(InputFault::RawCount { inputs: others, found: raw.len() });
    }
    let mut raw = raw.into_iter();
    let read = |input: &'i mut InferInputTensor| {
        let blob = match place(&input.parameters)? {
            Some(place) => Some(fetch(&input.name, &place)?),
            None => raw.next(),
        };
        match blob {
            Some(_) if input.contents.is_some() => {
                Err(InputFault::DataTwice { tensor: excerpt(&input.name) })
            }
            Some(blob) => raw_input(input, blob),
            None => typed_input(input),
        }
    };
    inputs.iter_mut().map(read).collect()
}

const REGION: &str = "shared_memory_region";
const OFFSET: &str = "shared_memory_offset";
const SIZE: &str = "shared_memory_byte_size";

/// Where in client shared memory a tensor lies, if it does.
fn place(parameters: &Parameters) -> Result<Option<Place>, InputFault> {
    if parameters.is_empty() {
        return Ok(None);
    }
    let value = |name| parameters.get(name).and_then(|found| found.parameter_choice.as_ref());
    match (value(REGION), value(SIZE)) {
        (None, None) => Ok(None),
        (Some(region), Some(size)) => {
            let region = text(REGION, region)?.to_owned();
            let offset = value(OFFSET).map_or(Ok(0), |offset| whole(OFFSET, offset))?;
            Ok(Some(Place { region, offset, size: whole(SIZE, size)? }))
        }
        _ => Err(InputFault::HalfAPlace),
    }
}

/// The same as parameters of an answer: `size` is what the tensor takes of the place.
fn shared_parameters(place: &Place, size: usize) -> Parameters {
    use ParameterChoice::{Int64Param, StringParam};
    let signed = |number: u64| Int64Param(number.cast_signed());
    let values = [
        (REGION, StringParam(place.region.clone())),
        (OFFSET, signed(place.offset)),
        (SIZE, signed(size as u64)),
    ];
    let parameter = |(name, value): (&str, ParameterChoice)| {
        (name.to_owned(), InferParameter { parameter_choice: Some(value) })
    };
    values.into_iter().map(parameter).collect()
}

fn raw_input(input: &InferInputTensor, blob: Bytes) -> Result<Named<'_>, InputFault> {
    let Head { dtype, shape, elements } = head(input)?;
    let name = input.name.as_str();
    let data = Claim { name, dtype, shape: &shape }.read(elements, blob)?;
    Ok(Named { name, tensor: Tensor { dtype, shape, data } })
}

fn typed_input(input: &mut InferInputTensor) -> Result<Named<'_>, InputFault> {
    let Head { dtype, shape, elements } = head(input)?;
    let contents = input.contents.take();
    let name = input.name.as_str();
    let Some(contents) = contents else {
        return Err(InputFault::NoData { tensor: excerpt(name) });
    };
    let (found, data) = typed::read(name, dtype, contents)?;
    if found as u64 != elements {
        let (tensor, shape) = (excerpt(name), shape_text(&shape));
        return Err(InputFault::ElementCount {
            tensor,
            shape,
            expected: elements,
            found: found as u64,
        });
    }
    Ok(Named { name, tensor: Tensor { dtype, shape, data } })
}

/// What a tensor says of itself besides its elements.
struct Head {
    dtype: DType,
    shape: Shape,
    /// The product of the shape.
    elements: u64,
}

fn head(input: &InferInputTensor) -> Result<Head, InputFault> {
    let tensor = || excerpt(&input.name);
    let dtype = DType::from_oip(&input.datatype).ok_or_else(|| InputFault::UnknownDatatype {
        tensor: tensor(),
        found: excerpt(&input.datatype),
    })?;
    if input.shape.len() > RANK_MAX {
        return Err(InputFault::RankTooHigh { tensor: tensor() });
    }
    let size = |size: &i64| u64::try_from(*size);
    let shape: Result<Shape, _> = input.shape.iter().map(size).collect();
    let shape = shape.map_err(|_| InputFault::NegativeSize { tensor: tensor() })?;
    let elements = elements(&shape)
        .ok_or_else(|| InputFault::ShapeTooLarge { tensor: tensor(), shape: shape_text(&shape) })?;
    Ok(Head { dtype, shape, elements })
}

/// The outputs a request asks for; none named: all of them.
pub fn choose(
    spec: &ModelSpec,
    outputs: &[InferRequestedOutputTensor],
) -> Result<Choice, InputFault> {
    if outputs.is_empty() {
        return answer::all(spec, true);
    }
    if outputs.len() > TENSORS_MAX {
        return Err(InputFault::TooManyTensors);
    }
    let mut chosen = Choice::new();
    for output in outputs {
        let next = choose_one(spec, output)?;
        if chosen.iter().any(|earlier| earlier.index == next.index) {
            return Err(InputFault::DuplicateTensor { tensor: excerpt(&output.name) });
        }
        chosen.push(next);
    }
    Ok(chosen)
}

fn choose_one(spec: &ModelSpec, output: &InferRequestedOutputTensor) -> Result<Chosen, InputFault> {
    let mut wanted = Wanted { binary: true, ..Wanted::default() };
    for (name, value) in &output.parameters {
        if let ("classification", Some(value)) = (name.as_str(), &value.parameter_choice) {
            wanted.classes = number("classification", value)?;
        }
    }
    wanted.place = place(&output.parameters)?.map(Box::new);
    wanted.binary = wanted.place.is_none();
    answer::one(spec, &output.name, wanted)
}

/// The answer as a message. `outputs` are in the order the model declares them.
pub fn answer(about: About<'_>, chosen: &[Chosen], outputs: &[Tensor]) -> ModelInferResponse {
    assert_eq!(outputs.len(), about.spec.outputs.len(), "the dispatcher checked the outputs");
    let described = chosen.iter().map(|choice| {
        let tensor = &outputs[choice.index];
        InferOutputTensor {
            name: about.spec.outputs[choice.index].name.clone(),
            datatype: tensor.dtype.oip_name().to_owned(),
            shape: tensor.shape.iter().map(|size| size.cast_signed()).collect(),
            parameters: choice.place.as_deref().map_or_else(Parameters::new, |place| {
                shared_parameters(place, binary_tensor::size_bytes(&tensor.data))
            }),
            ..InferOutputTensor::default()
        }
    });
    ModelInferResponse {
        model_name: about.model.to_owned(),
        model_version: about.version.to_string(),
        id: about.id.map(str::to_owned).unwrap_or_default(),
        parameters: Parameters::new(),
        outputs: described.collect(),
        raw_output_contents: chosen.iter().map(|choice| raw(choice, outputs)).collect(),
    }
}

/// Empty for an output that was put into shared memory.
fn raw(choice: &Chosen, outputs: &[Tensor]) -> Bytes {
    if choice.place.is_some() {
        return Bytes::new();
    }
    match &outputs[choice.index].data {
        TensorData::Fixed(bytes) => bytes.clone(),
        data @ TensorData::Variable { .. } => {
            let mut bytes = Vec::with_capacity(binary_tensor::size_bytes(data));
            binary_tensor::write(&mut bytes, data);
            bytes.into()
        }
    }
}

#[cfg(test)]
mod tests;
