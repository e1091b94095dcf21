//! Independent pieces of work on every core.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Cores used at most; the experiments hold a run's requests each, so memory bounds them too.
const WORKERS_MAX: usize = 8;

/// Does each item's work on one of the threads, and returns the results in the items' order.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get().min(WORKERS_MAX));
    let next = AtomicUsize::new(0);
    let take = || -> Vec<(usize, R)> {
        let mut done = Vec::new();
        // Relaxed: the counter only hands out numbers; results travel through `join`.
        let mut nth = next.fetch_add(1, Ordering::Relaxed);
        while let Some(item) = items.get(nth) {
            done.push((nth, work(item)));
            nth = next.fetch_add(1, Ordering::Relaxed);
        }
        done
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(take)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("an experiment does not panic"))
            .collect()
    });
    results.sort_unstable_by_key(|result| result.0);
    results.into_iter().map(|result| result.1).collect()
}
