//! The container's clock: how long the model took, for reports.

use std::time::Instant;

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
}
