//! What an engine says of its work: statistics, and the names that other servers' tools look for.

use std::thread;

use harness::client::Client;
use harness::engine::{Engine, model, wait_until};
use harness::tensors::rows;
use serde_json::{Value, json};

/// Requests that ask while somebody else reads the numbers.
const REQUESTS: usize = 200;

const EIGHT: [&str; 8] = [
    "success",
    "fail",
    "queue",
    "compute_input",
    "compute_infer",
    "compute_output",
    "cache_hit",
    "cache_miss",
];

fn entry(client: &mut Client, path: &str) -> Value {
    let answer = client.get(path);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["model_stats"][0].clone()
}

fn count(entry: &Value, of: &str) -> u64 {
    entry["inference_stats"][of]["count"].as_u64().unwrap_or_else(|| panic!("no {of} in {entry}"))
}

#[test]
fn statistics_count_requests_rows_and_batches() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let mut client = engine.client();
    for _ in 0..3 {
        assert_eq!(client.infer("moody", &rows(&[[0.0, 1.0], [0.0, 2.0]])).status, 200);
    }
    assert_eq!(client.infer("moody", &rows(&[[1.0, 1.0]])).status, 500);
    for path in ["/v2/models/stats", "/v2/models/moody/stats", "/v2/models/moody/versions/1/stats"]
    {
        let entry = entry(&mut client, path);
        assert_eq!((&entry["name"], &entry["version"]), (&json!("moody"), &json!("1")));
        assert_eq!((&entry["inference_count"], &entry["execution_count"]), (&json!(6), &json!(3)));
        for of in ["success", "queue", "compute_input", "compute_infer", "compute_output"] {
            assert_eq!(count(&entry, of), 3, "{of}");
        }
        assert_eq!(count(&entry, "fail"), 1);
        let sizes = &entry["batch_stats"];
        assert_eq!(
            (&sizes[0]["batch_size"], &sizes[0]["compute_infer"]["count"]),
            (&json!(2), &json!(3))
        );
        assert!(entry["last_inference"].as_u64().is_some_and(|ms| ms > 1_700_000_000_000));
        assert!(EIGHT.iter().all(|of| entry["inference_stats"][of]["ns"].is_u64()), "{entry}");
    }
    assert_eq!(client.get("/v2/models/nobody/stats").status, 404);
    assert_eq!(client.get("/v2/models/moody/versions/7/stats").status, 404);
    let extensions = client.get("/v2").json()["extensions"].clone();
    assert!(extensions.as_array().is_some_and(|it| it.contains(&json!("statistics"))));
}

#[test]
fn statistics_are_of_one_moment_while_requests_come() {
    let engine = Engine::start(&[&model("moody.py"), "--metrics-compat", "triton"], 1);
    let http = engine.http;
    let asking = thread::spawn(move || {
        let mut client = Client::connect(http);
        for _ in 0..REQUESTS {
            assert_eq!(client.infer("moody", &rows(&[[0.0, 1.0]])).status, 200);
        }
    });
    let mut reader = engine.client();
    let mut before = 0;
    while !asking.is_finished() {
        let entry = entry(&mut reader, "/v2/models/moody/stats");
        let success = count(&entry, "success");
        assert!(success >= before, "{entry}");
        for of in ["queue", "compute_input", "compute_infer", "compute_output"] {
            assert_eq!(count(&entry, of), success, "{entry}");
        }
        assert_eq!(entry["inference_count"], json!(success), "{entry}");
        assert_eq!(entry["execution_count"], json!(success), "{entry}");
        before = success;
    }
    asking.join().expect("every request was answered");
    let labels = r#"{model="moody",version="1"}"#;
    assert_eq!(engine.metric(&format!("nv_inference_request_success{labels}")), REQUESTS as f64);
    assert_eq!(engine.metric(&format!("nv_inference_count{labels}")), REQUESTS as f64);
    assert!(engine.metric(&format!("nv_inference_compute_infer_duration_us{labels}")) > 0.0);
}

/// Lines of the log that are JSON and say `message`.
fn lines(engine: &Engine, message: &str) -> Vec<Value> {
    let said = engine.said();
    let parsed = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed
        .filter(|line| line["fields"]["message"].as_str().is_some_and(|it| it.starts_with(message)))
        .collect()
}

fn administrator(engine: &Engine) -> Client {
    Client::connect(engine.admin.expect("started with --admin"))
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn requests_are_logged_by_name_where_that_is_asked_for() {
    let engine = Engine::start(&[&model("moody.py"), "--access-log", "--log-format", "json"], 1);
    let mut client = engine.client();
    let body = rows(&[[0.0, 1.0]]);
    let ids = [("traceparent", PARENT), ("X-Request-Id", "job-7")];
    let answer = client.post("/v2/models/moody/infer", &ids, body.as_bytes());
    assert_eq!(answer.header("x-request-id"), Some("job-7"));
    let given =
        client.get("/v2/nowhere").header("x-request-id").expect("logged, so named").to_owned();
    wait_until("both have their line", || lines(&engine, "request").len() == 2);
    let lines = lines(&engine, "request");
    let fields = &lines[0]["fields"];
    assert_eq!(
        (&fields["path"], &fields["status"]),
        (&json!("/v2/models/moody/infer"), &json!(200))
    );
    assert_eq!(fields["request_id"], "job-7");
    assert_eq!(fields["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(fields["took_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{fields}");
    assert_eq!(
        (&lines[1]["fields"]["status"], &lines[1]["fields"]["request_id"]),
        (&json!(404), &json!(given))
    );
}

#[test]
fn failures_are_logged_at_a_bounded_rate_and_other_requests_not_at_all() {
    let engine = Engine::start(&[&model("moody.py"), "--log-format", "json"], 1);
    let mut client = engine.client();
    let answer = client.infer("moody", &rows(&[[0.0, 1.0]]));
    assert_eq!((answer.status, answer.header("x-request-id")), (200, None), "none is made up");
    let body = rows(&[[1.0, 1.0]]);
    for _ in 0..50 {
        let id = [("X-Request-Id", "job-8")];
        assert_eq!(client.post("/v2/models/moody/infer", &id, body.as_bytes()).status, 500);
    }
    wait_until("one has its line", || !lines(&engine, "a request failed").is_empty());
    let failed = lines(&engine, "a request failed");
    assert!(failed.len() < 50, "{} lines", failed.len());
    let fields = &failed[0]["fields"];
    assert_eq!((&fields["request_id"], &fields["status"]), (&json!("job-8"), &json!(500)));
    assert!(fields["message"].as_str().is_some_and(|it| it.contains("asked for it")), "{fields}");
    assert!(lines(&engine, "request").is_empty(), "nobody asked for a line each");
}

#[test]
fn the_log_can_be_made_verbose_and_quiet_again_while_it_runs() {
    let flags = ["--log-format", "json", "--admin", "127.0.0.1:0"];
    let engine = Engine::start(&[&[model("moody.py").as_str()], &flags[..]].concat(), 1);
    let (mut client, mut admin) = (engine.client(), administrator(&engine));
    let set = |client: &mut Client, changes: &str| {
        let answer = client.post("/v2/logging", &[], changes.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    client.get("/v2");
    set(&mut admin, r#"{"log_verbose_level":1}"#);
    client.get("/v2/health/live");
    wait_until("a verbose line is there", || !lines(&engine, "request").is_empty());
    set(&mut admin, r#"{"log_verbose_level":0}"#);
    client.get("/v2/health/ready");
    set(&mut admin, r#"{"log_verbose_level":1}"#);
    client.get("/v2/models/moody");
    let path = |line: &Value| line["fields"]["path"].as_str().unwrap_or_default().to_owned();
    let mut paths = Vec::new();
    wait_until("the last one is there", || {
        paths = lines(&engine, "request").iter().map(path).collect();
        paths.contains(&"/v2/models/moody".to_owned())
    });
    assert!(
        !paths.contains(&"/v2".to_owned()) && !paths.contains(&"/v2/health/ready".to_owned()),
        "{paths:?}"
    );
    assert!(paths.contains(&"/v2/health/live".to_owned()), "{paths:?}");
}

#[test]
fn requests_are_traced_as_often_and_as_long_as_it_is_set() {
    let flags = ["--log-format", "json", "--cores", "0", "--admin", "127.0.0.1:0"];
    let engine = Engine::start(&[&[model("moody.py").as_str()], &flags[..]].concat(), 1);
    let mut client = engine.client();
    let on = r#"{"trace_level":["TIMESTAMPS"],"trace_rate":"2","trace_count":"3"}"#;
    let setting = "/v2/models/moody/trace/setting";
    assert_eq!(client.post(setting, &[], on.as_bytes()).status, 403, "not from the public address");
    let answer = administrator(&engine).post(setting, &[], on.as_bytes());
    assert_eq!(answer.json()["trace_count"], "3", "{}", answer.text());
    for _ in 0..10 {
        assert_eq!(client.infer("moody", &rows(&[[0.0, 1.0]])).status, 200);
    }
    wait_until("three were traced", || lines(&engine, "trace").len() == 3);
    let traces = lines(&engine, "trace");
    let at = |name: &str| {
        traces[0]["fields"][name].as_u64().unwrap_or_else(|| panic!("{name}: {traces:?}"))
    };
    let times = [
        "request_start_ns",
        "queue_start_ns",
        "compute_start_ns",
        "compute_end_ns",
        "request_end_ns",
    ]
    .map(at);
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(traces[0]["fields"]["model"], "moody");
    let left = client.get("/v2/models/moody/trace/setting").json();
    assert_eq!((&left["trace_count"], &left["trace_level"]), (&json!("0"), &json!(["TIMESTAMPS"])));
}
