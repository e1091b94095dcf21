//! From fields to what they mean. Every field that Triton knows has its line here.

use super::fault::{ConfigFault, Fault, Warning};
use super::fields::set;
use super::text::{Field, Message};
use super::{Group, Kind, TritonConfig, VersionPolicy};

mod batching;
mod tensors;

/// Of a model's configuration, for suggestions.
const FIELDS: [&str; 25] = [
    "name",
    "platform",
    "backend",
    "runtime",
    "version_policy",
    "max_batch_size",
    "input",
    "output",
    "batch_input",
    "batch_output",
    "optimization",
    "dynamic_batching",
    "sequence_batching",
    "ensemble_scheduling",
    "instance_group",
    "default_model_filename",
    "cc_model_filenames",
    "metric_tags",
    "parameters",
    "model_warmup",
    "model_operations",
    "model_transaction_policy",
    "model_repository_agents",
    "response_cache",
    "model_metrics",
];

const GROUP_FIELDS: [&str; 9] = [
    "name",
    "kind",
    "count",
    "gpus",
    "rate_limiter",
    "secondary_devices",
    "profile",
    "passive",
    "host_policy",
];

/// As in a repository of ours.
const MODEL_FILE: &str = "model.py";

/// What the model's author is told in place of a field.
const NO_FILES: &str = "a Python model lies in model.py, and what it loads lies beside it";
const ENSEMBLE: &str =
    "there are no ensembles yet; call the models one after the other from the client";
const CACHE: &str = "there is no cache of responses yet; leave it out";
const SEQUENCES: &str =
    "every request stands by itself here; keep what belongs to a sequence in the client";
const AGENTS: &str =
    "models are loaded as they lie in their directory; unpack or check them before";
const OPERATIONS: &str = "load libraries in the model's load()";
const RUNTIME: &str = "leave it out; model.toml says what runs a model";
const RAGGED: &str = "inputs of a batch are laid together here, row by row";

pub(super) fn config(message: &Message) -> Result<TritonConfig, ConfigFault> {
    let mut config = TritonConfig::default();
    for field in &message.fields {
        match field.name.as_str() {
            "name" => set(&mut config.name, field, field.text()?)?,
            "platform" => set(&mut config.platform, field, field.text()?)?,
            "backend" => set(&mut config.backend, field, field.text()?)?,
            "max_batch_size" => set(&mut config.max_batch_size, field, field.count()?)?,
            "input" => config.inputs.push(tensors::input(field)?),
            "output" => config.outputs.push(tensors::output(field)?),
            "instance_group" => config.groups.push(group(field)?),
            "version_policy" => set(&mut config.versions, field, versions(field)?)?,
            "dynamic_batching" => {
                let batching = batching::dynamic(field, &mut config.warnings)?;
                set(&mut config.batching, field, batching)?;
            }
            "model_warmup" => {
                tensors::warm_up(field, &mut config.warnings)?;
                config.warms_up = true;
            }
            "parameters" => parameter(field, &mut config)?,
            "model_transaction_policy" => set(&mut config.decoupled, field, decoupled(field)?)?,
            _ => elsewhere(field, &mut config.warnings)?,
        }
    }
    Ok(config)
}

/// Fields that change nothing here, or must not be there.
fn elsewhere(field: &Field, warnings: &mut Vec<Warning>) -> Result<(), ConfigFault> {
    let mut warn = |name, why| warnings.push(Warning { at: field.at, field: name, why });
    match field.name.as_str() {
        "optimization" => warn("optimization", "a model decides itself how it runs"),
        "metric_tags" => warn("metric_tags", "metrics carry the model's name and version"),
        "model_metrics" => warn("model_metrics", "buckets are the same for all models"),
        "default_model_filename" if field.text()? == MODEL_FILE => {}
        "default_model_filename" => return Err(field.refused("default_model_filename", NO_FILES)),
        "cc_model_filenames" => return Err(field.refused("cc_model_filenames", NO_FILES)),
        "response_cache" => response_cache(field)?,
        "ensemble_scheduling" => return Err(field.refused("ensemble_scheduling", ENSEMBLE)),
        "sequence_batching" => return Err(field.refused("sequence_batching", SEQUENCES)),
        "batch_input" => return Err(field.refused("batch_input", RAGGED)),
        "batch_output" => return Err(field.refused("batch_output", RAGGED)),
        "model_operations" => return Err(field.refused("model_operations", OPERATIONS)),
        "model_repository_agents" => {
            return Err(field.refused("model_repository_agents", AGENTS));
        }
        "runtime" if field.text()?.is_empty() => {}
        "runtime" => return Err(field.refused("runtime", RUNTIME)),
        _ => return Err(field.unknown(&FIELDS)),
    }
    Ok(())
}

fn response_cache(field: &Field) -> Result<(), ConfigFault> {
    for field in &field.message()?.fields {
        match field.name.as_str() {
            "enable" if !field.truth()? => {}
            "enable" => return Err(field.refused("response_cache", CACHE)),
            _ => return Err(field.unknown(&["enable"])),
        }
    }
    Ok(())
}

fn decoupled(field: &Field) -> Result<bool, ConfigFault> {
    let mut decoupled = None;
    for field in &field.message()?.fields {
        match field.name.as_str() {
            "decoupled" => set(&mut decoupled, field, field.truth()?)?,
            _ => return Err(field.unknown(&["decoupled"])),
        }
    }
    Ok(decoupled.unwrap_or(false))
}

fn parameter(field: &Field, config: &mut TritonConfig) -> Result<(), ConfigFault> {
    let (key, value) = field.entry()?;
    let mut text = None;
    for field in &value.fields {
        match field.name.as_str() {
            "string_value" => set(&mut text, field, field.text()?)?,
            _ => return Err(field.unknown(&["string_value"])),
        }
    }
    let missing = Fault::Missing { name: "string_value" };
    let text = text.ok_or_else(|| field.fault(missing))?;
    if config.parameters.insert(key.clone(), text).is_some() {
        return Err(field.fault(Fault::Twice { name: key }));
    }
    Ok(())
}

fn versions(field: &Field) -> Result<VersionPolicy, ConfigFault> {
    const CHOICES: [&str; 3] = ["latest", "all", "specific"];
    let mut policy = None;
    for field in &field.message()?.fields {
        let one = match field.name.as_str() {
            "latest" => VersionPolicy::Latest(latest(field)?),
            "all" if field.message()?.fields.is_empty() => VersionPolicy::All,
            "specific" => VersionPolicy::Specific(specific(field)?),
            _ => return Err(field.unknown(&CHOICES)),
        };
        set(&mut policy, field, one)?;
    }
    policy.ok_or_else(|| field.fault(Fault::Missing { name: "latest, all or specific" }))
}

fn latest(field: &Field) -> Result<u32, ConfigFault> {
    let mut count = None;
    for field in &field.message()?.fields {
        match field.name.as_str() {
            "num_versions" => set(&mut count, field, field.count()?)?,
            _ => return Err(field.unknown(&["num_versions"])),
        }
    }
    // Nothing said, and 0, mean one.
    Ok(count.unwrap_or(1).max(1))
}

fn specific(field: &Field) -> Result<Vec<u64>, ConfigFault> {
    let mut versions = Vec::new();
    for field in &field.message()?.fields {
        match field.name.as_str() {
            "versions" => versions.push(field.count()?),
            _ => return Err(field.unknown(&["versions"])),
        }
    }
    Ok(versions)
}

fn group(field: &Field) -> Result<Group, ConfigFault> {
    const KINDS: [(&str, Option<Kind>); 4] = [
        ("KIND_AUTO", Some(Kind::Auto)),
        ("KIND_CPU", Some(Kind::Cpu)),
        ("KIND_GPU", Some(Kind::Gpu)),
        ("KIND_MODEL", None),
    ];
    let (mut name, mut kind, mut count) = (None, None, None);
    let mut gpus = Vec::new();
    for field in &field.message()?.fields {
        match field.name.as_str() {
            "name" => set(&mut name, field, field.text()?)?,
            "kind" => {
                let wanted = "KIND_AUTO, KIND_CPU or KIND_GPU";
                let found = field.name_of(&KINDS, wanted)?;
                let instead =
                    "say KIND_CPU or KIND_GPU: where a model runs is decided before it loads";
                let found = found.ok_or_else(|| field.refused("KIND_MODEL", instead))?;
                set(&mut kind, field, found)?;
            }
            "count" => set(&mut count, field, field.count()?)?,
            "gpus" => gpus.push(field.count()?),
            _ => refuse_in_group(field)?,
        }
    }
    // Nothing said, and 0, mean one.
    let count = count.unwrap_or(1).max(1);
    Ok(Group { name, kind: kind.unwrap_or(Kind::Auto), count, gpus, at: field.at })
}

fn refuse_in_group(field: &Field) -> Result<(), ConfigFault> {
    let pinned = "pin replicas by cpus in model.toml instead";
    Err(match field.name.as_str() {
        "passive" if !field.truth()? => return Ok(()),
        "passive" => field.refused("passive", "replicas that nobody asks are not started here"),
        "rate_limiter" => field.refused("rate_limiter", "each replica runs one batch at a time"),
        "secondary_devices" => field.refused("secondary_devices", "leave it out"),
        "profile" => field.refused("profile", "it belongs to TensorRT, which does not run here"),
        "host_policy" => field.refused("host_policy", pinned),
        _ => field.unknown(&GROUP_FIELDS),
    })
}
