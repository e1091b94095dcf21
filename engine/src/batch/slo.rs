//! Our controller: goodput under one number from the user, the SLO.
//!
//! Three quantiles for three questions: work is given up on an optimistic one (p20), sized by what it is expected
//! to bring on time, deferred and hedged on a pessimistic one (p99). What it learned is a [`LatencyProfile`]; how
//! fast work arrives, two `Rate`s.
//!
//! # A decision
//!
//! 1. Heads that would be late even alone, at once and with luck are hopeless.
//! 2. `need` is the smallest batch that keeps up with the arrivals (`target`); `b` what the head's slack and the
//!    queue allow (`sizing`).
//! 3. A head that forces `b < need` while more waits would start a death spiral: ever smaller batches of ever older
//!    heads. `skip` compares serving it with giving up the oldest, on the queue as it stands.
//! 4. With several replicas, a batch that took the whole queue and is still small may wait a little: replicas stay
//!    staggered, and none is emptied by the first to be free. With one replica waiting never pays.
//! 5. Late work goes when nothing on time waits, in batches short enough not to hurt what comes next.
//!
//! A replica that is idle with nothing to do may run a copy of a batch that is overdue (`hedge`).

use std::time::Duration;

use super::batch_size::{
    Arrival, Controller, Decision, Observed, QueueView, ReplicasView, Running, Shed,
};
use super::latency_profile::{LatencyProfile, Level, duration, nanos};
use super::rate::Rate;
use crate::clock::Time;
use crate::ids::DeviceClass;

mod admission;
mod fleet;
mod gate;
mod hedge;
mod scales;
mod sizing;
mod skip;
mod target;

use fleet::Fleet;
use gate::Gate;
use hedge::HedgeBudget;
use scales::Scales;
use target::Target;

/// Stands in for the SLO where the model has none: batches of at most 100 ms then, half of it.
pub const SLO_ASSUMED: Duration = Duration::from_millis(200);

/// Memory of the fast arrival rate, in SLOs. A window twice as long has the same mean age.
const FAST_MEMORY_SLOS: u32 = 1;
const SLOW_MEMORY_SLOS: u32 = 5;
const CALM_MEMORY_SLOS: u32 = 20;

/// Share of device time that late work is expected to find under any load.
const SPARE_MIN: f64 = 0.02;

/// Left between a deferred batch's predicted end and its head's deadline, as a share of the SLO.
const DEFER_GUARD: f64 = 0.02;

/// Replicas that planning looks at, those expected to be free first: more than a plan has batches, as what was
/// expected when they left is not quite what is expected now.
const FREE_LOOKED_AT: usize = 8;

/// Silence after which a model that is thought too slow is tried again.
const PROBE_AFTER: Duration = Duration::from_secs(1);

/// Longest a late batch may take, as a share of the SLO: about what it delays on-time work that comes meanwhile.
const LATE_SERVICE_SHARE: f64 = 0.2;

/// One in so many replicas must be overdue for that to tell of a regime: with many replicas and a slow mode some always
/// are.
const OVERDUE_SHARE: usize = 3;

/// A late answer against a shed one. At 1 the late share rises to 0.1 % at capacity and soft deadlines cost 1.3 points;
/// at 2.5 goodput is the same and both halve (`bench/RESULTS.md`).
const KAPPA: f64 = 2.5;

/// What a controller is told once.
#[derive(Clone, Copy, Debug)]
pub struct SloConfig {
    pub slo: Option<Duration>,
    /// Largest cost of a batch.
    pub cost_max: u64,
    /// From a batch's reply to its answers on the socket; taken off every deadline.
    pub allowance: Duration,
    /// Late answers against shed tasks: 0 counts on-time answers alone.
    pub kappa: f64,
    /// A batch may run twice.
    pub may_hedge: bool,
}

impl SloConfig {
    pub fn new(slo: Option<Duration>, cost_max: u64) -> SloConfig {
        SloConfig { slo, cost_max, allowance: Duration::ZERO, kappa: KAPPA, may_hedge: true }
    }
}

/// A decision with what it was made from.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    pub at: Time,
    /// Cost that waited and could be on time.
    pub waiting: f64,
    /// Nanoseconds the head had left.
    pub slack: f64,
    /// Cost that the slack allowed.
    pub size: f64,
    /// Cost of the smallest batch that keeps up.
    pub need: f64,
    pub did: Did,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    Sent,
    ShedBacklog,
    Waited,
}

impl Did {
    pub fn name(self) -> &'static str {
        match self {
            Did::Sent => "sent a batch",
            Did::ShedBacklog => "shed the oldest",
            Did::Waited => "waited for company",
        }
    }
}

#[derive(Debug)]
pub struct SloController {
    config: SloConfig,
    /// Nanoseconds.
    slo: f64,
    /// What was learned of each class of devices.
    profiles: Vec<LatencyProfile>,
    fleet: Fleet,
    gate: Gate,
    scales: Scales,
    fast: Rate,
    slow: Rate,
    /// Over as long as late work may wait.
    calm: Rate,
    hedges: HedgeBudget,
    /// The latest target, for the bound on reruns and for show.
    target: Target,
    latest: Option<Decided>,
    /// When the latest batch, or probe, went.
    sent: Option<Time>,
    /// Reused: how far beyond their expected end batches in flight are.
    out_ratios: Vec<f64>,
    /// Reused by planning: when replicas are free, nanoseconds from now.
    free: Vec<f64>,
    /// Reused: when replicas of other classes are free, and which class.
    fleet_free: Vec<(f64, DeviceClass)>,
    /// Cost that batches too small to keep up have left behind since the last one that was not.
    regret: f64,
    /// The profile is given and never learned: what an oracle has.
    frozen: bool,
}

impl SloController {
    pub fn new(config: SloConfig) -> SloController {
        SloController::with_profile(config, LatencyProfile::default())
    }

    pub fn with_profile(config: SloConfig, profile: LatencyProfile) -> SloController {
        SloController::with_profiles(config, vec![profile])
    }

    /// With what is known of each class of devices.
    pub fn with_profiles(config: SloConfig, profiles: Vec<LatencyProfile>) -> SloController {
        assert!(!profiles.is_empty(), "replicas run on some device");
        assert!(config.cost_max >= 1, "a batch holds at least one task");
        let slo = config.slo.unwrap_or(SLO_ASSUMED);
        SloController {
            config,
            slo: nanos(slo).max(1.0),
            profiles,
            fleet: Fleet::default(),
            gate: Gate::new(slo * SLOW_MEMORY_SLOS),
            scales: Scales::default(),
            fast: Rate::new(slo * FAST_MEMORY_SLOS),
            slow: Rate::new(slo * SLOW_MEMORY_SLOS),
            calm: Rate::new(slo * CALM_MEMORY_SLOS),
            hedges: HedgeBudget::default(),
            target: Target { need: 1.0, cap: config.cost_max as f64 },
            latest: None,
            sent: None,
            out_ratios: Vec::new(),
            free: Vec::new(),
            fleet_free: Vec::new(),
            regret: 0.0,
            frozen: false,
        }
    }

    /// What was learned of a class of devices; nothing of one that never ran.
    pub fn profile_of(&self, device: DeviceClass) -> Option<&LatencyProfile> {
        self.profiles.get(usize::from(device.0))
    }

    /// In order of their numbers.
    pub fn profiles(&self) -> &[LatencyProfile] {
        &self.profiles
    }

    /// Of the class that is decided for.
    fn profile(&self) -> &LatencyProfile {
        &self.profiles[self.fleet.asked]
    }

    fn profile_mut(&mut self, device: DeviceClass) -> &mut LatencyProfile {
        let class = usize::from(device.0);
        if class >= self.profiles.len() {
            self.profiles.resize_with(class + 1, LatencyProfile::default);
        }
        &mut self.profiles[class]
    }

    /// Milliseconds; `None` where the model has none.
    pub fn slo_ms(&self) -> Option<f64> {
        self.config.slo.map(|slo| nanos(slo) / 1e6)
    }

    /// Cost of the smallest batch that keeps up with the arrivals, and of the largest worth waiting for.
    pub fn target(&self) -> (f64, f64) {
        (self.target.need, self.target.cap)
    }

    /// Arrivals per nanosecond, over about one and five SLOs.
    pub fn rates(&self, now: Time) -> [f64; 2] {
        [self.fast.at(now), self.slow.at(now)]
    }

    /// The latest decision about on-time work.
    pub fn latest(&self) -> Option<&Decided> {
        self.latest.as_ref()
    }

    /// Starts from what the warm-up and an earlier life say.
    pub fn start_from(&mut self, device: DeviceClass, profile: LatencyProfile) {
        *self.profile_mut(device) = profile;
    }

    /// Replaces what was learned and learns no more.
    pub fn know(&mut self, profile: LatencyProfile) {
        self.profiles = vec![profile];
        self.frozen = true;
    }

    /// Nanoseconds from `now` to when the answer must be out of the replica's hands.
    fn slack(&self, now: Time, due: Time) -> f64 {
        due.as_nanos() as f64 - now.as_nanos() as f64 - nanos(self.config.allowance)
    }

    /// Nothing was sent for so long that what is known may be wrong: one task goes, whatever is expected of it.
    /// Without that a model once thought too slow for its SLO would never be tried again.
    fn may_probe(&self, now: Time) -> bool {
        self.sent.is_none_or(|sent| now.since(sent) >= PROBE_AFTER)
    }

    /// How many heads would be late even alone, now and with luck.
    fn hopeless(&self, now: Time, queue: &QueueView<'_>, scale: f64) -> usize {
        let Some(cost) = queue.cost(0) else { return 0 };
        let least = scale * self.quickest(f64::from(cost));
        queue.due_before(now.after(duration(least) + self.config.allowance))
    }

    /// When the first few live replicas of the asked class are expected to be free, nanoseconds from now, soonest
    /// first; the one asked about is.
    fn find_free_times(&mut self, now: Time, replicas: &ReplicasView<'_>) {
        let mut free = std::mem::take(&mut self.free);
        free.clear();
        let idle = replicas.idle().clamp(1, self.fleet.peers.min(FREE_LOOKED_AT));
        free.extend(std::iter::repeat_n(0.0, idle));
        let asked = replicas.device();
        let peers = replicas.running().filter(|running| running.device == asked);
        free.extend(peers.take(FREE_LOOKED_AT).map(|running| self.free_in(now, &running)));
        free.sort_unstable_by(f64::total_cmp);
        self.free = free;
    }

    /// Nanoseconds until a batch is expected back.
    fn free_in(&self, now: Time, running: &Running) -> f64 {
        let mean = self.profile_at(running.device).mean(running.cost as f64);
        (self.scales.of(running.replica) * mean - nanos(now.since(running.departed))).max(0.0)
    }

    /// The centre of what this batch takes where it runs.
    fn centre_of(&self, running: &Running) -> f64 {
        let centre = self.profile_at(running.device).centre(running.cost as f64);
        self.scales.of(running.replica) * centre
    }

    /// Until when a batch of the whole queue may wait for company; `None` when it should go.
    fn defer_until(&self, now: Time, queue: &QueueView<'_>, cost: f64, need: f64) -> Option<Time> {
        let head = queue.due(0)?;
        let guard = DEFER_GUARD * self.slo;
        let closes =
            self.slack(now, head) - self.profile().quantile(cost + 1.0, Level::P99) - guard;
        let fills = (need - cost) / self.fast.at(now);
        // Its age, if it was given the SLO; a task with more time than that waits no longer for company.
        let waited = (self.slo - self.slack(now, head)).max(0.0);
        let wait = closes.min(fills).min(self.slo / 2.0 - waited);
        (wait >= 1.0).then(|| now.after(duration(wait)))
    }

    /// Sends, gives up the oldest, or waits for company.
    fn decide_on_time(
        &mut self,
        now: Time,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> Decision {
        let scale = self.scales.of(replicas.asked());
        let waiting = queue.on_time_cost() as f64;
        let need = self.target.need;
        let slack = queue.due(0).map_or(0.0, |due| self.slack(now, due)) / scale;
        let (cost, _) = self.size_queued(now, queue, 0, scale);
        let cost = self.kept_rescuable(now, cost, waiting, slack);
        let decided = Decided { at: now, waiting, slack, size: cost, need, did: Did::Sent };
        if cost < need.min(waiting) {
            self.find_free_times(now, replicas);
            let skip = self.plan_skip(now, queue, cost);
            if skip > 0 {
                self.latest = Some(Decided { did: Did::ShedBacklog, ..decided });
                return Decision::Shed { tasks: skip, why: Shed::Backlog };
            }
            self.regret_forced(now, cost);
        } else {
            self.regret = 0.0;
        }
        let may_wait = cost >= waiting && cost < need && self.fleet.peers >= 2;
        if may_wait
            && !self.hedges_slow_mode(now)
            && let Some(until) = self.defer_until(now, queue, cost, need)
        {
            self.latest = Some(Decided { did: Did::Waited, ..decided });
            let overdue = self.next_overdue(now, replicas).unwrap_or(Time::NEVER);
            return Decision::WaitUntil(until.min(overdue));
        }
        self.latest = Some(decided);
        self.dispatch(now, 0, cost)
    }

    fn dispatch(&mut self, now: Time, skip: usize, cost: f64) -> Decision {
        self.sent = Some(now);
        let cost = self.profile().efficient(cost).floor();
        Decision::Dispatch { skip, cost: self.bounded(cost) }
    }

    fn decide_late(&self, queue: &QueueView<'_>) -> Decision {
        debug_assert!(queue.late_tasks() > 0);
        let within = LATE_SERVICE_SHARE * self.slo / self.profile().residuals().main95();
        Decision::Dispatch { skip: 0, cost: self.bounded(self.profile().largest_within(within)) }
    }

    fn sustained(&self) -> f64 {
        self.sustained_of(self.fleet.asked)
    }

    fn bounded(&self, cost: f64) -> u64 {
        (cost as u64).clamp(1, self.config.cost_max)
    }

    /// Lets batches that are out for long count as evidence before they return.
    fn notice_overdue(&mut self, now: Time, replicas: &ReplicasView<'_>) {
        if self.frozen {
            return;
        }
        let mut ratios = std::mem::take(&mut self.out_ratios);
        for class in 0..self.profiles.len() {
            ratios.clear();
            let is_own = |running: &Running| usize::from(running.device.0) == class;
            let own = replicas.nearly_back(now).filter(is_own);
            let known = own.filter(|running| self.profiles[class].is_known(running.cost as f64));
            let ratio = |running: Running| {
                nanos(now.since(running.departed)) / self.centre_of(&running).max(1.0)
            };
            ratios.extend(known.map(ratio).filter(|&ratio| ratio > 1.0));
            let are_many = OVERDUE_SHARE * ratios.len() >= self.fleet.live_of(class);
            if are_many && !self.profiles[class].is_empty() {
                self.profiles[class].observe_running(&ratios);
            }
        }
        self.out_ratios = ratios;
    }
}

impl Controller for SloController {
    fn arrived(&mut self, now: Time, cost: u32, _due: Time) {
        self.fast.add(now, cost);
        self.slow.add(now, cost);
        self.calm.add(now, cost);
    }

    fn decide(
        &mut self,
        now: Time,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> Decision {
        self.look_at(replicas);
        self.notice_overdue(now, replicas);
        if let Some(hedge) = self.decide_hedge(now, replicas) {
            return hedge;
        }
        if queue.on_time_tasks() == 0 {
            return self.decide_late(queue);
        }
        let scale = self.scales.of(replicas.asked());
        let hopeless = self.hopeless(now, queue, scale);
        if hopeless > 0 && !self.may_probe(now) {
            return Decision::Shed { tasks: hopeless, why: Shed::Hopeless };
        }
        self.target = self.find_target(now);
        if let Some(decision) = self.decide_among_unlike(now, queue, replicas) {
            return decision;
        }
        self.decide_on_time(now, queue, replicas)
    }

    fn observe(&mut self, _now: Time, observed: &Observed) {
        let cost = observed.cost as f64;
        if self.frozen {
            return;
        }
        let scale = self.scales.of(observed.replica);
        let service = nanos(observed.service);
        let profile = self.profile_mut(observed.device);
        let ratio = service / profile.centre(cost).max(1.0);
        if observed.censored {
            profile.observe_censored(cost, service, scale);
        } else {
            profile.observe(cost, service, scale);
        }
        self.scales.observe(observed.replica, ratio);
    }

    fn cost_limit(&self) -> u64 {
        self.bounded(self.sustained())
    }

    fn expected_service(&self, cost: u64) -> Duration {
        duration(self.profile().centre(cost as f64))
    }

    fn slowest_service(&self, device: DeviceClass, cost: u64) -> Duration {
        duration(self.profile_at(device).quantile(cost as f64, Level::P99))
    }

    fn admit(
        &mut self,
        now: Time,
        task: &Arrival,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> Result<(), Shed> {
        self.count_live(replicas);
        self.gate.offer(now, task);
        if self.gate.has_classes() && !self.gate.lets_in(now, task, self.capacity()) {
            return Err(Shed::Class);
        }
        if !task.is_hard || replicas.live() == 0 || self.may_probe(now) {
            return Ok(());
        }
        if !self.can_make(now, task, queue, replicas) {
            return Err(Shed::Hopeless);
        }
        if self.will_be_skipped(now, task, queue, replicas) {
            return Err(Shed::Backlog);
        }
        Ok(())
    }

    fn is_too_late(&self, now: Time, late_cost: u64, late_limit: Time) -> bool {
        let best = self.capacity();
        let spare = (best - self.calm.at(now)).max(SPARE_MIN * best);
        spare > 0.0 && now.after(duration(late_cost as f64 / spare)) > late_limit
    }

    fn hedge(&mut self, now: Time, replicas: &ReplicasView<'_>) -> Option<Decision> {
        self.decide_hedge(now, replicas)
            .or_else(|| self.next_overdue(now, replicas).map(Decision::WaitUntil))
    }
}
