//! One single-producer, single-consumer ring of 64-byte descriptors.
//!
//! [`Producer`] and [`Consumer`] keep their own position in private memory and never read it
//! back. The peer's position is copied once, checked to lie within one ring length of ours and
//! not to run backwards, and only then used. Deliberately absent: the memory itself, which comes
//! with every call (`own` is written by us, `peer` by the other side), blocking, waking (see
//! `doorbell`), and any meaning of the descriptors (see `slot`).
//!
//! Positions are counters modulo 256, stored in 32-bit words. One byte can't tear, even where a
//! kernel copies a word bytewise on our behalf; a ring holds at most half of 256, so a distance
//! is never ambiguous; and a sleeping futex can't take a wrapped counter for an unchanged one,
//! since nobody may push 256 descriptors past a consumer that took none.
//!
//! Orderings: `push` writes the entry, then stores the tail with release; `pop` loads the tail,
//! fences with acquire, reads the entry, then stores the head with release; the next `push` that
//! needs the place loads the head and fences with acquire. So an entry is never read before it is
//! whole, nor overwritten before it is read.

use crate::control::{Control, Entry};
use crate::error::LaneFault;
use crate::layout::{COUNTER_MAX, ENTRIES_AT, ENTRY_BYTES, HEAD_AT, RING_ENTRIES_MAX, TAIL_AT};
use crate::sync::acquire;

#[cfg(loom)]
#[cfg(test)]
mod models;
#[cfg(not(loom))]
#[cfg(test)]
mod tests;

/// The end that pushes.
pub(crate) struct Producer {
    entries: u32,
    tail: u32,
    head_seen: u32,
}

impl Producer {
    pub(crate) fn new(entries: u32) -> Producer {
        check_entries(entries);
        Producer { entries, tail: 0, head_seen: 0 }
    }

    /// Makes one descriptor visible to the consumer; waking it is the caller's next step.
    #[inline]
    pub(crate) fn push(
        &mut self,
        own: &impl Control,
        peer: &impl Control,
        entry: &Entry,
    ) -> Result<(), LaneFault> {
        if self.is_full() {
            self.look_at_head(peer)?;
        }
        if self.is_full() {
            return Err(LaneFault::RingFull);
        }
        own.write_entry(entry_at(self.tail, self.entries), entry)?;
        self.tail = advance(self.tail);
        own.publish(TAIL_AT, self.tail)
    }

    fn is_full(&self) -> bool {
        distance(self.head_seen, self.tail) == self.entries
    }

    /// Copies the consumer's position, and believes it only if it lies between what we saw
    /// before and what we pushed.
    fn look_at_head(&mut self, peer: &impl Control) -> Result<(), LaneFault> {
        let head = counter(peer.load(HEAD_AT)?)?;
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
    entries: u32,
    head: u32,
    tail_seen: u32,
}

impl Consumer {
    pub(crate) fn new(entries: u32) -> Consumer {
        check_entries(entries);
        Consumer { entries, head: 0, tail_seen: 0 }
    }

    /// A private copy of the oldest descriptor, if there is one.
    #[inline]
    pub(crate) fn pop(
        &mut self,
        own: &impl Control,
        peer: &impl Control,
    ) -> Result<Option<Entry>, LaneFault> {
        let tail = peer.load(TAIL_AT)?;
        if tail == self.head {
            return self.nothing_new();
        }
        self.accept_tail(counter(tail)?)?;
        let entry = peer.read_entry(entry_at(self.head, self.entries))?;
        self.head = advance(self.head);
        own.publish(HEAD_AT, self.head)?;
        Ok(Some(entry))
    }

    /// One relaxed load; nothing is read on the strength of it.
    #[inline]
    pub(crate) fn is_empty(&self, peer: &impl Control) -> Result<bool, LaneFault> {
        Ok(peer.load(TAIL_AT)? == self.head)
    }

    /// The value the tail has while there is nothing to pop.
    pub(crate) fn position(&self) -> u32 {
        self.head
    }

    /// The tail stands where we are: empty, unless more was promised before.
    fn nothing_new(&self) -> Result<Option<Entry>, LaneFault> {
        if self.tail_seen == self.head {
            return Ok(None);
        }
        Err(LaneFault::TailOutOfRange { claimed: 0, capacity: self.entries })
    }

    /// Believes the copied position only if it is at most a ring ahead and not behind what the
    /// producer said before.
    fn accept_tail(&mut self, tail: u32) -> Result<(), LaneFault> {
        let claimed = distance(self.head, tail);
        let claimed_before = distance(self.head, self.tail_seen);
        let capacity = self.entries;
        if claimed > capacity || claimed < claimed_before {
            return Err(LaneFault::TailOutOfRange { claimed, capacity });
        }
        acquire();
        self.tail_seen = tail;
        Ok(())
    }
}

fn check_entries(entries: u32) {
    let possible = entries.is_power_of_two() && entries <= RING_ENTRIES_MAX;
    assert!(possible, "the index is a mask of the counter, and a distance is unambiguous");
}

/// A peer's word, if it can be a position at all.
fn counter(word: u32) -> Result<u32, LaneFault> {
    if word <= COUNTER_MAX { Ok(word) } else { Err(LaneFault::NoCounter { word }) }
}

fn advance(counter: u32) -> u32 {
    (counter + 1) & COUNTER_MAX
}

/// How far `to` is ahead of `from`.
fn distance(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from) & COUNTER_MAX
}

fn entry_at(counter: u32, entries: u32) -> usize {
    ENTRIES_AT + (counter & (entries - 1)) as usize * ENTRY_BYTES
}
