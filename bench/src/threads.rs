//! Which core does what. A child inherits the core of the thread that starts it, so that a whole server tree is pinned
//! without asking the server.

use std::io;
use std::process::{Child, Command};

#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error("core {core} can't be used; give one of: {allowed}")]
    NoSuchCore { core: usize, allowed: String },
    #[error("the program could not be started: {0}")]
    Spawn(io::Error),
}

/// Pins the calling thread.
pub fn pin(core: usize) -> Result<(), PinError> {
    let id = core_affinity::CoreId { id: core };
    if allowed().contains(&core) && core_affinity::set_for_current(id) {
        return Ok(());
    }
    let allowed = allowed().iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    Err(PinError::NoSuchCore { core, allowed })
}

/// Runs `work` on a thread of its own, pinned if a core is given.
pub fn on_core<T: Send>(
    core: Option<usize>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, PinError> {
    std::thread::scope(|scope| {
        let pinned = scope.spawn(move || {
            core.map_or(Ok(()), pin)?;
            Ok(work())
        });
        pinned.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Starts a program whose tree stays on one core, or on all of this process.
pub fn spawn_on(core: Option<usize>, command: &mut Command) -> Result<Child, PinError> {
    on_core(core, || command.spawn())?.map_err(PinError::Spawn)
}

/// The CPUs that this process may use.
pub(crate) fn allowed() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect()
}
