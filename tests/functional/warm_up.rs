//! What a replica runs before it is ready, and what the next engine remembers of it.

use std::collections::BTreeMap;

use harness::engine::{Engine, Scratch, command, kill, model, wait_until};
use harness::tensors::rows;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Writes the rows and the sum of each batch beside itself.
const RECORDS: &str = r#"
import os, sys, time
import hydrofoil as foil

SEEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seen")

@foil.model(max_batch=8, batch_timeout="500ms")
def records(x: foil.f32["n", 2]) -> foil.f32["n"]:
    with open(SEEN, "a") as seen:
        seen.write(f"{len(x)} {x.sum():.0f}\n")
    return x.sum(axis=1)
"#;

/// The same, with a mood about zeros.
fn records_but(on_zeros: &str) -> String {
    let begin = "    with open(SEEN";
    RECORDS.replace(begin, &format!("    if not x.any():\n        {on_zeros}\n{begin}"))
}

/// Rows and sum of each batch that the model in this directory ran, in order.
fn seen(files: &Scratch) -> Vec<(u32, u32)> {
    let text = std::fs::read_to_string(files.path("seen")).unwrap_or_default();
    let numbers = |line: &str| -> Option<(u32, u32)> {
        let (rows, sum) = line.split_once(' ')?;
        Some((rows.parse().ok()?, sum.parse().ok()?))
    };
    text.lines().filter_map(numbers).collect()
}

/// How often each size ran.
fn sizes(batches: &[(u32, u32)]) -> BTreeMap<u32, usize> {
    let mut sizes = BTreeMap::new();
    batches.iter().for_each(|&(rows, _)| *sizes.entry(rows).or_default() += 1);
    sizes
}

fn start(files: &Scratch, more: &[&str]) -> Engine {
    let target = files.path("records.py");
    // Under a user of its own the model could not write beside itself.
    let arguments = [&[target.as_str(), "--shared-user"], more].concat();
    Engine::start(&arguments, 1)
}

fn batching(engine: &Engine, name: &str) -> Value {
    engine.get(&format!("/v2/models/{name}/batching")).json()
}

fn serves(engine: &Engine) {
    let answer = engine.infer("records", &rows(&[[1.0, 2.0]]));
    assert_eq!(answer.output(0), json!([3.0]));
}

#[test]
fn a_model_has_run_batches_of_every_size_before_it_is_ready() {
    let files = Scratch::new("warm");
    files.write("records.py", RECORDS);
    let engine = start(&files, &[]);
    let before = seen(&files);
    assert!(before.is_sorted(), "small ones first: {before:?}");
    let sizes = sizes(&before);
    assert_eq!(sizes.keys().copied().collect::<Vec<_>>(), [1, 2, 4, 8]);
    assert!(sizes.values().all(|count| (2..=5).contains(count)), "{sizes:?}");
    let page = batching(&engine, "records");
    let origin = &page["started_from"][0];
    assert_eq!(origin["warm_up"]["batches"], before.len(), "{page}");
    assert_eq!(origin["warm_up"]["largest"], 8, "{page}");
    assert_eq!(origin["prior"]["state"], "none stored", "{page}");
    assert_eq!(page["curve"]["measured"].as_array().map(Vec::len), Some(4), "{page}");
    serves(&engine);
    assert_eq!(seen(&files).len(), before.len() + 1);
}

#[test]
fn a_replica_that_comes_back_runs_each_size_once() {
    let files = Scratch::new("warm-again");
    files.write("records.py", RECORDS);
    let engine = start(&files, &[]);
    let before = seen(&files).len();
    kill(engine.containers()[0], Signal::KILL);
    wait_until("it is warmed up again", || seen(&files).len() >= before + 4);
    assert_eq!(sizes(&seen(&files)[before..]), [1, 2, 4, 8].map(|rows| (rows, 1)).into());
    wait_until("it is live", || engine.metric(r#"foil_replicas{model="records""#) == 1.0);
    serves(&engine);
}

#[test]
fn batches_are_made_of_the_models_own_sample() {
    let files = Scratch::new("sample");
    files.write("records.py", &records_but("sys.exit('zeros!')"));
    files.write("sample.json", &rows(&[[1.0, 0.0], [2.0, 0.0]]));
    let engine = start(&files, &[]);
    let mut batches = seen(&files);
    batches.dedup();
    assert_eq!(batches, [(1, 1), (2, 3), (4, 6), (8, 12)], "its rows are repeated");
    assert_eq!(engine.restarts("records"), 0.0);
    serves(&engine);
}

#[test]
fn a_sample_that_does_not_suit_the_model_is_an_error_that_names_its_file() {
    let files = Scratch::new("bad-sample");
    files.write("records.py", RECORDS);
    let input = json!({"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]});
    files.write("records.sample.json", &json!({ "inputs": [input] }).to_string());
    let target = files.path("records.py");
    let mut engine = Engine::start_unready(command(&[&target, "--shared-user"]));
    assert!(!engine.wait().success());
    wait_until("it says why", || engine.said().contains("records.sample.json"));
    assert!(
        engine.said().contains("has the shape [1, 3] but the model takes [-1, 2]"),
        "{}",
        engine.said()
    );
    drop(engine);
    files.write("records.sample.json", "a file for something else");
    let engine = start(&files, &["--no-warm-up"]);
    serves(&engine);
}

#[test]
fn a_model_that_raises_on_zeros_serves_all_the_same_and_the_log_says_so() {
    let files = Scratch::new("raises");
    files.write("records.py", &records_but("raise ValueError('nothing to see')"));
    let engine = start(&files, &[]);
    let said = engine.said();
    assert_eq!(said.matches("raised in its warm-up").count(), 1, "{said}");
    assert!(said.contains("nothing to see") && said.contains("sample.json"), "{said}");
    let page = batching(&engine, "records");
    let state = page["started_from"][0]["warm_up"]["state"].as_str().unwrap_or_default();
    assert!(state.contains("raised"), "{page}");
    serves(&engine);
}

#[test]
fn a_model_that_can_not_stand_zeros_is_served_after_two_lives() {
    for (name, mood) in [("exits", "sys.exit(3)"), ("hangs", "time.sleep(3600)")] {
        let files = Scratch::new(&format!("zeros-{name}"));
        files.write("records.py", &records_but(mood));
        let engine = start(&files, &[]);
        let said = engine.said();
        let ends = said.lines().filter(|line| line.contains("a replica ended: in its warm-up, "));
        assert_eq!(ends.count(), 2, "{name}: {said}");
        assert!(said.contains("goes live without warm-up"), "{name}: {said}");
        assert!(seen(&files).is_empty());
        assert_eq!(engine.restarts("records"), 2.0);
        serves(&engine);
        assert!(engine.stop().success());
    }
}

#[test]
fn a_model_without_warm_up_sees_its_first_caller_first() {
    let files = Scratch::new("cold");
    files.write("repository/records/1/model.py", RECORDS);
    files.write("repository/records/model.toml", "warm_up = false\n");
    let repository = files.path("repository");
    let engine = Engine::start(&[&repository, "--shared-user"], 1);
    let page = batching(&engine, "records");
    assert_eq!(page["started_from"][0]["warm_up"]["state"], "switched off", "{page}");
    serves(&engine);
    let seen = std::fs::read_to_string(files.path("repository/records/1/seen")).expect("written");
    assert_eq!(seen, "1 3\n");
}

#[test]
fn every_kind_of_model_is_warmed_up() {
    let files = Scratch::new("kinds");
    files.write("native/echo/model.toml", "runtime = \"native\"\nkind = \"echo\"\n");
    files.write("native/echo/1/keep", "");
    files.write("one.py", "import hydrofoil as foil\n\n@foil.model(max_batch=1)\ndef one(x: foil.str[\"n\", \"k\"]) -> foil.str[\"n\", \"k\"]:\n    return x\n");
    files.write("three.py", "import hydrofoil as foil\n\n@foil.model(max_batch=3, batch=True)\ndef three(x: foil.i8[\"n\"]) -> foil.i8[\"n\"]:\n    return x\n");
    let (native, one, three) = (files.path("native"), files.path("one.py"), files.path("three.py"));
    let targets =
        [&model("unbatched.py"), &model("mixed.py"), &model("echo_all.py"), &native, &one, &three];
    let engine = Engine::start(&targets.map(String::as_str), targets.len());
    let largest =
        [("trace", 1), ("mixed", 8), ("echo_all", 8), ("echo", 64), ("one", 1), ("three", 3)];
    for (name, rows) in largest {
        let page = batching(&engine, name);
        let warm_up = &page["started_from"][0]["warm_up"];
        assert_eq!(
            (&warm_up["state"], &warm_up["largest"]),
            (&json!("done"), &json!(rows)),
            "{name}: {page}"
        );
    }
}

#[test]
fn the_next_engine_starts_from_what_this_one_learned() {
    let files = Scratch::new("remembers");
    files.write("records.py", RECORDS);
    let state = files.path("state");
    let prior = || {
        let engine = start(&files, &["--state", &state]);
        let prior = batching(&engine, "records")["started_from"][0]["prior"].clone();
        let said = engine.said();
        assert!(engine.stop().success());
        (prior, said)
    };
    assert_eq!(prior().0["state"], "none stored");
    let (known, _) = prior();
    assert_eq!(known["sizes"], 4, "{known}");
    assert_ne!(known["state"], "none stored", "{known}");
    let profiles = files.path("state/profiles");
    let stored = || std::fs::read_dir(&profiles).expect("made").flatten().map(|entry| entry.path());
    assert_eq!(stored().count(), 1);

    let file = stored().next().expect("one");
    std::fs::write(&file, "{\"format\": 99}").expect("written");
    let (foreign, said) = prior();
    assert_eq!(foreign["state"], "none stored");
    assert!(said.contains("is of format 99"), "{said}");
    assert_eq!(prior().0["sizes"], 4, "it was replaced");

    files.write("records.py", &records_but("pass"));
    assert_eq!(prior().0["state"], "none stored", "another program is another model");
    assert_eq!(stored().count(), 2);
}

#[test]
fn what_is_learned_is_kept_in_the_users_state_unless_told_otherwise() {
    let files = Scratch::new("state-home");
    files.write("records.py", RECORDS);
    let target = files.path("records.py");
    let mut command = command(&[&target, "--shared-user"]);
    command.env_remove("FOIL_STATE").env("XDG_STATE_HOME", &files.0);
    let engine = Engine::start_with(command, 1);
    assert!(engine.stop().success());
    let stored = std::fs::read_dir(files.path("hydrofoil/profiles")).expect("made").count();
    assert_eq!(stored, 1);
}
