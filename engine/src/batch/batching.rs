//! The controller that a served model has: ours, or batches fixed by whoever deployed it.

use std::time::Duration;

use super::BatcherConfig;
use super::batch_size::{Arrival, Controller, Decision, Observed, QueueView, ReplicasView, Shed};
use super::fixed::FixedBatches;
use super::latency_profile::LatencyProfile;
use super::slo::{SloConfig, SloController};
use crate::clock::Time;
use crate::ids::DeviceClass;

/// From a replica's reply to the answer at its client: splitting, encoding, the socket and the client's wake-up. Measured
/// on two cores at the median 0.2 to 0.4 ms of an SLO of 20 ms; less is left where the SLO is short.
const ALLOWANCE_SHARE: u32 = 50;
const ALLOWANCE_MAX: Duration = Duration::from_micros(500);

fn allowance(slo: Duration) -> Duration {
    (slo / ALLOWANCE_SHARE).min(ALLOWANCE_MAX)
}

#[derive(Debug)]
pub enum Batching {
    Learned(Box<SloController>),
    Fixed(FixedBatches),
}

impl Batching {
    pub fn new(config: &BatcherConfig, fixed: Option<FixedBatches>) -> Batching {
        match fixed {
            Some(fixed) => Batching::Fixed(fixed),
            None => {
                let allowance = config.slo.map_or(Duration::ZERO, allowance);
                let config =
                    SloConfig { allowance, ..SloConfig::new(config.slo, config.batch_cost_max) };
                Batching::Learned(Box::new(SloController::new(config)))
            }
        }
    }

    /// What learns, unless batches are fixed.
    pub fn learned(&self) -> Option<&SloController> {
        match self {
            Batching::Learned(controller) => Some(controller),
            Batching::Fixed(_) => None,
        }
    }

    /// No batch has said yet how long this class of devices takes. Never so where nothing is learned.
    pub fn is_cold(&self, device: DeviceClass) -> bool {
        let batches = |it: &SloController| it.profile_of(device).map_or(0, LatencyProfile::batches);
        self.learned().is_some_and(|controller| batches(controller) == 0)
    }

    /// Where a class of devices starts from.
    pub fn start_from(&mut self, device: DeviceClass, profile: LatencyProfile) {
        if let Batching::Learned(controller) = self {
            controller.start_from(device, profile);
        }
    }

    /// What is known of each class of devices.
    pub fn profiles(&self) -> impl Iterator<Item = (DeviceClass, &LatencyProfile)> {
        let profiles = self.learned().map_or(&[][..], SloController::profiles);
        (0..).map(DeviceClass).zip(profiles)
    }

    fn inner(&self) -> &dyn Controller {
        match self {
            Batching::Learned(controller) => &**controller,
            Batching::Fixed(fixed) => fixed,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Controller {
        match self {
            Batching::Learned(controller) => &mut **controller,
            Batching::Fixed(fixed) => fixed,
        }
    }
}

impl Controller for Batching {
    fn arrived(&mut self, now: Time, cost: u32, due: Time) {
        self.inner_mut().arrived(now, cost, due);
    }

    fn decide(
        &mut self,
        now: Time,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> Decision {
        self.inner_mut().decide(now, queue, replicas)
    }

    fn observe(&mut self, now: Time, observed: &Observed) {
        self.inner_mut().observe(now, observed);
    }

    fn cost_limit(&self) -> u64 {
        self.inner().cost_limit()
    }

    fn expected_service(&self, cost: u64) -> Duration {
        self.inner().expected_service(cost)
    }

    fn slowest_service(&self, device: DeviceClass, cost: u64) -> Duration {
        self.inner().slowest_service(device, cost)
    }

    fn admit(
        &mut self,
        now: Time,
        task: &Arrival,
        queue: &QueueView<'_>,
        replicas: &ReplicasView<'_>,
    ) -> Result<(), Shed> {
        self.inner_mut().admit(now, task, queue, replicas)
    }

    fn is_too_late(&self, now: Time, late_cost: u64, late_limit: Time) -> bool {
        self.inner().is_too_late(now, late_cost, late_limit)
    }

    fn hedge(&mut self, now: Time, replicas: &ReplicasView<'_>) -> Option<Decision> {
        self.inner_mut().hedge(now, replicas)
    }
}
