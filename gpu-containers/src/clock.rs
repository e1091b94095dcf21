//! The container's clock: how long the model took, for reports. And the only sleep.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since its start; only differences mean anything.
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Clock {
        Clock { epoch: Instant::now() }
    }

    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Sleeps until `span` after the start: what was spent since then is no longer slept. The kernel adds some 60 µs.
    #[expect(clippy::disallowed_methods, reason = "for models whose time is known beforehand")]
    pub fn sleep_until(&self, span: Duration) {
        std::thread::sleep(span.saturating_sub(self.epoch.elapsed()));
    }
}

/// How long the calling thread has run; time in which it was not on a core doesn't count.
pub fn thread_cpu_ns() -> u64 {
    let ran = clock_gettime(ClockId::ThreadCPUTime);
    ran.tv_sec.cast_unsigned() * 1_000_000_000 + ran.tv_nsec.cast_unsigned()
}
