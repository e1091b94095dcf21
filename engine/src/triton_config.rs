//! Triton's configuration of a model, `config.pbtxt`, or the same as JSON: pure, from text to what it says.
//!
//! `text` and `json` make a tree of fields with their places, `read` makes a typed configuration of that tree.
//! Nothing is passed over in silence: a field that can't be honoured is an error or a warning, one that Triton does not
//! know an error with the name that was most likely meant. What becomes of it in a fleet is not known here.

mod fault;
mod fields;
mod json;
mod read;
mod text;

use std::collections::BTreeMap;

pub use fault::{ConfigFault, Fault, Place, Warning};
use schemas::tensor::DType;

/// What a model's configuration says, as far as it means something here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TritonConfig {
    pub name: Option<String>,
    pub platform: Option<String>,
    pub backend: Option<String>,
    /// 0: no batch dimension.
    pub max_batch_size: Option<u32>,
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
    pub groups: Vec<Group>,
    pub batching: Option<DynamicBatching>,
    pub versions: Option<VersionPolicy>,
    pub warms_up: bool,
    pub parameters: BTreeMap<String, String>,
    pub decoupled: Option<bool>,
    pub warnings: Vec<Warning>,
}

/// One of `input` or `output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    pub dtype: DType,
    /// Without the batch dimension; None: any size.
    pub dims: Vec<Option<u64>>,
    /// Of an output: the file with its classes' names, beside config.pbtxt.
    pub labels: Option<String>,
    pub at: Place,
}

/// One of `instance_group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: Option<String>,
    pub kind: Kind,
    pub count: u32,
    pub gpus: Vec<u32>,
    pub at: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Auto,
    Cpu,
    Gpu,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DynamicBatching {
    pub preferred: Vec<u32>,
    pub max_delay_us: Option<u64>,
    pub queue: Option<QueuePolicy>,
}

/// `default_queue_policy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueuePolicy {
    pub timeout_us: Option<u64>,
    /// Late requests are served when nothing else waits, instead of turned away.
    pub delays: bool,
    pub tasks_max: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionPolicy {
    Latest(u32),
    All,
    Specific(Vec<u64>),
}

/// Of a config.pbtxt.
pub fn from_text(text: &str) -> Result<TritonConfig, ConfigFault> {
    read::config(&text::parse(text)?)
}

/// Of the same as JSON, as a request to load a model may bring it.
pub fn from_json(text: &str) -> Result<TritonConfig, ConfigFault> {
    read::config(&json::parse(text)?)
}

#[cfg(test)]
mod tests;
