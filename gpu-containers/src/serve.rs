//! The serve loop: the mirror image of the engine's dispatcher. Hello, welcome, ready; then one batch after the other
//! until the engine is done with us or gone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use schemas::lifecycle::{
    FromContainer, FromEngine, Hello, MESSAGE_BYTES_MAX, ModelSpec, SCHEMA_VERSION, Welcome,
    decode_from_engine, encode_from_container,
};
use schemas::predict::{BatchHeader, Failure, FailureKind, HeaderWriter, read_request};
use schemas::settings::{self, SettingsError};
use shm_rpc::container_side::{ContainerSide, Next, Request};
use shm_rpc::handshake::ContainerSession;
use shm_rpc::{ABI_HASH, LaneConfig, LaneError, LaneFault, Status};

use crate::batch::{Batch, BatchError, Outputs};
use crate::clock::Clock;
use crate::model::{DeviceLost, Lane, LoadError, Model, Refusal};
use crate::staging::Arrivals;

/// Between two looks at whether the engine is still there.
const WAIT: Duration = Duration::from_millis(100);
/// Waits without a batch between two looks at whether the model's device still answers: three seconds.
const WAITS_PER_CHECK: u32 = 30;

/// The engine has one batch with a replica at a time.
const BATCHES_UNDER_WAY: u32 = 1;

/// What ends a container before the engine asked it to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the lane failed: {0}")]
    Lane(#[from] LaneError),
    #[error("the engine broke the lane's protocol: {0}")]
    Fault(#[from] LaneFault),
    #[error("the engine's message is invalid: {0}")]
    Message(#[from] schemas::SchemaError),
    #[error("the engine sent an invalid batch: {0}")]
    Batch(#[from] BatchError),
    #[error("the engine refused this container: {0}")]
    Refused(String),
    #[error("the engine's welcome carried no lane")]
    NoLane,
    #[error("the model does not load: {0}")]
    Load(#[from] LoadError),
    #[error(transparent)]
    Device(#[from] DeviceLost),
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// Who the container is to the engine that started it.
pub struct Identity<'a> {
    pub socket: &'a Path,
    pub nonce: u64,
    pub settings: &'a str,
}

/// Loads the model and serves it until the engine is done.
pub fn serve(
    mut model: Box<dyn Model>,
    directory: &Path,
    identity: &Identity<'_>,
) -> Result<(), ServeError> {
    let mut session = ContainerSession::connect(identity.socket)?;
    let spec = prepare(model.as_mut(), directory, identity.settings);
    let spec = told(&mut session, spec)?;
    let side = join(&mut session, identity.nonce, &spec)?;
    let lane =
        Lane { max_batch: spec.max_batch, depth: BATCHES_UNDER_WAY, requests: Arrivals::of(&side) };
    let joined = model.join(&lane).map_err(ServeError::from);
    told(&mut session, joined)?;
    session.send(&encode_from_container(&FromContainer::Ready))?;
    Worker::new(model, spec, side).run(&session)
}

/// A model that can't be served says so to the engine before the container ends.
fn told<T>(
    session: &mut ContainerSession,
    outcome: Result<T, ServeError>,
) -> Result<T, ServeError> {
    if let Err(error) = &outcome {
        let message = error.to_string();
        session.send(&encode_from_container(&FromContainer::LoadFailed { message }))?;
    }
    outcome
}

fn prepare(
    model: &mut dyn Model,
    directory: &Path,
    settings: &str,
) -> Result<ModelSpec, ServeError> {
    model.load(directory)?;
    let mut spec = model.describe();
    settings::apply(&mut spec, settings)?;
    Ok(spec)
}

fn join(
    session: &mut ContainerSession,
    nonce: u64,
    spec: &ModelSpec,
) -> Result<ContainerSide, ServeError> {
    let (schema_version, abi_hash) = (SCHEMA_VERSION, ABI_HASH);
    let hello = Hello { schema_version, abi_hash, nonce, spec: spec.clone(), beats: true };
    session.send(&encode_from_container(&FromContainer::Hello(hello)))?;
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let (len, fds) = session.recv_lane(&mut buffer)?;
    let Welcome { lane } = match decode_from_engine(&buffer[..len])? {
        FromEngine::Welcome(welcome) => welcome,
        FromEngine::Refused { message } => return Err(ServeError::Refused(message)),
    };
    let fds = fds.ok_or(ServeError::NoLane)?;
    let mut side = ContainerSide::map(fds, LaneConfig::from(&lane), lane.incarnation)?;
    side.set_spin(Duration::from_micros(lane.spin_us.into()));
    side.start_heartbeat()?;
    Ok(side)
}

struct Worker {
    /// Before the lane: it may have pinned the memory there.
    model: Box<dyn Model>,
    spec: ModelSpec,
    side: ContainerSide,
    clock: Clock,
    writer: HeaderWriter,
    header: BatchHeader,
    head: Vec<u8>,
    outputs: Outputs,
}

/// What the model made of a batch.
struct Ran {
    outcome: Result<(), Refusal>,
    started_ns: u64,
    ended_ns: u64,
}

/// What goes back for a batch.
struct Answer {
    status: Status,
    header_bytes: u32,
    total_bytes: u32,
}

impl Worker {
    fn new(model: Box<dyn Model>, spec: ModelSpec, side: ContainerSide) -> Worker {
        Worker {
            model,
            spec,
            side,
            clock: Clock::start(),
            writer: HeaderWriter::new(),
            header: BatchHeader::default(),
            head: Vec::new(),
            outputs: Outputs::default(),
        }
    }

    fn run(mut self, session: &ContainerSession) -> Result<(), ServeError> {
        let ended = self.serve(session);
        if let Err(ServeError::Device(_)) = ended {
            // Giving back what a lost device holds may never end. The system takes it with this process.
            std::mem::forget(self.model);
        }
        ended
    }

    fn serve(&mut self, session: &ContainerSession) -> Result<(), ServeError> {
        let mut waits = 0;
        loop {
            match self.side.next(WAIT)? {
                Next::Request(request) => {
                    waits = 0;
                    self.answer(request)?;
                }
                Next::Idle if session.is_closed() => return Ok(()),
                Next::Idle => {
                    waits += 1;
                    if waits % WAITS_PER_CHECK == 0 {
                        self.model.check()?;
                    }
                }
                Next::Shut => return Ok(()),
            }
        }
    }

    fn answer(&mut self, request: Request) -> Result<(), ServeError> {
        self.side.header(&request, &mut self.head);
        read_request(&self.head, &mut self.header)?;
        let Ran { outcome, started_ns, ended_ns } = self.run_model(&request)?;
        let (lost, outcome) = match outcome {
            Ok(()) => (None, self.checked()),
            Err(refusal) => failure(refusal),
        };
        let answer = match outcome {
            Ok(()) => self.write_outputs(&request)?,
            Err(failure) => self.write_failure(&request, &failure)?,
        };
        let Answer { status, header_bytes, total_bytes } = answer;
        self.side.reply(request, status, header_bytes, total_bytes, started_ns, ended_ns);
        lost.map_or(Ok(()), |lost| Err(lost.into()))
    }

    fn run_model(&mut self, request: &Request) -> Result<Ran, ServeError> {
        let batch = Batch::of(&self.side, request, &self.header)?;
        let started_ns = self.clock.now_ns();
        self.outputs.clear();
        let outcome = predict(self.model.as_mut(), &batch, &mut self.outputs);
        Ok(Ran { outcome, started_ns, ended_ns: self.clock.now_ns() })
    }

    fn checked(&self) -> Result<(), Failure> {
        match self.outputs.mismatch(&self.spec.outputs, self.header.rows) {
            None => Ok(()),
            Some(message) => Err(Failure { kind: FailureKind::BadOutput, message, row: None }),
        }
    }

    fn write_outputs(&mut self, request: &Request) -> Result<Answer, ServeError> {
        let (placements, total_bytes) = self.outputs.place(&self.spec.outputs)?;
        let limit = self.side.config().reply_slot_bytes;
        if total_bytes > limit {
            let message = format!(
                "the outputs take {total_bytes} bytes, a reply slot has {limit}; lower max_batch, or raise limits.variable_slot_bytes (for outputs of variable size) or limits.slot_bytes_max"
            );
            let failure = Failure { kind: FailureKind::OutputTooLarge, message, row: None };
            return self.write_failure(request, &failure);
        }
        self.outputs.write(&mut self.side, request, &placements)?;
        let rows = self.header.rows;
        let header = BatchHeader { batch_id: self.header.batch_id, rows, tensors: placements };
        let bytes = self.writer.reply(&header)?;
        self.side.write_reply(request, 0, bytes)?;
        Ok(Answer { status: Status::Ok, header_bytes: bytes.len() as u32, total_bytes })
    }

    fn write_failure(
        &mut self,
        request: &Request,
        failure: &Failure,
    ) -> Result<Answer, ServeError> {
        let bytes = self.writer.failure(self.header.batch_id, failure)?;
        self.side.write_reply(request, 0, bytes)?;
        let header_bytes = bytes.len() as u32;
        Ok(Answer { status: Status::Failed, header_bytes, total_bytes: header_bytes })
    }
}

/// A panicking model fails its batch, not the container.
fn predict(model: &mut dyn Model, batch: &Batch<'_>, outputs: &mut Outputs) -> Result<(), Refusal> {
    let predicted = catch_unwind(AssertUnwindSafe(|| model.predict(batch, outputs)));
    let panicked = || Refusal::Raised("the model panicked; see its log".to_owned());
    predicted.unwrap_or_else(|_| Err(panicked()))
}

/// What the caller is told, and whether the container ends with it.
fn failure(refusal: Refusal) -> (Option<DeviceLost>, Result<(), Failure>) {
    let raised = |message| Failure { kind: FailureKind::Raised, message, row: None };
    match refusal {
        Refusal::Raised(message) => (None, Err(raised(message))),
        Refusal::Input { message, row } => {
            (None, Err(Failure { kind: FailureKind::InputRefused, message, row }))
        }
        Refusal::Device(lost) => (Some(lost.clone()), Err(raised(lost.to_string()))),
    }
}
