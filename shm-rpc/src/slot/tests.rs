//! The record of slots under every order of events, and descriptors of arbitrary words.

use super::*;
use proptest::prelude::*;

const CONFIG: LaneConfig = LaneConfig::new(4, 3, 4096, 8192);

fn reply_to(slot: &RequestSlot, tag: u64) -> ReplyEntry {
    ReplyEntry {
        slot: slot.index(),
        generation: slot.generation(),
        tag,
        status: Status::Ok,
        lengths: Lengths { header_bytes: 1, total_bytes: 2 },
        started_ns: 3,
        ended_ns: 4,
    }
}

fn sent(table: &mut SlotTable, tag: u64) -> ReplyEntry {
    let slot = table.lease().unwrap();
    let reply = reply_to(&slot, tag);
    table.send(slot, tag);
    reply
}

#[test]
fn leases_every_slot_once_and_then_none() {
    let mut table = SlotTable::new(2);
    let (first, second) = (table.lease().unwrap(), table.lease().unwrap());
    assert_ne!(first.index(), second.index());
    assert!(table.lease().is_none());
    table.release(first);
    assert!(table.lease().is_some());
}

#[test]
fn an_answered_slot_is_free_only_once_finished() {
    let mut table = SlotTable::new(1);
    let reply = sent(&mut table, 7);
    assert_eq!(table.in_flight(), 1);
    table.answer(&reply).unwrap();
    assert_eq!(table.in_flight(), 0);
    assert!(table.lease().is_none());
    table.finish(reply.slot, reply.generation);
    assert!(table.lease().is_some());
}

#[test]
fn refuses_answers_that_contradict_the_record() {
    let mut table = SlotTable::new(2);
    let reply = sent(&mut table, 7);
    let (slot, generation) = (reply.slot, reply.generation);
    let lies = [
        (ReplyEntry { slot: 1 - slot, ..reply }, LaneFault::SlotNotInFlight { slot: 1 - slot }),
        (
            ReplyEntry { generation: generation + 1, ..reply },
            LaneFault::WrongGeneration { slot, expected: generation, found: generation + 1 },
        ),
        (ReplyEntry { tag: 8, ..reply }, LaneFault::WrongTag { slot, expected: 7, found: 8 }),
    ];
    for (lie, fault) in lies {
        assert_eq!(table.answer(&lie), Err(fault));
        table.check_invariants();
    }
    table.answer(&reply).unwrap();
    assert_eq!(table.answer(&reply), Err(LaneFault::SlotNotInFlight { slot }));
}

#[test]
fn an_answer_to_an_earlier_use_of_the_slot_is_refused() {
    let mut table = SlotTable::new(1);
    let old = sent(&mut table, 7);
    table.answer(&old).unwrap();
    table.finish(old.slot, old.generation);
    let new = sent(&mut table, 7);
    assert!(matches!(table.answer(&old), Err(LaneFault::WrongGeneration { .. })));
    table.answer(&new).unwrap();
}

proptest! {
    #[test]
    fn descriptors_survive_the_crossing(
        slot in 0..CONFIG.slots,
        generation in any::<u32>(),
        tag in any::<u64>(),
        total_bytes in 0..=CONFIG.request_slot_bytes,
        times in any::<(u64, u64)>(),
        said in 0..4_usize,
    ) {
        let lengths = Lengths { header_bytes: total_bytes / 2, total_bytes };
        let request = RequestEntry::Request(SentRequest { slot, generation, tag, lengths });
        prop_assert_eq!(RequestEntry::decode(&request.encode(), &CONFIG), Ok(request));
        let verdict = if said % 2 == 0 { Verdict::GoOn } else { Verdict::Stop };
        let sent = RequestEntry::Verdict(SentVerdict { slot, generation, tag, verdict });
        prop_assert_eq!(RequestEntry::decode(&sent.encode(), &CONFIG), Ok(sent));
        let status = [Status::Ok, Status::Failed, Status::Part, Status::Done][said];
        let (started_ns, ended_ns) = times;
        let reply = ReplyEntry { slot, generation, tag, status, lengths, started_ns, ended_ns };
        prop_assert_eq!(ReplyEntry::decode(&reply.encode(), &CONFIG), Ok(reply));
    }

    #[test]
    fn arbitrary_words_decode_to_something_within_bounds_or_to_a_fault(
        small in proptest::array::uniform8(0_u64..5),
        high in proptest::array::uniform8(0_u64..5),
        noise in any::<[u64; 8]>(),
        noisy in any::<[bool; 8]>(),
    ) {
        let entry: Entry = std::array::from_fn(|word| {
            if noisy[word] { noise[word] } else { small[word] | high[word] << 32 }
        });
        if let Ok(RequestEntry::Request(sent)) = RequestEntry::decode(&entry, &CONFIG) {
            prop_assert!(sent.slot < CONFIG.slots);
            prop_assert!(sent.lengths.header_bytes <= sent.lengths.total_bytes);
            prop_assert!(sent.lengths.total_bytes <= CONFIG.request_slot_bytes);
        }
        if let Ok(reply) = ReplyEntry::decode(&entry, &CONFIG) {
            prop_assert!(reply.slot < CONFIG.slots);
            prop_assert!(reply.lengths.total_bytes <= CONFIG.reply_slot_bytes);
        }
    }

    #[test]
    fn no_order_of_events_loses_a_slot(events in proptest::collection::vec(0_u8..5, 0..200)) {
        let mut table = SlotTable::new(3);
        let (mut leased, mut out, mut answered) = (Vec::new(), Vec::new(), Vec::new());
        for (number, event) in events.into_iter().enumerate() {
            let tag = number as u64;
            match event {
                0 => leased.extend(table.lease()),
                1 => out.extend(leased.pop().map(|slot| {
                    let reply = reply_to(&slot, tag);
                    table.send(slot, tag);
                    reply
                })),
                2 => out.last().into_iter().for_each(|reply: &ReplyEntry| {
                    let part = ReplyEntry { status: Status::Part, ..*reply };
                    table.answer(&part).unwrap();
                    assert_eq!(table.answer(reply), Err(LaneFault::TooSoon { slot: part.slot }));
                    table.tell(part.slot, part.generation, Verdict::GoOn);
                }),
                3 => answered.extend(out.pop().inspect(|reply| table.answer(reply).unwrap())),
                _ => answered.pop().iter().for_each(|it: &ReplyEntry| {
                    table.finish(it.slot, it.generation);
                }),
            }
            table.check_invariants();
            prop_assert_eq!(table.in_flight(), out.len());
            let taken = leased.len() + out.len() + answered.len();
            let probe = table.lease();
            prop_assert_eq!(probe.is_some(), taken < 3);
            probe.into_iter().for_each(|slot| table.release(slot));
        }
    }
}

/// Every small value of every checked word of both descriptors, against the rule in one line.
#[test]
fn descriptors_are_believed_exactly_when_every_word_is_possible() {
    let small = LaneConfig::new(4, 3, 2, 2);
    let words = || 0..6_u64;
    for (first, second) in words().flat_map(|kind| words().map(move |slot| (kind, slot))) {
        for (header, total) in words().flat_map(|header| words().map(move |total| (header, total)))
        {
            let sizes = header | total << 32;
            let fits = header <= total && total <= 2;
            let request = [first | second << 32, 7, sizes, 1, 0, 0, 0, 0];
            let verdict = (first == 3 || first == 4) && second < 3;
            let possible = first == 2 || verdict || (first == 1 && second < 3 && fits);
            assert_eq!(RequestEntry::decode(&request, &small).is_ok(), possible, "{request:?}");
            let reply = [first, 7, sizes, 1 | second << 32, 0, 0, 0, 0];
            let possible = first < 3 && fits && (1..=4).contains(&second);
            assert_eq!(ReplyEntry::decode(&reply, &small).is_ok(), possible, "{reply:?}");
        }
    }
}
