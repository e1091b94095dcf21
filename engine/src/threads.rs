//! Names threads and pins them. The one place that knows core_affinity.

use std::io;
use std::thread::JoinHandle;

/// CPUs this process may run on.
pub fn available_cpus() -> Vec<usize> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let cpus: Vec<usize> = cpus.into_iter().map(|core| core.id).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// Runs `body` on a thread named after its core and pinned to `cpu`.
pub fn spawn_pinned(
    core: usize,
    cpu: usize,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("foil-core-{core}")).spawn(move || {
        if !core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
            tracing::warn!(cpu, "could not pin a front-end thread; it runs unpinned");
        }
        body();
    })
}
