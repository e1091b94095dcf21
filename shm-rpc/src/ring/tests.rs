//! The ring against a plain queue, and against a peer that lies about its position.

use super::*;
use crate::layout::{ENTRIES_AT, ENTRY_BYTES, HEAD_AT, TAIL_AT};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::ptr::NonNull;

/// Two control heads on the heap, where segments would be.
struct Memory {
    producer_out: Vec<u64>,
    consumer_out: Vec<u64>,
    entries: u32,
}

impl Memory {
    fn new(entries: u32) -> Memory {
        let words = (ENTRIES_AT + entries as usize * ENTRY_BYTES) / 8;
        Memory { producer_out: vec![0; words], consumer_out: vec![0; words], entries }
    }

    fn bases(&mut self) -> (NonNull<u8>, NonNull<u8>) {
        let base = |words: &mut Vec<u64>| NonNull::new(words.as_mut_ptr().cast()).unwrap();
        (base(&mut self.producer_out), base(&mut self.consumer_out))
    }

    fn word(base: NonNull<u8>, at: usize) -> Word {
        // SAFETY: tests keep the memory alive and ask for offsets of the control head.
        unsafe { Word::at(base, at) }
    }

    fn ring(&mut self, counter: u32) -> (Producer, Consumer, Words) {
        let ((ours, theirs), entries) = (self.bases(), self.entries);
        let words = Words { tail: Self::word(ours, TAIL_AT), head: Self::word(theirs, HEAD_AT) };
        words.tail.store_relaxed(counter);
        words.head.store_relaxed(counter);
        // SAFETY: as in `word`; the vectors hold `entries` descriptors behind the head.
        let places = || unsafe { Entries::at(ours, ENTRIES_AT, entries) };
        let mut producer = Producer::new(words.tail, words.head, places());
        let mut consumer = Consumer::new(words.tail, words.head, places());
        (producer.tail, producer.head_seen) = (counter, counter);
        (consumer.head, consumer.tail_seen) = (counter, counter);
        (producer, consumer, words)
    }
}

struct Words {
    tail: Word,
    head: Word,
}

fn entry(value: u64) -> Entry {
    std::array::from_fn(|word| value.wrapping_mul(word as u64 + 1))
}

proptest! {
    #[test]
    fn behaves_like_a_bounded_queue(
        start in any::<u32>(),
        entries_log2 in 1_u32..5,
        pushes in proptest::collection::vec(any::<bool>(), 0..300),
    ) {
        let mut memory = Memory::new(1 << entries_log2);
        let (mut producer, mut consumer, _) = memory.ring(start);
        let mut queue = VecDeque::new();
        for (number, is_push) in pushes.into_iter().enumerate() {
            if !is_push {
                prop_assert_eq!(consumer.pop(), Ok(queue.pop_front()));
            } else if queue.len() < 1 << entries_log2 {
                prop_assert_eq!(producer.push(&entry(number as u64)), Ok(()));
                queue.push_back(entry(number as u64));
            } else {
                prop_assert_eq!(producer.push(&entry(0)), Err(LaneFault::RingFull));
            }
            prop_assert_eq!(consumer.is_empty(), queue.is_empty());
        }
    }

    #[test]
    fn no_sequence_of_lies_makes_the_consumer_panic_or_read_outside(
        start in any::<u32>(),
        lies in proptest::collection::vec(any::<u32>(), 1..50),
    ) {
        let mut memory = Memory::new(4);
        let (_, mut consumer, words) = memory.ring(start);
        for lie in lies {
            words.tail.store_relaxed(lie);
            let _accepted_or_refused = consumer.pop();
        }
    }
}

#[test]
fn a_tail_is_believed_exactly_when_it_is_within_one_ring_ahead() {
    for start in [0, 1, 7, u32::MAX - 5, u32::MAX] {
        for ahead in 0..=255_u32 {
            for sign in [1, u32::MAX] {
                let mut memory = Memory::new(8);
                let (_, mut consumer, words) = memory.ring(start);
                words.tail.store_relaxed(start.wrapping_add(ahead.wrapping_mul(sign)));
                let claimed = ahead.wrapping_mul(sign);
                match (claimed, consumer.pop()) {
                    (0, popped) => assert_eq!(popped, Ok(None)),
                    (1..=8, popped) => assert!(matches!(popped, Ok(Some(_)))),
                    (_, popped) => {
                        assert_eq!(popped, Err(LaneFault::TailOutOfRange { claimed, capacity: 8 }))
                    }
                }
            }
        }
    }
}

#[test]
fn a_head_is_believed_exactly_when_it_is_between_what_was_seen_and_what_was_pushed() {
    for start in [0, 3, u32::MAX - 2, u32::MAX] {
        for claimed in (0..=20).chain(u32::MAX - 20..=u32::MAX) {
            let mut memory = Memory::new(4);
            let (mut producer, _, words) = memory.ring(start);
            for number in 0..4 {
                producer.push(&entry(number)).unwrap();
            }
            words.head.store_relaxed(start.wrapping_add(claimed));
            let expected = match claimed {
                0 => Err(LaneFault::RingFull),
                1..=4 => Ok(()),
                _ => Err(LaneFault::HeadOutOfRange { claimed, pushed: 4 }),
            };
            assert_eq!(producer.push(&entry(9)), expected, "start {start} claimed {claimed}");
        }
    }
}

#[test]
fn a_tail_that_runs_backwards_is_a_fault() {
    let mut memory = Memory::new(4);
    let (mut producer, mut consumer, words) = memory.ring(0);
    for number in 0..3 {
        producer.push(&entry(number)).unwrap();
    }
    assert!(matches!(consumer.pop(), Ok(Some(_))));
    words.tail.store_relaxed(2);
    assert_eq!(consumer.pop(), Err(LaneFault::TailOutOfRange { claimed: 1, capacity: 4 }));
}
