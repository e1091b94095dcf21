//! A request as NumPy arrays: numbers as views over the slot, texts as arrays of objects. And room for outputs of
//! numbers, as views over the reply slot.

use crate::memory::{BatchMemory, Region};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySlice, PyString, PyTuple};
use schemas::predict::{BatchHeader, Failure, FailureKind};
use schemas::tensor::{DType, Placement, TensorSpec, check_offsets, elements};
use shm_rpc::container_side::{ContainerSide, Request};
use std::sync::Arc;

/// Bytes of one entry of a text tensor's table of offsets.
const OFFSET_BYTES: usize = 4;

/// What a request became.
pub(crate) enum Inputs<'py> {
    Arrays(Bound<'py, PyTuple>),
    /// The caller sent what the declaration rules out.
    Refused(Failure),
}

/// Makes arrays of the declared inputs; everything that can be looked up once is.
pub(crate) struct ArrayMaker {
    inputs: Vec<Input>,
    outputs: Vec<Input>,
    ndarray: Py<PyAny>,
    empty: Py<PyAny>,
    object: Py<PyAny>,
}

/// One declared tensor.
struct Input {
    name: String,
    dtype: DType,
    numpy: Py<PyAny>,
}

impl ArrayMaker {
    pub(crate) fn new(
        py: Python<'_>,
        inputs: &[TensorSpec],
        outputs: &[TensorSpec],
    ) -> PyResult<ArrayMaker> {
        let numpy = py.import("numpy")?;
        let dtype_of = numpy.getattr("dtype")?;
        let input = |spec: &TensorSpec| -> PyResult<Input> {
            let numpy = dtype_of.call1((numpy_code(spec.dtype),))?.unbind();
            Ok(Input { name: spec.name.clone(), dtype: spec.dtype, numpy })
        };
        Ok(ArrayMaker {
            inputs: inputs.iter().map(input).collect::<PyResult<_>>()?,
            outputs: outputs.iter().map(input).collect::<PyResult<_>>()?,
            ndarray: numpy.getattr("ndarray")?.unbind(),
            empty: numpy.getattr("empty")?.unbind(),
            object: dtype_of.call1(("O",))?.unbind(),
        })
    }

    /// The inputs in their declared order. An error means that the engine broke the protocol.
    pub(crate) fn arrays<'py>(
        &self,
        py: Python<'py>,
        from: (&ContainerSide, &Request),
        (header, region): (&BatchHeader, &Arc<Region>),
    ) -> PyResult<Inputs<'py>> {
        if header.tensors.len() != self.inputs.len() {
            return Err(broken("a request with another number of inputs than declared"));
        }
        let memory = Bound::new(py, BatchMemory::new(region))?;
        let mut arrays = smallvec::SmallVec::<[Bound<'py, PyAny>; 4]>::new();
        for (input, placement) in self.inputs.iter().zip(&header.tensors) {
            check(input, placement, from.1.total_bytes)?;
            if placement.dtype.size_bytes().is_some() {
                arrays.push(self.view(&memory, input, placement)?);
                continue;
            }
            match texts(py, from, input, placement, header.rows)? {
                Ok(items) => arrays.push(self.objects(py, items, placement)?),
                Err(failure) => return Ok(Inputs::Refused(failure)),
            }
        }
        Ok(Inputs::Arrays(PyTuple::new(py, arrays)?))
    }

    /// An array over the part of the reply slot where output `index` was placed.
    pub(crate) fn output<'py>(
        &self,
        py: Python<'py>,
        index: usize,
        placement: &Placement,
        region: &Arc<Region>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let memory = Bound::new(py, BatchMemory::new(region))?;
        self.view(&memory, &self.outputs[index], placement)
    }

    /// `numpy.ndarray(shape, dtype, memory, offset)`: no copy, and `memory` as its base.
    fn view<'py>(
        &self,
        memory: &Bound<'py, BatchMemory>,
        input: &Input,
        placement: &Placement,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = memory.py();
        let shape = PyTuple::new(py, placement.shape.iter().copied())?;
        self.ndarray.bind(py).call1((shape, input.numpy.bind(py), memory, placement.offset))
    }

    fn objects<'py>(
        &self,
        py: Python<'py>,
        items: Bound<'py, PyList>,
        placement: &Placement,
    ) -> PyResult<Bound<'py, PyAny>> {
        let array = self.empty.bind(py).call1((items.len(), self.object.bind(py)))?;
        array.set_item(PySlice::full(py), items)?;
        let shape = PyTuple::new(py, placement.shape.iter().copied())?;
        array.call_method1("reshape", (shape,))
    }
}

/// The elements of a text tensor, copied out of the slot.
fn texts<'py>(
    py: Python<'py>,
    (side, request): (&ContainerSide, &Request),
    input: &Input,
    placement: &Placement,
    rows: u32,
) -> PyResult<Result<Bound<'py, PyList>, Failure>> {
    let count = elements(&placement.shape).ok_or_else(|| broken("a shape without a size"))?;
    let mut table = vec![0; (count as usize + 1) * OFFSET_BYTES];
    let mut values = vec![0; placement.len as usize];
    side.read(request, placement.offsets_at, &mut table).map_err(broken)?;
    side.read(request, placement.offset, &mut values).map_err(broken)?;
    let offsets = check_offsets(&table, count, placement.len).map_err(broken)?;
    let items = PyList::empty(py);
    for (at, pair) in offsets.windows(2).enumerate() {
        let bytes = &values[pair[0] as usize..pair[1] as usize];
        if input.dtype == DType::Bytes {
            items.append(PyBytes::new(py, bytes))?;
            continue;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => items.append(PyString::new(py, text))?,
            Err(_) => return Ok(Err(not_utf8(input, at as u64 * u64::from(rows) / count))),
        }
    }
    Ok(Ok(items))
}

fn not_utf8(input: &Input, row: u64) -> Failure {
    let message = format!("input '{}' holds bytes that are not UTF-8: send text", input.name);
    Failure { kind: FailureKind::InputRefused, message, row: u32::try_from(row).ok() }
}

fn check(input: &Input, placement: &Placement, total_bytes: u32) -> PyResult<()> {
    // Texts of either kind are one datatype to clients; the declaration says which it is here.
    let both_texts = input.dtype.size_bytes().is_none() && placement.dtype.size_bytes().is_none();
    if placement.dtype != input.dtype && !both_texts {
        return Err(broken("a request with another datatype than declared"));
    }
    placement.check(total_bytes).map_err(broken)
}

fn broken(what: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err(format!("the engine broke the protocol: {what}"))
}

fn numpy_code(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "?",
        DType::U8 => "u1",
        DType::U16 => "u2",
        DType::U32 => "u4",
        DType::U64 => "u8",
        DType::I8 => "i1",
        DType::I16 => "i2",
        DType::I32 => "i4",
        DType::I64 => "i8",
        // NumPy has no bfloat16; its bits are shown.
        DType::Bf16 => "u2",
        DType::F16 => "f2",
        DType::F32 => "f4",
        DType::F64 => "f8",
        DType::Bytes | DType::Str => "O",
    }
}
