//! Who was turned away lately, and why.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch_size::Shed;
use crate::clock::Time;

/// Latest ones kept with their circumstances; all are counted.
pub const RECENT_MAX: usize = 100;

/// Why a task was turned away, or given up, without having run in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The queue's bound was met.
    QueueFull,
    /// At arrival: no replica could have answered it in time.
    NoReplicaInTime,
    /// While it waited: even alone and at once it would have been late.
    Hopeless,
    /// Serving it would have made more others late.
    Backlog,
    /// Its class gave way.
    Class,
    /// Its deadline passed while it waited.
    DeadlinePassed,
}

impl Reason {
    pub const ALL: [Reason; 6] = [
        Reason::QueueFull,
        Reason::NoReplicaInTime,
        Reason::Hopeless,
        Reason::Backlog,
        Reason::Class,
        Reason::DeadlinePassed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Reason::QueueFull => "queue_full",
            Reason::NoReplicaInTime => "no_replica_in_time",
            Reason::Hopeless => "hopeless",
            Reason::Backlog => "backlog",
            Reason::Class => "class",
            Reason::DeadlinePassed => "deadline_passed",
        }
    }
}

impl From<Shed> for Reason {
    fn from(why: Shed) -> Reason {
        match why {
            Shed::Hopeless => Reason::Hopeless,
            Shed::Backlog => Reason::Backlog,
            Shed::Class => Reason::Class,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    pub at: Time,
    pub why: Reason,
    /// The task's SLO class.
    pub class: u8,
    /// Left until it was due; zero when that had passed.
    pub slack: Duration,
    /// Tasks that waited then.
    pub queued: usize,
}

#[derive(Debug, Default)]
pub struct ShedLog {
    recent: VecDeque<Gone>,
    counts: [u64; Reason::ALL.len()],
}

impl ShedLog {
    pub(super) fn push(&mut self, gone: Gone) {
        self.counts[gone.why as usize] += 1;
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(gone);
    }

    /// The latest, oldest first; at most [`RECENT_MAX`].
    pub fn recent(&self) -> impl Iterator<Item = &Gone> {
        self.recent.iter()
    }

    pub fn counts(&self) -> [u64; Reason::ALL.len()] {
        self.counts
    }
}
