//! Who is refused at arrival: with luck as little chance as those who are given up later, but told at once.

use super::{FREE_LOOKED_AT, SloController};
use crate::batch::batch_size::{Arrival, QueueView, ReplicasView};
use crate::batch::latency_profile::{Level, nanos};
use crate::clock::Time;

/// A newcomer is given up where the batch that it would force is smaller than this share of what keeps up. Careful with 0.8,
/// one in nine of those turned away heard so at once; with 1 half do, for the same goodput on the engine and 0.4 points
/// of it in virtual time.
const SURELY_FORCED: f64 = 1.0;

/// Load over several and over many SLOs below which nobody is refused for a backlog: a burst may be over by then.
const LOAD_MIN: f64 = 1.0;

impl SloController {
    /// Whether some replica can still answer the task in time, with luck.
    pub(super) fn can_make(
        &self,
        now: Time,
        task: &Arrival,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> bool {
        let slack = self.slack(now, task.due) - self.least_wait(task, queue, replicas.live());
        if replicas.idle() > 0 && self.quickest(f64::from(task.cost)) <= slack {
            return true;
        }
        replicas.running().any(|running| {
            let profile = self.profile_at(running.device);
            let least = |cost: f64| profile.quantile(cost, Level::P20);
            let scale = self.scales.of(running.replica);
            let out = nanos(now.since(running.departed));
            let free = (scale * least(running.cost as f64) - out).max(0.0);
            free + scale * least(f64::from(task.cost)) <= slack
        })
    }

    /// Nanoseconds that those due before a newcomer take at least, where they are sure to be served first: batches
    /// are bounded by the model, not by deadlines, so that giving up heads would make room for nobody. Else nothing.
    fn least_wait(&self, task: &Arrival, queue: &QueueView<'_>, live: usize) -> f64 {
        let most = self.config.cost_max as f64;
        if self.sustained() < most || self.fleet.is_unlike() {
            return 0.0;
        }
        let ahead = queue.cost_of_first(queue.due_before(task.due)) as f64;
        let rounds = (ahead / most / live as f64).floor();
        rounds * self.profile().quantile(most, Level::P20)
    }

    /// Under overload only the freshest are served. By the time a replica is free for a newcomer, those who come
    /// after it fill a batch that keeps up, and it would force a smaller one: `skip` would give it up then.
    pub(super) fn will_be_skipped(
        &self,
        now: Time,
        task: &Arrival,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> bool {
        let rate = self.slow.at(now);
        let lasting = rate.min(self.calm.at(now));
        if replicas.idle() > 0 || self.fleet.is_unlike() || lasting < LOAD_MIN * self.capacity() {
            return false;
        }
        let first = replicas.running().take(FREE_LOOKED_AT);
        let free = first.map(|running| self.free_in(now, &running));
        let soonest = free.fold(f64::INFINITY, f64::min);
        let need = self.target.need;
        let after = queue.on_time_cost() - queue.cost_of_first(queue.due_before(task.due));
        let fresher = after as f64 + rate * soonest;
        let slack = self.slack(now, task.due) - soonest;
        let forced = self.profile().largest_within(slack / self.profile().residuals().main95());
        fresher >= need && forced < SURELY_FORCED * need
    }
}
