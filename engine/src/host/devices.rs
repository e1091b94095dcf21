//! `foil devices`: the CPUs and GPUs of this machine, or of an inventory's file.

use std::collections::BTreeSet;

use super::{HostError, print};
use crate::cli::host::Devices;
use crate::fleet::devices::inventory::{Cpus, Gpu, Health, Host, Inventory, Node, Slice};
use crate::fleet::devices::{Found, find};
use crate::table::{counted, gib, render};

pub(super) fn devices(flags: &Devices) -> Result<(), HostError> {
    let found = match &flags.inventory {
        Some(file) => known(Inventory::read(file)?),
        // Which CPUs an engine keeps for itself is its own matter; none need run.
        None => find(&[]),
    };
    if flags.json {
        return print(&json(&found.inventory));
    }
    print(&shown(&found))
}

/// Of a file: what is not in it is not there, and needs no reason.
fn known(inventory: Inventory) -> Found {
    Found { inventory, gpus_absent: None, unreadable: Vec::new() }
}

fn json(inventory: &Inventory) -> String {
    serde_json::to_string_pretty(inventory).expect("plain fields have JSON") + "\n"
}

fn shown(found: &Found) -> String {
    let hosts: Vec<String> = found.inventory.hosts.iter().map(host).collect();
    let notes = found.unreadable.iter().map(|line| format!("not readable: {line}\n"));
    let absent = found
        .gpus_absent
        .iter()
        .map(|why| format!("no GPUs: {why}; if there should be some: {}\n", why.remedy()));
    hosts.into_iter().chain(notes).chain(absent).collect::<Vec<String>>().join("\n")
}

fn host(host: &Host) -> String {
    let mut text = format!("{}\n\n{}", heading(host), cpu_table(&host.cpus));
    if !host.gpus.is_empty() {
        text += "\n";
        text += &gpu_table(&host.gpus);
    }
    text
}

fn heading(host: &Host) -> String {
    let cpus = some(host.cpus.all().count(), "CPU");
    let quota = host.cpus.quota;
    let quota = quota.map_or(String::new(), |quota| {
        format!(" (limited to the time of {})", (quota * 100.0).round() / 100.0)
    });
    format!("{}: {cpus}{quota}, {}", host.name, some(host.gpus.len(), "GPU"))
}

fn some(count: usize, what: &str) -> String {
    if count == 0 { format!("no {what}") } else { counted(count, what) }
}

fn cpu_table(cpus: &Cpus) -> String {
    let rows: Vec<_> = cpus.nodes.iter().map(|node| node_row(node, &cpus.front_end)).collect();
    render(["NODE", "CPUS", "CORES", "MEMORY", "FRONT END"], &rows)
}

fn node_row(node: &Node, front_end: &[usize]) -> [String; 5] {
    let cpus: BTreeSet<usize> = node.cores.iter().flatten().copied().collect();
    let kept = cpus.iter().filter(|cpu| front_end.contains(cpu)).copied().collect();
    [
        format!("cpu{}", node.id),
        ranges(&cpus),
        node.cores.len().to_string(),
        gib(node.memory_bytes),
        ranges(&kept),
    ]
}

const GPU_HEADER: [&str; 7] = ["DEVICE", "KIND", "MEMORY", "USED", "NODE", "COMPUTE", "HEALTH"];

fn gpu_table(gpus: &[Gpu]) -> String {
    let rows = gpus.iter().flat_map(|gpu| {
        let slices = gpu.slices.iter().flatten().map(slice_row);
        [gpu_row(gpu)].into_iter().chain(slices)
    });
    render(GPU_HEADER, &rows.collect::<Vec<_>>())
}

fn gpu_row(gpu: &Gpu) -> [String; 7] {
    let split = gpu.slices.as_ref().map(|slices| format!(", {}", some(slices.len(), "slice")));
    [
        gpu.uuid.clone(),
        format!("{}{}", gpu.name, split.unwrap_or_default()),
        gib(gpu.memory_bytes),
        gib(gpu.used_bytes),
        gpu.node.map(|node| format!("cpu{node}")).unwrap_or_default(),
        gpu.compute_capability.clone().unwrap_or_default(),
        health(&gpu.health),
    ]
}

fn slice_row(slice: &Slice) -> [String; 7] {
    [
        format!("└ {}", slice.uuid),
        slice.profile.clone(),
        gib(slice.memory_bytes),
        gib(slice.used_bytes),
        String::new(),
        String::new(),
        String::new(),
    ]
}

fn health(health: &Health) -> String {
    health.trouble().map_or("healthy".to_owned(), |reason| format!("unhealthy: {reason}"))
}

/// As the kernel writes sets: `0-3,8`.
fn ranges(cpus: &BTreeSet<usize>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let run = |(first, last)| {
        if first == last { format!("{first}") } else { format!("{first}-{last}") }
    };
    runs.into_iter().map(run).collect::<Vec<String>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::devices::nvml::NoGpus;

    fn two_nodes() -> Cpus {
        let node = |id, cores: &[[usize; 2]]| Node {
            id,
            memory_bytes: 3 << 29,
            cores: cores.iter().map(|core| core.to_vec()).collect(),
        };
        let nodes = vec![node(0, &[[0, 4], [1, 5]]), node(1, &[[2, 6], [3, 7]])];
        Cpus { quota: Some(1.5), front_end: vec![0, 4], nodes }
    }

    fn split_gpu() -> Gpu {
        let slice = |uuid: &str| Slice {
            uuid: uuid.to_owned(),
            profile: "1g.10gb".to_owned(),
            memory_bytes: 10 << 30,
            used_bytes: 1 << 29,
        };
        Gpu {
            uuid: "GPU-2".to_owned(),
            name: "H100".to_owned(),
            memory_bytes: 80 << 30,
            node: Some(1),
            compute_capability: Some("9.0".to_owned()),
            slices: Some(vec![slice("MIG-1"), slice("MIG-2")]),
            health: Health::Unhealthy { reason: "Xid 79".to_owned() },
            ..Gpu::default()
        }
    }

    fn found(gpus: Vec<Gpu>, gpus_absent: Option<NoGpus>) -> Found {
        let host = Host { name: "big".to_owned(), cpus: two_nodes(), gpus };
        Found { inventory: Inventory { hosts: vec![host] }, gpus_absent, unreadable: Vec::new() }
    }

    #[test]
    fn cpus_are_shown_by_node_gpus_with_memory_slices_and_health() {
        let whole = Gpu { uuid: "GPU-1".into(), name: "H100".into(), ..Gpu::default() };
        let shown = shown(&found(vec![whole, split_gpu()], None));
        assert_eq!(
            shown,
            "big: 8 CPUs (limited to the time of 1.5), 2 GPUs

NODE  CPUS     CORES  MEMORY   FRONT END
cpu0  0-1,4-5  2      1.5 GiB  0,4
cpu1  2-3,6-7  2      1.5 GiB  -

DEVICE   KIND            MEMORY    USED     NODE  COMPUTE  HEALTH
GPU-1    H100            0.0 GiB   0.0 GiB  -     -        healthy
GPU-2    H100, 2 slices  80.0 GiB  0.0 GiB  cpu1  9.0      unhealthy: Xid 79
└ MIG-1  1g.10gb         10.0 GiB  0.5 GiB  -     -        -
└ MIG-2  1g.10gb         10.0 GiB  0.5 GiB  -     -        -
"
        );
    }

    #[test]
    fn why_there_are_no_gpus_is_one_line() {
        let shown = shown(&found(Vec::new(), Some(NoGpus::NoDriver)));
        assert!(shown.starts_with("big: 8 CPUs (limited to the time of 1.5), no GPU\n"), "{shown}");
        let last = shown.lines().last().expect("a line");
        assert_eq!(
            last,
            "no GPUs: NVIDIA's driver is not loaded; if there should be some: sudo modprobe nvidia"
        );
    }

    #[test]
    fn sets_of_cpus_are_written_as_the_kernel_does() {
        let written = |cpus: &[usize]| ranges(&cpus.iter().copied().collect());
        assert_eq!(written(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(written(&[]), "");
    }
}
