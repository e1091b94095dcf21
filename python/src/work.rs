//! The batch in hand: shown as arrays, answered, and given back, in the order that `lane` drives.
//!
//! What knows the addresses of request slots, such as a GPU's driver that copies from them, is told through `on_return`
//! before a batch's slot goes back: what it began must have ended by then, and a slot whose views are kept moves.

use crate::clock::monotonic_ns;
use crate::inputs::{ArrayMaker, Inputs};
use crate::memory::Region;
use crate::outputs::{NoReply, Room, write_reply};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use schemas::lifecycle::{LaneGeometry, ModelSpec};
use schemas::predict::{BatchHeader, Failure, HeaderWriter, read_request};
use schemas::tensor::{Shape, TensorSpec};
use shm_rpc::container_side::{ContainerSide, Request};
use shm_rpc::{LaneConfig, LaneFds, Status};
use std::sync::Arc;
use std::time::Duration;

/// What batches need, once the engine has given a lane.
pub(crate) struct Work {
    pub(crate) side: ContainerSide,
    inputs: ArrayMaker,
    outputs: Vec<TensorSpec>,
    header_bytes: Vec<u8>,
    pub(crate) header: BatchHeader,
    writer: HeaderWriter,
    pub(crate) batch: Option<Batch>,
    on_return: Option<Py<PyAny>>,
}

/// The batch in hand.
pub(crate) struct Batch {
    pub(crate) request: Request,
    region: Arc<Region>,
    room: Room,
    started_ns: u64,
    answer: Option<Answer>,
}

struct Answer {
    status: Status,
    header_bytes: u32,
    total_bytes: u32,
    ended_ns: u64,
}

impl Work {
    pub(crate) fn new(
        py: Python<'_>,
        spec: ModelSpec,
        lane: LaneGeometry,
        fds: LaneFds,
    ) -> PyResult<Work> {
        let config = LaneConfig::from(&lane);
        let mut side = ContainerSide::map(fds, config, lane.incarnation).map_err(error)?;
        side.set_spin(Duration::from_micros(lane.spin_us.into()));
        side.start_heartbeat().map_err(error)?;
        Ok(Work {
            side,
            inputs: ArrayMaker::new(py, &spec.inputs, &spec.outputs)?,
            outputs: spec.outputs,
            header_bytes: Vec::new(),
            header: BatchHeader::default(),
            writer: HeaderWriter::new(),
            batch: None,
            on_return: None,
        })
    }

    /// Shows a request to Python, or answers it at once when its texts are none.
    pub(crate) fn take<'py>(
        &mut self,
        py: Python<'py>,
        request: Request,
    ) -> PyResult<Option<(u32, Bound<'py, PyTuple>)>> {
        if self.batch.is_some() {
            return Err(PyRuntimeError::new_err("the last batch was not finished"));
        }
        self.side.header(&request, &mut self.header_bytes);
        read_request(&self.header_bytes, &mut self.header).map_err(error)?;
        let region = Region::of(&self.side, &request);
        let from = (&self.side, &request);
        let inputs = self.inputs.arrays(py, from, (&self.header, &region))?;
        let started_ns = monotonic_ns();
        let room = Room::default();
        self.batch = Some(Batch { request, region, room, started_ns, answer: None });
        match inputs {
            Inputs::Arrays(arrays) => Ok(Some((self.header.rows, arrays))),
            Inputs::Refused(failure) => self.fail(&failure, started_ns).map(|()| None),
        }
    }

    pub(crate) fn output<'py>(
        &mut self,
        py: Python<'py>,
        index: usize,
        shape: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let batch = self.batch.as_mut().ok_or_else(no_batch)?;
        if batch.answer.is_some() {
            return Err(PyRuntimeError::new_err("the batch is answered"));
        }
        let spec =
            self.outputs.get(index).ok_or_else(|| PyValueError::new_err("no such output"))?;
        let dims = shape.iter().map(|dim| dim.extract()).collect::<PyResult<Shape>>();
        let shape = dims.map_err(|_| {
            let message = format!("{shape} is no shape: use integers from 0, rows first");
            PyValueError::new_err(message)
        })?;
        let slot_bytes = self.side.config().reply_slot_bytes;
        batch.room.place(index, spec, shape, slot_bytes)?;
        let Batch { request, room, .. } = batch;
        let region = room.region.get_or_insert_with(|| Region::of_reply(&mut self.side, request));
        let Some(placement) = room.views.get(&index) else { return Err(no_batch()) };
        self.inputs.output(py, index, placement, region)
    }

    pub(crate) fn reply(&mut self, outputs: &Bound<'_, PyList>) -> PyResult<()> {
        let ended_ns = monotonic_ns();
        let batch = self.batch.as_mut().ok_or_else(no_batch)?;
        let to = (&mut self.side, &batch.request);
        let what = (&self.outputs[..], outputs, &mut batch.room);
        match write_reply(to, what, &mut self.header, &mut self.writer) {
            Ok((header_bytes, total_bytes)) => {
                let status = Status::Ok;
                batch.answer = Some(Answer { status, header_bytes, total_bytes, ended_ns });
                Ok(())
            }
            Err(NoReply::Failure(failure)) => self.fail(&failure, ended_ns),
            Err(NoReply::Error(error)) => Err(error),
        }
    }

    pub(crate) fn fail(&mut self, failure: &Failure, ended_ns: u64) -> PyResult<()> {
        let batch = self.batch.as_mut().ok_or_else(no_batch)?;
        let head = self.writer.failure(self.header.batch_id, failure).map_err(error)?;
        self.side.write_reply(&batch.request, 0, head).map_err(error)?;
        let (status, bytes) = (Status::Failed, head.len() as u32);
        batch.answer = Some(Answer { status, header_bytes: bytes, total_bytes: bytes, ended_ns });
        Ok(())
    }

    /// What was written of the batch's answer is a part: it goes out, and there is room for the next.
    pub(crate) fn part(&mut self) -> PyResult<()> {
        let batch = self.batch.as_mut().ok_or_else(no_batch)?;
        let Some(Answer { header_bytes, total_bytes, ended_ns, .. }) = batch.answer.take() else {
            return Err(no_batch());
        };
        let room = std::mem::take(&mut batch.room);
        let held = room.region.as_ref().filter(|region| is_held(region));
        if let Some(region) = held {
            let used_bytes = room.layout.total_bytes().max(total_bytes);
            region.escape(self.side.escape_reply(&batch.request, used_bytes).map_err(error)?);
        }
        let Batch { request, started_ns, .. } = &*batch;
        self.side.part(request, header_bytes, total_bytes, *started_ns, ended_ns);
        Ok(())
    }

    /// All parts are out.
    pub(crate) fn done(&mut self) {
        if let Some(batch) = &mut self.batch {
            let (status, ended_ns) = (Status::Done, monotonic_ns());
            batch.answer = Some(Answer { status, header_bytes: 0, total_bytes: 0, ended_ns });
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        let answer = self.batch.as_ref().and_then(|batch| batch.answer.as_ref());
        answer.is_some_and(|answer| answer.status == Status::Failed)
    }

    pub(crate) fn finish(&mut self, py: Python<'_>) -> PyResult<()> {
        let batch = self.batch.take().ok_or_else(no_batch)?;
        let Some(Answer { status, header_bytes, total_bytes, ended_ns }) = batch.answer else {
            self.batch = Some(batch);
            return Err(PyRuntimeError::new_err("the batch has no answer"));
        };
        if let Err(error) = self.free(py, &batch, total_bytes) {
            // Unanswered, so that the engine never writes under the views.
            self.batch = Some(batch);
            return Err(error);
        }
        let Batch { request, started_ns, .. } = batch;
        self.side.reply(request, status, header_bytes, total_bytes, started_ns, ended_ns);
        Ok(())
    }

    /// Gives the slots back to the lane: what Python still sees of them becomes private memory.
    fn free(&mut self, py: Python<'_>, batch: &Batch, total_bytes: u32) -> PyResult<()> {
        let moves = is_held(&batch.region);
        if let Some(on_return) = &self.on_return {
            let moves_from = moves.then(|| batch.region.address());
            on_return.call1(py, (moves_from,))?;
        }
        if moves {
            batch.region.escape(self.side.escape(&batch.request).map_err(error)?);
        }
        if let Some(region) = batch.room.region.as_ref().filter(|region| is_held(region)) {
            let used_bytes = batch.room.layout.total_bytes().max(total_bytes);
            let escaped = self.side.escape_reply(&batch.request, used_bytes);
            region.escape(escaped.map_err(error)?);
        }
        Ok(())
    }

    /// Called from now on before a request slot goes back, with its address if it moves, else with None.
    pub(crate) fn on_return(&mut self, call: Py<PyAny>) {
        self.on_return = Some(call);
    }

    /// Address and bytes of each request slot.
    pub(crate) fn request_slots(&self) -> Vec<(usize, usize)> {
        self.side.request_slots().map(|(base, len)| (base.addr(), len)).collect()
    }

    /// Unmaps the lane, unless views of an unfinished batch would be left hanging.
    pub(crate) fn leave(self) {
        let held = |batch: &Batch| {
            is_held(&batch.region) || batch.room.region.as_ref().is_some_and(is_held)
        };
        if self.batch.as_ref().is_some_and(held) {
            std::mem::forget(self);
        }
    }
}

/// Whether Python still has an array over the batch: it alone makes further owners.
fn is_held(region: &Arc<Region>) -> bool {
    Arc::strong_count(region) > 1
}

pub(crate) fn error(error: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

pub(crate) fn no_batch() -> PyErr {
    PyRuntimeError::new_err("there is no batch to answer")
}
