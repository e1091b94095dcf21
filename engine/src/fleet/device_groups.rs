//! Which of a model's replicas run on which kind of device: `[[devices]]` in its model.toml.
//!
//! Replicas are numbered through the groups in their order; a group's place is its [`DeviceClass`], whose speed the
//! batching learns by itself. A model without such tables has one group, of as many replicas as it declares: `cpu`, or
//! `gpu` where it says so. With `device = "auto"` it has both, and each life of a replica belongs to one of them.

use std::sync::Arc;

use super::placement::Kind;
use crate::config::{DeviceToml, ModelToml};
use crate::ids::{DeviceClass, ReplicaId};

mod wants;

use wants::Said;
pub use wants::{Wants, WantsError};

/// Where a model runs that says nothing of devices.
const CPU: &str = "cpu";
const GPU: &str = "gpu";

/// A name stands in metrics, on pages and in a container's environment.
const NAME_CHARS_MAX: usize = 32;

/// The engine's bound on the replicas of one model, which its declaration is checked against too.
const REPLICAS_MAX: u32 = schemas::lifecycle::REPLICAS_MAX;

/// Replicas that run a model equally fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceGroup {
    pub name: Arc<str>,
    /// None: as many as the model declares.
    pub replicas: Option<u32>,
    /// Added to the model's own, and over it.
    pub env: Vec<(String, String)>,
    /// Where its replicas are pinned; None: anywhere.
    pub cpus: Option<Vec<usize>>,
    pub wants: Wants,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceGroups {
    /// At least one.
    groups: Vec<DeviceGroup>,
    /// Each replica may belong to any of them, the first by choice.
    any: bool,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceGroupError {
    #[error("{setting} can't stand beside [[devices]]; {instead}")]
    Beside { setting: &'static str, instead: &'static str },
    #[error(
        "devices: '{name}' is no name for a device; use 1 to {NAME_CHARS_MAX} letters, digits, '-' and '_'"
    )]
    Name { name: String },
    #[error("devices: '{name}' is there twice; give each group a name of its own")]
    Twice { name: String },
    #[error("devices: '{name}': {error}")]
    Group { name: String, error: WantsError },
    #[error(transparent)]
    Wants(#[from] WantsError),
    #[error("devices: '{name}' has no replicas; give it at least one, or leave it out")]
    NoReplicas { name: String },
    #[error("there are {count} [[devices]]; use at most {max}", max = DeviceClass::COUNT_MAX)]
    TooMany { count: usize },
    #[error("[[devices]] have {count} replicas together; use at most {REPLICAS_MAX}")]
    TooManyReplicas { count: u64 },
}

impl DeviceGroups {
    /// One group on the CPU, pinned to these.
    pub fn one(cpus: Option<Vec<usize>>) -> DeviceGroups {
        DeviceGroups { groups: vec![of_any_size(CPU, Wants::Anything, cpus)], any: false }
    }

    pub fn read(toml: &ModelToml) -> Result<DeviceGroups, DeviceGroupError> {
        let Some(tables) = toml.devices.as_deref().filter(|tables| !tables.is_empty()) else {
            return Ok(of_model(wants::of_model(toml)?, toml.cpus.clone()));
        };
        check_beside(toml)?;
        if tables.len() > DeviceClass::COUNT_MAX {
            return Err(DeviceGroupError::TooMany { count: tables.len() });
        }
        for (index, table) in tables.iter().enumerate() {
            check(table, &tables[..index])?;
        }
        let count = tables.iter().map(|table| u64::from(table.replicas)).sum();
        if count > u64::from(REPLICAS_MAX) {
            return Err(DeviceGroupError::TooManyReplicas { count });
        }
        let groups = tables.iter().map(group).collect::<Result<_, _>>()?;
        Ok(DeviceGroups { groups, any: false })
    }

    /// How many replicas there are, unless the model's declaration says it.
    pub fn replicas(&self) -> Option<u32> {
        self.groups.iter().map(|group| group.replicas).sum()
    }

    /// The groups that a life of a replica may belong to, in the order of wish; at least one.
    pub fn options(&self, replica: ReplicaId) -> impl Iterator<Item = (DeviceClass, &DeviceGroup)> {
        let only = (!self.any).then(|| self.group_of(replica));
        let all = (0..).map(DeviceClass).zip(&self.groups);
        all.filter(move |(class, _)| only.is_none_or(|only| *class == only))
    }

    /// The group that a replica belongs to, as long as nothing else has been decided.
    pub fn of(&self, replica: ReplicaId) -> (DeviceClass, &DeviceGroup) {
        let class = self.group_of(replica);
        (class, self.group(class))
    }

    pub fn group(&self, class: DeviceClass) -> &DeviceGroup {
        &self.groups[usize::from(class.0)]
    }

    fn group_of(&self, replica: ReplicaId) -> DeviceClass {
        let mut first = 0;
        let found = (0..).zip(&self.groups).find(|(_, group)| {
            first += group.replicas.unwrap_or(u32::MAX - first);
            replica.0 < first
        });
        let (class, _) = found.expect("replicas are numbered through the groups");
        DeviceClass(class)
    }

    pub fn iter(&self) -> impl Iterator<Item = &DeviceGroup> {
        self.groups.iter()
    }

    /// By [`DeviceClass`].
    pub fn names(&self) -> Arc<[Arc<str>]> {
        self.groups.iter().map(|group| group.name.clone()).collect()
    }
}

fn of_model(said: Said, cpus: Option<Vec<usize>>) -> DeviceGroups {
    match said {
        Said::One(wants) => {
            let name = if matches!(wants, Wants::Gpu { .. }) { GPU } else { CPU };
            DeviceGroups { groups: vec![of_any_size(name, wants, cpus)], any: false }
        }
        Said::Either(gpu, cpu) => {
            let groups = vec![of_any_size(GPU, gpu, None), of_any_size(CPU, cpu, cpus)];
            DeviceGroups { groups, any: true }
        }
    }
}

fn of_any_size(name: &str, wants: Wants, cpus: Option<Vec<usize>>) -> DeviceGroup {
    DeviceGroup { name: name.into(), replicas: None, env: Vec::new(), cpus, wants }
}

fn group(table: &DeviceToml) -> Result<DeviceGroup, DeviceGroupError> {
    let wants = wants::of_group(table)
        .map_err(|error| DeviceGroupError::Group { name: table.name.clone(), error })?;
    Ok(DeviceGroup {
        name: table.name.as_str().into(),
        replicas: Some(table.replicas),
        env: table.env.clone().into_iter().collect(),
        cpus: table.cpus.clone(),
        wants,
    })
}

impl DeviceGroup {
    /// The engine chooses where each of its replicas runs.
    pub fn is_seated(&self) -> bool {
        self.is_gpu() || self.has_threads()
    }

    /// Each of its replicas gets CPUs of the engine's choice.
    pub fn has_threads(&self) -> bool {
        matches!(self.wants, Wants::Cpu { threads: 1.. })
    }

    pub fn is_gpu(&self) -> bool {
        matches!(self.wants, Wants::Gpu { .. })
    }

    /// As placement is asked for it.
    pub fn kind(&self) -> Kind {
        let threads = match &self.wants {
            Wants::Gpu { name, whole, .. } => {
                return Kind::Gpu { name: name.clone(), whole: *whole };
            }
            Wants::Cpu { threads } => *threads,
            Wants::Anything => 0,
        };
        Kind::Cpu { threads, exact: self.cpus.clone() }
    }
}

fn check_beside(toml: &ModelToml) -> Result<(), DeviceGroupError> {
    let beside = |setting, instead| Err(DeviceGroupError::Beside { setting, instead });
    if let Some(setting) = wants::of_groups_alone(toml) {
        return beside(setting, "say it in the groups");
    }
    match toml {
        ModelToml { replicas: Some(_), .. } => {
            beside("replicas", "say in each group how many there are")
        }
        ModelToml { cpus: Some(_), .. } => beside("cpus", "put it into the groups"),
        _ => Ok(()),
    }
}

fn check(table: &DeviceToml, earlier: &[DeviceToml]) -> Result<(), DeviceGroupError> {
    let name = || table.name.clone();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !(1..=NAME_CHARS_MAX).contains(&table.name.len()) || !table.name.bytes().all(plain) {
        return Err(DeviceGroupError::Name { name: name() });
    }
    if earlier.iter().any(|other| other.name == table.name) {
        return Err(DeviceGroupError::Twice { name: name() });
    }
    if table.replicas == 0 {
        return Err(DeviceGroupError::NoReplicas { name: name() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Result<DeviceGroups, DeviceGroupError> {
        let toml: ModelToml = crate::config::parse(Path::new("model.toml"), text).unwrap();
        DeviceGroups::read(&toml)
    }

    const TWO: &str = "[[devices]]\nname = \"slow\"\nreplicas = 2\n[[devices]]\nname = \"fast\"\ncpus = [1]\n[devices.env]\nSPEED = \"9\"\n";

    #[test]
    fn replicas_are_numbered_through_the_groups() {
        let groups = read(TWO).unwrap();
        assert_eq!(groups.replicas(), Some(3));
        let of = |replica| {
            let (class, group) = groups.of(ReplicaId(replica));
            (class.0, &*group.name)
        };
        assert_eq!([of(0), of(1), of(2)], [(0, "slow"), (0, "slow"), (1, "fast")]);
        let (_, fast) = groups.of(ReplicaId(2));
        assert_eq!(fast.env, [("SPEED".to_owned(), "9".to_owned())]);
        assert_eq!(fast.cpus, Some(vec![1]));
    }

    #[test]
    fn a_model_without_groups_has_one_of_any_size() {
        let groups = read("replicas = 3\ncpus = [0, 1]").unwrap();
        assert_eq!(groups.replicas(), None, "its declaration says it");
        for replica in [0, 2, 1023] {
            let (class, group) = groups.of(ReplicaId(replica));
            assert_eq!((class.0, &*group.name, &group.cpus), (0, "cpu", &Some(vec![0, 1])));
        }
        assert_eq!(&*groups.names()[0], "cpu");
    }

    #[test]
    fn a_model_of_either_device_has_two_groups_and_each_replica_may_be_of_both() {
        let groups = read("device = \"auto\"\ngpu_memory = \"2g\"\nthreads = 2").unwrap();
        let names: Vec<_> =
            groups.options(ReplicaId(5)).map(|(class, it)| (class.0, it.wants.clone())).collect();
        let gpu = Wants::Gpu { name: None, memory_bytes: 2 << 30, whole: false };
        assert_eq!(names, [(0, gpu), (1, Wants::Cpu { threads: 2 })]);
        assert_eq!(groups.names().iter().map(|name| &**name).collect::<Vec<_>>(), ["gpu", "cpu"]);
        assert_eq!(groups.replicas(), None);
        let one = read("device = \"gpu\"").unwrap();
        assert_eq!(one.options(ReplicaId(1)).count(), 1);
        let whole = Wants::Gpu { name: None, memory_bytes: 0, whole: true };
        assert_eq!(one.of(ReplicaId(1)).1.wants, whole, "nobody knows what it takes");
    }

    #[test]
    fn groups_say_what_they_want_each() {
        let groups =
            read(&format!("{TWO}[[devices]]\nname = \"big\"\ndevice = \"gpu\"\ngpu = \"1g\"\n"))
                .unwrap();
        let (_, big) = groups.of(ReplicaId(3));
        let gpu = Wants::Gpu { name: Some("1g".into()), memory_bytes: 0, whole: true };
        assert_eq!((&*big.name, &big.wants), ("big", &gpu));
        assert_eq!(groups.of(ReplicaId(0)).1.wants, Wants::Anything);
    }

    #[test]
    fn wants_that_can_not_be_are_refused_with_a_sentence() {
        let says = |text: &str| read(text).unwrap_err().to_string();
        assert!(says("device = \"tpu\"").contains("'tpu' does not exist; use cpu, gpu or auto"));
        assert!(says("gpu_memory = \"2g\"").contains("gpu_memory goes with device = \"gpu\""));
        assert!(says("device = \"cpu\"\ngpu = \"H\"").contains("gpu goes with"));
        assert!(says("device = \"gpu\"\nthreads = 2").contains("leave them out"));
        assert!(says("threads = 0").contains("threads is 0"));
        assert!(says("threads = 2\ncpus = [1]").contains("leave one of the two out"));
        assert!(says("device = \"gpu\"\ngpu_memory = \"lots\"").contains("'lots' is no amount"));
        assert!(says(&format!("threads = 1\n{TWO}")).contains("threads can't stand beside"));
        let auto = "[[devices]]\nname = \"a\"\ndevice = \"auto\"\n";
        assert!(says(auto).contains("'a': device = \"auto\" goes with the whole model"));
    }

    #[test]
    fn what_can_not_be_a_group_is_refused_with_a_sentence() {
        let says = |text: &str| read(text).unwrap_err().to_string();
        assert!(says(&format!("replicas = 3\n{TWO}")).contains("replicas can't stand beside"));
        assert!(says(&format!("cpus = [1]\n{TWO}")).contains("cpus can't stand beside"));
        assert!(says(&format!("device = \"cpu\"\n{TWO}")).contains("device can't stand beside"));
        assert!(says(&format!("{TWO}{TWO}")).contains("'slow' is there twice"));
        let one = |name: &str, replicas: u32| {
            format!("[[devices]]\nname = \"{name}\"\nreplicas = {replicas}\n")
        };
        assert!(says(&one("a b", 1)).contains("'a b'"));
        assert!(says(&one("a", 0)).contains("no replicas"));
        assert!(says(&one("a", 1025)).contains("1025"));
        let many: String = (0..17).map(|nth| one(&format!("d{nth}"), 1)).collect();
        assert!(says(&many).contains("at most 16"));
    }
}
