//! Whether a replica is on the device that measurement says, and what is still to be measured. Pure.
//!
//! A model that may run on several kinds of device comes up on the first of its wishes that has room. From then on it is
//! reviewed every `limits.review_s`:
//!
//! - A kind that was never measured gets a *trial*: a replica more that comes up there, runs the synthetic batches of its
//!   warm-up and leaves. One that could not be had is tried again, each time after twice as many reviews.
//! - Once all kinds are measured, placement is asked where each replica would go if it started now. What it says several
//!   times in a row moves the replica. Each move doubles how often: at a load on the edge between two devices it would
//!   go back and forth.

use std::collections::BTreeMap;

use crate::ids::DeviceClass;

/// Reviews in a row that say the same: a burst is over by then.
const VOTES: u32 = 3;

/// Doublings at most: with the usual reviews a replica then moves once in a quarter of an hour.
const DOUBLINGS_MAX: u32 = 5;

/// Doublings at most of the wait for another trial, some three hours.
const WAITS_MAX: u32 = 10;

/// What reviews of one replica have said so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    for_class: Option<DeviceClass>,
    count: u32,
}

impl Votes {
    /// A review found `best` for a replica of class `own` that has moved so often. Whether it is to move.
    pub fn cast(&mut self, own: DeviceClass, best: Option<DeviceClass>, moves: u32) -> bool {
        let elsewhere = best.filter(|best| *best != own);
        let count = if elsewhere == self.for_class { self.count + 1 } else { 1 };
        *self = Votes { for_class: elsewhere, count };
        elsewhere.is_some() && count >= VOTES << moves.min(DOUBLINGS_MAX)
    }
}

/// Trials of one model.
#[derive(Clone, Debug, Default)]
pub struct Trials {
    reviews: u64,
    by_class: BTreeMap<DeviceClass, Tried>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    times: u32,
    /// By number.
    last_review: u64,
}

impl Trials {
    /// A review found these classes not measured yet: the one to try now. The caller tries it.
    pub fn next(
        &mut self,
        unmeasured: impl IntoIterator<Item = DeviceClass>,
    ) -> Option<DeviceClass> {
        self.reviews += 1;
        let class = unmeasured.into_iter().find(|class| self.is_due(*class))?;
        let tried = self.by_class.entry(class).or_default();
        *tried = Tried { times: tried.times + 1, last_review: self.reviews };
        Some(class)
    }

    fn is_due(&self, class: DeviceClass) -> bool {
        self.by_class
            .get(&class)
            .is_none_or(|it| self.reviews - it.last_review >= 1 << it.times.min(WAITS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: DeviceClass = DeviceClass(0);
    const CPU: DeviceClass = DeviceClass(1);

    /// Reviews until the replica moves, all of them for the other device.
    fn reviews_until_it_moves(moves: u32) -> u32 {
        let mut votes = Votes::default();
        (1..).find(|_| votes.cast(GPU, Some(CPU), moves)).expect("it moves")
    }

    #[test]
    fn a_replica_moves_when_reviews_agree_and_less_readily_each_time() {
        assert_eq!([0, 1, 2, 5, 9].map(reviews_until_it_moves), [3, 6, 12, 96, 96]);
    }

    #[test]
    fn a_review_that_says_otherwise_begins_anew() {
        let mut votes = Votes::default();
        for best in [Some(CPU), Some(CPU), Some(GPU), Some(CPU), None, Some(CPU), Some(CPU)] {
            assert!(!votes.cast(GPU, best, 0));
        }
        assert!(votes.cast(GPU, Some(CPU), 0));
        let mut content = Votes::default();
        assert!((0..100).all(|_| !content.cast(GPU, Some(GPU), 0)));
    }

    #[test]
    fn what_can_not_be_had_is_tried_ever_more_rarely() {
        let mut trials = Trials::default();
        let tried: Vec<u32> = (1..40).filter(|_| trials.next([CPU]) == Some(CPU)).collect();
        assert_eq!(tried, [1, 3, 7, 15, 31]);
        assert_eq!(trials.next([]), None);
    }

    #[test]
    fn each_class_has_its_turn() {
        let mut trials = Trials::default();
        assert_eq!(trials.next([GPU, CPU]), Some(GPU));
        assert_eq!(trials.next([GPU, CPU]), Some(CPU));
    }
}
