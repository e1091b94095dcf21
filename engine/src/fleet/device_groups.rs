//! Which of a model's replicas run on which kind of device: `[[devices]]` in its model.toml.
//!
//! Replicas are numbered through the groups in their order; a group's place is its [`DeviceClass`], whose speed the
//! batching learns by itself. A model without such tables has one group, `cpu`, of as many replicas as it declares.

use std::sync::Arc;

use crate::config::{DeviceToml, ModelToml};
use crate::ids::{DeviceClass, ReplicaId};

/// Where a model runs that says nothing of devices.
const CPU: &str = "cpu";

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
}

/// At least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceGroups(Vec<DeviceGroup>);

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
    #[error("devices: '{name}' has no replicas; give it at least one, or leave it out")]
    NoReplicas { name: String },
    #[error("there are {count} [[devices]]; use at most {max}", max = DeviceClass::COUNT_MAX)]
    TooMany { count: usize },
    #[error("[[devices]] have {count} replicas together; use at most {REPLICAS_MAX}")]
    TooManyReplicas { count: u64 },
}

impl DeviceGroups {
    /// One group, pinned to these CPUs.
    pub fn one(cpus: Option<Vec<usize>>) -> DeviceGroups {
        let (name, env) = (CPU.into(), Vec::new());
        DeviceGroups(vec![DeviceGroup { name, replicas: None, env, cpus }])
    }

    pub fn read(toml: &ModelToml) -> Result<DeviceGroups, DeviceGroupError> {
        let Some(tables) = toml.devices.as_deref().filter(|tables| !tables.is_empty()) else {
            return Ok(DeviceGroups::one(toml.cpus.clone()));
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
        Ok(DeviceGroups(tables.iter().map(group).collect()))
    }

    /// How many replicas there are, unless the model's declaration says it.
    pub fn replicas(&self) -> Option<u32> {
        self.0.iter().map(|group| group.replicas).sum()
    }

    /// The group that a replica belongs to.
    pub fn of(&self, replica: ReplicaId) -> (DeviceClass, &DeviceGroup) {
        let mut first = 0;
        let found = (0..).zip(&self.0).find(|(_, group)| {
            first += group.replicas.unwrap_or(u32::MAX - first);
            replica.0 < first
        });
        let (class, group) = found.expect("replicas are numbered through the groups");
        (DeviceClass(class), group)
    }

    pub fn iter(&self) -> impl Iterator<Item = &DeviceGroup> {
        self.0.iter()
    }

    /// By [`DeviceClass`].
    pub fn names(&self) -> Arc<[Arc<str>]> {
        self.0.iter().map(|group| group.name.clone()).collect()
    }
}

fn group(table: &DeviceToml) -> DeviceGroup {
    DeviceGroup {
        name: table.name.as_str().into(),
        replicas: Some(table.replicas),
        env: table.env.clone().into_iter().collect(),
        cpus: table.cpus.clone(),
    }
}

fn check_beside(toml: &ModelToml) -> Result<(), DeviceGroupError> {
    let beside = |setting, instead| Err(DeviceGroupError::Beside { setting, instead });
    match toml {
        ModelToml { replicas: Some(_), .. } => {
            beside("replicas", "say in each group how many there are")
        }
        ModelToml { cpus: Some(_), .. } => beside("cpus", "put it into the groups"),
        ModelToml { device: Some(_), .. } => beside("device", "the groups' names say it"),
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
