//! What dials in where Clipper's containers do, and lies. The engine names each lie, lets its author go, answers what it
//! had by another container, and holds no more memory than before.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use harness::containers::port;
use harness::engine::{Ends, Engine, command, wait_until};
use harness::zmtp::{
    COMMAND, HEARTBEAT, MORE, Peer, frame, greeting, long_head, message, new_container, ready,
    response,
};
use serde_json::json;

/// More than an honest engine of one small model could grow by here, less than any lie asks for.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

const NOT_A_SIZE: u64 = 1 << 62;

fn engine() -> (Engine, SocketAddr) {
    let mut command = command(&[]);
    command.args(["--clipper-rpc", "127.0.0.1:0"]);
    let mut engine = Engine::start_unready(command);
    wait_until("the engine says where it listens", || engine.has_address());
    let at = port(&engine);
    (engine, at)
}

/// Most memory it ever had.
fn peak_bytes(engine: &Engine) -> u64 {
    engine.memory("VmHWM")
}

fn greeting_with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut greeting = greeting();
    greeting[at..at + bytes.len()].copy_from_slice(bytes);
    greeting.to_vec()
}

fn after_greeting(bytes: &[u8]) -> Vec<u8> {
    [&greeting()[..], bytes].concat()
}

fn numbered(frames: usize) -> Vec<u8> {
    [frame(MORE, b"").repeat(frames), frame(0, b"")].concat()
}

#[test]
fn whoever_is_no_container_is_named_and_let_go() {
    let strangers: [(Vec<u8>, &str); 9] = [
        (b"GET /metrics HTTP/1.1\r\n\r\n".to_vec(), "does not greet as ZMTP 3"),
        (vec![0; 64], "does not greet as ZMTP 3"),
        (greeting_with(10, &[1]), "does not greet as ZMTP 3"),
        (greeting_with(12, b"PLAIN"), "wants a security mechanism"),
        (after_greeting(&ready("REQ")), "its socket is no DEALER"),
        (
            after_greeting(&frame(COMMAND, b"\x05READY\x0bSocket-Type\xff\xff\xff\xff")),
            "handshake is broken",
        ),
        (after_greeting(&frame(0, b"too early")), "handshake is broken"),
        (after_greeting(&long_head(COMMAND, NOT_A_SIZE)), "a message of more than 1 frames"),
        (after_greeting(&frame(0x80, b"")), "unknown flags 0x80"),
    ];
    let (engine, at) = engine();
    for (bytes, named) in strangers {
        let before = engine.said().len();
        let mut stranger = Peer::dial(at);
        stranger.send(&bytes);
        wait_until(named, || engine.said()[before..].contains(named));
    }
    honest_is_served(&engine, at, "after");
}

#[test]
fn lies_before_the_first_batch_are_named_and_hold_no_memory() {
    let lies: [(Vec<u8>, &str); 12] = [
        (long_head(0, NOT_A_SIZE), "a message of more than 16 frames or 65536 bytes"),
        (long_head(MORE, 60_000), ""),
        (
            [long_head(MORE, 40_000), vec![0; 40_000], long_head(0, 40_000)].concat(),
            "more than 16 frames or 65536",
        ),
        (numbered(16), "more than 16 frames"),
        (frame(0xff, b""), "unknown flags 0xff"),
        (message(&[b"x", &[2, 0, 0, 0]]), "does not begin with an empty frame"),
        (message(&[b""]), "a message of 1 frames"),
        (message(&[b"", &[9, 0, 0, 0]]), "unknown type 9"),
        (message(&[b"", &[2, 0]]), "a message type of 2 bytes"),
        (
            message(&[b"", &[0; 4], b"\xff\xfe", b"1", b"3", &[3, 0, 0, 0]]),
            "a model name that is not UTF-8",
        ),
        (new_container("a:b", "1"), "'a:b' is no name for a model"),
        (message(&[b"", &[0; 4], b"m", b"1", b"77", &[3, 0, 0, 0]]), "names no input type"),
    ];
    let (engine, at) = engine();
    honest_is_served(&engine, at, "before");
    let peak = peak_bytes(&engine);
    for (bytes, named) in lies {
        let before = engine.said().len();
        let mut liar = Peer::meet(at);
        liar.send(&bytes);
        wait_until(named, || engine.said()[before..].contains(named));
    }
    honest_is_served(&engine, at, "after");
    let growth = peak_bytes(&engine) - peak;
    assert!(growth < GROWTH_BYTES_MAX, "it grew by {growth} bytes");
}

/// What a replica that has a batch does, given the batch's id.
type Lie = fn(&mut Peer, u32);

const LIES: [(&str, Lie, &str); 8] = [
    ("closes", |_, _| {}, "it closed its connection"),
    (
        "closes_half_way",
        |peer, id| peer.send(&response(id, b"half")[..9]),
        "it closed its connection",
    ),
    (
        "other_id",
        |peer, id| peer.send(&response(id + 1, b"x")),
        "answered message 1, which it does not have",
    ),
    ("endless_output", |peer, _| peer.send(&long_head(0, NOT_A_SIZE)), "a message of more than"),
    ("endless_frames", |peer, _| peer.send(&numbered(66_000)), "a message of more than"),
    (
        "header_lies",
        |peer, id| {
            let header = [1u64, 7].map(u64::to_le_bytes).concat();
            let size = 16u64.to_le_bytes();
            peer.send(&message(&[b"", &[1, 0, 0, 0], &id.to_le_bytes(), &size, &header, b"x"]));
        },
        "does not agree with what follows",
    ),
    (
        "header_counts_too_many",
        |peer, id| {
            let header = [u64::MAX, 1].map(u64::to_le_bytes).concat();
            let size = 16u64.to_le_bytes();
            peer.send(&message(&[b"", &[1, 0, 0, 0], &id.to_le_bytes(), &size, &header, b"x"]));
        },
        "does not agree with what follows",
    ),
    ("garbage", |peer, _| peer.send(&[0x55; 4096]), "unknown flags 0x55"),
];

#[test]
fn what_a_liar_had_is_answered_by_an_honest_container() {
    let (engine, at) = engine();
    let peak = peak_bytes(&engine);
    for (name, lie, named) in LIES {
        let mut liar = Peer::join(at, name);
        wait_until("the liar serves", || ready_for(&engine, name, 0));
        scope(|scope| {
            let asked = scope.spawn(|| ask(&engine, name));
            let id = liar.batch().expect("a batch");
            let mut honest = Peer::join(at, name);
            wait_until("an honest one serves", || ready_for(&engine, name, 1));
            let before = engine.said().len();
            lie(&mut liar, id);
            drop(liar);
            let id = honest.batch().expect("the liar's batch");
            honest.send(&response(id, b"true"));
            assert_eq!(asked.join().expect("an answer"), "true", "{name}");
            wait_until(named, || engine.said()[before..].contains(named));
        });
    }
    let growth = peak_bytes(&engine) - peak;
    assert!(growth < GROWTH_BYTES_MAX, "it grew by {growth} bytes");
}

#[test]
fn an_answer_nobody_asked_for_ends_the_session_that_gives_it() {
    let (engine, at) = engine();
    let mut liar = Peer::join(at, "seen");
    wait_until("it serves", || ready_for(&engine, "seen", 0));
    liar.send(&response(0, b"unasked"));
    wait_until("it is named", || engine.said().contains("while it had nothing to answer"));
    assert!(liar.receive().is_none(), "and let go");
    let mut twice = Peer::join(at, "seen");
    wait_until("another serves", || ready_for(&engine, "seen", 1));
    scope(|scope| {
        let asked = scope.spawn(|| ask(&engine, "seen"));
        let id = twice.batch().expect("a batch");
        twice.send(&[response(id, b"first"), response(id, b"second")].concat());
        assert_eq!(asked.join().expect("an answer"), "first");
    });
    assert!(twice.receive().is_none(), "let go too");
}

#[test]
fn commands_without_end_and_answers_to_earlier_sessions_are_nobodys_loss() {
    let (engine, at) = engine();
    let stop = AtomicBool::new(false);
    scope(|scope| {
        let _ends = Ends(&stop);
        scope.spawn(|| {
            let mut flood = Peer::meet(at);
            while !stop.load(Ordering::Relaxed) {
                flood.send(&frame(COMMAND, b"\x04PING\0\0").repeat(1000));
            }
        });
        let mut late = Peer::meet(at);
        late.send(&response(7, b"late"));
        late.send(&message(HEARTBEAT));
        late.send(&message(HEARTBEAT));
        assert_eq!(late.receive().expect("asked again")[3], [1, 0, 0, 0]);
        late.send(&new_container("late", "1"));
        wait_until("it serves", || ready_for(&engine, "late", 0));
        late.send(&message(HEARTBEAT));
        assert_eq!(late.receive().expect("kept alive")[3], [0; 4]);
        honest_is_served(&engine, at, "meanwhile");
    });
}

fn ready_for(engine: &Engine, model: &str, replica: u32) -> bool {
    let line = format!("a container serves name={model} version=1 replica={replica}");
    engine.said().contains(&line)
}

/// The one output to one row.
fn ask(engine: &Engine, model: &str) -> String {
    let input = json!({"name": "input", "shape": [1, 1], "datatype": "FP64", "data": [1.0]});
    let output = engine.infer(model, &json!({"inputs": [input]}).to_string()).output(0);
    output[0].as_str().expect("a text").to_owned()
}

fn honest_is_served(engine: &Engine, at: SocketAddr, name: &str) {
    let mut honest = Peer::join(at, name);
    wait_until("it serves", || ready_for(engine, name, 0));
    scope(|scope| {
        let asked = scope.spawn(|| ask(engine, name));
        let id = honest.batch().expect("a batch");
        honest.send(&response(id, b"honest"));
        assert_eq!(asked.join().expect("an answer"), "honest");
    });
}
