//! From a connected socket to a live lane: hello, checked; the lane, sized after the declaration; ready.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use schemas::lifecycle::{
    self, FromContainer, FromEngine, LaneGeometry, LaneMemory, MESSAGE_BYTES_MAX, ModelSpec,
    SCHEMA_VERSION, Welcome,
};
use schemas::predict::HEADER_BYTES_MAX;
use schemas::tensor::{Dim, TENSOR_ALIGN, TensorSpec};
use shm_rpc::engine_side::EngineSide;
use shm_rpc::handshake::{EngineListener, EngineSession, Received};
use shm_rpc::{ABI_HASH, LaneConfig, Memory};
use tokio::io::unix::AsyncFd;

use crate::dispatch::lane::doorbell::watch;
use crate::ids::Incarnation;

/// Descriptors in a ring: far more than the batches a replica may have out.
const RING_DEPTH: u32 = 8;

/// One running, one spare.
const SLOTS: u32 = 2;

/// The longest a container with cores of its own spins before it sleeps: two to three times what a sleep and a wake
/// cost, which bounds the loss against the best choice in hindsight.
const SPIN_US: u32 = 30;

/// Why a container is not welcome.
#[derive(Debug, thiserror::Error)]
pub enum WelcomeError {
    #[error("its socket failed: {0}")]
    Socket(#[from] io::Error),
    #[error("its lane failed: {0}")]
    Lane(#[from] shm_rpc::LaneError),
    #[error("it closed its socket before it was ready")]
    Closed,
    #[error("it sent an invalid message: {0}")]
    Message(#[from] schemas::SchemaError),
    #[error("it sent another message than the handshake expects")]
    OutOfOrder,
    #[error(
        "it speaks schema version {theirs}, this engine {ours}; install one version of hydrofoil"
    )]
    SchemaVersion { ours: u32, theirs: u32 },
    #[error(
        "its shared-memory layout differs from this engine's; install one version of hydrofoil"
    )]
    Abi,
    #[error("it does not know its nonce: another process connected")]
    Nonce,
    #[error(
        "a batch of max_batch {rows} takes {bytes} bytes, more than limits.slot_bytes_max = {limit}; lower max_batch or raise the limit"
    )]
    SlotTooSmall { rows: u32, bytes: u64, limit: u32 },
    #[error("{message}")]
    LoadFailed { message: String },
}

/// Waits for a replica's one connection.
pub struct Door {
    listener: EngineListener,
    bell: AsyncFd<OwnedFd>,
}

impl Door {
    pub fn open(path: &Path) -> Result<Door, WelcomeError> {
        let listener = EngineListener::bind(path)?;
        let bell = watch(std::os::fd::AsFd::as_fd(&listener))?;
        Ok(Door { listener, bell })
    }

    pub async fn accept(mut self) -> Result<Guest, WelcomeError> {
        loop {
            self.bell.readable().await?.clear_ready();
            if let Some(session) = self.listener.try_accept()? {
                return Guest::new(session);
            }
        }
    }
}

/// A connected container.
pub struct Guest {
    session: EngineSession,
    bell: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
    beats: bool,
}

impl Guest {
    fn new(session: EngineSession) -> Result<Guest, WelcomeError> {
        let bell = watch(std::os::fd::AsFd::as_fd(&session))?;
        Ok(Guest { session, bell, buffer: vec![0; MESSAGE_BYTES_MAX], beats: false })
    }

    async fn receive(&mut self) -> Result<FromContainer, WelcomeError> {
        loop {
            match self.session.try_recv(&mut self.buffer)? {
                Received::Message(len) => {
                    return Ok(lifecycle::decode_from_container(&self.buffer[..len])?);
                }
                Received::Closed => return Err(WelcomeError::Closed),
                Received::WouldBlock => self.bell.readable().await?.clear_ready(),
            }
        }
    }

    /// The declaration of a container that proved to be ours and of our version.
    pub async fn hello(&mut self, nonce: u64) -> Result<ModelSpec, WelcomeError> {
        let hello = match self.receive().await? {
            FromContainer::Hello(hello) => hello,
            FromContainer::LoadFailed { message } => {
                return Err(WelcomeError::LoadFailed { message });
            }
            FromContainer::Ready => return Err(WelcomeError::OutOfOrder),
        };
        let checked = check_hello(&hello, nonce);
        if let Err(error) = &checked {
            self.refuse(error);
        }
        self.beats = hello.beats;
        checked.map(|()| hello.spec)
    }

    /// Whether its heart is said to beat.
    pub fn beats(&self) -> bool {
        self.beats
    }

    /// Tells the container why; it may be gone already.
    fn refuse(&mut self, error: &WelcomeError) {
        let message =
            lifecycle::encode_from_engine(&FromEngine::Refused { message: error.to_string() });
        if let Err(error) = self.session.send(&message) {
            tracing::debug!(%error, "a refused container did not hear why");
        }
    }

    /// Hands the lane over and waits until the model is loaded.
    pub async fn join(
        &mut self,
        geometry: LaneGeometry,
        node: Option<u32>,
    ) -> Result<EngineSide, WelcomeError> {
        let wanted = LaneConfig::from(&geometry);
        let (side, fds) = EngineSide::create_on(wanted, geometry.incarnation, node)?;
        let huge_pages = side.config().huge_pages;
        if geometry.huge_pages && !huge_pages {
            tracing::warn!(
                "no huge pages to be had for a lane; reserve some (sysctl vm.nr_hugepages=N) or leave --huge-pages out"
            );
        }
        let lane = LaneGeometry { huge_pages, ..geometry };
        let welcome = FromEngine::Welcome(Welcome { lane });
        self.session.send_lane(&lifecycle::encode_from_engine(&welcome), &fds)?;
        drop(fds);
        match self.receive().await? {
            FromContainer::Ready => Ok(side),
            FromContainer::LoadFailed { message } => Err(WelcomeError::LoadFailed { message }),
            FromContainer::Hello(_) => Err(WelcomeError::OutOfOrder),
        }
    }

    /// Waits until the container closes its socket. Nothing it sends after ready means anything.
    pub async fn closed(&mut self) -> WelcomeError {
        match self.receive().await {
            Ok(_) => WelcomeError::OutOfOrder,
            Err(error) => error,
        }
    }
}

fn check_hello(hello: &lifecycle::Hello, nonce: u64) -> Result<(), WelcomeError> {
    if hello.schema_version != SCHEMA_VERSION {
        return Err(WelcomeError::SchemaVersion {
            ours: SCHEMA_VERSION,
            theirs: hello.schema_version,
        });
    }
    if hello.abi_hash != ABI_HASH {
        return Err(WelcomeError::Abi);
    }
    if hello.nonce != nonce {
        return Err(WelcomeError::Nonce);
    }
    Ok(hello.spec.check()?)
}

/// How lanes are made on this engine, whatever the model.
#[derive(Clone, Copy, Debug)]
pub struct LaneSettings {
    pub memory: Memory,
    pub huge_pages: bool,
    pub slot_bytes_max: u32,
    pub variable_slot_bytes: u32,
}

/// A lane for a model: `max_batch` rows where their size is declared, room to vary where not.
pub fn geometry(
    spec: &ModelSpec,
    incarnation: Incarnation,
    settings: &LaneSettings,
    owns_cores: bool,
) -> Result<LaneGeometry, WelcomeError> {
    Ok(LaneGeometry {
        ring_depth: RING_DEPTH,
        slots: SLOTS,
        request_slot_bytes: slot_bytes(&spec.inputs, spec.max_batch, settings)?,
        reply_slot_bytes: slot_bytes(&spec.outputs, spec.max_batch, settings)?,
        incarnation: incarnation.0,
        memory: match settings.memory {
            Memory::Memfd => LaneMemory::Memfd,
            Memory::Posix => LaneMemory::Posix,
        },
        huge_pages: settings.huge_pages,
        spin_us: if owns_cores { SPIN_US } else { 0 },
    })
}

fn slot_bytes(
    tensors: &[TensorSpec],
    rows: u32,
    settings: &LaneSettings,
) -> Result<u32, WelcomeError> {
    let limit = settings.slot_bytes_max;
    let mut bytes = HEADER_BYTES_MAX as u64;
    let mut variable = false;
    for tensor in tensors {
        let padding = 2 * TENSOR_ALIGN as u64;
        match row_bytes(tensor) {
            Some(row) => {
                bytes =
                    bytes.saturating_add(row.saturating_mul(rows.into())).saturating_add(padding)
            }
            None => variable = true,
        }
    }
    if variable {
        let room = bytes.saturating_add(settings.variable_slot_bytes.into()).min(limit.into());
        bytes = bytes.max(room);
    }
    if bytes > u64::from(limit) {
        return Err(WelcomeError::SlotTooSmall { rows, bytes, limit });
    }
    Ok(bytes as u32)
}

/// Bytes of one row, where every dimension and element has a declared size.
fn row_bytes(tensor: &TensorSpec) -> Option<u64> {
    let size = tensor.dtype.size_bytes()? as u64;
    tensor.dims.iter().try_fold(size, |bytes, dim| match dim {
        Dim::Batch => Some(bytes),
        Dim::Fixed(fixed) => Some(bytes.saturating_mul(*fixed)),
        Dim::Variable => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::tensor::DType;

    fn tensor(dims: &[Dim]) -> TensorSpec {
        TensorSpec { name: "x".into(), dtype: DType::F32, dims: dims.to_vec() }
    }

    fn settings(slot_bytes_max: u32) -> LaneSettings {
        let variable_slot_bytes = 1 << 20;
        LaneSettings {
            memory: Memory::Memfd,
            huge_pages: false,
            slot_bytes_max,
            variable_slot_bytes,
        }
    }

    #[test]
    fn a_slot_holds_a_full_batch_of_declared_rows() {
        let bytes =
            slot_bytes(&[tensor(&[Dim::Batch, Dim::Fixed(784)])], 64, &settings(16 << 20)).unwrap();
        assert_eq!(bytes, 4096 + 64 * 784 * 4 + 128);
    }

    #[test]
    fn a_slot_leaves_room_where_sizes_vary_but_keeps_the_limit() {
        let varying = [tensor(&[Dim::Batch, Dim::Variable])];
        assert!(slot_bytes(&varying, 64, &settings(16 << 20)).unwrap() >= 1 << 20);
        assert_eq!(slot_bytes(&varying, 64, &settings(65_536)).unwrap(), 65_536);
    }

    #[test]
    fn rows_that_can_never_fit_are_refused_by_the_settings_name() {
        let huge = [tensor(&[Dim::Batch, Dim::Fixed(u64::MAX)])];
        let error = slot_bytes(&huge, 64, &settings(16 << 20)).unwrap_err().to_string();
        assert!(error.contains("slot_bytes_max"), "{error}");
    }
}
