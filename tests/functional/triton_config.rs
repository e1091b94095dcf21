//! Triton's config.pbtxt in a repository: what it sets, what is refused, and what clients are told of it.

use harness::client::Client;
use harness::engine::{Engine, Scratch, command};
use serde_json::json;

const MODEL: &str = "import hydrofoil as foil\n\n\n@foil.model(max_batch=64)\nclass Scale:\n    def load(self, ctx):\n        \
     self.factor = float(ctx.parameters[\"factor\"])\n\n    def predict(self, x: foil.f32[\"n\", 2]) -> foil.f32[\"n\", 2]:\n        \
     return x * self.factor\n";

const CONFIG: &str = r#"
name: "scale"
backend: "python"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "output" data_type: TYPE_FP32 dims: [ 2 ] } ]
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 100 }
version_policy { latest { num_versions: 1 } }
parameters { key: "factor" value { string_value: "3" } }
optimization { }
"#;

const ROW: &str = r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#;

fn repository(name: &str, config: &str) -> Scratch {
    let files = Scratch::new(name);
    files.write("scale/1/model.py", "raise ImportError('version 1 is not wanted')\n");
    files.write("scale/2/model.py", MODEL);
    files.write("scale/config.pbtxt", config);
    files
}

#[test]
fn a_repository_written_for_triton_is_served_as_it_says() {
    let files = repository("triton", CONFIG);
    let engine = Engine::start(&[&files.path(""), "--admin", "127.0.0.1:0"], 1);
    assert_eq!(engine.infer("scale", ROW).output(0), json!([3.0, 6.0]));
    assert!(engine.said().contains("optimization has no effect"), "{}", engine.said());
    let config = engine.get("/v2/models/scale/config").json();
    assert_eq!(config["max_batch_size"], 8);
    assert_eq!(config["input"][0]["data_type"], "TYPE_FP32");
    assert_eq!(config["input"][0]["dims"], json!([2]));
    assert_eq!(config["instance_group"][0]["count"], 2);
    assert_eq!(config["dynamic_batching"]["preferred_batch_size"], json!([4]));
    assert_eq!(config["model_transaction_policy"]["decoupled"], false);
    assert_eq!(config["parameters"]["factor"]["string_value"], "3");
    assert_eq!(engine.get("/v2/models/scale/versions/2/config").json(), config);
    assert_eq!(engine.get("/v2/models/none/config").status, 404);

    let mut admin = Client::connect(engine.admin.expect("started with --admin"));
    let over = r#"{"parameters": {"factor": {"string_value": "5"}}, "max_batch_size": 4}"#;
    let body = json!({ "parameters": { "config": over } }).to_string();
    let loaded = admin.post("/v2/repository/models/scale/load", &[], body.as_bytes());
    assert_eq!(loaded.status, 200, "{}", loaded.text());
    assert_eq!(engine.infer("scale", ROW).output(0), json!([5.0, 10.0]));
    let unknown = json!({ "parameters": { "config": r#"{"max_batsh_size": 4}"# } }).to_string();
    let refused = admin.post("/v2/repository/models/scale/load", &[], unknown.as_bytes());
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("did you mean 'max_batch_size'?"), "{}", refused.error());
}

#[test]
fn what_can_not_be_as_it_says_does_not_start() {
    for (line, expected) in [
        ("max_batsh_size: 8", "line 1, column 1: there is no field 'max_batsh_size'"),
        ("platform: \"tensorrt_plan\"", "nothing here that runs 'tensorrt_plan'"),
        ("ensemble_scheduling { }", "ensemble_scheduling can't be honoured"),
        ("name: \"other\"", "the model's directory is 'scale'"),
        ("input { name: \"x\" data_type: TYPE_INT8 dims: 2 }", "declares FP32 [2]"),
        ("max_batch_size: 0", "have a batch dimension"),
    ] {
        let config =
            format!("{line}\nparameters {{ key: \"factor\" value {{ string_value: \"3\" }} }}");
        let files = repository("triton-refused", &config);
        let output = command(&[&files.path("")]).output().expect("foil runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{line}: {said}");
    }
}

#[test]
fn a_model_of_tritons_python_backend_is_told_what_to_write() {
    let files = repository("triton-python", "");
    let theirs = "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n";
    files.write("scale/2/model.py", theirs);
    let output = command(&[&files.path("")]).output().expect("foil runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("@hydrofoil.model"), "{said}");
}
