//! A reply from checked outputs: laid out first, then copied into the slot once.

use crate::memory::copy_array;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use schemas::SchemaError;
use schemas::predict::{BatchHeader, Failure, FailureKind, HeaderWriter};
use schemas::tensor::{DType, Layout, Placement, Shape, TensorSpec};
use shm_rpc::container_side::{ContainerSide, Request};

/// Why a reply can't be written.
pub(crate) enum NoReply {
    /// The batch fails with this.
    Failure(Failure),
    /// Our bug, or the interpreter's.
    Error(PyErr),
}

impl From<PyErr> for NoReply {
    fn from(error: PyErr) -> NoReply {
        NoReply::Error(error)
    }
}

enum Values {
    Array(PyUntypedBuffer),
    Texts { table: Vec<u8>, values: Vec<u8> },
}

/// Lays outputs out; `placements` is replaced. Returns what to copy and the size of the reply.
struct Plan {
    values: smallvec::SmallVec<[Values; 4]>,
    total_bytes: u32,
}

/// Writes header and tensors; returns the bytes of the header and of the whole.
pub(crate) fn write_reply(
    (side, request): (&mut ContainerSide, &Request),
    (specs, ready): (&[TensorSpec], &Bound<'_, PyList>),
    header: &mut BatchHeader,
    writer: &mut HeaderWriter,
) -> Result<(u32, u32), NoReply> {
    let plan = lay_out(specs, ready, &mut header.tensors)?;
    let slot_bytes = side.config().reply_slot_bytes;
    if plan.total_bytes > slot_bytes {
        return Err(too_large(plan.total_bytes.into(), slot_bytes));
    }
    let head = writer.reply(header).map_err(error)?;
    side.write_reply(request, 0, head).map_err(error)?;
    let header_bytes = head.len() as u32;
    for (values, placement) in plan.values.iter().zip(&header.tensors) {
        match values {
            Values::Array(array) => copy_array(side, request, placement.offset, array),
            Values::Texts { table, values } => {
                side.write_reply(request, placement.offsets_at, table).map_err(error)?;
                side.write_reply(request, placement.offset, values).map_err(error)?;
            }
        }
    }
    Ok((header_bytes, plan.total_bytes))
}

fn lay_out(
    specs: &[TensorSpec],
    ready: &Bound<'_, PyList>,
    placements: &mut Vec<Placement>,
) -> Result<Plan, NoReply> {
    assert_eq!(specs.len(), ready.len(), "outputs are converted in their declared number");
    let mut layout = Layout::new();
    let mut values = smallvec::SmallVec::new();
    placements.clear();
    for (spec, output) in specs.iter().zip(ready.iter()) {
        let (shape, data): (Bound<'_, PyTuple>, Bound<'_, PyAny>) = output.extract()?;
        let shape = shape.iter().map(|dim| dim.extract()).collect::<PyResult<Shape>>()?;
        let value = match spec.dtype.size_bytes() {
            Some(_) => Values::Array(PyUntypedBuffer::get(&data)?),
            None => texts(spec, data.cast::<PyList>().map_err(PyErr::from)?)?,
        };
        placements.push(place(&mut layout, spec.dtype, shape, &value).map_err(overflow)?);
        values.push(value);
    }
    Ok(Plan { values, total_bytes: layout.total_bytes() })
}

fn place(
    layout: &mut Layout,
    dtype: DType,
    shape: Shape,
    values: &Values,
) -> Result<Placement, SchemaError> {
    match values {
        Values::Array(array) => {
            let placement = layout.fixed(dtype, shape)?;
            assert_eq!(placement.len as usize, array.len_bytes(), "shape and array agree");
            Ok(placement)
        }
        Values::Texts { values, .. } => {
            let values_bytes =
                u32::try_from(values.len()).map_err(|_| SchemaError::SlotOverflow)?;
            layout.variable(dtype, shape, values_bytes)
        }
    }
}

/// A table of offsets, and the elements one after the other.
fn texts(spec: &TensorSpec, items: &Bound<'_, PyList>) -> Result<Values, NoReply> {
    let (mut table, mut values) = (0u32.to_le_bytes().to_vec(), Vec::new());
    for item in items.iter() {
        append(spec, &item, &mut values)?;
        let end = u32::try_from(values.len()).map_err(|_| overflow(SchemaError::SlotOverflow))?;
        table.extend_from_slice(&end.to_le_bytes());
    }
    Ok(Values::Texts { table, values })
}

fn append(spec: &TensorSpec, item: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> Result<(), NoReply> {
    if spec.dtype == DType::Bytes {
        let bytes = item.cast::<PyBytes>().map_err(|_| wrong_element(spec, item))?;
        into.extend_from_slice(bytes.as_bytes());
        return Ok(());
    }
    let text = item.cast::<PyString>().map_err(|_| wrong_element(spec, item))?;
    // A lone surrogate is no text that could be sent.
    let text = text.to_cow().map_err(|_| wrong_element(spec, item))?;
    into.extend_from_slice(text.as_bytes());
    Ok(())
}

fn wrong_element(spec: &TensorSpec, item: &Bound<'_, PyAny>) -> NoReply {
    let found = item.get_type().name().map_or_else(|_| "object".into(), |it| it.to_string());
    let (name, dtype) = (&spec.name, spec.dtype.name());
    let message = format!("output '{name}' holds a {found} that can't be sent, expected {dtype}");
    NoReply::Failure(Failure { kind: FailureKind::BadOutput, message, row: None })
}

fn overflow(_: SchemaError) -> NoReply {
    too_large(u64::from(u32::MAX) + 1, u32::MAX)
}

fn too_large(bytes: u64, slot_bytes: u32) -> NoReply {
    let message = format!(
        "the outputs need {bytes} bytes and the reply slot holds {slot_bytes}: return less, or \
         lower max_batch"
    );
    NoReply::Failure(Failure { kind: FailureKind::OutputTooLarge, message, row: None })
}

fn error(error: impl std::fmt::Display) -> NoReply {
    NoReply::Error(PyRuntimeError::new_err(error.to_string()))
}
