use bytes::Bytes;
use schemas::lifecycle::Late;

use super::*;

fn spec(inputs: &[(&str, DType, &[Dim])]) -> ModelSpec {
    let tensor = |(name, dtype, dims): &(&str, DType, &[Dim])| TensorSpec {
        name: (*name).into(),
        dtype: *dtype,
        dims: dims.to_vec(),
    };
    let inputs: Vec<_> = inputs.iter().map(tensor).collect();
    ModelSpec {
        name: "m".into(),
        platform: "python".into(),
        batched: inputs[0].dims.first() == Some(&Dim::Batch),
        outputs: inputs.clone(),
        inputs,
        max_batch: 4,
        slo_us: None,
        late: Late::Serve,
        batch_timeout_us: 1_000_000,
        replicas: 1,
        pad: false,
        decoupled: false,
    }
}

fn two_inputs() -> ModelSpec {
    spec(&[
        ("x", DType::F32, &[Dim::Batch, Dim::Fixed(2)]),
        ("y", DType::Str, &[Dim::Batch, Dim::Variable]),
    ])
}

fn floats(name: &str, shape: [u64; 2]) -> Named<'_> {
    let data = TensorData::Fixed(Bytes::from(vec![0; (shape[0] * shape[1] * 4) as usize]));
    Named { name, tensor: Tensor { dtype: DType::F32, shape: shape.into_iter().collect(), data } }
}

fn texts<'n>(name: &'n str, rows: u64, values: &'static [u8]) -> Named<'n> {
    let offsets = (0..=rows as u32)
        .map(|row| (row * values.len() as u32 / rows.max(1) as u32).min(values.len() as u32));
    let data =
        TensorData::Variable { offsets: offsets.collect(), values: Bytes::from_static(values) };
    Named {
        name,
        tensor: Tensor { dtype: DType::Bytes, shape: [rows, 1].into_iter().collect(), data },
    }
}

#[test]
fn tensors_are_put_into_the_declared_order_and_datatype() {
    let bound = bind(&two_inputs(), vec![texts("y", 2, b"ab"), floats("x", [2, 2])]).unwrap();
    assert_eq!(bound.rows, 2);
    let dtypes: Vec<_> = bound.tensors.iter().map(|tensor| tensor.dtype).collect();
    assert_eq!(dtypes, [DType::F32, DType::Str]);
}

#[test]
fn missing_and_unknown_inputs_are_named() {
    let missing = bind(&two_inputs(), vec![floats("x", [1, 2])]).unwrap_err();
    assert!(
        matches!(&missing, InputFault::MissingInput { tensor, .. } if tensor == "y"),
        "{missing}"
    );
    let misspelt = bind(&two_inputs(), vec![floats("x", [1, 2]), texts("why", 1, b"a")]);
    assert!(matches!(misspelt, Err(InputFault::UnknownInput { tensor, .. }) if tensor == "why"));
    let extra = vec![floats("x", [1, 2]), texts("y", 1, b"a"), floats("z", [1, 2])];
    let extra = bind(&two_inputs(), extra);
    assert!(matches!(extra, Err(InputFault::UnknownInput { tensor, .. }) if tensor == "z"));
}

#[test]
fn shapes_and_datatypes_are_checked() {
    let wide = bind(&two_inputs(), vec![floats("x", [1, 3]), texts("y", 1, b"a")]).unwrap_err();
    assert_eq!(
        wide.to_string(),
        "input 'x' has the shape [1, 3] but the model takes [-1, 2] (-1: any size)"
    );
    let deep = spec(&[("x", DType::F32, &[Dim::Batch])]);
    assert!(matches!(bind(&deep, vec![floats("x", [1, 2])]), Err(InputFault::WrongShape { .. })));
    let whole = spec(&[("x", DType::I32, &[Dim::Batch, Dim::Fixed(2)])]);
    assert!(matches!(
        bind(&whole, vec![floats("x", [1, 2])]),
        Err(InputFault::WrongDatatype { .. })
    ));
    let uneven = bind(&two_inputs(), vec![floats("x", [2, 2]), texts("y", 1, b"a")]);
    assert!(matches!(uneven, Err(InputFault::RowsDiffer { expected: 2, found: 1, .. })));
}

#[test]
fn rows_are_between_one_and_the_models_most() {
    let one = spec(&[("x", DType::F32, &[Dim::Batch, Dim::Fixed(2)])]);
    assert_eq!(bind(&one, vec![floats("x", [4, 2])]).unwrap().rows, 4);
    assert_eq!(bind(&one, vec![floats("x", [0, 2])]).unwrap_err(), InputFault::NoRows);
    let many = bind(&one, vec![floats("x", [5, 2])]).unwrap_err();
    assert_eq!(many, InputFault::TooManyRows { rows: 5, limit: 4 });
}

#[test]
fn a_model_without_a_batch_dimension_takes_one_row() {
    let whole = spec(&[("x", DType::F32, &[Dim::Fixed(3), Dim::Variable])]);
    let bound = bind(&whole, vec![floats("x", [3, 0])]).unwrap();
    assert_eq!(bound.rows, 1);
}

#[test]
fn text_must_be_utf8_only_where_the_model_wants_text() {
    let text = bind(&two_inputs(), vec![floats("x", [2, 2]), texts("y", 2, b"a\xff")]);
    assert!(matches!(text, Err(InputFault::NotUtf8 { index: 1, .. })));
    let bytes = spec(&[("y", DType::Bytes, &[Dim::Batch, Dim::Variable])]);
    assert!(bind(&bytes, vec![texts("y", 2, b"a\xff")]).is_ok());
}
