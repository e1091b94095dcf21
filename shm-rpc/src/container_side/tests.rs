//! The container's face: what it refuses to join, whom it disbelieves, and what views survive.

use super::*;
use crate::engine_side::EngineSide;
use crate::heartbeat::BEAT_EVERY;
use crate::layout::{ENTRIES_AT, ENTRY_BYTES};
use crate::segment::memfd::{self, Pages};
use rustix::io::fcntl_dupfd_cloexec;

const CONFIG: LaneConfig = LaneConfig::new(4, 2, 5000, 3000);
const INCARNATION: u64 = 42;
const PLAIN: Pages = Pages { huge: false, node: None };

fn lane() -> (EngineSide, ContainerSide) {
    let (engine, fds) = EngineSide::create(CONFIG, INCARNATION).unwrap();
    (engine, ContainerSide::map(fds, CONFIG, INCARNATION).unwrap())
}

fn send(engine: &mut EngineSide, tag: u64, bytes: &[u8]) {
    let slot = engine.lease().unwrap();
    engine.write(&slot, 0, bytes).unwrap();
    engine.publish(slot, tag, 3, bytes.len() as u32);
}

fn take(container: &mut ContainerSide) -> Request {
    match container.next(Duration::ZERO).unwrap() {
        Next::Request(request) => request,
        other => panic!("expected a request, got {other:?}"),
    }
}

fn exchange(engine: &mut EngineSide, container: &mut ContainerSide, request: Request) {
    container.reply(request, Status::Ok, 0, 0, 0, 0);
    let done = engine.poll().unwrap().unwrap();
    engine.finish(done);
}

/// Reads through a raw view, as a model's array would.
fn seen(view: *mut u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    // SAFETY: the view is mapped: by the slot, or by the copy that replaced it.
    unsafe { view.copy_to_nonoverlapping(bytes.as_mut_ptr(), len) };
    bytes
}

/// Looks before a test gives up: a watchdog, not a measurement.
const PATIENCE: u32 = 600;

#[test]
fn a_heart_beats_while_nobody_serves_and_stops_with_the_lane() {
    for memory in [Memory::Memfd, Memory::Posix] {
        let config = LaneConfig { memory, ..CONFIG };
        let (engine, fds) = EngineSide::create(config, INCARNATION).unwrap();
        let mut container = ContainerSide::map(fds, config, INCARNATION).unwrap();
        assert_eq!(engine.heartbeat(), Ok(0), "none was promised");
        container.start_heartbeat().unwrap();
        let beats = |seen: u32| {
            (0..PATIENCE).any(|_| {
                std::thread::park_timeout(BEAT_EVERY / 4);
                engine.heartbeat().unwrap() != seen
            })
        };
        assert!(beats(0) && beats(engine.heartbeat().unwrap()), "{memory:?}");
        drop(container);
        let last = engine.heartbeat().unwrap();
        std::thread::park_timeout(3 * BEAT_EVERY);
        assert_eq!(engine.heartbeat(), Ok(last), "{memory:?}");
    }
}

#[test]
fn a_request_is_seen_where_it_lies_and_no_further_than_it_goes() {
    for memory in [Memory::Memfd, Memory::Posix] {
        let config = LaneConfig { memory, ..CONFIG };
        let (mut engine, fds) = EngineSide::create(config, INCARNATION).unwrap();
        let mut container = ContainerSide::map(fds, config, INCARNATION).unwrap();
        let sent: Vec<u8> = (0..200).collect();
        send(&mut engine, 1, &sent);
        let request = take(&mut container);
        assert_eq!(container.view(&request, 64, 136).unwrap(), &sent[64..], "{memory:?}");
        assert!(container.view(&request, 200, 0).unwrap().is_empty());
        assert!(container.view(&request, 65, 136).is_err(), "what an earlier batch left");
        assert!(container.view(&request, u32::MAX, 1).is_err());
        exchange(&mut engine, &mut container, request);
    }
}

#[test]
fn a_view_that_escaped_keeps_its_data_when_the_slot_is_used_again() {
    let (mut engine, mut container) = lane();
    let old = vec![1_u8; 5000];
    send(&mut engine, 1, &old);
    let request = take(&mut container);
    let (view, len) = container.request_bytes(&request);
    let escaped = container.escape(&request).unwrap();
    assert_eq!((escaped.as_ptr(), escaped.mapped_bytes()), (view, 8192));
    let (moved, _) = container.request_bytes(&request);
    assert_ne!(moved, view);
    assert_eq!(seen(moved, len), old);
    exchange(&mut engine, &mut container, request);
    send(&mut engine, 2, &vec![2; 5000]);
    let request = take(&mut container);
    assert_eq!(seen(view, len), old, "the kept view is frozen");
    assert_eq!(container.request_bytes(&request).0, moved, "the same slot at its fresh address");
    assert_eq!(seen(moved, len), vec![2; 5000]);
    exchange(&mut engine, &mut container, request);
    drop(container);
    assert_eq!(seen(view, len), old, "even after the lane is gone");
    // SAFETY: the view is not used any more.
    unsafe { escaped.unmap() };
}

#[test]
fn a_reply_view_that_escaped_keeps_its_data_and_the_engine_still_gets_the_reply() {
    let (mut engine, mut container) = lane();
    send(&mut engine, 1, b"question");
    let request = take(&mut container);
    let (view, _) = container.reply_ptr(&request);
    container.write_reply(&request, 0, b"answer one").unwrap();
    let escaped = container.escape_reply(&request, 10).unwrap();
    assert_eq!(escaped.as_ptr(), view);
    container.reply(request, Status::Ok, 0, 10, 0, 0);
    // SAFETY: the view is private memory now.
    unsafe { view.write(b'X') };
    let done = engine.poll().unwrap().unwrap();
    let mut bytes = [0; 10];
    engine.read(&done, 0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"answer one", "what is scribbled later reaches nobody");
    engine.finish(done);
    send(&mut engine, 2, b"question");
    let request = take(&mut container);
    assert_ne!(container.reply_ptr(&request).0, view);
    container.write_reply(&request, 0, b"answer two").unwrap();
    exchange(&mut engine, &mut container, request);
    assert_eq!(seen(view, 10), b"Xnswer one");
    // SAFETY: the view is not used any more.
    unsafe { escaped.unmap() };
}

#[test]
fn every_batch_may_escape_and_the_lane_goes_on() {
    let (mut engine, mut container) = lane();
    let mut kept = Vec::new();
    for tag in 0..50_u8 {
        send(&mut engine, tag.into(), &[tag; 100]);
        let request = take(&mut container);
        let escaped = container.escape(&request).unwrap();
        exchange(&mut engine, &mut container, request);
        kept.push((tag, escaped));
    }
    for (tag, escaped) in kept {
        assert_eq!(seen(escaped.as_ptr(), 100), [tag; 100]);
        // SAFETY: this was the last look at the range.
        unsafe { escaped.unmap() };
    }
}

#[test]
fn the_header_is_a_private_copy() {
    let (mut engine, mut container) = lane();
    send(&mut engine, 1, b"hdrtensors");
    let request = take(&mut container);
    let mut header = b"something longer from before".to_vec();
    container.header(&request, &mut header);
    assert_eq!(header, b"hdr");
    exchange(&mut engine, &mut container, request);
}

#[test]
fn models_may_write_their_inputs_in_place() {
    let (mut engine, mut container) = lane();
    send(&mut engine, 1, b"abcdef");
    let request = take(&mut container);
    let (view, _) = container.request_bytes(&request);
    // SAFETY: the view is six bytes long and mapped writable.
    unsafe { view.write(b'X') };
    assert_eq!(seen(view, 6), b"Xbcdef");
    exchange(&mut engine, &mut container, request);
}

#[test]
fn reads_and_replies_stay_inside_their_slots() {
    let (mut engine, mut container) = lane();
    send(&mut engine, 1, b"abcdef");
    let request = take(&mut container);
    assert!(container.read(&request, 4, &mut [0; 2]).is_ok());
    assert!(container.read(&request, 5, &mut [0; 2]).is_err());
    assert!(container.write_reply(&request, 2998, b"ab").is_ok());
    assert!(container.write_reply(&request, 2999, b"ab").is_err());
    assert!(container.write_reply(&request, u32::MAX, b"a").is_err());
    assert_eq!(container.reply_ptr(&request).1, 3000);
    exchange(&mut engine, &mut container, request);
}

#[test]
fn refuses_a_lane_of_another_incarnation_or_of_other_sizes() {
    let map = |config, incarnation| {
        let (_engine, fds) = EngineSide::create(CONFIG, INCARNATION).unwrap();
        ContainerSide::map(fds, config, incarnation).map(drop)
    };
    assert!(map(CONFIG, INCARNATION).is_ok());
    assert!(matches!(map(CONFIG, 41), Err(LaneError::Header { word: "incarnation", .. })));
    let larger = LaneConfig { request_slot_bytes: 50_000, ..CONFIG };
    assert!(matches!(map(larger, INCARNATION), Err(LaneError::SegmentBytes { .. })));
    let same_pages = LaneConfig { request_slot_bytes: 5001, ..CONFIG };
    assert!(matches!(map(same_pages, INCARNATION), Err(LaneError::Header { word: "size", .. })));
    let impossible = LaneConfig { slots: 0, ..CONFIG };
    assert!(matches!(map(impossible, INCARNATION), Err(LaneError::Slots { .. })));
}

#[test]
fn refuses_descriptors_in_another_order() {
    let (_engine, fds) = EngineSide::create(CONFIG, INCARNATION).unwrap();
    let [engine_out, container_out, request_data, bell] = fds.into_fds();
    let swapped = LaneFds::from_fds([container_out, engine_out, request_data, bell]);
    let refused = ContainerSide::map(swapped, CONFIG, INCARNATION);
    assert!(matches!(refused, Err(LaneError::Unsealed { segment: "engine_out", .. })));
}

/// An engine segment on the heap of a test, with whatever words it likes.
fn deceived(entry: [u64; 8], times: u32) -> Result<Next, LaneFault> {
    let (engine_fd, engine_out) =
        memfd::create(Part::EngineOut, CONFIG.engine_out_bytes(), PLAIN).unwrap();
    let (_engine, fds) = EngineSide::create(CONFIG, INCARNATION).unwrap();
    let [honest, container_out, request_data, bell] = fds.into_fds();
    let header = Mapping::new(honest.as_fd(), 0, 4096, Access::ReadOnly).unwrap();
    let mut line = [0; 64];
    header.copy_out(0, &mut line);
    engine_out.copy_in(0, &line);
    for index in 0..times as usize {
        for (word, value) in entry.iter().enumerate() {
            let at = ENTRIES_AT + index * ENTRY_BYTES + word * 8;
            engine_out.copy_in(at, &value.to_le_bytes());
        }
    }
    engine_out.copy_in(layout::TAIL_AT, &times.to_le_bytes());
    let bell = fcntl_dupfd_cloexec(&bell, 0).unwrap();
    let fds = LaneFds::from_fds([engine_fd, container_out, request_data, bell]);
    let mut container = ContainerSide::map(fds, CONFIG, INCARNATION).unwrap();
    for _ in 1..times.min(CONFIG.ring_entries()) {
        let _answered_never = container.next(Duration::ZERO)?;
    }
    container.next(Duration::ZERO)
}

#[test]
fn disbelieves_an_engine_that_contradicts_itself() {
    let request = |kind: u64, slot: u64, total_bytes: u64| {
        [kind | slot << 32, 7, 1 | total_bytes << 32, 1, 0, 0, 0, 0]
    };
    assert!(matches!(deceived(request(1, 0, 10), 1), Ok(Next::Request(_))));
    let faults = [
        (deceived(request(0, 0, 10), 1), LaneFault::UnknownKind { kind: 0 }),
        (deceived(request(1, 2, 10), 1), LaneFault::UnknownSlot { slot: 2, slots: 2 }),
        (
            deceived(request(1, 0, 5001), 1),
            LaneFault::Lengths { header_bytes: 1, total_bytes: 5001, slot_bytes: 5000 },
        ),
        (deceived(request(1, 0, 10), 2), LaneFault::SlotTwice { slot: 0 }),
    ];
    for (result, fault) in faults {
        assert_eq!(result.unwrap_err(), fault);
    }
}

#[test]
fn sleeps_until_a_request_is_published() {
    let (mut engine, mut container) = lane();
    let serving = std::thread::spawn(move || {
        loop {
            match container.next(Duration::from_secs(5)).unwrap() {
                Next::Request(request) => container.reply(request, Status::Ok, 0, 0, 0, 0),
                Next::Idle => {}
                Next::Shut => return,
            }
        }
    });
    for tag in 0..200 {
        send(&mut engine, tag, b"ping");
        let done = loop {
            if let Some(done) = engine.poll().unwrap() {
                break done;
            }
            std::thread::yield_now();
        };
        assert_eq!(done.tag, tag);
        engine.finish(done);
    }
    engine.shut();
    serving.join().unwrap();
}

#[test]
fn a_verdict_is_believed_only_while_its_part_is_out() {
    let (mut engine, mut container) = lane();
    send(&mut engine, 1, b"one");
    let request = take(&mut container);
    container.part(&request, 0, 0, 0, 0);
    let part = engine.poll().unwrap().unwrap();
    engine.tell(part, Verdict::GoOn);
    assert_eq!(container.next(Duration::ZERO).unwrap_err(), LaneFault::VerdictUnasked { slot: 0 });

    let (mut engine, mut container) = lane();
    send(&mut engine, 1, b"one");
    send(&mut engine, 2, b"two");
    let (one, two) = (take(&mut container), take(&mut container));
    container.part(&two, 0, 0, 0, 0);
    let part = engine.poll().unwrap().unwrap();
    engine.tell(part, Verdict::GoOn);
    let fault = LaneFault::VerdictUnasked { slot: 1 };
    assert_eq!(container.verdict(&one, Duration::ZERO).unwrap_err(), fault);
}

#[test]
fn a_request_lies_in_one_of_the_slots_and_an_escape_moves_that_one_alone() {
    let (mut engine, mut container) = lane();
    send(&mut engine, 1, b"one");
    let request = take(&mut container);
    let before: Vec<_> = container.request_slots().collect();
    let (at, _) = container.request_bytes(&request);
    let slot = before.iter().position(|(base, _)| *base == at).expect("a slot begins there");
    let escaped = container.escape(&request).unwrap();
    assert_eq!(before[slot], (escaped.as_ptr(), escaped.mapped_bytes()));
    let after: Vec<_> = container.request_slots().collect();
    assert_eq!(after[slot].0, container.request_bytes(&request).0);
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before != after, number == slot, "slot {number}");
    }
    // SAFETY: nothing here sees the frozen copy.
    unsafe { escaped.unmap() }
}
