//! The only clock of the load generator, and its only sleeps.

use std::time::{Duration, Instant};

/// Nanoseconds since it was started, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Clock {
        Clock { epoch: Instant::now() }
    }

    pub fn now_ns(&self) -> u64 {
        nanos(self.epoch.elapsed())
    }
}

/// Asks `ready` until it says yes; no more often than every 20 ms and no longer than `limit`.
#[expect(
    clippy::disallowed_methods,
    reason = "other programs start at their own pace and tell nobody"
)]
pub fn wait_until(limit: Duration, mut ready: impl FnMut() -> bool) -> bool {
    const PAUSE: Duration = Duration::from_millis(20);
    let clock = Clock::start();
    while clock.now_ns() < nanos(limit) {
        if ready() {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}

/// Sleeps for `span` or longer: how much longer is what a canary looks at.
#[expect(clippy::disallowed_methods, reason = "a canary measures how late sleeps end")]
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a date for people; nothing is decided by it")]
pub fn unix_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

pub fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
