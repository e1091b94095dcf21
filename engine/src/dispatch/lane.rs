//! One live replica, as a dispatcher sees it: batches of owned rows out, outputs or a failure back.
//!
//! A lane gets rows, never bytes: the shared-memory lane gathers them into a slot, a TCP lane would write vectors.
//! What comes back has been copied and checked against the engine's own record and the model's declaration. A lane
//! that lies is a [`LaneError`], and the end of that incarnation.

use std::time::Duration;

use schemas::lifecycle::ModelSpec;
use schemas::predict::{Failure, HEADER_BYTES_MAX};
use schemas::tensor::{Dim, TENSOR_ALIGN, TensorSpec};

use crate::ids::BatchId;
use crate::query::types::{TaskInputs, Tensor};

pub mod doorbell;
mod padding;
pub mod shm;

/// A batch ready to leave: tasks in order, each one or more rows, all of one shape key.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    pub id: BatchId,
    pub rows: u32,
    pub tasks: &'a [&'a TaskInputs],
}

/// What a replica made of a batch.
#[derive(Debug)]
pub struct Reply {
    pub batch: BatchId,
    /// Time inside the model, by the replica's own account, for reports only.
    pub model: Duration,
    /// Whole-batch outputs in declared order, or why there are none.
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
    #[error("a batch was due while no slot was free")]
    NoSlot,
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
