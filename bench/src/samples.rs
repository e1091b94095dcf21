//! Short operations timed one by one: some to warm up, then the median of single ones.
//!
//! Used where two transports are compared: both go through the same loop and the same clock, so that what the
//! measuring costs (two reads of the clock) is on both sides of a ratio.

use std::ops::Range;

use crate::clock::Clock;

/// How often an operation runs.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// First, so that pages, caches and branch predictors are warm. Not counted.
    pub warm: u32,
    pub timed: u32,
}

/// What single operations took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    pub p50_ns: f64,
    pub p99_ns: f64,
}

/// Collects what single operations took, for loops that must be their own (async ones).
pub struct Samples {
    plan: Plan,
    took_ns: Vec<u64>,
}

impl Samples {
    pub fn new(plan: Plan) -> Samples {
        assert!(plan.timed > 0, "something is timed");
        Samples { plan, took_ns: Vec::with_capacity(plan.timed as usize) }
    }

    /// One running number for each operation.
    pub fn numbers(&self) -> Range<u64> {
        0..u64::from(self.plan.warm) + u64::from(self.plan.timed)
    }

    pub fn add(&mut self, number: u64, took_ns: u64) {
        if number >= self.plan.warm.into() {
            self.took_ns.push(took_ns);
        }
    }

    pub fn times(mut self) -> Times {
        assert!(!self.took_ns.is_empty(), "operations were added");
        self.took_ns.sort_unstable();
        let last = (self.took_ns.len() - 1) as f64;
        let at = |share: f64| self.took_ns[(last * share) as usize] as f64;
        Times { p50_ns: at(0.5), p99_ns: at(0.99) }
    }
}

/// Runs `once` as often as planned. It gets a running number and the clock, and says what its timed part took.
pub fn sample<E>(
    plan: Plan,
    mut once: impl FnMut(u64, &Clock) -> Result<u64, E>,
) -> Result<Times, E> {
    let clock = Clock::start();
    let mut samples = Samples::new(plan);
    for number in samples.numbers() {
        let took_ns = once(number, &clock)?;
        samples.add(number, took_ns);
    }
    Ok(samples.times())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ones_warm_up_and_do_not_count() {
        let plan = Plan { warm: 10, timed: 101 };
        let times = sample(plan, |number, _| {
            Ok::<_, ()>(if number < 10 { 1_000_000 } else { number - 10 })
        });
        assert_eq!(times, Ok(Times { p50_ns: 50.0, p99_ns: 99.0 }));
    }

    #[test]
    fn a_failure_ends_the_measurement() {
        let plan = Plan { warm: 0, timed: 3 };
        assert_eq!(sample(plan, |_, _| Err("broken")), Err("broken"));
    }
}
