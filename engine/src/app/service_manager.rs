//! What a service manager is told (sd_notify): when the engine answers, which process it is, when it goes. Without a
//! NOTIFY_SOCKET nobody is told anything.

use sd_notify::NotifyState;

/// Every model that the engine started with answers.
pub(super) fn is_ready() {
    tell(&[NotifyState::Ready]);
}

/// From now on the service is another process.
pub(super) fn is_now(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// Whoever has handed over does not end the service.
pub(super) fn ends(handed_over: bool) {
    if !handed_over {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told how the engine stands");
    }
}
