//! The live replicas of one model and the batches they have.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch_size::ReplicasView;
use super::task_table::Waiting;
use crate::clock::Time;
use crate::ids::{BatchId, DeviceClass, ReplicaId, TaskId};

/// Batches a replica may have at a time. One: a second would bind its tasks before it is known which replica
/// is free first, and a crash would cost twice as many suspects. Staging ahead of the end needs a measured
/// hand-over time.
pub const CREDITS_PER_REPLICA: usize = 1;

/// Share of its expected service after which a batch is nearly back: before that nobody need look whether it is
/// overdue. What is expected may shrink by the rest while a batch is out, and nothing is noticed too late.
pub(super) const NEARLY_BACK: f64 = 0.95;

/// A batch between departure and outcome.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) id: BatchId,
    pub(super) replica: ReplicaId,
    pub(super) device: DeviceClass,
    /// As sent, in order: also those that left since.
    pub(super) members: Vec<Member>,
    pub(super) cost: u64,
    pub(super) at_bound: bool,
    /// It is a copy of another batch, or has one.
    pub(super) hedged: bool,
    pub(super) departed: Time,
    pub(super) first_due: Time,
    pub(super) last_due: Time,
    /// When [`NEARLY_BACK`] of what it was expected to take, as it left, has passed.
    pub(super) nearly_back: Time,
    /// No member still here passes its late limit before this.
    pub(super) expires: Time,
    pub(super) times_out: Time,
    pub(super) overran: bool,
    /// A member was cancelled. The shell may have left it out when it sent the batch, so that the model's row
    /// numbers no longer say which task they mean.
    pub(super) rows_uncertain: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) task: TaskId,
    pub(super) rows: u32,
}

impl Outgoing {
    /// The task that holds a row of the batch.
    pub(super) fn task_of_row(&self, row: u32) -> Option<TaskId> {
        if self.rows_uncertain {
            return None;
        }
        let mut end = 0;
        let holds_row = |member: &&Member| {
            end += member.rows;
            row < end
        };
        self.members.iter().find(holds_row).map(|member| member.task)
    }
}

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) id: ReplicaId,
    pub(super) device: DeviceClass,
    pub(super) service: Service,
    pub(super) out: Vec<Outgoing>,
}

/// Whether a replica may be sent anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    In,
    /// Its batch is out for so long that nobody counts on it until it is back.
    Suspect,
    /// It goes once its batch is back.
    Leaving,
    /// Told to be killed.
    Ending,
}

impl Replica {
    pub(super) fn is_live(&self) -> bool {
        self.service == Service::In
    }

    fn is_idle(&self) -> bool {
        self.is_live() && self.out.len() < CREDITS_PER_REPLICA
    }
}

/// The idle replicas of one class, in order of their ids.
#[derive(Debug)]
struct IdleOfClass {
    device: DeviceClass,
    idle: Vec<ReplicaId>,
    /// One was asked about in this round of decisions and told to wait: the others are its like and wait with it.
    waits: bool,
}

/// Where a batch is, in order of when it should be back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Expected {
    nearly_back: Time,
    batch: BatchId,
    replica: ReplicaId,
}

impl Expected {
    fn new(batch: &Outgoing) -> Expected {
        Expected { nearly_back: batch.nearly_back, batch: batch.id, replica: batch.replica }
    }
}

/// The lowest idle one is used first: use then follows load, and what is rarely needed shows. Nothing that happens
/// at every event walks over all of them.
#[derive(Debug)]
pub(super) struct Replicas {
    /// In order of their ids.
    replicas: Vec<Replica>,
    classes: Vec<IdleOfClass>,
    /// Of the batches, in order; those expected back first are the ones that decisions ask for.
    expected: VecDeque<Expected>,
    /// Of the replicas, those in service; and those of them without a batch.
    live: usize,
    idle: usize,
    /// Nothing expires or times out before this; may be too early.
    next_timeout: Time,
    /// Member lists of past batches, reused.
    spare: Vec<Vec<Member>>,
}

impl Default for Replicas {
    fn default() -> Replicas {
        Replicas {
            replicas: Vec::new(),
            classes: Vec::new(),
            expected: VecDeque::new(),
            live: 0,
            idle: 0,
            next_timeout: Time::NEVER,
            spare: Vec::new(),
        }
    }
}

impl Replicas {
    pub(super) fn add(&mut self, id: ReplicaId, device: DeviceClass) {
        let at = self.replicas.partition_point(|replica| replica.id < id);
        self.replicas.insert(at, Replica { id, device, service: Service::In, out: Vec::new() });
        self.live += 1;
        self.now_idle(id, device);
    }

    /// Forgets a replica; its batches are the caller's.
    pub(super) fn remove(&mut self, id: ReplicaId) -> Vec<Outgoing> {
        let Some(at) = self.position(id) else { return Vec::new() };
        let replica = self.replicas.remove(at);
        self.live -= usize::from(replica.is_live());
        if replica.is_idle() {
            self.no_longer_idle(id, replica.device);
        }
        replica.out.iter().for_each(|batch| self.expect_no_more(batch));
        replica.out
    }

    /// Nothing more is sent to it, whatever becomes of its batch.
    pub(super) fn leave(&mut self, id: ReplicaId) {
        let Some(at) = self.position(id).filter(|&at| self.replicas[at].service != Service::Ending)
        else {
            return;
        };
        self.take_out_of_service(at, Service::Leaving);
    }

    /// Those in service whose batch is out for longer than `limit` says.
    pub(super) fn suspect_overdue(
        &mut self,
        now: Time,
        limit: impl Fn(DeviceClass, u64) -> Duration,
    ) {
        for at in 0..self.replicas.len() {
            let replica = &self.replicas[at];
            let device = replica.device;
            let overdue = |batch: &Outgoing| now.since(batch.departed) > limit(device, batch.cost);
            if replica.is_live() && replica.out.iter().any(overdue) {
                self.take_out_of_service(at, Service::Suspect);
            }
        }
    }

    fn take_out_of_service(&mut self, at: usize, service: Service) {
        let replica = &mut self.replicas[at];
        let (id, device) = (replica.id, replica.device);
        let (was_live, was_idle) = (replica.is_live(), replica.is_idle());
        replica.service = service;
        self.live -= usize::from(was_live);
        if was_idle {
            self.no_longer_idle(id, device);
        }
    }

    pub(super) fn has_batch(&self, id: ReplicaId) -> bool {
        self.position(id).is_some_and(|at| !self.replicas[at].out.is_empty())
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn idle(&self) -> usize {
        self.idle
    }

    /// The first idle replica of a class that was not told to wait in this round.
    pub(super) fn next_to_ask(&self) -> Option<usize> {
        let asked = self.classes.iter().filter(|class| !class.waits);
        let first = asked.filter_map(|class| class.idle.first()).min()?;
        self.position(*first)
    }

    pub(super) fn id_at(&self, index: usize) -> ReplicaId {
        self.replicas[index].id
    }

    pub(super) fn device_of(&self, id: ReplicaId) -> DeviceClass {
        self.position(id).map_or(DeviceClass(0), |at| self.replicas[at].device)
    }

    /// And all that are its like.
    pub(super) fn told_to_wait(&mut self, index: usize) {
        let device = self.replicas[index].device;
        self.class_mut(device).waits = true;
    }

    /// A new round: something happened.
    pub(super) fn ask_all_again(&mut self) {
        self.classes.iter_mut().for_each(|class| class.waits = false);
    }

    pub(super) fn view(&self, asked: usize) -> ReplicasView<'_> {
        ReplicasView { replicas: self, asked }
    }

    pub(super) fn all(&self) -> &[Replica] {
        &self.replicas
    }

    /// Batches of replicas that are not ending, those expected back first at the front.
    pub(super) fn expected(&self) -> impl Iterator<Item = (&Replica, &Outgoing)> {
        let found = self.expected.iter().filter_map(|it| self.position(it.replica));
        let live =
            found.map(|at| &self.replicas[at]).filter(|replica| replica.service != Service::Ending);
        live.flat_map(|replica| replica.out.iter().map(move |batch| (replica, batch)))
    }

    pub(super) fn batch_mut(&mut self, id: BatchId) -> Option<&mut Outgoing> {
        self.batches_mut().find(|batch| batch.id == id)
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &Outgoing> {
        self.replicas.iter().flat_map(|replica| &replica.out)
    }

    pub(super) fn batches_mut(&mut self) -> impl Iterator<Item = &mut Outgoing> {
        self.replicas.iter_mut().flat_map(|replica| &mut replica.out)
    }

    /// When a member expires or a batch overruns next.
    pub(super) fn next_timeout(&self) -> Time {
        if self.idle == self.live && self.live == self.replicas.len() {
            Time::NEVER
        } else {
            self.next_timeout
        }
    }

    /// Finds out exactly when that is.
    pub(super) fn renew_next_timeout(&mut self) {
        let next = |batch: &Outgoing| {
            let times_out = if batch.overran { Time::NEVER } else { batch.times_out };
            batch.expires.min(times_out)
        };
        self.next_timeout = self.batches().map(next).min().unwrap_or(Time::NEVER);
    }

    /// Marks one batch that is out past its time, and its replica as ending. Each batch is returned once.
    pub(super) fn overrun(&mut self, now: Time) -> Option<Overrun> {
        for replica in &mut self.replicas {
            let was_live = replica.is_live();
            let overran = |batch: &&mut Outgoing| !batch.overran && batch.times_out <= now;
            let Some(batch) = replica.out.iter_mut().find(overran) else { continue };
            batch.overran = true;
            self.live -= usize::from(was_live);
            replica.service = Service::Ending;
            return Some(Overrun {
                replica: replica.id,
                device: replica.device,
                batch: batch.id,
                cost: batch.cost,
                at_bound: batch.at_bound,
                service: now.since(batch.departed),
            });
        }
        None
    }

    pub(super) fn send(&mut self, id: ReplicaId, batch: Outgoing) {
        let at = self.position(id).expect("a batch is sent to a replica that was found idle");
        let expected = Expected::new(&batch);
        self.next_timeout = self.next_timeout.min(batch.expires).min(batch.times_out);
        let replica = &mut self.replicas[at];
        assert!(replica.is_idle(), "a replica never has more batches than credits");
        replica.out.push(batch);
        let device = replica.device;
        self.no_longer_idle(id, device);
        let place = self.expected.partition_point(|other| *other < expected);
        self.expected.insert(place, expected);
    }

    /// Takes the batch back, if this replica has it.
    pub(super) fn settle(&mut self, id: ReplicaId, batch: BatchId) -> Option<Outgoing> {
        let at = self.position(id)?;
        let replica = &mut self.replicas[at];
        let nth = replica.out.iter().position(|out| out.id == batch)?;
        let batch = replica.out.remove(nth);
        if replica.service == Service::Suspect {
            replica.service = Service::In;
            self.live += 1;
        }
        let (is_idle, device) = (replica.is_idle(), replica.device);
        if is_idle {
            self.now_idle(id, device);
        }
        self.expect_no_more(&batch);
        Some(batch)
    }

    /// As long as none was lost for good, ids are places.
    fn position(&self, id: ReplicaId) -> Option<usize> {
        let place = id.0 as usize;
        if self.replicas.get(place).is_some_and(|replica| replica.id == id) {
            return Some(place);
        }
        self.replicas.binary_search_by_key(&id, |replica| replica.id).ok()
    }

    fn class_mut(&mut self, device: DeviceClass) -> &mut IdleOfClass {
        let known = self.classes.iter().position(|class| class.device == device);
        let at = known.unwrap_or(self.classes.len());
        if known.is_none() {
            self.classes.push(IdleOfClass { device, idle: Vec::new(), waits: false });
        }
        &mut self.classes[at]
    }

    fn now_idle(&mut self, id: ReplicaId, device: DeviceClass) {
        let idle = &mut self.class_mut(device).idle;
        let place = idle.partition_point(|&other| other < id);
        idle.insert(place, id);
        self.idle += 1;
    }

    fn no_longer_idle(&mut self, id: ReplicaId, device: DeviceClass) {
        let idle = &mut self.class_mut(device).idle;
        let place = idle.binary_search(&id).expect("an idle replica is among those of its class");
        idle.remove(place);
        self.idle -= 1;
    }

    fn expect_no_more(&mut self, batch: &Outgoing) {
        let place = self.expected.binary_search(&Expected::new(batch));
        self.expected.remove(place.expect("a batch that is out is expected"));
    }

    pub(super) fn members_of(&mut self, tasks: &[Waiting]) -> Vec<Member> {
        let mut members = self.spare.pop().unwrap_or_default();
        members.extend(tasks.iter().map(|task| Member { task: task.id, rows: task.rows }));
        members
    }

    pub(super) fn reuse(&mut self, mut members: Vec<Member>) {
        if self.spare.len() < self.replicas.len() {
            members.clear();
            self.spare.push(members);
        }
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.replicas.is_sorted_by(|a, b| a.id < b.id), "a replica is known once");
        assert_eq!(self.live, self.replicas.iter().filter(|replica| replica.is_live()).count());
        assert_eq!(self.idle, self.replicas.iter().filter(|replica| replica.is_idle()).count());
        for class in &self.classes {
            let of_class = self.replicas.iter().filter(|replica| replica.device == class.device);
            let idle = of_class.filter(|replica| replica.is_idle()).map(|replica| replica.id);
            assert!(idle.eq(class.idle.iter().copied()), "a class knows its idle replicas");
        }
        let idle: usize = self.classes.iter().map(|class| class.idle.len()).sum();
        assert_eq!(idle, self.idle, "every idle replica has a class");
        assert!(self.expected.iter().is_sorted(), "batches are expected in order");
        assert_eq!(self.expected.len(), self.batches().count());
        assert!(self.batches().all(|it| self.expected.binary_search(&Expected::new(it)).is_ok()));
        for replica in &self.replicas {
            assert!(replica.out.len() <= CREDITS_PER_REPLICA, "credits hold");
            let has_batch = !replica.out.is_empty();
            assert!(has_batch || replica.service != Service::Suspect, "a suspect is waited for");
            assert!(
                replica
                    .out
                    .iter()
                    .all(|batch| !batch.overran || replica.service == Service::Ending)
            );
        }
    }
}

/// A batch that took longer than its time.
pub(super) struct Overrun {
    pub(super) replica: ReplicaId,
    pub(super) device: DeviceClass,
    pub(super) batch: BatchId,
    pub(super) cost: u64,
    pub(super) at_bound: bool,
    pub(super) service: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_belongs_to_the_task_that_brought_it() {
        let members = [(1, 2), (2, 1), (3, 4)];
        let batch = Outgoing {
            id: BatchId(1),
            replica: ReplicaId(0),
            device: DeviceClass(0),
            members: members.map(|(id, rows)| Member { task: TaskId(id), rows }).to_vec(),
            cost: 7,
            at_bound: false,
            hedged: false,
            departed: Time::ZERO,
            first_due: Time::ZERO,
            last_due: Time::ZERO,
            nearly_back: Time::ZERO,
            expires: Time::NEVER,
            times_out: Time::NEVER,
            overran: false,
            rows_uncertain: false,
        };
        let holders: Vec<_> = (0..8).map(|row| batch.task_of_row(row).map(|task| task.0)).collect();
        let expected = [1, 1, 2, 3, 3, 3, 3].map(Some);
        assert_eq!(holders[..7], expected);
        assert_eq!(holders[7], None, "past the batch");
        let uncertain = Outgoing { rows_uncertain: true, ..batch };
        assert_eq!(uncertain.task_of_row(0), None);
    }
}
