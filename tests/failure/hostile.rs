//! Containers that attack the lane, the socket and the clock, one rule at a time, over real processes.
//!
//! Every case ends the same way: the engine is up, has named what was broken, has put an honest replica in the
//! attacker's place and leaked nothing; and a neighbour model answered every request all the while.

use super::attacked::{
    Case, DESCRIPTORS, ENDED, HANDSHAKE, INVALID, NOISE, Named, OPEN_MEMORY, OUT_OF_ORDER, Outcome,
    PARTS, RING, SEALED_MEMORY, TIME_AND_ENDS, TIMEOUT,
};

#[test]
fn attacks_on_the_ring_sealed() {
    all("memfd", &RING);
}

#[test]
fn attacks_on_the_ring_open() {
    all("posix", &RING);
}

#[test]
fn attacks_by_descriptors_sealed() {
    all("memfd", &DESCRIPTORS);
}

#[test]
fn attacks_by_descriptors_open() {
    all("posix", &DESCRIPTORS);
}

#[test]
fn attacks_by_parts_sealed() {
    all("memfd", &PARTS);
}

#[test]
fn attacks_by_parts_open() {
    all("posix", &PARTS);
}

#[test]
fn attacks_on_memory_sealed() {
    all("memfd", &SEALED_MEMORY);
}

#[test]
fn attacks_on_memory_open() {
    all("posix", &OPEN_MEMORY);
}

#[test]
fn attacks_by_noise_sealed() {
    all("memfd", &NOISE);
}

#[test]
fn attacks_by_noise_open() {
    all("posix", &NOISE);
}

#[test]
fn attacks_by_time_and_ends_sealed() {
    all("memfd", &TIME_AND_ENDS);
}

#[test]
fn attacks_by_time_and_ends_open() {
    all("posix", &TIME_AND_ENDS);
}

#[test]
fn attacks_on_the_handshake() {
    all("memfd", &HANDSHAKE);
}

/// A few of each kind; the first life of these attacks at its sixth batch.
const IN_WARM_UP: [(&str, Outcome); 10] = [
    ("tail_jump", Named(&["lane fault tail_out_of_range"])),
    ("stale_id", Named(&["lane fault slot_not_in_flight"])),
    ("garbage_header", Named(&["lane fault bad_header"])),
    ("wrong_rows", Named(&["lane fault output_shape", "lane fault bad_header"])),
    ("bell_storm", Named(&["lane fault bell_storm"])),
    ("socket_flood", Named(&[INVALID, OUT_OF_ORDER])),
    ("stop", Named(&[TIMEOUT])),
    ("never_reply", Named(&[TIMEOUT])),
    ("exit_with_request", Named(&[ENDED])),
    ("exit_before_bell", Named(&[ENDED])),
];

#[test]
fn attacks_in_the_warm_up() {
    for (attack, outcome) in IN_WARM_UP {
        let case = Case::begin("memfd", attack, &[]);
        let said = case.engine.said();
        assert!(said.contains("a replica ended: in its warm-up, "), "{attack}: {said}");
        case.run(outcome);
    }
}

/// Without warm-up: the attack meets a question.
fn all(lane: &str, cases: &[(&str, Outcome)]) {
    for (attack, outcome) in cases {
        Case::begin(lane, attack, &["--no-warm-up"]).run(*outcome);
    }
}
