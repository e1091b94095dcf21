//! The Open Inference Protocol's other pages, and the metrics.

use harness::engine::{Engine, Scratch, model};
use harness::tensors::rows;
use serde_json::json;

#[test]
fn health_metadata_and_versions_are_told() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let mut client = engine.client();
    for path in [
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/moody/ready",
        "/v2/models/moody/versions/1/ready",
    ] {
        assert_eq!(client.get(path).status, 200, "{path}");
    }
    let server = client.get("/v2").json();
    assert_eq!(server["name"], "hydrofoil");
    assert!(
        server["extensions"].as_array().is_some_and(|it| it.contains(&json!("binary_tensor_data")))
    );
    let metadata = client.get("/v2/models/moody").json();
    let x = json!({"name": "x", "datatype": "FP32", "shape": [-1, 2]});
    assert_eq!(metadata["inputs"], json!([x]));
    assert_eq!(metadata["versions"], json!(["1"]));
    assert_eq!(metadata["platform"], "python");
}

#[test]
fn a_repository_serves_every_version_and_the_newest_by_default() {
    let scratch = Scratch::new("versions");
    for version in [1, 2] {
        let text = format!(
            "import hydrofoil as foil\n\n@foil.model\ndef which(x: foil.i64[\"n\"]) -> foil.i64[\"n\"]:\n    return x * 0 + {version}\n"
        );
        scratch.write(&format!("which/{version}/model.py"), &text);
    }
    scratch.write("which/model.toml", "max_batch = 3\nreplicas = 2\n");
    let engine = Engine::start(&[&scratch.path("")], 2);
    let body = json!({"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [9]}]})
        .to_string();
    assert_eq!(engine.infer("which", &body).output(0), json!([2]));
    assert_eq!(engine.infer("which/versions/1", &body).output(0), json!([1]));
    let too_many =
        json!({"inputs": [{"name": "x", "shape": [4], "datatype": "INT64", "data": [1, 2, 3, 4]}]});
    let refused = engine.infer("which", &too_many.to_string());
    assert_eq!(refused.status, 400, "max_batch of model.toml holds");
    assert!(refused.error().contains('3'), "{}", refused.error());
    harness::engine::wait_until("both replicas of both versions run", || {
        engine.containers().len() == 4
    });
}

#[test]
fn metrics_count_what_happened() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let mut client = engine.client();
    for _ in 0..5 {
        assert_eq!(client.infer("moody", &rows(&[[0.0, 1.0], [0.0, 2.0]])).status, 200);
    }
    assert_eq!(client.infer("moody", &rows(&[[1.0, 1.0]])).status, 500);
    assert_eq!(client.get("/nowhere").status, 404);
    let labels = r#"{model="moody",version="1",device="cpu""#;
    assert_eq!(engine.metric(&format!("foil_requests_total{labels}")), 5.0);
    assert_eq!(engine.metric(&format!(r#"foil_errors_total{labels},code="model_raised""#)), 1.0);
    assert_eq!(engine.metric(&format!("foil_batch_size_sum{labels}")), 11.0);
    assert_eq!(engine.metric(&format!(r#"foil_stage_seconds_count{labels},stage="queue""#)), 5.0);
    assert_eq!(engine.metric(&format!("foil_queue_length{labels}")), 0.0);
    assert_eq!(engine.metric(&format!("foil_replicas{labels}")), 1.0);
}

#[test]
fn answers_say_where_their_time_went_unless_told_not_to() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let answer = engine.infer("moody", &rows(&[[0.0, 1.0]]));
    let timing = answer.header("server-timing").expect("a Server-Timing header");
    assert!(timing.contains("queue;dur=") && timing.contains("desc=\"batch 1\""), "{timing}");
    let silent = Engine::start(&[&model("moody.py"), "--no-server-timing"], 1);
    assert_eq!(silent.infer("moody", &rows(&[[0.0, 1.0]])).header("server-timing"), None);
}
