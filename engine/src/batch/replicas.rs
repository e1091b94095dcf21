//! The live replicas of one model and the batches they have.

use std::time::Duration;

use super::task_table::Waiting;
use crate::clock::Time;
use crate::ids::{BatchId, ReplicaId, TaskId};

/// Batches a replica may have at a time. One: a second would bind its tasks before it is known which replica
/// is free first, and a crash would cost twice as many suspects. Staging ahead of the end needs a measured
/// hand-over time.
pub const CREDITS_PER_REPLICA: usize = 1;

/// A batch between departure and outcome.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) id: BatchId,
    /// As sent, in order: also those that left since.
    pub(super) members: Vec<Member>,
    pub(super) rows: u32,
    pub(super) at_bound: bool,
    pub(super) departed: Time,
    /// No member still here passes its late limit before this.
    pub(super) expires: Time,
    pub(super) times_out: Time,
    pub(super) overran: bool,
    /// A member was cancelled. The shell may have left it out when it sent the batch, so that the model's row
    /// numbers no longer say which task they mean.
    pub(super) rows_uncertain: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) task: TaskId,
    pub(super) rows: u32,
}

impl Outgoing {
    /// The task that holds a row of the batch.
    pub(super) fn task_of_row(&self, row: u32) -> Option<TaskId> {
        if self.rows_uncertain {
            return None;
        }
        let mut end = 0;
        let holds_row = |member: &&Member| {
            end += member.rows;
            row < end
        };
        self.members.iter().find(holds_row).map(|member| member.task)
    }
}

#[derive(Debug)]
struct Replica {
    id: ReplicaId,
    /// Told to be killed: nothing more is sent to it.
    ending: bool,
    out: Vec<Outgoing>,
}

impl Replica {
    fn is_idle(&self) -> bool {
        !self.ending && self.out.len() < CREDITS_PER_REPLICA
    }
}

/// In order of their ids, so that the lowest idle one is used first: use then follows load, and what is rarely
/// needed shows.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    replicas: Vec<Replica>,
    /// Member lists of past batches, reused.
    spare: Vec<Vec<Member>>,
}

impl Replicas {
    pub(super) fn add(&mut self, id: ReplicaId) {
        let at = self.replicas.partition_point(|replica| replica.id < id);
        self.replicas.insert(at, Replica { id, ending: false, out: Vec::new() });
    }

    /// Forgets a replica; its batches are the caller's.
    pub(super) fn remove(&mut self, id: ReplicaId) -> Vec<Outgoing> {
        match self.replicas.iter().position(|replica| replica.id == id) {
            Some(at) => self.replicas.remove(at).out,
            None => Vec::new(),
        }
    }

    pub(super) fn live(&self) -> usize {
        self.replicas.iter().filter(|replica| !replica.ending).count()
    }

    pub(super) fn idle(&self) -> usize {
        self.replicas.iter().filter(|replica| replica.is_idle()).count()
    }

    pub(super) fn first_idle(&self) -> Option<ReplicaId> {
        self.replicas.iter().find(|replica| replica.is_idle()).map(|replica| replica.id)
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &Outgoing> {
        self.replicas.iter().flat_map(|replica| &replica.out)
    }

    pub(super) fn batches_mut(&mut self) -> impl Iterator<Item = &mut Outgoing> {
        self.replicas.iter_mut().flat_map(|replica| &mut replica.out)
    }

    /// When a member expires or a batch overruns next.
    pub(super) fn next_timeout(&self) -> Time {
        let next = |batch: &Outgoing| {
            let times_out = if batch.overran { Time::NEVER } else { batch.times_out };
            batch.expires.min(times_out)
        };
        self.batches().map(next).min().unwrap_or(Time::NEVER)
    }

    /// Marks one batch that is out past its time, and its replica as ending. Each batch is returned once.
    pub(super) fn overrun(&mut self, now: Time) -> Option<Overrun> {
        for replica in &mut self.replicas {
            let overran = |batch: &&mut Outgoing| !batch.overran && batch.times_out <= now;
            let Some(batch) = replica.out.iter_mut().find(overran) else { continue };
            batch.overran = true;
            replica.ending = true;
            return Some(Overrun {
                replica: replica.id,
                batch: batch.id,
                rows: batch.rows,
                at_bound: batch.at_bound,
                service: now.since(batch.departed),
            });
        }
        None
    }

    pub(super) fn send(&mut self, id: ReplicaId, batch: Outgoing) {
        let replica = self.replicas.iter_mut().find(|replica| replica.id == id);
        let replica = replica.expect("a batch is sent to a replica that was found idle");
        assert!(replica.is_idle(), "a replica never has more batches than credits");
        replica.out.push(batch);
    }

    /// Takes the batch back, if this replica has it.
    pub(super) fn settle(&mut self, id: ReplicaId, batch: BatchId) -> Option<Outgoing> {
        let replica = self.replicas.iter_mut().find(|replica| replica.id == id)?;
        let at = replica.out.iter().position(|out| out.id == batch)?;
        Some(replica.out.remove(at))
    }

    pub(super) fn members_of(&mut self, tasks: &[Waiting]) -> Vec<Member> {
        let mut members = self.spare.pop().unwrap_or_default();
        members.extend(tasks.iter().map(|task| Member { task: task.id, rows: task.rows }));
        members
    }

    pub(super) fn reuse(&mut self, mut members: Vec<Member>) {
        if self.spare.len() < self.replicas.len() {
            members.clear();
            self.spare.push(members);
        }
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.replicas.is_sorted_by(|a, b| a.id < b.id), "a replica is known once");
        for replica in &self.replicas {
            assert!(replica.out.len() <= CREDITS_PER_REPLICA, "credits hold");
            assert!(replica.out.iter().all(|batch| !batch.overran || replica.ending));
        }
    }
}

/// A batch that took longer than its time.
pub(super) struct Overrun {
    pub(super) replica: ReplicaId,
    pub(super) batch: BatchId,
    pub(super) rows: u32,
    pub(super) at_bound: bool,
    pub(super) service: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_belongs_to_the_task_that_brought_it() {
        let members = [(1, 2), (2, 1), (3, 4)];
        let batch = Outgoing {
            id: BatchId(1),
            members: members.map(|(id, rows)| Member { task: TaskId(id), rows }).to_vec(),
            rows: 7,
            at_bound: false,
            departed: Time::ZERO,
            expires: Time::NEVER,
            times_out: Time::NEVER,
            overran: false,
            rows_uncertain: false,
        };
        let holders: Vec<_> = (0..8).map(|row| batch.task_of_row(row).map(|task| task.0)).collect();
        let expected = [1, 1, 2, 3, 3, 3, 3].map(Some);
        assert_eq!(holders[..7], expected);
        assert_eq!(holders[7], None, "past the batch");
        let uncertain = Outgoing { rows_uncertain: true, ..batch };
        assert_eq!(uncertain.task_of_row(0), None);
    }
}
