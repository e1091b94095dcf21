//! The shared-memory lane: gathers rows into a slot, reads the reply out of its twin.
//!
//! The lane's bell is an eventfd that the replica rings and the engine never reads: epoll reports each ring as an
//! edge. Before the dispatcher waits it announces its sleep and looks again, so that no ring is lost.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use schemas::lifecycle::ModelSpec;
use schemas::predict::{self, BatchHeader, HEADER_BYTES_MAX, HeaderWriter};
use schemas::tensor::{self, DType, Layout, Placement, Shape};
use shm_rpc::engine_side::{Completion, EngineSide};
use shm_rpc::{LaneFault, RequestSlot, Status, Verdict};
use tokio::io::unix::AsyncFd;

use super::doorbell::watch;
use super::padding::{self, Piece};
use super::{Batch, LaneError, News, Part, Reply, shape_agrees};
use crate::ids::BatchId;
use crate::query::types::{TaskInputs, Tensor, TensorData};

/// Written at a time: a slot keeps what its last batch left there.
const ZEROS: [u8; 4096] = [0; 4096];

pub struct ShmLane {
    side: EngineSide,
    bell: AsyncFd<OwnedFd>,
    rings: Rings,
    writer: HeaderWriter,
    header: BatchHeader,
    /// Private copy of a reply's header.
    head: Vec<u8>,
    /// The part that was read last, until its replica is told how to go on.
    part: Option<Completion>,
}

impl ShmLane {
    /// Must be called on the runtime of the dispatcher's core, which the bell is registered with.
    pub fn new(side: EngineSide) -> io::Result<ShmLane> {
        let bell = watch(side.bell())?;
        Ok(ShmLane {
            side,
            bell,
            rings: Rings::default(),
            writer: HeaderWriter::new(),
            header: BatchHeader::default(),
            head: Vec::with_capacity(HEADER_BYTES_MAX),
            part: None,
        })
    }

    /// Gathers the batch into a free slot and rings the replica where it sleeps. Says how many bytes of the slot it
    /// takes.
    pub fn send(&mut self, spec: &ModelSpec, batch: Batch<'_>) -> Result<u32, LaneError> {
        let slot = self.side.lease().ok_or(LaneError::NoSlot)?;
        let mut layout = Layout::new();
        self.header.batch_id = batch.id.0;
        self.header.rows = batch.rows;
        self.header.tensors.clear();
        for input in 0..spec.inputs.len() {
            let placement = self.gather(&slot, &mut layout, spec, batch, input)?;
            self.header.tensors.push(placement);
        }
        let header = self.writer.request(&self.header)?;
        self.side.write(&slot, 0, header)?;
        let header_bytes = header.len() as u32;
        self.side.publish(slot, batch.id.0, header_bytes, layout.total_bytes());
        Ok(layout.total_bytes())
    }

    fn gather(
        &mut self,
        slot: &RequestSlot,
        layout: &mut Layout,
        spec: &ModelSpec,
        batch: Batch<'_>,
        input: usize,
    ) -> Result<Placement, LaneError> {
        let mut shape = match spec.pad {
            true => padding::longest(batch.tasks, input),
            false => batch.tasks[0].tensors[input].shape.clone(),
        };
        if spec.batched {
            shape[0] = u64::from(batch.rows);
        }
        let dtype = spec.inputs[input].dtype;
        if dtype.size_bytes().is_some() {
            let placement = layout.fixed(dtype, shape)?;
            self.gather_fixed(slot, &placement, batch.tasks, input)?;
            return Ok(placement);
        }
        let values_bytes = batch.tasks.iter().map(|task| values_len(&task.tensors[input])).sum();
        let placement = layout.variable(dtype, shape, values_bytes)?;
        self.gather_variable(slot, &placement, batch.tasks, input)?;
        Ok(placement)
    }

    fn gather_fixed(
        &mut self,
        slot: &RequestSlot,
        placement: &Placement,
        tasks: &[&TaskInputs],
        input: usize,
    ) -> Result<(), LaneError> {
        let mut at = placement.offset;
        for task in tasks {
            let tensor = &task.tensors[input];
            let TensorData::Fixed(bytes) = &tensor.data else { continue };
            if tensor.shape.get(1..) == placement.shape.get(1..) {
                self.side.write(slot, at, bytes)?;
                at += bytes.len() as u32;
            } else {
                at = self.write_padded(slot, at, placement, tensor, bytes)?;
            }
        }
        debug_assert_eq!(at, placement.offset + placement.len, "tasks fill the tensor");
        Ok(())
    }

    /// Returns where the next tensor goes.
    fn write_padded(
        &mut self,
        slot: &RequestSlot,
        mut at: u32,
        placement: &Placement,
        tensor: &Tensor,
        bytes: &[u8],
    ) -> Result<u32, LaneError> {
        let mut padded = placement.shape.clone();
        padded[0] = tensor.shape[0];
        let mut put = |piece| -> Result<(), LaneError> {
            match piece {
                Piece::Data(data) => {
                    self.side.write(slot, at, data)?;
                    at += data.len() as u32;
                }
                Piece::Zeros { bytes } => {
                    for start in (0..bytes).step_by(ZEROS.len()) {
                        let zeros = &ZEROS[..ZEROS.len().min(bytes - start)];
                        self.side.write(slot, at, zeros)?;
                        at += zeros.len() as u32;
                    }
                }
            }
            Ok(())
        };
        let element_bytes = tensor.dtype.size_bytes().unwrap_or(1);
        padding::lay(bytes, &tensor.shape, &padded, &mut put, element_bytes)?;
        Ok(at)
    }

    /// Values one after the other; offsets rebased from each task's own to the batch's.
    fn gather_variable(
        &mut self,
        slot: &RequestSlot,
        placement: &Placement,
        tasks: &[&TaskInputs],
        input: usize,
    ) -> Result<(), LaneError> {
        let mut table = vec![0u8; 4];
        let mut end = 0u32;
        for task in tasks {
            let TensorData::Variable { offsets, values } = &task.tensors[input].data else {
                continue;
            };
            let (first, last) = ends(offsets);
            self.side.write(slot, placement.offset + end, &values[first..last])?;
            for &offset in &offsets[1..] {
                table.extend_from_slice(&(end + offset - first as u32).to_le_bytes());
            }
            end += (last - first) as u32;
        }
        self.side.write(slot, placement.offsets_at, &table)?;
        Ok(())
    }

    /// The next news, if any has come: copied, checked, and the slot of a reply free again. `rows` tells how many rows went out
    /// with a batch, by the engine's own record.
    pub fn poll_reply(
        &mut self,
        spec: &ModelSpec,
        rows: impl Fn(BatchId) -> u32,
    ) -> Result<Option<News>, LaneError> {
        self.rings.check()?;
        let Some(completion) = self.side.poll()? else { return Ok(None) };
        self.rings.replied();
        let batch = BatchId(completion.tag);
        let model = completion.ended_ns.saturating_sub(completion.started_ns);
        let model = Duration::from_nanos(model);
        let rows = rows(batch);
        let outcome = match completion.status {
            Status::Ok => Ok(self.read_predictions(&completion, spec, rows)?),
            Status::Failed => Err(self.read_failure(&completion)?),
            Status::Part | Status::Done if !spec.decoupled => {
                return Err(LaneError::PartUndeclared);
            }
            Status::Part => {
                let outputs = self.read_predictions(&completion, spec, rows)?;
                self.part = Some(completion);
                return Ok(Some(News::Part(Part { batch, model, outputs })));
            }
            Status::Done => Ok(Vec::new()),
        };
        self.side.finish(completion);
        Ok(Some(News::Reply(Reply { batch, model, outcome })))
    }

    /// How the reply goes on whose part was read last.
    pub fn tell(&mut self, verdict: Verdict) {
        if let Some(part) = self.part.take() {
            self.side.tell(part, verdict);
        }
    }

    fn read_predictions(
        &mut self,
        completion: &Completion,
        spec: &ModelSpec,
        rows: u32,
    ) -> Result<Vec<Tensor>, LaneError> {
        self.read_head(completion)?;
        predict::read_reply(&self.head, &mut self.header)?;
        self.read_outputs(completion, spec, rows)
    }

    fn read_failure(&mut self, completion: &Completion) -> Result<predict::Failure, LaneError> {
        self.read_head(completion)?;
        Ok(predict::read_failure(&self.head)?.1)
    }

    fn read_head(&mut self, completion: &Completion) -> Result<(), LaneError> {
        self.head.clear();
        self.head.resize(completion.header_bytes as usize, 0);
        self.side.read(completion, 0, &mut self.head)?;
        Ok(())
    }

    fn read_outputs(
        &self,
        completion: &Completion,
        spec: &ModelSpec,
        rows: u32,
    ) -> Result<Vec<Tensor>, LaneError> {
        let (got, declared) = (self.header.tensors.len(), spec.outputs.len());
        if got != declared {
            return Err(LaneError::OutputCount { got, declared });
        }
        let mut outputs = Vec::with_capacity(declared);
        for (placement, declared) in self.header.tensors.iter().zip(&spec.outputs) {
            placement.check(completion.total_bytes)?;
            let agrees = placement.dtype == declared.dtype
                && shape_agrees(&declared.dims, &placement.shape, rows);
            if !agrees {
                return Err(LaneError::OutputShape { output: declared.name.clone(), rows });
            }
            outputs.push(self.read_tensor(completion, placement)?);
        }
        Ok(outputs)
    }

    fn read_tensor(
        &self,
        completion: &Completion,
        placement: &Placement,
    ) -> Result<Tensor, LaneError> {
        let values = self.copy_out(completion, placement.offset, placement.len as usize)?;
        let data = match placement.dtype {
            DType::Bytes | DType::Str => {
                let elements = tensor::elements(&placement.shape).unwrap_or(u64::MAX);
                let table_bytes = (elements as usize + 1) * 4;
                let table = self.copy_out(completion, placement.offsets_at, table_bytes)?;
                let offsets = tensor::check_offsets(&table, elements, placement.len)?;
                TensorData::Variable { offsets: offsets.into(), values }
            }
            _ => TensorData::Fixed(values),
        };
        Ok(Tensor { dtype: placement.dtype, shape: placement.shape.clone(), data })
    }

    fn copy_out(&self, completion: &Completion, at: u32, len: usize) -> Result<Bytes, LaneError> {
        let mut copy = vec![0; len];
        self.side.read(completion, at, &mut copy)?;
        Ok(copy.into())
    }

    /// Announces that the dispatcher is about to wait. False: a reply came in the meantime, look again.
    pub fn may_sleep(&mut self) -> bool {
        self.side.announce_sleep()
    }

    pub fn awake(&mut self) {
        self.side.awake();
    }

    /// Ready when the replica rang since the last call.
    pub fn poll_bell(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.bell.poll_read_ready(context) {
            Poll::Ready(Ok(mut guard)) => {
                guard.clear_ready();
                self.rings.rang();
                Poll::Ready(())
            }
            // The runtime is shutting down; the dispatcher looks and finds nothing.
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    /// How often the replica's heart has beaten.
    pub fn heartbeat(&self) -> Result<u32, LaneFault> {
        self.side.heartbeat()
    }

    /// Tells the replica to finish and leave.
    pub fn shut(&mut self) {
        self.side.shut();
    }
}

/// How often the replica may still ring without a reply to show. An honest one rings at most once for each reply, so
/// no clock is needed to tell a storm: whoever wakes the engine for nothing runs out.
struct Rings {
    spare: u32,
}

/// Wakes for nothing that one incarnation has for free; at some microseconds each, milliseconds in all.
const SPARE_RINGS: u32 = 1024;

impl Default for Rings {
    fn default() -> Rings {
        Rings { spare: SPARE_RINGS }
    }
}

impl Rings {
    fn rang(&mut self) {
        self.spare = self.spare.saturating_sub(1);
    }

    fn replied(&mut self) {
        self.spare = (self.spare + 1).min(SPARE_RINGS);
    }

    fn check(&self) -> Result<(), LaneFault> {
        match self.spare {
            0 => Err(LaneFault::BellStorm { rings: SPARE_RINGS }),
            _ => Ok(()),
        }
    }
}

fn values_len(tensor: &Tensor) -> u32 {
    match &tensor.data {
        TensorData::Fixed(_) => 0,
        TensorData::Variable { offsets, .. } => {
            let (first, last) = ends(offsets);
            (last - first) as u32
        }
    }
}

fn ends(offsets: &Arc<[u32]>) -> (usize, usize) {
    (offsets[0] as usize, offsets[offsets.len() - 1] as usize)
}

/// The part of a whole-batch output that belongs to the task whose rows start at `first_row`.
pub fn rows_of(whole: &Tensor, batch_rows: u32, first_row: u32, rows: u32) -> Tensor {
    if rows == batch_rows {
        return whole.clone();
    }
    let mut shape: Shape = whole.shape.clone();
    shape[0] = u64::from(rows);
    let data = match &whole.data {
        TensorData::Fixed(bytes) => {
            let row_bytes = bytes.len() / batch_rows as usize;
            let start = first_row as usize * row_bytes;
            TensorData::Fixed(bytes.slice(start..start + rows as usize * row_bytes))
        }
        TensorData::Variable { offsets, values } => {
            let row_elements = (offsets.len() - 1) / batch_rows as usize;
            let start = first_row as usize * row_elements;
            let end = start + rows as usize * row_elements;
            TensorData::Variable { offsets: offsets[start..=end].into(), values: values.clone() }
        }
    };
    Tensor { dtype: whole.dtype, shape, data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smallvec::smallvec;

    #[test]
    fn an_honest_replica_never_runs_out_of_rings_and_a_storm_does() {
        let mut rings = Rings::default();
        for _ in 0..100_000 {
            rings.rang();
            rings.replied();
        }
        assert!(rings.check().is_ok());
        (1..SPARE_RINGS).for_each(|_| rings.rang());
        assert!(rings.check().is_ok());
        rings.rang();
        let fault = LaneFault::BellStorm { rings: SPARE_RINGS };
        assert_eq!(rings.check(), Err(fault));
    }

    #[test]
    fn splits_fixed_outputs_by_rows() {
        let whole = Tensor {
            dtype: DType::U8,
            shape: smallvec![3, 2],
            data: TensorData::Fixed(Bytes::from_static(&[0, 1, 2, 3, 4, 5])),
        };
        let part = rows_of(&whole, 3, 1, 2);
        assert_eq!(part.shape.as_slice(), [2, 2]);
        assert_eq!(part.data, TensorData::Fixed(Bytes::from_static(&[2, 3, 4, 5])));
    }

    #[test]
    fn splits_variable_outputs_by_rows_without_copying_values() {
        let whole = Tensor {
            dtype: DType::Str,
            shape: smallvec![3],
            data: TensorData::Variable {
                offsets: [0u32, 1, 3, 6].into(),
                values: Bytes::from_static(b"abbccc"),
            },
        };
        let part = rows_of(&whole, 3, 1, 2);
        let TensorData::Variable { offsets, values } = part.data else { panic!("not variable") };
        assert_eq!(&offsets[..], [1, 3, 6]);
        assert_eq!(&values[offsets[0] as usize..offsets[1] as usize], b"bb");
    }
}
