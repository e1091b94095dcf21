//! Replicas follow the load, between the bounds that a model was given.

use std::sync::atomic::{AtomicBool, Ordering};

use harness::engine::{Ends, Engine, Scratch, wait_until};
use serde_json::json;

/// What a row takes; one at a time, so that a replica carries fewer than fifty a second.
const ROW_MICROS: u32 = 20_000;
const CLIENTS: usize = 8;

#[test]
fn replicas_come_with_the_load_and_go_when_it_has_gone() {
    let files = Scratch::new("scaling");
    files.write("foil.toml", "[limits]\nscale_down_s = 2\n");
    let toml =
        "runtime = \"native\"\nkind = \"sleep\"\nmax_batch = 1\nslo = \"60ms\"\nreplicas_max = 3\n";
    files.write("models/sleep/model.toml", toml);
    files.write("models/sleep/1/keep", "");
    let engine = Engine::start(&[&files.path("models"), "--config", &files.path("foil.toml")], 1);
    let gauge = |name: &str| engine.metric(&format!("{name}{{model=\"sleep\""));
    assert_eq!(gauge("foil_replicas"), 1.0);
    let done = AtomicBool::new(false);
    let input = json!({"name": "micros", "shape": [1], "datatype": "FP32", "data": [ROW_MICROS]});
    let body = json!({ "inputs": [input] }).to_string();
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = engine.client();
                while !done.load(Ordering::Relaxed) {
                    let status = client.infer("sleep", &body).status;
                    // Turned away at once, or late by far.
                    assert!([200, 503, 504].contains(&status), "{status}");
                }
            });
        }
        wait_until("replicas come with the load", || gauge("foil_replicas") == 3.0);
        assert!(gauge("foil_load_rows_per_second") > 40.0);
        let carried = gauge("foil_capacity_rows_per_second");
        assert!((1.0..=200.0).contains(&carried), "{carried}");
        wait_until("more are needed than it may have", || gauge("foil_replicas_needed") >= 3.0);
    });
    wait_until("they go when it has gone", || gauge("foil_replicas") == 1.0);
    wait_until("that is what is wanted", || gauge("foil_replicas_wanted") == 1.0);
    assert_eq!(engine.infer("sleep", &body).status, 200);
}

#[test]
fn bounds_that_can_not_be_are_named() {
    let files = Scratch::new("scaling-bounds");
    files.write("models/sleep/1/keep", "");
    for (settings, why) in [
        ("replicas_min = 2\n", "replicas_max"),
        ("replicas_max = 2\nreplicas_min = 3\n", "less than"),
        ("replicas_max = 2\nreplicas = 2\n", "without replicas"),
    ] {
        let toml = format!("runtime = \"native\"\nkind = \"sleep\"\n{settings}");
        files.write("models/sleep/model.toml", &toml);
        let output = harness::engine::command(&[&files.path("models")]).output();
        let said = String::from_utf8_lossy(&output.expect("foil runs").stderr).into_owned();
        assert!(said.contains(why), "{said}");
    }
}
