//! The only clock. Everything that decides takes a [`Time`] as an argument; only shells ask [`Clock::now`].

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds since the engine started, on the monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(u64);

impl Time {
    pub const ZERO: Time = Time(0);
    /// Later than any instant the engine reaches: "never".
    pub const NEVER: Time = Time(u64::MAX);

    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// `self + span`, stopping at [`Time::NEVER`].
    #[must_use]
    pub fn after(self, span: Duration) -> Time {
        Time(self.0.saturating_add(nanos(span)))
    }

    /// `self - span`, stopping at [`Time::ZERO`].
    #[must_use]
    pub fn before(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(nanos(span)))
    }

    /// How long ago `earlier` was; zero when it is not earlier.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Turns the operating system's clock into [`Time`]. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
    coarse_epoch: Duration,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Clock {
        Clock { coarse_epoch: coarse_now(), epoch: Instant::now() }
    }

    pub fn now(&self) -> Time {
        Time(nanos(self.epoch.elapsed()))
    }

    /// As [`Clock::now`], up to a tick (4 ms) behind and at a fifth of its price: for limits in seconds.
    pub fn coarse(&self) -> Time {
        Time(nanos(coarse_now().saturating_sub(self.coarse_epoch)))
    }

    /// The wall clock, for comparing with files' times and for people.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    /// When `at` was, by the wall clock as it is set now.
    pub fn wall_at(&self, at: Time) -> SystemTime {
        let now = self.wall();
        now.checked_sub(self.now().since(at)).unwrap_or(now)
    }

    /// The instant a timer of the runtime understands. `NEVER` becomes a day from the start.
    pub fn instant(&self, at: Time) -> Instant {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        self.epoch + Duration::from_nanos(at.0).min(Duration::from_nanos(self.now().0) + DAY)
    }
}

fn coarse_now() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    Duration::try_from(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_at_both_ends() {
        assert_eq!(Time::NEVER.after(Duration::from_secs(1)), Time::NEVER);
        assert_eq!(Time::ZERO.before(Duration::from_secs(1)), Time::ZERO);
        assert_eq!(Time::ZERO.since(Time::from_nanos(5)), Duration::ZERO);
    }

    #[test]
    fn the_coarse_clock_stays_within_ticks_of_the_fine_one() {
        let clock = Clock::start();
        let (coarse, fine) = (clock.coarse(), clock.now());
        let apart = coarse.since(fine).max(fine.since(coarse));
        assert!(apart < Duration::from_secs(1), "{apart:?}");
    }

    #[test]
    fn a_clock_never_runs_backwards() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(clock.now() >= first);
    }
}
