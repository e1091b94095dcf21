use bytes::Bytes;
use schemas::lifecycle::Late;
use schemas::tensor::{DType, Dim, TensorSpec};

use super::*;
use crate::codec::json_tensor::parse_request;
use crate::query::types::TensorData;

fn spec(outputs: &[(&str, DType)]) -> ModelSpec {
    let tensor = |(name, dtype): &(&str, DType)| TensorSpec {
        name: (*name).into(),
        dtype: *dtype,
        dims: vec![Dim::Batch],
    };
    let outputs: Vec<_> = outputs.iter().map(tensor).collect();
    ModelSpec {
        name: "m".into(),
        platform: "python".into(),
        inputs: outputs.clone(),
        outputs,
        batched: true,
        max_batch: 4,
        slo_us: None,
        late: Late::Serve,
        batch_timeout_us: 1_000_000,
        replicas: 1,
        pad: false,
        decoupled: false,
    }
}

fn label_and_score() -> (ModelSpec, Vec<Tensor>) {
    let spec = spec(&[("label", DType::I64), ("score", DType::F32)]);
    let shape = || [2].into_iter().collect();
    let labels: Vec<u8> = [7i64, -1].iter().flat_map(|label| label.to_le_bytes()).collect();
    let scores: Vec<u8> = [0.5f32, 1e-9].iter().flat_map(|score| score.to_le_bytes()).collect();
    let outputs = vec![
        Tensor { dtype: DType::I64, shape: shape(), data: TensorData::Fixed(labels.into()) },
        Tensor { dtype: DType::F32, shape: shape(), data: TensorData::Fixed(scores.into()) },
    ];
    (spec, outputs)
}

fn chosen(spec: &ModelSpec, rest: &str) -> Result<Choice, InputFault> {
    let json = format!(
        r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"BOOL","data":[true]}}]{rest}}}"#
    );
    choose(spec, &parse_request(json.as_bytes()).unwrap())
}

fn encoded(rest: &str) -> Encoded {
    let (spec, outputs) = label_and_score();
    let about = About { spec: &spec, model: "a\"b", version: Version(3), id: Some("q") };
    encode(about, &chosen(&spec, rest).unwrap(), &outputs).unwrap()
}

#[test]
fn an_answer_in_json_reads_like_the_protocol_says() {
    let encoded = encoded("");
    assert_eq!(encoded.json_bytes, None);
    let expected = concat!(
        r#"{"model_name":"a\"b","model_version":"3","id":"q","outputs":["#,
        r#"{"name":"label","datatype":"INT64","shape":[2],"data":[7,-1]},"#,
        r#"{"name":"score","datatype":"FP32","shape":[2],"data":[0.5,1e-9]}]}"#
    );
    assert_eq!(String::from_utf8(encoded.body).unwrap(), expected);
}

#[test]
fn outputs_come_in_the_order_and_form_asked_for() {
    let rest = r#","parameters":{"binary_data_output":true},"outputs":[{"name":"score"},
        {"name":"label","parameters":{"binary_data":false}}]"#;
    let encoded = encoded(rest);
    let (json, blobs) = encoded.body.split_at(encoded.json_bytes.unwrap());
    let json: serde_json::Value = serde_json::from_slice(json).unwrap();
    assert_eq!(json["outputs"][0]["name"], "score");
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 8);
    assert!(json["outputs"][0].get("data").is_none());
    assert_eq!(json["outputs"][1]["data"], serde_json::json!([7, -1]));
    assert_eq!(blobs, [0.5f32.to_le_bytes(), 1e-9f32.to_le_bytes()].concat());
}

#[test]
fn an_output_that_can_not_be_given_is_refused_before_the_model_runs() {
    let half = spec(&[("h", DType::F16)]);
    assert!(matches!(chosen(&half, ""), Err(InputFault::OutputNotInJson { .. })));
    assert!(chosen(&half, r#","parameters":{"binary_data_output":true}"#).is_ok());
    let unknown = chosen(&half, r#","outputs":[{"name":"g"}]"#);
    assert!(matches!(unknown, Err(InputFault::UnknownOutput { .. })));
}

#[test]
fn an_empty_output_is_still_listed() {
    let spec = spec(&[("b", DType::Bytes)]);
    let data = TensorData::Variable { offsets: [0].into(), values: Bytes::new() };
    let empty = Tensor { dtype: DType::Bytes, shape: [0].into_iter().collect(), data };
    let about = About { spec: &spec, model: "m", version: Version(1), id: None };
    let encoded = encode(about, &all(&spec, true).unwrap(), &[empty]).unwrap();
    assert_eq!(encoded.json_bytes, Some(encoded.body.len()));
    let json: serde_json::Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 0);
    assert!(json.get("id").is_none());
}

#[test]
fn bytes_that_are_not_text_ask_for_binary() {
    let spec = spec(&[("b", DType::Bytes)]);
    let data = TensorData::Variable { offsets: [0, 1].into(), values: Bytes::from_static(&[0xff]) };
    let tensor = Tensor { dtype: DType::Bytes, shape: [1].into_iter().collect(), data };
    let about = About { spec: &spec, model: "m", version: Version(1), id: None };
    let refused = encode(about, &all(&spec, false).unwrap(), std::slice::from_ref(&tensor));
    assert!(matches!(refused, Err(InputFault::OutputNotUtf8 { .. })));
    let encoded = encode(about, &all(&spec, true).unwrap(), &[tensor]).unwrap();
    assert!(encoded.body.ends_with(&[1, 0, 0, 0, 0xff]));
}
