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

/// The engine's own hand-over between threads: tasks wait in a bounded queue until the dispatcher, asleep or not, takes
/// them; each is taken once.
#[test]
fn a_task_handed_to_a_sleeping_dispatcher_is_taken_once() {
    loom::model(|| {
        let waiting = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let theirs = waiting.clone();
        let submitting = thread::spawn(move || {
            for task in 1..=2 {
                theirs.0.lock().unwrap().push(task);
                theirs.1.notify_one();
            }
        });
        let (mut producer, mut consumer) = ring();
        let mut taken = 0;
        while taken < 2 {
            let mut tasks = waiting.0.lock().unwrap();
            while tasks.is_empty() {
                tasks = waiting.1.wait(tasks).unwrap();
            }
            for task in tasks.drain(..) {
                producer.push(task).unwrap();
                taken += 1;
            }
        }
        assert_eq!(consumer.pop(), Ok(Some(entry(1))));
        assert_eq!(consumer.pop(), Ok(Some(entry(2))));
        submitting.join().unwrap();
    });
}

/// A slot goes round through both rings: what the container reads of it is what was last written, though the engine
/// reuses it as soon as the reply is there.
#[test]
fn a_slot_is_written_again_only_after_its_reader_is_done() {
    use loom::cell::UnsafeCell;
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let (mut requests, mut taken) = ring();
        let (mut replies, mut answered) = ring();
        let slot = Arc::new(UnsafeCell::new(0_u64));
        let theirs = slot.clone();
        let container = thread::spawn(move || {
            for value in 1..=2 {
                while taken.pop().unwrap().is_none() {
                    thread::yield_now();
                }
                // SAFETY: loom checks that no write is concurrent.
                theirs.with(|bytes| unsafe { assert_eq!(*bytes, value) });
                replies.push(value).unwrap();
            }
        });
        for value in 1..=2 {
            // SAFETY: loom checks that no read is concurrent.
            slot.with_mut(|bytes| unsafe { *bytes = value });
            requests.push(value).unwrap();
            while answered.pop().unwrap().is_none() {
                thread::yield_now();
            }
        }
        container.join().unwrap();
    });
}

/// A container that dies after its reply was published, or before: the engine sees the whole reply or none, whenever
/// it hears of the death.
#[test]
fn a_death_behind_a_reply_hides_no_reply_and_invents_none() {
    use loom::sync::atomic::{AtomicBool, Ordering};
    for dies_before in [false, true] {
        loom::model(move || {
            let (mut producer, mut consumer) = ring();
            let dead = Arc::new(AtomicBool::new(false));
            let hangup = dead.clone();
            let container = thread::spawn(move || {
                if !dies_before {
                    producer.push(7).unwrap();
                }
                hangup.store(true, Ordering::Release);
            });
            let mut replies = 0;
            // The dispatcher looks once more after it heard of the death.
            let heard = dead.load(Ordering::Acquire);
            while let Some(popped) = consumer.pop().unwrap() {
                assert_eq!(popped, entry(7));
                replies += 1;
            }
            assert!(!heard || replies == u32::from(!dies_before));
            container.join().unwrap();
            while consumer.pop().unwrap().is_some() {
                replies += 1;
            }
            assert_eq!(replies, u32::from(!dies_before));
        });
    }
}
