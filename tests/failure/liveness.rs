//! Replicas that are there and get nowhere: stopped, stuck, dying again and again. What they had goes to another, and is
//! answered once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use harness::engine::{Ends, Engine, Scratch, kill, model, wait_until};
use harness::tensors::rows;
use rustix::process::Signal;
use serde_json::json;

// Codes of the model `stuck`.
const FINE: f32 = 0.0;
const HOLD: f32 = 1.0;
const SPIN: f32 = 2.0;
const DIE: f32 = 3.0;

const CLIENTS: usize = 4;

fn native(name: &str, replicas: usize, lane: &str) -> (Engine, Scratch) {
    let files = Scratch::new(name);
    let toml = format!("runtime = \"native\"\nkind = \"echo\"\nreplicas = {replicas}\n");
    files.write("echo/model.toml", &toml);
    files.write("echo/1/keep", "");
    let engine = Engine::start(&[&files.0.display().to_string(), "--lane", lane], 1);
    all_live(&engine, "echo", replicas);
    (engine, files)
}

/// The model `stuck` with settings of its own.
fn stuck(name: &str, settings: &str, replicas: usize) -> (Engine, Scratch) {
    let files = Scratch::new(name);
    let code = std::fs::read_to_string(model("stuck.py")).expect("a model of ours");
    files.write("stuck/1/model.py", &code);
    files.write("stuck/model.toml", &format!("{settings}\nreplicas = {replicas}\n"));
    let engine = Engine::start(&[&files.0.display().to_string()], 1);
    all_live(&engine, "stuck", replicas);
    (engine, files)
}

fn all_live(engine: &Engine, model: &str, replicas: usize) {
    let gauge = format!("foil_replicas{{model=\"{model}\"");
    wait_until("all replicas are live", || engine.metric(&gauge) == replicas as f64);
}

fn ask(engine: &Engine, code: f32) -> harness::Response {
    engine.infer("stuck", &rows(&[[code, 1.0]]))
}

/// How many replicas of the engine's one model were lost that way.
fn lost(engine: &Engine, reason: &str) -> f64 {
    engine.sum(|line| {
        line.starts_with("foil_replica_restarts_total") && line.contains(&format!("\"{reason}\""))
    })
}

fn is_ready(engine: &Engine, model: &str) -> bool {
    engine.get(&format!("/v2/models/{model}/ready")).status == 200
}

#[test]
fn a_stopped_replica_is_replaced_while_the_other_serves_and_no_request_fails() {
    for lane in ["memfd", "posix"] {
        let (engine, _files) = native(&format!("stopped-{lane}"), 2, lane);
        let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let _ends = Ends(&done);
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    scope.spawn({
                        let (engine, done, served) = (&engine, &done, &served);
                        move || ask_until(engine, client, done, served)
                    })
                })
                .collect();
            wait_until("load flows", || served.load(Ordering::Relaxed) > 50);
            let stopped = engine.containers()[0];
            kill(stopped, Signal::STOP);
            wait_until("it is ended", || !engine.containers().contains(&stopped));
            all_live(&engine, "echo", 2);
            let before = served.load(Ordering::Relaxed);
            wait_until("load flows on", || served.load(Ordering::Relaxed) > before + 50);
            done.store(true, Ordering::Relaxed);
            clients.into_iter().for_each(|client| client.join().expect("right answers"));
        });
        assert_eq!((lost(&engine, "no_heartbeat"), lost(&engine, "ended")), (1.0, 0.0), "{lane}");
    }
}

/// Asks for texts nobody else asks for; each gets its own back.
fn ask_until(engine: &Engine, client: usize, done: &AtomicBool, served: &AtomicUsize) {
    let mut connection = engine.client();
    for number in 0.. {
        if done.load(Ordering::Relaxed) {
            return;
        }
        let text = format!("client {client} number {number}");
        let input = json!({"name": "x", "shape": [1, 1], "datatype": "BYTES", "data": [&text]});
        let answer = connection.infer("echo", &json!({ "inputs": [input] }).to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.output(0), json!([text]), "the answer to another question");
        served.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_only_replica_stopped_makes_its_model_unready_until_another_is_there() {
    let (engine, _files) = stuck("only", "", 1);
    assert!(is_ready(&engine, "stuck"));
    std::thread::scope(|scope| {
        kill(engine.containers()[0], Signal::STOP);
        let asked = scope.spawn(|| ask(&engine, FINE));
        wait_until("it is not ready", || !is_ready(&engine, "stuck"));
        wait_until("it is ready again", || is_ready(&engine, "stuck"));
        let answer = asked.join().expect("no panic");
        assert_eq!(answer.status, 200, "run by the next one: {}", answer.text());
    });
    assert_eq!(ask(&engine, FINE).status, 200);
    assert_eq!(lost(&engine, "no_heartbeat"), 1.0);
    assert!(engine.said().contains("no heartbeat"), "it says what was wrong");
}

#[test]
fn an_honest_heavy_row_that_holds_the_interpreter_is_not_taken_for_dead() {
    let (engine, _files) = stuck("heavy", "", 1);
    let answer = ask(&engine, HOLD);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(engine.sum(|line| line.starts_with("foil_replica_restarts_total")), 0.0);
}

#[test]
fn a_model_that_never_returns_beats_and_is_ended_by_its_batch_timeout() {
    let (engine, _files) = stuck("silent", "batch_timeout = \"2s\"", 1);
    let answer = ask(&engine, SPIN);
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(answer.error().contains("batch_timeout"), "{}", answer.error());
    assert_eq!(ask(&engine, FINE).status, 200);
    // Run once more, alone.
    assert_eq!((lost(&engine, "batch_timeout"), lost(&engine, "no_heartbeat")), (2.0, 0.0));
}

#[test]
fn a_row_that_kills_is_quarantined_and_its_neighbours_are_answered() {
    let (engine, _files) = stuck("quarantine", "", 2);
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..12)
            .map(|index| {
                let code = if index == 5 { DIE } else { FINE };
                let engine = &engine;
                (index, scope.spawn(move || ask(engine, code)))
            })
            .collect();
        for (index, answer) in asked {
            let answer = answer.join().expect("no panic");
            let expected = if index == 5 { 500 } else { 200 };
            assert_eq!(answer.status, expected, "{index}: {}", answer.text());
            if index == 5 {
                assert!(answer.error().contains("with two replicas"), "{}", answer.error());
            }
        }
    });
    assert_eq!(engine.metric("foil_quarantined_total{model=\"stuck\""), 1.0);
    let died = lost(&engine, "ended");
    assert!((2.0..=3.0).contains(&died), "once, or with its copy, and once alone: {died}");
}

#[test]
fn a_replica_that_dies_again_and_again_comes_back_ever_later_and_says_why() {
    let (engine, files) = stuck("loop", "", 1);
    files.write("stuck/1/poison", "");
    kill(engine.containers()[0], Signal::KILL);
    let waits = || {
        let said = engine.said();
        let ended = said.lines().filter(|line| line.contains("a replica ended"));
        let wait =
            |line: &str| line.split("wait=").nth(1)?.split_whitespace().next().map(str::to_owned);
        ended.filter_map(wait).collect::<Vec<_>>()
    };
    wait_until("it has died four times", || waits().len() >= 4);
    assert_eq!(waits()[..4], ["100ms", "200ms", "400ms", "800ms"]);
    wait_until("its callers hear of it", || {
        let answer = ask(&engine, FINE);
        answer.status == 503 && answer.error().contains("exit status: 7")
    });
    std::fs::remove_file(files.path("stuck/1/poison")).expect("it was written");
    wait_until("it is back", || ask(&engine, FINE).status == 200);
}
