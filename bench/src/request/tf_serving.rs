//! TensorFlow Serving's JSON: `instances` in, `predictions` out. Other servers speak it too, often without metadata.

use serde_json::{Map, Value, json};

use super::oip::metadata;
use super::questions::{self, Question};
use super::{Prepared, RequestError, Source, Spec};
use crate::address::Address;
use crate::payload::{Encoding, Input, Payload, Values, http_request, inputs_of, nested_rows};

const ROOT: &str = "/v1/models";
const SIGNATURE: &str = "serving_default";

pub(super) fn requests(spec: &Spec, address: Address) -> Result<Vec<Vec<u8>>, RequestError> {
    let model = spec.model_path(ROOT)?;
    let (host, path) = (address.host(), format!("{model}:predict"));
    let mut prepared = Prepared::default();
    questions::each(spec, Encoding::Json, &|| inputs(spec, address, &model), &mut |question| {
        let text = match question {
            Question::Tensors { inputs, values } => instances(&inputs, values),
            Question::Json(text) => text,
        };
        prepared.push(http_request(&host, &path, &Payload::json(text)))
    })?;
    Ok(prepared.requests)
}

/// Values from a file need no names: rows of the only input go as they are.
fn inputs(spec: &Spec, address: Address, model: &str) -> Result<Option<Vec<Input>>, RequestError> {
    if matches!(spec.payload, Source::File(_)) {
        return Ok(None);
    }
    // A single input is not named either.
    let named = Spec { input: Some(spec.input.clone().unwrap_or_default()), ..spec.clone() };
    if let Some(input) = named.given_input()? {
        return Ok(Some(vec![input]));
    }
    let described = described(&metadata(address, &format!("{model}/metadata"))?);
    Ok(Some(inputs_of(&described, spec.rows)?))
}

/// The inputs of the usual signature, as the Open Inference Protocol describes them.
fn described(metadata: &Value) -> Value {
    let signature = &metadata["metadata"]["signature_def"]["signature_def"][SIGNATURE];
    let none = Map::new();
    let inputs = signature["inputs"].as_object();
    let one = |(name, input): (&String, &Value)| {
        let dimensions = input["tensor_shape"]["dim"].as_array();
        let sizes: Option<Vec<i64>> = dimensions
            .and_then(|all| all.iter().map(|one| one["size"].as_str()?.parse().ok()).collect());
        let datatype = input["dtype"].as_str().map(datatype_name);
        json!({ "name": name, "shape": sizes, "datatype": datatype })
    };
    let described: Vec<Value> = inputs.unwrap_or(&none).iter().map(one).collect();
    json!({ "inputs": inputs.is_some().then_some(described) })
}

fn datatype_name(dtype: &str) -> &str {
    match dtype {
        "DT_FLOAT" => "FP32",
        "DT_DOUBLE" => "FP64",
        "DT_HALF" => "FP16",
        "DT_BFLOAT16" => "BF16",
        "DT_STRING" => "BYTES",
        other => other.strip_prefix("DT_").unwrap_or(other),
    }
}

fn instances(inputs: &[Input], mut values: Values) -> String {
    let columns: Vec<Vec<String>> =
        inputs.iter().map(|input| nested_rows(input, &mut values)).collect();
    let rows = columns.iter().map(Vec::len).min().unwrap_or(0);
    let row = |index: usize| match &*columns {
        [column] => column[index].clone(),
        _ => {
            let parts = inputs.iter().zip(&columns);
            let parts: Vec<String> = parts
                .map(|(input, column)| format!("{}:{}", json!(input.name), column[index]))
                .collect();
            format!("{{{}}}", parts.join(","))
        }
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!("{{\"instances\":[{}]}}", rows.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_the_usual_signature_name_the_inputs() {
        let sizes = json!([{ "size": "-1", "name": "" }, { "size": "3", "name": "" }]);
        let inputs = json!({ "x": { "dtype": "DT_FLOAT", "tensor_shape": { "dim": sizes } },
            "id": { "dtype": "DT_INT64", "tensor_shape": { "dim": [{ "size": "-1" }] } } });
        let metadata = json!({ "metadata": { "signature_def": { "signature_def": {
            "serving_default": { "inputs": inputs } } } } });
        let inputs = inputs_of(&described(&metadata), 2).expect("inputs");
        let told: Vec<_> = inputs
            .iter()
            .map(|input| (&*input.name, &*input.datatype_name, &*input.shape))
            .collect();
        assert_eq!(told, [("id", "INT64", &[2][..]), ("x", "FP32", &[2, 3][..])]);
        assert!(inputs_of(&described(&json!({ "error": "none" })), 1).is_err());
    }

    #[test]
    fn several_inputs_are_named_in_each_row() {
        let inputs = [Input::fp32("a", &[2, 2]), Input::fp32("b", &[2])];
        let values = Values::given(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.5]);
        assert_eq!(
            instances(&inputs, values.clone()),
            r#"{"instances":[{"a":[1,2],"b":5},{"a":[3,4],"b":6.5}]}"#
        );
        assert_eq!(instances(&inputs[..1], values), r#"{"instances":[[1,2],[3,4]]}"#);
    }
}
