//! Containers that speak Clipper's RPC, dialling in, batched and lost like any other replica.

use std::net::SocketAddr;
use std::thread::{scope, spawn};

use harness::containers::{Container, port};
use harness::engine::{Engine, Scratch, command, wait_until};
use serde_json::{Value, json};

const FREE: &str = "127.0.0.1:0";

fn engine(arguments: &[&str]) -> Engine {
    engine_at(FREE, arguments)
}

fn engine_at(address: &str, arguments: &[&str]) -> Engine {
    let mut command = command(arguments);
    command.args(["--clipper-rpc", address]);
    let mut engine = Engine::start_unready(command);
    wait_until("the engine says where it listens", || engine.has_address());
    engine
}

/// A container that serves before this returns.
fn serving(engine: &Engine, at: SocketAddr, arguments: &[&str]) -> Container {
    let before = served(engine);
    let container = Container::start(at, arguments);
    wait_until("the container serves", || served(engine) > before);
    container
}

fn served(engine: &Engine) -> usize {
    engine.said().matches("a container serves").count()
}

fn body(data: &[f64]) -> String {
    let input =
        json!({"name": "input", "shape": [1, data.len()], "datatype": "FP64", "data": [data]});
    json!({"inputs": [input]}).to_string()
}

/// Asks the model `seen` with one row; who answered, in a batch of how many rows, and what it saw.
fn ask(engine: &Engine, data: &[f64]) -> Value {
    let answer = engine.infer("seen", &body(data)).output(0);
    let text = answer[0].as_str().unwrap_or_else(|| panic!("no text in {answer}"));
    serde_json::from_str(text).expect("the container answers JSON")
}

fn queued(engine: &Engine) -> f64 {
    engine.metric("foil_queue_length{model=\"seen\"")
}

#[test]
fn containers_share_a_models_load() {
    let engine = engine(&[]);
    let (at, files) = (port(&engine), Scratch::new("clipper-share"));
    files.write("hold", "");
    let hold = files.path("hold");
    let first = serving(&engine, at, &["--tag", "a", "--hold", &hold]);
    let second = serving(&engine, at, &["--tag", "b", "--hold", &hold]);
    let batches = || first.count("batch") + second.count("batch");
    scope(|scope| {
        let one = scope.spawn(|| ask(&engine, &[1.0]));
        wait_until("one has a batch", || batches() == 1);
        let other = scope.spawn(|| ask(&engine, &[2.0, 3.0]));
        wait_until("both have a batch", || batches() == 2);
        assert_eq!(first.count("batch"), second.count("batch"), "one each");
        let longer = scope.spawn(|| ask(&engine, &[0.5; 300]));
        wait_until("one waits", || queued(&engine) == 1.0);
        std::fs::remove_file(&hold).expect("it is there");
        let (one, other) = (one.join().expect("an answer"), other.join().expect("an answer"));
        assert_eq!((&one["saw"], &other["saw"]), (&json!([1.0]), &json!([2.0, 3.0])));
        assert_eq!(longer.join().expect("an answer")["saw"], json!(vec![0.5; 300]));
    });
}

#[test]
fn what_a_killed_container_had_is_answered_by_another() {
    let engine = engine(&[]);
    let (at, files) = (port(&engine), Scratch::new("clipper-killed"));
    files.write("hold", "");
    let first = serving(&engine, at, &["--tag", "a", "--hold", &files.path("hold")]);
    scope(|scope| {
        let asked = scope.spawn(|| ask(&engine, &[1.0, 2.0]));
        first.wait_for("batch", 1);
        let _second = serving(&engine, at, &["--tag", "b"]);
        first.kill();
        let answer = asked.join().expect("an answer");
        assert_eq!((&answer["by"], &answer["saw"]), (&json!("b"), &json!([1.0, 2.0])));
    });
    wait_until("the loss is in the log", || engine.said().contains("it closed its connection"));
}

#[test]
fn a_model_whose_last_container_left_says_so_and_serves_with_the_next() {
    let engine = engine(&[]);
    let at = port(&engine);
    serving(&engine, at, &[]).kill();
    let unavailable = || engine.infer("seen", &body(&[1.0]));
    wait_until("the model is unavailable", || unavailable().status == 503);
    let error = unavailable().error();
    assert!(error.contains(&format!("dial in at {at}")), "{error}");
    assert_eq!(engine.get("/v2/models/seen/ready").status, 503, "the model is not ready");
    assert_eq!(engine.get("/v2/health/ready").status, 200, "the engine has done its part");
    let _next = serving(&engine, at, &["--tag", "next"]);
    assert_eq!(ask(&engine, &[1.0])["by"], "next");
    assert!(engine.said().contains("replica=1"), "ids are not used twice");
}

#[test]
fn a_container_that_says_nothing_is_given_up_and_one_that_beats_is_kept() {
    let files = Scratch::new("clipper-silence");
    files.write("foil.toml", "[limits]\ncontainer_silence_s = 1\n");
    let engine = engine(&["--config", &files.path("foil.toml")]);
    let at = port(&engine);
    let beating = serving(&engine, at, &["--tag", "beats", "--idle-ms", "100"]);
    let _mute = serving(&engine, at, &["--tag", "mute", "--mute"]);
    wait_until("the mute one is given up", || engine.said().contains("it was silent for 1s"));
    beating.wait_for("kept", 5);
    assert_eq!(beating.count("asked"), 1, "it never was a stranger again");
    assert!(!engine.said().contains("replica=0: it"), "{}", engine.said());
}

#[test]
fn containers_find_the_next_engine_by_themselves() {
    let first = engine(&[]);
    let at = port(&first);
    let container = serving(&first, at, &[]);
    assert!(first.stop().success());
    let second = engine_at(&at.to_string(), &[]);
    container.wait_for("asked", 2);
    wait_until("it serves again", || served(&second) == 1);
    assert_eq!(ask(&second, &[4.0])["saw"], json!([4.0]));
}

#[test]
fn every_input_type_arrives_as_its_own() {
    let engine = engine(&[]);
    let at = port(&engine);
    let numbers =
        [("integers", "INT32", json!([[1, -2]])), ("floats", "FP32", json!([[0.5, 2.0]]))];
    for (kind, datatype, data) in numbers {
        let _container = serving(&engine, at, &["--name", kind, "--input-type", kind]);
        let input = json!({"name": "input", "shape": [1, 2], "datatype": datatype, "data": data});
        let answer = engine.infer(kind, &json!({"inputs": [input]}).to_string()).output(0);
        let saw: Value = serde_json::from_str(answer[0].as_str().expect("a text")).expect("JSON");
        assert_eq!(saw["saw"], data[0], "{kind}");
    }
    for (kind, saw) in
        [("strings", json!("größer")), ("bytes", json!([103, 114, -61, -74, -61, -97, 101, 114]))]
    {
        let _container = serving(&engine, at, &["--name", kind, "--input-type", kind]);
        let input = json!({"name": "input", "shape": [1], "datatype": "BYTES", "data": ["größer"]});
        let answer = engine.infer(kind, &json!({"inputs": [input]}).to_string()).output(0);
        let found: Value = serde_json::from_str(answer[0].as_str().expect("a text")).expect("JSON");
        assert_eq!(found["saw"], saw, "{kind}");
    }
}

#[test]
fn a_text_that_is_no_number_is_a_version_with_a_number_of_its_own() {
    let engine = engine(&[]);
    let _container = serving(&engine, port(&engine), &["--version", "v1"]);
    let metadata = engine.get("/v2/models/seen").json();
    assert_eq!(metadata["versions"], json!(["4294967296"]));
}

#[test]
fn a_wrong_number_of_outputs_fails_the_batch_and_not_the_container() {
    let engine = engine(&[]);
    let container = serving(&engine, port(&engine), &["--extra", "1"]);
    for _ in 0..2 {
        let answer = engine.infer("seen", &body(&[1.0]));
        assert_eq!(answer.status, 500, "{}", answer.text());
        assert!(answer.error().contains("answered 2 outputs to 1 inputs"), "{}", answer.error());
    }
    assert_eq!(container.count("asked"), 1, "it was not sent away");
}

#[test]
fn an_array_without_elements_never_reaches_a_container() {
    let engine = engine(&[]);
    let container = serving(&engine, port(&engine), &[]);
    let answer = engine.infer("seen", &body(&[]));
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(ask(&engine, &[7.0])["saw"], json!([7.0]));
    container.wait_for("batch", 1);
    assert_eq!(container.count("batch"), 1, "the one with an element");
}

#[test]
fn containers_of_another_rpc_version_or_input_type_get_no_work() {
    let engine = engine(&[]);
    let at = port(&engine);
    let _old = Container::start(at, &["--name", "old", "--rpc-version", "2"]);
    wait_until("it is in the log", || engine.said().contains("old:1 speaks RPC version 2"));
    assert_eq!(engine.get("/v2/models/old").status, 404);
    let _right = serving(&engine, at, &["--tag", "right"]);
    let _wrong = Container::start(at, &["--input-type", "strings", "--tag", "wrong"]);
    let refused = "the model takes doubles, its container strings";
    wait_until("it is in the log", || engine.said().contains(refused));
    for _ in 0..5 {
        assert_eq!(ask(&engine, &[1.0])["by"], "right");
    }
}

#[test]
fn what_was_accepted_is_answered_before_the_engine_ends() {
    let engine = engine(&[]);
    let (at, files) = (port(&engine), Scratch::new("clipper-drain"));
    files.write("hold", "");
    let hold = files.path("hold");
    let container = serving(&engine, at, &["--hold", &hold]);
    let mut client = engine.client();
    let asked = spawn(move || client.infer("seen", &body(&[1.0])));
    container.wait_for("batch", 1);
    engine.signal(rustix::process::Signal::TERM);
    wait_until("it drains", || engine.said().contains("draining"));
    std::fs::remove_file(&hold).expect("it is there");
    assert_eq!(asked.join().expect("an answer").status, 200);
    let mut engine = engine;
    assert!(engine.wait().success());
}
