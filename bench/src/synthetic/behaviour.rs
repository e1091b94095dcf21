//! When answers leave: pure and seeded.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::Exp1;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    Constant {
        us: u64,
    },
    /// Exponential with this mean: its p50 is 0.693 of it, its p99 4.605 times it.
    Exponential {
        mean_us: u64,
    },
    /// One after the other, each for so long: a queue whose capacity is known.
    Queue {
        us: u64,
    },
}

/// Nothing leaves from `start_ns` after the first request on, for `span_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    pub start_ns: u64,
    pub span_ns: u64,
}

pub struct Behaviour {
    delay: Delay,
    stall: Option<Stall>,
    rng: SmallRng,
    first_ns: Option<u64>,
    /// When the one before leaves.
    last_ns: u64,
}

impl Behaviour {
    pub fn new(delay: Delay, stall: Option<Stall>, seed: u64) -> Behaviour {
        Behaviour { delay, stall, rng: SmallRng::seed_from_u64(seed), first_ns: None, last_ns: 0 }
    }

    /// When the answer to a request that came now leaves.
    pub fn leaves_ns(&mut self, now_ns: u64) -> u64 {
        let first_ns = *self.first_ns.get_or_insert(now_ns);
        let leaves_ns = now_ns + self.delay_ns(now_ns);
        self.last_ns = leaves_ns;
        let Some(Stall { start_ns, span_ns }) = self.stall else { return leaves_ns };
        let (from_ns, to_ns) = (first_ns + start_ns, first_ns + start_ns + span_ns);
        if (from_ns..to_ns).contains(&leaves_ns) { to_ns } else { leaves_ns }
    }

    fn delay_ns(&mut self, now_ns: u64) -> u64 {
        match self.delay {
            Delay::Constant { us } => us * 1_000,
            Delay::Queue { us } => us * 1_000 + self.last_ns.saturating_sub(now_ns),
            Delay::Exponential { mean_us } => {
                (self.rng.sample::<f64, _>(Exp1) * mean_us as f64 * 1e3) as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_leave_during_the_stall_is_held_back() {
        let stall = Stall { start_ns: 1_000_000, span_ns: 500_000 };
        let mut behaviour = Behaviour::new(Delay::Constant { us: 100 }, Some(stall), 1);
        let leaves = [5_000_000, 5_800_000, 5_900_000, 6_399_999, 6_400_000]
            .map(|now_ns| behaviour.leaves_ns(now_ns));
        assert_eq!(leaves, [5_100_000, 5_900_000, 6_500_000, 6_500_000, 6_500_000]);
    }

    #[test]
    fn a_queue_serves_one_after_the_other() {
        let mut behaviour = Behaviour::new(Delay::Queue { us: 2 }, None, 1);
        let leaves = [1_000, 1_500, 2_000, 9_000].map(|now_ns| behaviour.leaves_ns(now_ns));
        assert_eq!(leaves, [3_000, 5_000, 7_000, 11_000]);
    }

    #[test]
    fn exponential_delays_have_their_quantiles() {
        let mut behaviour = Behaviour::new(Delay::Exponential { mean_us: 1_000 }, None, 7);
        let mut delays: Vec<u64> = (0..100_000).map(|_| behaviour.leaves_ns(0)).collect();
        delays.sort_unstable();
        let at = |quantile: f64| delays[(quantile * delays.len() as f64) as usize] as f64 / 1e6;
        assert!((at(0.5) / 0.693 - 1.0).abs() < 0.03, "{}", at(0.5));
        assert!((at(0.99) / 4.605 - 1.0).abs() < 0.03, "{}", at(0.99));
    }
}
