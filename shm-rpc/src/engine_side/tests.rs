//! The engine's face against an honest container, and against one that writes what it likes.

use super::*;
use crate::container_side::{ContainerSide, Next};
use crate::layout::{ENTRIES_AT, ENTRY_BYTES, HEAD_AT, SLEEPS_AT, TAIL_AT};
use crate::ring::Entry;
use crate::segment::Access;
use proptest::prelude::*;
use std::time::Duration;

const CONFIG: LaneConfig =
    LaneConfig { ring_depth: 4, slots: 2, request_slot_bytes: 5000, reply_slot_bytes: 3000 };
const INCARNATION: u64 = 42;

fn lane() -> (EngineSide, ContainerSide) {
    let (engine, fds) = EngineSide::create(CONFIG, INCARNATION).unwrap();
    (engine, ContainerSide::map(fds, CONFIG, INCARNATION).unwrap())
}

fn send(engine: &mut EngineSide, tag: u64, bytes: &[u8]) {
    let slot = engine.lease().unwrap();
    engine.write(&slot, 0, bytes).unwrap();
    engine.publish(slot, tag, 1, bytes.len() as u32);
}

/// A container that has the segment and no manners.
struct Liar {
    out: Mapping,
    tail: u32,
}

impl Liar {
    fn meet() -> (EngineSide, Liar) {
        let (engine, fds) = EngineSide::create(CONFIG, INCARNATION).unwrap();
        let len = CONFIG.container_out_bytes();
        let out = Mapping::new(fds.as_fds()[1], 0, len, Access::ReadWrite).unwrap();
        (engine, Liar { out, tail: 0 })
    }

    fn write_word(&self, at: usize, value: u32) {
        self.out.copy_in(at, &value.to_le_bytes());
    }

    fn say(&mut self, entry: &Entry) {
        let index = self.tail % CONFIG.ring_entries();
        for (word, value) in entry.iter().enumerate() {
            let at = ENTRIES_AT + index as usize * ENTRY_BYTES + word * 8;
            self.out.copy_in(at, &value.to_le_bytes());
        }
        self.tail = self.tail.wrapping_add(1);
        self.write_word(TAIL_AT, self.tail);
    }
}

/// What an honest container would say about the first request of a lane, sent with tag 7.
fn honest() -> ReplyEntry {
    ReplyEntry {
        slot: 0,
        generation: 1,
        tag: 7,
        status: Status::Ok,
        lengths: Lengths { header_bytes: 8, total_bytes: 16 },
        started_ns: 1,
        ended_ns: 2,
    }
}

#[test]
fn a_request_goes_out_and_its_reply_comes_back() {
    let (mut engine, mut container) = lane();
    send(&mut engine, 7, b"hello lane");
    assert_eq!(engine.in_flight(), 1);
    assert!(engine.poll().unwrap().is_none());
    let Next::Request(request) = container.next(Duration::ZERO).unwrap() else {
        panic!("a request was published")
    };
    assert_eq!((request.tag, request.header_bytes, request.total_bytes), (7, 1, 10));
    let mut bytes = [0; 10];
    container.read(&request, 0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"hello lane");
    container.write_reply(&request, 0, b"Hanswer").unwrap();
    container.reply(request, Status::Failed, 1, 7, 100, 200);
    let done = engine.poll().unwrap().unwrap();
    assert_eq!(
        (done.tag, done.status, done.started_ns, done.ended_ns),
        (7, Status::Failed, 100, 200)
    );
    let mut answer = [0; 6];
    engine.read(&done, 1, &mut answer).unwrap();
    assert_eq!(&answer, b"answer");
    engine.finish(done);
    assert_eq!(engine.in_flight(), 0);
}

#[test]
fn thousands_of_requests_cross_two_slots_in_order() {
    let (mut engine, mut container) = lane();
    for tag in 0..5000_u64 {
        send(&mut engine, tag, &tag.to_le_bytes());
        let Next::Request(request) = container.next(Duration::ZERO).unwrap() else {
            panic!("request {tag} was published")
        };
        let mut bytes = [0; 8];
        container.read(&request, 0, &mut bytes).unwrap();
        container.write_reply(&request, 0, &bytes).unwrap();
        container.reply(request, Status::Ok, 0, 8, 0, 0);
        let done = engine.poll().unwrap().unwrap();
        engine.read(&done, 0, &mut bytes).unwrap();
        assert_eq!((done.tag, u64::from_le_bytes(bytes)), (tag, tag));
        engine.finish(done);
    }
}

#[test]
fn writing_beyond_the_slot_is_refused() {
    let (mut engine, _container) = lane();
    let slot = engine.lease().unwrap();
    assert!(engine.write(&slot, 4998, b"ab").is_ok());
    for (at, len) in [(4999, 2), (5000, 1), (u32::MAX, 1), (0, 5001)] {
        let refused = engine.write(&slot, at, &vec![0; len]);
        assert!(matches!(refused, Err(LaneError::OutOfSlot { .. })), "{len} at {at}");
    }
    engine.release(slot);
}

#[test]
fn reading_beyond_the_reply_is_refused() {
    let (mut engine, mut liar) = Liar::meet();
    send(&mut engine, 7, b"x");
    liar.say(&honest().encode());
    let mut done = engine.poll().unwrap().unwrap();
    assert!(engine.read(&done, 8, &mut [0; 8]).is_ok());
    for (at, len) in [(9, 8), (16, 1), (u32::MAX, 1)] {
        let refused = engine.read(&done, at, &mut vec![0; len]);
        assert!(matches!(refused, Err(LaneFault::OutsideMessage { .. })), "{len} at {at}");
    }
    done.total_bytes = u32::MAX;
    assert!(engine.read(&done, 0, &mut [0; 3001]).is_err(), "the slot bounds it all the same");
    engine.finish(done);
}

#[test]
fn every_lie_about_a_reply_is_its_own_fault() {
    let lengths = |header_bytes, total_bytes| Lengths { header_bytes, total_bytes };
    let wrong_length = |header_bytes, total_bytes| LaneFault::Lengths {
        header_bytes,
        total_bytes,
        slot_bytes: CONFIG.reply_slot_bytes,
    };
    let mut unknown_status = honest().encode();
    unknown_status[3] = 1 | 3 << 32;
    let mut zeroed_status = honest().encode();
    zeroed_status[3] = 1;
    let lies = [
        (ReplyEntry { slot: 2, ..honest() }.encode(), LaneFault::UnknownSlot { slot: 2, slots: 2 }),
        (ReplyEntry { slot: 1, ..honest() }.encode(), LaneFault::SlotNotInFlight { slot: 1 }),
        (
            ReplyEntry { generation: 0, ..honest() }.encode(),
            LaneFault::WrongGeneration { slot: 0, expected: 1, found: 0 },
        ),
        (
            ReplyEntry { tag: 6, ..honest() }.encode(),
            LaneFault::WrongTag { slot: 0, expected: 7, found: 6 },
        ),
        (ReplyEntry { lengths: lengths(1, 3001), ..honest() }.encode(), wrong_length(1, 3001)),
        (ReplyEntry { lengths: lengths(9, 8), ..honest() }.encode(), wrong_length(9, 8)),
        (
            ReplyEntry { lengths: lengths(u32::MAX, u32::MAX), ..honest() }.encode(),
            wrong_length(u32::MAX, u32::MAX),
        ),
        (unknown_status, LaneFault::UnknownStatus { status: 3 }),
        (zeroed_status, LaneFault::UnknownStatus { status: 0 }),
    ];
    for (lie, fault) in lies {
        let (mut engine, mut liar) = Liar::meet();
        send(&mut engine, 7, b"x");
        liar.say(&lie);
        assert_eq!(engine.poll().unwrap_err(), fault);
        liar.say(&honest().encode());
        assert_eq!(engine.poll().unwrap_err(), fault, "a fault is for ever");
    }
}

#[test]
fn answering_twice_is_a_fault() {
    let (mut engine, mut liar) = Liar::meet();
    send(&mut engine, 7, b"x");
    liar.say(&honest().encode());
    liar.say(&honest().encode());
    let done = engine.poll().unwrap().unwrap();
    assert_eq!(engine.poll().unwrap_err(), LaneFault::SlotNotInFlight { slot: 0 });
    engine.finish(done);
}

#[test]
fn a_tail_far_ahead_is_a_fault() {
    for claimed in [9, 100, 1 << 31, u32::MAX] {
        let (mut engine, liar) = Liar::meet();
        liar.write_word(TAIL_AT, claimed);
        let fault = LaneFault::TailOutOfRange { claimed, capacity: 8 };
        assert_eq!(engine.poll().unwrap_err(), fault);
    }
}

#[test]
fn a_container_that_answers_without_taking_its_descriptors_is_found_out() {
    let (mut engine, mut liar) = Liar::meet();
    for round in 0..9 {
        send(&mut engine, 7, b"x");
        if round < 8 {
            liar.say(&ReplyEntry { generation: round + 1, ..honest() }.encode());
            let done = engine.poll().unwrap().unwrap();
            engine.finish(done);
        }
    }
    assert_eq!(engine.poll().unwrap_err(), LaneFault::RingFull);
    assert!(!engine.announce_sleep(), "an engine does not sleep on a broken lane");
}

#[test]
fn a_lying_head_is_a_fault_when_it_is_needed() {
    let (mut engine, mut liar) = Liar::meet();
    liar.write_word(HEAD_AT, 1000);
    for round in 0..8 {
        send(&mut engine, 7, b"x");
        liar.say(&ReplyEntry { generation: round + 1, ..honest() }.encode());
        let done = engine.poll().unwrap().unwrap();
        engine.finish(done);
    }
    send(&mut engine, 7, b"x");
    let fault = LaneFault::HeadOutOfRange { claimed: 1000, pushed: 8 };
    assert_eq!(engine.poll().unwrap_err(), fault);
}

#[test]
fn a_flag_of_any_value_costs_a_wake_at_most() {
    let (mut engine, liar) = Liar::meet();
    for flag in [1, 2, u32::MAX] {
        liar.write_word(SLEEPS_AT, flag);
        let slot = engine.lease().unwrap();
        engine.release(slot);
    }
    send(&mut engine, 7, b"x");
    assert!(engine.poll().unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_writing_of_the_container_makes_the_engine_panic(
        writes in proptest::collection::vec((0_usize..4, any::<u32>(), any::<[u64; 8]>()), 1..30),
    ) {
        let (mut engine, mut liar) = Liar::meet();
        for (kind, value, noise) in writes {
            if let Some(slot) = engine.lease() {
                engine.publish(slot, 7, 0, 1);
            }
            match kind {
                0 => liar.write_word([TAIL_AT, HEAD_AT, SLEEPS_AT][value as usize % 3], value),
                1 => liar.say(&noise),
                2 => liar.say(&ReplyEntry { slot: value % 3, ..honest() }.encode()),
                _ => liar.say(&ReplyEntry { generation: value % 4, ..honest() }.encode()),
            }
            if let Ok(Some(done)) = engine.poll() {
                let mut bytes = vec![0; done.total_bytes as usize];
                prop_assert!(engine.read(&done, 0, &mut bytes).is_ok());
                engine.finish(done);
            }
        }
    }
}

#[test]
fn the_bell_rings_only_for_a_sleeping_engine() {
    let (mut engine, mut container) = lane();
    let rung = |engine: &EngineSide| {
        let mut fds =
            [rustix::event::PollFd::from_borrowed_fd(engine.bell(), rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).unwrap() > 0
    };
    let mut answer = |engine: &mut EngineSide| {
        send(engine, 7, b"x");
        let Next::Request(request) = container.next(Duration::ZERO).unwrap() else {
            panic!("a request was published")
        };
        container.reply(request, Status::Ok, 0, 0, 0, 0);
    };
    answer(&mut engine);
    assert!(!rung(&engine));
    assert!(!engine.announce_sleep(), "there is work");
    let done = engine.poll().unwrap().unwrap();
    engine.finish(done);
    assert!(engine.announce_sleep());
    answer(&mut engine);
    assert!(rung(&engine));
    engine.awake();
    let done = engine.poll().unwrap().unwrap();
    engine.finish(done);
}

#[test]
fn a_bell_that_is_never_read_is_a_fresh_edge_each_time_it_rings() {
    use rustix::event::epoll;
    let (mut engine, mut container) = lane();
    let reactor = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&reactor, engine.bell(), epoll::EventData::new_u64(1), edges).unwrap();
    let woken = || {
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut events = Vec::with_capacity(4);
        epoll::wait(&reactor, rustix::buffer::spare_capacity(&mut events), Some(&now)).unwrap()
    };
    for tag in 0..5 {
        assert_eq!(woken(), 0);
        assert!(engine.announce_sleep());
        send(&mut engine, tag, b"x");
        let Next::Request(request) = container.next(Duration::ZERO).unwrap() else {
            panic!("a request was published")
        };
        container.reply(request, Status::Ok, 0, 0, 0, 0);
        assert_eq!(woken(), 1, "reply {tag}");
        engine.awake();
        let done = engine.poll().unwrap().unwrap();
        engine.finish(done);
    }
}

#[test]
fn sides_move_between_threads() {
    fn moves<T: Send>(_: &T) {}
    let (engine, container) = lane();
    moves(&engine);
    moves(&container);
}

#[test]
fn the_farewell_follows_what_was_published_and_nothing_is_leased_after() {
    let (mut engine, mut container) = lane();
    send(&mut engine, 1, b"x");
    send(&mut engine, 2, b"x");
    engine.shut();
    engine.shut();
    assert!(engine.lease().is_none());
    for tag in [1, 2] {
        let Next::Request(request) = container.next(Duration::ZERO).unwrap() else {
            panic!("request {tag} comes before the farewell")
        };
        assert_eq!(request.tag, tag);
        container.reply(request, Status::Ok, 0, 0, 0, 0);
    }
    assert!(matches!(container.next(Duration::ZERO), Ok(Next::Shut)));
    assert!(matches!(container.next(Duration::ZERO), Ok(Next::Idle)));
}
