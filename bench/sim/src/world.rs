//! Virtual time: one model's [`Batcher`], its replicas and its clients.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use engine::batch::{
    Batcher, BatcherConfig, Controller, CostRule, Effect, Leave, Outcome, TaskView,
};
use engine::clock::Time;
use engine::ids::{BatchId, DeviceClass, ReplicaId, ShapeKey, TaskId};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::device::{BATCH_MAX, Device};

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) device: Device,
    pub(crate) replicas: usize,
    pub(crate) slo_ms: f64,
    /// Deadlines are the SLO and hard; else soft, until ten times the SLO and at least a second.
    pub(crate) hard: bool,
    pub(crate) seed: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    OnTime,
    /// Sent, and answered or given up after its due time.
    Late,
    /// Never sent.
    Shed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) arrived: u64,
    pub(crate) ended: u64,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchRecord {
    pub(crate) departed: u64,
    pub(crate) cost: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) requests: Vec<Record>,
    pub(crate) batches: Vec<BatchRecord>,
    /// Nanoseconds that replicas worked, and those that went into copies.
    pub(crate) busy: u64,
    pub(crate) hedged: u64,
}

impl Run {
    fn within(&self, from_ms: f64, to_ms: f64) -> impl Iterator<Item = &Record> {
        let (from, to) = ((from_ms * 1e6) as u64, (to_ms * 1e6) as u64);
        self.requests.iter().filter(move |request| request.arrived >= from && request.arrived < to)
    }

    fn share(&self, from_ms: f64, to_ms: f64, end: impl Fn(End) -> bool) -> f64 {
        let (mut all, mut such) = (0usize, 0usize);
        for request in self.within(from_ms, to_ms) {
            all += 1;
            such += usize::from(end(request.end));
        }
        if all == 0 { f64::from(u8::from(end(End::OnTime))) } else { such as f64 / all as f64 }
    }

    /// Share of the requests that came in this stretch and were answered on time.
    pub(crate) fn attained(&self, from_ms: f64, to_ms: f64) -> f64 {
        self.share(from_ms, to_ms, |end| end == End::OnTime)
    }

    pub(crate) fn late(&self, from_ms: f64, to_ms: f64) -> f64 {
        self.share(from_ms, to_ms, |end| end == End::Late)
    }

    /// Answers on time per millisecond, of requests that came in this stretch.
    pub(crate) fn goodput(&self, from_ms: f64, to_ms: f64) -> f64 {
        let on_time = self.within(from_ms, to_ms).filter(|request| request.end == End::OnTime);
        on_time.count() as f64 / (to_ms - from_ms)
    }

    /// Answers on time per millisecond, of those given in this stretch.
    pub(crate) fn answered(&self, from_ms: f64, to_ms: f64) -> f64 {
        let (from, to) = ((from_ms * 1e6) as u64, (to_ms * 1e6) as u64);
        let given =
            self.requests.iter().filter(|request| request.ended >= from && request.ended < to);
        given.filter(|request| request.end == End::OnTime).count() as f64 / (to_ms - from_ms)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Completion {
    at: Time,
    batch: BatchId,
    replica: ReplicaId,
    departed: Time,
}

/// Plays arrivals (nanoseconds, ascending) against a controller.
pub(crate) fn play<C: Controller>(setup: &Setup, arrivals: &[u64], controller: C) -> Run {
    World::new(setup, controller).play(arrivals)
}

struct World<C> {
    batcher: Batcher<C>,
    setup: Setup,
    rng: SmallRng,
    completions: BinaryHeap<Reverse<Completion>>,
    run: Run,
    sent: Vec<bool>,
    hedges: u64,
}

impl<C: Controller> World<C> {
    fn new(setup: &Setup, controller: C) -> World<C> {
        let slo = Duration::from_nanos((setup.slo_ms * 1e6) as u64);
        let config = BatcherConfig {
            queue_tasks_max: 1 << 20,
            queue_bytes_max: 1 << 40,
            batch_rows_max: BATCH_MAX,
            batch_bytes_max: 1 << 30,
            batch_cost_max: u64::from(BATCH_MAX),
            cost_rule: CostRule::Sum,
            slo: Some(slo),
            batch_timeout: Duration::from_secs(30),
        };
        let mut batcher = Batcher::with_controller(config, controller);
        for replica in 0..setup.replicas {
            batcher.handle_replica_up(Time::ZERO, ReplicaId(replica as u32), DeviceClass(0));
        }
        World {
            batcher,
            setup: setup.clone(),
            rng: SmallRng::seed_from_u64(setup.seed ^ 0x00DE_71CE),
            completions: BinaryHeap::new(),
            run: Run::default(),
            sent: Vec::new(),
            hedges: 0,
        }
    }

    fn play(mut self, arrivals: &[u64]) -> Run {
        let mut next = 0;
        loop {
            let arrival = arrivals.get(next).map_or(Time::NEVER, |&at| Time::from_nanos(at));
            let completion = self.completions.peek().map_or(Time::NEVER, |entry| entry.0.at);
            let timeout = self.batcher.next_timeout().unwrap_or(Time::NEVER);
            let now = arrival.min(completion).min(timeout);
            if now == Time::NEVER {
                break;
            }
            if completion == now {
                self.complete();
            } else if arrival == now {
                self.arrive(now, next);
                next += 1;
            } else {
                self.batcher.handle_timeout(now);
            }
            self.carry_out(now);
        }
        self.run
    }

    fn arrive(&mut self, now: Time, nth: usize) {
        let slo = Duration::from_nanos((self.setup.slo_ms * 1e6) as u64);
        let due = now.after(slo);
        let late_limit =
            if self.setup.hard { due } else { now.after((slo * 10).max(Duration::from_secs(1))) };
        let id = TaskId(nth as u64);
        let view = TaskView {
            id,
            rows: 1,
            bytes: 1,
            cost: 1,
            shape: ShapeKey(0),
            class: 0,
            weight: 1,
            due,
            late_limit,
            arrived: now,
        };
        self.run.requests.push(Record {
            arrived: now.as_nanos(),
            ended: now.as_nanos(),
            end: End::Open,
        });
        self.sent.push(false);
        if self.batcher.handle_arrival(now, view).is_err() {
            self.run.requests[nth].end = End::Shed;
        }
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
        for task in tasks {
            self.sent[task.0 as usize] = true;
        }
        let device = &self.setup.device;
        let millis = device.shape.millis(tasks.len() as f64)
            * device.factor(now)
            * device.ratio(&mut self.rng);
        let service = (millis * 1e6) as u64;
        let at = now.after(Duration::from_nanos(service));
        self.completions.push(Reverse(Completion { at, batch, replica, departed: now }));
        self.run.busy += service;
        if self.batcher.hedged_batches() > self.hedges {
            self.hedges = self.batcher.hedged_batches();
            self.run.hedged += service;
        }
        self.run.batches.push(BatchRecord { departed: now.as_nanos(), cost: tasks.len() as u64 });
    }

    fn leave(&mut self, now: Time, task: TaskId, why: Leave) {
        let nth = task.0 as usize;
        let slo = (self.setup.slo_ms * 1e6) as u64;
        let record = &mut self.run.requests[nth];
        record.ended = now.as_nanos();
        let on_time = record.ended <= record.arrived + slo;
        record.end = match why {
            Leave::Answered if on_time => End::OnTime,
            _ if self.sent[nth] => End::Late,
            _ => End::Shed,
        };
    }
}
