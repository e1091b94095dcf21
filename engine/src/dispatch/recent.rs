//! What became of each class's tasks lately: the difference between now and a copy taken a window ago.

use std::time::Duration;

use crate::clock::Time;
use crate::observe::stages::ClassCounts;

/// Age of the copies: a person who looks wants the present load, and enough of it to read shares from.
const WINDOW: Duration = Duration::from_secs(30);

/// Two copies, so that the older one is between one and two windows old once that much time has passed.
#[derive(Debug, Default)]
pub(super) struct RecentCounts {
    older: Copied,
    newer: Copied,
}

#[derive(Clone, Copy, Debug, Default)]
struct Copied {
    at: Time,
    counts: ClassCounts,
}

impl RecentCounts {
    /// Takes a copy when it is time to. A comparison, otherwise.
    pub(super) fn turn(&mut self, now: Time, counts: impl FnOnce() -> ClassCounts) {
        if now.since(self.newer.at) >= WINDOW {
            self.older = std::mem::replace(&mut self.newer, Copied { at: now, counts: counts() });
        }
    }

    /// What was added since the older copy, and over how long.
    pub(super) fn until(&self, now: Time, counts: &ClassCounts) -> (Duration, ClassCounts) {
        let mut recent = *counts;
        let pairs = recent.iter_mut().flatten().zip(self.older.counts.iter().flatten());
        pairs.for_each(|(count, before)| *count -= before);
        (now.since(self.older.at), recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: u64) -> ClassCounts {
        let mut counts = ClassCounts::default();
        counts.iter_mut().flatten().for_each(|count| *count = all);
        counts
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(seconds))
    }

    #[test]
    fn counts_what_came_within_one_to_two_windows() {
        let mut recent = RecentCounts::default();
        let shown = |recent: &RecentCounts, seconds, all| {
            let (over, counts) = recent.until(at(seconds), &self::counts(all));
            (over.as_secs(), counts[0][0])
        };
        assert_eq!(shown(&recent, 10, 5), (10, 5), "since the start");
        recent.turn(at(29), || unreachable!("too early for a copy"));
        recent.turn(at(30), || counts(20));
        assert_eq!(shown(&recent, 40, 25), (40, 25));
        recent.turn(at(60), || counts(50));
        assert_eq!(shown(&recent, 60, 50), (30, 30));
        assert_eq!(shown(&recent, 89, 60), (59, 40));
    }
}
