//! Replies in parts, from an honest container and from one that says them when it may not.

use super::*;

over_both! {
    a_reply_in_parts_crosses_one_slot_as_the_engine_lets_it
    a_reply_that_is_told_to_stop_ends_and_gives_no_part_more
    what_comes_between_a_part_and_its_verdict_is_not_lost
    parts_that_come_when_they_may_not_are_faults
    parts_without_taking_verdicts_fill_the_ring
}

fn take(container: &mut ContainerSide) -> crate::container_side::Request {
    match container.next(Duration::ZERO).unwrap() {
        Next::Request(request) => request,
        other => panic!("expected a request, got {other:?}"),
    }
}

fn part(engine: &mut EngineSide, expected: &[u8]) -> Completion {
    let part = engine.poll().unwrap().expect("a part");
    assert_eq!(part.status, Status::Part);
    let mut bytes = vec![0; part.total_bytes as usize];
    engine.read(&part, 0, &mut bytes).unwrap();
    assert_eq!(bytes, expected);
    part
}

fn a_reply_in_parts_crosses_one_slot_as_the_engine_lets_it(memory: Memory) {
    let (mut engine, mut container) = lane(memory);
    send(&mut engine, 7, b"question");
    let request = take(&mut container);
    // More parts than any ring has places, so that positions wrap.
    for round in 0..600_u32 {
        let bytes = round.to_le_bytes();
        container.write_reply(&request, 0, &bytes).unwrap();
        container.part(&request, 1, 4, 1, 2);
        assert_eq!(container.verdict(&request, Duration::ZERO).unwrap(), None);
        let part = part(&mut engine, &bytes);
        assert_eq!((part.tag, engine.in_flight()), (7, 1));
        engine.tell(part, Verdict::GoOn);
        assert_eq!(container.verdict(&request, Duration::ZERO).unwrap(), Some(Verdict::GoOn));
    }
    container.reply(request, Status::Done, 0, 0, 1, 3);
    let end = engine.poll().unwrap().unwrap();
    assert_eq!((end.status, engine.in_flight()), (Status::Done, 0));
    engine.finish(end);
    engine.slots.check_invariants();
    send(&mut engine, 8, b"next");
    assert_eq!(take(&mut container).tag, 8);
}

fn a_reply_that_is_told_to_stop_ends_and_gives_no_part_more(memory: Memory) {
    let (mut engine, mut container) = lane(memory);
    send(&mut engine, 7, b"question");
    let request = take(&mut container);
    container.part(&request, 0, 0, 0, 0);
    let first = part(&mut engine, b"");
    engine.tell(first, Verdict::Stop);
    assert_eq!(container.verdict(&request, Duration::ZERO).unwrap(), Some(Verdict::Stop));
    container.part(&request, 0, 0, 0, 0);
    assert_eq!(engine.poll().unwrap_err(), LaneFault::PartAfterStop { slot: 0 });

    let (mut engine, mut container) = lane(memory);
    send(&mut engine, 7, b"question");
    let request = take(&mut container);
    container.part(&request, 0, 0, 0, 0);
    let first = part(&mut engine, b"");
    engine.tell(first, Verdict::Stop);
    container.verdict(&request, Duration::ZERO).unwrap();
    container.reply(request, Status::Failed, 0, 0, 0, 0);
    let end = engine.poll().unwrap().unwrap();
    engine.finish(end);
    assert!(engine.lease().is_some() && engine.lease().is_some(), "both slots are free");
}

fn what_comes_between_a_part_and_its_verdict_is_not_lost(memory: Memory) {
    let (mut engine, mut container) = lane(memory);
    send(&mut engine, 7, b"question");
    let request = take(&mut container);
    container.part(&request, 0, 0, 0, 0);
    send(&mut engine, 8, b"another");
    assert_eq!(container.verdict(&request, Duration::ZERO).unwrap(), None);
    let first = part(&mut engine, b"");
    engine.tell(first, Verdict::GoOn);
    assert_eq!(container.verdict(&request, Duration::ZERO).unwrap(), Some(Verdict::GoOn));
    container.part(&request, 0, 0, 0, 0);
    engine.shut();
    assert_eq!(container.verdict(&request, Duration::ZERO).unwrap(), Some(Verdict::Stop));
    assert_eq!(take(&mut container).tag, 8);
    assert!(matches!(container.next(Duration::ZERO), Ok(Next::Shut)));
}

fn parts_that_come_when_they_may_not_are_faults(memory: Memory) {
    // Of a reply: slot 0, generation 1, tag 7.
    let entry = |status: u64| [0, 7, 0, 1 | status << 32, 0, 0, 0, 0];
    let (part, done) = (entry(3), entry(4));
    let meet = || {
        let (mut engine, liar) = Liar::meet(memory);
        send(&mut engine, 7, b"question");
        (engine, liar)
    };
    for after in [part, done] {
        let (mut engine, mut liar) = meet();
        liar.say(&part);
        liar.say(&after);
        let _first = engine.poll().unwrap().unwrap();
        assert_eq!(engine.poll().unwrap_err(), LaneFault::TooSoon { slot: 0 });
    }
    let (mut engine, mut liar) = meet();
    liar.say(&done);
    liar.say(&part);
    let end = engine.poll().unwrap().unwrap();
    engine.finish(end);
    assert_eq!(engine.poll().unwrap_err(), LaneFault::SlotNotInFlight { slot: 0 });
    for (word, fault) in [
        (1, LaneFault::WrongTag { slot: 0, expected: 7, found: 8 }),
        (3, LaneFault::WrongGeneration { slot: 0, expected: 1, found: 2 }),
        (0, LaneFault::SlotNotInFlight { slot: 1 }),
    ] {
        let (mut engine, mut liar) = meet();
        let mut lie = part;
        lie[word] += 1;
        liar.say(&lie);
        assert_eq!(engine.poll().unwrap_err(), fault);
    }
}

fn parts_without_taking_verdicts_fill_the_ring(memory: Memory) {
    let (mut engine, mut liar) = Liar::meet(memory);
    send(&mut engine, 7, b"question");
    for _ in 0..CONFIG.ring_entries() {
        liar.say(&[0, 7, 0, 1 | 3 << 32, 0, 0, 0, 0]);
        let part = engine.poll().unwrap().unwrap();
        engine.tell(part, Verdict::GoOn);
    }
    assert_eq!(engine.poll().unwrap_err(), LaneFault::RingFull);
}
