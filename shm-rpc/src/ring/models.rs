//! Every interleaving of the real ring and the real sleeping flags, explored by loom.
//!
//! Entries are plain cells here, so an access the orderings do not put in order is an error, and
//! a lost wake is a deadlock. The futex and the eventfd are a mutex and a condition variable,
//! which is what the kernel's hash bucket and wait queue are. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p shm-rpc --lib`.

use super::*;
use crate::doorbell::{Sleeper, Waker};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// The smallest ring that wraps.
const ENTRIES: u32 = 2;

fn ring() -> (Producer, Consumer) {
    let (tail, head) = (Word::modelled(0), Word::modelled(0));
    let entries = Entries::modelled(ENTRIES);
    let producer = Producer::new(tail.clone(), head.clone(), entries.clone());
    (producer, Consumer::new(tail, head, entries))
}

fn entry(value: u64) -> Entry {
    [value; ENTRY_WORDS]
}

/// A condition without a timeout: whoever misses its wake sleeps for ever, and loom says so.
#[derive(Clone)]
struct Bed(Arc<(Mutex<u64>, Condvar)>);

impl Bed {
    fn new() -> Bed {
        Bed(Arc::new((Mutex::new(0), Condvar::new())))
    }

    /// A futex: the word is compared under the bucket's lock.
    fn futex_wait(&self, word: &Word, expected: u32) {
        let rings = self.0.0.lock().unwrap();
        if word.load_relaxed() == expected {
            drop(self.0.1.wait(rings).unwrap());
        }
    }

    fn futex_wake(&self) {
        drop(self.0.0.lock().unwrap());
        self.0.1.notify_one();
    }

    /// An edge-triggered eventfd: a ring since the last look ends the wait at once.
    fn bell_wait(&self, seen: &mut u64) {
        let mut rings = self.0.0.lock().unwrap();
        if *rings == *seen {
            rings = self.0.1.wait(rings).unwrap();
        }
        *seen = *rings;
    }

    fn ring_bell(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_one();
    }
}

#[test]
fn entries_arrive_whole_and_in_order_across_the_wrap() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring();
        let pushing = thread::spawn(move || {
            for value in 1..=3 {
                while producer.push(&entry(value)) == Err(LaneFault::RingFull) {
                    thread::yield_now();
                }
            }
        });
        for value in 1..=3 {
            loop {
                match consumer.pop() {
                    Ok(Some(popped)) => break assert_eq!(popped, entry(value)),
                    popped => assert_eq!(popped, Ok(None)),
                }
                thread::yield_now();
            }
        }
        pushing.join().unwrap();
    });
}

#[test]
fn a_full_ring_takes_more_only_once_its_credit_returned() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring();
        producer.push(&entry(1)).unwrap();
        producer.push(&entry(2)).unwrap();
        let popping = thread::spawn(move || {
            assert_eq!(consumer.pop(), Ok(Some(entry(1))));
            consumer
        });
        let pushed = producer.push(&entry(3));
        let mut consumer = popping.join().unwrap();
        assert!(matches!(pushed, Ok(()) | Err(LaneFault::RingFull)));
        if pushed.is_err() {
            producer.push(&entry(3)).unwrap();
        }
        assert_eq!(consumer.pop(), Ok(Some(entry(2))));
        assert_eq!(consumer.pop(), Ok(Some(entry(3))));
        assert_eq!(consumer.pop(), Ok(None));
    });
}

/// Pushes values, waking as the engine does.
fn publish(producer: &mut Producer, waker: &Waker, bed: &Bed, value: u64) {
    producer.push(&entry(value)).unwrap();
    if waker.peer_sleeps() {
        bed.futex_wake();
    }
}

/// Pops one value, sleeping as the container does.
fn take(consumer: &mut Consumer, sleeper: &Sleeper, bed: &Bed) -> Entry {
    loop {
        if let Some(popped) = consumer.pop().unwrap() {
            return popped;
        }
        sleeper.announce();
        if consumer.is_empty() {
            bed.futex_wait(consumer.tail_word(), consumer.position());
        }
        sleeper.awake();
    }
}

#[test]
fn a_container_that_falls_asleep_never_misses_a_request() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring();
        let flag = Word::modelled(0);
        let (sleeper, waker, bed) = (Sleeper::new(flag.clone()), Waker::new(flag), Bed::new());
        let theirs = bed.clone();
        let taking = thread::spawn(move || {
            assert_eq!(take(&mut consumer, &sleeper, &theirs), entry(1));
            assert_eq!(take(&mut consumer, &sleeper, &theirs), entry(2));
        });
        publish(&mut producer, &waker, &bed, 1);
        publish(&mut producer, &waker, &bed, 2);
        taking.join().unwrap();
    });
}

#[test]
fn an_engine_that_falls_asleep_never_misses_a_reply() {
    // Unbounded, the condition variable's own steps multiply the interleavings into minutes.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(4);
    model.check(|| {
        let (mut producer, mut consumer) = ring();
        let flag = Word::modelled(0);
        let (sleeper, waker, bed) = (Sleeper::new(flag.clone()), Waker::new(flag), Bed::new());
        let theirs = bed.clone();
        let replying = thread::spawn(move || {
            for value in 1..=2 {
                producer.push(&entry(value)).unwrap();
                if waker.peer_sleeps() {
                    theirs.ring_bell();
                }
            }
        });
        let (mut seen, mut value) = (0, 1);
        while value <= 2 {
            while let Some(popped) = consumer.pop().unwrap() {
                assert_eq!(popped, entry(value));
                value += 1;
            }
            sleeper.announce();
            if value <= 2 && consumer.is_empty() {
                bed.bell_wait(&mut seen);
            }
            sleeper.awake();
        }
        replying.join().unwrap();
    });
}

#[test]
fn the_farewell_comes_after_every_published_request_and_wakes_the_sleeper() {
    const FAREWELL: u64 = 99;
    loom::model(|| {
        let (mut producer, mut consumer) = ring();
        let flag = Word::modelled(0);
        let (sleeper, waker, bed) = (Sleeper::new(flag.clone()), Waker::new(flag), Bed::new());
        let theirs = bed.clone();
        let serving = thread::spawn(move || {
            let mut served = 0;
            while take(&mut consumer, &sleeper, &theirs) != entry(FAREWELL) {
                served += 1;
            }
            served
        });
        publish(&mut producer, &waker, &bed, 1);
        publish(&mut producer, &waker, &bed, FAREWELL);
        assert_eq!(serving.join().unwrap(), 1);
    });
}
