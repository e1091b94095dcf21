//! SLO classes, clients that hang up, and refusals, as a client sees them.

use std::time::Duration;

use harness::Scratch;
use harness::client::bytes_of;
use harness::engine::{Engine, command, wait_until};
use serde_json::{Value, json};

const CLASSES: &str =
    "[classes.gold]\nweight = 10\nslo = \"30s\"\n[classes.rush]\nslo = \"1ms\"\nlate = \"shed\"\n";

/// Returns its input, and beside it how many rows it has seen in all; waits while the file `hold` lies beside it.
const COUNTS: &str = "import os, time, hydrofoil as foil

@foil.model(max_batch=64)
class Counts:
    def load(self, ctx):
        self.seen, self.hold = 0, ctx.path('hold')

    def predict(self, x: foil.i64['n']) -> {'x': foil.i64['n'], 'seen': foil.i64['n']}:
        self.seen += len(x)
        while os.path.exists(self.hold):
            time.sleep(0.005)
        return {'x': x, 'seen': x * 0 + self.seen}
";

fn row(value: usize) -> String {
    json!({"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [value]}]})
        .to_string()
}

/// An engine with the classes above and a model that takes at least 20 ms, as `name`.
fn slow(scratch: &Scratch, settings: &str) -> Engine {
    scratch.write("foil.toml", CLASSES);
    scratch.write("models/slow/1/model.py", "import time, hydrofoil as foil\n\n@foil.model(max_batch=4)\ndef slow(x: foil.i64[\"n\"]) -> foil.i64[\"n\"]:\n    time.sleep(0.0205)\n    return x\n");
    scratch.write("models/slow/model.toml", settings);
    Engine::start(&["--config", &scratch.path("foil.toml"), &scratch.path("models")], 1)
}

fn ask(engine: &Engine, class: Option<&str>) -> harness::client::Response {
    let headers: Vec<_> = class.map(|class| ("X-Foil-Class", class)).into_iter().collect();
    engine.client().post("/v2/models/slow/infer", &headers, row(1).as_bytes())
}

fn class_total(engine: &Engine, model: &str, class: &str, outcome: &str) -> f64 {
    let labels = format!("model=\"{model}\",version=\"1\",device=\"cpu\",class=\"{class}\"");
    engine.metric(&format!("foil_class_requests_total{{{labels},outcome=\"{outcome}\"}}"))
}

fn page_class(page: &Value, name: &str) -> Value {
    let classes = page["classes"].as_array().expect("classes");
    classes.iter().find(|class| class["name"] == name).expect("the class").clone()
}

#[test]
fn a_request_is_counted_under_the_class_it_names_or_its_models() {
    let scratch = Scratch::new("classes");
    let engine = slow(&scratch, "class = \"gold\"\nslo = \"20s\"\n");
    assert_eq!(ask(&engine, None).status, 200);
    assert_eq!(ask(&engine, Some("gold")).status, 200);
    assert_eq!(ask(&engine, Some("default")).status, 200);
    let by_parameter = row(1).replacen('{', r#"{"parameters": {"foil_class": "gold"},"#, 1);
    assert_eq!(engine.infer("slow", &by_parameter).status, 200);
    assert_eq!(class_total(&engine, "slow", "gold", "on_time"), 3.0);
    assert_eq!(class_total(&engine, "slow", "default", "on_time"), 1.0);
    let refused = ask(&engine, Some("tin"));
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("default, gold, rush"), "{}", refused.error());
    let page = engine.get("/v2/models/slow/batching").json();
    let gold = page_class(&page, "gold");
    assert_eq!((&gold["weight"], &gold["slo_ms"]), (&json!(10), &json!(30_000.0)));
    assert_eq!((&gold["total"]["on_time"], &gold["recent"]["on_time"]), (&json!(3), &json!(3)));
    assert_eq!(page_class(&page, "rush")["slo_ms"], json!(1.0));
}

#[test]
fn a_class_has_an_slo_of_its_own_and_its_sheds_are_told() {
    let scratch = Scratch::new("rush");
    let engine = slow(&scratch, "slo = \"20s\"\n");
    // What a batch takes must be known before anyone can be turned away for it.
    (0..20).for_each(|_| assert_eq!(ask(&engine, None).status, 200));
    let rushed = ask(&engine, Some("rush"));
    assert_eq!(rushed.status, 503, "20 ms of work within 1 ms: {}", rushed.text());
    let wait = |name: &str| rushed.header(name).and_then(|wait| wait.parse::<u64>().ok());
    assert!(wait("retry-after").is_some_and(|seconds| seconds >= 1), "whole seconds");
    assert!(wait("retry-after-ms").is_some_and(|ms| ms >= 1), "and milliseconds");
    let page = engine.get("/v2/models/slow/batching").json();
    let latest = page["shed"]["recent"].as_array().expect("sheds").last().expect("one").clone();
    assert_eq!((&latest["class"], &latest["why"]), (&json!("rush"), &json!("no_replica_in_time")));
    assert!(latest["waited_ms"].is_number() && latest["queued"] == json!(0), "{latest}");
    assert_eq!(class_total(&engine, "slow", "rush", "shed"), 1.0);
    let own = [("X-Foil-Class", "rush"), ("X-Request-Timeout-Ms", "5000")];
    let patient = engine.client().post("/v2/models/slow/infer", &own, row(1).as_bytes());
    assert_eq!(patient.status, 200, "a request's own timeout is the strongest");
}

#[test]
fn classes_that_can_not_be_end_the_command_with_a_sentence() {
    let scratch = Scratch::new("no-classes");
    scratch.write("foil.toml", CLASSES);
    scratch.write("bad.toml", "[classes.gold]\nweight = 0\n");
    scratch.write("models/slow/1/model.py", "");
    scratch.write("models/slow/model.toml", "class = \"tin\"\n");
    let refused = |config: &str| {
        let arguments = ["--config", &scratch.path(config), &scratch.path("models")];
        let output = command(&arguments).output().expect("foil runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let unknown = refused("foil.toml");
    assert!(unknown.contains("'tin'") && unknown.contains("default, gold, rush"), "{unknown}");
    assert!(refused("bad.toml").contains("classes.gold: weight is 0"));
}

#[test]
fn the_rows_of_clients_that_hang_up_leave_the_queue_at_once_and_are_never_run() {
    const CLIENTS: usize = 200;
    let scratch = Scratch::new("hang-up");
    scratch.write("counts.py", COUNTS);
    // The rows of a warm-up would count as well.
    let engine = Engine::start(&[&scratch.path("counts.py"), "--no-warm-up"], 1);
    let queued = || engine.metric("foil_queue_length{model=\"counts\"");
    scratch.write("hold", "");
    let mut patient = engine.client();
    let ask = bytes_of("POST", "/v2/models/counts/infer", &[], row(1).as_bytes());
    patient.send(&ask);
    wait_until("the model is busy", || {
        engine.metric(
            "foil_device_replicas{model=\"counts\",version=\"1\",device=\"cpu\",state=\"busy\"}",
        ) == 1.0
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = engine.client();
            client.send(&ask);
            client
        })
        .collect();
    wait_until("all of them wait", || queued() == CLIENTS as f64);
    drop(clients);
    // The model still holds its first batch: only their going can empty the queue.
    wait_until("nothing waits any more", || queued() == 0.0);
    assert_eq!(class_total(&engine, "counts", "default", "cancelled"), CLIENTS as f64);
    assert_eq!(class_total(&engine, "counts", "default", "on_time"), 0.0);
    std::fs::remove_file(scratch.path("hold")).expect("it was there");
    let first = patient.read().expect("an answer");
    assert_eq!((first.output(0), first.output(1)), (json!([1]), json!([1])));
    let last = engine.infer("counts", &row(7));
    assert_eq!(last.output(1), json!([2]), "no row of theirs was run");
    assert_eq!(
        engine.metric(
            "foil_errors_total{model=\"counts\",version=\"1\",device=\"cpu\",code=\"client_gone\"}"
        ),
        CLIENTS as f64
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it reports times, and asserts none")]
fn under_overload_refusals_say_when_to_retry_and_the_test_how_long_they_took() {
    let scratch = Scratch::new("refusals");
    let engine = slow(&scratch, "slo = \"60ms\"\nlate = \"shed\"\n");
    (0..20).for_each(|_| drop(ask(&engine, None)));
    // Three times what four rows in a batch of 20 ms get through, each client with one connection.
    let asking = || {
        let mut client = engine.client();
        let one = |_| {
            let since = std::time::Instant::now();
            let answer = client.infer("slow", &row(1));
            (answer, since.elapsed())
        };
        (0..20).map(one).collect::<Vec<_>>()
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..48).map(|_| scope.spawn(asking)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    let shed = answers.iter().filter(|(answer, _)| answer.status == 503);
    let mut waits: Vec<Duration> = Vec::new();
    for (answer, took) in shed {
        let ms = answer.header("retry-after-ms").and_then(|ms| ms.parse::<u64>().ok());
        assert!(ms.is_some_and(|ms| (1..60_000).contains(&ms)), "a drain that can be: {ms:?}");
        waits.push(*took);
    }
    assert!(!waits.is_empty(), "48 callers can't all be served in time");
    waits.sort_unstable();
    let within = waits.partition_point(|wait| *wait <= Duration::from_millis(2));
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    let by_engine = |of: &str| engine.metric(&format!("foil_shed_wait_seconds_{of}"));
    assert_eq!(by_engine("count{"), waits.len() as f64, "the engine times each of them");
    println!(
        "{} of {} answers are 503: p50 {:?}  p90 {:?}  p99 {:?}; {within} within 2 ms, by the engine's clock {}; {}",
        waits.len(),
        answers.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        by_engine("bucket{le=\"0.002\""),
        engine.get("/v2/models/slow/batching").json()["shed"]["total"]
    );
}
