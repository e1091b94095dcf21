//! The binary tensor extension: JSON first, then the tensors' bytes back to back, in the order of the JSON.
//!
//! Fixed datatypes stay slices of the body, with no copy; BYTES lose their length prefixes. The header that tells
//! the JSON's length is believed only as far as the body bears it out, and is no proof that bytes follow.

use bytes::Bytes;
use schemas::lifecycle::ModelSpec;
use schemas::tensor::{DType, Dim, Shape, TensorSpec};

use crate::codec::fault::{InputFault, excerpt, shape_text};
use crate::codec::json_tensor::{InputData, RequestInput};
use crate::query::types::{Tensor, TensorData};

/// Bytes of the length before each BYTES element.
const PREFIX_BYTES: usize = 4;

/// How a body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON alone.
    Json,
    /// `json_bytes` of JSON; what follows belongs to tensors that say so.
    JsonThenBytes { json_bytes: usize },
    /// The one tensor of the model and nothing else.
    Raw,
}

/// Reads `Inference-Header-Content-Length`, where there is one, against the body's length.
pub fn form(header: Option<&[u8]>, body_bytes: usize) -> Result<Form, InputFault> {
    let Some(header) = header else { return Ok(Form::Json) };
    let digits = !header.is_empty() && header.iter().all(u8::is_ascii_digit);
    if !digits {
        return Err(InputFault::HeaderLengthFormat);
    }
    let length = header.iter().fold(0u64, |length, digit| {
        length.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    match usize::try_from(length) {
        Ok(0) => Ok(Form::Raw),
        Ok(json_bytes) if json_bytes <= body_bytes => Ok(Form::JsonThenBytes { json_bytes }),
        _ => Err(InputFault::HeaderLength { header: length, body: body_bytes as u64 }),
    }
}

/// Gives every input that lies behind the JSON its bytes. `behind` is `None` when the body is JSON alone.
pub fn attach(inputs: &mut [RequestInput<'_>], behind: Option<Bytes>) -> Result<(), InputFault> {
    let extended = behind.is_some();
    let mut behind = behind.unwrap_or_default();
    for input in inputs {
        let InputData::Behind { size } = input.data else { continue };
        if !extended {
            return Err(InputFault::NoHeaderLength { tensor: excerpt(&input.name) });
        }
        if size > behind.len() as u64 {
            let (tensor, left) = (excerpt(&input.name), behind.len() as u64);
            return Err(InputFault::BinaryShort { tensor, wanted: size, left });
        }
        let blob = behind.split_to(size as usize);
        input.data = InputData::Here(read(input, blob)?);
    }
    match behind.len() as u64 {
        0 => Ok(()),
        left => Err(InputFault::Leftover { left }),
    }
}

/// Bytes that are said to be this input.
pub fn read(input: &RequestInput<'_>, blob: Bytes) -> Result<TensorData, InputFault> {
    let claim = Claim { name: &input.name, dtype: input.dtype, shape: &input.shape };
    claim.read(input.elements, blob)
}

/// Raw mode: the body is one row of the model's only input.
pub fn raw(spec: &ModelSpec, body: Bytes) -> Result<Tensor, InputFault> {
    let [input] = spec.inputs.as_slice() else {
        return Err(InputFault::RawMode {
            reason: "it has more than one input; send the JSON too",
        });
    };
    let (shape, elements) = raw_shape(input, body.len())?;
    let data = match input.dtype.size_bytes() {
        Some(_) => {
            let claim = Claim { name: &input.name, dtype: input.dtype, shape: &shape };
            claim.read(elements, body)?
        }
        None => whole_element(body)?,
    };
    Ok(Tensor { dtype: input.dtype, shape, data })
}

/// One BYTES element without a length before it: a picture's file, say.
fn whole_element(body: Bytes) -> Result<TensorData, InputFault> {
    let end = u32::try_from(body.len());
    let end = end.map_err(|_| InputFault::RawMode { reason: "an element ends at 4 GiB" })?;
    Ok(TensorData::Variable { offsets: [0, end].into(), values: body })
}

/// The declared shape with one row, its variable dimension taken from the body's length.
fn raw_shape(input: &TensorSpec, body_bytes: usize) -> Result<(Shape, u64), InputFault> {
    let refuse = |reason| Err(InputFault::RawMode { reason });
    let known: Option<u64> = input.dims.iter().try_fold(1u64, |product, dim| match dim {
        Dim::Fixed(size) => product.checked_mul(*size),
        Dim::Batch | Dim::Variable => Some(product),
    });
    let variable = input.dims.iter().filter(|dim| **dim == Dim::Variable).count();
    let Some(known) = known else { return refuse("its declared shape is too large") };
    let rest = match (input.dtype.size_bytes(), variable) {
        (None, 0) if known == 1 => 1,
        (None, _) => return refuse("raw BYTES need the declared shape [1]; send the JSON too"),
        (Some(_), 0) => 1,
        (Some(size), 1) => {
            (body_bytes as u64).checked_div(known.saturating_mul(size as u64)).unwrap_or(0)
        }
        (Some(_), _) => {
            return refuse("it has more than one variable dimension; send the JSON too");
        }
    };
    let size = |dim: &Dim| match dim {
        Dim::Batch => 1,
        Dim::Fixed(size) => *size,
        Dim::Variable => rest,
    };
    Ok((input.dims.iter().map(size).collect(), known.saturating_mul(rest)))
}

/// What bytes are said to be.
pub struct Claim<'c> {
    pub name: &'c str,
    pub dtype: DType,
    pub shape: &'c Shape,
}

impl Claim<'_> {
    /// `blob` as a tensor of this shape, whose product is `elements`.
    pub fn read(&self, elements: u64, blob: Bytes) -> Result<TensorData, InputFault> {
        let Some(size) = self.dtype.size_bytes() else { return self.variable(elements, &blob) };
        let expected = elements.saturating_mul(size as u64);
        if expected != blob.len() as u64 {
            return Err(self.size_fault(expected, blob.len()));
        }
        let bad = |byte: &u8| *byte > 1;
        match (self.dtype == DType::Bool).then(|| blob.iter().position(bad)).flatten() {
            Some(at) => {
                Err(InputFault::NotBool { tensor: excerpt(self.name), at, found: blob[at] })
            }
            None => Ok(TensorData::Fixed(blob)),
        }
    }

    fn size_fault(&self, expected: u64, found: usize) -> InputFault {
        let (tensor, shape) = (excerpt(self.name), shape_text(self.shape));
        InputFault::BinarySize { tensor, shape, expected, found: found as u64 }
    }

    /// BYTES: each element has its length before it.
    fn variable(&self, elements: u64, blob: &[u8]) -> Result<TensorData, InputFault> {
        // Every element takes at least its prefix, so memory is bounded by the body.
        let prefixes = elements.saturating_mul(PREFIX_BYTES as u64);
        if prefixes > blob.len() as u64 {
            return Err(self.size_fault(prefixes, blob.len()));
        }
        let mut offsets = Vec::with_capacity(elements as usize + 1);
        let mut values = Vec::with_capacity(blob.len() - prefixes as usize);
        let mut rest = blob;
        offsets.push(0);
        for index in 0..elements {
            let outside = || InputFault::BytesElement { tensor: excerpt(self.name), index };
            let (prefix, after) = rest.split_first_chunk::<PREFIX_BYTES>().ok_or_else(outside)?;
            let length = u32::from_le_bytes(*prefix) as usize;
            let (element, after) = after.split_at_checked(length).ok_or_else(outside)?;
            values.extend_from_slice(element);
            offsets.push(u32::try_from(values.len()).map_err(|_| outside())?);
            rest = after;
        }
        match rest.len() {
            0 => Ok(TensorData::Variable { offsets: offsets.into(), values: values.into() }),
            left => Err(self.size_fault((blob.len() - left) as u64, blob.len())),
        }
    }
}

/// Bytes a tensor takes behind the JSON of an answer.
pub fn size_bytes(data: &TensorData) -> usize {
    match data {
        TensorData::Fixed(data) => data.len(),
        TensorData::Variable { offsets, .. } => {
            let values = offsets.last().unwrap_or(&0) - offsets.first().unwrap_or(&0);
            values as usize + offsets.len().saturating_sub(1) * PREFIX_BYTES
        }
    }
}

/// Appends exactly [`size_bytes`] of it.
pub fn write(out: &mut Vec<u8>, data: &TensorData) {
    match data {
        TensorData::Fixed(data) => out.extend_from_slice(data),
        TensorData::Variable { offsets, values } => {
            for ends in offsets.windows(2) {
                out.extend_from_slice(&(ends[1] - ends[0]).to_le_bytes());
                out.extend_from_slice(&values[ends[0] as usize..ends[1] as usize]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
