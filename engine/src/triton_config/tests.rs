use proptest::prelude::*;

use super::*;

fn says(text: &str) -> String {
    from_text(text).unwrap_err().to_string()
}

fn warnings(text: &str) -> Vec<String> {
    from_text(text).unwrap().warnings.iter().map(Warning::to_string).collect()
}

const WHOLE: &str = r#"
# As it may lie in a repository.
name: "resnet"
backend: "python"
max_batch_size: 16
input [
  { name: "x" data_type: TYPE_FP32 dims: [ 3, -1, 224 ] },
  { name: 'mask', data_type: TYPE_BOOL; dims: 3 }
]
output { name: "y" data_type: TYPE_STRING dims: [ ] }
instance_group [ { count: 2 kind: KIND_CPU }, { name: "fast" kind: KIND_GPU gpus: [ 0, 1 ] } ]
dynamic_batching {
  preferred_batch_size: [ 8 ]
  max_queue_delay_microseconds: 200
  default_queue_policy: { timeout_action: DELAY default_timeout_microseconds: 5000 max_queue_size: 64 }
}
version_policy: { specific < versions: [1, 3] > }
parameters: { key: "path" value: { string_value: "a\tb" "\x63\104\u00e9" } }
model_transaction_policy { decoupled: false }
model_warmup [ { name: "w" batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: 3 zero_data: true } } } ]
"#;

#[test]
fn a_whole_configuration_is_read() {
    let config = from_text(WHOLE).unwrap();
    assert_eq!((config.name.as_deref(), config.max_batch_size), (Some("resnet"), Some(16)));
    let dims = |tensor: &Tensor| (tensor.name.clone(), tensor.dtype, tensor.dims.clone());
    let x = ("x".to_owned(), DType::F32, vec![Some(3), None, Some(224)]);
    assert_eq!(dims(&config.inputs[0]), x);
    assert_eq!(dims(&config.inputs[1]), ("mask".to_owned(), DType::Bool, vec![Some(3)]));
    assert_eq!(dims(&config.outputs[0]), ("y".to_owned(), DType::Bytes, vec![]));
    let groups: Vec<_> = config.groups.iter().map(|it| (it.kind, it.count, &*it.gpus)).collect();
    assert_eq!(groups, [(Kind::Cpu, 2, &[][..]), (Kind::Gpu, 1, &[0, 1][..])]);
    let queue = QueuePolicy { timeout_us: Some(5000), delays: true, tasks_max: Some(64) };
    let batching = config.batching.unwrap();
    assert_eq!((&*batching.preferred, batching.max_delay_us), (&[8][..], Some(200)));
    assert_eq!(batching.queue, Some(queue));
    assert_eq!(config.versions, Some(VersionPolicy::Specific(vec![1, 3])));
    assert_eq!(config.parameters["path"], "a\tbcDé");
    assert_eq!((config.decoupled, config.warms_up), (Some(false), true));
    assert_eq!(config.warnings, []);
}

#[test]
fn json_says_the_same() {
    let json = r#"{"name": "resnet", "backend": "python", "max_batch_size": 16,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["3", -1, 224]},
                  {"name": "mask", "data_type": "TYPE_BOOL", "dims": [3]}],
        "output": [{"name": "y", "data_type": "TYPE_STRING", "dims": []}],
        "instance_group": [{"count": 2, "kind": "KIND_CPU"},
                           {"name": "fast", "kind": "KIND_GPU", "gpus": [0, 1]}],
        "dynamic_batching": {"preferred_batch_size": [8], "max_queue_delay_microseconds": "200",
            "default_queue_policy": {"timeout_action": "DELAY",
                "default_timeout_microseconds": 5000, "max_queue_size": 64}},
        "version_policy": {"specific": {"versions": [1, 3]}},
        "parameters": {"path": {"string_value": "a\tbcDé"}},
        "model_transaction_policy": {"decoupled": false}, "optimization": null,
        "model_warmup": [{"name": "w", "batch_size": 1, "inputs":
            {"x": {"data_type": "TYPE_FP32", "dims": [3], "zero_data": true}}}]}"#;
    let without_places = |mut config: TritonConfig| {
        let tensors = config.inputs.iter_mut().chain(&mut config.outputs);
        tensors.for_each(|tensor| tensor.at = Place::default());
        config.groups.iter_mut().for_each(|group| group.at = Place::default());
        config
    };
    let text = without_places(from_text(WHOLE).unwrap());
    assert_eq!(without_places(from_json(json).unwrap()), text);
    let error = from_json(r#"{"max_batsh_size": 3}"#).unwrap_err().to_string();
    assert_eq!(error, "there is no field 'max_batsh_size', did you mean 'max_batch_size'?");
    assert!(from_json("[]").is_err() && from_json("{").is_err());
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, expected) in [
        (
            "name: \"m\"\nmax_batsh_size: 3",
            "line 2, column 1: there is no field 'max_batsh_size', did you mean 'max_batch_size'?",
        ),
        (
            "input { name: \"x\" dimz: 3 }",
            "line 1, column 19: there is no field 'dimz', did you mean 'dims'?",
        ),
        ("nothing_like_it: 1", "line 1, column 1: there is no field 'nothing_like_it'"),
        ("name: m", "line 1, column 7: 'name' is to be a string"),
        ("name: \"a\" name: \"b\"", "line 1, column 11: 'name' is there twice"),
        ("max_batch_size: -1", "'max_batch_size' is to be a whole number that is not negative"),
        ("max_batch_size: 99999999999", "'max_batch_size' is to be a whole number"),
        ("name: \"m", "this string does not end"),
        ("name: \"\\q\"", "this escape in a string is none"),
        ("name: \"\\xff\"", "not UTF-8"),
        ("input [ { name: \"x\" }", "',' or the end of the list"),
        ("input {", "the end of the file stands where"),
        ("input { name: \"x\" }", "'data_type' is missing here"),
        ("input { name: \"x\" data_type: TYPE_FLOAT }", "a type as in TYPE_FP32"),
        ("name \"m\"", "':' or a block"),
        ("}", "'}' stands where the name of a field"),
        ("version_policy {}", "'latest, all or specific' is missing"),
    ] {
        let found = says(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn what_can_not_be_honoured_is_refused_with_what_to_do_instead() {
    for (text, field, instead) in [
        ("ensemble_scheduling { step [] }", "ensemble_scheduling", "one after the other"),
        ("response_cache { enable: true }", "response_cache", "leave it out"),
        ("sequence_batching {}", "sequence_batching", "by itself"),
        (
            "input { name: \"x\" data_type: TYPE_FP32 reshape { shape: 1 } }",
            "reshape",
            "in the model",
        ),
        ("input { name: \"x\" optional: true }", "optional", "always there"),
        ("instance_group { kind: KIND_MODEL }", "KIND_MODEL", "KIND_CPU"),
        ("instance_group { rate_limiter {} }", "rate_limiter", "one batch"),
        ("default_model_filename: \"net.onnx\"", "default_model_filename", "model.py"),
        ("model_repository_agents {}", "model_repository_agents", "directory"),
    ] {
        let found = says(text);
        assert!(found.contains(field) && found.contains(instead), "{text}: {found}");
    }
    let off = "response_cache { enable: false } default_model_filename: \"model.py\" instance_group { passive: false }";
    assert!(from_text(off).is_ok());
}

#[test]
fn what_changes_nothing_is_said() {
    for (text, field) in [
        ("optimization { priority: PRIORITY_MAX }", "line 1, column 1: optimization has no effect"),
        ("dynamic_batching { max_queue_delay_microseconds: 5 }", "max_queue_delay_microseconds"),
        ("dynamic_batching { preferred_batch_size: [2, 4] }", "preferred_batch_size"),
        ("dynamic_batching { priority_levels: 3 }", "priority_levels"),
        ("dynamic_batching { preserve_ordering: true }", "preserve_ordering"),
        (
            "dynamic_batching { default_queue_policy { allow_timeout_override: false } }",
            "allow_timeout_override",
        ),
        ("model_warmup { batch_size: 8 }", "model_warmup.batch_size"),
    ] {
        let found = warnings(text);
        assert!(found.len() == 1 && found[0].contains(field), "{text}: {found:?}");
    }
    assert_eq!(warnings("dynamic_batching {}"), [""; 0]);
}

#[test]
fn depth_and_length_are_bounded() {
    assert!(says(&"input {".repeat(100)).contains("blocks lie more than"));
    assert!(says(&" ".repeat((1 << 20) + 1)).contains("bytes"));
}

/// What configurations are made of, put together in any way.
fn pieces() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "name",
        "input",
        "dims",
        "dynamic_batching",
        "version_policy",
        "parameters",
        "key",
        "value",
        ":",
        "{",
        "}",
        "<",
        ">",
        "[",
        "]",
        ",",
        ";",
        "#",
        "\n",
        " ",
        "\"",
        "'",
        "\\",
        "\\x",
        "\\u00e9",
        "\\377",
        "-1",
        "0x",
        "9223372036854775808",
        "true",
        "TYPE_FP32",
        "é",
    ];
    proptest::collection::vec(proptest::sample::select(WORDS), 0..60).prop_map(|it| it.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail(text in pieces(), anything in ".{0,80}") {
        for text in [text, anything] {
            if let Err(fault) = from_text(&text) {
                prop_assert!(fault.at.line >= 1 && !fault.to_string().is_empty());
            }
            let _either = from_json(&text);
        }
    }
}
