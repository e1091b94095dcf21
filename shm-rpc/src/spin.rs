//! How long to look again and again before sleeping.
//!
//! A sleeper costs its peer a system call and itself a wake-up: some microseconds, more than most
//! of the hand-over. Spinning saves them where the next request is near, and where the core is the
//! spinner's own; on a shared core it only takes the time of whoever would send that request. So
//! the engine allows it to replicas that own their cores, and the budget follows what was seen:
//! twice the usual gap between two requests, while that gap is short.

use std::time::Duration;

/// Gaps longer than this are not worth waiting for awake: a sleep and a wake cost about 5 µs, so
/// spinning through 50 µs already burns ten times what it saves.
const WORTH_SPINNING: Duration = Duration::from_micros(50);
/// The first gap counts an eighth, as every later one: TCP's weight for round trips (RFC 6298).
const WEIGHT: u32 = 8;

/// The policy: pure, told what happened, asked for a budget.
#[derive(Debug)]
pub(crate) struct Spin {
    limit: Duration,
    usual_gap: Duration,
}

impl Spin {
    /// Never.
    pub(crate) fn none() -> Spin {
        Spin::up_to(Duration::ZERO)
    }

    /// At most `limit` at a time; begins in hope.
    pub(crate) fn up_to(limit: Duration) -> Spin {
        Spin { limit, usual_gap: Duration::ZERO }
    }

    pub(crate) fn allowed(&self) -> bool {
        !self.limit.is_zero()
    }

    /// How long to spin this time.
    pub(crate) fn budget(&self) -> Duration {
        match self.usual_gap {
            Duration::ZERO => self.limit,
            gap if gap < WORTH_SPINNING => self.limit.min(2 * gap),
            _ => Duration::ZERO,
        }
    }

    /// A request came this long after we began to wait for it.
    pub(crate) fn waited(&mut self, gap: Duration) {
        // A pause says nothing about the traffic after it: one counts at most as "too long".
        let gap = gap.min(4 * WORTH_SPINNING);
        self.usual_gap = (self.usual_gap * (WEIGHT - 1) + gap) / WEIGHT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(30);

    fn after(gaps_us: impl IntoIterator<Item = u64>) -> Duration {
        let mut spin = Spin::up_to(LIMIT);
        gaps_us.into_iter().for_each(|gap| spin.waited(Duration::from_micros(gap)));
        spin.budget()
    }

    #[test]
    fn a_shared_core_is_never_spun_on() {
        let mut spin = Spin::none();
        assert!(!spin.allowed());
        spin.waited(Duration::from_micros(1));
        assert_eq!(spin.budget(), Duration::ZERO);
    }

    #[test]
    fn dense_traffic_is_awaited_for_twice_its_usual_gap_within_the_limit() {
        assert_eq!(after([]), LIMIT);
        let budget = after([5; 100]);
        assert!((Duration::from_micros(9)..=Duration::from_micros(10)).contains(&budget));
        assert_eq!(after([40; 100]), LIMIT);
    }

    #[test]
    fn sparse_traffic_is_slept_through_and_dense_traffic_wins_the_spinning_back() {
        assert_eq!(after([10_000; 10]), Duration::ZERO);
        let pause_then_dense = [10_000; 10].into_iter().chain([5; 30]);
        assert!(after(pause_then_dense) > Duration::ZERO);
    }

    #[test]
    fn one_pause_in_dense_traffic_does_not_end_the_spinning() {
        assert!(after([5; 100].into_iter().chain([1_000_000])) > Duration::ZERO);
    }
}
