//! What is asked: Open Inference Protocol bodies with seeded values, as JSON and with the binary tensor extension.
//!
//! Both encodings of one seed carry the same values. Floats have four decimals and lie in [0, 1), as peers' published
//! bodies do, so that the length of a JSON body is comparable.

use std::fmt::Write;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// Integers stay below this, so that every integer type holds them.
const INTEGER_BOUND: u8 = 100;
const TEN_THOUSAND: u32 = 10_000;
/// A dimension the model leaves open, other than the batch, gets this length unless told otherwise.
pub const OPEN_DIMENSION: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Binary,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datatype {
    Bool,
    /// Signed and unsigned alike: values are small and not negative.
    Integer {
        bytes: usize,
    },
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
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
const ELEMENTS_MAX: u64 = 1 << 24;

impl Datatype {
    pub fn from_name(name: &str) -> Option<Datatype> {
        Some(match name {
            "BOOL" => Datatype::Bool,
            "UINT8" | "INT8" => Datatype::Integer { bytes: 1 },
            "UINT16" | "INT16" => Datatype::Integer { bytes: 2 },
            "UINT32" | "INT32" => Datatype::Integer { bytes: 4 },
            "UINT64" | "INT64" => Datatype::Integer { bytes: 8 },
            "FP16" => Datatype::Fp16,
            "BF16" => Datatype::Bf16,
            "FP32" => Datatype::Fp32,
            "FP64" => Datatype::Fp64,
            "BYTES" => Datatype::Bytes,
            _ => return None,
        })
    }
}

impl Input {
    pub fn fp32(name: &str, shape: &[u64]) -> Input {
        Input {
            name: name.to_owned(),
            datatype_name: "FP32".to_owned(),
            datatype: Datatype::Fp32,
            shape: shape.to_vec(),
        }
    }

    fn elements(&self) -> u64 {
        self.shape.iter().product()
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

pub fn payload(encoding: Encoding, inputs: &[Input], seed: u64) -> Payload {
    match encoding {
        Encoding::Binary => binary(inputs, seed),
        Encoding::Json => as_json(inputs, seed),
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
    let mut rng = SmallRng::seed_from_u64(seed);
    (0..input.elements()).map(|_| ten_thousandths(&mut rng) as f32 / TEN_THOUSAND as f32).collect()
}

fn binary(inputs: &[Input], seed: u64) -> Payload {
    let mut rng = SmallRng::seed_from_u64(seed);
    let tensors: Vec<Vec<u8>> = inputs.iter().map(|input| raw(input, &mut rng)).collect();
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

fn as_json(inputs: &[Input], seed: u64) -> Payload {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut body = String::from(r#"{"inputs":["#);
    for (index, input) in inputs.iter().enumerate() {
        let mut described = describe(input).to_string();
        described.pop();
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(body, r#"{comma}{described},"data":["#);
        for element in 0..input.elements() {
            let comma = if element == 0 { "" } else { "," };
            let _ = write!(body, "{comma}{}", text(input.datatype, &mut rng));
        }
        body.push_str("]}");
    }
    body.push_str("]}");
    Payload { content_type: "application/json", header_bytes: None, body: body.into_bytes() }
}

fn describe(input: &Input) -> Value {
    json!({ "name": input.name, "shape": input.shape, "datatype": input.datatype_name })
}

fn raw(input: &Input, rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..input.elements() {
        match input.datatype {
            Datatype::Bool => bytes.push(u8::from(rng.random::<bool>())),
            Datatype::Integer { bytes: width } => {
                bytes.extend_from_slice(&u64::from(integer(rng)).to_le_bytes()[..width]);
            }
            Datatype::Fp16 => bytes.extend_from_slice(&fp16_bits(float(rng)).to_le_bytes()),
            Datatype::Bf16 => bytes.extend_from_slice(&float(rng).to_le_bytes()[2..]),
            Datatype::Fp32 => bytes.extend_from_slice(&float(rng).to_le_bytes()),
            Datatype::Fp64 => bytes.extend_from_slice(&double(rng).to_le_bytes()),
            Datatype::Bytes => {
                let text = word(rng);
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
    bytes
}

fn text(datatype: Datatype, rng: &mut SmallRng) -> String {
    match datatype {
        Datatype::Bool => rng.random::<bool>().to_string(),
        Datatype::Integer { .. } => integer(rng).to_string(),
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => {
            format!("0.{:04}", ten_thousandths(rng))
        }
        Datatype::Bytes => format!("\"{}\"", word(rng)),
    }
}

fn integer(rng: &mut SmallRng) -> u8 {
    rng.random_range(0..INTEGER_BOUND)
}

fn word(rng: &mut SmallRng) -> String {
    format!("word-{:02}", integer(rng))
}

fn ten_thousandths(rng: &mut SmallRng) -> u32 {
    rng.random_range(0..TEN_THOUSAND)
}

/// The float nearest to the four decimals, as a JSON reader would find it.
fn float(rng: &mut SmallRng) -> f32 {
    ten_thousandths(rng) as f32 / TEN_THOUSAND as f32
}

fn double(rng: &mut SmallRng) -> f64 {
    f64::from(ten_thousandths(rng)) / f64::from(TEN_THOUSAND)
}

/// For values in [0, 1), rounded toward zero; below the smallest normal half (2⁻¹⁴) becomes zero.
fn fp16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let exponent = (bits >> 23) as i32 - 127 + 15;
    if exponent <= 0 { 0 } else { ((exponent as u32) << 10 | (bits >> 13 & 0x3ff)) as u16 }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_json_body_of_784_floats_has_the_length_of_the_published_one() {
        let json = payload(Encoding::Json, &[Input::fp32("x", &[1, 784])], 1);
        assert!((5_000..5_700).contains(&json.body.len()), "{}", json.body.len());
    }

    #[test]
    fn sizes_in_the_header_are_those_of_the_tensors() {
        let names = ["BOOL", "UINT8", "INT16", "UINT32", "INT64", "FP16", "BF16", "FP64", "BYTES"];
        let inputs: Vec<Input> = names
            .iter()
            .map(|name| Input {
                name: name.to_lowercase(),
                datatype_name: (*name).to_owned(),
                datatype: Datatype::from_name(name).expect("known"),
                shape: vec![3],
            })
            .collect();
        let binary = payload(Encoding::Binary, &inputs, 1);
        let header = parsed(&binary);
        let sizes: Vec<u64> = header["inputs"]
            .as_array()
            .expect("inputs")
            .iter()
            .map(|input| input["parameters"]["binary_data_size"].as_u64().expect("size"))
            .collect();
        assert_eq!(sizes, [3, 3, 6, 12, 24, 6, 6, 24, 33]);
        let raw = binary.body.len() - binary.header_bytes.expect("binary");
        assert_eq!(sizes.iter().sum::<u64>(), raw as u64);
        assert_eq!(
            parsed(&payload(Encoding::Json, &inputs, 1))["inputs"][8]["data"][0]
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

    #[test]
    fn halves_are_right_to_their_last_bit_but_one() {
        assert_eq!([0.0, 0.5, 0.75, 0.1].map(fp16_bits), [0, 0x3800, 0x3a00, 0x2e66]);
    }
}
