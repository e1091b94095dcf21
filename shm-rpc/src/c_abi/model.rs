//! A model's end of a lane, safe: what the C functions do once their pointers became values.

use crate::clock::now;
use crate::container_side::{ContainerSide, Next, Request};
use crate::handshake::ContainerSession;
use crate::{ABI_HASH, LaneConfig, LaneError, LaneFault, Status};
use schemas::SchemaError;
use schemas::lifecycle::{
    FromContainer, FromEngine, Hello, MESSAGE_BYTES_MAX, ModelSpec, SCHEMA_VERSION,
    decode_from_engine, encode_from_container,
};
use schemas::predict::{BatchHeader, Failure, FailureKind, HeaderWriter, read_request};
use schemas::tensor::{DType, Layout, Placement, Shape, check_offsets, elements};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of one entry of a text tensor's table of offsets.
const OFFSET_BYTES: usize = 4;

/// Why a call failed; its variants are the ABI's error codes.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("{0}")]
    Argument(String),
    #[error("{0}")]
    Order(&'static str),
    #[error(
        "the outputs need {bytes} bytes and the reply slot holds {slot_bytes}: return less, lower max_batch, or raise limits.variable_slot_bytes or limits.slot_bytes_max"
    )]
    TooLarge { bytes: u64, slot_bytes: u32 },
    #[error("{variable} is not set or not valid: start this program through foil serve")]
    Environment { variable: &'static str },
    #[error("the engine refused the model: {0}")]
    Refused(String),
    #[error("the lane failed: {0}")]
    Lane(#[from] LaneError),
    #[error("the engine broke the lane's protocol: {0}")]
    Fault(#[from] LaneFault),
    #[error("the engine sent an invalid message: {0}")]
    Message(#[from] SchemaError),
    #[error("FOIL_SETTINGS does not fit: {0}")]
    Settings(#[from] schemas::settings::SettingsError),
}

/// What the environment gives a container.
pub(super) struct Identity {
    pub(super) socket: std::ffi::OsString,
    pub(super) nonce: u64,
    pub(super) settings: String,
}

impl Identity {
    pub(super) fn from_env() -> Result<Identity, CallError> {
        let missing = |variable| CallError::Environment { variable };
        let socket = std::env::var_os("FOIL_SOCKET").ok_or(missing("FOIL_SOCKET"))?;
        let nonce = std::env::var("FOIL_NONCE").ok().and_then(|text| text.parse().ok());
        let nonce = nonce.ok_or(missing("FOIL_NONCE"))?;
        let settings = std::env::var("FOIL_SETTINGS").unwrap_or_else(|_| "{}".into());
        Ok(Identity { socket, nonce, settings })
    }
}

/// One model in this process.
pub(super) struct Served {
    session: ContainerSession,
    side: ContainerSide,
    spec: ModelSpec,
    writer: HeaderWriter,
    head: Vec<u8>,
    inputs: BatchHeader,
    /// Checked offsets of text inputs; empty for numbers.
    offsets: Vec<Vec<u32>>,
    batch: Option<InHand>,
    epoch: Instant,
}

/// The batch that is being answered.
struct InHand {
    request: Request,
    layout: Layout,
    outputs: Vec<Option<Placement>>,
    started_ns: u64,
}

/// What waiting brought.
pub(super) enum Waited {
    Batch { id: u64, rows: u32 },
    Idle,
    Shut,
}

/// A tensor in a slot, as pointers.
pub(super) struct View<'a> {
    pub(super) dtype: DType,
    pub(super) shape: &'a [u64],
    pub(super) data: *mut u8,
    pub(super) bytes: usize,
    pub(super) offsets: &'a [u32],
}

impl Served {
    /// Hello, and the lane the engine answers with.
    pub(super) fn open(mut spec: ModelSpec, identity: &Identity) -> Result<Served, CallError> {
        schemas::settings::apply(&mut spec, &identity.settings)?;
        spec.check()?;
        let mut session = ContainerSession::connect(Path::new(&identity.socket))?;
        let hello = Hello {
            schema_version: SCHEMA_VERSION,
            abi_hash: ABI_HASH,
            nonce: identity.nonce,
            spec: spec.clone(),
            beats: true,
        };
        session.send(&encode_from_container(&FromContainer::Hello(hello)))?;
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let (len, fds) = session.recv_lane(&mut bytes)?;
        let lane = match decode_from_engine(&bytes[..len])? {
            FromEngine::Welcome(welcome) => welcome.lane,
            FromEngine::Refused { message } => return Err(CallError::Refused(message)),
        };
        let fds = fds.ok_or_else(|| CallError::Refused("its welcome has no lane".into()))?;
        let mut side = ContainerSide::map(fds, LaneConfig::from(&lane), lane.incarnation)?;
        side.set_spin(Duration::from_micros(lane.spin_us.into()));
        side.start_heartbeat()?;
        Ok(Served {
            session,
            side,
            spec,
            writer: HeaderWriter::new(),
            head: Vec::new(),
            inputs: BatchHeader::default(),
            offsets: Vec::new(),
            batch: None,
            epoch: now(),
        })
    }

    pub(super) fn ready(&mut self) -> Result<(), CallError> {
        Ok(self.session.send(&encode_from_container(&FromContainer::Ready))?)
    }

    pub(super) fn load_failed(&mut self, message: String) -> Result<(), CallError> {
        let message = FromContainer::LoadFailed { message };
        Ok(self.session.send(&encode_from_container(&message))?)
    }

    pub(super) fn next(&mut self, wait: Duration) -> Result<Waited, CallError> {
        if self.batch.is_some() {
            return Err(CallError::Order("the last batch has no answer: reply or fail first"));
        }
        match self.side.next(wait)? {
            Next::Request(request) => self.take(request),
            Next::Shut => Ok(Waited::Shut),
            Next::Idle if self.session.is_closed() => Ok(Waited::Shut),
            Next::Idle => Ok(Waited::Idle),
        }
    }

    fn take(&mut self, request: Request) -> Result<Waited, CallError> {
        self.side.header(&request, &mut self.head);
        read_request(&self.head, &mut self.inputs)?;
        if self.inputs.tensors.len() != self.spec.inputs.len() {
            return Err(SchemaError::Missing("inputs").into());
        }
        self.offsets.clear();
        for placement in &self.inputs.tensors {
            placement.check(request.total_bytes)?;
            self.offsets.push(table(&self.side, &request, placement)?);
        }
        let waited = Waited::Batch { id: self.inputs.batch_id, rows: self.inputs.rows };
        let outputs = vec![None; self.spec.outputs.len()];
        let started_ns = self.now_ns();
        self.batch = Some(InHand { request, layout: Layout::new(), outputs, started_ns });
        Ok(waited)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from((now() - self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn input(&self, index: usize) -> Result<View<'_>, CallError> {
        let batch = self.batch.as_ref().ok_or(NO_BATCH)?;
        let placement = self.inputs.tensors.get(index).ok_or_else(|| {
            let count = self.inputs.tensors.len();
            CallError::Argument(format!("there is no input {index}: the model has {count}"))
        })?;
        let (base, _) = self.side.request_bytes(&batch.request);
        Ok(View {
            dtype: placement.dtype,
            shape: &placement.shape,
            data: base.wrapping_add(placement.offset as usize),
            bytes: placement.len as usize,
            offsets: &self.offsets[index],
        })
    }

    /// Room for an output of numbers, inside the reply slot.
    pub(super) fn output(&mut self, index: usize, shape: &[u64]) -> Result<View<'_>, CallError> {
        let dtype = self.output_dtype(index)?;
        if dtype.size_bytes().is_none() {
            return Err(CallError::Argument(format!("output {index} is text: give its values")));
        }
        let shape = Shape::from_slice(shape);
        self.place(index, |layout| layout.fixed(dtype, shape))?;
        let batch = self.batch.as_ref().ok_or(NO_BATCH)?;
        let Some(placement) = &batch.outputs[index] else { return Err(NO_BATCH) };
        let (base, _) = self.side.reply_ptr(&batch.request);
        Ok(View {
            dtype,
            shape: &placement.shape,
            data: base.wrapping_add(placement.offset as usize),
            bytes: placement.len as usize,
            offsets: &[],
        })
    }

    /// Copies an output of texts into the reply slot.
    pub(super) fn output_texts(
        &mut self,
        index: usize,
        shape: &[u64],
        offsets: &[u32],
        values: &[u8],
    ) -> Result<(), CallError> {
        let dtype = self.output_dtype(index)?;
        if dtype.size_bytes().is_some() {
            return Err(CallError::Argument(format!("output {index} has numbers, not texts")));
        }
        let bytes: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let wrong = || CallError::Argument("offsets rise from 0 to the bytes of all values".into());
        let values_bytes = u32::try_from(values.len()).map_err(|_| wrong())?;
        let count = elements(shape).ok_or_else(wrong)?;
        check_offsets(&bytes, count, values_bytes).map_err(|_| wrong())?;
        let shape = Shape::from_slice(shape);
        self.place(index, |layout| layout.variable(dtype, shape, values_bytes))?;
        let batch = self.batch.as_ref().ok_or(NO_BATCH)?;
        let Some(placement) = &batch.outputs[index] else { return Err(NO_BATCH) };
        self.side.write_reply(&batch.request, placement.offsets_at, &bytes)?;
        self.side.write_reply(&batch.request, placement.offset, values)?;
        Ok(())
    }

    fn output_dtype(&self, index: usize) -> Result<DType, CallError> {
        let spec = self.spec.outputs.get(index).ok_or_else(|| {
            let count = self.spec.outputs.len();
            CallError::Argument(format!("there is no output {index}: the model has {count}"))
        })?;
        Ok(spec.dtype)
    }

    fn place(
        &mut self,
        index: usize,
        lay: impl FnOnce(&mut Layout) -> Result<Placement, SchemaError>,
    ) -> Result<(), CallError> {
        let slot_bytes = self.side.config().reply_slot_bytes;
        let batch = self.batch.as_mut().ok_or(NO_BATCH)?;
        if batch.outputs[index].is_some() {
            return Err(CallError::Order("this output was given already"));
        }
        let too_large = |bytes| CallError::TooLarge { bytes, slot_bytes };
        let placement = lay(&mut batch.layout).map_err(|_| too_large(u64::from(u32::MAX) + 1))?;
        let total_bytes = batch.layout.total_bytes();
        if total_bytes > slot_bytes {
            return Err(too_large(total_bytes.into()));
        }
        batch.outputs[index] = Some(placement);
        Ok(())
    }

    /// Publishes the outputs; each must have been given.
    pub(super) fn reply(&mut self) -> Result<(), CallError> {
        let ended_ns = self.now_ns();
        let batch = self.batch.as_mut().ok_or(NO_BATCH)?;
        if batch.outputs.iter().any(Option::is_none) {
            return Err(CallError::Order("an output is missing: give every output, then reply"));
        }
        let tensors = std::mem::take(&mut batch.outputs).into_iter().flatten().collect();
        let total_bytes = batch.layout.total_bytes();
        let Some(batch) = self.batch.take() else { return Err(NO_BATCH) };
        let (batch_id, rows) = (self.inputs.batch_id, self.inputs.rows);
        let head = self.writer.reply(&BatchHeader { batch_id, rows, tensors })?;
        self.side.write_reply(&batch.request, 0, head)?;
        let header_bytes = head.len() as u32;
        let InHand { request, started_ns, .. } = batch;
        self.side.reply(request, Status::Ok, header_bytes, total_bytes, started_ns, ended_ns);
        Ok(())
    }

    /// Answers the batch with a failure.
    pub(super) fn fail(
        &mut self,
        kind: FailureKind,
        message: String,
        row: Option<u32>,
    ) -> Result<(), CallError> {
        let ended_ns = self.now_ns();
        let InHand { request, started_ns, .. } = self.batch.take().ok_or(NO_BATCH)?;
        let failure = Failure { kind, message, row };
        let head = self.writer.failure(self.inputs.batch_id, &failure)?;
        self.side.write_reply(&request, 0, head)?;
        let bytes = head.len() as u32;
        self.side.reply(request, Status::Failed, bytes, bytes, started_ns, ended_ns);
        Ok(())
    }
}

const NO_BATCH: CallError = CallError::Order("there is no batch in hand: call next first");

/// The checked offsets of a text tensor, or none.
fn table(
    side: &ContainerSide,
    request: &Request,
    placement: &Placement,
) -> Result<Vec<u32>, CallError> {
    if placement.dtype.size_bytes().is_some() {
        return Ok(Vec::new());
    }
    let count = elements(&placement.shape).ok_or(SchemaError::ShapeTooLarge)?;
    let mut bytes = vec![0; (count as usize + 1) * OFFSET_BYTES];
    side.read(request, placement.offsets_at, &mut bytes)?;
    Ok(check_offsets(&bytes, count, placement.len)?)
}
