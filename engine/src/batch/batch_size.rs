//! How much goes into a batch, when, and what is given up: the controller's interface.
//!
//! A controller is two calls. `decide` looks at the queue and the replicas and says what to do now; `observe`
//! learns from a batch that came back. It holds no task and no time but what it is told, so any of the
//! literature's controllers fits: they differ in what they remember. Ours is [`super::slo`]; the simulator drives
//! the others through the same interface.

use std::time::Duration;

use super::edf_list::EdfList;
use super::replicas::{Outgoing, Replica, Replicas};
use crate::clock::Time;
use crate::ids::{BatchId, DeviceClass, ReplicaId};

/// A task that asks to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub cost: u32,
    pub due: Time,
    pub class: u8,
    /// What a row of its class is worth.
    pub worth: u32,
    pub is_hard: bool,
}

/// What waits, when a replica is idle. Never empty. Ranks count the tasks that can still be on time, earliest due
/// first; costs are sums over tasks, with what batches of them are expected to be padded by.
#[derive(Clone, Copy, Debug)]
pub struct QueueView<'a> {
    pub(super) on_time: &'a EdfList,
    pub(super) late: &'a EdfList,
    /// What batches cost over the sum of their tasks' costs, of late: 1 where nothing is padded.
    pub(super) padding: f64,
}

impl QueueView<'_> {
    pub fn on_time_tasks(&self) -> usize {
        self.on_time.len()
    }

    pub fn on_time_cost(&self) -> u64 {
        self.padded(self.on_time.cost())
    }

    pub fn late_tasks(&self) -> usize {
        self.late.len()
    }

    pub fn late_cost(&self) -> u64 {
        self.late.cost()
    }

    /// When the on-time task of this rank came.
    pub fn arrived(&self, rank: usize) -> Option<Time> {
        self.on_time.get(rank).map(|task| task.arrived)
    }

    /// Due time of the on-time task of this rank.
    pub fn due(&self, rank: usize) -> Option<Time> {
        self.on_time.time(rank)
    }

    /// Cost of the on-time task of this rank.
    pub fn cost(&self, rank: usize) -> Option<u32> {
        self.on_time.get(rank).map(|task| task.cost)
    }

    /// Costs of on-time tasks from this rank on.
    pub fn costs_from(&self, rank: usize) -> impl Iterator<Item = u32> {
        self.on_time.iter_from(rank).map(|task| task.cost)
    }

    /// What the first `tasks` on-time tasks cost together.
    pub fn cost_of_first(&self, tasks: usize) -> u64 {
        self.padded(self.on_time.cost_of_first(tasks))
    }

    fn padded(&self, cost: u64) -> u64 {
        (cost as f64 * self.padding) as u64
    }

    /// What the first `tasks` on-time tasks are worth together.
    pub fn weight_of_first(&self, tasks: usize) -> u64 {
        self.on_time.weight_of_first(tasks)
    }

    /// How many leading on-time tasks cost at most `cost` together.
    pub fn tasks_within_cost(&self, cost: u64) -> usize {
        self.on_time.tasks_within_cost((cost as f64 / self.padding) as u64)
    }

    /// How many on-time tasks are due before `time`.
    pub fn due_before(&self, time: Time) -> usize {
        self.on_time.before(time)
    }

    /// What those are worth together.
    pub fn weight_due_before(&self, time: Time) -> u64 {
        self.on_time.weight_before(time)
    }
}

/// The live replicas, and the idle one that is asked about.
#[derive(Clone, Copy, Debug)]
pub struct ReplicasView<'a> {
    pub(super) replicas: &'a Replicas,
    pub(super) asked: usize,
}

/// A batch with a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    pub replica: ReplicaId,
    pub device: DeviceClass,
    pub batch: BatchId,
    pub cost: u64,
    pub departed: Time,
    /// When the first and the last of its members are due.
    pub first_due: Time,
    pub last_due: Time,
    /// When it has been out for nearly as long as was expected when it left.
    pub nearly_back: Time,
    /// It has a copy, or is one.
    pub hedged: bool,
}

impl ReplicasView<'_> {
    /// The replica the decision is for; idle.
    pub fn asked(&self) -> ReplicaId {
        self.replicas.all()[self.asked].id
    }

    /// Its class.
    pub fn device(&self) -> DeviceClass {
        self.replicas.all()[self.asked].device
    }

    /// Each live replica's class, and whether it is idle.
    pub fn devices(&self) -> impl Iterator<Item = (DeviceClass, bool)> {
        let live = self.replicas.all().iter().filter(|replica| replica.is_live());
        live.map(|replica| (replica.device, replica.out.is_empty()))
    }

    pub fn live(&self) -> usize {
        self.replicas.live()
    }

    /// At least one when a decision is asked for.
    pub fn idle(&self) -> usize {
        self.replicas.idle()
    }

    pub fn ids(&self) -> impl Iterator<Item = ReplicaId> {
        self.replicas.all().iter().filter(|replica| replica.is_live()).map(|replica| replica.id)
    }

    /// Whose replicas are counted on for what comes next. Those that should be back first, by what was expected when
    /// they left, come first.
    pub fn running(&self) -> impl Iterator<Item = Running> {
        self.replicas.expected().filter(|(replica, _)| replica.is_live()).map(running)
    }

    /// What should be back soon, or by now; also from those that are suspect or leave.
    pub fn nearly_back(&self, now: Time) -> impl Iterator<Item = Running> {
        self.replicas.expected().map(running).take_while(move |running| running.nearly_back <= now)
    }
}

fn running((replica, out): (&Replica, &Outgoing)) -> Running {
    Running {
        replica: replica.id,
        device: replica.device,
        batch: out.id,
        cost: out.cost,
        departed: out.departed,
        first_due: out.first_due,
        last_due: out.last_due,
        nearly_back: out.nearly_back,
        hedged: out.hedged,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Pass over `skip` heads, which keep their place, and send what follows, up to `cost` (one task always goes).
    /// Late tasks go when none is on time.
    Dispatch { skip: usize, cost: u64 },
    /// This many heads (≥ 1) can't be on time, or are given up so that others are: hard ones leave, soft ones turn
    /// late. Then ask again.
    Shed { tasks: usize, why: Shed },
    /// Send those tasks of this batch that are due before then to the replica asked about as well; the first answer
    /// counts.
    Hedge { batch: BatchId, due_before: Time },
    /// Nothing for this replica yet; ask again at the next event or at this instant, which lies ahead.
    WaitUntil(Time),
}

/// Why a task was given up before its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shed {
    /// Even alone and at once it would be late.
    Hopeless,
    /// Serving it would have made more others late.
    Backlog,
    /// Its class gives way to more valuable ones under overload.
    Class,
}

/// A batch that came back, or was given up after `service`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    pub replica: ReplicaId,
    pub device: DeviceClass,
    pub batch: BatchId,
    pub cost: u64,
    pub service: Duration,
    /// More would have gone had the bound been larger, or it was met exactly.
    pub at_bound: bool,
    /// It did not come back: `service` is how long it was out when it was given up.
    pub censored: bool,
}

impl<C: Controller + ?Sized> Controller for Box<C> {
    fn arrived(&mut self, now: Time, cost: u32, due: Time) {
        (**self).arrived(now, cost, due);
    }

    fn decide(
        &mut self,
        now: Time,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> Decision {
        (**self).decide(now, queue, replicas)
    }

    fn observe(&mut self, now: Time, observed: &Observed) {
        (**self).observe(now, observed);
    }

    fn cost_limit(&self) -> u64 {
        (**self).cost_limit()
    }

    fn expected_service(&self, cost: u64) -> Duration {
        (**self).expected_service(cost)
    }

    fn slowest_service(&self, device: DeviceClass, cost: u64) -> Duration {
        (**self).slowest_service(device, cost)
    }

    fn hedge(&mut self, now: Time, replicas: &ReplicasView<'_>) -> Option<Decision> {
        (**self).hedge(now, replicas)
    }

    fn admit(
        &mut self,
        now: Time,
        task: &Arrival,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> Result<(), Shed> {
        (**self).admit(now, task, queue, replicas)
    }

    fn is_too_late(&self, now: Time, late_cost: u64, late_limit: Time) -> bool {
        (**self).is_too_late(now, late_cost, late_limit)
    }
}

/// One model's batch sizes on one kind of device.
pub trait Controller {
    /// A task of this cost was accepted, due then.
    fn arrived(&mut self, now: Time, cost: u32, due: Time);
    /// What to do with the idle replica asked about. Asked again until every idle replica has work or waits.
    fn decide(&mut self, now: Time, queue: &QueueView<'_>, replicas: &ReplicasView<'_>)
    -> Decision;
    fn observe(&mut self, now: Time, observed: &Observed);
    /// The bound in cost it holds to now, ≥ 1; groups that run again keep to it too.
    fn cost_limit(&self) -> u64;
    /// What a batch of `cost` is expected to take; zero while nothing is known.
    fn expected_service(&self, cost: u64) -> Duration;
    /// What 99 in 100 batches of `cost` take at most on these devices; zero while nothing is known.
    fn slowest_service(&self, _device: DeviceClass, cost: u64) -> Duration {
        self.expected_service(cost)
    }
    /// Asked of every arrival, before it is queued. One with a hard deadline that gets an error is refused; one with a
    /// soft deadline turns late at once.
    fn admit(
        &mut self,
        _now: Time,
        _task: &Arrival,
        _queue: &QueueView<'_>,
        _replicas: &ReplicasView<'_>,
    ) -> Result<(), Shed> {
        Ok(())
    }
    /// A late task that would wait behind `late_cost` of others can't be expected to make its late limit.
    fn is_too_late(&self, _now: Time, _late_cost: u64, _late_limit: Time) -> bool {
        false
    }
    /// Asked also when nothing waits and a replica is idle: whether to send a copy of something that runs.
    fn hedge(&mut self, _now: Time, _replicas: &ReplicasView<'_>) -> Option<Decision> {
        None
    }
}
