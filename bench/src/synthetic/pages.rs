//! What the server says of itself at once, so that clients of the Open Inference Protocol that ask first can load it: one
//! model of any name, from 784 floats to one. Pure.

use serde_json::{Value, json};

/// What was answered so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) answers: u64,
    pub(super) delays_ns: u64,
}

/// None: anything else is a question, and its answer takes its time.
pub(super) fn page(method: &str, path: &str, counts: Counts) -> Option<String> {
    if method != "GET" {
        return None;
    }
    let path = path.split('?').next()?.trim_end_matches('/');
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let found = match parts.as_slice() {
        ["v2"] => json!({ "name": "synthetic", "version": "1", "extensions": ["statistics"] }),
        ["v2", "health", _] | ["v2", "models", _, "ready"] => json!({}),
        ["v2", "models", name] | ["v2", "models", name, "versions", _] => metadata(name),
        ["v2", "models", name, .., "config"] => config(name),
        ["v2", "models", name, .., "stats"] => stats(name, counts),
        _ => return None,
    };
    Some(found.to_string())
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "versions": ["1"],
        "platform": "synthetic",
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": [-1, 784] }],
        "outputs": [{ "name": "y", "datatype": "FP32", "shape": [-1] }],
    })
}

fn config(name: &str) -> Value {
    json!({
        "name": name,
        "platform": "synthetic",
        "backend": "synthetic",
        "max_batch_size": 0,
        "input": [{ "name": "x", "data_type": "TYPE_FP32", "dims": [-1, 784] }],
        "output": [{ "name": "y", "data_type": "TYPE_FP32", "dims": [-1] }],
    })
}

fn stats(name: &str, Counts { answers, delays_ns }: Counts) -> Value {
    let all = json!({ "count": answers, "ns": delays_ns });
    // Clients expect each stage to have been passed as often.
    let instant = json!({ "count": answers, "ns": 0 });
    json!({ "model_stats": [{
        "name": name,
        "version": "1",
        "last_inference": 0,
        "inference_count": answers,
        "execution_count": answers,
        "inference_stats": {
            "success": all,
            "fail": { "count": 0, "ns": 0 },
            "queue": instant,
            "compute_input": instant,
            "compute_infer": all,
            "compute_output": instant,
        },
        "batch_stats": [],
    }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_from_questions() {
        for path in [
            "/v2",
            "/v2/health/ready",
            "/v2/models/m",
            "/v2/models/m/versions/1",
            "/v2/models/m/config",
            "/v2/models/m/versions/1/stats",
            "/v2/models/m/ready?x=1",
        ] {
            assert!(page("GET", path, Counts::default()).is_some(), "{path}");
        }
        assert_eq!(page("GET", "/", Counts::default()), None);
        assert_eq!(page("GET", "/predict", Counts::default()), None);
        assert_eq!(page("POST", "/v2/models/m/infer", Counts::default()), None);
        assert_eq!(page("POST", "/v2", Counts::default()), None);
    }
}
