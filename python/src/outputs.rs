//! A reply from checked outputs: laid out first, then copied into the slot once, unless they were written there.

use crate::memory::{Region, copy_array};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use schemas::SchemaError;
use schemas::predict::{BatchHeader, Failure, FailureKind, HeaderWriter};
use schemas::tensor::{DType, Layout, Placement, Shape, TensorSpec};
use shm_rpc::container_side::{ContainerSide, Request};
use std::collections::HashMap;
use std::sync::Arc;

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

/// The part of a reply slot that was shown to the model before it answered.
#[derive(Default)]
pub(crate) struct Room {
    pub(crate) layout: Layout,
    /// By output, where its array lies.
    pub(crate) views: HashMap<usize, Placement>,
    pub(crate) region: Option<Arc<Region>>,
}

impl Room {
    /// Makes room for one output of numbers. `ValueError` when it can't be.
    pub(crate) fn place(
        &mut self,
        index: usize,
        spec: &TensorSpec,
        shape: Shape,
        slot_bytes: u32,
    ) -> PyResult<()> {
        let name = &spec.name;
        if spec.dtype.size_bytes().is_none() {
            let message =
                format!("output '{name}' holds texts: return them, there is no array to fill");
            return Err(PyValueError::new_err(message));
        }
        if self.views.contains_key(&index) {
            let message = format!("output '{name}' has its array already: keep the first");
            return Err(PyValueError::new_err(message));
        }
        let mut layout = self.layout.clone();
        let placement = layout.fixed(spec.dtype, shape).ok();
        let fits = placement.filter(|_| layout.total_bytes() <= slot_bytes);
        let placement = fits.ok_or_else(|| {
            PyValueError::new_err(format!(
                "output '{name}' does not fit the reply slot of {slot_bytes} bytes: {SMALLER}"
            ))
        })?;
        self.layout = layout;
        self.views.insert(index, placement);
        Ok(())
    }

    /// Where an array of numbers goes, and what is to be copied there. An output that was shown has
    /// its place, whatever array the model returned for it.
    fn settle(
        &mut self,
        index: usize,
        dtype: DType,
        shape: Shape,
        data: &Bound<'_, PyAny>,
    ) -> Result<(Placement, Values), NoReply> {
        let array = PyUntypedBuffer::get(data)?;
        let shown = self.views.get(&index).filter(|it| it.shape == shape).cloned();
        let region = self.region.as_ref();
        let in_one_piece = array.is_c_contiguous();
        let placement = match shown {
            Some(placement)
                if in_one_piece && region.is_some_and(|it| it.holds(&array, placement.offset)) =>
            {
                return Ok((placement, Values::Shown));
            }
            Some(placement) => placement,
            None => self.layout.fixed(dtype, shape).map_err(overflow)?,
        };
        // Rows that are not in one piece are brought into one. Another output may be written where this one lies: it
        // moves out before anything is copied.
        let moves = !in_one_piece || region.is_some_and(|it| it.overlaps(&array));
        let array = match moves {
            true => PyUntypedBuffer::get(&data.call_method0("copy")?)?,
            false => array,
        };
        assert_eq!(placement.len as usize, array.len_bytes(), "shape and array agree");
        Ok((placement, Values::Array(array)))
    }
}

/// What to do about outputs that are too large.
const SMALLER: &str = "lower max_batch, or raise limits.variable_slot_bytes (where a dimension is \
                       variable) or limits.slot_bytes_max";

enum Values {
    /// Written in place.
    Shown,
    Array(PyUntypedBuffer),
    Texts {
        table: Vec<u8>,
        values: Vec<u8>,
    },
}

/// Lays outputs out; `placements` is replaced. Returns what to copy and the size of the reply.
struct Plan {
    values: smallvec::SmallVec<[Values; 4]>,
    total_bytes: u32,
}

/// Writes header and tensors; returns the bytes of the header and of the whole.
pub(crate) fn write_reply(
    (side, request): (&mut ContainerSide, &Request),
    (specs, ready, room): (&[TensorSpec], &Bound<'_, PyList>, &mut Room),
    header: &mut BatchHeader,
    writer: &mut HeaderWriter,
) -> Result<(u32, u32), NoReply> {
    let plan = lay_out(specs, ready, room, &mut header.tensors)?;
    let slot_bytes = side.config().reply_slot_bytes;
    if plan.total_bytes > slot_bytes {
        return Err(too_large(plan.total_bytes.into(), slot_bytes));
    }
    let head = writer.reply(header).map_err(error)?;
    side.write_reply(request, 0, head).map_err(error)?;
    let header_bytes = head.len() as u32;
    for (values, placement) in plan.values.iter().zip(&header.tensors) {
        match values {
            Values::Shown => {}
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
    room: &mut Room,
    placements: &mut Vec<Placement>,
) -> Result<Plan, NoReply> {
    assert_eq!(specs.len(), ready.len(), "outputs are converted in their declared number");
    let mut values = smallvec::SmallVec::new();
    placements.clear();
    for (index, (spec, output)) in specs.iter().zip(ready.iter()).enumerate() {
        let (shape, data): (Bound<'_, PyTuple>, Bound<'_, PyAny>) = output.extract()?;
        let shape = shape.iter().map(|dim| dim.extract()).collect::<PyResult<Shape>>()?;
        let (placement, value) = match spec.dtype.size_bytes() {
            Some(_) => room.settle(index, spec.dtype, shape, &data)?,
            None => {
                let (table, bytes) = texts(spec, data.cast::<PyList>().map_err(PyErr::from)?)?;
                let len = u32::try_from(bytes.len()).map_err(|_| SchemaError::SlotOverflow);
                let placement = len.and_then(|len| room.layout.variable(spec.dtype, shape, len));
                (placement.map_err(overflow)?, Values::Texts { table, values: bytes })
            }
        };
        placements.push(placement);
        values.push(value);
    }
    Ok(Plan { values, total_bytes: room.layout.total_bytes() })
}

/// A table of offsets, and the elements one after the other.
fn texts(spec: &TensorSpec, items: &Bound<'_, PyList>) -> Result<(Vec<u8>, Vec<u8>), NoReply> {
    let (mut table, mut values) = (0u32.to_le_bytes().to_vec(), Vec::new());
    for item in items.iter() {
        append(spec, &item, &mut values)?;
        let end = u32::try_from(values.len()).map_err(|_| overflow(SchemaError::SlotOverflow))?;
        table.extend_from_slice(&end.to_le_bytes());
    }
    Ok((table, values))
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
    let message =
        format!("the outputs need {bytes} bytes and the reply slot holds {slot_bytes}: {SMALLER}");
    NoReply::Failure(Failure { kind: FailureKind::OutputTooLarge, message, row: None })
}

fn error(error: impl std::fmt::Display) -> NoReply {
    NoReply::Error(PyRuntimeError::new_err(error.to_string()))
}
