//! A group of replicas on unlike devices.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One of `[[devices]]` in model.toml.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceToml {
    pub name: String,
    #[serde(default = "one")]
    pub replicas: u32,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub cpus: Option<Vec<usize>>,
    /// `cpu` or `gpu`; this and what follows as in the model.
    pub device: Option<String>,
    pub gpu_memory: Option<String>,
    pub gpu: Option<String>,
    pub gpu_whole: Option<bool>,
    pub threads: Option<u32>,
}

fn one() -> u32 {
    1
}
