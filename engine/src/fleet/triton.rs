//! What a model's config.pbtxt means here: its settings beside those of model.toml, the versions to serve, and whether
//! the model is what it says.
//!
//! Both files may be there; what both say must be equal. Where config.pbtxt says nothing of versions the newest alone is
//! served, as in Triton; without the file all are.

use std::collections::BTreeMap;
use std::path::Path;

use schemas::lifecycle::ModelSpec;
use schemas::tensor::{DType, Dim, TensorSpec};

use crate::config::{DeviceToml, FixedBatchesToml, ModelToml};
use crate::ids::Version;
use crate::triton_config::{Group, Kind, Tensor, TritonConfig, VersionPolicy};

/// Of the backends that Triton knows, the one whose models are Python files.
const PYTHON: &str = "python";
/// Which GPUs CUDA shows to a process.
const VISIBLE_GPUS: &str = "CUDA_VISIBLE_DEVICES";
/// Where Linux shows NVIDIA's GPUs, as nvidia0 and so on.
const DEVICES: &str = "/dev";

/// Why a configuration can't be that of the model beside it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TritonError {
    #[error("name is '{said}', but the model's directory is '{directory}'; make them equal")]
    Name { said: String, directory: String },
    #[error(
        "there is nothing here that runs '{backend}'; write model.py with a class that has @hydrofoil.model and calls the \
         framework, and say backend: \"python\""
    )]
    Backend { backend: String },
    #[error("{field} says {ours}, but model.toml says {theirs}; keep one of them")]
    Contradicts { field: &'static str, ours: String, theirs: String },
    #[error("instance_group asks for GPU {gpu}, and this machine has {count}; use KIND_CPU")]
    NoGpu { gpu: u32, count: u32 },
    #[error("instance_group asks for GPUs, and this machine has none; use KIND_CPU")]
    NoGpus,
    #[error("version_policy names version {0}, which has no directory")]
    NoVersion(u64),
}

/// Why a model is not what its configuration says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MismatchError {
    #[error(
        "config.pbtxt says max_batch_size: 0, but the model's tensors have a batch dimension; say 1 or more, or leave it out"
    )]
    Batched,
    #[error(
        "config.pbtxt says max_batch_size: {size}, but the model's tensors have no batch dimension; say 0, or put \"n\" first \
         in its annotations"
    )]
    NotBatched { size: u32 },
    #[error(
        "config.pbtxt has {side} '{name}', which the model does not declare; it declares {declared}"
    )]
    NoTensor { side: &'static str, name: String, declared: String },
    #[error("the model declares {side} '{name}', which config.pbtxt leaves out")]
    LeftOut { side: &'static str, name: String },
    #[error("config.pbtxt says {said} of {side} '{name}', but the model declares {declared}")]
    Tensor { side: &'static str, name: String, said: String, declared: String },
    #[error("config.pbtxt says decoupled: {said}, but the model {declared}")]
    Decoupled { said: bool, declared: &'static str },
}

/// The GPUs of this machine.
pub fn gpus() -> u32 {
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia").is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let entries = std::fs::read_dir(DEVICES).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_gpu)).count() as u32
}

/// Adds what the configuration says to what model.toml does.
pub fn merge(
    toml: &mut ModelToml,
    config: &TritonConfig,
    directory: &Path,
    gpus: u32,
) -> Result<(), TritonError> {
    check_name(config, directory)?;
    check_backend(config, toml)?;
    let max_batch = config.max_batch_size.filter(|size| *size > 0);
    both("max_batch_size", &mut toml.max_batch, max_batch)?;
    if config.groups.iter().any(|group| group.kind == Kind::Gpu) {
        let devices = devices(&config.groups, gpus)?;
        if let Some(theirs) = toml.replicas {
            return Err(contradicts("instance_group", &"GPUs", &format!("replicas = {theirs}")));
        }
        if toml.devices.replace(devices).is_some() {
            return Err(contradicts("instance_group", &"GPUs", &"[[devices]]"));
        }
    } else if !config.groups.is_empty() {
        let count = config.groups.iter().fold(0, |sum: u32, it| sum.saturating_add(it.count));
        both("instance_group", &mut toml.replicas, Some(count))?;
    }
    if config.warms_up {
        both("model_warmup", &mut toml.warm_up, Some(true))?;
    }
    merge_labels(toml, config)?;
    merge_batching(toml, config)
}

fn merge_labels(toml: &mut ModelToml, config: &TritonConfig) -> Result<(), TritonError> {
    for output in &config.outputs {
        let Some(file) = &output.labels else { continue };
        let theirs = toml.labels.entry(output.name.clone()).or_insert_with(|| file.clone());
        if theirs != file {
            return Err(contradicts("label_filename", file, theirs));
        }
    }
    Ok(())
}

fn merge_batching(toml: &mut ModelToml, config: &TritonConfig) -> Result<(), TritonError> {
    let Some(batching) = &config.batching else { return Ok(()) };
    if let [size] = batching.preferred[..] {
        let delay = batching.max_delay_us.map(|us| format!("{us}us"));
        both(
            "preferred_batch_size",
            &mut toml.fixed_batches,
            Some(FixedBatchesToml { size, delay }),
        )?;
    }
    let Some(queue) = &batching.queue else { return Ok(()) };
    both("max_queue_size", &mut toml.queue_tasks_max, queue.tasks_max)?;
    if let Some(us) = queue.timeout_us {
        both("default_timeout_microseconds", &mut toml.slo, Some(format!("{us}us")))?;
        let late = if queue.delays { "serve" } else { "shed" };
        both("timeout_action", &mut toml.late, Some(late.to_owned()))?;
    }
    Ok(())
}

fn both<T: Clone + PartialEq + std::fmt::Debug>(
    field: &'static str,
    theirs: &mut Option<T>,
    ours: Option<T>,
) -> Result<(), TritonError> {
    match (&*theirs, ours) {
        (_, None) => Ok(()),
        (Some(theirs), Some(ours)) if *theirs != ours => Err(contradicts(field, &ours, theirs)),
        (_, ours) => {
            *theirs = ours;
            Ok(())
        }
    }
}

fn contradicts(
    field: &'static str,
    ours: &dyn std::fmt::Debug,
    theirs: &dyn std::fmt::Debug,
) -> TritonError {
    let (ours, theirs) = (format!("{ours:?}"), format!("{theirs:?}"));
    TritonError::Contradicts { field, ours, theirs }
}

fn check_name(config: &TritonConfig, directory: &Path) -> Result<(), TritonError> {
    let Some(said) = config.name.as_ref().filter(|name| !name.is_empty()) else { return Ok(()) };
    let directory = directory.file_name().unwrap_or_default().to_string_lossy();
    if *said == directory {
        return Ok(());
    }
    Err(TritonError::Name { said: said.clone(), directory: directory.into_owned() })
}

fn check_backend(config: &TritonConfig, toml: &ModelToml) -> Result<(), TritonError> {
    let said = [&config.backend, &config.platform].into_iter().flatten();
    let python = toml.runtime.as_deref().is_none_or(|runtime| runtime == PYTHON);
    let is_ours = |backend: &str| backend.is_empty() || (python && backend == PYTHON);
    match said.into_iter().find(|backend| !is_ours(backend)) {
        Some(backend) => Err(TritonError::Backend { backend: backend.clone() }),
        None => Ok(()),
    }
}

/// A class of devices for each GPU, and one for those without: their speeds are learned one by one.
fn devices(groups: &[Group], count: u32) -> Result<Vec<DeviceToml>, TritonError> {
    let mut replicas: BTreeMap<Option<u32>, u32> = BTreeMap::new();
    for group in groups {
        let on: Vec<Option<u32>> = match group.kind {
            Kind::Auto | Kind::Cpu => vec![None],
            Kind::Gpu if group.gpus.is_empty() => (0..count).map(Some).collect(),
            Kind::Gpu => group.gpus.iter().copied().map(Some).collect(),
        };
        if on.is_empty() {
            return Err(TritonError::NoGpus);
        }
        if let Some(gpu) = on.iter().flatten().copied().find(|gpu| *gpu >= count) {
            return Err(TritonError::NoGpu { gpu, count });
        }
        for device in on {
            let sum = replicas.entry(device).or_default();
            *sum = sum.saturating_add(group.count);
        }
    }
    Ok(replicas.into_iter().map(device).collect())
}

fn device((gpu, replicas): (Option<u32>, u32)) -> DeviceToml {
    let name = gpu.map_or("cpu".into(), |gpu| format!("gpu{gpu}"));
    let visible = gpu.map_or(String::new(), |gpu| gpu.to_string());
    let env = [(VISIBLE_GPUS.to_owned(), visible)].into();
    DeviceToml { name, replicas, env, ..DeviceToml::default() }
}

/// Which of the versions are served, in ascending order.
pub fn versions(
    config: &TritonConfig,
    mut there: Vec<Version>,
) -> Result<Vec<Version>, TritonError> {
    there.sort();
    match config.versions.as_ref().unwrap_or(&VersionPolicy::Latest(1)) {
        VersionPolicy::All => Ok(there),
        VersionPolicy::Latest(count) => {
            let first = there.len().saturating_sub(*count as usize);
            Ok(there.split_off(first))
        }
        VersionPolicy::Specific(named) => {
            let missing = named.iter().find(|version| !there.contains(&Version(**version)));
            if let Some(missing) = missing {
                return Err(TritonError::NoVersion(*missing));
            }
            there.retain(|version| named.contains(&version.0));
            Ok(there)
        }
    }
}

/// Whether the model declares what its configuration says.
pub fn check(config: &TritonConfig, spec: &ModelSpec) -> Result<(), MismatchError> {
    match config.max_batch_size {
        Some(0) if spec.batched => return Err(MismatchError::Batched),
        Some(size) if size > 0 && !spec.batched => return Err(MismatchError::NotBatched { size }),
        _ => {}
    }
    check_tensors("input", &config.inputs, &spec.inputs)?;
    check_tensors("output", &config.outputs, &spec.outputs)?;
    check_decoupled(config, spec)
}

fn check_decoupled(config: &TritonConfig, spec: &ModelSpec) -> Result<(), MismatchError> {
    let declared = match spec.decoupled {
        true => "answers in parts: its predict is a generator",
        false => "gives one answer to each request: make its predict a generator",
    };
    match config.decoupled {
        Some(said) if said != spec.decoupled => Err(MismatchError::Decoupled { said, declared }),
        _ => Ok(()),
    }
}

/// A configuration that names none leaves them to the model.
fn check_tensors(
    side: &'static str,
    said: &[Tensor],
    declared: &[TensorSpec],
) -> Result<(), MismatchError> {
    if said.is_empty() {
        return Ok(());
    }
    for tensor in said {
        let found = declared.iter().find(|it| it.name == tensor.name);
        let found = found.ok_or_else(|| MismatchError::NoTensor {
            side,
            name: tensor.name.clone(),
            declared: declared.iter().map(|it| &*it.name).collect::<Vec<_>>().join(", "),
        })?;
        if !is_alike(tensor, found) {
            let (name, said) = (tensor.name.clone(), shown(tensor.dtype, &tensor.dims));
            let declared = shown(found.dtype, &dims(found));
            return Err(MismatchError::Tensor { side, name, said, declared });
        }
    }
    let is_said = |it: &&TensorSpec| said.iter().any(|tensor| tensor.name == it.name);
    match declared.iter().find(|it| !is_said(it)) {
        Some(left_out) => Err(MismatchError::LeftOut { side, name: left_out.name.clone() }),
        None => Ok(()),
    }
}

fn is_alike(said: &Tensor, declared: &TensorSpec) -> bool {
    // Text and bytes are one type to Triton.
    let bytes = |dtype| matches!(dtype, DType::Bytes | DType::Str);
    let dtype = said.dtype == declared.dtype || (bytes(said.dtype) && bytes(declared.dtype));
    // A text for each row is written with one dimension or none.
    let (ours, theirs) = (dims(declared), &said.dims);
    let same = ours == *theirs || (ours.is_empty() && *theirs == [Some(1)]);
    dtype && same
}

/// Without the batch dimension.
fn dims(of: &TensorSpec) -> Vec<Option<u64>> {
    let dim = |dim: &Dim| match dim {
        Dim::Batch => None,
        Dim::Variable => Some(None),
        Dim::Fixed(size) => Some(Some(*size)),
    };
    of.dims.iter().filter_map(dim).collect()
}

fn shown(dtype: DType, dims: &[Option<u64>]) -> String {
    let dim = |dim: &Option<u64>| dim.map_or("-1".into(), |size| size.to_string());
    let dims: Vec<_> = dims.iter().map(dim).collect();
    format!("{} [{}]", dtype.oip_name(), dims.join(", "))
}

#[cfg(test)]
mod tests;
