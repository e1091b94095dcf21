//! One model's batcher under a steady load, in virtual time: requests at even gaps, replicas that take exactly as
//! long as they should.

use std::time::Duration;

use engine::batch::{
    Batcher, BatcherConfig, Controller, Copies, CostRule, Effect, Leave, Outcome, TaskView,
};
use engine::clock::Time;
use engine::ids::{BatchId, DeviceClass, ReplicaId, ShapeKey, TaskId};

/// What comes, and what it meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) replicas: u32,
    pub(crate) rows_max: u32,
    /// A batch takes this, and as much again for each of its rows.
    pub(crate) batch_us: f64,
    pub(crate) row_us: f64,
    pub(crate) slo: Duration,
    /// Requests, as a share of what full batches get through.
    pub(crate) of_capacity: f64,
}

impl Load {
    fn service(&self, rows: usize) -> Duration {
        Duration::from_nanos((1e3 * (self.batch_us + self.row_us * rows as f64)) as u64)
    }

    fn gap(&self) -> Duration {
        let full = self.service(self.rows_max as usize) / (self.rows_max * self.replicas);
        full.div_f64(self.of_capacity)
    }

    pub(crate) fn config(&self) -> BatcherConfig {
        BatcherConfig {
            queue_tasks_max: 1 << 16,
            queue_bytes_max: 1 << 30,
            batch_rows_max: self.rows_max,
            batch_bytes_max: 1 << 20,
            batch_cost_max: u64::from(self.rows_max),
            cost_rule: CostRule::Sum,
            copies: Copies::Allowed,
            slo: Some(self.slo),
            batch_timeout: Duration::from_secs(30),
        }
    }
}

pub(crate) struct Steady<C> {
    batcher: Batcher<C>,
    load: Load,
    gap: Duration,
    arrives: Time,
    tasks: u64,
    out: Vec<(Time, ReplicaId, BatchId, Duration)>,
    /// Batches sent, and tasks answered.
    pub(crate) batches: u64,
    pub(crate) answered: u64,
}

impl<C: Controller> Steady<C> {
    pub(crate) fn new(load: Load, controller: C) -> Steady<C> {
        let mut batcher = Batcher::with_controller(load.config(), controller);
        for replica in 0..load.replicas {
            batcher.handle_replica_up(Time::ZERO, ReplicaId(replica), DeviceClass(0));
        }
        let (gap, arrives) = (load.gap(), Time::from_nanos(1));
        let out = Vec::with_capacity(load.replicas as usize);
        Steady { batcher, load, gap, arrives, tasks: 0, out, batches: 0, answered: 0 }
    }

    #[allow(dead_code, reason = "only the benchmark asks its controller")]
    pub(crate) fn controller_mut(&mut self) -> &mut C {
        self.batcher.controller_mut()
    }

    /// Until so many more have come.
    pub(crate) fn play(&mut self, tasks: u64) {
        let last = self.tasks + tasks;
        while self.tasks < last {
            self.step();
        }
    }

    fn step(&mut self) {
        let first = self.out.iter().enumerate().min_by_key(|(_, out)| out.0);
        let (at, ends) = first.map_or((0, Time::NEVER), |(at, out)| (at, out.0));
        let wakes = self.batcher.next_timeout().unwrap_or(Time::NEVER);
        let now = ends.min(wakes).min(self.arrives);
        if ends == now {
            let (_, replica, batch, service) = self.out.swap_remove(at);
            self.batcher.handle_outcome(now, replica, batch, Outcome::Answered { service });
        } else if self.arrives == now {
            self.arrive(now);
        } else {
            self.batcher.handle_timeout(now);
        }
        self.carry_out(now);
    }

    fn arrive(&mut self, now: Time) {
        let due = now.after(self.load.slo);
        let task = TaskView {
            id: TaskId(self.tasks),
            rows: 1,
            bytes: 1,
            cost: 1,
            shape: ShapeKey(0),
            class: 0,
            weight: 1,
            due,
            late_limit: due,
            arrived: now,
        };
        self.tasks += 1;
        self.arrives = now.after(self.gap);
        // Whom an overloaded model refuses has left.
        let _ = self.batcher.handle_arrival(now, task);
    }

    fn carry_out(&mut self, now: Time) {
        while let Some(effect) = self.batcher.poll_effect() {
            match effect {
                Effect::Dispatch { replica, batch, tasks } => {
                    let service = self.load.service(tasks.len());
                    self.out.push((now.after(service), replica, batch, service));
                    self.batches += 1;
                }
                Effect::Leave { why, .. } => self.answered += u64::from(why == Leave::Answered),
                Effect::Kill { .. } => panic!("no batch takes that long"),
            }
        }
    }
}
