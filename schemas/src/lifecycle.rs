//! The words of the handshake: what a container says of itself, what the engine answers.
//!
//! Order: container `Hello`, engine `Welcome` (the lane's descriptors ride along) or `Refused`, container `Ready` or
//! `LoadFailed`. Versions must be equal; a difference is refused with a sentence.

use std::collections::HashSet;

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use crate::error::SchemaError;
use crate::generated as fb;
use crate::tensor::{Dim, TENSORS_MAX, TensorSpec};
use crate::wire;

/// Raised when a message changes its meaning.
pub const SCHEMA_VERSION: u32 = 3;

/// One message of the handshake; a socket of packets carries each whole.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Text inside a message; leaves room for a full declaration beside it.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Rows of one batch. Larger batches gain nothing and would make slots huge.
pub const BATCH_ROWS_MAX: u32 = 65_536;

/// Replicas of one model on one host.
pub const REPLICAS_MAX: u32 = 1024;

/// What becomes of work that can no longer meet a model's SLO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Late {
    /// Served when nothing on time waits.
    Serve,
    /// Never run: the SLO is a hard deadline.
    Shed,
}

/// A model as its container declares it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelSpec {
    pub name: String,
    /// What runs it: `python`, `native-linear`, …
    pub platform: String,
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
    /// Inputs and outputs carry a leading [`Dim::Batch`].
    pub batched: bool,
    pub max_batch: u32,
    pub slo_us: Option<u64>,
    pub late: Late,
    pub batch_timeout_us: u64,
    pub replicas: u32,
    /// Tasks of unlike sizes share a batch: what varies is padded with zeros to the longest of them.
    pub pad: bool,
    /// A reply comes in parts, of which there may be any number; its batches hold one task each.
    pub decoupled: bool,
}

impl ModelSpec {
    /// Refuses a declaration that can't be served, with a sentence for the model's author.
    pub fn check(&self) -> Result<(), SchemaError> {
        let wrong = |why: String| Err(SchemaError::Spec(why));
        if self.name.is_empty() {
            return wrong("the model has no name".into());
        }
        check_tensors("input", &self.inputs, self.batched)?;
        check_tensors("output", &self.outputs, self.batched)?;
        if !(1..=BATCH_ROWS_MAX).contains(&self.max_batch) {
            return wrong(format!("max_batch is {}, use 1 to {BATCH_ROWS_MAX}", self.max_batch));
        }
        if !self.batched && self.max_batch != 1 {
            return wrong("a model without a batch dimension has max_batch 1".into());
        }
        if !(1..=REPLICAS_MAX).contains(&self.replicas) {
            return wrong(format!("replicas is {}, use 1 to {REPLICAS_MAX}", self.replicas));
        }
        if self.batch_timeout_us == 0 || self.slo_us == Some(0) {
            return wrong("slo and batch_timeout must be longer than zero".into());
        }
        if self.pad && self.decoupled {
            return wrong(
                "pad is for tasks that share a batch, and a model that answers in parts takes one at a time; leave pad out"
                    .into(),
            );
        }
        if self.pad { self.check_padding() } else { Ok(()) }
    }

    /// Texts have no zeros to be padded with; and beside them a batch's size would not follow from its longest task.
    fn check_padding(&self) -> Result<(), SchemaError> {
        let wrong = |why: String| Err(SchemaError::Spec(why));
        if !self.batched {
            return wrong(
                "pad is for a model with a batch dimension; put \"n\" first, or leave pad out"
                    .into(),
            );
        }
        if let Some(input) = self.inputs.iter().find(|it| it.dtype.size_bytes().is_none()) {
            let (name, dtype) = (&input.name, input.dtype.name());
            return wrong(format!(
                "input '{name}' is {dtype}, which can't be padded; leave pad out, or take numbers"
            ));
        }
        if !self.inputs.iter().any(|it| it.dims.contains(&Dim::Variable)) {
            return wrong(
                "pad is for inputs of variable size; name such a dimension, as in [\"n\", \"t\"], or leave pad out"
                    .into(),
            );
        }
        Ok(())
    }
}

fn check_tensors(side: &str, tensors: &[TensorSpec], batched: bool) -> Result<(), SchemaError> {
    let wrong = |why: String| Err(SchemaError::Spec(why));
    if tensors.is_empty() || tensors.len() > TENSORS_MAX {
        return wrong(format!("{} {side}s, use 1 to {TENSORS_MAX}", tensors.len()));
    }
    let mut names = HashSet::new();
    for tensor in tensors {
        let name = &tensor.name;
        if name.is_empty() || !names.insert(name) {
            return wrong(format!("{side} '{name}' needs a name of its own"));
        }
        if tensor.dims.len() > crate::tensor::RANK_MAX {
            return wrong(format!("{side} '{name}' has too many dimensions"));
        }
        let leads = tensor.dims.first() == Some(&Dim::Batch);
        let later = tensor.dims.iter().skip(1).any(|dim| *dim == Dim::Batch);
        if leads != batched || later {
            return wrong(format!(
                "{side} '{name}' must have the batch dimension first, as every other tensor, or none at all"
            ));
        }
    }
    Ok(())
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    pub schema_version: u32,
    /// Of the shared-memory layout the container was built with.
    pub abi_hash: u64,
    /// Given to the container by its environment; proves that it is the process we started.
    pub nonce: u64,
    pub spec: ModelSpec,
    /// Its heartbeat word is beaten from the welcome on; without, no beat is expected.
    pub beats: bool,
}

/// What the segments of a lane are made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LaneMemory {
    Memfd,
    Posix,
}

/// What a lane is, decided by the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneGeometry {
    pub ring_depth: u32,
    pub slots: u32,
    pub request_slot_bytes: u32,
    pub reply_slot_bytes: u32,
    pub incarnation: u64,
    pub memory: LaneMemory,
    /// Slots lie on 2 MiB pages.
    pub huge_pages: bool,
    /// Microseconds the container may spin before it sleeps; 0 where it shares its cores.
    pub spin_us: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    pub lane: LaneGeometry,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FromContainer {
    Hello(Hello),
    Ready,
    /// The reason, with file and line.
    LoadFailed {
        message: String,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FromEngine {
    Welcome(Welcome),
    Refused { message: String },
}

pub fn encode_from_container(message: &FromContainer) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let mut args = fb::FromContainerArgs::default();
    match message {
        FromContainer::Hello(hello) => {
            args.kind = fb::ContainerKind::Hello;
            args.schema_version = hello.schema_version;
            args.abi_hash = hello.abi_hash;
            args.nonce = hello.nonce;
            args.beats = hello.beats;
            args.spec = Some(write_model(&mut builder, &hello.spec));
        }
        FromContainer::Ready => args.kind = fb::ContainerKind::Ready,
        FromContainer::LoadFailed { message } => {
            args.kind = fb::ContainerKind::LoadFailed;
            args.message = Some(builder.create_string(cut(message)));
        }
    }
    let root = fb::FromContainer::create(&mut builder, &args);
    builder.finish_minimal(root);
    builder.finished_data().to_vec()
}

pub fn decode_from_container(bytes: &[u8]) -> Result<FromContainer, SchemaError> {
    check_size(bytes)?;
    let table = flatbuffers::root_with_opts::<fb::FromContainer<'_>>(&options(), bytes)?;
    match table.kind() {
        fb::ContainerKind::Hello => Ok(FromContainer::Hello(Hello {
            schema_version: table.schema_version(),
            abi_hash: table.abi_hash(),
            nonce: table.nonce(),
            beats: table.beats(),
            spec: read_model(table.spec().ok_or(SchemaError::Missing("spec"))?)?,
        })),
        fb::ContainerKind::Ready => Ok(FromContainer::Ready),
        fb::ContainerKind::LoadFailed => {
            Ok(FromContainer::LoadFailed { message: text(table.message()) })
        }
        fb::ContainerKind(value) => {
            Err(SchemaError::UnknownValue { field: "kind", value: u64::from(value) })
        }
    }
}

pub fn encode_from_engine(message: &FromEngine) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let mut args = fb::FromEngineArgs::default();
    match message {
        FromEngine::Welcome(Welcome { lane }) => {
            args.kind = fb::EngineKind::Welcome;
            args.ring_depth = lane.ring_depth;
            args.slots = lane.slots;
            args.request_slot_bytes = lane.request_slot_bytes;
            args.reply_slot_bytes = lane.reply_slot_bytes;
            args.incarnation = lane.incarnation;
            args.memory = match lane.memory {
                LaneMemory::Memfd => fb::LaneMemory::Memfd,
                LaneMemory::Posix => fb::LaneMemory::Posix,
            };
            args.huge_pages = lane.huge_pages;
            args.spin_us = lane.spin_us;
        }
        FromEngine::Refused { message } => {
            args.kind = fb::EngineKind::Refused;
            args.message = Some(builder.create_string(cut(message)));
        }
    }
    let root = fb::FromEngine::create(&mut builder, &args);
    builder.finish_minimal(root);
    builder.finished_data().to_vec()
}

pub fn decode_from_engine(bytes: &[u8]) -> Result<FromEngine, SchemaError> {
    check_size(bytes)?;
    let table = flatbuffers::root_with_opts::<fb::FromEngine<'_>>(&options(), bytes)?;
    match table.kind() {
        fb::EngineKind::Welcome => {
            let lane = LaneGeometry {
                ring_depth: table.ring_depth(),
                slots: table.slots(),
                request_slot_bytes: table.request_slot_bytes(),
                reply_slot_bytes: table.reply_slot_bytes(),
                incarnation: table.incarnation(),
                memory: read_memory(table.memory())?,
                huge_pages: table.huge_pages(),
                spin_us: table.spin_us(),
            };
            Ok(FromEngine::Welcome(Welcome { lane }))
        }
        fb::EngineKind::Refused => Ok(FromEngine::Refused { message: text(table.message()) }),
        fb::EngineKind(value) => {
            Err(SchemaError::UnknownValue { field: "kind", value: u64::from(value) })
        }
    }
}

fn read_memory(memory: fb::LaneMemory) -> Result<LaneMemory, SchemaError> {
    match memory {
        fb::LaneMemory::Memfd => Ok(LaneMemory::Memfd),
        fb::LaneMemory::Posix => Ok(LaneMemory::Posix),
        fb::LaneMemory(value) => {
            Err(SchemaError::UnknownValue { field: "memory", value: u64::from(value) })
        }
    }
}

fn write_model<'a>(
    builder: &mut FlatBufferBuilder<'a>,
    spec: &ModelSpec,
) -> WIPOffset<fb::ModelSpec<'a>> {
    let inputs: Vec<_> = spec.inputs.iter().map(|it| wire::write_spec(builder, it)).collect();
    let outputs: Vec<_> = spec.outputs.iter().map(|it| wire::write_spec(builder, it)).collect();
    let args = fb::ModelSpecArgs {
        inputs: Some(builder.create_vector(&inputs)),
        outputs: Some(builder.create_vector(&outputs)),
        name: Some(builder.create_string(&spec.name)),
        platform: Some(builder.create_string(&spec.platform)),
        batched: spec.batched,
        max_batch: spec.max_batch,
        slo_us: spec.slo_us.unwrap_or(0),
        late: match spec.late {
            Late::Serve => fb::Late::Serve,
            Late::Shed => fb::Late::Shed,
        },
        batch_timeout_us: spec.batch_timeout_us,
        replicas: spec.replicas,
        pad: spec.pad,
        decoupled: spec.decoupled,
    };
    fb::ModelSpec::create(builder, &args)
}

fn read_model(table: fb::ModelSpec<'_>) -> Result<ModelSpec, SchemaError> {
    Ok(ModelSpec {
        name: table.name().ok_or(SchemaError::Missing("name"))?.to_owned(),
        platform: text(table.platform()),
        inputs: wire::read_specs(table.inputs())?,
        outputs: wire::read_specs(table.outputs())?,
        batched: table.batched(),
        max_batch: table.max_batch(),
        slo_us: Some(table.slo_us()).filter(|&slo_us| slo_us > 0),
        late: match table.late() {
            fb::Late::Serve => Late::Serve,
            fb::Late::Shed => Late::Shed,
            fb::Late(value) => {
                return Err(SchemaError::UnknownValue { field: "late", value: u64::from(value) });
            }
        },
        batch_timeout_us: table.batch_timeout_us(),
        replicas: table.replicas(),
        pad: table.pad(),
        decoupled: table.decoupled(),
    })
}

fn check_size(bytes: &[u8]) -> Result<(), SchemaError> {
    let bytes = bytes.len();
    if bytes > MESSAGE_BYTES_MAX { Err(SchemaError::MessageTooLarge { bytes }) } else { Ok(()) }
}

fn options() -> flatbuffers::VerifierOptions {
    wire::options(2 * MESSAGE_BYTES_MAX)
}

fn text(text: Option<&str>) -> String {
    cut(text.unwrap_or_default()).to_owned()
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests;
