//! What is asked: Open Inference Protocol bodies with seeded values, as JSON and with the binary tensor extension.
//!
//! Both encodings of one seed carry the same values. Floats have four decimals and lie in [0, 1), as peers' published
//! bodies do, so that the length of a JSON body is comparable.

mod datatype;
mod values;

use std::fmt::Write;

use serde_json::{Value, json};

pub use self::datatype::Datatype;
pub use self::values::Values;

/// A dimension the model leaves open, other than the batch, gets this length unless told otherwise.
pub const OPEN_DIMENSION: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Binary,
    Json,
}

/// One input tensor as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub name: String,
    /// The protocol's name, sent as it is.
    pub datatype_name: String,
    pub datatype: Datatype,
    pub shape: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    pub content_type: &'static str,
    /// The length of the JSON ahead of binary tensors.
    pub header_bytes: Option<usize>,
    pub body: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    #[error(
        "the model's metadata have no list of inputs; is this an Open Inference Protocol server?"
    )]
    NoInputs,
    #[error("the input '{input}' has no name, shape or datatype that can be read")]
    BadInput { input: String },
    #[error("the input '{input}' has the datatype '{datatype}', which is none of the protocol's")]
    UnknownDatatype { input: String, datatype: String },
    #[error("the input '{input}' takes more than {limit} elements a request; send fewer rows")]
    TooLarge { input: String, limit: u64 },
}

/// One request stays far below what servers accept, and a lying server can't exhaust memory.
pub const ELEMENTS_MAX: u64 = 1 << 24;

impl Input {
    pub fn fp32(name: &str, shape: &[u64]) -> Input {
        Input {
            name: name.to_owned(),
            datatype_name: "FP32".to_owned(),
            datatype: Datatype::Fp32,
            shape: shape.to_vec(),
        }
    }

    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

impl Payload {
    /// A whole JSON body.
    pub fn json(text: String) -> Payload {
        let body = text.into_bytes();
        Payload { content_type: "application/json", header_bytes: None, body }
    }
}

/// The inputs a model's metadata ask for. A first dimension of -1 becomes `rows`, any other [`OPEN_DIMENSION`].
pub fn inputs_of(metadata: &Value, rows: u64) -> Result<Vec<Input>, PayloadError> {
    let inputs = metadata["inputs"].as_array().ok_or(PayloadError::NoInputs)?;
    inputs.iter().map(|input| input_of(input, rows)).collect()
}

fn input_of(described: &Value, rows: u64) -> Result<Input, PayloadError> {
    let bad = || PayloadError::BadInput { input: described["name"].to_string() };
    let name = described["name"].as_str().ok_or_else(bad)?.to_owned();
    let datatype_name = described["datatype"].as_str().ok_or_else(bad)?.to_owned();
    let dimensions = described["shape"].as_array().ok_or_else(bad)?;
    let fixed = |(index, dimension): (usize, &Value)| match dimension.as_i64() {
        Some(-1) if index == 0 => Some(rows),
        Some(-1) => Some(OPEN_DIMENSION),
        length => length.and_then(|length| u64::try_from(length).ok()),
    };
    let shape: Vec<u64> =
        dimensions.iter().enumerate().map(fixed).collect::<Option<_>>().ok_or_else(bad)?;
    let elements = shape.iter().try_fold(1_u64, |product, &length| product.checked_mul(length));
    if elements.is_none_or(|elements| elements > ELEMENTS_MAX) {
        return Err(PayloadError::TooLarge { input: name, limit: ELEMENTS_MAX });
    }
    match Datatype::from_name(&datatype_name) {
        Some(datatype) => Ok(Input { name, datatype_name, datatype, shape }),
        None => Err(PayloadError::UnknownDatatype { input: name, datatype: datatype_name }),
    }
}

/// With random values of this seed.
pub fn payload(encoding: Encoding, inputs: &[Input], seed: u64) -> Payload {
    payload_of(encoding, inputs, Values::random(seed))
}

pub fn payload_of(encoding: Encoding, inputs: &[Input], values: Values) -> Payload {
    match encoding {
        Encoding::Binary => binary(inputs, values),
        Encoding::Json => as_json(inputs, values),
    }
}

/// The whole request, ready to be written again and again.
pub fn http_request(host: &str, path: &str, payload: &Payload) -> Vec<u8> {
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n");
    let _ = write!(head, "Content-Type: {}\r\n", payload.content_type);
    if let Some(bytes) = payload.header_bytes {
        let _ = write!(head, "Inference-Header-Content-Length: {bytes}\r\n");
    }
    let _ = write!(head, "Content-Length: {}\r\n\r\n", payload.body.len());
    let mut request = head.into_bytes();
    request.extend_from_slice(&payload.body);
    request
}

/// The values of the first tensor of [`payload`] of this seed, where it holds floats.
pub fn floats(input: &Input, seed: u64) -> Vec<f32> {
    values::floats(seed, input.elements())
}

fn binary(inputs: &[Input], mut values: Values) -> Payload {
    let tensors: Vec<Vec<u8>> = inputs.iter().map(|input| raw(input, &mut values)).collect();
    let described: Vec<Value> = inputs
        .iter()
        .zip(&tensors)
        .map(|(input, raw)| {
            let mut described = describe(input);
            described["parameters"] = json!({ "binary_data_size": raw.len() });
            described
        })
        .collect();
    let parameters = json!({ "binary_data_output": true });
    let header = json!({ "inputs": described, "parameters": parameters }).to_string();
    let mut body = header.clone().into_bytes();
    tensors.iter().for_each(|raw| body.extend_from_slice(raw));
    Payload { content_type: "application/octet-stream", header_bytes: Some(header.len()), body }
}

fn as_json(inputs: &[Input], mut values: Values) -> Payload {
    let mut body = String::from(r#"{"inputs":["#);
    for (index, input) in inputs.iter().enumerate() {
        let mut described = describe(input).to_string();
        described.pop();
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(body, r#"{comma}{described},"data":["#);
        for element in 0..input.elements() {
            if element > 0 {
                body.push(',');
            }
            values.next(input.datatype).write(input.datatype, &mut body);
        }
        body.push_str("]}");
    }
    body.push_str("]}");
    Payload::json(body)
}

fn describe(input: &Input) -> Value {
    json!({ "name": input.name, "shape": input.shape, "datatype": input.datatype_name })
}

/// A tensor's bytes as the binary tensor extension has them.
pub fn raw(input: &Input, values: &mut Values) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..input.elements() {
        values.next(input.datatype).push(input.datatype, &mut bytes);
    }
    bytes
}

/// A tensor's elements as nested JSON arrays, one text for each of its rows.
pub fn nested_rows(input: &Input, values: &mut Values) -> Vec<String> {
    let (rows, within) = match input.shape.split_first() {
        Some((&rows, within)) => (rows, within),
        None => (1, &[][..]),
    };
    let mut texts = Vec::new();
    for _ in 0..rows {
        let mut text = String::new();
        write_nested(within, input.datatype, values, &mut text);
        texts.push(text);
    }
    texts
}

fn write_nested(shape: &[u64], datatype: Datatype, values: &mut Values, text: &mut String) {
    let Some((&length, within)) = shape.split_first() else {
        return values.next(datatype).write(datatype, text);
    };
    text.push('[');
    for index in 0..length {
        if index > 0 {
            text.push(',');
        }
        write_nested(within, datatype, values, text);
    }
    text.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 14] = [
        "BOOL", "UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64", "FP16",
        "BF16", "FP32", "FP64", "BYTES",
    ];

    fn input(name: &str, shape: &[u64]) -> Input {
        Input {
            name: name.to_lowercase(),
            datatype_name: name.to_owned(),
            datatype: Datatype::from_name(name).expect("known"),
            shape: shape.to_vec(),
        }
    }

    fn parsed(payload: &Payload) -> Value {
        let end = payload.header_bytes.unwrap_or(payload.body.len());
        serde_json::from_slice(&payload.body[..end]).expect("JSON")
    }

    #[test]
    fn both_encodings_carry_the_same_values() {
        let inputs = [Input::fp32("x", &[2, 784])];
        let binary = payload(Encoding::Binary, &inputs, 5);
        let json = payload(Encoding::Json, &inputs, 5);
        let raw = &binary.body[binary.header_bytes.expect("binary")..];
        let sent: Vec<f32> = raw
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes(four.try_into().expect("four")))
            .collect();
        let told: Vec<f32> = parsed(&json)["inputs"][0]["data"]
            .as_array()
            .expect("data")
            .iter()
            .map(|number| number.to_string().parse().expect("a float"))
            .collect();
        assert_eq!(sent, told);
        assert_eq!(sent, floats(&inputs[0], 5));
        assert_ne!(binary.body, payload(Encoding::Binary, &inputs, 6).body);
    }

    proptest::proptest! {
        /// What a reader of the JSON would make of it is what the binary form says, to the last bit.
        #[test]
        fn json_and_binary_agree_in_every_datatype(seed: u64, name in proptest::sample::select(&NAMES)) {
            let input = input(name, &[40]);
            let binary = payload(Encoding::Binary, std::slice::from_ref(&input), seed);
            let mut raw = &binary.body[binary.header_bytes.expect("binary")..];
            let json = parsed(&payload(Encoding::Json, std::slice::from_ref(&input), seed));
            for told in json["inputs"][0]["data"].as_array().expect("data") {
                raw = after_same(input.datatype, told, raw);
            }
            proptest::prop_assert!(raw.is_empty());
        }
    }

    fn after_same<'a>(datatype: Datatype, told: &Value, raw: &'a [u8]) -> &'a [u8] {
        if datatype == Datatype::Bytes {
            let text = told.as_str().expect("text");
            let (length, rest) = raw.split_at(4);
            assert_eq!(length, (text.len() as u32).to_le_bytes());
            return rest.strip_prefix(text.as_bytes()).expect("the same text");
        }
        let told = told.as_f64().or(told.as_bool().map(|bit| f64::from(u8::from(bit))));
        let told = told.expect("a number or a boolean");
        let (sent, rest) = datatype.take(raw).expect("as many in binary");
        let unit = match datatype {
            Datatype::Fp16 => told.max(2_f64.powi(-14)) * 2_f64.powi(-11),
            Datatype::Bf16 => told * 2_f64.powi(-8),
            Datatype::Fp32 => told * 2_f64.powi(-24),
            _ => 0.0,
        };
        assert!((sent - told).abs() <= unit, "{sent} was sent and {told} told");
        rest
    }

    #[test]
    fn given_values_stand_in_rows() {
        let values = Values::given(vec![1.0, 2.5, 3.0, 4.0]);
        let rows = nested_rows(&input("FP32", &[2, 1, 2]), &mut values.clone());
        assert_eq!(rows, ["[[1,2.5]]", "[[3,4]]"]);
        let body = payload_of(Encoding::Json, &[input("INT8", &[2])], Values::Constant(7.0));
        assert_eq!(parsed(&body)["inputs"][0]["data"], json!([7, 7]));
    }

    #[test]
    fn the_json_body_of_784_floats_has_the_length_of_the_published_one() {
        let json = payload(Encoding::Json, &[Input::fp32("x", &[1, 784])], 1);
        assert!((5_000..5_700).contains(&json.body.len()), "{}", json.body.len());
    }

    #[test]
    fn sizes_in_the_header_are_those_of_the_tensors() {
        let inputs: Vec<Input> = NAMES.iter().map(|name| input(name, &[3])).collect();
        let binary = payload(Encoding::Binary, &inputs, 1);
        let header = parsed(&binary);
        let sizes: Vec<u64> = header["inputs"]
            .as_array()
            .expect("inputs")
            .iter()
            .map(|input| input["parameters"]["binary_data_size"].as_u64().expect("size"))
            .collect();
        assert_eq!(sizes, [3, 3, 3, 6, 6, 12, 12, 24, 24, 6, 6, 12, 24, 33]);
        let raw = binary.body.len() - binary.header_bytes.expect("binary");
        assert_eq!(sizes.iter().sum::<u64>(), raw as u64);
        assert_eq!(
            parsed(&payload(Encoding::Json, &inputs, 1))["inputs"][13]["data"][0]
                .as_str()
                .map(str::len),
            Some(7)
        );
    }

    #[test]
    fn metadata_name_the_inputs_and_the_caller_the_rows() {
        let metadata =
            json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [-1, 64, -1] }] });
        let inputs = inputs_of(&metadata, 4).expect("inputs");
        assert_eq!(inputs[0].shape, [4, 64, OPEN_DIMENSION]);
    }

    #[test]
    fn metadata_that_make_no_sense_are_refused() {
        let with = |shape: Value, datatype: &str| {
            inputs_of(
                &json!({ "inputs": [{ "name": "x", "datatype": datatype, "shape": shape }] }),
                1,
            )
        };
        assert_eq!(inputs_of(&json!({}), 1), Err(PayloadError::NoInputs));
        assert!(matches!(with(json!([1]), "FP8"), Err(PayloadError::UnknownDatatype { .. })));
        assert!(matches!(with(json!([-2]), "FP32"), Err(PayloadError::BadInput { .. })));
        assert!(matches!(
            with(json!([1_u64 << 40, 1_u64 << 40]), "FP32"),
            Err(PayloadError::TooLarge { .. })
        ));
    }
}
