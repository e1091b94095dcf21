//! Containers and engines killed at random and at every step: each accepted request is answered once and rightly, the
//! replica is back, and nothing is left behind.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::engine::{Ends, Engine, Scratch, command, kill, wait_until};
use rustix::process::Signal;
use serde_json::json;

const REPLICAS: usize = 4;
const CLIENTS: usize = 4;
/// Kills in an ordinary run; `cargo xtask nightly` asks for 1000 by FOIL_TEST_KILLS.
const KILLS: usize = 100;
/// Kills whose recovery is timed, one at a time.
const TIMED_KILLS: usize = 10;

fn echo(lane: &str) -> (Engine, Scratch) {
    let files = Scratch::new(&format!("kills-{lane}"));
    let toml = format!("runtime = \"native\"\nkind = \"echo\"\nreplicas = {REPLICAS}\n");
    files.write("echo/model.toml", &toml);
    files.write("echo/1/keep", "");
    let engine = Engine::start(&[&files.0.display().to_string(), "--lane", lane], 1);
    all_live(&engine);
    (engine, files)
}

fn all_live(engine: &Engine) {
    wait_until("all replicas are live", || {
        engine.metric("foil_replicas{model=\"echo\"") == REPLICAS as f64
    });
}

fn kills() -> usize {
    std::env::var("FOIL_TEST_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(KILLS)
}

/// Asks for numbers nobody else asks for, until told to stop; how many were served.
fn load(engine: &Engine, client: usize, done: &AtomicBool, lost: &AtomicUsize) -> usize {
    let mut connection = engine.client();
    let mut served = 0;
    for number in 0.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let text = format!("client {client} number {number}");
        let input = json!({"name": "x", "shape": [1, 1], "datatype": "BYTES", "data": [&text]});
        let answer = connection.infer("echo", &json!({ "inputs": [input] }).to_string());
        match answer.status {
            200 => {
                assert_eq!(answer.output(0), json!([text]), "the answer to another question");
                served += 1;
            }
            // No replica is live, or a batch that was run again lost its second container too.
            503 => {
                lost.fetch_add(1, Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(5));
            }
            // A row that was with two of those that were killed is not run a third time.
            500 if answer.error().contains("two replicas") => {
                lost.fetch_add(1, Ordering::Relaxed);
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    served
}

#[expect(clippy::disallowed_methods, reason = "the pace of the kills, and times to report")]
fn kill_at_random(lane: &str) {
    let (engine, _files) = echo(lane);
    assert_eq!(engine.infer("echo", "{}").status, 400);
    wait_until("connections close", || engine.metric("foil_http_connections{core=\"0\"}") == 0.0);
    let before = (engine.descriptors(), engine.shared_mappings(), engine.containers().len());
    let (done, lost, mut seed) = (AtomicBool::new(false), AtomicUsize::new(0), 0x2545_f491_u32);
    let (mut served, kills) = (0, kills());
    std::thread::scope(|scope| {
        let ends = Ends(&done);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (engine, done, lost) = (&engine, &done, &lost);
                scope.spawn(move || load(engine, client, done, lost))
            })
            .collect();
        for number in 0..kills {
            wait_until("somebody is there to be killed", || !engine.containers().is_empty());
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            std::thread::sleep(Duration::from_micros(u64::from(seed >> 16) * 6));
            let containers = engine.containers();
            if let Some(&container) = containers.get(number % containers.len().max(1)) {
                // It may have ended between the look and the kill.
                let pid = rustix::process::Pid::from_raw(container.cast_signed());
                let _gone = rustix::process::kill_process(pid.expect("a process id"), Signal::KILL);
            }
        }
        all_live(&engine);
        drop(ends);
        served = clients.into_iter().map(|client| client.join().expect("right answers")).sum();
    });
    let lost = lost.into_inner();
    let slowest = (0..TIMED_KILLS).map(|_| recovery(&engine)).max().unwrap_or_default();
    println!(
        "{lane}: {kills} kills, {served} served, {lost} answered with an error, slowest recovery {slowest:?}"
    );
    assert!(served > kills, "load flowed");
    wait_until("nothing more than before is there", || {
        (engine.descriptors(), engine.shared_mappings(), engine.containers().len()) <= before
    });
    assert_eq!(shm_leftovers(engine.pid()), 0, "no name in /dev/shm");
    assert!(engine.stop().success());
}

/// From a kill to a full fleet again.
#[expect(clippy::disallowed_methods, reason = "a time to report")]
fn recovery(engine: &Engine) -> Duration {
    let restarts = || engine.restarts("echo");
    let before = restarts();
    let begun = Instant::now();
    kill(engine.containers()[0], Signal::KILL);
    wait_until("the restart is counted", || restarts() > before);
    all_live(engine);
    begun.elapsed()
}

fn shm_leftovers(pid: u32) -> usize {
    let prefix = format!("hydrofoil-{pid}-");
    let names = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    names.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
}

#[test]
fn random_kills_under_load_lose_no_answer_and_leak_nothing_sealed() {
    kill_at_random("memfd");
}

#[test]
fn random_kills_under_load_lose_no_answer_and_leak_nothing_open() {
    kill_at_random("posix");
}

/// The engine is killed while its container stands at each step of the protocol.
#[test]
fn an_engine_killed_at_any_step_takes_its_container_along_and_leaves_nothing() {
    for lane in ["memfd", "posix"] {
        for step in ["connected", "hello_sent", "welcomed", "ready", "with_request", "answered"] {
            kill_engine_at(lane, step);
        }
    }
}

fn kill_engine_at(lane: &str, step: &str) {
    let files = Scratch::new(&format!("engine-{lane}-{step}"));
    let target = format!("attack.wait_{step}.py");
    files.write(&target, "# see tests/src/bin/hostile_container\n");
    let reached = files.path(&format!("{target}.reached"));
    let mut command = command(&[&files.path(&target), "--lane", lane, "--shared-user"]);
    command.env("FOIL_PYTHON", env!("CARGO_BIN_EXE_hostile-container"));
    let mut engine = Engine::start_unready(command);
    let serves = matches!(step, "ready" | "with_request" | "answered");
    wait_until(&format!("the container stands at {step}"), || {
        if serves && engine.said().contains("ready  attacker") && engine.has_address() {
            // The request may end with the engine.
            engine.post_and_forget("attacker", &harness::tensors::rows(&[[1.0, 2.0]]));
        }
        Path::new(&reached).exists()
    });
    let containers = engine.containers();
    assert!(!containers.is_empty(), "{step}: it waits");
    engine.signal(Signal::KILL);
    engine.wait();
    wait_until("its container is gone", || {
        containers.iter().all(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        })
    });
    assert_eq!(shm_leftovers(engine.pid()), 0, "{lane} {step}: no name in /dev/shm");
}
