//! Models that come, change and go while others are asked; and who may make them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use harness::client::{Client, Response};
use harness::engine::{Engine, Scratch, command, wait_until};
use serde_json::{Value, json};

const ROW: &str = r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#;

/// A model that multiplies by `factor`.
fn times(factor: u32) -> String {
    format!(
        "import hydrofoil as foil\n\n\n@foil.model(max_batch=8)\nclass Times:\n    \
         def predict(self, x: foil.f32[\"n\", 2]) -> foil.f32[\"n\", 2]:\n        return x * {factor}\n"
    )
}

const BROKEN: &str = "import hydrofoil as foil\n\n\n@foil.model\nclass Times:\n    def load(self, ctx):\n        \
     raise ValueError(\"no weights here\")\n\n    def predict(self, x: foil.f32[\"n\", 2]) -> foil.f32[\"n\", 2]:\n        return x\n";

fn answer_of(factor: u32) -> Value {
    json!([f64::from(factor), f64::from(2 * factor)])
}

struct Admin<'e> {
    engine: &'e Engine,
    headers: Vec<(&'static str, &'static str)>,
}

impl Admin<'_> {
    fn of(engine: &Engine) -> Admin<'_> {
        Admin { engine, headers: Vec::new() }
    }

    fn post(&self, path: &str, body: &str) -> Response {
        let address = self.engine.admin.expect("started with --admin");
        Client::connect(address).post(path, &self.headers, body.as_bytes())
    }

    fn load(&self, model: &str) -> Response {
        self.post(&format!("/v2/repository/models/{model}/load"), "{}")
    }

    fn unload(&self, model: &str) -> Response {
        self.post(&format!("/v2/repository/models/{model}/unload"), "{}")
    }

    /// State and reason of each version of a model, in order.
    fn index(&self, model: &str) -> Vec<(String, String)> {
        let lines = self.post("/v2/repository/index", "").json();
        let lines = lines.as_array().expect("a list").iter().filter(|line| line["name"] == model);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        lines.map(|line| (text(&line["state"]), text(&line["reason"]))).collect()
    }
}

/// Threads that ask one model until they are told to end.
struct Askers {
    end: &'static AtomicBool,
    threads: Vec<JoinHandle<Vec<Response>>>,
}

impl Askers {
    fn start(engine: &Engine, model: &'static str, count: usize) -> Askers {
        let end: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        let address = engine.http;
        let asker = move || {
            let mut client = Client::connect(address);
            let mut answers = Vec::new();
            while !end.load(Ordering::Relaxed) {
                answers.push(client.infer(model, ROW));
            }
            answers
        };
        Askers { end, threads: (0..count).map(|_| std::thread::spawn(asker)).collect() }
    }

    fn finish(self) -> Vec<Response> {
        self.end.store(true, Ordering::Relaxed);
        let answers = self.threads.into_iter().map(|it| it.join().expect("an asker never fails"));
        answers.flatten().collect()
    }
}

fn repository(name: &str) -> Scratch {
    let files = Scratch::new(name);
    files.write("neighbour/1/model.py", &times(10));
    files.write("changing/1/model.py", &times(1));
    files
}

#[test]
fn models_come_change_and_go_and_no_request_of_anybody_fails() {
    let files = repository("reload");
    let engine = Engine::start(&[&files.path(""), "--admin", "127.0.0.1:0"], 2);
    let admin = Admin::of(&engine);
    let neighbours = Askers::start(&engine, "neighbour", 2);
    let changing = Askers::start(&engine, "changing", 2);
    let before = engine.containers();

    assert_eq!(admin.load("changing").status, 200);
    assert_eq!(engine.containers(), before, "nothing has changed, so nothing was started");
    for factor in 2..=4 {
        files.write("changing/1/model.py", &times(factor));
        let loaded = admin.load("changing");
        assert_eq!((loaded.status, loaded.text()), (200, String::new()));
        assert_eq!(engine.infer("changing", ROW).output(0), answer_of(factor), "at once");
    }
    files.write("newcomer/3/model.py", &times(7));
    assert_eq!(engine.infer("newcomer", ROW).status, 404);
    assert_eq!(admin.load("newcomer").status, 200);
    assert_eq!(engine.infer("newcomer", ROW).output(0), answer_of(7));
    assert_eq!(admin.unload("newcomer").status, 200);
    assert_eq!(engine.infer("newcomer", ROW).status, 404);
    assert_eq!(admin.index("newcomer")[0], ("UNAVAILABLE".into(), "unloaded".into()));
    assert_eq!(admin.index("changing")[0], ("READY".into(), String::new()));

    let neighbours = neighbours.finish();
    assert!(neighbours.len() > 100, "{} answers", neighbours.len());
    assert!(neighbours.iter().all(|answer| answer.output(0) == answer_of(10)));
    let changing = changing.finish();
    let known: Vec<_> = (1..=4).map(answer_of).collect();
    assert!(changing.iter().all(|answer| known.contains(&answer.output(0))));
    wait_until("the old processes have ended", || engine.containers().len() == 2);
    assert_eq!(engine.metric("foil_replicas{model=\"changing\""), 1.0);
    let page = Client::connect(engine.metrics).get("/metrics").text();
    assert!(!page.contains("newcomer"), "what is unloaded is forgotten");
    assert!(engine.stop().success());
}

#[test]
fn an_unload_answers_what_was_accepted() {
    let files = Scratch::new("unload");
    let slow = times(5).replace("return x", "__import__('time').sleep(0.5); return x");
    files.write("slow/1/model.py", &slow);
    let engine = Engine::start(&[&files.path(""), "--admin", "127.0.0.1:0", "--no-warm-up"], 1);
    let mut clients: Vec<_> = (0..3).map(|_| engine.client()).collect();
    for client in &mut clients {
        client.send(&harness::client::bytes_of(
            "POST",
            "/v2/models/slow/infer",
            &[],
            ROW.as_bytes(),
        ));
    }
    wait_until("they are with the model", || {
        engine.metric("foil_queue_length{model=\"slow\"") > 0.0
    });
    assert_eq!(Admin::of(&engine).unload("slow").status, 200);
    for client in &mut clients {
        assert_eq!(client.read().expect("an answer").output(0), answer_of(5));
    }
    assert!(engine.containers().is_empty());
    assert_eq!(engine.get("/v2/health/ready").status, 200, "what is not wanted is not missed");
}

#[test]
fn a_load_that_fails_leaves_the_old_one_serving_and_says_why() {
    let files = repository("broken");
    let engine = Engine::start(&[&files.path(""), "--admin", "127.0.0.1:0"], 2);
    let admin = Admin::of(&engine);
    files.write("changing/1/model.py", BROKEN);
    let refused = admin.load("changing");
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("no weights here"), "{}", refused.error());
    assert_eq!(engine.infer("changing", ROW).output(0), answer_of(1));
    let (state, reason) = admin.index("changing").remove(0);
    assert!(state == "READY" && reason.contains("no weights here"), "{state} {reason}");

    files.write("changing/model.toml", "max_batsh = 3");
    assert!(admin.load("changing").error().contains("did you mean 'max_batch'?"));
    files.write("changing/model.toml", "max_batch = 3");
    files.write("changing/1/model.py", &times(3));
    assert_eq!(admin.load("changing").status, 200);
    assert_eq!(engine.infer("changing", ROW).output(0), answer_of(3));
    assert_eq!(admin.index("changing")[0], ("READY".into(), String::new()));

    assert_eq!(admin.load("nobody").status, 404);
    assert_eq!(admin.unload("nobody").status, 404);
    assert_eq!(admin.load("..%2Fchanging").status, 400);
}

#[test]
fn versions_come_and_go_by_themselves() {
    let files = Scratch::new("versions");
    files.write("m/1/model.py", &times(1));
    let engine = Engine::start(&[&files.path(""), "--admin", "127.0.0.1:0"], 1);
    let admin = Admin::of(&engine);
    let first = engine.containers();
    files.write("m/2/model.py", &times(2));
    assert_eq!(admin.load("m").status, 200);
    assert_eq!(engine.infer("m", ROW).output(0), answer_of(2), "the newest");
    assert_eq!(engine.infer("m/versions/1", ROW).output(0), answer_of(1));
    assert!(first.iter().all(|pid| engine.containers().contains(pid)), "the first stays as it is");
    std::fs::remove_dir_all(files.0.join("m/1")).expect("removed");
    assert_eq!(admin.load("m").status, 200);
    wait_until("the first has left", || engine.containers().len() == 1);
    assert_eq!(engine.infer("m/versions/1", ROW).status, 404);
}

#[test]
fn only_administrators_change_what_is_served() {
    let files = repository("rights");
    let mut serve = command(&[&files.path(""), "--admin", "127.0.0.1:0"]);
    serve.env("FOIL_ADMIN_TOKEN", "correct-horse-battery");
    let engine = Engine::start_with(serve, 2);
    for order in ["load", "unload"] {
        let path = format!("/v2/repository/models/changing/{order}");
        let refused = engine.client().post(
            &path,
            &[("authorization", "Bearer correct-horse-battery")],
            b"{}",
        );
        assert_eq!(refused.status, 403);
        assert!(refused.error().contains("--admin"), "{}", refused.error());
    }
    assert_eq!(
        engine.client().post("/v2/repository/index", &[], b"{}").json().as_array().map(Vec::len),
        Some(2)
    );
    let mut admin = Admin::of(&engine);
    assert_eq!(admin.unload("changing").status, 403);
    admin.headers = vec![("authorization", "Bearer wrong-horse-battery")];
    assert_eq!(admin.unload("changing").status, 403);
    admin.headers = vec![("authorization", "Bearer correct-horse-battery")];
    assert_eq!(admin.unload("changing").status, 200);
    let everything = Client::connect(engine.admin.expect("it listens")).infer("neighbour", ROW);
    assert_eq!(everything.output(0), answer_of(10), "it answers what the public address answers");
    let ready = admin.post("/v2/repository/index", r#"{"ready": true}"#).json();
    assert_eq!(
        ready,
        json!([{"name": "neighbour", "version": "1", "state": "READY", "reason": ""}])
    );
    let files = admin.post(
        "/v2/repository/models/changing/load",
        r#"{"parameters": {"file:1/model.py": "eA=="}}"#,
    );
    assert_eq!(files.status, 501);
}

#[test]
fn an_address_that_anybody_reaches_needs_a_token() {
    let files = repository("open");
    let output = command(&[&files.path(""), "--admin", "0.0.0.0:0"]).output().expect("foil runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("--admin-token-file"), "{said}");
}

#[test]
fn with_explicit_control_only_what_is_named_is_loaded() {
    let files = repository("explicit");
    let root = files.path("");
    let explicit = ["--model-control-mode", "explicit", "--admin", "127.0.0.1:0"];
    let arguments = [&[&*root], &explicit[..], &["--load-model", "changing"]].concat();
    let engine = Engine::start(&arguments, 1);
    assert_eq!(engine.infer("neighbour", ROW).status, 404);
    assert_eq!(engine.get("/v2/health/ready").status, 200);
    assert_eq!(Admin::of(&engine).load("neighbour").status, 200);
    assert_eq!(engine.infer("neighbour", ROW).output(0), answer_of(10));
    drop(engine);
    let arguments = [&[&*root], &explicit[..]].concat();
    let mut nothing = Engine::start_unready(command(&arguments));
    wait_until("it listens", || nothing.has_address());
    wait_until("it is ready", || nothing.get("/v2/health/ready").status == 200);
}

#[test]
fn a_polled_repository_is_followed() {
    let files = repository("poll");
    let poll = ["--model-control-mode", "poll", "--repository-poll-secs", "1"];
    let engine = Engine::start(&[&[&*files.path("")], &poll[..]].concat(), 2);
    files.write("changing/1/model.py", &times(6));
    files.write("newcomer/1/model.py", &times(7));
    std::fs::remove_dir_all(files.0.join("neighbour")).expect("removed");
    wait_until("it is as the repository", || {
        engine.infer("neighbour", ROW).status == 404
            && engine.infer("newcomer", ROW).status == 200
            && engine.infer("changing", ROW).output(0) == answer_of(6)
    });
}
