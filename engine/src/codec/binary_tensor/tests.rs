use std::borrow::Cow;

use proptest::prelude::*;
use schemas::lifecycle::Late;

use super::*;

fn behind(name: &'static str, dtype: DType, shape: &[u64], size: u64) -> RequestInput<'static> {
    RequestInput {
        name: Cow::Borrowed(name),
        dtype,
        shape: shape.iter().copied().collect(),
        elements: shape.iter().product(),
        data: InputData::Behind { size },
    }
}

fn attach_one(input: RequestInput<'static>, body: &[u8]) -> Result<TensorData, InputFault> {
    let mut inputs = [input];
    attach(&mut inputs, Some(Bytes::copy_from_slice(body)))?;
    let [input] = inputs;
    match input.data {
        InputData::Here(data) => Ok(data),
        InputData::Behind { .. } | InputData::Shared(_) => panic!("attach() leaves nothing behind"),
    }
}

fn spec(dtype: DType, dims: &[Dim]) -> ModelSpec {
    let tensor = TensorSpec { name: "x".into(), dtype, dims: dims.to_vec() };
    ModelSpec {
        name: "m".into(),
        platform: "python".into(),
        inputs: vec![tensor.clone()],
        outputs: vec![tensor],
        batched: dims.first() == Some(&Dim::Batch),
        max_batch: 8,
        slo_us: None,
        late: Late::Serve,
        batch_timeout_us: 1_000_000,
        replicas: 1,
        pad: false,
        decoupled: false,
    }
}

#[test]
fn the_length_header_is_believed_as_far_as_the_body_bears_it_out() {
    assert_eq!(form(None, 10), Ok(Form::Json));
    assert_eq!(form(Some(b"10"), 10), Ok(Form::JsonThenBytes { json_bytes: 10 }));
    assert_eq!(form(Some(b"4"), 10), Ok(Form::JsonThenBytes { json_bytes: 4 }));
    assert_eq!(form(Some(b"0"), 10), Ok(Form::Raw));
    for lie in [&b"11"[..], b"18446744073709551616", b"99999999999999999999999999"] {
        assert!(matches!(form(Some(lie), 10), Err(InputFault::HeaderLength { .. })));
    }
    for nonsense in [&b""[..], b"-1", b"+4", b" 4", b"4.0", b"0x4", b"\xff"] {
        assert_eq!(form(Some(nonsense), 10), Err(InputFault::HeaderLengthFormat));
    }
}

#[test]
fn tensors_follow_in_the_order_of_the_json_without_a_copy() {
    let body = Bytes::from_static(&[1, 2, 3, 4, 5, 6]);
    let here = InputData::Here(TensorData::Fixed(Bytes::from_static(&[9])));
    let mut inputs = [
        behind("a", DType::U8, &[2], 2),
        RequestInput { data: here, ..behind("b", DType::U8, &[1], 0) },
        behind("c", DType::U16, &[1, 2], 4),
    ];
    attach(&mut inputs, Some(body.clone())).unwrap();
    let InputData::Here(TensorData::Fixed(last)) = &inputs[2].data else { panic!("attached") };
    assert_eq!(&last[..], [3, 4, 5, 6]);
    assert_eq!(last.as_ptr(), body[2..].as_ptr());
}

#[test]
fn sizes_must_add_up() {
    let short = attach_one(behind("x", DType::U8, &[4], 4), &[1, 2, 3]);
    assert!(matches!(short, Err(InputFault::BinaryShort { wanted: 4, left: 3, .. })));
    let left = attach_one(behind("x", DType::U8, &[2], 2), &[1, 2, 3]);
    assert_eq!(left, Err(InputFault::Leftover { left: 1 }));
    let wrong = attach_one(behind("x", DType::U16, &[2], 3), &[1, 2, 3]);
    assert!(matches!(wrong, Err(InputFault::BinarySize { expected: 4, found: 3, .. })));
    let huge = attach_one(behind("x", DType::F64, &[u64::MAX], 8), &[0; 8]);
    assert!(matches!(huge, Err(InputFault::BinarySize { .. })));
    let mut inputs = [behind("x", DType::U8, &[1], 1)];
    assert!(matches!(attach(&mut inputs, None), Err(InputFault::NoHeaderLength { .. })));
}

#[test]
fn a_boolean_is_zero_or_one() {
    assert!(attach_one(behind("x", DType::Bool, &[2], 2), &[0, 1]).is_ok());
    let bad = attach_one(behind("x", DType::Bool, &[2], 2), &[0, 2]);
    assert!(matches!(bad, Err(InputFault::NotBool { at: 1, found: 2, .. })));
}

#[test]
fn lengths_of_bytes_elements_stay_inside_the_tensor() {
    let element =
        |bytes: &[u8]| attach_one(behind("x", DType::Bytes, &[1], bytes.len() as u64), bytes);
    assert!(element(&[1, 0, 0, 0, 7]).is_ok());
    assert!(matches!(element(&[2, 0, 0, 0, 7]), Err(InputFault::BytesElement { index: 0, .. })));
    assert!(matches!(element(&[255; 8]), Err(InputFault::BytesElement { .. })));
    assert!(matches!(element(&[1, 0, 0]), Err(InputFault::BinarySize { .. })));
    assert!(matches!(element(&[1, 0, 0, 0, 7, 8]), Err(InputFault::BinarySize { .. })));
    let many = attach_one(behind("x", DType::Bytes, &[u64::MAX / 2], 4), &[0; 4]);
    assert!(matches!(many, Err(InputFault::BinarySize { .. })));
}

#[test]
fn a_raw_body_is_one_row() {
    let fixed = spec(DType::F32, &[Dim::Batch, Dim::Fixed(2)]);
    let tensor = raw(&fixed, Bytes::from_static(&[0; 8])).unwrap();
    assert_eq!(tensor.shape.as_slice(), [1, 2]);
    let variable = spec(DType::F32, &[Dim::Batch, Dim::Variable, Dim::Fixed(2)]);
    let tensor = raw(&variable, Bytes::from_static(&[0; 24])).unwrap();
    assert_eq!(tensor.shape.as_slice(), [1, 3, 2]);
    let text = spec(DType::Bytes, &[Dim::Batch, Dim::Fixed(1)]);
    let tensor = raw(&text, Bytes::from_static(b"jpeg")).unwrap();
    let whole =
        TensorData::Variable { offsets: [0, 4].into(), values: Bytes::from_static(b"jpeg") };
    assert_eq!(tensor.data, whole);
}

#[test]
fn a_raw_body_that_does_not_fit_is_refused() {
    let fixed = spec(DType::F32, &[Dim::Batch, Dim::Fixed(2)]);
    let wrong = raw(&fixed, Bytes::from_static(&[0; 9]));
    assert!(matches!(wrong, Err(InputFault::BinarySize { .. })));
    let odd = spec(DType::F32, &[Dim::Variable, Dim::Fixed(2)]);
    assert!(matches!(raw(&odd, Bytes::from_static(&[0; 9])), Err(InputFault::BinarySize { .. })));
    let mut two = fixed.clone();
    two.inputs.push(two.inputs[0].clone());
    let unclear = spec(DType::F32, &[Dim::Variable, Dim::Variable]);
    let empty = spec(DType::F32, &[Dim::Variable, Dim::Fixed(0)]);
    let texts = spec(DType::Bytes, &[Dim::Variable]);
    for refused in [two, unclear, texts] {
        let fault = raw(&refused, Bytes::from_static(&[0; 8]));
        assert!(matches!(fault, Err(InputFault::RawMode { .. })));
    }
    assert!(raw(&empty, Bytes::from_static(&[0; 8])).is_err());
}

proptest! {
    #[test]
    fn bytes_elements_survive_the_way_there_and_back(
        elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12),
    ) {
        let mut offsets = vec![0u32];
        let values = elements.concat();
        for element in &elements {
            offsets.push(offsets[offsets.len() - 1] + element.len() as u32);
        }
        let data = TensorData::Variable { offsets: offsets.into(), values: values.into() };
        let mut blob = Vec::new();
        write(&mut blob, &data);
        prop_assert_eq!(blob.len(), size_bytes(&data));
        let input = behind("x", DType::Bytes, &[elements.len() as u64], blob.len() as u64);
        prop_assert_eq!(attach_one(input, &blob).unwrap(), data);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        body in prop::collection::vec(any::<u8>(), 0..64), size in 0u64..70,
        shape in prop::collection::vec(0u64..6, 0..4), dtype in prop::sample::select(DType::ALL.to_vec()),
        header in prop::collection::vec(any::<u8>(), 0..24),
    ) {
        let _ = form(Some(&header), body.len());
        let _ = attach_one(behind("x", dtype, &shape, size), &body);
        let dims = [Dim::Batch, Dim::Variable, Dim::Fixed(size)];
        let _ = raw(&spec(dtype, &dims), body.into());
    }
}
