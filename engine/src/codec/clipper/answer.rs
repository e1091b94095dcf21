//! What an application answers. A model's output is text in Clipper: where it is JSON it is embedded as JSON, else as a
//! string, and so is an application's default output. Outputs that are no text are said as JSON, one row as nested lists.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use schemas::lifecycle::ModelSpec;
use serde_json::value::RawValue;

use super::elements::{Elements, elements};
use super::json_fault::JsonFault;
use crate::codec::json_tensor::write::{self, NoJson};
use crate::query::types::{Tensor, TensorData};

/// Why an answer is the default. Clipper knows these two sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explanation {
    NoModel,
    NotInTime,
}

impl Explanation {
    fn text(self) -> &'static str {
        match self {
            Explanation::NoModel => "No connected models found for query",
            Explanation::NotInTime => {
                "Failed to retrieve a prediction response within the specified latency SLO"
            }
        }
    }
}

/// What one input came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// JSON.
    Output(Vec<u8>),
    Default {
        explanation: Explanation,
        /// What Clipper keeps to itself: the reason, in a sentence.
        cause: Option<String>,
    },
}

/// A model's one row of outputs as JSON.
pub fn output(spec: &ModelSpec, outputs: &[Tensor]) -> Result<Vec<u8>, NoJson> {
    let mut json = Vec::new();
    if let [output] = outputs {
        one_output(&mut json, output, spec.batched)?;
        return Ok(json);
    }
    json.push(b'{');
    for (index, (output, declared)) in outputs.iter().zip(&spec.outputs).enumerate() {
        if index > 0 {
            json.push(b',');
        }
        write::scalar(&mut json, declared.name.as_str());
        json.push(b':');
        one_output(&mut json, output, spec.batched)?;
    }
    json.push(b'}');
    Ok(json)
}

fn one_output(json: &mut Vec<u8>, output: &Tensor, batched: bool) -> Result<(), NoJson> {
    let shape = output.shape.get(usize::from(batched)..).unwrap_or_default();
    match (&output.data, shape) {
        (TensorData::Variable { offsets, values }, []) if offsets.len() == 2 => {
            text(json, &values[offsets[0] as usize..offsets[1] as usize]);
            Ok(())
        }
        _ => {
            let mut flat = Vec::new();
            write::data(&mut flat, output)?;
            let flat = std::str::from_utf8(&flat).expect("JSON was just written");
            nest(json, shape, &mut elements(flat));
            Ok(())
        }
    }
}

/// The elements in lists by the shape; a scalar for none.
fn nest(json: &mut Vec<u8>, shape: &[u64], elements: &mut Elements<'_>) {
    let Some((size, inner)) = shape.split_first() else {
        return json.extend_from_slice(elements.next().unwrap_or("null").as_bytes());
    };
    json.push(b'[');
    for index in 0..*size {
        if index > 0 {
            json.push(b',');
        }
        nest(json, inner, elements);
    }
    json.push(b']');
}

/// Bytes that are no text have no form in Clipper; they go as base64, as they come.
fn text(json: &mut Vec<u8>, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => embed(json, text),
        Err(_) => write::scalar(json, &BASE64_STANDARD.encode(bytes)),
    }
}

/// JSON as it is, anything else as a string.
pub fn embed(json: &mut Vec<u8>, text: &str) {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => json.extend_from_slice(value.get().as_bytes()),
        Err(_) => write::scalar(json, text),
    }
}

/// The answers to all inputs of a request, in their order, the first with this id.
pub fn predictions(first_id: u64, answers: &[Answer], default_output: &str) -> Vec<u8> {
    let mut json = Vec::new();
    if let [answer] = answers {
        prediction(&mut json, first_id, answer, default_output);
        return json;
    }
    json.extend_from_slice(b"{\"batch_predictions\":[");
    for (answer, id) in answers.iter().zip(first_id..) {
        if id > first_id {
            json.push(b',');
        }
        prediction(&mut json, id, answer, default_output);
    }
    json.extend_from_slice(b"]}");
    json
}

fn prediction(json: &mut Vec<u8>, id: u64, answer: &Answer, default_output: &str) {
    json.extend_from_slice(b"{\"query_id\":");
    write::scalar(json, &id);
    json.extend_from_slice(b",\"output\":");
    match answer {
        Answer::Output(output) => {
            json.extend_from_slice(output);
            json.extend_from_slice(b",\"default\":false");
        }
        Answer::Default { explanation, cause } => {
            embed(json, default_output);
            json.extend_from_slice(b",\"default\":true,\"default_explanation\":");
            write::scalar(json, explanation.text());
            if let Some(cause) = cause {
                json.extend_from_slice(b",\"default_cause\":");
                write::scalar(json, cause.as_str());
            }
        }
    }
    json.push(b'}');
}

/// A prediction that was asked for wrongly.
pub fn json_error(fault: &JsonFault, schema: &str) -> String {
    let cause = json_cause(fault, schema);
    serde_json::json!({ "error": "Json error", "cause": cause }).to_string()
}

/// And one that nobody can make.
pub fn query_error(cause: &str) -> String {
    serde_json::json!({ "error": "Query processing error", "cause": cause }).to_string()
}

/// The complaint alone, as feedback and the admin API get it.
pub fn json_cause(fault: &JsonFault, schema: &str) -> String {
    match fault {
        JsonFault::NotAnObject => fault.to_string(),
        _ => format!("Error parsing JSON: {fault}. Expected JSON schema: {schema}"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use schemas::lifecycle::Late;
    use schemas::tensor::{DType, Dim, Shape, TensorSpec};

    use super::*;

    fn spec(outputs: &[&str]) -> ModelSpec {
        let tensor = |name: &&str| TensorSpec {
            name: (*name).into(),
            dtype: DType::F32,
            dims: vec![Dim::Batch],
        };
        ModelSpec {
            name: "m".into(),
            platform: "test".into(),
            inputs: Vec::new(),
            outputs: outputs.iter().map(tensor).collect(),
            batched: true,
            max_batch: 8,
            slo_us: None,
            late: Late::Serve,
            batch_timeout_us: 1,
            replicas: 1,
            pad: false,
            decoupled: false,
        }
    }

    fn text(value: &str) -> Tensor {
        let (offsets, values) = ([0, value.len() as u32].into(), Bytes::from(value.to_owned()));
        let data = TensorData::Variable { offsets, values };
        Tensor { dtype: DType::Str, shape: Shape::from_slice(&[1]), data }
    }

    fn numbers(shape: &[u64], values: &[f32]) -> Tensor {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let data = TensorData::Fixed(bytes.into());
        Tensor { dtype: DType::F32, shape: Shape::from_slice(shape), data }
    }

    fn said(outputs: &[Tensor]) -> String {
        let names: Vec<_> = ["a", "b"].into_iter().take(outputs.len()).collect();
        String::from_utf8(output(&spec(&names), outputs).unwrap()).unwrap()
    }

    #[test]
    fn text_that_is_json_is_embedded_and_other_text_is_a_string() {
        for json in ["1", "-1.0", "[1,2]", r#"{"a":[]}"#, "null", r#""quoted""#] {
            assert_eq!(said(&[text(json)]), json);
        }
        assert_eq!(said(&[text("DEFAULT")]), r#""DEFAULT""#);
        assert_eq!(said(&[text("1 2")]), r#""1 2""#);
        assert_eq!(said(&[text("")]), r#""""#);
        assert_eq!(said(&[text("say \"x\"")]), r#""say \"x\"""#);
    }

    #[test]
    fn numbers_are_one_row_in_the_models_shape() {
        assert_eq!(said(&[numbers(&[1], &[2.5])]), "2.5");
        assert_eq!(said(&[numbers(&[1, 2], &[1.0, 2.5])]), "[1.0,2.5]");
        assert_eq!(said(&[numbers(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0])]), "[[1.0,2.0],[3.0,4.0]]");
        assert_eq!(said(&[numbers(&[1, 0], &[])]), "[]");
        assert_eq!(said(&[numbers(&[1], &[1.5]), text("x")]), r#"{"a":1.5,"b":"x"}"#);
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        let data =
            TensorData::Variable { offsets: [0, 2].into(), values: Bytes::from_static(&[255, 0]) };
        let tensor = Tensor { dtype: DType::Bytes, shape: Shape::from_slice(&[1]), data };
        assert_eq!(said(&[tensor]), r#""/wA=""#);
    }

    #[test]
    fn one_answer_stands_alone_and_others_in_a_list() {
        let good = Answer::Output(b"7".to_vec());
        let late = Answer::Default { explanation: Explanation::NotInTime, cause: None };
        let say = |answers: &[Answer]| String::from_utf8(predictions(5, answers, "-1.0")).unwrap();
        assert_eq!(
            say(std::slice::from_ref(&good)),
            r#"{"query_id":5,"output":7,"default":false}"#
        );
        assert_eq!(say(&[]), r#"{"batch_predictions":[]}"#);
        let both: serde_json::Value = serde_json::from_str(&say(&[good, late])).unwrap();
        assert_eq!(
            both["batch_predictions"][1],
            serde_json::json!({
                "query_id": 6,
                "output": -1.0,
                "default": true,
                "default_explanation":
                    "Failed to retrieve a prediction response within the specified latency SLO",
            })
        );
    }
}
