//! Which CPUs a model was given, and whether they are its own.
//!
//! A model is pinned by `cpus = [..]` in its model.toml. It owns them when nobody else is allowed there: neither the
//! front end, nor a second replica of its own, nor another model, which without `cpus` of its own may run anywhere.
//! A model whose replicas lie in `[[devices]]` is as many models here as it has groups.
//! Only then may its container spin; on a shared core it would take the time of whoever it waits for.

use std::fs;
use std::path::Path;

use super::target::Target;

/// Where Linux shows a CPU's NUMA node, as a directory `node<N>`.
const CPUS: &str = "/sys/devices/system/cpu";

#[derive(Debug, thiserror::Error)]
pub enum CpusError {
    #[error("{model}: cpus is empty; name some, or leave it out")]
    None { model: String },
    #[error("{model}: CPU {cpu} is not available to this process; use some of {available:?}")]
    NotAvailable { model: String, cpu: usize, available: Vec<usize> },
}

/// Refuses CPUs that are not there.
pub fn check(targets: &[Target], available: &[usize]) -> Result<(), CpusError> {
    let places = targets.iter().flat_map(|target| {
        target.devices.iter().filter_map(move |group| Some((target, group.cpus.as_ref()?)))
    });
    for (target, cpus) in places {
        let model = || target.label();
        if cpus.is_empty() {
            return Err(CpusError::None { model: model() });
        }
        if let Some(&cpu) = cpus.iter().find(|cpu| !available.contains(cpu)) {
            let available = available.to_vec();
            return Err(CpusError::NotAvailable { model: model(), cpu, available });
        }
    }
    Ok(())
}

/// Whether `cpus` are used by one replica alone. `others` are the CPUs of the other models; None roams.
pub fn owned<'a>(
    cpus: Option<&[usize]>,
    replicas: u32,
    front_end: &[usize],
    mut others: impl Iterator<Item = Option<&'a [usize]>>,
) -> bool {
    let Some(cpus) = cpus else { return false };
    let apart = |theirs: &[usize]| theirs.iter().all(|cpu| !cpus.contains(cpu));
    replicas == 1 && apart(front_end) && others.all(|theirs| theirs.is_some_and(apart))
}

/// The one NUMA node that all of `cpus` belong to; None on machines with a single node.
pub fn node_of(cpus: &[usize]) -> Option<u32> {
    let nodes: Vec<u32> =
        cpus.iter().filter_map(|cpu| node_of_cpu(Path::new(CPUS), *cpu)).collect();
    let (first, rest) = nodes.split_first()?;
    let several = fs::read_dir("/sys/devices/system/node").ok()?.flatten();
    let nodes = several.filter(|entry| node_number(&entry.file_name()).is_some()).count();
    (nodes > 1 && rest.iter().all(|node| node == first)).then_some(*first)
}

fn node_of_cpu(cpus: &Path, cpu: usize) -> Option<u32> {
    let entries = fs::read_dir(cpus.join(format!("cpu{cpu}"))).ok()?;
    entries.flatten().find_map(|entry| node_number(&entry.file_name()))
}

fn node_number(name: &std::ffi::OsStr) -> Option<u32> {
    name.to_str()?.strip_prefix("node")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owns(cpus: &[usize], replicas: u32, front: &[usize], others: &[Option<&[usize]>]) -> bool {
        owned(Some(cpus), replicas, front, others.iter().copied())
    }

    #[test]
    fn cores_are_owned_when_nobody_else_may_run_there() {
        assert!(owns(&[1], 1, &[0], &[]));
        assert!(owns(&[2, 3], 1, &[0, 1], &[Some(&[4])]));
    }

    #[test]
    fn cores_are_shared_with_the_front_end_a_sibling_a_neighbour_and_a_roamer() {
        assert!(!owns(&[0], 1, &[0], &[]), "front end");
        assert!(!owns(&[1], 2, &[0], &[]), "two replicas");
        assert!(!owns(&[1], 1, &[0], &[Some(&[1, 2])]), "a neighbour");
        assert!(!owns(&[1], 1, &[0], &[None]), "a model without cpus runs anywhere");
        assert!(!owned(None, 1, &[0], std::iter::empty()), "no cpus, no ownership");
    }

    #[test]
    fn cpus_that_are_not_there_are_refused_by_name() {
        let target = |cpus: Vec<usize>| Target {
            name: Some("digits".into()),
            version: crate::ids::Version(1),
            program: crate::fleet::target::Program::Python { target: "m.py".into() },
            settings: "{}".into(),
            labels: Default::default(),
            fixed_batches: None,
            warm_up: true,
            queue_tasks_max: None,
            scale: None,
            config: None,
            place: Default::default(),
            env: Vec::new(),
            devices: crate::fleet::device_groups::DeviceGroups::one(Some(cpus)),
            class: None,
        };
        assert!(check(&[target(vec![0, 1])], &[0, 1]).is_ok());
        let error = check(&[target(vec![0, 7])], &[0, 1]).unwrap_err().to_string();
        assert!(error.contains("CPU 7") && error.contains("digits"), "{error}");
        assert!(check(&[target(vec![])], &[0, 1]).is_err());
    }

    #[test]
    fn reads_the_node_of_a_cpu_from_its_directory() {
        let root = std::env::temp_dir().join(format!("foil-cpus-{}", std::process::id()));
        fs::create_dir_all(root.join("cpu3/node1")).unwrap();
        fs::create_dir_all(root.join("cpu3/topology")).unwrap();
        assert_eq!(node_of_cpu(&root, 3), Some(1));
        assert_eq!(node_of_cpu(&root, 4), None);
        fs::remove_dir_all(&root).unwrap();
    }
}
