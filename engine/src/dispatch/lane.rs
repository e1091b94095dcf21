//! One live replica, as a dispatcher sees it: batches of owned rows out, outputs or a failure back.
//!
//! A lane gets rows, never bytes: the shared-memory lane gathers them into a slot, the remote lane hands them to a task
//! of this process that speaks to the replica. What comes back has been copied and checked against the engine's own
//! record and the model's declaration. A lane that lies is a [`LaneError`], and the end of that incarnation.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use schemas::lifecycle::ModelSpec;
use schemas::predict::{Failure, HEADER_BYTES_MAX};
use schemas::tensor::{Dim, TENSOR_ALIGN, TensorSpec};
pub use shm_rpc::Verdict;

use crate::clock::Time;
use crate::dispatch::pulse::Pulse;
use crate::dispatch::{LaneSide, ReplicaLane};
use crate::ids::{BatchId, Incarnation, ReplicaId};
use crate::query::types::{TaskInputs, Tensor};

pub mod doorbell;
mod padding;
pub mod remote;
pub mod shm;

use remote::RemoteLane;
use shm::ShmLane;

/// The way to one incarnation of a replica.
pub struct Lane {
    pub replica: ReplicaId,
    pub incarnation: Incarnation,
    /// Of one whose heart beats.
    pulse: Option<Pulse>,
    way: Way,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a model has a handful of lanes; the shared-memory one is reached without a step more"
)]
enum Way {
    Shm(ShmLane),
    Remote(RemoteLane),
}

impl Lane {
    /// Must be called on the runtime of the dispatcher's core, which a lane's bell is registered with.
    pub fn open(now: Time, up: ReplicaLane) -> io::Result<Lane> {
        let way = match up.side {
            LaneSide::Shm(side) => Way::Shm(ShmLane::new(side)?),
            LaneSide::Remote(end) => Way::Remote(RemoteLane::new(end)),
        };
        let pulse = up.silence_max.map(|silence_max| Pulse::new(now, silence_max));
        Ok(Lane { replica: up.replica, incarnation: up.incarnation, pulse, way })
    }

    /// How long its heart has not beaten, if that is too long.
    pub fn look(&mut self, now: Time) -> Result<Option<Duration>, LaneError> {
        let (Some(pulse), Way::Shm(lane)) = (&mut self.pulse, &self.way) else { return Ok(None) };
        Ok(pulse.handle_look(now, lane.heartbeat()?))
    }

    /// Sends the batch; at most [`crate::batch::CREDITS_PER_REPLICA`] are out at a time. Says how many
    /// bytes its rows take on the way.
    pub fn send(&mut self, spec: &ModelSpec, batch: Batch<'_>) -> Result<u64, LaneError> {
        match &mut self.way {
            Way::Shm(lane) => lane.send(spec, batch).map(u64::from),
            Way::Remote(lane) => {
                lane.send(batch)?;
                Ok(batch.tasks.iter().map(|task| task.bytes()).sum())
            }
        }
    }

    /// The next news, if any has come. `rows` tells how many rows went out with a batch, by the engine's own record.
    pub fn poll_reply(
        &mut self,
        spec: &ModelSpec,
        rows: impl Fn(BatchId) -> u32,
    ) -> Result<Option<News>, LaneError> {
        match &mut self.way {
            Way::Shm(lane) => lane.poll_reply(spec, rows),
            Way::Remote(lane) => Ok(lane.poll_reply(spec, rows)?.map(News::Reply)),
        }
    }

    /// How the reply goes on whose part was the last news; to be said before the next look.
    pub fn tell(&mut self, verdict: Verdict) {
        match &mut self.way {
            Way::Shm(lane) => lane.tell(verdict),
            // It has replies in one piece alone.
            Way::Remote(_) => {}
        }
    }

    /// Announces that the dispatcher is about to wait. False: a reply came in the meantime, look again.
    pub fn may_sleep(&mut self) -> bool {
        match &mut self.way {
            Way::Shm(lane) => lane.may_sleep(),
            Way::Remote(lane) => lane.may_sleep(),
        }
    }

    pub fn awake(&mut self) {
        match &mut self.way {
            Way::Shm(lane) => lane.awake(),
            // It is woken by its channel, and announces nothing.
            Way::Remote(_) => {}
        }
    }

    /// Ready when there may be news since the last call.
    pub fn poll_bell(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.way {
            Way::Shm(lane) => lane.poll_bell(context),
            Way::Remote(lane) => lane.poll_bell(context),
        }
    }

    /// Tells the replica to finish and leave.
    pub fn shut(&mut self) {
        match &mut self.way {
            Way::Shm(lane) => lane.shut(),
            // Who speaks to it sees its end of the lane close.
            Way::Remote(_) => {}
        }
    }
}

/// A batch ready to leave: tasks in order, each one or more rows, all of one shape key.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    pub id: BatchId,
    pub rows: u32,
    pub tasks: &'a [&'a TaskInputs],
}

/// What a look at a lane finds.
#[derive(Debug)]
pub enum News {
    Reply(Reply),
    /// Its replica waits for [`Lane::tell`].
    Part(Part),
}

/// Some of what a replica makes of a batch; its end comes as a [`Reply`].
#[derive(Debug)]
pub struct Part {
    pub batch: BatchId,
    /// As of a reply, so far.
    pub model: Duration,
    /// Whole-batch outputs in declared order.
    pub outputs: Vec<Tensor>,
}

/// What a replica made of a batch.
#[derive(Debug)]
pub struct Reply {
    pub batch: BatchId,
    /// Time inside the model, by the replica's own account, for reports only.
    pub model: Duration,
    /// Whole-batch outputs in declared order, or why there are none. None at all end a reply in parts.
    pub outcome: Result<Vec<Tensor>, Failure>,
}

/// What ends an incarnation. The messages name the rule broken, never an address or a shared-memory name.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    #[error("lane fault {name}: {fault}", name = .fault.name())]
    Fault { fault: shm_rpc::LaneFault },
    #[error("lane fault unusable: {0}")]
    Lane(shm_rpc::LaneError),
    #[error("lane fault bad_header: the reply's header does not verify: {0}")]
    Header(#[from] schemas::SchemaError),
    #[error("lane fault output_count: the reply has {got} outputs, the model declares {declared}")]
    OutputCount { got: usize, declared: usize },
    #[error(
        "lane fault output_shape: output '{output}' has another dtype or shape than the model declares for {rows} rows"
    )]
    OutputShape { output: String, rows: u32 },
    #[error("lane fault part_undeclared: a part of a reply, from a model that declares none")]
    PartUndeclared,
    #[error("a batch was due while no slot was free")]
    NoSlot,
    #[error("lane fault wrong_batch: the replica answered a batch that it does not have")]
    WrongBatch,
    /// In the words of the task that speaks to it.
    #[error("{0}")]
    Peer(String),
    #[error("the task that speaks to the replica has ended")]
    Gone,
}

impl From<shm_rpc::LaneFault> for LaneError {
    fn from(fault: shm_rpc::LaneFault) -> LaneError {
        LaneError::Fault { fault }
    }
}

impl From<shm_rpc::LaneError> for LaneError {
    fn from(error: shm_rpc::LaneError) -> LaneError {
        match error {
            shm_rpc::LaneError::Fault(fault) => fault.into(),
            error => LaneError::Lane(error),
        }
    }
}

/// Bytes of rows that fit one slot of `slot_bytes`: what is left after the header and the padding in front of
/// each tensor and offsets table.
pub fn payload_bytes_max(spec: &ModelSpec, slot_bytes: u32) -> u64 {
    let padding = (2 * spec.inputs.len() * TENSOR_ALIGN) as u64;
    u64::from(slot_bytes).saturating_sub(HEADER_BYTES_MAX as u64 + padding)
}

/// Most that a batch of rows that take at most `bytes_max` can cost: its rows, or where they are padded the most
/// elements of one input that varies, as [`TaskInputs::row_cost`] counts them.
pub fn batch_cost_max(spec: &ModelSpec, bytes_max: u64) -> u64 {
    let rows_max = u64::from(spec.max_batch);
    if !spec.pad {
        return rows_max;
    }
    let varying = spec.inputs.iter().filter(|input| input.dims.contains(&Dim::Variable));
    let smallest = varying.map(element_bytes).min().unwrap_or(1).max(1);
    (bytes_max / smallest).max(rows_max)
}

/// Bytes that come with each element of the dimensions that vary.
fn element_bytes(tensor: &TensorSpec) -> u64 {
    let size = tensor.dtype.size_bytes().map_or(1, |size| size as u64);
    tensor.dims.iter().fold(size, |bytes, dim| match dim {
        Dim::Fixed(fixed) => bytes.saturating_mul(*fixed),
        Dim::Batch | Dim::Variable => bytes,
    })
}

/// What came back is what the model declares for `rows`.
fn check_outputs(spec: &ModelSpec, rows: u32, outputs: &[Tensor]) -> Result<(), LaneError> {
    let (got, declared) = (outputs.len(), spec.outputs.len());
    if got != declared {
        return Err(LaneError::OutputCount { got, declared });
    }
    let agrees = |(output, declared): &(&Tensor, &TensorSpec)| {
        output.dtype == declared.dtype && shape_agrees(&declared.dims, &output.shape, rows)
    };
    match outputs.iter().zip(&spec.outputs).find(|pair| !agrees(pair)) {
        Some((_, declared)) => Err(LaneError::OutputShape { output: declared.name.clone(), rows }),
        None => Ok(()),
    }
}

/// True when `shape` is what `dims` declare for a batch of `rows`.
pub fn shape_agrees(dims: &[Dim], shape: &[u64], rows: u32) -> bool {
    dims.len() == shape.len()
        && dims.iter().zip(shape).all(|(declared, &size)| match declared {
            Dim::Batch => size == u64::from(rows),
            Dim::Fixed(fixed) => size == *fixed,
            Dim::Variable => true,
        })
}

#[cfg(test)]
mod tests {
    use schemas::lifecycle::Late;
    use schemas::tensor::DType;

    use super::*;

    #[test]
    fn a_padded_batch_costs_at_most_what_a_slot_carries() {
        let tensor =
            |dtype, dims: &[Dim]| TensorSpec { name: "x".into(), dtype, dims: dims.to_vec() };
        let mut spec = ModelSpec {
            name: "m".into(),
            platform: "test".into(),
            inputs: vec![
                tensor(DType::I64, &[Dim::Batch, Dim::Variable]),
                tensor(DType::F32, &[Dim::Batch, Dim::Variable, Dim::Fixed(16)]),
                tensor(DType::U8, &[Dim::Batch]),
            ],
            outputs: Vec::new(),
            batched: true,
            max_batch: 64,
            slo_us: None,
            late: Late::Serve,
            batch_timeout_us: 1,
            replicas: 1,
            pad: true,
            decoupled: false,
        };
        assert_eq!(batch_cost_max(&spec, 80_000), 10_000, "8 bytes an element");
        assert_eq!(batch_cost_max(&spec, 80), 64, "empty rows cost something too");
        spec.pad = false;
        assert_eq!(batch_cost_max(&spec, 80_000), 64);
    }

    #[test]
    fn a_shape_agrees_when_every_dimension_does() {
        let dims = [Dim::Batch, Dim::Fixed(10), Dim::Variable];
        assert!(shape_agrees(&dims, &[3, 10, 7], 3));
        assert!(!shape_agrees(&dims, &[2, 10, 7], 3), "too few rows");
        assert!(!shape_agrees(&dims, &[3, 9, 7], 3), "a fixed dimension differs");
        assert!(!shape_agrees(&dims, &[3, 10], 3), "a dimension is missing");
    }
}
