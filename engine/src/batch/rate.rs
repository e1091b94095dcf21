//! How fast cost arrives: an exponentially weighted rate, unbiased from its first moment.

use std::time::Duration;

use super::latency_profile::nanos;
use crate::clock::Time;

/// Arrivals per nanosecond, weighted by `exp(-age / memory)`. The weight of time itself is kept beside the count,
/// so that a young estimate is not too low.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    memory: f64,
    count: f64,
    time: f64,
    at: Option<Time>,
}

impl Rate {
    pub(super) fn new(memory: Duration) -> Rate {
        Rate { memory: memory.as_nanos().max(1) as f64, count: 0.0, time: 0.0, at: None }
    }

    pub(super) fn add(&mut self, now: Time, cost: u32) {
        (self.count, self.time) = self.decayed(now);
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        self.count += f64::from(cost);
    }

    /// Cost per nanosecond.
    pub(super) fn at(&self, now: Time) -> f64 {
        let (count, time) = self.decayed(now);
        // Less than a tenth of the memory says little: a burst at the start would look like a flood.
        count / time.max(self.memory / 10.0)
    }

    fn decayed(&self, now: Time) -> (f64, f64) {
        let Some(at) = self.at else { return (0.0, 0.0) };
        let passed = nanos(now.since(at));
        if passed == 0.0 {
            return (self.count, self.time);
        }
        let kept = (-passed / self.memory).exp();
        (self.count * kept, self.time * kept + self.memory * (1.0 - kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_unbiased_young_and_old() {
        let mut rate = Rate::new(Duration::from_millis(20));
        for arrival in 0..10_000u64 {
            rate.add(Time::from_nanos(1 + arrival * 1_000_000), 3);
            if arrival == 10 || arrival == 9_999 {
                let per_ms = rate.at(Time::from_nanos(1 + arrival * 1_000_000)) * 1e6;
                assert!((per_ms - 3.0).abs() < 0.4, "{per_ms} after {arrival}");
            }
        }
        assert!(rate.at(Time::from_nanos(20_000_000_000)) < 1e-9, "silence is believed");
    }
}
