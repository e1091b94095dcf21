use schemas::lifecycle::Late;
use schemas::tensor::{DType, Dim, TensorSpec};

use super::*;
use crate::codec::bind::bind;
use crate::ids::Version;
use crate::query::types::{TaskInputs, TensorData};

fn spec(inputs: &[(&str, DType, &[Dim])]) -> ModelSpec {
    let tensor = |&(name, dtype, dims): &(&str, DType, &[Dim])| TensorSpec {
        name: name.into(),
        dtype,
        dims: dims.to_vec(),
    };
    ModelSpec {
        name: "m".into(),
        platform: "test".into(),
        inputs: inputs.iter().map(tensor).collect(),
        outputs: inputs.iter().map(tensor).collect(),
        batched: inputs.iter().any(|(_, _, dims)| dims.contains(&Dim::Batch)),
        max_batch: 8,
        slo_us: None,
        late: Late::Serve,
        batch_timeout_us: 1,
        replicas: 1,
        pad: false,
        decoupled: true,
    }
}

fn asked(spec: &ModelSpec, json: &str) -> Result<TaskInputs, InputFault> {
    bind(spec, read(spec, json.as_bytes())?.inputs)
}

fn shape_of(dims: &[Dim], value: &str) -> Result<Vec<u64>, InputFault> {
    let spec = spec(&[("x", DType::F32, dims)]);
    asked(&spec, &format!("{{\"x\": {value}}}")).map(|it| it.tensors[0].shape.to_vec())
}

#[test]
fn a_value_takes_the_shape_that_its_input_declares() {
    const B: Dim = Dim::Batch;
    const V: Dim = Dim::Variable;
    let two = Dim::Fixed(2);
    assert_eq!(shape_of(&[Dim::Fixed(1)], "5").unwrap(), [1]);
    assert_eq!(shape_of(&[], "5").unwrap(), [0; 0]);
    assert_eq!(shape_of(&[B], "[1, 2, 3]").unwrap(), [3]);
    assert_eq!(shape_of(&[B, V], "[1, 2, 3]").unwrap(), [1, 3]);
    assert_eq!(shape_of(&[B, two], "[1, 2, 3, 4]").unwrap(), [2, 2]);
    assert_eq!(shape_of(&[V, two], "[1, 2]").unwrap(), [1, 2]);
    for (dims, value) in [(&[two][..], "[1, 2, 3]"), (&[V, two], "[1, 2, 3]"), (&[two], "5")] {
        assert!(shape_of(dims, value).is_err(), "{dims:?} {value}");
    }
    assert!(shape_of(&[B], "[]").is_err(), "no rows");
}

#[test]
fn keys_that_name_no_input_are_parameters() {
    let spec =
        spec(&[("text", DType::Str, &[Dim::Fixed(1)]), ("id", DType::I64, &[Dim::Fixed(1)])]);
    let json =
        r#"{"stream": true, "text": "häß\n", "parameters": {"timeout": 5, "top_k": [1]}, "id": 7}"#;
    let flat = read(&spec, json.as_bytes()).unwrap();
    assert_eq!((flat.timeout_us, flat.id), (Some(5), None), "an input's name comes first");
    let TensorData::Variable { values, .. } = &flat.inputs[0].tensor.data else { panic!("text") };
    assert_eq!(&values[..], "häß\n".as_bytes());
}

#[test]
fn what_is_wrong_is_said_by_name() {
    let spec = spec(&[("x", DType::I64, &[Dim::Fixed(1)])]);
    let said = |json| asked(&spec, json).unwrap_err().to_string();
    assert!(said("{}").contains("'x'"));
    assert!(said(r#"{"x": "1"}"#).contains("'x'"));
    assert!(said(r#"{"x": 1, "x": 2}"#).contains("twice"));
    assert!(said(r#"{"x": 1"#).contains("too early"));
    assert!(said(r#"{"x": {"y": 1}}"#).contains("'x'"));
    assert!(said("[1]").contains("an object"));
}

#[test]
fn one_element_is_a_scalar_and_more_are_a_list() {
    let spec = spec(&[("text", DType::Str, &[Dim::Fixed(1)]), ("x", DType::F32, &[Dim::Variable])]);
    let inputs = asked(&spec, r#"{"text": "a\"b", "x": [1, 2.5]}"#).unwrap();
    let about = About { spec: &spec, model: "m", version: Version(3), id: Some("q") };
    let chosen = crate::codec::answer::all(&spec, false).unwrap();
    let mut out = Vec::new();
    write(&mut out, about, &chosen, &inputs.tensors).unwrap();
    let expected = r#"{"model_name":"m","model_version":"3","id":"q","text":"a\"b","x":[1.0,2.5]}"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
