//! One suite for every kind of segment: what the ring, the flags and the slots rely on.

use super::memfd::{self, Pages};
use super::{Heap, Part, Segment, posix};
use crate::control::Entry;
use crate::layout::{ENTRIES_AT, ENTRY_BYTES, HEAD_AT, SLEEPS_AT, TAIL_AT};
use crate::ring::{Consumer, Producer};

const LEN: usize = 16_384;

/// Runs every test over two fresh segments of each kind.
macro_rules! over_every_kind {
    ($($test:ident)*) => {
        mod heap {
            use super::*;
            $(#[test] fn $test() {
                let (a, b) = (Heap::new(LEN), Heap::new(LEN));
                super::$test(&a.window(), &b.window());
            })*
        }
        #[cfg(not(miri))]
        mod memfd_memory {
            use super::*;
            $(#[test] fn $test() {
                let pages = Pages { huge: false, node: None };
                let make = || memfd::create(Part::RequestData, LEN, pages).unwrap().1;
                super::$test(&*make(), &*make());
            })*
        }
        #[cfg(not(miri))]
        mod posix_memory {
            use super::*;
            $(#[test] fn $test() {
                let make = || posix::create(Part::RequestData, LEN, None).unwrap().1;
                super::$test(&make(), &make());
            })*
        }
    };
}

over_every_kind! {
    fresh_memory_reads_as_zeros
    words_read_back_and_leave_their_neighbours_alone
    entries_read_back_whole
    bytes_read_back_at_every_edge
    a_ring_over_two_segments_hands_over_in_order
    waking_nobody_is_harmless
}

fn fresh_memory_reads_as_zeros<S: Segment>(a: &S, _: &S) {
    let mut bytes = vec![1; LEN];
    a.get(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
}

fn words_read_back_and_leave_their_neighbours_alone<S: Segment>(a: &S, b: &S) {
    for (at, value) in [(TAIL_AT, 1), (SLEEPS_AT, u32::MAX), (HEAD_AT, 255)] {
        a.store(at, value).unwrap();
        assert_eq!((a.load(at).unwrap(), b.load(at).unwrap()), (value, 0));
        assert_eq!((a.load(at - 4).unwrap(), a.load(at + 4).unwrap()), (0, 0));
        a.publish(at, 7).unwrap();
        assert_eq!(a.load(at).unwrap(), 7);
    }
}

fn entries_read_back_whole<S: Segment>(a: &S, _: &S) {
    let entry: Entry = std::array::from_fn(|word| 0x0102_0304_0506_0708 * word as u64);
    a.write_entry(ENTRIES_AT + ENTRY_BYTES, &entry).unwrap();
    assert_eq!(a.read_entry(ENTRIES_AT + ENTRY_BYTES).unwrap(), entry);
    assert_eq!(a.read_entry(ENTRIES_AT).unwrap(), [0; 8]);
    assert_eq!(a.read_entry(ENTRIES_AT + 2 * ENTRY_BYTES).unwrap(), [0; 8]);
}

fn bytes_read_back_at_every_edge<S: Segment>(a: &S, _: &S) {
    for (at, len) in [(0, 1), (4095, 2), (LEN - 1, 1), (0, LEN), (LEN, 0)] {
        let bytes: Vec<u8> = (0..len).map(|byte| (byte * 31 + at) as u8).collect();
        a.put(at, &bytes).unwrap();
        let mut back = vec![0; len];
        a.get(at, &mut back).unwrap();
        assert_eq!(back, bytes, "{len} at {at}");
    }
}

fn a_ring_over_two_segments_hands_over_in_order<S: Segment>(a: &S, b: &S) {
    let (mut producer, mut consumer) = (Producer::new(4), Consumer::new(4));
    for round in 0..1000_u64 {
        producer.push(a, b, &[round; 8]).unwrap();
        if round % 3 == 2 {
            for popped in round - 2..=round {
                assert_eq!(consumer.pop(b, a), Ok(Some([popped; 8])));
            }
            assert_eq!(consumer.pop(b, a), Ok(None));
        }
    }
}

fn waking_nobody_is_harmless<S: Segment>(a: &S, b: &S) {
    a.wake(TAIL_AT);
    assert_eq!(b.load(TAIL_AT), Ok(0));
}
