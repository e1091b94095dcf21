//! The remote lane: batches go to a task of this process that speaks to the replica, whatever it speaks, and come back
//! from it as replies. For replicas that are not children of the engine and share no memory with it.
//!
//! [`pair`] makes both ends. The dispatcher has the [`EngineEnd`], the task the [`PeerEnd`], on any thread. Rows change
//! hands as they are, by reference counts. Whoever drops an end ends the lane: the dispatcher then loses the replica,
//! and the task is to leave its peer.

use std::task::{Context, Poll};

use schemas::lifecycle::ModelSpec;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::{Batch, LaneError, Reply, check_outputs};
use crate::batch::CREDITS_PER_REPLICA;
use crate::ids::BatchId;
use crate::query::types::Tensors;

/// Answers that may wait for the dispatcher: of each batch that may be out, and why the peer is lost.
const ANSWERS_MAX: usize = CREDITS_PER_REPLICA + 1;

/// A batch of its own: tasks in order, each one or more rows.
#[derive(Debug)]
pub struct OwnedBatch {
    pub id: BatchId,
    pub rows: u32,
    /// By task, its inputs in the order the model declares them.
    pub tasks: Vec<Tensors>,
}

/// What the task behind the lane has to say.
type Answer = Result<Reply, String>;

/// The dispatcher's end.
#[derive(Debug)]
pub struct EngineEnd {
    batches: Sender<OwnedBatch>,
    answers: Receiver<Answer>,
}

/// The end of the task that speaks to the replica.
#[derive(Debug)]
pub struct PeerEnd {
    batches: Receiver<OwnedBatch>,
    answers: Sender<Answer>,
}

/// The dispatcher has ended the lane, or expects no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine has ended this replica")]
pub struct Ended;

/// Both ends of a new lane.
pub fn pair() -> (EngineEnd, PeerEnd) {
    let (batches_in, batches) = mpsc::channel(CREDITS_PER_REPLICA);
    let (answers_in, answers) = mpsc::channel(ANSWERS_MAX);
    (EngineEnd { batches: batches_in, answers }, PeerEnd { batches, answers: answers_in })
}

impl PeerEnd {
    /// The next batch; None: the engine has ended this replica. Dropped before it is ready, it loses nothing.
    pub async fn next_batch(&mut self) -> Option<OwnedBatch> {
        self.batches.recv().await
    }

    /// Answers the batch that is out.
    pub fn answer(&self, reply: Reply) -> Result<(), Ended> {
        self.answers.try_send(Ok(reply)).map_err(|_| Ended)
    }

    /// The peer is lost, in a sentence; what it had is run again elsewhere.
    pub fn lose(self, why: String) {
        // An engine that has ended the replica needs no telling.
        let _told = self.answers.try_send(Err(why));
    }
}

/// The dispatcher's end of a lane in use.
pub struct RemoteLane {
    end: EngineEnd,
    /// Received while waiting, taken in the next turn; None in it: the other end is gone.
    received: Option<Option<Answer>>,
    /// The batch that is out.
    out: Option<BatchId>,
}

impl RemoteLane {
    pub fn new(end: EngineEnd) -> RemoteLane {
        RemoteLane { end, received: None, out: None }
    }

    pub fn send(&mut self, batch: Batch<'_>) -> Result<(), LaneError> {
        if self.out.is_some() {
            return Err(LaneError::NoSlot);
        }
        let tasks = batch.tasks.iter().map(|task| task.tensors.clone()).collect();
        let owned = OwnedBatch { id: batch.id, rows: batch.rows, tasks };
        self.end.batches.try_send(owned).map_err(|_| LaneError::Gone)?;
        self.out = Some(batch.id);
        Ok(())
    }

    pub fn poll_reply(
        &mut self,
        spec: &ModelSpec,
        rows: impl Fn(BatchId) -> u32,
    ) -> Result<Option<Reply>, LaneError> {
        let answer = match self.received.take() {
            Some(received) => received,
            None => match self.end.answers.try_recv() {
                Ok(answer) => Some(answer),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => None,
            },
        };
        let reply = answer.ok_or(LaneError::Gone)?.map_err(LaneError::Peer)?;
        if self.out.take() != Some(reply.batch) {
            return Err(LaneError::WrongBatch);
        }
        if let Ok(outputs) = &reply.outcome {
            check_outputs(spec, rows(reply.batch), outputs)?;
        }
        Ok(Some(reply))
    }

    /// What comes from now on wakes whoever polls the bell.
    pub fn may_sleep(&self) -> bool {
        self.received.is_none()
    }

    pub fn poll_bell(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.received.is_some() {
            return Poll::Ready(());
        }
        self.end.answers.poll_recv(context).map(|answer| self.received = Some(answer))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use schemas::lifecycle::Late;
    use schemas::tensor::{DType, Dim, TensorSpec};
    use smallvec::smallvec;

    use super::*;
    use crate::query::types::{TaskInputs, Tensor, TensorData};

    fn spec() -> ModelSpec {
        let tensor =
            |dims: &[Dim]| TensorSpec { name: "x".into(), dtype: DType::U8, dims: dims.to_vec() };
        ModelSpec {
            name: "m".into(),
            platform: "test".into(),
            inputs: vec![tensor(&[Dim::Batch, Dim::Variable])],
            outputs: vec![tensor(&[Dim::Batch])],
            batched: true,
            max_batch: 8,
            slo_us: None,
            late: Late::Serve,
            batch_timeout_us: 1,
            replicas: 1,
            pad: false,
            decoupled: false,
        }
    }

    fn rows(sizes: [u64; 2], bytes: &'static [u8]) -> TaskInputs {
        let data = TensorData::Fixed(Bytes::from_static(bytes));
        let tensor = Tensor { dtype: DType::U8, shape: smallvec![sizes[0], sizes[1]], data };
        TaskInputs { tensors: smallvec![tensor], rows: sizes[0] as u32 }
    }

    fn reply(batch: u64, rows: u64) -> Reply {
        let data = TensorData::Fixed(vec![0; rows as usize].into());
        let output = Tensor { dtype: DType::U8, shape: smallvec![rows], data };
        Reply { batch: BatchId(batch), model: Duration::ZERO, outcome: Ok(vec![output]) }
    }

    fn lane() -> (RemoteLane, PeerEnd) {
        let (engine, peer) = pair();
        (RemoteLane::new(engine), peer)
    }

    fn send(lane: &mut RemoteLane, id: u64) -> Result<(), LaneError> {
        let tasks = [&rows([1, 3], &[1, 2, 3]), &rows([2, 1], &[4, 5])];
        lane.send(Batch { id: BatchId(id), rows: 3, tasks: &tasks })
    }

    #[test]
    fn rows_of_unlike_sizes_travel_together_and_the_answer_comes_back() {
        let (mut lane, mut peer) = lane();
        send(&mut lane, 7).unwrap();
        let batch = peer.batches.try_recv().unwrap();
        assert_eq!((batch.id, batch.rows, batch.tasks.len()), (BatchId(7), 3, 2));
        assert!(matches!(lane.poll_reply(&spec(), |_| 3), Ok(None)));
        peer.answer(reply(7, 3)).unwrap();
        let answer = lane.poll_reply(&spec(), |_| 3).unwrap().unwrap();
        assert_eq!(answer.batch, BatchId(7));
        send(&mut lane, 8).unwrap();
    }

    #[test]
    fn a_second_batch_waits_for_the_answer_to_the_first() {
        let (mut lane, _peer) = lane();
        send(&mut lane, 1).unwrap();
        assert!(matches!(send(&mut lane, 2), Err(LaneError::NoSlot)));
    }

    #[test]
    fn an_answer_to_another_batch_or_of_another_shape_is_a_fault() {
        let fault = |answer| {
            let (mut lane, peer) = lane();
            send(&mut lane, 7).unwrap();
            peer.answer(answer).unwrap();
            lane.poll_reply(&spec(), |_| 3).unwrap_err().to_string()
        };
        assert!(fault(reply(6, 3)).contains("wrong_batch"));
        assert!(fault(reply(7, 2)).contains("output_shape"));
        let none = Reply { outcome: Ok(Vec::new()), ..reply(7, 3) };
        assert!(fault(none).contains("output_count"));
    }

    #[test]
    fn nobody_answers_more_often_than_was_asked() {
        let (mut lane, peer) = lane();
        send(&mut lane, 7).unwrap();
        peer.answer(reply(7, 3)).unwrap();
        peer.answer(reply(7, 3)).unwrap();
        assert_eq!(peer.answer(reply(7, 3)), Err(Ended));
        assert!(matches!(lane.poll_reply(&spec(), |_| 3), Ok(Some(_))));
        assert!(matches!(lane.poll_reply(&spec(), |_| 3), Err(LaneError::WrongBatch)));
    }

    #[test]
    fn a_lost_peer_is_a_fault_in_its_own_words_and_one_that_vanished_too() {
        let (mut lost, peer) = lane();
        peer.lose("it was silent for 30 s".into());
        let error = lost.poll_reply(&spec(), |_| 1).unwrap_err();
        assert_eq!(error.to_string(), "it was silent for 30 s");
        let (mut vanished, peer) = lane();
        drop(peer);
        assert!(matches!(vanished.poll_reply(&spec(), |_| 1), Err(LaneError::Gone)));
        assert!(matches!(send(&mut vanished, 1), Err(LaneError::Gone)));
    }

    #[test]
    fn what_woke_the_dispatcher_is_not_lost_and_the_peer_sees_the_end() {
        let (mut lane, mut peer) = lane();
        send(&mut lane, 7).unwrap();
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(lane.may_sleep() && lane.poll_bell(&mut context).is_pending());
        peer.answer(reply(7, 3)).unwrap();
        assert!(lane.poll_bell(&mut context).is_ready() && lane.poll_bell(&mut context).is_ready());
        assert!(!lane.may_sleep());
        assert!(matches!(lane.poll_reply(&spec(), |_| 3), Ok(Some(_))));
        drop(lane);
        peer.batches.try_recv().unwrap();
        assert_eq!(peer.batches.try_recv().unwrap_err(), TryRecvError::Disconnected);
    }
}
