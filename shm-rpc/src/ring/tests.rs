//! The ring against a plain queue, and against a peer that lies about its position.

use super::*;
use crate::segment::{Heap, Window};
use proptest::prelude::*;
use std::collections::VecDeque;

/// Every counter; Miri, some hundred times slower, takes one in five.
const STEP: usize = if cfg!(miri) { 51 } else { 1 };

/// Two control heads on the heap, where segments would be.
struct Memory {
    producer_out: Heap,
    consumer_out: Heap,
    entries: u32,
}

impl Memory {
    fn new(entries: u32) -> Memory {
        let bytes = ENTRIES_AT + entries as usize * ENTRY_BYTES;
        Memory { producer_out: Heap::new(bytes), consumer_out: Heap::new(bytes), entries }
    }

    /// A ring both of whose positions stand at `counter`.
    fn ring(&self, counter: u32) -> Ring {
        let (ours, theirs) = (self.producer_out.window(), self.consumer_out.window());
        ours.store(TAIL_AT, counter).unwrap();
        theirs.store(HEAD_AT, counter).unwrap();
        let (mut producer, mut consumer) =
            (Producer::new(self.entries), Consumer::new(self.entries));
        (producer.tail, producer.head_seen) = (counter, counter);
        (consumer.head, consumer.tail_seen) = (counter, counter);
        Ring { producer, consumer, ours, theirs }
    }
}

struct Ring {
    producer: Producer,
    consumer: Consumer,
    ours: Window,
    theirs: Window,
}

impl Ring {
    fn push(&mut self, entry: &Entry) -> Result<(), LaneFault> {
        self.producer.push(&self.ours, &self.theirs, entry)
    }

    fn pop(&mut self) -> Result<Option<Entry>, LaneFault> {
        self.consumer.pop(&self.theirs, &self.ours)
    }

    fn claim_tail(&self, value: u32) {
        self.ours.store(TAIL_AT, value).unwrap();
    }

    fn claim_head(&self, value: u32) {
        self.theirs.store(HEAD_AT, value).unwrap();
    }
}

fn entry(value: u64) -> Entry {
    std::array::from_fn(|word| value.wrapping_mul(word as u64 + 1))
}

proptest! {
    #[test]
    fn behaves_like_a_bounded_queue(
        start in 0..=COUNTER_MAX,
        entries_log2 in 1_u32..8,
        pushes in proptest::collection::vec(any::<bool>(), 0..600),
    ) {
        let memory = Memory::new(1 << entries_log2);
        let mut ring = memory.ring(start);
        let mut queue = VecDeque::new();
        for (number, is_push) in pushes.into_iter().enumerate() {
            if !is_push {
                prop_assert_eq!(ring.pop(), Ok(queue.pop_front()));
            } else if queue.len() < 1 << entries_log2 {
                prop_assert_eq!(ring.push(&entry(number as u64)), Ok(()));
                queue.push_back(entry(number as u64));
            } else {
                prop_assert_eq!(ring.push(&entry(0)), Err(LaneFault::RingFull));
            }
            prop_assert_eq!(ring.consumer.is_empty(&ring.ours).unwrap(), queue.is_empty());
        }
    }

    #[test]
    fn no_sequence_of_lies_makes_either_end_panic_or_read_outside(
        start in 0..=COUNTER_MAX,
        lies in proptest::collection::vec((any::<bool>(), 0_u32..300), 1..50),
    ) {
        let memory = Memory::new(4);
        let mut ring = memory.ring(start);
        for (about_the_tail, lie) in lies {
            if about_the_tail {
                ring.claim_tail(lie);
                let _accepted_or_refused = ring.pop();
            } else {
                ring.claim_head(lie);
                let _accepted_or_refused = ring.push(&entry(1));
            }
        }
    }
}

/// Every position a consumer can have, and every word a producer can claim, plus words that are
/// no counters at all.
#[test]
fn a_tail_is_believed_exactly_when_it_is_within_one_ring_ahead() {
    for entries in [4, 128] {
        let memory = Memory::new(entries);
        for start in (0..=COUNTER_MAX).step_by(STEP) {
            for word in (0..=COUNTER_MAX).step_by(STEP) {
                let mut ring = memory.ring(start);
                ring.claim_tail(word);
                let claimed = (word + 256 - start) % 256;
                match (claimed, ring.pop()) {
                    (0, popped) => assert_eq!(popped, Ok(None)),
                    (ahead, popped) if ahead <= entries => {
                        assert!(matches!(popped, Ok(Some(_))), "{start} {word}: {popped:?}");
                    }
                    (_, popped) => {
                        let capacity = entries;
                        let fault = LaneFault::TailOutOfRange { claimed, capacity };
                        assert_eq!(popped, Err(fault));
                    }
                }
            }
        }
    }
}

#[test]
fn a_head_is_believed_exactly_when_it_is_between_what_was_seen_and_what_was_pushed() {
    let memory = Memory::new(4);
    for start in (0..=COUNTER_MAX).step_by(STEP) {
        for claimed in (0..=COUNTER_MAX).step_by(STEP) {
            let mut ring = memory.ring(start);
            for number in 0..4 {
                ring.push(&entry(number)).unwrap();
            }
            ring.claim_head((start + claimed) % 256);
            let expected = match claimed {
                0 => Err(LaneFault::RingFull),
                1..=4 => Ok(()),
                _ => Err(LaneFault::HeadOutOfRange { claimed, pushed: 4 }),
            };
            assert_eq!(ring.push(&entry(9)), expected, "start {start} claimed {claimed}");
        }
    }
}

#[test]
fn a_word_that_is_no_counter_is_a_fault_on_either_end() {
    let memory = Memory::new(2);
    for word in [256, 257, 1 << 16, 1 << 31, u32::MAX] {
        let mut ring = memory.ring(0);
        ring.claim_tail(word);
        assert_eq!(ring.pop(), Err(LaneFault::NoCounter { word }));
        let mut ring = memory.ring(0);
        ring.push(&entry(1)).unwrap();
        ring.push(&entry(2)).unwrap();
        ring.claim_head(word);
        assert_eq!(ring.push(&entry(3)), Err(LaneFault::NoCounter { word }));
    }
}

#[test]
fn a_tail_that_runs_backwards_is_a_fault_even_to_where_the_consumer_stands() {
    for back_to in [1, 2] {
        let memory = Memory::new(4);
        let mut ring = memory.ring(0);
        for number in 0..3 {
            ring.push(&entry(number)).unwrap();
        }
        assert!(matches!(ring.pop(), Ok(Some(_))));
        ring.claim_tail(back_to);
        let fault = LaneFault::TailOutOfRange { claimed: back_to - 1, capacity: 4 };
        assert_eq!(ring.pop(), Err(fault));
    }
}

/// Every pair of counters against plain subtraction of numbers that never wrap.
#[test]
fn distance_is_subtraction_for_every_pair_of_counters() {
    for from in (0..=COUNTER_MAX).step_by(STEP) {
        for ahead in 0..=COUNTER_MAX {
            let to = (from + ahead) % (COUNTER_MAX + 1);
            assert_eq!(distance(from, to), ahead);
        }
    }
}

/// For Miri and ThreadSanitizer: two threads, the real orderings, the whole range of counters.
#[test]
fn two_threads_hand_over_every_entry_in_order() {
    let rounds: u64 = if cfg!(miri) { 300 } else { 20_000 };
    let memory = Memory::new(4);
    let Ring { mut producer, mut consumer, ours, theirs } = memory.ring(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..rounds {
                while producer.push(&ours, &theirs, &entry(number)) == Err(LaneFault::RingFull) {
                    std::thread::yield_now();
                }
            }
        });
        for number in 0..rounds {
            let popped = loop {
                match consumer.pop(&theirs, &ours) {
                    Ok(Some(popped)) => break popped,
                    other => assert_eq!(other, Ok(None)),
                }
                std::thread::yield_now();
            };
            assert_eq!(popped, entry(number));
        }
    });
}
