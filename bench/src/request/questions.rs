//! The questions of a spec, one after the other: tensors that a protocol writes in its own way, or whole JSON bodies.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use super::npy::{Npy, Rows};
use super::{PREPARED_BYTES_MAX, RequestError, Source, Spec, field};
use crate::payload::{ELEMENTS_MAX, Encoding, Input, Values};

pub enum Question {
    /// As many values as the inputs have elements, each of which its datatype holds.
    Tensors {
        inputs: Vec<Input>,
        values: Values,
    },
    Json(String),
}

/// What takes the questions, and may stop them.
pub type Take<'a> = &'a mut dyn FnMut(Question) -> Result<(), RequestError>;
/// The model's inputs, asked for only where they are needed. None: the values of files go as they are.
pub type Inputs<'a> = &'a dyn Fn() -> Result<Option<Vec<Input>>, RequestError>;

pub fn each(
    spec: &Spec,
    encoding: Encoding,
    inputs: Inputs<'_>,
    take: Take<'_>,
) -> Result<(), RequestError> {
    match &spec.payload {
        Source::Random => random(spec, needed(inputs)?, take),
        Source::Constant => constant(spec, encoding, needed(inputs)?, take),
        Source::File(path) if has_ending(path, "npy") => {
            let mut npy = open_npy(path)?;
            let input = only(inputs()?, || Input {
                name: String::new(),
                datatype_name: String::new(),
                datatype: npy.datatype,
                shape: Vec::new(),
            })?;
            while let Some(rows) = next_rows(path, &mut npy, spec.rows)? {
                take(tensor(&input, encoding, rows)?)?;
            }
            Ok(())
        }
        Source::File(path) if has_ending(path, "jsonl") => each_line(path, &mut |line, text| {
            take(question_of(path, line, text, encoding, inputs)?)
        }),
        Source::File(_) => Err(field(
            "payload",
            "give \"random\", \"constant\", or a file that ends in .npy or .jsonl",
        )),
    }
}

fn needed(inputs: Inputs<'_>) -> Result<Vec<Input>, RequestError> {
    inputs()?.ok_or(field("shape", "give shape = [...] and datatype = \"FP32\""))
}

fn random(spec: &Spec, inputs: Vec<Input>, take: Take<'_>) -> Result<(), RequestError> {
    for variant in 0..spec.variants {
        let values = Values::random(spec.seed.wrapping_add(variant));
        take(Question::Tensors { inputs: inputs.clone(), values })?;
    }
    Ok(())
}

fn constant(
    spec: &Spec,
    encoding: Encoding,
    inputs: Vec<Input>,
    take: Take<'_>,
) -> Result<(), RequestError> {
    let value =
        spec.value.ok_or(field("value", "give the number that every element is to have"))?;
    inputs.iter().try_for_each(|input| check_value(input, encoding, value))?;
    take(Question::Tensors { inputs, values: Values::Constant(value) })
}

/// A model with several inputs can't be asked with one file.
fn only(
    inputs: Option<Vec<Input>>,
    unknown: impl FnOnce() -> Input,
) -> Result<Input, RequestError> {
    let Some(inputs) = inputs else { return Ok(unknown()) };
    let [input] = <[Input; 1]>::try_from(inputs).map_err(|_| {
        field("payload", "the model has several inputs; give whole bodies in a .jsonl file")
    })?;
    Ok(input)
}

fn tensor(input: &Input, encoding: Encoding, rows: Rows) -> Result<Question, RequestError> {
    rows.values.iter().try_for_each(|&value| check_value(input, encoding, value))?;
    let inputs = vec![Input { shape: rows.shape, ..input.clone() }];
    Ok(Question::Tensors { inputs, values: Values::given(rows.values) })
}

/// JSON has no infinities and nothing that is not a number.
fn check_value(input: &Input, encoding: Encoding, value: f64) -> Result<(), RequestError> {
    let is_written = encoding == Encoding::Binary || value.is_finite();
    if is_written && input.datatype.holds(value) {
        Ok(())
    } else {
        Err(RequestError::Value { input: input.name.clone(), value })
    }
}

/// None: more than one request may have.
pub(super) fn elements(shape: &[u64]) -> Option<u64> {
    let product = shape.iter().try_fold(1_u64, |product, &length| product.checked_mul(length));
    product.filter(|&product| product <= ELEMENTS_MAX)
}

// ---- .npy ----

pub(super) fn open_npy(path: &Path) -> Result<Npy<BufReader<File>>, RequestError> {
    Npy::open(open(path)?).map_err(|source| RequestError::Npy { path: path.to_owned(), source })
}

pub(super) fn next_rows(
    path: &Path,
    npy: &mut Npy<BufReader<File>>,
    most: u64,
) -> Result<Option<Rows>, RequestError> {
    npy.rows(most).map_err(|source| RequestError::Npy { path: path.to_owned(), source })
}

fn open(path: &Path) -> Result<BufReader<File>, RequestError> {
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    Ok(BufReader::new(file))
}

pub(super) fn unreadable(path: &Path, source: std::io::Error) -> RequestError {
    RequestError::File { path: path.to_owned(), source }
}

pub(super) fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found == ending)
}

// ---- .jsonl ----

/// Each line that is not empty, counted from 1.
pub(super) fn each_line(
    path: &Path,
    take: &mut dyn FnMut(usize, &str) -> Result<(), RequestError>,
) -> Result<(), RequestError> {
    let file = open(path)?;
    let length = file.get_ref().metadata().map_err(|source| unreadable(path, source))?.len();
    if length > PREPARED_BYTES_MAX as u64 {
        return Err(RequestError::TooMuch);
    }
    // What has no length, a pipe for one, ends there as well.
    let lines = file.take(PREPARED_BYTES_MAX as u64).lines();
    for (index, line) in lines.enumerate() {
        let line = line.map_err(|source| unreadable(path, source))?;
        if !line.trim().is_empty() {
            take(index + 1, &line)?;
        }
    }
    Ok(())
}

pub(super) fn parsed(path: &Path, line: usize, text: &str) -> Result<Value, RequestError> {
    serde_json::from_str(text).map_err(|_| wrong_line(path, line, "this is not JSON"))
}

pub(super) fn wrong_line(path: &Path, line: usize, mend: &'static str) -> RequestError {
    RequestError::Line { path: path.to_owned(), line, mend }
}

fn question_of(
    path: &Path,
    line: usize,
    text: &str,
    encoding: Encoding,
    inputs: Inputs<'_>,
) -> Result<Question, RequestError> {
    let body = parsed(path, line, text)?;
    let given = body.as_object().filter(|body| body.len() == 1).and_then(|body| body.get("input"));
    match given {
        Some(nested) => {
            let input = only(inputs()?, || Input::fp32("", &[]))?;
            let rows = rows_of(nested, input.shape.len()).ok_or(wrong_line(
                path,
                line,
                "\"input\" takes numbers in arrays of equal length",
            ))?;
            tensor(&input, encoding, rows)
        }
        None if encoding == Encoding::Json => Ok(Question::Json(text.to_owned())),
        None => {
            Err(wrong_line(path, line, "give {\"input\": [...]}: only JSON takes whole bodies"))
        }
    }
}

/// An array with one axis fewer than the model's input is a single row.
fn rows_of(nested: &Value, axes: usize) -> Option<Rows> {
    let (mut shape, mut values) = (Vec::new(), Vec::new());
    let mut part = nested;
    while let Some(parts) = part.as_array() {
        shape.push(parts.len() as u64);
        part = parts.first().unwrap_or(&Value::Null);
    }
    flatten(nested, &shape, &mut values)?;
    if shape.len() + 1 == axes {
        shape.insert(0, 1);
    }
    elements(&shape).map(|_| Rows { shape, values })
}

fn flatten(nested: &Value, shape: &[u64], values: &mut Vec<f64>) -> Option<()> {
    let Some((&length, within)) = shape.split_first() else {
        let bit = nested.as_bool().map(|bit| f64::from(u8::from(bit)));
        values.push(nested.as_f64().or(bit)?);
        return Some(());
    };
    let parts = nested.as_array().filter(|parts| parts.len() as u64 == length)?;
    parts.iter().try_for_each(|part| flatten(part, within, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_arrays_are_rows_and_uneven_ones_are_not() {
        let rows =
            |nested: Value, axes| rows_of(&nested, axes).map(|rows| (rows.shape, rows.values));
        assert_eq!(rows(json!([[1, 2], [3, 4]]), 2), Some((vec![2, 2], vec![1.0, 2.0, 3.0, 4.0])));
        assert_eq!(rows(json!([1, 2]), 2), Some((vec![1, 2], vec![1.0, 2.0])));
        assert_eq!(rows(json!([true, 2]), 1), Some((vec![2], vec![1.0, 2.0])));
        assert_eq!(rows(json!([[1, 2], [3]]), 2), None);
        assert_eq!(rows(json!([1, [2]]), 1), None);
        assert_eq!(rows(json!(["a"]), 1), None);
    }
}
