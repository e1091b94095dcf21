//! The state machine described at the head of [`super`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use super::batch_size::{Aimd, Decision, QueueView};
use super::deadline_queue::{DeadlineQueue, Room};
use super::{BatcherConfig, Effect, Leave, Outcome, Refusal, TaskView};
use crate::clock::Time;
use crate::ids::{BatchId, ReplicaId, TaskId};

/// Losses after which a task is taken for the cause.
const LOSSES_MAX: u8 = 2;

/// How far back "keeps failing" looks.
const FAILURE_WINDOW: Duration = Duration::from_secs(10);

/// Batches of the window that are remembered; enough to tell a share, little enough to count on each failure.
const FAILURE_WINDOW_BATCHES: usize = 64;

/// Fewer fresh batches than this say nothing about the model: a single bad row must still be found.
const FAILURE_BATCHES_MIN: usize = 5;

/// Asked of a caller at least, when the queue is full: a shorter wait would not let a batch end.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(10);

/// Stale entries the expiry heap may hold beyond live ones before it is rebuilt.
const STALE_EXPIRIES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Queued,
    Retry,
    Out(BatchId),
}

#[derive(Debug)]
struct Task {
    view: TaskView,
    place: Place,
    losses: u8,
}

#[derive(Debug)]
struct Out {
    replica: ReplicaId,
    /// With their rows, in the order of departure; some may have left since.
    tasks: Vec<(TaskId, u32)>,
    overdue_at: Time,
    killed: bool,
    /// Not a retry: its outcome tells how the model fares.
    fresh: bool,
}

/// Decides for one model; see the head of [`super`].
#[derive(Debug)]
pub struct Batcher {
    config: BatcherConfig,
    controller: Aimd,
    now: Time,
    tasks: HashMap<TaskId, Task>,
    queue: DeadlineQueue,
    retry: VecDeque<Vec<TaskId>>,
    out: BTreeMap<BatchId, Out>,
    /// Live replicas: the batch each has, if any.
    replicas: BTreeMap<ReplicaId, Option<BatchId>>,
    /// Idle replicas, the longest idle first.
    idle: VecDeque<ReplicaId>,
    /// When each task must have left. Entries of tasks that left earlier are stale.
    expiries: BinaryHeap<Reverse<(Time, TaskId)>>,
    /// Fresh batches of late: when, and whether they failed.
    outcomes: VecDeque<(Time, bool)>,
    effects: VecDeque<Effect>,
    next_batch: u64,
}

impl Batcher {
    pub fn new(config: BatcherConfig) -> Batcher {
        Batcher {
            controller: Aimd::new(config.batch_rows_max, config.slo),
            queue: DeadlineQueue::new(config.queue_tasks_max, config.queue_bytes_max),
            config,
            now: Time::ZERO,
            tasks: HashMap::new(),
            retry: VecDeque::new(),
            out: BTreeMap::new(),
            replicas: BTreeMap::new(),
            idle: VecDeque::new(),
            expiries: BinaryHeap::new(),
            outcomes: VecDeque::with_capacity(FAILURE_WINDOW_BATCHES),
            effects: VecDeque::new(),
            next_batch: 0,
        }
    }

    // ---- getters ----

    /// Tasks that wait, in the queue or to be retried.
    pub fn queued(&self) -> usize {
        self.queue.len() + self.retry.iter().map(Vec::len).sum::<usize>()
    }

    pub fn queued_bytes(&self) -> u64 {
        self.queue.bytes()
    }

    /// Batches with replicas.
    pub fn in_flight(&self) -> usize {
        self.out.len()
    }

    /// The controller's present bound.
    pub fn batch_rows_bound(&self) -> u32 {
        self.controller.rows_bound()
    }

    pub fn live_replicas(&self) -> usize {
        self.replicas.len()
    }

    // ---- events ----

    pub fn handle_arrival(&mut self, now: Time, view: TaskView) -> Result<(), Refusal> {
        self.now = now;
        if view.late_limit <= now {
            return Err(Refusal::DeadlinePassed);
        }
        if !self.queue.has_room(view.bytes) {
            return Err(Refusal::QueueFull { retry_after: self.drain_time() });
        }
        self.queue.insert(view);
        self.expiries.push(Reverse((view.late_limit, view.id)));
        let before = self.tasks.insert(view.id, Task { view, place: Place::Queued, losses: 0 });
        assert!(before.is_none(), "a task arrives once");
        Ok(())
    }

    /// The client has gone.
    pub fn handle_cancel(&mut self, now: Time, id: TaskId) {
        self.now = now;
        self.leave(id, Leave::Cancelled);
    }

    pub fn handle_replica_up(&mut self, now: Time, replica: ReplicaId) {
        self.now = now;
        let before = self.replicas.insert(replica, None);
        assert!(before.is_none(), "a replica comes up once before it goes down");
        self.idle.push_back(replica);
    }

    /// What it had runs again, each task alone, so that the one at fault meets nobody else.
    pub fn handle_replica_down(&mut self, now: Time, replica: ReplicaId) {
        self.now = now;
        self.idle.retain(|&idle| idle != replica);
        let Some(Some(batch)) = self.replicas.remove(&replica) else { return };
        let Some(out) = self.out.remove(&batch) else { return };
        let why = if out.killed { Leave::TimedOut } else { Leave::Lost };
        for (id, _) in out.tasks {
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            task.losses += 1;
            if task.losses < LOSSES_MAX {
                self.push_retry(vec![id]);
            } else {
                self.leave(id, why);
            }
        }
    }

    /// A batch that is no longer known (its replica was lost) is no news.
    pub fn handle_outcome(&mut self, now: Time, replica: ReplicaId, batch: BatchId, outcome: Outcome) {
        self.now = now;
        if self.out.get(&batch).is_none_or(|out| out.replica != replica) {
            return;
        }
        let Some(out) = self.out.remove(&batch) else { return };
        self.replicas.insert(replica, None);
        self.idle.push_back(replica);
        self.learn(&out, outcome);
        match outcome {
            Outcome::Answered { .. } => self.leave_all(&out.tasks, Leave::Answered),
            Outcome::Raised { .. } => self.divide(&out.tasks, Leave::Raised),
            Outcome::BadOutput { .. } => self.divide(&out.tasks, Leave::BadOutput),
            Outcome::RowRefused { row, .. } => self.refuse(&out.tasks, row),
            Outcome::Withdrawn => self.leave_all(&out.tasks, Leave::Cancelled),
        }
    }

    pub fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        self.expire();
        for (&batch, out) in &mut self.out {
            if out.overdue_at <= now && !out.killed {
                out.killed = true;
                self.effects.push_back(Effect::Kill { replica: out.replica, batch });
            }
        }
    }

    // ---- effects ----

    /// The next thing to do, decided on all events so far.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.effects.is_empty() {
            self.dispatch();
        }
        self.effects.pop_front()
    }

    /// When `handle_timeout` is due at the latest.
    pub fn next_timeout(&self) -> Option<Time> {
        let expiry = self.expiries.peek().map(|Reverse((at, _))| *at);
        let waits = self.out.values().filter(|out| !out.killed);
        waits.map(|out| out.overdue_at).chain(expiry).min()
    }

    // ---- decisions ----

    fn dispatch(&mut self) {
        self.expire();
        while let Some(&replica) = self.idle.front() {
            let Some((tasks, fresh)) = self.next_batch() else { break };
            self.idle.pop_front();
            self.send(replica, tasks, fresh);
        }
    }

    fn next_batch(&mut self) -> Option<(Vec<(TaskId, u32)>, bool)> {
        while let Some(group) = self.retry.pop_front() {
            let alive = self.alive(&group);
            if !alive.is_empty() {
                return Some((alive, false));
            }
        }
        let view = QueueView { tasks: self.queue.len(), rows: self.queue.rows() };
        let Decision::Dispatch { rows } = self.controller.decide(view) else { return None };
        self.queue.age(self.now.after(self.controller.expected_service()));
        let taken = self.queue.take(Room { rows, bytes: self.config.batch_bytes_max });
        Some((taken.iter().map(|task| (task.id, task.rows)).collect(), true))
    }

    fn send(&mut self, replica: ReplicaId, tasks: Vec<(TaskId, u32)>, fresh: bool) {
        let batch = BatchId(self.next_batch);
        self.next_batch += 1;
        let ids: Vec<TaskId> = tasks.iter().map(|&(id, _)| id).collect();
        for id in &ids {
            let task = self.tasks.get_mut(id).expect("a batch is made of tasks that have not left");
            assert!(task.view.late_limit > self.now, "nothing past its limit is sent");
            task.place = Place::Out(batch);
        }
        assert!(!ids.is_empty(), "a batch has at least one row");
        let overdue_at = self.now.after(self.config.batch_timeout);
        let before = self.replicas.insert(replica, Some(batch));
        assert_eq!(before, Some(None), "a replica has one batch at a time");
        self.out.insert(batch, Out { replica, tasks, overdue_at, killed: false, fresh });
        self.effects.push_back(Effect::Dispatch { replica, batch, tasks: ids });
    }

    /// Halves what failed, unless it is one task or the model keeps failing.
    fn divide(&mut self, tasks: &[(TaskId, u32)], why: Leave) {
        let ids: Vec<TaskId> = tasks.iter().map(|&(id, _)| id).collect();
        let alive: Vec<TaskId> = self.alive(&ids).into_iter().map(|(id, _)| id).collect();
        if alive.len() < 2 || self.keeps_failing() {
            alive.iter().for_each(|&id| self.leave(id, why));
            return;
        }
        let (first, second) = alive.split_at(alive.len() / 2);
        self.push_retry(first.to_vec());
        self.push_retry(second.to_vec());
    }

    /// The task that holds the refused row leaves; the others go again together.
    fn refuse(&mut self, tasks: &[(TaskId, u32)], row: Option<u32>) {
        let Some(culprit) = row.and_then(|row| task_of_row(tasks, row)) else {
            return self.divide(tasks, Leave::Refused);
        };
        self.leave(culprit, Leave::Refused);
        let others: Vec<TaskId> =
            tasks.iter().map(|&(id, _)| id).filter(|id| self.tasks.contains_key(id)).collect();
        if !others.is_empty() {
            self.push_retry(others);
        }
    }

    fn learn(&mut self, out: &Out, outcome: Outcome) {
        let (service, failed) = match outcome {
            Outcome::Answered { service } => (service, false),
            Outcome::Raised { service } | Outcome::BadOutput { service } => (service, true),
            Outcome::RowRefused { .. } | Outcome::Withdrawn => return,
        };
        if !failed {
            let rows = out.tasks.iter().map(|&(_, rows)| rows).sum();
            self.controller.observe(rows, service);
        }
        if out.fresh {
            if self.outcomes.len() == FAILURE_WINDOW_BATCHES {
                self.outcomes.pop_front();
            }
            self.outcomes.push_back((self.now, failed));
        }
    }

    /// Most fresh batches of the last ten seconds failed: searching for one bad row would find all of them.
    fn keeps_failing(&self) -> bool {
        let since = self.now.before(FAILURE_WINDOW);
        let recent = self.outcomes.iter().filter(|(at, _)| *at >= since);
        let (count, failed) =
            recent.fold((0, 0), |(count, failed), (_, bad)| (count + 1, failed + usize::from(*bad)));
        count >= FAILURE_BATCHES_MIN && 2 * failed > count
    }

    /// What the queue is expected to take with the replicas there are.
    fn drain_time(&self) -> Duration {
        let batches = self.queue.rows().div_ceil(u64::from(self.controller.rows_bound()));
        let rounds = batches.div_ceil(self.replicas.len().max(1) as u64);
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        self.controller.expected_service().saturating_mul(rounds).max(RETRY_AFTER_MIN)
    }

    // ---- leaving ----

    fn expire(&mut self) {
        while let Some(&Reverse((at, id))) = self.expiries.peek() {
            if at > self.now {
                break;
            }
            self.expiries.pop();
            self.leave(id, Leave::DeadlinePassed);
        }
        if self.expiries.len() > 2 * self.tasks.len() + STALE_EXPIRIES_MAX {
            let live = self.tasks.values().map(|task| Reverse((task.view.late_limit, task.view.id)));
            self.expiries = live.collect();
        }
    }

    /// A task leaves once; one that has left is no news.
    fn leave(&mut self, id: TaskId, why: Leave) {
        let Some(task) = self.tasks.remove(&id) else { return };
        if task.place == Place::Queued {
            let waited = self.queue.remove(&task.view);
            assert!(waited, "a queued task is in the queue");
        }
        self.effects.push_back(Effect::Leave { task: id, why });
    }

    fn leave_all(&mut self, tasks: &[(TaskId, u32)], why: Leave) {
        tasks.iter().for_each(|&(id, _)| self.leave(id, why));
    }

    fn push_retry(&mut self, group: Vec<TaskId>) {
        for id in &group {
            if let Some(task) = self.tasks.get_mut(id) {
                task.place = Place::Retry;
            }
        }
        self.retry.push_back(group);
    }

    fn alive(&self, ids: &[TaskId]) -> Vec<(TaskId, u32)> {
        ids.iter().filter_map(|id| Some((*id, self.tasks.get(id)?.view.rows))).collect()
    }

    /// Panics where the machine contradicts itself.
    pub fn check_invariants(&self) {
        self.queue.check_invariants();
        let placed = |wanted: fn(&Place) -> bool| {
            self.tasks.values().filter(|task| wanted(&task.place)).count()
        };
        assert_eq!(placed(|place| *place == Place::Queued), self.queue.len());
        for (batch, out) in &self.out {
            assert_eq!(self.replicas.get(&out.replica), Some(&Some(*batch)), "a batch has its replica");
        }
        let busy = self.replicas.values().filter(|batch| batch.is_some()).count();
        assert_eq!(busy, self.out.len(), "a replica has at most one batch");
        assert_eq!(busy + self.idle.len(), self.replicas.len(), "a replica is busy or idle");
        assert!(self.expiries.len() >= self.tasks.len(), "every task has a last moment");
    }
}

fn task_of_row(tasks: &[(TaskId, u32)], row: u32) -> Option<TaskId> {
    let mut first = 0;
    for &(id, rows) in tasks {
        if (first..first + rows).contains(&row) {
            return Some(id);
        }
        first += rows;
    }
    None
}
