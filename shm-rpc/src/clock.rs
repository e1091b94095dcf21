//! The one look at the clock that waiting needs.

use std::time::Instant;

/// Now, on the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "this is the lane's clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
