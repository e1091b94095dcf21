//! What a dispatcher says of itself to the metrics, and how it ends: with the engine, or because its model goes.

use super::Dispatcher;
use crate::dispatch::explain::stand;

impl Dispatcher {
    pub(super) fn record_standing(&self) {
        if !self.succeeded {
            let (queued, bytes) = (self.batcher.queued(), self.batcher.queued_bytes());
            self.recorder.queue(queued, bytes, self.in_flight.tasks());
            self.recorder.batching(|into| stand(&self.batcher, &self.names, into));
        }
    }

    pub(super) fn record_replicas(&self) {
        if !self.succeeded {
            self.recorder.replicas(self.live_lanes());
        }
    }

    /// What still waits here is answered; what is counted goes on; what stands is the successor's to say.
    pub(super) fn give_way(&mut self) {
        self.succeeded = true;
        self.recorder.let_go();
    }

    /// The recorder may be one that the dispatcher before wrote to last.
    pub(super) fn succeed(&mut self) {
        self.recorder.take_over(&self.names);
        self.record_standing();
        self.record_replicas();
    }

    pub(super) fn is_drained(&self) -> bool {
        let asked = self.draining.is_some() || self.control.is_closed();
        asked && self.in_flight.is_empty() && self.submissions.is_empty() && self.received.is_none()
    }

    pub(super) fn close(mut self) {
        self.outbox.flush();
        for lane in &mut self.lanes {
            lane.shut();
        }
        let told = self.draining.take().map(|done| done.send(()));
        if told == Some(Err(())) {
            tracing::debug!(model = %self.name, "the supervisor gave up on the drain before it ended");
        }
    }
}
