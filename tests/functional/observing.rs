//! What an engine says of its work: statistics, and the names that other servers' tools look for.

use std::thread;

use harness::client::Client;
use harness::engine::{Engine, model};
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
