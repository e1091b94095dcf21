//! A timer that rings to some tens of µs; the runtime's own counts whole milliseconds.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

#[derive(Debug)]
pub(super) struct Timer {
    fd: AsyncFd<OwnedFd>,
    /// None: it has rung.
    rings_ns: Option<u64>,
}

impl Timer {
    #[expect(
        deprecated,
        reason = "its successor is unsafe; the descriptor is owned and never changes"
    )]
    pub(super) fn new() -> io::Result<Timer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)?;
        Ok(Timer { fd, rings_ns: None })
    }

    /// Rings at `at_ns` or before: one that is set for earlier is left alone, as setting costs a system call.
    pub(super) fn set(&mut self, now_ns: u64, at_ns: u64) -> io::Result<()> {
        if self.rings_ns.is_some_and(|rings_ns| rings_ns <= at_ns) {
            return Ok(());
        }
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A span of zero would switch it off.
        let after = Duration::from_nanos(at_ns.saturating_sub(now_ns).max(1));
        let it_value = Timespec {
            tv_sec: after.as_secs().cast_signed(),
            tv_nsec: after.subsec_nanos().into(),
        };
        let setting = Itimerspec { it_interval: once, it_value };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &setting)?;
        self.rings_ns = Some(at_ns);
        Ok(())
    }

    /// Ready once it rang, and now and then before.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.fd.poll_read_ready(context))?.clear_ready();
        self.rings_ns = None;
        Poll::Ready(Ok(()))
    }
}
