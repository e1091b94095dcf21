//! What travels the corridor: tensors, queries, tasks, predictions, and why there may be none.
//!
//! Inputs and outputs are one tensor type, so that an output can feed the next model. Tensors own their bytes
//! (cheaply cloned slices of a request body or of one copied reply); nothing here points into shared memory.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use schemas::tensor::{DType, Shape};

use crate::clock::Time;
use crate::ids::{ClassId, ShapeKey};

/// One tensor, row-major, little-endian.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dtype: DType,
    /// With the batch dimension first where the model declares one.
    pub shape: Shape,
    pub data: TensorData,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// `elements × size` bytes without padding.
    Fixed(Bytes),
    /// Strings and bytes: element `i` is `values[offsets[i]..offsets[i + 1]]`, offsets relative to `values`;
    /// `offsets` holds one entry more than there are elements and starts wherever the slice does.
    Variable { offsets: Arc<[u32]>, values: Bytes },
}

impl TensorData {
    pub fn bytes(&self) -> u64 {
        match self {
            TensorData::Fixed(data) => data.len() as u64,
            TensorData::Variable { offsets, values } => (values.len() + offsets.len() * 4) as u64,
        }
    }
}

/// When an answer is due and what happens past that. Computed once, when the last byte of the request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Orders the work; the request's own deadline, else arrival + SLO, else the late limit.
    pub due: Time,
    /// Past this the task is never run and is answered "deadline passed". Equals `due` when hard.
    pub late_limit: Time,
}

impl Deadline {
    pub fn is_hard(&self) -> bool {
        self.due == self.late_limit
    }
}

/// What a question may expect: by when, and what its answer is worth beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub deadline: Deadline,
    pub class: ClassId,
    /// Of one row.
    pub weight: u32,
}

/// One query for one model: one or more rows, never split over batches.
#[derive(Debug)]
pub struct TaskInputs {
    /// In the order the model declares them.
    pub tensors: Vec<Tensor>,
    /// 1 for a model without a batch dimension.
    pub rows: u32,
}

impl TaskInputs {
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.data.bytes()).sum()
    }

    /// Equal for tasks that may share a batch of a model with (or without) a batch dimension.
    pub fn shape_key(&self, batched: bool) -> ShapeKey {
        let mut hasher = DefaultHasher::new();
        for tensor in &self.tensors {
            tensor.dtype.hash(&mut hasher);
            tensor.shape[usize::from(batched)..].hash(&mut hasher);
        }
        ShapeKey(hasher.finish())
    }
}

/// Where a task's time went, and the batch it travelled in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// From submission to the batch's departure.
    pub queue: Duration,
    /// From departure to the reply, without the model's own time.
    pub lane: Duration,
    /// Inside the container's `predict`.
    pub model: Duration,
    /// Rows of the whole batch.
    pub batch_rows: u32,
}

/// A model's outputs for one task, in the order the model declares them.
#[derive(Clone, Debug)]
pub struct Prediction {
    pub outputs: Vec<Tensor>,
    pub timings: Timings,
}

/// Why a task got no prediction. Each message is a sentence for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    #[error("the model's queue is full; retry after the time given, or add replicas")]
    QueueFull { retry_after: Duration },
    #[error(
        "the model is overloaded and could not have answered in time; retry after the time given, allow more time, or add replicas"
    )]
    Overloaded { retry_after: Duration },
    #[error(
        "the inputs take {bytes} bytes, more than the {limit} bytes one batch of this model can carry; send fewer rows or raise slot_bytes_max"
    )]
    TooLarge { bytes: u64, limit: u64 },
    #[error("the deadline passed before the model could answer; allow more time or send less load")]
    DeadlinePassed,
    #[error("model '{model}' has no live replica: {reason}")]
    NoReplica { model: Arc<str>, reason: Arc<str>, retry_after: Duration },
    #[error("the model raised: {message}")]
    ModelRaised { message: Arc<str> },
    #[error("the model refused the input: {message}")]
    InputRefused { message: Arc<str> },
    #[error("the model's output does not match what it declares: {message}")]
    BadOutput { message: Arc<str> },
    #[error(
        "the model's process ended while it ran this request, twice; the request may be what ends it. Last output: {last_output}"
    )]
    ReplicaLost { last_output: Arc<str> },
    #[error(
        "the model did not answer within its batch_timeout of {limit:?}; it was stopped and restarted"
    )]
    BatchTimeout { limit: Duration },
    #[error("the engine is shutting down; send the request to another one")]
    Draining,
}

pub type TaskResult = Result<Prediction, TaskError>;
