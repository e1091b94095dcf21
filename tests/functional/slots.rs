//! What fits a slot: as many tensors as are allowed, none of their elements at all, and nothing that is too large.

use harness::engine::{Engine, Scratch, command};
use serde_json::{Value, json};

/// The limit of `schemas::tensor::TENSORS_MAX`.
const TENSORS_MAX: usize = 24;

/// A Python model that returns its `count` inputs, every third of them text.
fn echo(count: usize) -> String {
    let dtype = |at: usize| if at.is_multiple_of(3) { "str" } else { "f32" };
    let list = |form: &dyn Fn(usize) -> String| (0..count).map(form).collect::<Vec<_>>().join(", ");
    let inputs = list(&|at| format!("x{at}: foil.{}[\"n\", \"k\"]", dtype(at)));
    let outputs = list(&|at| format!("\"x{at}\": foil.{}[\"n\", \"k\"]", dtype(at)));
    let values = list(&|at| format!("\"x{at}\": x{at}"));
    format!(
        "import hydrofoil as foil\n\n\n@foil.model(max_batch=4)\nclass Echo:\n    \
         def predict(self, {inputs}) -> {{{outputs}}}:\n        return {{{values}}}\n"
    )
}

fn inputs(count: usize, shape: [usize; 2]) -> Vec<Value> {
    let elements = shape[0] * shape[1];
    let input = |at: usize| {
        let (datatype, data) = match at.is_multiple_of(3) {
            true => ("BYTES", json!(vec![format!("text {at}"); elements])),
            false => ("FP32", json!(vec![at as f32; elements])),
        };
        json!({"name": format!("x{at}"), "shape": shape, "datatype": datatype, "data": data})
    };
    (0..count).map(input).collect()
}

#[test]
fn the_largest_number_of_tensors_crosses_with_and_without_elements() {
    let files = Scratch::new("tensors");
    files.write("echo.py", &echo(TENSORS_MAX));
    for lane in ["memfd", "posix"] {
        let engine = Engine::start(&[&files.path("echo.py"), "--lane", lane], 1);
        for shape in [[2, 3], [1, 0], [4, 0], [1, 1]] {
            let inputs = inputs(TENSORS_MAX, shape);
            let answer = engine.infer("echo", &json!({ "inputs": inputs }).to_string());
            for (at, input) in inputs.iter().enumerate() {
                assert_eq!(answer.output(at), input["data"], "{lane} {shape:?} tensor {at}");
            }
        }
        let nothing =
            engine.infer("echo", &json!({"inputs": inputs(TENSORS_MAX, [0, 3])}).to_string());
        assert_eq!(nothing.status, 400, "a request without rows asks for nothing");
        assert!(nothing.error().contains("rows"), "{}", nothing.error());
    }
}

#[test]
fn one_tensor_too_many_is_refused_when_the_model_is_declared() {
    let files = Scratch::new("too-many-tensors");
    files.write("echo.py", &echo(TENSORS_MAX + 1));
    let output = command(&[&files.path("echo.py")]).output().expect("foil runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("24"), "{said}");
}

const GROWS: &str = r#"
import numpy as np

import hydrofoil as foil


@foil.model(max_batch=4)
class Grows:
    def predict(self, n: foil.i64["n"]) -> {"y": foil.f32["n", "k"], "text": foil.str["n"]}:
        return {"y": np.ones((len(n), int(n[0])), np.float32), "text": ["x" * int(n[0])] * len(n)}
"#;

#[test]
fn outputs_larger_than_their_slot_are_an_error_that_names_the_setting_never_cut_off() {
    let files = Scratch::new("grows");
    files.write("grows.py", GROWS);
    files.write("small.toml", "[limits]\nvariable_slot_bytes = 16384\n");
    let ask = |engine: &Engine, numbers: u64| {
        let input = json!({"name": "n", "shape": [1], "datatype": "INT64", "data": [numbers]});
        engine.infer("grows", &json!({ "inputs": [input] }).to_string())
    };
    for (settings, fits, too_many) in [(None, 100_000, 400_000), (Some("small.toml"), 1_000, 5_000)]
    {
        let mut command = command(&[&files.path("grows.py")]);
        if let Some(file) = settings {
            command.arg("--config").arg(files.path(file));
        }
        let engine = Engine::start_with(command, 1);
        assert_eq!(ask(&engine, fits).output(1), json!(["x".repeat(fits as usize)]));
        let answer = ask(&engine, too_many);
        assert_eq!(answer.status, 500);
        for setting in ["max_batch", "limits.variable_slot_bytes", "limits.slot_bytes_max"] {
            assert!(answer.error().contains(setting), "{}", answer.error());
        }
        assert_eq!(ask(&engine, fits).status, 200, "the model goes on");
        assert_eq!(engine.restarts("grows"), 0.0);
    }
}
