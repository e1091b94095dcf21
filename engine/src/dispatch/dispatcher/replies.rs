//! What replicas made of their batches: read, counted, and told to the batcher.

use std::time::Duration;

use schemas::predict::{Failure, FailureKind};

use super::Dispatcher;
use crate::batch::Outcome;
use crate::clock::Time;
use crate::dispatch::cause::{Answered, Cause};
use crate::dispatch::in_flight::Departed;
use crate::dispatch::lane::{News, Reply};
use crate::observe::statistics::Compute;
use crate::query::types::Tensor;

impl Dispatcher {
    pub(super) fn take_replies(&mut self, now: Time) {
        let mut index = 0;
        while index < self.lanes.len() {
            let lane = &mut self.lanes[index];
            lane.awake();
            let in_flight = &self.in_flight;
            match lane.poll_reply(&self.spec, |batch| in_flight.rows(batch)) {
                // The thread may have been preempted since `now`, by this very replica where they share a core.
                Ok(Some(News::Reply(reply))) => self.settle(self.clock.now(), reply),
                Ok(Some(News::Part(part))) => {
                    self.pass_on(self.clock.now(), index, part);
                    // One a turn: a replica that has nothing but parts must not hold up the others.
                    index += 1;
                }
                Ok(None) => index += 1,
                Err(error) => self.end_lane(now, index, &error),
            }
        }
    }

    fn settle(&mut self, now: Time, reply: Reply) {
        let Some(departed) = self.in_flight.arrive(reply.batch) else { return };
        let replica = departed.replica;
        if self.warm_ups.is_warming(replica) {
            return self.settle_synthetic(now, &departed, &reply);
        }
        let service = now.since(departed.at);
        self.recorder.batch(departed.rows);
        let outcome = match reply.outcome {
            Ok(outputs) if outputs.is_empty() && self.is_unwanted(&departed) => Outcome::Withdrawn,
            Ok(outputs) => {
                self.executed(now, departed, outputs, reply.model);
                Outcome::Answered { service }
            }
            Err(failure) => self.failed(failure, service),
        };
        self.batcher.handle_outcome(now, replica, reply.batch, outcome);
        self.carry_out(now);
    }

    /// Keeps what the batch's tasks are answered with.
    fn executed(&mut self, now: Time, departed: Departed, outputs: Vec<Tensor>, model: Duration) {
        let compute = shares(now.since(departed.at), departed.gathered, model);
        self.recorder.executed(departed.rows, &compute, now);
        self.recorder.lane_bytes(outputs.iter().map(|tensor| tensor.data.bytes()).sum());
        self.cause = Cause::Answered(Answered { outputs, departed, replied: now, compute });
    }

    fn failed(&mut self, failure: Failure, service: Duration) -> Outcome {
        self.cause = Cause::Failed(failure.message.into());
        match failure.kind {
            FailureKind::Raised => Outcome::Raised { service },
            FailureKind::InputRefused => Outcome::RowRefused { row: failure.row, service },
            FailureKind::BadOutput | FailureKind::OutputTooLarge => Outcome::BadOutput { service },
        }
    }
}

/// What a batch's time was spent on. The model's own account is a guest's word: it never exceeds what there was.
fn shares(service: Duration, gathered: Duration, model: Duration) -> Compute {
    let infer = model.min(service);
    let input = gathered.min(service - infer);
    Compute { input, infer, output: service - infer - input }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_whatever_the_replica_says() {
        let us = Duration::from_micros;
        let compute = |input, infer, output| Compute {
            input: us(input),
            infer: us(infer),
            output: us(output),
        };
        assert_eq!(shares(us(100), us(10), us(70)), compute(10, 70, 20));
        assert_eq!(shares(us(100), us(10), us(95)), compute(5, 95, 0));
        assert_eq!(shares(us(100), us(10), us(4000)), compute(0, 100, 0));
    }
}
