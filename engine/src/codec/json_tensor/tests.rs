use proptest::prelude::*;

use super::write;
use super::*;
use crate::query::types::Tensor;

/// One input with this datatype, shape and data.
fn request(datatype: &str, shape: &str, data: &str) -> String {
    format!(
        r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"{datatype}","data":{data}}}]}}"#
    )
}

fn data_of(json: &str) -> Result<TensorData, InputFault> {
    let mut request = parse_request(json.as_bytes())?;
    match request.inputs.remove(0).data {
        InputData::Here(data) => Ok(data),
        InputData::Behind { .. } | InputData::Shared(_) => panic!("the data is in the JSON"),
    }
}

fn bytes_of(datatype: &str, shape: &str, data: &str) -> Result<Vec<u8>, InputFault> {
    match data_of(&request(datatype, shape, data))? {
        TensorData::Fixed(bytes) => Ok(bytes.to_vec()),
        TensorData::Variable { .. } => panic!("the datatype is fixed"),
    }
}

fn f32s(data: &str, shape: &str) -> Result<Vec<f32>, InputFault> {
    let bytes = bytes_of("FP32", shape, data)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
}

fn texts_of(shape: &str, data: &str) -> Result<Vec<Vec<u8>>, InputFault> {
    match data_of(&request("BYTES", shape, data))? {
        TensorData::Variable { offsets, values } => Ok(offsets
            .windows(2)
            .map(|ends| values[ends[0] as usize..ends[1] as usize].to_vec())
            .collect()),
        TensorData::Fixed(_) => panic!("BYTES vary in length"),
    }
}

#[test]
fn reads_every_part_of_a_request() {
    let json = r#" { "id" : "a\u0041", "parameters": {"timeout": 1500, "binary_data_output": true, "foil_class": "gold", "x": "y"},
        "inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2.5], [-3e1, 0]]},
                   {"name": "y", "shape": [3], "datatype": "INT64", "parameters": {"binary_data_size": 24}}],
        "outputs": [{"name": "o", "parameters": {"binary_data": false}}, {"name": "p"}] } "#;
    let request = parse_request(json.as_bytes()).unwrap();
    assert_eq!(request.id.as_deref(), Some("aA"));
    assert_eq!(request.timeout_us, Some(1500));
    assert_eq!(request.class.as_deref(), Some("gold"));
    assert!(request.binary_output);
    assert_eq!(request.inputs[0].shape.as_slice(), [2, 2]);
    assert_eq!(request.inputs[0].elements, 4);
    let floats: Vec<u8> = [1f32, 2.5, -30.0, 0.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(request.inputs[0].data, InputData::Here(TensorData::Fixed(floats.into())));
    assert_eq!(request.inputs[1].data, InputData::Behind { size: 24 });
    assert_eq!(request.outputs[0].binary, Some(false));
    assert_eq!((&*request.outputs[1].name, request.outputs[1].binary), ("p", None));
}

#[test]
fn keys_may_come_in_any_order() {
    let members = [
        r#""name":"x""#,
        r#""shape":[2]"#,
        r#""datatype":"FP32""#,
        r#""data":[1,2]"#,
        r#""z":{"q":[1,{}]}"#,
    ];
    for first in 0..members.len() {
        let mut turned = members;
        turned.rotate_left(first);
        let json = format!(r#"{{"inputs":[{{{}}}],"id":"1"}}"#, turned.join(","));
        assert!(data_of(&json).is_ok(), "{json}");
        turned.reverse();
        let json = format!(r#"{{"inputs":[{{{}}}],"id":"1"}}"#, turned.join(","));
        assert!(data_of(&json).is_ok(), "{json}");
    }
}

#[test]
fn null_stands_for_what_is_left_out() {
    let json = r#"{"id":null,"parameters":null,"outputs":null,
        "inputs":[{"name":"x","shape":[1],"datatype":"BOOL","parameters":null,"data":[true]}]}"#;
    let request = parse_request(json.as_bytes()).unwrap();
    assert_eq!((request.id, request.outputs.len()), (None, 0));
}

#[test]
fn a_timeout_of_zero_is_none() {
    let json = request("BOOL", "[1]", "[true]").replacen('{', r#"{"parameters":{"timeout":0},"#, 1);
    assert_eq!(parse_request(json.as_bytes()).unwrap().timeout_us, None);
}

#[test]
fn data_is_flat_or_nested_as_the_shape() {
    let flat = [1.0, 2.0, 3.0, 4.0];
    assert_eq!(f32s("[1,2,3,4]", "[2,2]").unwrap(), flat);
    assert_eq!(f32s("[[1,2],[3,4]]", "[2,2]").unwrap(), flat);
    assert_eq!(f32s("[[[1],[2]],[[3],[4]]]", "[2,2,1]").unwrap(), flat);
    assert_eq!(f32s("[7]", "[]").unwrap(), [7.0]);
    for (data, shape) in [("[]", "[0]"), ("[[],[]]", "[2,0]"), ("[]", "[2,0,3]")] {
        assert!(f32s(data, shape).unwrap().is_empty());
    }
}

#[test]
fn data_that_disagrees_with_its_shape_is_refused() {
    let count = |data| matches!(f32s(data, "[2,2]"), Err(InputFault::ElementCount { .. }));
    assert!(count("[1,2,3]"));
    assert!(count("[1,2,3,4,5]"));
    assert!(count("[[1,2]]"));
    assert!(count("[]"));
    let ragged = |data| matches!(f32s(data, "[2,2]"), Err(InputFault::Ragged { .. }));
    assert!(ragged("[[1,2,3],[4]]"));
    assert!(ragged("[[1,2],[[3,4]]]"));
    assert!(ragged("[[1,2],3,4]"));
    assert!(matches!(f32s("[1,[2,3,4]]", "[2,2]"), Err(InputFault::Element { .. })));
    assert!(matches!(f32s("[[1,2,3,4]]", "[2,2]"), Err(InputFault::Nesting { .. })));
    assert!(matches!(f32s("[[1],[2],[3],[4]]", "[2,2]"), Err(InputFault::Nesting { .. })));
    assert!(matches!(f32s("7", "[1]"), Err(InputFault::Element { .. })));
}

#[test]
fn memory_is_not_taken_for_more_than_the_body_can_hold() {
    let absurd = "[1000000000000]";
    assert!(matches!(f32s("[1]", absurd), Err(InputFault::ElementCount { found: 1, .. })));
    assert!(matches!(texts_of(absurd, "[]"), Err(InputFault::ElementCount { found: 0, .. })));
    let overflow = "[4294967296,4294967296]";
    assert!(matches!(f32s("[1]", overflow), Err(InputFault::ShapeTooLarge { .. })));
    let rank = "[1,1,1,1,1,1,1,1,1]";
    assert!(matches!(f32s("[1]", rank), Err(InputFault::RankTooHigh { .. })));
    assert!(matches!(f32s("[[[[[[[[[1]]]]]]]]]", "[1]"), Err(InputFault::TooDeep { .. })));
}

#[test]
fn integers_are_checked_against_their_datatype() {
    let bounds = [
        ("UINT8", "0", "255", "256"),
        ("UINT16", "0", "65535", "65536"),
        ("UINT32", "0", "4294967295", "4294967296"),
        ("UINT64", "0", "18446744073709551615", "18446744073709551616"),
        ("INT8", "-128", "127", "128"),
        ("INT16", "-32768", "32767", "-32769"),
        ("INT32", "-2147483648", "2147483647", "2147483648"),
        ("INT64", "-9223372036854775808", "9223372036854775807", "9223372036854775808"),
    ];
    for (datatype, least, most, beyond) in bounds {
        assert!(bytes_of(datatype, "[2]", &format!("[{least}, {most}]")).is_ok(), "{datatype}");
        for bad in [beyond, "99999999999999999999999999999999999999999999"] {
            let refused = bytes_of(datatype, "[1]", &format!("[{bad}]"));
            assert!(matches!(refused, Err(InputFault::OutOfRange { .. })), "{datatype} {bad}");
        }
    }
    assert_eq!(bytes_of("INT16", "[2]", "[-2, 513]").unwrap(), [0xfe, 0xff, 1, 2]);
    assert!(matches!(bytes_of("UINT8", "[1]", "[-1]"), Err(InputFault::OutOfRange { .. })));
    assert!(matches!(bytes_of("INT32", "[1]", "[1.0]"), Err(InputFault::Element { .. })));
    assert!(matches!(bytes_of("INT32", "[1]", "[1e3]"), Err(InputFault::Element { .. })));
}

#[test]
fn booleans_are_words() {
    assert_eq!(bytes_of("BOOL", "[3]", "[true,false , true]").unwrap(), [1, 0, 1]);
    assert!(matches!(bytes_of("BOOL", "[1]", "[1]"), Err(InputFault::Element { .. })));
}

#[test]
fn what_json_has_no_number_for_is_refused_by_name() {
    for word in ["NaN", "nan", "Infinity", "-Infinity", "inf", "-inf"] {
        for datatype in ["FP32", "FP64", "INT32"] {
            let refused = bytes_of(datatype, "[1]", &format!("[{word}]"));
            let named = matches!(refused, Err(InputFault::NotFinite { .. }));
            assert!(named || word.starts_with('-') && datatype == "INT32", "{word} {datatype}");
        }
    }
    for beyond in ["1e39", "-1e400", "3.5e38"] {
        let refused = f32s(&format!("[{beyond}]"), "[1]");
        assert!(matches!(refused, Err(InputFault::OutOfRange { .. })), "{beyond}");
    }
}

#[test]
fn half_precision_has_no_json_form() {
    for datatype in ["FP16", "BF16"] {
        let refused = data_of(&request(datatype, "[1]", "[1]"));
        assert!(matches!(refused, Err(InputFault::NotInJson { .. })));
    }
}

#[test]
fn numbers_follow_the_grammar() {
    for bad in ["01", "-", "+1", ".5", "1.", "1e", "1e+", "0x10", "1_000", "--1", "1.e3", "00"] {
        assert!(f32s(&format!("[{bad}]"), "[1]").is_err(), "{bad}");
    }
    let good = [
        ("-0", -0.0),
        ("0.0", 0.0),
        ("1E2", 100.0),
        ("1e-2", 0.01),
        ("0e400", 0.0),
        ("1e-400", 0.0),
    ];
    for (text, value) in good {
        assert_eq!(f32s(&format!("[{text}]"), "[1]").unwrap()[0].to_bits(), f32::to_bits(value));
    }
}

#[test]
fn strings_are_unescaped() {
    let texts =
        texts_of("[4]", r#"["", "a\n\"\\\/\b\f\r\tä", "\u00e9\ud83d\ude00", "日本"]"#).unwrap();
    let expected = ["", "a\n\"\\/\u{8}\u{c}\r\tä", "é😀", "日本"];
    assert_eq!(texts, expected.map(|text| text.as_bytes().to_vec()));
}

#[test]
fn broken_strings_are_refused() {
    let bad = [
        r#"["\x"]"#,
        r#"["\u12"]"#,
        r#"["\ud800"]"#,
        r#"["\ud800\u0041"]"#,
        r#"["\udc00"]"#,
        "[\"a\nb\"]",
        "[\"abc",
        r#"["\"#,
    ];
    for data in bad {
        assert!(texts_of("[1]", data).is_err(), "{data}");
    }
    let mut json = request("BYTES", "[1]", r#"["@"]"#).into_bytes();
    let at = json.iter().position(|byte| *byte == b'@').unwrap();
    json[at] = 0xff;
    assert!(matches!(parse_request(&json), Err(InputFault::Json { expected: "UTF-8", .. })));
    assert!(matches!(texts_of("[1]", "[1]"), Err(InputFault::Element { .. })));
    assert!(matches!(texts_of("[1]", r#"["a","b"]"#), Err(InputFault::ElementCount { .. })));
}

#[test]
fn what_comes_twice_is_refused() {
    let tensor = r#"{"name":"x","shape":[1],"datatype":"BOOL","data":[true]}"#;
    let twice = format!(r#"{{"inputs":[{tensor},{tensor}]}}"#);
    assert!(matches!(data_of(&twice), Err(InputFault::DuplicateTensor { .. })));
    let doubled = [
        format!(r#"{{"id":"a","id":"b","inputs":[{tensor}]}}"#),
        format!(r#"{{"inputs":[{tensor}],"inputs":[{tensor}]}}"#),
        request("BOOL", "[1]", r#"[true],"data":[true]"#),
        request("BOOL", "[1]", r#"[true],"name":"x""#),
        format!(r#"{{"parameters":{{"timeout":1,"timeout":2}},"inputs":[{tensor}]}}"#),
        format!(r#"{{"parameters":{{"foil_class":"a","foil_class":"a"}},"inputs":[{tensor}]}}"#),
    ];
    for json in doubled {
        assert!(matches!(data_of(&json), Err(InputFault::DuplicateKey { .. })), "{json}");
    }
    let outputs = format!(r#"{{"inputs":[{tensor}],"outputs":[{{"name":"o"}},{{"name":"o"}}]}}"#);
    assert!(matches!(data_of(&outputs), Err(InputFault::DuplicateTensor { .. })));
}

#[test]
fn what_is_missing_or_of_the_wrong_kind_is_named() {
    let cases = [
        ("{}", "inputs"),
        (r#"{"inputs":[]}"#, "inputs"),
        (r#"{"inputs":3}"#, "inputs"),
        (r#"{"inputs":[7]}"#, "inputs"),
        (r#"{"inputs":[{"shape":[1],"datatype":"BOOL","data":[true]}]}"#, "name"),
        (r#"{"inputs":[{"name":"x","datatype":"BOOL","data":[true]}]}"#, "shape"),
        (r#"{"inputs":[{"name":"x","shape":[1],"data":[true]}]}"#, "datatype"),
        (r#"{"inputs":[{"name":"x","shape":[1],"datatype":"BOOL"}]}"#, "binary_data_size"),
        (r#"{"inputs":[{"name":"x","shape":[-1],"datatype":"BOOL","data":[]}]}"#, "shape"),
        (r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FLOAT","data":[1]}]}"#, "FLOAT"),
        (r#"{"id":7}"#, "id"),
        (r#"{"parameters":{"timeout":-5}}"#, "timeout"),
        (r#"{"parameters":{"timeout":"5"}}"#, "timeout"),
        (r#"{"parameters":{"binary_data_output":1}}"#, "binary_data_output"),
        (r#"{"parameters":{"foil_class":1}}"#, "foil_class"),
    ];
    for (json, named) in cases {
        let message = data_of(json).expect_err(json).to_string();
        assert!(message.contains(named), "{json}: {message}");
    }
}

#[test]
fn features_that_are_not_offered_say_what_to_do() {
    for sequence in ["7", "\"a\"", "4294967296"] {
        let asked = with_parameters(&format!("\"sequence_id\":{sequence},\"sequence_start\":true"));
        assert!(matches!(data_of(&asked), Err(InputFault::NotOffered { .. })), "{sequence}");
    }
    for none in ["0", "\"\""] {
        assert!(data_of(&with_parameters(&format!("\"sequence_id\":{none}"))).is_ok());
    }
}

fn with_parameters(parameters: &str) -> String {
    let parameters = format!("{{\"parameters\":{{{parameters}}},");
    request("BOOL", "[1]", "[true]").replacen('{', &parameters, 1)
}

#[test]
fn unknown_parameters_pass_but_for_those_that_servers_keep() {
    for (parameters, passes) in [
        (r#""mine":1,"yours":"a","ours":true"#, true),
        (r#""triton_enable_empty_final_response":true"#, true),
        (r#""triton_mine":1"#, false),
        (r#""triton_final_response":true"#, false),
    ] {
        let found = data_of(&with_parameters(parameters));
        assert_eq!(found.is_ok(), passes, "{parameters}");
    }
}

#[test]
fn priority_and_classification_are_small_numbers_and_none_when_zero() {
    let json = r#"{"parameters":{"priority":P},"inputs":[{"name":"x","shape":[0],"datatype":"BOOL","data":[]}],
        "outputs":[{"name":"o","parameters":{"classification":C}}]}"#;
    let parsed = |priority, classes| {
        let json = json.replace('P', priority).replace('C', classes);
        let request = parse_request(json.as_bytes()).map_err(|fault| fault.to_string())?;
        Ok::<_, String>((
            request.priority.map(u32::from),
            request.outputs[0].classes.map(u32::from),
        ))
    };
    assert_eq!(parsed("1", "3"), Ok((Some(1), Some(3))));
    assert_eq!(parsed("0", "0"), Ok((None, None)));
    assert!(parsed("4294967296", "0").unwrap_err().contains("priority"));
    assert!(parsed("0", "1.5").unwrap_err().contains("classification"));
    assert!(parsed("0", "-1").unwrap_err().contains("classification"));
}

#[test]
fn every_proper_prefix_is_refused_and_tells_where_it_ends() {
    let json = request("FP32", "[2,2]", "[[1.5,2],[3,4e0]]");
    for end in 0..json.len() {
        let fault = parse_request(&json.as_bytes()[..end]).expect_err("a prefix");
        assert!(matches!(fault, InputFault::Truncated { at } if at == end), "{end}: {fault}");
    }
    assert!(parse_request(format!("{json} x").as_bytes()).is_err());
}

#[test]
fn values_nobody_asked_for_must_still_be_json() {
    let with = |value: &str| {
        request("BOOL", "[1]", "[true]").replacen('{', &format!(r#"{{"other":{value},"#), 1)
    };
    for good in ["[]", "{}", r#"{"a":[1,{"b":null}],"c":"\n"}"#, "-1.5e3", "false", "[[],[{}]]"] {
        assert!(data_of(&with(good)).is_ok(), "{good}");
    }
    for bad in ["[", "[1,]", r#"{"a"}"#, r#"{"a":1,}"#, "{1:2}", "nul", "[1 2]", "]", r#""\q""#] {
        assert!(data_of(&with(bad)).is_err(), "{bad}");
    }
    let deep = |depth| with(&("[".repeat(depth) + &"]".repeat(depth)));
    assert!(data_of(&deep(scan::SKIP_DEPTH_MAX)).is_ok());
    assert!(matches!(data_of(&deep(scan::SKIP_DEPTH_MAX + 1)), Err(InputFault::TooDeep { .. })));
}

#[test]
fn too_many_tensors_are_refused() {
    let tensors: Vec<_> = (0..=TENSORS_MAX)
        .map(|n| format!(r#"{{"name":"{n}","shape":[1],"datatype":"BOOL","data":[true]}}"#))
        .collect();
    let json = format!(r#"{{"inputs":[{}]}}"#, tensors.join(","));
    assert!(matches!(data_of(&json), Err(InputFault::TooManyTensors)));
}

fn written(dtype: DType, bytes: Vec<u8>, count: u64) -> String {
    let tensor = Tensor {
        dtype,
        shape: [count].into_iter().collect(),
        data: TensorData::Fixed(bytes.into()),
    };
    let mut out = Vec::new();
    write::data(&mut out, &tensor).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn nan_and_infinities_are_written_as_null() {
    let floats = [f32::NAN, 1.5, f32::INFINITY, f32::NEG_INFINITY];
    let bytes = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
    assert_eq!(written(DType::F32, bytes, 4), "[null,1.5,null,null]");
    let bytes = f64::NAN.to_le_bytes().to_vec();
    assert_eq!(written(DType::F64, bytes, 1), "[null]");
}

#[test]
fn bytes_that_are_not_text_are_not_written() {
    let data = TensorData::Variable { offsets: [0, 1, 2].into(), values: vec![b'a', 0xff].into() };
    let tensor = Tensor { dtype: DType::Bytes, shape: [2].into_iter().collect(), data };
    assert_eq!(write::data(&mut Vec::new(), &tensor), Err(write::NoJson::NotUtf8));
}

/// Decimals as people and programs write them, and as only tests do.
fn decimals() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f32>().prop_map(|x| format!("{x:?}")),
        any::<f32>().prop_map(|x| format!("{:?}", f64::from(x))),
        any::<f64>().prop_map(|x| format!("{x:?}")),
        (any::<f32>(), 0usize..20).prop_map(|(x, places)| format!("{x:.places$}")),
        (0.0f64..1.0, 0usize..20).prop_map(|(x, places)| format!("{x:.places$}")),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        // Decimals next to the midpoint of two neighbouring f32, where two roundings would show.
        (0x0080_0000u32..0x7f00_0000, -3i64..=3).prop_map(|(bits, off)| {
            let (low, high) = (f32::from_bits(bits), f32::from_bits(bits + 1));
            let midpoint = f64::midpoint(f64::from(low), f64::from(high));
            format!("{:?}", f64::from_bits(midpoint.to_bits().wrapping_add_signed(off)))
        }),
    ]
    .prop_filter("JSON has no words for these", |text| {
        !text.contains("inf") && !text.contains("NaN")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_decimal_becomes_the_nearest_float(text in decimals()) {
        let single: f32 = text.parse().unwrap();
        let double: f64 = text.parse().unwrap();
        match f32s(&format!("[{text}]"), "[1]") {
            Ok(found) => prop_assert_eq!(found[0].to_bits(), single.to_bits()),
            Err(InputFault::OutOfRange { .. }) => prop_assert!(single.is_infinite()),
            Err(fault) => prop_assert!(false, "{}", fault),
        }
        match bytes_of("FP64", "[1]", &format!("[{text}]")) {
            Ok(found) => prop_assert_eq!(found, double.to_le_bytes()),
            Err(InputFault::OutOfRange { .. }) => prop_assert!(double.is_infinite()),
            Err(fault) => prop_assert!(false, "{}", fault),
        }
    }

    #[test]
    fn what_is_written_reads_back_equal(floats in prop::collection::vec(any::<f32>(), 0..20),
                                        doubles in prop::collection::vec(any::<f64>(), 0..20),
                                        integers in prop::collection::vec(any::<i64>(), 0..20)) {
        let finite: Vec<u8> =
            floats.iter().filter(|x| x.is_finite()).flat_map(|x| x.to_le_bytes()).collect();
        let count = finite.len() as u64 / 4;
        let json = written(DType::F32, finite.clone(), count);
        prop_assert_eq!(bytes_of("FP32", &format!("[{count}]"), &json).unwrap(), finite);
        let finite: Vec<u8> =
            doubles.iter().filter(|x| x.is_finite()).flat_map(|x| x.to_le_bytes()).collect();
        let count = finite.len() as u64 / 8;
        let json = written(DType::F64, finite.clone(), count);
        prop_assert_eq!(bytes_of("FP64", &format!("[{count}]"), &json).unwrap(), finite);
        let bytes: Vec<u8> = integers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let count = integers.len() as u64;
        let json = written(DType::I64, bytes.clone(), count);
        prop_assert_eq!(bytes_of("INT64", &format!("[{count}]"), &json).unwrap(), bytes);
    }

    #[test]
    fn strings_written_by_others_are_read(texts in prop::collection::vec(".*", 1..6)) {
        let json = serde_json::to_string(&texts).unwrap();
        let found = texts_of(&format!("[{}]", texts.len()), &json).unwrap();
        prop_assert_eq!(found, texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_request(&bytes);
    }

    #[test]
    fn damaged_requests_never_panic_and_stay_json(
        at in 0usize..400, byte in prop::sample::select(b"[]{},:\"\\0123eE.-tfnu \xff".to_vec()),
        insert in any::<bool>(),
    ) {
        let mut json = br#"{"id":"\u00e9","parameters":{"timeout":1,"a":[1,{"b":-2.5e3}]},"inputs":[
            {"name":"x","shape":[2,2],"datatype":"FP32","data":[[1.25,2],[3,4]]},
            {"data":["a","\n"],"name":"s","shape":[2],"datatype":"BYTES"},
            {"name":"b","shape":[1],"datatype":"UINT8","parameters":{"binary_data_size":1}}],
            "outputs":[{"name":"o","parameters":{"binary_data":true}}]}"#.to_vec();
        let at = at % json.len();
        if insert { json.insert(at, byte) } else { json[at] = byte }
        if parse_request(&json).is_ok() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        }
    }
}
