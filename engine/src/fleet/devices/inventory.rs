//! What a host has for replicas to run on: its CPUs by node and core, its GPUs and their slices.
//!
//! Read from the system by [`super`]'s sources, or from a JSON file for tests and planning; the file has the fields of
//! these types by their names, and `foil devices --json` writes one.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Hosts, GPUs and slices of one inventory: ten times what the planner is measured with.
const DEVICES_MAX: usize = 10_000;

/// Bytes of an inventory's file: some hundred for each device.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// One host as the engine finds it, or several to plan for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    pub hosts: Vec<Host>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub name: String,
    pub cpus: Cpus,
    #[serde(default)]
    pub gpus: Vec<Gpu>,
}

/// The CPUs that this process may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpus {
    /// CPUs' worth of time that its control group may use together; None: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<f64>,
    /// Those of the front end, which no replica gets where there are others.
    #[serde(default)]
    pub front_end: Vec<usize>,
    pub nodes: Vec<Node>,
}

/// A NUMA node, with memory of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub id: u32,
    pub memory_bytes: u64,
    /// Each physical core with the CPUs that share it (SMT siblings).
    pub cores: Vec<Vec<usize>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    pub uuid: String,
    pub name: String,
    pub memory_bytes: u64,
    /// Of that, what the driver keeps for itself.
    #[serde(default)]
    pub reserved_bytes: u64,
    /// Of that, what is used: by anybody where a machine is looked at, by others than the replicas that have seats where
    /// one is placed.
    #[serde(default)]
    pub used_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// As in `9.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<String>,
    /// Its slices where it is split (MIG mode on); then nothing runs on the whole of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slices: Option<Vec<Slice>>,
    #[serde(default)]
    pub health: Health,
}

/// A MIG slice: memory and compute of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    pub uuid: String,
    /// As in `1g.10gb`.
    pub profile: String,
    pub memory_bytes: u64,
    #[serde(default)]
    pub used_bytes: u64,
}

/// Whether a GPU takes replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Health {
    #[default]
    Healthy,
    /// It takes no new replicas, and those on it go elsewhere.
    Unhealthy { reason: String },
}

/// What a replica can be placed on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceId {
    /// A NUMA node's CPUs, by host and node.
    Cpu { host: String, node: u32 },
    /// A GPU or a slice of one, by its UUID.
    Gpu { host: String, uuid: String },
}

#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is longer than {FILE_BYTES_MAX} bytes; an inventory is a list of devices")]
    TooLong { path: PathBuf },
    #[error("{path} is no inventory: {source}; `foil devices --json` shows what one looks like")]
    Syntax { path: PathBuf, source: serde_json::Error },
    #[error("{path}: {what} is there twice; each device has a name of its own")]
    Twice { path: PathBuf, what: String },
    #[error("{path} has {count} devices; use at most {DEVICES_MAX}")]
    TooMany { path: PathBuf, count: usize },
    #[error("{path}: host '{host}' has no CPU; give it a node with cores")]
    NoCpus { path: PathBuf, host: String },
}

impl Inventory {
    /// From a file.
    pub fn read(path: &Path) -> Result<Inventory, InventoryError> {
        let (at, read) =
            (|| path.to_owned(), |source| InventoryError::Read { path: path.to_owned(), source });
        if std::fs::metadata(path).map_err(read)?.len() > FILE_BYTES_MAX {
            return Err(InventoryError::TooLong { path: at() });
        }
        let text = std::fs::read(path).map_err(read)?;
        let inventory: Inventory = serde_json::from_slice(&text)
            .map_err(|source| InventoryError::Syntax { path: at(), source })?;
        inventory.check(path)?;
        Ok(inventory)
    }

    /// Names that stand for one device each, and not too many of them.
    fn check(&self, path: &Path) -> Result<(), InventoryError> {
        let mut seen = BTreeSet::new();
        for host in &self.hosts {
            let path = || path.to_owned();
            if host.cpus.all().next().is_none() {
                return Err(InventoryError::NoCpus { path: path(), host: host.name.clone() });
            }
            let of_host = |kind, number| format!("{kind} {number} of host '{}'", host.name);
            let node = first_twice(host.cpus.nodes.iter().map(|node| u64::from(node.id)));
            let cpu = first_twice(host.cpus.all().map(|cpu| cpu as u64));
            let node = node.map(|id| of_host("node", id));
            if let Some(what) = node.or(cpu.map(|cpu| of_host("CPU", cpu))) {
                return Err(InventoryError::Twice { path: path(), what });
            }
            let names = host.gpus.iter().flat_map(Gpu::uuids);
            for name in names.chain([host.name.as_str()]) {
                if !seen.insert(name) {
                    return Err(InventoryError::Twice { path: path(), what: format!("'{name}'") });
                }
            }
        }
        let count = seen.len();
        if count > DEVICES_MAX {
            return Err(InventoryError::TooMany { path: path.to_owned(), count });
        }
        Ok(())
    }
}

fn first_twice(mut numbers: impl Iterator<Item = u64>) -> Option<u64> {
    let mut seen = BTreeSet::new();
    numbers.find(|number| !seen.insert(*number))
}

impl Cpus {
    pub fn all(&self) -> impl Iterator<Item = usize> {
        self.nodes.iter().flat_map(|node| node.cores.iter().flatten().copied())
    }
}

impl Gpu {
    /// By the UUID of the whole or of a slice.
    pub fn has(&self, uuid: &str) -> bool {
        self.uuids().any(|it| it == uuid)
    }

    /// Its own and those of its slices.
    pub fn uuids(&self) -> impl Iterator<Item = &str> {
        let slices = self.slices.iter().flatten().map(|slice| slice.uuid.as_str());
        [self.uuid.as_str()].into_iter().chain(slices)
    }
}

impl Health {
    /// Why it takes none; None: it does.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Health::Healthy => None,
            Health::Unhealthy { reason } => Some(reason),
        }
    }
}

impl DeviceId {
    pub fn host(&self) -> &str {
        match self {
            DeviceId::Cpu { host, .. } | DeviceId::Gpu { host, .. } => host,
        }
    }

    /// The UUID of a GPU or slice.
    pub fn gpu(&self) -> Option<&str> {
        match self {
            DeviceId::Gpu { uuid, .. } => Some(uuid),
            DeviceId::Cpu { .. } => None,
        }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceId::Cpu { node, .. } => write!(f, "cpu{node}"),
            DeviceId::Gpu { uuid, .. } => f.write_str(uuid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"{"hosts": [{"name": "a", "cpus": {"nodes": [{"id": 0, "memory_bytes": 64, "cores": [[0, 1]]}]},
        "gpus": [{"uuid": "GPU-1", "name": "H100", "memory_bytes": 80},
                 {"uuid": "GPU-2", "name": "H100", "memory_bytes": 80,
                  "slices": [{"uuid": "MIG-1", "profile": "1g.10gb", "memory_bytes": 10}],
                  "health": {"unhealthy": {"reason": "Xid 79"}}}]}]}"#;

    fn read(text: &str) -> Result<Inventory, InventoryError> {
        let file = std::env::temp_dir().join(format!(
            "foil-inventory-{}-{:?}.json",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&file, text).expect("a file in /tmp");
        let read = Inventory::read(&file);
        std::fs::remove_file(&file).expect("it was written");
        read
    }

    #[test]
    fn what_is_written_is_read_back() {
        let inventory = read(TWO).expect("an inventory");
        let text = serde_json::to_string(&inventory).expect("JSON");
        assert_eq!(read(&text).expect("an inventory"), inventory);
        let [one, two] = &inventory.hosts[0].gpus[..] else { panic!("two GPUs") };
        assert_eq!((one.health.clone(), one.slices.clone()), (Health::Healthy, None));
        assert_eq!(two.health, Health::Unhealthy { reason: "Xid 79".into() });
        assert_eq!(inventory.hosts[0].cpus.all().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn what_is_no_inventory_is_refused_with_a_sentence() {
        let says = |text: &str| read(text).expect_err("refused").to_string();
        assert!(says("[]").contains("no inventory"));
        assert!(says(&TWO.replace("memory_bytes", "memory")).contains("unknown field `memory`"));
        assert!(says(&TWO.replace("GPU-2", "GPU-1")).contains("'GPU-1' is there twice"));
        let twice = says(&TWO.replace("[[0, 1]]", "[[0, 1], [1]]"));
        assert!(twice.contains("CPU 1 of host 'a' is there twice"), "{twice}");
        assert!(says(&TWO.replace("[[0, 1]]", "[]")).contains("'a' has no CPU"));
    }
}
