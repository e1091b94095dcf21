//! A line to copy after a deployment: a request that the model can answer.

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::answers::{Metadata, Tensor};
use super::engine_link::Engine;

/// Longer lines are not copied but read from a file.
const ELEMENTS_MAX: i64 = 100;

/// Nothing where the engine does not say what the model takes: the deployment is done all the same.
pub(super) async fn lines(
    engine: &Engine,
    name: &str,
    version: u64,
    url: Option<&str>,
    sample: Option<&Path>,
) -> String {
    let Some(url) = url else { return String::new() };
    if let Some(sample) = sample {
        return format!("try    curl -d @{} {url}/infer\n", sample.display());
    }
    let page = format!("/v2/models/{name}/versions/{version}");
    let metadata = engine.get::<Metadata>(&page).await;
    match metadata.ok().and_then(|metadata| question(&metadata.inputs)) {
        Some(question) => format!("try    curl -d '{question}' {url}/infer\n"),
        None => format!("try    curl {url}\n"),
    }
}

#[derive(Serialize)]
struct Question<'t> {
    inputs: Vec<Filled<'t>>,
}

#[derive(Serialize)]
struct Filled<'t> {
    name: &'t str,
    shape: Vec<i64>,
    datatype: &'t str,
    data: Vec<Value>,
}

/// One row of zeros, or of empty texts.
fn question(inputs: &[Tensor]) -> Option<String> {
    let inputs: Option<Vec<Filled<'_>>> = inputs.iter().map(filled).collect();
    serde_json::to_string(&Question { inputs: inputs? }).ok()
}

fn filled(input: &Tensor) -> Option<Filled<'_>> {
    let shape: Vec<i64> = input.shape.iter().map(|&dim| if dim < 0 { 1 } else { dim }).collect();
    let count = shape.iter().try_fold(1_i64, |count, dim| count.checked_mul(*dim))?;
    let element = match input.datatype.as_str() {
        "BYTES" => json!(""),
        "BOOL" => json!(false),
        _ => json!(0),
    };
    let data = vec![element; usize::try_from(count).ok().filter(|_| count <= ELEMENTS_MAX)?];
    Some(Filled { name: &input.name, shape, datatype: &input.datatype, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(datatype: &str, shape: &[i64]) -> Tensor {
        Tensor { name: "x".into(), datatype: datatype.into(), shape: shape.into() }
    }

    #[test]
    fn a_question_has_one_row_of_what_the_model_takes() {
        let asked = question(&[input("FP32", &[-1, 2]), input("BYTES", &[-1])]);
        let expected = r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[0,0]},{"name":"x","shape":[1],"datatype":"BYTES","data":[""]}]}"#;
        assert_eq!(asked.as_deref(), Some(expected));
    }

    #[test]
    fn what_would_fill_the_screen_is_no_line_to_copy() {
        assert!(question(&[input("FP32", &[-1, 3, 224, 224])]).is_none());
        assert!(question(&[input("FP32", &[-1, i64::MAX, i64::MAX])]).is_none());
    }
}
