//! `Lane`: from hello to the last batch, as `hydrofoil.container` drives it.
//!
//! Order of calls: `hello`, `ready` or `load_failed`, then for each batch `next`, `output` for what is
//! to be written in place, one of `reply` and `fail`, and `finish`. Between the answer and `finish` the caller drops its arrays; what is
//! still held then escapes before the slot goes back. `serve` does all that for one batch after the other, `serve_parts` for
//! models that answer in parts: it publishes each, and takes the engine's word on it before it asks the model for the next.

use crate::clock::monotonic_ns;
use crate::spec::Declared;
use crate::work::{Work, error, no_batch};
use pyo3::exceptions::{PyBaseException, PyException, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PyTuple};
use schemas::lifecycle::{
    FromContainer, FromEngine, Hello, LaneGeometry, MESSAGE_BYTES_MAX, SCHEMA_VERSION,
    decode_from_engine, encode_from_container,
};
use schemas::predict::{Failure, FailureKind};
use shm_rpc::container_side::Next;
use shm_rpc::handshake::ContainerSession;
use shm_rpc::{ABI_HASH, LaneFds, Verdict};
use std::path::PathBuf;
use std::time::Duration;

/// Longest wait without a look at signals and at the engine: what Ctrl-C may take to be noticed.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// The container's end of one lane. Belongs to the thread that made it.
#[pyclass(unsendable, module = "hydrofoil._native")]
pub(crate) struct Lane {
    session: Option<ContainerSession>,
    work: Option<Work>,
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
                    None => work.finish(py)?,
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
            slf.borrow_mut().finish(slf.py())?;
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
            slf.borrow_mut().finish(slf.py())?;
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
    fn finish(&mut self, py: Python<'_>) -> PyResult<()> {
        self.work()?.finish(py)
    }

    /// Address and bytes of each request slot, for what copies straight from there.
    fn request_slots(&mut self) -> PyResult<Vec<(usize, usize)>> {
        Ok(self.work()?.request_slots())
    }

    /// Has `call` called before a request slot goes back to the engine: with its address if views of it are kept, so
    /// that it moves to another, else with None. Nothing may read the slot any more once `call` returns, and nothing
    /// but views know the address where it moves. `call` must not ask the lane for anything.
    fn on_return(&mut self, call: Py<PyAny>) -> PyResult<()> {
        self.work()?.on_return(call);
        Ok(())
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

/// Lets a generator run its last lines; any other iterator has none.
fn close(parts: &Bound<'_, PyIterator>) -> PyResult<()> {
    match parts.getattr_opt("close")? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    }
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

fn closed() -> PyErr {
    PyRuntimeError::new_err("the lane is not open")
}
