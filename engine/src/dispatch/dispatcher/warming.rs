//! A replica on its way from its first word to live: what the dispatcher sends and receives meanwhile.

use std::time::Duration;

use schemas::predict::Failure;
use tokio::sync::oneshot;

use super::Dispatcher;
use crate::batch::latency_profile::LatencyProfile;
use crate::batch::slo::SLO_ASSUMED;
use crate::clock::Time;
use crate::dispatch::in_flight::Departed;
use crate::dispatch::lane::{Batch, Lane, Reply};
use crate::dispatch::warm_up::plan::{Bounds, Care, Plan};
use crate::dispatch::warm_up::prior::{self, Prior};
use crate::dispatch::warm_up::{Ended, Order, Origin, Warming};
use crate::dispatch::{LearnedProfile, LoadReading, ReplicaFault, ReplicaLane};
use crate::ids::{DeviceClass, ReplicaId};
use crate::observe::metrics::{ClassOutcome, Loss};

/// A stored profile further than this from today's batches is worth a line in the log.
const WORTH_SAYING: f64 = 1.25;

impl Dispatcher {
    /// A replica says it is ready: it is warmed up first, where that is wanted and possible.
    pub(super) fn replica_up(
        &mut self,
        now: Time,
        up: ReplicaLane,
        order: Order,
        live: oneshot::Sender<()>,
    ) {
        let (replica, device, incarnation) = (up.replica, up.device, up.incarnation);
        match Lane::open(now, up) {
            Ok(lane) => self.add_lane(now, lane),
            Err(error) => {
                let (loss, why) = (Loss::Fault, error.to_string());
                return self.report_fault(replica, incarnation, ReplicaFault { loss, why });
            }
        }
        let rows = self.warm_ups.rows(&self.spec, self.task_bytes_max);
        // A model that answers in parts takes one task at a time, whatever its rows.
        let rows_wanted = if self.spec.decoupled { 1 } else { self.spec.max_batch };
        let rows_max = rows.fitting(rows_wanted, self.task_bytes_max);
        let ended = match order {
            Order::Off => Ended::Off,
            Order::GivenUp => Ended::GivenUp,
            Order::Run if self.warm_ups.raised() => Ended::Raised,
            Order::Run if rows_max == 0 => Ended::TooLarge,
            Order::Run => Ended::Done,
        };
        let mut plan = Plan::new(self.warm_up_bounds(device, rows_max.max(1)));
        if ended != Ended::Done {
            plan.stop();
        }
        let times_out = Time::NEVER;
        self.warm_ups.begin(Warming { replica, device, plan, rows, ended, times_out, live });
        self.warm_up_further(now, replica);
    }

    fn warm_up_bounds(&self, device: DeviceClass, rows_max: u32) -> Bounds {
        let slo = self.spec.slo_us.map_or(SLO_ASSUMED, Duration::from_micros);
        let cold = self.batcher.controller().is_cold(device);
        Bounds { rows_max, slo, care: if cold { Care::Measure } else { Care::Touch } }
    }

    /// The next synthetic batch; or the replica goes live, at once where callers wait for nobody but it.
    fn warm_up_further(&mut self, now: Time, replica: ReplicaId) {
        let needed = self.batcher.live_replicas() == 0 && self.batcher.queued() > 0;
        let Some(warming) = self.warm_ups.get_mut(replica) else { return };
        match warming.plan.next_rows() {
            Some(rows) if !needed => self.send_synthetic(now, replica, rows),
            _ => self.go_live(now, replica),
        }
    }

    fn send_synthetic(&mut self, now: Time, replica: ReplicaId, rows: u32) {
        let at = self.clock.now();
        let times_out = at.after(Duration::from_micros(self.spec.batch_timeout_us));
        let id = self.warm_ups.next_batch();
        let Some(warming) = self.warm_ups.get_mut(replica) else { return };
        let Some(index) = self.lanes.iter().position(|lane| lane.replica == replica) else {
            return;
        };
        warming.times_out = times_out;
        let tasks = warming.rows.batch(rows);
        let sent = self.lanes[index].send(&self.spec, Batch { id, rows, tasks: &tasks });
        let gathered = Duration::ZERO;
        let departed = Departed { replica, at, gathered, rows, tasks: Vec::new() };
        self.in_flight.depart(id, departed);
        if let Err(error) = sent {
            self.end_lane(now, index, &error);
        }
    }

    /// A synthetic batch came back.
    pub(super) fn settle_synthetic(&mut self, now: Time, departed: &Departed, reply: &Reply) {
        let replica = departed.replica;
        let Some(warming) = self.warm_ups.get_mut(replica) else { return };
        match &reply.outcome {
            Ok(_) => warming.plan.handle_reply(now.since(departed.at)),
            Err(failure) => {
                warming.plan.stop();
                warming.ended = Ended::Raised;
                self.say_raised(departed.rows, failure);
            }
        }
        self.warm_up_further(now, replica);
        self.carry_out(now);
    }

    fn say_raised(&mut self, rows: u32, failure: &Failure) {
        if !self.warm_ups.handle_raised() {
            return;
        }
        let (made_of, advice) = if self.warm_ups.has_sample() {
            ("the rows of its sample.json", "put rows it can take there")
        } else {
            ("zeros", "put a request it can take into sample.json beside the model's file")
        };
        tracing::warn!(
            model = %self.name,
            "the model raised in its warm-up, on a batch of {rows} made of {made_of}: {}. It serves all the same, and \
             learns its speed from its first callers; {advice}, or say warm_up = false in model.toml",
            failure.message
        );
    }

    fn go_live(&mut self, now: Time, replica: ReplicaId) {
        let Some(warming) = self.warm_ups.end(replica) else { return };
        if self.batcher.controller().is_cold(warming.device) {
            self.start_profile(&warming);
        }
        self.record_replicas();
        self.batcher.handle_replica_up(now, replica, warming.device);
        // Its keeper may have given it up; the dispatcher hears of that next.
        let _listening = warming.live.send(());
    }

    fn start_profile(&mut self, warming: &Warming) {
        let (device, plan) = (warming.device, &warming.plan);
        let stored = self.warm_ups.stored(device);
        let prior_sizes = stored.len();
        let row_cost = warming.rows.row_cost(&self.spec);
        let (profile, prior) = prior::profile(stored, plan.measured(), row_cost);
        match prior {
            Prior::Scaled { factor } if !(1.0 / WORTH_SAYING..=WORTH_SAYING).contains(&factor) => {
                tracing::info!(model = %self.name, "batches now take {factor:.2} times what the stored profile says");
            }
            Prior::Refuted => {
                tracing::info!(model = %self.name, "the stored profile is of another shape than the batches of the warm-up; it is left aside");
            }
            Prior::None | Prior::Trusted | Prior::Scaled { .. } => {}
        }
        let rows_largest = plan.measured().last().map_or(0, |it| it.rows);
        self.warm_ups.remember(Origin {
            device,
            ended: warming.ended,
            batches: plan.batches(),
            rows_largest,
            took: plan.took(),
            prior,
            prior_sizes,
        });
        self.batcher.controller_mut().start_from(device, profile);
    }

    /// A synthetic batch that is out for longer than any batch may be ends its replica.
    pub(super) fn end_overdue_warm_ups(&mut self, now: Time) {
        while let Some(replica) = self.warm_ups.overdue(now) {
            let Some(index) = self.lanes.iter().position(|lane| lane.replica == replica) else {
                self.warm_ups.end(replica);
                continue;
            };
            let limit = Duration::from_micros(self.spec.batch_timeout_us);
            let fault =
                format!("a batch of its warm-up took longer than batch_timeout ({limit:?})");
            self.end_lane_because(now, index, Loss::TimedOut, fault);
        }
    }

    /// Lanes of replicas that are live and stay.
    pub(super) fn live_lanes(&self) -> usize {
        self.lanes.len() - self.warm_ups.count() - self.farewells.len()
    }

    /// What the model was asked for and what a replica of its first class carries.
    pub(super) fn load(&self) -> LoadReading {
        let learned = self.batcher.controller().learned();
        let shed = ClassOutcome::Shed as usize;
        LoadReading {
            arrived: self.arrived_cost,
            turned_away: self.recorder.by_class().iter().map(|class| class[shed]).sum(),
            capacity: learned.and_then(|controller| controller.carries(DeviceClass(0))),
        }
    }

    /// What was learned so far, of classes that had no replica in an earlier life.
    pub(super) fn learned_profiles(&self) -> Vec<LearnedProfile> {
        let learned = self.batcher.controller().profiles();
        let copy = |(device, profile): (_, &LatencyProfile)| {
            let buckets = profile.curve().buckets().copied().collect();
            LearnedProfile { device, batches: profile.batches(), buckets }
        };
        let mut all: Vec<_> = learned.map(copy).filter(|it| !it.buckets.is_empty()).collect();
        for (device, buckets) in self.warm_ups.all_stored() {
            if all.iter().all(|known| known.device != *device) {
                all.push(LearnedProfile { device: *device, batches: 0, buckets: buckets.clone() });
            }
        }
        all
    }
}
