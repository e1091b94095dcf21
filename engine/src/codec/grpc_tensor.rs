//! Messages of the Open Inference Protocol over gRPC: what they ask of a model, and what a model answered as a message.
//!
//! Elements come raw or typed, never both. Raw ones of a fixed datatype stay slices of the message, with no copy.
//! Answers are always raw, an entry for each output, since clients index that list without looking.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use schemas::inference::infer_parameter::ParameterChoice;
use schemas::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use schemas::inference::model_infer_response::InferOutputTensor;
use schemas::inference::{InferParameter, ModelInferResponse};
use schemas::lifecycle::ModelSpec;
use schemas::tensor::{DType, RANK_MAX, Shape, TENSORS_MAX, elements};
use smallvec::SmallVec;

use crate::codec::answer::{self, About, Choice, Chosen};
use crate::codec::binary_tensor::{self, Claim};
use crate::codec::bind::Named;
use crate::codec::fault::{InputFault, excerpt, shape_text};
use crate::query::types::{Tensor, TensorData};

mod typed;

pub type Parameters = BTreeMap<String, InferParameter>;

/// The parameters of a request that mean something here.
#[derive(Debug, Default, PartialEq)]
pub struct Asked<'p> {
    /// Absent when 0.
    pub timeout: Option<Duration>,
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
            "priority" => drop(whole("priority", value)?),
            "sequence_id" | "sequence_start" | "sequence_end" => refuse_sequence(value)?,
            _ => {}
        }
    }
    Ok(asked)
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

/// The tensors of a request by name, each with its elements. Whether the model wants them is not asked here.
pub fn inputs(
    inputs: &mut [InferInputTensor],
    raw: Vec<Bytes>,
) -> Result<SmallVec<[Named<'_>; 1]>, InputFault> {
    if inputs.is_empty() {
        return Err(InputFault::NoInputs);
    }
    if inputs.len() > TENSORS_MAX {
        return Err(InputFault::TooManyTensors);
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
    if input.parameters.contains_key("shared_memory_region") {
        return Err(NO_SHARED_MEMORY);
    }
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

const NO_SHARED_MEMORY: InputFault = InputFault::NotOffered {
    what: "shared_memory_region",
    instead: "send the tensor in the request",
};

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
        if chosen.contains(&next) {
            return Err(InputFault::DuplicateTensor { tensor: excerpt(&output.name) });
        }
        chosen.push(next);
    }
    Ok(chosen)
}

fn choose_one(spec: &ModelSpec, output: &InferRequestedOutputTensor) -> Result<Chosen, InputFault> {
    for (name, value) in &output.parameters {
        match (name.as_str(), &value.parameter_choice) {
            ("classification", Some(value)) if whole("classification", value)? > 0 => {
                return Err(InputFault::NotOffered {
                    what: "classification",
                    instead: "ask for the scores and take the largest",
                });
            }
            ("shared_memory_region", _) => return Err(NO_SHARED_MEMORY),
            _ => {}
        }
    }
    answer::one(spec, &output.name, true, None)
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
            ..InferOutputTensor::default()
        }
    });
    ModelInferResponse {
        model_name: about.model.to_owned(),
        model_version: about.version.to_string(),
        id: about.id.map(str::to_owned).unwrap_or_default(),
        parameters: Parameters::new(),
        outputs: described.collect(),
        raw_output_contents: chosen.iter().map(|choice| raw(&outputs[choice.index])).collect(),
    }
}

fn raw(tensor: &Tensor) -> Bytes {
    match &tensor.data {
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
