//! Whether others took time from the cores under measurement: a watch beside every run.
//!
//! Three witnesses. The hypervisor's steal, as the kernel counts it for each core (in steps of 10 ms). A canary, a thread
//! on the server's core that naps over and over: what it oversleeps, less what the engine itself ran meanwhile, is time in
//! which that core belonged to someone else. And the client, which never sleeps: when it did not look at its clock for
//! over a millisecond, it was kept from its core. Where the model computes on the server's core the canary would find
//! the model; it rests then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::tally::SECOND_NS;
use crate::clock::{Clock, nanos, pause};
use crate::proc::RunTimes;
use crate::threads::{PinError, on_core};

/// The share of a second that others may have.
const LOST_SHARE_MAX: f64 = 0.02;
/// How long the canary sleeps: short enough to meet most absences of a millisecond, too seldom to disturb.
const NAP: Duration = Duration::from_millis(2);
/// Oversleeping that is no loss: timers are late by less, and containers take some of the core when they wake.
const OVERSLEPT_NS: u64 = 500_000;
/// The resting canary only reads the kernel's count of steal.
const REST: Duration = Duration::from_millis(50);
const STEAL_EVERY_NS: u64 = 100_000_000;
/// The unit of /proc/stat, whatever the kernel's own tick.
const STEAL_TICK_NS: u64 = 10_000_000;
/// An hour of losses each millisecond; past it the machine is no place to measure.
const LOSSES_MAX: usize = 3_600_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    Steal { core: usize },
    Canary,
    Client,
}

/// Time that was lost, on the watch's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) ended_ns: u64,
    pub(super) span_ns: u64,
    pub(super) witness: Witness,
}

/// Which of the seconds from `from_ns` on lost too much by any one witness.
pub(super) fn disturbed(losses: &[Loss], from_ns: u64, seconds: usize) -> Vec<bool> {
    let lost_ns = |second: usize, witness: Witness| {
        let start_ns = from_ns + second as u64 * SECOND_NS;
        let inside = |loss: &&Loss| {
            loss.witness == witness && (start_ns..start_ns + SECOND_NS).contains(&loss.ended_ns)
        };
        losses.iter().filter(inside).map(|loss| loss.span_ns).sum::<u64>()
    };
    let mut witnesses: Vec<Witness> = Vec::new();
    for loss in losses {
        if !witnesses.contains(&loss.witness) {
            witnesses.push(loss.witness);
        }
    }
    let limit_ns = LOST_SHARE_MAX * SECOND_NS as f64;
    let too_much = |second| witnesses.iter().any(|it| lost_ns(second, *it) as f64 > limit_ns);
    (0..seconds).map(too_much).collect()
}

/// How many seconds steal, the canary and the client each would exclude alone: who is to blame for an invalid run.
pub(super) fn blamed(losses: &[Loss], from_ns: u64, seconds: usize) -> [u64; 3] {
    let by = |witness: Witness| match witness {
        Witness::Steal { .. } => 0,
        Witness::Canary => 1,
        Witness::Client => 2,
    };
    std::array::from_fn(|kind| {
        let of_kind = losses.iter().filter(|loss| by(loss.witness) == kind);
        let losses: Vec<Loss> = of_kind.copied().collect();
        disturbed(&losses, from_ns, seconds).into_iter().filter(|second| *second).count() as u64
    })
}

/// Steal of the named cores in ticks, from the text of /proc/stat.
fn steal_ticks(stat: &str, core: usize) -> Option<u64> {
    const STEAL_COLUMN: usize = 8;
    let name = format!("cpu{core}");
    let line = stat.lines().find(|line| line.split_whitespace().next() == Some(&name))?;
    line.split_whitespace().nth(STEAL_COLUMN)?.parse().ok()
}

/// The thread that watches. Ends with this value.
pub(super) struct Watch {
    clock: Clock,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), PinError>>>,
}

#[derive(Default)]
struct Shared {
    losses: Mutex<Vec<Loss>>,
    rests: AtomicBool,
    ends: AtomicBool,
}

impl Watch {
    /// `engine` is the process whose own work is no loss.
    pub(super) fn start(server_core: usize, cores: [usize; 2], engine: u32) -> Watch {
        let clock = Clock::start();
        let shared = Arc::new(Shared::default());
        let (watched, engine) = (Arc::clone(&shared), RunTimes::of(engine));
        let thread = std::thread::spawn(move || {
            on_core(Some(server_core), || watched.watch(clock, cores, &engine))
        });
        Watch { clock, shared, thread: Some(thread) }
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// For models that compute where the canary sleeps.
    pub(super) fn rest(&self, rests: bool) {
        self.shared.rests.store(rests, Ordering::Relaxed);
    }

    /// What was lost from a moment on; what was lost before is forgotten.
    pub(super) fn losses_from(&self, from_ns: u64) -> Vec<Loss> {
        let mut losses = self.shared.losses();
        losses.retain(|loss| loss.ended_ns >= from_ns);
        losses.clone()
    }
}

impl Shared {
    fn losses(&self) -> std::sync::MutexGuard<'_, Vec<Loss>> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, clock: Clock, cores: [usize; 2], engine: &RunTimes) {
        let mut stolen = cores.map(steal_of);
        let mut looked_ns = clock.now_ns();
        // Bounded by the watch's own life: it is told to end when dropped.
        while !self.ends.load(Ordering::Relaxed) {
            let now_ns = self.nap(clock, engine);
            if now_ns - looked_ns >= STEAL_EVERY_NS {
                looked_ns = now_ns;
                let latest = cores.map(steal_of);
                for ((core, before), after) in cores.into_iter().zip(stolen).zip(latest) {
                    let span_ns = after.saturating_sub(before) * STEAL_TICK_NS;
                    self.note(Loss { ended_ns: now_ns, span_ns, witness: Witness::Steal { core } });
                }
                stolen = latest;
            }
        }
    }

    fn nap(&self, clock: Clock, engine: &RunTimes) -> u64 {
        if self.rests.load(Ordering::Relaxed) {
            pause(REST);
            return clock.now_ns();
        }
        let (ran_ns, before_ns) = (engine.ns(), clock.now_ns());
        pause(NAP);
        let ended_ns = clock.now_ns();
        let engine_ns = engine.ns().saturating_sub(ran_ns);
        let span_ns = (ended_ns - before_ns).saturating_sub(nanos(NAP) + engine_ns);
        if span_ns > OVERSLEPT_NS {
            self.note(Loss { ended_ns, span_ns, witness: Witness::Canary });
        }
        ended_ns
    }

    fn note(&self, loss: Loss) {
        let mut losses = self.losses();
        if loss.span_ns > 0 && losses.len() < LOSSES_MAX {
            losses.push(loss);
        }
    }
}

/// A system without the count has no hypervisor that tells.
fn steal_of(core: usize) -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    steal_ticks(&stat, core).unwrap_or(0)
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        // A watch that could not be pinned has nothing to say; the client's pin to its core fails louder.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn loss(ended_ms: u64, span_ms: u64, witness: Witness) -> Loss {
        Loss { ended_ns: ended_ms * MS, span_ns: span_ms * MS, witness }
    }

    #[test]
    fn a_second_that_lost_more_than_its_share_is_disturbed() {
        let losses = [
            loss(100, 21, Witness::Canary),
            loss(1_200, 20, Witness::Canary),
            loss(2_200, 11, Witness::Client),
            loss(2_300, 10, Witness::Client),
        ];
        assert_eq!(disturbed(&losses, 0, 4), [true, false, true, false]);
        assert_eq!(disturbed(&losses, 1_000 * MS, 1), [false]);
        assert_eq!(blamed(&losses, 0, 4), [0, 1, 1]);
    }

    /// They tell of the same time, so they are not added.
    #[test]
    fn two_witnesses_of_a_little_are_no_disturbance() {
        let losses = [
            loss(100, 15, Witness::Canary),
            loss(150, 15, Witness::Client),
            loss(160, 20, Witness::Steal { core: 0 }),
            loss(170, 20, Witness::Steal { core: 1 }),
        ];
        assert_eq!(disturbed(&losses, 0, 1), [false]);
    }

    #[test]
    fn steal_is_read_for_each_core() {
        let stat = "cpu  1 2 3 4 5 6 7 300 0 0\ncpu0 1 2 3 4 5 6 7 100 0 0\ncpu1 1 2 3 4 5 6 7 200 0 0\nintr 5\n";
        assert_eq!((steal_ticks(stat, 0), steal_ticks(stat, 1)), (Some(100), Some(200)));
        assert_eq!(steal_ticks(stat, 2), None);
    }

    #[test]
    fn the_watch_ends_with_its_value() {
        let watch = Watch::start(0, [0, 0], std::process::id());
        watch.rest(true);
        assert!(watch.losses_from(u64::MAX).is_empty());
    }
}
