//! Whether an answer holds the numbers it should, whatever form it has. Pure.
//!
//! An answer of the Open Inference Protocol gives its outputs, as JSON or as binary tensors; one of TensorFlow Serving
//! its `predictions` or `outputs`; of any other JSON every number counts. Numbers follow each other in the order in
//! which they stand. Booleans are 0 and 1; `null` is not a number, as servers write it; text counts where it reads as
//! one. A number is right within `tolerance × (1 + |expected|)` of the expected one; not-a-number is right where it is
//! expected and nowhere else, and so is an infinity.

use serde_json::Value;

use crate::payload::Datatype;

/// What an answer should hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    pub values: Vec<f64>,
    pub tolerance: f64,
    /// Only this output counts, where it is named.
    pub output: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Mismatch {
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    #[error("{found} values came, expected were {expected}")]
    Count { expected: usize, found: usize },
    #[error("value {place} is {found}, expected was {expected}")]
    Value { place: usize, expected: f64, found: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("the answer is not JSON")]
    NotJson,
    #[error("the answer has text where a number is expected")]
    NotNumber,
    #[error("the answer has no such output")]
    NoOutput,
    #[error("the answer's binary tensors are not as its header describes them")]
    BadTensor,
}

impl Reference {
    /// `header_bytes`: the length of the JSON ahead of binary tensors, where the answer has them.
    pub fn check(&self, body: &[u8], header_bytes: Option<usize>) -> Result<(), Mismatch> {
        let found = numbers(body, header_bytes, self.output.as_deref())?;
        if found.len() != self.values.len() {
            return Err(Mismatch::Count { expected: self.values.len(), found: found.len() });
        }
        let mut pairs = self.values.iter().copied().zip(found).enumerate();
        let wrong = pairs.find(|&(_, (expected, found))| !is_near(expected, found, self.tolerance));
        match wrong {
            None => Ok(()),
            Some((place, (expected, found))) => Err(Mismatch::Value { place, expected, found }),
        }
    }
}

fn is_near(expected: f64, found: f64, tolerance: f64) -> bool {
    if !expected.is_finite() {
        return expected == found || (expected.is_nan() && found.is_nan());
    }
    (found - expected).abs() <= tolerance * (1.0 + expected.abs())
}

/// The numbers of an answer, in their order.
pub fn numbers(
    body: &[u8],
    header_bytes: Option<usize>,
    output: Option<&str>,
) -> Result<Vec<f64>, ReadError> {
    let (head, tensors) =
        body.split_at_checked(header_bytes.unwrap_or(body.len())).ok_or(ReadError::BadTensor)?;
    let answer: Value = serde_json::from_slice(head).map_err(|_| ReadError::NotJson)?;
    let mut found = Vec::new();
    match (answer["outputs"].as_array(), output) {
        (Some(outputs), _) if outputs.iter().any(|output| output["name"].is_string()) => {
            gather_outputs(outputs, tensors, output, &mut found)?;
        }
        _ => {
            let named = [&answer["predictions"], &answer["outputs"]];
            let whole = named.into_iter().find(|part| !part.is_null()).unwrap_or(&answer);
            gather_of_tf_serving(whole, output, &mut found)?;
        }
    }
    Ok(found)
}

fn gather_outputs(
    outputs: &[Value],
    mut tensors: &[u8],
    wanted: Option<&str>,
    found: &mut Vec<f64>,
) -> Result<(), ReadError> {
    let mut is_there = wanted.is_none();
    for output in outputs {
        let counts = wanted.is_none_or(|wanted| output["name"] == wanted);
        is_there |= counts;
        if let Some(size) = output["parameters"]["binary_data_size"].as_u64() {
            let split = tensors.split_at_checked(size as usize).ok_or(ReadError::BadTensor)?;
            tensors = split.1;
            if counts {
                gather_tensor(output, split.0, found)?;
            }
        } else if counts {
            gather(&output["data"], found)?;
        }
    }
    if is_there { Ok(()) } else { Err(ReadError::NoOutput) }
}

fn gather_tensor(output: &Value, mut tensor: &[u8], found: &mut Vec<f64>) -> Result<(), ReadError> {
    let datatype = output["datatype"].as_str().and_then(Datatype::from_name);
    let datatype = datatype.ok_or(ReadError::BadTensor)?;
    while !tensor.is_empty() {
        let (number, rest) = datatype.take(tensor).ok_or(ReadError::BadTensor)?;
        found.push(number);
        tensor = rest;
    }
    Ok(())
}

/// Several outputs are named in each row, or once as columns.
fn gather_of_tf_serving(
    part: &Value,
    wanted: Option<&str>,
    found: &mut Vec<f64>,
) -> Result<(), ReadError> {
    let Some(wanted) = wanted else { return gather(part, found) };
    let pick = |part: &Value, found: &mut Vec<f64>| match part.get(wanted) {
        Some(part) => gather(part, found),
        None => Err(ReadError::NoOutput),
    };
    match part.as_array() {
        Some(rows) => rows.iter().try_for_each(|row| pick(row, found)),
        None => pick(part, found),
    }
}

fn gather(part: &Value, found: &mut Vec<f64>) -> Result<(), ReadError> {
    match part {
        Value::Array(parts) => return parts.iter().try_for_each(|part| gather(part, found)),
        Value::Object(parts) => return parts.values().try_for_each(|part| gather(part, found)),
        Value::Null => found.push(f64::NAN),
        Value::Bool(bit) => found.push(f64::from(u8::from(*bit))),
        Value::Number(number) => found.push(number.as_f64().ok_or(ReadError::NotNumber)?),
        Value::String(text) => found.push(text.parse().map_err(|_| ReadError::NotNumber)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reference(values: &[f64]) -> Reference {
        Reference { values: values.to_vec(), tolerance: 1e-4, output: None }
    }

    fn told(answer: &Value) -> Vec<u8> {
        answer.to_string().into_bytes()
    }

    /// Output `a` holds two floats, output `b` a byte; the bytes follow the header.
    fn binary_answer(floats: [f32; 2]) -> (Vec<u8>, Option<usize>) {
        let mut body = told(&json!({ "outputs": [
            { "name": "a", "datatype": "FP32", "shape": [2], "parameters": { "binary_data_size": 8 } },
            { "name": "b", "datatype": "UINT8", "shape": [1], "parameters": { "binary_data_size": 1 } },
        ] }));
        let header_bytes = body.len();
        floats.iter().for_each(|float| body.extend_from_slice(&float.to_le_bytes()));
        body.push(9);
        (body, Some(header_bytes))
    }

    #[test]
    fn every_form_of_an_answer_gives_the_same_numbers() {
        let oip = json!({ "model_name": "m", "id": "7",
            "outputs": [{ "name": "y", "shape": [2], "datatype": "FP32", "data": [1.5, 2] }] });
        let forms = [
            oip,
            json!({ "predictions": [[1.5], [2.0]] }),
            json!({ "outputs": [[1.5, 2.0]] }),
            json!({ "answer": { "scores": [1.5, "2"] } }),
            json!([1.5, 2]),
        ];
        for form in forms {
            assert_eq!(reference(&[1.5, 2.0]).check(&told(&form), None), Ok(()), "{form}");
        }
        let (body, header_bytes) = binary_answer([1.5, 2.0]);
        assert_eq!(reference(&[1.5, 2.0, 9.0]).check(&body, header_bytes), Ok(()));
    }

    #[test]
    fn only_the_named_output_counts() {
        let only = |name: &str, values: &[f64]| Reference {
            output: Some(name.to_owned()),
            ..reference(values)
        };
        let (body, header_bytes) = binary_answer([1.5, 2.0]);
        assert_eq!(only("b", &[9.0]).check(&body, header_bytes), Ok(()));
        assert_eq!(only("c", &[]).check(&body, header_bytes), Err(ReadError::NoOutput.into()));
        let rows = told(&json!({ "predictions": [{ "a": 1, "b": [2] }, { "a": 3, "b": [4] }] }));
        assert_eq!(only("b", &[2.0, 4.0]).check(&rows, None), Ok(()));
        assert_eq!(only("c", &[]).check(&rows, None), Err(ReadError::NoOutput.into()));
    }

    #[test]
    fn the_first_wrong_value_is_told() {
        let (body, header_bytes) = binary_answer([1.5, 2.25]);
        let wrong = reference(&[1.5, 2.0, 8.0]).check(&body, header_bytes).expect_err("wrong");
        assert_eq!(wrong, Mismatch::Value { place: 1, expected: 2.0, found: 2.25 });
        assert_eq!(wrong.to_string(), "value 1 is 2.25, expected was 2");
        let short = reference(&[1.5]).check(b"[1.5,2]", None);
        assert_eq!(short, Err(Mismatch::Count { expected: 1, found: 2 }));
    }

    #[test]
    fn tolerance_is_absolute_near_zero_and_relative_far_from_it() {
        assert!(is_near(0.0, 0.000_09, 1e-4) && !is_near(0.0, 0.000_11, 1e-4));
        assert!(is_near(10_000.0, 10_000.9, 1e-4) && !is_near(10_000.0, 10_002.0, 1e-4));
        assert!(is_near(0.5, 0.5, 0.0));
    }

    #[test]
    fn what_is_no_number_is_right_only_where_it_is_expected() {
        assert!(is_near(f64::NAN, f64::NAN, 0.0) && is_near(f64::INFINITY, f64::INFINITY, 0.0));
        for (expected, found) in [
            (f64::NAN, 1.0),
            (1.0, f64::NAN),
            (1.0, f64::INFINITY),
            (f64::INFINITY, f64::NEG_INFINITY),
            (f64::INFINITY, f64::MAX),
        ] {
            assert!(!is_near(expected, found, 1.0), "{expected} is not {found}");
        }
        assert_eq!(reference(&[f64::NAN, f64::NAN]).check(b"[null,\"NaN\"]", None), Ok(()));
    }

    #[test]
    fn what_can_not_be_read_is_wrong() {
        let check = |body: &[u8], header| reference(&[1.0]).check(body, header);
        assert_eq!(check(b"oops", None), Err(ReadError::NotJson.into()));
        assert_eq!(check(b"[\"cat\"]", None), Err(ReadError::NotNumber.into()));
        assert_eq!(check(b"{}", Some(3)), Err(ReadError::BadTensor.into()));
        let (body, header) = binary_answer([1.5, 2.0]);
        assert_eq!(check(&body[..body.len() - 1], header), Err(ReadError::BadTensor.into()));
    }
}
