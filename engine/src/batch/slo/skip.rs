//! The way out of the death spiral: whether to give up the oldest heads, and how many.
//!
//! A candidate gives up `k` heads. Its value is what the next few batches would bring on time on the queue as it
//! stands, less the device time they take at a price. The price is nothing while there is time to spare (a burst
//! followed by silence must not shed its own head) and at most what the device earns at its best sustainable
//! batch: above that it would pay to serve nobody.

use super::SloController;
use crate::batch::batch_size::QueueView;
use crate::batch::latency_profile::{Level, duration};
use crate::clock::Time;

/// Batches a plan looks ahead.
const BATCHES_AHEAD: usize = 3;

/// Load at which device time begins to cost something, and the width of the ramp to its full price.
const PRICE_FROM: f64 = 0.88;
const PRICE_RAMP: f64 = 0.15;

/// Load over many SLOs from which what a small batch leaves behind is not caught up.
const BUSY_FROM: f64 = 0.95;

impl SloController {
    /// How many heads to give up instead of sending a batch of `cost` now; zero to send it.
    pub(super) fn plan_skip(&mut self, now: Time, queue: &QueueView<'_>, cost: f64) -> usize {
        let need = self.target.need;
        let price = self.price(now) * density(queue);
        let most = self.first_with_size(now, queue, need);
        if self.regret >= queue.cost_of_first(most) as f64 {
            self.regret = 0.0;
            return most;
        }
        let (mut best, mut best_value) = (0, self.plan_value(now, queue, 0, price));
        let mut tried = 0;
        let half = self.first_with_size(now, queue, (cost + need) / 2.0);
        for skip in [half / 4, half / 2, half, (half + most) / 2, most] {
            if skip <= tried {
                continue;
            }
            tried = skip;
            let value = self.plan_value(now, queue, skip, price);
            if value > best_value {
                (best, best_value) = (skip, value);
            }
        }
        if self.is_busy_for_long(now) {
            self.regret += queue.cost_of_first(best) as f64;
        }
        best
    }

    /// The fewest heads to skip so that the next one allows a batch of `wanted`, as far as the queue holds it.
    pub(super) fn first_with_size(&self, now: Time, queue: &QueueView<'_>, wanted: f64) -> usize {
        let enough = |skip: usize| {
            let Some(due) = queue.due(skip) else { return true };
            let left = queue.on_time_cost() - queue.cost_of_first(skip);
            self.size(self.slack(now, due), left as f64) >= wanted.min(left as f64)
        };
        let (mut low, mut high) = (0, queue.on_time_tasks());
        while low < high {
            let middle = (low + high) / 2;
            if enough(middle) { high = middle } else { low = middle + 1 }
        }
        low.min(queue.on_time_tasks().saturating_sub(1))
    }

    /// Tasks on time less the price of the time they take, over the next batches.
    fn plan_value(&self, now: Time, queue: &QueueView<'_>, skip: usize, price: f64) -> f64 {
        let mut free = [f64::INFINITY; BATCHES_AHEAD];
        for (slot, &at) in free.iter_mut().zip(&self.free) {
            *slot = at;
        }
        let single = self.profile().quantile(1.0, Level::P20);
        let (mut rank, mut value) = (skip, 0.0);
        for _ in 0..BATCHES_AHEAD {
            let (at, soonest) = soonest(&free);
            let starts = now.after(duration(soonest));
            rank =
                rank.max(queue.due_before(starts.after(duration(single) + self.config.allowance)));
            if queue.due(rank).is_none() {
                break;
            }
            let passed = queue.cost_of_first(rank);
            let (size, worth) = self.size_queued(starts, queue, rank, 1.0);
            let cost = self.profile().efficient(size).floor();
            let service = self.profile().mean(cost);
            let through = queue.tasks_within_cost(passed + cost as u64).max(rank + 1);
            value += worth - price * self.charged(cost, service, queue.due(through));
            rank = through;
            free[at] = soonest + service;
        }
        value
    }

    /// Remembers what a batch smaller than keeps up costs in the long run: what comes during it and finds no room.
    pub(super) fn regret_forced(&mut self, now: Time, cost: f64) {
        let came = self.slow.at(now) * self.fleet.share * self.profile().mean(cost);
        if self.is_busy_for_long(now) {
            self.regret += (came - cost).max(0.0);
        }
    }

    /// Not a burst: the load of the last many SLOs leaves hardly any room.
    fn is_busy_for_long(&self, now: Time) -> bool {
        let most = self.best_rate(self.sustained().max(self.target.cap));
        self.calm.at(now) * self.fleet.share >= BUSY_FROM * most
    }

    /// Device time that a batch of the plan is charged with. What it leaves room for when nothing else waits will be
    /// filled by those who come meanwhile, so the end of the queue pays its share only.
    fn charged(&self, cost: f64, service: f64, next: Option<Time>) -> f64 {
        let need = self.target.need;
        if next.is_some() || cost >= need {
            return service;
        }
        service.min(self.profile().mean(need) * cost / need)
    }

    /// Cost per nanosecond of device time.
    fn price(&self, now: Time) -> f64 {
        let cap = self.target.cap;
        let best = self.best_rate(cap);
        let gain = self.best_rate((cap / 4.0).max(1.0)) / best.max(f64::MIN_POSITIVE);
        let most = self.best_rate(self.sustained().max(cap));
        let load = self.slow.at(now) * self.fleet.share / most.max(f64::MIN_POSITIVE);
        let ramp = (load - PRICE_FROM - 0.5 * (gain - 0.7).max(0.0)) / PRICE_RAMP;
        ramp.clamp(0.0, 1.0) * best.min(self.fast.at(now) * self.fleet.share)
    }
}

/// What a unit of cost is worth in this queue.
fn density(queue: &QueueView<'_>) -> f64 {
    let tasks = queue.on_time_tasks();
    queue.weight_of_first(tasks) as f64 / (queue.on_time_cost() as f64).max(1.0)
}

fn soonest(free: &[f64; BATCHES_AHEAD]) -> (usize, f64) {
    let mut found = (0, free[0]);
    for (at, &time) in free.iter().enumerate().skip(1) {
        if time < found.1 {
            found = (at, time);
        }
    }
    found
}
