use schemas::lifecycle::Late;

use super::*;
use crate::triton_config::from_text;

fn merged(text: &str, toml: &str, gpus: u32) -> Result<ModelToml, String> {
    let mut toml: ModelToml = crate::config::parse(Path::new("model.toml"), toml).unwrap();
    let config = from_text(text).unwrap();
    let done = merge(&mut toml, &config, Path::new("models/digits"), gpus);
    done.map(|()| toml).map_err(|error| error.to_string())
}

#[test]
fn settings_come_from_both_files() {
    let text = "output { name: \"y\" data_type: TYPE_FP32 label_filename: \"names.txt\" } \
        name: \"digits\" max_batch_size: 8 instance_group [{ count: 2 }, { count: 1 kind: KIND_CPU }] \
        dynamic_batching { preferred_batch_size: 4 max_queue_delay_microseconds: 100 \
        default_queue_policy { default_timeout_microseconds: 5000 max_queue_size: 9 } }";
    let found = merged(text, "class = \"gold\"\nmax_batch = 8", 0).unwrap();
    assert_eq!((found.max_batch, found.replicas), (Some(8), Some(3)));
    assert_eq!(found.labels["y"], "names.txt");
    assert_eq!((found.slo.as_deref(), found.late.as_deref()), (Some("5000us"), Some("shed")));
    let fixed = FixedBatchesToml { size: 4, delay: Some("100us".into()) };
    assert_eq!(found.fixed_batches, Some(fixed));
    assert_eq!((found.queue_tasks_max, found.class.as_deref()), (Some(9), Some("gold")));
    let delayed = "dynamic_batching { default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 7 } }";
    assert_eq!(merged(delayed, "", 0).unwrap().late.as_deref(), Some("serve"));
    assert_eq!(merged("max_batch_size: 0", "", 0).unwrap().max_batch, None);
}

#[test]
fn what_the_files_say_of_one_thing_must_be_equal() {
    for (text, toml, field) in [
        ("max_batch_size: 8", "max_batch = 4", "max_batch_size"),
        ("instance_group { count: 2 }", "replicas = 1", "instance_group"),
        ("instance_group { kind: KIND_GPU }", "replicas = 1", "instance_group"),
        ("model_warmup { name: \"w\" }", "warm_up = false", "model_warmup"),
        (
            "dynamic_batching { preferred_batch_size: 4 }",
            "[fixed_batches]\nsize = 8",
            "preferred_batch_size",
        ),
    ] {
        let said = merged(text, toml, 1).unwrap_err();
        assert!(said.contains(field) && said.contains("model.toml"), "{text}: {said}");
    }
}

#[test]
fn groups_on_gpus_become_classes_of_devices() {
    let text = "instance_group [{ kind: KIND_GPU count: 2 gpus: [1] }, { kind: KIND_GPU }, { kind: KIND_CPU }]";
    let found = merged(text, "", 2).unwrap().devices.unwrap();
    let shown: Vec<_> =
        found.iter().map(|it| (&*it.name, it.replicas, &*it.env[VISIBLE_GPUS])).collect();
    assert_eq!(shown, [("cpu", 1, ""), ("gpu0", 1, "0"), ("gpu1", 3, "1")]);
    assert!(merged(text, "", 1).unwrap_err().contains("GPU 1"));
    assert!(merged("instance_group { kind: KIND_GPU }", "", 0).unwrap_err().contains("KIND_CPU"));
}

#[test]
fn only_python_models_are_run_and_only_under_their_own_name() {
    assert!(merged("backend: \"python\" platform: \"\"", "", 0).is_ok());
    assert!(
        merged("platform: \"onnxruntime_onnx\"", "", 0).unwrap_err().contains("@hydrofoil.model")
    );
    assert!(merged("backend: \"python\"", "runtime = \"native\"", 0).is_err());
    assert!(merged("name: \"other\"", "", 0).unwrap_err().contains("'digits'"));
}

#[test]
fn versions_are_served_by_their_policy() {
    let served = |text: &str| {
        let there = [3, 1, 10, 2].map(Version).to_vec();
        let served = versions(&from_text(text).unwrap(), there);
        served.map(|it| it.into_iter().map(|it| it.0).collect::<Vec<_>>())
    };
    assert_eq!(served(""), Ok(vec![10]), "as Triton has it");
    assert_eq!(served("version_policy { all {} }"), Ok(vec![1, 2, 3, 10]));
    assert_eq!(served("version_policy { latest { num_versions: 2 } }"), Ok(vec![3, 10]));
    assert_eq!(served("version_policy { specific { versions: [2, 1] } }"), Ok(vec![1, 2]));
    let missing = served("version_policy { specific { versions: [4] } }");
    assert_eq!(missing, Err(TritonError::NoVersion(4)));
}

fn spec(batched: bool) -> ModelSpec {
    let tensor = |name: &str, dtype, rest: &[Dim]| {
        let batch = batched.then_some(Dim::Batch);
        let dims = batch.into_iter().chain(rest.iter().copied()).collect();
        TensorSpec { name: name.into(), dtype, dims }
    };
    ModelSpec {
        name: "m".into(),
        platform: "python".into(),
        inputs: vec![tensor("x", DType::F32, &[Dim::Fixed(3), Dim::Variable])],
        outputs: vec![tensor("y", DType::Str, &[])],
        batched,
        max_batch: if batched { 8 } else { 1 },
        slo_us: None,
        late: Late::Serve,
        batch_timeout_us: 1,
        replicas: 1,
        pad: false,
        decoupled: false,
    }
}

#[test]
fn the_model_must_be_what_its_configuration_says() {
    let says = |text: &str, batched| {
        check(&from_text(text).unwrap(), &spec(batched)).map_err(|error| error.to_string())
    };
    let x = "input { name: \"x\" data_type: TYPE_FP32 dims: [3, -1] }";
    let y = "output { name: \"y\" data_type: TYPE_STRING dims: [1] }";
    assert_eq!(says(&format!("max_batch_size: 8 {x} {y}"), true), Ok(()));
    assert_eq!(says(&format!("max_batch_size: 0 {x} {y}"), false), Ok(()));
    for (text, batched, expected) in [
        ("max_batch_size: 0", true, "batch dimension"),
        ("max_batch_size: 4", false, "no batch dimension"),
        ("input { name: \"z\" data_type: TYPE_FP32 }", true, "declares x"),
        ("input { name: \"x\" data_type: TYPE_FP16 dims: [3, -1] }", true, "FP16 [3, -1]"),
        ("input { name: \"x\" data_type: TYPE_FP32 dims: [3, 4] }", true, "declares FP32 [3, -1]"),
        ("model_transaction_policy { decoupled: true }", true, "one answer"),
    ] {
        let said = says(text, batched).unwrap_err();
        assert!(said.contains(expected), "{text}: {said}");
    }
}
