//! When a replica that ended starts again. Pure: a function of how it fared.

use std::time::Duration;

use crate::clock::Time;

/// The first restart comes after this: long enough that a crashing model can't spin.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);

/// No restart waits longer, so that a repaired model is back soon.
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// One that was live is back within this, whatever ended it: it loads, so requests wait for it. Once a second is rare
/// enough that a model which dies with every request takes little from the others.
const BACK_OFF_LIVE_MAX: Duration = Duration::from_secs(1);

/// A replica that lived this long starts again as if it had never failed.
const LIFE_GOOD: Duration = Duration::from_secs(30);

/// Doubles with each short life, forgets with a good one.
#[derive(Debug, Default)]
pub struct BackOff {
    failures: u32,
}

impl BackOff {
    /// The wait before the next start, after a life from `live_since` (if it ever was live) to `now`.
    pub fn after_end(&mut self, now: Time, live_since: Option<Time>) -> Duration {
        if live_since.is_some_and(|since| now.since(since) >= LIFE_GOOD) {
            self.failures = 0;
        }
        let doublings = self.failures.min(16);
        self.failures += 1;
        let most = if live_since.is_some() { BACK_OFF_LIVE_MAX } else { BACK_OFF_MAX };
        BACK_OFF_MIN.saturating_mul(1 << doublings).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(seconds))
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let mut back_off = BackOff::default();
        let waits: Vec<_> = (0..9).map(|_| back_off.after_end(at(1), None).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    #[test]
    fn a_replica_that_loads_is_back_within_a_second() {
        let mut back_off = BackOff::default();
        let mut wait = || back_off.after_end(at(1), Some(at(0)));
        let waits: Vec<_> = (0..6).map(|_| wait().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn a_good_life_is_not_held_against_a_replica() {
        let mut back_off = BackOff::default();
        for _ in 0..5 {
            back_off.after_end(at(1), Some(at(0)));
        }
        assert_eq!(back_off.after_end(at(100), Some(at(70))), BACK_OFF_MIN);
    }
}
