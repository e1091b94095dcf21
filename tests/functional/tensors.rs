//! Tensors of every datatype, in JSON and binary, through real containers.

use harness::engine::{Engine, model};
use harness::tensors::{Tensor, ask_binary, bytes_elements, rows};
use serde_json::{Value, json};

/// Inputs of the model `echo_all`: name, datatype, two rows of two elements in binary and in JSON.
fn every_datatype() -> Vec<(&'static str, &'static str, Vec<u8>, Option<Value>)> {
    fn le<const N: usize, T: Copy>(values: &[T], to: fn(T) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(|value| to(*value)).collect()
    }
    let text = ["", "a", "é", "ü\n"];
    let raw: [&[u8]; 4] = [b"", b"\0\xff", b"x", b"longer than the others"];
    vec![
        ("bool_", "BOOL", vec![0, 1, 1, 0], Some(json!([false, true, true, false]))),
        ("u8", "UINT8", vec![0, 1, 128, 255], Some(json!([0, 1, 128, 255]))),
        (
            "u16",
            "UINT16",
            le(&[0, 1, 2, u16::MAX], u16::to_le_bytes),
            Some(json!([0, 1, 2, u16::MAX])),
        ),
        (
            "u32",
            "UINT32",
            le(&[0, 1, 2, u32::MAX], u32::to_le_bytes),
            Some(json!([0, 1, 2, u32::MAX])),
        ),
        (
            "u64",
            "UINT64",
            le(&[0, 1, 2, u64::MAX], u64::to_le_bytes),
            Some(json!([0, 1, 2, u64::MAX])),
        ),
        ("i8", "INT8", le(&[-128, -1, 0, 127], i8::to_le_bytes), Some(json!([-128, -1, 0, 127]))),
        (
            "i16",
            "INT16",
            le(&[i16::MIN, -1, 0, 9], i16::to_le_bytes),
            Some(json!([i16::MIN, -1, 0, 9])),
        ),
        (
            "i32",
            "INT32",
            le(&[i32::MIN, -1, 0, 9], i32::to_le_bytes),
            Some(json!([i32::MIN, -1, 0, 9])),
        ),
        (
            "i64",
            "INT64",
            le(&[i64::MIN, -1, 0, 9], i64::to_le_bytes),
            Some(json!([i64::MIN, -1, 0, 9])),
        ),
        ("f16", "FP16", vec![0, 0, 0, 0x3c, 0, 0xc0, 0xff, 0x7b], None),
        (
            "f32",
            "FP32",
            le(&[0.1f32, -1.5e-30, 3.4e38, 0.0], f32::to_le_bytes),
            Some(json!([0.1f32, -1.5e-30f32, 3.4e38f32, 0.0f32])),
        ),
        (
            "f64",
            "FP64",
            le(&[0.1f64, -1.5e-300, 1.7e308, 0.0], f64::to_le_bytes),
            Some(json!([0.1, -1.5e-300, 1.7e308, 0.0])),
        ),
        ("raw", "BYTES", bytes_elements(&raw), None),
        ("text", "BYTES", bytes_elements(&text.map(str::as_bytes)), Some(json!(text))),
    ]
}

#[test]
fn every_datatype_comes_back_unchanged_in_binary() {
    let engine = Engine::start(&[&model("echo_all.py")], 1);
    let all = every_datatype();
    let tensors: Vec<Tensor<'_>> = all
        .iter()
        .map(|(name, dtype, bytes, _)| (*name, *dtype, &[2u64, 2][..], bytes.clone()))
        .collect();
    let outputs = ask_binary(&mut engine.client(), "echo_all", &tensors);
    assert_eq!(outputs.len(), all.len());
    for ((name, _, bytes, _), (output, got)) in all.iter().zip(&outputs) {
        assert_eq!((name, bytes), (&output.as_str(), got));
    }
}

#[test]
fn every_datatype_that_json_can_hold_comes_back_unchanged_in_json() {
    let engine = Engine::start(&[&model("echo_all.py")], 1);
    let all = every_datatype();
    let input = |(name, datatype, _, data): &(&str, &str, Vec<u8>, Option<Value>)| match data {
        Some(data) => json!({"name": name, "datatype": datatype, "shape": [2, 2], "data": data}),
        // The forms may be mixed only with the binary extension: these two get text and zero elements instead.
        None => json!({"name": name, "datatype": datatype, "shape": [2, 0], "data": []}),
    };
    let without_halves: Vec<_> = all.iter().filter(|(name, ..)| *name != "f16").collect();
    let mut body: Vec<u8> = Vec::new();
    let halves = all.iter().find(|(name, ..)| *name == "f16").expect("f16 is there");
    let mut inputs: Vec<Value> = without_halves.iter().map(|it| input(it)).collect();
    inputs.push(json!({"name": "f16", "datatype": "FP16", "shape": [2, 2], "parameters": {"binary_data_size": 8}}));
    let header = json!({"inputs": inputs, "outputs": [
        {"name": "bool_"}, {"name": "u64"}, {"name": "i64"}, {"name": "f32"}, {"name": "f64"}, {"name": "text"},
        {"name": "raw"},
    ]})
    .to_string();
    body.extend_from_slice(header.as_bytes());
    body.extend_from_slice(&halves.2);
    let length = header.len().to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    let response = engine.client().post("/v2/models/echo_all/infer", &headers, &body);
    assert_eq!(response.status, 200, "{}", response.text());
    for (index, name) in ["bool_", "u64", "i64", "f32", "f64", "text"].iter().enumerate() {
        let sent = all.iter().find(|(it, ..)| it == name).and_then(|it| it.3.clone());
        let got = response.output(index);
        if *name == "f32" {
            let as_f32 = |value: &Value| -> Vec<f32> {
                let numbers = value.as_array().expect("a list");
                numbers.iter().map(|it| it.as_f64().expect("a number") as f32).collect()
            };
            assert_eq!(as_f32(&got), as_f32(&sent.expect("JSON")), "{name}");
        } else {
            assert_eq!(Some(got), sent, "{name}");
        }
    }
}

#[test]
fn several_inputs_and_outputs_strings_among_them() {
    let engine = Engine::start(&[&model("mixed.py")], 1);
    let body = json!({"id": "q-7", "inputs": [
        {"name": "flag", "shape": [2], "datatype": "BOOL", "data": [true, false]},
        {"name": "values", "shape": [2, 3], "datatype": "FP64", "data": [[1, 2, 3], [4, 5, 6]]},
        {"name": "name", "shape": [2], "datatype": "BYTES", "data": ["bob", "é"]},
    ]});
    let response = engine.infer("mixed", &body.to_string());
    assert_eq!(response.output(0), json!(["hello, bob", "hello, é"]));
    assert_eq!(response.output(1), json!([6.0, 15.0]));
    assert_eq!(response.output(2), json!([false, true]));
    assert_eq!(response.json()["id"], "q-7");
}

#[test]
fn a_model_without_a_batch_dimension_answers_one_request_a_call() {
    let engine = Engine::start(&[&model("unbatched.py")], 1);
    let body = json!({"inputs": [
        {"name": "matrix", "shape": [3, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6, 7, 8, 9]},
    ]});
    assert_eq!(engine.infer("trace", &body.to_string()).output(0), json!([15.0]));
}

#[test]
fn nan_is_refused_in_json_and_null_in_answers() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let mut client = engine.client();
    let nan = rows(&[[0.0, 1.0]]).replace("1.0", "NaN");
    let refused = client.infer("moody", &nan);
    assert_eq!(refused.status, 400);
    let (infinity, two) = (f32::INFINITY.to_le_bytes(), 0f32.to_le_bytes());
    let bytes = [two, infinity].concat();
    let (body, header) = harness::tensors::binary(&[("x", "FP32", &[1, 2], bytes)]);
    let body = String::from_utf8_lossy(&body[..header]).replace("true", "false").into_bytes();
    let tail = [0f32.to_le_bytes(), f32::INFINITY.to_le_bytes()].concat();
    let length = body.len().to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    let answer = client.post("/v2/models/moody/infer", &headers, &[body, tail].concat());
    assert_eq!(answer.output(0), json!([null]));
}
