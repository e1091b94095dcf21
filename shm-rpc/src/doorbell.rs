//! Announce, look again, sleep: how a side sleeps without missing work, and is woken only then.
//!
//! The sleeper stores its flag, fences, and looks at the ring once more before it sleeps; the
//! publisher stores the tail, fences, and looks at the flag. With both fences at least one of
//! them sees the other (Dekker). The flag may be stale or a lie: then a wake is superfluous, or
//! comes up to 100 ms late, never not at all. The container sleeps on the request tail as a
//! futex in memory it can't write; the engine sleeps in its reactor on an eventfd that it never
//! reads, since the peer holds the same file description and could drain or block it.

use crate::control::Control;
use crate::error::LaneFault;
use crate::layout::SLEEPS_AT;
use crate::sync::full_fence;
#[cfg(not(loom))]
pub(crate) use system::{bell, futex_wait, ring_bell};

/// From here the peer wakes us. Look at the ring once more before sleeping.
#[inline]
pub(crate) fn announce(own: &impl Control) -> Result<(), LaneFault> {
    own.store(SLEEPS_AT, 1)?;
    full_fence();
    Ok(())
}

/// From here the peer need not wake us.
#[inline]
pub(crate) fn awake(own: &impl Control) -> Result<(), LaneFault> {
    own.store(SLEEPS_AT, 0)
}

/// To be asked after every publication, never before.
#[inline]
pub(crate) fn peer_sleeps(peer: &impl Control) -> Result<bool, LaneFault> {
    full_fence();
    Ok(peer.load(SLEEPS_AT)? != 0)
}

#[cfg(not(loom))]
mod system {
    use crate::error::{LaneError, LaneFault};
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::fd::{BorrowedFd, OwnedFd};
    use rustix::io::Errno;
    use rustix::thread::futex;
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    /// A lying or lost flag costs at most this; long enough that an idle container costs nothing.
    pub(crate) const WAIT_MAX: Duration = Duration::from_millis(100);

    /// Sleeps while `word` still is `expected`, at most [`WAIT_MAX`].
    pub(crate) fn futex_wait(
        word: &AtomicU32,
        expected: u32,
        wait: Duration,
    ) -> Result<(), LaneFault> {
        let bounded = wait.min(WAIT_MAX);
        let timeout = futex::Timespec { tv_sec: 0, tv_nsec: bounded.subsec_nanos().into() };
        // No PRIVATE flag: the two processes map the same page at different addresses.
        match futex::wait(word, futex::Flags::empty(), expected, Some(&timeout)) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Ok(()),
            Err(errno) => Err(LaneFault::Wait(errno)),
        }
    }

    /// The engine's bell. Nobody reads it: every write is a fresh edge.
    pub(crate) fn bell() -> Result<OwnedFd, LaneError> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(LaneError::system("make the engine's bell"))
    }

    /// Rings it. A full counter (after 2^64 rings, or a meddling peer) still is readable, and
    /// the engine's wait is bounded, so there is nothing to do about a failure.
    pub(crate) fn ring_bell(bell: BorrowedFd<'_>) {
        let _full = rustix::io::write(bell, &1_u64.to_ne_bytes());
    }

    const _: () = assert!(WAIT_MAX.as_secs() == 0, "the timeout carries nanoseconds only");
}
