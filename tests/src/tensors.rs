//! Bodies of infer requests.

use serde_json::{Value, json};

use crate::client::{Client, Response};

/// JSON for rows of two numbers, as the model `moody` takes them.
pub fn rows(rows: &[[f32; 2]]) -> String {
    let input = json!({"name": "x", "shape": [rows.len(), 2], "datatype": "FP32", "data": rows});
    json!({ "inputs": [input] }).to_string()
}

/// One tensor of a binary request: name, datatype, shape, bytes.
pub type Tensor<'a> = (&'a str, &'a str, &'a [u64], Vec<u8>);

/// The header and the body of a binary request, and the header's length.
pub fn binary(tensors: &[Tensor<'_>]) -> (Vec<u8>, usize) {
    let input = |(name, datatype, shape, bytes): &Tensor<'_>| {
        let parameters = json!({"binary_data_size": bytes.len()});
        json!({"name": name, "datatype": datatype, "shape": shape, "parameters": parameters})
    };
    let inputs: Vec<Value> = tensors.iter().map(input).collect();
    let header = json!({"inputs": inputs, "parameters": {"binary_data_output": true}}).to_string();
    let mut body = header.clone().into_bytes();
    tensors.iter().for_each(|(_, _, _, bytes)| body.extend_from_slice(bytes));
    (body, header.len())
}

/// Asks in binary and returns each output's bytes by name.
pub fn ask_binary(
    client: &mut Client,
    model: &str,
    tensors: &[Tensor<'_>],
) -> Vec<(String, Vec<u8>)> {
    let (body, header) = binary(tensors);
    let length = header.to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    outputs(&client.post(&format!("/v2/models/{model}/infer"), &headers, &body))
}

/// Each output of a binary answer by name.
pub fn outputs(response: &Response) -> Vec<(String, Vec<u8>)> {
    assert_eq!(response.status, 200, "{}", response.text());
    let length = response.header("inference-header-content-length").expect("a binary answer");
    let (head, mut rest) = response.body.split_at(length.parse().expect("a length"));
    let head: Value = serde_json::from_slice(head).expect("a JSON header");
    let outputs = head["outputs"].as_array().expect("outputs");
    let mut found = Vec::new();
    for output in outputs {
        let size = output["parameters"]["binary_data_size"].as_u64().expect("a size") as usize;
        let (bytes, after) = rest.split_at(size);
        found.push((output["name"].as_str().expect("a name").to_owned(), bytes.to_vec()));
        rest = after;
    }
    assert!(rest.is_empty(), "nothing is left over");
    found
}

/// Elements of a BYTES tensor in binary form: a length of four bytes before each.
pub fn bytes_elements(elements: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for element in elements {
        all.extend_from_slice(&(element.len() as u32).to_le_bytes());
        all.extend_from_slice(element);
    }
    all
}
