use bytes::Bytes;
use schemas::lifecycle::Late;
use schemas::tensor::{Dim, Shape, TensorSpec};

use super::*;

const CLOSE: Tolerance = Tolerance { relative: 1e-3, absolute: 1e-5 };

fn spec() -> ModelSpec {
    let tensor = |name: &str, dtype, dims: &[Dim]| TensorSpec {
        name: name.into(),
        dtype,
        dims: dims.to_vec(),
    };
    ModelSpec {
        name: "m".into(),
        platform: "test".into(),
        inputs: vec![tensor("x", DType::F32, &[Dim::Batch])],
        outputs: vec![
            tensor("score", DType::F32, &[Dim::Batch]),
            tensor("label", DType::I64, &[Dim::Batch]),
            tensor("word", DType::Str, &[Dim::Batch]),
        ],
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

fn answer(score: [f32; 2], label: [i64; 2]) -> Answer {
    let fixed = |dtype, bytes: Vec<u8>| Tensor {
        dtype,
        shape: Shape::from_slice(&[2]),
        data: TensorData::Fixed(Bytes::from(bytes)),
    };
    let words =
        TensorData::Variable { offsets: [0, 2, 5].into(), values: Bytes::from_static(b"oktwo") };
    Answer::from_vec(vec![
        fixed(DType::F32, score.iter().flat_map(|it| it.to_le_bytes()).collect()),
        fixed(DType::I64, label.iter().flat_map(|it| it.to_le_bytes()).collect()),
        Tensor { dtype: DType::Str, shape: Shape::from_slice(&[2]), data: words },
    ])
}

fn compared(answer: &Answer, outputs: &str) -> Result<(), String> {
    let expected = format!("{{\"model_name\":\"m\",\"outputs\":[{outputs}]}}");
    compare(&spec(), answer, expected.as_bytes(), CLOSE).map_err(|it| it.to_string())
}

const SCORE: &str = r#"{"name":"score","shape":[2],"datatype":"FP32","data":[1.0,-200.0]}"#;
const LABEL: &str = r#"{"name":"label","shape":[2],"datatype":"INT64","data":[7,-3]}"#;
const WORD: &str = r#"{"name":"word","shape":[2],"datatype":"BYTES","data":["ok","two"]}"#;

#[test]
fn what_is_the_same_passes_and_the_last_digits_of_floats_do_not_matter() {
    let outputs = format!("{SCORE},{LABEL},{WORD}");
    assert_eq!(compared(&answer([1.0, -200.0], [7, -3]), &outputs), Ok(()));
    assert_eq!(compared(&answer([1.0009, -200.1], [7, -3]), &outputs), Ok(()));
}

#[test]
fn each_difference_says_where_it_is() {
    let says = |score, label, outputs: &str| compared(&answer(score, label), outputs).unwrap_err();
    let text = says([1.0, -201.0], [7, -3], SCORE);
    assert!(
        text.contains("1 of 2") && text.contains("number 1") && text.contains("-201"),
        "{text}"
    );
    let text = says([1.0, -200.0], [7, -4], LABEL);
    assert!(text.contains("is -4 where -3 is expected"), "{text}");
    let word = WORD.replace("two", "tw0");
    assert!(says([1.0, 1.0], [1, 1], &word).contains("\"two\" where \"tw0\""));
    let shape = LABEL.replace("[2]", "[1,2]");
    assert!(says([1.0, 1.0], [1, 1], &shape).contains("shape [2], expected is [1, 2]"));
    let datatype = SCORE.replace("FP32", "FP64");
    assert!(says([1.0, 1.0], [1, 1], &datatype).contains("FP32, expected is FP64"));
    let name = SCORE.replace("score", "scores");
    assert!(says([1.0, 1.0], [1, 1], &name).contains("no output 'scores'"));
    let cut = compare(&spec(), &answer([1.0; 2], [1; 2]), b"{\"outputs\":[", CLOSE);
    assert!(cut.unwrap_err().to_string().contains("can't be read"));
}

#[test]
fn a_sample_becomes_the_question_that_it_is() {
    let sample = br#"{"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[1,2,3]}]}"#;
    assert_eq!(inputs(&spec(), sample).unwrap().rows, 3);
    assert!(inputs(&spec(), b"{}").is_err());
}

#[test]
fn half_precision_is_read_as_the_standard_has_it() {
    let known = [
        (0x3c00, 1.0),
        (0xc000, -2.0),
        (0x7bff, 65504.0),
        (0x0001, 2f64.powi(-24)),
        (0x3555, 0.333_251_953_125),
    ];
    for (bits, value) in known {
        assert_eq!(half(bits), value, "{bits:x}");
    }
    assert!(half(0x7c01).is_nan() && half(0xfc00) == f64::NEG_INFINITY);
}
