//! The literature's controllers, behind the engine's own interface.

use std::time::Duration;

use engine::batch::fixed::FixedBatches;
use engine::batch::latency_profile::LatencyProfile;
use engine::batch::slo::{SloConfig, SloController};
use engine::batch::{Controller, Decision, Observed, QueueView, ReplicasView, Shed};
use engine::clock::Time;
use engine::ids::{ById, ReplicaId};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::device::{BATCH_MAX, Device};
use crate::world::Setup;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Ours, with a profile learned by warm-up.
    Ours,
    /// Ours, knowing nothing at first.
    Cold,
    /// Ours, told the truth at every moment.
    Oracle,
    /// One request a batch.
    Unbatched,
    /// At most this many, after at most this delay (ms), as Triton's dynamic batcher.
    Static(u64, f64),
    Aimd,
    Nexus,
    Clockwork,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ours => "ours",
            Kind::Cold => "cold",
            Kind::Oracle => "oracle",
            Kind::Unbatched => "unbatched",
            Kind::Static(..) => "static",
            Kind::Aimd => "aimd",
            Kind::Nexus => "nexus",
            Kind::Clockwork => "clockwork",
        }
    }

    pub(crate) fn controller(self, setup: &Setup) -> Box<dyn Controller> {
        let device = setup.devices[0];
        match self {
            Kind::Ours => Box::new(ours(setup, setup.devices.iter().map(|it| warmed(setup, it)))),
            Kind::Cold => Box::new(SloController::new(slo_config(setup))),
            Kind::Oracle => Box::new(Oracle::new(setup)),
            Kind::Unbatched => Box::new(FixedBatches { size: 1, delay: Duration::ZERO }),
            Kind::Static(most, delay_ms) => {
                let delay = Duration::from_nanos((delay_ms * 1e6) as u64);
                Box::new(FixedBatches { size: most, delay })
            }
            Kind::Aimd => Box::new(Aimd { caps: ById::default(), objective: slo(setup) }),
            Kind::Nexus => Box::new(Nexus::new(device, setup.slo_ms)),
            Kind::Clockwork => Box::new(Clockwork::new(device)),
        }
    }
}

fn slo(setup: &Setup) -> Duration {
    Duration::from_nanos((setup.slo_ms * 1e6) as u64)
}

pub(crate) fn slo_config(setup: &Setup) -> SloConfig {
    SloConfig::new(Some(slo(setup)), setup.batch_cost_max)
}

/// Our controller with what was learned of each class of device, the first one's first.
pub(crate) fn ours(
    setup: &Setup,
    profiles: impl IntoIterator<Item = LatencyProfile>,
) -> SloController {
    SloController::with_profiles(slo_config(setup), profiles.into_iter().collect())
}

/// Two batches at 1, 2, 4, … while they fit the SLO, as a replica runs before it is ready.
fn warmed(setup: &Setup, device: &Device) -> LatencyProfile {
    let mut rng = SmallRng::seed_from_u64(0x0003_A23A);
    let mut profile = LatencyProfile::default();
    let mut cost = 1.0;
    while cost <= setup.batch_cost_max as f64 && device.shape.millis(cost) <= setup.slo_ms {
        for _ in 0..2 {
            let millis = device.shape.millis(cost) * device.ratio(&mut rng);
            profile.warm(cost, millis * 1e6);
        }
        cost *= 2.0;
    }
    profile
}

/// The same decisions on the true curve, but nobody is refused at arrival: whoever refuses can be wrong, and on the
/// fat device that cost three points through a slow-down.
struct Oracle {
    device: Device,
    inner: SloController,
    factor: f64,
}

impl Oracle {
    fn new(setup: &Setup) -> Oracle {
        let inner = SloController::new(slo_config(setup));
        let mut oracle = Oracle { device: setup.devices[0], inner, factor: 0.0 };
        oracle.look(Time::ZERO);
        oracle
    }

    fn look(&mut self, now: Time) {
        let factor = self.device.factor(now);
        if factor != self.factor {
            self.factor = factor;
            self.inner.know(known(self.device, factor));
        }
    }
}

fn known(device: Device, factor: f64) -> LatencyProfile {
    let mut rng = SmallRng::seed_from_u64(1);
    let centre = |cost: u32| (f64::from(cost), device.shape.millis(f64::from(cost)) * factor * 1e6);
    let centres: Vec<_> = (1..=BATCH_MAX).map(centre).collect();
    LatencyProfile::known(&centres, (0..20_000).map(|_| device.ratio(&mut rng)))
}

impl Controller for Oracle {
    fn arrived(&mut self, now: Time, cost: u32, due: Time) {
        self.inner.arrived(now, cost, due);
    }

    fn decide(
        &mut self,
        now: Time,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> Decision {
        self.look(now);
        self.inner.decide(now, queue, replicas)
    }

    fn observe(&mut self, now: Time, observed: &Observed) {
        self.inner.observe(now, observed);
    }

    fn cost_limit(&self) -> u64 {
        self.inner.cost_limit()
    }

    fn expected_service(&self, cost: u64) -> Duration {
        self.inner.expected_service(cost)
    }

    fn hedge(&mut self, now: Time, replicas: &ReplicasView<'_>) -> Option<Decision> {
        self.look(now);
        self.inner.hedge(now, replicas)
    }
}

/// Clipper's rule as published (NSDI '17, §4.3): one more after a full batch within the objective, 10 % fewer
/// after one that was not; each replica its own.
struct Aimd {
    caps: ById<ReplicaId, f64>,
    objective: Duration,
}

impl Controller for Aimd {
    fn arrived(&mut self, _now: Time, _cost: u32, _due: Time) {}

    fn decide(
        &mut self,
        _now: Time,
        _queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> Decision {
        let cap = *self.caps.entry(replicas.asked()).or_insert(1.0);
        Decision::Dispatch { skip: 0, cost: cap as u64 }
    }

    fn observe(&mut self, _now: Time, observed: &Observed) {
        let cap = self.caps.entry(observed.replica).or_insert(1.0);
        if observed.service > self.objective {
            *cap = (*cap * 0.9).max(1.0);
        } else if observed.at_bound {
            *cap = (*cap + 1.0).min(f64::from(BATCH_MAX));
        }
    }

    fn cost_limit(&self) -> u64 {
        u64::from(BATCH_MAX)
    }

    fn expected_service(&self, _cost: u64) -> Duration {
        Duration::ZERO
    }
}

/// Nexus's early drop with a sliding window (SOSP '19, §4), on a perfect and static profile.
struct Nexus {
    device: Device,
    plan: u64,
}

impl Nexus {
    fn new(device: Device, slo_ms: f64) -> Nexus {
        let fits = |cost: &u64| device.shape.millis(*cost as f64) <= slo_ms / 2.0;
        Nexus { device, plan: (1..=u64::from(BATCH_MAX)).take_while(fits).last().unwrap_or(1) }
    }
}

impl Controller for Nexus {
    fn arrived(&mut self, _now: Time, _cost: u32, _due: Time) {}

    fn decide(
        &mut self,
        now: Time,
        queue: &QueueView<'_>,
        _replicas: &ReplicasView<'_>,
    ) -> Decision {
        let (tasks, mut dropped) = (queue.on_time_tasks(), 0);
        while let Some(due) = queue.due(dropped) {
            // Planned anew after each head that is dropped: where the queue is short, the window shrinks with it.
            let window = (tasks - dropped).min(self.plan as usize);
            if due >= now.after(self.expected_service(window as u64)) {
                break;
            }
            dropped += 1;
        }
        if dropped > 0 {
            return Decision::Shed { tasks: dropped, why: Shed::Hopeless };
        }
        Decision::Dispatch { skip: 0, cost: self.plan }
    }

    fn observe(&mut self, _now: Time, _observed: &Observed) {}

    fn cost_limit(&self) -> u64 {
        self.plan
    }

    fn expected_service(&self, cost: u64) -> Duration {
        Duration::from_nanos((self.device.shape.millis(cost as f64) * 1e6) as u64)
    }
}

/// Sizes 1, 2, 4, … that Clockwork has estimates for.
const CLOCKWORK_SIZES: usize = 8;
const CLOCKWORK_WINDOW: usize = 10;

/// Clockwork's rule (OSDI '20, "infer5"): an estimate per power of two, the largest of its last ten batches; the
/// largest size that enough requests can still make.
struct Clockwork {
    latest: [Vec<Duration>; CLOCKWORK_SIZES],
}

impl Clockwork {
    fn new(device: Device) -> Clockwork {
        let latest = std::array::from_fn(|nth| {
            vec![Duration::from_nanos((device.shape.millis(f64::from(1 << nth)) * 1e6) as u64)]
        });
        Clockwork { latest }
    }

    fn estimate(&self, nth: usize) -> Duration {
        self.latest[nth].iter().copied().max().unwrap_or_default()
    }
}

impl Controller for Clockwork {
    fn arrived(&mut self, _now: Time, _cost: u32, _due: Time) {}

    fn decide(
        &mut self,
        now: Time,
        queue: &QueueView<'_>,
        _replicas: &ReplicasView<'_>,
    ) -> Decision {
        for nth in (0..CLOCKWORK_SIZES).rev() {
            let missed = queue.due_before(now.after(self.estimate(nth)));
            if queue.on_time_tasks() - missed >= 1 << nth {
                return Decision::Dispatch { skip: missed, cost: 1 << nth };
            }
        }
        Decision::Shed { tasks: queue.on_time_tasks().max(1), why: Shed::Hopeless }
    }

    fn observe(&mut self, _now: Time, observed: &Observed) {
        let latest =
            &mut self.latest[(observed.cost.max(1).ilog2() as usize).min(CLOCKWORK_SIZES - 1)];
        if latest.len() == CLOCKWORK_WINDOW {
            latest.remove(0);
        }
        latest.push(observed.service);
    }

    fn cost_limit(&self) -> u64 {
        1 << (CLOCKWORK_SIZES - 1)
    }

    fn expected_service(&self, cost: u64) -> Duration {
        self.estimate((cost.max(1).ilog2() as usize).min(CLOCKWORK_SIZES - 1))
    }
}
