//! `Lane`: from hello to the last batch, as `hydrofoil.container` drives it.
//!
//! Order of calls: `hello`, `ready` or `load_failed`, then for each batch `next`, `output` for what is
//! to be written in place, one of `reply` and `fail`, and `finish`. Between the answer and `finish` the caller drops its arrays; what is
//! still held then escapes before the slot goes back. `serve` does all that for one batch after the other, `serve_parts` for
//! models that answer in parts: it publishes each, and takes the engine's word on it before it asks the model for the next.

use crate::clock::monotonic_ns;
use crate::inputs::{ArrayMaker, Inputs};
use crate::memory::Region;
use crate::outputs::{NoReply, Room, write_reply};
use crate::spec::Declared;
use pyo3::exceptions::{PyBaseException, PyException, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PyTuple};
use schemas::lifecycle::{
    FromContainer, FromEngine, Hello, LaneGeometry, MESSAGE_BYTES_MAX, ModelSpec, SCHEMA_VERSION,
    decode_from_engine, encode_from_container,
};
use schemas::predict::{BatchHeader, Failure, FailureKind, HeaderWriter, read_request};
use schemas::tensor::{Shape, TensorSpec};
use shm_rpc::container_side::{ContainerSide, Next, Request};
use shm_rpc::handshake::ContainerSession;
use shm_rpc::{ABI_HASH, LaneConfig, LaneError, LaneFds, Status, Verdict};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait without a look at signals and at the engine: what Ctrl-C may take to be noticed.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// The container's end of one lane. Belongs to the thread that made it.
#[pyclass(unsendable, module = "hydrofoil._native")]
pub(crate) struct Lane {
    session: Option<ContainerSession>,
    work: Option<Work>,
}

/// What batches need, once the engine has given a lane.
struct Work {
    side: ContainerSide,
    inputs: ArrayMaker,
    outputs: Vec<TensorSpec>,
    header_bytes: Vec<u8>,
    header: BatchHeader,
    writer: HeaderWriter,
    batch: Option<Batch>,
}

/// The batch in hand.
struct Batch {
    request: Request,
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

#[pymethods]
impl Lane {
    /// Connects to the engine's socket for this replica.
    #[new]
    fn connect(socket: PathBuf) -> PyResult<Lane> {
        let session = ContainerSession::connect(&socket).map_err(error)?;
        Ok(Lane { session: Some(session), work: None })
    }

    /// Says what the model is and joins the lane the engine answers with.
    fn hello(&mut self, py: Python<'_>, nonce: u64, spec: Declared) -> PyResult<()> {
        let spec = spec.into_spec()?;
        let (schema_version, abi_hash) = (SCHEMA_VERSION, ABI_HASH);
        let hello = Hello { schema_version, abi_hash, nonce, spec: spec.clone(), beats: true };
        self.send(&FromContainer::Hello(hello))?;
        let session = self.session.as_mut().ok_or_else(closed)?;
        let (lane, fds) = py.detach(|| welcome(session))?;
        self.work = Some(Work::new(py, spec, lane, fds)?);
        Ok(())
    }

    /// The model is loaded: batches may come.
    fn ready(&mut self) -> PyResult<()> {
        self.send(&FromContainer::Ready)
    }

    /// The model can't be served; `message` says why, with file and line.
    fn load_failed(&mut self, message: String) {
        // An engine that is gone needs no reason; the caller exits either way.
        let _ = self.send(&FromContainer::LoadFailed { message });
    }

    /// The next batch as (rows, inputs), or None when the engine is done or gone.
    fn next<'py>(&mut self, py: Python<'py>) -> PyResult<Option<(u32, Bound<'py, PyTuple>)>> {
        let Lane { session: Some(session), work: Some(work) } = self else {
            return Err(closed());
        };
        loop {
            let side = &mut work.side;
            match py.detach(|| side.next(WAIT_MAX)).map_err(error)? {
                Next::Request(request) => match work.take(py, request)? {
                    Some(batch) => return Ok(Some(batch)),
                    None => work.finish()?,
                },
                Next::Shut => return Ok(None),
                Next::Idle if session.is_closed() => return Ok(None),
                Next::Idle => py.check_signals()?,
            }
        }
    }

    /// Answers batches with what `convert` makes of the outputs of `call`. None once the engine is done; else what the
    /// model raised, with the batch in hand: `fail` it, `finish` it, and serve on. What is raised is a fault of the lane.
    fn serve<'py>(
        slf: &Bound<'py, Self>,
        call: &Bound<'py, PyAny>,
        convert: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyBaseException>>> {
        loop {
            let batch = slf.borrow_mut().next(slf.py())?;
            let Some((rows, inputs)) = batch else { return Ok(None) };
            // Not borrowed: the model may ask for `output`.
            let outputs = call.call1(inputs).and_then(|outputs| convert.call1((outputs, rows)));
            let replied =
                outputs.and_then(|outputs| slf.borrow_mut().reply(outputs.cast::<PyList>()?));
            if let Err(error) = replied {
                return raised(slf.py(), error).map(Some);
            }
            slf.borrow_mut().finish()?;
        }
    }

    /// The same for a `call` that gives an iterator, of which each item is a part of the answer.
    fn serve_parts<'py>(
        slf: &Bound<'py, Self>,
        call: &Bound<'py, PyAny>,
        convert: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyBaseException>>> {
        loop {
            let batch = slf.borrow_mut().next(slf.py())?;
            let Some((rows, inputs)) = batch else { return Ok(None) };
            if let Err(error) = Lane::answer_in_parts(slf, call, convert, (rows, inputs))? {
                return raised(slf.py(), error).map(Some);
            }
            slf.borrow_mut().finish()?;
        }
    }

    /// Rows of the batch in hand.
    #[getter]
    fn rows(&mut self) -> PyResult<u32> {
        let work = self.work()?;
        work.batch.as_ref().map(|_| work.header.rows).ok_or_else(no_batch)
    }

    /// An array over the reply slot for output `index`, of `shape`. Returned from the model it is not
    /// copied again.
    fn output<'py>(
        &mut self,
        py: Python<'py>,
        index: usize,
        shape: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.work()?.output(py, index, shape)
    }

    /// Copies the outputs, a list of (shape, array or list of texts), into the reply slot.
    fn reply(&mut self, outputs: &Bound<'_, PyList>) -> PyResult<()> {
        self.work()?.reply(outputs)
    }

    /// Answers the batch with a failure: "raised", "input_refused" or "bad_output".
    #[pyo3(signature = (kind, message, row=None))]
    fn fail(&mut self, kind: &str, message: String, row: Option<u32>) -> PyResult<()> {
        let kind = match kind {
            "raised" => FailureKind::Raised,
            "input_refused" => FailureKind::InputRefused,
            "bad_output" => FailureKind::BadOutput,
            _ => return Err(PyValueError::new_err(format!("unknown kind of failure {kind}"))),
        };
        self.work()?.fail(&Failure { kind, message, row }, monotonic_ns())
    }

    /// Gives the batch back with its answer. Arrays that are still held keep their bytes.
    fn finish(&mut self) -> PyResult<()> {
        self.work()?.finish()
    }

    /// Leaves the lane; the engine sees it at once.
    fn close(&mut self) {
        self.session = None;
        if let Some(work) = self.work.take() {
            work.leave();
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.close();
    }
}

impl Lane {
    fn send(&mut self, message: &FromContainer) -> PyResult<()> {
        let session = self.session.as_mut().ok_or_else(closed)?;
        session.send(&encode_from_container(message)).map_err(error)
    }

    /// Within: what the model raised. A generator that is dropped unfinished is closed.
    fn answer_in_parts<'py>(
        slf: &Bound<'py, Self>,
        call: &Bound<'py, PyAny>,
        convert: &Bound<'py, PyAny>,
        (rows, inputs): (u32, Bound<'py, PyTuple>),
    ) -> PyResult<PyResult<()>> {
        let mut parts = match call.call1(inputs).and_then(|parts| parts.try_iter()) {
            Ok(parts) => parts,
            Err(error) => return Ok(Err(error)),
        };
        let mut verdict = Verdict::GoOn;
        while verdict == Verdict::GoOn {
            // Not borrowed: the model may ask for `output`.
            let part = match parts.next() {
                Some(part) => part.and_then(|part| convert.call1((part, rows))),
                None => break,
            };
            let written =
                part.and_then(|part| slf.borrow_mut().work()?.reply(part.cast::<PyList>()?));
            match written {
                // The model's own failure, such as of a part too large for its slot, is the end.
                Ok(()) if slf.borrow_mut().work()?.has_failed() => return Ok(close(&parts)),
                Ok(()) => {}
                Err(error) => return Ok(Err(error)),
            }
            verdict = Lane::publish(slf)?;
        }
        if let Err(error) = close(&parts) {
            return Ok(Err(error));
        }
        slf.borrow_mut().work()?.done();
        Ok(Ok(()))
    }

    /// Publishes the part that is written, and waits for how to go on.
    fn publish(slf: &Bound<'_, Self>) -> PyResult<Verdict> {
        let mut lane = slf.borrow_mut();
        let Lane { session: Some(session), work: Some(work) } = &mut *lane else {
            return Err(closed());
        };
        work.part()?;
        let Work { side, batch, .. } = work;
        let request = &batch.as_ref().ok_or_else(no_batch)?.request;
        loop {
            match slf.py().detach(|| side.verdict(request, WAIT_MAX)).map_err(error)? {
                Some(verdict) => return Ok(verdict),
                None if session.is_closed() => return Ok(Verdict::Stop),
                None => slf.py().check_signals()?,
            }
        }
    }

    fn work(&mut self) -> PyResult<&mut Work> {
        self.work.as_mut().ok_or_else(closed)
    }
}

impl Work {
    fn new(py: Python<'_>, spec: ModelSpec, lane: LaneGeometry, fds: LaneFds) -> PyResult<Work> {
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
        })
    }

    /// Shows a request to Python, or answers it at once when its texts are none.
    fn take<'py>(
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

    fn output<'py>(
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

    fn reply(&mut self, outputs: &Bound<'_, PyList>) -> PyResult<()> {
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

    fn fail(&mut self, failure: &Failure, ended_ns: u64) -> PyResult<()> {
        let batch = self.batch.as_mut().ok_or_else(no_batch)?;
        let head = self.writer.failure(self.header.batch_id, failure).map_err(error)?;
        self.side.write_reply(&batch.request, 0, head).map_err(error)?;
        let (status, bytes) = (Status::Failed, head.len() as u32);
        batch.answer = Some(Answer { status, header_bytes: bytes, total_bytes: bytes, ended_ns });
        Ok(())
    }

    /// What was written of the batch's answer is a part: it goes out, and there is room for the next.
    fn part(&mut self) -> PyResult<()> {
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
    fn done(&mut self) {
        if let Some(batch) = &mut self.batch {
            let (status, ended_ns) = (Status::Done, monotonic_ns());
            batch.answer = Some(Answer { status, header_bytes: 0, total_bytes: 0, ended_ns });
        }
    }

    fn has_failed(&self) -> bool {
        let answer = self.batch.as_ref().and_then(|batch| batch.answer.as_ref());
        answer.is_some_and(|answer| answer.status == Status::Failed)
    }

    fn finish(&mut self) -> PyResult<()> {
        let batch = self.batch.take().ok_or_else(no_batch)?;
        let Some(Answer { total_bytes, .. }) = batch.answer else {
            self.batch = Some(batch);
            return Err(PyRuntimeError::new_err("the batch has no answer"));
        };
        if let Err(why) = self.free(&batch, total_bytes) {
            // Unanswered, so that the engine never writes under the views.
            self.batch = Some(batch);
            return Err(error(why));
        }
        let Batch { request, started_ns, answer, .. } = batch;
        let Some(Answer { status, header_bytes, ended_ns, .. }) = answer else {
            return Err(no_batch());
        };
        self.side.reply(request, status, header_bytes, total_bytes, started_ns, ended_ns);
        Ok(())
    }

    /// Gives the slots back to the lane: what Python still sees of them becomes private memory.
    fn free(&mut self, batch: &Batch, total_bytes: u32) -> Result<(), LaneError> {
        if is_held(&batch.region) {
            batch.region.escape(self.side.escape(&batch.request)?);
        }
        if let Some(region) = batch.room.region.as_ref().filter(|region| is_held(region)) {
            let used_bytes = batch.room.layout.total_bytes().max(total_bytes);
            region.escape(self.side.escape_reply(&batch.request, used_bytes)?);
        }
        Ok(())
    }

    /// Unmaps the lane, unless views of an unfinished batch would be left hanging.
    fn leave(self) {
        let held = |batch: &Batch| {
            is_held(&batch.region) || batch.room.region.as_ref().is_some_and(is_held)
        };
        if self.batch.as_ref().is_some_and(held) {
            std::mem::forget(self);
        }
    }
}

/// Lets a generator run its last lines; any other iterator has none.
fn close(parts: &Bound<'_, PyIterator>) -> PyResult<()> {
    match parts.getattr_opt("close")? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    }
}

/// Whether Python still has an array over the batch: it alone makes further owners.
fn is_held(region: &Arc<Region>) -> bool {
    Arc::strong_count(region) > 1
}

/// Waits for the engine's answer to hello.
fn welcome(session: &mut ContainerSession) -> PyResult<(LaneGeometry, LaneFds)> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let (len, fds) = session.recv_lane(&mut bytes).map_err(error)?;
    match decode_from_engine(&bytes[..len]).map_err(error)? {
        FromEngine::Welcome(welcome) => {
            let fds = fds.ok_or_else(|| PyRuntimeError::new_err("the engine sent no lane"))?;
            Ok((welcome.lane, fds))
        }
        FromEngine::Refused { message } => {
            Err(PyRuntimeError::new_err(format!("the engine refused the model: {message}")))
        }
    }
}

/// What a model raised, unless it is the end of the process.
fn raised(py: Python<'_>, error: PyErr) -> PyResult<Bound<'_, PyBaseException>> {
    match error.is_instance_of::<PyException>(py) {
        true => Ok(error.into_value(py).into_bound(py)),
        false => Err(error),
    }
}

fn error(error: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

fn closed() -> PyErr {
    PyRuntimeError::new_err("the lane is not open")
}

fn no_batch() -> PyErr {
    PyRuntimeError::new_err("there is no batch to answer")
}
