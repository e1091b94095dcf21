//! Virtual time: one model's [`Batcher`], its replicas and its clients.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use engine::batch::{
    Batcher, BatcherConfig, Controller, Copies, CostRule, Effect, Leave, Outcome, TaskView,
};
use engine::clock::Time;
use engine::ids::{BatchId, DeviceClass, ReplicaId, ShapeKey, TaskId};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::device::{BATCH_MAX, Device};
use crate::replay::Measured;
use crate::run::{BatchRecord, End, Record, Run};

/// One run's model: what it runs on and what its batcher is told.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// By class.
    pub(crate) devices: Vec<Device>,
    /// Each replica's class.
    pub(crate) replicas: Vec<DeviceClass>,
    pub(crate) slo_ms: f64,
    /// Deadlines are the SLO and hard; else soft, until ten times the SLO and at least a second.
    pub(crate) hard: bool,
    /// How the batcher adds the declared costs up.
    pub(crate) cost_rule: CostRule,
    pub(crate) batch_cost_max: u64,
    /// How the device adds the true work up.
    pub(crate) work_rule: CostRule,
    /// Service times of a real engine, instead of a device's.
    pub(crate) measured: Option<Arc<Measured>>,
    pub(crate) seed: u64,
}

impl Setup {
    /// Replicas of one kind, requests that cost one each, hard deadlines.
    pub(crate) fn alike(device: Device, replicas: usize, slo_ms: f64, seed: u64) -> Setup {
        Setup {
            devices: vec![device],
            replicas: vec![DeviceClass(0); replicas],
            slo_ms,
            hard: true,
            cost_rule: CostRule::Sum,
            batch_cost_max: u64::from(BATCH_MAX),
            work_rule: CostRule::Sum,
            measured: None,
            seed,
        }
    }
}

/// One request as its client sends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) arrives: u64,
    /// What the batcher is told.
    pub(crate) cost: u32,
    /// What the device has to do.
    pub(crate) work: u32,
    pub(crate) slo: u64,
    pub(crate) class: u8,
    pub(crate) weight: u32,
}

/// Requests that differ only in when they come (nanoseconds).
pub(crate) fn alike(arrivals: &[u64], slo_ms: f64) -> impl Iterator<Item = Request> {
    let slo = (slo_ms * 1e6) as u64;
    arrivals.iter().map(move |&arrives| Request {
        arrives,
        cost: 1,
        work: 1,
        slo,
        class: 0,
        weight: 1,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Completion {
    at: Time,
    batch: BatchId,
    replica: ReplicaId,
    departed: Time,
}

/// Plays requests, in the order of their arrival, against a controller.
pub(crate) fn play<C: Controller>(
    setup: &Setup,
    requests: impl IntoIterator<Item = Request>,
    controller: C,
) -> Run {
    World::new(setup, controller).play(requests.into_iter(), || true)
}

/// The same, as long as this is so: a run that is too long is cut.
pub(crate) fn play_while<C: Controller>(
    setup: &Setup,
    requests: impl IntoIterator<Item = Request>,
    controller: C,
    goes_on: impl FnMut() -> bool,
) -> Run {
    World::new(setup, controller).play(requests.into_iter(), goes_on)
}

/// Events between two questions whether a run goes on.
const ASK_EVERY_EVENTS: u64 = 64;

struct World<C> {
    batcher: Batcher<C>,
    setup: Setup,
    rng: SmallRng,
    completions: BinaryHeap<Reverse<Completion>>,
    run: Run,
    hedges: u64,
}

impl<C: Controller> World<C> {
    fn new(setup: &Setup, controller: C) -> World<C> {
        let config = BatcherConfig {
            queue_tasks_max: 1 << 20,
            queue_bytes_max: 1 << 40,
            batch_rows_max: BATCH_MAX,
            batch_bytes_max: 1 << 30,
            batch_cost_max: setup.batch_cost_max,
            cost_rule: setup.cost_rule,
            copies: Copies::Allowed,
            slo: Some(Duration::from_nanos((setup.slo_ms * 1e6) as u64)),
            batch_timeout: Duration::from_secs(30),
        };
        let mut batcher = Batcher::with_controller(config, controller);
        for (nth, &class) in setup.replicas.iter().enumerate() {
            batcher.handle_replica_up(Time::ZERO, ReplicaId(nth as u32), class);
        }
        World {
            batcher,
            setup: setup.clone(),
            rng: SmallRng::seed_from_u64(setup.seed ^ 0x00DE_71CE),
            completions: BinaryHeap::new(),
            run: Run::default(),
            hedges: 0,
        }
    }

    fn play(
        mut self,
        requests: impl Iterator<Item = Request>,
        mut goes_on: impl FnMut() -> bool,
    ) -> Run {
        let mut requests = requests.peekable();
        loop {
            let arrival =
                requests.peek().map_or(Time::NEVER, |next| Time::from_nanos(next.arrives));
            let completion = self.completions.peek().map_or(Time::NEVER, |entry| entry.0.at);
            let timeout = self.batcher.next_timeout().unwrap_or(Time::NEVER);
            let now = arrival.min(completion).min(timeout);
            if now == Time::NEVER {
                break;
            }
            if self.run.events.is_multiple_of(ASK_EVERY_EVENTS) && !goes_on() {
                self.run.cut_at = Some(now.as_nanos());
                break;
            }
            if completion == now {
                self.complete();
            } else if arrival == now {
                requests.next().into_iter().for_each(|request| self.arrive(now, &request));
            } else {
                self.batcher.handle_timeout(now);
            }
            self.carry_out(now);
            self.run.events += 1;
        }
        self.run
    }

    fn arrive(&mut self, now: Time, request: &Request) {
        let slo = Duration::from_nanos(request.slo);
        let due = now.after(slo);
        let late_limit =
            if self.setup.hard { due } else { now.after((slo * 10).max(Duration::from_secs(1))) };
        let view = TaskView {
            id: TaskId(self.run.requests.len() as u64),
            rows: 1,
            bytes: 1,
            cost: request.cost,
            shape: ShapeKey(0),
            class: request.class,
            weight: request.weight,
            due,
            late_limit,
            arrived: now,
        };
        let end = match self.batcher.handle_arrival(now, view) {
            Ok(()) => End::Open,
            Err(_) => End::Shed,
        };
        self.run.requests.push(Record {
            arrived: now.as_nanos(),
            due: due.as_nanos(),
            ended: now.as_nanos(),
            work: request.work,
            class: request.class,
            sent: false,
            end,
        });
    }

    fn complete(&mut self) {
        let Some(Reverse(done)) = self.completions.pop() else { return };
        let service = done.at.since(done.departed);
        self.batcher.handle_outcome(
            done.at,
            done.replica,
            done.batch,
            Outcome::Answered { service },
        );
    }

    fn carry_out(&mut self, now: Time) {
        while let Some(effect) = self.batcher.poll_effect() {
            match effect {
                Effect::Dispatch { replica, batch, tasks } => {
                    self.dispatch(now, replica, batch, &tasks)
                }
                Effect::Leave { task, why } => self.leave(now, task, why),
                Effect::Kill { .. } => {}
            }
        }
    }

    fn dispatch(&mut self, now: Time, replica: ReplicaId, batch: BatchId, tasks: &[TaskId]) {
        let service = (self.millis(now, replica, tasks) * 1e6) as u64;
        let at = now.after(Duration::from_nanos(service));
        self.completions.push(Reverse(Completion { at, batch, replica, departed: now }));
        if self.batcher.hedged_batches() > self.hedges {
            self.hedges = self.batcher.hedged_batches();
            self.run.hedged += service;
        }
        self.run.batches.push(BatchRecord { departed: now.as_nanos(), tasks: tasks.len() });
    }

    /// What the device takes for these tasks, which count as sent from now on.
    fn millis(&mut self, now: Time, replica: ReplicaId, tasks: &[TaskId]) -> f64 {
        let (mut sum, mut most) = (0u64, 0u64);
        for task in tasks {
            let record = &mut self.run.requests[task.0 as usize];
            record.sent = true;
            sum += u64::from(record.work);
            most = most.max(u64::from(record.work));
        }
        if let Some(measured) = &self.setup.measured {
            return measured.draw(tasks.len(), &mut self.rng);
        }
        let work = match self.setup.work_rule {
            CostRule::Sum => sum,
            CostRule::Padded => most * tasks.len() as u64,
        };
        let class = self.setup.replicas[replica.0 as usize];
        let device = &self.setup.devices[usize::from(class.0)];
        device.shape.millis(work as f64) * device.factor(now) * device.ratio(&mut self.rng)
    }

    fn leave(&mut self, now: Time, task: TaskId, why: Leave) {
        let record = &mut self.run.requests[task.0 as usize];
        record.ended = now.as_nanos();
        record.end = match why {
            Leave::Answered if record.ended <= record.due => End::OnTime,
            _ if record.sent => End::Late,
            _ => End::Shed,
        };
    }
}
