//! What the engine answers, as far as people are shown it. Fields that are not here pass by.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Models {
    pub(super) models: Vec<Model>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) active: Option<u64>,
    pub(super) previous: Option<u64>,
    pub(super) replicas: ReplicaCounts,
    pub(super) slo: Option<String>,
    #[serde(default)]
    pub(super) managed: bool,
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) versions: Vec<Version>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct ReplicaCounts {
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) live: u32,
    pub(super) wanted: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Version {
    pub(super) version: u64,
    pub(super) role: String,
    pub(super) standing: String,
    pub(super) why: Option<String>,
    pub(super) launcher: Option<String>,
    pub(super) image: Option<String>,
    pub(super) deployed: Option<String>,
    pub(super) warm_until: Option<String>,
    pub(super) bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Replicas {
    pub(super) replicas: Vec<Replica>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Replica {
    pub(super) model: String,
    pub(super) version: u64,
    pub(super) replica: u32,
    pub(super) standing: String,
    pub(super) launcher: Option<String>,
    pub(super) pid: Option<u32>,
    pub(super) container: Option<String>,
    pub(super) device: Option<String>,
    pub(super) on: Option<String>,
    #[serde(default)]
    pub(super) cpus: Option<Vec<usize>>,
    #[serde(default)]
    pub(super) restarts: u64,
    pub(super) since: Option<String>,
    pub(super) last_error: Option<String>,
}

/// A refusal, of any page.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) error: String,
}

/// What the Open Inference Protocol says of a model.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) inputs: Vec<Tensor>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) datatype: String,
    pub(super) shape: Vec<i64>,
}

impl Model {
    pub(super) fn active_version(&self) -> Option<&Version> {
        self.versions.iter().find(|it| Some(it.version) == self.active)
    }

    pub(super) fn newest(&self) -> Option<&Version> {
        self.versions.iter().max_by_key(|it| it.version)
    }
}
