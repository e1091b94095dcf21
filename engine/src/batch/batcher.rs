//! The state machine that [`super`] describes: records events, decides when polled.
//!
//! Families: getters; `handle_*`; [`Batcher::poll_effect`]; [`Batcher::next_timeout`]. What follows a batch's end
//! is in `settle`, how one is formed in `sending`.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch_size::{Arrival, Controller, Decision, Shed};
use super::deadline_queue::DeadlineQueue;
use super::replicas::{Outgoing, Replicas};
use super::reruns::{FailureHistory, Reruns};
use super::shed_log::{Gone, Reason, ShedLog};
use super::slo::{SloConfig, SloController};
use super::task_table::{Place, Task, TaskTable, Waiting};
use super::{BatcherConfig, Effect, Leave, Outcome, Refusal, TaskView};
use crate::clock::Time;
use crate::ids::{BatchId, DeviceClass, ReplicaId, TaskId};

mod expiry;
mod padding;
mod sending;
mod settle;

/// Asked of a caller while nothing is known of the model's speed, or no replica lives: about what a container
/// takes to start.
const RETRY_AFTER_UNKNOWN: Duration = Duration::from_secs(1);

/// Shortest time asked of a caller: the queue is full now, and one batch makes room for few.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(10);

/// A batch that is out for this many times what 99 in 100 of its size take makes its replica suspect.
const OVERDUE_SERVICES: u32 = 10;

/// And no batch does before this: a pause that any process may have.
const OVERDUE_MIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Batcher<C = SloController> {
    config: BatcherConfig,
    /// The latest instant any event told; never runs backwards.
    now: Time,
    controller: C,
    failures: FailureHistory,
    tasks: TaskTable,
    queue: DeadlineQueue,
    reruns: Reruns,
    replicas: Replicas,
    effects: VecDeque<Effect>,
    batches_sent: u64,
    hedged_batches: u64,
    shed_log: ShedLog,
    /// The controller asked to be asked again.
    wait_until: Option<Time>,
    /// What batches cost over the sum of their tasks, of late.
    padding: f64,
    /// The batch being formed; reused.
    forming: Vec<Waiting>,
}

impl Batcher<SloController> {
    pub fn new(config: BatcherConfig) -> Batcher<SloController> {
        let controller = SloController::new(SloConfig::new(config.slo, config.batch_cost_max));
        Batcher::with_controller(config, controller)
    }
}

impl<C: Controller> Batcher<C> {
    pub fn with_controller(config: BatcherConfig, controller: C) -> Batcher<C> {
        assert!(config.batch_rows_max >= 1, "a batch holds at least one row");
        assert!(config.batch_cost_max >= 1, "a batch costs something");
        assert!(config.queue_tasks_max >= 1, "a queue holds at least one task");
        assert!(
            config.queue_bytes_max >= config.batch_bytes_max,
            "any task that fits a batch fits an empty queue"
        );
        Batcher {
            failures: FailureHistory::new(config.batch_rows_max),
            config,
            now: Time::ZERO,
            controller,
            tasks: TaskTable::default(),
            queue: DeadlineQueue::new(),
            reruns: Reruns::default(),
            replicas: Replicas::default(),
            effects: VecDeque::new(),
            batches_sent: 0,
            hedged_batches: 0,
            shed_log: ShedLog::default(),
            wait_until: None,
            padding: 1.0,
            forming: Vec::new(),
        }
    }

    // ---- getters ----

    /// Tasks that wait: queued, or to run again.
    pub fn queued(&self) -> usize {
        self.queue.len() + self.reruns.tasks()
    }

    pub fn queued_bytes(&self) -> u64 {
        self.queue.bytes() + self.reruns.bytes()
    }

    /// Whether a task that has not left is with a replica.
    pub fn is_in_flight(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|task| task.place == Place::InFlight)
    }

    pub fn has_batch(&self, replica: ReplicaId) -> bool {
        self.replicas.has_batch(replica)
    }

    /// Batches with replicas.
    pub fn in_flight(&self) -> usize {
        self.replicas.batches().count()
    }

    /// The controller's bound in cost.
    pub fn batch_cost_limit(&self) -> u64 {
        self.controller.cost_limit().max(1)
    }

    pub fn controller(&self) -> &C {
        &self.controller
    }

    pub fn controller_mut(&mut self) -> &mut C {
        &mut self.controller
    }

    /// Of the queued, those that can still be on time, and what is to run again.
    pub fn queued_on_time(&self) -> usize {
        self.queued() - self.queue.late_len()
    }

    pub fn shed_log(&self) -> &ShedLog {
        &self.shed_log
    }

    /// Copies sent of batches that were overdue.
    pub fn hedged_batches(&self) -> u64 {
        self.hedged_batches
    }

    /// Replicas that may be sent something, now or once they are idle.
    pub fn live_replicas(&self) -> usize {
        self.replicas.live()
    }

    /// Live replicas of this class, and how many of them have a batch.
    pub fn replicas_of(&self, device: DeviceClass) -> (usize, usize) {
        let replicas = self.replicas.view(0);
        let of_class = replicas.devices().filter(|&(class, _)| class == device);
        of_class.fold((0, 0), |(live, busy), (_, idle)| (live + 1, busy + usize::from(!idle)))
    }

    /// How long what waits and what runs is expected to take. At least a second when that is unknown.
    pub fn predicted_drain(&self) -> Duration {
        let limit = self.batch_cost_limit();
        let service = self.controller.expected_service(limit);
        let live = self.replicas.live() as u64;
        if live == 0 || service.is_zero() {
            return RETRY_AFTER_UNKNOWN;
        }
        let batches = (self.queue.cost() + self.reruns.cost()).div_ceil(limit);
        // One more for what is running.
        let rounds = batches.div_ceil(live) + 1;
        service.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
    }

    // ---- events ----

    /// Accepts a task, which leaves exactly once from now on, or says why not.
    pub fn handle_arrival(&mut self, now: Time, task: TaskView) -> Result<(), Refusal> {
        assert!(task.rows >= 1, "a task brings at least one row");
        assert!(task.rows <= self.config.batch_rows_max, "a task fits a batch in rows");
        assert!(task.bytes <= self.config.batch_bytes_max, "a task fits a batch in bytes");
        assert!(task.weight >= 1, "an answer is worth something");
        assert!(task.due <= task.late_limit, "the late limit is no earlier than due");
        self.now = self.now.max(now);
        if task.late_limit <= self.now {
            return Err(Refusal::DeadlinePassed);
        }
        if !self.has_room(task.bytes) {
            self.expire();
        }
        if !self.has_room(task.bytes) {
            self.log_shed(task.class, task.arrived, task.due, Reason::QueueFull);
            let retry_after = self.predicted_drain().max(RETRY_AFTER_MIN);
            return Err(Refusal::QueueFull { retry_after });
        }
        let turns_late = self.admit(&task)?;
        let waiting = Waiting::new(&task);
        let entry = Task { waiting, place: Place::Queued, copies: 0, suspect: false };
        assert!(self.tasks.insert(task.id, entry).is_none(), "a task's id is used once");
        if turns_late {
            self.queue.insert_late(waiting);
        } else {
            self.queue.insert(waiting);
            let cost = (f64::from(task.cost) * self.padding) as u32;
            self.controller.arrived(self.now, cost, task.due);
        }
        self.begin_round();
        Ok(())
    }

    /// Whether a task that the controller does not want on time turns late at once; a hard one is refused.
    fn admit(&mut self, task: &TaskView) -> Result<bool, Refusal> {
        let is_hard = task.due == task.late_limit;
        let (cost, due, class) = (task.cost, task.due, task.class);
        let worth = (task.weight / task.rows).max(1);
        let arrival = Arrival { cost, due, class, worth, is_hard };
        let (queue, replicas) = (self.queue.view(self.padding), self.replicas.view(0));
        let Err(why) = self.controller.admit(self.now, &arrival, &queue, &replicas) else {
            return Ok(false);
        };
        let late_cost = self.queue.late_cost();
        if !is_hard && !self.controller.is_too_late(self.now, late_cost, task.late_limit) {
            return Ok(true);
        }
        let reason = if why == Shed::Hopeless { Reason::NoReplicaInTime } else { why.into() };
        self.log_shed(task.class, task.arrived, task.due, reason);
        let retry_after = self.predicted_drain().max(RETRY_AFTER_MIN);
        Err(Refusal::Hopeless { retry_after })
    }

    /// The client has gone. Nothing happens when the task has left already.
    pub fn handle_cancel(&mut self, now: Time, task: TaskId) {
        self.advance(now);
        let Some(entry) = self.tasks.get(&task) else { return };
        if entry.place == Place::InFlight {
            let has_task = |batch: &&mut Outgoing| batch.members.iter().any(|m| m.task == task);
            for batch in self.replicas.batches_mut().filter(has_task) {
                batch.rows_uncertain = true;
            }
        }
        self.leave(task, Leave::Cancelled);
    }

    /// A replica is ready. If it is known already, this is its next life: the last one is lost.
    pub fn handle_replica_up(&mut self, now: Time, replica: ReplicaId, device: DeviceClass) {
        self.handle_replica_down(now, replica);
        self.replicas.add(replica, device);
    }

    /// A replica is gone. Unknown ones are no news.
    pub fn handle_replica_down(&mut self, now: Time, replica: ReplicaId) {
        self.advance(now);
        for batch in self.replicas.remove(replica) {
            self.settle_lost(batch);
        }
    }

    /// A replica is to go: nothing more is sent to it, and what it has is waited for.
    pub fn handle_replica_leave(&mut self, now: Time, replica: ReplicaId) {
        self.advance(now);
        self.replicas.leave(replica);
    }

    /// Whoever has had a batch for far longer than nearly all of its size take is suspect: nobody counts on that replica
    /// until it is back.
    pub fn handle_look(&mut self, now: Time) {
        self.advance(now);
        let controller = &self.controller;
        self.replicas.suspect_overdue(self.now, |device, cost| {
            controller
                .slowest_service(device, cost)
                .saturating_mul(OVERDUE_SERVICES)
                .max(OVERDUE_MIN)
        });
    }

    /// A batch came back. One that this replica does not have is no news.
    pub fn handle_outcome(
        &mut self,
        now: Time,
        replica: ReplicaId,
        batch: BatchId,
        outcome: Outcome,
    ) {
        self.advance(now);
        if let Some(batch) = self.replicas.settle(replica, batch) {
            self.settle(batch, outcome);
        }
    }

    /// A part of what a batch is answered with was handed on; the rest has till `ends`. Nothing happens when the replica
    /// no longer has the batch.
    pub fn handle_part(&mut self, now: Time, replica: ReplicaId, batch: BatchId, ends: Time) {
        self.advance(now);
        let times_out = self.now.after(self.config.batch_timeout);
        let has_it = |it: &&mut Outgoing| it.replica == replica && it.id == batch && !it.overran;
        let Some(out) = self.replicas.batches_mut().find(has_it) else { return };
        (out.times_out, out.expires) = (times_out, ends);
        for member in &out.members {
            if let Some(task) = self.tasks.get_mut(&member.task) {
                task.suspect = true;
                task.waiting.late_limit = ends;
            }
        }
        self.replicas.renew_next_timeout();
    }

    /// Does what is due. Early and late calls are harmless.
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
    }

    /// When [`Self::handle_timeout`] next has something to do, once all effects are taken.
    pub fn next_timeout(&self) -> Option<Time> {
        let wait_until = self.wait_until.unwrap_or(Time::NEVER);
        let next = self.next_expiry().min(wait_until);
        (next < Time::NEVER).then_some(next)
    }

    // ---- effects ----

    /// The next thing to do. Decides about idle replicas once nothing else is left to say.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.effects.is_empty() {
            self.expire();
        }
        while self.effects.is_empty() {
            let Some(asked) = self.replicas.next_to_ask() else { break };
            self.ask(asked);
        }
        self.effects.pop_front()
    }

    /// Panics where a law does not hold. Costs a walk over everything: for tests and the simulator.
    pub fn check_invariants(&self) {
        self.replicas.check_invariants();
        let in_place = |place| self.tasks.values().filter(|task| task.place == place).count();
        assert_eq!(in_place(Place::Queued), self.queue.len());
        assert_eq!(in_place(Place::Rerun), self.reruns.tasks());
        let is_out = |id: &TaskId| self.tasks.get(id).is_some_and(|t| t.place == Place::InFlight);
        let members = self.replicas.batches().flat_map(|batch| &batch.members);
        let copies: usize = self.tasks.values().map(|task| usize::from(task.copies)).sum();
        assert_eq!(members.filter(|m| is_out(&m.task)).count(), copies);
        assert!(self.tasks.values().all(|t| (t.copies > 0) == (t.place == Place::InFlight)));
        let is_rerun = |id: &TaskId| self.tasks.get(id).is_some_and(|t| t.place == Place::Rerun);
        assert_eq!(self.reruns.ids().filter(is_rerun).count(), self.reruns.tasks());
        for task in self.tasks.values() {
            let expires = match task.place {
                Place::Queued => self.queue.next_expiry(),
                Place::Rerun => self.reruns.next_expiry(),
                Place::InFlight => self.replicas.next_timeout(),
            };
            assert!(expires <= task.waiting.late_limit, "no task outstays its late limit unseen");
        }
        if self.effects.is_empty() {
            self.check_at_rest();
        }
    }

    /// What holds once every effect is taken.
    fn check_at_rest(&self) {
        self.queue.check_invariants(self.now);
        let may_wait = self.replicas.idle() == 0 || self.queued() == 0;
        let asks_again = self.wait_until.is_some_and(|at| at > self.now);
        assert!(
            may_wait || asks_again,
            "no replica idles while a task waits, unless it is asked again"
        );
    }

    // ---- leaving ----

    /// A task's one end, wherever it is.
    fn leave(&mut self, id: TaskId, why: Leave) {
        let Some(task) = self.tasks.remove(&id) else { return };
        match task.place {
            Place::Queued => self.queue.remove(&task.waiting),
            Place::Rerun => self.reruns.discount(&task.waiting),
            Place::InFlight => {}
        }
        self.effects.push_back(Effect::Leave { task: id, why });
    }

    // ---- sending ----

    /// Finds something to do for an idle replica, or tells it to wait.
    fn ask(&mut self, asked: usize) {
        let replica = self.replicas.id_at(asked);
        if self.reruns.tasks() > 0 {
            return self.send_group(replica);
        }
        let replicas = self.replicas.view(asked);
        let decision = if self.queue.is_empty() {
            self.controller.hedge(self.now, &replicas)
        } else {
            Some(self.controller.decide(self.now, &self.queue.view(self.padding), &replicas))
        };
        match decision {
            Some(Decision::Dispatch { skip, cost }) => self.send_queued(replica, skip, cost),
            Some(Decision::Shed { tasks, why }) => self.give_up(tasks, why),
            Some(Decision::Hedge { batch, due_before }) => {
                self.send_copy(replica, batch, due_before)
            }
            Some(Decision::WaitUntil(at)) => {
                assert!(at > self.now, "a controller waits for an instant that lies ahead");
                self.wait_until = Some(self.wait_until.map_or(at, |other| other.min(at)));
                self.replicas.told_to_wait(asked);
            }
            None => self.replicas.told_to_wait(asked),
        }
    }

    fn give_up(&mut self, tasks: usize, why: Shed) {
        assert!(tasks >= 1, "a controller that sheds sheds something");
        for _ in 0..tasks.min(self.queue.len() - self.queue.late_len()) {
            let Some(head) = self.queue.head() else { break };
            let too_late =
                self.controller.is_too_late(self.now, self.queue.late_cost(), head.late_limit);
            let Some(task) = self.queue.give_up_head(!too_late) else { continue };
            self.tasks.remove(&task.id);
            self.log_shed(task.class, task.arrived, task.due, why.into());
            self.effects.push_back(Effect::Leave { task: task.id, why: Leave::Shed(why) });
        }
    }

    fn log_shed(&mut self, class: u8, arrived: Time, due: Time, why: Reason) {
        let (at, queued) = (self.now, self.queued());
        let (waited, slack) = (at.since(arrived), due.since(at));
        self.shed_log.push(Gone { at, why, class, waited, slack, queued });
    }

    // ---- predictions ----

    fn has_room(&self, bytes: u64) -> bool {
        self.queued() < self.config.queue_tasks_max
            && self.queued_bytes().saturating_add(bytes) <= self.config.queue_bytes_max
    }

    fn finish_of(&self, cost: u32) -> Time {
        self.now.after(self.controller.expected_service(u64::from(cost)))
    }
}
