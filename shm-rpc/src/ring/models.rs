//! Every interleaving of the real ring and the real sleeping flags, explored by loom.
//!
//! Entries are plain cells here, so an access the orderings do not put in order is an error, and
//! a lost wake is a deadlock. The futex and the eventfd are a mutex and a condition variable,
//! which is what the kernel's hash bucket and wait queue are. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p shm-rpc --lib`.

use super::*;
use crate::control::modelled::Modelled;
use crate::doorbell::{announce, awake, peer_sleeps};
use crate::layout::ENTRY_WORDS;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// The smallest ring that wraps.
const ENTRIES: u32 = 2;

/// One end of a ring with the two control heads it works on.
struct Pushing(Producer, Modelled, Modelled);

struct Popping(Consumer, Modelled, Modelled);

/// The producer's segment and the consumer's, and a ring over both.
fn ring() -> (Pushing, Popping) {
    let (ours, theirs) = (Modelled::new(ENTRIES as usize), Modelled::new(ENTRIES as usize));
    let pushing = Pushing(Producer::new(ENTRIES), ours.clone(), theirs.clone());
    (pushing, Popping(Consumer::new(ENTRIES), theirs, ours))
}

impl Pushing {
    fn push(&mut self, value: u64) -> Result<(), LaneFault> {
        self.0.push(&self.1, &self.2, &entry(value))
    }

    fn peer_sleeps(&self) -> bool {
        peer_sleeps(&self.2).unwrap()
    }
}

impl Popping {
    fn pop(&mut self) -> Result<Option<Entry>, LaneFault> {
        self.0.pop(&self.1, &self.2)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty(&self.2).unwrap()
    }

    fn announce(&self) {
        announce(&self.1).unwrap();
    }

    fn awake(&self) {
        awake(&self.1).unwrap();
    }
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
    fn futex_wait(&self, consumer: &Popping) {
        let rings = self.0.0.lock().unwrap();
        if consumer.2.load(TAIL_AT).unwrap() == consumer.0.position() {
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
                while producer.push(value) == Err(LaneFault::RingFull) {
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
        producer.push(1).unwrap();
        producer.push(2).unwrap();
        let popping = thread::spawn(move || {
            assert_eq!(consumer.pop(), Ok(Some(entry(1))));
            consumer
        });
        let pushed = producer.push(3);
        let mut consumer = popping.join().unwrap();
        assert!(matches!(pushed, Ok(()) | Err(LaneFault::RingFull)));
        if pushed.is_err() {
            producer.push(3).unwrap();
        }
        assert_eq!(consumer.pop(), Ok(Some(entry(2))));
        assert_eq!(consumer.pop(), Ok(Some(entry(3))));
        assert_eq!(consumer.pop(), Ok(None));
    });
}

/// Pushes a value, waking as the engine does.
fn publish(producer: &mut Pushing, bed: &Bed, value: u64) {
    producer.push(value).unwrap();
    if producer.peer_sleeps() {
        bed.futex_wake();
    }
}

/// Pops one value, sleeping as the container does.
fn take(consumer: &mut Popping, bed: &Bed) -> Entry {
    loop {
        if let Some(popped) = consumer.pop().unwrap() {
            return popped;
        }
        consumer.announce();
        if consumer.is_empty() {
            bed.futex_wait(consumer);
        }
        consumer.awake();
    }
}

#[test]
fn a_container_that_falls_asleep_never_misses_a_request() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring();
        let bed = Bed::new();
        let theirs = bed.clone();
        let taking = thread::spawn(move || {
            assert_eq!(take(&mut consumer, &theirs), entry(1));
            assert_eq!(take(&mut consumer, &theirs), entry(2));
        });
        publish(&mut producer, &bed, 1);
        publish(&mut producer, &bed, 2);
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
        let bed = Bed::new();
        let theirs = bed.clone();
        let replying = thread::spawn(move || {
            for value in 1..=2 {
                producer.push(value).unwrap();
                if producer.peer_sleeps() {
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
            consumer.announce();
            if value <= 2 && consumer.is_empty() {
                bed.bell_wait(&mut seen);
            }
            consumer.awake();
        }
        replying.join().unwrap();
    });
}

#[test]
fn the_farewell_comes_after_every_published_request_and_wakes_the_sleeper() {
    const FAREWELL: u64 = 99;
    loom::model(|| {
        let (mut producer, mut consumer) = ring();
        let bed = Bed::new();
        let theirs = bed.clone();
        let serving = thread::spawn(move || {
            let mut served = 0;
            while take(&mut consumer, &theirs) != entry(FAREWELL) {
                served += 1;
            }
            served
        });
        publish(&mut producer, &bed, 1);
        publish(&mut producer, &bed, FAREWELL);
        assert_eq!(serving.join().unwrap(), 1);
    });
}
