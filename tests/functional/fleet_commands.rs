//! The commands beside `foil serve`, against a real engine that manages deployments.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use harness::Scratch;
use harness::engine::{Engine, command, program, wait_until};
use serde_json::{Value, json};

const ROW: &str = r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#;

/// Multiplies by the number in a file beside it.
const MODEL: &str = "import hydrofoil as foil\n\n\n@foil.model(max_batch=8)\nclass TimesSome:\n    \
     def load(self, ctx):\n        self.factor = int(ctx.path(\"factor.txt\").read_text())\n        \
     print(\"the factor is\", self.factor, flush=True)\n\n    \
     def predict(self, x: foil.f32[\"n\", 2]) -> foil.f32[\"n\", 2]:\n        return x * self.factor\n";

/// An engine with a state directory of its own, and the commands that find it there.
struct Fleet {
    engine: Engine,
    scratch: Scratch,
}

impl Fleet {
    fn start(name: &str, arguments: &[&str]) -> Fleet {
        let scratch = Scratch::new(name);
        scratch.write("times.py", MODEL);
        let state = scratch.path("state");
        let mut engine =
            Engine::start_unready(command(&[&["--state", &state], arguments].concat()));
        let socket = scratch.0.join("state/admin.sock");
        wait_until("the engine listens", || engine.has_address() && socket.exists());
        Fleet { engine, scratch }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut foil = foil(arguments);
        foil.env("FOIL_STATE", self.scratch.path("state")).current_dir(&self.scratch.0);
        foil.output().expect("foil runs")
    }

    /// What a command that succeeds prints.
    fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// What a command that fails complains of.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.said(arguments)).expect("JSON")
    }

    fn deploy(&self, factor: u32, more: &[&str]) -> String {
        self.scratch.write("factor.txt", &factor.to_string());
        self.said(&[&["deploy", "times.py", "--with", "factor.txt"], more].concat())
    }

    /// What one times anything is at the moment.
    fn factor(&self) -> Value {
        let answer = self.engine.infer("times_some", ROW);
        answer.json()["outputs"][0]["data"][0].clone()
    }
}

/// A command that goes on, ended with its owner.
struct Following {
    child: Child,
    seen: Arc<Mutex<String>>,
}

impl Following {
    fn start(fleet: &Fleet, arguments: &[&str]) -> Following {
        let mut foil = foil(arguments);
        foil.env("FOIL_STATE", fleet.scratch.path("state")).stdout(Stdio::piped());
        let mut child = foil.spawn().expect("foil runs");
        let seen = Arc::new(Mutex::new(String::new()));
        let (into, stdout) = (seen.clone(), child.stdout.take().expect("stdout is piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                into.lock().expect("nobody panics while writing").push_str(&line);
            }
        });
        Following { child, seen }
    }

    fn seen(&self) -> String {
        self.seen.lock().expect("nobody panics while writing").clone()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn foil(arguments: &[&str]) -> Command {
    let mut foil = Command::new(program("foil"));
    foil.args(arguments).stdin(Stdio::null());
    foil
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_model_is_deployed_replaced_rolled_back_and_removed() {
    let fleet = Fleet::start("commands-life", &[]);
    assert!(fleet.said(&["ls"]).contains("foil deploy"));
    let said = fleet.deploy(2, &[]);
    let url = format!("http://{}/v2/models/times_some", fleet.engine.http);
    assert!(said.starts_with("ready  times_some v1 in ") && said.contains(&url), "{said}");
    assert!(said.contains(r#"curl -d '{"inputs":[{"name":"x","shape":[1,2],"#), "{said}");
    assert_eq!(fleet.factor(), 2.0);
    fleet.deploy(3, &[]);
    assert_eq!(fleet.factor(), 3.0);
    assert!(fleet.said(&["rollback", "times_some"]).contains("times_some v1 has the traffic"));
    assert_eq!(fleet.factor(), 2.0);
    assert!(fleet.said(&["promote", "times_some", "2"]).contains("v2 has the traffic"));
    assert_eq!(fleet.factor(), 3.0);
    let listed = fleet.said(&["ls"]);
    assert!(listed.contains("times_some  2        ready     1/1"), "{listed}");
    let versions = fleet.said(&["ls", "times_some"]);
    assert!(versions.contains("rollback leads here, warm for 10 minutes"), "{versions}");
    assert!(fleet.refused(&["rm", "times_some", "2"]).contains("takes the traffic"));
    assert_eq!(fleet.said(&["rm", "times_some", "1"]), "removed times_some v1\n");
    assert_eq!(fleet.said(&["rm", "times_some"]), "removed times_some v2\n");
    assert_eq!(fleet.engine.infer("times_some", ROW).status, 404);
    assert!(fleet.refused(&["rm", "times_some"]).contains("times_some"));
}

#[test]
fn a_version_that_fails_says_why_and_the_one_before_goes_on() {
    let fleet = Fleet::start("commands-fails", &[]);
    fleet.deploy(2, &[]);
    let error = fleet.refused(&["deploy", "times.py"]);
    for part in ["times_some v2 failed", "FileNotFoundError", "fix: ", "--with factor.txt"] {
        assert!(error.contains(part), "'{part}' in\n{error}");
    }
    assert_eq!(fleet.factor(), 2.0);
    let model = fleet.json(&["ls", "times_some", "--json"]);
    assert_eq!(model["active"], 1);
    assert!(fleet.said(&["ls", "times_some"]).contains("failed"));
}

#[test]
fn a_held_version_waits_for_its_promotion() {
    let fleet = Fleet::start("commands-held", &[]);
    fleet.deploy(2, &[]);
    let said = fleet.deploy(3, &["--hold"]);
    assert!(said.contains("foil promote times_some 2"), "{said}");
    assert_eq!(fleet.factor(), 2.0);
    fleet.said(&["promote", "times_some", "2"]);
    assert_eq!(fleet.factor(), 3.0);
}

#[test]
fn replicas_and_objectives_change_while_it_serves() {
    let fleet = Fleet::start("commands-scale", &[]);
    fleet.deploy(2, &["--slo", "50ms", "--replicas", "2"]);
    let model = fleet.json(&["ls", "times_some", "--json"]);
    assert_eq!((&model["slo"], &model["replicas"]["min"]), (&json!("50ms"), &json!(2)));
    let said = fleet.said(&["scale", "times_some", "1"]);
    assert!(said.starts_with("times_some  1 replica; "), "{said}");
    wait_until("one replica is left", || fleet.said(&["ps"]).lines().count() == 2);
    let scaled = fleet.json(&["scale", "times_some", "1..3", "--json"]);
    assert_eq!((&scaled["replicas"]["min"], &scaled["replicas"]["max"]), (&json!(1), &json!(3)));
    assert_eq!(fleet.said(&["slo", "times_some", "20ms"]), "times_some  slo 20ms\n");
    assert_eq!(
        fleet.said(&["slo", "times_some", "none"]),
        "times_some  slo as the model declares it\n"
    );
    let replicas = fleet.json(&["ps", "times_some", "--json"]);
    assert_eq!(replicas["replicas"][0]["standing"], "live");
    assert_eq!(fleet.json(&["ps", "other", "--json"])["replicas"], json!([]));
}

#[test]
fn a_models_output_is_shown_and_followed() {
    let fleet = Fleet::start("commands-logs", &[]);
    fleet.deploy(7, &[]);
    let shown = fleet.said(&["logs", "times_some"]);
    assert!(shown.contains("the factor is 7"), "{shown}");
    let follow = Following::start(&fleet, &["logs", "times_some", "--follow", "--lines", "1"]);
    wait_until("the line is shown", || follow.seen().contains("the factor is 7"));
}

#[test]
fn json_is_for_programs() {
    let fleet = Fleet::start("commands-json", &[]);
    let report = fleet.deploy(2, &["--json"]);
    let events: Vec<Value> =
        report.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events[0], json!({ "event": "accepted", "version": 1 }));
    assert_eq!(events.last().expect("an end")["event"], "ready");
    assert_eq!(fleet.json(&["ls", "--json"])["models"][0]["name"], "times_some");
    let removed = fleet.json(&["rm", "times_some", "--json"]);
    assert_eq!(removed, json!({ "removed": { "name": "times_some", "versions": [1] } }));
}

#[test]
fn an_engine_elsewhere_is_reached_by_its_address_and_token() {
    let scratch = Scratch::new("commands-token");
    scratch.write("token", "0123456789abcdef\n");
    scratch.write("wrong", "0123456789abcdee\n");
    let token = scratch.path("token");
    let arguments = ["--admin", "127.0.0.1:0", "--admin-token-file", &token];
    let fleet = Fleet::start("commands-admin", &arguments);
    let admin = fleet.engine.admin.expect("started with --admin").to_string();
    let ls = |more: &[&str]| foil(&[&["ls", "--engine", &admin], more].concat());
    let listed = ls(&["--token-file", &token]).output().expect("foil runs");
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    // Who names a directory means the engine there, whatever the environment says.
    let state = fleet.scratch.path("state");
    let elsewhere = foil(&["ls", "--state", &state]).env("FOIL_ENGINE", "127.0.0.1:1").output();
    assert!(elsewhere.expect("foil runs").status.success());
    let by_variable = ls(&[]).env("FOIL_ADMIN_TOKEN", "0123456789abcdef").output();
    assert!(by_variable.expect("foil runs").status.success());
    let without = ls(&[]).output().expect("foil runs");
    assert!(text(&without.stderr).contains("token"), "{}", text(&without.stderr));
    let wrong = ls(&["--token-file", &scratch.path("wrong")]).output().expect("foil runs");
    assert_eq!(wrong.status.code(), Some(1));
}

#[test]
fn where_no_engine_is_the_commands_say_what_to_start() {
    let scratch = Scratch::new("commands-nobody");
    for command in [&["ls"][..], &["scale", "m", "2"], &["deploy", "--image", "x"]] {
        let output = foil(command).env("FOIL_STATE", &scratch.0).output().expect("foil runs");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("foil serve"), "{}", text(&output.stderr));
    }
}
