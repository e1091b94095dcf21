//! How a batch is formed and sent: from the queue, as a copy, or again.

use super::Batcher;
use crate::batch::batch_size::Controller;
use crate::batch::deadline_queue::{BatchBounds, Stop};
use crate::batch::extent::Extent;
use crate::batch::replicas::{NEARLY_BACK, Outgoing};
use crate::batch::task_table::{Place, Waiting};
use crate::batch::{Copies, Effect};
use crate::clock::Time;
use crate::ids::{BatchId, ReplicaId, TaskId};

impl<C: Controller> Batcher<C> {
    pub(super) fn send_queued(&mut self, replica: ReplicaId, skip: usize, cost: u64) {
        let (rows, bytes) = (self.config.batch_rows_max, self.config.batch_bytes_max);
        let rule = self.config.cost_rule;
        let cost = self.cost_with_padding(cost.max(1));
        let bounds = BatchBounds { skip, rows, cost, bytes, rule };
        let mut forming = std::mem::take(&mut self.forming);
        let stop = self.queue.take_batch(&bounds, &mut forming);
        self.send(replica, &forming, stop == Stop::Cost);
        self.forming = forming;
    }

    /// Sends what a batch in flight holds, as far as it is due before then, to one more replica: whichever answers
    /// first counts.
    pub(in crate::batch) fn send_copy(
        &mut self,
        replica: ReplicaId,
        batch: BatchId,
        due_before: Time,
    ) {
        let original =
            self.replicas.batch_mut(batch).expect("a controller copies a batch that it was shown");
        assert!(!original.hedged, "a batch is copied once");
        original.hedged = true;
        let members = original.members.iter().filter_map(|member| self.tasks.get(&member.task));
        let mut forming = std::mem::take(&mut self.forming);
        forming.clear();
        forming.extend(members.map(|task| task.waiting).filter(|task| task.due < due_before));
        if !forming.is_empty() {
            self.send(replica, &forming, false);
            let copy = BatchId(self.batches_sent);
            self.replicas.batch_mut(copy).expect("it was just sent").hedged = true;
            self.hedged_batches += 1;
        }
        self.forming = forming;
    }

    /// Sends the first group that runs again, or as much of it as today's bounds allow.
    pub(super) fn send_group(&mut self, replica: ReplicaId) {
        let cost_limit = self.batch_cost_limit();
        let mut forming = std::mem::take(&mut self.forming);
        forming.clear();
        while forming.is_empty() {
            let Some(mut group) = self.reruns.pop_group() else { break };
            group.retain(|id| self.tasks.contains_key(id));
            let fits = self.prefix_that_fits(&group, cost_limit);
            let rest = group.split_off(fits);
            forming.extend(group.iter().filter_map(|id| self.tasks.get(id)).map(|t| t.waiting));
            self.reruns.put_back(rest);
        }
        forming.iter().for_each(|task| self.reruns.discount(task));
        self.send(replica, &forming, false);
        self.forming = forming;
    }

    /// How many leading tasks of a group make one batch; at least one of a group that has any. Their bytes
    /// fitted once, together.
    fn prefix_that_fits(&self, group: &[TaskId], cost_limit: u64) -> usize {
        let mut extent = Extent::default();
        let fits = group.iter().take_while(|id| {
            extent = self.tasks.get(id).map_or(extent, |task| extent.with(&task.waiting));
            extent.cost(self.config.cost_rule) <= cost_limit
        });
        fits.count().max(1).min(group.len())
    }

    fn send(&mut self, replica: ReplicaId, tasks: &[Waiting], at_bound: bool) {
        self.check_batch(tasks);
        let (mut expires, mut suspect) = (Time::NEVER, false);
        for task in tasks {
            expires = expires.min(task.late_limit);
            let entry = self.tasks.get_mut(&task.id).expect("what waits has not left");
            entry.place = Place::InFlight;
            entry.copies += 1;
            suspect |= entry.suspect;
        }
        assert!(expires > self.now, "nothing past its late limit is sent");
        self.batches_sent += 1;
        let batch = BatchId(self.batches_sent);
        let members = self.replicas.members_of(tasks);
        let cost = self.cost_of(tasks);
        let expected = self.controller.expected_service(cost);
        let out = Outgoing {
            id: batch,
            replica,
            device: self.replicas.device_of(replica),
            members,
            cost,
            at_bound,
            // Who may have killed one replica is not shown to two.
            hedged: suspect || self.config.copies == Copies::Never,
            departed: self.now,
            first_due: tasks.iter().map(|task| task.due).min().unwrap_or(self.now),
            last_due: tasks.iter().map(|task| task.due).max().unwrap_or(self.now),
            nearly_back: self.now.after(expected.mul_f64(NEARLY_BACK)),
            expires,
            times_out: self.now.after(self.config.batch_timeout),
            overran: false,
            rows_uncertain: false,
        };
        self.replicas.send(replica, out);
        let tasks = tasks.iter().map(|task| task.id).collect();
        self.effects.push_back(Effect::Dispatch { replica, batch, tasks });
    }

    /// The laws of a batch.
    fn check_batch(&self, tasks: &[Waiting]) {
        let first = tasks.first().expect("a decision to send is made while a task waits");
        let extent = Extent::of(tasks);
        let (rows, bytes) = (extent.rows, extent.bytes(self.config.cost_rule));
        assert!(rows >= 1, "a batch has at least one row");
        assert!(rows <= self.config.batch_rows_max.into(), "a batch keeps to the model's rows");
        assert!(bytes <= self.config.batch_bytes_max, "a batch fits its slot");
        assert!(tasks.iter().all(|task| task.shape == first.shape), "a batch has one shape");
    }
}
