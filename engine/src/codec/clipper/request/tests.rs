use super::*;

fn sane(json: &str, of: InputType) -> Result<Vec<Input>, String> {
    asked(json, of, Mode::Sane)
}

fn asked(json: &str, of: InputType, mode: Mode) -> Result<Vec<Input>, String> {
    predict(json.as_bytes(), of, mode).map(|it| it.inputs).map_err(|error| error.to_string())
}

#[test]
fn each_input_type_is_read_as_what_it_is() {
    let one = |json, of| sane(json, of).unwrap().pop().unwrap();
    assert_eq!(one(r#"{"input": [1, -2]}"#, InputType::Integers), Input::Integers(vec![1, -2]));
    assert_eq!(one(r#"{"input": [0.1]}"#, InputType::Floats), Input::Floats(vec![0.1]));
    assert_eq!(one(r#"{"input": [1e3, 0.1]}"#, InputType::Doubles), Input::Doubles(vec![1e3, 0.1]));
    assert_eq!(one(r#"{"input": "a\"[1]"}"#, InputType::Strings), Input::Strings("a\"[1]".into()));
    assert_eq!(one(r#"{"input": "AAEC/w=="}"#, InputType::Bytes), Input::Bytes(vec![0, 1, 2, 255]));
    assert_eq!(one(r#"{"input": []}"#, InputType::Doubles), Input::Doubles(vec![]));
}

#[test]
fn integer_literals_are_floats_except_by_the_letter() {
    for of in [InputType::Floats, InputType::Doubles] {
        assert!(sane(r#"{"input": [1, 2.0]}"#, of).is_ok());
        let refused = asked(r#"{"input": [1, 2.0]}"#, of, Mode::Strict).unwrap_err();
        assert!(refused.starts_with("Array input of type Number is not of type "), "{refused}");
    }
}

#[test]
fn integers_must_be_whole_and_fit() {
    for json in ["[1.0]", "[2147483648]", "[true]", "[\"1\"]", "[1e2]", "[[1]]"] {
        let refused = sane(&format!(r#"{{"input": {json}}}"#), InputType::Integers).unwrap_err();
        assert!(refused.ends_with("is not of type int"), "{refused}");
    }
    let edge = sane(r#"{"input": [2147483647, -2147483648]}"#, InputType::Integers).unwrap();
    assert_eq!(edge, [Input::Integers(vec![i32::MAX, i32::MIN])]);
}

#[test]
fn floats_beyond_their_range_are_refused() {
    assert!(sane(r#"{"input": [1e300]}"#, InputType::Floats).is_err());
    assert!(sane(r#"{"input": [1e999]}"#, InputType::Doubles).is_err());
}

#[test]
fn a_batch_is_one_input_after_the_other_and_may_be_empty() {
    let batch = sane(r#"{"input_batch": [[1.5], [], [2.5, 3.5]]}"#, InputType::Doubles).unwrap();
    let doubles = [vec![1.5], vec![], vec![2.5, 3.5]].map(Input::Doubles);
    assert_eq!(batch, doubles);
    let texts = sane(r#"{"input_batch": ["a,b", "c"]}"#, InputType::Strings).unwrap();
    assert_eq!(texts, ["a,b", "c"].map(|it| Input::Strings(it.into())));
    assert_eq!(sane(r#"{"input_batch": []}"#, InputType::Bytes).unwrap(), []);
}

#[test]
fn one_wrong_input_refuses_its_batch() {
    let refused = sane(r#"{"input_batch": [[1.5], ["a"]]}"#, InputType::Doubles).unwrap_err();
    assert_eq!(refused, "Array input of type String is not of type double");
    let refused = sane(r#"{"input_batch": [[1.5], 2]}"#, InputType::Doubles).unwrap_err();
    assert_eq!(refused, "Array input of type Number is not of type array");
}

#[test]
fn a_batch_has_a_bound() {
    let inputs = vec!["[]"; INPUTS_MAX + 1].join(",");
    let json = format!(r#"{{"input_batch": [{inputs}]}}"#);
    let refused = predict(json.as_bytes(), InputType::Doubles, Mode::Sane);
    assert_eq!(refused, Err(JsonFault::TooManyInputs));
}

#[test]
fn input_wins_and_other_keys_are_passed_over() {
    let json = r#"{"uid": 0, "input_batch": "no", "input": [1.5], "more": [{}]}"#;
    assert_eq!(sane(json, InputType::Doubles).unwrap(), [Input::Doubles(vec![1.5])]);
}

#[test]
fn a_version_is_a_text() {
    let asked = |json: &str| predict(json.as_bytes(), InputType::Doubles, Mode::Sane);
    let found = asked(r#"{"input": [], "version": "v1"}"#).unwrap();
    assert_eq!(found.version.as_deref(), Some("v1"));
    let refused = asked(r#"{"input": [], "version": 1}"#).unwrap_err().to_string();
    assert_eq!(
        refused,
        "Type mismatch! JSON key version expected type String but found type Number"
    );
}

#[test]
fn what_is_no_json_says_where() {
    let JsonFault::Malformed { offset, .. } =
        predict(b"{\"input\":\n [1, }", InputType::Doubles, Mode::Sane).unwrap_err()
    else {
        panic!("another fault")
    };
    assert!((14..=16).contains(&offset), "{offset}");
    for json in ["", "{", "{\"input\": [1.0]", "{'input': []}", "nonsense"] {
        let refused = sane(json, InputType::Doubles).unwrap_err();
        assert!(refused.starts_with("JSON parse error: "), "{json}: {refused}");
    }
    assert_eq!(sane("[1]", InputType::Doubles).unwrap_err(), "JSON schema invalid");
    assert_eq!(sane("3", InputType::Doubles).unwrap_err(), "JSON schema invalid");
    let refused = sane(r#"{"inputs": []}"#, InputType::Doubles).unwrap_err();
    assert_eq!(refused, "JSON object does not have required keys input or input_batch");
}

#[test]
fn base64_is_checked_except_by_the_letter() {
    let json = r#"{"input": "%%%"}"#;
    assert!(sane(json, InputType::Bytes).unwrap_err().contains("base64"));
    assert_eq!(asked(json, InputType::Bytes, Mode::Strict).unwrap(), [Input::Bytes(vec![])]);
    assert_eq!(sane(r#"{"input": "AA"}"#, InputType::Bytes).unwrap(), [Input::Bytes(vec![0])]);
}

#[test]
fn feedback_needs_a_user_an_input_and_a_label() {
    let fed = |json: &str, mode| {
        let fed = update(json.as_bytes(), InputType::Doubles, mode);
        fed.map(|it| it.of_default_user).map_err(|error| error.to_string())
    };
    let sane = |json: &str| fed(json, Mode::Sane);
    assert_eq!(sane(r#"{"uid": 0, "input": [1.1], "label": 1.0}"#), Ok(true));
    assert_eq!(sane(r#"{"uid": "u7", "input": [1], "label": 1}"#), Ok(false));
    let missing = sane(r#"{"uid": 0, "input": [1.1]}"#).unwrap_err();
    assert_eq!(missing, "JSON object does not have required key: label");
    assert!(sane(r#"{"uid": 0, "input": ["x"], "label": 1.0}"#).is_err());
    assert!(fed(r#"{"uid": "0", "input": [1.1], "label": 1.0}"#, Mode::Strict).is_err());
    assert!(fed(r#"{"uid": 0, "input": [1.1], "label": 1}"#, Mode::Strict).is_err());
}
