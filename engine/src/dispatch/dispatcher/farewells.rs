//! Replicas that go while others stay: nothing more is sent to them, what they have is waited for, then they hear that
//! they may leave.

use super::Dispatcher;
use crate::clock::Time;
use crate::ids::{Incarnation, ReplicaId};

/// One on its way out.
pub(super) struct Farewell {
    replica: ReplicaId,
    /// It was told, and ends by itself.
    said: bool,
}

impl Dispatcher {
    /// An incarnation already gone needs no farewell.
    pub(super) fn replica_leaves(
        &mut self,
        now: Time,
        replica: ReplicaId,
        incarnation: Incarnation,
    ) {
        let is_here = self.lanes.iter().any(|lane| lane.incarnation == incarnation);
        if is_here && !self.is_leaving(replica) {
            self.warm_ups.end(replica);
            self.batcher.handle_replica_leave(now, replica);
            self.farewells.push(Farewell { replica, said: false });
            self.record_replicas();
        }
    }

    pub(super) fn say_farewells(&mut self) {
        for farewell in self.farewells.iter_mut().filter(|it| !it.said) {
            if self.batcher.has_batch(farewell.replica) {
                continue;
            }
            farewell.said = true;
            if let Some(lane) = self.lanes.iter_mut().find(|it| it.replica == farewell.replica) {
                lane.shut();
            }
        }
    }

    /// Its lane has ended. Says whether it was to.
    pub(super) fn has_left(&mut self, replica: ReplicaId) -> bool {
        let at = self.farewells.iter().position(|it| it.replica == replica);
        at.map(|at| self.farewells.swap_remove(at)).is_some()
    }

    fn is_leaving(&self, replica: ReplicaId) -> bool {
        self.farewells.iter().any(|it| it.replica == replica)
    }
}
