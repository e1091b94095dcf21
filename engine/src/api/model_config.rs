//! The model configuration extension: what a model declares and its config.pbtxt says, in Triton's words, for both
//! protocols.

use schemas::inference::model_config::SchedulingChoice;
use schemas::inference::{
    DataType, ModelConfig, ModelDynamicBatching, ModelInput, ModelOutput, ModelParameter,
    ModelTransactionPolicy,
};
use schemas::tensor::{DType, Dim, TensorSpec};
use serde_json::{Value, json};

use crate::dispatch::handle::ModelHandle;
use crate::triton_config::{Kind, TritonConfig, VersionPolicy};

/// Readers of a configuration know the formats of Triton's backends, which end after the first word.
const PYTHON: &str = "python";

pub fn of(handle: &ModelHandle) -> ModelConfig {
    let spec = &handle.spec;
    let config = handle.config.as_deref();
    let dims =
        |spec: &TensorSpec| spec.dims.iter().filter(|dim| **dim != Dim::Batch).map(size).collect();
    let input = |it: &TensorSpec| ModelInput {
        name: it.name.clone(),
        data_type: data_type(it.dtype).into(),
        dims: dims(it),
        ..ModelInput::default()
    };
    let output = |it: &TensorSpec| ModelOutput {
        name: it.name.clone(),
        data_type: data_type(it.dtype).into(),
        dims: dims(it),
        label_filename: labels(config, &it.name),
        ..ModelOutput::default()
    };
    let parameters = config.map(|config| config.parameters.clone()).unwrap_or_default();
    let parameter = |(key, string_value)| (key, ModelParameter { string_value });
    ModelConfig {
        name: handle.name.to_string(),
        platform: if spec.platform == PYTHON { String::new() } else { spec.platform.clone() },
        backend: spec.platform.clone(),
        max_batch_size: if spec.batched { spec.max_batch as i32 } else { 0 },
        input: spec.inputs.iter().map(input).collect(),
        output: spec.outputs.iter().map(output).collect(),
        parameters: parameters.into_iter().map(parameter).collect(),
        model_transaction_policy: Some(ModelTransactionPolicy { decoupled: spec.decoupled }),
        response_cache: None,
        scheduling_choice: spec.batched.then(|| scheduling(config)),
    }
}

/// The file that names an output's classes.
fn labels(config: Option<&TritonConfig>, output: &str) -> String {
    let said = config.and_then(|config| config.outputs.iter().find(|it| it.name == output));
    said.and_then(|it| it.labels.clone()).unwrap_or_default()
}

/// Whatever batches batches dynamically here.
fn scheduling(config: Option<&TritonConfig>) -> SchedulingChoice {
    let said = config.and_then(|config| config.batching.as_ref());
    let preferred = said.map(|it| it.preferred.clone()).unwrap_or_default();
    SchedulingChoice::DynamicBatching(ModelDynamicBatching {
        preferred_batch_size: preferred.into_iter().map(|size| size as i32).collect(),
        max_queue_delay_microseconds: said.and_then(|it| it.max_delay_us).unwrap_or(0),
        ..ModelDynamicBatching::default()
    })
}

/// By the protocol's names, defaults too: readers look for fields without asking whether they are there.
pub fn json(handle: &ModelHandle) -> Value {
    let config = of(handle);
    let input = |it: &ModelInput| {
        let mut shown = tensor(&it.name, it.data_type, &it.dims);
        shown["format"] = json!("FORMAT_NONE");
        shown["allow_ragged_batch"] = json!(it.allow_ragged_batch);
        shown["optional"] = json!(it.optional);
        shown
    };
    let output = |it: &ModelOutput| {
        let mut shown = tensor(&it.name, it.data_type, &it.dims);
        shown["label_filename"] = json!(it.label_filename);
        shown
    };
    let decoupled = config.model_transaction_policy.is_some_and(|policy| policy.decoupled);
    let parameters = config.parameters.iter();
    let parameters = parameters.map(|(key, it)| (key, json!({ "string_value": it.string_value })));
    let mut shown = json!({
        "name": config.name,
        "platform": config.platform,
        "backend": config.backend,
        "version_policy": version_policy(handle.config.as_deref()),
        "max_batch_size": config.max_batch_size,
        "input": config.input.iter().map(input).collect::<Vec<_>>(),
        "output": config.output.iter().map(output).collect::<Vec<_>>(),
        "instance_group": instance_group(handle),
        "parameters": parameters.collect::<std::collections::BTreeMap<_, _>>(),
        "model_transaction_policy": { "decoupled": decoupled },
    });
    if let Some(SchedulingChoice::DynamicBatching(it)) = &config.scheduling_choice {
        shown["dynamic_batching"] = json!({
            "preferred_batch_size": it.preferred_batch_size,
            "max_queue_delay_microseconds": it.max_queue_delay_microseconds,
            "preserve_ordering": it.preserve_ordering,
            "priority_levels": it.priority_levels,
            "default_priority_level": it.default_priority_level,
        });
    }
    shown
}

fn tensor(name: &str, data_type: i32, dims: &[i64]) -> Value {
    let data_type = DataType::try_from(data_type).unwrap_or(DataType::TypeInvalid);
    json!({
        "name": name,
        "data_type": data_type.as_str_name(),
        "dims": dims,
        "is_shape_tensor": false,
    })
}

fn version_policy(config: Option<&TritonConfig>) -> Value {
    let all = VersionPolicy::All;
    let newest = VersionPolicy::Latest(1);
    match config.map_or(&all, |config| config.versions.as_ref().unwrap_or(&newest)) {
        VersionPolicy::All => json!({ "all": {} }),
        VersionPolicy::Latest(count) => json!({ "latest": { "num_versions": count } }),
        VersionPolicy::Specific(versions) => json!({ "specific": { "versions": versions } }),
    }
}

fn instance_group(handle: &ModelHandle) -> Value {
    let one = |index: usize, kind: &str, count: u32, gpus: &[u32]| {
        let name = format!("{}_{index}", handle.name);
        json!({ "name": name, "kind": kind, "count": count, "gpus": gpus })
    };
    let said = handle.config.iter().flat_map(|config| &config.groups).enumerate();
    let groups: Vec<_> = said
        .map(|(index, group)| {
            let kind = if group.kind == Kind::Gpu { "KIND_GPU" } else { "KIND_CPU" };
            one(index, kind, group.count, &group.gpus)
        })
        .collect();
    if groups.is_empty() {
        json!([one(0, "KIND_CPU", handle.spec.replicas, &[])])
    } else {
        json!(groups)
    }
}

/// -1 where it may have any size.
fn size(dim: &Dim) -> i64 {
    match dim {
        Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
        Dim::Batch | Dim::Variable => -1,
    }
}

fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::Bool => DataType::TypeBool,
        DType::U8 => DataType::TypeUint8,
        DType::U16 => DataType::TypeUint16,
        DType::U32 => DataType::TypeUint32,
        DType::U64 => DataType::TypeUint64,
        DType::I8 => DataType::TypeInt8,
        DType::I16 => DataType::TypeInt16,
        DType::I32 => DataType::TypeInt32,
        DType::I64 => DataType::TypeInt64,
        DType::F16 => DataType::TypeFp16,
        DType::Bf16 => DataType::TypeBf16,
        DType::F32 => DataType::TypeFp32,
        DType::F64 => DataType::TypeFp64,
        DType::Bytes | DType::Str => DataType::TypeString,
    }
}
