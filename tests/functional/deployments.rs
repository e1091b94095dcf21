//! Models deployed to a running engine: rolled forward and back, held, checked, removed, and there again after a crash.

use std::sync::atomic::{AtomicBool, Ordering};

use harness::client::{Client, Response};
use harness::engine::{Ends, Engine, Scratch, WATCHDOG, kill, wait_until};
use harness::fleet::{
    Admin, BROKEN, Came, Files, NOOP, archive, artifacts, in_state, noop_row, start,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const ROW: &str = r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#;

/// A model that multiplies by `factor`.
fn times(factor: u32) -> String {
    format!(
        "import hydrofoil as foil\n\n\n@foil.model(max_batch=8)\nclass Times:\n    \
         def predict(self, x: foil.f32[\"n\", 2]) -> foil.f32[\"n\", 2]:\n        return x * {factor}\n"
    )
}

fn expected(factor: u32) -> String {
    let output = json!({"name": "output", "shape": [1, 2], "datatype": "FP32", "data": [factor, 2 * factor]});
    json!({ "outputs": [output] }).to_string()
}

struct Place {
    engine: Engine,
    admin: Admin,
    state: Scratch,
}

impl Place {
    fn new(name: &str) -> Place {
        let state = Scratch::new(name);
        let engine = start(&state.0);
        Place { engine, admin: Admin::of(&state.0), state }
    }

    fn killed_and_started(self) -> Place {
        let Place { mut engine, admin, state } = self;
        engine.signal(Signal::KILL);
        engine.wait();
        Place { engine: start(&state.0), admin, state }
    }

    fn deploy(&self, options: &str, files: &Files<'_>) -> u64 {
        let came = self.admin.deploy("m", options, files);
        let version = came.accepted().unwrap_or_else(|| panic!("{came:?}"));
        assert_eq!(came.ended(), Some((version, true)), "{came:?}");
        version
    }

    /// Which version answers a question that names none.
    fn answers(&self) -> Option<String> {
        version_of(&self.engine.infer("m", &noop_row()))
    }

    fn answer_of(&self, version: u64) -> Response {
        self.engine.client().post(
            &format!("/v2/models/m/versions/{version}/infer"),
            &[],
            noop_row().as_bytes(),
        )
    }

    fn roll(&self, what: &str, body: &str) -> Came {
        self.admin.post(&format!("/fleet/models/m/{what}"), body)
    }
}

fn version_of(answer: &Response) -> Option<String> {
    (answer.status == 200)
        .then(|| answer.json()["model_version"].as_str().expect("text").to_owned())
}

fn says(version: u64) -> Option<String> {
    Some(version.to_string())
}

#[test]
fn a_version_is_deployed_checked_rolled_over_and_back_and_nobody_else_answers_meanwhile() {
    let place = Place::new("deploy");
    let admin = &place.admin;
    let good = |factor| {
        [
            ("model.py", times(factor)),
            ("sample.json", ROW.to_owned()),
            ("expected.json", expected(factor)),
        ]
    };
    let deploy = |files: &[(&str, String)]| {
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        admin.deploy("m", "", &files)
    };
    let answer = || place.engine.infer("m", ROW).output(0);
    let first = deploy(&good(1));
    let last = first.lines().pop().expect("an event");
    assert_eq!((first.ended(), &last["checked"]), (Some((1, true)), &json!(true)));
    assert_eq!(answer(), json!([1.0, 2.0]), "at once");
    assert_eq!(deploy(&good(2)).ended(), Some((2, true)));
    assert_eq!(answer(), json!([2.0, 4.0]));
    assert_eq!(admin.roles("m"), [(2, "active".into()), (1, "warm".into())]);

    let mut wrong = good(3);
    wrong[2].1 = expected(4);
    let failed = deploy(&wrong);
    let last = failed.lines().pop().expect("an event");
    assert_eq!(failed.ended(), Some((3, false)));
    assert!(last["error"].as_str().expect("text").contains("is 3 where 4 is expected"), "{last}");
    let import = [("model.py", "import no_such_library\n".to_owned())];
    let last = deploy(&import).lines().pop().expect("an event");
    assert!(last["cause"].as_str().expect("text").contains("no library no_such_library"), "{last}");
    assert!(last["fix"].as_str().expect("text").contains("pip install"), "{last}");
    assert_eq!(answer(), json!([2.0, 4.0]), "a failing version gets no traffic");
    let counted =
        |result| place.engine.metric(&format!("foil_deployments_total{{result=\"{result}\""));
    assert_eq!((counted("ready"), counted("failed")), (2.0, 2.0));

    let containers = place.engine.containers();
    assert_eq!(place.roll("rollback", "").ended(), Some((1, true)));
    assert_eq!(answer(), json!([1.0, 2.0]));
    assert_eq!(place.engine.containers(), containers, "a warm version is there already");
    assert_eq!(place.roll("rollback", "").ended(), Some((2, true)), "and forward again");
    assert_eq!(answer(), json!([2.0, 4.0]));
}

#[test]
fn rolling_forward_and_back_under_load_fails_no_request() {
    let place = Place::new("roll-load");
    place.deploy("?min=2", NOOP);
    let done = AtomicBool::new(false);
    let http = place.engine.http;
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        let askers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, row, mut count) = (Client::connect(http), noop_row(), 0);
                    while !done.load(Ordering::Relaxed) {
                        let answer = client.infer("m", &row);
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for version in 2..5 {
            assert_eq!(place.deploy("?keep_warm=0ms", NOOP), version);
            assert_eq!(place.answers(), says(version));
        }
        assert_eq!(place.admin.deploy("m", "", BROKEN).ended(), Some((5, false)));
        assert_eq!(place.roll("rollback", "").ended(), Some((3, true)), "loaded anew");
        assert_eq!(place.roll("scale", r#"{"replicas":1}"#).status, Some(200));
        assert_eq!(place.roll("slo", r#"{"slo":"250ms"}"#).status, Some(200));
        wait_until("another has its SLO", || place.engine.containers().len() == 1);
        assert_eq!(place.answers(), says(3));
        done.store(true, Ordering::Relaxed);
        let counts: Vec<u32> =
            askers.into_iter().map(|it| it.join().expect("no failure")).collect();
        assert!(counts.iter().all(|count| *count > 50), "load flowed: {counts:?}");
    });
    let model = place.admin.model("m");
    assert_eq!((&model["slo"], &model["replicas"]["live"]), (&json!("250ms"), &json!(1)));
}

#[test]
fn a_held_version_answers_by_its_number_until_it_is_promoted() {
    let place = Place::new("hold");
    place.deploy("", NOOP);
    assert_eq!(place.deploy("?hold=true", NOOP), 2);
    assert_eq!((place.answers(), version_of(&place.answer_of(2))), (says(1), says(2)));
    assert_eq!(place.roll("promote", r#"{"version":2}"#).ended(), Some((2, true)));
    assert_eq!((place.answers(), version_of(&place.answer_of(1))), (says(2), says(1)));
    assert_eq!(place.roll("promote", r#"{"version":2}"#).status, Some(409));
    let absent = place.roll("promote", r#"{"version":9}"#);
    assert_eq!(absent.status, Some(404));
    assert!(absent.error().contains("no version 9"), "{absent:?}");
}

#[test]
fn what_was_deployed_is_there_again_after_a_crash_and_warm_time_runs_on() {
    let place = Place::new("crash");
    place.deploy("?keep_warm=1m", NOOP);
    place.deploy("", NOOP);
    place.deploy("?hold=true&max=2", NOOP);
    let before = place.admin.model("m");
    let place = place.killed_and_started();
    wait_until("all three run again", || {
        [1, 2, 3].iter().all(|version| place.answer_of(*version).status == 200)
    });
    assert_eq!(place.answers(), says(2));
    let after = place.admin.model("m");
    for key in ["active", "previous", "slo", "managed"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    let key = |model: &Value, key: &str| -> Vec<Value> {
        let versions = model["versions"].as_array().expect("a list").iter();
        versions.map(|version| version[key].clone()).collect()
    };
    for name in ["role", "warm_until", "digest", "deployed", "bytes"] {
        assert_eq!(key(&before, name), key(&after, name), "{name}");
    }
    let ready = place.engine.get("/v2/health/ready").status;
    assert_eq!(ready, 200);
}

#[test]
fn a_model_that_is_removed_leaves_no_version_process_or_file() {
    let place = Place::new("remove");
    place.deploy("", NOOP);
    place.deploy("", NOOP);
    let active = place.admin.send("DELETE", "/fleet/models/m?version=2", b"");
    assert_eq!(active.status, Some(409), "{active:?}");
    assert_eq!(place.admin.send("DELETE", "/fleet/models/m?version=1", b"").status, Some(200));
    assert_eq!(place.answer_of(1).status, 404, "at once");
    wait_until("its files go", || artifacts(&place.state.0) == ["m/2".to_owned()].into());
    assert_eq!(place.roll("rollback", "").status, Some(409));
    assert_eq!(place.admin.remove("m").status, Some(200));
    assert_eq!(place.engine.infer("m", &noop_row()).status, 404, "at once");
    assert_eq!(place.admin.remove("m").status, Some(404));
    wait_until("nothing is left", || {
        artifacts(&place.state.0).is_empty() && place.engine.containers().is_empty()
    });
    assert_eq!(place.admin.get("/fleet/models"), json!({ "models": [] }));
}

#[test]
fn what_can_not_be_served_is_refused_before_anything_is_kept() {
    let place = Place::new("refused");
    let put = |name: &str, options: &str, body: &[u8]| {
        let came = place.admin.send("PUT", &format!("/fleet/models/{name}{options}"), body);
        (came.status, came.error())
    };
    let refused = |name: &str, options: &str, body: &[u8], sentence: &str| {
        let (status, error) = put(name, options, body);
        assert_eq!(status, Some(400), "{error}");
        assert!(error.contains(sentence), "{error}");
    };
    let noop = archive(NOOP);
    refused("..%2Fm", "", &noop, "can't be a model's name");
    refused(
        "m",
        "",
        b"this is no archive, but it is long enough to be looked at twice",
        "can't be read",
    );
    refused("m", "", &noop[..700], "can't be read");
    refused("m", "", &archive(&[("readme", "x")]), "holds neither model.py");
    refused("m", "", &archive(&[("model.toml", "max_batsh = 3\n")]), "did you mean 'max_batch'");
    refused("m", "", &archive(&[("model.toml", "entry = \"../x.py\"\n")]), "entry");
    refused("m", "?min=3&max=2", &noop, "replicas");
    refused("m", "?colour=red", &noop, "no parameter 'colour'");
    assert!(artifacts(&place.state.0).is_empty());
    assert_eq!(place.admin.get("/fleet/models"), json!({ "models": [] }));
    let open = place.engine.get("/fleet/models");
    assert_eq!(open.status, 403, "{}", open.text());
}

#[test]
fn a_second_engine_is_told_who_has_the_state_directory() {
    let place = Place::new("second");
    let mut second = in_state(&place.state.0, &[]);
    let output = second.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let holder = format!("process {}", place.engine.pid());
    assert!(said.contains(&holder) && said.contains("--state"), "{said}");
    assert_eq!(place.admin.get("/fleet")["engine"]["pid"], place.engine.pid());
}

#[test]
fn an_engine_that_takes_over_has_what_was_deployed_and_no_request_fails() {
    let mut place = Place::new("take-over");
    place.deploy("", NOOP);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let http = place.engine.http;
        let done = &done;
        let _ends = Ends(done);
        let asker = scope.spawn(move || {
            let row = noop_row();
            while !done.load(Ordering::Relaxed) {
                let answer = Client::connect(http).infer("m", &row);
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        });
        let old = place.engine.pid();
        place.engine.signal(Signal::USR2);
        let holder =
            || place.admin.get("/fleet")["engine"]["pid"].as_u64().expect("a number") as u32;
        wait_until("the old one has drained", || place.engine.has_ended().is_some());
        let new = holder();
        assert_ne!(new, old);
        place.deploy("", NOOP);
        assert_eq!(place.admin.roles("m"), [(2, "active".into()), (1, "warm".into())]);
        done.store(true, Ordering::Relaxed);
        asker.join().expect("no failure");
        kill(new, Signal::TERM);
        wait_until("the new one ends", || !std::path::Path::new(&format!("/proc/{new}")).exists());
    });
}

#[test]
fn targets_and_deployments_stand_side_by_side() {
    let (state, files) = (Scratch::new("beside"), Scratch::new("beside-models"));
    files.write("fixed/model.toml", "runtime = \"native\"\nkind = \"noop\"\n");
    files.write("fixed/1/keep", "");
    let engine = Engine::start_with(in_state(&state.0, &["--deployments", &files.path("")]), 1);
    let admin = Admin::of(&state.0);
    assert_eq!(admin.deploy("m", "", NOOP).ended(), Some((1, true)));
    let taken = admin.deploy("fixed", "", NOOP);
    assert_eq!(taken.status, Some(409), "{taken:?}");
    assert_eq!(admin.remove("fixed").status, Some(409));
    let models = admin.get("/fleet/models");
    let managed =
        |index: usize| (&models["models"][index]["name"], &models["models"][index]["managed"]);
    assert_eq!(managed(0), (&json!("fixed"), &json!(false)));
    assert_eq!(managed(1), (&json!("m"), &json!(true)));
    let replicas = admin.get("/fleet/replicas");
    let pids: Vec<_> =
        replicas["replicas"].as_array().expect("a list").iter().map(|it| &it["pid"]).collect();
    assert_eq!(pids.len(), engine.containers().len());
}

#[test]
fn output_is_shown_and_followed() {
    let place = Place::new("logs");
    let talks = "import hydrofoil as foil\n\n\n@foil.model\nclass Talks:\n    def load(self, ctx):\n        \
                 print(\"loaded\", flush=True)\n\n    def predict(self, x: foil.f32[\"n\", 2]) -> foil.f32[\"n\", 2]:\n        \
                 print(\"asked for\", x[0][0], flush=True)\n        return x\n";
    place.deploy("", &[("model.py", talks), ("model.toml", "warm_up = false\n")]);
    let shown = place.admin.send("GET", "/fleet/models/m/logs", b"");
    assert_eq!((shown.status, shown.text.as_str()), (Some(200), "m/0 loaded\n"));
    std::thread::scope(|scope| {
        let follower = scope
            .spawn(|| place.admin.send("GET", "/fleet/models/m/logs?follow=true&lines=100", b""));
        let row = ROW.replace("[1,2]}", "[77,2]}");
        wait_until("it is asked", || place.engine.infer("m", &row).status == 200);
        wait_until("it has printed", || {
            place.admin.send("GET", "/fleet/models/m/logs", b"").text.contains("asked for 77")
        });
        std::thread::park_timeout(WATCHDOG / 60);
        place.engine.signal(Signal::TERM);
        let text = follower.join().expect("it ends with the engine").text;
        assert!(text.starts_with("m/0 loaded\n") && text.contains("m/0 asked for 77"), "{text}");
    });
}

#[test]
fn the_interpreter_says_which_libraries_models_find() {
    let place = Place::new("runtime");
    let found = place.admin.get("/fleet/runtime?launcher=process");
    assert!(found["python"].as_str().expect("text").starts_with("3."), "{found}");
    assert!(found["libraries"]["numpy"].is_string(), "{found}");
    let absent = place.admin.send("GET", "/fleet/runtime?launcher=steam", b"");
    assert_eq!(absent.status, Some(400));
}
