//! Now and then a look at every replica: one whose heart has stopped is ended at once, one whose batch is out for far too
//! long is not counted on.
//!
//! Spurious wakes need no look: their bound is the lane's own. Nor does a model that never returns: its `batch_timeout`
//! ends it.

use std::time::Duration;

use super::Dispatcher;
use crate::clock::Time;
use crate::dispatch::lane::Lane;
use crate::dispatch::pulse::LOOK_EVERY;
use crate::observe::metrics::Loss;

impl Dispatcher {
    /// When the next look is due; none while there is nobody to look at.
    pub(super) fn next_look(&self) -> Option<Time> {
        (!self.lanes.is_empty()).then_some(self.look_at)
    }

    pub(super) fn add_lane(&mut self, now: Time, lane: Lane) {
        if self.lanes.is_empty() {
            self.look_at = now.after(LOOK_EVERY);
        }
        self.lanes.push(lane);
    }

    pub(super) fn keep_vigil(&mut self, now: Time) {
        if now < self.look_at || self.lanes.is_empty() {
            return;
        }
        self.look_at = now.after(LOOK_EVERY);
        // What has come in the meantime is an answer all the same.
        self.take_replies(now);
        self.end_silent(now);
        self.batcher.handle_look(now);
        self.carry_out(now);
    }

    fn end_silent(&mut self, now: Time) {
        let mut index = 0;
        while index < self.lanes.len() {
            match self.lanes[index].look(now) {
                Ok(None) => index += 1,
                Ok(Some(silent)) => self.end_lane_because(now, index, Loss::Silent, said(silent)),
                Err(error) => self.end_lane(now, index, &error),
            }
        }
    }
}

fn said(silent: Duration) -> String {
    let ms = silent.as_millis();
    format!(
        "its process stopped running: no heartbeat for {ms} ms (limits.heartbeat_ms). It was killed; look for a debugger \
         or SIGSTOP, for memory that is swapped out, or for CPUs that are overcommitted"
    )
}
