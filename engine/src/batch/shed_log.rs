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
    /// Since it was submitted.
    pub waited: Duration,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batcher, BatcherConfig, Copies, CostRule, Refusal, TaskView};
    use crate::ids::{ShapeKey, TaskId};

    #[test]
    fn keeps_the_latest_hundred_and_counts_all() {
        let mut log = ShedLog::default();
        for queued in 0..250 {
            let (at, slack) = (Time::from_nanos(queued as u64), Duration::ZERO);
            let (why, waited) = (Reason::Backlog, Duration::ZERO);
            log.push(Gone { at, why, class: 1, waited, slack, queued });
        }
        assert_eq!(log.counts()[Reason::Backlog as usize], 250);
        let kept: Vec<_> = log.recent().map(|gone| gone.queued).collect();
        assert_eq!(kept, (150..250).collect::<Vec<_>>());
    }

    #[test]
    fn a_task_that_is_turned_away_is_logged_with_its_class() {
        let mut batcher = Batcher::new(BatcherConfig {
            queue_tasks_max: 1,
            queue_bytes_max: 10,
            batch_rows_max: 1,
            batch_bytes_max: 10,
            batch_cost_max: 1,
            cost_rule: CostRule::Sum,
            copies: Copies::Allowed,
            slo: None,
            batch_timeout: Duration::from_secs(1),
        });
        let now = Time::ZERO.after(Duration::from_secs(1));
        let due = now.after(Duration::from_millis(7));
        let task = |id, class| TaskView {
            id: TaskId(id),
            rows: 1,
            bytes: 1,
            cost: 1,
            shape: ShapeKey(0),
            class,
            weight: 1,
            due,
            late_limit: due,
            arrived: now,
        };
        assert_eq!(batcher.handle_arrival(now, task(1, 2)), Ok(()));
        let refusal = batcher.handle_arrival(now, task(2, 5));
        assert!(matches!(refusal, Err(Refusal::QueueFull { .. })));
        batcher.handle_timeout(due);
        let logged: Vec<_> = batcher.shed_log().recent().map(|it| (it.class, it.why)).collect();
        assert_eq!(logged, [(5, Reason::QueueFull), (2, Reason::DeadlinePassed)]);
        let times: Vec<_> = batcher.shed_log().recent().map(|it| (it.waited, it.slack)).collect();
        let seven = Duration::from_millis(7);
        assert_eq!(times, [(Duration::ZERO, seven), (seven, Duration::ZERO)]);
    }
}
