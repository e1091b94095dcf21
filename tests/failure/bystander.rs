//! What an attack costs the neighbours of the attacked model: figures, for a person to read. Not a test.

use std::time::{Duration, Instant};

use harness::engine::{Engine, Scratch, command};
use harness::tensors::rows;
use serde_json::json;

use super::attacked::bystander;

const PAIRS: usize = 7;
/// Long enough for some hundred requests of the neighbour.
const SPAN: Duration = Duration::from_secs(1);
const ATTACKS: [&str; 7] = [
    "tail_jump",
    "wrong_generation",
    "garbage_header",
    "bell_storm",
    "socket_flood",
    "log_flood",
    "never_reply",
];

#[test]
#[ignore = "prints figures; see cargo xtask nightly"]
fn neighbours_of_an_attacker() {
    for lane in ["memfd", "posix"] {
        for attack in ATTACKS {
            let mut more: Vec<f64> = (0..PAIRS).map(|_| pair(lane, attack)).collect();
            more.sort_by(f64::total_cmp);
            println!(
                "{lane} {attack}: p99 of the neighbour {:+.2} ms (median of {PAIRS} pairs, {:+.2} to {:+.2})",
                more[PAIRS / 2],
                more[0],
                more[PAIRS - 1]
            );
        }
    }
}

/// One undisturbed span, then one under attack, on one engine; by how many ms the p99 rose.
fn pair(lane: &str, attack: &str) -> f64 {
    let files = Scratch::new(&format!("bystander-{lane}-{attack}"));
    let target = format!("attack.{attack}.py");
    files.write(&target, "# see tests/src/bin/hostile_container\n");
    bystander(&files, "process");
    let mut command = command(&[&files.path(&target), &files.path("models"), "--lane", lane]);
    command
        .args(["--shared-user", "--no-warm-up"])
        .env("FOIL_PYTHON", env!("CARGO_BIN_EXE_hostile-container"));
    let engine = Engine::start_with(command, 2);
    let undisturbed = p99_ms(&engine);
    let attacked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            for _ in 0..40 {
                let _answered_somehow = engine.infer("attacker", &rows(&[[1.0, 2.0]]));
                std::thread::park_timeout(SPAN / 40);
            }
        });
        let p99 = p99_ms(&engine);
        asking.join().expect("each request is answered");
        p99
    });
    attacked - undisturbed
}

#[expect(clippy::disallowed_methods, reason = "figures to report")]
fn p99_ms(engine: &Engine) -> f64 {
    let input = json!({"name": "x", "shape": [1, 784], "datatype": "FP32", "data": vec![0.5; 784]});
    let body = json!({ "inputs": [input] }).to_string();
    let mut client = engine.client();
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < SPAN {
        let asked = Instant::now();
        assert_eq!(client.infer("bystander", &body).output(0), json!([392.0]));
        times.push(asked.elapsed());
        std::thread::park_timeout(Duration::from_millis(1));
    }
    times.sort();
    times[times.len() * 99 / 100].as_secs_f64() * 1e3
}
