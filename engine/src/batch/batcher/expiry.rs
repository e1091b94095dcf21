//! What time does: tasks past their late limits leave, and batches past their time cost their replicas' lives.

use super::Batcher;
use crate::batch::batch_size::{Controller, Observed};
use crate::batch::shed_log::Reason;
use crate::batch::{Effect, Leave};
use crate::clock::Time;

impl<C: Controller> Batcher<C> {
    pub(super) fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.expire();
        self.begin_round();
    }

    /// Something happened: every idle replica is asked about anew.
    pub(super) fn begin_round(&mut self) {
        self.replicas.ask_all_again();
        self.wait_until = None;
    }

    pub(super) fn next_expiry(&self) -> Time {
        let waiting = self.queue.next_expiry().min(self.reruns.next_expiry());
        waiting.min(self.replicas.next_timeout())
    }

    /// Lets everything past its time go.
    pub(super) fn expire(&mut self) {
        if self.next_expiry() > self.now {
            return;
        }
        while let Some(task) = self.queue.pop_expired(self.now) {
            self.tasks.remove(&task.id);
            self.log_shed(task.class, task.arrived, task.due, Reason::DeadlinePassed);
            self.effects.push_back(Effect::Leave { task: task.id, why: Leave::DeadlinePassed });
        }
        self.expire_reruns();
        self.expire_in_flight();
        while let Some(overrun) = self.replicas.overrun(self.now) {
            let (replica, batch) = (overrun.replica, overrun.batch);
            let observed = Observed {
                replica,
                device: overrun.device,
                batch,
                cost: overrun.cost,
                service: overrun.service,
                at_bound: overrun.at_bound,
                censored: true,
            };
            self.controller.observe(self.now, &observed);
            self.effects.push_back(Effect::Kill { replica, batch });
        }
    }

    fn expire_reruns(&mut self) {
        if self.reruns.next_expiry() > self.now {
            return;
        }
        let (mut expired, mut next) = (Vec::new(), None);
        for task in self.reruns.ids().filter_map(|id| self.tasks.get(&id)) {
            let limit = task.waiting.late_limit;
            if limit <= self.now {
                expired.push(task.waiting.id);
            } else {
                next = Some(next.unwrap_or(Time::NEVER).min(limit));
            }
        }
        self.reruns.set_next_expiry(next);
        expired.into_iter().for_each(|id| self.leave(id, Leave::DeadlinePassed));
    }

    fn expire_in_flight(&mut self) {
        let now = self.now;
        let mut expired = Vec::new();
        for batch in self.replicas.batches_mut().filter(|batch| batch.expires <= now) {
            batch.expires = Time::NEVER;
            for member in &batch.members {
                let Some(task) = self.tasks.get(&member.task) else { continue };
                if task.waiting.late_limit <= now {
                    expired.push(member.task);
                } else {
                    batch.expires = batch.expires.min(task.waiting.late_limit);
                }
            }
        }
        self.replicas.renew_next_timeout();
        expired.into_iter().for_each(|id| self.leave(id, Leave::DeadlinePassed));
    }
}
