//! The engine's face against an honest container, and against one that writes what it likes.

use super::*;
use crate::container_side::{ContainerSide, Next};
use crate::control::Entry;
use crate::layout::{ENTRIES_AT, ENTRY_BYTES, HEAD_AT, SLEEPS_AT, TAIL_AT};
use crate::segment::{Access, Mapping};
use proptest::prelude::*;
use std::time::Duration;

const CONFIG: LaneConfig = LaneConfig::new(4, 2, 5000, 3000);
const INCARNATION: u64 = 42;

/// Runs every test over both kinds of memory.
macro_rules! over_both {
    ($($test:ident)*) => {
        mod memfd {
            use crate::layout::Memory;
            $(#[test] fn $test() { super::$test(Memory::Memfd); })*
        }
        mod posix {
            use crate::layout::Memory;
            $(#[test] fn $test() { super::$test(Memory::Posix); })*
        }
    };
}

over_both! {
    a_request_goes_out_and_its_reply_comes_back
    thousands_of_requests_cross_two_slots_in_order
    writing_beyond_the_slot_is_refused
    reading_beyond_the_reply_is_refused
    every_lie_about_a_reply_is_its_own_fault
    answering_twice_is_a_fault
    a_tail_far_ahead_is_a_fault
    a_container_that_answers_without_taking_its_descriptors_is_found_out
    a_lying_head_is_a_fault_when_it_is_needed
    a_flag_of_any_value_costs_a_wake_at_most
    the_bell_rings_only_for_a_sleeping_engine
    a_bell_that_is_never_read_is_a_fresh_edge_each_time_it_rings
    sides_move_between_threads
    the_farewell_follows_what_was_published_and_nothing_is_leased_after
    a_container_that_cuts_a_segment_off_is_found_out_and_kills_nobody
    request_data_cut_off_is_no_signal_either
    a_lane_is_made_where_its_node_is_and_where_there_is_no_such_node
}

mod parts;

fn lane(memory: Memory) -> (EngineSide, ContainerSide) {
    let config = LaneConfig { memory, ..CONFIG };
    let (engine, fds) = EngineSide::create(config, INCARNATION).unwrap();
    (engine, ContainerSide::map(fds, config, INCARNATION).unwrap())
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
    fn meet(memory: Memory) -> (EngineSide, Liar) {
        let config = LaneConfig { memory, ..CONFIG };
        let (engine, fds) = EngineSide::create(config, INCARNATION).unwrap();
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
        self.tail = (self.tail + 1) % 256;
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

fn a_request_goes_out_and_its_reply_comes_back(memory: Memory) {
    let (mut engine, mut container) = lane(memory);
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

fn thousands_of_requests_cross_two_slots_in_order(memory: Memory) {
    let (mut engine, mut container) = lane(memory);
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

fn writing_beyond_the_slot_is_refused(memory: Memory) {
    let (mut engine, _container) = lane(memory);
    let slot = engine.lease().unwrap();
    assert!(engine.write(&slot, 4998, b"ab").is_ok());
    for (at, len) in [(4999, 2), (5000, 1), (u32::MAX, 1), (0, 5001)] {
        let refused = engine.write(&slot, at, &vec![0; len]);
        assert!(matches!(refused, Err(LaneError::OutOfSlot { .. })), "{len} at {at}");
    }
    engine.release(slot);
}

fn reading_beyond_the_reply_is_refused(memory: Memory) {
    let (mut engine, mut liar) = Liar::meet(memory);
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

fn every_lie_about_a_reply_is_its_own_fault(memory: Memory) {
    let lengths = |header_bytes, total_bytes| Lengths { header_bytes, total_bytes };
    let wrong_length = |header_bytes, total_bytes| LaneFault::Lengths {
        header_bytes,
        total_bytes,
        slot_bytes: CONFIG.reply_slot_bytes,
    };
    let mut unknown_status = honest().encode();
    unknown_status[3] = 1 | 5 << 32;
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
        (unknown_status, LaneFault::UnknownStatus { status: 5 }),
        (zeroed_status, LaneFault::UnknownStatus { status: 0 }),
    ];
    for (lie, fault) in lies {
        let (mut engine, mut liar) = Liar::meet(memory);
        send(&mut engine, 7, b"x");
        liar.say(&lie);
        assert_eq!(engine.poll().unwrap_err(), fault);
        liar.say(&honest().encode());
        assert_eq!(engine.poll().unwrap_err(), fault, "a fault is for ever");
    }
}

fn answering_twice_is_a_fault(memory: Memory) {
    let (mut engine, mut liar) = Liar::meet(memory);
    send(&mut engine, 7, b"x");
    liar.say(&honest().encode());
    liar.say(&honest().encode());
    let done = engine.poll().unwrap().unwrap();
    assert_eq!(engine.poll().unwrap_err(), LaneFault::SlotNotInFlight { slot: 0 });
    engine.finish(done);
}

fn a_tail_far_ahead_is_a_fault(memory: Memory) {
    for claimed in [9, 100, 255] {
        let (mut engine, liar) = Liar::meet(memory);
        liar.write_word(TAIL_AT, claimed);
        let fault = LaneFault::TailOutOfRange { claimed, capacity: 8 };
        assert_eq!(engine.poll().unwrap_err(), fault);
    }
}

fn a_container_that_answers_without_taking_its_descriptors_is_found_out(memory: Memory) {
    let (mut engine, mut liar) = Liar::meet(memory);
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

fn a_lying_head_is_a_fault_when_it_is_needed(memory: Memory) {
    let (mut engine, mut liar) = Liar::meet(memory);
    liar.write_word(HEAD_AT, 100);
    for round in 0..8 {
        send(&mut engine, 7, b"x");
        liar.say(&ReplyEntry { generation: round + 1, ..honest() }.encode());
        let done = engine.poll().unwrap().unwrap();
        engine.finish(done);
    }
    send(&mut engine, 7, b"x");
    let fault = LaneFault::HeadOutOfRange { claimed: 100, pushed: 8 };
    assert_eq!(engine.poll().unwrap_err(), fault);
}

fn a_flag_of_any_value_costs_a_wake_at_most(memory: Memory) {
    let (mut engine, liar) = Liar::meet(memory);
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
        memory in prop_oneof![Just(Memory::Memfd), Just(Memory::Posix)],
        writes in proptest::collection::vec((0_usize..4, any::<u32>(), any::<[u64; 8]>()), 1..30),
    ) {
        let (mut engine, mut liar) = Liar::meet(memory);
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

fn the_bell_rings_only_for_a_sleeping_engine(memory: Memory) {
    let (mut engine, mut container) = lane(memory);
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

fn a_bell_that_is_never_read_is_a_fresh_edge_each_time_it_rings(memory: Memory) {
    use rustix::event::epoll;
    let (mut engine, mut container) = lane(memory);
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

fn sides_move_between_threads(memory: Memory) {
    fn moves<T: Send>(_: &T) {}
    let (engine, container) = lane(memory);
    moves(&engine);
    moves(&container);
}

fn the_farewell_follows_what_was_published_and_nothing_is_leased_after(memory: Memory) {
    let (mut engine, mut container) = lane(memory);
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

fn a_container_that_cuts_a_segment_off_is_found_out_and_kills_nobody(memory: Memory) {
    let config = LaneConfig { memory, ..CONFIG };
    let (mut engine, fds) = EngineSide::create(config, INCARNATION).unwrap();
    let cut = rustix::fs::ftruncate(fds.as_fds()[1], 0);
    if memory == Memory::Memfd {
        assert_eq!(cut, Err(rustix::io::Errno::PERM), "sealed memory can't be cut");
        assert!(engine.poll().unwrap().is_none());
        return;
    }
    assert_eq!(engine.poll().unwrap_err(), LaneFault::SegmentCut);
    assert!(!engine.announce_sleep());
}

fn request_data_cut_off_is_no_signal_either(memory: Memory) {
    let config = LaneConfig { memory, ..CONFIG };
    let (mut engine, fds) = EngineSide::create(config, INCARNATION).unwrap();
    let _refused_or_done = rustix::fs::ftruncate(fds.as_fds()[2], 0);
    for tag in 0..2 {
        send(&mut engine, tag, &[1; 5000]);
    }
    assert!(engine.poll().unwrap().is_none());
}

fn a_lane_is_made_where_its_node_is_and_where_there_is_no_such_node(memory: Memory) {
    let config = LaneConfig { memory, ..CONFIG };
    for node in [Some(0), Some(63), Some(64), Some(u32::MAX), None] {
        let (mut engine, fds) = EngineSide::create_on(config, INCARNATION, node).unwrap();
        let _container = ContainerSide::map(fds, config, INCARNATION).unwrap();
        send(&mut engine, 1, b"x");
        assert!(engine.poll().unwrap().is_none());
    }
}

/// Huge pages are there or they are not; the lane works either way, and says which.
#[test]
fn a_lane_wishes_for_huge_pages_and_says_what_it_got() {
    let config = LaneConfig { huge_pages: true, ..CONFIG };
    let (mut engine, fds) = EngineSide::create(config, INCARNATION).unwrap();
    let got = *engine.config();
    let mut container = ContainerSide::map(fds, got, INCARNATION).unwrap();
    println!("huge pages: {}", got.huge_pages);
    for tag in 0..10_u8 {
        send(&mut engine, tag.into(), &[tag; 5000]);
        let Next::Request(request) = container.next(Duration::ZERO).unwrap() else {
            panic!("a request was published")
        };
        let escaped = container.escape(&request).unwrap();
        container.write_reply(&request, 0, &[tag; 3000]).unwrap();
        container.reply(request, Status::Ok, 0, 3000, 0, 0);
        let done = engine.poll().unwrap().unwrap();
        let mut bytes = [0; 3000];
        engine.read(&done, 0, &mut bytes).unwrap();
        assert_eq!(bytes, [tag; 3000]);
        engine.finish(done);
        // SAFETY: no view of it is used.
        unsafe { escaped.unmap() };
    }
}

#[test]
fn slot_bounds_agree_with_wide_arithmetic_for_every_small_and_extreme_input() {
    let sizes = (0..=20_u32).chain([u32::MAX - 1, u32::MAX]);
    for slot_bytes in sizes.clone() {
        for at in sizes.clone() {
            for len in (0..=20_usize).chain([u32::MAX as usize]) {
                let fits = u128::from(at) + len as u128 <= u128::from(slot_bytes);
                assert_eq!(check_in_slot(at, len, slot_bytes).is_ok(), fits, "{len} at {at}");
            }
            for total_bytes in sizes.clone() {
                let lengths = Lengths { header_bytes: at, total_bytes };
                let fits = at <= total_bytes && total_bytes <= slot_bytes;
                assert_eq!(lengths.check(slot_bytes).is_ok(), fits, "{lengths:?}");
            }
        }
    }
}
