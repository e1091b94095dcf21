//! Attacks from inside real Docker containers: on the lane, as those of `hostile`, and on the machine.
//!
//! Every case ends as it does there, and moreover: the neighbour lives in Docker too, the engine holds no more memory and
//! descriptors than its bounds say, and no container is left behind.

use harness::docker::{containers, image, is_here};
use harness::engine::{Engine, Scratch, command, wait_until};

use super::attacked::{
    Case, DESCRIPTORS, ENDED, HANDSHAKE, Harmless, INVALID, NOISE, Named, NamedOrHarmless,
    OPEN_MEMORY, OUT_OF_ORDER, Outcome, PARTS, RING, SEALED_MEMORY, TIME_AND_ENDS, TIMEOUT,
    bystander,
};

const TURN: &str = "models/attacker/1/turn";

/// An honest engine of two small models is far below; what a container could make it hold is far above.
const RESIDENT_BYTES_MAX: u64 = 300 << 20;
const DESCRIPTORS_MAX: usize = 200;

/// Room for a fill of /tmp, less than a hog wants.
const MEMORY: &str = "512m";

/// What the engine says of a container that the kernel ended for its memory.
const OUT_OF_MEMORY: &str = "out of memory: it wanted more than it may have";

/// One or two of each kind; all of them by night.
const LANE: [(&str, Outcome); 12] = [
    ("tail_jump", Named(&["lane fault tail_out_of_range"])),
    ("wrong_generation", Named(&["lane fault wrong_generation"])),
    ("garbage_header", Named(&["lane fault bad_header"])),
    ("part_flood", Named(&["lane fault part_after_stop", "lane fault ring_full"])),
    ("truncate_all", Harmless),
    ("bell_storm", Named(&["lane fault bell_storm"])),
    ("push_descriptors", Named(&[INVALID, OUT_OF_ORDER])),
    ("stop", Named(&[TIMEOUT])),
    ("log_flood", NamedOrHarmless(&[TIMEOUT])),
    ("exit_before_bell", Named(&[ENDED])),
    ("garbage_hello", Named(&[INVALID])),
    ("double_connect", Named(&[ENDED])),
];

/// What a hog or a bomb is told when it may have no more, and what becomes of it.
const HOGS: [(&str, &str, Outcome); 5] = [
    ("fork_bomb", "fork_bomb: EAGAIN", NamedOrHarmless(&[TIMEOUT, ENDED])),
    ("fill_temporary", "fill /tmp: ENOSPC", NamedOrHarmless(&[TIMEOUT])),
    ("fill_shared", "fill /dev/shm: ENOSPC", NamedOrHarmless(&[TIMEOUT])),
    ("kill_all", "kill_all: ", Harmless),
    ("memory_hog", OUT_OF_MEMORY, Named(&[OUT_OF_MEMORY])),
];

/// What each attempt on the machine must be told. Nothing else may succeed.
const REFUSALS: [(&str, &[&str]); 9] = [
    ("connect_out", &["ENETUNREACH"]),
    ("connect_engine", &["ECONNREFUSED"]),
    ("connect_docker", &["ENOENT"]),
    ("remove_socket", &["EROFS"]),
    ("write_root", &["EROFS"]),
    ("write_model", &["EROFS"]),
    ("write_socket_directory", &["EROFS"]),
    ("signal_engine", &["ESRCH"]),
    ("engine_memory", &["ENOENT"]),
];
/// In a network of its own it may listen; whether the lane's socket takes a second caller is seen by `double_connect`.
const ALLOWED: [&str; 2] = ["bind", "second_connection"];
/// A container that tried fewer has not tried.
const ATTEMPTS_MIN: usize = 45;

#[test]
fn attacks_on_the_lane_from_docker() {
    all("memfd", &LANE);
}

#[test]
#[ignore = "minutes; see cargo xtask nightly"]
fn every_attack_on_the_lane_from_docker_sealed() {
    every("memfd");
}

#[test]
#[ignore = "minutes; see cargo xtask nightly"]
fn every_attack_on_the_lane_from_docker_open() {
    every("posix");
}

#[test]
#[ignore = "see cargo xtask nightly"]
fn every_attack_on_the_lane_from_docker_by_memory() {
    all("memfd", &SEALED_MEMORY);
    all("posix", &OPEN_MEMORY);
}

fn every(lane: &str) {
    for table in [&NOISE[..], &TIME_AND_ENDS, &HANDSHAKE, &RING, &DESCRIPTORS, &PARTS] {
        all(lane, table);
    }
}

#[test]
fn every_attempt_on_the_machine_is_refused() {
    if !is_here() {
        return;
    }
    let case = begin("memfd", "attempts");
    case.strike(Harmless);
    wait_until("all was tried", || case.engine.said().contains("attempts are over"));
    let told = attempts(&case.engine.said());
    assert!(told.len() >= ATTEMPTS_MIN, "{told:?}");
    for (name, outcome) in &told {
        let allowed = ALLOWED.contains(&name.as_str());
        assert!(allowed || outcome != "SUCCEEDED", "{name} succeeded");
        let expected = REFUSALS.iter().find(|(it, _)| it == name);
        let as_expected = expected.is_none_or(|(_, outcomes)| outcomes.contains(&outcome.as_str()));
        assert!(as_expected, "{name}: {outcome}");
    }
    end(case);
}

#[test]
fn bombs_and_hogs_hurt_their_own_container_only() {
    if !is_here() {
        return;
    }
    for (attack, told, outcome) in HOGS {
        let case = begin("memfd", attack);
        case.strike(outcome);
        wait_until(told, || case.engine.said().contains(told));
        assert!(!case.engine.said().contains("SUCCEEDED"), "{attack}: {}", case.engine.said());
        end(case);
    }
}

/// Name and outcome of each line `attempt name: outcome`, once.
fn attempts(said: &str) -> std::collections::BTreeSet<(String, String)> {
    let lines = said.lines().filter_map(|line| line.split_once("attempt ")?.1.split_once(": "));
    lines.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).collect()
}

fn all(lane: &str, cases: &[(&str, Outcome)]) {
    if !is_here() {
        return;
    }
    for (attack, outcome) in cases {
        let case = begin(lane, attack);
        case.strike(*outcome);
        end(case);
    }
}

/// The attacker in a container, honest until it is turned; the neighbour in another.
fn begin(lane: &str, attack: &str) -> Case {
    let files = Scratch::new(&format!("docker-{lane}-{attack}"));
    bystander(&files, "docker");
    let image = image("hostile");
    let attacker = format!(
        "runtime = \"python\"\nlauncher = \"docker\"\nimage = \"{image}\"\nmemory = \"{MEMORY}\"\n"
    );
    files.write("models/attacker/model.toml", &attacker);
    files.write("models/attacker/1/model.py", "# see tests/src/bin/hostile_container\n");
    files.write("models/attacker/1/attack", attack);
    files.write(TURN, "honest");
    let command = command(&[&files.path("models"), "--lane", lane, "--no-warm-up"]);
    let engine = Engine::start_with(command, 2);
    files.write("models/attacker/1/prey", &format!("{} {}", engine.pid(), engine.http.port()));
    Case { attack: attack.to_owned(), engine, files, turn: Some(TURN) }
}

/// The engine has kept its measure, and leaves nothing.
fn end(case: Case) {
    let (attack, pid) = (case.attack.clone(), case.engine.pid());
    let descriptors = case.engine.descriptors();
    assert!(descriptors < DESCRIPTORS_MAX, "{attack}: {descriptors} descriptors");
    let bytes = case.engine.memory("VmHWM");
    assert!(bytes < RESIDENT_BYTES_MAX, "{attack}: {bytes} bytes");
    case.end();
    wait_until("no container is left", || containers(pid).is_empty());
}
