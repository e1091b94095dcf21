//! This machine's CPUs as Linux tells of them: which this process may use, how much of their time, and how they lie.
//!
//! Everything is read below one root, so that tests bring trees of machines that are not at hand. What can't be read is
//! left out rather than guessed: without a word about nodes all CPUs are of node 0, without one about siblings each is a
//! core of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use self::control_group::{Limits, limits};
use super::inventory::{Cpus, Node};

mod control_group;
#[cfg(test)]
mod tests;

/// CPUs that a mask may name: the kernel's own limit on x86-64.
const CPUS_MAX: usize = 8192;

/// NUMA nodes looked at: the kernel's own limit.
const NODES_MAX: usize = 1024;

/// Processes between a model's own and the one that the engine started: an init, a shell, a pool of workers.
const LINEAGE_MAX: usize = 8;

/// This machine.
pub const ROOT: &str = "/";

/// The machine's name.
pub fn host_name(root: &Path) -> String {
    let name = text(root, "proc/sys/kernel/hostname").trim().to_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// What this process may use, without regard to the front end.
pub fn cpus(root: &Path) -> Cpus {
    let may = allowed(root);
    let limits = limits(root);
    let mut nodes: Vec<Node> =
        node_ids(root).into_iter().filter_map(|id| node(root, id, &may, &limits)).collect();
    if nodes.is_empty() {
        let memory_bytes = total_bytes(&text(root, "proc/meminfo")).unwrap_or(0);
        nodes.push(one_node(root, 0, &may.cpus, memory_bytes.min(limits.memory_bytes)));
    }
    Cpus { quota: limits.cpus, front_end: Vec::new(), nodes }
}

/// A process, the one that started it, and so on; without those that are gone.
pub fn lineage(root: &Path, pid: u32) -> Vec<u32> {
    let parent = |pid: &u32| {
        let status = text(root, &format!("proc/{pid}/status"));
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        parent.trim().parse().ok().filter(|parent| *parent != 0)
    };
    std::iter::successors(Some(pid), parent).take(LINEAGE_MAX).collect()
}

/// The NUMA node that a PCI device hangs at; `bus_id` as NVML writes it, `00000000:65:00.0`.
pub fn node_of_pci(root: &Path, bus_id: &str) -> Option<u32> {
    let bus_id = bus_id.to_ascii_lowercase();
    let (domain, rest) = bus_id.split_once(':')?;
    let domain = u32::from_str_radix(domain, 16).ok()?;
    // -1 where the firmware doesn't say.
    text(root, &format!("sys/bus/pci/devices/{domain:04x}:{rest}/numa_node")).trim().parse().ok()
}

/// CPUs and memory nodes that the scheduler and the allocator may give this process.
struct Allowed {
    cpus: BTreeSet<usize>,
    memory_nodes: BTreeSet<usize>,
}

fn allowed(root: &Path) -> Allowed {
    let status = text(root, "proc/self/status");
    let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(set);
    let cpus = of("Cpus_allowed_list:").filter(|cpus| !cpus.is_empty());
    // What may run is not always there: a mask may name CPUs that are offline.
    let online = set(&text(root, "sys/devices/system/cpu/online"));
    let cpus = match (cpus, online.is_empty()) {
        (Some(cpus), false) => cpus.intersection(&online).copied().collect(),
        (Some(cpus), true) => cpus,
        (None, false) => online,
        (None, true) => BTreeSet::from([0]),
    };
    Allowed { cpus, memory_nodes: of("Mems_allowed_list:").unwrap_or_default() }
}

fn node_ids(root: &Path) -> Vec<usize> {
    let online = set(&text(root, "sys/devices/system/node/online"));
    online.into_iter().take(NODES_MAX).collect()
}

/// A node; none where this process may use none of its CPUs.
fn node(root: &Path, id: usize, may: &Allowed, limits: &Limits) -> Option<Node> {
    let at = |file: &str| text(root, &format!("sys/devices/system/node/node{id}/{file}"));
    let cpus: BTreeSet<usize> = set(&at("cpulist")).intersection(&may.cpus).copied().collect();
    if cpus.is_empty() {
        return None;
    }
    let may_allocate = may.memory_nodes.is_empty() || may.memory_nodes.contains(&id);
    let memory_bytes = total_bytes(&at("meminfo")).filter(|_| may_allocate).unwrap_or(0);
    Some(one_node(root, u32::try_from(id).ok()?, &cpus, memory_bytes.min(limits.memory_bytes)))
}

fn one_node(root: &Path, id: u32, cpus: &BTreeSet<usize>, memory_bytes: u64) -> Node {
    Node { id, memory_bytes, cores: cores(root, cpus) }
}

/// These CPUs by the physical core that they share.
fn cores(root: &Path, cpus: &BTreeSet<usize>) -> Vec<Vec<usize>> {
    let mut left = cpus.clone();
    let mut cores = Vec::new();
    while let Some(first) = left.pop_first() {
        let siblings = siblings(root, first);
        let mut core = vec![first];
        core.extend(left.extract_if(.., |cpu| siblings.contains(cpu)));
        cores.push(core);
    }
    cores
}

fn siblings(root: &Path, cpu: usize) -> BTreeSet<usize> {
    let at =
        |file: &str| set(&text(root, &format!("sys/devices/system/cpu/cpu{cpu}/topology/{file}")));
    let newer = at("core_cpus_list");
    if newer.is_empty() { at("thread_siblings_list") } else { newer }
}

/// `0-3,8` as the kernel writes sets; what is no number, or none that the kernel would write, is left out.
fn set(list: &str) -> BTreeSet<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (range.1 < CPUS_MAX).then_some(range.0..=range.1)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

/// `MemTotal` of the machine or of one node (`Node 0 MemTotal: …`).
pub fn total_bytes(about: &str) -> Option<u64> {
    about.lines().find_map(|line| {
        let (_, value) = line.split_once("MemTotal:")?;
        Some(value.split_whitespace().next()?.parse::<u64>().ok()? << 10)
    })
}

/// A file of the kernel's; empty where there is none.
fn text(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap_or_default()
}
