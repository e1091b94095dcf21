//! What the live replicas can do together, and who does what where their devices are unlike.
//!
//! Devices are unlike when one has the better rate (the bulk class) and another is sooner done with a single task
//! (a quick class): a GPU and some CPU cores. Work is then bound by comparative advantage: a quick replica takes those
//! that the bulk class's next planned batch would miss, and leaves it the rest; a bulk replica passes over heads that
//! would shrink its batch, as long as the others can still finish them, and over those that its batch may miss.

use super::SloController;
use crate::batch::batch_size::{Decision, QueueView, ReplicasView};
use crate::batch::latency_profile::{LatencyProfile, Level, duration};
use crate::clock::Time;
use crate::ids::DeviceClass;

/// Load of the bulk class above which quick replicas take whatever comes first.
const BULK_LOAD_MAX: f64 = 0.85;

/// A quick replica with nothing to do looks again after this share of the SLO, if nothing happens before.
const LOOK_AGAIN_SLOS: f64 = 0.25;
/// And after no less than this share: a bulk replica that should be free already is not waited for in a spin.
const LOOK_AGAIN_SLOS_MIN: f64 = LOOK_AGAIN_SLOS / 16.0;

/// While one more quick replica is idle, tasks that the bulk class would finish this close to their deadlines, as a share
/// of the SLO, count as missed: a stall of the machine would make them late, and nobody else needs the replica.
const SPARE_GUARD_SLOS: f64 = 0.1;

#[derive(Debug)]
pub(super) struct Fleet {
    /// The class decided for.
    pub(super) asked: usize,
    /// Its live replicas, at least 1.
    pub(super) peers: usize,
    /// Share of the arrivals that one replica of it is to carry.
    pub(super) share: f64,
    /// Live replicas by class.
    live: Vec<usize>,
    /// The class of the best rate, where another live one is sooner done with a single task.
    bulk: Option<usize>,
}

impl Default for Fleet {
    fn default() -> Fleet {
        Fleet { asked: 0, peers: 1, share: 1.0, live: vec![1], bulk: None }
    }
}

impl Fleet {
    pub(super) fn live_in_all(&self) -> usize {
        self.live.iter().sum()
    }

    pub(super) fn live_of(&self, class: usize) -> usize {
        self.live.get(class).copied().unwrap_or(0)
    }

    pub(super) fn is_unlike(&self) -> bool {
        self.bulk.is_some()
    }
}

impl SloController {
    /// Of a class that has a replica; the first one's stands in for one that never ran.
    pub(super) fn profile_at(&self, device: DeviceClass) -> &LatencyProfile {
        self.profiles.get(usize::from(device.0)).unwrap_or(&self.profiles[0])
    }

    /// Before anything is decided for a replica.
    pub(super) fn look_at(&mut self, replicas: &ReplicasView<'_>) {
        let device = replicas.device();
        self.profile_mut(device);
        self.fleet.asked = usize::from(device.0);
        self.count_live(replicas);
    }

    pub(super) fn count_live(&mut self, replicas: &ReplicasView<'_>) {
        let classes = self.profiles.len();
        self.fleet.live.clear();
        self.fleet.live.resize(classes, 0);
        if classes == 1 {
            self.fleet.live[0] = replicas.live();
        } else {
            let devices = replicas.devices().filter(|(device, _)| usize::from(device.0) < classes);
            devices.for_each(|(device, _)| self.fleet.live[usize::from(device.0)] += 1);
        }
        self.look_from(self.fleet.asked);
        self.fleet.bulk = (classes > 1).then(|| self.find_bulk()).flatten();
    }

    /// Sees the fleet as one replica of this class does.
    fn look_from(&mut self, class: usize) {
        self.fleet.asked = class;
        self.fleet.peers = self.fleet.live_of(class).max(1);
        self.fleet.share = if self.profiles.len() == 1 {
            1.0 / self.fleet.peers as f64
        } else {
            self.best_of(class) / self.capacity().max(f64::MIN_POSITIVE)
        };
    }

    /// Cost per second that one replica of a class gets through within the SLO; `None` while nothing is known of it.
    pub fn carries(&self, device: DeviceClass) -> Option<f64> {
        let known = self.profile_of(device).is_some_and(|profile| !profile.is_empty());
        known.then(|| self.best_of(device.0.into()) * 1e9).filter(|carried| *carried > 0.0)
    }

    /// Cost per nanosecond of all live replicas at their best sustainable batches.
    pub(super) fn capacity(&self) -> f64 {
        let of = |(class, &live): (usize, &usize)| live as f64 * self.best_of(class);
        self.fleet.live.iter().enumerate().map(of).sum()
    }

    fn best_of(&self, class: usize) -> f64 {
        let cost = self.sustained_of(class);
        let service = self.profiles[class].mean(cost);
        if service > 0.0 { cost / service } else { 0.0 }
    }

    /// The largest batch that staggered replicas of a class can run for ever: whoever just misses one is on time with
    /// the next.
    pub(super) fn sustained_of(&self, class: usize) -> f64 {
        let profile = &self.profiles[class];
        let live = self.fleet.live_of(class).max(1);
        let stagger = profile.residuals().main95() + 1.0 / live as f64;
        profile.largest_within(self.slo / stagger).clamp(1.0, self.config.cost_max as f64)
    }

    fn find_bulk(&self) -> Option<usize> {
        let is_known =
            |class: &usize| self.fleet.live[*class] > 0 && !self.profiles[*class].is_empty();
        let known = || (0..self.profiles.len()).filter(is_known);
        let bulk = known().max_by(|&a, &b| self.best_of(a).total_cmp(&self.best_of(b)))?;
        let single = |class: usize| self.profiles[class].centre(1.0);
        known().any(|class| single(class) < single(bulk)).then_some(bulk)
    }

    /// Nanoseconds of a task on the class that is soonest done with it, with luck.
    pub(super) fn quickest(&self, cost: f64) -> f64 {
        let on = |class: usize| self.profiles[class].quantile(cost, Level::P20);
        let live = (0..self.profiles.len()).filter(|&class| self.fleet.live.get(class) != Some(&0));
        live.map(on).fold(f64::INFINITY, f64::min)
    }

    /// What comparative advantage says; nothing where devices are alike, or where it has nothing to say.
    pub(super) fn decide_among_unlike(
        &mut self,
        now: Time,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> Option<Decision> {
        let bulk = self.fleet.bulk?;
        if self.fleet.asked == bulk {
            self.pass_over_urgent(now, queue, replicas)
        } else {
            self.take_missed(now, queue, replicas, bulk)
        }
    }

    /// The bulk class sends a batch worth its while, if those it passes over have someone else. And it passes over those
    /// that its batch may miss, whoever else has time for them: answered late they would cost as much, and the quick
    /// classes may yet come to them.
    fn pass_over_urgent(
        &mut self,
        now: Time,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> Option<Decision> {
        let waiting = queue.on_time_cost() as f64;
        let wanted = self.target.need.min(waiting);
        let (cost, _) = self.size_queued(now, queue, 0, 1.0);
        let shrinking = if cost < wanted { self.first_with_size(now, queue, wanted) } else { 0 };
        let skip = if shrinking > 0 && self.others_can_take(now, queue, replicas, shrinking) {
            shrinking
        } else {
            self.missed_by(now, queue, self.fleet.asked, cost)
        };
        if skip == 0 || skip >= queue.on_time_tasks() {
            return None;
        }
        let (cost, _) = self.size_queued(now, queue, skip, 1.0);
        Some(self.dispatch(now, skip, cost))
    }

    /// How many heads a batch of this cost may miss, if a class starts it then.
    fn missed_by(&self, starts: Time, queue: &QueueView<'_>, class: usize, cost: f64) -> usize {
        let ends = starts.after(duration(self.profiles[class].quantile(cost, Level::P99)));
        queue.due_before(ends.after(self.config.allowance))
    }

    /// Whether replicas of other classes, each with one batch, can finish the first `tasks` in time.
    fn others_can_take(
        &mut self,
        now: Time,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
        tasks: usize,
    ) -> bool {
        let mut others = std::mem::take(&mut self.fleet_free);
        others.clear();
        let asked = self.fleet.asked;
        let idle = replicas.devices().filter(|&(_, idle)| idle).map(|(device, _)| (0.0, device));
        let busy = replicas.running().map(|it| (self.free_in(now, &it), it.device));
        others.extend(idle.chain(busy).filter(|(_, device)| usize::from(device.0) != asked));
        others.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut rank = 0;
        for &(free, device) in &others {
            let Some(due) = queue.due(rank).filter(|_| rank < tasks) else { break };
            let profile = self.profile_at(device);
            let slack = self.slack(now, due) - free;
            let cost = profile.largest_within(slack / profile.residuals().main95()).floor();
            if cost >= 1.0 {
                let cost = self.bounded(cost);
                rank = queue.tasks_within_cost(queue.cost_of_first(rank) + cost).max(rank);
            }
        }
        self.fleet_free = others;
        rank >= tasks
    }

    /// A quick replica takes what the bulk class would miss.
    fn take_missed(
        &mut self,
        now: Time,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
        bulk: usize,
    ) -> Option<Decision> {
        let live = self.fleet.live[bulk] as f64;
        if self.slow.at(now) > BULK_LOAD_MAX * live * self.best_of(bulk) {
            return None;
        }
        let is_bulk = |device: DeviceClass| usize::from(device.0) == bulk;
        let idle = replicas.devices().any(|(device, idle)| idle && is_bulk(device));
        let busy = replicas.running().filter(|running| is_bulk(running.device));
        let free = busy.map(|running| self.free_in(now, &running)).fold(f64::INFINITY, f64::min);
        let free = if idle { 0.0 } else { free };
        let planned = self.bulk_batch(now, queue, bulk);
        let spare = replicas.devices().filter(|&(device, idle)| idle && !is_bulk(device)).count();
        let guard = if spare > 1 { SPARE_GUARD_SLOS * self.slo } else { 0.0 };
        let starts = now.after(duration(free + guard));
        let missed = self.missed_by(starts, queue, bulk, planned);
        if missed == 0 {
            let wait = free.clamp(LOOK_AGAIN_SLOS_MIN * self.slo, LOOK_AGAIN_SLOS * self.slo);
            return Some(Decision::WaitUntil(now.after(duration(wait))));
        }
        let (cost, _) = self.size_queued(now, queue, 0, self.scales.of(replicas.asked()));
        let cost = cost.min(queue.cost_of_first(missed) as f64);
        Some(self.dispatch(now, 0, cost))
    }

    /// The cost that the bulk class is expected to send next.
    fn bulk_batch(&mut self, now: Time, queue: &QueueView<'_>, bulk: usize) -> f64 {
        let asked = self.fleet.asked;
        self.look_from(bulk);
        let need = self.find_target(now).need;
        self.look_from(asked);
        need.min(queue.on_time_cost() as f64).max(1.0)
    }
}
