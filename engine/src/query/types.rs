//! What travels the corridor: tensors, queries, tasks, predictions, and why there may be none.
//!
//! Inputs and outputs are one tensor type, so that an output can feed the next model. Tensors own their bytes
//! (cheaply cloned slices of a request body or of one copied reply); nothing here points into shared memory.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use schemas::lifecycle::ModelSpec;
use schemas::tensor::{DType, Dim, Shape};
use smallvec::SmallVec;

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

/// Those of one task. Most models have one each way, which then costs no memory of its own.
pub type Tensors = SmallVec<[Tensor; 1]>;

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
    pub tensors: Tensors,
    /// 1 for a model without a batch dimension.
    pub rows: u32,
}

impl TaskInputs {
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.data.bytes()).sum()
    }

    /// Equal for tasks that may share a batch: those whose sizes that vary are equal. Everything else was found to be
    /// as the model declares it. Where it declares padding, sizes that equal `length` may differ as it does. Other
    /// sizes stay in the key, so that what a padded batch takes in a slot always follows from its longest task.
    pub fn shape_key(&self, spec: &ModelSpec) -> ShapeKey {
        let length = self.length(spec);
        let sizes = self.variable_sizes(spec).flatten();
        let mut sizes = sizes.map(|size| (length != Some(size)).then_some(size)).peekable();
        if sizes.peek().is_none() {
            return ShapeKey::default();
        }
        let mut hasher = DefaultHasher::new();
        sizes.for_each(|size| size.hash(&mut hasher));
        ShapeKey(hasher.finish())
    }

    /// The length that is padded to the longest of a batch: the size of the first dimension that varies. None where the
    /// model declares no padding.
    fn length(&self, spec: &ModelSpec) -> Option<u64> {
        spec.pad.then(|| self.variable_sizes(spec).flatten().next()).flatten()
    }

    /// What each row costs: 1, or where rows are padded its elements as far as they vary, of the input with the most.
    pub fn row_cost(&self, spec: &ModelSpec) -> u32 {
        if !spec.pad {
            return 1;
        }
        let elements = self.variable_sizes(spec).map(|sizes| sizes.fold(1, u64::saturating_mul));
        let most = elements.max().unwrap_or_default();
        // A row without elements is still a row.
        u32::try_from(most).unwrap_or(u32::MAX).max(1)
    }

    /// Of each input, the sizes of the dimensions that vary.
    fn variable_sizes(&self, spec: &ModelSpec) -> impl Iterator<Item = impl Iterator<Item = u64>> {
        let inputs = self.tensors.iter().zip(&spec.inputs);
        inputs.map(|(tensor, declared)| {
            let sizes = tensor.shape.iter().zip(&declared.dims);
            sizes.filter(|(_, dim)| **dim == Dim::Variable).map(|(&size, _)| size)
        })
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
    pub outputs: Tensors,
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
        "the model's process ended while it ran this request, and no time was left to run it again; ask again. Last output: {last_output}"
    )]
    ReplicaLost { last_output: Arc<str> },
    #[error(
        "this request was with two replicas of the model when they died, so it is not run again; it may be what ends them. Last output: {last_output}"
    )]
    Quarantined { last_output: Arc<str> },
    #[error(
        "the model did not answer within its batch_timeout of {limit:?}; it was stopped and restarted"
    )]
    BatchTimeout { limit: Duration },
    #[error(
        "the model's process ended while it streamed its answer; ask again. Last output: {last_output}"
    )]
    StreamBroken { last_output: Arc<str> },
    #[error(
        "the answer was not read as fast as the model gave it, {parts} parts were waiting; read faster, or let the model give fewer, larger parts"
    )]
    ReaderTooSlow { parts: usize },
    #[error(
        "the model answers in parts and gave {given} where one is expected; ask it by generate_stream or ModelStreamInfer"
    )]
    NotOnePart { given: &'static str },
    #[error("the engine is shutting down; send the request to another one")]
    Draining,
}

pub type TaskResult = Result<Prediction, TaskError>;

#[cfg(test)]
mod tests {
    use schemas::lifecycle::Late;
    use schemas::tensor::TensorSpec;

    use super::*;

    fn spec(pad: bool, inputs: &[&[Dim]]) -> ModelSpec {
        let tensor =
            |dims: &&[Dim]| TensorSpec { name: "x".into(), dtype: DType::I64, dims: dims.to_vec() };
        ModelSpec {
            name: "m".into(),
            platform: "test".into(),
            inputs: inputs.iter().map(tensor).collect(),
            outputs: Vec::new(),
            batched: true,
            max_batch: 8,
            slo_us: None,
            late: Late::Serve,
            batch_timeout_us: 1,
            replicas: 1,
            pad,
            decoupled: false,
        }
    }

    fn task(shapes: &[&[u64]]) -> TaskInputs {
        let tensor = |shape: &&[u64]| Tensor {
            dtype: DType::I64,
            shape: Shape::from_slice(shape),
            data: TensorData::Fixed(Bytes::new()),
        };
        TaskInputs { tensors: shapes.iter().map(tensor).collect(), rows: shapes[0][0] as u32 }
    }

    const ROW: &[Dim] = &[Dim::Batch, Dim::Variable];
    const SQUARE: &[Dim] = &[Dim::Batch, Dim::Variable, Dim::Variable];

    #[test]
    fn tasks_of_unlike_sizes_share_a_batch_only_where_padding_is_declared() {
        let key = |pad, size, rows| task(&[&[rows, size]]).shape_key(&spec(pad, &[ROW]));
        assert_eq!(key(true, 3, 1), key(true, 50, 4));
        assert_ne!(key(false, 3, 1), key(false, 50, 1));
        assert_eq!(key(false, 3, 1), key(false, 3, 4), "rows are of no matter");
    }

    #[test]
    fn sizes_that_do_not_vary_with_the_length_must_be_equal() {
        let key = |sizes: [u64; 3]| {
            task(&[&[1, sizes[0]], &[1, sizes[1], sizes[2]]]).shape_key(&spec(true, &[ROW, SQUARE]))
        };
        assert_eq!(key([3, 3, 3]), key([7, 7, 7]), "a mask is as long as what it masks");
        assert_eq!(key([3, 3, 2]), key([7, 7, 2]));
        assert_ne!(key([3, 3, 2]), key([7, 7, 1]));
        assert_ne!(key([3, 2, 3]), key([3, 3, 2]));
    }

    #[test]
    fn a_row_costs_what_varies_of_its_largest_input() {
        let padded = spec(true, &[ROW, SQUARE]);
        assert_eq!(task(&[&[2, 30], &[2, 30, 4]]).row_cost(&padded), 120);
        assert_eq!(task(&[&[2, 0], &[2, 0, 4]]).row_cost(&padded), 1);
        assert_eq!(task(&[&[2, u64::MAX], &[2, 0, 4]]).row_cost(&padded), u32::MAX);
        assert_eq!(task(&[&[2, 30]]).row_cost(&spec(false, &[ROW])), 1);
    }
}
