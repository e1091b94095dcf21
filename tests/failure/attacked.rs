//! The attacks and what is to come of each; one engine with an attacker and a neighbour.

use std::sync::atomic::{AtomicBool, Ordering};

use harness::engine::{Ends, Engine, Scratch, command, wait_until};
use harness::tensors::rows;
use serde_json::json;

/// What the engine says and does about an attack.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    /// The replica is replaced, and the log holds one of these.
    Named(&'static [&'static str]),
    /// The attack comes to nothing: no request fails, nobody is replaced.
    Harmless,
    /// Either, as the race goes; never anything else.
    NamedOrHarmless(&'static [&'static str]),
}

pub(super) use Outcome::{Harmless, Named, NamedOrHarmless};

pub(super) const TIMEOUT: &str = "longer than batch_timeout";
pub(super) const ENDED: &str = "its process ended with exit status";
pub(super) const OUT_OF_ORDER: &str = "another message than the handshake expects";
pub(super) const INVALID: &str = "it sent an invalid message";

pub(super) const RING: [(&str, Outcome); 6] = [
    ("tail_jump", Named(&["lane fault tail_out_of_range"])),
    ("tail_rewind", Named(&["lane fault tail_out_of_range"])),
    ("tail_wrap", Named(&["lane fault no_counter"])),
    ("head_jump", Named(&["lane fault head_out_of_range"])),
    ("head_frozen", Named(&["lane fault ring_full"])),
    ("head_garbage", Named(&["lane fault no_counter"])),
];

pub(super) const DESCRIPTORS: [(&str, Outcome); 14] = [
    ("stale_id", Named(&["lane fault slot_not_in_flight"])),
    ("duplicate_id", Named(&["lane fault slot_not_in_flight"])),
    ("wrong_generation", Named(&["lane fault wrong_generation"])),
    ("wrong_tag", Named(&["lane fault wrong_tag"])),
    ("unknown_slot", Named(&["lane fault unknown_slot"])),
    ("unknown_status", Named(&["lane fault unknown_status"])),
    ("oversize", Named(&["lane fault lengths"])),
    ("header_beyond_message", Named(&["lane fault lengths"])),
    ("garbage_header", Named(&["lane fault bad_header"])),
    ("shape_overflow", Named(&["lane fault bad_header"])),
    ("tensor_outside", Named(&["lane fault bad_header"])),
    ("too_many_outputs", Named(&["lane fault output_count"])),
    ("wrong_rows", Named(&["lane fault output_shape", "lane fault bad_header"])),
    (
        "flip_while_verifying",
        NamedOrHarmless(&[
            "lane fault bad_header",
            "lane fault output_count",
            "lane fault output_shape",
            "lane fault outside_message",
        ]),
    ),
];

pub(super) const PARTS: [(&str, Outcome); 9] = [
    ("part_undeclared", Named(&["lane fault part_undeclared"])),
    ("done_undeclared", Named(&["lane fault part_undeclared"])),
    ("part_of_other_tag", Named(&["lane fault wrong_tag"])),
    ("part_behind_the_end", Named(&["lane fault slot_not_in_flight"])),
    ("part_of_nonsense", Named(&["lane fault bad_header"])),
    ("part_flood", Named(&["lane fault part_after_stop", "lane fault ring_full"])),
    ("part_flood_taken", Named(&["lane fault part_after_stop"])),
    ("part_then_silence", Named(&[TIMEOUT])),
    ("part_then_exit", Named(&[ENDED])),
];

pub(super) const SEALED_MEMORY: [(&str, Outcome); 5] = [
    ("truncate_own", Harmless),
    ("truncate_all", Harmless),
    ("grow", Harmless),
    // The request in its hands is punched too.
    ("punch", NamedOrHarmless(&["lane fault tail_out_of_range", ENDED])),
    ("reopen", Harmless),
];

pub(super) const OPEN_MEMORY: [(&str, Outcome); 5] = [
    ("truncate_own", Named(&["lane fault segment_cut", "lane fault tail_out_of_range"])),
    ("truncate_all", Named(&["lane fault segment_cut", "lane fault tail_out_of_range", ENDED])),
    ("grow", Harmless),
    ("punch", NamedOrHarmless(&["lane fault", TIMEOUT, ENDED])),
    // Under the engine's own user it may overwrite what it is told, and confuse itself alone.
    ("reopen", NamedOrHarmless(&["lane fault", TIMEOUT, ENDED])),
];

pub(super) const NOISE: [(&str, Outcome); 6] = [
    ("bell_storm", Named(&["lane fault bell_storm"])),
    ("bell_drained", NamedOrHarmless(&[TIMEOUT])),
    ("bell_blocked", NamedOrHarmless(&[TIMEOUT])),
    ("push_descriptors", Named(&[INVALID, OUT_OF_ORDER])),
    ("socket_flood", Named(&[INVALID, OUT_OF_ORDER])),
    ("ready_twice", Named(&[OUT_OF_ORDER])),
];

pub(super) const TIME_AND_ENDS: [(&str, Outcome); 8] = [
    ("stop", Named(&[TIMEOUT])),
    ("never_reply", Named(&[TIMEOUT])),
    ("reply_late", Named(&[TIMEOUT])),
    ("log_flood", NamedOrHarmless(&[TIMEOUT])),
    ("exit_with_request", Named(&[ENDED])),
    ("exit_after_bytes", Named(&[ENDED])),
    ("exit_after_entry", Named(&[ENDED])),
    ("exit_before_bell", Named(&[ENDED])),
];

pub(super) const HANDSHAKE: [(&str, Outcome); 14] = [
    ("exit_before_connect", Named(&[ENDED])),
    ("exit_after_connect", Named(&[ENDED])),
    ("exit_after_hello", Named(&[ENDED])),
    ("exit_after_welcome", Named(&[ENDED])),
    ("exit_after_ready", Named(&[ENDED])),
    ("garbage_hello", Named(&[INVALID])),
    ("huge_hello", Named(&[INVALID, "its lane failed"])),
    ("wrong_nonce", Named(&["does not know its nonce"])),
    ("wrong_schema", Named(&["speaks schema version"])),
    ("wrong_abi", Named(&["shared-memory layout differs"])),
    ("other_model", Named(&["it declares another model than before"])),
    ("ready_first", Named(&[OUT_OF_ORDER])),
    // The first life ends by itself in every attack on the handshake.
    ("double_connect", Named(&[ENDED])),
    ("hello_with_descriptors", Named(&[INVALID])),
];

/// Answers that show an attack as harmless: of an attacker that counts for itself, and of one that a test turns on.
const ANSWERS_COUNTED: u32 = 40;
const ANSWERS_TOLD: u32 = 5;

/// The neighbour, in a repository.
pub(super) fn bystander(files: &Scratch, launcher: &str) {
    let toml = format!("runtime = \"native\"\nkind = \"noop\"\nlauncher = \"{launcher}\"\n");
    files.write("models/bystander/model.toml", &toml);
    files.write("models/bystander/1/keep", "");
}

/// One engine with an attacker and a neighbour.
pub(super) struct Case {
    pub(super) attack: String,
    pub(super) engine: Engine,
    pub(super) files: Scratch,
    /// The file that makes the attacker hostile; None: it counts its lives.
    pub(super) turn: Option<&'static str>,
}

impl Case {
    /// The attacker is a process.
    pub(super) fn begin(lane: &str, attack: &str, more: &[&str]) -> Case {
        let files = Scratch::new(&format!("hostile-{lane}{}-{attack}", more.concat()));
        let target = format!("attack.{attack}.py");
        files.write(&target, "# see tests/src/bin/hostile_container\n");
        bystander(&files, "process");
        let mut command = command(&[&files.path(&target), &files.path("models"), "--lane", lane]);
        command.arg("--shared-user").args(more);
        command.env("FOIL_PYTHON", env!("CARGO_BIN_EXE_hostile-container"));
        let engine = Engine::start_with(command, 2);
        Case { attack: attack.to_owned(), engine, files, turn: None }
    }

    pub(super) fn run(self, outcome: Outcome) {
        self.strike(outcome);
        self.end();
    }

    /// The neighbour is asked, and answers, all the while.
    pub(super) fn strike(&self, outcome: Outcome) {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let neighbour = scope.spawn(|| ask_neighbour(&self.engine, &done));
            let ends = Ends(&done);
            self.attack(outcome);
            drop(ends);
            assert!(neighbour.join().expect("no request of the neighbour failed") > 0);
        });
    }

    pub(super) fn end(self) {
        let attack = &self.attack;
        let panicked = |line: &str| !line.starts_with('[') && line.contains("panicked");
        let said = self.engine.said();
        assert!(!said.lines().any(panicked), "{attack}: {said}");
        assert!(self.engine.stop().success(), "{attack}: the engine ends well");
    }

    fn turn(&self, to: &str) {
        if let Some(file) = self.turn {
            self.files.write(file, to);
        }
    }

    /// Sends requests until the attack has shown, and then until the model answers again.
    fn attack(&self, outcome: Outcome) {
        let (names, must) = match outcome {
            Named(names) => (names, true),
            Harmless => (&[] as &[_], false),
            NamedOrHarmless(names) => (names, false),
        };
        let enough = if self.turn.is_some() { ANSWERS_TOLD } else { ANSWERS_COUNTED };
        let (mut answered, mut failed) = (0, 0);
        let named = || names.iter().any(|name| self.engine.said().contains(name));
        self.turn("attack");
        wait_until(&format!("{} shows", self.attack), || {
            match self.ask() {
                200 => answered += 1,
                _ => failed += 1,
            }
            if must { named() } else { answered >= enough || named() }
        });
        self.turn("honest");
        let attack = &self.attack;
        assert!(!matches!(outcome, Harmless) || failed == 0, "{attack}: {failed} requests failed");
        if matches!(outcome, Harmless) || !named() {
            assert_eq!(self.restarts(), 0.0, "{attack}: {}", self.engine.said());
        }
        let mut in_a_row = 0;
        wait_until(&format!("the model serves again after {attack}"), || {
            in_a_row = if self.ask() == 200 { in_a_row + 1 } else { 0 };
            in_a_row >= 20 && self.restarts() >= f64::from(u8::from(must))
        });
    }

    /// One request to the attacked model; its status. An answer, if it is one, is right.
    fn ask(&self) -> u16 {
        let answer = self.engine.infer("attacker", &rows(&[[3.0, 4.0]]));
        // One answer was asked for, and parts came.
        let in_parts = answer.status == 400 && self.attack.starts_with("part_");
        let known = in_parts || [200, 500, 503, 504].contains(&answer.status);
        assert!(known, "{}", answer.text());
        let scribbled = self.attack == "flip_while_verifying";
        if answer.status == 200 && !scribbled {
            assert_eq!(answer.output(0), json!([3.0, 4.0]), "{}", self.attack);
        }
        answer.status
    }

    fn restarts(&self) -> f64 {
        self.engine.restarts("attacker")
    }
}

/// Asks the neighbour model without pause; every answer is right.
fn ask_neighbour(engine: &Engine, done: &AtomicBool) -> u32 {
    let input = json!({"name": "x", "shape": [1, 784], "datatype": "FP32", "data": vec![0.5; 784]});
    let body = json!({ "inputs": [input] }).to_string();
    let mut client = engine.client();
    let mut answered = 0;
    while !done.load(Ordering::Relaxed) {
        let answer = client.infer("bystander", &body);
        assert_eq!(answer.output(0), json!([392.0]));
        answered += 1;
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
    answered
}
