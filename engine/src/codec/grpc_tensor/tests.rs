use proptest::prelude::*;
use schemas::inference::InferTensorContents;
use schemas::lifecycle::Late;
use schemas::tensor::{Dim, TensorSpec};

use super::*;
use crate::client_shm::region::RegionFault;
use crate::ids::Version;

fn parameter(value: ParameterChoice) -> InferParameter {
    InferParameter { parameter_choice: Some(value) }
}

fn parameters(given: &[(&str, ParameterChoice)]) -> Parameters {
    given.iter().map(|(name, value)| ((*name).to_owned(), parameter(value.clone()))).collect()
}

fn input(datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> InferInputTensor {
    let (name, datatype) = ("x".to_owned(), datatype.to_owned());
    InferInputTensor { name, datatype, shape: shape.to_vec(), contents, ..Default::default() }
}

/// There is no shared memory.
fn nowhere(tensor: &str, _: &Place) -> Result<Bytes, InputFault> {
    Err(InputFault::Region { tensor: tensor.to_owned(), fault: RegionFault::Off })
}

/// The one tensor that a request holds.
fn read(mut input: InferInputTensor, raw: &[&'static [u8]]) -> Result<Tensor, InputFault> {
    let raw = raw.iter().map(|bytes| Bytes::from_static(bytes)).collect();
    let mut named = inputs(std::slice::from_mut(&mut input), raw, nowhere)?;
    Ok(named.remove(0).tensor)
}

fn typed(
    datatype: &str,
    shape: &[i64],
    contents: InferTensorContents,
) -> Result<Tensor, InputFault> {
    read(input(datatype, shape, Some(contents)), &[])
}

fn fixed(tensor: &Tensor) -> &[u8] {
    match &tensor.data {
        TensorData::Fixed(bytes) => bytes,
        TensorData::Variable { .. } => panic!("a fixed datatype was expected"),
    }
}

fn spec(outputs: &[(&str, DType)]) -> ModelSpec {
    let output = |(name, dtype): &(&str, DType)| TensorSpec {
        name: (*name).into(),
        dtype: *dtype,
        dims: vec![Dim::Batch],
    };
    ModelSpec {
        name: "m".into(),
        platform: "python".into(),
        inputs: Vec::new(),
        outputs: outputs.iter().map(output).collect(),
        batched: true,
        max_batch: 4,
        slo_us: None,
        late: Late::Serve,
        batch_timeout_us: 1_000_000,
        replicas: 1,
        pad: false,
        decoupled: false,
    }
}

#[test]
fn raw_elements_are_taken_as_they_are() {
    let tensor = read(input("FP16", &[1, 2], None), &[&[1, 2, 3, 4]]).unwrap();
    assert_eq!(
        (tensor.dtype, tensor.shape.as_slice(), fixed(&tensor)),
        (DType::F16, &[1, 2][..], &[1, 2, 3, 4][..])
    );
    let text = read(input("BYTES", &[2], None), &[b"\x01\0\0\0a\0\0\0\0"]).unwrap();
    let expected =
        TensorData::Variable { offsets: [0, 1, 1].into(), values: Bytes::from_static(b"a") };
    assert_eq!(text.data, expected);
    let short = read(input("FP32", &[1, 2], None), &[&[0; 4]]);
    assert!(matches!(short, Err(InputFault::BinarySize { expected: 8, found: 4, .. })));
}

#[test]
fn every_datatype_has_its_list_of_typed_contents() {
    let contents = InferTensorContents::default;
    let ints = |values: &[i32]| InferTensorContents { int_contents: values.to_vec(), ..contents() };
    let uints =
        |values: &[u32]| InferTensorContents { uint_contents: values.to_vec(), ..contents() };
    let cases = [
        (
            "BOOL",
            InferTensorContents { bool_contents: vec![true, false], ..contents() },
            vec![1, 0],
        ),
        ("INT8", ints(&[-1, 2]), vec![0xff, 2]),
        ("INT16", ints(&[-1, 2]), vec![0xff, 0xff, 2, 0]),
        ("INT32", ints(&[-1, 2]), vec![0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0]),
        ("UINT8", uints(&[255, 2]), vec![0xff, 2]),
        ("UINT16", uints(&[255, 2]), vec![0xff, 0, 2, 0]),
        ("UINT32", uints(&[255, 2]), vec![0xff, 0, 0, 0, 2, 0, 0, 0]),
        (
            "INT64",
            InferTensorContents { int64_contents: vec![1, -1], ..contents() },
            [1i64, -1].map(i64::to_le_bytes).concat(),
        ),
        (
            "UINT64",
            InferTensorContents { uint64_contents: vec![1, 2], ..contents() },
            [1u64, 2].map(u64::to_le_bytes).concat(),
        ),
        (
            "FP32",
            InferTensorContents { fp32_contents: vec![1.5, -2.0], ..contents() },
            [1.5f32, -2.0].map(f32::to_le_bytes).concat(),
        ),
        (
            "FP64",
            InferTensorContents { fp64_contents: vec![1.5, -2.0], ..contents() },
            [1.5f64, -2.0].map(f64::to_le_bytes).concat(),
        ),
    ];
    for (datatype, contents, expected) in cases {
        let tensor = typed(datatype, &[2], contents).unwrap();
        assert_eq!(fixed(&tensor), expected, "{datatype}");
    }
    let bytes = vec![Bytes::from_static(b"a"), Bytes::new()];
    let text = typed("BYTES", &[2], InferTensorContents { bytes_contents: bytes, ..contents() });
    let expected =
        TensorData::Variable { offsets: [0, 1, 1].into(), values: Bytes::from_static(b"a") };
    assert_eq!(text.unwrap().data, expected);
}

#[test]
fn typed_contents_that_do_not_suit_their_datatype_are_refused() {
    let ints = |values: &[i32]| InferTensorContents {
        int_contents: values.to_vec(),
        ..Default::default()
    };
    let range = typed("INT8", &[2], ints(&[1, 128]));
    assert!(matches!(range, Err(InputFault::ContentsRange { index: 1, .. })));
    let wrong_list = typed("INT64", &[1], ints(&[1]));
    assert!(matches!(
        wrong_list,
        Err(InputFault::WrongContents { expected: "int64_contents", .. })
    ));
    let mut two_lists = ints(&[1]);
    two_lists.fp32_contents.push(1.0);
    assert!(matches!(typed("INT32", &[1], two_lists), Err(InputFault::WrongContents { .. })));
    assert!(matches!(typed("FP16", &[1], ints(&[1])), Err(InputFault::NotTyped { .. })));
    let count = typed("INT32", &[3], ints(&[1]));
    assert!(matches!(count, Err(InputFault::ElementCount { expected: 3, found: 1, .. })));
    assert!(
        typed("FP32", &[0], InferTensorContents::default()).is_ok(),
        "nothing is a tensor, too"
    );
}

#[test]
fn elements_come_one_way_only() {
    let none: &[&[u8]] = &[];
    assert!(matches!(read(input("BOOL", &[1], None), none), Err(InputFault::NoData { .. })));
    let both = input("BOOL", &[1], Some(InferTensorContents::default()));
    assert!(matches!(read(both, &[&[1]]), Err(InputFault::RawAndTyped)));
    let many = read(input("BOOL", &[1], None), &[&[1], &[1]]);
    assert!(matches!(many, Err(InputFault::RawCount { inputs: 1, found: 2 })));
    assert!(matches!(inputs(&mut [], Vec::new(), nowhere), Err(InputFault::NoInputs)));
}

#[test]
fn shapes_and_datatypes_that_can_not_be_are_refused() {
    let fault = |datatype, shape: &[i64]| read(input(datatype, shape, None), &[&[]]).unwrap_err();
    assert!(matches!(fault("FP99", &[1]), InputFault::UnknownDatatype { .. }));
    assert!(matches!(fault("BOOL", &[-1]), InputFault::NegativeSize { .. }));
    assert!(matches!(fault("BOOL", &[i64::MAX, i64::MAX]), InputFault::ShapeTooLarge { .. }));
    assert!(matches!(fault("BOOL", &[1; RANK_MAX + 1]), InputFault::RankTooHigh { .. }));
    assert!(matches!(fault("BYTES", &[i64::MAX]), InputFault::BinarySize { .. }));
}

fn in_region(offset: i64, size: i64) -> Parameters {
    parameters(&[
        (REGION, ParameterChoice::StringParam("r".into())),
        (OFFSET, ParameterChoice::Int64Param(offset)),
        (SIZE, ParameterChoice::Uint64Param(size as u64)),
    ])
}

#[test]
fn tensors_in_shared_memory_have_no_entry_among_the_raw_ones() {
    let named = |name: &str, parameters| InferInputTensor {
        name: name.into(),
        parameters,
        ..input("UINT8", &[2], None)
    };
    let bytes = |at: &Place| Bytes::from(vec![at.offset as u8; at.size as usize]);
    let fetch = |_: &str, place: &Place| Ok(bytes(place));
    let mut three =
        [named("a", in_region(7, 2)), named("b", Parameters::new()), named("c", in_region(9, 2))];
    let raw = vec![Bytes::from_static(&[1, 2])];
    let data = |found: SmallVec<[Named<'_>; 1]>| -> Vec<_> {
        found.iter().map(|named| fixed(&named.tensor).to_vec()).collect()
    };
    let found = data(inputs(&mut three, raw, fetch).unwrap());
    assert_eq!(found, [[7, 7], [1, 2], [9, 9]]);

    let raw = vec![Bytes::from_static(&[1, 2]); 3];
    let fault = inputs(&mut three, raw, fetch).unwrap_err();
    assert!(matches!(fault, InputFault::RawCount { inputs: 1, found: 3 }));
    let mut short = [named("a", in_region(7, 1))];
    assert!(matches!(inputs(&mut short, vec![], fetch), Err(InputFault::BinarySize { .. })));
    let contents = Some(InferTensorContents { uint_contents: vec![1, 2], ..Default::default() });
    let mut twice = [InferInputTensor { contents, ..named("a", in_region(7, 2)) }];
    assert!(matches!(inputs(&mut twice, vec![], fetch), Err(InputFault::DataTwice { .. })));
    let mut half = [named("a", in_region(7, 2))];
    half[0].parameters.remove(SIZE);
    assert!(matches!(inputs(&mut half, vec![], fetch), Err(InputFault::HalfAPlace)));
    let mut negative = [named("a", in_region(-7, 2))];
    assert!(matches!(inputs(&mut negative, vec![], fetch), Err(InputFault::Parameter { .. })));
}

#[test]
fn parameters_are_read_in_either_kind_of_number() {
    use ParameterChoice::{BoolParam, Int64Param, StringParam, Uint64Param};
    let given = parameters(&[
        ("timeout", Int64Param(1500)),
        ("foil_class", StringParam("gold".into())),
        ("priority", Uint64Param(2)),
        ("triton_enable_empty_final_response", BoolParam(true)),
        ("anything", StringParam("else".into())),
        ("sequence_id", Uint64Param(0)),
    ]);
    let expected = Asked {
        timeout: Some(Duration::from_micros(1500)),
        priority: NonZeroU32::new(2),
        class: Some("gold"),
        empty_final_response: true,
    };
    assert_eq!(asked(&given), Ok(expected));
    let unsigned = parameters(&[("timeout", Uint64Param(1500))]);
    assert_eq!(asked(&unsigned).unwrap().timeout, Some(Duration::from_micros(1500)));
    assert_eq!(asked(&parameters(&[("timeout", Int64Param(0))])).unwrap().timeout, None);
}

#[test]
fn parameters_that_can_not_be_meant_are_refused() {
    use ParameterChoice::{BoolParam, Int64Param, StringParam};
    let refused = |name, value| asked(&parameters(&[(name, value)])).unwrap_err();
    let parameter = |fault| matches!(fault, InputFault::Parameter { .. });
    assert!(parameter(refused("timeout", Int64Param(-1))));
    assert!(parameter(refused("timeout", StringParam("1".into()))));
    assert!(parameter(refused("priority", BoolParam(true))));
    assert!(parameter(refused("priority", Int64Param(1 << 32))));
    let reserved = refused("triton_mine", Int64Param(1));
    assert!(matches!(reserved, InputFault::ReservedParameter { .. }));
    assert!(parameter(refused("foil_class", Int64Param(1))));
    for value in [Int64Param(7), StringParam("a".into()), BoolParam(true)] {
        let fault = refused("sequence_id", value);
        assert!(fault.to_string().contains("unsupported"), "{fault}");
    }
}

#[test]
fn outputs_are_chosen_by_name_and_none_means_all() {
    let spec = spec(&[("label", DType::I64), ("score", DType::F16)]);
    let ask = |name: &str, parameters| InferRequestedOutputTensor { name: name.into(), parameters };
    let plain = |name| ask(name, Parameters::new());
    let chosen = |outputs: &[_]| {
        choose(&spec, outputs).map(|all| all.iter().map(|it| it.index).collect::<Vec<_>>())
    };
    assert_eq!(chosen(&[]), Ok(vec![0, 1]));
    assert_eq!(chosen(&[plain("score"), plain("label")]), Ok(vec![1, 0]));
    assert!(matches!(chosen(&[plain("x")]), Err(InputFault::UnknownOutput { .. })));
    assert!(matches!(
        chosen(&[plain("score"), plain("score")]),
        Err(InputFault::DuplicateTensor { .. })
    ));
    let top = |name: &str, count| {
        ask(name, parameters(&[("classification", ParameterChoice::Int64Param(count))]))
    };
    let refused = chosen(&[top("score", 2)]);
    assert!(matches!(refused, Err(InputFault::NotClassified { .. })), "halves have no order");
    assert_eq!(chosen(&[top("score", 0)]), Ok(vec![1]), "no classes are asked for");
    let classes = choose(&spec, &[top("label", 2)]).unwrap()[0].classes;
    assert_eq!(classes, NonZeroU32::new(2));
    assert!(matches!(
        chosen(&[top("label", 2), plain("label")]),
        Err(InputFault::DuplicateTensor { .. })
    ));
}

#[test]
fn an_answer_lists_an_entry_for_each_output_in_order() {
    let spec = spec(&[("label", DType::I16), ("word", DType::Str)]);
    let label = Tensor {
        dtype: DType::I16,
        shape: [2].into_iter().collect(),
        data: TensorData::Fixed(Bytes::from_static(&[1, 0, 2, 0])),
    };
    let values = Bytes::from_static(b"xabc");
    let word = Tensor {
        dtype: DType::Str,
        shape: [2].into_iter().collect(),
        data: TensorData::Variable { offsets: [1, 3, 4].into(), values },
    };
    let about = About { spec: &spec, model: "m", version: Version(3), id: Some("q") };
    let chosen = [1, 0].map(|index| Chosen { index, binary: true, place: None, classes: None });
    let answer = answer(about, &chosen, &[label, word]);
    assert_eq!(
        (answer.model_name.as_str(), answer.model_version.as_str(), answer.id.as_str()),
        ("m", "3", "q")
    );
    let described: Vec<_> = answer
        .outputs
        .iter()
        .map(|it| (it.name.as_str(), it.datatype.as_str(), &it.shape[..]))
        .collect();
    assert_eq!(described, [("word", "BYTES", &[2][..]), ("label", "INT16", &[2])]);
    assert_eq!(answer.raw_output_contents, [&b"\x02\0\0\0ab\x01\0\0\0c"[..], &[1, 0, 2, 0]]);
}

proptest! {
    /// Whatever a client sends is read or refused.
    #[test]
    fn no_message_makes_it_panic(
        datatype in "BOOL|INT8|UINT64|FP16|FP32|BYTES|X",
        shape in proptest::collection::vec(-1i64..5, 0..10),
        raw in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..3),
        ints in proptest::collection::vec(any::<i32>(), 0..5),
        typed in any::<bool>(),
    ) {
        let contents = typed.then(|| InferTensorContents { int_contents: ints, ..Default::default() });
        let mut input = input(&datatype, &shape, contents);
        let raw = raw.into_iter().map(Bytes::from).collect();
        if let Ok(named) = inputs(std::slice::from_mut(&mut input), raw, nowhere) {
            let elements: u64 = named[0].tensor.shape.iter().product();
            match (&named[0].tensor.data, named[0].tensor.dtype.size_bytes()) {
                (TensorData::Fixed(bytes), Some(size)) => prop_assert_eq!(bytes.len() as u64, elements * size as u64),
                (TensorData::Variable { offsets, .. }, None) => prop_assert_eq!(offsets.len() as u64, elements + 1),
                _ => prop_assert!(false, "data of the wrong kind"),
            }
        }
    }
}
