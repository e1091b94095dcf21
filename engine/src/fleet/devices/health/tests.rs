use proptest::prelude::*;

use super::*;
use crate::fleet::devices::inventory::Slice;

const GIB: u64 = 1 << 30;

/// GPU-1 whole, GPU-2 split in two.
fn judge() -> Judge {
    let slice = |uuid: &str| Slice { uuid: uuid.to_owned(), ..Slice::default() };
    let gpu = |uuid: &str, slices| Gpu { uuid: uuid.to_owned(), slices, ..Gpu::default() };
    Judge::new(&[gpu("GPU-1", None), gpu("GPU-2", Some(vec![slice("MIG-a"), slice("MIG-b")]))])
}

fn xid(gpu: &str, number: u64) -> Waited {
    Waited::Xid { gpu: gpu.to_owned(), number }
}

/// Troubles and what they lead to, in order; what memory is used is another matter.
fn troubles(judge: &mut Judge) -> Vec<(Vec<String>, Trouble, Action)> {
    let events = std::iter::from_fn(|| judge.poll_event());
    let troubles = events.filter_map(|event| match event {
        DeviceEvent::Trouble { devices, trouble } => {
            let action = trouble.action();
            Some((devices, trouble, action))
        }
        DeviceEvent::Memory(_) | DeviceEvent::Processes(_) => None,
    });
    troubles.collect()
}

fn actions(judge: &mut Judge) -> Vec<(String, Action)> {
    let named = troubles(judge).into_iter().map(|(devices, _, action)| (devices.join(" "), action));
    named.collect()
}

/// GPU-1 uses and holds so much; GPU-2 is silent about all.
fn look(judge: &mut Judge, used_bytes: u64, held_bytes: Option<u64>, residents: u32) {
    let (uuid, processes) = ("GPU-1".to_owned(), Vec::new());
    let read = MemoryRead { uuid, used_bytes, held_bytes, processes };
    let looks = vec![Look { gpu: "GPU-1".to_owned(), read: Ok(vec![read]) }];
    judge.handle_looks(looks, &Residents::from([("GPU-1".to_owned(), residents)]));
}

fn looks(judge: &mut Judge, count: u32, used_bytes: u64, residents: u32) {
    (0..count).for_each(|_| look(judge, used_bytes, None, residents));
}

fn fails(judge: &mut Judge, is_lost: bool) {
    let unread = Unread { why: "no answer".to_owned(), is_lost };
    let looks = vec![Look { gpu: "GPU-1".to_owned(), read: Err(unread) }];
    judge.handle_looks(looks, &Residents::new());
}

#[test]
fn an_applications_xid_makes_replicas_suspect_and_leaves_the_gpu_healthy() {
    for number in XIDS_OF_APPLICATIONS {
        let mut judge = judge();
        judge.handle_waited(xid("GPU-1", number));
        let expected = (vec!["GPU-1".to_owned()], Trouble::Xid { number }, Action::SuspectReplicas);
        assert_eq!(troubles(&mut judge), [expected]);
        judge.handle_waited(xid("GPU-1", 79));
        assert_eq!(actions(&mut judge), [("GPU-1".to_owned(), Action::Unhealthy)], "still healthy");
    }
}

#[test]
fn other_xids_and_ecc_make_the_gpu_and_its_slices_unhealthy_once() {
    let whole = || ("GPU-2 MIG-a MIG-b".to_owned(), Action::Unhealthy);
    for number in [48, 63, 74, 79, 94, 119, 999] {
        let mut judge = judge();
        judge.handle_waited(xid("GPU-2", number));
        judge.handle_waited(xid("GPU-2", number));
        judge.handle_waited(xid("GPU-2", 13));
        assert_eq!(actions(&mut judge), [whole()]);
    }
    let mut judge = judge();
    judge.handle_waited(Waited::DoubleBitEcc { gpu: "GPU-2".to_owned() });
    assert_eq!(actions(&mut judge), [whole()]);
}

#[test]
fn a_wait_that_fails_makes_all_unhealthy_and_one_that_works_again_those_without_troubles_healthy() {
    let mut judge = judge();
    let failed = || Waited::Failed { why: "unknown".to_owned() };
    judge.handle_waited(failed());
    judge.handle_waited(failed());
    assert_eq!(actions(&mut judge), [("GPU-1 GPU-2 MIG-a MIG-b".to_owned(), Action::Unhealthy)]);
    judge.handle_waited(xid("GPU-1", 79));
    assert_eq!(actions(&mut judge), [("GPU-1".to_owned(), Action::Unhealthy)]);
    looks(&mut judge, SOUND_LOOKS_LEAST, GIB, 0);
    judge.handle_waited(failed());
    looks(&mut judge, SOUND_LOOKS_LEAST, GIB, 0);
    assert_eq!(actions(&mut judge), [], "a failure begins the time anew");
    looks(&mut judge, 1, GIB, 0);
    assert_eq!(actions(&mut judge), [("GPU-2 MIG-a MIG-b".to_owned(), Action::Healthy)]);
}

#[test]
fn a_gpu_that_says_it_is_lost_is_and_one_that_is_silent_after_some_looks() {
    let unhealthy = [("GPU-1".to_owned(), Action::Unhealthy)];
    let mut gone = judge();
    fails(&mut gone, true);
    assert_eq!(actions(&mut gone), unhealthy);
    let mut silent = judge();
    (1..FAILED_LOOKS_MAX).for_each(|_| fails(&mut silent, false));
    look(&mut silent, GIB, None, 0);
    (1..FAILED_LOOKS_MAX).for_each(|_| fails(&mut silent, false));
    assert_eq!(actions(&mut silent), [], "one good look begins anew");
    fails(&mut silent, false);
    assert_eq!(actions(&mut silent), unhealthy);
}

#[test]
fn each_look_tells_what_is_used_and_only_the_newest_waits() {
    let mut judge = judge();
    look(&mut judge, GIB, None, 0);
    look(&mut judge, 2 * GIB, None, 0);
    let expected = DeviceEvent::Memory(vec![("GPU-1".to_owned(), 2 * GIB)]);
    assert_eq!(judge.poll_event(), Some(expected));
    assert_eq!(judge.poll_event(), None);
}

/// Some of GPU-1's memory is told to be nobody's.
fn taken(judge: &mut Judge) -> Vec<u64> {
    let actions = actions(judge).into_iter().map(|(_, action)| match action {
        Action::Taken { bytes } => bytes,
        other => panic!("{other:?}"),
    });
    actions.collect()
}

#[test]
fn memory_that_stays_taken_after_the_last_replica_has_gone_is_a_leak() {
    let mut judge = judge();
    looks(&mut judge, 2, GIB / 2, 0);
    looks(&mut judge, 60, 9 * GIB, 2);
    looks(&mut judge, 10, 3 * GIB, 0);
    assert_eq!(taken(&mut judge), [0; 0], "memory may take a while to come back");
    looks(&mut judge, 30, 3 * GIB, 0);
    assert_eq!(taken(&mut judge), [2 * GIB + GIB / 2]);
    looks(&mut judge, 1, GIB / 2, 0);
    assert_eq!(taken(&mut judge), [0], "it came back");
}

#[test]
fn memory_that_comes_back_is_none_and_neither_is_what_was_taken_before() {
    let mut judge = judge();
    looks(&mut judge, 2, 4 * GIB, 0);
    looks(&mut judge, 60, 9 * GIB, 1);
    looks(&mut judge, 5, 9 * GIB, 0);
    looks(&mut judge, 30, 4 * GIB + LEAST - 1, 0);
    assert_eq!(taken(&mut judge), [0; 0]);
}

/// What the ledger counts as a leak.
const LEAST: u64 = 256 << 20;

#[test]
fn where_processes_are_seen_a_leak_is_found_beside_replicas_that_stay() {
    let mut judge = judge();
    look(&mut judge, 0, Some(0), 0);
    look(&mut judge, 8 * GIB, Some(8 * GIB), 2);
    (0..12).for_each(|_| look(&mut judge, 5 * GIB, Some(4 * GIB), 1));
    assert_eq!(taken(&mut judge), [GIB]);
    let mut blind = self::judge();
    looks(&mut blind, 1, 0, 0);
    looks(&mut blind, 1, 8 * GIB, 2);
    looks(&mut blind, 60, 5 * GIB, 1);
    assert_eq!(taken(&mut blind), [0; 0], "whose it is can't be known");
}

#[test]
fn memory_of_others_processes_is_theirs() {
    let mut judge = judge();
    look(&mut judge, 0, Some(0), 0);
    look(&mut judge, 8 * GIB, Some(8 * GIB), 1);
    (0..30).for_each(|_| look(&mut judge, 6 * GIB, Some(6 * GIB), 0));
    assert_eq!(taken(&mut judge), [0; 0]);
}

proptest! {
    /// Whatever comes, what is untold stays bounded and what is unhealthy by its own trouble never heals.
    #[test]
    fn events_stay_few_and_troubles_final(what in proptest::collection::vec((0u8..6, 0u64..120), 0..200)) {
        let mut judge = judge();
        let mut own_trouble = false;
        for (kind, number) in what {
            match kind {
                0 => judge.handle_waited(xid("GPU-1", number)),
                1 => judge.handle_waited(Waited::Failed { why: "unknown".to_owned() }),
                2 => fails(&mut judge, number == 0),
                3 => look(&mut judge, number << 28, Some(number << 27), 1),
                4 => judge.handle_waited(xid("unheard of", number)),
                _ => looks(&mut judge, 40, number << 28, 0),
            }
            prop_assert!(judge.events.len() < 256);
            if number % 3 == 0 {
                for (devices, trouble, action) in troubles(&mut judge) {
                    own_trouble |= action == Action::Unhealthy && !matches!(trouble, Trouble::WaitFailed { .. });
                    let heals = action == Action::Healthy && devices.iter().any(|it| it == "GPU-1");
                    prop_assert!(!(own_trouble && heals));
                }
            }
        }
    }
}
