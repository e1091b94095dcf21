//! A model's outputs as the body of an answer: JSON, and behind it the tensors asked for in binary.

use std::num::NonZeroU32;

use schemas::lifecycle::ModelSpec;
use smallvec::SmallVec;

use crate::client_shm::region::Place;
use crate::codec::binary_tensor;
use crate::codec::bind::names;
use crate::codec::classify::can_be_classified;
use crate::codec::fault::{InputFault, excerpt};
use crate::codec::json_tensor::write::{self, NoJson, has_json_form};
use crate::codec::json_tensor::{InferRequest, RequestOutput};
use crate::ids::Version;
use crate::query::types::Tensor;

/// A number of an answer takes about as much; more only costs a second allocation.
const JSON_BYTES_PER_ELEMENT: usize = 12;
/// Names, keys and brackets around one output.
const JSON_BYTES_PER_OUTPUT: usize = 128;

/// Which output goes where in the answer, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Position among the model's declared outputs.
    pub index: usize,
    pub binary: bool,
    /// So many of its largest scores, as text, in place of the tensor.
    pub classes: Option<NonZeroU32>,
    /// In client shared memory; the answer then has no data. Never with `binary`.
    pub place: Option<Box<Place>>,
}

/// Those of one answer.
pub type Choice = SmallVec<[Chosen; 2]>;

/// What an answer says besides its tensors.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub spec: &'a ModelSpec,
    pub model: &'a str,
    pub version: Version,
    pub id: Option<&'a str>,
}

/// A body, and how much of it is JSON where tensors follow.
#[derive(Debug)]
pub struct Encoded {
    pub body: Vec<u8>,
    pub json_bytes: Option<usize>,
}

/// The outputs a request asks for, refused before the model runs where they can't be given.
pub fn choose(spec: &ModelSpec, request: &InferRequest<'_>) -> Result<Choice, InputFault> {
    if request.outputs.is_empty() {
        return all(spec, request.binary_output);
    }
    request.outputs.iter().map(|asked| asked_for(spec, asked, request.binary_output)).collect()
}

/// Every output, in the order the model declares them.
pub fn all(spec: &ModelSpec, binary: bool) -> Result<Choice, InputFault> {
    (0..spec.outputs.len())
        .map(|index| checked(spec, Chosen { index, binary, place: None, classes: None }))
        .collect()
}

fn asked_for(
    spec: &ModelSpec,
    asked: &RequestOutput<'_>,
    binary_default: bool,
) -> Result<Chosen, InputFault> {
    let binary = asked.place.is_none() && asked.binary.unwrap_or(binary_default);
    let wanted = Wanted { binary, place: asked.place.clone(), classes: asked.classes };
    one(spec, &asked.name, wanted)
}

/// How an output is asked for.
#[derive(Debug, Default)]
pub struct Wanted {
    pub binary: bool,
    pub place: Option<Box<Place>>,
    pub classes: Option<NonZeroU32>,
}

/// The output of this name.
pub fn one(spec: &ModelSpec, name: &str, wanted: Wanted) -> Result<Chosen, InputFault> {
    let Wanted { binary, place, classes } = wanted;
    let position = spec.outputs.iter().position(|output| output.name == name);
    let index = position.ok_or_else(|| InputFault::UnknownOutput {
        tensor: excerpt(name),
        known: names(&spec.outputs),
    })?;
    checked(spec, Chosen { index, binary, place, classes })
}

fn checked(spec: &ModelSpec, chosen: Chosen) -> Result<Chosen, InputFault> {
    let output = &spec.outputs[chosen.index];
    if chosen.classes.is_some() {
        return if can_be_classified(output.dtype) {
            Ok(chosen)
        } else {
            let (tensor, dtype) = (output.name.clone(), output.dtype);
            Err(InputFault::NotClassified { tensor, dtype })
        };
    }
    if chosen.binary || chosen.place.is_some() || has_json_form(output.dtype) {
        return Ok(chosen);
    }
    Err(InputFault::OutputNotInJson { tensor: output.name.clone(), dtype: output.dtype })
}

/// Writes the answer. `outputs` are in the order the model declares them.
pub fn encode(
    about: About<'_>,
    chosen: &[Chosen],
    outputs: &[Tensor],
) -> Result<Encoded, InputFault> {
    assert_eq!(outputs.len(), about.spec.outputs.len(), "the dispatcher checked the outputs");
    let mut body = Vec::with_capacity(capacity(chosen, outputs));
    preamble(&mut body, about);
    for (position, choice) in chosen.iter().enumerate() {
        if position > 0 {
            body.push(b',');
        }
        output(&mut body, about.spec, choice, &outputs[choice.index])?;
    }
    body.extend_from_slice(b"]}");
    let json_bytes = chosen.iter().any(|choice| choice.binary).then_some(body.len());
    for choice in chosen.iter().filter(|choice| choice.binary) {
        binary_tensor::write(&mut body, &outputs[choice.index].data);
    }
    Ok(Encoded { body, json_bytes })
}

fn capacity(chosen: &[Chosen], outputs: &[Tensor]) -> usize {
    let one = |choice: &Chosen| {
        let tensor = &outputs[choice.index];
        let size = tensor.dtype.size_bytes().unwrap_or(1);
        let stored = binary_tensor::size_bytes(&tensor.data);
        let values = if choice.place.is_some() {
            0
        } else if choice.binary {
            stored
        } else {
            stored / size * JSON_BYTES_PER_ELEMENT
        };
        JSON_BYTES_PER_OUTPUT + values
    };
    JSON_BYTES_PER_OUTPUT + chosen.iter().map(one).sum::<usize>()
}

fn preamble(out: &mut Vec<u8>, about: About<'_>) {
    out.extend_from_slice(b"{\"model_name\":");
    write::scalar(out, about.model);
    out.extend_from_slice(b",\"model_version\":\"");
    write::scalar(out, &about.version.0);
    out.push(b'"');
    if let Some(id) = about.id {
        out.extend_from_slice(b",\"id\":");
        write::scalar(out, id);
    }
    out.extend_from_slice(b",\"outputs\":[");
}

fn output(
    out: &mut Vec<u8>,
    spec: &ModelSpec,
    choice: &Chosen,
    tensor: &Tensor,
) -> Result<(), InputFault> {
    let name = &spec.outputs[choice.index].name;
    out.extend_from_slice(b"{\"name\":");
    write::scalar(out, name.as_str());
    out.extend_from_slice(b",\"datatype\":\"");
    out.extend_from_slice(tensor.dtype.oip_name().as_bytes());
    out.extend_from_slice(b"\",\"shape\":");
    write::scalar(out, tensor.shape.as_slice());
    if choice.binary {
        out.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
        write::scalar(out, &binary_tensor::size_bytes(&tensor.data));
        out.extend_from_slice(b"}}");
        return Ok(());
    }
    if choice.place.is_some() {
        // Its client knows where. Parameters that name no binary_data_size would be an error to NVIDIA's C++ client.
        out.push(b'}');
        return Ok(());
    }
    out.extend_from_slice(b",\"data\":");
    write::data(out, tensor).map_err(|why| match why {
        NoJson::Datatype => {
            InputFault::OutputNotInJson { tensor: name.clone(), dtype: tensor.dtype }
        }
        NoJson::NotUtf8 => InputFault::OutputNotUtf8 { tensor: name.clone() },
    })?;
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests;
