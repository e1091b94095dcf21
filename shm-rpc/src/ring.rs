//! One single-producer, single-consumer ring of 64-byte descriptors.
//!
//! [`Producer`] and [`Consumer`] keep their own position in private memory and never read it
//! back. The peer's position is copied once, checked to lie within one ring length of ours and
//! not to run backwards, and only then used. Counters run freely over 32 bits; the index is
//! `counter & mask`. Deliberately absent: blocking, waking (see `doorbell`), and any meaning of
//! the descriptors (see `slot`).
//!
//! Orderings: `push` writes the entry, then stores the tail with release; `pop` loads the tail,
//! fences with acquire, reads the entry, then stores the head with release; the next `push` that
//! needs the place loads the head and fences with acquire. So an entry is never read before it is
//! whole, nor overwritten before it is read.

use crate::error::LaneFault;
use crate::layout::ENTRY_WORDS;
use crate::sync::{Entries, Word, acquire};

#[cfg(loom)]
#[cfg(test)]
mod models;
#[cfg(not(loom))]
#[cfg(test)]
mod tests;

/// What a ring carries.
pub(crate) type Entry = [u64; ENTRY_WORDS];

/// The end that pushes.
pub(crate) struct Producer {
    tail_word: Word,
    peer_head: Word,
    entries: Entries,
    tail: u32,
    head_seen: u32,
}

impl Producer {
    /// `tail_word` is ours to write, `peer_head` the consumer's.
    pub(crate) fn new(tail_word: Word, peer_head: Word, entries: Entries) -> Producer {
        assert!(entries.count().is_power_of_two(), "the index is a mask of the counter");
        Producer { tail_word, peer_head, entries, tail: 0, head_seen: 0 }
    }

    /// Makes one descriptor visible to the consumer; waking it is the caller's next step.
    #[inline]
    pub(crate) fn push(&mut self, entry: &Entry) -> Result<(), LaneFault> {
        if self.is_full() {
            self.look_at_head()?;
        }
        if self.is_full() {
            return Err(LaneFault::RingFull);
        }
        self.entries.write(self.tail & (self.entries.count() - 1), entry);
        self.tail = self.tail.wrapping_add(1);
        self.tail_word.store_release(self.tail);
        Ok(())
    }

    /// The word the consumer's futex waits on.
    pub(crate) fn tail_word(&self) -> &Word {
        &self.tail_word
    }

    fn is_full(&self) -> bool {
        distance(self.head_seen, self.tail) == self.entries.count()
    }

    /// Copies the consumer's position, and believes it only if it lies between what we saw
    /// before and what we pushed.
    fn look_at_head(&mut self) -> Result<(), LaneFault> {
        let head = self.peer_head.load_relaxed();
        let taken = distance(self.head_seen, head);
        let pushed = distance(self.head_seen, self.tail);
        if taken > pushed {
            return Err(LaneFault::HeadOutOfRange { claimed: taken, pushed });
        }
        acquire();
        self.head_seen = head;
        Ok(())
    }
}

/// The end that pops.
pub(crate) struct Consumer {
    peer_tail: Word,
    head_word: Word,
    entries: Entries,
    head: u32,
    tail_seen: u32,
}

impl Consumer {
    /// `peer_tail` is the producer's, `head_word` ours to write.
    pub(crate) fn new(peer_tail: Word, head_word: Word, entries: Entries) -> Consumer {
        assert!(entries.count().is_power_of_two(), "the index is a mask of the counter");
        Consumer { peer_tail, head_word, entries, head: 0, tail_seen: 0 }
    }

    /// A private copy of the oldest descriptor, if there is one.
    #[inline]
    pub(crate) fn pop(&mut self) -> Result<Option<Entry>, LaneFault> {
        let tail = self.peer_tail.load_relaxed();
        if tail == self.head {
            return Ok(None);
        }
        self.accept_tail(tail)?;
        let entry = self.entries.read(self.head & (self.entries.count() - 1));
        self.head = self.head.wrapping_add(1);
        self.head_word.store_release(self.head);
        Ok(Some(entry))
    }

    /// One relaxed load; nothing is read on the strength of it.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.peer_tail.load_relaxed() == self.head
    }

    /// The value the tail has while there is nothing to pop.
    pub(crate) fn position(&self) -> u32 {
        self.head
    }

    /// The word a futex may wait on.
    pub(crate) fn tail_word(&self) -> &Word {
        &self.peer_tail
    }

    /// Believes the copied position only if it is at most a ring ahead and not behind what the
    /// producer said before.
    fn accept_tail(&mut self, tail: u32) -> Result<(), LaneFault> {
        let claimed = distance(self.head, tail);
        let claimed_before = distance(self.head, self.tail_seen);
        let capacity = self.entries.count();
        if claimed > capacity || claimed < claimed_before {
            return Err(LaneFault::TailOutOfRange { claimed, capacity });
        }
        acquire();
        self.tail_seen = tail;
        Ok(())
    }
}

/// How far `to` is ahead of `from`, counters running over 32 bits.
fn distance(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from)
}
